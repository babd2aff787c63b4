"""The definition of a row of the table, and its results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benches.measuring import Server
from benches.peers.servers import Shape
from benches.wrk import Load

Figures = dict[str, float]


@dataclass(frozen=True)
class Figure:
    """A measured quantity."""

    heading: str
    places: int = 1


FIGURES = {
    "cpu": Figure("µs of CPU per request", 2),
    "rate": Figure("requests/s", 0),
    "half": Figure("half within (ms)", 3),
    "most": Figure("99 % within (ms)", 3),
    "longest": Figure("longest (ms)"),
    "share": Figure("% of the ideal rate"),
    "waited": Figure("ms waiting for the GIL per request", 2),
    "switched": Figure("involuntary switches per request", 2),
    "pss": Figure("PSS (MiB)"),
    "kept": Figure("% of the rate kept"),
    "without": Figure("requests/s without"),
    "kib": Figure("KiB of RSS per connection", 2),
    "first": Figure("first answer (ms)", 0),
    "gap": Figure("longest time without an answer (ms)"),
    "failures": Figure("requests that failed", 0),
}


@dataclass(frozen=True)
class Subject:
    """A running server to be measured."""

    server: Server
    shape: Shape
    load: Load
    first: float
    """Milliseconds from its start to its first answer."""
    seconds: int
    cores: str | None
    """The cores of the client."""
    number: int
    """The number of the round."""


@dataclass(frozen=True)
class Goal:
    """A bound for a figure, or for its ratio to the figure of another server."""

    text: str
    figure: str
    bound: float
    of: str = "rwsgi"
    against: tuple[str, ...] = ()
    """Compared with the best measured of these servers; empty for a bound on the figure itself."""
    at_least: bool = False


@dataclass(frozen=True)
class Row:
    """One kind of work, the servers that do it, and the goals."""

    name: str
    what: str
    measure: Callable[[Subject], Figures]
    shown: tuple[str, ...]
    servers: tuple[str, ...]
    goals: tuple[Goal, ...]
    application: str = "plain:hello"
    load: Load = field(default_factory=Load)
    shapes: tuple[Shape, ...] = (Shape(1, 1),)
    expected: bytes | None = b"Hello, world!\n"
    """The expected body; None for that of the first answer."""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of servers for this row only."""
    pinned: bool = True
    """Whether server and client have a core each."""
    warm: bool = True
    """Whether there is a second of load before the measurement."""
    stretch: int = 1
    """The factor by which a round is longer than usual."""

    def label(self, server: str, shape: Shape) -> str:
        """The name of an arm."""
        return server if len(self.shapes) == 1 else f"{server} {shape}"


@dataclass
class Arm:
    """The results of a server in a row, by the number of the round."""

    rounds: dict[int, Figures] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def values(self, figure: str) -> list[float]:
        return [figures[figure] for figures in self.rounds.values()]


@dataclass
class Found:
    """The results of a row."""

    arms: dict[str, Arm] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def ratios(self, goal: Goal) -> tuple[list[float], str | None]:
        """The value of the goal in each round, and the server it is compared with."""
        own = self.arms.get(goal.of, Arm())
        if not goal.against:
            return own.values(goal.figure), None
        rivals = {
            name: self.arms[name] for name in goal.against if name in self.arms and self.arms[name].rounds
        }
        if not rivals or not own.rounds:
            return [], None
        choose = max if goal.at_least else min
        best = choose(rivals, key=lambda name: statistics.median(rivals[name].values(goal.figure)))
        return ratios(own, rivals[best], goal.figure), best


def ratios(one: Arm, other: Arm, figure: str) -> list[float]:
    """Computed within each round, because other load on the machine then affects both."""
    both = [number for number in one.rounds if number in other.rounds]
    pairs = ((one.rounds[number][figure], other.rounds[number][figure]) for number in both)
    return [mine / theirs for mine, theirs in pairs if theirs]


def reached(goal: Goal, found: Sequence[float]) -> bool | None:
    """Whether the median satisfies the bound; None when it was not measured."""
    if not found:
        return None
    median = statistics.median(found)
    return median >= goal.bound if goal.at_least else median <= goal.bound
