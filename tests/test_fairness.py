"""No request waits while a child is idle: checked by the order of answers, not by the clock."""

import os
import select
import socket
import time
from pathlib import Path

from tests.conftest import Start

CONNECTIONS = 61
ROUNDS = 5


def test_three_busy_children_delay_no_other_request(start: Start) -> None:
    server = start("--processes", "4", "--threads", "1", "probe", children=4)
    clients = [server.client() for _ in range(CONNECTIONS)]
    for client in clients:
        assert client.get("/").status == 200
    busy = [server.hold() for _ in range(3)]
    idle = set(server.children(4).values()) - {hold.pid for hold in busy}
    for _ in range(ROUNDS):
        for client in clients:
            client.send("/")
        # All are answered, by the idle child, while the other three are not released.
        assert {client.answer().json()["pid"] for client in clients} == idle
    for hold in busy:
        hold.release()
        assert hold.answer().status == 200


def test_three_computing_children_delay_no_other_request(start: Start) -> None:
    server = start("--processes", "4", "--threads", "1", "probe", children=4)
    clients = [server.client() for _ in range(CONNECTIONS)]
    done = server.folder / "done"
    spinning = [server.client() for _ in range(3)]
    for client in spinning:
        client.send(f"/spin?until={done}")
    server.wait_for_all(r"^spinning in \d+$", 3)
    # They compute for 2 s at least, during which other clients send requests continuously.
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for client in clients:
            client.send("/")
        for client in clients:
            assert client.answer().status == 200
    assert select.select([client.socket for client in spinning], [], [], 0)[0] == []
    done.touch()
    for client in spinning:
        assert client.answer().status == 200


def test_a_request_after_a_long_one_is_taken_by_an_idle_child(start: Start) -> None:
    """Also for threads: one process, two threads, one of them busy."""
    server = start("--threads", "2", "probe")
    busy = server.hold()
    client = server.client()
    for _ in range(50):
        assert client.get("/").status == 200
    busy.release()
    assert busy.answer().status == 200


def test_slow_readers_and_writers_hold_no_thread(start: Start) -> None:
    server = start("probe")
    half = [server.client() for _ in range(10)]
    for client in half[:5]:
        client.socket.sendall(b"GET / HTTP/1.1\r\n")
    for client in half[5:]:
        client.socket.sendall(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    assert server.get("/").json()["served"] == 1
    for client in half[:5]:
        client.socket.sendall(b"Host: a\r\n\r\n")
        assert client.answer().status == 200
    for client in half[5:]:
        client.socket.sendall(b"cde")
        assert client.answer().json()["size"] == 5


def test_what_is_yielded_is_on_the_wire_at_once(start: Start) -> None:
    server = start("--threads", "2", "probe")
    gate = server.folder / "gate"
    os.mkfifo(gate)
    client = server.client()
    client.send(f"/stream?gate={gate}")
    response = client.response()
    assert response.readline() == b"one\n"
    # Only now may the application continue.
    server.wait_for("^holding ")
    with open(os.open(gate, os.O_WRONLY | os.O_NONBLOCK), "wb") as release:
        release.write(b"!")
    assert response.readline() == b"two\n"
    assert response.readline() == b""


LARGE = """
SIZE = 3_000_000

def application(environ, start_response):
    start_response("200 OK", [("Content-Length", str(SIZE))])
    return [b"x" * SIZE]
"""


def test_a_reader_slower_than_the_time_for_a_head_still_gets_its_answers_whole(
    start: Start, tmp_path: Path
) -> None:
    """Its next request has arrived, but cannot be read before the last answer is sent."""
    (tmp_path / "large.py").write_text(LARGE)
    server = start("--header-timeout", "500ms", "--keep-alive", "500ms", "large")
    assert isinstance(server.address, tuple)
    ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as slow, socket.create_connection(server.address) as clock:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(30)
        slow.connect(server.address)
        slow.sendall(ask)
        assert slow.recv(4) == b"HTTP"
        slow.sendall(ask)
        # An incomplete head times out: then the time has passed for the slow reader, too.
        clock.settimeout(30)
        clock.sendall(b"GET / HTTP/1.1\r\n")
        assert clock.recv(12) == b"HTTP/1.1 408"
        answers = b"HTTP"
        while answers.count(b"x") < 2 * 3_000_000:
            part = slow.recv(1 << 20)
            assert part, "the connection ended before the answers did"
            answers += part
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b" 408 " not in answers
