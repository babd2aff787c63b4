"""End to end: the real server, started through both doors, asked over real sockets, stopped by signals."""
