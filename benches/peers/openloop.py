"""A client that does not wait for answers before it asks again: an open loop.

Whoever waits for an answer asks less often of a slow server and does not see how slow it is. Here the
arrivals are drawn before, as of clients who know nothing of each other, and a time counts from the moment at
which a request should have been sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field

from benches.measuring import Failed

PATIENCE = 30.0
CLIENTS = 64
"""Who are connected from the beginning, as far as the server keeps connections."""


@dataclass(frozen=True)
class Arrival:
    """A request that is to be sent at a moment, in seconds from the beginning."""

    moment: float
    target: str


@dataclass
class Open:
    """The clients' connections. Each request takes the one that has idled longest, or a new one."""

    address: tuple[str, int]
    idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=deque)

    async def begin(self) -> None:
        """Have each client connect, and be served once so that all servers know it."""
        connected = [await asyncio.open_connection(*self.address) for _ in range(CLIENTS)]
        self.idle.extend(connected)
        for _ in connected:
            await self.get("/")

    async def get(self, target: str) -> None:
        while True:
            kept = bool(self.idle)
            reader, writer = self.idle.popleft() if kept else await asyncio.open_connection(*self.address)
            try:
                writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, asyncio.IncompleteReadError):
                writer.close()
                # A server may close a connection that idles; one that has just been opened it may not.
                if not kept:
                    raise
                continue
            status, length, keep = parse(head)
            if status != 200:
                raise Failed(f"{target} is answered with {status}")
            await reader.readexactly(length)
            if keep:
                self.idle.append((reader, writer))
            else:
                writer.close()
            return

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()


def parse(head: bytes) -> tuple[int, int, bool]:
    """The status, the length, and whether the connection stays open."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    keep = first.startswith("HTTP/1.1") and fields.get("connection", "").lower() != "close"
    return int(first.split()[1]), int(fields["content-length"]), keep


def poisson(rate: float, seconds: float, targets: dict[str, float], seed: int) -> list[Arrival]:
    """Arrivals at so many a second, each for one of the targets by its weight."""
    drawn = random.Random(seed)
    arrivals = []
    moment = 0.0
    while (moment := moment + drawn.expovariate(rate)) < seconds:
        (target,) = drawn.choices(list(targets), list(targets.values()))
        arrivals.append(Arrival(moment, target))
    return arrivals


def drive(address: tuple[str, int], arrivals: list[Arrival]) -> dict[str, list[float]]:
    """The milliseconds that each request took, by its target."""
    return asyncio.run(_drive(address, arrivals))


async def _drive(address: tuple[str, int], arrivals: list[Arrival]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    connections = Open(address)
    await connections.begin()
    begin = time.perf_counter()

    async def one(arrival: Arrival) -> None:
        await asyncio.wait_for(connections.get(arrival.target), PATIENCE)
        took = time.perf_counter() - begin - arrival.moment
        found.setdefault(arrival.target, []).append(took * 1000)

    tasks = []
    for arrival in arrivals:
        await asyncio.sleep(begin + arrival.moment - time.perf_counter())
        tasks.append(asyncio.create_task(one(arrival)))
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    connections.close()
    failed = [end for end in ends if end is not None]
    if failed:
        raise Failed(f"{len(failed)} of {len(ends)} requests failed, the first with {failed[0]!r}")
    return found
