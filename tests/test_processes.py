"""The processes from an operator's point of view."""

import os
import resource
import signal

from tests import processes
from tests.conftest import Start
from tests.server import Server


def titles(server: Server) -> dict[int, str]:
    return {process.pid: process.title for process in server.tree()}


def test_titles_tell_role_slot_and_generation(start: Start) -> None:
    server = start("--processes", "3", "probe", children=3)
    children = server.children(3)
    assert titles(server) == {
        server.pid: "rwsgi: supervisor (probe)",
        server.front(): "rwsgi: front (probe)",
        server.mold(): "rwsgi: mold gen 1 (probe)",
        **{pid: f"rwsgi: child {slot} gen 1 (probe)" for slot, pid in children.items()},
    }


def test_replacements_have_the_titles_of_those_they_replace(start: Start) -> None:
    server = start("probe")
    ((slot, pid),) = server.children(1).items()
    os.kill(pid, signal.SIGKILL)
    assert processes.title(server.replacement(slot, pid)) == f"rwsgi: child {slot} gen 1 (probe)"


def test_each_process_is_a_child_of_the_supervisor(start: Start) -> None:
    server = start("--processes", "3", "probe", children=3)
    parents = {process.parent for process in server.tree() if process.pid != server.pid}
    assert parents == {server.pid}


def test_supervisor_and_mold_have_one_thread(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    assert [processes.threads(pid) for pid in (server.pid, server.mold())] == [1, 1]


def test_the_supervisor_sleeps_when_nothing_happens(start: Start) -> None:
    """Requests do not wake it: its CPU time does not change."""
    server = start("probe")

    def switches() -> int:
        with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
            return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)

    server.get("/")
    before = switches()
    client = server.client()
    for _ in range(200):
        assert client.get("/").status == 200
    assert switches() - before <= 2


def test_only_the_front_may_open_as_many_files_as_there_may_be_connections(start: Start) -> None:
    usual, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(usual, 256)
    connections = min(hard, 1000)
    server = start(
        *("--max-connections", str(connections)),
        "probe",
        before=["/bin/sh", "-c", f'ulimit -S -n {few}; exec "$@"', "sh"],
    )

    def limit(pid: int) -> int:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]

    assert limit(server.front()) >= min(hard, connections + 1)
    assert {limit(process.pid) for process in server.tree() if process.pid != server.front()} == {few}


def test_no_process_holds_what_is_anothers(start: Start) -> None:
    """Only supervisor and front have the listener; no child has a client's socket."""
    server = start("--processes", "2", "probe", children=2)
    held = server.hold()
    assert isinstance(server.address, tuple)
    port = f"{server.address[1]:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    ours = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(":" + port)}
    assert ours
    holders = {
        process.pid for process in server.tree() if ours & set(processes.descriptors(process.pid).values())
    }
    assert holders == {server.pid, server.front()}
    held.release()
    assert held.answer().status == 200
