"""Runs the server in another environment than its own: as a script of that environment's interpreter.

The command does so when `--python` or `VIRTUAL_ENV` names an environment in which it is not installed. Of the
package only the extension module is loaded, by its path: nothing else of its own environment is found.
Arguments: the path of that module, how many words of the command are not the server's arguments, the command.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import NoReturn


def fail(reason: str) -> NoReturn:
    sys.stderr.write(f"rwsgi: {reason}\n")
    sys.exit(78)


def enter() -> NoReturn:
    module, count, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    free_threaded = "t" in sys.abiflags
    if sys.implementation.name != "cpython" or sys.version_info < (3, 10) or free_threaded:
        kind = "a free-threaded build of" if free_threaded else sys.implementation.name
        fail(
            f"{sys.executable} is {kind} {sys.version_info[0]}.{sys.version_info[1]}, but this rwsgi "
            f"(of {module}) runs in CPython 3.10 or later, not free-threaded: name such an environment"
        )
    # The folder of this script: what it holds are no modules of these names.
    if sys.path[:1] == [__file__.rpartition("/")[0]]:
        del sys.path[0]
    spec = spec_from_file_location("_rwsgi", module)
    if spec is None or spec.loader is None:
        fail(f"{module} is no extension module of {sys.executable}")
    try:
        loaded = module_from_spec(spec)
        spec.loader.exec_module(loaded)
    except ImportError as error:
        fail(f"{sys.executable} cannot load the server of {module}: {error}")
    sys.argv = [command[0], *command[count:]]
    sys.exit(loaded.main(sys.argv, entered=True))


if __name__ == "__main__":
    enter()
