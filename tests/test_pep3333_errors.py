"""PEP 3333, errors of the application: each costs only its request, and is logged."""

from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.apps.pep3333 import ERRORS, HEADERS, OF_ITS_CONNECTION, RETURNED, STATUSES
from tests.client import Client
from tests.pep3333 import CALLABLES, lines_since, raw, request, serving, settled, surviving, target
from tests.server import Door, Server


@pytest.fixture(scope="module", params=CALLABLES)
def site(
    door: Door, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(door, tmp_path_factory.mktemp("pep3333"), request.param) as server:
        yield server


def failures(lines: list[str]) -> int:
    return sum(" ERROR " in line and line.endswith(" the application failed") for line in lines)


def fails(site: Server, asked: str) -> list[str]:
    """The request gets an error without details, the child continues, and the log has the cause once."""
    since = settled(site)
    with surviving(site):
        got = raw(site, f"GET {asked}")
        assert got.line == "HTTP/1.1 500 Internal Server Error"
        assert got.rest == b"500 Internal Server Error\n"
        assert got.all("Content-Length") == [str(len(got.rest))]
        assert not got.all("X-Evil")
    lines = lines_since(site, since)
    assert failures(lines) == 1
    return lines


# Exceptions.


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("moment", ["when called", "when started", "when iterated"])
def test_any_exception_before_the_first_bytes_is_an_error_500(site: Server, error: str, moment: str) -> None:
    lines = fails(site, target("fail", error=error, moment=moment))
    assert lines.count("Traceback (most recent call last):") >= 1


@pytest.mark.parametrize("error", ERRORS)
def test_any_exception_after_a_part_breaks_the_chunks_off(site: Server, error: str) -> None:
    since = settled(site)
    with surviving(site), Client(site.address) as client:
        client.send(target("fail", error=error, moment="after a part"))
        response = client.response()
        assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
        with pytest.raises(IncompleteRead) as broken:
            response.read()
        assert broken.value.partial == b"part"
    lines = lines_since(site, since)
    assert failures(lines) == 1
    assert lines.count("Traceback (most recent call last):") >= 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_exception_after_a_part_leaves_the_length_unfilled(site: Server, version: str) -> None:
    asked = target("fail", error="ValueError", moment="after a part", length="5")
    with surviving(site), Client(site.address) as client:
        client.socket.sendall(request(f"GET {asked} HTTP/{version}"))
        response = client.response()
        assert response.headers["Content-Length"] == "5"
        with pytest.raises(IncompleteRead) as broken:
            response.read()
        assert broken.value.partial == b"part"


def test_an_exception_after_a_part_resets_a_connection_whose_end_would_be_that_of_the_answer(
    site: Server,
) -> None:
    """HTTP/1.0 without a length: an ordinary close would make the answer look complete."""
    asked = target("fail", error="ValueError", moment="after a part")
    with surviving(site), Client(site.address) as client:
        client.socket.sendall(request(f"GET {asked} HTTP/1.0"))
        response = client.response()
        assert response.read(4) == b"part"
        with pytest.raises(ConnectionResetError):
            response.read()


@pytest.mark.parametrize("error", ERRORS)
def test_any_exception_in_close_leaves_the_answer_alone(site: Server, error: str) -> None:
    since = settled(site)
    with surviving(site):
        got = site.get(target("fail", error=error, moment="in close"))
        assert (got.status, got.body) == (200, b"part")
    assert failures(lines_since(site, since)) == 1


@pytest.mark.parametrize("size", [10, 300_000])
def test_an_exception_with_the_body_unread_is_an_error_500(site: Server, size: int) -> None:
    with surviving(site), Client(site.address) as client:
        asked = target("fail", error="ValueError", moment="when called")
        assert client.post(asked, b"x" * size).status == 500


# start_response.


@pytest.mark.parametrize("case", STATUSES)
def test_a_status_that_cannot_be_sent_is_an_error_500(site: Server, case: str) -> None:
    fails(site, target("wrong-status", case=case))


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_cannot_be_sent_are_an_error_500(site: Server, case: str) -> None:
    fails(site, target("wrong-headers", case=case))


@pytest.mark.parametrize("case", HEADERS)
def test_headers_are_checked_while_the_application_runs(site: Server, case: str) -> None:
    got = site.get(target("wrong-headers-noticed", case=case))
    assert (got.status, got.body) == (200, b"noticed")


def test_start_response_called_twice_is_an_error_500(site: Server) -> None:
    fails(site, "/start-twice")


@pytest.mark.parametrize("name", CALLABLES)
def test_headers_of_the_connection_are_dropped_with_one_warning(
    door: Door, tmp_path: Path, name: str
) -> None:
    """As a view has them that passes on what another server has answered it."""
    with serving(door, tmp_path, name) as server:
        for _ in range(2):
            got = raw(server, f"GET {target('headers-of-the-connection')}")
            assert (got.line, got.rest) == ("HTTP/1.1 200 OK", b"passed")
            # What is there is the server's own.
            there = {field for field, _ in OF_ITS_CONNECTION if got.all(field)}
            assert {field.lower() for field in there} == {"connection"}
            assert got.all("Connection") == ["close"]
        warnings = [line for line in server.log.lines if "such headers are dropped" in line]
        assert len(warnings) == 1
        assert " WARN header=Connection " in warnings[0]


def test_spaces_around_a_value_are_not_sent(site: Server) -> None:
    assert raw(site, f"GET {target('spaces-around-values')}").all("X-Spaces") == ["in the middle"]


@pytest.mark.parametrize("returns", ["list", "two", "empty", "iterator"])
def test_an_answer_without_start_response_is_an_error_500(site: Server, returns: str) -> None:
    since = settled(site)
    with surviving(site):
        assert site.get(target("without-start", returns=returns)).status == 500
    # The validator notices that, too, unless there are no parts.
    reasons = " the application did not call start_response", " the application failed"
    assert sum(line.endswith(reasons) for line in lines_since(site, since)) == 1


def test_a_part_before_start_response_is_an_error_500(site: Server) -> None:
    with surviving(site):
        assert site.get("/start-after-part").status == 500


# The body.


@pytest.mark.parametrize("case", RETURNED)
def test_a_body_that_is_no_iterable_of_bytes_is_an_error_500(site: Server, case: str) -> None:
    fails(site, target("wrong-return", case=case))


def test_a_part_that_is_not_bytes_breaks_the_answer_off(site: Server) -> None:
    since = settled(site)
    with surviving(site), Client(site.address) as client:
        client.send("/wrong-part")
        response = client.response()
        with pytest.raises(IncompleteRead) as broken:
            response.read()
        assert broken.value.partial == b"part"
    assert failures(lines_since(site, since)) == 1


def test_writing_what_is_not_bytes_is_an_error_500(site: Server) -> None:
    fails(site, "/wrong-write")


def test_the_next_request_of_the_connection_is_not_affected(site: Server) -> None:
    """Unless the server announces that it closes it."""
    with surviving(site), Client(site.address) as client:
        got = client.get(target("fail", error="ValueError", moment="when called"))
        assert got.status == 500
        if got.headers["Connection"] == "close":
            assert client.rest() == b""
        else:
            assert client.get("/generator").body == b"from a generator"
