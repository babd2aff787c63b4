"""The article's load spike with real processes, and its computation of memory.

python -m benches.snowball [--seconds N] [--rounds N] [--json FILE] [--plots FOLDER]

Plots are drawn in the environment of the peers.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benches import openloop
from benches.measuring import ROOT, RWSGI, Server, Spread, running, table
from benches.openloop import Arrival, Outcome

CALM, SPIKE = 2.0, 100.0
"""Requests per second."""
CALM_SECONDS = 4.0
PATIENCE = 10.0
"""Seconds after which a client gives up."""
LATE = 1.0
WELL = 0.1
BEAT = 0.25
"""Seconds between two observations of the processes."""
MOST = 20
FIXED = 10
SITE = "benches.snowball_site"
EARLY = f"--import {SITE}"
ELASTIC = f"--mpm prefork --start-servers 2 --min-spare-servers 2 --max-spare-servers 5 --max-clients {MOST}"


COUNTS = "forks imports importing used children memory requests refused unanswered late".split()


@dataclass(frozen=True)
class Arm:
    """A way to run the application."""

    options: str
    children: int = 2
    """Children at the start."""


ARMS = {
    "Apache, import in the first request": Arm(f"{ELASTIC} --pool-policy apache --preload off"),
    "Apache, import in the child": Arm(f"{ELASTIC} --pool-policy apache --preload off {EARLY}"),
    "Apache, mold": Arm(f"{ELASTIC} --pool-policy apache --preload on {EARLY}"),
    f"fixed pool of {FIXED}": Arm(f"--processes {FIXED} --preload off {EARLY}", FIXED),
    "safe, import in the child": Arm(f"{ELASTIC} --pool-policy safe --preload off {EARLY}"),
    "safe, mold": Arm(f"{ELASTIC} --pool-policy safe --preload on {EARLY}"),
}


@dataclass(frozen=True)
class Look:
    """The process tree at a time, in seconds from the beginning of the load."""

    moment: float
    children: int
    memory: float
    """MiB: the sum of their proportional memory (PSS)."""


@dataclass
class Watch:
    """The observations of a server's processes."""

    looks: list[Look] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    """CPU time by process, including ended ones."""


@dataclass(frozen=True)
class Run:
    """One arm in one round; times count from the beginning of the spike unless noted otherwise."""

    forks: int
    imports: int
    """Imports that were begun, including those at the start and in the calm."""
    importing: float
    """CPU seconds of the imports, including unfinished ones."""
    used: float
    """CPU seconds of all processes, in calm and spike."""
    refused: int
    """Answers other than 200."""
    unanswered: int
    late: int
    requests: int
    memory: float
    children: int
    recovery: float | None
    """Seconds until the recovery. None: not within the spike."""
    looks: list[Look]
    outcomes: list[Outcome]


def main() -> None:
    options = parse()
    runs: dict[str, list[Run]] = {name: [] for name in ARMS}
    for number in range(options.rounds):
        for name, arm in list(ARMS.items())[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                runs[name].append(spike(name, arm, options, number, Path(folder)))
            print(f"{name}: {brief(runs[name][-1])}", file=sys.stderr)
    print(spikes(runs) + "\n")
    print(arithmetic(options))
    keep(runs, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default=RWSGI, metavar="PROGRAM")
    parser.add_argument("--seconds", type=float, default=20, help="of the spike")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=150, help="MaxClients of the arithmetic")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for all rounds")
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    return parser.parse_args()


def spike(name: str, arm: Arm, options: argparse.Namespace, number: int, folder: Path) -> Run:
    """One arm. All arms of a round have the same arrivals."""
    file, seconds = folder / "notes", float(options.seconds)
    calm = openloop.poisson(CALM, CALM_SECONDS, {"/": 1.0}, seed=number)
    arrivals = calm + [
        Arrival(CALM_SECONDS + one.moment, one.target)
        for one in openloop.poisson(SPIKE, seconds, {"/": 1.0}, seed=1000 + number)
    ]
    with started(name, arm.options, options, folder, {"SNOWBALL_NOTES": str(file)}) as server:
        server.wait_for_children(arm.children)
        forks: list[int] = []
        timer = threading.Timer(CALM_SECONDS, lambda: forks.append(started_children(server)))
        timer.start()
        with watched(server) as watch:
            outcomes = openloop.attempt(server.address, arrivals, PATIENCE)
        timer.join()
        grown = started_children(server) - forks[0]
    notes = file.read_text().splitlines()
    of_spike = [one for one in outcomes if one.moment >= CALM_SECONDS]
    return Run(
        forks=grown,
        imports=notes.count("begun"),
        importing=sum(float(note) for note in notes if note != "begun"),
        used=sum(watch.seconds.values()),
        refused=sum(one.status not in (0, 200) for one in of_spike),
        unanswered=sum(one.status == 0 for one in of_spike),
        late=sum(one.status == 200 and one.took > LATE for one in of_spike),
        requests=len(of_spike),
        memory=max(look.memory for look in watch.looks),
        children=max(look.children for look in watch.looks),
        recovery=recovery(of_spike, seconds),
        looks=watch.looks,
        outcomes=sorted(outcomes, key=lambda one: one.moment),
    )


