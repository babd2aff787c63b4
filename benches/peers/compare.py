"""Compares two commits, to find regressions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benches.measuring import ROOT, table
from benches.peers import report, rounds
from benches.peers.model import Row
from benches.peers.servers import rwsgi

PLACE = ROOT / "target/compare"


def compare(commits: Sequence[str], rows: Sequence[Row], number: int, seconds: int) -> str:
    """Build both, run them in turns, and return the ratios of the second to the first."""
    names = [git("rev-parse", "--short", f"{commit}^{{commit}}").strip() for commit in commits]
    if len(set(names)) == 1:
        raise SystemExit(f"{commits[0]} and {commits[1]} are the same commit")
    peers = {name: rwsgi(str(built(name))) for name in names}
    lines: list[list[object]] = []
    with rounds.site() as folder:
        settings = rounds.Settings(number, seconds, peers, folder)
        for row in rows:
            options = {name: row.options.get("rwsgi", "") for name in names}
            pair = replace(row, servers=tuple(names), options=options, goals=())
            lines += report.comparison(pair, rounds.measure(pair, settings))
    return table(["row", "figure", *names, f"{names[1]} x {names[0]}"], lines)


def built(commit: str) -> Path:
    """Check out the server at that commit. Both builds share the dependencies."""
    binary = PLACE / commit / "rwsgi"
    if binary.exists():
        return binary
    tree = PLACE / commit / "tree"
    git("worktree", "add", "--detach", "--force", str(tree), commit)
    try:
        target = PLACE / "target"
        environment = os.environ | {"CARGO_TARGET_DIR": str(target), "PYO3_PYTHON": sys.executable}
        command = ["cargo", "build", "--release", "--package", "rwsgi"]
        subprocess.run(command, cwd=tree, env=environment, check=True)
        shutil.copy2(target / "release/rwsgi", binary)
    finally:
        git("worktree", "remove", "--force", str(tree))
    return binary


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout
