"""The time limits: what each one ends and what not, and the response to the client."""

import select
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from tests import processes
from tests.client import Client
from tests.conftest import Start
from tests.server import Server
from tests.waiting import until_equal

REASONS = {408: "Request Timeout", 503: "Service Unavailable"}

HEAD = b"POST /body HTTP/1.1\r\nHost: localhost\r\n"


def check_refusal(client: Client, status: int) -> None:
    """The next answer is an error, and the last one of its connection."""
    answer = client.answer()
    assert (answer.status, answer.body) == (status, f"{status} {REASONS[status]}\n".encode())
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Connection"] == "close"
    assert client.rest() == b""
    # The server waits for the client's close.
    client.close()


def has_something(client: Client, seconds: float) -> bool:
    """Whether the server sends something or closes within the time."""
    return bool(select.select([client.socket], [], [], seconds)[0])


def drip(client: Client, pieces: Iterable[bytes], pause: float = 0.1) -> bool:
    """Send the pieces with a pause after each, until the server sends something."""
    for piece in pieces:
        client.socket.sendall(piece)
        if has_something(client, pause):
            return True
    return False


def one_by_one(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def wait_for_408(server: Server) -> None:
    """Wait until the time for a head that begins now has passed."""
    with Client(server.address) as clock:
        clock.socket.sendall(b"G")
        assert clock.rest().startswith(b"HTTP/1.1 408 ")


# The head.


@pytest.mark.parametrize(
    "part",
    [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n"],
    ids=["G", "line", "field"],
)
def test_part_of_a_head_is_answered_with_408_when_the_rest_does_not_come(start: Start, part: bytes) -> None:
    server = start("--header-timeout", "500ms", "leaver")
    began = time.monotonic()
    client = server.client()
    client.socket.sendall(part)
    check_refusal(client, 408)
    assert time.monotonic() - began >= 0.5
    assert server.get("/").status == 200


def test_a_connection_on_which_nothing_comes_is_closed_without_a_byte(start: Start) -> None:
    server = start("--header-timeout", "500ms", "leaver")
    began = time.monotonic()
    client = server.client()
    assert client.rest() == b""
    assert time.monotonic() - began >= 0.5


def test_the_head_of_a_later_request_has_the_same_time(start: Start) -> None:
    server = start("--header-timeout", "500ms", "--keep-alive", "1h", "leaver")
    client = server.client()
    assert client.get("/").status == 200
    began = time.monotonic()
    client.socket.sendall(b"GET /second HTTP/1.1\r\n")
    check_refusal(client, 408)
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("nth", ["first", "second"])
def test_a_client_that_drips_its_head_is_given_no_more_time(start: Start, nth: str) -> None:
    server = start("--header-timeout", "1s", "--keep-alive", "1h", "leaver")
    client = server.client()
    if nth == "second":
        assert client.get("/").status == 200
    began = time.monotonic()
    # The head would take far longer than the time limit.
    assert drip(client, one_by_one(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 500))
    check_refusal(client, 408)
    assert time.monotonic() - began >= 1
    assert [line for line in server.log.lines if line == "saw /"] == ["saw /"] * (nth == "second")


def test_the_time_for_a_head_begins_with_its_first_byte(start: Start) -> None:
    server = start("--header-timeout", "500ms", "--keep-alive", "1h", "leaver")
    client = server.client()
    assert client.get("/").status == 200
    # Idle for longer than a head may take.
    wait_for_408(server)
    assert client.get("/").status == 200


def test_a_head_in_pieces_that_comes_in_time_is_served(start: Start) -> None:
    client = start("--header-timeout", "10s", "leaver").client()
    assert not drip(client, one_by_one(b"GET / HTTP/1.1\r\nHost: a\r\n\r"), pause=0.02)
    client.socket.sendall(b"\n")
    assert client.answer().body == b"here\n"


# Between two requests.


def test_an_idle_connection_is_closed_without_a_response(start: Start) -> None:
    client = start("--keep-alive", "500ms", "leaver").client()
    for _ in range(3):
        assert client.get("/").status == 200
    answered = time.monotonic()
    assert client.rest() == b""
    # The answer may have been sent a little before it was read.
    assert time.monotonic() - answered >= 0.4


def test_a_request_that_runs_for_longer_than_a_connection_may_be_idle_is_answered(start: Start) -> None:
    server = start("--threads", "2", "--keep-alive", "500ms", "leaver")
    clock = server.client()
    held = server.hold("/run")
    assert clock.get("/").status == 200
    assert clock.rest() == b""
    held.release()
    assert held.answer().body == b"here\n"
    assert held.client.get("/").status == 200


def test_without_keep_alive_a_second_request_is_not_read(start: Start) -> None:
    server = start("--keep-alive", "0", "leaver")
    client = server.client()
    client.socket.sendall(
        b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\nGET /second HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert client.rest() == b""
    assert server.get("/third").status == 200
    server.wait_for("^saw /third$")
    assert "saw /second" not in server.log.lines


# The body.

KINDS = pytest.mark.parametrize(
    ("framing", "begin"),
    [(b"Content-Length: 1000\r\n\r\n", b""), (b"Transfer-Encoding: chunked\r\n\r\n", b"3e8\r\n")],
    ids=["length", "chunked"],
)


def check_unseen(server: Server) -> None:
    """The application has seen no body, and its thread has not waited for one."""
    assert server.get("/after").status == 200
    server.wait_for("^saw /after$")
    assert "saw /body" not in server.log.lines


@KINDS
def test_a_body_that_pauses_for_too_long_is_answered_with_408(
    start: Start, framing: bytes, begin: bytes
) -> None:
    server = start("--body-timeout", "500ms", "--min-rate", "0", "leaver")
    client = server.client()
    began = time.monotonic()
    client.socket.sendall(HEAD + framing + begin + b"half")
    check_refusal(client, 408)
    assert time.monotonic() - began >= 0.5
    check_unseen(server)


@KINDS
def test_a_body_of_which_nothing_comes_is_answered_with_408(
    start: Start, framing: bytes, begin: bytes
) -> None:
    server = start("--body-timeout", "500ms", "leaver")
    client = server.client()
    client.socket.sendall(HEAD + framing)
    check_refusal(client, 408)
    check_unseen(server)


@KINDS
def test_a_body_that_drips_without_a_pause_is_answered_with_408(
    start: Start, framing: bytes, begin: bytes
) -> None:
    server = start("--body-timeout", "1s", "--min-rate", "1000", "leaver")
    client = server.client()
    client.socket.sendall(HEAD + framing + begin)
    began = time.monotonic()
    assert drip(client, one_by_one(b"a" * 900))
    check_refusal(client, 408)
    assert time.monotonic() - began >= 1
    check_unseen(server)


def test_any_rate_will_do_when_the_least_is_none(start: Start) -> None:
    server = start("--body-timeout", "1s", "--min-rate", "0", "leaver")
    client = server.client()
    client.socket.sendall(HEAD + b"Content-Length: 20\r\n\r\n")
    assert not drip(client, one_by_one(b"a" * 19))
    client.socket.sendall(b"a")
    assert client.answer().body == b"20\n"


def test_a_body_faster_than_the_least_rate_may_take_longer_than_a_pause(start: Start) -> None:
    server = start("--body-timeout", "1s", "--min-rate", "1000", "leaver")
    client = server.client()
    client.socket.sendall(HEAD + b"Content-Length: 50000\r\n\r\n")
    assert not drip(client, [b"a" * 2000] * 24)
    client.socket.sendall(b"a" * 2000)
    assert client.answer().body == b"50000\n"


# The answer.


def reader(server: Server) -> Client:
    """A client with small buffers in the kernel."""
    return server.client(receives=8192)


def test_a_reader_that_takes_nothing_is_cut_off_and_its_thread_freed(start: Start) -> None:
    server = start("--send-timeout", "1s", "leaver")
    client = reader(server)
    client.send("/endless")
    assert client.socket.recv(4) == b"HTTP"
    began = time.monotonic()
    server.wait_for("^closed /endless$")
    assert time.monotonic() - began >= 1
    assert server.get("/").body == b"here\n"
    # What was sent before may still be read; the end of a chunked body is missing.
    assert not client.rest().endswith(b"0\r\n\r\n")


def test_a_reader_that_takes_nothing_is_cut_off_when_the_application_has_finished(start: Start) -> None:
    server = start("--send-timeout", "1s", "--keep-alive", "1h", "leaver")
    front = server.front()
    before = processes.descriptors(front)
    client = reader(server)
    # The front buffers each answer completely; one of them is more than the kernel accepts.
    client.socket.sendall(b"GET /large?pieces=8 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
    assert client.socket.recv(4) == b"HTTP"
    until_equal(lambda: processes.descriptors(front), before)
    assert len(client.rest()) < 20 * 8 * 65536
    assert server.get("/").status == 200
    server.wait_for("^saw /$")
    lines = server.log.lines
    assert lines.count("saw /large?pieces=8") == lines.count("closed /large?pieces=8") < 20


def test_a_mebibyte_of_an_answer_frees_its_thread_and_waits_for_its_reader(start: Start) -> None:
    server = start("leaver")
    client = reader(server)
    client.send("/large?pieces=16")
    server.wait_for(r"^closed /large\?pieces=16$")
    assert server.get("/").body == b"here\n"
    assert client.answer().body == b"x" * (1 << 20)


def test_of_an_answer_that_fits_nowhere_no_more_is_taken_than_is_read(start: Start) -> None:
    server = start("--send-timeout", "1s", "--buffer-disk", "0", "leaver")
    client = reader(server)
    client.send("/counted")
    given = int(server.wait_for(r"^gave (\d+) bytes$")[1])
    # The buffers in memory, in the ring, and in the kernel.
    assert 640 << 10 <= given < 3 << 20
    assert client.socket.recv(4) == b"HTTP"


def read_slowly(client: Client, seconds: float, size: int, pause: float) -> int:
    """Returns how many bytes arrived."""
    taken = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        part = client.socket.recv(size)
        assert part
        taken += len(part)
        # The pause limits the rate of the reader.
        time.sleep(pause)
    return taken


def test_a_reader_that_is_slow_but_steady_is_not_cut_off(start: Start) -> None:
    server = start("--send-timeout", "1s", "leaver")
    client = server.client()
    client.send("/endless")
    read_slowly(client, seconds=4, size=1 << 18, pause=0.05)
    assert "closed /endless" not in server.log.lines


@pytest.mark.parametrize("disk", ["0", "1G"])
def test_a_reader_that_takes_less_than_the_least_rate_is_cut_off(start: Start, disk: str) -> None:
    server = start("--send-timeout", "1s", "--min-rate", "1M", "--buffer-disk", disk, "leaver")
    front = server.front()
    before = processes.descriptors(front)
    client = reader(server)
    client.send("/large?pieces=64")
    # Some 80 kB per second. The pause limits the rate of the reader.
    taken = 0
    with suppress(ConnectionResetError):
        while part := client.socket.recv(8192):
            taken += len(part)
            time.sleep(0.1)
    assert taken < 64 * 65536
    until_equal(lambda: processes.descriptors(front), before)
    assert server.get("/").body == b"here\n"


def test_a_reader_is_not_cut_off_that_takes_little_at_a_time(start: Start) -> None:
    """Less than the kernel by default waits for before it reports a full socket writable again."""
    server = start("--send-timeout", "2s", "leaver")
    client = reader(server)
    client.send("/endless")
    read_slowly(client, seconds=6, size=8192, pause=0.1)
    assert "closed /endless" not in server.log.lines


def test_a_reader_is_not_cut_off_that_takes_little_of_a_file_at_a_time(start: Start, tmp_path: Path) -> None:
    """Its connection is not idle, either, while the kernel has unsent data."""
    size = 2 << 20
    (tmp_path / "file").write_bytes(bytes(size))
    server = start("--send-timeout", "2s", "--keep-alive", "2s", "files")
    client = reader(server)
    client.send(f"/regular?path={tmp_path}/file")
    head = client.socket.recv(1 << 16, socket.MSG_PEEK).index(b"\r\n\r\n") + 4
    left = head + size - read_slowly(client, seconds=6, size=8192, pause=0.1)
    while left:
        left -= len(client.socket.recv(min(left, 1 << 16)))
    assert client.get("/where").status == 200


def test_a_reader_that_takes_nothing_of_a_file_is_cut_off(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(16 << 20))
    server = start("--send-timeout", "1s", "--keep-alive", "1h", "files")
    front = server.front()
    before = processes.descriptors(front)
    client = reader(server)
    client.send(f"/regular?path={tmp_path}/file")
    assert client.socket.recv(4) == b"HTTP"
    until_equal(lambda: processes.descriptors(front), before)
    assert len(client.rest()) < 16 << 20


# The queue.


def test_a_request_that_no_thread_takes_in_time_is_answered_with_503_and_never_seen(start: Start) -> None:
    server = start("--queue-timeout", "500ms", "leaver")
    held = server.hold("/run")
    began = time.monotonic()
    answer = server.get("/waits")
    assert time.monotonic() - began >= 0.5
    assert (answer.status, answer.body) == (503, b"503 Service Unavailable\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Retry-After"] == "1"
    # A request that a thread has taken may take any time.
    held.release()
    assert held.answer().status == 200
    assert server.get("/after").status == 200
    server.wait_for("^saw /after$")
    assert "saw /waits" not in server.log.lines


def test_a_place_in_the_queue_is_free_again_when_its_time_is_over(start: Start) -> None:
    server = start("--queue-timeout", "500ms", "--max-queue", "1", "leaver")
    held = server.hold("/run")
    for _ in range(3):
        began = time.monotonic()
        assert server.get("/waits").status == 503
        # Not refused at once, which would mean that the request before still had the place.
        assert time.monotonic() - began >= 0.5
    waiting = server.client()
    waiting.send("/last")
    held.release()
    assert (held.answer().status, waiting.answer().status) == (200, 200)
    server.wait_for("^saw /last$")
    assert "saw /waits" not in server.log.lines


def test_a_request_for_which_the_queue_has_no_room_is_answered_with_503_at_once(start: Start) -> None:
    server = start("--queue-timeout", "1h", "--max-queue", "1", "leaver")
    held = server.hold("/run")
    waiting, refused = server.client(), server.client()
    waiting.send("/waits")
    server.settle()
    refused.send("/refused")
    answer = refused.answer()
    assert (answer.status, answer.body) == (503, b"503 Service Unavailable\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Retry-After"] == "1"
    held.release()
    assert (held.answer().status, waiting.answer().status) == (200, 200)
    server.wait_for("^saw /waits$")
    assert "saw /refused" not in server.log.lines


@pytest.mark.parametrize("why", ["full", "slow"])
def test_a_503_without_a_free_thread_keeps_the_connection(start: Start, why: str) -> None:
    """The request was read completely: closing the connection would only add to the load."""
    time_in_queue = "1h" if why == "full" else "500ms"
    server = start("--queue-timeout", time_in_queue, "--max-queue", "1", "leaver")
    held = server.hold("/run")
    waiting = server.client()
    if why == "full":
        waiting.send("/waits")
        server.settle()
    refused = server.client()
    assert refused.get("/refused").status == 503
    held.release()
    assert held.answer().status == 200
    if why == "full":
        # Until a thread takes it, it has the only place.
        assert waiting.answer().status == 200
    assert refused.get("/again").status == 200
