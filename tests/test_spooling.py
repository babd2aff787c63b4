"""Bodies in files: a full or frozen disk affects only the requests that need it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from tests.conftest import Start
from tests.outputs import Disk, as_root, ends_in_time
from tests.server import Server

# More than is kept in memory, and more than one piece.
LARGE = b"large" * 100_000
SMALL = b"small"


def post(server: Server, body: bytes) -> tuple[int, bytes]:
    with server.client() as client:
        answer = client.post("/body", body)
    return answer.status, answer.body


def is_right(answer: tuple[int, bytes], body: bytes) -> bool:
    return answer[0] == 200 and hashlib.sha256(body).hexdigest().encode() in answer[1]


@as_root
def test_a_disk_that_does_not_answer_holds_up_the_bodies_alone_that_go_there(
    start: Start, freezable: Disk
) -> None:
    server = start(
        *("--processes", "2", "--health", "/-/healthz", "probe"),
        children=2,
        environment={"TMPDIR": str(freezable.place)},
    )
    freezable.freeze()
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(post, server, LARGE) for _ in range(10)]
        for _ in range(100):
            assert server.get("/").status == 200
            assert is_right(post(server, SMALL), SMALL)
            assert server.get("/-/healthz").status == 200
        assert not [each for each in waiting if each.done()]
        freezable.thaw()
        assert all(is_right(each.result(), LARGE) for each in waiting)
    server.stop()


@as_root
def test_the_server_ends_although_a_disk_does_not_answer(start: Start, freezable: Disk) -> None:
    server = start("--shutdown-timeout", "1s", "probe", environment={"TMPDIR": str(freezable.place)})
    freezable.freeze()
    with server.client() as client:
        client.socket.sendall(
            b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE
        )
        for _ in range(3):
            assert server.get("/").status == 200
        ends_in_time(server)
        freezable.thaw()


@as_root
def test_a_full_disk_refuses_the_bodies_alone_that_go_there(start: Start, small: Disk) -> None:
    server = start("probe", environment={"TMPDIR": str(small.place)})
    assert post(server, LARGE)[0] == 503
    server.wait_for(" ERROR .* cannot store the body of a request$")
    assert is_right(post(server, SMALL), SMALL)
    server.stop()
