"""Whatever standard error and the access log are, the server starts, serves and stops."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests import processes
from tests.access_log import AccessLog
from tests.client import PATIENCE, Client
from tests.conftest import Start
from tests.server import Door, Server
from tests.tools import tool
from tests.unprivileged import reachable
from tests.waiting import until, until_equal

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")

LOST = r" WARN lost=[1-9]\d* log lines could not be written$"


def to(*redirections: str) -> list[str]:
    """What is put in front of a command whose descriptors are to lead elsewhere."""
    return ["bash", "-c", f'exec "$@" {" ".join(redirections)}', "bash"]


class Fixture:
    """Starts servers of which the log cannot be awaited, since it goes elsewhere."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def __call__(
        self,
        *arguments: str,
        before: Iterable[str],
        inherited: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
        app: str = "chatty",
    ) -> Server:
        server = self._start(
            *arguments,
            app,
            bind="unix:s",
            children=None,
            before=before,
            inherited=inherited,
            environment=environment,
        )
        server.url = "unix:s"
        until(
            lambda: True if is_listened_at(server.folder / "s") else None, lambda: f"no socket: {server.log}"
        )
        assert server.get("/").status == 200
        return server


def is_listened_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def begin(start: Start) -> Fixture:
    return Fixture(start)


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose ends are closed unless the test has done so."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def fill(writer: int) -> None:
    """Fill a pipe to its last byte, by a description of its own that does not wait."""
    own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, b"\n" * size)
    os.close(own)


def read_until(reader: int, pattern: str, patience: float = PATIENCE) -> str:
    """Read what comes until it has a line like this; return all of it."""
    text, deadline = "", time.monotonic() + patience
    while not re.search(pattern, text, re.MULTILINE):
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {pattern!r} in {patience} s:\n{text}"
        part = os.read(reader, 65536)
        assert part, f"the end, and no {pattern!r}:\n{text}"
        text += part.decode()
    return text


def pids_of(server: Server, role: str) -> set[int]:
    return {process.pid for process in server.tree() if f"rwsgi: {role}" in process.title}


def wait_for_child(server: Server, other_than: set[int]) -> None:
    until(
        lambda: pids_of(server, "child") - other_than or None,
        lambda: f"no new child: {server.tree()}",
    )


def goes_on(server: Server) -> None:
    """A child that dies is replaced, a reload is done, and status is told."""
    before = pids_of(server, "child")
    with contextlib.suppress(AssertionError):
        server.get("/die")
    wait_for_child(server, before)
    assert server.get("/").status == 200
    assert server.get("/raise").status == 500
    ran = server.control("reload")
    assert ran.code == 0, ran
    assert server.get("/").status == 200
    assert server.status()["state"] == "serving"


def stops(server: Server, within: float = 8.0) -> None:
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < within


# A pipe.


def test_a_pipe_that_nobody_reads_stops_nobody_and_what_was_lost_is_told(begin: Fixture) -> None:
    with pipe() as (reader, writer):
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        read_until(reader, " ready$")
        fill(writer)
        goes_on(server)
        read_until(reader, LOST)
        # What comes after it is complete again.
        mark = server.get("/raise")
        assert mark.status == 500
        assert "Traceback (most recent call last):" in read_until(reader, "^ValueError: on purpose")
        os.close(writer)
        stops(server)
        assert read_until(reader, " INFO stopped$")


def test_what_was_lost_is_told_without_a_further_line(begin: Fixture) -> None:
    with pipe() as (reader, writer):
        server = begin(before=to(f"2>&{writer}"), inherited=[writer])
        read_until(reader, " ready$")
        fill(writer)
        # Lost in a child, which gives a reader a moment: the supervisor has nothing to say.
        for _ in range(2):
            assert server.get("/raise").status == 500
        read_until(reader, LOST)


def test_a_pipe_whose_reader_has_gone_stops_nobody(begin: Fixture) -> None:
    with pipe() as (reader, writer):
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        os.close(writer)
        os.close(reader)
        goes_on(server)
        stops(server)


def test_it_starts_where_the_reader_has_gone_before(begin: Fixture) -> None:
    with pipe() as (reader, writer):
        os.close(reader)
        server = begin("--processes", "2", before=to(f"2>&{writer}"), inherited=[writer])
        goes_on(server)
        stops(server)


