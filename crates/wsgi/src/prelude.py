"""What rwsgi does in Python around the application: prepare its process, have its memory shared, wrap files.

Runs as the module ``_rwsgi_prelude``; Rust calls the functions without an underscore.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import io
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TextIO

_loaders = (
    __file__,
    "<rwsgi application>",
    importlib.__file__,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
)
_thresholds = gc.get_threshold()
_missed: set[str] = set()
_watched: set[str] = set()


def prepare(python_path: list[str], env: list[tuple[str, str]], package: tuple[str, str, str]) -> None:
    """Make the process what the application expects."""
    # What the service manager or a former server has told this one is not for the application.
    for name in (
        *("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID", "_RWSGI_TAKE_OVER"),
        "_RWSGI_ALONE",
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    ):
        os.environ.pop(name, None)
    os.environ.update(env)
    # Through the console script the folder of programs stands first, where no module of an application is.
    if sys.argv and sys.argv[0] and sys.path[:1] == [os.path.dirname(os.path.realpath(sys.argv[0]))]:
        del sys.path[0]
    sys.path[:0] = [os.getcwd(), *map(os.fspath, python_path)]
    # The server's options are not the application's.
    sys.argv = ["rwsgi"]
    _open_streams()
    # In a pipe, prints would show up only after thousands of bytes.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
    _provide(*package)


def load_rest_of_django() -> None:
    """Load what Django loads with the first request, after which nothing of it would be shared any more."""
    settings = _django_settings()
    if settings is None:
        return
    if getattr(settings, "ROOT_URLCONF", None):
        # The views: a broken one is to be found now.
        resolver = importlib.import_module("django.urls").get_resolver()
        waiting = [resolver]
        while waiting:
            waiting += [entry for entry in waiting.pop().url_patterns if hasattr(entry, "url_patterns")]
        _attempt(lambda: resolver.reverse_dict)
    if settings.TEMPLATES:
        _attempt(lambda: importlib.import_module("django.template").engines.all())
    databases = sys.modules.get("django.db")
    if databases is not None:
        _attempt(lambda: [each.ops.compiler("SQLCompiler") for each in databases.connections.all()])


def errors() -> TextIO:
    """``wsgi.errors``, also when standard error is closed."""
    return sys.stderr or open(os.devnull, "w", encoding="utf-8")


def close_connections() -> None:
    """Close the connections that the framework can open again."""
    if _django_settings() is None:
        return
    for place, name in (("django.db", "connections"), ("django.core.cache", "caches")):
        module = sys.modules.get(place)
        if module is not None:
            getattr(module, name).close_all()


def freeze() -> None:
    """Let the memory be shared: no garbage, nothing for the collector to write to, nothing to print twice."""
    close_connections()
    gc.collect()
    gc.freeze()
    _collect_often()
    _flush()


def settle() -> None:
    """Move all that was loaded out of the collector's sight, in a process that shares it with no other."""
    gc.collect()
    gc.freeze()


def turn(when: str) -> None:
    """Call what the application has noted for this moment; whatever is raised ends it."""
    for hook in _hooks(when):
        hook()


def call_all(when: str) -> list[tuple[str, str]]:
    """Call all that the application has noted for this moment; names and tracebacks of those that failed."""
    hooks = _hooks(when)
    failed = []
    for hook in reversed(hooks) if when == "on_exit" else hooks:
        try:
            hook()
        except BaseException as error:  # whatever it is, the others get their turn
            name = f"{hook.__module__}.{getattr(hook, '__qualname__', hook)}"
            failed.append((name, report(error)))
    return failed


class FileWrapper:
    """``wsgi.file_wrapper`` of PEP 3333: the blocks of a file. Of a regular one they are not asked for."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        # PEP 3333: there is a close() only where the file has one.
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> Any:
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block


def extent(wrapper: FileWrapper) -> tuple[io.FileIO, int, int] | None:
    """What a regular file still has: raw file, offset, length. None where only its own ``read`` will do."""
    file = wrapper.filelike
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None and type(file) is getattr(tempfile, "_TemporaryFileWrapper", None):
        file = file.file
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    # Of exactly these types: what derives from them, or has such a file beneath, may read something else.
    if type(raw) is not io.FileIO or not raw.readable() or "read" in {*vars(file), *vars(raw)}:
        return None
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode):
        return None
    if file.writable():
        file.flush()
        status = os.fstat(raw.fileno())
    offset = file.tell()
    # Nothing may also mean that the size is not known, as in /proc.
    return (raw, offset, status.st_size - offset) if offset < status.st_size else None


def report(error: BaseException) -> str:
    """The traceback, beginning where the application begins."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in _loaders:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    # What stands for bytes that were no text is none for the log either.
    return text.encode("utf-8", "backslashreplace").decode()


