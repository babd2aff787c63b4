"""An application with handlers for signals that the server does not use."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from probe import application as others  # type: ignore[import-not-found]
from probe import log_line

if TYPE_CHECKING:
    from types import FrameType

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

OWN = ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGURG", "SIGUSR1", "SIGCHLD", "SIGWINCH", "SIGRTMIN")


class LateError(Exception):
    """A request has exceeded its time limit."""


def on_signal(number: int, _frame: FrameType | None) -> None:
    # Not by the stream, which the interrupted code may be writing to.
    os.write(
        2, f"{signal.Signals(number).name} in {os.getpid()}, {threading.current_thread().name}\n".encode()
    )


def late(_number: int, _frame: FrameType | None) -> None:
    raise LateError


def stay() -> None:
    signal.pause()


for _name in OWN:
    signal.signal(getattr(signal, _name), on_signal)

METHODS = multiprocessing.get_context("fork")
HELPER = METHODS.Process(target=stay, daemon=True)
HELPER.start()
log_line(f"helper {HELPER.pid}")


def limited() -> object:
    """A time limit by SIGALRM, as Superset has it for queries."""
    former = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        time.sleep(20)
    except LateError:
        return "late"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    return "slept"


def refused() -> object:
    """CPython's message where a handler cannot be set."""
    found = []
    for number in (signal.SIGALRM, signal.SIGTERM):
        try:
            signal.signal(number, on_signal)
            found.append("set")
        except ValueError as error:
            found.append(str(error))
    return found


def run() -> object:
    async def nap() -> str:
        await asyncio.sleep(0)
        return "napped"

    return asyncio.run(nap())


def terminate() -> object:
    """Ends child processes, and reports how they ended."""
    process = METHODS.Process(target=stay)
    process.start()
    process.terminate()
    process.join(20)
    with METHODS.Pool(1) as pool:
        pool.apply(abs, (1,))
    pool.join()
    return process.exitcode


def raises() -> object:
    signal.signal(signal.SIGUSR1, late)
    return os.getpid()


def helper() -> object:
    """The state of the process that was started at load."""
    with open(f"/proc/{HELPER.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


ACTS: dict[str, Callable[[], object]] = {
    "/limited": limited,
    "/refused": refused,
    "/run": run,
    "/terminate": terminate,
    "/raises": raises,
    "/helper": helper,
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    act = ACTS.get(environ["PATH_INFO"])
    if act is None:
        return others(environ, start_response)  # type: ignore[no-any-return]
    result = act()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(result).encode()]
