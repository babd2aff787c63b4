"""Children are killed at random under load: only their requests are lost, and none is run twice."""

import hashlib
import os
import random
import signal
import threading
import time
from collections import Counter
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests import processes
from tests.client import Client
from tests.conftest import Servers, open_door
from tests.server import Server

SECONDS = float(os.environ.get("TORTURE_SECONDS", "60"))
CLIENTS = 12
QUEUE = 64


class Loader:
    """A client that sends requests continuously, and records the result of each."""

    def __init__(self, server: Server, name: str) -> None:
        self.name = name
        self.answered: list[str] = []
        self.lost: list[str] = []
        self.broken_off: list[str] = []
        self.wrong: list[str] = []
        self._server = server
        self._stop = threading.Event()
        # Seeded by the name, so that a failure can be repeated with the same requests.
        self._random = random.Random(name)
        self.thread = threading.Thread(target=self._run, name=name)

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        number = 0
        client = Client(self._server.address)
        try:
            while not self._stop.is_set():
                number += 1
                if not self._ask(client, f"{self.name}-{number}"):
                    client.close()
                    client = Client(self._server.address)
        except OSError as error:
            self.wrong.append(f"{self.name}-{number}: {error!r}")
        finally:
            client.close()

    def _ask(self, client: Client, name: str) -> bool:
        """Send a request; false when the connection has ended with it."""
        # Most requests are small, as in practice; some fill the rings, some are passed as files.
        size = self._random.choices([0, 1000, 100_000, 2_000_000], [80, 15, 4, 1])[0]
        lines = self._random.choices([1, 10_000], [95, 5])[0]
        parts = self._random.choice([1, lines])
        pause = self._random.choices([0, 0.001, 0.02], [70, 20, 10])[0]
        body = os.urandom(size)
        target = f"/?id={name}&lines={lines}&parts={parts}&pause={pause}"
        client.send(target, method="POST" if body else "GET", body=body)
        try:
            answer = client.answer()
        except (IncompleteRead, ConnectionResetError):
            # The head of the answer had been sent, so no 502 was possible.
            self.broken_off.append(name)
            return False
        if answer.status == 502:
            self.lost.append(name)
            return True
        expected = f"{name} {hashlib.sha256(body).hexdigest()}\n".encode() * lines
        if (answer.status, answer.body) != (200, expected):
            self.wrong.append(f"{name}: {answer.status} {answer.body[:100]!r}")
        else:
            self.answered.append(name)
        return True


def torment(server: Server, children: int, until: float) -> int:
    """Kill ready children at random times; return how many were killed."""
    chance = random.Random(1)
    killed = 0
    while time.monotonic() < until:
        # The times must be random, so this does not wait for an event.
        time.sleep(chance.uniform(0, 0.08))
        ready = list(server.children(children).values())
        victims = chance.sample(ready, chance.choice([1, 1, 1, 2]))
        with processes.watched(victims) as ends:
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            assert not ends.wait(30)
        killed += len(victims)
        for victim in victims:
            server.wait_for(rf" pid={victim} .*died$")
    return killed


@pytest.mark.parametrize(("children", "threads"), [(4, 1), (2, 2)])
def test_children_killed_under_load_lose_only_what_they_had(
    tmp_path: Path, children: int, threads: int
) -> None:
    servers = Servers(open_door("binary"), tmp_path)
    try:
        server = servers.start(
            *("--processes", str(children), "--threads", str(threads), "--max-queue", str(QUEUE), "tally"),
            children=children,
        )
        loaders = [Loader(server, f"client{number}") for number in range(CLIENTS)]
        for loader in loaders:
            loader.thread.start()
        try:
            killed = torment(server, children, time.monotonic() + SECONDS / 2)
        finally:
            for loader in loaders:
                loader.stop()
            for loader in loaders:
                loader.thread.join()
        check_what_came_of_it(loaders, (tmp_path / "tally").read_text().split(), killed * threads)
        check_that_no_place_was_lost(server, children * threads)
        assert server.get("/?id=last&lines=1&parts=1&pause=0").status == 200
    finally:
        servers.end()


def check_what_came_of_it(loaders: list[Loader], run: list[str], most_lost: int) -> None:
    answered = [name for loader in loaders for name in loader.answered]
    lost = [name for loader in loaders for name in loader.lost]
    broken_off = [name for loader in loaders for name in loader.broken_off]
    wrong = [name for loader in loaders for name in loader.wrong]
    print(f"{len(answered)} answered, {len(lost)} lost, {len(broken_off)} broken off; {most_lost} may be")
    assert wrong == []
    assert len(answered) > 100
    assert 0 < len(lost) + len(broken_off) <= most_lost
    times = Counter(run)
    assert [name for name, count in times.items() if count > 1] == [], "run twice"
    assert [name for name in answered if times[name] != 1] == [], "answered and never run"


def check_that_no_place_was_lost(server: Server, threads: int) -> None:
    """Every thread runs a request, and the maximum of requests waits."""
    plain = "lines=1&parts=1&pause=0"
    held = [server.hold(f"/?id=held-{number}&{plain}") for number in range(threads)]
    waiting = [server.client() for _ in range(QUEUE)]
    for number, client in enumerate(waiting):
        client.send(f"/?id=waiting-{number}&{plain}")
    for hold in held:
        hold.release()
    assert [hold.answer().status for hold in held] == [200] * threads
    assert Counter(client.answer().status for client in waiting) == {200: QUEUE}
