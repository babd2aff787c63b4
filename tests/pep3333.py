"""Servers for the tests of PEP 3333: the application alone, and below the standard library's validator."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.client import Client
from tests.server import APPS, Door, Hold, Server

# A test runs with both, unless it tests a mistake that the validator would stop.
CALLABLES = ["application", "validated"]
bare_only = pytest.mark.parametrize("site", ["application"], indirect=True)

# Numbers that distinguish bodies, gates, and the requests by which the log is known to be complete.
NUMBERS = count()


@contextmanager
def serving(door: Door, folder: Path, name: str, *arguments: str, children: int = 1) -> Iterator[Server]:
    """A server of the callable."""
    where = ["--bind", "127.0.0.1:0", "--python-path", str(APPS)]
    server = Server(door, folder, [*where, *arguments, f"pep3333:{name}"])
    try:
        server.wait_until_ready(children)
        yield server
        server.stop()
        # The validator's message when it is too late for an error.
        assert "garbage collected without being closed" not in str(server.log)
    finally:
        server.destroy()


def target(act: str, **query: str | Sequence[str]) -> str:
    """The target that makes the application do something."""
    return f"/{act}?{urlencode(query, doseq=True, encoding='latin-1')}"


def request(line: str, *fields: str) -> bytes:
    lines = [line if " HTTP/" in line else f"{line} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


@dataclass(frozen=True)
class Raw:
    """All received bytes."""

    line: str
    fields: list[tuple[str, str]]
    rest: bytes

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name.lower()]


def raw(server: Server, line: str, *fields: str) -> Raw:
    """The answer on a new connection, up to its end."""
    with Client(server.address) as client:
        client.socket.sendall(request(line, "Connection: close", *fields))
        head, end, rest = client.rest().partition(b"\r\n\r\n")
    assert end, head
    first, *others = head.decode("latin-1").split("\r\n")
    pairs = [other.partition(":") for other in others]
    return Raw(first, [(name.lower(), value.strip(" ")) for name, _, value in pairs], rest)


def show(server: Server, line: str = "GET /show", *fields: str, body: bytes = b"") -> dict[str, Any]:
    """What the application reports about the request and its process."""
    with Client(server.address) as client:
        client.socket.sendall(request(line, *fields) + body)
        shown: dict[str, Any] = client.answer().json()
        return shown


def environ(server: Server, line: str = "GET /show", *fields: str, body: bytes = b"") -> dict[str, str]:
    shown: dict[str, str] = show(server, line, *fields, body=body)["environ"]
    return shown


@contextmanager
def holding(server: Server, act: str, *, version: str = "1.1", **query: str) -> Iterator[Hold]:
    """An application that has reached its gate."""
    gate = server.folder / f"held-{next(NUMBERS)}"
    os.mkfifo(gate)
    with Client(server.address) as client:
        line = f"GET {target(act, gate=str(gate), **query)} HTTP/{version}"
        client.socket.sendall(request(line))
        yield Hold(client, gate, int(server.wait_for(rf"^holding {gate} in (\d+)$")[1]))


@contextmanager
def surviving(server: Server) -> Iterator[None]:
    """The block must not affect the child: it answers the next request, too."""
    before = show(server)["pid"]
    yield
    assert show(server)["pid"] == before


def settled(server: Server) -> int:
    """The end of the log after all earlier requests: the only thread has answered one more."""
    line = f"closed barrier {next(NUMBERS)}"
    tag = line.removeprefix("closed ")
    assert server.get(target("answer", status="204 Nothing", shape="list", tag=tag)).status == 204
    return server.log.until(lambda lines: lines.index(line) + 1 if line in lines else None, line)


def lines_since(server: Server, since: int) -> list[str]:
    """The lines of the log since it was `settled`."""
    return server.log.lines[since : settled(server)]
