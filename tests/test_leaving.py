"""Clients that leave at each stage of a request: all resources are freed, and the log line is right."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import processes
from tests.access_log import AccessLog
from tests.client import Client
from tests.conftest import Start
from tests.waiting import until, until_equal

# Repeated, so that a leak adds up.
TIMES = 20

Leave = Callable[[Client], None]


def reset(client: Client) -> None:
    client.reset()


def close(client: Client) -> None:
    client.close()


WAYS = pytest.mark.parametrize("leave", [reset, close])


def half_close(client: Client) -> None:
    client.socket.shutdown(socket.SHUT_WR)


class Scene:
    """A server with one thread, and its open descriptors without clients."""

    def __init__(self, start: Start, *arguments: str) -> None:
        logged = ("--access-log", "access.log", "--access-log-format", "json")
        self.server = start(*logged, "--shutdown-timeout", "2s", *arguments, "leaver")
        self.log = AccessLog(self.server.folder / "access.log")
        self._lines = 0
        self.front = self.server.front()
        before = processes.descriptors(self.front)
        # The child may open what it keeps; the front closes the connection a moment later.
        self.check_served()
        until_equal(lambda: processes.descriptors(self.front), before)
        self._held = self._holds()

    def _holds(self) -> list[dict[int, str]]:
        return [processes.descriptors(pid) for pid in (self.front, *self.server.children(1).values())]

    def begin(self, sent: bytes = b"") -> Client:
        """A connection on which this has been sent."""
        client = self.server.client()
        client.socket.sendall(sent)
        return client

    def check_served(self) -> None:
        """The only thread is free."""
        assert self.server.get("/after").body == b"here\n"
        assert self.last_line() == ("/after", 200, True)

    def check_seen(self) -> None:
        """The front has received what was sent before."""
        self.server.settle()
        assert self.last_line() == ("LAST", 400, True)

    def last_lines(self, count: int) -> list[tuple[str, int, bool]]:
        """The target without a query, the status and the completeness of each new line."""
        self._lines += count
        records = self.log.wait_for_records(self._lines)
        assert len(records) == self._lines, records
        return [
            (
                str(record.get("target", record.get("line"))).partition("?")[0],
                record["status"],
                record["complete"],
            )
            for record in records[-count:]
        ]

    def last_line(self) -> tuple[str, int, bool]:
        (line,) = self.last_lines(1)
        return line

    def count_logged(self, beginning: str) -> int:
        """How often the application has logged this."""
        return len([line for line in self.server.log.lines if line.startswith(beginning)])

    def check_closed(self, target: str, count: int) -> None:
        """This number of answers were closed, none of them twice."""
        self.server.wait_for_all(f"^closed {target}", count)
        assert self.count_logged(f"closed {target}") == count

    def end(self) -> None:
        """Nothing is open that was not open before, and there were no additional lines."""
        until_equal(self._holds, self._held)
        self.server.stop()
        assert len(self.log.lines()) == self._lines


HEADS = [b"G", b"GET /head HTTP/1.1\r\nHost: a\r\n"]


@WAYS
@pytest.mark.parametrize("sent", HEADS, ids=["first byte", "fields"])
def test_in_the_head(start: Start, leave: Leave, sent: bytes) -> None:
    scene = Scene(start)
    for _ in range(TIMES):
        leave(scene.begin(sent))
        line, status, _ = scene.last_line()
        assert (line, status) == (sent.partition(b"\r\n")[0].decode(), 400)
        scene.check_served()
    scene.end()
    assert scene.count_logged("saw /head") == 0


@WAYS
def test_in_the_head_of_a_later_request(start: Start, leave: Leave) -> None:
    scene = Scene(start)
    for _ in range(TIMES):
        client = scene.begin()
        assert client.get("/first").status == 200
        assert scene.last_line() == ("/first", 200, True)
        client.socket.sendall(HEADS[1])
        leave(client)
        line, status, _ = scene.last_line()
        assert (line, status) == ("GET /head HTTP/1.1", 400)
    scene.check_served()
    scene.end()


@WAYS
def test_before_a_request(start: Start, leave: Leave) -> None:
    """Before the first request, and between two: neither is a request."""
    scene = Scene(start)
    for _ in range(TIMES):
        leave(scene.begin())
        client = scene.begin()
        assert client.get("/first").status == 200
        assert scene.last_line() == ("/first", 200, True)
        leave(client)
    scene.check_served()
    scene.end()


BODY = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

# More than is kept in memory, so that there is a file.
LARGE = 1 << 20


def body_files(pid: int) -> list[tuple[int, int]]:
    """The size and the position of each temporary file."""
    found = []
    for number, target in processes.descriptors(pid).items():
        if target.endswith(" (deleted)") and not target.startswith("/memfd:"):
            position = Path(f"/proc/{pid}/fdinfo/{number}").read_text().split()[1]
            found.append((os.stat(f"/proc/{pid}/fd/{number}").st_size, int(position)))
    return found


@WAYS
@pytest.mark.parametrize("sent", [BODY % 10 + b"half", CHUNKED + b"a\r\nhalf"], ids=["length", "chunked"])
def test_in_a_small_body(start: Start, leave: Leave, sent: bytes) -> None:
    scene = Scene(start)
    for _ in range(TIMES):
        leave(scene.begin(sent))
        target, status, _ = scene.last_line()
        assert (target, status) == ("/body", 400)
        scene.check_served()
    scene.end()
    assert scene.count_logged("saw /body") == 0


@WAYS
def test_in_a_body_that_is_in_a_file(start: Start, leave: Leave) -> None:
    scene = Scene(start)
    for _ in range(TIMES):
        client = scene.begin(BODY % LARGE + b"a" * (LARGE - 1))
        until(lambda: body_files(scene.front) or None, lambda: "no file")
        leave(client)
        target, status, _ = scene.last_line()
        assert (target, status) == ("/body", 400)
        until_equal(lambda: body_files(scene.front), [])
        scene.check_served()
    scene.end()
    assert scene.count_logged("saw /body") == 0


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_while_queued(start: Start, size: int) -> None:
    """The application never sees the request, and its place is free for another."""
    scene = Scene(start, "--max-queue", "1")
    held = scene.server.hold("/run")
    for _ in range(TIMES):
        queued, refused = scene.begin(), scene.begin()
        queued.socket.sendall(BODY.replace(b"/body", b"/queued") % size + b"a" * size)
        if size == LARGE:
            # Written to its end, and not read yet.
            until_equal(lambda: body_files(scene.front), [(LARGE, 0)])
        scene.check_seen()
        # It has the only place.
        assert refused.get("/refused").status == 503
        refused.close()
        assert scene.last_line() == ("/refused", 503, True)
        queued.reset()
        assert scene.last_line() == ("/queued", 499, False)
        until_equal(lambda: body_files(scene.front), [])
    last = scene.begin(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
    held.release()
    assert (held.answer().status, last.answer().status) == (200, 200)
    assert scene.last_lines(2) == [("/run", 200, True), ("/last", 200, True)]
    scene.check_served()
    held.client.close()
    last.close()
    scene.end()
    assert scene.count_logged("saw /queued") == 0


def test_while_the_application_runs(start: Start) -> None:
    """The front notices at once, and not when the application answers."""
    scene = Scene(start)
    for number in range(1, TIMES + 1):
        held = scene.server.hold("/run")
        held.client.reset()
        assert scene.last_line() == ("/run", 499, False)
        held.release()
        scene.check_served()
        scene.check_closed("/run", number)
    scene.end()


@pytest.mark.parametrize("read", ["never", "before", "after"])
def test_while_the_application_runs_and_its_body_is_in_a_file(start: Start, read: str) -> None:
    """Whether it has the file, never asks for it, or asks when it no longer exists."""
    scene = Scene(start)
    for number in range(1, TIMES + 1):
        gate = scene.server.folder / f"body-gate-{number}"
        os.mkfifo(gate)
        target = f"/run?read={read}&gate={gate}".encode()
        client = scene.begin(BODY.replace(b"/body", target) % LARGE + b"a" * LARGE)
        scene.server.wait_for(f"^holding {gate} ")
        client.reset()
        assert scene.last_line() == ("/run", 499, False)
        until_equal(lambda: body_files(scene.front), [])
        with open(os.open(gate, os.O_WRONLY | os.O_NONBLOCK), "wb") as release:
            release.write(b"!")
        scene.check_served()
        scene.check_closed("/run", number)
    scene.end()


@WAYS
def test_while_it_streams_without_end(start: Start, leave: Leave) -> None:
    """A close has the effect of a reset, because there is unread data."""
    scene = Scene(start)
    for number in range(1, TIMES + 1):
        client = scene.begin(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.socket.recv(4) == b"HTTP"
        leave(client)
        assert scene.last_line() == ("/endless", 200, False)
        scene.check_closed("/endless", number)
        scene.check_served()
    scene.end()


@WAYS
def test_while_it_streams_and_waits(start: Start, leave: Leave) -> None:
    """The front notices at once, and not when the application continues."""
    scene = Scene(start)
    for number in range(1, TIMES + 1):
        client = scene.begin()
        held = scene.server.hold("/stream", client)
        assert client.socket.recv(4) == b"HTTP"
        leave(client)
        assert scene.last_line() == ("/stream", 200, False)
        held.release()
        scene.check_served()
        scene.check_closed("/stream", number)
    scene.end()


# A client that only shuts down its sending side has not left.


def test_a_half_closed_client_gets_its_answers(start: Start) -> None:
    scene = Scene(start)
    for _ in range(TIMES):
        client = scene.begin(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n" + BODY % 3 + b"abc")
        half_close(client)
        rest = client.rest()
        assert rest.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert 0 < rest.index(b"here\n") < rest.index(b"3\n")
        client.close()
        assert scene.last_lines(2) == [("/one", 200, True), ("/body", 200, True)]
    scene.end()


@pytest.mark.parametrize("target", ["/run", "/stream"])
def test_a_half_closed_client_that_waits_gets_its_answer(start: Start, target: str) -> None:
    """While it is queued, while it runs, and while it streams."""
    scene = Scene(start)
    held = scene.server.hold(target)
    half_close(held.client)
    queued = scene.begin(b"GET /queued HTTP/1.1\r\nHost: a\r\n\r\n")
    half_close(queued)
    scene.check_seen()
    held.release()
    assert held.answer().body == (b"here\n" if target == "/run" else b"one\ntwo\n")
    assert queued.answer().body == b"here\n"
    assert held.client.rest() == queued.rest() == b""
    assert scene.last_lines(2) == [(target, 200, True), ("/queued", 200, True)]
    scene.check_served()
    held.client.close()
    queued.close()
    scene.end()
