"""What of a loaded application a fork would break.

Runs as the module ``_rwsgi_audit``, once before the application is loaded: what is open then is the server's.

It imports nothing that the interpreter may have as a file of its own (`lib-dynload`), unless it does without:
that file may be out of reach for the user of the application.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, ModuleType
from typing import Any

# Threads of Python that the library itself begins anew after a fork (`os.register_at_fork`), as was tried.
_BEGUN_ANEW = ("opentelemetry.sdk.",)
_HARMLESS_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FATAL_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/")
_FATAL_ANONYMOUS = {
    "eventpoll": "is an epoll set: the children would change each other's",
    "inotify": "watches files: each event would reach one process only",
    "fanotify": "watches files: each event would reach one process only",
    "timerfd": "is a timer: each expiry would reach one process only",
    "io_uring": "is an io_uring: the children would read each other's completions",
}
# So long it is looked for what has made all that was found.
_SEARCH_SECONDS = 3.0
# So many objects may be between what was found and its module, as where a session has pools of connections.
_SEARCH_DEPTH = 24
_deadline = 0.0
# So many names stand in a sentence.
_NAMES = 4
_NO_LIBRARY = "an unknown library"
# A helper that does not end by itself is killed after this.
_PATIENCE_SECONDS = 1.0
# What `sitecustomize` has started. It has run in the mold: a child that loads the application for itself has
# no more of it. Agents that are made for servers that fork begin anew by `os.register_at_fork`.
_AGENTS = "its agent has to see to forks by itself"
_LOOPS = ("eventpoll", "eventfd", "timerfd", "signalfd", "pidfd")


# Names of native threads by their library and by what becomes of it: see `native.py`.
NameThreads = Callable[[list[int], int], dict[tuple[str, str], list[str]]]


class Report:
    """What was found, one sentence each."""

    def __init__(self) -> None:
        # A reason not to share; what only a trial can tell; what is harmless or cured.
        self.reasons: list[str] = []
        self.unknown: list[str] = []
        self.notes: list[str] = []


def look(name_threads: NameThreads) -> tuple[list[str], list[str], list[str]]:
    """What cannot be shared by a fork, what is not known, and what is known to do no harm."""
    global _deadline
    # Files that are only waiting to be closed are none.
    gc.collect()
    _deadline = time.monotonic() + _SEARCH_SECONDS
    report = Report()
    holders = _Holders()
    _look_at_threads(report, name_threads)
    helpers = _look_at_helpers(report, holders)
    _look_at_loops(report, holders)
    _look_at_timers(report)
    for fd, place in _descriptors():
        if not _is_servers(fd, place) and fd not in helpers:
            with contextlib.suppress(OSError):  # closed meanwhile
                _look_at_descriptor(report, holders, fd, place)
    return report.reasons, report.unknown, report.notes


class _Holders:
    """The Python objects that hold descriptors, helpers and event loops."""

    def __init__(self) -> None:
        self.of_fd: dict[int, Any] = {}
        self.helpers: dict[int, Any] = {}
        self.loops: list[Any] = []
        self.databases: list[Any] = []
        self._others: dict[int, Any] | None = None
        import _socket

        for thing in gc.get_objects():
            # Asked of the type: an instance may answer by itself, and load what it stands for.
            kind = type(thing)
            with contextlib.suppress(Exception):
                if issubclass(kind, io.FileIO):
                    self.of_fd[io.FileIO.fileno(thing)] = thing
                elif issubclass(kind, _socket.socket):
                    self.of_fd[_socket.socket.fileno(thing)] = thing
                elif _is_a(kind, "selectors", "BaseSelector"):
                    self.of_fd.setdefault(thing.fileno(), thing)
                elif _is_a(kind, "multiprocessing.connection", "_ConnectionBase"):
                    self.of_fd[thing.fileno()] = thing
                elif _is_a(kind, "sqlite3", "Connection"):
                    self.databases.append(thing)
                elif _is_a(kind, "subprocess", "Popen") or _is_a(
                    kind, "multiprocessing.process", "BaseProcess"
                ):
                    self.helpers[thing.pid] = thing
                elif _is_a(kind, "asyncio.events", "AbstractEventLoop") and not thing.is_closed():
                    self.loops.append(thing)

    def by(self, fd: int) -> str:
        """What has made it, as far as it is seen."""
        holder = self.of_fd.get(fd)
        if holder is None:
            if self._others is None:
                self._others = dict(_held_by_others())
            holder = self._others.get(fd)
        return "" if holder is None else _made_by(holder)


def _held_by_others() -> Iterator[tuple[int, Any]]:
    """Descriptors that objects of libraries name when they are asked, such as connections to databases."""
    for thing in gc.get_objects():
        kind = type(thing)
        # A `SpooledTemporaryFile` makes a file when it is asked.
        if kind.__module__ != "tempfile" and callable(getattr(kind, "fileno", None)):
            with contextlib.suppress(Exception):
                yield kind.fileno(thing), thing


def _is_a(kind: type, module: str, name: str) -> bool:
    base = getattr(sys.modules.get(module), name, None)
    return isinstance(base, type) and base in kind.__mro__


def _made_by(thing: Any) -> str:
    """In which module the thing hangs, in parentheses; nothing where that cannot be seen."""
    named = list(sys.modules.items())
    modules = {id(vars(module)): name for name, module in named if isinstance(module, ModuleType)}
    level: list[Any] = [thing]
    seen = {id(thing)}
    own = {id(modules), id(seen)}
    fallback = ""
    own.add(id(named))
    for _ in range(_SEARCH_DEPTH):
        # Each level looks at the whole heap once.
        if time.monotonic() > _deadline:
            break
        own.add(id(level))
        found = gc.get_referrers(*level)
        own.add(id(found))
        following: list[Any] = []
        own.add(id(following))
        for referrer in found:
            if id(referrer) in seen or id(referrer) in own or isinstance(referrer, FrameType):
                continue
            seen.add(id(referrer))
            name = modules.get(id(referrer))
            if name is None:
                following.append(referrer)
            elif not name.startswith("_rwsgi_") or name == "_rwsgi_application":
                attribute = next(
                    (key for key, value in referrer.items() if any(value is one for one in level)), ""
                )
                if name == "_rwsgi_application":
                    name = os.path.basename(str(referrer.get("__file__", name)))
                place = f" (made by {name}.{attribute})" if attribute else f" (made by {name})"
                if name.partition(".")[0] not in sys.stdlib_module_names:
                    return place
                fallback = fallback or place
        level = following[:24]
        if not level:
            break
    return fallback


# Threads.


def _look_at_threads(report: Report, name_threads: NameThreads) -> None:
    here = sys._getframe()
    known = {thread.ident: thread for thread in threading.enumerate()}
    native = {int(name) for name in os.listdir("/proc/self/task")} - {os.getpid()} - _agents_tasks
    if threading.get_native_id() in native:
        native.remove(threading.get_native_id())
    raw = 0
    found: dict[str, list[str]] = {}
    # The frames are the truth: a gevent that has patched `threading` lists what are no threads.
    for ident, frame in sys._current_frames().items():
        if frame is here or known.get(ident) is threading.main_thread():
            continue
        thread = known.get(ident)
        if ident in _agents_threads:
            name = "a thread" if thread is None else f"thread {thread.name!r}"
            report.notes.append(f"{name} was running before the application was loaded: {_AGENTS}")
            continue
        if thread is None:
            raw += 1
            _look_at_raw_thread(report, frame)
            continue
        if thread.native_id is not None:
            native.discard(thread.native_id)
        module = _module_of(thread)
        if module.startswith(_BEGUN_ANEW):
            report.notes.append(
                f"thread {thread.name!r} of {module}: the library begins it anew in each child"
            )
            continue
        found.setdefault(_thread_maker(thread), []).append(thread.name)
    for maker, names in found.items():
        are, them = ("are", "them") if len(names) > 1 else ("is", "it")
        what = f"thread{'s' * (len(names) > 1)} {_in_short(names)}"
        report.reasons.append(f"{what} {are} running: the children would lack {them}{maker}")
    _look_at_native_threads(report, name_threads(sorted(native), raw))


def _look_at_raw_thread(report: Report, frame: FrameType) -> None:
    """One that was begun without `threading`."""
    while frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "")
    if module.partition(".")[0] == "gevent" and _gevent_hub() is not None:
        report.notes.append(
            "a thread of gevent's pool is running: gevent.reinit() makes it anew in each child"
        )
    else:
        report.reasons.append(f"a thread that runs {module} is running: the children would lack it")


def _in_short(names: list[str]) -> str:
    """Some names, for a sentence."""
    names = sorted(set(names))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(map(repr, names[:_NAMES])) + more


def _target_of(thread: threading.Thread) -> Any:
    target = getattr(thread, "_target", None)
    return getattr(target, "func", target)


def _module_of(thread: threading.Thread) -> str:
    """Where the code of a thread stands."""
    target = _target_of(thread)
    if target is None:
        return type(thread).__module__
    module = getattr(target, "__module__", None) or type(getattr(target, "__self__", None)).__module__
    return module if isinstance(module, str) else ""


def _thread_maker(thread: threading.Thread) -> str:
    target, module = _target_of(thread), _module_of(thread)
    if target is None and module != "threading":
        return f" (made by {module}.{type(thread).__qualname__})"
    if target is not None and module.partition(".")[0] not in sys.stdlib_module_names:
        return f" (made by {module}.{getattr(target, '__qualname__', '')})"
    maker = _made_by(thread)
    # That is where all threads hang.
    return "" if "threading._active" in maker else maker


def _look_at_native_threads(report: Report, found: dict[tuple[str, str], list[str]]) -> None:
    """Those that libraries have begun."""
    for (library, fate), names in found.items():
        count = len(names)
        what = f"{count} native thread{'s' * (count > 1)} {_in_short(names)} of {library or _NO_LIBRARY}"
        if fate == "fatal":
            report.reasons.append(
                f"{what} would be missing in the children, and the library waits for them for ever"
            )
        elif fate == "harmless":
            report.notes.append(f"{what}: this library is known to survive a fork")
        else:
            report.unknown.append(f"{what} would be missing in the children")


# Other processes.


def _look_at_helpers(report: Report, holders: _Holders) -> set[int]:
    """Report processes that the application has started; the descriptors that harmless ones explain."""
    tracker, fd = _tracker()
    explained: set[int] = set()
    for pid in children():
        if pid == tracker:
            report.notes.append(
                f"process {pid} is multiprocessing's resource tracker, which children may share"
            )
            explained.add(fd)
            continue
        if pid in _agents_helpers:
            report.notes.append(
                f"process {pid} ({_command(pid)}) was started before the application was loaded: {_AGENTS}"
            )
            continue
        by = _made_by(holders.helpers[pid]) if pid in holders.helpers else ""
        # One that was forked has the title of this process.
        command = "forked" if _command(pid) == _command(os.getpid()) else _command(pid)
        report.reasons.append(
            f"process {pid} ({command}) was started: the children would all talk to the same one{by}"
        )
    return explained


def children() -> list[int]:
    """The processes that this one has started and that are alive."""
    found = []
    me = os.getpid()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(name)
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
            if int(parent) == me and state not in "ZX":
                found.append(pid)
    return sorted(found)


def run_exit_functions() -> None:
    """Run what the application has registered for its end."""
    with contextlib.suppress(BaseException):  # CPython has printed what it was
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def end_helpers() -> None:
    """End the processes that the application has started, and that are still there."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _PATIENCE_SECONDS
        told: set[int] = set()
        # Looked for anew each time: a pool may start others in their place.
        while (helpers := _helpers()) and time.monotonic() < deadline:
            for pid in helpers - told:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            told |= helpers
            time.sleep(0.01)


