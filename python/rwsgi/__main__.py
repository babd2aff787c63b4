"""The commands of a virtual environment: the server, running in this interpreter, and what asks it."""

import sys
from typing import NoReturn

from rwsgi import _rwsgi


def entry() -> NoReturn:
    """Run the command line in `sys.argv`, and leave with its exit code."""
    sys.exit(_rwsgi.main(sys.argv))


def control() -> NoReturn:
    """Run `rwsgictl` with the command line in `sys.argv`, and leave with its exit code."""
    sys.exit(_rwsgi.control(sys.argv))


if __name__ == "__main__":
    entry()
