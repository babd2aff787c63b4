"""Handlers of signals: the application's own, but for the signals that the server acts upon.

Runs as the module ``_rwsgi_signals``; Rust calls the functions without an underscore.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_Handler = Callable[[int, "FrameType | None"], Any] | int | None

_WITHHELD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2})
"""What the supervisor acts upon, and what wakes a thread. A terminal sends some of them to all processes."""

_own_pid = os.getpid()
_told: set[int] = set()
_set_handler = signal.signal
_forks_child = False
_mask = threading.local()


def install() -> None:
    """Withhold the server's signals from now on."""
    global _own_pid
    _own_pid = os.getpid()
    if signal.signal is not _handle:
        signal.signal = _handle
        os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_give_back)


def forget() -> None:
    """Take handlers of the server's signals back that were set while Python was started, as agents do."""
    for number in _WITHHELD:
        handler = signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            _set_handler(number, signal.SIG_DFL)


def before_fork() -> None:
    """The fork that follows is the server's own."""
    global _forks_child
    _forks_child = True


def after_fork() -> None:
    """The server has forked; both processes go on as the server's."""
    global _forks_child, _own_pid
    _forks_child = False
    _own_pid = os.getpid()


@functools.wraps(_set_handler)
def _handle(signalnum: int, handler: _Handler) -> _Handler:
    # In a process that the application has forked it may do as it likes.
    if signalnum not in _WITHHELD or os.getpid() != _own_pid:
        return _set_handler(signalnum, handler)
    # What CPython finds wrong is wrong here, too.
    if threading.get_ident() != threading.main_thread().ident:
        raise ValueError("signal only works in main thread of the main interpreter")
    if not callable(handler) and handler not in (signal.SIG_DFL, signal.SIG_IGN):
        raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object")
    # asyncio and the debugger set one for Ctrl-C by themselves, and need none.
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if signalnum not in _told and str(caller).partition(".")[0] not in ("asyncio", "bdb", "pdb"):
        _told.add(signalnum)
        line = f"rwsgi: a handler for signal {signalnum:d} was ignored: this signal is the server's\n"
        if sys.stderr is not None:
            sys.stderr.write(line)
    return signal.getsignal(signalnum)


def _hold_back() -> None:
    """Have signals to a process that the application forks wait until they are no longer the server's."""
    if not _forks_child:
        _mask.former = signal.pthread_sigmask(signal.SIG_BLOCK, (*_WITHHELD, signal.SIGUSR1))


def _let_through() -> None:
    former = vars(_mask).pop("former", None)
    if former is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _give_back() -> None:
    """In a process that the application has forked: signals do again what they do in any process."""
    if _forks_child:
        return
    for number in (*_WITHHELD, signal.SIGUSR1):
        # None: a handler that is not Python's, and that is the server's, which does nothing.
        if signal.getsignal(number) in (None, signal.SIG_DFL, signal.default_int_handler):
            _set_handler(number, signal.SIG_DFL)
    _let_through()


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)