def _helpers() -> set[int]:
    """All but multiprocessing's resource tracker, which cleans up when this process has ended."""
    return set(children()) - {_tracker()[0]}


def _tracker() -> tuple[int, int]:
    """Process and descriptor of multiprocessing's resource tracker; -1 where there is none."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    pid, fd = (getattr(tracker, name, None) for name in ("_pid", "_fd"))
    return -1 if pid is None else pid, -1 if fd is None else fd


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
        text = b" ".join(words).decode("utf-8", "replace")
        return "".join(each if each.isprintable() else " " for each in text)[:80]
    return "ended"


def _look_at_loops(report: Report, holders: _Holders) -> None:
    for loop in holders.loops:
        report.reasons.append(
            f"an asyncio event loop is open: the children would share its epoll set{_made_by(loop)}"
        )
        with contextlib.suppress(Exception):
            fd = loop._selector.fileno()
            # Told with the loop.
            holders.of_fd[fd] = loop


def _look_at_timers(report: Report) -> None:
    """Timers of the process, which a fork does not copy."""
    for name in ("REAL", "VIRTUAL", "PROF"):
        if signal.getitimer(getattr(signal, f"ITIMER_{name}"))[0]:
            report.reasons.append(f"a timer (ITIMER_{name}) is set: it would never expire in the children")
    # There only where the kernel can save and restore processes.
    with contextlib.suppress(OSError), open("/proc/self/timers", encoding="ascii") as file:
        count = sum(line.startswith("ID:") for line in file)
        if count:
            report.reasons.append(
                f"{count} timer{'s' * (count > 1)} (timer_create) would be missing in the children"
            )


def _gevent_hub() -> Any:
    """gevent's event loop of this thread, if there is one."""
    local = sys.modules.get("gevent._hub_local")
    return None if local is None else local.get_hub_if_exists()


