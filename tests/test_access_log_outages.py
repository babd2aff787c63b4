"""The server starts, serves and stops whatever happens to the access log."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.access_log import AccessLog
from tests.client import PATIENCE
from tests.conftest import Start
from tests.outputs import (
    TERM,
    Begin,
    Disk,
    Terminal,
    as_root,
    ends_in_time,
    fill,
    goes_on,
    on,
    pids_of,
    pipe,
    read_until,
    stops,
    to,
)
from tests.server import Door
from tests.unprivileged import reachable
from tests.waiting import until_equal


@as_root
def test_a_disk_that_does_not_answer_under_the_access_log_holds_up_no_end(
    start: Start, freezable: Disk
) -> None:
    server = start("--access-log", str(freezable.place / "access.log"), "chatty")
    freezable.freeze()
    for _ in range(3):
        assert server.get("/").status == 200
    ends_in_time(server)
    # The port is free for a successor.
    with socket.socket() as probe:
        assert probe.connect_ex(server.address) != 0
    freezable.thaw()
    until_equal(server.tree, [])


@as_root
def test_logs_are_opened_anew_while_the_disk_does_not_answer(
    start: Start, door: Door, tmp_path: Path, freezable: Disk
) -> None:
    """The supervisor has the file created, because the front's user may not: it must not wait for that."""
    log = AccessLog(freezable.place / "access.log")
    tmp_path.chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = reachable(door, scratch)
    server = start("--user", "nobody", "--access-log", str(log.path), "chatty", before=before)
    assert server.get("/").status == 200
    log.wait(1)
    log.path.rename(log.path.with_name("access.log.1"))
    freezable.freeze()
    server.send_signal(signal.SIGUSR1)
    server.wait_for("reopening logs$")
    assert server.get("/").status == 200
    assert server.control("reload").code == 0
    freezable.thaw()
    # It belongs to root until its owner is changed.
    until_equal(lambda: log.path.exists() and log.path.stat().st_uid != 0, True)
    server.stop()


