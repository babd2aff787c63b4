"""The server starts, serves and stops whatever happens to standard error."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE, Client
from tests.conftest import Start
from tests.outputs import (
    LOST,
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
from tests.tools import tool
from tests.waiting import until, until_equal

# Pipes.


def test_an_unread_pipe_blocks_no_process_and_losses_are_reported(begin: Begin) -> None:
    with pipe() as (reader, writer):
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        read_until(reader, " ready$")
        fill(writer)
        goes_on(server)
        read_until(reader, LOST)
        # The lines after it are complete again.
        mark = server.get("/raise")
        assert mark.status == 500
        assert "Traceback (most recent call last):" in read_until(reader, "^ValueError: on purpose")
        os.close(writer)
        stops(server)
        assert read_until(reader, " INFO stopped$")


def test_losses_are_reported_without_a_further_line(begin: Begin) -> None:
    with pipe() as (reader, writer):
        server = begin(before=to(f"2>&{writer}"), inherited=[writer])
        read_until(reader, " ready$")
        fill(writer)
        # Lost in a child, which waits briefly for a reader: the supervisor logs nothing itself.
        for _ in range(2):
            assert server.get("/raise").status == 500
        read_until(reader, LOST)


def test_a_pipe_without_a_reader_blocks_no_process(begin: Begin) -> None:
    with pipe() as (reader, writer):
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        os.close(writer)
        os.close(reader)
        goes_on(server)
        stops(server)


def test_it_starts_where_the_reader_has_gone_before(begin: Begin) -> None:
    with pipe() as (reader, writer):
        os.close(reader)
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        goes_on(server)
        stops(server)


def test_an_application_that_waits_to_print_waits_alone(begin: Begin) -> None:
    with pipe() as (reader, writer):
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        read_until(reader, " ready$")
        with Client(server.address) as waiting:
            waiting.send("/print?200000")
            until(
                lambda: any("pipe" in wait_channel(pid) for pid in pids_of(server, "child")) or None,
                lambda: "no child waits to print",
            )
            for _ in range(4):
                assert server.get("/").status == 200
            # It does not delay the end by the time that a request may take.
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert waiting.answer().status == 200
            assert server.wait() == 0
            assert time.monotonic() - began < 6


def wait_channel(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text()
    return ""


def test_another_users_pipe_is_written_by_a_process_of_its_own(begin: Begin, tmp_path: Path) -> None:
    """It cannot be reopened, and yet the server must not wait for it."""
    with pipe() as (reader, writer):
        # A pipe that cannot be reopened.
        os.fchmod(writer, 0)
        server = begin(
            "--processes", "2", before=[*without_rights(), *to(f"2>&{writer}")], inherited=[writer]
        )
        read_until(reader, " ready$")
        assert pids_of(server, "log")
        fill_blocking(writer)
        goes_on(server)
        os.close(writer)
        stops(server)


def without_rights() -> list[str]:
    """Root can open everything; without this capability it cannot."""
    if os.geteuid() != 0:
        return []
    dropped = "-dac_override,-dac_read_search"
    return [tool("setpriv", "util-linux"), f"--bounding-set={dropped}", f"--inh-caps={dropped}"]


def fill_blocking(writer: int) -> None:
    """Fill a pipe that cannot be reopened."""
    while select.select([], [writer], [], 0)[1]:
        os.write(writer, b"\n" * 4096)


def test_a_fifo_whose_reader_comes_back_has_whole_lines_again(begin: Begin, tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    server = begin(before=to(f"2>{fifo}"))
    read_until(reader, " ready$")
    os.close(reader)
    # With the answer to the second, the lines of the first have been lost.
    for _ in range(2):
        assert server.get("/raise").status == 500
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        text = read_until(reader, LOST)
        assert server.get("/raise").status == 500
        text += read_until(reader, "^ValueError: on purpose")
        assert re.match(r"\d{4}-", text), text
        server.stop()
    finally:
        os.close(reader)


def test_a_traceback_of_many_pages_is_whole(begin: Begin, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with pipe() as (reader, writer):
        for redirection, inherited in ((f"2>&{writer}", [writer]), (f"2>>{log}", [])):
            server = begin(before=to(redirection), inherited=inherited)
            if inherited:
                read_until(reader, " ready$")
            assert server.get("/raise?200000" if not inherited else "/raise?40000").status == 500
            if inherited:
                assert "y" * 40000 + "\n" in read_until(reader, "^ValueError: on purpose y{40000}$")
            server.stop()
        assert "y" * 200000 + "\n" in log.read_text()


# Sockets, and systemd's journal.


def test_an_unread_socket_blocks_no_process(begin: Begin) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = begin("--processes", "2", before=to(f"2>&{theirs.fileno()}"), inherited=[theirs.fileno()])
        read_until(ours.fileno(), " ready$")
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                theirs.send(b"\n" * 4096)
        # The flag is shared with the server's standard error, so it is restored.
        theirs.setblocking(True)
        goes_on(server)
        read_until(ours.fileno(), LOST)
        stops(server)
        server = begin(before=to(f"2>&{theirs.fileno()}"), inherited=[theirs.fileno()])
        ours.close()
        goes_on(server)
        stops(server)


def test_the_journal_gets_severities_and_no_time(begin: Begin) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        server = begin(
            before=to(f"2>&{theirs.fileno()}"),
            inherited=[theirs.fileno()],
            environment={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
        )
        assert server.get("/raise").status == 500
        text = read_until(ours.fileno(), "^<3>ValueError: on purpose")
        assert re.search(r"^<6>INFO child=0 gen=1 pid=\d+ ready$", text, re.MULTILINE), text
        assert re.search(r"^<6>  where   ", text, re.MULTILINE), text
        assert "\n<3>Traceback (most recent call last):\n<3>  File " in text, text
        assert all(re.match("<[3-7]>", line) for line in text.splitlines()), text
        server.stop()


def test_a_journal_that_standard_error_is_not_changes_nothing(start: Start) -> None:
    server = start("chatty", environment={"JOURNAL_STREAM": "8:1"})
    assert all(re.match(r"\d{4}-", line) for line in server.log.lines if " INFO " in line)


# Files.


def test_a_file_is_written_by_a_process_of_its_own_to_the_last_line(begin: Begin, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = begin(before=to(f"2>>{log}"))
    (writer,) = pids_of(server, "log")
    # Neither the server's listeners nor its standard output, for whose end others wait.
    found = processes.descriptors(writer)
    assert (found[0], found[1], found[2]) == ("/dev/null", "/dev/null", str(log))
    assert len(found) == 7, found
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        os.kill(writer, number)
    assert server.get("/raise").status == 500
    stops(server)
    lines = log.read_text().splitlines()
    assert "ValueError: on purpose " in lines, lines
    assert lines[-1].endswith(" INFO stopped")


def test_the_log_process_is_replaced_when_it_dies(begin: Begin, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = begin(before=to(f"2>>{log}"))
    for _ in range(2):
        (writer,) = pids_of(server, "log")
        os.kill(writer, signal.SIGKILL)
        until(lambda: (pids_of(server, "log") - {writer}) or None, lambda: "not replaced")  # noqa: B023
        pattern = rf" WARN pid={writer} cause=.* the process that writes the log died$"
        until(
            lambda: re.search(pattern, log.read_text(), re.MULTILINE),  # noqa: B023
            log.read_text,
        )
    stops(server)
    assert log.read_text().endswith(" INFO stopped\n")


def test_the_log_process_ends_with_the_server(begin: Begin, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = begin(before=to(f"2>>{log}"))
    server.send_signal(signal.SIGKILL)
    until_equal(server.tree, [])
    server.destroy()


def test_lines_begin_anew_behind_half_a_line(begin: Begin, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("half a li")
    server = begin(before=to(f"2>>{log}"))
    server.stop()
    assert log.read_text().startswith("half a li\n20")


# Full disks, and frozen ones.


@as_root
def test_a_full_disk_costs_lines_and_nothing_else(begin: Begin, small: Disk) -> None:
    log = small.place / "server.log"
    server = begin("--processes", "2", before=to(f"2>>{log}"))
    small.fill()
    # More than the room in the last block of the file.
    for _ in range(30):
        assert server.get("/raise?1000").status == 500
    goes_on(server)
    small.free()
    until(lambda: re.search(LOST, log.read_text(), re.MULTILINE), log.read_text)
    stops(server)
    text = log.read_text()
    assert text.endswith(" INFO stopped\n")
    # No line is appended to a truncated one.
    assert all(line.count(" INFO ") + line.count(" WARN ") <= 1 for line in text.splitlines()), text


@as_root
def test_a_frozen_disk_blocks_no_process(begin: Begin, freezable: Disk) -> None:
    log = freezable.place / "server.log"
    server = begin("--processes", "2", before=to(f"2>>{log}"))
    freezable.freeze()
    for _ in range(30):
        assert server.get("/raise?20000").status == 500
    goes_on(server)
    freezable.thaw()
    until(lambda: re.search(LOST, log.read_text(), re.MULTILINE), log.read_text)
    stops(server)
    assert log.read_text().endswith(" INFO stopped\n")


@as_root
def test_a_disk_that_does_not_answer_holds_up_no_end(begin: Begin, freezable: Disk) -> None:
    log = freezable.place / "server.log"
    server = begin("--processes", "2", before=to(f"2>>{log}"))
    freezable.freeze()
    assert server.get("/raise").status == 500
    ends_in_time(server)
    assert {process.title for process in server.tree()} <= {"rwsgi: log"}
    freezable.thaw()
    until_equal(server.tree, [])


# Closed descriptors.


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_opened_on_nothing(begin: Begin, closed: str) -> None:
    server = begin("--processes", "2", before=to(closed))
    for pid in {server.pid, *(process.pid for process in server.tree())}:
        try:
            found = processes.descriptors(pid)
        except FileNotFoundError:  # it was on its way to its end
            continue
        for number, redirection in enumerate(("<&-", ">&-", "2>&-")):
            expected = redirection in closed.split() or number == 0
            assert (found[number] == "/dev/null") == expected, (pid, found)
    front = pids_of(server, "front")
    # To /dev/null, and not into the shared memory.
    assert server.get("/descriptor?1").status == server.get("/descriptor?2").status == 200
    assert server.get("/streams").status == 200
    assert pids_of(server, "front") == front
    goes_on(server)
    stops(server)


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}])
def test_what_is_printed_beyond_ascii_needs_no_locale(start: Start, locale: Mapping[str, str]) -> None:
    unset = dict.fromkeys(("LANG", "LC_ALL", "LC_CTYPE"), "")
    server = start("chatty", environment={**unset, **locale})
    assert server.get("/streams").status == 200
    server.output.until(lambda lines: True if "café ☃" in lines else None, "what was printed")


def test_rwsgictl_needs_neither_reader_nor_descriptors(door: Door, start: Start) -> None:
    server = start("chatty")
    control = str(door.program.with_name("rwsgictl"))
    for redirection, code in (
        (">&-", 0),
        ("2>&- >&-", 0),
        (">/dev/full", 71),
        ("| true; exit ${PIPESTATUS[0]}", 0),
    ):
        script = f'"$@" {redirection}'
        ran = subprocess.run(
            ["bash", "-c", script, "bash", control, "status"],
            env=server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == code, (redirection, ran)


@pytest.mark.parametrize("command", ["--bind nonsense:x", "--no-such-option", "--help"])
def test_an_error_message_does_not_block(door: Door, tmp_path: Path, command: str) -> None:
    with pipe() as (_, writer):
        fill(writer)
        ran = subprocess.run(
            [str(door.program), *command.split()],
            cwd=tmp_path,
            env=door.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writer,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == (0 if command == "--help" else 64)


def test_a_terminal_gets_short_lines_in_local_time_and_colours(begin: Begin, terminal: Terminal) -> None:
    server = begin(before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    text = read_until(terminal.ours, r"pid=\d+ ready$")
    match = re.search(r"^(\d\d):(\d\d):\d\d \x1b\[32mINFO\x1b\[0m child=0 gen=1 pid=\d+ ready$", text, re.M)
    assert match, text
    minute = int(match[1]) * 60 + int(match[2])
    now = (time.time() / 60 + 330) % 1440
    assert min(abs(minute - now), 1440 - abs(minute - now)) <= 2
    # Only in development each request is logged.
    assert server.get("/quiet").status == 200
    server.stop()
    assert "/quiet" not in read_until(terminal.ours, "stopped$")


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_done_without(begin: Begin, terminal: Terminal, plain: Mapping[str, str]) -> None:
    server = begin(before=on(terminal), inherited=[terminal.theirs], environment={**TERM, **plain})
    text = read_until(terminal.ours, r"^\d\d:\d\d:\d\d INFO url=\S+ pid=\d+ ready$")
    assert "\x1b" not in text
    server.stop()


def test_a_stopped_terminal_blocks_no_process(begin: Begin, terminal: Terminal) -> None:
    server = begin("--processes", "2", before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    read_until(terminal.ours, "ready$")
    termios.tcflow(terminal.theirs, termios.TCOOFF)
    goes_on(server)
    termios.tcflow(terminal.theirs, termios.TCOON)
    read_until(terminal.ours, r"lost=\d+ log lines could not be written$")
    stops(server)


def test_a_closed_terminal_blocks_no_process(begin: Begin, terminal: Terminal) -> None:
    server = begin("--processes", "2", before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    terminal.close()
    goes_on(server)
    stops(server)


# JSON.


def test_json_is_an_object_on_each_line(start: Start) -> None:
    server = start("--log-format", "json", "chatty", children=None)
    lines = server.log.until(
        lambda lines: lines if any('"url":' in line for line in lines) else None, "the ready line"
    )
    found = [json.loads(line) for line in lines]
    ready = next(line for line in found if "url" in line)
    assert (ready["pid"], ready["message"], ready["level"]) == (str(server.pid), "ready", "INFO")
    server.url = ready["url"]
    assert server.get("/raise").status == 500
    line = json.loads(server.wait_for("Traceback").string)
    assert line["level"] == "ERROR"
    assert line["message"].startswith("Traceback (most recent call last):\n")
    server.stop()
    assert all(json.loads(line)["time"].endswith("Z") for line in server.log.lines)
