"""A new generation takes over without a lost request, or the old one continues to serve."""

import os
import signal
import zipfile
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import Start
from tests.load import under_load
from tests.server import Server
from tests.tools import tool
from tests.waiting import until, until_equal

SIZES = count()

SITE = """
import os, sys
VERSION = {version!r}
{code}
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [VERSION.encode()]
"""


def deploy(folder: Path, version: str, code: str = "") -> None:
    """Atomically install a version of the site, as a deployment does."""
    new = folder / "site.new"
    # Python would use its compiled file for a source of the same size and second.
    new.write_text(SITE.format(version=version, code=code) + "#" * next(SIZES))
    new.rename(folder / "shop.py")


def deploy_gated(folder: Path, version: str) -> Path:
    """Install a version that waits at a gate when it is loaded."""
    gate = folder / "gate"
    os.mkfifo(gate)
    deploy(folder, version, code=f"open({str(gate)!r}).read()")
    return gate


def reload(server: Server, outcome: str) -> None:
    mark = server.mark()
    server.send_signal(signal.SIGHUP)
    server.wait_for(outcome, since=mark)


def children(server: Server) -> set[str]:
    """The titles of all molds and children."""
    return {process.title for process in server.tree() if " gen " in process.title}


@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_new_generation_replaces_the_old_one(start: Start, tmp_path: Path, preload: str) -> None:
    deploy(tmp_path, "one")
    server = start("--processes", "3", "--preload", preload, "shop", children=3)
    deploy(tmp_path, "two")
    assert server.get("/").body == b"one"
    reload(server, r" gen=2 reloaded$")
    assert server.get("/").body == b"two"
    titles = {f"rwsgi: child {slot} gen 2 (shop)" for slot in server.children(3)}
    until_equal(lambda: children(server), titles | {"rwsgi: mold gen 2 (shop)"})


@pytest.mark.parametrize("preload", ["on", "off"])
def test_twenty_reloads_of_which_five_are_broken_lose_nothing(
    start: Start, tmp_path: Path, preload: str
) -> None:
    deploy(tmp_path, "0")
    server = start("--processes", "2", "--preload", preload, "shop", children=2)
    serving = "0"
    with under_load(server) as load:
        load.wait(20)
        for number in range(1, 21):
            version = str(number)
            if number % 4 == 0:
                deploy(tmp_path, version, code="1 / 0")
                reload(server, r" reload failed: the old generation serves on$")
            else:
                deploy(tmp_path, version)
                reload(server, r" reloaded$")
                serving = version
            load.wait(20)
            assert server.get("/").body.decode() == serving
    assert set(load.bodies) == {str(number).encode() for number in range(20) if not number or number % 4}
    server.children(2)
    until(lambda: len(server.tree()) == 5 or None, lambda: server.tree())


def test_the_error_of_a_new_generation_is_reported(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--processes", "2", "shop", children=2)
    before = server.children(2)
    deploy(tmp_path, "two", code="raise RuntimeError('no database')")
    reload(
        server,
        r' ERROR gen=2 serving=1 reason="RuntimeError: no database" reload failed: '
        r"the old generation serves on$",
    )
    assert "RuntimeError: no database" in server.log.lines
    assert server.get("/").body == b"one"
    assert server.children(2) == before
    # The mold of the old generation replaces dead children.
    slot, pid = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    assert {server.get("/").body for _ in range(4)} == {b"one"}
    deploy(tmp_path, "three")
    reload(server, r" gen=3 reloaded$")
    assert server.get("/").body == b"three"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(3)", "the new mold died: exit 3"),
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", r"the new mold died: signal 9 \(SIGKILL\)"),
        (
            "import threading; threading.Event().wait()",
            "the new mold was not ready within the startup timeout",
        ),
        (
            "os.register_at_fork(after_in_child=lambda: os._exit(3))",
            "the first child of the new generation .*",
        ),
        (
            "import threading; os.register_at_fork(after_in_child=lambda: threading.Event().wait())",
            "the first child of the new generation was not ready within the startup timeout",
        ),
    ],
)
def test_a_new_generation_that_does_not_get_up_changes_nothing(
    start: Start, tmp_path: Path, code: str, reason: str
) -> None:
    deploy(tmp_path, "one")
    server = start("--preload", "on", "--startup-timeout", "2s", "shop")
    deploy(tmp_path, "two", code=code)
    with under_load(server):
        reload(server, rf' serving=1 reason="{reason}" reload failed')
    assert server.get("/").body == b"one"
    until(lambda: len(server.tree()) == 4 or None, lambda: server.tree())
    deploy(tmp_path, "three")
    reload(server, r" reloaded$")
    assert server.get("/").body == b"three"


