"""The control socket, rwsgictl, and the pid file."""

import json
import os
import re
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import processes
from tests.client import PATIENCE
from tests.conftest import Run, Start
from tests.server import Door, Server
from tests.tools import tool
from tests.unprivileged import reachable
from tests.waiting import until_equal

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path fits into the address of a socket."""
    with TemporaryDirectory(prefix="rwsgi-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def usual(server: Server) -> Path:
    return server.runtime / "rwsgi.sock"


def talk(path: Path, *parts: bytes) -> bytes:
    """Sends these bytes, and returns everything that is received."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        for part in parts:
            client.sendall(part)
        received = b""
        while part := client.recv(65536):
            received += part
        return received


def test_the_status_shows_every_process(start: Start) -> None:
    server = start("--processes", "2", "--threads", "2", "probe", children=2)
    for _ in range(3):
        server.get("/")
    held = server.hold()
    status = server.status()
    children = server.children(2)
    assert (status["application"], status["state"], status["urls"]) == ("probe", "serving", server.urls)
    assert (status["threads"], status["busy"], status["idle"], status["waiting"]) == (2, 1, 3, 0)
    assert status["supervisor"]["pid"] == server.pid
    assert (status["front"]["pid"], status["front"]["state"]) == (server.front(), "serving")
    mold = status["mold"]
    assert (mold["pid"], mold["generation"], mold["state"]) == (server.mold(), 1, "ready")
    assert {child["slot"]: child["pid"] for child in status["children"]} == children
    assert {(child["generation"], child["state"]) for child in status["children"]} == {(1, "ready")}
    # It is counted after the client has received its answer.
    until_equal(lambda: sum(child["served"] for child in server.status()["children"]), 3)
    assert {child["pid"]: child["busy"] for child in status["children"]}[held.pid] == 1
    for process in (status["supervisor"], status["front"], mold, *status["children"]):
        assert process["private_bytes"] > 0
        assert 0 <= process["age_seconds"] < 60
    held.release()
    held.answer()


def test_requests_that_wait_are_counted(start: Start) -> None:
    server = start("probe")
    held = server.hold()
    waiting = server.client()
    waiting.send("/")
    until_equal(lambda: server.status()["waiting"], 1)
    held.release()
    assert waiting.answer().status == 200
    until_equal(lambda: [server.status()[key] for key in ("busy", "idle", "waiting")], [0, 1, 0])


def test_the_table_is_for_people(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    ran = server.control("status")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].endswith(f"serving probe on {server.url}")
    assert lines[1] == "0 busy, 2 idle, 0 waiting"
    assert lines[3].split() == ["process", "pid", "gen", "state", "busy", "served", "age", "private"]
    names = [line[:12].strip() for line in lines[4:]]
    assert names == ["supervisor", "front", "mold", "child 0", "child 1"]


def test_a_stop_waits_for_the_end(start: Start) -> None:
    server = start("probe")
    ran = server.control("stop")
    assert (ran.code, ran.out, ran.err) == (0, "stopped\n", "")
    assert server.wait() == 0


def test_a_stop_lets_requests_finish_and_answers_meanwhile(start: Start) -> None:
    server = start("probe")
    held = server.hold()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(usual(server)))
        client.sendall(b'{"command":"stop"}\n')
        assert json.loads(client.recv(4096))["answer"] == "done"
        assert server.status()["state"] == "stopping"
        held.release()
        assert held.answer().status == 200
        assert client.recv(1) == b""
    assert server.wait() == 0


def test_a_stop_at_once_breaks_requests_off(start: Start) -> None:
    server = start("probe")
    server.hold()
    assert server.control("stop", "--now").out == "stopped\n"
    assert server.wait() == 0


SHOP = "from probe import application as application\n"


