"""Clients that send requests continuously, and record every wrong answer."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count

from tests.client import Answer, Client
from tests.server import Server


class Load:
    """The results of the clients."""

    def __init__(self, address: tuple[str, int] | str, target: str, enough: int | None) -> None:
        self.answered = 0
        self.errors: list[str] = []
        self.bodies: Counter[bytes] = Counter()
        self._address = address
        self._target = target
        self._enough = enough
        self._stop = threading.Event()
        self._news = threading.Condition()

    def ask_on(self) -> None:
        """One request after the other over one connection, as long as the server keeps it."""
        client = Client(self._address)
        try:
            while not self._stop.is_set():
                answer = client.get(self._target)
                self._note(answer)
                if answer.headers["Connection"] == "close":
                    client.close()
                    client = Client(self._address)
        except (OSError, HTTPException) as error:
            self._fail(repr(error))
        finally:
            client.close()

    def ask_anew(self) -> None:
        """A new connection for each request."""
        try:
            while not self._stop.is_set():
                with Client(self._address) as client:
                    self._note(client.get(self._target, {"Connection": "close"}))
        except (OSError, HTTPException) as error:
            self._fail(repr(error))

    def wait(self, more: int) -> None:
        """Wait until this many more requests were answered."""
        with self._news:
            until = self.answered + more
            assert self._news.wait_for(lambda: self.answered >= until or self.errors, timeout=60)
        assert self.errors == []

    def stop(self) -> None:
        self._stop.set()

    def finished(self) -> bool:
        """Whether enough requests were answered, without an error."""
        ended = self._stop.wait(120)
        assert self.errors == [], f"{self.errors[:5]} among {self.answered} answers"
        return ended

    def _note(self, answer: Answer) -> None:
        with self._news:
            self.answered += 1
            self.bodies[answer.body] += 1
            if answer.status != 200:
                self.errors.append(f"{answer.status}: {answer.body!r}")
            if self.errors or self.answered == self._enough:
                self._stop.set()
            self._news.notify_all()

    def _fail(self, error: str) -> None:
        with self._news:
            self.errors.append(error)
            self._stop.set()
            self._news.notify_all()


@contextmanager
def under_load(
    server: Server, target: str = "/", *, keeping: int = 2, anew: int = 2, enough: int | None = None
) -> Iterator[Load]:
    """Clients with kept and with new connections, until the end of the context or until there are enough."""
    load = Load(server.address, target, enough)
    ways: list[Callable[[], None]] = [load.ask_on] * keeping + [load.ask_anew] * anew
    threads = [
        threading.Thread(target=way, name=f"client{number}")
        for number, way in zip(count(), ways, strict=False)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join()
    assert load.errors == [], f"{load.errors[:5]} among {load.answered} answers:\n{server.log}"
