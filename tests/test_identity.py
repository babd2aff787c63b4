"""The users and groups of a server's processes."""

import grp
import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE
from tests.conftest import Run, Start
from tests.server import Door, Server
from tests.test_upgrade import stop, successor
from tests.unprivileged import reachable
from tests.waiting import until_equal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

USER = pwd.getpwnam("nobody")
OTHER = grp.getgrnam("daemon")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that all users may enter."""
    with tempfile.TemporaryDirectory(prefix="rwsgi-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def before(door: Door, tmp_path: Path) -> list[str]:
    return reachable(door, tmp_path)


def ids(pid: int) -> tuple[set[int], set[int], set[int]]:
    """Users, groups and supplementary groups of a process, from the kernel."""
    fields = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            name, _, value = line.partition(":")
            fields[name] = value
    users, groups, others = (set(map(int, fields[name].split())) for name in ("Uid", "Gid", "Groups"))
    return users, groups, others


def run_as_root(server: Server) -> set[int]:
    return {process.pid for process in server.tree() if 0 in ids(process.pid)[0]}


def is_free(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def warnings(server: Server) -> list[str]:
    return [line for line in server.log.lines if "--user" in line and " WARN " in line]


def test_all_but_the_supervisor_are_the_users(start: Start, before: list[str], place: Path) -> None:
    server = start(
        *("--user", "nobody", "--processes", "2", "--chdir", str(place)), "probe", children=2, before=before
    )
    for process in server.tree():
        expected = ({0}, {0}) if process.pid == server.pid else ({USER.pw_uid}, {USER.pw_gid})
        assert ids(process.pid)[:2] == expected, process
    found = server.get("/identity").json()
    assert found["users"] == [USER.pw_uid] * 3
    assert found["groups"] == [USER.pw_gid] * 3
    assert found["other groups"] == sorted(os.getgrouplist("nobody", USER.pw_gid))
    assert warnings(server) == []


def test_the_start_folder_may_be_closed_to_the_user(start: Start, before: list[str], tmp_path: Path) -> None:
    """As root does in /root: nothing in that folder is needed."""
    os.chmod(tmp_path, 0o700)
    server = start("--user", "nobody", "probe", before=before)
    server.wait_for(r" WARN folder=\S+ may not be entered by the application's user, who works in / instead$")
    assert server.get("/").json()["folder"] == "/"
    mark = server.mark()
    server.send_signal(signal.SIGHUP)
    server.wait_for(" reloaded$", since=mark)


def test_a_group_can_be_chosen(start: Start, before: list[str], place: Path) -> None:
    server = start(
        *("--user", str(USER.pw_uid), "--group", OTHER.gr_name, "--chdir", str(place)), "probe", before=before
    )
    found = server.get("/identity").json()
    assert (found["users"], found["groups"]) == ([USER.pw_uid] * 3, [OTHER.gr_gid] * 3)
    assert 0 not in found["other groups"]


def test_a_low_port_is_served_by_every_front_and_child(start: Start, before: list[str], place: Path) -> None:
    port = next(filter(is_free, range(1023, 500, -1)))
    arguments = ("--user", "nobody", "--chdir", str(place), "probe")
    server = start(*arguments, bind=f"127.0.0.1:{port}", before=before)
    ((slot, pid),) = server.children(1).items()
    mark = server.mark()
    os.kill(server.front(), signal.SIGKILL)
    server.wait_for(r"front serving$", since=mark)
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    assert server.get("/identity").json()["users"] == [USER.pw_uid] * 3
    assert run_as_root(server) == {server.pid}


def test_no_process_outlives_the_supervisor_after_a_change_of_user(
    start: Start, before: list[str], place: Path
) -> None:
    """The kernel clears PDEATHSIG when a process changes its user."""
    server = start("--user", "nobody", "--chdir", str(place), "probe", before=before)
    with processes.watched([process.pid for process in server.tree()]) as ends:
        os.kill(server.pid, signal.SIGKILL)
        assert ends.wait(10) == set()
    server.process.wait()


def test_sockets_and_logs_are_the_users(start: Start, before: list[str], place: Path) -> None:
    """The folder belongs to root: only root creates files in it, at the start and after a rotation."""
    log, path = place / "access.log", place / "s"
    arguments = ("--user", "nobody", "--access-log", str(log), "--chdir", str(place), "probe")
    server = start(*arguments, bind=f"unix:{path}", before=before)
    assert path.stat().st_uid == USER.pw_uid
    assert server.get("/identity").status == 200
    until_equal(lambda: log.read_text().count("\n"), 1)
    log.rename(place / "access.log.1")
    server.send_signal(signal.SIGUSR1)
    until_equal(lambda: log.exists() and log.stat().st_uid, USER.pw_uid)
    # The front gets the new file after that. Each request has a line in one of the files.
    statuses = [200]
    while not log.read_text():
        statuses.append(server.get("/identity").status)
        assert statuses[-1] == 200 and len(statuses) < 10_000
    files = (place / "access.log.1", log)
    until_equal(lambda: sum(file.read_text().count("\n") for file in files), len(statuses))
    server.stop()
    assert not path.exists()


def test_a_log_that_the_user_may_not_write_is_an_error(run: Run, before: list[str], place: Path) -> None:
    log = place / "access.log"
    log.touch(0o600)
    ran = run("--user", "nobody", "--access-log", str(log), "--chdir", str(place), "probe", before=before)
    assert ran.code == 78
    assert "cannot open the access log" in ran.err
    assert log.stat().st_uid == 0


def test_a_link_in_place_of_a_log_does_not_change_hands(run: Run, before: list[str], place: Path) -> None:
    secret = place / "secret"
    (place / "access.log").symlink_to(secret)
    ran = run(
        *("--user", "nobody", "--access-log", str(place / "access.log"), "--chdir", str(place), "probe"),
        before=before,
    )
    assert ran.code == 78
    assert not secret.exists()


@pytest.fixture
def elsewhere(place: Path) -> Path:
    """A folder of root's, with links to it in a folder of the user's and in one of root's."""
    folder = place / "roots"
    folder.mkdir()
    (place / "own").mkdir()
    os.chown(place / "own", USER.pw_uid, USER.pw_gid)
    for link in (place / "own" / "link", place / "link"):
        link.symlink_to(folder)
    return folder


