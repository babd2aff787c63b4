"""Liveness and readiness of the server, reported without Python, in every state."""

import os
import signal
from pathlib import Path

import pytest

from tests.access_log import AccessLog
from tests.client import Answer, Client
from tests.conftest import Run, Start
from tests.server import Server
from tests.waiting import until_equal

URL = "/-/healthz"

READY = (200, b"ready\n")
LIVE = (200, b"live\n")


def start_healthy(
    start: Start, *arguments: str, children: int | None = 1, bind: str = "127.0.0.1:0"
) -> Server:
    return start("--health", URL, *arguments, children=children, bind=bind)


def content(answer: Answer) -> tuple[int, bytes]:
    """The content of a health response, after checking its form."""
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Date"] and "Transfer-Encoding" not in answer.headers
    return answer.status, answer.body


def health(server: Server) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    """Readiness and liveness."""
    return content(server.get(URL)), content(server.get(f"{URL}/live"))


def test_a_server_that_serves_is_ready_and_the_application_sees_nothing(start: Start) -> None:
    server = start_healthy(start, "probe")
    client = server.client()
    for _ in range(3):
        assert content(client.get(URL)) == READY
        assert content(client.get(f"{URL}/live")) == LIVE
    assert content(client.get(f"{URL}?verbose=1")) == READY
    assert client.get("/").json()["served"] == 1
    for near in (f"{URL}/", f"{URL}z", f"{URL}/ready", f"/{URL}", "/-/"):
        assert (client.get(near).status, client.get(near).body) == (404, b"not here\n"), near


def test_without_the_option_there_is_no_health_check(start: Start) -> None:
    server = start("probe")
    assert server.get(URL).body == b"not here\n"


def test_head_has_the_same_status_without_a_body(start: Start) -> None:
    client = start_healthy(start, "probe").client()
    for target, length in ((URL, "6"), (f"{URL}/live", "5")):
        client.send(target, method="HEAD")
        answer = client.answer("HEAD")
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, length, b"")
        assert answer.headers["Cache-Control"] == "no-store"
    assert content(client.get(URL)) == READY


