"""Shared by the measurements: servers, resource usage of their processes, and tables of medians."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import processes

ROOT = Path(__file__).resolve().parent.parent
RWSGI = shlex.quote(str(ROOT / "target/release/rwsgi"))
"""The program, as a word of a command."""
PATIENCE = 60.0
"""Seconds that a server may take to answer for the first time, or to stop."""


class Failed(SystemExit):
    """A server does not work as required. If it is not caught, the program ends with this message."""


@dataclass(frozen=True)
class Memory:
    """Memory of one process, in MiB."""

    role: str
    private: float
    """MiB of private pages: the cost of one more such process."""
    proportional: float
    """MiB with its share of shared pages (PSS): these add up."""
    resident: float
    """MiB with all shared pages (RSS)."""


@dataclass(frozen=True)
class Used:
    """CPU time and context switches of processes so far, by role."""

    seconds: Mapping[str, float]
    """CPU time by role."""
    sleeps: Mapping[str, int]
    """Voluntary context switches by role."""

    def since(self, former: Used) -> Used:
        """The difference to an earlier reading."""
        return Used(
            {role: now - former.seconds.get(role, 0) for role, now in self.seconds.items()},
            {role: now - former.sleeps.get(role, 0) for role, now in self.sleeps.items()},
        )


class Server:
    """A server on a loopback port, in a session of its own."""

    def __init__(
        self, name: str, command: str, folder: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start `command`, in which `{port}` is replaced by the port."""
        self.name = name
        self._port = _free_port()
        self._log = log
        self._started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                shlex.split(command.format(port=self._port)),
                cwd=folder,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def log(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._started

    def wait_until_it_answers(self, target: str = "/", body: bytes = b"") -> tuple[int, bytes, list[str]]:
        """The status, the body and the names of the header fields of the first answer."""
        while True:
            try:
                return self._ask(target, body)
            except OSError as refused:
                # Other servers do not report when they are ready.
                if self._process.poll() is not None or self.age > PATIENCE:
                    raise Failed(f"{self.name} does not answer:\n{self.log()[-2000:]}") from refused
                time.sleep(0.01)

    def _ask(self, target: str, body: bytes) -> tuple[int, bytes, list[str]]:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            connection.request("POST" if body else "GET", target, body or None)
            answer = connection.getresponse()
            return answer.status, answer.read(), sorted(name.lower() for name, _ in answer.getheaders())
        finally:
            connection.close()

    def wait_for_children(self, children: int) -> None:
        """Until the log shows this number of ready children."""
        self.wait_until_it_answers()
        deadline = time.monotonic() + PATIENCE
        while len(re.findall(r" child=\d+ .*ready$", self.log(), re.MULTILINE)) < children:
            if time.monotonic() > deadline:
                raise Failed(f"no {children} children:\n{self.log()}")
            time.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """The role of each process; all processes of another server have the same role."""
        return {process.pid: _role(process.title) for process in processes.of_session(self._process.pid)}

    def used(self) -> Used:
        """The usage of all processes since their start."""
        seconds: dict[str, float] = {}
        sleeps: dict[str, int] = {}
        for pid, role in self.processes().items():
            seconds[role] = seconds.get(role, 0) + _processor_time(pid)
            sleeps[role] = sleeps.get(role, 0) + _sleeps(pid)
        return Used(seconds, sleeps)

    def seconds(self) -> dict[int, float]:
        """The CPU time of each process in seconds."""
        found = {}
        for pid in self.processes():
            with suppress(OSError):
                found[pid] = _processor_time(pid)
        return found

    def memory(self) -> list[Memory]:
        """The current memory of each process."""
        found = []
        for pid, role in self.processes().items():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                # The process has ended meanwhile.
                continue
            fields = {
                name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)
            }
            private = fields["Private_Clean"] + fields["Private_Dirty"]
            found.append(Memory(role, private, fields["Pss"], fields["Rss"]))
        return found

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started."""
        self._process.send_signal(number)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Some servers leave processes behind.
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running(servers: Iterable[Server]) -> Iterator[list[Server]]:
    """Servers that are stopped at the end."""
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
        yield started
    finally:
        for server in started:
            server.stop()


class Spread:
    """Formats values as the median with the extremes."""

    def __init__(self, values: Sequence[float], places: int = 2) -> None:
        self._values = values
        self._places = places

    def __str__(self) -> str:
        if not self._values:
            return "-"
        figures = statistics.median(self._values), min(self._values), max(self._values)
        median, least, most = (f"{figure:.{self._places}f}" for figure in figures)
        return f"{median} ({least} to {most})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _role(title: str) -> str:
    """`rwsgi: child 3 gen 1 (mysite.wsgi)` is a child."""
    return title.removeprefix("rwsgi: ").split()[0] if title.startswith("rwsgi: ") else "server"


def _processor_time(pid: int) -> float:
    # The clock of another process (clock_getcpuclockid) counts nanoseconds; /proc/PID/stat counts hundredths.
    return time.clock_gettime((~pid << 3) | 2)


def _sleeps(pid: int) -> int:
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        for line in Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
