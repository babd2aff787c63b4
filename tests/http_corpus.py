"""Requests, well-formed and malformed, with the expected results (RFC 9110, RFC 9112)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

# What the application logs of a request: method, target, body.
Seen = tuple[str, str, str]


@dataclass(frozen=True)
class Case:
    """The bytes of one connection, and the expected result."""

    name: str
    sent: bytes
    # The statuses of the answers, in order.
    statuses: tuple[int, ...]
    # What reaches the application.
    saw: tuple[Seen, ...] = ()
    # Whether the connection persists.
    stays: bool = False
    # Expected values in the environ of the first request.
    environ: dict[str, str | None] = field(default_factory=dict)
    # The client shuts down its sending side after its bytes.
    half_close: bool = False
    # Arguments with which the server must have been started.
    server: str = ""

    def __str__(self) -> str:
        return self.name


def request(
    line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "Host: a", body: str | bytes = b""
) -> bytes:
    """A request of these lines."""
    lines = [line, *([host] if host is not None else []), *fields]
    body = body.encode("latin-1") if isinstance(body, str) else body
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


def post(*fields: str, body: str | bytes = b"") -> bytes:
    return request("POST / HTTP/1.1", *fields, body=body)


CHUNKED = "Transfer-Encoding: chunked"
GOOD = request()
ROOT: Seen = ("GET", "/", "")
# A distinct request: if the application sees it, it was smuggled.
EVIL = request("GET /evil HTTP/1.1")


def good(
    name: str,
    sent: bytes,
    *saw: Seen,
    stays: bool = True,
    half_close: bool = False,
    server: str = "",
    **environ: str | None,
) -> Case:
    """Answered with 200."""
    seen = saw or (ROOT,)
    return Case(name, sent, (200,) * len(seen), seen, stays, environ, half_close, server)


def bad(name: str, sent: bytes, status: int = 400, server: str = "", half_close: bool = False) -> Case:
    """Refused; a request after it is not read."""
    behind = b"" if half_close else EVIL
    return Case(name, sent + behind, (status,), server=server, half_close=half_close)


def each(family: str, cases: Iterable[Case]) -> Iterator[Case]:
    return (replace(case, name=f"{family}: {case.name}") for case in cases)


def request_lines() -> Iterator[Case]:
    for name, line in {
        "two spaces before the target": "GET  / HTTP/1.1",
        "two spaces before the version": "GET /  HTTP/1.1",
        "a tab for a space": "GET\t/ HTTP/1.1",
        "a tab before the version": "GET /\tHTTP/1.1",
        "a space at the end": "GET / HTTP/1.1 ",
        "a space at the beginning": " GET / HTTP/1.1",
        "no version": "GET /",
        "no target": "GET HTTP/1.1",
        "a method alone": "GET",
        "a space in the target": "GET /a b HTTP/1.1",
        "an empty method": " / HTTP/1.1",
        "a colon in the method": "GET: / HTTP/1.1",
        "a parenthesis in the method": "G(ET / HTTP/1.1",
        "a high byte in the method": "G\xc4T / HTTP/1.1",
        "a NUL in the method": "G\0T / HTTP/1.1",
        "a NUL in the target": "GET /\0 HTTP/1.1",
        "a vertical tab in the target": "GET /\x0b HTTP/1.1",
        "DEL in the target": "GET /\x7f HTTP/1.1",
        "a bare CR in the target": "GET /\rx HTTP/1.1",
        "a fragment": "GET /#a HTTP/1.1",
        "a lower-case protocol": "GET / http/1.1",
        "another protocol": "GET / HTTPS/1.1",
        "a version without a minor": "GET / HTTP/1",
        "a version of three digits": "GET / HTTP/1.10",
        "a version of four digits": "GET / HTTP/11.1",
        "a version with a sign": "GET / HTTP/+1.1",
        "a version of letters": "GET / HTTP/a.b",
        "a comma in the version": "GET / HTTP/1,1",
    }.items():
        yield bad(name, request(line))
    for version in ("0.9", "1.2", "1.9", "2.0", "3.0", "9.9"):
        yield bad(f"version {version}", request(f"GET / HTTP/{version}"), 505)
    yield bad("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
    yield bad("the beginning of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    yield bad("a bare LF", b"GET / HTTP/1.1\nHost: a\r\n\r\n")
    yield bad("a bare CR", b"GET / HTTP/1.1\rHost: a\r\n\r\n")
    yield bad("LF CR", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r")
    yield bad("an empty line of LF before", b"\n" + GOOD)
    yield bad("spaces before", b"  \r\n" + GOOD)
    yield good("an empty line before", b"\r\n" + GOOD)
    yield good("three empty lines before", b"\r\n\r\n\r\n" + GOOD)
    for method in (
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "PROPFIND",
        "get",
        "X-Y!#$%&'*+.^_`|~",
        "A" * 60,
    ):
        yield good(
            f"method {method}", request(f"{method} / HTTP/1.1"), (method, "/", ""), REQUEST_METHOD=method
        )


def targets() -> Iterator[Case]:
    for target in (
        *(
            "foo",
            "http:/a/",
            "http:///",
            "http://",
            "http://:80/",
            "http://u@a/",
            "http://u:p@a/",
            "http://a b/",
        ),
        *(
            "ftp://a/",
            "//a/",
            "*/",
            "**",
            "?a",
            "http://a:99999/",
            "http://[::1/",
            "http://a/#b",
            "mailto:a",
            "a:80",
        ),
    ):
        verdict = good if target == "//a/" else bad
        sent = request(f"GET {target} HTTP/1.1")
        yield (
            verdict(f"GET {target}", sent, ("GET", target, ""))
            if verdict is good
            else bad(f"GET {target}", sent)
        )
    for method in ("GET", "POST", "options"):
        yield bad(f"{method} *", request(f"{method} * HTTP/1.1"))
    yield bad("CONNECT a:80", request("CONNECT a:80 HTTP/1.1"), 501)
    yield bad("CONNECT /", request("CONNECT / HTTP/1.1"), 501)
    # The server's own answer.
    yield Case("OPTIONS *", request("OPTIONS * HTTP/1.1"), (200,), stays=True)
    yield bad("a fragment in a query", request("GET /?a#b HTTP/1.1"))
    for target, seen in {
        "/?": "/",
        "/?a=b&c=%20": "/?a=b&c=%20",
        "/a?b?c": "/a?b?c",
        "/%41%2f": "/%41%2f",
        "/a;b=c": "/a;b=c",
        "/.././x": "/.././x",
        "/a//b": "/a//b",
        "/a|b{c}^[d]": "/a|b{c}^[d]",
        '/a"b<c>`d\\': '/a"b<c>`d\\',
        '/?q="a"<b>`c`\\': '/?q="a"<b>`c`\\',
        "/\xc3\xa4?\xc3\xa4": "/\xc3\xa4?\xc3\xa4",
        "/%": "/%",
        "/%zz": "/%zz",
        "/*": "/*",
    }.items():
        yield good(
            f"GET {target}",
            request(f"GET {target} HTTP/1.1"),
            ("GET", seen, ""),
            REQUEST_URI=seen,
            RAW_URI=seen,
        )
    yield good(
        "escapes are decoded as latin-1",
        request("GET /%C3%A4?%C3%A4 HTTP/1.1"),
        ("GET", "/%C3%A4?%C3%A4", ""),
        PATH_INFO="/\xc3\xa4",
        QUERY_STRING="%C3%A4",
    )
    for target, host, path in (
        ("http://b/x?y", "b", "/x"),
        ("http://b:81/x", "b:81", "/x"),
        ("HTTP://b/", "b", "/"),
        ("https://b/", "b", "/"),
        ("http://b", "b", "/"),
        ("http://b?y", "b", "/"),
        ("http://[::1]:81/", "[::1]:81", "/"),
    ):
        rest = path + ("?y" if target.endswith("?y") else "")
        yield good(
            f"{target} overrides Host",
            request(f"GET {target} HTTP/1.1"),
            ("GET", rest, ""),
            HTTP_HOST=host,
            SERVER_NAME=host.removesuffix(":81"),
            PATH_INFO=path,
            HTTPS=None,
        )
    yield bad("an absolute target without Host", request("GET http://b/ HTTP/1.1", host=None))


def fields() -> Iterator[Case]:
    for name, line in {
        "a space before the colon": "X : y",
        "a tab before the colon": "X\t: y",
        "no colon": "X y",
        "no name": ": y",
        "a space in the name": "X Y: z",
        "a folded line": "X: y\r\n z",
        "a line folded with a tab": "X: y\r\n\tz",
        "an empty folded line": "X: y\r\n \r\nZ: w",
        "a NUL in the value": "X: a\0b",
        "a bare CR in the value": "X: a\rb",
        "a bare CR at the end of the value": "X: a\r\r\nY: b",
        "a bare LF in the value": "X: a\nEvil: b",
        "a bell in the value": "X: \x07",
        "an escape in the value": "X: \x1b[0m",
        "DEL in the value": "X: \x7f",
        "a NUL in the name": "X\0: y",
        "a high byte in the name": "\xc4: y",
        "a parenthesis in the name": "X(y): z",
        "a slash in the name": "X/y: z",
        "quotes around the name": '"X": y',
        "a comma in the name": "X,Y: z",
        "a brace in the name": "X{: y",
        "an at sign in the name": "X@: y",
    }.items():
        yield bad(name, request("GET / HTTP/1.1", line))
    yield bad("a space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
    yield bad("a tab before the first field", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n")
    yield bad("an end of LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n")
    yield bad("lines of LF", b"GET / HTTP/1.1\r\nHost: a\nX: y\n\n")
    yield bad("an end of CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n")
    for name, line, key, value in (
        ("no space behind the colon", "X:y", "HTTP_X", "y"),
        ("white space around the value", "X: \t y \t ", "HTTP_X", "y"),
        ("white space within the value", "X: a \t b", "HTTP_X", "a \t b"),
        ("an empty value", "X:", "HTTP_X", ""),
        ("a value of white space", "X: \t ", "HTTP_X", ""),
        ("colons in the value", "X: a:b:c", "HTTP_X", "a:b:c"),
        ("high bytes in the value", "X: \xe4\xff\x80", "HTTP_X", "\xe4\xff\x80"),
        ("UTF-8 in the value", "X: \xc3\xa4", "HTTP_X", "\xc3\xa4"),
        ("quotes in the value", 'X: "a\\"b"', "HTTP_X", '"a\\"b"'),
        ("a name of all token characters", "x!#$%&'*+-.^`|~9: y", "HTTP_X!#$%&'*+_.^`|~9", "y"),
        ("a name in capitals", "X-FORWARDED-FOR: y", "HTTP_X_FORWARDED_FOR", "y"),
        ("a name with an underscore is dropped", "X_Y: y", "HTTP_X_Y", None),
        ("Proxy is dropped", "Proxy: y", "HTTP_PROXY", None),
        ("Content-Type", "Content-Type: a/b", "CONTENT_TYPE", "a/b"),
        ("no HTTP_CONTENT_TYPE", "Content-Type: a/b", "HTTP_CONTENT_TYPE", None),
        ("two fields of a name", "X: a\r\nX: b", "HTTP_X", "a,b"),
        ("three fields of a name in different cases", "x: a\r\nX: b\r\nx: c", "HTTP_X", "a,b,c"),
        ("two Cookies", "Cookie: a=1\r\nCookie: b=2", "HTTP_COOKIE", "a=1; b=2"),
        ("an underscore beside the hyphen", "X-Y: a\r\nX_Y: b", "HTTP_X_Y", "a"),
    ):
        yield replace(good(name, request("GET / HTTP/1.1", line)), environ={key: value})


def hosts() -> Iterator[Case]:
    yield bad("none", request(host=None))
    yield bad("two", request("GET / HTTP/1.1", "Host: b"))
    yield bad("two that are equal", request("GET / HTTP/1.1", "Host: a"))
    yield bad("two in different cases", request("GET / HTTP/1.1", "HOST: b"))
    yield bad("two in HTTP/1.0", request("GET / HTTP/1.0", "Host: b"))
    for host in (
        *(
            "a b",
            "a,b",
            "a, b",
            "a/b",
            "/",
            "u@a",
            "a?b",
            "a#b",
            "a:b",
            "a:-1",
            "a:+80",
            "a:65536",
            "a:80:80",
        ),
        *(
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[g::]",
            "[::1]:x",
            "a%2",
            "a%zz",
            "a\\b",
            "<a>",
            '"a"',
            "\xe4",
            "a\tb",
            "a|b",
        ),
    ):
        yield bad(f"{host!r}", request(host=f"Host: {host}"))
    for host, name in (
        ("example.org", "example.org"),
        ("example.org:8080", "example.org"),
        ("example.org:", "example.org"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:8080", "[::1]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("under_score", "under_score"),
    ):
        yield good(host, request(host=f"Host: {host}"), HTTP_HOST=host, SERVER_NAME=name)
    yield good("an empty one", request(host="Host:"), HTTP_HOST="")
    yield good("none in HTTP/1.0", request("GET / HTTP/1.0", host=None), stays=False, HTTP_HOST=None)


def lengths() -> Iterator[Case]:
    for value in (
        *(
            "+3",
            "-3",
            "-0",
            "3,3",
            "3, 3",
            "3 3",
            "0x3",
            "3.0",
            "3e0",
            "",
            " ",
            "abc",
            "3a",
            "\xb3",
            "٣".encode().decode("latin-1"),
        ),
        *("99999999999999999999", "18446744073709551616", "18446744073709551615", "3;", '"3"', "3\t4"),
    ):
        yield bad(f"{value!r}", post(f"Content-Length: {value}", body="abc"))
    yield bad("two", post("Content-Length: 3", "Content-Length: 4", body="abcd"))
    yield bad("two that are equal", post("Content-Length: 3", "Content-Length: 3", body="abc"))
    yield bad("two in different cases", post("Content-Length: 3", "content-length: 5", body="abc"))
    yield bad("a space before the colon", post("Content-Length : 3", body="abc"))
    yield bad("a tab before the colon", post("Content-Length\t: 3", body="abc"))
    yield bad("more than the limit", post("Content-Length: 1073741825"), 413)
    yield bad("far more than the limit", post("Content-Length: 9999999999999999999"), 413)
    yield bad("cut by the end of the connection", post("Content-Length: 9", body="abc"), half_close=True)
    seen: Seen = ("POST", "/", "abc")
    for value, length in {
        "3": "3",
        " 3 ": "3",
        "\t3\t": "3",
        "003": "3",
        "0000000000000000000003": "3",
    }.items():
        sent = post(f"Content-Length:{value}", body="abc")
        yield good(f"{value!r}", sent, seen, CONTENT_LENGTH=length, HTTP_CONTENT_LENGTH=None, body="abc")
    yield good("zero", post("Content-Length: 0"), ("POST", "/", ""), CONTENT_LENGTH="0")
    yield good("none", post(), ("POST", "/", ""), CONTENT_LENGTH=None)
    with_body = request("GET / HTTP/1.1", "Content-Length: 3", body="abc")
    yield good("with GET", with_body + GOOD, ("GET", "/", "abc"), ROOT)
    yield good("a name with an underscore is none", post("Content_Length: 3") + GOOD, ("POST", "/", ""), ROOT)


def codings() -> Iterator[Case]:
    whole = "3\r\nabc\r\n0\r\n\r\n"
    for value in (
        *(
            "chunked, chunked",
            "chunked,chunked",
            "chunked, gzip",
            "chunked, identity",
            "chunked;q=1",
            "chunked,",
        ),
        *(
            "",
            ",",
            ",chunked",
            '"chunked"',
            "chunked chunked",
            "chunked\x0b",
            "\x0bchunked",
            "chunked\0",
            "gzip,,chunked",
        ),
        *("gzip, chunked, chunked", "chun\tked", "chunked; a=b", "\xffchunked"),
    ):
        yield bad(f"{value!r}", post(f"Transfer-Encoding: {value}", body=whole))
    for value in (
        "gzip",
        "identity",
        "xchunked",
        "chunkedx",
        "gzip, chunked",
        "deflate, gzip, chunked",
        "cow",
    ):
        yield bad(f"{value!r}", post(f"Transfer-Encoding: {value}", body=whole), 501)
    yield bad("two", post(CHUNKED, CHUNKED, body=whole))
    yield bad("two of which one is another", post(CHUNKED, "Transfer-Encoding: identity", body=whole))
    yield bad("with a length", post(CHUNKED, "Content-Length: 3", body=whole))
    yield bad("behind a length", post("Content-Length: 3", CHUNKED, body=whole))
    yield bad("with a length of zero", post("Content-Length: 0", CHUNKED, body=whole))
    yield bad("another with a length", post("Transfer-Encoding: gzip", "Content-Length: 3", body=whole))
    yield bad("a space before the colon", post("Transfer-Encoding : chunked", body=whole))
    yield bad("folded", post("Transfer-Encoding:\r\n chunked", body=whole))
    yield bad("hidden behind a bare LF", post("X: y\nTransfer-Encoding: chunked", body=whole))
    yield bad("hidden behind a bare CR", post("X: y\rTransfer-Encoding: chunked", body=whole))
    yield bad("in HTTP/1.0", request("POST / HTTP/1.0", CHUNKED, body=whole))
    seen: Seen = ("POST", "/", "abc")
    for value in ("chunked", "Chunked", "CHUNKED", " \tchunked\t "):
        sent = post(f"Transfer-Encoding:{value}", body=whole)
        yield good(f"{value!r}", sent, seen, CONTENT_LENGTH="3", HTTP_TRANSFER_ENCODING=None, body="abc")
    smuggled = post("Transfer_Encoding: chunked", "Content-Length: 3", body="abc")
    yield good("a name with an underscore is none", smuggled + GOOD, seen, ROOT)


def chunks() -> Iterator[Case]:
    for name, body in {
        "an empty size": "\r\nabc\r\n0\r\n\r\n",
        "an extension without a size": ";a\r\nabc\r\n0\r\n\r\n",
        "a sign": "+3\r\nabc\r\n0\r\n\r\n",
        "a negative size": "-3\r\nabc\r\n0\r\n\r\n",
        "a prefix": "0x3\r\nabc\r\n0\r\n\r\n",
        "an underscore": "0_3\r\nabc\r\n0\r\n\r\n",
        "a space before": " 3\r\nabc\r\n0\r\n\r\n",
        "a space behind": "3 \r\nabc\r\n0\r\n\r\n",
        "a tab behind": "3\t\r\nabc\r\n0\r\n\r\n",
        "a comma": "3,\r\nabc\r\n0\r\n\r\n",
        "no hexadecimal digit": "g\r\nabc\r\n0\r\n\r\n",
        "a size beyond 64 bits": "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "a size for which counting with a sign is too little": "FFFFFFFFFFFFFFFD\r\nabc\r\n0\r\n\r\n",
        "a size that floating point cannot tell from the next": "20000000000001\r\nabc\r\n0\r\n\r\n",
        "a size of 17 digits": "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "a bare LF behind the size": "3\nabc\r\n0\r\n\r\n",
        "a bare CR behind the size": "3\rabc\r\n0\r\n\r\n",
        "a bare LF behind the data": "3\r\nabc\n0\r\n\r\n",
        "a bare CR behind the data": "3\r\nabc\r0\r\n\r\n",
        "nothing behind the data": "3\r\nabc0\r\n\r\n",
        "more data than the size": "3\r\nabcd\r\n0\r\n\r\n",
        "less data than the size": "4\r\nabc\r\n0\r\n\r\n",
        "a bare LF at the end": "3\r\nabc\r\n0\r\n\n",
        "a bare CR at the end": "3\r\nabc\r\n0\r\n\rx",
        "a bare LF in an extension": "3;a\nabc\r\n0\r\n\r\n",
        "a bare CR in an extension": "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "a NUL in an extension": "3;\0\r\nabc\r\n0\r\n\r\n",
        "an endless extension": "3;" + "a" * 5000 + "\r\nabc\r\n0\r\n\r\n",
        "a trailer without a colon": "0\r\nX\r\n\r\n",
        "a trailer with a space before the colon": "0\r\nX : y\r\n\r\n",
        "a trailer that is folded": "0\r\nX: y\r\n z\r\n\r\n",
        "a trailer behind a space": "0\r\n X: y\r\n\r\n",
        "a trailer of a bare LF": "0\r\nX: y\n\r\n",
        "a trailer with a NUL": "0\r\nX: \0\r\n\r\n",
        "too many trailers": "0\r\n" + "X: y\r\n" * 101 + "\r\n",
        "a trailer that is too long": "0\r\nX: " + "y" * 8200 + "\r\n\r\n",
    }.items():
        yield bad(name, post(CHUNKED, body=body))
    for name, body in {
        "no data": "",
        "in the size": "3",
        "behind the size": "3\r\n",
        "in the data": "3\r\nab",
        "behind the data": "3\r\nabc\r\n",
        "before the last line": "3\r\nabc\r\n0\r\n",
        "in the trailer": "3\r\nabc\r\n0\r\nX: y",
    }.items():
        yield bad(f"cut: {name}", post(CHUNKED, body=body), half_close=True)
    for name, body, seen in (
        ("no chunk", "0\r\n\r\n", ""),
        ("one chunk", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("two chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
        ("zeros before the size", "0003\r\nabc\r\n000\r\n\r\n", "abc"),
        ("sixteen digits", "0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
        (
            "letters in both cases",
            "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
            "01234567890123456789a",
        ),
        ("an extension", "3;a=b\r\nabc\r\n0;c\r\n\r\n", "abc"),
        ("a quoted extension", '3;a="b;c"\r\nabc\r\n0\r\n\r\n', "abc"),
        ("line ends in the data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ("trailers", "3\r\nabc\r\n0\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n", "abc"),
    ):
        sent = post(CHUNKED, body=body) + GOOD
        yield good(
            name, sent, ("POST", "/", seen), ROOT, CONTENT_LENGTH=str(len(seen)), HTTP_X=None, body=seen
        )


def expectations() -> Iterator[Case]:
    for value in ("200-ok", "100-continue, x", "", "100-continue=1", "200-maybe"):
        yield bad(f"{value!r}", post(f"Expect: {value}", "Content-Length: 3", body="abc"), 417)
    seen: Seen = ("POST", "/", "abc")
    for value in ("100-continue", "100-Continue"):
        sent = post(f"Expect: {value}", "Content-Length: 3", body="abc")
        yield Case(f"{value!r}", sent, (100, 200), (seen,), stays=True)
    old = request("POST / HTTP/1.0", "Expect: 100-continue", "Content-Length: 3", body="abc")
    yield good("in HTTP/1.0 it is passed over", old, seen, stays=False)
    yield good("without a body", request("GET / HTTP/1.1", "Expect: 100-continue"))
    yield bad("a body that is too large", post("Expect: 100-continue", "Content-Length: 9999999999"), 413)


def limits() -> Iterator[Case]:
    target = "/" + "a" * (8190 - len("GET / HTTP/1.1"))
    yield good("a request line of 8190 bytes", request(f"GET {target} HTTP/1.1"), ("GET", target, ""))
    yield bad("a request line of 8191 bytes", request(f"GET {target}a HTTP/1.1"), 414)
    yield bad("a request line without an end", b"GET /" + b"a" * 8190, 414)
    yield bad("a method without an end", b"A" * 8191, 414)
    yield good("a field of 8190 bytes", request("GET / HTTP/1.1", "X: " + "y" * 8187), HTTP_X="y" * 8187)
    yield bad("a field of 8191 bytes", request("GET / HTTP/1.1", "X: " + "y" * 8188), 431)
    yield bad("a field without an end", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 8200, 431)
    yield good(
        "100 fields", request("GET / HTTP/1.1", *(f"X-{number}: y" for number in range(99))), HTTP_X_98="y"
    )
    yield bad("101 fields", request("GET / HTTP/1.1", *(f"X-{number}: y" for number in range(100))), 431)
    small = "--limit-request-body 10"
    ten: Seen = ("POST", "/", "0123456789")
    yield good("a body of the limit", post("Content-Length: 10", body="0123456789"), ten, server=small)
    yield bad("a body beyond the limit", post("Content-Length: 11", body="0123456789a"), 413, server=small)
    yield good("chunks of the limit", post(CHUNKED, body="a\r\n0123456789\r\n0\r\n\r\n"), ten, server=small)
    yield bad(
        "chunks beyond the limit", post(CHUNKED, body="b\r\n0123456789a\r\n0\r\n\r\n"), 413, server=small
    )


def connections() -> Iterator[Case]:
    a, b = request("GET /a HTTP/1.1"), request("GET /b HTTP/1.1")
    saw: tuple[Seen, Seen] = (("GET", "/a", ""), ("GET", "/b", ""))
    yield good("two requests at once", a + b, *saw)
    yield good("twenty requests at once", GOOD * 20, *[ROOT] * 20)
    yield good(
        "a body and a request", post("Content-Length: 3", body="abc") + a, ("POST", "/", "abc"), saw[0]
    )
    refused = request("GET / HTTP/1.1", "X : y")
    yield Case("a bad one behind a good one", a + refused + EVIL, (200, 400), saw[:1])
    yield Case("a bad one behind two good ones", a + b + refused + EVIL, (200, 200, 400), saw)
    yield Case("a bad body behind a good one", a + post(CHUNKED, body="x") + EVIL, (200, 400), saw[:1])
    yield Case(
        "one too large behind a good one", a + post("Content-Length: 9999999999") + EVIL, (200, 413), saw[:1]
    )
    yield good("Connection: close", request("GET / HTTP/1.1", "Connection: close"), stays=False)
    yield good(
        "a request behind Connection: close",
        request("GET / HTTP/1.1", "Connection: close") + EVIL,
        stays=False,
    )
    yield good("close among others", request("GET / HTTP/1.1", "Connection: x, Close"), stays=False)
    yield good("HTTP/1.0", request("GET / HTTP/1.0"), stays=False, SERVER_PROTOCOL="HTTP/1.0")
    yield good("HTTP/1.0 that stays", request("GET / HTTP/1.0", "Connection: keep-alive"))
    yield good("half-closed", GOOD, stays=False, half_close=True)
    yield good(
        "half-closed with a body",
        post("Content-Length: 1", body="x"),
        ("POST", "/", "x"),
        stays=False,
        half_close=True,
    )
    yield good("two half-closed", a + b, *saw, stays=False, half_close=True)
    yield Case("nothing", b"", (), half_close=True)
    yield Case("an empty line alone", b"\r\n", (), half_close=True)


CASES = [
    *each("request line", request_lines()),
    *each("target", targets()),
    *each("field", fields()),
    *each("Host", hosts()),
    *each("Content-Length", lengths()),
    *each("Transfer-Encoding", codings()),
    *each("chunks", chunks()),
    *each("Expect", expectations()),
    *each("limit", limits()),
    *each("connection", connections()),
]
