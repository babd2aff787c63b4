"""The end of a server: requests are finished, and nothing is left; the latter is checked by `wait`."""

import os
import signal
import threading
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.server import Hold, Server
from tests.waiting import until_equal

# Far below the default shutdown timeout of 30 s, and far above the duration of a stop.
AT_ONCE = 10.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_and_in_line_are_finished(start: Start, number: signal.Signals) -> None:
    server = start("probe")
    held = server.hold()
    waiting = server.client()
    waiting.send("/")
    server.send_signal(number)
    server.wait_for(rf" signal={number.name} stopping$")
    held.release()
    assert held.answer().json()["pid"] == held.pid
    assert waiting.answer().status == 200
    assert server.wait(AT_ONCE) == 0


def test_a_signal_to_the_whole_process_group_is_one_to_the_supervisor(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    held = server.hold()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        for process in server.tree():
            if process.pid != server.pid:
                os.kill(process.pid, number)
    os.killpg(server.pid, signal.SIGTERM)
    server.wait_for(" stopping$")
    held.release()
    assert held.answer().json()["pid"] == held.pid
    assert server.wait(AT_ONCE) == 0
    assert not [line for line in server.log.lines if " died" in line]


def test_a_terminal_interrupts_the_whole_process_group(start: Start) -> None:
    server = start("--threads", "2", "probe")
    held = server.hold()
    os.killpg(server.pid, signal.SIGINT)
    server.wait_for(" stopping$")
    held.release()
    assert held.answer().status == 200
    assert server.wait(AT_ONCE) == 0


def test_what_is_not_finished_in_time_is_broken_off(start: Start) -> None:
    server = start("--shutdown-timeout", "500ms", "probe")
    held = server.hold()
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    rest = held.client.rest()
    assert b"200 OK" not in rest
    assert server.process.wait(AT_ONCE) == 0
    assert time.monotonic() - began >= 0.5
    assert server.wait() == 0


def test_quit_stops_at_once(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    held = server.hold()
    server.send_signal(signal.SIGQUIT)
    assert b"200 OK" not in held.client.rest()
    assert server.wait(AT_ONCE) == 0


def test_a_second_interrupt_stops_at_once(start: Start) -> None:
    server = start("probe")
    held = server.hold()
    server.send_signal(signal.SIGINT)
    server.wait_for(" stopping$")
    server.send_signal(signal.SIGINT)
    assert b"200 OK" not in held.client.rest()
    assert server.wait(AT_ONCE) == 0


def test_a_second_term_changes_nothing(start: Start) -> None:
    server = start("probe")
    held = server.hold()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" stopping$")
    server.send_signal(signal.SIGTERM)
    held.release()
    assert held.answer().status == 200
    assert server.wait(AT_ONCE) == 0


def test_idle_connections_do_not_keep_the_server(start: Start) -> None:
    server = start("--keep-alive", "1h", "probe")
    clients = [server.client() for _ in range(3)]
    assert clients[0].get("/").status == 200
    server.send_signal(signal.SIGTERM)
    assert [client.rest() for client in clients] == [b""] * 3
    assert server.wait(AT_ONCE) == 0


def test_a_request_that_crosses_the_stop_on_an_open_connection_is_answered(start: Start) -> None:
    server = start("probe")
    idle, fresh = server.client(), server.client()
    assert idle.get("/").status == 200
    server.send_signal(signal.SIGTERM)
    server.wait_for(" stopping$")
    for client in (idle, fresh):
        # The front may not have received the order to drain at the first request.
        while (answer := client.get("/")).headers["Connection"] != "close":
            assert answer.status == 200
        assert answer.status == 200
        assert client.rest() == b""
    assert server.wait(AT_ONCE) == 0


def check_announced_end(held: Hold, response: HTTPResponse) -> None:
    """The streamed answer ends, and one more request is answered before the connection is closed."""
    held.release()
    assert response.read() == b"one\ntwo\n"
    answer = held.client.get("/")
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert held.client.rest() == b""


def test_a_connection_whose_answer_crosses_the_stop_ends_with_an_announcement(start: Start) -> None:
    """The head of a streamed answer was sent before: only a further answer can have `Connection: close`."""
    server = start("--keep-alive", "1h", "leaver")
    idle = server.client()
    assert idle.get("/").status == 200
    held = server.hold("/stream")
    response = held.client.response()
    assert response.headers["Connection"] != "close"
    server.send_signal(signal.SIGTERM)
    # The grace period of connections that were idle at the stop is over.
    assert idle.rest() == b""
    check_announced_end(held, response)
    assert server.wait(AT_ONCE) == 0


def test_an_answer_that_crosses_the_stop_does_not_keep_its_connection(start: Start) -> None:
    """The grace period is short: a client without further requests does not delay the server."""
    server = start("--keep-alive", "1h", "leaver")
    held = server.hold("/stream")
    response = held.client.response()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" connections=1 front draining$")
    held.release()
    assert response.read() == b"one\ntwo\n"
    assert held.client.rest() == b""
    assert server.wait(AT_ONCE) == 0


