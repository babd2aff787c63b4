"""Children that have lived long enough are replaced, without an effect on clients."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import Start
from tests.load import under_load
from tests.server import Server
from tests.waiting import until, until_equal

CHANGE = re.compile(
    r" child=(?P<slot>\d+) gen=\d+ pid=(?P<pid>\d+) (?:.* )?(?P<word>ready|recycling|retires)$"
)


def recycled(server: Server, reason: str, count: int = 1) -> list[int]:
    """The pids of this number of children that were replaced for this reason."""
    found = server.wait_for_all(rf" child=\d+ gen=\d+ pid=(\d+) reason=\"?{reason}\"? recycling$", count)
    return [int(match[1]) for match in found]


def check_that_replacements_were_ready_first(server: Server) -> None:
    """In this order: recycling, another child ready, retires."""
    changes = [match for match in map(CHANGE.search, server.log.lines) if match]
    outgoing = None
    replaced = False
    for change in changes:
        if change["word"] == "recycling":
            assert outgoing is None, f"two at once:\n{server.log}"
            outgoing, replaced = change["pid"], False
        elif change["word"] == "ready":
            replaced = True
        else:
            assert (change["pid"], replaced) == (outgoing, True), f"{change[0]}:\n{server.log}"
            outgoing = None


@pytest.mark.parametrize("threads", [1, 3])
def test_a_limit_of_requests_costs_no_request(start: Start, threads: int) -> None:
    server = start(
        *("--processes", "2", "--threads", str(threads), "--max-requests-per-child", "50", "brief"),
        children=2,
    )
    with under_load(server) as load:
        recycled(server, "max-requests", 20)
    # Each child was used up to its limit, and not far beyond.
    assert len(load.bodies) >= 20
    assert min(sorted(load.bodies.values())[2:-2]) >= 50
    check_that_replacements_were_ready_first(server)
    # The replacements for the last requests have ended, too.
    until(lambda: len(server.tree()) == 5 or None, lambda: server.tree())


def test_the_request_that_a_child_runs_while_it_is_recycled_is_finished(start: Start) -> None:
    server = start("--threads", "2", "--max-requests", "2", "probe")
    held = server.hold()
    pids = [server.get("/").json()["pid"] for _ in range(2)]
    assert pids == [held.pid] * 2
    server.wait_for(rf" pid={held.pid} retires$")
    # It is told to drain, and may have taken one more request before it received that.
    until_equal(lambda: server.get("/").json()["pid"] == held.pid, False)
    held.release()
    assert held.answer().json()["pid"] == held.pid
    server.wait_for(rf' pid={held.pid} cause="exit 0" left$')


@pytest.mark.parametrize("threads", [1, 3])
def test_a_child_that_gets_term_is_replaced(start: Start, threads: int) -> None:
    """As an operator ends a process that uses too much; each request is answered."""
    server = start("--processes", "2", "--threads", str(threads), "probe", children=2)
    held = server.hold()
    with under_load(server):
        # A second one changes nothing.
        for _ in range(2):
            os.kill(held.pid, signal.SIGTERM)
        assert recycled(server, "SIGTERM") == [held.pid]
        server.wait_for(rf" pid={held.pid} retires$")
        check_that_replacements_were_ready_first(server)
        held.release()
        assert held.answer().json()["pid"] == held.pid
        server.wait_for(rf' pid={held.pid} cause="exit 0" left$')
        assert len(server.children(2)) == 2


def test_every_child_that_gets_term_is_replaced_one_after_the_other(start: Start) -> None:
    server = start("--processes", "3", "probe", children=3)
    former = set(server.children(3).values())
    with under_load(server):
        for pid in former:
            os.kill(pid, signal.SIGTERM)
        assert set(recycled(server, "SIGTERM", 3)) == former
        for pid in former:
            server.wait_for(rf' pid={pid} cause="exit 0" left$')
    assert former.isdisjoint(server.children(3).values())
    check_that_replacements_were_ready_first(server)


@pytest.mark.parametrize("how", ["recycled", "scaled down", "told to retire", "stopped"])
def test_a_request_that_never_ends_ends_with_its_child(start: Start, how: str) -> None:
    limits = ("--max-requests", "2") if how == "recycled" else ()
    processes = 2 if how == "scaled down" else 1
    server = start(
        *("--threads", "2", "--processes", str(processes), "--shutdown-timeout", "500ms", *limits, "probe"),
        children=processes,
    )
    held = server.hold()
    if how == "recycled":
        for _ in range(2):
            server.get("/")
    elif how == "scaled down":
        # The other child has a request, too, so that the replaced one has one in any case.
        other = server.hold()
        assert other.pid != held.pid
        assert server.control("scale", "1").code == 0
        gone = int(server.wait_for(r" pid=(\d+) retires$")[1])
        held = other if other.pid == gone else held
    elif how == "told to retire":
        server.send_signal(signal.SIGWINCH)
    else:
        server.send_signal(signal.SIGTERM)
    server.wait_for(rf' pid={held.pid} timeout_ms=500 in_flight="GET /hold for 0 s" not finished at')
    server.wait_for(rf' pid={held.pid} cause="signal 9 \(SIGKILL\)" reason=shutdown-timeout left$')
    # A server whose shutdown timeout is over does not wait for its clients.
    if how != "stopped":
        assert held.answer().status == 502
    if how == "recycled":
        assert server.get("/").status == 200


def test_children_are_recycled_by_age_one_by_one(start: Start) -> None:
    server = start("--processes", "2", "--restart-interval", "500ms", "brief", children=2)
    before = set(server.children(2).values())
    assert set(recycled(server, "restart-interval", 2)[:2]) == before
    server.wait_for_all(" left$", 2)
    check_that_replacements_were_ready_first(server)


def test_a_child_that_has_nothing_more_to_do_is_recycled_once(start: Start) -> None:
    server = start("--processes", "2", "--inactivity-timeout", "300ms", "brief", children=2)
    used = int(server.get("/").body)
    assert recycled(server, "inactivity-timeout") == [used]
    server.wait_for(rf" pid={used} .*left$")


def test_a_child_that_has_grown_is_recycled(start: Start) -> None:
    server = start("--processes", "2", "--max-child-memory", "40M", "brief", children=2)
    with under_load(server, keeping=1, anew=1):
        grown = int(server.get(f"/grow?{60 << 20}").body)
        assert recycled(server, "max-child-memory") == [grown]
        server.wait_for(rf" pid={grown} .*left$")
    server.children(2)


def test_a_replacement_that_does_not_start_leaves_the_old_child_serving(start: Start, tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(
        "import os\nfrom brief import application as application\nif os.path.exists('broken'): 1 / 0\n"
    )
    server = start("--preload", "off", "--max-requests", "5", "fragile")
    (tmp_path / "broken").touch()
    pids = {int(server.get("/").body) for _ in range(10)}
    server.wait_for_all("ZeroDivisionError", 2)
    assert {int(server.get("/").body)} == pids
    (tmp_path / "broken").unlink()
    (pid,) = pids
    server.wait_for(rf" pid={pid} .*left$")
    assert int(server.get("/").body) != pid


def test_nothing_is_left_behind_after_many_recycles_and_reloads(start: Start) -> None:
    """No zombies, orphans, descriptors, and no memory of the supervisor."""
    server = start("--processes", "2", "--max-requests", "20", "brief", children=2)

    def titles() -> list[str]:
        """Zombies have no title."""
        found = processes.of_session(server.pid)
        return sorted(re.sub(r"(child|gen) \d+", r"\1", process.title) for process in found)

    def descriptors() -> list[int]:
        return sorted(len(processes.descriptors(process.pid)) for process in server.tree())

    everybody = [
        *["rwsgi: child gen (brief)"] * 2,
        *[f"rwsgi: {role} (brief)" for role in ("front", "mold gen", "supervisor")],
    ]

    def live(rounds: int) -> None:
        for _ in range(rounds):
            mark = server.mark()
            server.send_signal(signal.SIGHUP)
            with under_load(server, enough=400) as load:
                assert load.finished()
            server.wait_for(" reloaded$", since=mark)

    live(3)
    until_equal(titles, everybody)
    before, memory = descriptors(), private(server.pid)
    live(10)
    # How many are replaced in a round depends on its speed.
    while len(recycled(server, "max-requests", 1)) < 100:
        live(1)
    until_equal(titles, everybody)
    # The front may have been about to close a connection the first time.
    until_equal(lambda: no_more_than(descriptors(), before), True)
    assert len(recycled(server, "max-requests", 100)) >= 100
    assert abs(private(server.pid) - memory) <= 64


def no_more_than(now: list[int], before: list[int]) -> bool:
    """Whether there are as many, and none is larger."""
    return len(now) == len(before) and all(one <= then for one, then in zip(now, before, strict=True))


def private(pid: int) -> int:
    """KiB of private memory, without the pages of the exchange."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


@pytest.mark.parametrize(
    "option", ["--restart-interval=0", "--max-requests=0", "--inactivity-timeout=0", "--max-child-memory=0"]
)
def test_zero_means_never(start: Start, option: str) -> None:
    server = start(option, "brief")
    pids = {server.get("/").body for _ in range(20)}
    assert pids == {str(pid).encode() for pid in server.children(1).values()}
