def main(argv: list[str]) -> int:
    """Run the server with this command line, whose first element names the command; return its exit code."""

def control(argv: list[str]) -> int:
    """Ask a running server with this command line, whose first element names the command; return its code."""
