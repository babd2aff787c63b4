"""As a service of systemd: notifications, socket activation, unit files."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.client import PATIENCE, Client
from tests.conftest import Run, Start
from tests.server import ROOT, Door
from tests.tools import tool
from tests.waiting import until

DEPLOY = ROOT / "deploy"


class Manager:
    """A mock of systemd's notification socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.settimeout(PATIENCE)
        self.environment = {"NOTIFY_SOCKET": address}
        self.received: list[dict[str, str]] = []

    def receive(self) -> dict[str, str]:
        """The next message."""
        lines = self.socket.recv(4096).decode().splitlines()
        message = dict(line.split("=", 1) for line in lines)
        self.received.append(message)
        return message

    def receive_until(self, name: str, pattern: str = "") -> dict[str, str]:
        """The next message with such a line."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.receive()
            if name in message and re.search(pattern, message[name]):
                return message
        raise AssertionError(f"no {name} in {self.received}")

    def receive_all(self) -> None:
        """Receive all messages so far."""
        self.socket.settimeout(0)
        try:
            while True:
                self.receive()
        except BlockingIOError:
            self.socket.settimeout(PATIENCE)

    def count(self, name: str) -> int:
        return sum(name in message for message in self.received)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path fits into the address of a socket."""
    with tempfile.TemporaryDirectory(prefix="rwsgi-") as folder:
        yield Path(folder)


@pytest.fixture
def manager(short: Path) -> Iterator[Manager]:
    manager = Manager(str(short / "notify"))
    with manager.socket:
        yield manager


def test_the_manager_is_notified_of_each_step_in_order(start: Start, manager: Manager) -> None:
    server = start("--processes", "2", "probe", children=2, environment=manager.environment)
    ready = manager.receive_until("READY")
    assert (ready["READY"], ready["MAINPID"]) == ("1", str(server.pid))
    assert server.get("/").status == 200
    held = server.hold()
    manager.receive_until("STATUS", r"\b1 busy, 1 idle, 0 waiting; 2 processes ready\b")
    server.send_signal(signal.SIGTERM)
    # It is sent at the beginning of the stop, not at its end.
    assert manager.receive_until("STOPPING")["STOPPING"] == "1"
    assert server.process.poll() is None
    held.release()
    assert held.answer().status == 200
    assert server.wait() == 0
    manager.receive_all()
    steps = [name for message in manager.received for name in message if name in {"READY", "STOPPING"}]
    assert steps == ["READY", "STOPPING"]


def test_the_manager_may_be_a_socket_without_a_file(start: Start) -> None:
    manager = Manager(f"@rwsgi-test-{os.getpid()}-{time.monotonic_ns()}")
    with manager.socket:
        start("probe", environment=manager.environment)
        manager.receive_until("READY")


def test_ready_is_when_the_first_child_is(start: Start, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "from probe import application as application, wait_at\nwait_at('gate')\n"
    )
    os.mkfifo(tmp_path / "gate")
    server = start("slow", children=None, environment=manager.environment)
    server.wait_for("^holding gate in")
    manager.receive_all()
    assert manager.count("READY") == 0
    gate = os.open(tmp_path / "gate", os.O_WRONLY)
    os.write(gate, b"!")
    os.close(gate)
    manager.receive_until("READY")
    server.wait_until_ready()


