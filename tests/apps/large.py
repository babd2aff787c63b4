"""Large answers: `/whole/BYTES` in one piece, `/parts/BYTES/SIZE` in pieces; otherwise the process id."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATTERN = bytes(range(251))


def content(length: int) -> bytes:
    """Bytes without repetition at short distances."""
    return (PATTERN * (length // len(PATTERN) + 1))[:length]


def parts(length: int, size: int) -> Iterator[bytes]:
    whole = content(length)
    for start in range(0, length, size):
        yield whole[start : start + size]
    sys.stderr.write(f"{length} bytes have been given\n")
    sys.stderr.flush()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    _, way, *numbers = environ["PATH_INFO"].split("/")
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if way == "whole":
        return parts(int(numbers[0]), int(numbers[0]))
    if way == "parts":
        return parts(int(numbers[0]), int(numbers[1]))
    return [b"%d" % os.getpid()]
