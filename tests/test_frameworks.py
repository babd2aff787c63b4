"""Django, Flask, Pyramid, Falcon and Bottle from PyPI: the same small site in each."""

import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.client import Client
from tests.conftest import open_door
from tests.server import APPS, Server

CONTENT = random.Random(2).randbytes(300 * 1024)
FRAMEWORKS = ["django", "flask", "pyramid", "falcon", "bottle"]


@pytest.fixture(scope="module", params=["binary", "wheel"])
def door_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=FRAMEWORKS)
def site(
    request: pytest.FixtureRequest, door_name: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "file").write_bytes(CONTENT)
    arguments = ["--bind", "127.0.0.1:0", "--python-path", str(APPS), "--threads", "2"]
    server = Server(open_door(door_name), folder, [*arguments, f"sites.in_{request.param}"])
    try:
        server.wait_until_ready()
        yield server
        server.stop()
    finally:
        server.destroy()


def test_names_and_queries_beyond_ascii_arrive(site: Server) -> None:
    answer = site.get(f"/hello/{quote('Jürgen')}?q={quote('日本')}")
    assert (answer.status, answer.body.decode()) == (200, "hello Jürgen 日本")


def test_a_form_is_read(site: Server) -> None:
    with Client(site.address) as client:
        body = f"text={quote('ä & b')}".encode()
        answer = client.post("/form", body, {"Content-Type": "application/x-www-form-urlencoded"})
        assert (answer.status, answer.body.decode()) == (200, "ä & b")


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_upload_is_read_whole(site: Server, framing: str) -> None:
    edge = "----edge"
    field = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
    body = f"--{edge}\r\n{field}\r\n\r\n".encode() + CONTENT + f"\r\n--{edge}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    if framing == "chunks":
        headers |= {"Transfer-Encoding": "chunked"}
        parts = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
    else:
        headers |= {"Content-Length": str(len(body))}
    with Client(site.address) as client:
        client.send("/upload", method="POST", headers=headers)
        client.socket.sendall(body)
        answer = client.answer()
        assert (answer.status, answer.body.decode()) == (200, sha256(CONTENT).hexdigest())


def test_cookies_go_out_one_by_one_and_come_back(site: Server) -> None:
    baked = site.get("/bake").headers.get_all("Set-Cookie", [])
    assert sorted(cookie.split(";")[0] for cookie in baked) == ["a=1", "b=2"]
    assert site.get("/cookies", {"Cookie": "a=1; b=2"}).body == b"a=1 b=2"


def test_a_redirection_names_its_target(site: Server) -> None:
    answer = site.get("/elsewhere")
    assert answer.status in (302, 303)
    assert answer.headers["Location"].removeprefix("http://localhost") == "/hello/you?q=again"


def test_what_is_not_there_is_404(site: Server) -> None:
    assert site.get("/nothing").status == 404


def test_an_exception_is_500_and_the_child_goes_on(site: Server) -> None:
    children = site.children(1)
    assert site.get("/fail").status == 500
    assert site.get("/hello/you?q=still").status == 200
    assert site.children(1) == children


def test_a_stream_arrives_in_chunks(site: Server) -> None:
    answer = site.get("/stream")
    assert answer.body == b"one\ntwo\n"
    assert answer.headers["Transfer-Encoding"] == "chunked"


def test_a_file_arrives_whole(site: Server) -> None:
    answer = site.get(f"/download?path={site.folder}/file")
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert sha256(answer.body).digest() == sha256(CONTENT).digest()


def test_head_has_the_length_and_no_body(site: Server) -> None:
    with Client(site.address) as client:
        client.send(f"/download?path={site.folder}/file", method="HEAD")
        answer = client.answer("HEAD")
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (
            200,
            str(len(CONTENT)),
            b"",
        )
        # A body would be read as the next answer.
        assert client.get("/hello/you?q=next").body == b"hello you next"


def test_a_file_is_sent_without_python(site: Server) -> None:
    """The frameworks find `wsgi.file_wrapper`: a reader that reads nothing leaves both threads free."""
    path: Path = site.folder / "large"
    if not path.exists():
        path.write_bytes(CONTENT * 100)
    with Client(site.address) as one, Client(site.address) as other, Client(site.address) as third:
        for slow in (one, other, third):
            slow.send(f"/download?path={path}")
            slow.response()
        assert site.get("/hello/you?q=free").status == 200
