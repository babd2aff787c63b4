"""Threads that libraries have begun, and what comes of a library that lacks them after a fork.

Runs as the module ``_rwsgi_native``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator

# Native threads by the library that began them: what came of it when a process that had used it forked, and
# the child used it again. Each was tried with the package from PyPI; docs/fork-safety.md has the versions.
_HARMLESS_LIBRARIES = (
    "openblas",
    "libarrow",
    "_duckdb",
    "libduckdb",
    "_polars_runtime",
    "cv2.",
    "tokenizers.",
)
_FATAL_LIBRARIES = ("cygrpc", "libgrpc", "libgomp", "librdkafka")
_HARMLESS_NAMES = ("jemalloc_bg_thd",)
_FATAL_NAMES = re.compile(r"polars-\d|tokio|grpc_|event_engine|rdk:")
# So long all threads that run just now are looked at again: one that sleeps tells more.
_PATIENCE_SECONDS = 0.3
_PAUSE_SECONDS = 0.01
# What only carries other libraries' threads.
_CARRIERS = re.compile(
    r"(libc|libpthread|libstdc\+\+|libgcc_s|ld-linux[^/]*|ld-musl[^/]*|libc\.musl[^/]*)[-.]"
)


def name_threads(tasks: list[int], python: int) -> dict[tuple[str, str], list[str]]:
    """The names of these threads, by library and what becomes of it; so many run Python, and are left out."""
    found: dict[tuple[str, str], list[str]] = {}
    regions = list(_regions()) if tasks else []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    own_name = _name_of(os.getpid())
    for task in tasks:
        with contextlib.suppress(OSError):  # ended meanwhile
            name = _name_of(task)
            library = _library_of(task, regions)
            while not library and time.monotonic() < deadline:
                # Not `time.sleep`, which may be gevent's.
                signal.sigtimedwait((), _PAUSE_SECONDS)
                library = _library_of(task, regions)
            if python and _is_python(library):
                python -= 1
                continue
            library = os.path.basename(library)
            # It has the name of the process, unless it was given one.
            name = "unnamed" if name == own_name else name
            found.setdefault((library, _fate(name, library)), []).append(name)
    return found


def _name_of(task: int) -> str:
    with open(f"/proc/self/task/{task}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def _fate(name: str, library: str) -> str:
    """What becomes of a library that loses a thread of this name."""
    if _FATAL_NAMES.match(name) or any(known in library for known in _FATAL_LIBRARIES):
        return "fatal"
    if name in _HARMLESS_NAMES or any(known in library for known in _HARMLESS_LIBRARIES):
        return "harmless"
    return "unknown"


def _is_python(library: str) -> bool:
    return "libpython" in library or library == os.path.realpath(sys.executable)


def _regions() -> Iterator[tuple[int, int, str, str]]:
    """Begin, end, rights and file of what is mapped."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split(maxsplit=5)
            begin, _, end = words[0].partition("-")
            yield int(begin, 16), int(end, 16), words[1], words[5].strip() if len(words) > 5 else ""


def _library_of(task: int, regions: list[tuple[int, int, str, str]]) -> str:
    """The library that began a thread, by the outermost addresses on its stack; empty when it is not seen."""
    try:
        with open(f"/proc/self/task/{task}/syscall", encoding="ascii") as file:
            words = file.read().split()
        pointer = int(words[-2], 16)
        top = next(end for begin, end, _, _ in regions if begin <= pointer < end)
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The end of the stack that is mapped, where the thread began: more than any start takes.
            begin = max(pointer, top - 256 * 1024)
            stack = os.pread(memory, (top - begin) // 8 * 8, begin)
        finally:
            os.close(memory)
    except (OSError, ValueError, IndexError, StopIteration):  # it runs just now, or may not be looked at
        return ""
    code = [
        (begin, end, name) for begin, end, rights, name in regions if "x" in rights and name.startswith("/")
    ]
    for word in reversed(memoryview(stack).cast("Q")):
        for begin, end, name in code:
            if begin <= word < end and not _CARRIERS.match(os.path.basename(name)):
                return name
    return ""


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)
