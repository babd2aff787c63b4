"""An application with mistakes: each path is one."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

kept: list[IO[str]] = []
writes: list[Callable[[bytes], object]] = []
written = threading.Event()
may_end = threading.Event()


def close() -> bytes:
    """As code that daemonizes does."""
    os.closerange(3, 4096)
    kept.extend(open(f"own-{number}", "w") for number in range(12))  # noqa: SIM115
    return b"closed"


def fork(way: str) -> bytes:
    if os.fork():
        return b"forked"
    if way == "raise":
        raise RuntimeError("in the forked process")
    if way == "exit":
        sys.exit(0)
    return b"a copy"


def lends_write(start_response: StartResponse) -> Iterable[bytes]:
    """Its `write` is called by another request."""
    writes.append(start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", "secret=1")]))
    written.wait(20)
    yield b"own"


def borrows_write(start_response: StartResponse) -> Iterable[bytes]:
    try:
        writes.pop()(b"of the other")
        raised = "nothing"
    except RuntimeError as error:
        raised = str(error)
    written.set()
    start_response("200 OK", [("Content-Length", str(len(raised)))])
    return [raised.encode()]


def leave_thread(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Continues with its request after it was answered, until the process ends."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])

    def go_on() -> None:
        while True:
            for act in (
                lambda: write(b"late"),
                lambda: start_response("200 OK", [("Set-Cookie", "secret=1")]),
                lambda: environ["wsgi.input"].read(),
                lambda: environ["wsgi.errors"].flush(),
            ):
                with contextlib.suppress(Exception):
                    act()
            time.sleep(0.0005)

    threading.Thread(target=go_on, daemon=True).start()
    return [b"left"]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    _, act, way, *_ = (environ["PATH_INFO"] + "//").split("/")
    if act == "lends":
        return lends_write(start_response)
    if act == "leave-thread":
        return leave_thread(environ, start_response)
    if act == "borrows":
        return borrows_write(start_response)
    answer = environ["QUERY_STRING"].encode()
    if act == "close":
        answer = close()
    elif act == "fork":
        answer = fork(way)
    elif act == "pid":
        answer = str(os.getpid()).encode()
    elif act == "has-lent":
        answer = str(len(writes)).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
