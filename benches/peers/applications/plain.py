"""Applications that do a single thing, so that the server dominates the measurement."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HELLO = b"Hello, world!\n"
KIB = 1024
LARGE = b"x" * (KIB * KIB)
CHUNK = b"x" * KIB
# Open as long as the process runs.
FILE = tempfile.NamedTemporaryFile(prefix="peers-")  # noqa: SIM115
FILE.write(LARGE * 10)
FILE.flush()

TEXT = ("Content-Type", "text/plain")
HELLO_FIELDS = [TEXT, ("Content-Length", str(len(HELLO)))]
LARGE_FIELDS = [TEXT, ("Content-Length", str(len(LARGE)))]
FILE_FIELDS = [TEXT, ("Content-Length", str(10 * len(LARGE)))]
SITE_FIELDS = [
    *HELLO_FIELDS,
    ("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private"),
    ("Vary", "Cookie, Accept-Language"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
]


def hello(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", HELLO_FIELDS)
    return [HELLO]


def fields(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Six header fields, as of a typical site."""
    start_response("200 OK", SITE_FIELDS)
    return [HELLO]


def post(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads the whole body, and returns its length."""
    text = b"%d bytes\n" % len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start_response("200 OK", [TEXT, ("Content-Length", str(len(text)))])
    return [text]


def reading(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads the body, if there is one, as an application that expects a form."""
    if length := environ.get("CONTENT_LENGTH"):
        environ["wsgi.input"].read(int(length))
    return hello(environ, start_response)


def large(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """1 MiB in one piece."""
    start_response("200 OK", LARGE_FIELDS)
    return [LARGE]


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """10 MiB from a file by wsgi.file_wrapper."""
    start_response("200 OK", FILE_FIELDS)
    # The server closes it after sending.
    opened: IO[bytes] = open(FILE.name, "rb")  # noqa: SIM115
    if "wsgi.file_wrapper" in environ:
        return environ["wsgi.file_wrapper"](opened, 64 * KIB)  # type: ignore[no-any-return]
    return parts(opened)


def parts(opened: IO[bytes]) -> Iterator[bytes]:
    with opened:
        while part := opened.read(64 * KIB):
            yield part


def chunks(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """100 KiB in 100 parts, without Content-Length."""
    start_response("200 OK", [TEXT])
    for _ in range(100):
        yield CHUNK


def sleeping(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Sleeps for `?SECONDS`, then answers."""
    time.sleep(float(environ.get("QUERY_STRING") or 0))
    start_response("200 OK", HELLO_FIELDS)
    return [HELLO]
