"""A broken-off answer never looks complete, whatever its framing."""

import os
import signal

import pytest

from tests.client import Client
from tests.conftest import Start


def everything(client: Client) -> tuple[bytes, bool]:
    """The received bytes, and whether the connection was reset afterwards."""
    arrived = b""
    while True:
        try:
            part = client.socket.recv(65536)
        except ConnectionResetError:
            return arrived, True
        if not part:
            return arrived, False
        arrived += part


def test_chunks_lack_their_end(start: Start) -> None:
    client = start("probe").client()
    client.send("/broken")
    arrived, _ = everything(client)
    head, _, body = arrived.partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked\r\n" in head.lower() + b"\r\n"
    assert body == b"4\r\none\n\r\n"


def test_an_answer_that_ends_with_its_connection_ends_with_a_reset(start: Start) -> None:
    server = start("probe")
    with Client(server.address) as client:
        client.socket.sendall(b"GET /broken HTTP/1.0\r\n\r\n")
        arrived, was_reset = everything(client)
    assert arrived.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"content-length" not in arrived.lower()
    assert was_reset
    # A complete answer does not end with a reset.
    gate = server.folder / "gate"
    os.mkfifo(gate)
    with Client(server.address) as client:
        client.socket.sendall(f"GET /stream?gate={gate} HTTP/1.0\r\n\r\n".encode())
        server.wait_for("^holding ")
        gate.write_text("go on")
        arrived, was_reset = everything(client)
    assert (arrived.partition(b"\r\n\r\n")[2], was_reset) == (b"one\ntwo\n", False)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_end_of_the_server_breaks_the_answer_off(start: Start, version: str) -> None:
    server = start("probe")
    gate = server.folder / "gate"
    os.mkfifo(gate)
    with Client(server.address) as client:
        client.socket.sendall(f"GET /stream?gate={gate} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        server.wait_for("^holding ")
        assert client.socket.recv(4) == b"HTTP"
        server.send_signal(signal.SIGQUIT)
        arrived, was_reset = everything(client)
    assert b"0\r\n\r\n" not in arrived
    assert was_reset == (version == "1.0")
    assert server.wait() == 0


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_killed_child_breaks_the_answer_off(start: Start, version: str) -> None:
    server = start("probe")
    gate = server.folder / "gate"
    os.mkfifo(gate)
    with Client(server.address) as client:
        client.socket.sendall(f"GET /stream?gate={gate} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        pid = int(server.wait_for(r"^holding .* in (\d+)$")[1])
        os.kill(pid, signal.SIGKILL)
        arrived, was_reset = everything(client)
    assert b"one\n" in arrived
    assert b"0\r\n\r\n" not in arrived
    assert was_reset == (version == "1.0")
