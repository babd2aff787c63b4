"""The results as tables and as data."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benches.measuring import ROOT, Spread, table
from benches.peers.build import requirements
from benches.peers.model import FIGURES, Arm, Found, Goal, Row, ratios, reached
from benches.peers.servers import ENVIRONMENT

WORDS = {True: "yes", False: "no", None: "not measured"}


def markdown(row: Row, found: Found) -> str:
    """The figures of a row, its goals, and the servers that could not take part."""
    head = ["server", *(FIGURES[name].heading for name in row.shown)]
    rows = [[label, *figures(row, arm)] for label, arm in found.arms.items()]
    parts = [f"### {row.name}: {row.what}", table(head, rows)]
    if row.goals:
        parts.append(table(["goal", "found", "reached"], [verdict(goal, found) for goal in row.goals]))
    missing = [f"{label} {reason}" for label, reason in found.left_out.items()]
    missing += [
        f"{label} failed: {arm.failures[0].splitlines()[0]}"
        for label, arm in found.arms.items()
        if arm.failures
    ]
    if missing:
        parts.append("Not or not always there: " + "; ".join(missing) + ".")
    return "\n\n".join(parts) + "\n"


def figures(row: Row, arm: Arm) -> list[Spread]:
    return [Spread(arm.values(name), FIGURES[name].places) for name in row.shown]


def verdict(goal: Goal, found: Found) -> list[str]:
    values, best = found.ratios(goal)
    against = f" x {best}" if best else ""
    return [goal.text, f"{Spread(values)}{against if values else ''}", WORDS[reached(goal, values)]]


def overview(rows: Mapping[str, Row], found: Mapping[str, Found]) -> str:
    """All goals in one table."""
    lines = [[row.name, *verdict(goal, found[name])] for name, row in rows.items() for goal in row.goals]
    return table(["row", "goal", "found", "reached"], lines)


def comparison(row: Row, found: Found) -> list[list[object]]:
    """The ratios of the second of two servers to the first."""
    lines: list[list[object]] = []
    for shape in row.shapes:
        former, later = (found.arms.get(row.label(name, shape), Arm()) for name in row.servers)
        where = row.name if len(row.shapes) == 1 else f"{row.name} {shape}"
        lines += [
            [
                where,
                FIGURES[name].heading,
                Spread(former.values(name), FIGURES[name].places),
                Spread(later.values(name), FIGURES[name].places),
                Spread(ratios(later, former, name)),
            ]
            for name in row.shown
        ]
    return lines


def data(
    rows: Mapping[str, Row], found: Mapping[str, Found], settings: Mapping[str, object]
) -> dict[str, Any]:
    """All rounds, for further analysis."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "settings": dict(settings),
        "figures": {name: figure.heading for name, figure in FIGURES.items()},
        "rows": {
            name: {
                "what": rows[name].what,
                "shown": rows[name].shown,
                "left out": one.left_out,
                "arms": {
                    label: {"rounds": arm.rounds, "failures": arm.failures} for label, arm in one.arms.items()
                },
                "goals": [goal_data(goal, one) for goal in rows[name].goals],
            }
            for name, one in found.items()
        },
    }


def goal_data(goal: Goal, found: Found) -> dict[str, object]:
    values, best = found.ratios(goal)
    return {
        "goal": goal.text,
        "figure": goal.figure,
        "against": best,
        "bound": goal.bound,
        "found": values,
        "median": statistics.median(values) if values else None,
        "reached": reached(goal, values),
    }


def machine() -> dict[str, object]:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def versions() -> dict[str, str]:
    """The installed versions of the servers, and the commit."""
    pip = [
        str(ENVIRONMENT / "bin/python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "list",
        "--format=freeze",
    ]
    there = dict(line.split("==") for line in output_of(pip).splitlines())
    asked = {re.split(r"[=\[]", words[-1])[0] for words in requirements()}
    commit = output_of(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]).strip()
    return {"rwsgi": commit} | {name: there[name] for name in sorted(asked & set(there))}


def output_of(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
