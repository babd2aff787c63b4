"""The secret key of this checkout: made on first use, kept outside the repository."""

import contextlib
import os
import tempfile
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def kept_secret(path: Path) -> str:
    """Return the key kept in `path`, making it first if there is none.

    Processes that start at the same time agree on one key: each writes a draft,
    and the first to link its draft into place wins.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    # mkstemp makes the file readable by its owner alone, and the link keeps that.
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(get_random_secret_key())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
    return path.read_text(encoding="ascii")
