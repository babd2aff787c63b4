"""Signals: those of the server are withheld from the application, all others are the application's."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE
from tests.conftest import Start
from tests.server import APPS
from tests.waiting import until

OWN = [
    *(signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGURG, signal.SIGUSR1),
    *(signal.SIGCHLD, signal.SIGWINCH, signal.SIGRTMIN),
]
"""The same signals as in `signalled`."""


def test_a_request_may_have_a_time_limit(start: Start) -> None:
    server = start("--threads", "1", "signalled")
    (pid,) = server.children(1).values()
    for _ in range(2):
        assert server.get("/limited").body == b"late"
    assert server.get("/").json()["pid"] == pid


@pytest.mark.parametrize("preload", ["on", "off"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_handlers_are_called_while_no_request_runs(start: Start, threads: str, preload: str) -> None:
    server = start("--preload", preload, "--threads", threads, "signalled")
    (pid,) = server.children(1).values()
    for number in OWN:
        line = f"{signal.Signals(number).name} in {pid}, MainThread"

        def is_handled(number: int = number, line: str = line) -> bool | None:
            # Repeated: a signal that arrives while CPython returns from a handler waits for the next one.
            os.kill(pid, number)
            return line in server.log.lines or None

        until(is_handled, line.__str__)
    assert server.get("/").json()["pid"] == pid
    assert "was ignored" not in str(server.log)


def test_a_handler_that_fails_costs_no_process(start: Start) -> None:
    server = start("--threads", "1", "signalled")
    assert server.get("/raises").status == 200
    (pid,) = server.children(1).values()
    os.kill(pid, signal.SIGUSR1)
    server.wait_for(" ERROR error=LateError a handler of a signal failed$")
    assert server.get("/").json()["pid"] == pid


def test_other_threads_than_the_main_one_are_refused(start: Start) -> None:
    server = start("--threads", "3", "signalled")
    why = "signal only works in main thread of the main interpreter"
    assert server.get("/refused").body.decode() == str([why, why])


def test_pythons_own_handler_for_ctrl_c_is_not_reported(start: Start) -> None:
    server = start("--threads", "1", "signalled")
    assert server.get("/run").body == b"napped"
    server.stop()
    assert "was ignored" not in str(server.log)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_processes_of_the_application_can_be_terminated(start: Start, threads: str) -> None:
    server = start("--threads", threads, "signalled")
    assert server.get("/terminate").body == b"-15"


def test_a_helper_lives_as_long_as_its_mold(start: Start) -> None:
    server = start("--max-requests-per-child", "1", "signalled")
    helper = int(server.wait_for("^helper ([0-9]+)$")[1])
    (former,) = server.children(1).values()
    assert server.get("/helper").body == b"S"
    server.wait_for(f' pid={former} cause="exit 0" left$')
    assert server.get("/helper").body == b"S"
    with processes.watched([helper]) as ends:
        server.stop()
        assert not ends.wait(PATIENCE)


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_a_helper_of_a_child_ends_with_it(start: Start, tmp_path: Path, preload: str) -> None:
    (tmp_path / "shop.py").write_text(
        "import multiprocessing, signal, sys\n"
        f"sys.path.append({str(APPS)!r})\n"
        "from probe import application as others, log_line\n"
        "methods = multiprocessing.get_context('fork')\n"
        "def application(environ, start_response):\n"
        "    helper = methods.Process(target=signal.pause, daemon=True)\n"
        "    helper.start()\n"
        "    log_line(f'helper {helper.pid}')\n"
        "    return others(environ, start_response)\n"
    )
    server = start("--preload", preload, "shop")
    assert server.get("/").status == 200
    helper = int(server.wait_for("^helper ([0-9]+)$")[1])
    with processes.watched([helper]) as ends:
        server.stop()
        assert not ends.wait(PATIENCE)


NATIVE = """
#include <pthread.h>
#include <unistd.h>
static void *wait_for_ever(void *nothing) { for (;;) pause(); return nothing; }
__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    pthread_create(&thread, 0, wait_for_ever, 0);
}
"""


def test_a_native_thread_that_comes_with_the_process(start: Start, tmp_path: Path) -> None:
    """As of a library in `LD_PRELOAD`, which exists at every start."""
    library = tmp_path / "native.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-pthread", "-x", "c", "-", "-o", str(library)],
        input=NATIVE.encode(),
        check=True,
        timeout=PATIENCE,
    )
    server = start("probe", environment={"LD_PRELOAD": str(library)})
    assert processes.threads(server.pid) == 2
    for number, line in ((signal.SIGUSR1, "reopening logs$"), (signal.SIGHUP, " gen=2 reloaded$")):
        server.send_signal(number)
        server.wait_for(line)
    (pid,) = server.children(1).values()
    os.kill(pid, signal.SIGKILL)
    server.wait_for(f" pid={pid} .*died$")
    assert server.get("/").json()["pid"] != pid
    server.stop()
