"""Polling for conditions without a notification: the kernel's view of a process, lines in a file."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.client import PATIENCE

T = TypeVar("T")


def until(look: Callable[[], T | None], what: Callable[[], object], patience: float = PATIENCE) -> T:
    """Repeat `look` until it returns something; `what` describes the state at a timeout."""
    deadline = time.monotonic() + patience
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not in {patience} s: {what()}"
        time.sleep(0.005)
    return found


def until_equal(look: Callable[[], object], expected: object, patience: float = PATIENCE) -> None:
    """Repeat `look` until it returns the expected value."""
    until(lambda: True if look() == expected else None, lambda: f"{expected}\nbut {look()}", patience)


def steady(look: Callable[[], T], still: float = 0.5) -> T:
    """What is seen when it has not changed for this number of seconds, where no event tells that."""
    seen, since = look(), time.monotonic()
    while time.monotonic() - since < still:
        time.sleep(0.02)
        if (now := look()) != seen:
            seen, since = now, time.monotonic()
    return seen