def test_a_reload_waits_for_the_new_generation(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    server = start("--processes", "2", "shop", children=2)
    before = server.get("/").json()["imported_in"]
    ran = server.control("reload")
    assert (ran.code, ran.out, ran.err) == (0, "reloaded: generation 2 serves\n", "")
    status = server.status()
    assert (status["generation"], status["state"]) == (2, "serving")
    ready = [child for child in status["children"] if child["state"] != "leaving"]
    assert [child["generation"] for child in ready] == [2, 2]
    assert server.get("/").json()["imported_in"] != before


def test_a_failed_reload_gives_the_reason_and_changes_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    server = start("shop")
    before = server.get("/").json()["pid"]
    (tmp_path / "shop.py").write_text("raise ValueError('the shop has been closed')")
    ran = server.control("reload")
    assert (ran.code, ran.out) == (1, "")
    assert "Traceback (most recent call last):" in ran.err
    assert f'File "{tmp_path / "shop.py"}", line 1' in ran.err
    last = ran.err.splitlines()[-1]
    assert last.startswith("rwsgictl: the reload failed, the old generation serves on: ")
    assert last.endswith("ValueError: the shop has been closed")
    assert server.get("/").json()["pid"] == before
    assert server.status()["generation"] == 1


def test_the_status_shows_a_reload(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    server = start("--preload", "on", "shop")
    (tmp_path / "shop.py").write_text(SHOP + "from probe import wait_at\nwait_at('gate')\n")
    os.mkfifo(tmp_path / "gate")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(usual(server)))
        client.sendall(b'{"command":"reload"}\n')
        server.wait_for("^holding gate in")
        status = server.status()
        assert (status["state"], status["generation"]) == ("reloading", 1)
        assert (status["next_mold"]["generation"], status["next_mold"]["state"]) == (2, "loading")
        assert "next mold" in server.control("status").out
        # A client that does not wait for the answer is no problem.
        with socket.socket(socket.AF_UNIX) as leaves:
            leaves.connect(str(usual(server)))
            leaves.sendall(b'{"command":"reload"}\n')
            server.wait_for_all("cause=rwsgictl reload asked for$", 2)
        (tmp_path / "shop.py").write_text(SHOP)
        gate = os.open(tmp_path / "gate", os.O_WRONLY | os.O_NONBLOCK)
        os.write(gate, b"!")
        os.close(gate)
        assert json.loads(client.recv(4096))["answer"] == "done"
    until_equal(lambda: (server.status()["state"], server.status()["generation"]), ("serving", 3))


def test_a_reload_reports_what_it_waits_for(start: Start) -> None:
    server = start("--processes", "2", "--server-limit", "2", "--shutdown-timeout", "3s", "probe", children=2)
    held = [server.hold() for _ in range(2)]
    ran = server.control("reload")
    assert (ran.code, ran.out) == (0, "reloaded: generation 2 serves\n")
    lines = ran.err.splitlines()
    assert lines, "nothing was told"
    for line in lines:
        assert re.fullmatch(r"waiting for 1 child of generation 1: /hold for \d s, /hold for \d s", line), (
            line
        )
    for hold in held:
        assert hold.answer().status == 502


def test_a_client_that_goes_leaves_the_reload_alone(start: Start) -> None:
    server = start("--processes", "2", "--server-limit", "2", "--shutdown-timeout", "3s", "probe", children=2)
    held = [server.hold() for _ in range(2)]
    # As with Ctrl-C.
    ran = server.control("reload", before=[tool("timeout", "coreutils"), "--signal=INT", "0.5"])
    assert ran.code != 0
    assert ran.out == ""
    server.wait_for(" gen=2 reloaded$")
    assert server.status()["state"] == "serving"
    assert [hold.answer().status for hold in held] == [502, 502]


def test_a_supervisor_that_does_not_answer_is_not_waited_for(start: Start) -> None:
    server = start("probe")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        ran = server.control("status")
        assert (ran.code, ran.out) == (69, "")
        assert "does not answer" in ran.err
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_reload_without_replacements_does_not_wait_for_ever(start: Start, tmp_path: Path) -> None:
    """The first child of a generation becomes ready, and no other does."""
    (tmp_path / "shop.py").write_text(SHOP)
    limits = ("--startup-timeout", "1s", "--shutdown-timeout", "1s")
    server = start("--processes", "2", "--preload", "off", *limits, "shop", children=2)
    (tmp_path / "shop.py").write_text(SHOP + "import os\nopen('once', 'x')\n")
    ran = server.control("reload")
    assert (ran.code, ran.out) == (1, "")
    assert "generation 2 serves beside 1 child of earlier ones: no further one could be " in ran.err
    # The fixed version can be loaded.
    (tmp_path / "shop.py").write_text(SHOP)
    assert server.control("reload").out == "reloaded: generation 3 serves\n"


def test_a_reload_beside_a_front_that_is_stopped_ends(start: Start) -> None:
    """It does not clear the slots of dead children, so none is free."""
    limits = ("--startup-timeout", "2s", "--shutdown-timeout", "1s", "--server-limit", "1")
    server = start(*limits, "probe")
    front = server.front()
    os.kill(front, signal.SIGSTOP)
    try:
        assert server.control("reload").out == "reloaded: generation 2 serves\n"
        ran = server.control("reload")
        assert (ran.code, ran.out) == (1, "")
        assert "no slot is free: the front has not cleared what 1 child left" in ran.err
    finally:
        os.kill(front, signal.SIGCONT)
    assert server.control("reload").out == "reloaded: generation 4 serves\n"
    assert server.get("/").status == 200


def test_a_reload_names_options_that_need_a_restart(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rwsgi.toml"
    file.write_text("app = 'probe'\n")
    server = start()
    file.write_text("app = 'probe'\nthreads = 2\nkeep-alive = 9\nmax-requests = 7\n")
    ran = server.control("reload")
    expected = "reloaded: generation 2 serves; changed but needs a restart: threads, keep-alive\n"
    assert (ran.code, ran.out) == (0, expected)


@pytest.mark.parametrize("command", ["status", "reload", "stop"])
def test_a_half_closed_client_gets_its_answer(start: Start, command: str) -> None:
    server = start("probe")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(usual(server)))
        client.sendall(json.dumps({"command": command}).encode() + b"\n")
        client.shutdown(socket.SHUT_WR)
        answer = json.loads(client.makefile().readline())
        assert answer["answer"] == ("status" if command == "status" else "done")


def test_waiting_clients_do_not_lock_others_out(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    server = start("shop")
    (tmp_path / "shop.py").write_text(SHOP + "from probe import wait_at\nwait_at('gate')\n")
    os.mkfifo(tmp_path / "gate")
    with ExitStack() as clients:
        for _ in range(20):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(usual(server)))
            client.sendall(b'{"command":"reload"}\n')
        server.wait_for("^holding gate in")
        assert server.status()["state"] == "reloading"
        assert server.control("stop").code == 0


def test_the_pool_is_scaled(start: Start) -> None:
    server = start("--server-limit", "4", "probe")
    ran = server.control("scale", "3")
    assert (ran.code, ran.out) == (0, "scaled to 3\n")
    server.children(3)
    assert server.status()["size"] == 3
    assert server.control("scale", "1").code == 0
    until_equal(lambda: [child["state"] for child in server.status()["children"]], ["ready"])
    ran = server.control("scale", "5")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "rwsgictl: 5 children are too many: the server was started with room for 4\n"
    assert json.loads(talk(usual(server), b'{"command":"scale","children":0}\n'))["answer"] == "failed"


@pytest.mark.parametrize("place", ["usual", "given", "second"])
def test_the_server_that_takes_over_is_found_where_the_former_was(
    start: Start, short: Path, tmp_path: Path, place: str
) -> None:
    environment = {"RUNTIME_DIRECTORY": str(short)}
    if place == "second":
        start("probe", environment=environment)
    given = ["--control", str(short / "given")] if place == "given" else []
    server = start(*given, "--pid-file", "pid", "probe", environment=environment)
    path = {
        "usual": short / "rwsgi.sock",
        "given": short / "given",
        "second": short / f"rwsgi-{server.pid}.sock",
    }[place]
    server.send_signal(signal.SIGUSR2)
    successor = int(server.wait_for(r" pid=(\d+) another server serves$")[1])
    with processes.watched([successor]) as ends:
        assert server.process.wait(PATIENCE) == 0
        ran = server.control("--control", str(path), "status", "--json")
        assert json.loads(ran.out)["supervisor"]["pid"] == successor
        assert (tmp_path / "pid").read_text() == f"{successor}\n"
        assert server.control("--control", str(path), "stop").code == 0
        assert ends.wait(PATIENCE) == set()
    assert not path.exists()
    assert not (tmp_path / "pid").exists()


def test_a_server_that_does_not_come_to_take_over_takes_no_place(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    server = start("--pid-file", "pid", "shop")
    (tmp_path / "shop.py").write_text("raise ValueError('no shop')")
    server.send_signal(signal.SIGUSR2)
    server.wait_for("(this one serves on|the other server is given up)$")
    assert server.status()["supervisor"]["pid"] == server.pid
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    assert [path.name for path in server.runtime.iterdir()] == ["rwsgi.sock"]


def test_the_socket_is_only_its_owners_and_goes_with_the_server(start: Start, short: Path) -> None:
    path = short / "here"
    # Regardless of the umask.
    server = start("--control", str(path), "--umask", "0", "probe")
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not usual(server).exists()
    assert server.control("--control", str(path), "status").code == 0
    assert server.control("--control", str(usual(server)), "status").code == 69
    server.stop()
    assert not path.exists()


def test_the_control_socket_can_be_switched_off(start: Start) -> None:
    server = start("--control", "off", "probe")
    assert list(server.runtime.iterdir()) == []
    assert server.control("--control", str(usual(server)), "status").code == 69


@pytest.mark.parametrize("what", ["nothing", "stale", "file"])
def test_a_server_that_does_not_answer_is_reported(door: Door, short: Path, what: str) -> None:
    path = short / "s"
    if what == "stale":
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    elif what == "file":
        path.write_text("")
    ran = door.control("--control", str(path), "status")
    reason = {
        "nothing": "there is no such socket",
        "stale": "nobody listens there any more",
        "file": "it is not a socket",
    }[what]
    assert (ran.code, ran.out) == (69, "")
    assert ran.err == f"rwsgictl: no server answers at {path}: {reason}\n"


def test_without_a_server_the_searched_folders_are_named(door: Door, short: Path) -> None:
    ran = door.control("status", environment={"RUNTIME_DIRECTORY": str(short)})
    assert ran.code == 69 or os.path.exists("/run/rwsgi")
    assert str(short) in ran.err or os.path.exists("/run/rwsgi")


def test_of_several_servers_one_has_to_be_named(start: Start, short: Path) -> None:
    environment = {"RUNTIME_DIRECTORY": f"{short}:/run/other"}
    first = start("probe", environment=environment)
    second = start("probe", environment=environment)
    own = short / f"rwsgi-{second.pid}.sock"
    ran = first.control("status")
    assert ran.code == 69
    assert f"--control {own} or {short / 'rwsgi.sock'}" in ran.err
    ran = first.control("status", "--control", str(own), "--json")
    assert json.loads(ran.out)["supervisor"]["pid"] == second.pid
    first.stop()
    assert second.status()["supervisor"]["pid"] == second.pid


def test_a_place_that_cannot_be_had_is_an_error_only_when_it_was_given(
    start: Start, run: Run, short: Path
) -> None:
    ran = run("--control", str(short / "no" / "s"), "probe")
    assert ran.code == 78
    assert "cannot open the control socket" in ran.err
    taken = short / "taken"
    start("--control", str(taken), "probe")
    assert run("--control", str(taken), "probe").code == 69
    server = start("probe", environment={"RUNTIME_DIRECTORY": str(short / "no")})
    server.wait_for(" WARN .*there is no control socket: --control names a place")
    assert server.get("/").status == 200


@as_root
@pytest.mark.parametrize(("group", "may"), [(None, [69, 0, 69]), ("daemon", [69, 0, 0])])
def test_the_socket_is_roots_and_that_of_a_group(
    start: Start, door: Door, short: Path, group: str | None, may: list[int]
) -> None:
    before = reachable(door, short / "stage")
    path = short / "s"
    given = ("--control-group", group) if group else ()
    arguments = ("--user", "nobody", "--control", str(path), *given, "--chdir", str(short), "probe")
    start(*arguments, "--umask", "077", before=before)
    assert path.stat().st_uid == 0

    def ask_as(user: str) -> int:
        own = "daemon" if user == "daemon" else "nogroup"
        became = [tool("setpriv", "util-linux"), f"--reuid={user}", f"--regid={own}", "--clear-groups"]
        ran = door.control("--control", str(path), "status", before=[*before, *became])
        assert ran.code == 0 or "no permission to ask" in ran.err, ran
        return ran.code

    assert [ask_as(user) for user in ("nobody", "root", "daemon")] == may


@as_root
def test_without_a_runtime_folder_a_user_has_one_in_tmp(start: Start, door: Door, short: Path) -> None:
    uid = 4_294_000_000 + os.getpid()
    folder = Path(f"/tmp/rwsgi-{uid}")
    became = [tool("setpriv", "util-linux"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    before = [*reachable(door, short / "stage"), *became]
    try:
        server = start("--chdir", str(short), "probe", environment={"XDG_RUNTIME_DIR": ""}, before=before)
        found = folder.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (uid, 0o700)
        assert server.control("status", before=before).code == 0
        server.stop()
        # A folder of another user is not trusted.
        os.chown(folder, 0, 0)
        os.chmod(folder, 0o777)
        server = start("--chdir", str(short), "probe", environment={"XDG_RUNTIME_DIR": ""}, before=before)
        server.wait_for(f" WARN .*{folder} is somebody else's, or open to others")
    finally:
        folder.rmdir()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "this is no command"),
        (b"\n", "this is no command"),
        (b'{"command":"dance"}\n', "unknown variant `dance`"),
        (b'{"command":"stop","now":2}\n', "invalid type"),
        (b"\xff\xfe\n", "this is no command"),
    ],
)
def test_an_invalid_command_is_answered_and_blocks_no_other(start: Start, sent: bytes, reason: str) -> None:
    server = start("probe")
    answer = json.loads(talk(usual(server), sent))
    assert answer["answer"] == "failed"
    assert reason in answer["reason"]
    assert server.status()["state"] == "serving"


def test_silent_and_flooding_clients_block_no_other(start: Start) -> None:
    server = start("probe")
    assert talk(usual(server), b"x" * 5000) == b""
    silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    try:
        # As many as are accepted, and those in the backlog.
        connected = 0
        for client in silent:
            client.setblocking(False)
            if client.connect_ex(str(usual(server))) == 0:
                connected += 1
        assert connected > 16
        # The supervisor works meanwhile, and accepts others when the silent ones time out.
        ((slot, pid),) = server.children(1).items()
        os.kill(pid, signal.SIGKILL)
        server.replacement(slot, pid)
        assert server.get("/").status == 200
        for client in silent[16:]:
            client.close()
        assert server.status()["state"] == "serving"
        server.stop()
    finally:
        for client in silent:
            client.close()


def test_clients_of_the_socket_do_not_leave_the_supervisor_anything(start: Start) -> None:
    server = start("probe")
    server.status()
    before = processes.descriptors(server.pid)
    for _ in range(20):
        server.status()
        talk(usual(server), b"\n")
    # The connection of the first status may still have been open when they were counted.
    until_equal(lambda: len(processes.descriptors(server.pid)) <= len(before), True)


def test_no_process_inherits_what_is_the_supervisors(start: Start) -> None:
    """A replacement has as many descriptors as the first child, whatever the supervisor has open."""
    server = start("--processes", "2", "probe", children=2)
    first = {pid: len(processes.descriptors(pid)) for pid in server.children(2).values()}
    front = len(processes.descriptors(server.front()))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(usual(server)))
        client.sendall(b'{"command":')
        server.settle()
        for slot, pid in server.children(2).items():
            os.kill(pid, signal.SIGKILL)
            server.replacement(slot, pid)
        mark = server.mark()
        os.kill(server.mold(), signal.SIGKILL)
        server.wait_for("mold ready$", since=mark)
        ((slot, pid), _) = server.children(2).items()
        mark = server.mark()
        os.kill(pid, signal.SIGKILL)
        server.wait_for(rf" child={slot} .*\d ready$", since=mark)
        mark = server.mark()
        os.kill(server.front(), signal.SIGKILL)
        server.wait_for("front serving$", since=mark)
        children = server.children(2).values()
        assert server.get("/").status == 200
        assert {len(processes.descriptors(pid)) for pid in children} == set(first.values())
        assert len(set(first.values())) == 1
        until_equal(lambda: len(processes.descriptors(server.front())), front)
        held = {name for name in processes.descriptors(server.pid).values() if name.startswith("socket:")}
        for process in server.tree():
            if process.pid not in (server.pid, server.front()):
                # Of the descriptor channel, the children's end is shared by all.
                assert len(held & set(processes.descriptors(process.pid).values())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command: there are status, reload, scale and stop"),
        (["start"], 'unknown command "start": there are status, reload, scale and stop'),
        (["scale"], "scale needs a number of processes"),
        (["scale", "0"], 'scale "0" must be a whole number from 1 to 65535'),
        (["status", "--now"], "--now goes with stop"),
        (["--verbose", "status"], "--verbose"),
    ],
)
def test_a_wrong_command_line_is_explained(door: Door, arguments: list[str], message: str) -> None:
    ran = door.control(*arguments)
    assert (ran.code, ran.out) == (64, "")
    assert ran.err.startswith("rwsgictl: command line: ")
    assert message in ran.err


