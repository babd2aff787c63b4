"""Load by wrk, and its results."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benches.measuring import Failed

SCRIPT = Path(__file__).parent / "wrk.lua"

# Fourteen fields, with the Host that the client adds.
BROWSER = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "Sec-CH-UA": '"Chromium";v="128", "Not;A=Brand";v="24"',
    "Sec-CH-UA-Mobile": "?0",
    "Sec-CH-UA-Platform": '"Linux"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/128.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cookie": "sessionid=4w1k5q9c0m8z7v2b6n3x; csrftoken=Zk3QmU8r1TnB5yHs0WcVdGpJxLfEaO7i",
}


@dataclass(frozen=True)
class Load:
    """The requests of the clients, and their number."""

    connections: int = 32
    target: str = "/"
    fields: Mapping[str, str] = field(default_factory=dict)
    post: int = 0
    """Bytes of the body."""
    pause: int = 0
    """Milliseconds between an answer and the next request of a client."""
    waits: bool = False
    """Whether the answers report their wait."""


@dataclass(frozen=True)
class Counted:
    """The results of the clients; durations of requests are in milliseconds."""

    requests: int
    seconds: float
    refused: int
    """Answers other than 2xx and 3xx."""
    broken: int
    """Connections that were closed or timed out."""
    half: float
    most: float
    longest: float
    waited: float
    """Microseconds waited, of all requests together."""


def need() -> None:
    """Exit when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt install wrk")


def put(url: str, load: Load, seconds: int, cores: str | None = None) -> Counted:
    """Put a server under load; errors are counted."""
    command = ["taskset", "--cpu-list", cores] if cores else []
    command += ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
    command += [part for name, value in load.fields.items() for part in ("-H", f"{name}: {value}")]
    asked = {"pause": load.pause, "post": load.post, "waits": int(load.waits)}
    command += [url.rstrip("/") + load.target, "--"]
    command += [f"{name}={value}" for name, value in asked.items() if value]
    done = subprocess.run(command, capture_output=True, text=True)
    line = re.search(r"^counted (.*)$", done.stdout, re.MULTILINE)
    if line is None:
        raise Failed(f"wrk did not count: {done.stdout}{done.stderr}")
    requests, duration, refused, broken, *times, waited = (int(number) for number in line[1].split())
    half, most, longest = (time / 1000 for time in times)
    return Counted(requests, duration / 1e6, refused, broken, half, most, longest, waited)


def load(url: str, load: Load, seconds: int, cores: str | None = None) -> Counted:
    """Put a server under load; errors are fatal."""
    counted = put(url, load, seconds, cores)
    if counted.refused or counted.broken or not counted.requests:
        raise Failed(
            f"{counted.requests} requests: {counted.refused} refused, {counted.broken} connections broke"
        )
    return counted