@pytest.mark.parametrize("hook", ["os.register_at_fork(before={})", "import rwsgi; rwsgi.before_fork({})"])
def test_a_new_mold_that_hangs_when_it_forks_changes_nothing_and_leaves_nothing(
    start: Start, tmp_path: Path, hook: str
) -> None:
    deploy(tmp_path, "one")
    server = start("--processes", "2", "--startup-timeout", "2s", "shop", children=2)
    # Hooks are called once for the audit.
    hang = "import itertools, threading; calls = itertools.count(1)\n"
    function = "lambda: next(calls) > {} and threading.Event().wait()".format(1 if "rwsgi" in hook else 0)
    deploy(tmp_path, "two", code=hang + hook.format(function))
    with under_load(server):
        for _ in range(2):
            reason = "the first child of the new generation was not ready within the startup timeout"
            reload(server, rf' serving=1 reason="{reason}" reload failed')
    until(lambda: len(server.tree()) == 5 or None, lambda: server.tree())
    deploy(tmp_path, "three")
    reload(server, r" reloaded$")
    assert server.get("/").body == b"three"


def test_a_mold_that_hangs_when_it_forks_is_replaced(start: Start, tmp_path: Path) -> None:
    hang = "lambda: os.path.exists('hang') and threading.Event().wait()"
    deploy(tmp_path, "one", code=f"import threading; os.register_at_fork(before={hang})")
    server = start("--processes", "2", "--startup-timeout", "2s", "shop", children=2)
    mold = server.mold()
    (tmp_path / "hang").touch()
    slot, pid = next(iter(server.children(2).items()))
    # It has no request.
    os.kill(pid, signal.SIGKILL)
    server.wait_for(f" pid={pid} .* died$")
    with under_load(server):
        # A mold that hangs sends nothing: it is found by its deadline.
        server.wait_for(rf" WARN gen=1 pid={mold} mold takes longer than the startup timeout$")
        (tmp_path / "hang").unlink()
        server.replacement(slot, pid)
    assert server.mold() != mold
    until(lambda: len(server.tree()) == 5 or None, lambda: server.tree())


@pytest.mark.parametrize("role", ["mold", "child"])
def test_a_stopped_process_does_not_outlive_its_generation(start: Start, role: str) -> None:
    server = start("--shutdown-timeout", "1s", "probe")
    (pid,) = [server.mold()] if role == "mold" else server.children(1).values()
    os.kill(pid, signal.SIGSTOP)
    # At the deadline at the latest; the reload does not wait for that of a stopped mold.
    reload(server, r" gen=2 reloaded$")
    server.wait_for(rf' gen=1 pid={pid} cause="signal 9 .*left$')
    until(lambda: len(server.tree()) == 4 or None, lambda: server.tree())
    assert server.get("/").status == 200


def test_requests_that_never_end_hold_no_reload_up(start: Start) -> None:
    server = start("--processes", "2", "--shutdown-timeout", "1s", "probe", children=2)
    held = []
    for generation in range(2, 6):
        held += [server.hold(f"/hold?secret={number}") for number in range(2)]
        ran = server.control("reload")
        assert (ran.code, ran.out) == (0, f"reloaded: generation {generation} serves\n"), ran
    for hold in held:
        line = server.wait_for(
            rf" WARN child=\d+ gen=\d pid={hold.pid} timeout_ms=1000 (in_flight=.*) not fin.* killed$"
        )
        assert line[1] == 'in_flight="GET /hold for 1 s"'
        server.wait_for(rf' pid={hold.pid} cause="signal 9 \(SIGKILL\)" reason=shutdown-timeout left$')
        assert hold.answer().status == 502
    until(lambda: len(server.tree()) == 5 or None, lambda: server.tree())
    assert server.get("/").status == 200


def test_streams_that_never_end_end_with_their_generation(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import threading\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    yield b'first'\n"
        "    threading.Event().wait()\n"
    )
    server = start("--shutdown-timeout", "500ms", "shop")
    for generation in range(2, 5):
        client = server.client()
        client.send("/events")
        read = client.socket.makefile("rb").readline
        assert b"5\r\n" in iter(read, b"")
        reload(server, rf" gen={generation} reloaded$")
        # By a reset, since a regular end would make the answer look complete.
        assert list(iter(read, b"")) == [b"first\r\n"]
    until(lambda: len(server.tree()) == 4 or None, lambda: server.tree())


