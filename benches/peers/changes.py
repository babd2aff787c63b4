"""The effect of replacing processes on clients: failed requests, and the longest time without an answer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from benches.measuring import Failed
from benches.openloop import parse
from benches.peers.model import Figures, Subject

CLIENTS = 8
PATIENCE = 30.0
BETWEEN_RELOADS = 1.0


@dataclass
class Results:
    """The times of complete answers, and the errors."""

    moments: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def client(address: tuple[str, int], end: float, results: Results) -> None:
    """Sends one request after the other, on one connection as long as the server keeps it."""
    reader = writer = None
    while time.perf_counter() < end:
        try:
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            status, length, keep = parse(head)
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            results.failures.append(repr(error))
            keep, status = False, 0
        if status == 200:
            results.moments.append(time.perf_counter())
        elif status:
            results.failures.append(f"status {status}")
        if not keep and writer is not None:
            writer.close()
            reader = writer = None


def watched(act: Callable[[Subject], None] | None) -> Callable[[Subject], Figures]:
    """A round in which `act` is repeated."""

    async def watch(subject: Subject) -> Results:
        results = Results()
        end = time.perf_counter() + subject.seconds
        clients = [asyncio.create_task(client(subject.server.address, end, results)) for _ in range(CLIENTS)]
        while act is not None and time.perf_counter() + BETWEEN_RELOADS < end:
            await asyncio.sleep(BETWEEN_RELOADS)
            act(subject)
        await asyncio.gather(*clients)
        return results

    def measure(subject: Subject) -> Figures:
        results = asyncio.run(watch(subject))
        if len(results.moments) < 2:
            raise Failed(f"nothing is answered: {results.failures[:1]}")
        gaps = [later - earlier for earlier, later in pairwise(sorted(results.moments))]
        return {
            "gap": max(gaps) * 1000,
            "failures": len(results.failures),
            "rate": len(results.moments) / subject.seconds,
        }

    return measure


def hang_up(subject: Subject) -> None:
    """Trigger new processes by SIGHUP, which most servers support."""
    subject.server.send_signal(signal.SIGHUP)
