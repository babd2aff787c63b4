"""Mistakes of an application affect no other request and no other client."""

import os
import signal
from pathlib import Path

import pytest

from tests import processes
from tests.client import Client
from tests.conftest import Start
from tests.waiting import until_equal

COPY = " a process that the application forked came back into the server: it ends$"


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_child_without_its_descriptors_leaves(start: Start, tmp_path: Path, threads: str) -> None:
    server = start("--processes", "1", "--threads", threads, "mistakes")
    child = server.children(1)[0]
    # By then it listens to the supervisor. Before, it would have no channel, and would be killed for that.
    assert server.get("/?first").body == b"first"
    assert server.get("/close").body == b"closed"
    server.wait_for(f"pid={child} cause=\"exit 76 .*closed the server's descriptors.* died$")
    for number in range(8):
        assert server.get(f"/?{number}").body == str(number).encode()
    files = sorted(tmp_path.glob("own-*"))
    assert len(files) == 12
    assert [file.read_bytes() for file in files] == [b""] * 12


@pytest.mark.parametrize("way", ["raise", "exit", "return"])
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_copy_that_comes_back_into_the_server_ends(start: Start, way: str, threads: str) -> None:
    server = start("--processes", "2", "--threads", threads, "mistakes", children=2)
    ours = {process.pid for process in server.tree()}
    assert server.get(f"/fork/{way}").body == b"forked"
    server.wait_for(COPY)

    def others() -> set[int]:
        running = (process for process in processes.of_session(server.pid) if not process.is_zombie)
        return {process.pid for process in running} - ours

    until_equal(others, set())
    for number in range(20):
        assert server.get(f"/?{number}").body == str(number).encode()
    assert {process.pid for process in server.tree()} >= ours


def test_write_of_another_request_is_refused(start: Start) -> None:
    server = start("--processes", "1", "--threads", "2", "mistakes")
    with Client(server.address) as lender, Client(server.address) as borrower:
        lender.send("/lends")
        until_equal(lambda: borrower.get("/has-lent").body, b"1")
        answer = borrower.get("/borrows")
        assert answer.body == b"write() works in the thread that runs the request, and only there"
        assert "Set-Cookie" not in answer.headers
        assert lender.answer().body == b"own"


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_thread_that_outlives_its_request_cannot_affect_others(start: Start, threads: str) -> None:
    server = start("--threads", threads, "mistakes")
    for _ in range(4):
        assert server.get("/leave-thread").body == b"left"
    with server.client() as client:
        for number in range(300):
            answer = client.get(f"/?{number}")
            assert (answer.status, answer.body) == (200, str(number).encode())
            assert "Set-Cookie" not in answer.headers
    server.stop()


def test_a_child_that_is_stopped_keeps_no_request_from_the_others(start: Start) -> None:
    server = start("--processes", "2", "--shutdown-timeout", "1s", "mistakes", children=2)
    stopped = server.children(2)[0]
    os.kill(stopped, signal.SIGSTOP)
    for number in range(20):
        assert server.get(f"/?{number}").body == str(number).encode()
    server.stop()
