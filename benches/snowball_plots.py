"""The spikes over time: python -m benches.snowball_plots JSON FOLDER, in the environment of the peers."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

Course = tuple[list[float], list[float]]


def main() -> None:
    file, folder = (Path(argument) for argument in sys.argv[1:])
    found = json.loads(file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    # Text stays text, and equal figures give equal files.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "snowball"})
    for what, course, heading in (
        ("children", children, "children"),
        ("waiting", waiting, "median time to the answer, s"),
    ):
        plot(found, course, heading, folder / f"snowball-{what}.svg")


def plot(
    found: Mapping[str, Any], course: Callable[[Mapping[str, Any]], Course], heading: str, file: Path
) -> None:
    """The first round of each arm, by seconds since the beginning of the spike."""
    figure, axis = pyplot.subplots(figsize=(8, 4))
    for name, runs in found["arms"].items():
        moments, values = course(runs[0])
        axis.plot([moment - found["calm"] for moment in moments], values, label=name)
    axis.axvline(0, color="grey", linestyle=":")
    axis.set_xlabel("s from the beginning of the spike")
    axis.set_ylabel(heading)
    if course is waiting:
        axis.set_yscale("log")
    axis.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def children(run: Mapping[str, Any]) -> Course:
    return [look["moment"] for look in run["looks"]], [look["children"] for look in run["looks"]]


def waiting(run: Mapping[str, Any]) -> Course:
    """For the requests of each second."""
    seconds: dict[int, list[float]] = {}
    for one in run["outcomes"]:
        seconds.setdefault(int(one["moment"]), []).append(one["took"])
    return [second + 0.5 for second in seconds], [statistics.median(took) for took in seconds.values()]


if __name__ == "__main__":
    main()
