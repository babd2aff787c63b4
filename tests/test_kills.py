"""Killed processes, and all ways in which the application can end one: the rest continues."""

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE, Client
from tests.conftest import Start
from tests.server import Server
from tests.waiting import until_equal

# Ways to end a child, and how the log names them.
DEATHS = {
    "os._exit": r"exit 3",
    "abort": r"signal 6 \(SIGABRT\)",
    "segfault": r"signal 11 \(SIGSEGV\)",
}


def kill(pid: int) -> None:
    """Kill a process, and wait until it has ended."""
    with processes.watched([pid]) as ends:
        os.kill(pid, signal.SIGKILL)
        assert not ends.wait(PATIENCE)


def test_a_killed_child_costs_its_request_and_is_replaced(start: Start) -> None:
    server = start("--processes", "3", "probe", children=3)
    before = server.children(3)
    lost, kept = server.hold(), server.hold()
    slot = next(slot for slot, pid in before.items() if pid == lost.pid)
    kill(lost.pid)
    assert lost.answer().status == 502
    server.wait_for(
        rf' WARN .*child={slot} gen=1 pid={lost.pid} cause="signal 9 \(SIGKILL\)" in_flight="GET /hold" died$'
    )
    replacement = server.replacement(slot, lost.pid)
    after = server.children(3)
    assert after == before | {slot: replacement}
    kept.release()
    assert kept.answer().json()["pid"] == kept.pid


def test_every_request_that_a_killed_child_had_is_named(start: Start) -> None:
    server = start("--threads", "3", "probe")
    lost = [server.hold(), server.hold()]
    kill(lost[0].pid)
    assert [hold.answer().status for hold in lost] == [502, 502]
    server.wait_for(rf' pid={lost[0].pid} .* in_flight="GET /hold, GET /hold" died$')


def test_the_connection_outlives_the_child(start: Start) -> None:
    server = start("probe")
    lost = server.hold()
    kill(lost.pid)
    assert lost.answer().status == 502
    assert lost.client.get("/").json()["pid"] != lost.pid


def test_a_request_that_waits_is_kept_for_the_replacement_and_a_lost_one_is_not_run_again(
    start: Start,
) -> None:
    server = start("probe")
    lost = server.hold()
    waiting = server.client()
    waiting.send("/")
    kill(lost.pid)
    assert lost.answer().status == 502
    assert waiting.answer().json()["pid"] != lost.pid
    assert len([line for line in server.log.lines if line.startswith("holding ")]) == 1


def test_a_child_killed_while_it_answers_breaks_the_answer_off(start: Start) -> None:
    server = start("probe")
    gate = server.folder / "gate"
    os.mkfifo(gate)
    client = server.client()
    client.send(f"/stream?gate={gate}")
    response = client.response()
    assert response.readline() == b"one\n"
    kill(int(server.wait_for(r"^holding .* in (\d+)$")[1]))
    # The end of a chunked body is missing.
    assert b"0\r\n\r\n" not in client.rest()