def test_no_log_is_made_through_a_link_of_the_users(
    start: Start, before: list[str], place: Path, elsewhere: Path
) -> None:
    logs = place / "own" / "logs"
    logs.mkdir()
    os.chown(logs, USER.pw_uid, USER.pw_gid)
    server = start(
        *("--user", "nobody", "--access-log", str(logs / "log"), "--chdir", str(place), "probe"),
        before=before,
    )
    logs.rename(place / "own" / "former")
    logs.symlink_to(elsewhere)
    server.send_signal(signal.SIGUSR1)
    server.wait_for(" WARN .*cannot make the log file$|cannot make the log file")
    assert list(elsewhere.iterdir()) == []
    assert server.get("/identity").status == 200


def serving(place: Path) -> tuple[str, ...]:
    return ("--user", "nobody", "--chdir", str(place), "probe")


def users_folder(folder: Path) -> Path:
    folder.mkdir()
    os.chown(folder, USER.pw_uid, USER.pw_gid)
    return folder


def test_a_socket_in_a_folder_of_the_users_is_made_and_removed_as_by_the_user(
    start: Start, before: list[str], place: Path, elsewhere: Path
) -> None:
    """Also where a killed server has left a socket, and after the folder was renamed."""
    run = users_folder(place / "own" / "run")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run / "s"))
    server = start("--umask", "027", *serving(place), bind=f"unix:{run}/s", before=before)
    found = (run / "s").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (USER.pw_uid, USER.pw_gid, 0o666)
    assert server.get("/identity").json()["users"] == [USER.pw_uid] * 3
    # The kernel lists it by its name.
    with open("/proc/net/unix", encoding="ascii") as sockets:
        assert f" {run}/s\n" in sockets.read()
    run.rename(place / "own" / "moved")
    run.symlink_to(elsewhere)
    server.stop()
    assert list((place / "own" / "moved").iterdir()) == list(elsewhere.iterdir()) == []


