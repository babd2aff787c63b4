"""The server as process 1 of a container."""

import os
import signal
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import Start
from tests.server import READY, Server
from tests.tools import tool
from tests.waiting import until_equal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a namespace of processes")


@pytest.fixture
def contained(start: Start) -> Server:
    """A server that is process 1, as in `docker run` without an init."""
    before = [tool("unshare", "util-linux"), "--pid", "--fork", "--mount-proc", "--kill-child"]
    server = start("--processes", "2", "probe", children=None, before=before)
    match = server.wait_for(READY.pattern)
    assert match["pid"] == "1"
    server.urls = match["urls"].split(",")
    server.url = server.urls[0]
    server.children(2)
    return server


def init_of(server: Server) -> int:
    """Process 1 as seen from outside."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return int(children.read_text())


def test_it_serves_and_its_processes_die_with_it(contained: Server) -> None:
    answer = contained.get("/").json()
    assert answer["parent"] == 1
    os.kill(init_of(contained), signal.SIGTERM)
    assert contained.wait() == 0


def test_it_reaps_what_others_leave_behind(contained: Server) -> None:
    for _ in range(5):
        contained.get("/orphan")
    contained.wait_for_all("^orphan ends$", 5)
    until_equal(lambda: [each for each in processes.of_session(contained.pid) if each.is_zombie], [])
    assert contained.get("/").status == 200
    os.kill(init_of(contained), signal.SIGTERM)
    assert contained.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully(contained: Server, number: signal.Signals) -> None:
    """The kernel ignores signals for process 1 unless it handles them, and for all others with it."""
    held = contained.hold()
    os.kill(init_of(contained), number)
    contained.wait_for(r" stopping$")
    held.release()
    assert held.answer().status == 200
    assert contained.wait() == 0


def test_a_child_that_is_killed_is_replaced(contained: Server) -> None:
    former = contained.children(2)[0]
    outside = {title: pid for pid, title in ((p.pid, p.title) for p in contained.tree())}
    os.kill(outside["rwsgi: child 0 gen 1 (probe)"], signal.SIGKILL)
    assert contained.replacement(0, former) != former
    os.kill(init_of(contained), signal.SIGTERM)
    assert contained.wait() == 0
