"""The access log: one line for every request, in each format, through each rotation."""

import os
import re
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.access_log import AccessLog, Line
from tests.client import PATIENCE, Client
from tests.conftest import Run, Start
from tests.server import Server
from tests.waiting import until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """The bytes of one connection, and its log lines."""

    name: str
    sent: bytes
    lines: tuple[Line, ...]

    def __str__(self) -> str:
        return self.name


def read(status: int, text: str = "", method: str = "POST", target: str = "/body", **more: Any) -> Line:
    """The line of a request whose head could be read."""
    line = {"method": method, "target": target, "protocol": "HTTP/1.1", "host": "a", "complete": True}
    return line | {"status": status, "bytes": len(text)} | more


def unread(status: int, text: str, line: str) -> Line:
    """The line of a request whose head could not be read."""
    return {"line": line, "status": status, "bytes": len(text), "complete": True}


HERE = read(200, "here\n", "GET", "/")
POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"

CASES = [
    Case(
        "GET",
        LAST.replace(b" / ", b" /x?a=%20&b ")[:-2] + b"User-Agent: test/1\r\nReferer: http://r/\r\n\r\n",
        (read(200, "here\n", "GET", "/x?a=%20&b", user_agent="test/1", referer="http://r/"),),
    ),
    Case(
        "GET in HTTP/1.0",
        b"GET / HTTP/1.0\r\n\r\n",
        (
            {"method": "GET", "target": "/", "protocol": "HTTP/1.0"}
            | {"status": 200, "bytes": 5, "complete": True},
        ),
    ),
    Case(
        "POST",
        POST + b"Content-Length: 11\r\nConnection: close\r\n\r\nhello world",
        (read(200, "11\n"),),
    ),
    Case(
        "HEAD",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        (read(200, "", "HEAD", "/"),),
    ),
    Case(
        "asterisk",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        (read(200, "", "OPTIONS", "*"),),
    ),
    Case("pipelined", GET + GET + LAST, (HERE, HERE, HERE)),
    Case(
        "malformed field",
        b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\n",
        (unread(400, "400 Bad Request\n", "GET /bad HTTP/1.1"),),
    ),
    Case(
        "no HTTP at all",
        b"\x16\x03\x01\x02\r\n",
        (unread(400, "400 Bad Request\n", "\x16\x03\x01\x02"),),
    ),
    Case(
        "malformed behind a good one",
        GET + b"GET /bad\r\n\r\n",
        (HERE, unread(400, "400 Bad Request\n", "GET /bad")),
    ),
    Case(
        "malformed body",
        POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        (read(400, "400 Bad Request\n"),),
    ),
    Case(
        "body cut off",
        POST + b"Content-Length: 10\r\n\r\nhalf",
        (read(400, "400 Bad Request\n"),),
    ),
    Case(
        "declared body too large",
        POST + b"Content-Length: 1001\r\n\r\n",
        (read(413, "413 Payload Too Large\n"),),
    ),
    Case(
        "chunked body too large",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n",
        (read(413, "413 Payload Too Large\n"),),
    ),
    Case(
        "unknown expectation",
        POST + b"Expect: tea\r\nContent-Length: 1\r\n\r\n",
        (read(417, "417 Expectation Failed\n"),),
    ),
    Case(
        "too many fields",
        GET[:-2] + b"A: b\r\n" * 100 + b"\r\n",
        (unread(431, "431 Request Header Fields Too Large\n", "GET / HTTP/1.1"),),
    ),
    Case(
        "unknown coding",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        (unread(501, "501 Not Implemented\n", "POST /body HTTP/1.1"),),
    ),
    Case(
        "CONNECT",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        (unread(501, "501 Not Implemented\n", "CONNECT a:443 HTTP/1.1"),),
    ),
    Case(
        "unknown version",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        (unread(505, "505 HTTP Version Not Supported\n", "GET / HTTP/2.0"),),
    ),
    Case(
        "failure",
        b"GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        (read(500, "500 Internal Server Error\n", "GET", "/fail"),),
    ),
    Case(
        "broken answer",
        b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n",
        (read(200, "one\n", "GET", "/broken", complete=False),),
    ),
    Case("nothing", b"", ()),
    Case("only an empty line", b"\r\n", ()),
]


def start_logging(start: Start, *arguments: str, form: str = "json", **more: Any) -> tuple[Server, AccessLog]:
    server = start("--access-log", "access.log", "--access-log-format", form, *arguments, "leaver", **more)
    return server, AccessLog(server.folder / "access.log")