def test_in_development_a_terminal_shows_each_request(begin: Begin, terminal: Terminal) -> None:
    server = begin("--reload", before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    assert server.get("/raise?1").status == 500
    text = read_until(terminal.ours, r"^\d\d:\d\d:\d\d GET /raise\?1 \x1b\[31m500\x1b\[0m \d+ ms$")
    assert re.search(r"^\d\d:\d\d:\d\d GET / \x1b\[32m200\x1b\[0m \d+ ms$", text, re.M), text
    server.stop()


@pytest.mark.parametrize("option", ["--access-log off", "--access-log access.log", "--log-level warn"])
def test_a_given_access_log_replaces_them(begin: Begin, terminal: Terminal, option: str) -> None:
    options = ["--reload", *option.split()]
    server = begin(*options, before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    assert server.get("/seen").status == 200
    server.stop()
    os.set_blocking(terminal.ours, False)
    assert b"/seen" not in os.read(terminal.ours, 65536)


def test_a_fifo_without_a_reader_keeps_lines(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "access.log"
    os.mkfifo(fifo)
    server = start("--access-log", str(fifo), "--access-log-format", "%U", "chatty")
    assert server.get("/early").status == 200
    for name in ("one", "two"):
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        assert server.get(f"/{name}").status == 200
        assert read_until(reader, f"^/{name}$").splitlines()[-1] == f"/{name}"
        os.close(reader)
    assert server.get("/late").status == 200
    stops(server)


def test_a_fifo_that_is_full_is_left_when_logs_are_opened_anew(start: Start, tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    os.mkfifo(log.path)
    fields = {"User-Agent": "x" * 4000}
    server = start("--access-log", str(log.path), "--access-log-format", "%U %{User-Agent}i", "chatty")
    client = server.client()
    for _ in range(40):
        assert client.get("/", fields).status == 200
    log.path.unlink()
    mark = server.mark()
    server.send_signal(signal.SIGUSR1)
    server.wait_for("reopening logs$", since=mark)
    lines = log.wait(20)
    assert all(re.fullmatch("/ x{4000}", line) for line in lines)
    # If the new file cannot be opened, the old one stays in use, which is logged.
    moved = log.path.rename(tmp_path / "moved")
    log.path.mkdir()
    server.send_signal(signal.SIGUSR1)
    server.wait_for(" ERROR .*the access log cannot be opened anew$")
    assert server.get("/moved").status == 200
    stops(server)
    assert moved.read_text().splitlines()[-1] == "/moved -"


@as_root
def test_lines_lost_on_a_full_disk_are_reported_and_none_is_joined(start: Start, small: Disk) -> None:
    log = AccessLog(small.place / "access.log")
    form = "%U %{User-Agent}i"
    server = start("--access-log", str(log.path), "--access-log-format", form, "chatty")
    client = server.client()
    fields = {"User-Agent": "x" * 900}
    assert client.get("/", fields).status == 200
    log.wait(1)
    small.fill()
    for _ in range(20):
        assert client.get("/", fields).status == 200
    server.wait_for(" ERROR .*the access log cannot be written$")
    small.free()
    assert client.get("/again", fields).status == 200
    lost = int(server.wait_for(r" WARN lost=(\d+) the access log is written again: lines were lost$")[1])
    server.stop()
    lines = log.lines()
    whole = [line for line in lines if re.fullmatch("/(again)? x{900}", line)]
    assert whole[-1].startswith("/again ")
    assert len(lines) - len(whole) <= 1
    assert len(whole) + lost == 22
    assert len([line for line in server.log.lines if "cannot be written" in line]) == 1


@pytest.mark.parametrize("user", [False, pytest.param(True, marks=as_root)])
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-", "link"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_standard_output_is_meant_whatever_it_is(
    begin: Begin, door: Door, tmp_path: Path, kind: str, path: str, user: bool
) -> None:
    if path == "link":
        (tmp_path / "link").symlink_to("/dev/stdout")
    ours, theirs = socket.socketpair()
    with ours, theirs, pipe() as (reader, writer):
        ends = (reader, writer) if kind == "pipe" else (ours.fileno(), theirs.fileno())
        before = to(f">&{ends[1]}")
        options = []
        if user:
            tmp_path.chmod(0o755)
            scratch = tmp_path / "scratch"
            scratch.mkdir()
            before, options = [*reachable(door, scratch), *before], ["--user", "nobody"]
        server = begin("--access-log", path, *options, before=before, inherited=[ends[1]])
        assert '"GET / HTTP/1.1" 200' in read_until(ends[0], "GET / ")
        server.stop()


def test_a_descriptor_that_was_inherited_is_a_log_also_for_the_next_server(start: Start) -> None:
    with pipe() as (reader, writer):
        path = f"/dev/fd/{writer}"
        server = start("--access-log", path, "--access-log-format", "%U %P", "chatty", inherited=[writer])
        assert server.get("/one").status == 200
        (first,) = re.findall(r"/one (\d+)", read_until(reader, "^/one"))
        mark = server.mark()
        server.send_signal(signal.SIGUSR2)
        server.wait_for("another server serves$", since=mark)
        assert server.process.wait(PATIENCE) == 0
        assert server.get("/two").status == 200
        assert re.findall(r"/two (\d+)", read_until(reader, "^/two")) != [first]
        successor = int(server.wait_for_last(r" url=\S+ pid=(\d+) ready$")[1])
        os.kill(successor, signal.SIGTERM)
        until_equal(server.tree, [])


def test_a_descriptor_that_is_not_open_is_refused(start: Start) -> None:
    server = start("--access-log", "/dev/fd/77", "chatty", children=None)
    assert server.wait() == 78
    assert re.search(" ERROR log=/dev/fd/77 .*cannot open the access log$", str(server.log))


def test_an_unread_standard_output_blocks_no_process(begin: Begin) -> None:
    with pipe() as (reader, writer):
        server = begin("--access-log", "-", before=to(f">&{writer}"), inherited=[writer])
        read_until(reader, "GET /")
        fill(writer)
        goes_on(server)
        assert pids_of(server, "front")
        stops(server)