@pytest.mark.parametrize("target", [URL, f"{URL}/live"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods_are_not_allowed(start: Start, method: str, target: str) -> None:
    client = start_healthy(start, "probe").client()
    client.send(target, method=method, body=b"a body")
    answer = client.answer()
    assert content(answer) == (405, b"method not allowed\n")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert content(client.get(target))[0] == 200


# Each as the only request of a connection, with the beginning of its answer.
ASKED = {
    "absolute": (f"GET http://somewhere{URL}?a=b HTTP/1.1\r\nHost: somewhere\r\n\r\n", 200),
    "HTTP/1.0": (f"GET {URL} HTTP/1.0\r\n\r\n", 200),
    "chunked": (
        f"GET {URL} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        200,
    ),
    "continued": (
        f"GET {URL} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        100,
    ),
    "expecting": (f"GET {URL} HTTP/1.1\r\nHost: a\r\nExpect: cake\r\nContent-Length: 3\r\n\r\nabc", 417),
    "without a Host": (f"GET {URL} HTTP/1.1\r\n\r\n", 400),
    "with two Hosts": (f"GET {URL} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "in two ways": (
        f"GET {URL} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "with too long a body": (f"GET {URL} HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413),
    "with too many fields": (f"GET {URL} HTTP/1.1\r\nHost: a\r\n" + "A: b\r\n" * 10 + "\r\n", 431),
}


@pytest.mark.parametrize("asked", ASKED)
def test_such_requests_are_read_like_any_other(start: Start, asked: str) -> None:
    server = start_healthy(start, "--limit-request-body", "1000", "--limit-request-fields", "10", "probe")
    text, status = ASKED[asked]
    with Client(server.address) as client:
        client.socket.sendall(text.encode())
        client.socket.shutdown(1)
        answers = client.rest()
    assert answers.startswith(f"HTTP/1.1 {status} ".encode()) or (
        asked == "HTTP/1.0" and answers.startswith(b"HTTP/1.0 200 ")
    )
    assert answers.endswith(b"\r\n\r\nready\n") == (status in (100, 200))


def test_a_full_server_is_ready(start: Start) -> None:
    server = start_healthy(start, "--max-queue", "1", "probe")
    held = server.hold()
    waiting = server.client()
    waiting.send("/")
    server.settle()
    assert server.get("/").status == 503
    assert health(server) == (READY, LIVE)
    held.release()
    assert (held.answer().status, waiting.answer().status) == (200, 200)


def test_a_server_that_loads_its_application_starts(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os\nos.read(os.open('gate', os.O_RDONLY), 1)\nfrom probe import application as application\n"
    )
    os.mkfifo(tmp_path / "gate")
    for preload in ("on", "off"):
        server = start_healthy(start, "--preload", preload, "slow", bind="unix:s", children=None)
        server.url = "unix:s"
        server.wait_for(" front serving$")
        assert health(server) == ((503, b"starting\n"), LIVE)
        (tmp_path / "gate").write_bytes(b"!")
        server.wait_until_ready()
        assert health(server) == (READY, LIVE)
        server.stop()


def test_without_children_there_is_none(start: Start) -> None:
    server = start_healthy(start, "--processes", "2", "probe", children=2)
    held = server.hold()
    server.send_signal(signal.SIGWINCH)
    server.wait_for(" all children retire, until HUP or TTIN$")
    # The child that still answers takes no further request.
    until_equal(lambda: health(server), ((503, b"no child\n"), LIVE))
    held.release()
    assert held.answer().status == 200
    server.children(0)
    server.send_signal(signal.SIGTTIN)
    server.children(1)
    assert health(server) == (READY, LIVE)


def test_a_replacement_on_its_way_starts(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slower.py").write_text(
        "import os\n"
        "if os.path.exists('gate'): os.read(os.open('gate', os.O_RDONLY), 1)\n"
        "from probe import application as application\n"
    )
    server = start_healthy(start, "--preload", "off", "slower")
    os.mkfifo(tmp_path / "gate")
    ((_, pid),) = server.children(1).items()
    os.kill(pid, signal.SIGKILL)
    server.wait_for(rf" pid={pid} .*died$")
    until_equal(lambda: health(server), ((503, b"starting\n"), LIVE))
    (tmp_path / "gate").write_bytes(b"!")
    server.children(1)
    assert health(server) == (READY, LIVE)


def test_a_reload_is_no_interruption(start: Start) -> None:
    server = start_healthy(start, "--processes", "2", "probe", children=2)
    server.send_signal(signal.SIGHUP)
    while not any(line.endswith(" gen=2 reloaded") for line in server.log.lines):
        assert health(server) == (READY, LIVE)


def test_each_question_leaves_its_line_in_the_access_log(start: Start) -> None:
    server = start_healthy(start, "--access-log", "log", "--access-log-format", "%m %U%q %>s %B", "probe")
    client = server.client()
    client.get(URL)
    client.get(f"{URL}/live?a")
    client.send(URL, method="HEAD")
    client.answer("HEAD")
    client.send(URL, method="POST", body=b"a body")
    client.answer()
    server.stop()
    assert AccessLog(server.folder / "log").lines() == [
        f"GET {URL} 200 6",
        f"GET {URL}/live?a 200 5",
        f"HEAD {URL} 200 0",
        f"POST {URL} 405 19",
    ]


@pytest.mark.parametrize("url", ["", "/", "health", "/health/", "/health?all", "http://localhost/health"])
def test_what_is_no_path_is_explained(run: Run, url: str) -> None:
    ran = run("--health", url, "probe")
    assert ran.code == 64
    assert f'health "{url}" must be `off` or a path such as /-/healthz' in ran.err
