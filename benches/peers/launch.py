"""Starts the servers that are libraries without a command.

python launch.py bjoern|fastwsgi MODULE:CALLABLE PORT PROCESSES
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def main() -> None:
    server, name, port, processes = sys.argv[1:]
    sys.path.insert(0, os.getcwd())
    module, _, attribute = name.partition(":")
    application = getattr(import_module(module), attribute)
    {"bjoern": bjoern, "fastwsgi": fastwsgi}[server](application, int(port), int(processes))


def bjoern(application: WSGIApplication, port: int, processes: int) -> None:
    """As in its documentation: listen, then fork."""
    import bjoern

    bjoern.listen(application, "127.0.0.1", port)
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    bjoern.run()


def fastwsgi(application: WSGIApplication, port: int, processes: int) -> None:
    import fastwsgi

    fastwsgi.server.tcp_nodelay = 1
    fastwsgi.run(application, "127.0.0.1", port, workers=processes)


if __name__ == "__main__":
    main()