def test_an_application_that_waits_to_print_waits_alone(begin: Fixture) -> None:
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
            # Nor does it hold up the end for as long as a request may take.
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert waiting.answer().status == 200
            assert server.wait() == 0
            assert time.monotonic() - began < 6


def wait_channel(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text()
    return ""


def test_another_users_pipe_is_written_by_a_process_of_its_own(begin: Fixture, tmp_path: Path) -> None:
    """It cannot be opened anew, and yet the server must not wait for it."""
    with pipe() as (reader, writer):
        # As a pipe that may not be opened again.
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
    """Root opens everything; without this capability it does not."""
    if os.geteuid() != 0:
        return []
    dropped = "-dac_override,-dac_read_search"
    return [tool("setpriv", "util-linux"), f"--bounding-set={dropped}", f"--inh-caps={dropped}"]


def fill_blocking(writer: int) -> None:
    """Fill a pipe that cannot be opened anew."""
    while select.select([], [writer], [], 0)[1]:
        os.write(writer, b"\n" * 4096)


def test_a_fifo_whose_reader_comes_back_has_whole_lines_again(begin: Fixture, tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    server = begin(before=to(f"2>{fifo}"))
    read_until(reader, " ready$")
    os.close(reader)
    # With the answer to the second, what there is to say of the first has been lost.
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


def test_a_traceback_of_many_pages_is_whole(begin: Fixture, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with pipe() as (reader, writer):
        for redirection, inherited in ((f"2>&{writer}", [writer]), (f"2>>{log}", [])):
            server = begin(before=to(redirection), inherited=inherited)
            if inherited:
                read_until(reader, " ready$")
            assert server.get("/raise?200000" if not inherited else "/raise?40000").status == 500
            if inherited:
                assert "y" * 40000 + "\n" in read_until(reader, "^ValueError: on purpose y+$")
            server.stop()
        assert "y" * 200000 + "\n" in log.read_text()


# A socket, and systemd's journal.


def test_a_socket_that_nobody_reads_stops_nobody(begin: Fixture) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = begin("--processes", "2", before=to(f"2>&{theirs.fileno()}"), inherited=[theirs.fileno()])
        read_until(ours.fileno(), " ready$")
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                theirs.send(b"\n" * 4096)
        # The flag is that of the server's standard error, too, which had better be as it was.
        theirs.setblocking(True)
        goes_on(server)
        read_until(ours.fileno(), LOST)
        stops(server)
        server = begin(before=to(f"2>&{theirs.fileno()}"), inherited=[theirs.fileno()])
        ours.close()
        goes_on(server)
        stops(server)


def test_the_journal_gets_severities_and_no_time(begin: Fixture) -> None:
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


# A file.


def test_a_file_is_written_by_a_process_of_its_own_to_the_last_line(begin: Fixture, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = begin(before=to(f"2>>{log}"))
    (writer,) = pids_of(server, "log")
    # Neither the server's listeners nor its standard output, which others wait for the end of.
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


def test_who_writes_the_log_is_replaced_when_it_dies(begin: Fixture, tmp_path: Path) -> None:
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


def test_who_writes_the_log_ends_with_the_server(begin: Fixture, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = begin(before=to(f"2>>{log}"))
    server.send_signal(signal.SIGKILL)
    until_equal(server.tree, [])
    server.destroy()


def test_lines_begin_anew_behind_half_a_line(begin: Fixture, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("half a li")
    server = begin(before=to(f"2>>{log}"))
    server.stop()
    assert log.read_text().startswith("half a li\n20")


# A disk that is full, and one that does not answer.


class Disk:
    """A small file system of the test's own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.frozen = False

    def fill(self) -> None:
        with open(self.place / "filling", "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 512)

    def free(self) -> None:
        (self.place / "filling").unlink()

    def freeze(self) -> None:
        subprocess.run([tool("fsfreeze", "util-linux"), "-f", str(self.place)], check=True)
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen:
            subprocess.run([tool("fsfreeze", "util-linux"), "-u", str(self.place)], check=True)
            self.frozen = False


def mount(*arguments: str) -> None:
    subprocess.run([tool("mount", "mount"), *arguments], check=True)


@contextlib.contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[Disk]:
    place.mkdir()
    mount(*arguments, str(place))
    disk = Disk(place)
    try:
        yield disk
    finally:
        disk.thaw()
        # In use until the last process that was killed while it waited for the disk has ended.
        until(lambda: True if unmounted(place) else None, lambda: f"{place} is in use")


def unmounted(place: Path) -> bool:
    return subprocess.run([tool("umount", "mount"), str(place)], stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        yield disk


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Disk]:
    # Where other users reach it, too.
    with tempfile.TemporaryDirectory(prefix="rwsgi-disk-") as folder:
        os.chmod(folder, 0o755)
        yield from freezable_in(tmp_path, Path(folder))


def freezable_in(tmp_path: Path, folder: Path) -> Iterator[Disk]:
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run([tool("mkfs.ext4", "e2fsprogs"), "-q", str(image)], check=True)
    with mounted(folder / "disk", "-o", "loop", str(image)) as disk:
        yield disk


@as_root
def test_a_full_disk_costs_lines_and_nothing_else(begin: Fixture, small: Disk) -> None:
    log = small.place / "server.log"
    server = begin("--processes", "2", before=to(f"2>>{log}"))
    small.fill()
    # More than the last block of the file has room for.
    for _ in range(30):
        assert server.get("/raise?1000").status == 500
    goes_on(server)
    small.free()
    until(lambda: re.search(LOST, log.read_text(), re.MULTILINE), log.read_text)
    stops(server)
    text = log.read_text()
    assert text.endswith(" INFO stopped\n")
    # Nothing is glued to what was cut off.
    assert all(line.count(" INFO ") + line.count(" WARN ") <= 1 for line in text.splitlines()), text


@as_root
def test_a_disk_that_does_not_answer_stops_nobody(begin: Fixture, freezable: Disk) -> None:
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
def test_a_disk_that_does_not_answer_holds_up_no_end(begin: Fixture, freezable: Disk) -> None:
    log = freezable.place / "server.log"
    server = begin("--processes", "2", before=to(f"2>>{log}"))
    freezable.freeze()
    assert server.get("/raise").status == 500
    ends_in_time(server)
    assert {process.title for process in server.tree()} <= {"rwsgi: log"}
    freezable.thaw()
    until_equal(server.tree, [])


@as_root
def test_a_disk_that_does_not_answer_under_the_access_log_holds_up_no_end(
    start: Start, freezable: Disk
) -> None:
    server = start("--access-log", str(freezable.place / "access.log"), "chatty")
    freezable.freeze()
    for _ in range(3):
        assert server.get("/").status == 200
    ends_in_time(server)
    # The port is free for the next one.
    with socket.socket() as probe:
        assert probe.connect_ex(server.address) != 0
    freezable.thaw()
    until_equal(server.tree, [])


@as_root
def test_logs_are_opened_anew_while_the_disk_does_not_answer(
    start: Start, door: Door, tmp_path: Path, freezable: Disk
) -> None:
    """The supervisor has the file made, since the front's user may not: it must not wait for that."""
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
    until(lambda: True if log.path.exists() else None, lambda: "no new file")
    assert log.path.stat().st_uid != 0
    server.stop()


def ends_in_time(server: Server) -> None:
    server.send_signal(signal.SIGTERM)
    assert server.process.wait(12) == 0


# Nothing at all.


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_opened_on_nothing(begin: Fixture, closed: str) -> None:
    server = begin("--processes", "2", before=to(closed))
    for pid in {server.pid, *(process.pid for process in server.tree())}:
        found = processes.descriptors(pid)
        for number, redirection in enumerate(("<&-", ">&-", "2>&-")):
            expected = redirection in closed.split() or number == 0
            assert (found[number] == "/dev/null") == expected, (pid, found)
    front = pids_of(server, "front")
    # Into nothing, and not into the memory that the server shares.
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
def test_a_program_that_only_complains_waits_for_nobody(door: Door, tmp_path: Path, command: str) -> None:
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


# A terminal.


class Terminal:
    """The master's side of a terminal on which a server writes."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        # Lines as they are written.
        mode = termios.tcgetattr(self.theirs)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(self.theirs, termios.TCSANOW, mode)

    def close(self) -> None:
        for descriptor in (self.ours, self.theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


TERM = {"TERM": "xterm", "NO_COLOR": "", "TZ": "<+0530>-5:30"}


def on(terminal: Terminal) -> list[str]:
    return to(f"2>&{terminal.theirs}")


def test_a_terminal_gets_short_lines_in_local_time_and_colours(begin: Fixture, terminal: Terminal) -> None:
    server = begin(before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    text = read_until(terminal.ours, r"pid=\d+ ready$")
    match = re.search(r"^(\d\d):(\d\d):\d\d \x1b\[32mINFO\x1b\[0m child=0 gen=1 pid=\d+ ready$", text, re.M)
    assert match, text
    minute = int(match[1]) * 60 + int(match[2])
    now = (time.time() / 60 + 330) % 1440
    assert min(abs(minute - now), 1440 - abs(minute - now)) <= 2
    # Only who develops wants to see each request.
    assert server.get("/quiet").status == 200
    server.stop()
    assert "/quiet" not in read_until(terminal.ours, "stopped$")


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_done_without(begin: Fixture, terminal: Terminal, plain: Mapping[str, str]) -> None:
    server = begin(before=on(terminal), inherited=[terminal.theirs], environment={**TERM, **plain})
    text = read_until(terminal.ours, r"^\d\d:\d\d:\d\d INFO url=\S+ pid=\d+ ready$")
    assert "\x1b" not in text
    server.stop()


def test_who_develops_on_a_terminal_sees_each_request(begin: Fixture, terminal: Terminal) -> None:
    server = begin("--reload", before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    assert server.get("/raise?1").status == 500
    text = read_until(terminal.ours, r"^\d\d:\d\d:\d\d GET /raise\?1 \x1b\[31m500\x1b\[0m \d+ ms$")
    assert re.search(r"^\d\d:\d\d:\d\d GET / \x1b\[32m200\x1b\[0m \d+ ms$", text, re.M), text
    server.stop()


@pytest.mark.parametrize("option", ["--access-log off", "--access-log access.log", "--log-level warn"])
def test_an_access_log_of_ones_own_takes_their_place(begin: Fixture, terminal: Terminal, option: str) -> None:
    options = ["--reload", *option.split()]
    server = begin(*options, before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    assert server.get("/seen").status == 200
    server.stop()
    os.set_blocking(terminal.ours, False)
    assert b"/seen" not in os.read(terminal.ours, 65536)


def test_a_terminal_that_was_stopped_stops_nobody(begin: Fixture, terminal: Terminal) -> None:
    server = begin("--processes", "2", before=on(terminal), inherited=[terminal.theirs], environment=TERM)
    read_until(terminal.ours, "ready$")
    termios.tcflow(terminal.theirs, termios.TCOOFF)
    goes_on(server)
    termios.tcflow(terminal.theirs, termios.TCOON)
    read_until(terminal.ours, r"lost=\d+ log lines could not be written$")
    stops(server)


def test_a_terminal_that_is_gone_stops_nobody(begin: Fixture, terminal: Terminal) -> None:
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


# The access log.


def test_a_fifo_that_nobody_reads_holds_lines_ready(start: Start, tmp_path: Path) -> None:
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
    # What cannot be opened leaves things as they are, and is told.
    moved = log.path.rename(tmp_path / "moved")
    log.path.mkdir()
    server.send_signal(signal.SIGUSR1)
    server.wait_for(" ERROR .*the access log cannot be opened anew$")
    assert server.get("/moved").status == 200
    stops(server)
    assert moved.read_text().splitlines()[-1] == "/moved -"


@as_root
def test_lines_that_a_full_disk_did_not_take_are_told_and_none_is_glued(start: Start, small: Disk) -> None:
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
    begin: Fixture, door: Door, tmp_path: Path, kind: str, path: str, user: bool
) -> None:
    if path == "link":
        (tmp_path / "link").symlink_to("/dev/stdout")
    ours, theirs = socket.socketpair()
    with ours, theirs, pipe() as (reader, writer):
        ends = (reader, writer) if kind == "pipe" else (ours.fileno(), theirs.fileno())
        before = to(f">&{ends[1]}")
        options = []
        if user:
            tmp_path.chmod(0o777)
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


def test_standard_output_that_nobody_reads_stops_nobody(begin: Fixture) -> None:
    with pipe() as (reader, writer):
        server = begin("--access-log", "-", before=to(f">&{writer}"), inherited=[writer])
        read_until(reader, "GET /")
        fill(writer)
        goes_on(server)
        assert pids_of(server, "front")
        stops(server)
