"""The effect on other clients of many slow readers of a large answer, and the front's memory for them.

python -m benches.readers [--readers 500] [--bytes 20971520] [--rate 10000]
"""

from __future__ import annotations

import argparse
import selectors
import socket
import tempfile
import threading
import time
from pathlib import Path

from tests import processes
from tests.server import ROOT

from benches import wrk
from benches.measuring import RWSGI, Server, Spread, running, table

CHILDREN = 4
MEBIBYTE = 1 << 20
SETTLES = 60
"""Seconds after which the memory of disconnected clients should be returned."""


def main() -> None:
    options = parse()
    wrk.need()
    with tempfile.TemporaryDirectory() as logs:
        server = Server("rwsgi", options.server, ROOT / "tests/apps", Path(logs) / "log")
        with running([server]):
            server.wait_until_it_answers()
            front = next(pid for pid, role in server.processes().items() if role == "front")
            # The baseline of the front's memory.
            put(server, 1)
            alone = [put(server, options.seconds)]
            before = private(front)
            with Readers(server, options) as readers:
                most = readers.wait_until_given(front)
                beside = []
                for _ in range(options.rounds):
                    beside.append(put(server, options.seconds))
                    most = max(most, private(front))
                read = readers.read
            for _ in range(options.rounds - 1):
                alone.append(put(server, options.seconds))
            time.sleep(SETTLES)
            after = private(front)
    print(
        f"{options.readers} readers of {options.bytes / MEBIBYTE:.0f} MiB at {options.rate} B/s each;",
        end=" ",
    )
    print(f"{read / MEBIBYTE:.0f} MiB read by all of them\n")
    print(table(["", "requests a second", "99 % within (ms)"], [row("alone", alone), row("beside", beside)]))
    print()
    head = ["front, private", "MiB"]
    print(
        table(
            head, [["before", f"{before:.1f}"], ["most", f"{most:.1f}"], ["a minute after", f"{after:.1f}"]]
        )
    )


def parse() -> argparse.Namespace:
    usual = (
        f"{RWSGI} --processes {CHILDREN} --threads 1 --max-queue 4096 --queue-timeout 1h "
        "--buffer-disk 1000G --bind 127.0.0.1:{port} large"
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default=usual, metavar="COMMAND", help="another server of four processes")
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--bytes", type=int, default=20 * MEBIBYTE, help="of each answer")
    parser.add_argument("--rate", type=int, default=10_000, help="bytes a second that each reads")
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def put(server: Server, seconds: int) -> wrk.Counted:
    return wrk.load(server.url, wrk.Load(16), seconds)


def private(front: int) -> float:
    return processes.private(front) / MEBIBYTE


def row(name: str, counted: list[wrk.Counted]) -> list[object]:
    rates = [one.requests / one.seconds for one in counted]
    return [name, Spread(rates, places=0), Spread([one.most for one in counted])]


class Readers:
    """Clients that request a large answer and read it slowly, until all of them disconnect at once."""

    def __init__(self, server: Server, options: argparse.Namespace) -> None:
        self.read = 0
        self._server = server
        self._options = options
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Readers:
        self._sockets = [self._ask() for _ in range(self._options.readers)]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _ask(self) -> socket.socket:
        client = socket.socket()
        # Small socket buffers in the kernel.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect(self._server.address)
        client.sendall(b"GET /parts/%d/100000 HTTP/1.1\r\nHost: readers\r\n\r\n" % self._options.bytes)
        client.setblocking(False)
        return client

    def wait_until_given(self, front: int) -> float:
        """Until the application has produced all answers; returns the front's maximum memory."""
        most = 0.0
        while self._server.log().count("bytes have been given") < self._options.readers:
            most = max(most, private(front))
            time.sleep(0.2)
        return most

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in self._sockets:
                selector.register(each, selectors.EVENT_READ)
            while not self._ends.wait(1):
                for key, _ in selector.select(0):
                    assert isinstance(key.fileobj, socket.socket)
                    self.read += len(key.fileobj.recv(self._options.rate))


if __name__ == "__main__":
    main()