def test_a_killed_mold_is_rebuilt_and_no_child_notices(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    children = server.children(2)
    held = server.hold()
    former = server.mold()
    mark = server.mark()
    kill(former)
    server.wait_for(rf' gen=1 pid={former} cause="signal 9 \(SIGKILL\)" mold died$')
    rebuilt = int(server.wait_for(r" gen=1 pid=(\d+) mold ready$", since=mark)[1])
    assert rebuilt != former
    assert server.children(2) == children
    held.release()
    assert held.answer().json()["pid"] == held.pid
    for slot, pid in children.items():
        kill(pid)
        assert server.replacement(slot, pid)
    assert server.get("/").json()["imported_in"] == rebuilt


def test_a_killed_front_is_restarted_on_the_same_listeners(start: Start) -> None:
    server = start("--processes", "2", "--bind", "unix:s", "probe", children=2)
    children = server.children(2)
    held = server.hold()
    idle = server.client()
    assert idle.get("/").status == 200
    former = server.front()
    kill(former)
    server.wait_for(rf' pid={former} cause="signal 9 \(SIGKILL\)" front died$')
    # A connection made now waits in the backlog of the listener, which is still open.
    assert server.get("/").status == 200
    with Client(str(server.folder / "s")) as client:
        assert client.get("/").status == 200
    server.wait_for_all(" front serving$", 2)
    assert server.front() != former
    assert idle.rest() == b""
    held.release()
    # The child has finished an answer without a client, and works as before.
    assert server.children(2) == children
    pair = [server.hold() for _ in children]
    assert {hold.pid for hold in pair} == set(children.values())
    for hold in pair:
        hold.release()
        assert hold.answer().status == 200


def test_a_killed_supervisor_leaves_nothing_behind(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    server.hold()
    with processes.watched(process.pid for process in server.tree()) as ends:
        server.send_signal(signal.SIGKILL)
        left = ends.wait(PATIENCE)
    assert not left, [processes.title(pid) for pid in left]
    assert server.wait() == -signal.SIGKILL


def test_a_supervisor_killed_while_the_application_loads_leaves_nothing_behind(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(
        "import sys, threading\nprint('loading', file=sys.stderr)\nthreading.Event().wait()"
    )
    server = start("slow", children=None)
    server.wait_for("^loading$")
    with processes.watched(process.pid for process in server.tree()) as ends:
        server.send_signal(signal.SIGKILL)
        assert not ends.wait(PATIENCE)
    assert server.wait() == -signal.SIGKILL


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("threads", ["1", "3"])
def test_an_application_that_leaves_takes_one_child_along(start: Start, how: str, threads: str) -> None:
    server = start("--threads", threads, "probe")
    ((slot, pid),) = server.children(1).items()
    assert server.get(f"/leave?how={how}").status == 502
    server.wait_for(rf' child={slot} gen=1 pid={pid} cause="{DEATHS[how]}.*" in_flight="GET /leave" died$')
    assert server.get("/").json()["pid"] == server.replacement(slot, pid)


@pytest.mark.parametrize("how", ["sys.exit", "interrupt", "raise"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_an_exception_of_any_kind_costs_one_answer(start: Start, how: str, threads: str) -> None:
    server = start("--threads", threads, "probe")
    ((_, pid),) = server.children(1).items()
    assert server.get(f"/leave?how={how}").status == 500
    server.wait_for(r" ERROR .*path=/leave .*the application failed$")
    server.wait_for(r"^Traceback \(most recent call last\):$")
    assert server.get("/").json()["pid"] == pid


def test_a_thread_of_the_application_that_exits_costs_nothing(start: Start) -> None:
    server = start("probe")
    ((_, pid),) = server.children(1).items()
    assert server.get("/leave-thread").json()["pid"] == pid
    assert server.get("/").json()["pid"] == pid


def test_an_answer_that_the_application_breaks_off_does_not_look_whole(start: Start) -> None:
    server = start("probe")
    # Many times, since the part and the end may reach the front together or separately.
    for _ in range(30):
        client = server.client()
        client.send("/broken")
        rest = client.rest()
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"one\n" in rest
        assert b"0\r\n\r\n" not in rest
    server.wait_for_all(r"^RuntimeError: broken on purpose$", 30)


def test_many_deaths_leave_neither_zombies_nor_descriptors(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)

    # One connection for all, so that the front's number of descriptors is constant.
    client = server.client()

    def kill_all() -> None:
        for slot, pid in server.children(2).items():
            kill(pid)
            server.replacement(slot, pid)
        assert client.get("/orphan").status == 200

    def open_descriptors() -> list[int]:
        return [len(processes.descriptors(pid)) for pid in (server.pid, server.front(), server.mold())]

    kill_all()
    server.wait_for("^orphan ends$")
    before = open_descriptors()
    for _ in range(5):
        kill_all()
    server.wait_for_all("^orphan ends$", 6)
    assert open_descriptors() == before

    def zombies() -> list[processes.Process]:
        return [process for process in processes.of_session(server.pid) if process.is_zombie]

    # An orphan reports its birth before it ends.
    until_equal(zombies, [])


def deaths(server: Server, count: int) -> list[float]:
    """When children died, in seconds of the day."""
    found = server.wait_for_all(r"^\S*T(\d+):(\d+):([\d.]+)\S* +WARN .*child=0 .*died$", count)
    return [int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) for match in found]


def test_children_that_die_at_their_start_are_replaced_more_and_more_slowly(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "frail.py").write_text(
        "import os\nif os.path.exists('die'): os._exit(9)\nfrom probe import application as application\n"
    )
    server = start("--preload", "off", "--processes", "2", "frail", children=2)
    children = server.children(2)
    (tmp_path / "die").touch()
    kill(children[0])
    died = deaths(server, 6)
    server.wait_for(r' child=0 gen=1 pid=\d+ cause="exit 9.*" died$')
    # In seconds of the day, which may end meanwhile.
    pauses = [(later - earlier) % (24 * 60 * 60) for earlier, later in pairwise(died[1:])]
    # The first replacement is immediate; from then on each delay doubles. Only the minimum is certain.
    for pause, least in zip(pauses, [0.0, 0.1, 0.2, 0.4], strict=True):
        assert pause >= least, pauses
    assert server.get("/").json()["pid"] == children[1]
    (tmp_path / "die").unlink()
    assert server.replacement(0, children[0])


def test_a_child_that_dies_before_its_birth_does_not_stop_the_server(start: Start, tmp_path: Path) -> None:
    (tmp_path / "stillborn.py").write_text(
        "import os\n"
        "os.register_at_fork(after_in_child=lambda: os.path.exists('die') and os._exit(9))\n"
        "from probe import application as application\n"
    )
    server = start("--processes", "2", "stillborn", children=2)
    children = server.children(2)
    (tmp_path / "die").touch()
    mark = server.mark()
    kill(children[0])
    server.wait_for(r' child=0 .*cause="exit 9" died$', since=mark)
    assert server.get("/").json()["pid"] == children[1]
    (tmp_path / "die").unlink()
    assert server.replacement(0, children[0])


@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the filter is written for this machine's system calls"
)
def test_a_fork_that_fails_is_tried_again(start: Start, tmp_path: Path) -> None:
    server = start("--processes", "2", "unforkable", children=2)
    children = server.children(2)
    (tmp_path / "no-fork").touch()
    mark = server.mark()
    kill(server.mold())
    mold = int(server.wait_for(r" pid=(\d+) mold ready$", since=mark)[1])
    kill(children[0])
    # Once per second at first: two failures show that it retries.
    server.wait_for_all(r" WARN .*child=0 .*errno=.*EAGAIN.* cannot be forked$", 2)
    assert server.get("/").json()["pid"] == children[1]
    (tmp_path / "no-fork").unlink()
    kill(mold)
    assert server.replacement(0, children[0])
    assert server.children(2)[1] == children[1]


def test_response_headers_that_are_too_large_are_an_error_that_is_explained(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "heavy.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('X-Heavy', 'x' * 70000)])\n"
        "    return [b'never']\n"
    )
    server = start("heavy")
    assert server.get("/").status == 500
    server.wait_for(
        r" ERROR method=GET path=/ bytes=70\d+ most=65536 the application's response headers are too large$"
    )
