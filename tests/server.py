"""A real server: started in a folder of its own, observed by its log, stopped without a remainder."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar

from tests import processes
from tests.client import PATIENCE, Answer, Client
from tests.waiting import until_equal

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "tests" / "apps"
DEMO = ROOT / "python" / "examples" / "demo"

T = TypeVar("T")

MOMENT = 5.0
"""Seconds within which a killed process has ended, even under load."""
READY = re.compile(r' url="?(?P<urls>[^\s"]+)"? pid=(?P<pid>\d+) ready$')
CHILD = re.compile(
    r" child=(?P<slot>\d+) gen=(?P<generation>\d+) pid=(?P<pid>\d+) (?:.* )?(?P<word>ready|died|left)$"
)


@dataclass(frozen=True)
class Door:
    """One of the two ways in which rwsgi is installed."""

    name: str
    program: Path

    def environment(self) -> dict[str, str]:
        """A clean environment, in which the application's packages are found."""
        ours = ("RWSGI_", "PYTHON", "DJANGO_", "LISTEN_", "DEMO_", "VIRTUAL_ENV")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # The wheel is already in an environment; the binary needs the variable.
        return clean | {"VIRTUAL_ENV": sys.prefix} if self.name == "binary" else clean

    def control(
        self, *arguments: str, environment: Mapping[str, str] | None = None, before: Iterable[str] = ()
    ) -> "Ran":
        """Run rwsgictl."""
        ran = subprocess.run(
            [*before, str(self.program.with_name("rwsgictl")), *arguments],
            env={**self.environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)


class Log:
    """Lines as they are written, read by a thread."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._stream = stream
        self._reader = threading.Thread(target=self._read, name="log")
        self._reader.start()

    def until(self, look: Callable[[list[str]], T | None], what: str, patience: float = PATIENCE) -> T:
        """Apply `look` to the lines whenever there are new ones, until it finds something."""
        deadline = time.monotonic() + patience
        with self._news:
            while True:
                found = look(self.lines)
                if found is not None:
                    return found
                if self._ended:
                    raise AssertionError(f"the log ended without {what}:\n{self}")
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {what} in {patience} s:\n{self}")

    def close(self) -> None:
        """Wait for the end of the log, after the last process that could write to it has ended."""
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), f"somebody still holds the server's output:\n{self}"
        self._stream.close()

    def _read(self) -> None:
        for line in self._stream:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Hold:
    """A request that the application has taken, and does not answer before it is released."""

    def __init__(self, client: Client, gate: Path, pid: int) -> None:
        self.client = client
        self.pid = pid
        self._gate = gate

    def release(self) -> None:
        # Fails at once when the application has not opened the other end.
        gate = os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK)
        os.write(gate, b"!")
        os.close(gate)

    def answer(self) -> Answer:
        return self.client.answer()


class Server:
    """A server, from its start to its end."""

    def __init__(
        self,
        door: Door,
        folder: Path,
        arguments: Iterable[str],
        environment: Mapping[str, str] | None = None,
        inherited: Iterable[int] = (),
        before: Iterable[str] = (),
    ) -> None:
        """Start the program; `before` is put in front of the command."""
        self.folder = folder
        self._ending = ExitStack()
        # Short, because the path of a socket is limited, and apart from other servers of this machine.
        self.runtime = Path(self._ending.enter_context(TemporaryDirectory(prefix="rwsgi-")))
        os.chmod(self.runtime, 0o711)
        self.environment = {**door.environment(), "XDG_RUNTIME_DIR": str(self.runtime), **(environment or {})}
        self._door = door
        self._gates = 0
        self.process = subprocess.Popen(
            [*before, str(door.program), *arguments],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=tuple(inherited),
            start_new_session=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.output = Log(self.process.stdout)
        self.log = Log(self.process.stderr)

    # Its log.

    def wait_for(self, pattern: str, since: int = 0, patience: float = PATIENCE) -> re.Match[str]:
        """Wait for a line of the log that matches the pattern, after the first `since` lines."""
        expression = re.compile(pattern)

        def look(lines: list[str]) -> re.Match[str] | None:
            return next((match for line in lines[since:] if (match := expression.search(line))), None)

        return self.log.until(look, repr(pattern), patience)

    def wait_for_all(self, pattern: str, count: int, patience: float = PATIENCE) -> list[re.Match[str]]:
        """Wait until this number of lines matches the pattern."""
        expression = re.compile(pattern)

        def look(lines: list[str]) -> list[re.Match[str]] | None:
            found = [match for line in lines if (match := expression.search(line))]
            return found if len(found) >= count else None

        return self.log.until(look, f"{count} x {pattern!r}", patience)

    def mark(self) -> int:
        """The present end of the log."""
        return len(self.log.lines)

    # Its processes.

    @property
    def pid(self) -> int:
        """The supervisor."""
        return self.process.pid

    def wait_until_ready(self, children: int = 1) -> None:
        match = self.log.until(lambda lines: next(filter(None, map(READY.search, lines)), None), "ready line")
        assert int(match["pid"]) == self.pid
        self.urls = match["urls"].split(",")
        self.url = self.urls[0]
        self.children(children)

    def children(self, count: int) -> dict[int, int]:
        """The pids of the children by slot, once this number is ready."""

        def look(lines: list[str]) -> dict[int, int] | None:
            found: dict[int, int] = {}
            for match in filter(None, map(CHILD.search, lines)):
                if match["word"] == "ready":
                    found[int(match["slot"])] = int(match["pid"])
                elif found.get(int(match["slot"])) == int(match["pid"]):
                    del found[int(match["slot"])]
            return found if len(found) == count else None

        return self.log.until(look, f"{count} children ready")

    def replacement(self, slot: int, former: int) -> int:
        """The pid of the ready child that has replaced a former one."""

        def look(lines: list[str]) -> int | None:
            lives = [match for match in map(CHILD.search, lines) if match and int(match["slot"]) == slot]
            # Skip those before the former one.
            after = dropwhile(lambda match: int(match["pid"]) != former, lives)
            ready = (int(match["pid"]) for match in after if match["word"] == "ready")
            return next((pid for pid in ready if pid != former), None)

        return self.log.until(look, f"child in slot {slot} after {former}")

    def front(self) -> int:
        """The pid of the front that serves."""
        return int(self.wait_for_last(r" pid=(\d+) front serving$")[1])

    def mold(self) -> int:
        """The pid of the mold that is ready."""
        return int(self.wait_for_last(r" gen=\d+ pid=(\d+) mold ready$")[1])

    def wait_for_last(self, pattern: str) -> re.Match[str]:
        return self.wait_for_all(pattern, 1)[-1]

    def tree(self) -> list[processes.Process]:
        """Every process that has come from the server and is alive."""
        return [process for process in processes.of_session(self.pid) if not process.is_zombie]

    # Requests to it.

    @property
    def address(self) -> tuple[str, int] | str:
        if self.url.startswith("unix:"):
            return str(self.folder / self.url.removeprefix("unix:"))
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host.strip("[]"), int(port)

    def client(self, receives: int | None = None) -> Client:
        """A new connection, closed with the server."""
        return self._ending.enter_context(Client(self.address, receives))

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request on a new connection."""
        with Client(self.address) as client:
            return client.get(target, headers or {})

    def settle(self) -> None:
        """Wait until the front has received everything that was sent before."""
        # Needs no thread: the front refuses this last request itself.
        with Client(self.address) as last:
            last.socket.sendall(b"LAST\r\n")
            assert last.answer().status == 400

    def hold(self, target: str = "/hold", client: Client | None = None) -> Hold:
        """Send a request that occupies a thread until it is released, and wait until it does."""
        held = self.send_hold(target, client)
        return held()

    def send_hold(self, target: str = "/hold", client: Client | None = None) -> Callable[[], Hold]:
        """Send a request that will occupy a thread; the returned function waits until it does."""
        self._gates += 1
        gate = self.folder / f"gate-{self._gates}"
        os.mkfifo(gate)
        client = client or self.client()
        client.send(f"{target}{'&' if '?' in target else '?'}gate={gate}")

        def held() -> Hold:
            return Hold(client, gate, int(self.wait_for(rf"^holding {re.escape(str(gate))} in (\d+)$")[1]))

        return held

    def control(self, *arguments: str, before: Iterable[str] = ()) -> "Ran":
        """Run rwsgictl with the environment in which it finds the control socket."""
        return self._door.control(*arguments, environment=self.environment, before=before)

    def status(self) -> Any:
        """The status by rwsgictl."""
        ran = self.control("status", "--json")
        assert (ran.code, ran.err) == (0, ""), ran
        return json.loads(ran.out)

    # Its end.

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end; return the exit code, after checking that no process is left."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            tree = "\n".join(f"{process.pid} {process.title}" for process in self.tree())
            raise AssertionError(f"still there after {patience} s:\n{tree}\n{self.log}") from None
        # A process that was killed last, or was being forked by a killed one, may end a moment later.
        with suppress(AssertionError):
            until_equal(self.tree, [], patience=MOMENT)
        assert not (left := self.tree()), f"left behind: {left}\n{self.log}"
        self.close()
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.send_signal(number)
        # Longer than the default shutdown timeout.
        code = self.wait(1.5 * PATIENCE)
        assert code == 0, f"exit code {code}:\n{self.log}"

    def close(self) -> None:
        """Close our side, after the server has ended."""
        self._ending.close()
        self.log.close()
        self.output.close()

    def destroy(self) -> None:
        """Kill it with all its processes."""
        pids = [process.pid for process in self.tree()]
        with processes.watched(pids) as ends:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            ends.wait(PATIENCE)
        self.process.wait(PATIENCE)
        self.close()


@dataclass(frozen=True)
class Ran:
    """A command that has ended by itself."""

    code: int
    out: str
    err: str
