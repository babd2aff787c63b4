"""What is loaded where, and what the children of one mold share."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run, Start
from tests.server import APPS, DEMO, Server

CHILDREN = 4


def ask_each(server: Server, children: int = CHILDREN) -> list[dict[str, Any]]:
    """Send each child one request: each is busy until all have one."""
    held = [server.hold() for _ in range(children)]
    for hold in held:
        hold.release()
    answers = [hold.answer().json() for hold in held]
    assert len({answer["pid"] for answer in answers}) == children
    return answers


def imports(server: Server) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in server.log.lines if line.startswith("imported in ")]


def test_the_application_is_imported_once_and_shared(start: Start) -> None:
    server = start("--processes", str(CHILDREN), "probe", children=CHILDREN)
    mold = server.mold()
    for answer in ask_each(server):
        assert answer["imported_in"] == mold
        # The mold forks them, the supervisor adopts them.
        assert answer["parent"] == server.pid
        assert answer["frozen"] > 1000
    assert imports(server) == [mold]


def test_without_preload_each_child_imports_for_itself(start: Start) -> None:
    server = start("--processes", str(CHILDREN), "--preload", "off", "probe", children=CHILDREN)
    for answer in ask_each(server):
        assert answer["imported_in"] == answer["pid"]
        assert answer["parent"] == server.pid
        # The garbage collector ignores what was loaded.
        assert answer["frozen"] > 1000
    assert sorted(imports(server)) == sorted(server.children(CHILDREN).values())


def test_one_process_that_is_not_replaced_loads_for_itself(start: Start, run: Run, tmp_path: Path) -> None:
    """A mold would hold a second copy, and it does not matter what cannot be shared."""
    (tmp_path / "busy.py").write_text(THREADED)
    server = start("busy")
    assert server.get("/").json()["imported_in"] == server.children(1)[0]
    assert len(imports(server)) == 1
    server.wait_for("pool .*application loaded in it, as there is none to share with")
    assert not [line for line in server.log.lines if "cannot be shared" in line]
    output = run("--check", "--python-path", str(APPS), "busy").out
    assert "--preload auto loads it in that process" in output


@pytest.mark.parametrize(
    "option",
    [
        ("--max-requests-per-child", "1000"),
        ("--max-child-memory", "1G"),
        ("--restart-interval", "1h"),
        ("--inactivity-timeout", "1h"),
        ("--preload", "on"),
    ],
)
def test_one_process_that_is_replaced_is_forked_from_a_mold(start: Start, option: tuple[str, str]) -> None:
    server = start(*option, "probe")
    assert server.get("/").json()["imported_in"] == server.mold()


def test_a_reload_that_makes_it_one_process_makes_it_load_for_itself(start: Start, tmp_path: Path) -> None:
    (tmp_path / "rwsgi.toml").write_text("processes = 2")
    server = start("probe", children=2)
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == {server.mold()}
    (tmp_path / "rwsgi.toml").write_text("processes = 1")
    assert server.control("reload").code == 0
    answer = server.get("/").json()
    assert answer["imported_in"] == answer["pid"]


def test_random_numbers_differ_in_each_child(start: Start) -> None:
    server = start("--processes", str(CHILDREN), "probe", children=CHILDREN)
    assert len({answer["random"] for answer in ask_each(server)}) == CHILDREN


def test_random_numbers_of_numpy_differ_in_each_child(start: Start, tmp_path: Path) -> None:
    """CPython's fork hooks do not seed its global generator."""
    (tmp_path / "dice.py").write_text(
        "import random\nimport numpy.random\n"
        "from probe import application as application\n"
        "random.random = numpy.random.random\n"
    )
    server = start("--processes", str(CHILDREN), "dice", children=CHILDREN)
    assert len({answer["random"] for answer in ask_each(server)}) == CHILDREN


THREADED = """
import threading
from probe import application as application
threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
"""

CONNECTED = """
import socket
from probe import application as application
listener = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(listener.getsockname())
"""


