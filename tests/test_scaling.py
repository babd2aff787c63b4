"""The size of the pool: elastic by Apache's directives, limited by memory, or changed by signals."""

import os
import re
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.load import under_load
from tests.server import Server
from tests.tools import tool
from tests.waiting import until_equal


def size(server: Server) -> int:
    return len([process for process in server.tree() if ": child " in process.title])


def hold(server: Server, count: int) -> None:
    """Occupy this number of additional threads, and release them."""
    held = [server.send_hold() for _ in range(count)]
    for answer in [wait() for wait in held]:
        answer.release()
        assert answer.answer().status == 200


@pytest.mark.parametrize("policy", ["safe", "apache"])
def test_an_elastic_pool_grows_when_too_few_are_idle(start: Start, policy: str) -> None:
    limits = (
        "--start-servers",
        "2",
        "--min-spare-servers",
        "1",
        "--max-spare-servers",
        "3",
        "--max-clients",
        "4",
    )
    server = start(*limits, "--pool-policy", policy, "probe", children=2)
    held = [server.hold() for _ in range(2)]
    server.children(3)
    held.append(server.hold())
    server.children(4)
    held.append(server.hold())
    server.wait_for(" server reached MaxRequestWorkers setting, consider raising")
    waiting = server.client()
    waiting.send("/")
    for answer in held:
        answer.release()
        assert answer.answer().status == 200
    assert waiting.answer().status == 200
    assert size(server) == 4


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one core")
def test_as_many_children_start_as_there_are_idle_cores(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os\n"
        "from probe import application as application, wait_at\n"
        "if os.path.exists('spike'):\n"
        "    wait_at('gate')\n"
    )
    os.mkfifo(tmp_path / "gate")
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:2])
    server = start(
        *("--start-servers", "1", "--min-spare-servers", "1", "--max-clients", "3", "--preload", "off"),
        "slow",
        before=[tool("taskset", "util-linux"), "--cpu-list", cores],
    )
    (tmp_path / "spike").touch()
    held, waiting = server.hold(), server.client()
    waiting.send("/")
    # Half of the two cores would be one, and none of them is ready.
    server.wait_for_all("^holding gate in", 2)
    with open(tmp_path / "gate", "wb", buffering=0) as gate:
        gate.write(b"!")
        server.children(3)
    held.release()
    assert (held.answer().status, waiting.answer().status) == (200, 200)


def test_apaches_pool_shrinks_by_one_a_second(start: Start) -> None:
    limits = ("--start-servers", "4", "--min-spare-servers", "1", "--max-spare-servers", "2")
    server = start(*limits, "--pool-policy", "apache", "probe", children=4)
    with under_load(server, keeping=1, anew=0):
        server.wait_for_all(" retires$", 1)
    until_equal(lambda: size(server), 2)


def start_apaches(start: Start, servers: int) -> Server:
    """Start a pool that keeps one child idle, with this number of children at first."""
    limits = ("--start-servers", str(servers), "--min-spare-servers", "1", "--max-spare-servers", "10")
    return start(*limits, "--pool-policy", "apache", "probe", children=servers)


def reload(server: Server) -> list[str]:
    """Reload; return the log lines about children of the former generation, 1, and the new one, 2."""
    mark = server.mark()
    server.send_signal(signal.SIGHUP)
    server.wait_for(" gen=2 reloaded$", mark)
    words = re.compile(r" child=\d+ gen=(\d) pid=\d+ (ready|retires)$")
    return [" ".join(match.groups()) for line in server.log.lines[mark:] if (match := words.search(line))]


def test_apaches_pool_has_the_servers_of_a_start_before_others_go_in_a_reload(start: Start) -> None:
    lines = reload(start_apaches(start, servers=4))
    assert lines == ["2 ready"] * 4 + ["1 retires"] * 4


def test_apaches_pool_does_not_grow_faster_and_faster_after_a_reload(start: Start) -> None:
    server = start_apaches(start, servers=1)
    assert reload(server) == ["2 ready", "1 retires"]
    held = [server.send_hold() for _ in range(6)]
    started = server.wait_for_all(r"^(\S+)Z INFO child=\d+ gen=2 pid=\d+ started$", 6)
    # One per second. If it doubled, the last five would be started two seconds after the first.
    times = [datetime.fromisoformat(match[1]) for match in started]
    assert (times[5] - times[1]).total_seconds() > 3, times
    for answer in [wait() for wait in held]:
        answer.release()
        assert answer.answer().status == 200


def test_the_pool_of_a_worker_counts_threads(start: Start) -> None:
    limits = (
        "--start-servers",
        "1",
        "--min-spare-threads",
        "2",
        "--max-spare-threads",
        "9",
        "--max-clients",
        "11",
    )
    server = start("--mpm", "worker", "--threads", "4", *limits, "probe", children=1)
    server.wait_for(
        " WARN directive=MaxRequestWorkers given=11 used=8 MaxRequestWorkers of 11 not allowed, using 8$"
    )
    held = [server.hold() for _ in range(3)]
    server.children(2)
    for answer in held:
        answer.release()
        assert answer.answer().status == 200


def test_what_apache_corrects_is_corrected_in_its_words(start: Start) -> None:
    server = start(
        "--mpm", "prefork", "--start-servers", "2", "--min-spare-servers", "0", "brief", children=2
    )
    server.wait_for(
        " WARN directive=MinSpareServers given=0 used=1 MinSpareServers of 0 not allowed, using 1$"
    )


