"""PEP 3333, the application's answers: start_response, write, the iterable and its end, the length."""

import socket
import struct
from collections.abc import Iterator, Sequence
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.apps.pep3333 import SHAPES
from tests.client import Client
from tests.pep3333 import (
    CALLABLES,
    NUMBERS,
    bare_only,
    holding,
    lines_since,
    raw,
    request,
    serving,
    settled,
    surviving,
    target,
)
from tests.server import Door, Server


@pytest.fixture(scope="module", params=CALLABLES)
def site(
    door: Door, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(door, tmp_path_factory.mktemp("pep3333"), request.param) as server:
        yield server


def answer(
    *part: str, status: str = "200 OK", header: Sequence[str] = (), shape: str = "list", tag: str = ""
) -> str:
    """The target for such an answer."""
    # The validator requires it, but not with these statuses.
    typed = [] if status[:3] in ("204", "304") else ["Content-Type:text/plain"]
    tagged = {"tag": tag} if tag else {}
    return target("answer", status=status, header=[*typed, *header], part=part, shape=shape, **tagged)


# Applications.


@pytest.mark.parametrize(
    ("name", "body"),
    {
        "AppClass": b"from a class",
        "instance": b"from an instance",
        "generator": b"from a generator",
        "validated_class": b"from a class",
    }.items(),
)
def test_the_application_is_anything_that_can_be_called(
    door: Door, tmp_path: Path, name: str, body: bytes
) -> None:
    with serving(door, tmp_path, name) as server, Client(server.address) as client:
        for _ in range(2):
            assert client.get("/").body == body


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [(), ("",), ("one",), ("one", "", "two"), ("", "", "one")], ids=repr)
def test_the_body_is_what_the_iterable_gives(site: Server, shape: str, part: tuple[str, ...]) -> None:
    with Client(site.address) as client:
        for _ in range(2):
            got = client.get(answer(*part, shape=shape))
            assert (got.status, got.body) == (200, "".join(part).encode())


def test_start_response_may_be_called_when_the_iteration_has_begun(site: Server) -> None:
    assert site.get("/generator").body == b"from a generator"


def test_start_response_takes_three_arguments_by_position(site: Server) -> None:
    assert site.get("/start-by-position").body == b"started"


# Status and headers.


@pytest.mark.parametrize(
    "status",
    [
        "200 OK",
        "200 Fine",
        "299 Not in any list",
        "404 ",
        "201 \xc4\xff",
        "418 I'm a teapot",
        "599 ?",
        "999 End",
    ],
)
def test_the_status_arrives_with_its_reason(site: Server, status: str) -> None:
    assert raw(site, f"GET {answer('x', status=status)}").line == f"HTTP/1.1 {status}"


def test_headers_arrive_in_order_and_none_is_joined(site: Server) -> None:
    header = ["Set-Cookie:a=1", "X-A:1", "Set-Cookie:b=2, c", "X-A:2", "set-cookie:d=3"]
    got = raw(site, f"GET {answer('x', header=header)}")
    assert got.all("Set-Cookie") == ["a=1", "b=2, c", "d=3"]
    assert got.all("X-A") == ["1", "2"]


@pytest.mark.parametrize("value", ["", "a b", "\xe4\xff\x80", 'a, b; c="d"', "x" * 8000], ids=len)
def test_the_value_of_a_header_arrives_byte_by_byte(site: Server, value: str) -> None:
    assert raw(site, f"GET {answer('x', header=[f'X-A:{value}'])}").all("X-A") == [value]


TAB = "X-A:a\tb"


@bare_only
def test_a_tab_in_the_value_of_a_header_arrives(site: Server) -> None:
    """The validator refuses all control characters; HTTP allows this one."""
    assert raw(site, f"GET {answer('x', header=[TAB])}").all("X-A") == ["a\tb"]


@pytest.mark.parametrize("name", ["Date", "Server"])
def test_the_server_adds_no_header_that_the_application_gave(site: Server, name: str) -> None:
    value = "Thu, 01 Jan 2026 00:00:00 GMT"
    assert raw(site, f"GET {answer('x', header=[f'{name}:{value}'])}").all(name) == [value]


