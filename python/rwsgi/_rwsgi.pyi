from collections.abc import Callable

def main(
    argv: list[str], command: list[str] | None = None, complete: Callable[[], None] | None = None
) -> int:
    """Run the server with this command line, whose first element names the command; return its exit code.

    `command`: what was typed, in an interpreter that this process has become for the server. `complete` does
    in a mold what was left out of the interpreter's start.
    """

def control(argv: list[str]) -> int:
    """Ask a running server with this command line, whose first element names the command; return its code."""
