"""The application's threads: number, identity and stacks; signal handlers and started programs."""

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Start

KIB, MIB = 1024, 1024 * 1024

# The safe stack size for this Python according to rwsgi, and a smaller one.
SAFE = 2 * MIB if sys.version_info < (3, 12) else 3 * MIB


def test_with_one_thread_the_application_runs_on_the_main_thread(start: Start) -> None:
    server = start("probe")
    answers = [server.get("/").json() for _ in range(5)]
    assert {(answer["is_main"], answer["multithread"]) for answer in answers} == {(True, False)}
    # The main thread's id is the process id.
    assert {answer["thread"] for answer in answers} == set(server.children(1).values())
    assert [answer["served"] for answer in answers] == [1, 2, 3, 4, 5]


def test_as_many_requests_run_at_once_as_there_are_threads(start: Start) -> None:
    server = start("--threads", "4", "probe")
    clients = [server.client() for _ in range(4)]
    for client in clients:
        client.send("/meet?name=all&of=4")
    answers = [client.answer().json() for client in clients]
    assert len({answer["ident"] for answer in answers}) == 4
    assert {answer["multithread"] for answer in answers} == {True}
    assert {answer["is_main"] for answer in answers} == {False}


def test_no_more_requests_run_at_once_than_there_are_threads(start: Start) -> None:
    server = start("--threads", "2", "probe")
    held = [server.hold(), server.hold()]
    third = server.send_hold()
    # The third begins after one of the first has ended, so it was not in the log before.
    assert len([line for line in server.log.lines if line.startswith("holding ")]) == 2
    held[0].release()
    assert held[0].answer().status == 200
    last = third()
    for hold in (held[1], last):
        hold.release()
        assert hold.answer().status == 200


COMPUTES = """
import threading
import time

inside = 0
lock = threading.Lock()

def application(environ, start_response):
    global inside
    with lock:
        inside += 1
        beside = inside
    try:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
    finally:
        with lock:
            inside -= 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(beside).encode()]
"""


def test_requests_that_compute_run_one_after_the_other(start: Start, tmp_path: Path) -> None:
    """They would only compete for the GIL. One more is admitted now and then, to see whether it helps."""
    (tmp_path / "computes.py").write_text(COMPUTES)
    server = start("--threads", "8", "computes")
    clients = [server.client() for _ in range(8)]
    beside = []
    for _ in range(10):
        for client in clients:
            client.send("/")
        beside += [int(client.answer().body) for client in clients]
    # Without a limit, most would run beside seven others.
    assert sorted(beside)[len(beside) // 2] <= 2, beside


def test_a_short_request_does_not_wait_for_a_computation(start: Start) -> None:
    server = start("--threads", "2", "probe")
    done = server.folder / "done"
    client = server.client()
    client.send(f"/spin?until={done}")
    server.wait_for("^spinning ")
    for _ in range(5):
        assert server.get("/").status == 200
    assert not done.exists()
    done.touch()
    assert client.answer().status == 200


def test_a_thread_keeps_its_state_for_life(start: Start) -> None:
    server = start("--threads", "4", "probe")
    served: dict[int, list[int]] = {}
    for number in range(10):
        clients = [server.client() for _ in range(4)]
        for client in clients:
            client.send(f"/meet?name={number}&of=4")
        for client in clients:
            answer = client.answer().json()
            served.setdefault(answer["thread"], []).append(answer["served"])
    # With a new state, the counter in a threading.local would start again.
    assert list(served.values()) == [list(range(1, 11))] * 4


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(("size", "expected"), [("8M", 8 * MIB), ("16M", 16 * MIB), ("512K", 512 * KIB)])
def test_the_stack_has_the_size_that_was_asked_for(
    start: Start, threads: str, size: str, expected: int
) -> None:
    server = start("--threads", threads, "--stack-size", size, "probe")
    stack = server.get("/stack").json()
    # The C library rounds, and subtracts what the kernel has placed at the top of the main thread's stack.
    assert abs(stack - expected) <= 64 * KIB


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_default_stack_is_enough_for_the_deepest_recursion(start: Start, threads: str) -> None:
    server = start("--threads", threads, "probe")
    (pid,) = server.children(1).values()
    assert server.get("/recurse").json() == "RecursionError"
    assert server.get("/").json()["pid"] == pid


def test_a_stack_that_may_be_too_small_is_warned_of(start: Start) -> None:
    small, safe = f"{SAFE // MIB - 1}M", f"{SAFE // MIB}M"
    server = start("--stack-size", small, "probe")
    server.wait_for(rf" WARN stack_size={small} safe={safe} .*recursion")
    server = start("--stack-size", safe, "probe")
    assert not [line for line in server.log.lines if " WARN stack_size=" in line]


def test_signal_handlers_of_the_application_are_harmless(start: Start) -> None:
    server = start("probe")
    assert server.get("/handler").status == 200
    server.wait_for(r"a handler for signal 15 was ignored")
    held = server.hold()
    server.send_signal(signal.SIGTERM)
    server.wait_for(" stopping$")
    held.release()
    assert held.answer().status == 200
    assert server.wait() == 0
    assert "handled in the application" not in server.log.lines


def test_signal_handlers_at_import_are_harmless_too(start: Start) -> None:
    server = start("sets_handlers")
    server.wait_for(r"a handler for signal 15 was ignored")
    server.stop()
    assert not [line for line in server.log.lines if line.startswith("handled")]


def test_a_process_that_the_application_forks_may_have_handlers(start: Start) -> None:
    assert start("probe").get("/handler-in-fork").json() == 42


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(
    "way", ["os.system", "os.posix_spawn", "os.fork", "subprocess", "subprocess, signals as they are"]
)
def test_programs_inherit_no_signals_and_no_descriptors_of_ours(start: Start, way: str, threads: str) -> None:
    server = start("--threads", threads, "probe")
    # A body that is passed as a file is open while the application runs.
    found = server.client().post(f"/program?way={way.replace(' ', '%20')}", b"a" * 4 * MIB).json()
    signals = {name: int(mask, 16) for name, mask in re.findall(r"^(Sig\w+):\s+(\w+)$", found, re.MULTILINE)}
    assert signals["SigBlk"] == 0, found
    # posix_spawn of the C library, which system(3) uses too, ignores the library's own two signals.
    assert signals["SigIgn"] & ~(0b11 << 31) == 0, found
    numbers = set(map(int, re.findall(r" (\d+) -> ", found)))
    # 3 is the folder that `ls` reads.
    assert numbers == {0, 1, 2, 3}, found
