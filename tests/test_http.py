"""Each input of the corpus: its answers, and what the application saw of it."""

import json
import random
import re
import socket
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.client import PATIENCE
from tests.conftest import Start, open_door
from tests.http_corpus import CASES, Case
from tests.server import APPS, Server

# Numbers of the requests by which the log is known to be complete.
BARRIERS = count()


class Wire:
    """A connection with access to every byte."""

    def __init__(self, server: Server) -> None:
        assert isinstance(server.address, tuple)
        self.socket = socket.create_connection(server.address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        self.socket.close()

    def send(self, pieces: list[bytes]) -> None:
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # Refused before everything was sent; there is still an answer.
            pass

    def answer(self) -> tuple[int, bytes] | None:
        """The next response, or None at the end of the connection."""
        line = self._input.readline()
        if not line:
            return None
        status = int(line.split()[1])
        fields = {}
        while (line := self._input.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if status < 200:
            return status, b""
        body = self._input.read(int(fields[b"content-length"]))
        if status >= 400:
            assert fields[b"connection"] == b"close"
            assert body == f"{line_of(status)}\n".encode()
        return status, body


def line_of(status: int) -> str:
    reasons = {
        400: "Bad Request",
        413: "Payload Too Large",
        414: "URI Too Long",
        417: "Expectation Failed",
        431: "Request Header Fields Too Large",
        501: "Not Implemented",
        505: "HTTP Version Not Supported",
    }
    return f"{status} {reasons[status]}"


@pytest.fixture(scope="module")
def witness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("witness")
    arguments = ["--bind", "127.0.0.1:0", "--python-path", str(APPS), *request.param.split(), "witness"]
    server = Server(open_door("binary"), folder, arguments)
    try:
        server.wait_until_ready()
        yield server
        server.stop()
    except BaseException:
        server.destroy()
        raise


def play(server: Server, case: Case, pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], list[str], bool]:
    """Send; return the answers, what the application saw, and whether the connection persists."""
    before = server.mark()
    answers: list[tuple[int, bytes]] = []
    with Wire(server) as wire:
        wire.send(pieces)
        if case.half_close:
            wire.socket.shutdown(socket.SHUT_WR)
        while len(answers) < len(case.statuses) and (answer := wire.answer()):
            answers.append(answer)
        stays = case.stays
        if stays:
            wire.send([b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"])
            answer = wire.answer()
            assert answer is not None and answer[0] == 200, answer
        else:
            assert wire.answer() is None, "an answer too many"
    barrier = f"/barrier-{next(BARRIERS)}"
    assert server.get(barrier).status == 200
    server.wait_for(f"^saw GET {barrier} ''$")
    saw = [line for line in server.log.lines[before:] if line.startswith("saw ")]
    assert saw.pop() == f"saw GET {barrier} ''"
    if stays:
        assert saw.pop() == "saw GET /next ''"
    return answers, saw, stays


@pytest.mark.parametrize(
    ("witness", "case"), [(case.server, case) for case in CASES], ids=str, indirect=["witness"]
)
def test_each_input_has_its_verdict(witness: Server, case: Case) -> None:
    answers, saw, _ = play(witness, case, [case.sent])
    assert tuple(status for status, _ in answers) == case.statuses
    assert saw == [f"saw {method} {target} {body!r}" for method, target, body in case.saw]
    if case.environ:
        environ: dict[str, Any] = json.loads(answers[0][1])
        expected = {key: value for key, value in case.environ.items() if value is not None}
        assert {key: environ.get(key) for key in expected} == expected
        assert not [key for key, value in case.environ.items() if value is None and key in environ]


def test_the_corpus_is_large() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 200


@pytest.mark.parametrize(("witness", "seed"), [("", seed) for seed in range(5)], indirect=["witness"])
def test_splitting_the_bytes_changes_nothing(witness: Server, seed: int) -> None:
    """Inputs in random pieces, each sent before the next."""
    chance = random.Random(seed)
    cases = [case for case in CASES if not case.server and len(case.sent) < 2000]
    for case in chance.sample(cases, 60):
        cuts = sorted(chance.randrange(len(case.sent) + 1) for _ in range(chance.randrange(1, 8)))
        ends = [0, *cuts, len(case.sent)]
        pieces = [case.sent[start:end] for start, end in pairwise(ends) if start < end]
        answers, saw, _ = play(witness, case, pieces)
        assert tuple(status for status, _ in answers) == case.statuses, (case, pieces)
        assert saw == [f"saw {method} {target} {body!r}" for method, target, body in case.saw], (case, pieces)


def test_a_websocket_is_refused_without_the_application(start: Start) -> None:
    """It would raise an error for each, as libraries do that look for a socket in the environ."""
    server = start("leaver")
    asked = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with server.client() as client:
        for _ in range(5):
            assert client.get("/chat", asked).status == 501
        assert client.get("/next").status == 200
    server.wait_for("^saw /next$")
    assert "saw /chat" not in server.log.lines
    told = [
        word[1] for line in server.log.lines if (word := re.search(r" WARN path=/chat times=(\d) ", line))
    ]
    assert told == ["1", "2", "4"]


def test_bodies_of_all_sizes_come_one_behind_the_other(start: Start) -> None:
    """Short and long bodies take different paths, and so do answers of known and unknown length."""
    with start("leaver").client() as client:
        for size in (1, 4000, 1 << 16, 1 << 17, (1 << 17) + 1, 1 << 20):
            assert client.post("/body", b"x" * size).body == b"%d\n" % size
            assert client.post("/", b"x" * size).body == b"here\n"
