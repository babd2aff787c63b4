"""The measurements: one round each, with one server that was started for it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.client import Client

from benches import openloop, wrk
from benches.measuring import Failed
from benches.peers import crowds
from benches.peers.model import Figures, Subject

DRIPPING = 200
IDLE = 5000
BUSY = 3
BUSY_SECONDS = 2.0
SHORT, LONG = "/?0.005", "/?0.5"
MIX = {SHORT: 0.99, LONG: 0.01}
OPEN_LOAD = 0.7


def loaded(subject: Subject) -> Figures:
    """CPU time per request, and the latency for clients."""
    before = subject.server.used()
    switched = involuntary(subject)
    counted = wrk.load(subject.server.url, subject.load, subject.seconds, subject.cores)
    used = subject.server.used().since(before)
    return {
        "cpu": sum(used.seconds.values()) * 1e6 / counted.requests,
        "rate": counted.requests / counted.seconds,
        "half": counted.half,
        "most": counted.most,
        "longest": counted.longest,
        "waited": counted.waited / 1000 / counted.requests,
        "switched": (involuntary(subject) - switched) / counted.requests,
    }


def involuntary(subject: Subject) -> int:
    """The number of involuntary context switches of the server."""
    total = 0
    for pid in subject.server.processes():
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            total += int(fields["nonvoluntary_ctxt_switches"])
    return total


def page(subject: Subject) -> Figures:
    """Also measures the memory of the processes afterwards."""
    return loaded(subject) | {"pss": pss(subject)}


def pss(subject: Subject) -> float:
    return sum(memory.proportional for memory in subject.server.memory())


def sleeping(seconds: float) -> Callable[[Subject], Figures]:
    """The rate relative to that of threads which only sleep."""

    def measure(subject: Subject) -> Figures:
        figures = loaded(subject)
        ideal = subject.shape.processes * subject.shape.threads / seconds
        return figures | {"share": figures["rate"] / ideal * 100}

    return measure


def fairness(subject: Subject) -> Figures:
    """The latency of short requests while three are busy, measured until the busy ones have ended."""

    def busy() -> None:
        with Client(subject.server.address) as client:
            client.get(f"/busy?{BUSY_SECONDS}")

    threads = [threading.Thread(target=busy) for _ in range(BUSY)]
    for thread in threads:
        thread.start()
    # A server that does not distribute requests must have accepted them before the others arrive.
    time.sleep(0.1)
    # wrk does not count requests without an answer at its end: the busy ones may be in one process.
    counted = wrk.load(subject.server.url, subject.load, round(BUSY * BUSY_SECONDS) + 1, subject.cores)
    for thread in threads:
        thread.join()
    return {"half": counted.half, "most": counted.most, "longest": counted.longest}


def dripping(subject: Subject) -> Figures:
    """The share of the rate that remains while many clients send bodies byte by byte."""
    without = wrk.load(subject.server.url, subject.load, subject.seconds, subject.cores)
    with crowds.dripping(subject.server.address, DRIPPING):
        beside = wrk.put(subject.server.url, subject.load, subject.seconds, subject.cores)
    return kept(without, beside)


def idle(subject: Subject) -> Figures:
    """The share of the rate that remains with many idle connections, and the memory of each of these."""
    without = wrk.load(subject.server.url, subject.load, subject.seconds, subject.cores)
    before = resident(subject)
    with crowds.idle(subject.server.address, IDLE):
        weight = resident(subject) - before
        beside = wrk.load(subject.server.url, subject.load, subject.seconds, subject.cores)
    return kept(without, beside) | {"kib": weight * 1024 / IDLE}


def kept(without: wrk.Counted, beside: wrk.Counted) -> Figures:
    rates = [counted.requests / counted.seconds for counted in (without, beside)]
    return {"without": rates[0], "rate": rates[1], "kept": rates[1] / rates[0] * 100}


def resident(subject: Subject) -> float:
    return sum(memory.resident for memory in subject.server.memory())


def mixed(subject: Subject) -> Figures:
    """The latency of short requests among a few long ones with random arrivals."""
    mean = sum(float(target.partition("?")[2]) * weight for target, weight in MIX.items())
    rate = OPEN_LOAD * subject.shape.processes * subject.shape.threads / mean
    # The same arrivals for all servers of a round.
    arrivals = openloop.poisson(rate, subject.seconds, MIX, seed=subject.number)
    times = openloop.drive(subject.server.address, arrivals)[SHORT]
    if len(times) < 100:
        raise Failed("too few requests for a percentile")
    hundredths = statistics.quantiles(times, n=100)
    return {"half": hundredths[49], "most": hundredths[98], "longest": max(times)}


def start(subject: Subject) -> Figures:
    """From the start to the first answer."""
    return {"first": subject.first}


def weight(subject: Subject) -> Figures:
    """The memory of the processes after load."""
    wrk.load(subject.server.url, subject.load, subject.seconds, subject.cores)
    return {"pss": pss(subject)}
