"""A client with one connection at a time, so that a test controls what is sent over which."""

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import Any

# A timeout: nothing here takes longer unless the server fails.
PATIENCE = 30.0

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        assert self.status == 200, f"{self.status}: {self.body!r}"
        return json.loads(self.body)


class Client:
    """One connection to a server."""

    def __init__(self, address: tuple[str, int] | str, receives: int | None = None) -> None:
        """Connect; the kernel buffers at most about `receives` unread bytes."""
        family = (
            socket.AF_UNIX
            if isinstance(address, str)
            else socket.AF_INET6
            if ":" in address[0]
            else socket.AF_INET
        )
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if receives is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self._responses: list[HTTPResponse] = []
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for response in self._responses:
            response.close()
        self.socket.close()

    def reset(self) -> None:
        """Reset the connection, which the server notices at once: a close only ends the sending side."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(
        self, target: str, *, method: str = "GET", headers: Mapping[str, str] = NO_HEADERS, body: bytes = b""
    ) -> None:
        """Send a request without reading the answer."""
        fields = {"Host": "localhost", **headers}
        if body:
            fields.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)

    def response(self, method: str = "GET") -> HTTPResponse:
        """The next response, with only its head read."""
        response = HTTPResponse(self.socket, method=method)
        self._responses.append(response)
        response.begin()
        return response

    def answer(self, method: str = "GET") -> Answer:
        """The next complete response."""
        with self.response(method) as response:
            self._responses.clear()
            return Answer(response.status, response.headers, response.read())

    def get(self, target: str, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        self.send(target, headers=headers)
        return self.answer()

    def post(self, target: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        self.send(target, method="POST", headers=headers, body=body)
        return self.answer()

    def rest(self) -> bytes:
        """All bytes until the server closes the connection."""
        parts = []
        try:
            while part := self.socket.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)