def test_a_request_behind_an_answer_that_crosses_the_begin_of_the_delay_is_answered(start: Start) -> None:
    server = start("--shutdown-delay", "1h", "--health", "/health", "leaver")
    held = server.hold("/stream")
    assert held.client.socket.recv(4) == b"HTTP"
    server.send_signal(signal.SIGTERM)
    server.wait_for(" serving on until the delay is over$")
    until_equal(lambda: server.get("/health").body, b"stopping\n")
    held.client.send("/")
    server.settle()
    held.release()
    first, second = held.client.rest().split(b"HTTP/1.1 200 OK\r\n")
    assert (b"two\n" in first, b"close" in first) == (True, False)
    assert (b"here\n" in second, b"connection: close\r\n" in second.lower()) == (True, True)
    server.send_signal(signal.SIGINT)
    assert server.wait(AT_ONCE) == 0


def test_a_child_that_dies_during_the_stop_does_not_hold_it_up(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    lost, kept = server.hold(), server.hold()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" stopping$")
    os.kill(lost.pid, signal.SIGKILL)
    assert lost.answer().status == 502
    kept.release()
    assert kept.answer().status == 200
    assert server.wait(AT_ONCE) == 0


def test_a_front_that_dies_during_the_stop_does_not_hold_it_up(start: Start) -> None:
    server = start("probe")
    held = server.hold()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" stopping$")
    os.kill(server.front(), signal.SIGKILL)
    assert b"200 OK" not in held.client.rest()
    held.release()
    assert server.wait(AT_ONCE) == 0


def loading(start: Start, folder: Path, *arguments: str) -> Server:
    (folder / "slow.py").write_text(
        "import sys, threading\nprint('loading', file=sys.stderr)\nthreading.Event().wait()"
    )
    server = start(*arguments, "slow", children=None)
    server.wait_for("^loading$")
    return server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_stop_during_a_slow_import_is_at_once(
    start: Start, tmp_path: Path, preload: str, number: signal.Signals
) -> None:
    server = loading(start, tmp_path, "--preload", preload)
    server.send_signal(number)
    assert server.wait(AT_ONCE) == 0
    assert not [line for line in server.log.lines if "Traceback" in line]


def test_a_stop_while_a_replacement_loads_does_not_wait_for_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slower.py").write_text(
        "import os, sys, threading\n"
        "if os.path.exists('slow'): print('loading', file=sys.stderr); threading.Event().wait()\n"
        "from probe import application as application\n"
    )
    server = start("--preload", "off", "slower")
    (tmp_path / "slow").touch()
    ((_, pid),) = server.children(1).items()
    os.kill(pid, signal.SIGKILL)
    server.wait_for("^loading$")
    server.send_signal(signal.SIGTERM)
    assert server.wait(AT_ONCE) == 0


def test_exit_functions_run_at_a_stop(start: Start, tmp_path: Path) -> None:
    (tmp_path / "polite.py").write_text(
        "import atexit, os, rwsgi, sys\n"
        "from probe import application as application\n"
        "loaded_in = os.getpid()\n"
        "def leave():\n"
        "    print('left', 'mold' if os.getpid() == loaded_in else 'child', file=sys.stderr)\n"
        "    sys.stdout.write('buffered to the end')\n"
        "rwsgi.after_fork(lambda: atexit.register(leave))\n"
    )
    server = start("--preload", "on", "polite")
    server.stop()
    assert "left child" in server.log.lines
    assert "buffered to the end" in str(server.output)


