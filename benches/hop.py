"""The cost of the hop: processor time per request, beside HTTP without any application.

python -m benches.hop [--server NAME='COMMAND with {port}'] ...
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benches.measuring import ROOT, Server, Spread, Used, running, table

HERE = Path(__file__).parent
BODY = b"Hello, world!\n"

# With the Host that the client adds, fourteen fields.
BROWSER = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "Sec-CH-UA": '"Chromium";v="128", "Not;A=Brand";v="24"',
    "Sec-CH-UA-Mobile": "?0",
    "Sec-CH-UA-Platform": '"Linux"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/128.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cookie": "sessionid=4w1k5q9c0m8z7v2b6n3x; csrftoken=Zk3QmU8r1TnB5yHs0WcVdGpJxLfEaO7i",
}


@dataclass(frozen=True)
class Round:
    """One server under load for some seconds."""

    requests: int
    seconds: float
    used: Used

    @property
    def cost(self) -> float:
        """Microseconds of processor time per request."""
        return sum(self.used.seconds.values()) * 1e6 / self.requests


def main() -> None:
    options = parse()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt install wrk")
    wanted = dict(server.split("=", 1) for server in options.server) or {
        "rwsgi": f"{ROOT / 'target/release/rwsgi'} --bind 127.0.0.1:{{port}} hello"
    }
    commands = {"bare": f"{options.bare} {{port}}"} | wanted
    kinds: dict[str, dict[str, str]] = {"hello": {}, "hello, browser headers": BROWSER}
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
    """Only equal answers can be compared."""
    status, body, fields = server.wait_until_it_answers()
    if (status, body) != (200, BODY):
        sys.exit(f"{server.name} answers {status} {body!r}")
    print(f"{server.name}: {', '.join(fields)}", file=sys.stderr)


def measure(
    servers: list[Server], headers: dict[str, str], options: argparse.Namespace
) -> dict[str, list[Round]]:
    """Rounds in which each server has its turn, so that what else the machine does hits all."""
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
    fields = [argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}")]
    wrk = ["wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s", *fields, server.url]
    said = subprocess.run(
        ["taskset", "--cpu-list", options.client_cores, *wrk], capture_output=True, text=True, check=True
    ).stdout
    done = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if done is None or "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{server.name} failed under load:\n{said}")
    return int(done[1]), float(done[2])


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
    """What each kind of process does for a request; nothing of those that have nothing to do."""
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
