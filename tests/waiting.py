"""Waiting for what nobody announces: the kernel's view of a process, lines in a file."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.client import PATIENCE

T = TypeVar("T")


def until(look: Callable[[], T | None], what: Callable[[], object], patience: float = PATIENCE) -> T:
    """Look again and again until something is found; `what` tells how it looks when it is not."""
    deadline = time.monotonic() + patience
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not in {patience} s: {what()}"
        time.sleep(0.005)
    return found


def until_equal(look: Callable[[], object], expected: object, patience: float = PATIENCE) -> None:
    """Look again and again until what is there is what is expected."""
    until(lambda: True if look() == expected else None, lambda: f"{expected}\nbut {look()}", patience)
