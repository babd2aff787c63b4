"""Libraries from PyPI that a fork breaks, or that were wrongly suspected, used as in real sites."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import Client
from tests.conftest import Start
from tests.server import Server
from tests.test_fork_safety import warnings
from tests.waiting import until_equal

CHILDREN = 3
# Several generations of children.
REQUESTS = 60
RECYCLING = ("--processes", str(CHILDREN), "--max-requests-per-child", "6")

ANSWER = """
import json, os
loaded_in = os.getpid()
def application(environ, start_response):
    answer = {"loaded_in": loaded_in, "pid": os.getpid(), "did": work()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


def ask(server: Server, requests: int = REQUESTS, clients: int = 6) -> list[dict[str, object]]:
    """Send this number of requests, some concurrently."""

    def one(number: int) -> dict[str, object]:
        with Client(server.address) as client:
            answer = client.get(f"/{number}")
        assert answer.status == 200, answer
        found = json.loads(answer.body)
        assert isinstance(found, dict)
        return found

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, range(requests)))


# Libraries that each child must load itself, the expected warning, and their use.
OFFENDERS = {
    "polars": (
        "import polars\n"
        "frame = polars.DataFrame({'a': range(1000), 'b': [each % 7 for each in range(1000)]})\n"
        "def work():\n"
        "    return frame.lazy().group_by('b').agg(polars.col('a').sum()).collect().height\n"
        "work()\n",
        r"\d+ native threads 'polars-\d+', .*'tokio-rt-worker'.* of _polars_runtime\S* would be missing",
        7,
    ),
}

# Libraries that are shared without a warning.
HARMLESS = {
    "polars-not-used": ("import polars\ndef work():\n    return polars.__name__\n", "polars"),
    "pandas": (
        "import pandas\n"
        "frame = pandas.DataFrame({'a': range(1000), 'b': [each % 7 for each in range(1000)]})\n"
        "square = frame.to_numpy()[:300].dot(frame.to_numpy()[:300].T)\n"
        "def work():\n"
        "    return len(frame.groupby('b').sum()), float((square @ square).sum()) > 0\n",
        [7, True],
    ),
    "duckdb": (
        "import duckdb\n"
        "db = duckdb.connect()\n"
        "db.execute('create table t as select range as x from range(100000)')\n"
        "def work():\n"
        "    return db.cursor().execute('select sum(x) from t').fetchall()[0][0]\n"
        "work()\n",
        4999950000,
    ),
    "gevent": (
        # Its hub and its threads have been used before the fork.
        "from gevent import monkey\n"
        "monkey.patch_all()\n"
        "import socket, time\n"
        "def work():\n"
        "    time.sleep(0.02)\n"
        "    return bool(socket.getaddrinfo('localhost', 80))\n"
        "work()\n",
        True,
    ),
}


# Each span is written to a file, with the process that has sent it.
TELEMETRY = """
import os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
class ToFile(SpanExporter):
    def export(self, spans):
        with open("spans", "a") as file:
            file.writelines(f"{os.getpid()} {span.name}\\n" for span in spans)
        return SpanExportResult.SUCCESS
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=SECONDS * 1000))
def work():
    with provider.get_tracer("shop").start_as_current_span(f"of-{os.getpid()}"):
        return 1
"""


@pytest.mark.parametrize("seconds", [0.01, 3600])
def test_telemetry_of_a_thread_that_begins_anew_is_shared(
    start: Start, tmp_path: Path, seconds: float
) -> None:
    """Its thread sends the spans of each child, in time or at its end."""
    (tmp_path / "shop.py").write_text(TELEMETRY.replace("SECONDS", str(seconds)) + ANSWER)
    server = start("--processes", str(CHILDREN), "shop", children=CHILDREN)
    mold = server.mold()
    answers = ask(server)
    assert all(answer["loaded_in"] == mold for answer in answers)
    sent = Counter(f"{answer['pid']} of-{answer['pid']}" for answer in answers)

    def arrived() -> Counter[str]:
        file = tmp_path / "spans"
        return Counter(file.read_text().splitlines() if file.exists() else [])

    if seconds < 1:
        until_equal(arrived, sent)
    server.stop()
    assert arrived() == sent
    assert warnings(server) == []


OPENMP = """
int sum(int many) {
    int sum = 0;
    #pragma omp parallel for num_threads(4) reduction(+:sum)
    for (int number = 0; number < many; number++) sum += number % 7;
    return sum;
}
"""


