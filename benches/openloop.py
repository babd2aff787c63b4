"""An open-loop client: it sends requests without waiting for earlier answers.

A client that waits for each answer sends fewer requests to a slow server, and so does not measure how slow it
is. Here the arrivals are drawn beforehand, as those of independent clients, and durations count from the time
at which a request was due.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benches.measuring import Failed

PATIENCE = 30.0
CLIENTS = 64
"""Clients that connect at the beginning, as far as the server keeps connections."""


@dataclass(frozen=True)
class Arrival:
    """A request that is due at this time, in seconds from the beginning."""

    moment: float
    target: str


@dataclass(frozen=True)
class Outcome:
    """The result of a request."""

    moment: float
    """When it was due."""
    took: float
    """Seconds until its answer, or until the client gave up."""
    status: int
    """0 without an answer."""


@dataclass
class Open:
    """The clients' connections. Each request uses the one that has been idle longest, or a new one."""

    address: tuple[str, int]
    idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=deque)

    async def begin(self) -> None:
        """Connect each client, and send one request, so that all connections are established."""
        connected = [await asyncio.open_connection(*self.address) for _ in range(CLIENTS)]
        self.idle.extend(connected)
        for _ in connected:
            await self.get_well("/")

    async def get_well(self, target: str) -> None:
        """Send a request that must be answered with 200."""
        if (status := await self.get(target)) != 200:
            raise Failed(f"{target} is answered with {status}")

    async def get(self, target: str) -> int:
        """The status of the answer."""
        while True:
            kept = bool(self.idle)
            reader, writer = self.idle.popleft() if kept else await asyncio.open_connection(*self.address)
            try:
                writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                status, length, keep = parse(head)
                await reader.readexactly(length)
            except (ConnectionError, asyncio.IncompleteReadError):
                writer.close()
                # A server may close an idle connection, but not one that was just opened.
                if not kept:
                    raise
                continue
            except asyncio.CancelledError:
                # The client has given up.
                writer.close()
                raise
            if keep:
                self.idle.append((reader, writer))
            else:
                writer.close()
            return status

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()


def parse(head: bytes) -> tuple[int, int, bool]:
    """The status, the length, and whether the connection persists."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    keep = first.startswith("HTTP/1.1") and fields.get("connection", "").lower() != "close"
    return int(first.split()[1]), int(fields["content-length"]), keep


def poisson(rate: float, seconds: float, targets: dict[str, float], seed: int) -> list[Arrival]:
    """Arrivals at this rate per second, with targets chosen by their weights."""
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
        await asyncio.wait_for(connections.get_well(arrival.target), PATIENCE)
        took = time.perf_counter() - begin - arrival.moment
        found.setdefault(arrival.target, []).append(took * 1000)

    ends = await _send(arrivals, begin, one)
    connections.close()
    failed = [end for end in ends if end is not None]
    if failed:
        raise Failed(f"{len(failed)} of {len(ends)} requests failed, the first with {failed[0]!r}")
    return found


def attempt(address: tuple[str, int], arrivals: list[Arrival], patience: float) -> list[Outcome]:
    """The result of each request of clients that connect for each request and give up after `patience`."""
    return asyncio.run(_attempt(address, arrivals, patience))


async def _attempt(address: tuple[str, int], arrivals: list[Arrival], patience: float) -> list[Outcome]:
    found: list[Outcome] = []
    connections = Open(address)
    begin = time.perf_counter()

    async def one(arrival: Arrival) -> None:
        try:
            status = await asyncio.wait_for(connections.get(arrival.target), patience)
        except (OSError, EOFError, asyncio.TimeoutError):
            status = 0
        found.append(Outcome(arrival.moment, time.perf_counter() - begin - arrival.moment, status))

    for end in await _send(arrivals, begin, one):
        if end is not None:
            raise end
    connections.close()
    return found


async def _send(
    arrivals: list[Arrival], begin: float, one: Callable[[Arrival], Awaitable[None]]
) -> list[BaseException | None]:
    """Run `one` for each arrival at its time, and wait for all of them."""
    tasks = []
    for arrival in arrivals:
        await asyncio.sleep(begin + arrival.moment - time.perf_counter())
        tasks.append(asyncio.ensure_future(one(arrival)))
    return await asyncio.gather(*tasks, return_exceptions=True)
