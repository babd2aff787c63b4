"""The fixtures: a door, and servers started through it."""

import os
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.outputs import Begin, Disk, Terminal, freezable_in, mounted
from tests.server import APPS, ROOT, Door, Ran, Server
from tests.unprivileged import reachable


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail where a test would be skipped")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped, which --no-skips does not allow: {reason}"
    return report


PROGRAMS = {
    "binary": ("RWSGI_BINARY", ROOT / "target" / "release" / "rwsgi"),
    "wheel": ("RWSGI_WHEEL", Path(sys.prefix) / "bin" / "rwsgi"),
}


def open_door(name: str) -> Door:
    variable, usual = PROGRAMS[name]
    program = Path(os.environ.get(variable) or usual).absolute()
    # Not skipped: tests that have not run must not look as if they had passed.
    assert os.access(program, os.X_OK), (
        f"{program} is not built: run `make test-end-to-end`, or set {variable}"
    )
    return Door(name, program)


@pytest.fixture(scope="session", params=["binary", "wheel"])
def door(request: pytest.FixtureRequest) -> Door:
    """How the server is installed: each test runs through both doors."""
    return open_door(request.param)


class Start(Protocol):
    """Starts a server."""

    def __call__(
        self,
        *arguments: str,
        bind: str | None = "127.0.0.1:0",
        children: int | None = 1,
        environment: Mapping[str, str] | None = None,
        inherited: Iterable[int] = (),
        before: Iterable[str] = (),
        folder: Path | None = None,
    ) -> Server: ...


class Servers:
    """The servers of a test, in one folder."""

    def __init__(self, door: Door, folder: Path) -> None:
        self._door = door
        self._folder = folder
        self._all: list[Server] = []

    def start(
        self,
        *arguments: str,
        bind: str | None = "127.0.0.1:0",
        children: int | None = 1,
        environment: Mapping[str, str] | None = None,
        inherited: Iterable[int] = (),
        before: Iterable[str] = (),
        folder: Path | None = None,
    ) -> Server:
        """Start one, and wait until this number of children is ready; `None` does not wait.

        `folder` is entered by its name, as by the `cd` of a shell.
        """
        where = ["--bind", bind] if bind else []
        arguments = (*where, "--python-path", str(APPS), *arguments)
        if folder is not None:
            environment = {"PWD": str(folder), **(environment or {})}
        server = Server(self._door, folder or self._folder, arguments, environment, inherited, before)
        self._all.append(server)
        if children is not None:
            server.wait_until_ready(children)
        return server

    def end(self) -> None:
        """Stop those that still run. For a failed test, their logs are shown."""
        for server in self._all:
            print(f"--- the log of {server.pid}\n{server.log}")
        try:
            for server in self._all:
                if server.process.poll() is None:
                    server.stop()
        finally:
            for server in self._all:
                server.destroy()


@pytest.fixture
def start(door: Door, tmp_path: Path) -> Iterator[Start]:
    """Starts servers in the folder of the test, and stops them at its end."""
    servers = Servers(door, tmp_path)
    yield servers.start
    servers.end()


class Run(Protocol):
    """Runs a command that ends by itself."""

    def __call__(
        self,
        *arguments: str,
        bind: str | None = "127.0.0.1:0",
        environment: Mapping[str, str] | None = None,
        before: Iterable[str] = (),
    ) -> Ran: ...


@pytest.fixture
def run(door: Door, tmp_path: Path) -> Iterator[Run]:
    """Runs `rwsgi` to its end in the folder of the test; afterwards no process may be left."""
    servers: list[Server] = []

    def run(
        *arguments: str,
        bind: str | None = "127.0.0.1:0",
        environment: Mapping[str, str] | None = None,
        before: Iterable[str] = (),
    ) -> Ran:
        arguments = (*(["--bind", bind] if bind else []), *arguments)
        server = Server(door, tmp_path, arguments, environment, before=before)
        servers.append(server)
        code = server.wait()
        return Ran(code, str(server.output), str(server.log))

    yield run
    for server in servers:
        server.destroy()


@pytest.fixture
def begin(start: Start) -> Begin:
    return Begin(start)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        yield disk


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Disk]:
    # Where other users can reach it, too.
    with tempfile.TemporaryDirectory(prefix="rwsgi-disk-") as folder:
        os.chmod(folder, 0o755)
        yield from freezable_in(tmp_path, Path(folder))


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def as_nobody(door: Door, tmp_path: Path) -> Iterator[dict[str, object]]:
    """Options with which only the supervisor is root, where that is possible."""
    if os.geteuid() != 0:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="rwsgi-") as folder:
        os.chmod(folder, 0o755)
        yield {"before": reachable(door, tmp_path), "folder": Path(folder)}