def _is_cured_loop() -> bool:
    patcher = sys.modules.get("eventlet.patcher")
    return _gevent_hub() is not None or bool(getattr(patcher, "already_patched", None))


def dump_stacks_after(seconds: float) -> None:
    """Print all stacks to standard error in so many seconds, unless the process has ended by then."""
    import faulthandler

    with contextlib.suppress(Exception):  # standard error need not be a file
        faulthandler.dump_traceback_later(seconds)


# Descriptors.


def _descriptors() -> Iterator[tuple[int, str]]:
    """Each descriptor that is open, and what /proc calls it."""
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listed the folder
            continue


def _identity(fd: int, place: str) -> tuple[object, ...]:
    status = os.fstat(fd)
    # All anonymous ones have the same number.
    return (status.st_dev, status.st_ino, place, fd if place.startswith("anon_inode:") else 0)


def _is_servers(fd: int, place: str) -> bool:
    try:
        return _identity(fd, place) in _own
    except OSError:
        return True


def _look_at_descriptor(report: Report, holders: _Holders, fd: int, place: str) -> None:
    status = os.fstat(fd)
    name = f"file descriptor {fd}"
    locks = sorted(set(_locks(fd, status)))
    if locks:
        report.reasons.append(
            f"{name} ({place}) is locked ({', '.join(locks)}): a fork gives no child a lock of its own"
            + holders.by(fd)
        )
    elif place.startswith("anon_inode:"):
        _look_at_anonymous(report, holders, fd, place)
    elif stat.S_ISSOCK(status.st_mode):
        _look_at_socket(report, holders, fd, status.st_ino)
    elif stat.S_ISFIFO(status.st_mode):
        _look_at_pipe(report, holders, fd, place)
    elif stat.S_ISREG(status.st_mode):
        _look_at_file(report, holders, fd, place)
    elif stat.S_ISDIR(status.st_mode) or place in _HARMLESS_DEVICES:
        report.notes.append(f"{name} ({place}) is open: harmless")
    elif place.startswith(_FATAL_DEVICES):
        report.reasons.append(
            f"{name} is the device {place}, whose state does not survive a fork{holders.by(fd)}"
        )
    else:
        report.unknown.append(f"{name} is open: {place}{holders.by(fd)}")


