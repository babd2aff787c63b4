"""The demo site's page of 15 queries, `/books/`, with the thread's wait for the GIL in X-Waited.

The variable PAGE selects: `queries` is the unchanged page; in `slow` each query takes 20 ms more, as over a
network; in `plain` the results are computed before, and there are no queries.

A thread that answers a request runs, waits for a CPU, waits for a query, or waits for the GIL. The first
three are measured, so the rest is the last one, with SQLite's own short waits.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[3] / "python/examples/demo"))

# Imported first, because it sets up Django.
from mysite.wsgi import application as site

# isort: split
from django.db.backends.signals import connection_created

from library import catalogue

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SLOW = 0.02
RESULTS = (
    *("totals", "page_of_books", "genres", "best_books", "busiest_authors", "publishers", "decades"),
    "latest_reviews",
)


class Clock(local):
    """Seconds for which the thread has waited for queries."""

    asleep = 0.0


clock = Clock()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    before = accounted()
    began = time.perf_counter()
    started: list[Any] = []
    answer = site(environ, lambda *what: started.extend(what))  # type: ignore[arg-type]
    waited = time.perf_counter() - began - (accounted() - before)
    status, fields = started[:2]
    start_response(status, [*fields, ("X-Waited", str(max(0, round(waited * 1e6))))])
    return answer


def accounted() -> float:
    """Seconds for which the thread ran, waited for a CPU, or slept in queries."""
    with open("/proc/thread-self/schedstat") as file:
        running, waiting, _ = file.read().split()
    return (int(running) + int(waiting)) / 1e9 + clock.asleep


def wait(execute: Callable[..., Any], *arguments: Any) -> Any:
    began = time.perf_counter()
    used = time.thread_time()
    time.sleep(SLOW)
    # Time beyond the 20 ms is the wait for the GIL.
    clock.asleep += min(time.perf_counter() - began - (time.thread_time() - used), SLOW)
    return execute(*arguments)


def slow(connection: Any, **_: Any) -> None:
    connection.execute_wrappers.append(wait)


choice = os.environ.get("PAGE", "queries")
if choice == "slow":
    connection_created.connect(slow)
if choice == "plain":
    for name in RESULTS:
        setattr(catalogue, name, functools.cache(getattr(catalogue, name)))
