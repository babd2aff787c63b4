"""Information of the kernel about processes."""

import os
import select
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process at one moment."""

    pid: int
    parent: int
    state: str
    title: str

    @property
    def is_zombie(self) -> bool:
        return self.state in "ZX"


def of_session(session: int) -> list[Process]:
    """Every process of a session, zombies included. No process of the server leaves its session."""
    return [process for pid in _pids() if (process := _look(pid, session)) is not None]


def title(pid: int) -> str:
    """What `ps` shows as the command."""
    return _bytes(f"/proc/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ").decode()


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors of a process, and what each refers to."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def private(pid: int) -> int:
    """Bytes of memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


@contextmanager
def watched(pids: Iterable[int]) -> Iterator["Ends"]:
    """Holds pidfds of processes, so that their ends are noticed even if ids are reused."""
    with ExitStack() as stack:
        ends = Ends()
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                ends.descriptors[descriptor] = pid
        yield ends


class Ends:
    """The ends of some processes."""

    def __init__(self) -> None:
        self.descriptors: dict[int, int] = {}

    def wait(self, seconds: float) -> set[int]:
        """Wait until all have ended, at most this long; return those that have not."""
        deadline = time.monotonic() + seconds
        left = dict(self.descriptors)
        poll = select.poll()
        for descriptor in left:
            poll.register(descriptor, select.POLLIN)
        while left and (rest := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(rest * 1000):
                poll.unregister(descriptor)
                del left[descriptor]
        return set(left.values())


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _look(pid: int, session: int) -> Process | None:
    stat = _bytes(f"/proc/{pid}/stat").decode(errors="replace")
    # The name, in parentheses, may contain anything; the fields follow the last closing parenthesis.
    fields = stat.rpartition(")")[2].split()
    if not fields or int(fields[3]) != session:
        return None
    return Process(pid=pid, parent=int(fields[1]), state=fields[0], title=title(pid))


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
