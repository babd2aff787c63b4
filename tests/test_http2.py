"""HTTP/2 without TLS: the same requests and answers as over HTTP/1, concurrently on one connection."""

import hashlib
import json
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.client import Client
from tests.conftest import Start
from tests.http2 import Http2Client, Stream
from tests.server import Server

ON = ("--http2", "on")


def test_the_application_sees_the_same_request(start: Start) -> None:
    server = start(*ON, "probe")
    with Http2Client(server.address) as client:
        crumbs = [("cookie", "a=1"), ("x-asked", "yes"), ("cookie", "b=2")]
        stream = client.get("/environ?a=b%20c", fields=crumbs)
    seen = json.loads(stream.body)
    expected = {
        "SERVER_PROTOCOL": "HTTP/2.0",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=b%20c",
        "HTTP_HOST": "site",
        "SERVER_NAME": "site",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_ASKED": "yes",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
    }
    assert {name: seen.get(name) for name in expected} == expected
    # The answer is the same as over HTTP/1, except for the lower-case names of HTTP/2.
    with Client(server.address) as plain:
        fields = plain.get("/environ").headers.items()
    assert [name for name, _ in stream.fields] == [name.lower() for name, _ in fields]


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_a_body_of_any_size_arrives(start: Start, size: int) -> None:
    server = start(*ON, "probe")
    body = os.urandom(size)
    with Http2Client(server.address) as client:
        streams = [client.send("/body", "POST", body) for _ in range(3)]
        client.finish(streams)
    for stream in streams:
        assert hashlib.sha256(body).hexdigest().encode() in stream.body, stream.status


def hold(server: Server, client: Http2Client, name: str) -> tuple[Stream, Path, int]:
    """A running request, the gate that releases it, and the process that serves it."""
    gate = server.folder / name
    os.mkfifo(gate)
    stream = client.send(f"/hold?gate={gate}")
    return stream, gate, int(server.wait_for(f"^holding {gate} in (.*)$")[1])


def test_requests_of_one_connection_are_spread_over_all_children(start: Start) -> None:
    server = start(*ON, "--processes", "2", "--threads", "2", "probe", children=2)
    with Http2Client(server.address) as client:
        held = [hold(server, client, f"gate-{number}") for number in range(4)]
        assert Counter(pid for *_, pid in held) == dict.fromkeys(server.children(2).values(), 2)
        for stream, gate, _ in reversed(held):
            gate.write_bytes(b"go")
            client.finish([stream])
            assert stream.status == 200


def test_a_child_that_dies_costs_its_own_request(start: Start) -> None:
    server = start(*ON, "--processes", "2", "probe", children=2)
    with Http2Client(server.address) as client:
        for _ in range(5):
            dying = client.send("/leave?how=os._exit")
            others = [client.send("/") for _ in range(5)]
            client.finish([dying, *others])
            assert dying.status == 502
            assert {stream.status for stream in others} == {200}


def test_a_response_that_breaks_off_resets_its_stream_alone(start: Start) -> None:
    server = start(*ON, "probe")
    with Http2Client(server.address) as client:
        broken, other = client.send("/broken"), client.send("/")
        client.finish([broken, other])
        assert (broken.reset, broken.ended) == (True, False)
        assert other.status == 200
        assert client.get("/").status == 200


def test_http1_goes_on_beside_it(start: Start) -> None:
    server = start(*ON, "probe")
    with Http2Client(server.address) as client, Client(server.address) as plain:
        assert client.get("/").status == 200
        assert plain.get("/").status == 200
        assert client.get("/").status == 200
    # Byte by byte, the version stays unknown for a long time.
    with Client(server.address) as slow:
        for byte in b"PRI / HTTP/1.1\r\nHost: a\r\n\r\n":
            slow.socket.sendall(bytes([byte]))
        assert slow.answer().status == 200


@pytest.mark.parametrize("options", [(), ("--http2", "auto"), ("--http2", "off")])
def test_http2_needs_the_option(start: Start, options: tuple[str, ...]) -> None:
    server = start(*options, "probe")
    with Client(server.address) as client:
        client.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.answer().status in (400, 505)


def ask_on(server: Server, enough: int) -> list[Stream]:
    """Ten requests at a time, on a new connection whenever the server closes one."""
    done: list[Stream] = []
    while len(done) < enough:
        with Http2Client(server.address) as client:
            while not client.goaway and len(done) < enough:
                streams = [client.send("/") for _ in range(10)]
                client.finish(streams)
                done += streams
    return done


def test_recycled_children_and_reloads_lose_nothing(start: Start) -> None:
    server = start(*ON, "--processes", "2", "--max-requests-per-child", "50", "probe", children=2)
    found: list[Stream] = []
    asking = threading.Thread(target=lambda: found.extend(ask_on(server, 2000)))
    asking.start()
    for generation in (2, 3):
        server.send_signal(signal.SIGHUP)
        server.wait_for(f" gen={generation} reloaded$")
    asking.join()
    assert Counter((stream.status, stream.ended) for stream in found) == {(200, True): 2000}


def test_a_stop_finishes_what_runs(start: Start) -> None:
    server = start(*ON, "--processes", "2", "probe", children=2)
    with Http2Client(server.address) as client:
        held, gate, _ = hold(server, client, "gate")
        server.send_signal(signal.SIGTERM)
        client.until(lambda: client.goaway)
        gate.write_bytes(b"go")
        client.finish([held])
        assert held.status == 200
    assert server.wait() == 0


def test_a_client_that_resets_gives_its_request_up(start: Start) -> None:
    server = start(*ON, "--access-log", "-", "--access-log-format", "%m %U %H %s", "probe")
    with Http2Client(server.address) as client:
        assert client.get("/", "HEAD").status == 200
        server.output.until(lambda lines: "HEAD / HTTP/2.0 200" in lines or None, "line")
        held = server.hold()
        for _ in range(10):
            client.reset(client.send("/"))
        held.release()
        assert held.answer().status == 200
        assert client.get("/").status == 200


def test_a_client_that_resets_on_and_on_is_cut_off(start: Start) -> None:
    server = start(*ON, "probe")
    with Http2Client(server.address) as client, pytest.raises(OSError):
        for _ in range(1000):
            client.reset(client.send("/"))
    assert server.get("/").status == 200
