"""Rounds in which the servers take turns, so that other load on the machine affects all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.server import DEMO

from benches import wrk
from benches.measuring import PATIENCE, Failed, Server, running
from benches.peers.model import Arm, Found, Row, Subject
from benches.peers.servers import APPLICATIONS, ENVIRONMENT, Peer, Shape

SERVER_CORES, CLIENT_CORES = "0", "1"
BEAT = 0.2
"""A server is idle if it uses less than a tenth of a CPU over this number of seconds."""
TRIES = 2
"""The number of failures after which a server is left out."""


@dataclass(frozen=True)
class Settings:
    """The settings of all rows."""

    rounds: int
    seconds: int
    peers: Mapping[str, Peer]
    data: Path
    """The folder of the demo site."""


@contextmanager
def site() -> Iterator[Path]:
    """A folder with the demo site's database, accessible to the users of all servers."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        path = Path(folder)
        manage = [str(ENVIRONMENT / "bin/python"), str(DEMO / "manage.py"), "fill"]
        subprocess.run(manage, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"DEMO_VAR": folder})
        path.chmod(0o777)
        for file in path.iterdir():
            file.chmod(0o666)
        yield path


def measure(row: Row, settings: Settings, only: Sequence[str] = ()) -> Found:
    """All rounds of a row."""
    found = Found()
    arms: list[tuple[str, str, Shape]] = []
    for name in row.servers:
        if only and name not in only:
            continue
        for shape in row.shapes:
            label = row.label(name, shape)
            if reason := settings.peers[name].refuses(shape):
                found.left_out[label] = reason
            else:
                arms.append((label, name, shape))
                found.arms[label] = Arm()
    bodies = [row.expected] if row.expected is not None else []
    for number in range(settings.rounds):
        for label, name, shape in arms if number % 2 == 0 else reversed(arms):
            arm = found.arms[label]
            if len(arm.failures) >= TRIES:
                continue
            print(f"{row.name}: round {number + 1} of {settings.rounds}: {label}", file=sys.stderr)
            try:
                arm.rounds[number] = turn(row, settings, name, shape, number, bodies)
            except (Failed, OSError) as failure:
                arm.failures.append(str(failure))
                print(f"{label} failed: {failure}", file=sys.stderr)
    return found


def turn(
    row: Row, settings: Settings, name: str, shape: Shape, number: int, bodies: list[bytes]
) -> dict[str, float]:
    """One server, started for this."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        Path(folder).chmod(0o777)
        command = settings.peers[name].start(row.application, shape, Path(folder), row.options.get(name, ""))
        pin = f"taskset --cpu-list {SERVER_CORES} " if row.pinned else ""
        environment = {
            "DEMO_VAR": str(settings.data),
            "PYTHONPATH": str(APPLICATIONS),
            "VIRTUAL_ENV": str(ENVIRONMENT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **row.environment,
        }
        server = Server(name, pin + command, APPLICATIONS, Path(folder) / "log", environment)
        with running([server]):
            first = check(server, row, bodies)
            cores = CLIENT_CORES if row.pinned else None
            if row.warm:
                wrk.put(server.url, row.load, 1, cores)
                settle(server)
            seconds = settings.seconds * row.stretch
            return row.measure(Subject(server, shape, row.load, first, seconds, cores, number))


def settle(server: Server) -> None:
    """Wait until the server has finished the requests that the warm-up's clients gave up."""
    deadline = time.monotonic() + PATIENCE
    before = sum(server.used().seconds.values())
    while time.monotonic() < deadline:
        time.sleep(BEAT)
        now = sum(server.used().seconds.values())
        if now - before < BEAT / 10:
            return
        before = now


def check(server: Server, row: Row, bodies: list[bytes]) -> float:
    """The answers must be equal. Returns the time from the start to the first one, in milliseconds."""
    status, body, _ = server.wait_until_it_answers(row.load.target, b"x" * row.load.post)
    first = server.age * 1000
    if not bodies:
        bodies.append(body)
    if status != 200 or body != bodies[0]:
        raise Failed(f"answers {status} {body[:200]!r}:\n{server.log()[-2000:]}")
    return first