def test_the_server_adds_a_date(site: Server) -> None:
    assert len(raw(site, f"GET {answer('x')}").all("Date")) == 1


@bare_only
def test_a_status_without_a_reason_is_forgiven(site: Server) -> None:
    """Servers need not enforce it. What is sent is well-formed: the space after the code is required."""
    got = raw(site, "GET /lenient")
    assert (got.line, got.all("X-A"), got.rest) == ("HTTP/1.1 200 ", ["b"], b"forgiven")


# write().


def test_what_is_written_comes_before_what_is_returned(site: Server) -> None:
    assert site.get("/write-first").body == b"written, written again, returned"


def test_what_is_written_is_sent_at_once(site: Server) -> None:
    with holding(site, "write-held") as held:
        response = held.client.response()
        assert response.read(9) == b"written, "
        held.release()
        assert response.read() == b"returned"


def test_what_is_written_in_answer_to_head_is_not_sent(site: Server) -> None:
    with Client(site.address) as client:
        client.send("/write-first", method="HEAD")
        assert client.answer("HEAD").status == 200
        assert client.get("/generator").body == b"from a generator"


# The iterable's parts.


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [False, True], ids=["no length", "a length"])
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_each_part_is_sent_before_the_next_is_asked_for(
    site: Server, size: int, length: bool, version: str
) -> None:
    announced = {"length": str(2 * size)} if length else {}
    with holding(site, "yield-held", version=version, size=str(size), **announced) as held:
        response = held.client.response()
        assert response.read(size) == b"x" * size
        held.release()
        assert response.read() == b"y" * size


# exc_info.


@pytest.mark.parametrize("before", ["nothing", "start", "empty bytes written", "empty bytes yielded"])
def test_an_error_before_the_first_bytes_replaces_status_and_headers(site: Server, before: str) -> None:
    got = raw(site, f"GET {target('replace', before=before)}")
    assert got.line == "HTTP/1.1 503 Service Unavailable"
    assert (got.all("X-First"), got.all("X-Second"), got.all("Content-Length")) == ([], ["2"], [])
    assert b"replaced" in got.rest


@pytest.mark.parametrize("by", ["write", "yield"])
def test_an_error_after_the_first_bytes_is_raised_again(site: Server, by: str) -> None:
    since = settled(site)
    with surviving(site), Client(site.address) as client:
        client.send(target("replace-late", by=by))
        response = client.response()
        assert response.status == 200
        with pytest.raises(IncompleteRead) as broken:
            response.read()
        assert broken.value.partial == b"too late"
    lines = lines_since(site, since)
    assert "raised again: the first answer failed" in lines
    assert "RuntimeError: the first answer failed" in lines


# close().


def closings(site: Server, since: int, tag: str) -> int:
    return lines_since(site, since).count(f"closed {tag}")


def new_tag() -> str:
    return f"body {next(NUMBERS)}"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [(), ("one",), ("one", "two")], ids=repr)
def test_the_iterable_is_closed_once_at_its_end(site: Server, shape: str, part: tuple[str, ...]) -> None:
    since, tag = settled(site), new_tag()
    assert site.get(answer(*part, shape=shape, tag=tag)).status == 200
    assert closings(site, since, tag) == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_the_iterable_of_an_answer_without_a_body_is_closed_once(site: Server, status: str) -> None:
    since, tag = settled(site), new_tag()
    raw(site, f"GET {answer('one', 'two', status=status, tag=tag)}")
    assert closings(site, since, tag) == 1


@pytest.mark.parametrize("part", [(), ("one",), ("one", "two")], ids=repr)
def test_the_iterable_of_an_answer_to_head_is_closed_once(site: Server, part: tuple[str, ...]) -> None:
    since, tag = settled(site), new_tag()
    raw(site, f"HEAD {answer(*part, tag=tag)}")
    assert closings(site, since, tag) == 1


@pytest.mark.parametrize("length", ["1", "4", "100"])
def test_the_iterable_is_closed_once_when_the_length_is_wrong(site: Server, length: str) -> None:
    since, tag = settled(site), new_tag()
    raw(site, f"GET {answer('one', 'two', header=[f'Content-Length:{length}'], tag=tag)}")
    assert closings(site, since, tag) == 1


