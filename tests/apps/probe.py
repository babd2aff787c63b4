"""An application that reports where it runs, and behaves and misbehaves on demand.

Its log lines go to standard error, as those of the server do.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Query = dict[str, str]

IMPORTED_IN = os.getpid()
LOCAL = threading.local()
MEETINGS: dict[str, threading.Barrier] = {}
LOCK = threading.Lock()


def log_line(line: str) -> None:
    """Writes a line in one piece: other threads and processes write to the same log."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


log_line(f"imported in {IMPORTED_IN}")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    LOCAL.served = getattr(LOCAL, "served", 0) + 1
    act = ACTS.get(environ["PATH_INFO"])
    if act is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"not here\n"]
    result = act(environ, dict(parse_qsl(environ["QUERY_STRING"])))
    if isinstance(result, Iterator):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return result
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(result).encode()]


def where(environ: WSGIEnvironment, query: Query) -> object:
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "imported_in": IMPORTED_IN,
        "thread": threading.get_native_id(),
        "ident": threading.get_ident(),
        "is_main": threading.current_thread() is threading.main_thread(),
        "served": LOCAL.served,
        "multithread": environ["wsgi.multithread"],
        "multiprocess": environ["wsgi.multiprocess"],
        "random": random.random(),
        "frozen": gc.get_freeze_count(),
        "folder": os.getcwd(),
        "path": sys.path,
        "arguments": sys.argv,
    }


def wait_at(gate: str) -> None:
    """Log that the gate is reached, and wait until the named pipe is written to."""
    # Opened before it is logged, so that a reader of the log can write without waiting.
    descriptor = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log_line(f"holding {gate} in {os.getpid()}")
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    finally:
        os.close(descriptor)


def hold(environ: WSGIEnvironment, query: Query) -> object:
    wait_at(query["gate"])
    return where(environ, query)


def stream(environ: WSGIEnvironment, query: Query) -> Iterator[bytes]:
    yield b"one\n"
    wait_at(query["gate"])
    yield b"two\n"


def broken(environ: WSGIEnvironment, query: Query) -> Iterator[bytes]:
    yield b"one\n"
    raise RuntimeError("broken on purpose")


def meet(environ: WSGIEnvironment, query: Query) -> object:
    """Answers when this number of requests has arrived."""
    with LOCK:
        barrier = MEETINGS.setdefault(query["name"], threading.Barrier(int(query["of"])))
    barrier.wait(timeout=20)
    return where(environ, query)


def spin(environ: WSGIEnvironment, query: Query) -> object:
    """Keeps a core busy until a file exists."""
    log_line(f"spinning in {os.getpid()}")
    while not os.path.exists(query["until"]):
        pass
    return where(environ, query)


def leave(environ: WSGIEnvironment, query: Query) -> object:
    ways: dict[str, Callable[[], object]] = {
        "os._exit": lambda: os._exit(3),
        "sys.exit": lambda: sys.exit(3),
        "abort": os.abort,
        "segfault": lambda: ctypes.string_at(0),
        "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt),
        "raise": lambda: 1 // 0,
    }
    return ways[query["how"]]()


def leave_thread(environ: WSGIEnvironment, query: Query) -> object:
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()
    return where(environ, query)


def variables(environ: WSGIEnvironment, query: Query) -> object:
    return {name: value for name, value in environ.items() if isinstance(value, str)}


def process_environment(environ: WSGIEnvironment, query: Query) -> object:
    return dict(os.environ)


def body(environ: WSGIEnvironment, query: Query) -> object:
    size, digest = 0, hashlib.sha256()
    while part := environ["wsgi.input"].read(65536):
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


def numbers(environ: WSGIEnvironment, query: Query) -> object:
    """The server's own variables in the environ."""
    found = {name: value for name, value in environ.items() if name.startswith("rwsgi.")}
    return {"pid": os.getpid(), **found}


def hold_numbers(environ: WSGIEnvironment, query: Query) -> object:
    wait_at(query["gate"])
    return numbers(environ, query)


def identity(environ: WSGIEnvironment, query: Query) -> object:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "users": os.getresuid(),
        "groups": os.getresgid(),
        "other groups": sorted(os.getgroups()),
        "umask": mask,
    }


# Programs that print what they have inherited: `self` is `cat`, then `ls`.
LOOK = "cat /proc/self/status; ls -l /proc/self/fd"


def program(environ: WSGIEnvironment, query: Query) -> object:
    """Starts a program in one of Python's ways, and returns its signals and descriptors."""
    found = f"found-{os.getpid()}"

    def spawn() -> None:
        to_file = [
            (os.POSIX_SPAWN_OPEN, 1, found, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", LOOK], os.environ, file_actions=to_file)
        os.waitpid(pid, 0)

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/sh", ["sh", "-c", f"({LOOK}) > {found}"])
        os.waitpid(pid, 0)

    def run(restore_signals: bool) -> None:
        with open(found, "wb") as file:
            subprocess.run(
                ["/bin/sh", "-c", LOOK],
                stdout=file,
                close_fds=False,
                restore_signals=restore_signals,
                check=True,
            )

    ways: dict[str, Callable[[], object]] = {
        "os.system": lambda: os.system(f"({LOOK}) > {found}"),
        "os.posix_spawn": spawn,
        "os.fork": fork,
        "subprocess": lambda: run(restore_signals=True),
        "subprocess, signals as they are": lambda: run(restore_signals=False),
    }
    ways[query["way"]]()
    with open(found, encoding="utf-8") as file:
        return file.read()


def orphan(environ: WSGIEnvironment, query: Query) -> object:
    """Leaves an orphaned process behind."""
    os.system("(sleep 0.01; echo orphan ends >&2) &")
    return where(environ, query)


def handler(environ: WSGIEnvironment, query: Query) -> object:
    """Sets handlers for signals that belong to the server."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: log_line("handled in the application"))
    return where(environ, query)


def handler_in_fork(environ: WSGIEnvironment, query: Query) -> object:
    """Sets a handler in a forked process, and returns its exit code."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(42))
        os.kill(os.getpid(), signal.SIGUSR1)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stack(environ: WSGIEnvironment, query: Query) -> object:
    """The size of this thread's stack according to the C library."""
    library = ctypes.CDLL(None)
    library.pthread_self.restype = ctypes.c_void_p
    # Larger than a pthread_attr_t on any machine.
    attributes = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t()
    assert library.pthread_getattr_np(ctypes.c_void_p(library.pthread_self()), attributes) == 0
    assert library.pthread_attr_getstacksize(attributes, ctypes.byref(size)) == 0
    library.pthread_attr_destroy(attributes)
    return size.value


def recurse(environ: WSGIEnvironment, query: Query) -> object:
    """Recurses through C, which uses the most stack, until Python raises."""

    def deep(_: int) -> int:
        return sorted([0], key=deep)[0]

    try:
        deep(0)
    except RecursionError:
        return "RecursionError"
    return "no end"


Act = Callable[["WSGIEnvironment", Query], object]

ACTS: dict[str, Act] = {
    "/": where,
    "/hold": hold,
    "/stream": stream,
    "/broken": broken,
    "/meet": meet,
    "/spin": spin,
    "/leave": leave,
    "/leave-thread": leave_thread,
    "/environ": variables,
    "/os.environ": process_environment,
    "/body": body,
    "/identity": identity,
    "/numbers": numbers,
    "/hold-numbers": hold_numbers,
    "/program": program,
    "/orphan": orphan,
    "/handler": handler,
    "/handler-in-fork": handler_in_fork,
    "/stack": stack,
    "/recurse": recurse,
}
