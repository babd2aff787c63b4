"""Runs the server as a script of an interpreter that this process has become for it.

The command does this in two cases. `--python` or `VIRTUAL_ENV` names an environment without the server: then
the interpreter is that of the environment. Or other threads were running before the server, those of an
agent: then it is the same interpreter, started without `site` and so without the agent, and each mold
completes the start, so that the agent's threads run there.

Only the extension module of the package is loaded, by its path: the package's own environment is not on
`sys.path`. Arguments: the path of that module; `-`, or the code that was left out of the start; the program's
name; the arguments of the server and the entries of `sys.path`, each list after its length; then the original
command line.
"""

from __future__ import annotations

import posix
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

# Modules imported here stay in the supervisor: `typing` is large.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

COMPLETE = "-"
WITHOUT_SITE = "site"


def fail(reason: str) -> NoReturn:
    sys.stderr.write(f"rwsgi: {reason}\n")
    sys.exit(78)


def counted(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of a list, by the number before them, and the rest."""
    end = int(words[0]) + 1
    return words[1:end], words[end:]


def enter() -> NoReturn:
    module, left_out, name, *words = sys.argv[1:]
    arguments, words = counted(words)
    path, command = counted(words)
    free_threaded = "t" in sys.abiflags
    if sys.implementation.name != "cpython" or sys.version_info < (3, 10) or free_threaded:
        kind = "a free-threaded build of" if free_threaded else sys.implementation.name
        fail(
            f"{sys.executable} is {kind} {sys.version_info[0]}.{sys.version_info[1]}, but this rwsgi "
            f"(of {module}) runs in CPython 3.10 or later, not free-threaded: name such an environment"
        )
    # The folder of this script does not contain top-level modules.
    if sys.path[:1] == [__file__.rpartition("/")[0]]:
        del sys.path[0]
    sys.argv = [name, *arguments]
    loader = ExtensionFileLoader("_rwsgi", module)
    spec = ModuleSpec("_rwsgi", loader, origin=module)
    try:
        loaded = loader.create_module(spec)
        loader.exec_module(loaded)
        loaded.__file__ = module
    except ImportError as error:
        fail(f"{sys.executable} cannot load the server of {module}: {error}")
    if left_out == COMPLETE:
        sys.exit(loaded.main(sys.argv, command))
    start = posix.getcwd()
    # As `site` does, relative to the folder in which the server was started.
    sys.path[:] = [entry if entry.startswith("/") else f"{start}/{entry}" for entry in sys.path]

    def complete() -> None:
        """Run in a mold what was left out of the start."""
        sys.orig_argv = command
        if left_out == WITHOUT_SITE:
            import site

            site.main()
        # Entries that the program running the server has added, as zipped applications do.
        sys.path[:] = path + [entry for entry in sys.path if entry not in path]

    sys.exit(loaded.main(sys.argv, command, complete))


if __name__ == "__main__":
    enter()