def test_a_thread_that_the_import_leaves_is_a_reason_not_to_preload(start: Start, tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(THREADED)
    server = start("--processes", "2", "busy", children=2)
    server.wait_for(r" WARN .*thread 'poller' is running.*cannot be shared")
    server.wait_for(r" WARN .*--preload off")
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == set(server.children(2).values())


def test_a_connection_that_the_import_leaves_is_a_reason_not_to_preload(start: Start, tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(CONNECTED)
    server = start("--processes", "2", "busy", children=2)
    server.wait_for(r" WARN .*connected to 127\.0\.0\.1 port \d+.*cannot be shared")
    answer = server.get("/").json()
    assert answer["imported_in"] == answer["pid"]


def test_preload_can_be_insisted_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(THREADED)
    server = start("--preload", "on", "--processes", "2", "busy", children=2)
    server.wait_for(r" WARN .*thread 'poller' is running")
    mold = server.mold()
    assert {answer["imported_in"] for answer in ask_each(server, 2)} == {mold}


def test_connections_to_the_database_are_closed_before_the_fork(start: Start, tmp_path: Path) -> None:
    (tmp_path / "asks_early.py").write_text(
        "import json, os\n"
        "from mysite.wsgi import application as site\n"
        "from django.db import connection\n"
        "connection.ensure_connection()\n"
        "opened_in = os.getpid()\n"
        "def application(environ, start_response):\n"
        "    found = connection.connection is not None\n"
        "    connection.ensure_connection()\n"
        "    start_response('200 OK', [('Content-Type', 'application/json')])\n"
        "    return [json.dumps({'found': found, 'opened_in': opened_in, 'pid': os.getpid()}).encode()]\n"
    )
    server = start(
        "--preload",
        "on",
        "--python-path",
        str(DEMO),
        "asks_early",
        environment={"DEMO_VAR": str(tmp_path / "var")},
    )
    first, second = server.get("/").json(), server.get("/").json()
    assert first["opened_in"] == server.mold() != first["pid"]
    # The mold's connection was closed; that of the child stays.
    assert (first["found"], second["found"]) == (False, True)


def test_what_django_loads_with_the_first_request_is_loaded_in_the_mold(start: Start, tmp_path: Path) -> None:
    """Views, template engines with all applications' tags, and the SQL compiler."""
    (tmp_path / "shop.py").write_text(
        "import sys\n"
        "from mysite.wsgi import application as site\n"
        "late = ('library.views', 'django.contrib.admin.templatetags.log', 'django.db.models.sql.compiler')\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [repr([name for name in late if name not in sys.modules]).encode()]\n"
    )
    server = start(
        "--preload", "on", "--python-path", str(DEMO), "shop", environment={"DEMO_VAR": str(tmp_path / "var")}
    )
    assert server.get("/").body == b"[]"


def test_a_django_site_with_templates_that_cannot_be_loaded_is_served(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from mysite import settings\n"
        "settings.TEMPLATES = [{'BACKEND': 'no.such.engine'}]\n"
        "from mysite.wsgi import application as site\n"
        "from probe import application as application\n"
    )
    server = start(
        "--preload", "on", "--python-path", str(DEMO), "shop", environment={"DEMO_VAR": str(tmp_path / "var")}
    )
    answer = server.get("/").json()
    assert answer["imported_in"] == server.mold() != answer["pid"]


def test_what_the_application_has_opened_stays_open_in_the_children(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import os\n"
        "from probe import application as inner\n"
        "log = open('opened', 'a')\n"
        "def application(environ, start_response):\n"
        "    log.write(f'{os.getpid()}\\n')\n"
        "    log.flush()\n"
        "    return inner(environ, start_response)\n"
    )
    server = start("--processes", "2", "shop", children=2)
    pids = {answer["pid"] for answer in ask_each(server, 2)}
    assert set(map(int, (tmp_path / "opened").read_text().split())) == pids


def test_what_was_printed_before_the_fork_is_printed_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import sys\nfrom probe import application as application\nsys.stdout.write('half a line')\n"
    )
    server = start("--processes", "2", "shop", children=2)
    server.stop()
    assert str(server.output).count("half a line") == 1


COLLECTOR = """
import gc, json
{choice}
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(gc.get_threshold()).encode()]
"""


def test_the_collector_looks_more_often_where_the_application_is_shared(start: Start, tmp_path: Path) -> None:
    (tmp_path / "heap.py").write_text(COLLECTOR.format(choice=""))
    usual = start("--preload", "off", "heap").get("/").json()
    often = start("--preload", "on", "heap").get("/").json()
    assert often[0] == usual[0]
    assert often[1] < usual[1]


def test_the_applications_settings_of_the_collector_are_kept(start: Start, tmp_path: Path) -> None:
    (tmp_path / "heap.py").write_text(COLLECTOR.format(choice="gc.set_threshold(5000, 20, 30)"))
    assert start("--preload", "on", "heap").get("/").json() == [5000, 20, 30]
