"""Crowds of clients that do little: some send a body byte by byte, some are idle."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from benches.measuring import Failed

PATIENCE = 10.0
BEAT = 0.2
"""Seconds between two bytes of a body."""


@contextmanager
def dripping(address: tuple[str, int], clients: int) -> Iterator[None]:
    """Run clients that send endless bodies, while the context is active."""
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    enough = threading.Event()
    with ExitStack() as stack:
        sockets = [connected(stack, address) for _ in range(clients)]
        for client in sockets:
            client.sendall(head)

        def drip() -> None:
            while not enough.wait(BEAT):
                for client in sockets:
                    # Closed connections do not matter here; only the effect on other clients does.
                    with suppress(OSError):
                        client.send(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            # After a few bytes of each client, the server has accepted all of them.
            enough.wait(5 * BEAT)
            yield
        finally:
            enough.set()
            thread.join()


@contextmanager
def idle(address: tuple[str, int], clients: int) -> Iterator[None]:
    """Keep idle connections open, each of which has received one answer, while the context is active."""
    with ExitStack() as stack:
        sockets = []
        for number in range(clients):
            try:
                client = connected(stack, address)
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = client.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise Failed(f"client {number} has no answer")
                if b"connection: close" in answer.lower():
                    raise Failed("no connection is kept")
            except OSError as error:
                raise Failed(f"client {number}: {error}") from error
            sockets.append(client)
        yield
        poll = select.poll()
        for client in sockets:
            poll.register(client, select.POLLRDHUP)
        if closed := len(poll.poll(0)):
            raise Failed(f"{closed} of {clients} idle connections were closed")


def connected(stack: ExitStack, address: tuple[str, int]) -> socket.socket:
    client = stack.enter_context(socket.create_connection(address, PATIENCE))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client
