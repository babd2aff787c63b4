"""What cannot be shared by a fork is found before the second child exists; there are no false alarms."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.server import APPS, DEMO, Server
from tests.test_preload import ask_each
from tests.waiting import until_equal

PROBE = "from probe import application as application\n"

# Only one process gets the lock.
LOCKS = """
import contextlib, fcntl
lock = open("lock", "a")
with contextlib.suppress(OSError):
    fcntl.{}(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""

# Code of the module `shop`, the expected warning, and the module that is named.
OFFENDERS = {
    "flock": (
        LOCKS.format("flock"),
        r"/lock\) is locked \(FLOCK WRITE\)",
        "shop.lock",
    ),
    "lockf": (
        LOCKS.format("lockf"),
        r"/lock\) is locked \(POSIX WRITE\)",
        "shop.lock",
    ),
    "file-for-writing": (
        "data = open('data', 'r+b' if __import__('os').path.exists('data') else 'w+b')\n",
        r"/data\) is open for writing",
        "shop.data",
    ),
    "file-for-reading": (
        "archive = open(__file__, 'rb')\n",
        r"/shop\.py\) is open for reading",
        "shop.archive",
    ),
    "sqlite": (
        "import sqlite3\n"
        "class Store:\n"
        "    def __init__(self):\n"
        "        self.db = sqlite3.connect('books')\n"
        "        self.db.execute('create table if not exists t(x)')\n"
        "        self.db.commit()\n"
        "store = Store()\n",
        r"/books\) is an SQLite database",
        "shop.store",
    ),
    "listening": (
        "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n",
        r"listens at 127\.0\.0\.1 port \d+",
        "shop.listener",
    ),
    "epoll": (
        "import selectors\nselector = selectors.EpollSelector()\n",
        r"is an epoll set",
        "shop.selector",
    ),
    "event-loop": (
        "import asyncio\nloop = asyncio.new_event_loop()\n",
        r"an asyncio event loop is open",
        "shop.loop",
    ),
    "inotify": (
        "import ctypes\nwatched = ctypes.CDLL(None).inotify_init()\n",
        r"watches files",
        "",
    ),
    "helper": (
        "import subprocess\n"
        "helper = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n",
        r"process \d+ \(cat\) was started",
        "shop.helper",
    ),
    "detached-helper": (
        "import os\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        os.close(writer)\n"
        "        os.read(reader, 1)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "os.close(reader)\n",
        r"is a pipe to another process",
        "",
    ),
    "socketpair-to-a-helper": (
        "import os, socket\n"
        "ours, theirs = socket.socketpair()\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        ours.close()\n"
        "        theirs.recv(1)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "theirs.close()\n",
        r"is a pair of sockets whose other end",
        "shop.ours",
    ),
    "pool-of-processes": (
        # Its exit function may wait for ever for a worker that was killed.
        "import multiprocessing\npool = multiprocessing.get_context('fork').Pool(2)\n",
        r"process \d+ \(forked\) was started",
        "shop.pool",
    ),
    "pool-of-threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(7)\n"
        "import threading\n"
        "barrier = threading.Barrier(7)\n"
        "list(pool.map(lambda _: barrier.wait(), range(7)))\n",
        r"threads 'ThreadPoolExecutor-0_0', .* and 3 more are running: the children would lack them",
        "shop.pool",
    ),
    "connection-deep-in-a-session": (
        "import socket\n"
        "class Part:\n"
        "    def __init__(self, inner):\n"
        "        self.parts = {'inner': [inner]}\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "session = Part(Part(Part(Part(socket.create_connection(listener.getsockname())))))\n",
        r"is connected to 127\.0\.0\.1 port \d+ \(made by shop.session",
        "shop.session",
    ),
    "connection-of-a-library": (
        "import socket\n"
        "class Connection:\n"
        "    def __init__(self, address):\n"
        "        self.number = socket.create_connection(address).detach()\n"
        "    def fileno(self):\n"
        "        return self.number\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "connection = Connection(listener.getsockname())\n",
        r"is connected to 127\.0\.0\.1 port \d+ \(made by shop.connection",
        "shop.connection",
    ),
    "timer": (
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 3600)\n",
        r"a timer \(ITIMER_REAL\) is set: it would never expire in the children",
        "",
    ),
    "timer-descriptor": (
        "import ctypes\ntimer = ctypes.CDLL(None).timerfd_create(1, 0)\n",
        r"is a timer",
        "",
    ),
    "thread": (
        "import threading\n"
        "def poll():\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=poll, name='poller', daemon=True).start()\n",
        r"thread 'poller' is running",
        "shop.poll",
    ),
    "raw-thread": (
        "import _thread, threading\n"
        "def poll():\n"
        "    threading.Lock().acquire() and threading.Event().wait()\n"
        "_thread.start_new_thread(poll, ())\n",
        r"a thread that runs shop is running",
        "",
    ),
}