def module_files() -> list[str]:
    """The files from which what has been imported so far comes, and those of a failure."""
    found = _missed | _watched
    for module in list(sys.modules.values()):
        # What stands there need not be a module, and one may answer by itself.
        with contextlib.suppress(Exception):
            name = module.__file__
            if isinstance(name, str):
                found.update(_file_of(name))
    return sorted(found)


def watch_file(path: str) -> None:
    """The application is what this file says: a change of it counts as one of a module."""
    _watched.add(os.path.abspath(path))


def note_failure(error: BaseException | None) -> None:
    """Remember the files of which a change may cure it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        trace = error.__traceback__
        while trace is not None:
            _missed.update(_file_of(trace.tb_frame.f_code.co_filename))
            trace = trace.tb_next
        if isinstance(error, (SyntaxError, OSError)) and isinstance(error.filename, str):
            _missed.add(os.path.abspath(error.filename))
        if isinstance(error, ImportError):
            _missed.update(_places_of(error))
        error = error.__cause__ or error.__context__


def _file_of(name: str) -> Iterator[str]:
    """The file itself, or the archive that it is in; nothing for what is none, such as ``<string>``."""
    path = os.path.realpath(name)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if os.path.isfile(path):
        yield path


def _places_of(error: ImportError) -> Iterator[str]:
    """Where the module that is missing could be."""
    if error.name is None:
        return
    if isinstance(error, ModuleNotFoundError):
        parent, _, name = error.name.rpartition(".")
    else:
        # As in `from shop import prices`. Before CPython 3.12 only the text says what is missing.
        words = str(error).split("'")
        parent, name = error.name, getattr(error, "name_from", None) or words[1] if len(words) > 1 else ""
    folders = getattr(sys.modules.get(parent), "__path__", ()) if parent else sys.path
    for folder in folders:
        if name and isinstance(folder, str) and os.path.isdir(folder or "."):
            place = os.path.join(os.path.abspath(folder), name)
            yield from (place + ".py", os.path.join(place, "__init__.py"))


def _open_streams() -> None:
    """Give the application the streams that an interpreter lacks which was started without these descriptors.

    By now they are open.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _hooks(when: str) -> list[Callable[[], object]]:
    # Not imported: who has noted nothing has not imported it either.
    module = sys.modules.get("rwsgi.hooks")
    return [] if module is None else list(module.registered[when])


def _provide(version: str, package: str, hooks: str) -> None:
    """Let the application import ``rwsgi`` where it is not installed: the binary runs in any environment."""
    if "rwsgi" in sys.modules:
        return
    spec = importlib.util.find_spec("rwsgi")
    # A folder of that name, without a module in it, is none.
    if spec is not None and spec.origin is not None:
        return
    for name, source in (("rwsgi.hooks", hooks), ("rwsgi", package)):
        module = ModuleType(name)
        sys.modules[name] = module
        exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    found = sys.modules["rwsgi"]
    found.__path__ = []
    found.__dict__.update(__version__=version, hooks=sys.modules["rwsgi.hooks"])


def _django_settings() -> Any | None:
    conf = sys.modules.get("django.conf")
    return conf.settings if conf is not None and conf.settings.configured else None


def _collect_often() -> None:
    """Have garbage found before it has made much of the shared memory private.

    In a child, all that the collector still looks at is what the child has made, and so it may look often.
    """
    # It waits for a quarter of what was there when it looked at everything: now that is nothing.
    gc.collect()
    young, _, old = gc.get_threshold()
    # An application that has chosen for itself is left with it. CPython 3.14 has no old generation to set.
    if gc.get_threshold() == _thresholds and old:
        gc.set_threshold(young, 5, 1)


def _attempt(preparation: Callable[[], object]) -> None:
    """Do what the first request would do anyway. A failure is left to that request, if one ever needs it."""
    with contextlib.suppress(Exception):
        preparation()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, nobody reads it, it is closed
            continue


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)
