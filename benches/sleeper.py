"""An application with one slow path: `/busy?SECONDS`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/busy":
        return busy(float(environ["QUERY_STRING"]))
    return [b"Hello, world!\n"]


def busy(seconds: float) -> Iterator[bytes]:
    # A client that reads this knows that a thread has taken the request.
    yield b"begun\n"
    time.sleep(seconds)
    yield b"done\n"
