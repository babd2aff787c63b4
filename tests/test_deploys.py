"""Deploys that switch a link between release folders: a generation serves the release at its beginning."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client import PATIENCE
from tests.conftest import Run, Start
from tests.server import APPS, Door, Server
from tests.test_upgrade import stop, successor

SITE = """
import os, sys
from probe import ACTS, application as application, wait_at
VERSION = {version!r}
FOLDER = os.getcwd()

def later(environ, query):
    import later
    return later.VERSION

ACTS["/version"] = lambda environ, query: VERSION
ACTS["/later"] = later
ACTS["/file"] = lambda environ, query: __file__
ACTS["/folder"] = lambda environ, query: [FOLDER, os.getcwd(), sys.path[0]]
ACTS["/path"] = lambda environ, query: sys.path
{code}
"""


class Releases:
    """The folder of a site in Capistrano's layout."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.current = top / "current"

    def path(self, version: str) -> Path:
        return self.top / "releases" / version

    def make(self, version: str, code: str = "") -> None:
        folder = self.path(version)
        folder.mkdir(parents=True)
        (folder / "shop.py").write_text(SITE.format(version=version, code=code))
        (folder / "site.wsgi").write_text(SITE.format(version=version, code=code))
        (folder / "later.py").write_text(f"VERSION = {version!r}\n")

    def turn(self, version: str) -> None:
        """Point the link to another release atomically."""
        link = self.top / "next"
        link.symlink_to(Path("releases", version))
        link.rename(self.current)

    def deploy(self, version: str, code: str = "") -> None:
        self.make(version, code)
        self.turn(version)


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    releases = Releases(tmp_path.resolve() / "srv")
    releases.deploy("1")
    return releases


def reload(server: Server, outcome: str = " reloaded$") -> None:
    mark = server.mark()
    server.send_signal(signal.SIGHUP)
    server.wait_for(outcome, since=mark)


def version(server: Server) -> str:
    return str(server.get("/version").json())


Way = Callable[[Start, Releases], Server]


def by_chdir(start: Start, releases: Releases) -> Server:
    return start("--chdir", str(releases.current), "shop")


def by_relative_chdir(start: Start, releases: Releases) -> Server:
    """Relative to the folder in which the server was started, which has a link in its path."""
    return start("--chdir", ".", "shop", folder=releases.current)


def by_the_folder_of_the_start(start: Start, releases: Releases) -> Server:
    return start("shop", folder=releases.current)


def by_a_link_above(start: Start, releases: Releases) -> Server:
    (releases.top.parent / "www").symlink_to("srv")
    return start("shop", folder=releases.top.parent / "www" / "current")


def by_python_path(start: Start, releases: Releases) -> Server:
    return start("--python-path", str(releases.current), "shop")


def by_pythonpath(start: Start, releases: Releases) -> Server:
    return start("shop", environment={"PYTHONPATH": str(releases.current)})


def by_the_path_of_a_file(start: Start, releases: Releases) -> Server:
    return start("--chdir", str(releases.current), str(releases.current / "site.wsgi"))