def test_a_socket_in_a_folder_of_the_users_gets_a_group_of_the_users_alone(
    start: Start, run: Run, before: list[str], place: Path
) -> None:
    path = users_folder(place / "run") / "s"
    server = start(*serving(place), bind=f"unix:{path}?mode=0640&group={USER.pw_gid}", before=before)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (USER.pw_uid, USER.pw_gid, 0o640)
    server.stop()
    ran = run(*serving(place), bind=f"unix:{path}?group={OTHER.gr_name}", before=before)
    assert ran.code == 78
    assert "Operation not permitted" in ran.err


def test_a_socket_in_a_folder_of_roots_gets_any_group(start: Start, before: list[str], place: Path) -> None:
    path = place / "s"
    start(*serving(place), bind=f"unix:{path}?group={OTHER.gr_name}", before=before)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (USER.pw_uid, OTHER.gr_gid, 0o660)


def test_a_socket_in_a_folder_for_everybody_is_the_users(
    start: Start, before: list[str], place: Path
) -> None:
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    server = start(*serving(place), bind=f"unix:{place}/tmp/s", before=before)
    assert (place / "tmp" / "s").stat().st_uid == USER.pw_uid
    assert server.get("/identity").status == 200
    server.stop()
    assert list((place / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("own/link/s", "link is a link that the application's user may have made"),
        ("own/roots/s", "Permission denied"),
    ],
)
def test_no_socket_is_made_where_the_user_could_not(
    run: Run, before: list[str], place: Path, elsewhere: Path, path: str, problem: str
) -> None:
    """The second folder belongs to root, but lies in one of the user's, who can replace it."""
    (place / "own" / "roots").mkdir()
    ran = run(*serving(place), bind=f"unix:{place}/{path}", before=before)
    assert (ran.code, problem in ran.err) == (78, True), ran.err
    assert list(elsewhere.iterdir()) == list((place / "own" / "roots").iterdir()) == []


def test_no_socket_is_made_where_a_folder_is_exchanged_meanwhile(
    run: Run, before: list[str], place: Path, elsewhere: Path
) -> None:
    users_folder(place / "own" / "real")
    script = "cd own; while :; do ln -s real next; mv -T next run; ln -s ../roots next; mv -T next run; done"
    swapping = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c", script]
    with subprocess.Popen(swapping, cwd=place, start_new_session=True) as swapper:
        try:
            for _ in range(10):
                # Without an application and with an invalid second address, it ends right after the sockets
                # were created.
                addresses = (f"--bind=unix:{place}/own/run/s", "--bind=site.invalid:80")
                assert run(*addresses, *serving(place), bind=None, before=before).code != 0
                control = ("--control", str(place / "own" / "run" / "control"), *serving(place))
                assert run(*control, before=before).code != 0
        finally:
            os.killpg(swapper.pid, signal.SIGKILL)
    # A process that it had started may still be ending.
    until_equal(lambda: processes.of_session(swapper.pid), [])
    assert list(elsewhere.iterdir()) == []


def test_the_control_socket_is_made_where_it_was_looked_for(
    start: Start, before: list[str], place: Path, elsewhere: Path
) -> None:
    """It stays root's even in a folder of the user's, who can put another socket there."""
    path = users_folder(place / "own" / "run") / "control"
    server = start("--control", str(path), *serving(place), before=before)
    server.wait_for(f" WARN .*path={path} --user can put another socket in the place of the control socket")
    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)
    assert server.control("--control", str(path), "status").code == 0
    server.stop()
    assert list(path.parent.iterdir()) == []


def test_no_control_socket_is_made_through_a_link_of_the_users(
    run: Run, before: list[str], place: Path, elsewhere: Path
) -> None:
    ran = run("--control", str(place / "own" / "link" / "control"), *serving(place), before=before)
    assert (ran.code, "link is a link that the application's user may have made" in ran.err) == (78, True)
    assert list(elsewhere.iterdir()) == []


def test_another_server_removes_the_users_socket_that_it_has_taken_over(
    start: Start, before: list[str], place: Path, elsewhere: Path
) -> None:
    path = users_folder(place / "own" / "run") / "s"
    server = start(*serving(place), bind=f"unix:{path}", before=before)
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    assert server.get("/identity").json()["users"] == [USER.pw_uid] * 3
    stop(server, pid)
    assert not path.exists()


