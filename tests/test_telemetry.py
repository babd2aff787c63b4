"""Agents from PyPI: the data of children that have ended arrives."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.collector import Collector
from tests.conftest import Start
from tests.server import Server

PROGRAMS = Path(sys.prefix) / "bin"
PER_CHILD = 3


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def opentelemetry(collector: Collector) -> dict[str, str]:
    return {
        "OTEL_SERVICE_NAME": "observed",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
        # Longer than the test: everything that arrives was sent at the end of a process.
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
    }


@pytest.fixture
def ddtrace(collector: Collector, tmp_path: Path) -> dict[str, str]:
    return {
        # It creates files there that it does not remove.
        "TMPDIR": str(tmp_path),
        "DD_SERVICE": "observed",
        "DD_TRACE_AGENT_URL": f"http://{collector.address}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_TRACE_WRITER_INTERVAL_SECONDS": "600",
    }


def live_through_it(server: Server, path: str = "/there", status: int = 200) -> list[str]:
    """Two lives of a child, a reload, two more, and the end; returns the marks of the requests."""
    marks: list[str] = []
    for generation in (1, 2):
        for _ in range(2):
            (pid,) = server.children(1).values()
            for _ in range(PER_CHILD):
                marks.append(f"mark-{len(marks)}-")
                answer = server.get(f"{path}/{marks[-1]}")
                assert answer.status == status
                assert status == 500 or answer.body == b"%d" % pid
            server.wait_for(f' pid={pid} cause="exit 0" left$')
        if generation == 1:
            server.send_signal(signal.SIGHUP)
            server.wait_for(" gen=2 reloaded$")
    # The child that sends this one ends with the server.
    marks.append("mark-last-")
    server.get(f"{path}/{marks[-1]}")
    assert processes.threads(server.pid) == 1
    server.stop()
    assert not [line for line in server.log.lines if " cannot be shared" in line or "RecursionError" in line]
    return marks


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_opentelemetry(
    start: Start, opentelemetry: dict[str, str], collector: Collector, preload: str
) -> None:
    server = start(
        *("--preload", preload, "--max-requests-per-child", str(PER_CHILD), "observed"),
        environment=opentelemetry,
        before=[str(PROGRAMS / "opentelemetry-instrument")],
    )
    collector.until(live_through_it(server))


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="ddtrace 4.16 has no wheel for CPython 3.15")
@pytest.mark.parametrize("preload", ["auto", "off"])
def test_ddtrace(start: Start, ddtrace: dict[str, str], collector: Collector, preload: str) -> None:
    server = start(
        *("--preload", preload, "--max-requests-per-child", str(PER_CHILD), "observed"),
        environment=ddtrace,
        before=[str(PROGRAMS / "ddtrace-run")],
    )
    collector.until(live_through_it(server))


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_sentry(start: Start, collector: Collector, preload: str) -> None:
    server = start(
        *("--preload", preload, "--max-requests-per-child", str(PER_CHILD), "observed"),
        environment={"SENTRY_DSN": f"http://key@{collector.address}/1"},
    )
    collector.until(live_through_it(server, "/fails", 500))