def _locks(fd: int, status: os.stat_result) -> Iterator[str]:
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
            lines = [line.partition(":")[2] for line in file if line.startswith("lock:")]
    except PermissionError:
        # Before Linux 5.14, for a process that has given up root. This one shows those of all processes.
        device, number = status.st_dev, status.st_ino
        inode = f"{os.major(device):02x}:{os.minor(device):02x}:{number}"
        try:
            with open("/proc/locks", encoding="ascii", errors="replace") as file:
                lines = [line for line in file if f" {inode} " in line]
        except OSError:
            return
        lines = [line for line in lines if f" {os.getpid()} " in line or "OFDLCK" in line]
    for line in lines:
        words = line.split()
        if len(words) > 3:
            yield f"{words[1]} {words[3]}"


def _look_at_anonymous(report: Report, holders: _Holders, fd: int, place: str) -> None:
    kind = place.removeprefix("anon_inode:").strip("[]")
    held = holders.of_fd.get(fd)
    if kind in _LOOPS and _is_cured_loop() and held is None:
        report.notes.append(
            f"file descriptor {fd} ({kind}) is the event loop's: it is made anew in each child"
        )
    elif held is not None and any(held is loop for loop in holders.loops):
        return
    elif kind in _FATAL_ANONYMOUS:
        report.reasons.append(f"file descriptor {fd} {_FATAL_ANONYMOUS[kind]}{holders.by(fd)}")
    else:
        report.unknown.append(f"file descriptor {fd} is open: {kind}{holders.by(fd)}")


def _flags(fd: int) -> int:
    try:
        import fcntl
    except ImportError:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            return next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def _look_at_pipe(report: Report, holders: _Holders, fd: int, place: str) -> None:
    mode = _flags(fd) & os.O_ACCMODE
    ends = {_flags(other) & os.O_ACCMODE for other, its_place in list(_descriptors()) if its_place == place}
    if mode == os.O_RDWR or len(ends) > 1:
        report.notes.append(
            f"file descriptor {fd} ({place}) is a pipe with both ends in this process{holders.by(fd)}"
        )
    elif _is_hung_up(fd):
        report.notes.append(
            f"file descriptor {fd} ({place}) is a pipe that nothing else has open{holders.by(fd)}"
        )
    else:
        what = f"file descriptor {fd} ({place}) is a pipe to another process"
        report.reasons.append(f"{what}: the children would get each other's data{holders.by(fd)}")


