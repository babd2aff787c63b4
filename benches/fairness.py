"""The latency of short requests beside long ones: three of four children are busy.

python -m benches.fairness [--server 'COMMAND with {port}']
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.client import Client

from benches import wrk
from benches.measuring import RWSGI, Server, Spread, running, table

CHILDREN = 4
BUSY = 3
HERE = Path(__file__).parent
# The measurement lies within the time for which the children are busy.
MARGIN = 1.0
PAUSE = 5
"""Milliseconds between an answer and the next request of a connection."""


def main() -> None:
    options = parse()
    wrk.need()
    found: dict[int, list[wrk.Counted]] = {0: [], BUSY: []}
    with tempfile.TemporaryDirectory() as logs:
        server = Server("rwsgi", options.server, HERE, Path(logs) / "log")
        with running([server]):
            server.wait_until_it_answers()
            for _ in range(options.rounds):
                for busy, waits in found.items():
                    waits.append(measure(server, busy, options))
    head = ["busy children", "short requests", "half within (ms)", "99 % within (ms)", "longest (ms)"]
    print(table(head, [row(busy, waits) for busy, waits in found.items()]))


def parse() -> argparse.Namespace:
    usual = f"{RWSGI} --processes {CHILDREN} --bind 127.0.0.1:{{port}} sleeper"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default=usual, metavar="COMMAND", help="another server of four processes")
    parser.add_argument("--connections", type=int, default=61, help="of the short requests")
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def measure(server: Server, busy: int, options: argparse.Namespace) -> wrk.Counted:
    """One round; `busy` children sleep throughout."""
    with ExitStack() as stack:
        responses = []
        for _ in range(busy):
            client = stack.enter_context(Client(server.address))
            client.send(f"/busy?{options.seconds + MARGIN}")
            responses.append(client.response())
            responses[-1].readline()
        load = wrk.Load(options.connections, pause=PAUSE)
        counted = wrk.load(server.url, load, options.seconds)
        for response in responses:
            response.read()
        return counted


def row(busy: int, waits: list[wrk.Counted]) -> list[object]:
    return [
        f"{busy} of {CHILDREN}",
        Spread([one.requests for one in waits], places=0),
        Spread([one.half for one in waits]),
        Spread([one.most for one in waits]),
        Spread([one.longest for one in waits]),
    ]


if __name__ == "__main__":
    main()
