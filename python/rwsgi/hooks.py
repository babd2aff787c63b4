"""Functions of the application that the server calls at the turning points of its processes.

Each decorator notes the function and returns it unchanged. Without the server nobody calls it.
"""

from collections.abc import Callable
from typing import TypeVar

__all__ = ["after_fork", "before_fork", "on_exit", "warmup"]

Hook = Callable[[], object]
_Hook = TypeVar("_Hook", bound=Hook)

registered: dict[str, list[Hook]] = {"before_fork": [], "after_fork": [], "on_exit": [], "warmup": []}
"""The server's view: what has been noted, in that order."""


def warmup(hook: _Hook) -> _Hook:
    """Call it once the application is loaded, before the memory is shared: every child has what it fills.

    An exception is logged, and the server goes on.
    """
    registered["warmup"].append(hook)
    return hook


def before_fork(hook: _Hook) -> _Hook:
    """Call it in the mold before each child is forked: to let go of what processes cannot share.

    It is called once before that, ahead of the search for what cannot be shared. After an exception nothing
    is forked: the mold ends as if the application could not be loaded. With `--preload off` there is no
    application in the mold, and the function is not called.
    """
    registered["before_fork"].append(hook)
    return hook


def after_fork(hook: _Hook) -> _Hook:
    """Call it in each child before its first request: to open what each process has for itself.

    After an exception the child ends, and another one is started, as when the application cannot be loaded.
    """
    registered["after_fork"].append(hook)
    return hook


def on_exit(hook: _Hook) -> _Hook:
    """Call it in each child after its last request, the last one noted first, before what `atexit` knows.

    An exception is logged, and the others are called. A child that is killed calls nothing.
    """
    registered["on_exit"].append(hook)
    return hook
