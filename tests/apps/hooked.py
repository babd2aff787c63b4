"""An application with all hooks, which log their calls."""

import os

from probe import application as application  # type: ignore[import-not-found]
from probe import log_line

import rwsgi


@rwsgi.warmup
def warm() -> None:
    log_line(f"warmup in {os.getpid()}")


@rwsgi.before_fork
def before() -> None:
    log_line(f"before_fork in {os.getpid()}")


@rwsgi.after_fork
def after() -> None:
    log_line(f"after_fork in {os.getpid()}")


@rwsgi.on_exit
def leave_last() -> None:
    log_line(f"on_exit last in {os.getpid()}")


@rwsgi.on_exit
def leave_first() -> None:
    log_line(f"on_exit first in {os.getpid()}")
