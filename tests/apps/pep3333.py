"""Applications that use PEP 3333, and others that violate it.

The first part of the path names one. `validated` is all of them below the validator of the standard library.
Tests import the tables.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from wsgiref.validate import validator

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

TEXT = ("Content-Type", "text/plain")
JSON = ("Content-Type", "application/json")

ACTS: dict[str, WSGIApplication] = {}


def act(application: WSGIApplication) -> WSGIApplication:
    ACTS[application.__name__.replace("_", "-")] = application
    return application


def application(environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterable[bytes]:
    name = environ["PATH_INFO"].strip("/").partition("/")[0]
    return ACTS[name or "show"](environ, start_response)


validated = validator(application)


def log_line(line: str) -> None:
    """Writes a line in one piece, as the server does."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def wait_at(gate: str) -> None:
    """Log that the gate is reached, and wait until the named pipe is written to."""
    # Opened before it is logged, so that a reader of the log can write without waiting.
    descriptor = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log_line(f"holding {gate} in {os.getpid()}")
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def asked(environ: WSGIEnvironment) -> dict[str, str]:
    return {name: values[0] for name, values in lists(environ).items()}


def lists(environ: WSGIEnvironment) -> dict[str, list[str]]:
    return parse_qs(environ["QUERY_STRING"], keep_blank_values=True, encoding="latin-1")


# What the application receives.