def play(server: Server, sent: bytes, half_close: bool = True) -> bytes:
    """Send over a new connection; return everything until it is closed."""
    with Client(server.address) as client:
        client.socket.sendall(sent)
        if half_close:
            client.socket.shutdown(1)
        return client.rest()


def without_times(records: list[Line]) -> list[Line]:
    """The parts of a line that depend on the client; the others are checked here."""
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record.pop("time"))
        assert record.pop("duration_us") >= 0
        assert record.pop("remote") == "127.0.0.1"
    return records


def test_every_request_leaves_one_line_whatever_its_end(start: Start) -> None:
    server, log = start_logging(start, "--limit-request-body", "1000")
    expected: list[Line] = []
    for case in CASES:
        answers = play(server, case.sent)
        assert answers.count(b"HTTP/1.") == len(case.lines), (case.name, answers)
        expected += case.lines
        # Checked here, so that a failure names its case.
        assert without_times(log.wait_for_records(len(expected))) == expected, case.name
    server.stop()
    assert without_times(log.records()) == expected


def test_each_request_of_a_kept_connection_leaves_its_line(start: Start) -> None:
    server, log = start_logging(start)
    client = server.client()
    for number in range(3):
        assert client.get(f"/{number}").status == 200
    server.stop()
    assert [line["target"] for line in log.records()] == ["/0", "/1", "/2"]


def test_a_request_line_too_long_is_logged_as_far_as_it_was_read(start: Start) -> None:
    server, log = start_logging(start, "--limit-request-line", "300")
    line = "GET /" + "a" * 1000 + " HTTP/1.1"
    assert play(server, f"{line}\r\nHost: a\r\n\r\n".encode()).startswith(b"HTTP/1.1 414 ")
    server.stop()
    (record,) = log.records()
    assert (record["status"], record["bytes"]) == (414, len("414 URI Too Long\n"))
    assert line.startswith(record["line"])
    assert len(record["line"]) > 300


def test_time_outs_leave_their_lines(start: Start) -> None:
    server, log = start_logging(start, "--header-timeout", "500ms", "--body-timeout", "500ms")
    with Client(server.address) as silent:
        assert silent.rest() == b""
    assert play(server, b"GET / HT", half_close=False).startswith(b"HTTP/1.1 408 ")
    assert play(server, POST + b"Content-Length: 9\r\n\r\nhalf", half_close=False).startswith(
        b"HTTP/1.1 408 "
    )
    server.stop()
    records = log.records()
    assert records[1]["duration_us"] >= 500_000
    assert without_times(records) == [
        unread(408, "408 Request Timeout\n", "GET / HT"),
        read(408, "408 Request Timeout\n"),
    ]


def test_requests_that_are_not_taken_leave_their_lines(start: Start) -> None:
    server, log = start_logging(start, "--queue-timeout", "500ms", "--max-queue", "1")
    held = server.hold("/run")
    waiting, refused = server.client(), server.client()
    waiting.send("/waits")
    server.settle()
    refused.send("/refused")
    assert refused.answer().status == 503
    assert waiting.answer().status == 503
    held.release()
    assert held.answer().status == 200
    server.stop()
    _, *records = log.records()
    assert [(record["target"], record["status"]) for record in records[:2]] == [
        ("/refused", 503),
        ("/waits", 503),
    ]
    assert (records[2]["target"].partition("?")[0], records[2]["status"]) == ("/run", 200)
    assert [record["complete"] for record in records] == [True] * 3
    assert records[1]["duration_us"] >= 500_000
    assert records[2]["duration_us"] >= 500_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_what_the_end_of_the_server_breaks_off_leaves_its_line(start: Start, number: signal.Signals) -> None:
    server, log = start_logging(start, "--threads", "2", "--shutdown-timeout", "500ms")
    streams, runs = server.hold("/stream"), server.hold("/run")
    assert streams.client.response().status == 200
    waits, sends = server.client(), server.client()
    waits.send("/waits")
    sends.socket.sendall(POST + b"Content-Length: 9\r\n\r\nhalf")
    server.settle()
    log.wait(1)
    server.send_signal(number)
    assert runs.client.rest() == waits.rest() == sends.rest() == b""
    assert server.wait() == 0
    _, *records = log.records()
    ends = {record["target"].partition("?")[0]: (record["status"], record["complete"]) for record in records}
    # Not 499: the server has broken them off, not the clients.
    unanswered = dict.fromkeys(("/run", "/waits", "/body"), (503, False))
    assert (len(records), ends) == (4, {"/stream": (200, False)} | unanswered)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_head_that_the_end_of_the_server_cuts_off_leaves_its_line(
    start: Start, number: signal.Signals
) -> None:
    server, log = start_logging(start)
    client = server.client()
    client.socket.sendall(b"GET /never HTTP/1.1\r\nHost: a\r\n")
    server.settle()
    log.wait(1)
    server.send_signal(number)
    assert client.rest() == b""
    assert server.wait() == 0
    _, *records = log.records()
    assert without_times(records) == [unread(503, "", "GET /never HTTP/1.1") | {"complete": False}]


