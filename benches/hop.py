"""The cost of the hop through the exchange: CPU time per request, compared with HTTP without an application.

python -m benches.hop [--server NAME='COMMAND with {port}'] ...
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benches import wrk
from benches.measuring import ROOT, RWSGI, Server, Spread, Used, running, table

HERE = Path(__file__).parent
BODY = b"Hello, world!\n"


@dataclass(frozen=True)
class Round:
    """One server under load for some seconds."""

    requests: int
    seconds: float
    used: Used

    @property
    def cost(self) -> float:
        """Microseconds of CPU time per request."""
        return sum(self.used.seconds.values()) * 1e6 / self.requests


def main() -> None:
    options = parse()
    wrk.need()
    wanted = dict(server.split("=", 1) for server in options.server) or {
        "rwsgi": f"{RWSGI} --bind 127.0.0.1:{{port}} hello"
    }
    commands = {"bare": f"{shlex.quote(str(options.bare))} {{port}}"} | wanted
    kinds: dict[str, dict[str, str]] = {"hello": {}, "hello, browser headers": wrk.BROWSER}
    with (
        tempfile.TemporaryDirectory() as logs,
        running(
            Server(name, f"taskset --cpu-list {options.cores} {command}", HERE, Path(logs) / name)
            for name, command in commands.items()
        ) as servers,
    ):
        for server in servers:
            check(server)
        for kind, headers in kinds.items():
            report(kind, measure(servers, headers, options), options.against)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server", action="append", default=[], metavar="NAME=COMMAND", help="instead of rwsgi"
    )
    parser.add_argument(
        "--bare", type=Path, default=ROOT / "target/release/examples/bare", help="the program without Python"
    )
    parser.add_argument(
        "--against", default="bare", metavar="NAME", help="the server that the ratios refer to"
    )
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", default="0", help="of the servers")
    parser.add_argument("--client-cores", default="1")
    return parser.parse_args()


def check(server: Server) -> None:
    """The answers must be equal, otherwise the servers cannot be compared."""
    status, body, fields = server.wait_until_it_answers()
    if (status, body) != (200, BODY):
        sys.exit(f"{server.name} answers {status} {body!r}")
    print(f"{server.name}: {', '.join(fields)}", file=sys.stderr)


def measure(
    servers: list[Server], headers: dict[str, str], options: argparse.Namespace
) -> dict[str, list[Round]]:
    """Rounds in which the servers take turns, so that other load on the machine affects all of them."""
    found: dict[str, list[Round]] = {server.name: [] for server in servers}
    for server in servers:
        load(server, headers, options, seconds=1)
    for number in range(options.rounds):
        for server in servers if number % 2 == 0 else reversed(servers):
            before = server.used()
            requests, seconds = load(server, headers, options, options.seconds)
            found[server.name].append(Round(requests, seconds, server.used().since(before)))
    return found


def load(
    server: Server, headers: dict[str, str], options: argparse.Namespace, seconds: int
) -> tuple[int, float]:
    asked = wrk.Load(options.connections, fields=headers)
    counted = wrk.load(server.url, asked, seconds, options.client_cores)
    return counted.requests, counted.seconds


def report(kind: str, found: dict[str, list[Round]], against: str) -> None:
    reference = [turn.cost for turn in found[against]]
    head = [
        "server",
        "µs of CPU per request",
        f"x {against}",
        "of which",
        "sleeps per 1,000 requests",
        "requests/s (wall)",
    ]
    rows = []
    for name, rounds in found.items():
        costs = [turn.cost for turn in rounds]
        rows.append(
            [
                name,
                Spread(costs),
                Spread([cost / other for cost, other in zip(costs, reference, strict=True)]),
                roles(rounds, "µs"),
                roles(rounds, "sleeps"),
                Spread([turn.requests / turn.seconds for turn in rounds], places=0),
            ]
        )
    print(f"\n{kind}\n\n{table(head, rows)}", flush=True)


def roles(rounds: list[Round], what: str) -> str:
    """The share of each kind of process, without those that do nothing."""
    parts = []
    for role in rounds[0].used.seconds:
        each = [per_request(turn, role, what) for turn in rounds]
        if statistics.median(each) >= 0.05:
            parts.append(f"{role} {Spread(each, places=1)}")
    return ", ".join(parts)


def per_request(turn: Round, role: str, what: str) -> float:
    if what == "sleeps":
        return turn.used.sleeps[role] * 1e3 / turn.requests
    return turn.used.seconds[role] * 1e6 / turn.requests


if __name__ == "__main__":
    main()
