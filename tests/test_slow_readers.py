"""Clients that read their answers slowly, or not at all: they occupy no thread of the application."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import processes
from tests.apps.large import content
from tests.client import Client
from tests.conftest import Start
from tests.http2 import Http2Client
from tests.outputs import Disk, as_root
from tests.server import Server
from tests.waiting import steady, until_equal

MEBIBYTE = 1 << 20
GIVEN = "^{} bytes have been given$"


def ask(server: Server, target: str) -> Client:
    """A client that has not read anything yet."""
    client = server.client()
    client.send(target)
    return client


def takes_all(client: Client, length: int) -> None:
    answer = client.answer()
    assert answer.status == 200
    assert answer.body == content(length)


@pytest.mark.parametrize("target", ["/whole/{}", "/parts/{}/1000000", "/parts/{}/5000"])
def test_a_client_that_takes_nothing_holds_no_thread(start: Start, target: str) -> None:
    server = start("large")
    length = 20 * MEBIBYTE
    clients = [ask(server, target.format(length)) for _ in range(3)]
    server.wait_for_all(GIVEN.format(length), 3)
    assert server.get("/").status == 200
    for client in clients:
        takes_all(client, length)
        # The connection works as before.
        assert client.get("/").status == 200
    server.stop()


def test_a_client_of_http2_that_takes_nothing_holds_no_thread(start: Start) -> None:
    server = start("--http2", "on", "large")
    length = 5 * MEBIBYTE
    with Http2Client(server.address) as client:
        streams = [client.send(f"/parts/{length}/5000") for _ in range(3)]
        server.wait_for_all(GIVEN.format(length), 3)
        assert server.get("/").status == 200
        client.finish(streams)
    assert all(stream.body == content(length) for stream in streams)


def test_a_client_that_takes_little_at_a_time_gets_all_in_order(start: Start) -> None:
    server = start("large")
    length = 3 * MEBIBYTE + 7
    client = ask(server, f"/parts/{length}/1013")
    server.wait_for(GIVEN.format(length))
    got = bytearray()
    response = client.response()
    while piece := response.read(50_000):
        got += piece
        if len(got) % 7 == 0:
            time.sleep(0.001)
    assert bytes(got) == content(length)


@pytest.mark.parametrize("size", ["0", "1M"])
def test_where_no_disk_space_is_left_the_thread_waits(start: Start, size: str) -> None:
    server = start("--buffer-disk", size, "--queue-timeout", "30s", "large")
    length = 20 * MEBIBYTE
    client = ask(server, f"/parts/{length}/100000")
    server.wait_for(" WARN .*--buffer-disk .* is used up.* its thread waits for its client$")
    waiting = ask(server, "/")
    takes_all(client, length)
    assert waiting.answer().status == 200
    # The used space is freed.
    if size != "0":
        client = ask(server, f"/parts/{MEBIBYTE}/100000")
        server.wait_for(GIVEN.format(MEBIBYTE))
        takes_all(client, MEBIBYTE)
    server.stop()


@as_root
def test_a_disk_that_does_not_answer_holds_up_the_responses_alone_that_go_there(
    start: Start, freezable: Disk
) -> None:
    server = start(
        *("--processes", "2", "--buffer-dir", str(freezable.place), "--health", "/-/healthz", "large"),
        children=2,
    )
    length = 5 * MEBIBYTE
    freezable.freeze()
    client = ask(server, f"/parts/{length}/100000")
    for _ in range(100):
        assert server.get("/").status == 200
        assert server.get("/-/healthz").status == 200
    freezable.thaw()
    takes_all(client, length)
    server.stop()


@as_root
def test_a_full_disk_costs_no_response(start: Start, small: Disk) -> None:
    server = start("--buffer-dir", str(small.place), "large")
    length = 5 * MEBIBYTE
    client = ask(server, f"/parts/{length}/100000")
    server.wait_for(" WARN .*No space left on device.* its thread waits for its client$")
    takes_all(client, length)
    server.stop()


def test_a_client_that_goes_gives_back_what_it_has_used(start: Start) -> None:
    server = start("--buffer-disk", "6M", "large")
    before = len(processes.descriptors(server.front()))
    for number in range(5):
        length = 5 * MEBIBYTE + number
        client = ask(server, f"/parts/{length}/100000")
        server.wait_for(GIVEN.format(length))
        client.close()
        until_equal(lambda: len(processes.descriptors(server.front())) <= before, True)
    assert "is used up" not in str(server.log)
    server.stop()


KIB_100 = 100 * 1024
ALL_OF_THEM = 200 * KIB_100


@pytest.mark.parametrize("target", [f"/whole/{KIB_100}", f"/parts/{KIB_100}/1000"])
def test_responses_have_a_bounded_amount_of_memory_together(start: Start, target: str) -> None:
    server = start("--buffer-memory", "1M", "large")
    front = server.front()
    server.get(target)
    before = processes.private(front)
    clients = [server.client(receives=8192) for _ in range(200)]
    for client in clients:
        client.send(target)
    server.wait_for_all(GIVEN.format(KIB_100), 201)
    assert processes.private(front) - before < ALL_OF_THEM // 2
    for client in clients:
        takes_all(client, KIB_100)


@pytest.mark.parametrize("target", [f"/whole/{KIB_100}", f"/parts/{KIB_100}/1000"])
def test_responses_of_http2_have_a_bounded_amount_of_memory_together(start: Start, target: str) -> None:
    server = start("--http2", "on", "--buffer-memory", "1M", "large")
    front = server.front()
    server.get(target)
    before = processes.private(front)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Http2Client(server.address, receives=8192, window=MEBIBYTE)) for _ in range(8)
        ]
        streams = {client: [client.send(target) for _ in range(50)] for client in clients}
        server.wait_for_all(GIVEN.format(KIB_100), 401)
        assert processes.private(front) - before < ALL_OF_THEM
        for client in clients:
            client.finish(streams[client])
            assert all(stream.body == content(KIB_100) for stream in streams[client])


def test_where_no_disk_space_is_left_responses_of_any_size_have_a_bounded_amount_of_memory(
    start: Start,
) -> None:
    """Each fits into the ring of its thread, and partly into the kernel's buffers."""
    length = 2 * KIB_100
    server = start("--buffer-memory", "1M", "--buffer-disk", "0", "--queue-timeout", "60s", "large")
    front = server.front()
    server.get(f"/parts/{length}/5000")
    before = processes.private(front)
    clients = [server.client(receives=8192) for _ in range(200)]
    for client in clients:
        client.send(f"/parts/{length}/5000")
    # Nothing but the clients can change it then.
    held = steady(lambda: processes.private(front))
    assert held - before < 16 * MEBIBYTE
    # Side by side: the application's thread waits for one of them, and others wait for the thread.
    with ThreadPoolExecutor(len(clients)) as readers:
        list(readers.map(lambda client: takes_all(client, length), clients))
    server.stop()


