"""USR2: another server takes the listeners over, or this one continues to serve."""

import os
import signal
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE, Client
from tests.conftest import Start
from tests.load import under_load
from tests.server import Server
from tests.test_reload import deploy, deploy_gated
from tests.test_stopping import check_announced_end
from tests.waiting import until_equal


def successor(server: Server) -> int:
    return int(server.wait_for(r" pid=(\d+) another server started$")[1])


def test_another_server_takes_over_without_a_lost_request(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--processes", "2", "shop", children=2)
    before = descriptors(server)
    with under_load(server) as load:
        load.wait(50)
        deploy(tmp_path, "two")
        server.send_signal(signal.SIGUSR2)
        pid = successor(server)
        assert server.process.wait(PATIENCE) == 0
        load.wait(50)
    assert set(load.bodies) == {b"one", b"two"}
    assert server.get("/").body == b"two"
    # No process keeps the descriptors of the handover.
    until_equal(lambda: descriptors(server), before)
    stop(server, pid)


def descriptors(server: Server) -> list[int]:
    """The numbers of descriptors of the molds and children."""
    return sorted(
        len(processes.descriptors(process.pid)) for process in server.tree() if " gen " in process.title
    )


def test_another_server_takes_the_file_of_a_unix_socket_over(start: Start, tmp_path: Path) -> None:
    server = start("probe", bind="unix:socket")
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    with Client(str(tmp_path / "socket")) as client:
        assert "_RWSGI_TAKE_OVER" not in client.get("/os.environ").json()
    stop(server, pid)
    assert not (tmp_path / "socket").exists()


def test_what_the_old_server_runs_is_finished(start: Start) -> None:
    server = start("probe")
    held = server.hold()
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    # From here on it accepts no new connection.
    server.wait_for(" connections=1 front draining$")
    assert server.get("/").json()["pid"] != held.pid
    held.release()
    assert held.answer().json()["pid"] == held.pid
    assert server.process.wait(PATIENCE) == 0
    stop(server, pid)


def test_a_connection_whose_answer_crosses_the_change_ends_with_an_announcement(start: Start) -> None:
    server = start("--keep-alive", "1h", "leaver")
    idle = server.client()
    assert idle.get("/").status == 200
    held = server.hold("/stream")
    response = held.client.response()
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    # The grace period of connections that were idle at the handover is over.
    assert idle.rest() == b""
    check_announced_end(held, response)
    assert server.process.wait(PATIENCE) == 0
    stop(server, pid)


def test_options_that_the_successor_does_not_take_over_are_reported(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rwsgi.toml"
    text = "app = 'probe'\nthreads = {}\nbind = {}\n"
    file.write_text(text.format(1, ["127.0.0.1:0", "unix:a"]))
    server = start(bind=None)
    file.write_text(text.format(2, ["127.0.0.1:0", "unix:b"]))
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    server.wait_for(
        rf" WARN missing=unix:{tmp_path}/b kept=unix:{tmp_path}/a bind has changed, which takes effect only"
    )
    assert server.process.wait(PATIENCE) == 0
    assert server.status()["threads"] == 2
    stop(server, pid)


def test_unchanged_options_are_not_reported(start: Start) -> None:
    server = start("--bind", "unix:a", "probe", bind="localhost:0")
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    assert "bind has changed" not in str(server.log)
    stop(server, pid)


@pytest.mark.parametrize("hang", ["stopped", "running"])
def test_requests_that_never_end_end_with_the_former_server(start: Start, hang: str) -> None:
    server = start("--shutdown-timeout", "1s", "probe")
    held = server.hold()
    if hang == "stopped":
        os.kill(held.pid, signal.SIGSTOP)
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    server.wait_for(rf' WARN .*pid={held.pid} timeout_ms=1000 in_flight="GET /hold for \d s" not finished')
    stop(server, pid)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("1 / 0", r' ERROR cause="exit 75 .*" the other server ended before it served: this one serves on$'),
        (
            "import threading; threading.Event().wait()",
            r" ERROR .* the other server (ended before it served: this one serves on|is given up)$",
        ),
        (
            "os.kill(os.getppid(), signal.SIGSTOP)",
            r' reason="it does not serve within the startup timeout" the other server is given up$',
        ),
    ],
)
def test_a_server_that_does_not_come_to_serve_changes_nothing(
    start: Start, tmp_path: Path, code: str, outcome: str
) -> None:
    deploy(tmp_path, "one")
    server = start("--startup-timeout", "2s", "shop")
    deploy(tmp_path, "two", code=f"import signal; {code}")
    with under_load(server):
        server.send_signal(signal.SIGUSR2)
        server.wait_for(outcome)
    assert server.get("/").body == b"one"
    deploy(tmp_path, "three")
    server.send_signal(signal.SIGHUP)
    server.wait_for(" reloaded$")
    assert server.get("/").body == b"three"


def test_one_other_server_is_started_at_a_time(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("shop")
    gate = deploy_gated(tmp_path, "two")
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    server.send_signal(signal.SIGUSR2)
    server.wait_for(" no other server is started")
    with open(gate, "w", encoding="ascii") as opened:
        opened.write("go on")
    assert server.process.wait(PATIENCE) == 0
    stop(server, pid)


def test_a_stop_while_another_server_starts_stops_both(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("shop")
    deploy(
        tmp_path, "two", code="print('loading', file=sys.stderr); import threading; threading.Event().wait()"
    )
    server.send_signal(signal.SIGUSR2)
    with processes.watched([successor(server)]) as ends:
        server.wait_for("^loading$")
        server.stop()
        assert not ends.wait(PATIENCE)


def stop(server: Server, pid: int) -> None:
    """Stop the successor."""
    with processes.watched([pid]) as ends:
        os.kill(pid, signal.SIGTERM)
        assert not ends.wait(PATIENCE)
    assert server.tree() == []
