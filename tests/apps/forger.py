"""An application that sends forged messages on the server's own channels.

`FORGE_WHEN` is the moment, `FORGE_SAYS` the messages in hexadecimal, which an invalid one follows.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def forge() -> None:
    says = [*map(bytes.fromhex, os.environ["FORGE_SAYS"].split()), b"garbage"]
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as line:
                if line.type == socket.SOCK_SEQPACKET:
                    for message in says:
                        line.send(message, socket.MSG_DONTWAIT)
        except OSError:
            pass


WHEN = os.environ["FORGE_WHEN"]
if WHEN == "import":
    forge()
elif WHEN == "between":
    os.register_at_fork(before=forge)
elif WHEN == "child":
    os.register_at_fork(after_in_child=forge)


def application(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
