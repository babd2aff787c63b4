"""Lets a server run as another user where only root can reach the interpreter, as in a home folder."""

import itertools
import os
import shlex
import stat
import sys
from pathlib import Path

from tests.server import ROOT, Door

# In a mount namespace of its own, a folder that is closed gives way to one that has what is needed of it.
OPEN = """
set -e
mkdir -p {stage}/{name}
chmod 755 {stage} {stage}/{name}
mount --bind {needed} {stage}/{name}
mount --rbind {stage} {closed}
"""


def reachable(door: Door, scratch: Path) -> list[str]:
    """What to put in front of the command so that every user can reach what the server consists of."""
    script = ""
    for number, path in enumerate(_closed(door)):
        closed, needed = path
        script += OPEN.format(
            stage=shlex.quote(str(scratch / f"stage-{number}")),
            name=shlex.quote(needed.name),
            needed=shlex.quote(str(needed)),
            closed=shlex.quote(str(closed)),
        )
    return ["unshare", "--mount", "sh", "-c", script + 'exec "$@"', "sh"]


def _closed(door: Door) -> set[tuple[Path, Path]]:
    """Each folder that only its owner may enter, and what is needed in it."""
    found = set()
    for needed in (Path(sys.base_prefix).resolve(), Path(sys.prefix), ROOT, door.program):
        chain = [*reversed(needed.parents), needed]
        for folder, below in itertools.pairwise(chain):
            if not stat.S_IMODE(os.stat(folder).st_mode) & stat.S_IXOTH:
                found.add((folder, below))
                break
    return found