@pytest.mark.parametrize(("link", "follows"), [("own/link", False), ("link", True)])
def test_a_pid_file_is_written_through_a_link_of_a_deploy_alone(
    start: Start, run: Run, before: list[str], place: Path, elsewhere: Path, link: str, follows: bool
) -> None:
    arguments = ("--user", "nobody", "--pid-file", str(place / link / "pid"), "--chdir", str(place), "probe")
    if follows:
        server = start(*arguments, before=before)
        assert (elsewhere / "pid").read_text() == f"{server.pid}\n"
        server.stop()
    else:
        ran = run(*arguments, before=before)
        assert (ran.code, "link is a link that the application's user may have made" in ran.err) == (78, True)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "FIFO"])
@pytest.mark.parametrize(("option", "text"), [("env-file", "{}=1\n"), ("config", "env = ['{}=1']\n")])
def test_what_is_read_is_no_link_of_the_users_and_no_fifo(
    start: Start, before: list[str], place: Path, elsewhere: Path, option: str, text: str, kind: str
) -> None:
    (elsewhere / "secret").write_text(text.format("SECRET"))
    file = place / "own" / "given"
    file.write_text(text.format("GIVEN"))
    arguments = ("--user", "nobody", f"--{option}", str(file), "--chdir", str(place), "probe")
    server = start(*arguments, before=before)
    file.unlink()
    if kind == "link":
        file.symlink_to(elsewhere / "secret")
    else:
        os.mkfifo(file)
    server.send_signal(signal.SIGHUP)
    server.wait_for(" reload failed| not reloaded|cannot be read")
    assert "SECRET" not in server.get("/os.environ").json()
    assert server.get("/os.environ").json()["GIVEN"] == "1"


def test_the_users_variables_are_set(start: Start, before: list[str], place: Path) -> None:
    server = start(
        *("--user", "nobody", "--env", "LOGNAME=given", "--chdir", str(place)), "probe", before=before
    )
    found = server.get("/os.environ").json()
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == (USER.pw_dir, "nobody", "given")


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("user", "no-such-user", "is no user of this machine"),
        ("group", "no-such-group", "is no group of this machine"),
    ],
)
def test_an_unknown_name_is_reported(run: Run, tmp_path: Path, option: str, name: str, message: str) -> None:
    ran = run(f"--{option}", name, "probe")
    assert (ran.code, ran.err) == (64, f'rwsgi: command line: {option} "{name}" {message}')
    (tmp_path / "rwsgi.toml").write_text(f"{option} = '{name}'\n")
    ran = run("probe")
    assert (ran.code, ran.err) == (78, f'rwsgi: rwsgi.toml:1: {option} "{name}" {message}')


def test_only_root_can_change_the_user(run: Run, before: list[str], place: Path) -> None:
    ran = run(
        *("--user", "daemon", "--chdir", str(place), "probe"),
        before=[*before, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"],
    )
    assert ran.code == 71
    assert "cannot become the user of --user" in ran.err
    assert "Operation not permitted" in ran.err


@pytest.mark.parametrize("capability", ["setgid", "setuid"])
def test_a_step_that_is_refused_is_the_end(run: Run, before: list[str], place: Path, capability: str) -> None:
    ran = run(
        *("--user", "nobody", "--chdir", str(place), "probe"),
        before=[*before, "setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}"],
    )
    assert ran.code == 71
    assert "cannot set " in ran.err
    assert " ready" not in ran.err


def test_root_is_warned_of_once(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    assert len(warnings(server)) == 1
    assert server.get("/identity").json()["users"] == [0, 0, 0]
    ((slot, pid), _) = server.children(2).items()
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    assert len(warnings(server)) == 1


def test_the_application_is_checked_as_its_user(run: Run, before: list[str], place: Path) -> None:
    (place / "shop.py").write_text("import os\nraise SystemError(f'loaded by {os.getuid()}')\n")
    ran = run("--check", "--user", "nobody", "--chdir", str(place), "shop", before=before)
    assert ran.code == 78
    assert f"loaded by {USER.pw_uid}" in ran.err


def test_the_umask_holds_for_the_application_and_not_for_sockets(start: Start, tmp_path: Path) -> None:
    server = start("--umask", "027", "probe", bind="unix:s")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o666
    assert server.get("/identity").json()["umask"] == 0o027