WAYS = [
    by_chdir,
    by_relative_chdir,
    by_the_folder_of_the_start,
    by_a_link_above,
    by_python_path,
    by_the_path_of_a_file,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_reload_serves_what_the_link_leads_to_also_when_the_former_release_is_gone(
    start: Start, releases: Releases, way: Way
) -> None:
    server = way(start, releases)
    assert version(server) == "1"
    for number in range(2, 5):
        releases.deploy(str(number))
        reload(server)
        assert version(server) == server.get("/later").json() == str(number)
        assert server.get("/file").json().startswith(f"{releases.path(str(number))}/")
        shutil.rmtree(releases.path(str(number - 1)))
    stopped_without_a_fault(server)


def stopped_without_a_fault(server: Server) -> None:
    server.stop()
    assert not [line for line in server.log.lines if " ERROR " in line]


def test_rwsgictl_reload_serves_it_too(start: Start, releases: Releases) -> None:
    server = by_chdir(start, releases)
    releases.deploy("2")
    assert server.control("reload").code == 0
    assert version(server) == "2"
    assert server.get("/folder").json() == [str(releases.path("2"))] * 3


@pytest.mark.parametrize("preload", ["on", "off"])
@pytest.mark.parametrize("way", [*WAYS, by_pythonpath])
def test_a_child_or_mold_that_comes_after_the_turn_is_of_its_own_generation(
    start: Start, releases: Releases, way: Way, preload: str
) -> None:
    """Without a reload the new release is not served, whichever process has died."""

    def with_preload(*arguments: str, **options: object) -> Server:
        return start("--preload", preload, *arguments, **options)  # type: ignore[arg-type]

    server = way(with_preload, releases)
    ((slot, pid),) = server.children(1).items()
    releases.deploy("2")
    os.kill(pid, signal.SIGKILL)
    pid = server.replacement(slot, pid)
    assert [version(server), server.get("/later").json()] == ["1", "1"]
    if way is by_pythonpath:
        return
    mark = server.mark()
    os.kill(server.mold(), signal.SIGKILL)
    server.wait_for(" gen=1 .* mold ready$", since=mark)
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    assert [version(server), server.get("/later").json()] == ["1", "1"]
    reload(server)
    assert [version(server), server.get("/later").json()] == ["2", "2"]


def test_a_mold_whose_release_has_been_removed_is_made_from_the_one_that_is_there(
    start: Start, releases: Releases
) -> None:
    """That is better than none: otherwise children that end could not be replaced."""
    server = by_chdir(start, releases)
    releases.deploy("2")
    shutil.rmtree(releases.path("1"))
    mark = server.mark()
    os.kill(server.mold(), signal.SIGKILL)
    server.wait_for(" WARN gone=.*releases/1.* the folder of this generation is gone$", since=mark)
    server.wait_for(" gen=1 .* mold ready$", since=mark)
    ((slot, pid),) = server.children(1).items()
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    assert version(server) == "2"


@pytest.mark.parametrize("way", [by_chdir, by_the_folder_of_the_start])
def test_a_folder_that_cannot_be_entered_fails_the_reload(start: Start, releases: Releases, way: Way) -> None:
    server = way(start, releases)
    releases.current.unlink()
    reload(server, r" ERROR .*current.* reload failed: the old generation serves on$")
    assert version(server) == "1"
    releases.deploy("2")
    reload(server)
    assert version(server) == "2"


def test_the_file_of_options_is_that_of_the_new_release(start: Start, releases: Releases) -> None:
    file = "app = 'shop'\ntouch-reload = ['touch']\nenv = {WHICH = '%s'}\n"
    (releases.path("1") / "rwsgi.toml").write_text(file % "one")
    server = start(folder=releases.current)
    releases.make("2")
    (releases.path("2") / "rwsgi.toml").write_text(file % "two")
    releases.turn("2")
    reload(server)
    assert version(server) == "2"
    assert server.get("/os.environ").json()["WHICH"] == "two"
    (releases.path("2") / "touch").touch()
    server.wait_for(" gen=3 reloaded$")


def test_the_packages_of_the_release_come_with_it(start: Start, releases: Releases, door: Door) -> None:
    """At once where the binary is given the environment; with the wheel by USR2, which a warning says."""

    def deploy(version: str) -> None:
        releases.make(version, "import package\nACTS['/package'] = lambda environ, query: package.VERSION")
        environment = releases.path(version) / ".venv"
        command = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(command, check=True, timeout=PATIENCE)
        (packages,) = (environment / "lib").glob("python*/site-packages")
        (packages / "package.py").write_text(f"VERSION = {version!r}\n")
        program = environment / "bin" / "rwsgi"
        if door.name == "binary":
            program.symlink_to(door.program)
        else:
            # As installed by pip, with the path of the release in its first line.
            entry = "import sys\nfrom rwsgi.__main__ import entry\nsys.exit(entry())\n"
            program.write_text(f"#!{environment}/bin/python\n{entry}")
            program.chmod(0o755)
            ask = "import os, rwsgi; print(os.path.dirname(os.path.dirname(rwsgi.__file__)))"
            python = door.program.with_name("python")
            ran = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
            (packages / "rwsgi.pth").write_text(ran.stdout)
        releases.turn(version)

    deploy("2")
    named = {"VIRTUAL_ENV": str(releases.current / ".venv")} if door.name == "binary" else {}
    server = Server(
        Door(door.name, Path(".venv/bin/rwsgi")),
        releases.current,
        ("--bind", "127.0.0.1:0", "--python-path", str(APPS), "shop"),
        {"PWD": str(releases.current), **named},
    )
    try:
        server.wait_until_ready()
        assert server.get("/package").json() == "2"
        deploy("3")
        reload(server)
        assert version(server) == "3"
        warnings = [
            line for line in server.log.lines if " packages are still those of another release" in line
        ]
        assert (server.get("/package").json(), len(warnings)) == (("3", 0) if named else ("2", 1))
        server.send_signal(signal.SIGUSR2)
        pid = successor(server)
        assert server.process.wait(PATIENCE) == 0
        assert [version(server), server.get("/package").json()] == ["3", "3"]
        stop(server, pid)
    finally:
        server.destroy()


def test_a_folder_to_change_to_is_read_anew(start: Start, releases: Releases, tmp_path: Path) -> None:
    releases.make("2")
    (tmp_path / "rwsgi.toml").write_text("app = 'shop'\nchdir = 'srv/releases/1'\n")
    server = start()
    assert version(server) == "1"
    (tmp_path / "rwsgi.toml").write_text("app = 'shop'\nchdir = 'srv/releases/2'\n")
    reload(server)
    assert version(server) == "2"


def test_a_name_in_pwd_that_is_not_that_of_the_folder_is_not_believed(
    start: Start, releases: Releases
) -> None:
    """Nor is the name of a release that is not the one in which the server was started."""
    releases.make("2")
    server = start("shop", folder=releases.path("2"), environment={"PWD": str(releases.current)})
    assert version(server) == "2"
    reload(server)
    assert version(server) == "2"


def test_another_server_is_started_in_the_new_release(start: Start, releases: Releases) -> None:
    server = start("shop", folder=releases.current)
    releases.deploy("2")
    shutil.rmtree(releases.path("1"))
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    assert version(server) == "2"
    releases.deploy("3")
    mark = server.mark()
    os.kill(pid, signal.SIGHUP)
    server.wait_for(" reloaded$", since=mark)
    assert version(server) == "3"
    stop(server, pid)


def test_another_server_is_the_program_of_the_new_release(
    start: Start, releases: Releases, door: Door
) -> None:
    """As with a virtual environment in each release, and a relative program name."""

    def install(version: str) -> None:
        releases.make(version)
        program = releases.path(version) / "bin" / "rwsgi"
        program.parent.mkdir()
        # Two different files, so that /proc shows which one runs.
        if door.name == "binary":
            shutil.copy(door.program, program)
        else:
            text = door.program.read_text()
            assert text.startswith("#!")
            program.write_text(text + f"\n# {version}\n")
            program.chmod(0o755)
        releases.turn(version)

    install("2")
    server = Server(
        Door(door.name, Path("bin/rwsgi")),
        releases.current,
        ("--bind", "127.0.0.1:0", "--python-path", str(APPS), "shop"),
        {"PWD": str(releases.current)},
    )
    try:
        server.wait_until_ready()
        assert version(server) == "2"
        install("3")
        shutil.rmtree(releases.path("2"))
        server.send_signal(signal.SIGUSR2)
        pid = successor(server)
        assert server.process.wait(PATIENCE) == 0
        assert version(server) == "3"
        if door.name == "binary":
            assert os.readlink(f"/proc/{pid}/exe") == str(releases.path("3") / "bin" / "rwsgi")
        stop(server, pid)
    finally:
        server.destroy()


def test_the_supervisors_folder_is_none_of_the_site(start: Start, releases: Releases) -> None:
    server = by_chdir(start, releases)
    folders = {process.title: os.readlink(f"/proc/{process.pid}/cwd") for process in server.tree()}
    assert {folder for title, folder in folders.items() if " gen " in title} == {str(releases.path("1"))}
    assert {folder for title, folder in folders.items() if " gen " not in title} == {"/"}


def test_a_start_in_a_folder_that_has_been_removed_is_explained(door: Door, tmp_path: Path) -> None:
    script = f'mkdir gone && cd gone && rmdir ../gone && exec {shlex.quote(str(door.program))} "$@"'

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", script, "sh", *arguments],
            cwd=tmp_path,
            env=door.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    ran = run("--chdir", str(tmp_path), "probe")
    assert ran.returncode == 71
    # If the path of an environment has a space, pip's script is run by a shell, which complains, too.
    (message,) = [line for line in ran.stderr.splitlines() if not line.startswith("sh: ")]
    assert message.startswith("rwsgi: the current folder cannot be found, it may have been removed: start")
    assert run("--version").returncode == 0


def test_a_check_enters_the_folder(run: Run, releases: Releases) -> None:
    ran = run("--check", "--chdir", str(releases.current), "--python-path", str(APPS), "shop")
    assert (ran.code, ran.out.startswith("shop can be served")) == (0, True), ran
