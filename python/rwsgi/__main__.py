"""The `rwsgi` command of a virtual environment: the same server, running in this interpreter."""

import sys
from typing import NoReturn

from rwsgi import _rwsgi


def entry() -> NoReturn:
    """Run the command line in `sys.argv`, and leave with its exit code."""
    sys.exit(_rwsgi.main(sys.argv))


if __name__ == "__main__":
    entry()
