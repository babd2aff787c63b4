"""A compromised child: whatever it writes into the shared memory, other clients are served."""

import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from tests.apps.hostile import ATTACKS
from tests.client import PATIENCE, Client
from tests.conftest import Start
from tests.server import Server
from tests.test_upgrade import stop, successor

TIMES = 30

# More than the front keeps in memory: the child that has the request asks for a file.
LONG = b"x" * 200_000

REFUSED = (
    " asked for the body of a request, or gave a file for the answer, that another process has: refused$"
)
FRAMES = " wrote what no child writes into the exchange"
OVERWRITTEN = " a child has overwritten the queue of requests, which is put right$"


class Asking:
    """A client that compares each answer with its request."""

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
                    text = f"{name}-{number}"
                    target = f"/{('', 'file')[number % 2]}?{text}"
                    body = LONG if number % 4 > 1 else b""
                    answer = client.post(target, body) if body else client.get(target)
                    if (answer.status, answer.body) != (200, text.encode() + body):
                        self.wrong.append(f"{target}: {answer.status} {answer.body[:100]!r}")
                    self.right += 1
        except OSError as error:
            self.wrong.append(f"{name}: {error!r}")

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


ROOT = os.geteuid() == 0


@pytest.fixture(params=["root and --user", "without root"] if ROOT else ["without root"])
def crew(request: pytest.FixtureRequest, start: Start, as_nobody: dict[str, Any]) -> Callable[[], Server]:
    """Starts four processes, of which at most the supervisor is root."""

    def begin() -> Server:
        user: tuple[str, ...] = ()
        more = dict(as_nobody)
        if request.param != "without root":
            user = ("--user", "nobody")
        elif ROOT:
            drop = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
            more["before"] = [*as_nobody["before"], *drop]
        options = (*user, "--processes", "4", "--queue-timeout", "5s", "hostile")
        return start(*options, children=4, **more)

    return begin


def check(server: Server, front: int, others: list[Asking]) -> None:
    """Others were answered all the time, and still are."""
    for other in others:
        other.end()
    assert [wrong for other in others for wrong in other.wrong] == []
    assert all(other.right for other in others)
    assert server.front() == front
    assert "panicked" not in str(server.log)
    assert server.get("/?still").body == b"still"


@pytest.mark.parametrize("attack", ATTACKS)
def test_other_clients_get_their_answers(crew: Callable[[], Server], attack: str) -> None:
    server = crew()
    front, others = server.front(), [Asking(server, f"client{number}") for number in range(6)]
    try:
        for _ in range(TIMES):
            # The child may be killed for it, or its answer may have no head.
            assert server.get(f"/attack/{attack}").status in (200, 500, 502)
    finally:
        for other in others:
            other.end()
    check(server, front, others)
    if attack in ("tail", "head"):
        # Shows that the attack has really overwritten something.
        server.wait_for(OVERWRITTEN)
    if attack in ("ask", "give", "copy"):
        server.wait_for(REFUSED)
    if attack in ("free_often", "answer_beside"):
        server.wait_for(FRAMES)


def test_other_clients_get_their_answers_beside_several_attacks(crew: Callable[[], Server]) -> None:
    server = crew()
    front, others = server.front(), [Asking(server, f"client{number}") for number in range(4)]

    def attack(names: list[str]) -> list[int]:
        return [server.get(f"/attack/{name}").status for name in names]

    try:
        orders = [random.Random(number).sample(sorted(ATTACKS), len(ATTACKS)) for number in range(2)]
        with ThreadPoolExecutor() as attackers:
            # They lose their own requests to each other.
            found = {status for statuses in attackers.map(attack, orders) for status in statuses}
    finally:
        for other in others:
            other.end()
    assert found <= {200, 500, 502, 503}
    check(server, front, others)


def test_a_line_about_requests_in_flight_is_bounded(start: Start) -> None:
    server = start("--processes", "1", "--queue-timeout", "5s", "hostile")
    clients = [server.client() for _ in range(100)]
    clients[0].send("/attack/die_for_all")
    for client in clients[1:]:
        client.send(f"/?{'x' * 8000}")
    died = server.wait_for(" child=0 .* died$")
    assert len(died.string) < 2000
    for client in clients:
        client.close()
    assert server.get("/?still").body == b"still"


def check_descriptors(server: Server, times: int) -> None:
    """Bodies and answers pass as files, and none is refused."""
    for number in range(times):
        with server.client() as client:
            answer = client.post(f"/file?{number}", LONG)
        assert (answer.status, answer.body) == (200, str(number).encode() + LONG)
    assert REFUSED.rstrip("$") not in str(server.log)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_front_knows_every_serving_child(start: Start, threads: str) -> None:
    options = ("--processes", "2", "--threads", threads, "--max-requests-per-child", "5")
    server = start(*options, "hostile", children=2)
    check_descriptors(server, 50)
    os.kill(server.front(), signal.SIGKILL)
    server.wait_for_all(" front serving$", 2)
    check_descriptors(server, 50)
    for generation in (2, 3):
        server.send_signal(signal.SIGHUP)
        server.wait_for(f" gen={generation} pid=\\d+ ready$")
        check_descriptors(server, 50)
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    check_descriptors(server, 50)
    stop(server, pid)


def test_a_child_that_is_born_beside_a_front_that_is_stopped_is_known(start: Start) -> None:
    server = start("--startup-timeout", "5s", "hostile")
    front, clients = server.front(), [server.client() for _ in range(8)]
    os.kill(front, signal.SIGSTOP)
    for client in clients:
        client.send("/file?", method="POST", body=LONG)
    server.send_signal(signal.SIGTTIN)
    server.wait_for(" child=1 gen=1 pid=\\d+ ready$")
    os.kill(front, signal.SIGCONT)
    for client in clients:
        assert client.answer().body == LONG
        client.close()
    check_descriptors(server, 10)


def test_the_next_front_begins_with_a_queue_of_its_own(start: Start) -> None:
    server = start("--processes", "4", "hostile", children=4)
    server.get("/attack/head")
    os.kill(server.front(), signal.SIGKILL)
    server.wait_for_all(" front serving$", 2)
    for number in range(10):
        assert server.get(f"/?{number}").body == str(number).encode()