def test_openmp_is_known_by_its_library(start: Start, tmp_path: Path) -> None:
    """GNU's, as in scikit-learn and LightGBM: a parallel section after the fork never ends."""
    (tmp_path / "sum.c").write_text(OPENMP)
    compiler = ["cc", "-shared", "-fPIC", "-fopenmp", "-o", "libsum.so", "sum.c"]
    subprocess.run(compiler, cwd=tmp_path, check=True, timeout=60)
    load = "import ctypes\nlibrary = ctypes.CDLL('./libsum.so')\n"
    (tmp_path / "shop.py").write_text(f"{load}def work():\n    return library.sum(70)\nwork()\n{ANSWER}")
    server = start(*RECYCLING, "shop", children=CHILDREN)
    answers = ask(server)
    assert all(answer["did"] == 210 and answer["loaded_in"] == answer["pid"] for answer in answers)
    (warning,) = warnings(server)
    assert re.search(r"3 native threads 'unnamed' of libgomp\S* would be missing", warning), warning


@pytest.mark.parametrize("name", OFFENDERS)
def test_an_offender_is_loaded_by_each_child(start: Start, tmp_path: Path, name: str) -> None:
    code, pattern, did = OFFENDERS[name]
    (tmp_path / "shop.py").write_text(code + ANSWER)
    server = start(*RECYCLING, "shop", children=CHILDREN)
    answers = ask(server)
    assert all(answer["did"] == did and answer["loaded_in"] == answer["pid"] for answer in answers)
    (warning,) = warnings(server)
    assert re.search(pattern, warning), warning
    assert "cannot be shared" in warning


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_and_fixed_libraries_are_shared_silently(start: Start, tmp_path: Path, name: str) -> None:
    code, did = HARMLESS[name]
    (tmp_path / "shop.py").write_text(code + ANSWER)
    server = start(*RECYCLING, "shop", children=CHILDREN)
    mold = server.mold()
    deadline = time.monotonic() + 30
    seen: set[object] = set()
    # Until each has been replaced.
    while len(seen) < 2 * CHILDREN:
        answers = ask(server)
        assert all(answer["did"] == did and answer["loaded_in"] == mold for answer in answers)
        seen |= {answer["pid"] for answer in answers}
        assert time.monotonic() < deadline, seen
    assert warnings(server) == []


ZODB = """
import os, transaction, ZODB, ZODB.FileStorage
db = ZODB.DB(ZODB.FileStorage.FileStorage("Data.fs"))
with db.transaction() as connection:
    connection.root().setdefault("count", 0)
def work():
    with db.transaction() as connection:
        root = connection.root()
        root["count"] += 1
        root[f"text {root['count']}"] = os.urandom(200)
        return root["count"]
"""

# Reads every record, and counts the committed ones.
READ_ALL = """
import sys, ZODB, ZODB.FileStorage
storage = ZODB.FileStorage.FileStorage("Data.fs", read_only=True)
assert all(record.data for transaction in storage.iterator() for record in transaction)
root = ZODB.DB(storage).open().root()
count = root.get("count", 0)
assert all(len(root[f"text {number}"]) == 200 for number in range(1, count + 1))
print(count)
"""

# There are no wheels for that yet, and a compiler may be missing.
zodb = pytest.mark.skipif(sys.version_info >= (3, 15), reason="BTrees has no wheel for CPython 3.15")


def committed(folder: Path) -> int:
    """The number of commits, all of which can be read."""
    command = [sys.executable, "-c", READ_ALL]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


@zodb
def test_a_database_that_is_locked_survives_replacements(start: Start, tmp_path: Path) -> None:
    """A copy would overwrite later commits of the original. The replacement never gets the lock."""
    (tmp_path / "shop.py").write_text(ZODB + ANSWER)
    server = start("--max-requests-per-child", "6", "shop")
    answers = ask(server)
    server.stop()
    assert {answer["did"] for answer in answers} == set(range(1, REQUESTS + 1))
    assert committed(tmp_path) == REQUESTS
    (warning,) = [line for line in warnings(server) if "cannot be shared" in line]
    assert re.search(r"Data\.fs\.lock\) is locked \(FLOCK WRITE\).*\(made by shop\.db\)", warning), warning


@zodb
def test_a_database_that_is_locked_is_not_written_by_several(start: Start, tmp_path: Path) -> None:
    """The child with the lock serves, or the start fails because another first reported its failure."""
    (tmp_path / "shop.py").write_text(ZODB + ANSWER)
    server = start(*RECYCLING, "shop", children=None)
    is_ready = server.wait_for(r" url=\S+ .*ready$| stopped$")[0] != " stopped"
    server.wait_for("LockError: Couldn't lock .*the application cannot be loaded$")
    done = 0
    if is_ready:
        server.wait_until_ready(1)
        answers = ask(server)
        assert len({answer["pid"] for answer in answers}) == 1
        done = len(answers)
        server.stop()
    else:
        assert server.wait() == 75
    assert committed(tmp_path) == done