def _is_hung_up(fd: int) -> bool:
    try:
        from select import poll as new_poll
    except ImportError:
        # gevent and eventlet take `poll` away.
        return False
    poll = new_poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def _look_at_socket(report: Report, holders: _Holders, fd: int, inode: int) -> None:
    import _socket

    name = f"file descriptor {fd}"
    probe = _socket.socket(fileno=os.dup(fd))
    try:
        kind, family = probe.type, probe.family
        is_stream = kind in (_socket.SOCK_STREAM, _socket.SOCK_SEQPACKET)
        if is_stream and probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            where = _address(probe.getsockname())
            why = "a connection would reach any child"
            report.reasons.append(f"{name} listens at {where}: {why}{holders.by(fd)}")
            return
        peer = None
        with contextlib.suppress(OSError):
            peer = probe.getpeername()
    finally:
        probe.close()
    if is_stream and peer:
        report.reasons.append(f"{name} is connected to {_address(peer)}{holders.by(fd)}")
    elif is_stream and peer is not None and not _has_other_end(inode):
        what = f"{name} is a pair of sockets whose other end this process does not have"
        report.reasons.append(f"{what}: the children would get each other's data{holders.by(fd)}")
    elif is_stream or family in (_socket.AF_INET, _socket.AF_INET6, _socket.AF_UNIX):
        report.notes.append(
            f"{name} is a socket without a connection, a pair inside this process, or of datagrams"
        )
    else:
        report.unknown.append(
            f"{name} is a socket of family {int(family)} and type {int(kind)}{holders.by(fd)}"
        )


def _has_other_end(inode: int) -> bool:
    """Pairs are made at once, and so are numbered one after the other.

    What the server made just before is none of them.
    """
    neighbours = {f"socket:[{other}]" for other in (inode - 1, inode + 1)}
    return any(place in neighbours and not _is_servers(fd, place) for fd, place in _descriptors())


def _address(address: Any) -> str:
    return f"{address[0]} port {address[1]}" if isinstance(address, tuple) else repr(address)


def _look_at_file(report: Report, holders: _Holders, fd: int, place: str) -> None:
    name = f"file descriptor {fd} ({place})"
    flags = _flags(fd)
    mode = flags & os.O_ACCMODE
    base = os.path.basename(place)
    if place.startswith(("/memfd:", "/dev/shm/")) or base.startswith("ffi"):
        report.notes.append(f"{name} is shared memory: harmless")
    elif mode != os.O_WRONLY and _is_sqlite(fd):
        database = holders.by(fd) or next(filter(None, map(_made_by, holders.databases)), "")
        report.reasons.append(
            f"{name} is an SQLite database: a connection must not be used by two processes{database}"
        )
    elif mode == os.O_RDONLY and fd not in holders.of_fd:
        report.notes.append(f"{name} is open for reading by a library, which may only map it")
    elif mode == os.O_RDONLY:
        report.reasons.append(
            f"{name} is open for reading: the children would share its position{holders.by(fd)}"
        )
    elif flags & os.O_APPEND:
        report.notes.append(f"{name} is appended to, as logs are: the children share it{holders.by(fd)}")
    elif place.endswith(" (deleted)") and fd not in holders.of_fd:
        report.unknown.append(f"{name} is open for writing")
    else:
        report.reasons.append(
            f"{name} is open for writing: the children would overwrite each other's data" + holders.by(fd)
        )


def _is_sqlite(fd: int) -> bool:
    try:
        return os.pread(fd, 16, 0) == b"SQLite format 3\0"
    except OSError:
        return False


def _note(descriptors: Iterable[tuple[int, str]]) -> Iterator[tuple[object, ...]]:
    for fd, place in descriptors:
        with contextlib.suppress(OSError):
            yield _identity(fd, place)


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)

# Whatever is open before the application is imported is the server's.
_own = frozenset(_note(_descriptors()))
_agents_threads = frozenset(sys._current_frames()) - {threading.get_ident()}
_agents_tasks = frozenset(int(_name) for _name in os.listdir("/proc/self/task")) - {os.getpid()}
_agents_helpers = frozenset(children())
