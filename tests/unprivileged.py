"""Lets a server run as another user where only root can reach the interpreter, as in a home folder."""

import itertools
import os
import shlex
import stat
import sys
from pathlib import Path

from tests.server import ROOT, Door

# In a mount namespace, a closed folder is replaced by one with only what is needed of it.
OPEN = """
set -e
mkdir -p {stage}/{name}
chmod 755 {stage} {stage}/{name}
mount --bind {needed} {stage}/{name}
mount --rbind {stage} {closed}
"""


def reachable(door: Door, scratch: Path) -> list[str]:
    """The prefix of a command with which every user can reach the server's files."""
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
    """Each folder that only its owner may enter, and what is needed of it."""
    found = set()
    for needed in (Path(sys.base_prefix).resolve(), Path(sys.prefix), ROOT, door.program):
        chain = [*reversed(needed.parents), needed]
        for folder, below in itertools.pairwise(chain):
            if not stat.S_IMODE(os.stat(folder).st_mode) & stat.S_IXOTH:
                found.add((folder, below))
                break
    return found
