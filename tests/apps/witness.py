"""An application that reports its requests in the log, where none is missed, and in its answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    seen["body"] = environ["wsgi.input"].read().decode("latin-1")
    text = f"{seen['REQUEST_METHOD']} {seen['REQUEST_URI']} {seen['body']!r}"
    sys.stderr.write(f"saw {text}\n")
    sys.stderr.flush()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
