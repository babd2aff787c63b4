"""A site whose import takes two seconds of CPU time and 30 MiB.

Half of the memory is objects, which requests touch, and half is blocks, which they do not touch: about the
same part of the demo site's memory can be shared.
"""

from __future__ import annotations

import os
import time

SECONDS = float(os.environ.get("SNOWBALL_IMPORT", "2"))
"""CPU seconds of the import."""
NOTED = 0.1
"""CPU seconds after which a line is written, for imports that are broken off."""
OBJECTS = 105_000
BLOCKS = 15
MIB = 2**20
AT_ONCE = 1000


def answer(seconds: float) -> int:
    """Touch objects for this amount of CPU time."""
    seen = 0
    enough = time.thread_time() + seconds
    at = time.monotonic_ns() % OBJECTS
    while time.thread_time() < enough:
        seen += sum(map(len, rows[at : at + AT_ONCE]))
        at = (at + AT_ONCE) % OBJECTS
    return seen


def note(what: str) -> None:
    """Append a line to the file that counts imports."""
    if file := os.environ.get("SNOWBALL_NOTES"):
        with open(file, "a") as notes:
            notes.write(what + "\n")


note("begun")
began = noted = time.thread_time()
rows = [f"{number:064}" for number in range(OBJECTS)]
blocks = [bytes([number]) * MIB for number in range(1, BLOCKS + 1)]
while (now := time.thread_time()) - began < SECONDS:
    if now - noted > NOTED:
        note(str(now - noted))
        noted = now
note(str(now - noted))
