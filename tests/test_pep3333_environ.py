"""PEP 3333, the application's input: the environ, wsgi.input and wsgi.errors."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.pep3333 import READERS
from tests.client import Client
from tests.pep3333 import CALLABLES, bare_only, environ, request, serving, settled, show, target
from tests.server import Door, Server


@pytest.fixture(scope="module", params=CALLABLES)
def site(
    door: Door, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(door, tmp_path_factory.mktemp("pep3333"), request.param) as server:
        yield server


# The environ.


def test_the_environ_is_a_dict_and_nothing_derived_from_it(site: Server) -> None:
    assert show(site)["type"] == "builtins.dict"


def test_every_variable_is_a_str_that_latin_1_can_write(site: Server) -> None:
    shown = show(site, "POST /show/%E2%82%AC?%E2%82%AC", "X-A: \xe2\x82\xac", "Content-Length: 1", body=b"x")
    variables = {name: value for name, value in shown["environ"].items() if "." not in name}
    assert {shown["types"][name] for name in variables} == {"str"}
    assert "".join([*variables, *variables.values()]).encode("latin-1")


def test_the_variables_that_must_be_there_are(site: Server) -> None:
    must = "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL".split()
    must += ["wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors"]
    must += ["wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"]
    assert set(must) <= environ(site).keys()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_the_method_is_that_of_the_request(site: Server, method: str) -> None:
    assert environ(site, f"{method} /show")["REQUEST_METHOD"] == method


def test_the_method_head_is_not_disguised(site: Server) -> None:
    with Client(site.address) as client:
        client.send(target("method-in-header"), method="HEAD")
        assert client.answer("HEAD").headers["X-Method"] == "HEAD"


@pytest.mark.parametrize(
    ("path", "seen"),
    {
        "/show": "/show",
        "/show/": "/show/",
        "/": "/",
        "/show/a%20b": "/show/a b",
        "/show/a+b": "/show/a+b",
        "/show/a%2Fb%2fc": "/show/a/b/c",
        "/show/%C3%A4/%E6%97%A5": "/show/\xc3\xa4/\xe6\x97\xa5",
        "/show/%E4%FF%80": "/show/\xe4\xff\x80",
        "/show/a%00b": "/show/a\0b",
        "/show/a%0D%0Ab": "/show/a\r\nb",
        "/show/%2541": "/show/%41",
        "/show/%zz%4": "/show/%zz%4",
        "/show//a/../b/./c;d=e": "/show//a/../b/./c;d=e",
    }.items(),
)
def test_the_path_is_decoded_byte_by_byte_and_otherwise_left_alone(
    site: Server, path: str, seen: str
) -> None:
    assert environ(site, f"GET {path}")["PATH_INFO"] == seen


@pytest.mark.parametrize("query", ["a=b&c=d", "a%20b=%C3%A4&c=%2F", "a+b", "?", "a?b=/c", "%", "=&=&&"])
def test_the_query_is_left_as_it_is(site: Server, query: str) -> None:
    seen = environ(site, f"GET /show?{query}")
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/show", query)


@pytest.mark.parametrize("asked", ["/show", "/show?"])
def test_an_empty_query_is_an_empty_str(site: Server, asked: str) -> None:
    assert environ(site, f"GET {asked}")["QUERY_STRING"] == ""


@pytest.mark.parametrize("name", CALLABLES)
def test_the_mount_point_is_the_script_name_and_not_in_the_path(
    door: Door, tmp_path: Path, name: str
) -> None:
    with serving(door, tmp_path, name, "--script-name", "/the/mount") as server:
        for asked, path in {
            "/the/mount": "",
            "/the/mount/": "/",
            "/the/mount/show/a": "/show/a",
            "/the/%6Dount/show": "/show",
        }.items():
            seen = environ(server, f"GET {asked}")
            assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/the/mount", path)
        for outside in ("/", "/the", "/the/mounted", "/the/moun"):
            assert server.get(outside).status == 404


def test_without_a_mount_point_the_script_name_is_empty(site: Server) -> None:
    assert environ(site)["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(
    ("host", "name"),
    [("site.example", "site.example"), ("site.example:8080", "site.example"), ("[::1]:81", "[::1]")],
)
def test_the_name_is_what_the_client_has_asked_for_and_the_port_where_it_came_in(
    site: Server, host: str, name: str
) -> None:
    with Client(site.address) as client:
        seen = client.get("/show", {"Host": host}).json()["environ"]
    port = str(site.address[1])
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"], seen["HTTP_HOST"]) == (name, port, host)


def test_a_client_that_does_not_call_it_anything_finds_its_address(site: Server) -> None:
    with Client(site.address) as client:
        client.socket.sendall(b"GET /show HTTP/1.0\r\n\r\n")
        seen = client.answer().json()["environ"]
    assert (seen["SERVER_NAME"], int(seen["SERVER_PORT"])) == site.address
    assert "HTTP_HOST" not in seen


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_the_protocol_is_that_of_the_request(site: Server, version: str) -> None:
    assert environ(site, f"GET /show {version}")["SERVER_PROTOCOL"] == version


def test_the_client_is_named_by_address_and_port(site: Server) -> None:
    with Client(site.address) as client:
        shown = client.get("/show").json()
        assert (shown["environ"]["REMOTE_ADDR"], shown["environ"]["REMOTE_PORT"]) == (
            "127.0.0.1",
            str(client.socket.getsockname()[1]),
        )
    assert shown["types"]["REMOTE_PORT"] == "str"


def test_type_and_length_of_the_body_are_no_http_variables(site: Server) -> None:
    seen = environ(site, "POST /show", "Content-Type: a/b; c=d", "Content-Length: 3", body=b"abc")
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("a/b; c=d", "3")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & seen.keys()


def test_without_a_body_there_is_neither_type_nor_length(site: Server) -> None:
    assert not [name for name in environ(site) if "CONTENT" in name]


def test_a_length_of_zero_is_passed(site: Server) -> None:
    assert environ(site, "POST /show", "Content-Length: 0")["CONTENT_LENGTH"] == "0"


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        (["X-One: 1"], "HTTP_X_ONE", "1"),
        (["x-oNE:1"], "HTTP_X_ONE", "1"),
        (["X-One: \t 1 2  \t"], "HTTP_X_ONE", "1 2"),
        (["X-One:"], "HTTP_X_ONE", ""),
        (["X-One: \xe4\xff\x80"], "HTTP_X_ONE", "\xe4\xff\x80"),
        (["X-One: a\tb"], "HTTP_X_ONE", "a\tb"),
        (["Authorization: Basic eDp5"], "HTTP_AUTHORIZATION", "Basic eDp5"),
        (["X1.2~3: 1"], "HTTP_X1.2~3", "1"),
    ],
)
def test_a_header_is_a_variable(site: Server, fields: list[str], name: str, value: str) -> None:
    assert environ(site, "GET /show", *fields)[name] == value


def test_headers_of_one_name_are_joined_by_commas(site: Server) -> None:
    seen = environ(site, "GET /show", "X-A: 1", "Accept: a", "x-a: 2", "Accept: b;q=0.1, c", "X-A: \xe4")
    assert (seen["HTTP_X_A"], seen["HTTP_ACCEPT"]) == ("1,2,\xe4", "a,b;q=0.1, c")


def test_cookies_of_several_headers_are_joined_by_semicolons(site: Server) -> None:
    assert environ(site, "GET /show", "Cookie: a=1", "Cookie: b=2; c=3")["HTTP_COOKIE"] == "a=1; b=2; c=3"


def test_a_header_proxy_is_dropped(site: Server) -> None:
    assert "HTTP_PROXY" not in environ(site, "GET /show", "Proxy: http://evil.example")


@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "X-Forwarded_For", "_", "Content_Length", "Content_Type"]
)
def test_header_names_with_an_underscore_are_dropped(site: Server, name: str) -> None:
    others = "X-Forwarded-For: 192.0.2.1"
    seen = environ(site, "GET /show", f"{name}: 1", others)
    assert seen["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert seen.keys() == environ(site, "GET /show", others).keys()


def test_a_plain_connection_is_http_in_every_variable(site: Server) -> None:
    seen = environ(site)
    assert seen["wsgi.url_scheme"] == "http"
    assert "HTTPS" not in seen


def test_the_version_is_a_tuple_of_one_and_zero(site: Server) -> None:
    shown = show(site)
    assert (shown["environ"]["wsgi.version"], shown["types"]["wsgi.version"]) == ("(1, 0)", "tuple")


def test_the_application_is_not_run_only_once(site: Server) -> None:
    assert environ(site)["wsgi.run_once"] == "False"


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_multithread_and_multiprocess_are_right(
    door: Door, tmp_path: Path, processes: int, threads: int
) -> None:
    pool = ["--processes", str(processes), "--threads", str(threads)]
    with serving(door, tmp_path, "application", *pool, children=processes) as server:
        seen = environ(server)
    assert seen["wsgi.multithread"] == str(threads > 1)
    assert seen["wsgi.multiprocess"] == str(processes > 1)


def test_an_environ_that_was_spoilt_does_not_spoil_the_next(site: Server) -> None:
    with Client(site.address) as client:
        before = client.get("/show").json()
        assert client.get("/spoil").body == b"spoilt"
        after = client.get("/show").json()
    for shown in (before, after):
        # Objects of one request, whose repr contains their addresses.
        del shown["environ"]["wsgi.input"], shown["environ"]["wsgi.errors"]
    assert after == before


def test_nothing_of_a_request_is_left_in_the_next(site: Server) -> None:
    with Client(site.address) as client:
        client.socket.sendall(
            request("POST /show?q", "X-A: 1", "Content-Type: a/b", "Content-Length: 1") + b"x"
        )
        assert client.answer().status == 200
        seen = client.get("/show").json()["environ"]
    assert not {"HTTP_X_A", "CONTENT_TYPE", "CONTENT_LENGTH"} & seen.keys()
    assert (seen["REQUEST_METHOD"], seen["QUERY_STRING"]) == ("GET", "")


# wsgi.errors.


def test_what_is_written_to_errors_is_in_the_log(site: Server) -> None:
    since = settled(site)
    assert site.get("/errors").body == b"written"
    for line in ("written to errors$", "first of two lines$", "second of two lines$", "beyond ASCII: "):
        site.wait_for(f"^{line}", since)


# wsgi.input.

LINES = b"one\ntwo\r\n\nthe last line has no end"
# One is kept in memory, the other in a file.
SMALL, LARGE = LINES, b"".join(b"line %d\n" % number for number in range(30_000)) + LINES
assert len(LARGE) > 300 * 1024

SIZED_READERS = [how for how in READERS if how != "read()"]


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])


def ask_to_read(site: Server, how: str, body: bytes, chunk: int | None) -> list[str]:
    framing = f"Content-Length: {len(body)}" if chunk is None else "Transfer-Encoding: chunked"
    with Client(site.address) as client:
        client.socket.sendall(request(f"POST {target('read', how=how)}", framing))
        client.socket.sendall(body if chunk is None else chunked(body, chunk))
        parts: list[str] = client.answer().json()
        return parts


def read_locally(how: str, body: bytes) -> list[str]:
    return [part.decode("latin-1") for part in READERS[how](io.BytesIO(body))]


@pytest.mark.parametrize("chunk", [None, 10, 50_000], ids=["a length", "small chunks", "large chunks"])
@pytest.mark.parametrize("body", [b"", SMALL], ids=["empty", "small"])
@pytest.mark.parametrize("how", SIZED_READERS)
def test_the_body_is_read_like_a_file(site: Server, how: str, body: bytes, chunk: int | None) -> None:
    assert ask_to_read(site, how, body, chunk) == read_locally(how, body)


@pytest.mark.parametrize("chunk", [None, 50_000], ids=["a length", "chunks"])
@pytest.mark.parametrize("how", SIZED_READERS)
def test_a_large_body_is_read_like_a_file(site: Server, how: str, chunk: int | None) -> None:
    assert ask_to_read(site, how, LARGE, chunk) == read_locally(how, LARGE)


@bare_only
@pytest.mark.parametrize("chunk", [None, 50_000], ids=["a length", "chunks"])
@pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_the_size_of_a_read_is_optional(site: Server, body: bytes, chunk: int | None) -> None:
    """The validator requires it, PEP 3333 does not."""
    assert ask_to_read(site, "read()", body, chunk) == [body.decode("latin-1")]


@pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_the_body_can_be_read_while_the_answer_is_given(site: Server, body: bytes) -> None:
    with Client(site.address) as client:
        assert client.post("/echo", body).body == body


def test_the_end_of_the_body_is_the_end_of_the_input(site: Server) -> None:
    assert environ(site)["wsgi.input_terminated"] == "True"


def test_a_body_in_chunks_has_its_length_and_no_framing_left(site: Server) -> None:
    seen = environ(site, "POST /show", "Transfer-Encoding: chunked", body=chunked(SMALL, 10))
    assert seen["CONTENT_LENGTH"] == str(len(SMALL))
    assert "HTTP_TRANSFER_ENCODING" not in seen


def test_a_waiting_client_gets_100_continue(site: Server) -> None:
    with Client(site.address) as client:
        line = f"POST {target('read', how='read(-1)')}"
        client.socket.sendall(request(line, "Content-Length: 4", "Expect: 100-continue"))
        assert client.socket.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.socket.sendall(b"body")
        assert client.answer().json() == ["body"]


@pytest.mark.parametrize("chunk", [None, 50_000], ids=["a length", "chunks"])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_an_unread_body_does_not_affect_the_next_request(
    site: Server, body: bytes, chunk: int | None
) -> None:
    framing = f"Content-Length: {len(body)}" if chunk is None else "Transfer-Encoding: chunked"
    with Client(site.address) as client:
        for _ in range(2):
            client.socket.sendall(request("POST /ignore", framing))
            client.socket.sendall(body if chunk is None else chunked(body, chunk))
            assert client.answer().body == b"ignored"
        assert json.loads(client.get("/show").body)["environ"]["REQUEST_METHOD"] == "GET"
