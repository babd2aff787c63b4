"""An application that answers with files of every kind."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class LoggingFile:
    """A file that logs when it is closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read
        self._close = file.close

    def close(self) -> None:
        self._close()
        log_line("closed")


def log_line(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def close_logged(file: IO[bytes]) -> IO[bytes]:
    """As in Django: the file's own close() is replaced by that of the response."""
    close = file.close

    def close_and_log() -> None:
        close()
        log_line("closed")

    file.close = close_and_log  # type: ignore[method-assign]
    return file


def pipe(path: str) -> IO[bytes]:
    reader, writer = os.pipe()

    def fill() -> None:
        with open(path, "rb") as source, open(writer, "wb") as sink:
            sink.write(source.read())

    threading.Thread(target=fill).start()
    return open(reader, "rb")


WAYS: dict[str, Callable[[str], Any]] = {
    "/regular": lambda path: close_logged(io.BufferedReader(io.FileIO(path))),
    "/raw": lambda path: close_logged(io.FileIO(path)),
    "/quiet": io.FileIO,
    "/pipe": pipe,
    "/gzip": gzip.open,
    "/like": lambda path: LoggingFile(io.FileIO(path)),
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    if environ["PATH_INFO"] == "/where":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    file = WAYS[environ["PATH_INFO"]](query["path"])
    if "read" in query:
        # Data in the buffer of a reader still belongs to the answer.
        digest = hashlib.sha256(file.read(int(query["read"]))).hexdigest()
        log_line(f"read {digest}")
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in query:
        headers.append(("Content-Length", query["length"]))
    write = start_response("200 OK", headers)
    if "written" in query:
        write(query["written"].encode())
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return wrapped
