"""Creates the environment for the other servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.server import DEMO

from benches.measuring import ROOT
from benches.peers.servers import BARE, ENVIRONMENT, PEERS, Shape

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
DEBIAN = ("wrk", "apache2", "apache2-dev", "libev-dev")


def build() -> None:
    """Install what is possible, and report what is not, with the reason."""
    debian()
    if not (ENVIRONMENT / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    failed = {}
    for requirement in requirements():
        print(f"installing {' '.join(requirement)}", flush=True)
        if reason := install(requirement):
            failed[requirement[-1]] = reason
    cargo()
    print("\nready: " + ", ".join(name for name, peer in PEERS.items() if not peer.refuses(Shape(1, 1))))
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}")


def debian() -> None:
    """Packages that PyPI does not have: installed when run as root, otherwise listed."""
    missing = [package for package in DEBIAN if not installed(package)]
    if not missing:
        return
    command = ["apt-get", "install", "--yes", *missing]
    if os.geteuid() != 0:
        print(f"missing: {' '.join(missing)}; as root: {' '.join(command)}")
    elif subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}).returncode != 0:
        print(f"not installed: {' '.join(missing)}")


def installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${Status}", package]
    if shutil.which(query[0]) is None:
        return False
    return subprocess.run(query, capture_output=True, text=True).stdout.endswith(" installed")


def requirements() -> list[list[str]]:
    """The arguments of pip, one call after the other."""
    lines = (re.sub(r"\s*#.*", "", line) for line in REQUIREMENTS.read_text().splitlines())
    return [["--requirement", str(DEMO / "requirements.txt")], *([line] for line in lines if line)]


def install(requirement: list[str]) -> str | None:
    """Returns the error if the installation fails."""
    pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, *requirement], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if re.search("error", line, re.IGNORECASE)]
    return "\n    ".join(errors[:5]) or done.stderr


def cargo() -> None:
    """The reference server without Python."""
    command = ["cargo", "build", "--release", "--package", "rwsgi-front", "--example", "bare"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        print(f"left out: {BARE.name}: cargo has failed")