@pytest.mark.parametrize("moment", ["when iterated", "after a part", "in close"])
def test_the_iterable_is_closed_once_when_it_fails(site: Server, moment: str) -> None:
    since = settled(site)
    raw(site, f"GET {target('fail', error='ValueError', moment=moment)}")
    assert closings(site, since, "failing") == 1


def test_the_iterable_is_closed_once_when_start_response_fails(site: Server) -> None:
    since, tag = settled(site), new_tag()
    assert site.get(target("start-later", tag=tag)).status == 500
    assert closings(site, since, tag) == 1


def test_the_iterable_is_closed_once_when_the_client_has_gone(site: Server) -> None:
    since, tag = settled(site), new_tag()
    with Client(site.address) as client:
        client.send(target("endless", tag=tag))
        assert client.response().read(1000) == b"x" * 1000
        # Closed like this, the connection is reset.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    site.wait_for(f"^closed {tag}$", since)
    assert closings(site, since, tag) == 1


def test_an_error_in_close_leaves_the_answer_and_the_connection_alone(site: Server) -> None:
    since = settled(site)
    with surviving(site), Client(site.address) as client:
        for _ in range(2):
            got = client.get(target("fail", error="ValueError", moment="in close"))
            assert (got.status, got.body) == (200, b"part")
    lines = lines_since(site, since)
    assert sum(line.endswith("the application failed") for line in lines) == 2
    assert lines.count("Traceback (most recent call last):") == 2


# The length.


@bare_only
@pytest.mark.parametrize("shape", ["list", "tuple"])
@pytest.mark.parametrize("part", ["", "x", "x" * 100_000], ids=len)
def test_the_length_of_a_single_part_is_sent(site: Server, shape: str, part: str) -> None:
    """The validator's iterable has no length."""
    got = raw(site, f"GET {target('repeat', part=part[:1], times=str(len(part)), shape=shape)}")
    assert (got.all("Content-Length"), got.all("Transfer-Encoding")) == ([str(len(part))], [])
    assert got.rest == part.encode()


@pytest.mark.parametrize("shape", ["generator", "iterator"])
@pytest.mark.parametrize("part", [("one",), ("one", "two")], ids=repr)
def test_a_body_of_unknown_length_comes_in_chunks(site: Server, shape: str, part: tuple[str, ...]) -> None:
    got = raw(site, f"GET {answer(*part, shape=shape)}")
    assert (got.all("Content-Length"), got.all("Transfer-Encoding")) == ([], ["chunked"])
    assert got.rest == "".join(f"3\r\n{piece}\r\n" for piece in part).encode() + b"0\r\n\r\n"


def test_a_body_of_unknown_length_ends_with_its_connection_under_http_1_0(site: Server) -> None:
    got = raw(site, f"GET {answer('one', 'two', shape='generator')} HTTP/1.0")
    assert (got.all("Content-Length"), got.all("Transfer-Encoding"), got.rest) == ([], [], b"onetwo")


def test_a_connection_that_ends_the_body_is_not_promised_to_be_kept(site: Server) -> None:
    line = f"GET {answer('one', 'two', shape='generator')} HTTP/1.0"
    with Client(site.address) as client:
        client.socket.sendall(request(line, "Connection: keep-alive"))
        response = client.response()
        assert (response.headers["Connection"], response.read()) == ("close", b"onetwo")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_announced_length_is_sent_once_and_unchanged(site: Server, shape: str, version: str) -> None:
    header = ["Content-Length:6", "content-length:6"]
    got = raw(site, f"GET {answer('one', 'two', header=header, shape=shape)} HTTP/{version}")
    assert (got.all("Content-Length"), got.all("Transfer-Encoding")) == (["6"], [])
    assert got.rest == b"onetwo"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("part", [("one",), ("one", "two")], ids=repr)
def test_a_body_shorter_than_its_length_does_not_look_complete(
    site: Server, shape: str, version: str, part: tuple[str, ...]
) -> None:
    since = settled(site)
    line = f"GET {answer(*part, header=['Content-Length:7'], shape=shape)} HTTP/{version}"
    with surviving(site), Client(site.address) as client:
        client.socket.sendall(request(line, "Connection: keep-alive"))
        response = client.response()
        assert response.headers["Content-Length"] == "7"
        with pytest.raises(IncompleteRead) as broken:
            response.read()
        assert broken.value.partial == "".join(part).encode()
    missing = 7 - len("".join(part))
    site.wait_for(f" missing={missing} the application gave less than its Content-Length", since)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [(), ("",)], ids=repr)
def test_no_body_instead_of_its_length_is_an_error(site: Server, shape: str, part: tuple[str, ...]) -> None:
    assert site.get(answer(*part, header=["Content-Length:7"], shape=shape)).status == 500


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [0, 1, 3, 5])
def test_a_body_longer_than_its_length_is_cut_and_does_not_reach_the_next_answer(
    site: Server, shape: str, length: int
) -> None:
    since = settled(site)
    with Client(site.address) as client:
        got = client.get(answer("one", "two", header=[f"Content-Length:{length}"], shape=shape))
        assert (got.headers["Content-Length"], got.body) == (str(length), b"onetwo"[:length])
        assert client.get("/generator").body == b"from a generator"
    # Parts after the end are not requested.
    if length != len("one"):
        site.wait_for(" the application gave more than its Content-Length: cut", since)


def test_writing_past_the_length_is_an_error(site: Server) -> None:
    since = settled(site)
    with Client(site.address) as client:
        assert client.get("/write-past-length").body == b"one"
        assert client.get("/generator").body == b"from a generator"
    assert [line for line in lines_since(site, since) if line.startswith("past the length:")] == [
        "past the length: an error"
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("header", [["Content-Length:1000"], []], ids=["a length", "no length"])
@pytest.mark.parametrize("part", [(), ("one",), ("one", "two")], ids=repr)
def test_the_answer_to_head_has_no_body_and_keeps_its_length(
    site: Server, shape: str, header: list[str], part: tuple[str, ...]
) -> None:
    got = raw(site, f"HEAD {answer(*part, header=header, shape=shape)}")
    assert (got.line, got.rest) == ("HTTP/1.1 200 OK", b"")
    if header:
        assert (got.all("Content-Length"), got.all("Transfer-Encoding")) == (["1000"], [])
    with Client(site.address) as client:
        client.send(answer(*part, header=header, shape=shape), method="HEAD")
        assert client.answer("HEAD").status == 200
        assert client.get("/generator").body == b"from a generator"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [(), ("one",), ("one", "two")], ids=repr)
def test_an_answer_that_has_no_body_has_none(
    site: Server, method: str, status: str, shape: str, part: tuple[str, ...]
) -> None:
    got = raw(site, f"{method} {answer(*part, status=status, shape=shape)}")
    assert (got.line, got.rest) == (f"HTTP/1.1 {status}", b"")
    assert (got.all("Content-Length"), got.all("Transfer-Encoding")) == ([], [])
    with Client(site.address) as client:
        client.send(answer(*part, status=status, shape=shape), method=method)
        assert client.answer(method).status == int(status[:3])
        assert client.get("/generator").body == b"from a generator"


def test_a_304_has_only_the_length_that_the_application_gives(site: Server) -> None:
    """RFC 9110, section 8.6: it may tell the length that 200 would have, and no other."""
    got = raw(site, f"GET {answer(status='304 Not Modified', header=['Content-Length:1000'])}")
    assert (set(got.all("Content-Length")) <= {"1000"}, got.rest) == (True, b"")


def test_a_204_has_no_length_even_if_the_application_gives_one(site: Server) -> None:
    """RFC 9110, section 8.6."""
    got = raw(site, f"GET {answer(status='204 No Content', header=['Content-Length:0'])}")
    assert (got.all("Content-Length"), got.rest) == ([], b"")


def test_a_reset_of_the_content_is_framed(site: Server) -> None:
    """RFC 9110, section 15.3.6: unlike 204, this has a body, which is empty."""
    with Client(site.address) as client:
        assert client.get(answer(status="205 Reset Content")).body == b""
        assert client.get("/generator").body == b"from a generator"
