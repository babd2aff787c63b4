"""Receives the data of agents in place of their service."""

import gzip
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.client import PATIENCE


class Collector:
    """Answers every request, and keeps what was sent."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def _answer(self) -> None:
                collector._keep(self._body())
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def _body(self) -> bytes:
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b"".join(self._chunks())
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def _chunks(self) -> Iterable[bytes]:
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="collector")
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def until(self, marks: Iterable[str]) -> None:
        """Wait until each of these was contained in something that was sent."""
        missing = {mark.encode() for mark in marks}
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                sent = b"\0".join(self._bodies)
                missing = {mark for mark in missing if mark not in sent}
                if not missing:
                    return
                left = deadline - time.monotonic()
                assert left > 0 and self._news.wait(left), f"not sent: {sorted(missing)}"

    def _keep(self, body: bytes) -> None:
        with self._news:
            self._bodies.append(body)
            self._news.notify_all()