@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_warm_up_that_fails_fails_the_reload(start: Start, tmp_path: Path, preload: str) -> None:
    deploy(tmp_path, "one")
    server = start("--preload", preload, "--processes", "2", "--warmup", "/page", "shop", children=2)
    before = server.children(2)
    fail = "if VERSION == 'two': application = lambda environ, start_response: 1 / 0"
    # Padded to a size that no other version here has.
    (tmp_path / "shop.py").write_text(SITE.format(version="two", code="") + fail + "#" * 1000)
    ran = server.control("reload")
    assert (ran.code, ran.out) == (1, "")
    assert "ZeroDivisionError: division by zero\n--warmup /page: ZeroDivisionError" in ran.err
    assert ran.err.startswith("Traceback")
    assert server.get("/").body == b"one"
    assert server.children(2) == before


@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_child_that_comes_later_serves_without_its_warm_up(
    start: Start, tmp_path: Path, preload: str
) -> None:
    """The database may be unavailable when a child is to be replaced."""
    (tmp_path / "shop.py").write_text(
        "import os\nfrom probe import application as inner\n"
        "def application(environ, start_response):\n"
        "    if os.path.exists('broken'): 1 / 0\n"
        "    return inner(environ, start_response)\n"
    )
    server = start("--preload", preload, "--warmup", "/", "shop")
    ((slot, pid),) = server.children(1).items()
    (tmp_path / "broken").touch()
    mark = server.mark()
    os.kill(server.mold(), signal.SIGKILL)
    server.wait_for(" mold ready$", since=mark)
    os.kill(pid, signal.SIGKILL)
    server.replacement(slot, pid)
    server.wait_for(" WARN .*ZeroDivisionError.* the warm-up failed$")