def test_memory_is_given_back_when_a_crowd_has_gone(start: Start) -> None:
    server = start("large")
    front = server.front()
    server.get("/")
    before = processes.private(front)
    clients = [server.client(receives=8192) for _ in range(200)]
    for client in clients:
        client.send(f"/whole/{KIB_100}")
    server.wait_for_all(GIVEN.format(KIB_100), 200)
    assert processes.private(front) - before > ALL_OF_THEM // 4
    for client in clients:
        client.close()
    until_equal(lambda: processes.private(front) - before < ALL_OF_THEM // 10, True)


def unread(server: Server) -> int:
    """Bytes received for a server that it has not read."""
    assert isinstance(server.address, tuple)
    port = f":{server.address[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(line[4].split(":")[1], 16) for line in lines if line[1].endswith(port))


def test_bodies_have_a_bounded_amount_of_memory_together(start: Start) -> None:
    server = start("--buffer-memory", "1M", "leaver")
    front = server.front()
    before = processes.private(front)
    body = content(KIB_100)
    clients = [server.client() for _ in range(200)]
    for client in clients:
        client.send("/body", method="POST", body=body[:-1], headers={"Content-Length": str(KIB_100)})
    until_equal(lambda: unread(server), 0)
    assert processes.private(front) - before < ALL_OF_THEM // 2
    for client in clients:
        client.socket.sendall(body[-1:])
        assert client.answer().body == b"%d\n" % KIB_100


@as_root
def test_bodies_of_http2_that_wait_for_a_disk_have_little_memory(start: Start, freezable: Disk) -> None:
    server = start("--http2", "on", "--buffer-dir", str(freezable.place), "--buffer-memory", "1M", "leaver")
    front = server.front()
    before = processes.private(front)
    freezable.freeze()
    body = content(MEBIBYTE)
    with ExitStack() as stack:
        clients = [stack.enter_context(Http2Client(server.address)) for _ in range(16)]
        streams = {client: [client.send("/body", "POST", body) for _ in range(4)] for client in clients}
        for client in clients:
            client.send_all_it_may()
        until_equal(lambda: unread(server), 0)
        assert processes.private(front) - before < 14 * MEBIBYTE
        freezable.thaw()
        for client in clients:
            client.finish(streams[client])
            assert all(stream.body == b"%d\n" % MEBIBYTE for stream in streams[client])


def test_pieces_of_one_byte_cost_about_a_byte(start: Start) -> None:
    server = start("--buffer-disk", "0", "large")
    front = server.front()
    before = processes.private(front)
    clients = [ask(server, "/parts/400000/1") for _ in range(8)]
    server.wait_for_all(GIVEN.format(400_000), 8)
    assert processes.private(front) - before < 20 * MEBIBYTE
    for client in clients:
        takes_all(client, 400_000)