def test_a_start_that_fails_is_never_ready(run: Run, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('no shop')")
    assert run("broken", environment=manager.environment).code == 75
    manager.receive_all()
    assert manager.count("READY") == 0


def test_the_manager_is_notified_of_a_reload(start: Start, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from probe import application as application")
    server = start("shop", environment=manager.environment)
    manager.receive_until("READY")
    asked = time.monotonic_ns() // 1000
    assert server.control("reload").code == 0
    assert int(manager.receive_until("RELOADING", "^1$")["MONOTONIC_USEC"]) >= asked
    manager.receive_until("READY")
    (tmp_path / "shop.py").write_text("raise ValueError('no shop')")
    server.send_signal(signal.SIGHUP)
    manager.receive_until("RELOADING")
    manager.receive_until("READY")
    server.wait_for("reload failed: the old generation serves on$")
    steps = [name for message in manager.received for name in message if name in {"READY", "RELOADING"}]
    assert steps == ["READY", "RELOADING", "READY", "RELOADING", "READY"]


def test_the_manager_is_notified_of_the_new_main_process(start: Start, manager: Manager) -> None:
    environment = manager.environment | {"WATCHDOG_USEC": "60000000"}
    server = start("probe", environment=environment)
    manager.receive_until("READY")
    server.send_signal(signal.SIGUSR2)
    successor = server.wait_for(r" pid=(\d+) another server serves$")[1]
    # One server reports the main process, the other that it is ready: in any order.
    for _ in range(2):
        manager.receive_until("MAINPID", f"^{successor}$")
    assert {"MAINPID": successor} in manager.received
    with processes.watched([int(successor)]) as ends:
        assert server.process.wait(PATIENCE) == 0
        manager.receive_all()
        assert manager.count("STOPPING") == 0
        os.kill(int(successor), signal.SIGTERM)
        manager.receive_until("STOPPING")
        assert ends.wait(PATIENCE) == set()


def test_the_watchdog_is_fed_while_nothing_happens(start: Start, manager: Manager) -> None:
    environment = manager.environment | {"WATCHDOG_USEC": "400000"}
    start("probe", environment=environment)
    for _ in range(8):
        assert manager.receive_until("WATCHDOG")["WATCHDOG"] == "1"


def test_the_watchdog_of_another_process_is_not_fed(start: Start, manager: Manager) -> None:
    environment = manager.environment | {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    server = start("probe", environment=environment)
    manager.receive_until("STATUS", "idle")
    server.stop()
    manager.receive_all()
    assert manager.count("WATCHDOG") == 0


def test_the_application_does_not_see_the_manager(start: Start, manager: Manager) -> None:
    environment = manager.environment | {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}
    server = start("probe", environment=environment)
    found = server.get("/os.environ").json()
    assert not [name for name in found if name.startswith(("NOTIFY_", "WATCHDOG_"))]
    assert "socket:" not in server.get("/program?way=os.system").json()


def test_a_missing_manager_blocks_no_process(start: Start, short: Path) -> None:
    server = start("probe", environment={"NOTIFY_SOCKET": str(short / "nobody"), "WATCHDOG_USEC": "100000"})
    assert server.get("/").status == 200


@pytest.mark.parametrize("count", [1, 2])
def test_sockets_that_systemd_has_opened_are_served(
    start: Start, door: Door, short: Path, count: int
) -> None:
    """The first connection starts the server, and is served by it."""
    paths = [str(short / f"s{number}") for number in range(count)]
    names = ":".join(f"name{number}" for number in range(count))
    kept = [f"--setenv={name}" for name in ("VIRTUAL_ENV", "PATH") if name in door.environment()]
    activate = [
        tool("systemd-socket-activate", "systemd"),
        *(f"--listen={path}" for path in paths),
        f"--fdname={names}",
        *kept,
    ]
    server = start("probe", bind=None, children=None, before=activate)
    until(lambda: True if os.path.exists(paths[-1]) else None, lambda: "no socket")
    server.wait_for(f"Listening on {re.escape(paths[-1])}")
    with Client(paths[-1]) as client:
        client.send("/environ")
        server.wait_until_ready()
        assert server.urls == [f"unix:{path}" for path in paths]
        assert client.answer().json()["SERVER_SOFTWARE"].startswith("rwsgi/")
    for path in paths:
        with Client(path) as client:
            assert not [name for name in client.get("/os.environ").json() if name.startswith("LISTEN_")]
            assert "socket:" not in client.get("/program?way=os.system").json()
    server.stop()
    # The sockets belong to systemd, which continues to listen.
    assert all(os.path.exists(path) for path in paths)


@pytest.fixture(scope="module")
def units(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unit files as installed by an administrator."""
    folder = tmp_path_factory.mktemp("units")
    # In a unit's command, a space would end the path.
    programs = folder / "programs"
    programs.symlink_to(door.program.parent)
    for path in DEPLOY.glob("rwsgi.*"):
        if path.is_file():
            text = path.read_text().replace("/srv/site/.venv/bin", str(programs))
            (folder / path.name).write_text(text.replace("/srv/site", str(folder)))
    return folder


def analyze(*arguments: str) -> str:
    command = [tool("systemd-analyze", "systemd"), "--no-pager", *arguments]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    output = analyze("verify", str(units / "rwsgi.service"), str(units / "rwsgi.socket"))
    assert output == ""


def test_the_service_is_exposed_to_little(units: Path) -> None:
    # 1.5 of 10; a unit without hardening has 9.6.
    analyze("security", "--offline=true", "--threshold=15", str(units / "rwsgi.service"))
