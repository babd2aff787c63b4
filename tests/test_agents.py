"""Agents with threads and fork hooks that are loaded before the server."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE
from tests.conftest import Run, Start
from tests.server import APPS, Door, Server
from tests.test_environments import make
from tests.test_upgrade import stop, successor

PRELOAD = pytest.mark.parametrize("preload", ["auto", "off"])
WHEEL = pytest.mark.parametrize("door", ["wheel"], indirect=True)

THREAD = """
import threading
threading.Thread(target=threading.Event().wait, name="agent", daemon=True).start()
"""

# It stops its thread before each fork, waits for its end, and starts another one in both processes.
HANDSHAKE = """
import os, threading

class Agent:
    def start(self):
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.stopped.wait, name="agent", daemon=True)
        self.thread.start()

    def stop(self):
        self.stopped.set()
        self.thread.join()

agent = Agent()
agent.start()
os.register_at_fork(before=agent.stop, after_in_parent=agent.start, after_in_child=agent.start)
"""

# Two threads that pass a lock to each other: the fork waits until the other one has released it.
LOCK = """
import os, threading

class Agent:
    def __init__(self):
        self.pause, self.paused = threading.Event(), threading.Event()
        self.begin()

    def begin(self):
        self.pause.clear()
        self.paused.clear()
        threading.Thread(target=self.run, name="agent", daemon=True).start()

    def run(self):
        self.pause.wait()
        self.paused.set()

    def before(self):
        self.pause.set()
        self.paused.wait()

agent = Agent()
os.register_at_fork(before=agent.before, after_in_parent=agent.begin, after_in_child=agent.begin)
"""

SHOP = """
import os, subprocess, sys, threading
from probe import ACTS, application as application

ACTS["/threads"] = lambda environ, query: [each.name for each in threading.enumerate()]
ACTS["/python"] = lambda environ, query: {
    "flags": list(sys.flags),
    "options": subprocess._args_from_interpreter_flags(),
    "x": sys._xoptions,
    "warn": sys.warnoptions,
    "path": sys.path,
    "prefix": [sys.prefix, sys.base_prefix, sys.executable],
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "folder": os.getcwd(),
    "environ": dict(os.environ),
    "exit": hasattr(__builtins__, "exit") or "exit" in __builtins__,
    "agent": getattr(sys.modules.get("sitecustomize"), "__file__", None),
}
"""

Agent = Callable[[str], dict[str, str]]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """Installs an agent for every Python with this environment, and an application beside it."""
    (tmp_path / "shop.py").write_text(SHOP)

    def agent(source: str) -> dict[str, str]:
        folder = tmp_path / "agent"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(source)
        return {"PYTHONPATH": str(folder)}

    return agent


def live_through_it(server: Server) -> None:
    """Two lives of a child, a reload, another two, and the end. Three requests are a child's life."""
    recycle(server)
    server.send_signal(signal.SIGHUP)
    server.wait_for(" gen=2 reloaded$")
    recycle(server)
    assert processes.threads(server.pid) == 1
    assert not [line for line in server.log.lines if "should have one thread" in line]
    server.stop()


def recycle(server: Server) -> None:
    """Two lives of the only child."""
    for _ in range(2):
        (pid,) = server.children(1).values()
        for _ in range(3):
            assert server.get("/").json()["pid"] == pid
        server.wait_for(f' pid={pid} cause="exit 0" left$')


@PRELOAD
@pytest.mark.parametrize("source", [THREAD, HANDSHAKE, LOCK], ids=["thread", "handshake", "lock"])
def test_a_thread_that_was_there_before_the_server(
    start: Start, agent: Agent, preload: str, source: str
) -> None:
    server = start("--preload", preload, "--max-requests-per-child", "3", "shop", environment=agent(source))
    if preload == "auto":
        # If children loaded the application themselves, this would be logged.
        assert not [line for line in server.log.lines if "cannot be shared" in line]
    live_through_it(server)


def test_the_threads_of_an_agent_that_sees_to_forks_are_in_the_children(start: Start, agent: Agent) -> None:
    server = start("--processes", "2", "shop", environment=agent(HANDSHAKE), children=2)
    for _ in range(4):
        assert "agent" in server.get("/threads").json()
    assert processes.threads(server.pid) == 1


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD]
)
def test_no_signal_goes_to_a_thread_of_an_agent(start: Start, agent: Agent, number: signal.Signals) -> None:
    server = start("shop", environment=agent(THREAD))
    server.send_signal(number)
    assert server.status()["supervisor"]["pid"] == server.pid
    assert server.get("/").status == 200
    server.stop()


def test_python_is_as_it_was_started(start: Start, door: Door, agent: Agent, tmp_path: Path) -> None:
    """Except for the thread, everything is the same with and without it."""
    environment = agent("import os\nif os.environ['AGENT'] == 'thread':\n" + THREAD.replace("\n", "\n  "))
    environment |= {"PYTHONPATH": "agent:elsewhere/../agent", "PYTHONWARNINGS": "ignore::ImportWarning"}
    (tmp_path / "app").mkdir()
    before = []
    if door.name == "wheel":
        words = "-X importtime=0 -X dev -Wdefault -W error::BytesWarning -bOu"
        before = [str(door.program.with_name("python")), *words.split()]
    found = []
    for kind in ("nothing", "thread"):
        server = start(
            *("--chdir", "app", "--python-path", str(tmp_path), "shop"),
            environment={**environment, "AGENT": kind, "XDG_RUNTIME_DIR": str(tmp_path)},
            before=before,
        )
        answer = server.get("/python").json()
        assert answer["environ"].pop("AGENT") == kind
        assert answer["agent"] == str(tmp_path / "agent" / "sitecustomize.py")
        found.append(answer)
        server.stop()
    without, with_thread = found
    assert with_thread == without


