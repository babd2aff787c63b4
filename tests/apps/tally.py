"""An application that records each request in a file shared by all children, before it answers."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from probe import wait_at  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Opened in the mold: each line is appended atomically, by whichever child.
TALLY = os.open("tally", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    os.write(TALLY, f"{query['id']}\n".encode())
    digest = hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    time.sleep(float(query["pause"]))
    if "gate" in query:
        wait_at(query["gate"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    line = f"{query['id']} {digest}\n".encode()
    if query["parts"] == "1":
        return [line * int(query["lines"])]
    return (line for _ in range(int(query["lines"])))
