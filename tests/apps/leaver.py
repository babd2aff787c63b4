"""An application that logs its requests, and whether its answers are closed.

On standard error: `saw TARGET` before it answers, `closed TARGET` when its iterable is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from probe import log_line, wait_at  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PIECE = b"x" * 65536


class LoggingIterable:
    """An iterable that logs when it is closed."""

    def __init__(self, parts: Iterable[bytes], name: str) -> None:
        self._parts = parts
        self._name = name

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        log_line(f"closed {self._name}")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    name = environ["REQUEST_URI"]
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    log_line(f"saw {name}")
    act = environ["PATH_INFO"]
    if act == "/run":
        if query.get("read") == "before":
            environ["wsgi.input"].read(1000)
        wait_at(query["gate"])
    elif act == "/fail":
        raise RuntimeError("failed on purpose")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Test", "leaver")])
    return LoggingIterable(parts(act, query, environ), name)


def parts(act: str, query: dict[str, str], environ: WSGIEnvironment) -> Iterable[bytes]:
    if act == "/stream":
        return stream(query["gate"])
    if act == "/endless":
        return repeat(PIECE)
    if act == "/large":
        return repeat(PIECE, int(query["pieces"]))
    if act == "/counted":
        return counted()
    if act == "/broken":
        return broken()
    if act == "/body" or query.get("read") == "after":
        return size_of_body(environ)
    return [b"here\n"]


def size_of_body(environ: WSGIEnvironment) -> Iterator[bytes]:
    yield b"%d\n" % len(environ["wsgi.input"].read())


def counted() -> Iterator[bytes]:
    """An endless body, whose length is logged at its end."""
    given = 0
    try:
        while True:
            given += len(PIECE)
            yield PIECE
    finally:
        log_line(f"gave {given} bytes")


def stream(gate: str) -> Iterator[bytes]:
    yield b"one\n"
    wait_at(gate)
    yield b"two\n"


def broken() -> Iterator[bytes]:
    yield b"one\n"
    raise RuntimeError("broken on purpose")
