"""Destinations of logs in the tests: pipes, terminals, disks, and servers that write there."""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.client import PATIENCE
from tests.server import Server
from tests.tools import tool
from tests.waiting import until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")

LOST = r" WARN lost=[1-9]\d* log lines could not be written$"


def to(*redirections: str) -> list[str]:
    """A prefix for a command that redirects its descriptors."""
    return ["bash", "-c", f'exec "$@" {" ".join(redirections)}', "bash"]


class Begin:
    """Starts servers whose log cannot be awaited, since it is redirected."""

    def __init__(self, start: Callable[..., Server]) -> None:
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


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose ends are closed at the end, unless the test has closed them."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def fill(writer: int) -> None:
    """Fill a pipe completely, by a nonblocking descriptor of its own."""
    own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, b"\n" * size)
    os.close(own)


def read_until(reader: int, pattern: str, patience: float = PATIENCE) -> str:
    """Read until there is a line like this; return everything."""
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
    """A child that dies is replaced, a reload completes, and the status is available."""
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


class Disk:
    """A small file system for one test."""

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
        # In use until the last killed process that waits for the disk has ended.
        until(lambda: True if unmounted(place) else None, lambda: f"{place} is in use")


def unmounted(place: Path) -> bool:
    return subprocess.run([tool("umount", "mount"), str(place)], stderr=subprocess.DEVNULL).returncode == 0


def freezable_in(tmp_path: Path, folder: Path) -> Iterator[Disk]:
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run([tool("mkfs.ext4", "e2fsprogs"), "-q", str(image)], check=True)
    with mounted(folder / "disk", "-o", "loop", str(image)) as disk:
        yield disk


def ends_in_time(server: Server) -> None:
    server.send_signal(signal.SIGTERM)
    assert server.process.wait(12) == 0


class Terminal:
    """The master side of a terminal on which a server writes."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        # Without translation of line ends.
        mode = termios.tcgetattr(self.theirs)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(self.theirs, termios.TCSANOW, mode)

    def close(self) -> None:
        for descriptor in (self.ours, self.theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)


TERM = {"TERM": "xterm", "NO_COLOR": "", "TZ": "<+0530>-5:30"}


def on(terminal: Terminal) -> list[str]:
    return to(f"2>&{terminal.theirs}")
