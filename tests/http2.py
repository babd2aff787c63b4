"""An HTTP/2 client with concurrent requests."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes

from tests.client import Client

# Bytes of a frame header, and the type of GOAWAY (RFC 9113 section 6.8).
HEADER = 9
GOAWAY = 7
# What a client allows that says nothing about it (RFC 9113 section 6.9.2).
DEFAULT_WINDOW = 65535

Fields = list[tuple[str, str]]


@dataclass
class Stream:
    """The part of a response received so far."""

    number: int
    unsent: bytes
    status: int = 0
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: bool = False


class Http2Client:
    """A connection without TLS, with prior knowledge."""

    def __init__(
        self, address: tuple[str, int] | str, receives: int | None = None, window: int | None = None
    ) -> None:
        """Connect; `receives` as for a `Client`, `window` bytes are let come on each stream and on all."""
        assert not isinstance(address, str)
        self.socket = Client(address, receives).socket
        self.closed = False
        self.goaway = False
        self._connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._connection.initiate_connection()
        if window is not None:
            self._connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
            self._connection.increment_flow_control_window(window - DEFAULT_WINDOW)
        self._received = b""
        self._streams: dict[int, Stream] = {}
        self._flush()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(
        self, target: str, method: str = "GET", body: bytes = b"", fields: Iterable[tuple[str, str]] = ()
    ) -> Stream:
        """Begin a request; its answer arrives by `receive`."""
        stream = Stream(self._connection.get_next_available_stream_id(), body)
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "site"), (":path", target)]
        self._connection.send_headers(stream.number, [*pseudo, *fields], end_stream=not body)
        self._streams[stream.number] = stream
        self._send_bodies()
        return stream

    def get(
        self, target: str, method: str = "GET", body: bytes = b"", fields: Iterable[tuple[str, str]] = ()
    ) -> Stream:
        """The complete answer to a request."""
        stream = self.send(target, method, body, fields)
        self.until(lambda: stream.ended or stream.reset)
        assert not stream.reset
        return stream

    def finish(self, streams: Iterable[Stream]) -> None:
        """Wait until all of these have ended."""
        for stream in streams:
            self.until(lambda stream=stream: stream.ended or stream.reset)  # type: ignore[misc]

    def reset(self, stream: Stream) -> None:
        """Cancel a request."""
        self._connection.reset_stream(stream.number)
        stream.reset, stream.unsent = True, b""
        self._flush()

    def send_all_it_may(self) -> None:
        """Send of the bodies all that the server lets us send as long as it reads no more of them."""
        unsent = -1
        while unsent != (unsent := sum(len(stream.unsent) for stream in self._streams.values())):
            self.get("/")

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.receive()

    def receive(self) -> None:
        """Receive the next data."""
        data = self.socket.recv(65536)
        if not data:
            self.closed = True
            raise ConnectionError(f"closed: {self._streams}")
        self._received += data
        while len(self._received) >= HEADER:
            length = HEADER + int.from_bytes(self._received[:3], "big")
            if len(self._received) < length:
                break
            frame, self._received = self._received[:length], self._received[length:]
            if frame[3] == GOAWAY:
                # The library would stop reading the connection, although its streams continue.
                self.goaway = True
                continue
            for event in self._connection.receive_data(frame):
                self._handle(event)
        self._send_bodies()

    def _handle(self, event: Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            fields = [(str(name), str(value)) for name, value in event.headers]
            stream.status = int(dict(fields)[":status"])
            stream.fields = fields[1:]
        elif isinstance(event, DataReceived):
            stream.body += event.data
            self._connection.acknowledge_received_data(event.flow_controlled_length, stream.number)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset, stream.unsent = True, b""

    def _send_bodies(self) -> None:
        """As far as the flow-control windows allow."""
        for stream in self._streams.values():
            while stream.unsent:
                try:
                    window = self._connection.local_flow_control_window(stream.number)
                    most = min(window, self._connection.max_outbound_frame_size)
                    if not most:
                        break
                    piece, stream.unsent = stream.unsent[:most], stream.unsent[most:]
                    self._connection.send_data(stream.number, piece, end_stream=not stream.unsent)
                except StreamClosedError:
                    stream.unsent = b""
        self._flush()

    def _flush(self) -> None:
        self.socket.sendall(self._connection.data_to_send())
