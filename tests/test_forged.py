"""Forged messages of the application: no process is killed because of a process id in one."""

import re
import signal
import struct
import subprocess
from collections.abc import Iterator

import pytest

from tests import processes
from tests.conftest import Start

BORN, FORKED = 1, 6
CUT_OFF = " says what no (child|mold) says: killed"


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does not belong to the server."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def number(kind: int, pid: int) -> str:
    return struct.pack("<Bi", kind, pid).hex()


@pytest.mark.parametrize("when", ["import", "between", "child"])
@pytest.mark.parametrize("kind", [BORN, FORKED])
def test_a_foreign_process_is_not_killed(
    start: Start,
    as_nobody: dict[str, object],
    victim: "subprocess.Popen[bytes]",
    when: str,
    kind: int,
) -> None:
    user = ("--user", "nobody") if as_nobody else ()
    server = start(
        *(*user, "--preload", "off" if when == "import" else "on", "forger"),
        environment={
            "FORGE_WHEN": when,
            "FORGE_SAYS": " ".join([number(kind, victim.pid), number(kind, -1), number(kind, 0)]),
        },
        children=None,
        **as_nobody,  # type: ignore[arg-type]
    )
    server.wait_for(CUT_OFF)
    if when != "between":
        # Without a child that was ever ready, and without its mold, the server ends by itself. A child may be
        # killed before it has sent anything on the mold's channel.
        server.send_signal(signal.SIGTERM)
    assert server.wait() in (0, 75)
    assert victim.poll() is None


@pytest.mark.parametrize("kind", [bytes([BORN]), struct.pack("<BI", FORKED, 1)])
def test_the_process_between_is_not_taken_for_the_child(start: Start, kind: bytes) -> None:
    server = start(
        *("--preload", "on", "forger"),
        environment={"FORGE_WHEN": "between", "FORGE_SAYS": kind.hex()},
        children=None,
    )
    server.wait()
    assert re.search(CUT_OFF, str(server.log))
    assert not [line for line in server.log.lines if "child=" in line and line.endswith(" started")]


def test_a_flood_ends_with_the_process_that_sends_it(start: Start) -> None:
    server = start("--processes", "2", "hostile", children=2)
    before = set(server.children(2).values())
    assert server.get("/attack/flood").status in (200, 502)
    server.wait_for(CUT_OFF)
    lines = [line for line in server.log.lines if "said what makes no sense" in line]
    assert len(lines) <= 16
    assert server.status()["children"]
    left = {process.pid for process in processes.of_session(server.pid)}
    assert len(before - left) <= 1
