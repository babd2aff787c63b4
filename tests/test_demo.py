"""The demo site from a visitor's point of view."""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.conftest import Servers
from tests.server import DEMO, Door, Server

MIB = 1024 * 1024
DAY = 24 * 60 * 60
CHILDREN = 3


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled database."""
    folder = tmp_path_factory.mktemp("demo")
    environment = os.environ | {"DEMO_VAR": str(folder)}
    subprocess.run([sys.executable, DEMO / "manage.py", "fill"], check=True, env=environment)
    return folder


@pytest.fixture(scope="module")
def site(door: Door, var: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The site as `make serve` runs it: several children with one thread each."""
    servers = Servers(door, tmp_path_factory.mktemp("site"))
    yield servers.start(
        *("--processes", str(CHILDREN), "--threads", "1", "--chdir", str(DEMO), "mysite.wsgi"),
        children=CHILDREN,
        environment={"DEMO_VAR": str(var)},
    )
    servers.end()


@pytest.fixture
def browser(site: Server) -> Browser:
    return Browser(site.url)


def sign_in(browser: Browser, path: str) -> None:
    form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": browser.get(path).token()}
    assert browser.post(path, form).status == 200


def test_the_start_page_shows_which_child_made_it(site: Server, browser: Browser) -> None:
    page = browser.get("/")
    assert page.status == 200
    assert "A small library, well served" in page.text
    made_by = re.search(r"<dt>process</dt><dd>(\d+)</dd>", page.text)
    assert made_by
    assert int(made_by[1]) in site.children(CHILDREN).values()
    assert "of generation 1" in page.text


def test_the_page_of_books_is_whole(browser: Browser) -> None:
    page = browser.get("/books/")
    assert page.status == 200
    assert page.text.count('<article class="card">') == 20
    assert "page 1 of 15" in page.text
    assert page.text.rstrip().endswith("</html>")


def test_a_path_that_is_not_there_is_not_found(browser: Browser) -> None:
    assert browser.get("/nothing").status == 404


def test_the_admin_is_entered_by_form_cookie_and_token(browser: Browser) -> None:
    assert browser.get("/admin/").url.endswith("/admin/login/?next=/admin/")
    sign_in(browser, "/admin/login/?next=/admin/")
    page = browser.get("/admin/library/book/")
    assert (page.status, page.url) == (200, browser.url + "/admin/library/book/")
    assert "300 books" in page.text


def test_a_book_is_changed_in_the_admin(browser: Browser) -> None:
    sign_in(browser, "/admin/login/?next=/admin/")
    page = browser.get("/admin/library/genre/add/")
    form = {"name": "Server Stories", "slug": "server-stories", "csrfmiddlewaretoken": page.token()}
    assert browser.post("/admin/library/genre/add/", form).status == 200
    assert "Server Stories" in browser.get("/admin/library/genre/").text


def test_the_style_of_the_admin_is_served(site: Server) -> None:
    answer = site.get("/static/admin/css/base.css")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/css")
    assert b"--primary" in answer.body


def test_a_form_without_its_token_is_refused(browser: Browser) -> None:
    assert browser.post("/session/", {"nothing": ""}).status == 403


def test_a_session_is_one_whichever_child_answers(site: Server, browser: Browser) -> None:
    visits = []
    answered_by: set[str] = set()
    # As long as one child answers everything, keep it busy.
    while len(answered_by) < CHILDREN:
        busy = [site.client() for _ in answered_by]
        for client in busy:
            client.send("/stream/?lines=2&delay=0.5")
            assert client.response().readline()
        answered_by.add(browser.get("/pid").text)
        visits.append(int(browser.get("/session/").by_id("visits")))
    assert visits == list(range(1, len(visits) + 1))


def test_an_upload_of_20_mib_arrives_as_it_was_sent(browser: Browser) -> None:
    content = os.urandom(MIB) * 20
    token = browser.get("/upload/").token()
    body = (
        b'--frontier\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n'
        + token.encode()
        + b'\r\n--frontier\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n'
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + content
        + b"\r\n--frontier--\r\n"
    )
    page = browser.post_bytes("/upload/", body, "multipart/form-data; boundary=frontier")
    assert page.status == 200
    assert int(page.by_id("size")) == len(content)
    assert page.by_id("sha256") == hashlib.sha256(content).hexdigest()


def test_each_line_of_a_stream_arrives_before_the_next_is_made(site: Server) -> None:
    client = site.client()
    client.send("/stream/?lines=3&delay=1")
    response = client.response()
    arrivals, makings = [], []
    for _ in range(3):
        line = response.readline().decode()
        arrivals.append(time.time() % DAY)
        made = re.search(r" at (\d+):(\d+):([\d.]+) from", line)
        assert made, line
        makings.append(int(made[1]) * 3600 + int(made[2]) * 60 + float(made[3]))
    assert response.readline() == b""
    events = [arrivals[0], makings[1], arrivals[1], makings[2], arrivals[2]]
    assert all(0 < (later - earlier) % DAY < DAY / 2 for earlier, later in pairwise(events)), events
