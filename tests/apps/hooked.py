"""An application with all hooks, which log their calls."""

import os

from probe import application as application  # type: ignore[import-not-found]
from probe import say

import rwsgi


@rwsgi.warmup
def warm() -> None:
    say(f"warmup in {os.getpid()}")


@rwsgi.before_fork
def before() -> None:
    say(f"before_fork in {os.getpid()}")


@rwsgi.after_fork
def after() -> None:
    say(f"after_fork in {os.getpid()}")


@rwsgi.on_exit
def leave_last() -> None:
    say(f"on_exit last in {os.getpid()}")


@rwsgi.on_exit
def leave_first() -> None:
    say(f"on_exit first in {os.getpid()}")