@contextmanager
def started(
    name: str, arm: str, options: argparse.Namespace, folder: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """A server of the application."""
    command = (
        f"{options.server} {arm} --python-path {shlex.quote(str(ROOT))} --shutdown-timeout 1 --max-queue 4096"
        " --bind 127.0.0.1:{port} benches.snowball_app"
    )
    with running([Server(name, command, folder, folder / "log", environment)]) as (server,):
        yield server


def started_children(server: Server) -> int:
    return sum(" child=" in line and line.endswith(" started") for line in server.log().splitlines())


@contextmanager
def watched(server: Server) -> Iterator[Watch]:
    """Observe the processes while the context is active."""
    watch, enough, begin = Watch(), threading.Event(), time.monotonic()
    before = server.seconds()

    def look() -> None:
        while not enough.wait(BEAT):
            memory = server.memory()
            children = sum(one.role == "child" for one in memory)
            total = sum(one.proportional for one in memory)
            watch.looks.append(Look(time.monotonic() - begin, children, total))
            for pid, seconds in server.seconds().items():
                watch.seconds[pid] = seconds - before.get(pid, 0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        enough.set()
        thread.join()


def recovery(outcomes: Sequence[Outcome], seconds: float) -> float | None:
    """Seconds after which the median answer is good in each further second of the spike."""
    ill = [second for second in range(int(seconds)) if not is_well(outcomes, second)]
    if not ill:
        return 0.0
    return None if ill[-1] == int(seconds) - 1 else ill[-1] + 1.0


def is_well(outcomes: Sequence[Outcome], second: int) -> bool:
    """Whether half of the requests of a second of the spike were answered soon."""
    took = [
        one.took if one.status == 200 else PATIENCE
        for one in outcomes
        if second <= one.moment - CALM_SECONDS < second + 1
    ]
    return not took or statistics.median(took) < WELL


def spikes(runs: Mapping[str, Sequence[Run]]) -> str:
    """The table of the spike."""
    head = [
        "",
        "forks",
        "imports",
        "s of CPU importing",
        "s of CPU in all",
        "children at most",
        "MiB at most",
    ]
    head += ["requests", "refused", "not answered", "late", "s until all is well"]
    rows = []
    for name, each in runs.items():
        counts = (Spread([getattr(run, what) for run in each], places=0) for what in COUNTS)
        well = ["never" if run.recovery is None else f"{run.recovery:.0f}" for run in each]
        rows.append([name, *counts, ", ".join(well)])
    return table(head, rows)


def brief(run: Run) -> dict[str, object]:
    """A run without its time series."""
    return {key: value for key, value in asdict(run).items() if key not in ("looks", "outcomes")}


def arithmetic(options: argparse.Namespace) -> str:
    """The memory of the application with single-threaded processes, and with processes of 25 threads."""
    most = options.clients
    rows = []
    for processes, threads in ((most // 25, 25), (most, 1)):
        for preload in ("off", "on"):
            arm = f"--processes {processes} --threads {threads} --preload {preload} {EARLY}"
            private, total = loaded(arm, processes, threads, options)
            rows.append([f"{processes} x {threads}", preload, private, f"{total:.0f}", processes * 30])
    head = ["processes x threads", "preload", "MiB of a child's own", "MiB in all", "the article's, MB"]
    return table(head, rows)


def loaded(arm: str, processes: int, threads: int, options: argparse.Namespace) -> tuple[Spread, float]:
    """Private memory of the children, and memory of all processes, after all threads have worked."""
    with (
        tempfile.TemporaryDirectory() as folder,
        started(arm, arm, options, Path(folder), {"SNOWBALL_IMPORT": "0"}) as server,
    ):
        server.wait_for_children(processes)
        for _ in range(8):
            openloop.attempt(server.address, [Arrival(0, "/")] * (processes * threads), 4 * PATIENCE)
        memory = server.memory()
        own = Spread([one.private for one in memory if one.role == "child"], places=1)
        return own, sum(one.proportional for one in memory)


def keep(runs: Mapping[str, Sequence[Run]], options: argparse.Namespace) -> None:
    """Write the requested files and plots."""
    if not (options.json or options.plots):
        return
    with tempfile.TemporaryDirectory() as folder:
        file = (options.json or Path(folder) / "rounds.json").absolute()
        data = {
            "calm": CALM_SECONDS,
            "arms": {name: [asdict(run) for run in each] for name, each in runs.items()},
        }
        file.write_text(json.dumps(data) + "\n")
        if options.plots:
            python = ROOT / ".venv-peers/bin/python"
            command = [python, "-m", "benches.snowball_plots", file, options.plots.absolute()]
            subprocess.run(list(map(os.fspath, command)), cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
