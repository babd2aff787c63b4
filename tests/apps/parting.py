"""An application with work of every kind at its exit."""

from __future__ import annotations

import atexit
import gzip
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from probe import application as others  # type: ignore[import-not-found]
from probe import log_line

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Cache:
    """An object with a finalizer."""


LOADED_IN = os.getpid()
FOLDER = tempfile.TemporaryDirectory(prefix="parting-")
CACHE = Cache()
KEPT: list[object] = []
FINALIZER = weakref.finalize(CACHE, lambda: log_line(f"finalized in {os.getpid()}"))
POOL = ThreadPoolExecutor(1)
OPENED_AT_LOAD: IO[str] = open("at-load.txt", "a")  # noqa: SIM115
OPENED_AT_LOAD.write(f"loaded in {LOADED_IN}\n")

atexit.register(lambda: log_line(f"registered in {LOADED_IN}, called in {os.getpid()}"))
log_line(f"folder {FOLDER.name}")


def register() -> None:
    """Exit functions that this process registers."""
    pid = os.getpid()
    atexit.register(lambda: log_line(f"registered in {pid}, called in {os.getpid()}"))
    own = tempfile.TemporaryDirectory(prefix="parting-")
    KEPT.append(own)
    log_line(f"own folder {own.name}")


def write() -> None:
    """Files that are not flushed: opened at load, opened here, and compressed."""
    OPENED_AT_LOAD.write(f"served in {os.getpid()}\n")
    text = open("here.txt", "a")  # noqa: SIM115
    text.write(f"served in {os.getpid()}\n")
    packed = gzip.open("here.gz", "at")  # noqa: SIM115
    packed.write(f"served in {os.getpid()}\n")
    KEPT.extend((text, packed))


def work() -> None:
    """Work that takes time and must be completed."""
    gate = "gate"
    pid = os.getpid()

    def finish(what: str) -> None:
        while not os.path.exists(gate):
            time.sleep(0.005)
        log_line(f"{what} has done its work in {pid}")

    POOL.submit(finish, "a pool")
    threading.Thread(target=finish, args=("a thread",), name="worker").start()


ACTS: dict[str, Callable[[], object]] = {
    "/there": lambda: None,
    "/register": register,
    "/write": write,
    "/work": work,
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Paths that it does not know are those of the probe."""
    act = ACTS.get(environ["PATH_INFO"])
    if act is None:
        return others(environ, start_response)  # type: ignore[no-any-return]
    act()
    there = os.path.isdir(FOLDER.name)
    start_response("200 OK" if there else "500 The folder is gone", [("Content-Type", "text/plain")])
    return [b"%d\n" % os.getpid()]
