"""What preloading saves: private and proportional memory of the demo site's processes, before and after load.

    python -m benches.memory [--server 'PROGRAM and options']

Runs in the environment in which the demo's requirements are installed.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.browser import Browser, Page
from tests.server import DEMO

from benches.measuring import RWSGI, Memory, Server, Spread, running, table

ROLES = ("supervisor", "front", "mold", "child")
WARM_UP = ("/", "/books/", "/books/1/", "/upload/", "/session/", "/accounts/login/", "/admin/login/")
ARMS = {
    "off": "--preload off",
    "on": "--preload on",
    "on, warmed up": "--preload on " + " ".join(f"--warmup {url}" for url in WARM_UP),
}
# A visitor's round. Without a login, the admin redirects to its login page.
ROUND = (
    *(
        "/",
        "/books/",
        "/books/1/",
        "/session/",
        "/admin/",
        "/books/?page=2",
        "/books/7/",
        "/admin/library/book/",
    ),
    *("/upload/", "/session/", "/books/?q=sea", "/books/12/", "/admin/library/book/1/change/", "/healthz"),
    *("/books/?genre=essay", "/books/3/", "/admin/library/author/", "/static/admin/css/base.css"),
)
SIGN_IN_EVERY = 250
VISITORS = 10


@dataclass(frozen=True)
class Arm:
    """The memory of a server before and after load."""

    fresh: list[Memory]
    loaded: list[Memory]
    by_child: list[int]
    """How many of the start page's requests each child answered."""


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        environment = {"DEMO_VAR": folder, "VIRTUAL_ENV": sys.prefix}
        fill = [sys.executable, str(DEMO / "manage.py"), "fill"]
        subprocess.run(fill, check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)
        arms = {name: measure(name, arm, options, environment, Path(folder)) for name, arm in ARMS.items()}
    report(arms)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default=RWSGI, metavar="PROGRAM")
    parser.add_argument("--children", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000, help="of all visitors together")
    return parser.parse_args()


def measure(
    name: str, arm: str, options: argparse.Namespace, environment: Mapping[str, str], folder: Path
) -> Arm:
    """One server, from start to end."""
    command = f"{options.server} --processes {options.children} {arm} --bind 127.0.0.1:{{port}} mysite.wsgi"
    with running([Server(name, command, DEMO, folder / "log", environment)]) as (server,):
        server.wait_for_children(options.children)
        fresh = server.memory()
        with ThreadPoolExecutor(VISITORS) as visitors:
            each = options.requests // VISITORS
            seen = sum(visitors.map(lambda _: visit(server.url, each), range(VISITORS)), Counter[str]())
        print(f"{name}: {dict(seen)}", file=sys.stderr)
        return Arm(fresh, server.memory(), sorted(seen.values()))


def visit(url: str, requests: int) -> Counter[str]:
    """One visitor, who sometimes starts a new session. Counts which processes answered the start page."""
    seen: Counter[str] = Counter()
    done = 0
    while done < requests:
        browser = Browser(url)
        sign_in(browser)
        done += 2
        for number in range(min(SIGN_IN_EVERY, requests - done)):
            path = ROUND[number % len(ROUND)]
            page = expect(browser.get(path))
            done += 1
            if path == "/":
                made_by = re.search(r"<dt>process</dt><dd>(\d+)</dd>", page.text)
                seen[made_by[1] if made_by else "?"] += 1
            elif path == "/upload/":
                expect(upload(browser, page))
                done += 1
    return seen


def sign_in(browser: Browser) -> None:
    token = browser.get("/admin/login/").token()
    form = {"username": "admin", "password": "admin", "next": "/admin/", "csrfmiddlewaretoken": token}
    expect(browser.post("/admin/login/?next=/admin/", form))


def upload(browser: Browser, page: Page) -> Page:
    """A file of 64 KiB."""
    fields = {'name="csrfmiddlewaretoken"': page.token(), 'name="file"; filename="file.bin"': "x" * 65536}
    parts = "".join(
        f"--boundary\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n"
        for name, value in fields.items()
    )
    body = f"{parts}--boundary--\r\n".encode()
    return browser.post_bytes("/upload/", body, "multipart/form-data; boundary=boundary")


def expect(page: Page) -> Page:
    if page.status != 200:
        sys.exit(f"{page.url} answered {page.status}")
    return page


def report(arms: Mapping[str, Arm]) -> None:
    for title, moment in (("after the start", "fresh"), ("after the load", "loaded")):
        head = ["MiB, " + title]
        head += [f"{what}, preload {name}" for name in arms for what in ("private", "proportional")]
        rows = [
            [role]
            + [
                Spread([getattr(one, what) for one in getattr(arm, moment) if one.role == role], places=1)
                for arm in arms.values()
                for what in ("private", "proportional")
            ]
            for role in ROLES
        ]
        sums: list[object] = ["all together"]
        for arm in arms.values():
            sums += ["", f"{sum(one.proportional for one in getattr(arm, moment)):.1f}"]
        print(f"{table(head, [*rows, sums])}\n")
    without = private_of_a_child(arms["off"])
    for name, arm in arms.items():
        share = private_of_a_child(arm) / without
        print(f"private memory of a child after the load, preload {name}: {share:.0%} of that without")
    for name, arm in arms.items():
        print(f"of {sum(arm.by_child)} start pages, preload {name}, the children made {arm.by_child}")


def private_of_a_child(arm: Arm) -> float:
    return statistics.median(one.private for one in arm.loaded if one.role == "child")


if __name__ == "__main__":
    main()