def test_a_client_that_leaves_before_its_answer_leaves_a_line(start: Start) -> None:
    server, log = start_logging(start)
    held = server.hold("/run")
    held.client.reset()
    log.wait(1)
    held.release()
    assert server.get("/").status == 200
    server.stop()
    gone, after = log.records()
    assert (gone["status"], gone["bytes"], gone["complete"]) == (499, 0, False)
    assert after["target"] == "/"


# Formats.

QUOTED = r'"((?:[^"\\]|\\.)*)"'
CLF_TIME = r"\[(\d\d/[A-Z][a-z]{2}/\d{4}(?::\d\d){3} [+-]\d{4})\]"
COMMON = re.compile(rf"(127\.0\.0\.1) - - {CLF_TIME} {QUOTED} (\d{{3}}) (\d+|-)")
COMBINED = re.compile(f"{COMMON.pattern} {QUOTED} {QUOTED}")

TOLD = LAST.replace(b" / ", b" /x?y=1 ")[:-2] + b"Referer: http://r/\r\nUser-Agent: test/1 (x)\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def matched(pattern: re.Pattern[str], line: str) -> tuple[str | Any, ...]:
    match = pattern.fullmatch(line)
    assert match is not None, line
    return match.groups()


def test_the_common_format_is_apaches(start: Start) -> None:
    server, log = start_logging(start, form="common")
    for sent in (TOLD, HEAD, b"GET /bad\r\n\r\n"):
        play(server, sent)
    server.stop()
    found = [matched(COMMON, line) for line in log.lines()]
    assert [(host, *rest) for host, _, *rest in found] == [
        ("127.0.0.1", "GET /x?y=1 HTTP/1.1", "200", "5"),
        ("127.0.0.1", "HEAD / HTTP/1.1", "200", "-"),
        ("127.0.0.1", "GET /bad", "400", "16"),
    ]


def test_the_time_of_a_line_is_local(start: Start) -> None:
    form = "%t|%{%Y-%m-%dT%H:%M:%S%z}t"
    server, log = start_logging(start, form=form, environment={"TZ": "<+0530>-5:30"})
    before = datetime.now(timezone.utc).replace(microsecond=0)
    assert server.get("/").status == 200
    after = datetime.now(timezone.utc)
    server.stop()
    (line,) = log.lines()
    clf, own = line.split("|")
    at = datetime.strptime(clf, "[%d/%b/%Y:%H:%M:%S %z]")
    assert before <= at <= after
    assert at.utcoffset() == timedelta(hours=5, minutes=30)
    assert datetime.strptime(own, "%Y-%m-%dT%H:%M:%S%z") == at


def test_the_default_format_is_combined(start: Start) -> None:
    server = start("--access-log", "access.log", "leaver")
    log = AccessLog(server.folder / "access.log")
    for sent in (TOLD, HEAD):
        play(server, sent)
    server.stop()
    found = [matched(COMBINED, line) for line in log.lines()]
    assert [(host, *rest) for host, _, *rest in found] == [
        ("127.0.0.1", "GET /x?y=1 HTTP/1.1", "200", "5", "http://r/", "test/1 (x)"),
        ("127.0.0.1", "HEAD / HTTP/1.1", "200", "-", "-", "-"),
    ]


def test_the_directives_of_a_custom_format_have_their_values(start: Start) -> None:
    form = "%{User-Agent}i %{X-Test}o %D %>s %b %U%q %m %H %p %h %%"
    server, log = start_logging(start, form=form)
    assert isinstance(server.address, tuple)
    port = server.address[1]
    for sent in (TOLD, HEAD, b"GET /bad\r\n\r\n"):
        play(server, sent)
    server.stop()
    good, head, bad = log.lines()
    assert re.fullmatch(
        rf"test/1 \(x\) leaver \d+ 200 5 /x\?y=1 GET HTTP/1\.1 {port} 127\.0\.0\.1 %", good
    ), good
    assert re.fullmatch(rf"- leaver \d+ 200 - / HEAD HTTP/1\.1 {port} 127\.0\.0\.1 %", head), head
    assert re.fullmatch(rf"- - \d+ 400 16 - - - {port} 127\.0\.0\.1 %", bad), bad