def test_a_new_generation_that_cannot_be_shared_is_loaded_by_each_child(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--processes", "2", "shop", children=2)
    deploy(
        tmp_path,
        "two",
        code="import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    )
    reload(server, r" gen=2 reloaded$")
    server.wait_for(r" WARN gen=2 .*each of them loads it itself")
    assert server.get("/").body == b"two"
    deploy(tmp_path, "three")
    mark = server.mark()
    reload(server, r" gen=3 reloaded$")
    assert not [line for line in server.log.lines[mark:] if "each child loads" in line]
    assert server.get("/").body == b"three"


def test_a_storm_of_hups_is_two_reloads(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("shop")
    gate = deploy_gated(tmp_path, "two")
    server.send_signal(signal.SIGHUP)
    with open(gate, "w", encoding="ascii") as opened:
        for number in range(2, 30):
            server.send_signal(signal.SIGHUP)
            if number % 9 == 0:
                server.wait_for_all(" reload asked for$", 2)
        deploy(tmp_path, "three")
        opened.write("go on")
    server.wait_for(r" gen=3 reloaded$")
    server.stop()
    assert len([line for line in server.log.lines if line.endswith(" reloading")]) == 2


def test_a_long_request_does_not_hold_up_a_reload_and_is_finished(start: Start) -> None:
    server = start("--processes", "2", "probe", children=2)
    held = server.hold()
    reload(server, r" gen=2 reloaded$")
    assert server.get("/").json()["pid"] != held.pid
    held.release()
    assert held.answer().json()["pid"] == held.pid
    server.wait_for(rf' pid={held.pid} cause="exit 0" left$')


def test_the_configuration_file_is_read_again(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    file = tmp_path / "rwsgi.toml"
    file.write_text("app = 'shop'\nprocesses = 2\n")
    server = start(children=2)
    file.write_text("app = 'shop'\nprocesses = 3\nthreads = 4\nkeep-alive = 9\nmax-requests = 7\n")
    reload(server, r" gen=2 reloaded$")
    server.wait_for(
        r' WARN options="threads, keep-alive" changed, which takes effect only when the server is started'
    )
    server.children(3)
    for _ in range(30):
        assert server.get("/").body == b"one"
    server.wait_for(' reason="?max-requests"? recycling$')
    mark = server.mark()
    file.write_text("app = 'shop'\nprocesses = 0\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for(
        r' ERROR reason="rwsgi.toml:2: processes \\"0\\" must be .*" reload failed: ',
        since=mark,
    )
    file.write_text("app = 'shop'\nprocesses = 1\n")
    reload(server, r" gen=3 reloaded$")
    until(lambda: len(children(server)) == 2 or None, lambda: children(server))


def test_a_touched_file_asks_for_a_reload(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--touch-reload", "later", "--touch-reload", "shop.py", "shop")
    deploy(tmp_path, "two")
    server.wait_for(r" gen=2 reloaded$")
    assert server.get("/").body == b"two"
    (tmp_path / "later").touch()
    server.wait_for(r" gen=3 reloaded$")
    (tmp_path / "other").touch()
    (tmp_path / "later").touch()
    server.wait_for(r" gen=4 reloaded$")
    assert len([line for line in server.log.lines if line.endswith(" reload asked for")]) == 3


@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_changed_module_asks_for_a_reload(start: Start, tmp_path: Path, preload: str) -> None:
    (tmp_path / "prices.py").write_text("PRICE = 1\n")
    deploy(tmp_path, "one", code="import prices; VERSION = str(prices.PRICE)")
    server = start("--reload", "--preload", preload, "shop")
    assert server.get("/").body == b"1"
    (tmp_path / "prices.py").write_text("PRICE = \n")
    server.wait_for(" reload failed: the old generation serves on$")
    assert server.get("/").body == b"1"
    (tmp_path / "prices.py").write_text("PRICE = 222\n")
    server.wait_for(r" gen=3 reloaded$")
    assert server.get("/").body == b"222"


def test_a_touched_link_or_one_that_is_turned_asks_for_a_reload(start: Start, tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        folder = tmp_path / "releases" / version
        folder.mkdir(parents=True)
        deploy(folder, version)
        (folder / "touch").touch()
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    server = start("--chdir", str(current), "--touch-reload", str(current / "touch"), "shop")
    for generation, version in [(2, "2"), (3, "3"), (4, "2")]:
        new = tmp_path / "next"
        new.symlink_to(f"releases/{version}")
        new.rename(current)
        server.wait_for(rf" gen={generation} reloaded$")
        assert server.get("/").body.decode() == version
    (tmp_path / "releases" / "1" / "touch").touch()
    (tmp_path / "releases" / "2" / "touch").touch()
    server.wait_for(r" gen=5 reloaded$")
    assert asked(server) == 4


def asked(server: Server) -> int:
    return len([line for line in server.log.lines if line.endswith(" reload asked for")])


def test_anything_in_a_touched_folder_asks_for_a_reload(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--touch-reload", "site", "shop")
    (tmp_path / "site" / "deep").mkdir(parents=True)
    server.wait_for(r" gen=2 reloaded$")
    (tmp_path / "site" / "deep" / "new.txt").write_text("")
    server.wait_for(r" gen=3 reloaded$")
    (tmp_path / "site" / "__pycache__").mkdir()
    (tmp_path / "site" / "__pycache__" / "a.pyc").write_text("")
    (tmp_path / "site" / "deep" / ".new.txt.swp").write_text("")
    (tmp_path / "site" / "deep" / "new.txt").unlink()
    server.wait_for(r" gen=4 reloaded$")
    server.stop()
    assert asked(server) == 3


def watches(server: Server) -> int:
    """The number of the supervisor's watches in the kernel."""
    found = 0
    for file in Path(f"/proc/{server.pid}/fdinfo").iterdir():
        # It closes its channel to a process that has ended.
        with suppress(FileNotFoundError):
            found += file.read_text().count("\ninotify ")
    return found


def test_former_generations_leave_no_watch_behind(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "0", code="import lib0")
    for number in range(8):
        (tmp_path / f"lib{number}").mkdir()
        (tmp_path / f"lib{number}" / "__init__.py").write_text("")
    server = start("--reload", "--touch-reload", "site", "shop")
    before = watches(server)
    assert before > 3
    for number in range(1, 8):
        deploy(tmp_path, str(number), code=f"import lib{number}")
        server.wait_for(rf" gen={number + 1} reloaded$")
        until_equal(lambda: watches(server), before)


def test_a_limit_of_the_kernel_is_reported_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    for number in range(100):
        (tmp_path / "site" / str(number)).mkdir()
    deploy(tmp_path, "one")
    script = 'echo 50 > /proc/sys/user/max_inotify_watches && exec "$@"'
    before = [tool("unshare", "util-linux"), "--user", "--map-root-user", "sh", "-c", script, "sh"]
    server = start("--touch-reload", "site", "shop", before=before)
    deploy(tmp_path, "two")
    reload(server, r" gen=2 reloaded$")
    warnings = [line for line in server.log.lines if "fs.inotify.max_user_watches" in line]
    assert len(warnings) == 1
    assert " WARN not all files are watched: " in warnings[0]
    assert server.get("/").body == b"two"


VIEW = """
import os, sys
def application(environ, start_response):
    import {module}
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str({module}.PRICE).encode()]
{code}
"""


@pytest.mark.parametrize("preload", ["on", "off"])
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_module_that_a_view_imports_asks_for_a_reload(
    start: Start, tmp_path: Path, preload: str, threads: str
) -> None:
    (tmp_path / "prices.py").write_text("PRICE = 1\n")
    (tmp_path / "shop.py").write_text(VIEW.format(module="prices", code=""))
    server = start("--reload", "--preload", preload, "--threads", threads, "--log-level", "debug", "shop")
    for generation, price in enumerate(["22", "333"], 2):
        assert server.get("/").body != price.encode()
        server.wait_for(rf" gen={generation - 1} files=1 watching modules$")
        (tmp_path / "prices.py").write_text(f"PRICE = {price}\n")
        server.wait_for(rf" gen={generation} reloaded$")
        assert server.get("/").body == price.encode()


def test_what_is_no_file_is_not_watched_and_an_archive_is(start: Start, tmp_path: Path) -> None:
    def pack(price: int) -> None:
        with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
            archive.writestr("prices/__init__.py", f"PRICE = {price}\n")
        (tmp_path / "new.zip").rename(tmp_path / "lib.zip")

    pack(1)
    code = """
from types import ModuleType
for name, file in [("a", "<string>"), ("b", "<frozen b>"), ("c", "no/such.py"), ("d", None), ("e", 3)]:
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__file__ = file
"""
    (tmp_path / "shop.py").write_text(VIEW.format(module="prices", code=code))
    server = start("--reload", "--python-path", "lib.zip", "--log-level", "debug", "shop")
    assert server.get("/").body == b"1"
    server.wait_for(r" files=1 watching modules$")
    pack(2)
    server.wait_for(r" gen=2 reloaded$")
    assert server.get("/").body == b"2"
    assert not [line for line in server.log.lines if "cannot be watched" in line]


@pytest.mark.parametrize("preload", ["on", "off"])
@pytest.mark.parametrize(
    ("code", "file", "cure"),
    [
        ("import prices", "prices.py", ""),
        ("import prices", "prices/__init__.py", ""),
        ("import goods.prices", "goods/prices.py", ""),
        ("from goods import prices", "goods/prices.py", ""),
        ("import goods.broken", "goods/broken.py", "PRICE = 1"),
        ("open('goods/list.txt')", "goods/list.txt", ""),
    ],
)
def test_what_is_missed_or_broken_is_waited_for(
    start: Start, tmp_path: Path, preload: str, code: str, file: str, cure: str
) -> None:
    """At the first start, and in a reload."""
    (tmp_path / "goods").mkdir()
    (tmp_path / "goods" / "__init__.py").write_text("")
    (tmp_path / "goods" / "broken.py").write_text("PRICE = \n")
    deploy(tmp_path, "one", code=code)
    server = start("--reload", "--preload", preload, "shop", children=None)
    server.wait_for(" waiting for a change of the application's files$")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(cure)
    server.wait_until_ready()
    assert server.get("/").body == b"one"

    def path(name: str) -> str:
        return name.replace("prices", "prices2").replace("broken", "broken2").replace("list", "list2")

    (tmp_path / "goods" / "broken2.py").write_text("PRICE = \n")
    deploy(tmp_path, "two", code=path(code))
    server.wait_for(" reload failed: the old generation serves on$")
    assert server.get("/").body == b"one"
    (tmp_path / path(file)).parent.mkdir(exist_ok=True)
    (tmp_path / path(file)).write_text(cure)
    server.wait_for(" reloaded$")
    assert server.get("/").body == b"two"


def test_a_start_that_waits_is_tried_again_when_it_is_asked_for(start: Start, tmp_path: Path) -> None:
    (tmp_path / "rwsgi.toml").write_text("app = 'shop'\nreload = true\n")
    code = "if 'WELL' not in os.environ: raise RuntimeError('not yet')"
    deploy(tmp_path, "one", code=code)
    server = start(children=None)
    server.wait_for(" waiting for a change of the application's files$")
    mark = server.mark()
    server.send_signal(signal.SIGHUP)
    server.wait_for(" waiting for a change of the application's files$", since=mark)
    ran = server.control("reload")
    assert (ran.code, "the application cannot be loaded" in ran.err) == (1, True), ran
    (tmp_path / "rwsgi.toml").write_text("app = 'shop'\nreload = true\nenv = {WELL = '1'}\n")
    server.send_signal(signal.SIGHUP)
    server.wait_until_ready()
    assert server.get("/").body == b"one"
    assert asked(server) == 3


def test_a_start_that_waits_can_be_stopped(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one", code="1 / 0")
    server = start("--reload", "shop", children=None)
    server.wait_for(" waiting for a change of the application's files$")
    until(lambda: len(server.tree()) == 2 or None, lambda: server.tree())
    server.stop()


def test_other_files_ask_for_a_reload_where_they_are_included(start: Start, tmp_path: Path) -> None:
    (tmp_path / "templates" / "a").mkdir(parents=True)
    deploy(tmp_path, "one")
    included = ("--reload-include", "templates/**/*.html", "--reload-include", ".env")
    server = start("--reload", *included, "shop")
    (tmp_path / "templates" / "a" / "page.html").write_text("1")
    server.wait_for(r" gen=2 reloaded$")
    (tmp_path / ".env").write_text("A=1")
    server.wait_for(r" gen=3 reloaded$")
    for name in ("templates/a/page.txt", "other.env", "templates/a/.page.html.swp", "templates/a/page.html~"):
        (tmp_path / name).write_text("")
    # Editors save by renaming.
    (tmp_path / "templates" / "a" / "page.html.new").write_text("2")
    (tmp_path / "templates" / "a" / "page.html.new").rename(tmp_path / "templates" / "a" / "page.html")
    server.wait_for(r" gen=4 reloaded$")
    server.stop()
    assert asked(server) == 3


@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_module_that_is_saved_while_it_is_loaded_is_loaded_again(
    start: Start, tmp_path: Path, preload: str
) -> None:
    (tmp_path / "prices.py").write_text("PRICE = 1\n")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    deploy(tmp_path, "one", code=f"import prices; open({str(gate)!r}).read(); VERSION = str(prices.PRICE)")
    server = start("--reload", "--preload", preload, "shop", children=None)
    with open(gate, "w", encoding="ascii"):
        (tmp_path / "prices.py").write_text("PRICE = 22\n")
    server.wait_until_ready()
    server.wait_for(" reloading$")
    with open(gate, "w", encoding="ascii"):
        pass
    server.wait_for(" gen=2 reloaded$")
    assert server.get("/").body == b"22"


def test_many_files_that_change_together_are_one_reload(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one", code="\n".join(f"import part{number}" for number in range(50)))
    for number in range(50):
        (tmp_path / f"part{number}.py").write_text("")
    server = start("--reload", "shop")
    for number in range(50):
        (tmp_path / f"part{number}.py").write_text("A = 1\n")
    server.wait_for(" files=50 changed$")
    server.wait_for(r" gen=2 reloaded$")
    server.stop()
    assert asked(server) == 1


def test_the_supervisor_keeps_one_thread_while_it_watches(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--reload", "--touch-reload", "x", "shop")
    assert processes.threads(server.pid) == 1


def test_a_stop_during_a_reload_is_a_stop(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("shop")
    deploy(
        tmp_path, "two", code="print('loading', file=sys.stderr); import threading; threading.Event().wait()"
    )
    server.send_signal(signal.SIGHUP)
    server.wait_for("^loading$")
    with under_load(server) as load:
        load.wait(20)
    server.stop()


def test_a_mold_that_dies_while_the_next_one_loads_is_not_missed(start: Start, tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    server = start("--preload", "on", "shop")
    gate = deploy_gated(tmp_path, "two")
    server.send_signal(signal.SIGHUP)
    with open(gate, "w", encoding="ascii") as opened:
        os.kill(server.mold(), signal.SIGKILL)
        server.wait_for(" gen=1 .*mold died$")
        opened.write("go on")
    server.wait_for(r" gen=2 reloaded$")
    assert server.get("/").body == b"two"


def test_a_hup_during_the_start_waits_for_its_end(start: Start, tmp_path: Path) -> None:
    gate = deploy_gated(tmp_path, "one")
    server = start("shop", children=None)
    with open(gate, "w", encoding="ascii") as opened:
        server.send_signal(signal.SIGHUP)
        server.wait_for(" reload asked for$")
        deploy(tmp_path, "two")
        opened.write("go on")
    server.wait_for(r" gen=2 reloaded$")
    server.wait_until_ready()
    assert server.get("/").body == b"two"