HANDLERS = """
import faulthandler, signal, sys

def handle(number, frame):
    sys.stderr.write(f"handled {number}\\n")
    # It does what the signal did before, as it thinks.
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2):
    signal.signal(number, handle)
signal.signal(signal.SIGALRM, handle)
faulthandler.register(signal.SIGUSR1)
"""


@pytest.mark.parametrize("preload", ["on", "off"])
def test_handlers_of_an_agent_are_not_called_for_the_servers_signals(
    start: Start, agent: Agent, preload: str
) -> None:
    """As when a service manager or a terminal signals all processes."""
    server = start("--preload", preload, "shop", environment=agent(THREAD + HANDLERS))
    (pid,) = server.children(1).values()
    for process in (server.mold(), pid):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2):
            os.kill(process, number)
    assert server.get("/").json()["pid"] == pid
    os.kill(pid, signal.SIGUSR1)
    # The agent keeps its own signals.
    server.wait_for("^(?:Current t|T)hread 0x")
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait() == 0
    assert not [line for line in server.log.lines if "handled" in line or "was ignored" in line]


@WHEEL
def test_a_module_is_run_as_well(start: Start, door: Door, agent: Agent) -> None:
    before = [str(door.program.with_name("python")), "-Wignore", "-m", "rwsgi"]
    # The command that follows is the value of an option.
    server = start("shop", environment=agent(THREAD), before=[*before, "--touch-reload"])
    answer = server.get("/python").json()
    assert answer["orig_argv"][:5] == [*before, "--touch-reload"]
    assert answer["warn"] == ["ignore"]
    assert processes.threads(server.pid) == 1


def test_an_agent_is_there_in_the_server_that_takes_over(start: Start, agent: Agent, tmp_path: Path) -> None:
    """Although the agent keeps itself out of programs that are started."""
    environment = agent(THREAD + "import os\nos.environ['PYTHONPATH'] = ''\n")
    server = start("shop", environment=environment)
    assert server.get("/python").json()["agent"] == str(tmp_path / "agent" / "sitecustomize.py")
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    answer = server.get("/python").json()
    assert answer["agent"] == str(tmp_path / "agent" / "sitecustomize.py")
    assert answer["environ"]["PYTHONPATH"] == ""
    assert not [name for name in answer["environ"] if name.startswith("_RWSGI")]
    stop(server, pid)


def test_an_agent_comes_along_into_another_environment(start: Start, agent: Agent, tmp_path: Path) -> None:
    make(tmp_path.resolve() / "other")
    environment = agent(HANDSHAKE) | {"VIRTUAL_ENV": str(tmp_path.resolve() / "other")}
    server = start("--max-requests-per-child", "3", "shop", environment=environment)
    assert server.get("/python").json()["prefix"][0] == str(tmp_path.resolve() / "other")
    assert "agent" in server.get("/threads").json()
    server.send_signal(signal.SIGHUP)
    server.wait_for(" gen=2 reloaded$")
    assert processes.threads(server.pid) == 1
    server.stop()


def test_an_agent_is_no_obstacle_to_a_check(run: Run, agent: Agent) -> None:
    options = ("--check", "--warmup", "/", "--python-path", str(APPS))
    ran = run(*options, "shop", environment=agent(HANDSHAKE))
    assert ran.code == 0, ran
    assert "it can be shared by forked processes" in ran.out
    assert "thread 'agent' was running before the application was loaded" in ran.out


def test_the_supervisor_carries_no_agent(start: Start, agent: Agent) -> None:
    size = 64 * 1024 * 1024
    server = start("shop", environment=agent(f"{THREAD}\nheavy = b'x' * {size}\n"))
    assert resident(server.mold()) > size
    assert resident(server.pid) < size // 2


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@WHEEL
def test_what_a_program_adds_to_the_path_is_found(
    start: Start, door: Door, agent: Agent, tmp_path: Path
) -> None:
    """As zipped applications and the scripts of buildout do."""
    environment = agent(THREAD)
    (tmp_path / "eggs").mkdir()
    (tmp_path / "shop.py").rename(tmp_path / "eggs" / "shop.py")
    script = tmp_path / "serve.py"
    script.write_text(
        # The command that follows is an argument that the script removes.
        f"import sys\ndel sys.argv[1]\nsys.path[0:0] = [{str(tmp_path / 'eggs')!r}]\n"
        "import rwsgi.__main__\nrwsgi.__main__.entry()\n"
    )
    python = str(door.program.with_name("python"))
    server = start("shop", environment=environment, before=[python, str(script)])
    assert processes.threads(server.pid) == 1
    assert server.get("/").status == 200
    server.stop()
