"""A child that was taken over: whatever it writes into the shared memory, the others are served."""

import os
import signal
import threading
from itertools import count

import pytest

from tests.apps.hostile import ATTACKS
from tests.client import Client
from tests.conftest import Start
from tests.server import Server

TIMES = 30

OVERWRITTEN = " a child has overwritten the queue of requests, which is put right$"


class Asking:
    """A client that compares each answer with its question."""

    def __init__(self, server: Server, name: str) -> None:
        self.wrong: list[str] = []
        self.right = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(server, name), name=name)
        self._thread.start()

    def _ask(self, server: Server, name: str) -> None:
        try:
            with Client(server.address) as client:
                for number in count():
                    if self._stop.is_set():
                        return
                    answer = client.get(f"/?{name}-{number}")
                    if (answer.status, answer.body) != (200, f"{name}-{number}".encode()):
                        self.wrong.append(f"{name}-{number}: {answer.status} {answer.body!r}")
                    self.right += 1
        except OSError as error:
            self.wrong.append(f"{name}: {error!r}")

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("attack", ATTACKS)
def test_other_clients_get_their_answers(start: Start, attack: str) -> None:
    server = start("--processes", "4", "--queue-timeout", "5s", "hostile", children=4)
    front = server.front()
    others = [Asking(server, f"client{number}") for number in range(6)]
    try:
        for _ in range(TIMES):
            # The child may be killed for it.
            assert server.get(f"/attack/{attack}").status in (200, 502)
    finally:
        for other in others:
            other.end()
    assert [wrong for other in others for wrong in other.wrong] == []
    assert all(other.right for other in others)
    assert server.front() == front
    assert "panicked" not in str(server.log)
    if attack in ("tail", "head"):
        # It is not only that nothing was written.
        server.wait_for(OVERWRITTEN)
    assert server.get("/?still").body == b"still"


def test_the_next_front_begins_with_a_queue_of_its_own(start: Start) -> None:
    server = start("--processes", "4", "hostile", children=4)
    server.get("/attack/head")
    os.kill(server.front(), signal.SIGKILL)
    server.wait_for_all(" front serving$", 2)
    for number in range(10):
        assert server.get(f"/?{number}").body == str(number).encode()