@act
def show(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The environ; values other than str by their repr."""
    start_response("200 OK", [JSON])
    seen = {name: value if type(value) is str else repr(value) for name, value in environ.items()}
    about = {
        "pid": os.getpid(),
        "type": f"{type(environ).__module__}.{type(environ).__name__}",
        "types": {name: type(value).__name__ for name, value in environ.items()},
    }
    return [json.dumps({"environ": seen, **about}).encode()]


@act
def method_in_header(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("X-Method", environ["REQUEST_METHOD"])])
    return []


@act
def spoil(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Changes whatever can be changed in the environ."""
    environ.update(dict.fromkeys(environ, "spoilt"))
    environ["spoilt"] = "spoilt"
    del environ["SERVER_NAME"]
    start_response("200 OK", [TEXT])
    return [b"spoilt"]


@act
def errors(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ["wsgi.errors"]
    stream.write("written to errors\n")
    stream.writelines(["first of ", "two lines\n", "second of two lines\n"])
    stream.write("beyond ASCII: \xe4 \u65e5\n")
    stream.flush()
    start_response("200 OK", [TEXT])
    return [b"written"]


@act
def ignore(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Does not read the request's body."""
    start_response("200 OK", [TEXT])
    return [b"ignored"]


def until_the_end(read: Callable[[], bytes]) -> list[bytes]:
    return list(iter(read, b""))


READERS: dict[str, Callable[[InputStream], list[bytes]]] = {
    "read()": lambda body: [body.read()],
    "read(-1)": lambda body: [body.read(-1)],
    "read(0)": lambda body: [body.read(0), body.read(-1)],
    "read(3) again and again": lambda body: [body.read(3), body.read(3), body.read(-1)],
    "read(70000) again and again": lambda body: until_the_end(lambda: body.read(70000)),
    "read of more than there is": lambda body: [body.read(10_000_000)],
    "readline()": lambda body: until_the_end(body.readline),
    "readline(-1)": lambda body: until_the_end(lambda: body.readline(-1)),
    "readline(2)": lambda body: [body.readline(2), body.readline(2), body.readline(0), body.readline(100)],
    "readlines()": lambda body: body.readlines(),
    "readlines(5)": lambda body: [*body.readlines(5), b"then", *body.readlines(5)],
    "iteration": lambda body: list(body),
    "iteration, then read": lambda body: [next(iter(body), b"none"), body.read(-1)],
    "reading at the end": lambda body: [
        *(body.read(-1), body.read(1), body.read(-1), body.read(1), body.readline(), body.readline(9)),
        *(*body.readlines(), *body),
    ],
}


@act
def read(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    found = READERS[asked(environ)["how"]](environ["wsgi.input"])
    start_response("200 OK", [JSON])
    return [json.dumps([part.decode("latin-1") for part in found]).encode()]


@act
def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads while it answers."""
    start_response("200 OK", [TEXT])
    yield from iter(lambda: environ["wsgi.input"].read(10_000), b"")


# How an answer is given.


class Sized:
    """Has a length like a list, but is none."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)


class Indexed:
    """Iterable only by the old protocol."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __getitem__(self, index: int) -> bytes:
        return self.parts[index]


class Closing:
    """Logs when it is closed."""

    def __init__(self, parts: Iterable[bytes], tag: str) -> None:
        self.parts = parts
        self.tag = tag

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        log_line(f"closed {self.tag}")


SHAPES: dict[str, Callable[[list[bytes]], Any]] = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda parts: (part for part in parts),
    "sized iterable": Sized,
    "indexed": Indexed,
}


@act
def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers as the query specifies."""
    query = lists(environ)
    fields = [field.partition(":") for field in query.get("header", [])]
    start_response(query["status"][0], [(name, value) for name, _, value in fields])
    parts: Iterable[bytes] = SHAPES[query["shape"][0]](
        [part.encode("latin-1") for part in query.get("part", [])]
    )
    return Closing(parts, query["tag"][0]) if "tag" in query else parts


@act
def repeat(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A single part that is too long for a query."""
    query = asked(environ)
    start_response("200 OK", [TEXT])
    parts: Iterable[bytes] = SHAPES[query["shape"]]([query["part"].encode() * int(query["times"])])
    return parts


class AppClass:
    """The application is a class: its instances are the iterables."""

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse, /) -> None:
        self.start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        self.start_response("200 OK", [TEXT])
        yield b"from a class"


validated_class = validator(AppClass)


class Instance:
    """The application is an instance."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        return [b"from an instance"]


instance = Instance()


@act
def generator(environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterator[bytes]:
    """The application is a generator: it runs only when it is iterated."""
    start_response("200 OK", [TEXT])
    yield b"from "
    yield b"a generator"


@act
def start_by_position(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT], None)
    return [b"started"]


@act
def write_first(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT])
    write(b"written, ")
    write(b"")
    write(b"written again, ")
    return [b"returned"]


@act
def write_past_length(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT, ("Content-Length", "3")])
    write(b"one")
    try:
        write(b"two")
    except Exception:
        log_line("past the length: an error")
    else:
        log_line("past the length: nothing")
    return []


@act
def write_held(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT])
    write(b"written, ")
    wait_at(asked(environ)["gate"])
    return [b"returned"]


@act
def yield_held(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    query = asked(environ)
    start_response("200 OK", [TEXT, *([("Content-Length", query["length"])] if "length" in query else [])])
    yield b"x" * int(query["size"])
    wait_at(query["gate"])
    yield b"y" * int(query["size"])


def exc_info() -> tuple[type[BaseException], BaseException, TracebackType]:
    """The exc_info of a real exception."""
    try:
        raise RuntimeError("the first answer failed")
    except RuntimeError as error:
        assert error.__traceback__ is not None
        return RuntimeError, error, error.__traceback__


@act
def replace(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Replaces the first answer, of which nothing has been sent."""
    before = asked(environ)["before"]
    if before != "nothing":
        write = start_response("200 OK", [TEXT, ("X-First", "1"), ("Content-Length", "1000")])
        if before == "empty bytes written":
            write(b"")
    if before == "empty bytes yielded":
        yield b""
    start_response("503 Service Unavailable", [TEXT, ("X-Second", "2")], exc_info())
    yield b"replaced"


@act
def replace_late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Tries the same after the first bytes."""
    write = start_response("200 OK", [TEXT])
    if asked(environ)["by"] == "write":
        write(b"too late")
    else:
        yield b"too late"
    try:
        start_response("503 Service Unavailable", [TEXT], exc_info())
    except RuntimeError as error:
        log_line(f"raised again: {error}")
        raise
    yield b"never"


@act
def endless(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An endless body."""
    query = asked(environ)

    def parts() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    start_response("200 OK", [TEXT])
    return Closing(parts(), query["tag"])


# Errors.


def recurse() -> None:
    recurse()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text of an error")


class Unusual(BaseException):
    """Not derived from Exception."""


def throw(error: BaseException) -> None:
    raise error


ERRORS: dict[str, Callable[[], object]] = {
    "ValueError": lambda: int("x"),
    "SystemExit": lambda: sys.exit(3),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt()),
    "GeneratorExit": lambda: throw(GeneratorExit()),
    "StopIteration": lambda: next(iter(())),
    "BaseException": lambda: throw(Unusual()),
    "RecursionError": recurse,
    "MemoryError": lambda: bytearray(1 << 62),
    "an error without a text": lambda: throw(UnprintableError()),
    "an error that says what cannot be encoded": lambda: throw(ValueError("\ud800")),
}
MOMENTS = ["when called", "when started", "when iterated", "after a part", "in close"]


class Failing:
    def __init__(self, error: Callable[[], object], moment: str) -> None:
        self.error = error
        self.moment = moment

    def __iter__(self) -> Iterator[bytes]:
        if self.moment == "when iterated":
            self.error()
        yield b"part"
        if self.moment == "after a part":
            self.error()

    def close(self) -> None:
        log_line("closed failing")
        if self.moment == "in close":
            self.error()


@act
def fail(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    query = asked(environ)
    error, moment = ERRORS[query["error"]], query["moment"]
    if moment == "when called":
        error()
    start_response("200 OK", [TEXT, *([("Content-Length", query["length"])] if "length" in query else [])])
    if moment == "when started":
        error()
    return Failing(error, moment)


STATUSES: dict[str, Any] = {
    "nothing": None,
    "a number": 200,
    "bytes": b"200 OK",
    "empty": "",
    "no digits": "OK",
    "two digits": "20 OK",
    "four digits": "2000 OK",
    "a sign": "+20 OK",
    "digits of another script": "\u0662\u0660\u0660 OK",
    "no space": "200OK",
    "a space before": " 200 OK",
    "a CR": "200 O\rK",
    "a LF": "200 O\nK",
    "another header": "200 OK\r\nX-Evil: 1",
    "a NUL": "200 O\0K",
    "a control character": "200 O\x1bK",
    "beyond latin-1": "200 O\u212a",
    "a surrogate": "200 O\udcff",
    "a status below 100": "099 Odd",
    "continue": "100 Continue",
    "switching protocols": "101 Switching Protocols",
    "early hints": "103 Early Hints",
}


@act
def wrong_status(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    start_response(STATUSES[asked(environ)["case"]], [TEXT])
    return [b"never"]


HEADERS: dict[str, Any] = {
    "nothing": None,
    "a number": 1,
    "a dict": {"Content-Type": "text/plain"},
    "the items of a dict": {"Content-Type": "text/plain"}.items(),
    "a tuple": (TEXT, ("X-A", "b")),
    "a str": "X-A: b",
    "a str as a header": [TEXT, "ab"],
    "a list as a header": [TEXT, ["X-A", "b"]],
    "a header of one": [TEXT, ("X-A",)],
    "a header of three": [TEXT, ("X-A", "b", "c")],
    "nothing as a header": [TEXT, None],
    "bytes as a name": [TEXT, (b"X-A", "b")],
    "bytes as a value": [TEXT, ("X-A", b"b")],
    "a number as a value": [TEXT, ("Content-Length", 5)],
    "nothing as a value": [TEXT, ("X-A", None)],
    "an empty name": [TEXT, ("", "b")],
    "a space in a name": [TEXT, ("X A", "b")],
    "a colon in a name": [TEXT, ("X-A:", "b")],
    "a line end in a name": [TEXT, ("X-A\r\nX-Evil", "b")],
    "a NUL in a name": [TEXT, ("X-A\0", "b")],
    "a name beyond ASCII": [TEXT, ("X-\xc4", "b")],
    "a name beyond latin-1": [TEXT, ("X-\u0100", "b")],
    "a CR in a value": [TEXT, ("X-A", "b\rc")],
    "a LF in a value": [TEXT, ("X-A", "b\nc")],
    "another header in a value": [TEXT, ("X-A", "b\r\nX-Evil: 1")],
    "a folded value": [TEXT, ("X-A", "b\r\n c")],
    "a line end after a value": [TEXT, ("X-A", "b\r\n")],
    "a NUL in a value": [TEXT, ("X-A", "b\0c")],
    "a control character in a value": [TEXT, ("X-A", "b\x1bc")],
    "DEL in a value": [TEXT, ("X-A", "b\x7fc")],
    "a value beyond latin-1": [TEXT, ("X-A", "\u0100")],
    "a surrogate in a value": [TEXT, ("X-A", "\udcff")],
    "two lengths": [TEXT, ("Content-Length", "5"), ("content-length", "6")],
    "a length of letters": [TEXT, ("Content-Length", "five")],
    "a length below zero": [TEXT, ("Content-Length", "-5")],
    "a length with a sign": [TEXT, ("Content-Length", "+5")],
    "a length with an underscore": [TEXT, ("Content-Length", "1_0")],
    "an empty length": [TEXT, ("Content-Length", "")],
    "a list of lengths": [TEXT, ("Content-Length", "5, 5")],
    "a length of another script": [TEXT, ("Content-Length", "\u0665")],
    "a length beyond all numbers": [TEXT, ("Content-Length", "9" * 40)],
}


@act
def wrong_headers(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", HEADERS[asked(environ)["case"]])
    return [b"never"]


@act
def wrong_headers_noticed(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    try:
        start_response("200 OK", HEADERS[asked(environ)["case"]])
    except Exception:
        start_response("200 OK", [TEXT])
    return [b"noticed"]


# What a view passes on that has asked another server (RFC 9110 section 7.6.1).
OF_ITS_CONNECTION = [
    ("Connection", "close"),
    ("connection", "keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("Proxy-Connection", "close"),
    ("TE", "trailers"),
    ("Trailer", "X-A"),
    ("Transfer-Encoding", "chunked"),
    ("Upgrade", "websocket"),
]


@act
def headers_of_the_connection(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, *OF_ITS_CONNECTION, ("Content-Length", "6")])
    return [b"passed"]


@act
def spaces_around_values(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("X-Spaces", "  in the middle ")])
    return [b"passed"]


RETURNED: dict[str, Any] = {
    "nothing": None,
    "a number": 1,
    "an object": object(),
    "a function": len,
    "a str": "text",
    "bytes, which are numbers": b"bytes",
    "a list of a str": ["text"],
    "a tuple of a str": ("text",),
    "a list of two str": ["text", "text"],
    "a list of nothing": [None],
    "a list of a number": [1],
    "a list of a bytearray": [bytearray(b"bytes")],
    "a list of a memoryview": [memoryview(b"bytes")],
    "a list of a list": [[b"bytes"]],
}


@act
def wrong_return(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
    start_response("200 OK", [TEXT])
    return RETURNED[asked(environ)["case"]]


@act
def wrong_part(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
    start_response("200 OK", [TEXT])
    yield b"part"
    yield "text"


@act
def wrong_write(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])("text")
    return [b"never"]


@act
def without_start(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return {"list": [b"never"], "two": [b"never", b"ever"], "empty": [], "iterator": iter([b"never"])}[
        asked(environ)["returns"]
    ]


@act
def start_later(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    """A start_response that fails while the answer is iterated."""

    def parts() -> Iterator[bytes]:
        start_response("200 OK", None)
        yield b"never"

    return Closing(parts(), asked(environ)["tag"])


@act
def start_after_part(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    yield b"too early"
    start_response("200 OK", [TEXT])


@act
def start_twice(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    start_response("200 OK", [TEXT])
    return [b"never"]


@act
def lenient(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    """What the PEP requires of applications, but servers need not enforce."""
    start_response("200", [TEXT, ("X-A", "b")])
    return [b"forgiven"]
