"""What the application learns: by hooks that it has registered, and by its environ."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.server import APPS, Door, Server

WHEN = ["warmup", "before_fork", "after_fork", "on_exit"]


def calls(server: Server, name: str) -> list[int]:
    """The processes in which a function was called, in order."""
    return [int(line.rpartition(" ")[2]) for line in server.log.lines if line.startswith(f"{name} in ")]


def environ(server: Server) -> dict[str, object]:
    found = server.get("/numbers").json()
    assert isinstance(found, dict)
    return found


def test_each_process_calls_what_is_its_part(start: Start) -> None:
    server = start("--processes", "2", "hooked", children=2)
    mold, children = server.mold(), server.children(2)
    assert calls(server, "warmup") == [mold]
    # Once more than there are forks, before the audit.
    assert calls(server, "before_fork") == [mold] * 3
    assert sorted(calls(server, "after_fork")) == sorted(children.values())
    assert calls(server, "on_exit first") == []
    os.kill(children[1], signal.SIGKILL)
    replacement = server.replacement(1, children[1])
    assert calls(server, "before_fork") == [mold] * 4
    assert calls(server, "after_fork")[-1] == replacement
    server.stop()
    ended = [children[0], replacement]
    for pid in ended:
        lines = [
            line for line in server.log.lines if line.startswith("on_exit ") and line.endswith(f" {pid}")
        ]
        assert lines == [f"on_exit first in {pid}", f"on_exit last in {pid}"]
    assert sorted(calls(server, "on_exit first")) == sorted(ended)


def test_hooks_of_cpython_are_called_where_the_threads_are(start: Start, tmp_path: Path) -> None:
    """As agents do that stop their thread before a fork, and restart it afterwards."""
    (tmp_path / "shop.py").write_text(
        "import os, threading\n"
        "from probe import application as application, log_line\n"
        "def begin():\n"
        "    global stop, thread\n"
        "    stop = threading.Event()\n"
        "    thread = threading.Thread(target=stop.wait, daemon=True)\n"
        "    thread.start()\n"
        "    log_line(f'begun in {os.getpid()}')\n"
        "def end():\n"
        "    stop.set()\n"
        "    thread.join()\n"
        "begin()\n"
        "os.register_at_fork(before=end, after_in_parent=begin, after_in_child=begin)\n"
    )
    server = start("--preload", "on", "shop")
    (pid,) = server.children(1).values()
    # The mold and the children start at the same time.
    server.wait_for_all("^begun in ", 3)
    assert sorted(calls(server, "begun")) == sorted([server.mold(), server.mold(), pid])
    assert server.get("/").json()["pid"] == pid


def test_a_child_that_loads_for_itself_calls_for_itself(start: Start) -> None:
    server = start("--preload", "off", "hooked")
    (pid,) = server.children(1).values()
    assert [calls(server, when) for when in ("warmup", "before_fork", "after_fork")] == [[pid], [], [pid]]


def test_threads_in_the_child_are_reported(start: Start) -> None:
    server = start("--threads", "3", "hooked")
    (pid,) = server.children(1).values()
    assert calls(server, "after_fork") == [pid]
    server.stop()
    assert calls(server, "on_exit first") == [pid]


def test_what_is_released_before_the_fork_does_not_prevent_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import socket, rwsgi\n"
        "from probe import application as application\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "connection = socket.create_connection(listener.getsockname())\n"
        "rwsgi.before_fork(connection.close)\n"
        "rwsgi.before_fork(listener.close)\n"
    )
    server = start("--processes", "2", "shop", children=2)
    assert server.get("/").json()["imported_in"] == server.mold()


@pytest.mark.parametrize("when", ["before_fork", "after_fork"])
def test_a_child_that_cannot_be_made_ready_ends_the_start(run: Run, tmp_path: Path, when: str) -> None:
    (tmp_path / "shop.py").write_text(
        "import rwsgi\n"
        "from probe import application as application\n"
        f"@rwsgi.{when}\n"
        "def fail():\n    raise ValueError('no connection')\n"
    )
    ran = run("--python-path", str(APPS), "--preload", "on", "shop")
    assert ran.code == 75
    assert "shop.py\", line 5, in fail\n    raise ValueError('no connection')" in ran.err
    assert f'hook={when} error="ValueError: no connection"' in ran.err


@pytest.mark.parametrize("when", ["before_fork", "after_fork"])
def test_a_generation_that_cannot_be_made_ready_does_not_take_over(
    start: Start, tmp_path: Path, when: str
) -> None:
    good = "import rwsgi\nfrom probe import application as application\n"
    (tmp_path / "shop.py").write_text(good)
    server = start("--preload", "on", "shop")
    before = server.get("/").json()["pid"]
    (tmp_path / "shop.py").write_text(
        good + f"@rwsgi.{when}\ndef fail(): raise ValueError('no connection')\n"
    )
    ran = server.control("reload")
    assert ran.code == 1
    assert "ValueError: no connection" in ran.err
    assert server.get("/").json()["pid"] == before


@pytest.mark.parametrize("when", ["warmup", "on_exit"])
def test_what_is_not_needed_may_fail(start: Start, tmp_path: Path, when: str) -> None:
    (tmp_path / "shop.py").write_text(
        "import rwsgi\n"
        "from probe import application as application, log_line\n"
        f"@rwsgi.{when}\n"
        "def first():\n    log_line('first called')\n    raise SystemExit(3)\n"
        f"@rwsgi.{when}\n"
        "def second():\n    log_line('second called')\n    raise ValueError('no shop')\n"
    )
    server = start("shop")
    assert server.get("/").status == 200
    server.stop()
    text = str(server.log)
    for line in ("first called", "second called", "ValueError: no shop"):
        assert line in text
    for name in ("first", "second"):
        server.wait_for(f" WARN hook={when} function=shop.{name} ")


def test_the_environ_names_child_and_generation(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from probe import application as application")
    server = start("--processes", "3", "--warmup", "/numbers", "shop", children=3)
    held = [server.hold("/hold-numbers") for _ in range(3)]
    for hold in held:
        hold.release()
    found = [hold.answer().json() for hold in held]
    assert {answer["rwsgi.child"]: answer["pid"] for answer in found} == server.children(3)
    assert {answer["rwsgi.generation"] for answer in found} == {1}
    # The same connection shows the new generation, too.
    client = server.client()
    assert client.get("/numbers").json()["rwsgi.generation"] == 1
    assert server.control("reload").code == 0
    assert client.get("/numbers").json()["rwsgi.generation"] == 2


@pytest.mark.parametrize("preload", ["on", "off"])
def test_the_warm_up_has_no_child(start: Start, tmp_path: Path, preload: str) -> None:
    (tmp_path / "shop.py").write_text(
        "from probe import application as inner, log_line\n"
        "def application(environ, start_response):\n"
        "    log_line(f\"in {environ.get('rwsgi.child')} of {environ['rwsgi.generation']}\")\n"
        "    return inner(environ, start_response)\n"
    )
    server = start("--preload", preload, "--warmup", "/", "shop")
    server.wait_for("^in None of 1$")
    assert server.get("/").status == 200
    server.wait_for("^in 0 of 1$")


def test_without_the_server_no_hook_is_called() -> None:
    script = "import hooked, rwsgi; print(rwsgi.after_fork(hooked.after) is hooked.after)"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=APPS, capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout == "True\n"
    assert not [when for when in WHEN if when in ran.stderr]


@pytest.mark.parametrize("folder", [False, True])
def test_the_binary_brings_the_module_along(door: Door, start: Start, tmp_path: Path, folder: bool) -> None:
    """Where it is not installed, and where a folder of that name is no package."""
    if folder:
        (tmp_path / "rwsgi").mkdir()
    (tmp_path / "shop.py").write_text(
        "import rwsgi, rwsgi.hooks\n"
        "from rwsgi import after_fork\n"
        "from probe import log_line\n"
        "from hooked import application as application\n"
        "log_line(f'rwsgi {rwsgi.__version__} of {getattr(rwsgi, \"__file__\", None)}')\n"
    )
    server = start("shop", environment={"VIRTUAL_ENV": ""} if door.name == "binary" else {})
    found = server.wait_for(r"^rwsgi (\d+\.\d+\.\d+) of (.*)$")
    assert (found[2] == "None") == (door.name == "binary")
    assert calls(server, "after_fork") == list(server.children(1).values())