def warnings(server: Server) -> list[str]:
    return [line for line in server.log.lines if " WARN " in line and "runs as root" not in line]


@pytest.mark.parametrize("name", OFFENDERS)
def test_what_cannot_be_shared_is_loaded_by_each_child(start: Start, tmp_path: Path, name: str) -> None:
    code, what, maker = OFFENDERS[name]
    (tmp_path / "shop.py").write_text(PROBE + code)
    server = start("--processes", "2", "shop", children=2)
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == set(server.children(2).values())
    warned = [line for line in warnings(server) if "cannot be shared" in line]
    # One line contains what it is, what made it, and the remedies.
    assert len(warned) == 1
    assert re.search(what, warned[0]), warned[0]
    assert maker in warned[0]
    for cure in ("--preload on", "--preload off", "rwsgi.before_fork"):
        assert cure in warned[0]


@pytest.mark.parametrize("name", ["flock", "helper", "thread"])
def test_a_check_reports_what_cannot_be_shared(run: Run, tmp_path: Path, name: str) -> None:
    code, what, maker = OFFENDERS[name]
    (tmp_path / "shop.py").write_text(PROBE + code)
    ran = run("--check", "--python-path", str(APPS), "shop")
    assert ran.code == 0
    assert re.search(f"cannot be shared by forked processes: .*{what}.*{maker}", ran.out), ran.out


