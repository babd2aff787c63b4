"""An application that prints, raises and exits on demand."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    act, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if act == "/print":
        sys.stderr.write("x" * int(query) + "\n")
    elif act == "/descriptor":
        os.write(int(query), b"written by number\n" * 4096)
    elif act == "/streams":
        # Beyond ASCII, and a surrogate for bytes that are not text.
        print("café ☃")
        environ["wsgi.errors"].write("café ☃ \udcff\n")
        assert sys.stdin.read() == ""
    elif act == "/raise":
        raise ValueError("on purpose " + "y" * int(query or 0))
    elif act == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
