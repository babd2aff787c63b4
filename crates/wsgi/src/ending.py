"""The end of a process: which exit functions run where, what is waited for, and which files are written out.

Runs as the module ``_rwsgi_ending``; Rust calls the functions without an underscore.
"""

from __future__ import annotations

import _io
import atexit
import contextlib
import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

_EACH = frozenset(
    {
        # They write out what the process itself holds.
        *("logging", "loguru"),
        # What the former process has registered with them is taken away one by one: see `forked`.
        *("multiprocessing", "weakref"),
        # They send what the process itself has gathered: errors, traces, measurements, events.
        *("appsignal", "bugsnag", "coverage", "datadog", "ddtrace", "elasticapm", "langfuse", "logfire"),
        *("newrelic", "opentelemetry", "posthog", "rollbar", "scout_apm", "segment", "sentry_sdk"),
    }
)
"""Packages whose exit functions run in each child, although the mold has registered them."""

_MEMORY = (_io.FileIO, _io.BytesIO, _io.StringIO)
"""Files that hold nothing back, or are none."""

_frozen: list[tuple[int, weakref.ref[Any]]] = []
"""Files that the collector no longer lists, and the process that has opened them."""


def forked() -> None:
    """Leave to the process that this one was forked from what that one has registered for its end."""
    atexit.unregister(_OfTheFormer())
    # A `TemporaryDirectory`, for one.
    for info in list(weakref.finalize._registry.values()):  # type: ignore[attr-defined]
        info.atexit = False
    for module, name in (
        ("multiprocessing.util", "_finalizer_registry"),
        # Or this process would end the helpers of the former one.
        ("multiprocessing.process", "_children"),
        # Threads that this process does not have, and a pipe that it shares.
        ("concurrent.futures.thread", "_threads_queues"),
        ("concurrent.futures.process", "_threads_wakeups"),
    ):
        with contextlib.suppress(AttributeError):
            getattr(sys.modules.get(module), name).clear()


class _OfTheFormer:
    """Equals each exit function that is to be taken away."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, function: object) -> bool:
        return not any(package in _EACH for package in _packages(function))


def _packages(function: Any) -> Iterator[str]:
    """The packages that a function is of, or the object of which it is a method."""
    while hasattr(function, "func"):  # a `functools.partial`
        function = function.func
    owner = getattr(function, "__self__", None)
    classes = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
    for thing in (function, *classes):
        module = getattr(thing, "__module__", None)
        if isinstance(module, str):
            yield module.partition(".")[0]


def keep_files() -> None:
    """Remember the open files, since the collector will not list them, and write them out."""
    pid = os.getpid()
    _frozen.extend((pid, weakref.ref(file)) for file in _listed())
    flush_kept()


def flush_kept() -> None:
    """Leave nothing in the files that have been kept: what a fork copies would be written twice."""
    for _, reference in _frozen:
        file = reference()
        if file is not None:
            _write_out(file, close=False)


def unfinished() -> list[str]:
    """Names of the threads that `leave` waits for, but for those of pools, which end without work."""
    pools = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", ())
    threads = [thread for thread in threading.enumerate() if not thread.daemon and thread not in pools]
    # One that has not been started by Python is not waited for.
    dummy: type = threading._DummyThread  # type: ignore[attr-defined]
    main = threading.main_thread()
    return [each.name for each in threads if each is not main and not isinstance(each, dummy)]


def leave(waits: bool) -> None:
    """Do what the interpreter's end would do for the application, but for tearing down what there is."""
    try:
        if waits:
            # Threads that are no daemons, and what has been given to pools of threads and processes.
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        _write_all_out()


def _write_all_out() -> None:
    pid = os.getpid()
    files = [(owner == pid, file) for owner, reference in _frozen if (file := reference()) is not None]
    files += [(True, file) for file in _listed()]
    files.sort(key=lambda each: _depth(each[1]))
    for own, file in files:
        _write_out(file, close=own)
    for stream in (sys.stdout, sys.stderr):
        # There may be none, it may be closed, or nobody reads it.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _listed() -> list[Any]:
    """The files that can be written, among what the collector looks at."""
    # Of the class alone: an object may answer by itself which class it is of, and do its work for that.
    known: dict[type, bool] = {}
    found = []
    for thing in gc.get_objects():
        kind = type(thing)
        is_file = known.get(kind)
        if is_file is None:
            is_file = known[kind] = issubclass(kind, _io._IOBase) and kind not in _MEMORY
        if is_file:
            found.append(thing)
    return found


def _depth(file: Any) -> int:
    """Text goes into what is compressed, that into what is buffered: each before what lies below."""
    kind = type(file)
    return 0 if issubclass(kind, _io.TextIOWrapper) else 1 if kind.__module__ != "_io" else 2


def _write_out(file: Any, close: bool) -> None:
    # What cannot be written is lost at the end of any process; a class of the application may raise anything.
    with contextlib.suppress(Exception):
        if file.closed or not file.writable():
            return
        if close and not _is_standard(file):
            file.close()
        else:
            file.flush()


def _is_standard(file: Any) -> bool:
    """Whether it is over standard input, output or error, which the server still writes to."""
    try:
        return file.fileno() <= 2
    except Exception:  # it has none, or is of the application's own class
        return False


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)