def test_on_a_unix_socket_there_are_no_addresses(start: Start) -> None:
    server, log = start_logging(start, form="%h %s", bind="unix:s")
    assert play(server, LAST).startswith(b"HTTP/1.1 200 ")
    server.stop()
    assert log.lines() == ["- 200"]


# Data of clients in lines.

# Unescaped, this would add a line, or change the status of this one.
FORGED = b'x" 200 5 "-" "-"\\"\t\x7f \xe4\xff 127.0.0.1 - - [] "GET /forged HTTP/1.1" 200 5'
EVIL_LINES = [
    b'GET /"x" 200 5 "-" "-" HTTP/1.1',
    b"GET /\x1b[31m\x00\x08\x7f\xe4\xff\\ HTTP/1.1",
    b'GET /a HTTP/1.1\n127.0.0.1 - - [] "GET /forged HTTP/1.1" 200 5',
    b'GET /a HTTP/1.1\r127.0.0.1 - - [] "GET /forged HTTP/1.1" 200 5',
    b"GET /#\x85\xc2\x85\xe2\x80\xa8 HTTP/1.1",
]
EVIL_TARGET = b'/"\x85\xc2\x85\xe2\x80\xa8\\"'
EVIL_FIELD = FORGED.replace(b"\x7f", b"")


def play_evil(server: Server) -> None:
    for line in EVIL_LINES:
        assert play(server, line + b"\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 400 "), line
    sent = (
        LAST[:-2].replace(b"/", EVIL_TARGET, 1)
        + b"User-Agent: "
        + EVIL_FIELD
        + b"\r\nReferer: "
        + EVIL_FIELD
        + b"\r\n\r\n"
    )
    assert play(server, sent).startswith(b"HTTP/1.1 200 ")


def unescaped(text: str) -> bytes:
    plain = {"n": "\n", "r": "\r", "t": "\t"}

    def one(match: re.Match[str]) -> str:
        escape: str = match[1]
        return chr(int(escape[1:], 16)) if escape[0] == "x" else plain.get(escape, escape)

    return re.sub(r"\\(x[0-9a-f]{2}|.)", one, text).encode("latin-1")


def first_line(line: bytes) -> bytes:
    return re.split(rb"[\r\n]", line)[0]


def test_a_line_of_text_cannot_be_forged(start: Start) -> None:
    server, log = start_logging(start, form="combined")
    play_evil(server)
    server.stop()
    assert re.fullmatch(rb"[ -~\n]*", log.path.read_bytes())
    found = [matched(COMBINED, line) for line in log.lines()]
    assert [(unescaped(line), status) for _, _, line, status, *_ in found] == [
        *((first_line(line), "400") for line in EVIL_LINES),
        (b"GET " + EVIL_TARGET + b" HTTP/1.1", "200"),
    ]
    assert [unescaped(field) for field in found[-1][-2:]] == [EVIL_FIELD, EVIL_FIELD]


def test_a_line_of_json_cannot_be_forged(start: Start) -> None:
    server, log = start_logging(start)
    play_evil(server)
    server.stop()
    text = log.path.read_bytes().decode()
    # Also for programs that accept other line ends than a line feed.
    assert len(text.splitlines()) == len(EVIL_LINES) + 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    records = log.records()
    assert [(record["line"].encode("latin-1"), record["status"]) for record in records[:-1]] == [
        (first_line(line), 400) for line in EVIL_LINES
    ]
    assert records[-1]["target"] == EVIL_TARGET.decode("latin-1")
    assert records[-1]["user_agent"] == records[-1]["referer"] == EVIL_FIELD.decode("latin-1")
    assert set(records[-1]) - set(HERE) <= {"time", "remote", "duration_us", "user_agent", "referer"}


# Destinations.


def test_lines_go_to_standard_output_and_nothing_else_does(start: Start) -> None:
    server = start("--access-log", "-", "--access-log-format", "%m %U %s", "leaver")
    assert server.get("/one").status == 200
    server.output.until(lambda lines: lines or None, "line")
    assert server.get("/two").status == 200
    server.stop()
    assert server.output.lines == ["GET /one 200", "GET /two 200"]