def test_a_table_of_apaches_directives_is_taken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rwsgi.toml").write_text(
        "StartServers = 5\nMinSpareServers = 5\nMaxSpareServers = 10\nServerLimit = 200\nMaxClients = 150\n"
        "MaxRequestsPerChild = 1000\n"
    )
    ran = run("--print-config", "probe", bind=None)
    assert ran.code == 0, ran.err
    for line in [
        "start-servers = 5",
        "max-clients = 150",
        "max-requests-per-child = 1000",
        "server-limit = 200",
    ]:
        assert re.search(rf"^{line} ", ran.out, re.MULTILINE), ran.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-p", "2", "--mpm", "prefork"], 'processes "2" makes a fixed pool, but mpm makes an elastic one'),
        (["--mpm", "prefork", "-t", "4"], 'mpm "prefork" has one thread in each child, but threads is 4'),
        (["--mpm", "event"], 'mpm "event" must be one of prefork, worker'),
        (["-p", "several"], 'processes "several" must be a whole number from 1 to 512, or auto'),
        (["--memory-budget", "some"], 'memory-budget "some" must be a size from 1M to 1048576G, or one of'),
        (
            ["--mpm", "prefork", "--pool-policy", "apache", "--memory-budget", "1G"],
            'memory-budget "1G" cannot be kept by pool-policy apache: use safe',
        ),
        (["--max-reqests", "5"], "unknown option --max-reqests; did you mean --max-requests-per-child?"),
    ],
)
def test_what_makes_no_pool_is_explained(run: Run, arguments: list[str], problem: str) -> None:
    ran = run(*arguments, "probe", bind=None)
    assert ran.code == 64
    assert f"rwsgi: command line: {problem}" in ran.err


def test_the_pool_does_not_grow_past_the_memory_budget(start: Start, tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(
        "import os\nfrom probe import application as application\nloaded = os.urandom(30 << 20)\n"
    )
    # Without preload, each child has more than 30 MiB of its own: two fit.
    server = start("--preload", "off", "-p", "6", "--memory-budget", "100M", "large", children=2)
    server.wait_for(r" WARN budget=104857600 children=2 server reached the memory budget of 104857600 bytes")
    with under_load(server) as load:
        load.wait(300)
    assert size(server) == 2


def test_auto_makes_a_pool_that_suits_the_machine(start: Start) -> None:
    server = start("-p", "auto", "probe", children=None)
    most = int(server.wait_for(r"^  pool    up to (\d+) processes x 1 thread ")[1])
    assert 2 <= most <= 2 * len(os.sched_getaffinity(0))
    server.wait_until_ready(most)
    until_equal(lambda: size(server), most)
    assert not [line for line in server.log.lines if "MaxRequestWorkers" in line]


def test_ttin_and_ttou_are_one_child_more_and_less(start: Start) -> None:
    server = start("probe")
    with under_load(server):
        server.send_signal(signal.SIGTTIN)
        server.children(2)
        server.send_signal(signal.SIGTTIN)
        server.children(3)
        server.send_signal(signal.SIGTTOU)
        server.wait_for(" children=2 before=3 scaled$")
        server.wait_for(" left$")
        server.children(2)
        server.send_signal(signal.SIGTTOU)
        server.wait_for(" children=1 before=2 scaled$")
        server.children(1)
        server.send_signal(signal.SIGTTOU)
        server.wait_for(" WARN children=1 not scaled: the last child stays$")


def test_scaling_has_limits(start: Start) -> None:
    server = start("--server-limit", "2", "probe")
    server.send_signal(signal.SIGTTIN)
    server.children(2)
    server.send_signal(signal.SIGTTIN)
    server.wait_for(
        r' WARN reason="3 children are too many: the server was started with room for 2" not scaled$'
    )
    server.send_signal(signal.SIGHUP)
    server.wait_for(" reloaded$")
    server.children(1)


def test_winch_retires_the_children_and_requests_wait_for_others(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    held = server.hold()
    server.send_signal(signal.SIGWINCH)
    server.wait_for(" all children retire, until HUP or TTIN$")
    held.release()
    assert held.answer().json()["pid"] == held.pid
    until_equal(lambda: size(server), 0)
    waiting = server.client()
    waiting.send("/")
    server.send_signal(signal.SIGTTIN)
    assert waiting.answer().status == 200
    assert size(server) == 1
    server.send_signal(signal.SIGWINCH)
    until_equal(lambda: size(server), 0)
    waiting.send("/")
    server.send_signal(signal.SIGHUP)
    assert waiting.answer().status == 200
    server.wait_for(" gen=2 reloaded$")
    server.children(2)


def test_a_resized_terminal_retires_no_child(tmp_path: Path, start: Start) -> None:
    os.mkfifo(tmp_path / "resize")
    (tmp_path / "terminal.py").write_text(
        "import fcntl, os, pty, struct, sys, termios\n"
        "ours, theirs = pty.openpty()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)\n"
        "    os.execv(sys.argv[1], sys.argv[1:])\n"
        "open('resize').read()\n"
        "fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 100, 0, 0))\n"
        "os.wait()\n"
    )
    server = start(*("--log-level", "debug", "probe"), before=[sys.executable, "terminal.py"], children=None)
    pid = int(server.wait_for(r" url=\S+ pid=(\d+) ready$")[1])
    try:
        (tmp_path / "resize").write_text("now")
        server.wait_for(" DEBUG signal=SIGWINCH from the terminal$")
        # An operator's signal has its effect, in a terminal, too.
        os.kill(pid, signal.SIGWINCH)
        server.wait_for(" all children retire, until HUP or TTIN$")
        server.wait_for(" left$")
    finally:
        # It has a session of its own, where the fixture does not find it.
        os.kill(pid, signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_a_child_that_is_killed_is_back_in_a_moment(start: Start) -> None:
    server = start("probe")
    ((slot, pid),) = server.children(1).items()
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    # The mold has loaded everything; loading takes far longer than this on any machine.
    assert time.monotonic() - began < 1
