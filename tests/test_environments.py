"""The packages of the chosen environment, wherever rwsgi itself is installed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import PATIENCE
from tests.conftest import Run, Start
from tests.server import Door, Server
from tests.test_upgrade import stop, successor

SITE = """
import sys
import mine, by_pth
import rwsgi
from probe import ACTS, application as application, log_line

@rwsgi.after_fork
def born():
    log_line("hook called")

ACTS["/environment"] = lambda environ, query: [sys.prefix, sys.executable, mine.__file__, sys.path, sys.argv]
"""


PLAIN = """
import sys

def application(environ, start_response):
    start_response("200 OK", [])
    return [repr(sys.modules.get("fcntl", "not loaded")).encode()]
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with packages of its own, and without rwsgi."""
    folder = tmp_path.resolve() / "other"
    make(folder)
    (tmp_path / "shop.py").write_text(SITE)
    return folder


def make(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=PATIENCE)
    packages = packages_of(folder)
    (packages / "mine.py").write_text("")
    (packages / "more.pth").write_text(f"{folder}/more\n")
    (folder / "more").mkdir()
    (folder / "more" / "by_pth.py").write_text("")


def packages_of(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


WAYS = ["VIRTUAL_ENV", "--python", "program", "file"]


def serve(start: Start, environment: Path, how: str = "VIRTUAL_ENV") -> Server:
    if how == "VIRTUAL_ENV":
        return start("shop", environment={"VIRTUAL_ENV": str(environment)})
    if how == "--python":
        return start("--python", str(environment), "shop")
    if how == "program":
        return start("--python", "other/bin/python", "shop")
    (environment.parent / "rwsgi.toml").write_text("app = 'shop'\npython = 'other'\n")
    return start()


def is_served_from(server: Server, environment: Path) -> None:
    prefix, executable, file, path, arguments = server.get("/environment").json()
    assert (Path(prefix), Path(executable).parent) == (environment, environment / "bin")
    assert Path(file) == packages_of(environment) / "mine.py"
    assert arguments == ["rwsgi"]
    # Neither the environment in which rwsgi is installed, nor its own folder.
    folders = [folder for folder in path if folder.endswith(("site-packages", "rwsgi"))]
    assert folders == [str(packages_of(environment))]


@pytest.mark.parametrize("how", WAYS)
def test_the_packages_are_those_of_the_environment_that_is_chosen(
    start: Start, environment: Path, how: str
) -> None:
    server = serve(start, environment, how)
    is_served_from(server, environment)
    server.wait_for("^hook called$")
    server.send_signal(signal.SIGHUP)
    server.wait_for(" gen=2 reloaded$")
    is_served_from(server, environment)


@pytest.mark.parametrize("preload", ["on", "off"])
def test_another_server_takes_over_in_it(start: Start, environment: Path, preload: str) -> None:
    server = start("--preload", preload, "shop", environment={"VIRTUAL_ENV": str(environment)})
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    is_served_from(server, environment)
    stop(server, pid)


def test_the_release_that_a_link_leads_to_brings_its_own(start: Start, tmp_path: Path) -> None:
    """With USR2; with the wheel, a reload keeps the interpreter."""
    for version in ("1", "2"):
        release = tmp_path.resolve() / "releases" / version
        release.mkdir(parents=True)
        make(release / ".venv")
        (release / "shop.py").write_text(SITE)
    current = tmp_path.resolve() / "current"
    current.symlink_to("releases/1")

    def of_release(version: str) -> bool:
        file = str(server.get("/environment").json()[2])
        return os.path.realpath(file).startswith(str(tmp_path.resolve() / "releases" / version))

    server = start("shop", folder=current, environment={"VIRTUAL_ENV": str(current / ".venv")})
    assert of_release("1")
    current.unlink()
    current.symlink_to("releases/2")
    shutil.rmtree(tmp_path / "releases" / "1")
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    assert of_release("2")
    stop(server, pid)


OUT_OF_REACH = """
import sys

# What is no part of the interpreter itself in some builds of CPython.
for name in ("fcntl", "select", "_struct", "math", "_random", "array", "_datetime", "_json", "_socket"):
    if name not in sys.modules:
        sys.modules[name] = None
"""


@pytest.mark.parametrize("preload", ["on", "auto", "off"])
def test_an_application_is_loaded_where_extension_modules_are_out_of_reach(
    start: Start, tmp_path: Path, preload: str
) -> None:
    """As where the user of `--user` cannot read the folder of the interpreter."""
    (tmp_path / "sitecustomize.py").write_text(OUT_OF_REACH)
    (tmp_path / "plain.py").write_text(PLAIN)
    server = start(
        *("--preload", preload, "--processes", "2", "plain"),
        environment={"PYTHONPATH": str(tmp_path)},
        children=2,
    )
    assert server.get("/").body == b"None"
    assert "ERROR" not in str(server.log)
    server.stop()


def test_a_check_is_made_in_it(run: Run, environment: Path) -> None:
    (environment.parent / "shop.py").write_text("import mine\napplication = print")
    ran = run("--check", "shop", environment={"VIRTUAL_ENV": str(environment)})
    assert ran.code == 0, ran
    assert str(environment / "bin" / "python") in ran.out


def test_another_kind_of_python_is_refused(door: Door, run: Run, environment: Path) -> None:
    real = environment / "bin" / "real"
    (environment / "bin" / "python").rename(real)
    lie = "import sys; sys.implementation.name = 'pypy'; sys.argv = sys.argv[1:]; __file__ = sys.argv[0]"
    script = f'#!/bin/sh\nexec {real} -c "{lie}; exec(open(__file__).read())" "$@"\n'
    (environment / "bin" / "python").write_text(script)
    os.chmod(environment / "bin" / "python", 0o755)
    if door.name == "binary":
        # The binary brings its own interpreter, and uses only the packages.
        (environment.parent / "shop.py").write_text("import mine\napplication = print")
        assert run("--check", "shop", environment={"VIRTUAL_ENV": str(environment)}).code == 0
        return
    ran = run("shop", environment={"VIRTUAL_ENV": str(environment)})
    assert ran.code == 78
    assert f"is pypy 3.{sys.version_info.minor}, but this rwsgi (of " in ran.err
    assert "runs in CPython 3.10 or later" in ran.err
    assert ran.err.count("\n") == 0


def test_a_missing_environment_is_reported(door: Door, run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("application = print")
    ran = run("shop", environment={"VIRTUAL_ENV": str(tmp_path / "gone")})
    assert ran.code == 78
    assert f"there is no Python at {tmp_path / 'gone'}" in ran.err
    if door.name == "wheel":
        assert ran.err == f"rwsgi: VIRTUAL_ENV: there is no Python at {tmp_path / 'gone'}"
