"""The cost of replacing children: with a limit of requests per child, and when one is killed.

python -m benches.turnover [--server PROGRAM] [--requests N] [--limit N] [--kills N]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.client import Client
from tests.load import under_load
from tests.server import APPS, DEMO, Door, Server

from benches.measuring import ROOT, Spread, table


def main() -> None:
    options = parse()
    program = options.server.absolute()
    rows = [
        ["alone", *latency(program, options.requests, [])],
        [
            f"limit of {options.limit}",
            *latency(program, options.requests, [f"--max-requests={options.limit}"]),
        ],
    ]
    print(table(["requests", "errors", "children", "median ms", "99 % ms", "99.9 % ms", "longest ms"], rows))
    kills = [
        [name, Spread(recovery(program, preload, options.kills), places=1)]
        for name, preload in [("with the mold", "auto"), ("without", "off")]
    ]
    print()
    print(table(["demo site", "ms from SIGKILL to the ready replacement"], kills))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", type=Path, default=ROOT / "target/release/rwsgi")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--kills", type=int, default=15)
    return parser.parse_args()


@contextlib.contextmanager
def serving(program: Path, *arguments: str, children: int) -> Iterator[Server]:
    """A server in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["--bind", "127.0.0.1:0", "--python-path", str(APPS), *arguments]
        environment = {"DEMO_VAR": str(Path(folder) / "var")}
        server = Server(Door("binary", program), Path(folder), command, environment)
        try:
            server.wait_until_ready(children)
            yield server
        finally:
            server.destroy()


def latency(program: Path, requests: int, arguments: list[str]) -> list[object]:
    """Requests over kept and over new connections, and the latency of one more client."""
    times: list[float] = []
    with serving(program, "--processes", "2", *arguments, "brief", children=2) as server:

        def measure(stop: threading.Event) -> None:
            with Client(server.address) as client:
                while not stop.is_set():
                    began = time.perf_counter()
                    assert client.get("/").status == 200
                    times.append((time.perf_counter() - began) * 1000)

        stop = threading.Event()
        thread = threading.Thread(target=measure, args=(stop,))
        thread.start()
        with under_load(server, keeping=1, anew=1, enough=requests) as load:
            while not load.finished():
                print(f"{load.answered} of {requests}", file=sys.stderr)
        stop.set()
        thread.join()
        times.sort()
        share = [times[int(len(times) * part)] for part in (0.5, 0.99, 0.999)]
        figures = [f"{figure:.2f}" for figure in [*share, times[-1]]]
        return [len(load.errors), len(load.bodies), *figures]


def recovery(program: Path, preload: str, kills: int) -> list[float]:
    """Milliseconds from the death of a child to its ready replacement, by the log's timestamps."""
    site = ("--python-path", str(DEMO), "--preload", preload, "mysite.wsgi")
    with serving(program, *site, children=1) as server:
        found = []
        for _ in range(kills):
            ((slot, pid),) = server.children(1).items()
            mark, began = server.mark(), time.time()
            os.kill(pid, signal.SIGKILL)
            ready = rf"^\S+T(\d+):(\d+):([\d.]+)Z INFO child={slot} gen=1 pid=\d+ ready$"
            line = server.wait_for(ready, since=mark)
            hours, minutes, seconds = int(line[1]), int(line[2]), float(line[3])
            since_midnight = hours * 3600 + minutes * 60 + seconds
            found.append((since_midnight - began % 86_400) % 86_400 * 1000)
        return found


if __name__ == "__main__":
    main()