def test_a_load_that_goes_on_during_the_stop_loses_nothing(start: Start) -> None:
    """Clients that send requests continuously get an answer that announces the close."""
    server = start("--processes", "2", "probe", children=2)
    answered = threading.Semaphore(0)
    broken: list[str] = []

    def load() -> None:
        client = server.client()
        try:
            while (answer := client.get("/")).headers["Connection"] != "close":
                answered.release()
            assert answer.status == 200
        except (OSError, AssertionError, HTTPException) as error:
            broken.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert answered.acquire(timeout=30)
    server.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.wait(AT_ONCE) == 0
    assert broken == []


def test_connections_during_the_stop_are_refused_and_not_left_waiting(start: Start) -> None:
    """A refused client can connect to another server at once."""
    server = start("probe")
    held = server.hold()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" connections=1 front draining$")
    with pytest.raises(ConnectionRefusedError):
        server.client()
    held.release()
    assert held.answer().status == 200
    assert server.wait(AT_ONCE) == 0


def test_a_delay_serves_on_and_has_clients_leave(start: Start) -> None:
    """Time for a load balancer to notice that the server is about to stop."""
    server = start("--shutdown-delay", "1s", "probe")
    kept = server.client()
    assert kept.get("/").headers["Connection"] != "close"
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" delay_ms=1000 serving on until the delay is over$")
    # The front may not have received the order at the first request.
    while (answer := kept.get("/")).headers["Connection"] != "close":
        assert answer.status == 200
    assert kept.rest() == b""
    fresh = server.get("/")
    assert (fresh.status, fresh.headers["Connection"]) == (200, "close")
    assert server.wait(AT_ONCE) == 0
    assert time.monotonic() - began >= 1


def test_during_the_delay_the_server_is_alive_and_not_ready(start: Start) -> None:
    server = start("--shutdown-delay", "1h", "--health", "/health", "probe")
    asking, kept = server.client(), server.client()
    assert asking.get("/health").status == 200
    assert kept.get("/").status == 200
    held = server.hold()
    server.send_signal(signal.SIGINT)
    server.wait_for(" serving on until the delay is over$")
    # The front may not have received the order at the first request.
    until_equal(lambda: server.get("/health").body, b"stopping\n")
    answer = asking.get("/health")
    assert (answer.status, answer.body) == (503, b"stopping\n")
    assert answer.headers["Connection"] == "close"
    assert asking.rest() == b""
    live = server.get("/health/live")
    assert (live.status, live.body, live.headers["Connection"]) == (200, b"live\n", "close")
    held.release()
    assert held.answer().status == 200
    for answer in (kept.get("/"), server.get("/")):
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
    # A new front knows it from its start.
    os.kill(server.front(), signal.SIGKILL)
    server.wait_for_all(" front serving$", 2)
    assert server.get("/").status == 200
    until_equal(lambda: server.get("/health").body, b"stopping\n")
    server.send_signal(signal.SIGINT)
    assert server.wait(AT_ONCE) == 0


def test_a_server_that_drains_is_not_ready(start: Start) -> None:
    server = start("--health", "/health", "probe")
    held, asking = server.hold(), server.client()
    assert asking.get("/health").status == 200
    server.send_signal(signal.SIGTERM)
    server.wait_for(r" front draining$")
    answer = asking.get("/health")
    assert (answer.status, answer.body, answer.headers["Connection"]) == (503, b"stopping\n", "close")
    held.release()
    assert held.answer().status == 200
    assert server.wait(AT_ONCE) == 0


def test_a_second_interrupt_does_not_wait_for_the_delay(start: Start) -> None:
    server = start("--shutdown-delay", "1h", "probe")
    server.send_signal(signal.SIGINT)
    server.wait_for(" serving on until the delay is over$")
    server.send_signal(signal.SIGINT)
    assert server.wait(AT_ONCE) == 0
