"""The commands of a virtual environment: the server, running in this interpreter, and its client."""

import signal
import sys
from typing import NoReturn

# The exit code of an unusable configuration.
UNFIT = 78


def entry() -> NoReturn:
    """Run the command line in `sys.argv`, and exit with its exit code."""
    refuse_free_threading()
    from rwsgi import _rwsgi

    sys.exit(_rwsgi.main(sys.argv))


def control() -> NoReturn:
    """Run `rwsgictl` with the command line in `sys.argv`, and exit with its exit code."""
    refuse_free_threading()
    from rwsgi import _rwsgi

    # Python's handler only sets a flag at Ctrl-C, and the wait for an answer would continue.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_rwsgi.control(sys.argv))


def refuse_free_threading() -> None:
    """Checked before the import of the extension module, which such a build does not find."""
    if "t" in sys.abiflags:
        version = sys.version.split()[0]
        print(
            f"rwsgi: CPython {version} is a free-threaded build, which rwsgi does not support yet: "
            "use one that has the global lock",
            file=sys.stderr,
        )
        sys.exit(UNFIT)


if __name__ == "__main__":
    entry()
