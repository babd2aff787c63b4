"""`wsgi.file_wrapper`: which bytes arrive, and which threads are occupied meanwhile."""

import asyncio
import gzip
import os
import random
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests import processes
from tests.client import Client
from tests.conftest import Start
from tests.server import APPS, Door, Server
from tests.waiting import until_equal

LARGE = 10 * 1024 * 1024 + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "large").write_bytes(random.Random(1).randbytes(LARGE))
    (folder / "packed").write_bytes(gzip.compress((folder / "large").read_bytes(), 1))
    (folder / "empty").touch()
    (folder / "small").write_bytes(b"small")
    return folder


@pytest.fixture(scope="module")
def server(door: Door, folder: Path) -> Iterator[Server]:
    arguments = ["--bind", "127.0.0.1:0", "--python-path", str(APPS), "files"]
    server = Server(door, folder, arguments)
    server.wait_until_ready()
    yield server
    try:
        server.stop()
    finally:
        server.destroy()


def test_a_regular_file_arrives_whole_with_its_length(server: Server, folder: Path) -> None:
    for way in ("/regular", "/raw"):
        answer = server.get(f"{way}?path={folder}/large")
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(LARGE)
        assert sha256(answer.body).digest() == sha256((folder / "large").read_bytes()).digest()


def test_a_file_goes_on_where_the_application_stopped_reading(server: Server, folder: Path) -> None:
    for way in ("/regular", "/raw"):
        answer = server.get(f"{way}?path={folder}/large&read=12345")
        assert answer.headers["Content-Length"] == str(LARGE - 12345)
        assert answer.body == (folder / "large").read_bytes()[12345:]


def test_a_content_length_ends_the_file_before_its_end(server: Server, folder: Path) -> None:
    with Client(server.address) as client:
        answer = client.get(f"/regular?path={folder}/large&read=10&length=200000")
        assert answer.body == (folder / "large").read_bytes()[10:200010]
        # No byte of the rest comes before the next answer.
        assert client.get("/where").status == 200


def test_a_content_length_beyond_the_end_of_the_file_is_an_error(server: Server, folder: Path) -> None:
    since = server.mark()
    assert server.get(f"/regular?path={folder}/large&length={LARGE + 1}").status == 500
    server.wait_for("missing=1 the application gave less than its Content-Length", since)


def test_pipes_and_file_likes_arrive_whole(server: Server, folder: Path) -> None:
    for way in ("/pipe", "/like"):
        answer = server.get(f"{way}?path={folder}/large")
        assert answer.body == (folder / "large").read_bytes(), way


def test_a_gzip_object_gives_what_it_has_unpacked(server: Server, folder: Path) -> None:
    assert server.get(f"/gzip?path={folder}/packed").body == (folder / "large").read_bytes()


def test_an_empty_file_has_length_0(server: Server, folder: Path) -> None:
    answer = server.get(f"/regular?path={folder}/empty")
    assert (answer.body, answer.headers["Content-Length"]) == (b"", "0")


def test_what_was_written_comes_before_the_file(server: Server, folder: Path) -> None:
    answer = server.get(f"/regular?path={folder}/large&written=first")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.body == b"first" + (folder / "large").read_bytes()


def test_the_answer_to_head_has_the_length(server: Server, folder: Path) -> None:
    with Client(server.address) as client:
        client.send(f"/regular?path={folder}/large", method="HEAD")
        answer = client.answer("HEAD")
        assert (answer.headers["Content-Length"], answer.body) == (str(LARGE), b"")
        assert client.get("/where").status == 200


def test_http_1_0_gets_the_file_too(server: Server, folder: Path) -> None:
    with Client(server.address) as client:
        client.socket.sendall(f"GET /regular?path={folder}/large HTTP/1.0\r\n\r\n".encode())
        head, _, body = client.rest().partition(b"\r\n\r\n")
        assert re.search(rb"(?i)^content-length: %d\r?$" % LARGE, head, re.MULTILINE)
        assert body == (folder / "large").read_bytes()


def test_close_is_called_for_each_kind_of_file(server: Server, folder: Path) -> None:
    for way in ("/regular", "/raw", "/like"):
        for method in ("GET", "HEAD"):
            since = server.mark()
            with Client(server.address) as client:
                client.send(f"{way}?path={folder}/large", method=method)
                client.answer(method)
            server.wait_for("^closed$", since)


def test_a_slow_reader_of_a_file_holds_no_thread(server: Server, folder: Path) -> None:
    with Client(server.address) as slow:
        slow.send(f"/regular?path={folder}/large")
        response = slow.response()
        # The only thread answers others, although almost nothing of the file has been read.
        for _ in range(3):
            assert server.get("/where").status == 200
        assert sha256(response.read()).digest() == sha256((folder / "large").read_bytes()).digest()


def test_a_file_that_becomes_shorter_never_looks_complete(server: Server, folder: Path) -> None:
    path = folder / "shrinking"
    path.write_bytes(bytes(LARGE))
    since = server.mark()
    with Client(server.address) as client:
        client.send(f"/regular?path={path}")
        response = client.response()
        assert response.headers["Content-Length"] == str(LARGE)
        server.wait_for("^closed$", since)
        os.truncate(path, 1000)
        assert len(client.rest()) < LARGE
    server.wait_for("the file of an answer cannot be read", since)


def test_no_descriptor_is_left_of_answers_that_ended_or_were_left(server: Server, folder: Path) -> None:
    front, child = server.front(), server.children(1)[0]

    def files() -> list[str]:
        places = [place for pid in (front, child) for place in processes.descriptors(pid).values()]
        return [place for place in places if place.startswith(str(folder))]

    for turn in range(20):
        with Client(server.address) as client:
            client.send(f"/regular?path={folder}/large")
            if turn % 2:
                client.answer()
            else:
                client.response()
    # The kernel notifies the front of a client that has left at some later time.
    until_equal(files, [])


def test_many_clients_get_their_files_at_the_same_time(start: Start, folder: Path) -> None:
    server = start("--processes", "2", "--threads", "2", "files", children=2)
    clients = [server.client() for _ in range(40)]
    for number, client in enumerate(clients):
        client.send(f"/regular?path={folder}/large&read={number}&length=1000000")
    content = (folder / "large").read_bytes()
    for number, client in enumerate(clients):
        assert client.answer().body == content[number : number + 1_000_000]


async def statuses(server: Server, target: str, body: bytes, times: int) -> list[bytes]:
    """The statuses of this number of answers, all with the same file, over one connection."""
    found = []
    reader, writer = await asyncio.open_connection(*server.address)
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(times):
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        found.append(answer[9:12])
        if found[-1] != b"200":
            break
        assert await reader.readexactly(5) == b"small"
    writer.close()
    return found


def test_a_body_in_a_file_is_there_while_others_are_answered_with_files(start: Start, folder: Path) -> None:
    server = start("--processes", "4", "files", children=4)

    async def ask() -> list[list[bytes]]:
        target = f"/quiet?path={folder}/small"
        bodies = [b"x" * 200_000, b"x"] * 32
        return await asyncio.gather(*(statuses(server, target, body, 100) for body in bodies))

    assert asyncio.run(ask()) == [[b"200"] * 100] * 64
