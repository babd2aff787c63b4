def main(argv: list[str], entered: bool = False) -> int:
    """Run the server with this command line, whose first element names the command; return its exit code.

    `entered`: the interpreter is the one that was chosen, and no other is to be started.
    """

def control(argv: list[str]) -> int:
    """Ask a running server with this command line, whose first element names the command; return its code."""