def test_there_is_no_access_log_if_none_is_asked_for(start: Start) -> None:
    server = start("leaver")
    server.send_signal(signal.SIGUSR1)
    server.wait_for(" signal=SIGUSR1 reopening logs$")
    assert server.get("/").status == 200
    server.stop()
    assert server.output.lines == []
    assert list(server.folder.iterdir()) == []


def test_a_relative_path_is_one_of_the_folder_of_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    server, log = start_logging(start, "--chdir", "site")
    assert server.get("/").status == 200
    server.stop()
    assert len(log.lines()) == 1


def test_a_log_that_is_there_is_added_to(start: Start, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("from before\n")
    server, log = start_logging(start, form="%U")
    assert server.get("/one").status == 200
    log.wait(2)
    former = server.front()
    with processes.watched([former]) as ends:
        os.kill(former, signal.SIGKILL)
        assert not ends.wait(PATIENCE)
    assert server.get("/two").status == 200
    server.stop()
    assert log.lines() == ["from before", "/one", "/two"]


def test_a_disk_that_is_full_costs_lines_and_nothing_else(start: Start) -> None:
    server = start("--access-log", "/dev/full", "leaver")
    assert server.get("/").status == 200
    server.wait_for(r" ERROR .*the access log cannot be written$")
    assert server.get("/").status == 200
    server.stop()


# Rotation.


def rotate(server: Server, log: AccessLog, to: str) -> AccessLog:
    """As logrotate does."""
    mark = server.mark()
    moved = log.path.rename(log.path.with_name(to))
    server.send_signal(signal.SIGUSR1)
    server.wait_for(" INFO signal=SIGUSR1 reopening logs$", since=mark)
    return AccessLog(moved)


def wait_for_file(log: AccessLog) -> None:
    until(lambda: True if log.path.exists() else None, lambda: f"no {log.path}")


def test_after_sigusr1_lines_go_to_a_new_file(start: Start) -> None:
    server, log = start_logging(start, form="%U")
    client = server.client()
    assert client.get("/before").status == 200
    log.wait(1)
    moved = rotate(server, log, "access.log.1")
    wait_for_file(log)
    assert client.get("/after").status == 200
    assert log.wait(1) == ["/after"]
    server.stop()
    assert (moved.lines(), log.lines()) == (["/before"], ["/after"])


def test_a_request_that_runs_while_logs_are_rotated_is_in_the_new_one(start: Start) -> None:
    server, log = start_logging(start, form="%U")
    held = server.hold("/run")
    moved = rotate(server, log, "access.log.1")
    wait_for_file(log)
    held.release()
    assert held.answer().status == 200
    server.stop()
    assert (moved.lines(), log.lines()) == ([], ["/run"])


def test_no_line_is_lost_by_rotation_under_load(start: Start) -> None:
    server, log = start_logging(start, form="%U")
    client = server.client()
    logs = []
    for number in range(20):
        # In flight while the log is moved away.
        first = number * 20
        client.socket.sendall(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % (first + n) for n in range(20))
        )
        if number % 4 == 0:
            wait_for_file(log)
            logs.append(rotate(server, log, f"access.log.{number}"))
    client.socket.sendall(LAST)
    assert client.rest().count(b"HTTP/1.1 200 ") == 401
    server.stop()
    lines = [line for part in [*logs, log] for line in part.lines()]
    assert lines == [*(f"/{number}" for number in range(400)), "/"]


# Errors at the start.


def test_a_format_with_an_unknown_directive_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    ran = run("--access-log", "access.log", "--access-log-format", "%h %Z %s", "probe")
    assert ran.code == 64
    assert 'access-log-format "%h %Z %s"' in ran.err
    assert "`%Z" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_format_in_the_file_is_refused_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rwsgi.toml").write_text("app = 'probe'\naccess-log-format = '%{Host}x'\n")
    ran = run()
    assert ran.code == 78
    assert "rwsgi.toml:2" in ran.err
    assert "%{Host}x" in ran.err


@pytest.mark.parametrize("path", ["absent/access.log", "."])
def test_a_log_that_cannot_be_opened_ends_the_start(run: Run, tmp_path: Path, path: str) -> None:
    ran = run("--access-log", path, "probe", bind="unix:s")
    assert ran.code == 78
    assert str(tmp_path / path).removesuffix("/.") in ran.err
    assert "cannot open the access log" in ran.err
    assert " front " not in ran.err
    assert list(tmp_path.iterdir()) == []
