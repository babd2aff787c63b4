"""Ten thousand connections that do little occupy no thread: checked by which requests are answered."""

import hashlib
import json
import resource
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE
from tests.conftest import Servers, open_door
from tests.server import Server

IDLE = 10_000
DRIPPING = 200
THREADS = 4

# Descriptors of pytest, the servers' logs and a few more clients.
SPARE = 500
# The usual limit: the server must raise it itself.
USUAL = 1024

# Each connection uses a local port, so several addresses are needed.
PER_ADDRESS = 2500

# Long enough not to be finished byte by byte.
BODY = 100_000


@contextmanager
def descriptors() -> Iterator[None]:
    """Lower the limit at first, so that a server started now has it; then see `raise_limit`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + DRIPPING + SPARE
    if before[1] < needed:
        pytest.skip(f"{needed} descriptors are needed, and `ulimit -Hn` says {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def raise_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Member:
    """A connection with one request at a time."""

    def __init__(self, server: Server, number: int) -> None:
        self.socket = socket.socket()
        self._input = bytearray()
        try:
            self.socket.settimeout(PATIENCE)
            # Closed without TIME_WAIT, since ten thousand ports would remain unusable for a while.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
            self.socket.connect(server.address)
            self.socket.setblocking(False)
            self.ask()
        except BaseException:
            self.socket.close()
            raise

    def ask(self) -> None:
        self.socket.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def read(self) -> bytes | None:
        """Read what has arrived; return the body of an answer once it is complete."""
        part = self.socket.recv(65536)
        assert part, f"closed by the server after {bytes(self._input)!r}"
        self._input += part
        head, end, body = self._input.partition(b"\r\n\r\n")
        if not end:
            return None
        status, *fields = head.lower().split(b"\r\n")
        assert status == b"http/1.1 200 ok", bytes(self._input)
        (length,) = (int(field.split(b":")[1]) for field in fields if field.startswith(b"content-length:"))
        if len(body) < length:
            return None
        assert len(body) == length
        self._input.clear()
        return bytes(body)


class Crowd:
    """Many connections, handled by one thread."""

    def __init__(self, server: Server, first: int, count: int) -> None:
        self._ending = ExitStack()
        self._selector = self._ending.enter_context(selectors.DefaultSelector())
        self.members: list[Member] = []
        try:
            for number in range(first, first + count):
                member = Member(server, number)
                self._ending.callback(member.socket.close)
                self._selector.register(member.socket, selectors.EVENT_READ, member)
                self.members.append(member)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ending.close()

    def answers(self) -> dict[Member, bytes]:
        """One answer for each connection."""
        found: dict[Member, bytes] = {}
        while len(found) < len(self.members):
            ready = self._selector.select(PATIENCE)
            assert ready, f"{len(found)} of {len(self.members)} are answered, and no more in {PATIENCE} s"
            for key, _ in ready:
                member: Member = key.data
                if (body := member.read()) is not None:
                    assert member not in found, "an answer too many"
                    found[member] = body
        return found

    def ask(self) -> int:
        """Each connection sends a request; returns how many are answered."""
        for member in self.members:
            member.ask()
        return len(self.answers())

    def check_quiet(self) -> None:
        """No connection has received anything or was closed."""
        assert self._selector.select(0) == []


class Drip:
    """Sends each connection's body byte by byte, until `finish`."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._bodies = {
            member: number.to_bytes(2, "big") * (BODY // 2) for number, member in enumerate(crowd.members)
        }
        self._sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drip")
        for member in crowd.members:
            head = f"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY}\r\n\r\n"
            member.socket.send(head.encode())
        self._thread.start()

    def _run(self) -> None:
        # The pause limits the rate.
        while not self._stop.wait(0.05):
            for member, body in self._bodies.items():
                member.socket.send(body[self._sent : self._sent + 1])
            self._sent += 1

    def __enter__(self) -> "Drip":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def finish(self) -> int:
        """Send the rest; return how many bytes were sent one by one."""
        self._stop.set()
        self._thread.join()
        for member, body in self._bodies.items():
            member.socket.setblocking(True)
            member.socket.sendall(body[self._sent :])
            member.socket.setblocking(False)
        return self._sent

    def check(self) -> None:
        """Each connection gets the answer for its own body."""
        for member, answer in self._crowd.answers().items():
            digest = hashlib.sha256(self._bodies[member]).hexdigest()
            assert json.loads(answer) == {"size": BODY, "sha256": digest}


def check_all_threads_serve(server: Server) -> None:
    """As many requests as there are threads run at the same time."""
    holds = [held() for held in [server.send_hold() for _ in range(THREADS)]]
    pids = [hold.pid for hold in holds]
    assert sorted(pids) == sorted([*server.children(2).values()] * 2)
    for hold in holds:
        hold.release()
        assert hold.answer().status == 200
        hold.client.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    servers = Servers(open_door("binary"), tmp_path)
    with descriptors():
        try:
            # All connections may have requests at once.
            pool = ("--processes", "2", "--threads", "2", "--max-connections", "12000", "--backlog", "4096")
            patient = ("--keep-alive", "300s", "--body-timeout", "60s", "--min-rate", "0")
            server = servers.start(*pool, *patient, "--max-queue", "12000", "probe", children=2)
            raise_limit()
            yield server
        finally:
            servers.end()


def test_ten_thousand_idle_connections_and_slow_bodies_leave_every_thread_free(server: Server) -> None:
    front = server.front()
    with Crowd(server, 0, IDLE) as idle, Crowd(server, IDLE, DRIPPING) as slow:
        assert (len(idle.answers()), len(slow.answers())) == (IDLE, DRIPPING)
        with Drip(slow) as drip:
            check_all_threads_serve(server)
            assert len(processes.descriptors(front)) > IDLE + DRIPPING
            assert idle.ask() == IDLE
            check_all_threads_serve(server)
            slow.check_quiet()
            assert drip.finish() > 0
            drip.check()
        check_all_threads_serve(server)
        idle.check_quiet()
        slow.check_quiet()