HARMLESS = {
    "nothing": "",
    "log": "import logging\nlogging.basicConfig(filename='log')\nlogging.warning('begun')\n",
    "datagrams": "import socket\nstats = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "stats.connect(('127.0.0.1', 9))\n",
    "pairs": "import os, socket\npair = socket.socketpair()\npipe = os.pipe()\n",
    "devices": "noise = open('/dev/urandom', 'rb')\nnowhere = open('/dev/null', 'w')\n",
    "memory-database": "import sqlite3\ndb = sqlite3.connect(':memory:')\ndb.execute('create table t(x)')\n",
    "helper-that-has-ended": "import subprocess\nsubprocess.run(['true'], capture_output=True)\n",
    "file-that-was-dropped": "import sys\n"
    "class Cycle:\n    pass\n"
    "cycle = Cycle()\ncycle.self, cycle.file = cycle, open(__file__)\ndel cycle\n",
    # Its linear algebra starts threads.
    "numpy": "import numpy\nsquare = numpy.random.rand(300, 300)\nsquare @ square\n",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_can_be_shared_is_shared_without_a_warning(start: Start, tmp_path: Path, name: str) -> None:
    (tmp_path / "shop.py").write_text(PROBE + HARMLESS[name])
    server = start("--processes", "2", "shop", children=2)
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == {server.mold()}
    assert warnings(server) == []


@pytest.mark.parametrize("framework", ["django", "flask", "pyramid", "falcon", "bottle"])
def test_a_framework_is_no_false_alarm(start: Start, framework: str) -> None:
    server = start("--processes", "2", f"sites.in_{framework}", children=2)
    assert server.mold() > 0
    assert warnings(server) == []


def test_the_demo_is_no_false_alarm(start: Start, tmp_path: Path) -> None:
    options = ("--python-path", str(DEMO), "--processes", "2", "--warmup", "/")
    server = start(*options, "mysite.wsgi", children=2, environment={"DEMO_VAR": str(tmp_path / "var")})
    assert [line for line in warnings(server) if "shared" in line] == []


def test_what_a_hook_releases_is_shared(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        PROBE + OFFENDERS["flock"][0] + "import rwsgi\nrwsgi.before_fork(lock.close)\n"
    )
    server = start("--processes", "2", "shop", children=2)
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == {server.mold()}
    assert warnings(server) == []


def test_what_the_mold_held_is_free_for_the_children(start: Start, tmp_path: Path) -> None:
    """As ZODB locks its file: one child gets the lock, the others do not, and none shares it."""
    (tmp_path / "shop.py").write_text(
        "import fcntl, json, os\n"
        "lock = open('lock', 'a')\n"
        "try:\n"
        "    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    elected = True\n"
        "except OSError:\n"
        "    elected = False\n"
        "from probe import application as inner\n"
        "def application(environ, start_response):\n"
        "    answer = json.loads(b''.join(inner(environ, start_response)))\n"
        "    return [json.dumps({**answer, 'elected': elected}).encode()]\n"
    )
    server = start("--processes", "3", "shop", children=3)
    assert sorted(answer["elected"] for answer in ask_each(server, 3)) == [False, False, True]


def test_an_exit_function_that_does_not_return_holds_nothing_up(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        PROBE + OFFENDERS["flock"][0] + "import atexit, os, threading\n"
        "if not os.path.exists('mold'):\n"
        "    open('mold', 'w').close()\n"
        "    atexit.register(threading.Event().wait)\n"
    )
    server = start("--processes", "2", "shop", children=2)
    server.wait_for(" WARN .*exit functions of the application do not return, and are not waited for$")


def test_a_helper_of_the_mold_ends_with_it(start: Start, tmp_path: Path) -> None:
    """Also one that ignores signals."""
    (tmp_path / "shop.py").write_text(
        PROBE + "import subprocess, sys\n"
        "helper = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; exec sleep 1000'])\n"
        "sys.stderr.write(f'helper {helper.pid} of {__import__(\"os\").getpid()}\\n')\n"
    )
    server = start("--processes", "2", "shop", children=2)
    pids = set(server.children(2).values())
    helpers = {
        int(word[2]): int(word[1])
        for line in server.log.lines
        if (word := re.match(r"helper (\d+) of (\d+)", line))
    }
    assert len(helpers) == 3
    (of_mold,) = (helper for owner, helper in helpers.items() if owner not in pids)
    of_children = {helper for owner, helper in helpers.items() if owner in pids}
    for helper in of_children:
        os.kill(helper, signal.SIGKILL)
    until_equal(lambda: of_children & {process.pid for process in server.tree()}, set())
    state = Path(f"/proc/{of_mold}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


GENERATORS = """
import json, os, random
own, seeded = random.Random(), random.Random(7)
from probe import application as inner
class Die(random.Random):
    pass
die = Die()
def application(environ, start_response):
    answer = json.loads(b"".join(inner(environ, start_response)))
    numbers = {"own": own.random(), "seeded": seeded.random(), "die": die.random()}
    return [json.dumps({**answer, **numbers}).encode()]
"""


def test_generators_without_a_seed_differ_in_each_child(start: Start, run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(GENERATORS)
    answers = ask_each(start("--processes", "3", "shop", children=3), 3)
    for name, different in (("own", 3), ("die", 3), ("random", 3), ("seeded", 1)):
        assert len({answer[name] for answer in answers}) == different, name
    output = run("--check", "--python-path", str(APPS), "shop").out
    assert "1 random generator (random.Random) without a seed" in output
    assert "1 random generator with a seed" in output


def test_generators_of_numpy_without_a_seed_differ_in_each_child(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        GENERATORS.replace(
            "own, seeded = random.Random(), random.Random(7)",
            "import numpy.random\nown, seeded = numpy.random.default_rng(), numpy.random.default_rng(7)",
        )
        .replace("Die()", "numpy.random.RandomState()")
        .replace("die.random()", "die.rand()")
    )
    answers = ask_each(start("--processes", "3", "shop", children=3), 3)
    for name, different in (("own", 3), ("die", 3), ("seeded", 1)):
        assert len({answer[name] for answer in answers}) == different, name


def test_what_numpy_draws_from_differs_in_each_child(start: Start, run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        GENERATORS.replace(
            "own, seeded = random.Random(), random.Random(7)",
            "import numpy.random\nown, seeded = numpy.random.PCG64(), numpy.random.PCG64(7)\n"
            "generator = numpy.random.default_rng()\n",
        )
        .replace("Die()", "numpy.random.MT19937()")
        .replace("die.random()", "int(die.random_raw())")
        .replace("own.random()", "int(own.random_raw())")
        .replace("seeded.random()", "int(seeded.random_raw())")
    )
    answers = ask_each(start("--processes", "3", "shop", children=3), 3)
    for name, different in (("own", 3), ("die", 3), ("seeded", 1)):
        assert len({answer[name] for answer in answers}) == different, name
    output = run("--check", "--python-path", str(APPS), "shop").out
    # The bit generator is reported with its generator.
    for kind in ("_pcg64.PCG64", "_mt19937.MT19937", "_generator.Generator"):
        assert f"1 random generator (numpy.random.{kind}) without a seed" in output


def test_a_check_reports_all_findings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        STRANGER.replace("BREAK", "pass") + OFFENDERS["flock"][0] + HARMLESS["log"] + "import random\n"
        "dice = random.Random()\n"
    )
    ran = run("--check", "--python-path", str(APPS), "shop")
    assert ran.code == 0
    for finding in (
        r"cannot be shared by forked processes: .*/lock\) is locked .*\(made by shop.lock\)",
        r"not known to be harmless: 1 native thread .* of an unknown library",
        r"harmless or made anew: file descriptor \d+ \(.*/log\) is appended to",
        r"harmless or made anew: 1 random generator \(random.Random\) without a seed",
    ):
        assert re.search(finding, ran.out), ran.out


def test_children_load_side_by_side(start: Start, tmp_path: Path) -> None:
    """Each waits while loading until all have begun: one after the other, they would wait for ever."""
    (tmp_path / "shop.py").write_text(
        PROBE + "import os, threading, time\n"
        "is_child = os.path.exists('mold')\n"
        "open('child-%d' % os.getpid() if is_child else 'mold', 'w').close()\n"
        "deadline = time.monotonic() + 20\n"
        "while is_child and sum(name.startswith('child-') for name in os.listdir()) < 3:\n"
        "    assert time.monotonic() < deadline, 'the others do not load'\n"
        "    time.sleep(0.01)\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    start("--processes", "3", "shop", children=3)


# A native thread of an unknown library, and an application that may not work without it.
STRANGER = """
import ctypes, os, sys, threading
library = ctypes.CDLL(None)
thread = ctypes.c_ulong()
library.pthread_create(ctypes.byref(thread), None, ctypes.cast(library.pause, ctypes.c_void_p), None)
loaded_in = os.getpid()
from probe import application as inner
def application(environ, start_response):
    is_warm_up = "warm-up" in environ.get("HTTP_USER_AGENT", "")
    if is_warm_up:
        sys.stderr.write(f"tried {environ['PATH_INFO']}\\n")
    if os.getpid() != loaded_in:
        BREAK
    return inner(environ, start_response)
"""

BREAKS = {
    "hangs": (
        "threading.Event().wait()",
        r"/ was not answered in it within 5s.*1 native thread '.*' of an unknown",
    ),
    "crashes": ("ctypes.string_at(0)", r"/ ended it with signal 11 \(SIGSEGV\)"),
    "exits": ("os._exit(3)", r"/ ended it with exit 3"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_unknown_findings_are_tried(start: Start, tmp_path: Path, how: str) -> None:
    act, symptom = BREAKS[how]
    (tmp_path / "shop.py").write_text(STRANGER.replace("BREAK", act))
    server = start("--processes", "2", "shop", children=2)
    server.wait_for(f" WARN .*a forked process was tried, and {symptom}.*cannot be shared")
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == set(server.children(2).values())
    assert [line for line in server.log.lines if line.startswith("tried ")] == ["tried /"]
    if how == "hangs":
        assert any(re.search(r'shop\.py", line \d+ in application', line) for line in server.log.lines)


def test_what_passes_the_trial_is_shared(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(STRANGER.replace("BREAK", "pass"))
    server = start("--processes", "2", "shop", children=2)
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == {server.mold()}
    assert warnings(server) == []
    server.wait_for(" INFO urls=/ tried in a forked process$")


def test_without_unknown_findings_there_is_no_trial(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import sys\nfrom probe import application as inner\n"
        "def application(environ, start_response):\n"
        "    sys.stderr.write('asked\\n')\n"
        "    return inner(environ, start_response)\n"
    )
    server = start("--processes", "2", "shop", children=2)
    assert "asked" not in server.log.lines
    server.get("/")
    server.wait_for("^asked$")
    assert server.log.lines.count("asked") == 1


WARMED = """
import os
loaded_in = os.getpid()
from probe import application as inner
def application(environ, start_response):
    if os.getpid() != loaded_in:
        BREAK
    return inner(environ, start_response)
"""


def test_a_warm_up_that_works_no_more_after_the_fork_is_seen(start: Start, run: Run, tmp_path: Path) -> None:
    """It is not visible from outside, as with a library that remembers its process id."""
    (tmp_path / "shop.py").write_text(WARMED.replace("BREAK", "raise RuntimeError('another process')"))
    server = start("--processes", "2", "--warmup", "/", "shop", children=2)
    server.wait_for(" WARN .*tried, and / failed in it, and not before the fork.*cannot be shared")
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == set(server.children(2).values())
    ran = run("--check", "--python-path", str(APPS), "--warmup", "/", "shop")
    assert "cannot be shared by forked processes: a forked process was tried, and / failed" in ran.out


def test_no_trial_where_sharing_is_insisted_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(STRANGER.replace("BREAK", "pass"))
    server = start("--preload", "on", "--processes", "2", "shop", children=2)
    assert not [line for line in server.log.lines if line.startswith("tried ")]


def test_the_server_ends_while_a_trial_hangs(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(STRANGER.replace("BREAK", BREAKS["hangs"][0]))
    server = start("--processes", "2", "shop", children=None)
    server.wait_for("^tried /$")
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(20)
    # The kernel kills it with the mold, which takes a moment.
    deadline = time.monotonic() + 20
    while server.tree():
        assert time.monotonic() < deadline, server.tree()
        time.sleep(0.01)
