"""External programs for the tests."""

import shutil

import pytest


def tool(name: str, package: str) -> str:
    """The path of a program in Debian's `package`; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt install {package}")
    return found
