"""End to end: the real server, through both doors, with real sockets and signals."""
