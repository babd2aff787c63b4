"""Hooks: functions of the application that the server calls during the lives of its processes.

Each decorator registers the function and returns it unchanged. Without the server it is not called.
"""

from collections.abc import Callable
from typing import TypeVar

__all__ = ["after_fork", "before_fork", "on_exit", "warmup"]

Hook = Callable[[], object]
_Hook = TypeVar("_Hook", bound=Hook)

registered: dict[str, list[Hook]] = {"before_fork": [], "after_fork": [], "on_exit": [], "warmup": []}
"""The registered functions in order, for the server."""


def warmup(hook: _Hook) -> _Hook:
    """Call it once the application is loaded, before the memory is shared: every child has its results.

    An exception is logged, and the server continues.
    """
    registered["warmup"].append(hook)
    return hook


def before_fork(hook: _Hook) -> _Hook:
    """Call it in the mold before each child is forked: to release what processes cannot share.

    It is also called once before the search for what cannot be shared. After an exception nothing is
    forked: the mold ends as if the application could not be loaded. With `--preload off` there is no
    application in the mold, and the function is not called.
    """
    registered["before_fork"].append(hook)
    return hook


def after_fork(hook: _Hook) -> _Hook:
    """Call it in each child before its first request: to open what each process needs for itself.

    After an exception the child ends, and another one is started, as when the application cannot be loaded.
    """
    registered["after_fork"].append(hook)
    return hook


def on_exit(hook: _Hook) -> _Hook:
    """Call it in each child after its last request, the last one registered first, before `atexit` functions.

    An exception is logged, and the others are called. A child that is killed calls none.
    """
    registered["on_exit"].append(hook)
    return hook
