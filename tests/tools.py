"""Programs that the tests drive."""

import shutil


def tool(name: str, package: str) -> str:
    """The path of a program; `package` is Debian's that has it."""
    found = shutil.which(name)
    # Not skipped: what has not been run must not look as if it had passed.
    assert found, f"{name} is not installed: run `make test-end-to-end` as root, or apt install {package}"
    return found