def test_the_command_explains_itself(door: Door) -> None:
    ran = door.control("--help")
    assert ran.code == 0
    for word in ("status", "reload", "scale N", "stop", "--control", "--json", "--now", "RWSGI_CONTROL"):
        assert word in ran.out
    assert door.control("--version").out.startswith("rwsgictl ")


def test_the_pid_file_is_there_as_long_as_the_server_is(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = start("--pid-file", "pid", "--umask", "0", "probe")
    assert path.read_text() == f"{server.pid}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    os.kill(int(path.read_text()), signal.SIGTERM)
    assert server.wait() == 0
    assert not path.exists()


def test_the_pid_file_of_another_server_stays(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    first = start("--pid-file", "pid", "probe")
    second = start("--pid-file", "pid", "probe")
    first.stop()
    assert path.read_text() == f"{second.pid}\n"


def test_a_pid_file_that_cannot_be_written_is_an_error(run: Run) -> None:
    ran = run("--pid-file", "no/pid", "probe")
    assert ran.code == 78
    assert "cannot write the pid file" in ran.err


def test_a_start_that_fails_leaves_nothing_behind(run: Run, short: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('no shop')")
    ran = run("--control", str(short / "s"), "--pid-file", str(short / "pid"), "broken")
    assert ran.code == 75
    assert list(short.iterdir()) == []
    ran = run("--control", str(short / "s"), "--pid-file", "no/pid", "probe")
    assert ran.code == 78
    assert list(short.iterdir()) == []
