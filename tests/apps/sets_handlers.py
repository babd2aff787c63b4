"""An application that sets handlers for the server's signals."""

import signal

from probe import application as application  # type: ignore[import-not-found]
from probe import log_line

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, lambda *_: log_line("handled at import"))
