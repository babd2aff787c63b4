"""An application that imports its site at the first request, unless it was imported before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

COMPUTING = 0.006
WAITING = 0.05
"""Seconds of each request: computing, and waiting as for a database."""


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    from benches.snowball_site import answer

    seen = answer(COMPUTING)
    time.sleep(WAITING)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{seen}\n".encode()]
