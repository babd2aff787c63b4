"""Serves applications from PyPI, each in its own environment, and measures the effect of preloading.

python -m tests.applications [--rwsgi PROGRAM] [--environments FOLDER] [NAME ...]

Each is requested while its processes are replaced many times, and must answer correctly, without a warning or
with the expected one. Then its memory is printed with one process that loads the application itself, and with
one that is forked from a mold.

The first run of each installs it, which takes minutes. The program must be linked with a Python of the same
minor version as the one that runs this.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import processes
from tests.applications.sites import SITES, Place, Site
from tests.client import Client
from tests.server import ROOT, Door, Server

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rwsgi" / "applications"
CHILDREN = 3
REQUESTS = 240
# Low, so that each child is replaced several times.
RECYCLED_AFTER = 15
CLIENTS = 6
MIB = 1024


def main() -> None:
    options = parse()
    failed = [name for name in options.names if not try_out(name, SITES[name], options)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.applications",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program = os.environ.get("RWSGI_BINARY") or ROOT / "target" / "release" / "rwsgi"
    parser.add_argument("--rwsgi", type=Path, default=Path(program), metavar="PROGRAM")
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="FOLDER")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(SITES)}; all when none is named"
    )
    options = parser.parse_args()
    options.names = options.names or list(SITES)
    unknown = set(options.names) - set(SITES)
    if unknown:
        parser.error(f"unknown application {', '.join(sorted(unknown))}: one of {', '.join(SITES)}")
    return options


def try_out(name: str, site: Site, options: argparse.Namespace) -> bool:
    """Returns whether it works as expected, and prints what does not."""
    environment = install(options.environments / name, site)
    with tempfile.TemporaryDirectory(prefix=f"rwsgi-{name}-") as folder:
        place = Place(environment, Path(folder))
        site.prepare(place)
        door = Door("binary", options.rwsgi.absolute())
        faults = recycled(site, door, place)
        for fault in faults:
            print(f"{name}: {fault}")
        memory = {preload: alone(site, door, place, preload) for preload in ("auto", "on")}
    print(
        f"{name}: {'wrong' if faults else 'right'}; MiB with one process, proportional/resident: "
        f"{memory['auto']} loading for itself, {memory['on']} forked from a mold",
        flush=True,
    )
    return not faults


def install(environment: Path, site: Site) -> Path:
    if not (environment / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", *site.requirements], check=True)
    return environment


def begin(site: Site, door: Door, place: Place, *arguments: str, children: int) -> Server:
    variables = {"VIRTUAL_ENV": str(place.environment), **site.variables}
    arguments = ("--bind", "127.0.0.1:0", *site.options, *arguments, site.app)
    server = Server(door, place.folder, arguments, variables)
    try:
        server.wait_for(r" ready$", patience=site.seconds)
        server.wait_until_ready(children)
    except BaseException:
        server.destroy()
        raise
    return server


def recycled(site: Site, door: Door, place: Place) -> list[str]:
    """Send requests while processes are replaced. Returns the errors."""
    children = 1 if site.is_alone else CHILDREN
    recycling = ("--processes", str(children), "--max-requests-per-child", str(RECYCLED_AFTER))
    server = begin(site, door, place, *recycling, children=children)
    wanted = 0 if site.is_alone else 2 * CHILDREN
    deadline = time.monotonic() + site.seconds
    faults = []
    while True:
        faults += [f"answered {answer}" for answer in ask(site, server) if answer]
        replaced = sum(line.endswith(" retires") for line in server.log.lines)
        if faults or replaced >= wanted:
            break
        if time.monotonic() > deadline:
            faults.append(f"{replaced} processes were replaced, and not {wanted}")
    server.stop()
    warned = [line for line in server.log.lines if "cannot be shared" in line]
    if site.warning and (len(warned) != 1 or not re.search(site.warning, warned[0])):
        faults.append(f"instead of one warning with {site.warning!r}: {warned}")
    others = [
        line for line in server.log.lines if re.search(" (WARN|ERROR) ", line) and "as root" not in line
    ]
    if not site.warning and others:
        faults.append(f"warned: {others}")
    return faults


def alone(site: Site, door: Door, place: Place, preload: str) -> str:
    """The memory of all processes, with one child."""
    server = begin(site, door, place, "--preload", preload, children=1)
    ask(site, server)
    sums = [0, 0]
    for process in processes.of_session(server.pid):
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        for index, what in enumerate(("Pss", "Rss")):
            found = re.search(rf"^{what}: +(\d+) kB", text, re.MULTILINE)
            sums[index] += int(found[1]) if found else 0
    server.stop()
    return "/".join(str(round(each / MIB)) for each in sums)


def ask(site: Site, server: Server) -> list[str]:
    """The errors in the answers."""

    def one(number: int) -> str:
        path = site.paths[number % len(site.paths)]
        with Client(server.address) as client:
            status = client.get(path, {"Host": "localhost"}).status
        return "" if status == 200 else f"{path} with {status}"

    with ThreadPoolExecutor(CLIENTS) as clients:
        return sorted(set(clients.map(one, range(REQUESTS))))


if __name__ == "__main__":
    main()
