"""One picture for each row: python -m benches.peers.plots JSON FOLDER, in the environment of the peers."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot


def main() -> None:
    file, folder = (Path(argument) for argument in sys.argv[1:])
    found = json.loads(file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for name, row in found["rows"].items():
        plot(name, row, found["figures"], folder / f"{name}.svg")


def plot(name: str, row: dict[str, Any], headings: dict[str, str], file: Path) -> None:
    """Bar charts of the row's figures, side by side: medians, with lines from minimum to maximum."""
    arms = {label: arm["rounds"].values() for label, arm in row["arms"].items() if arm["rounds"]}
    shown = row["shown"]
    figure, axes = pyplot.subplots(
        1, len(shown), figsize=(2.5 + 3.2 * len(shown), 1.5 + 0.3 * len(arms)), sharey=True, squeeze=False
    )
    for axis, what in zip(axes[0], shown, strict=True):
        values = [[turn[what] for turn in turns] for turns in arms.values()]
        medians = [statistics.median(each) for each in values]
        below = [median - min(each) for median, each in zip(medians, values, strict=True)]
        above = [max(each) - median for median, each in zip(medians, values, strict=True)]
        colours = ["tab:red" if label.startswith("rwsgi") else "tab:blue" for label in arms]
        axis.barh(list(arms), medians, xerr=[below, above], color=colours, height=0.7)
        axis.set_xlabel(headings[what])
        # With much larger values among them, the small ones would be invisible on a linear scale.
        if medians and min(medians) > 0 and max(medians) > 20 * min(medians):
            axis.set_xscale("log")
    axes[0][0].invert_yaxis()
    figure.suptitle(f"{name}: {row['what']}")
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
