"""The end of a process: exit functions run where they were registered, and no work is lost."""

import gzip
import re
import signal
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.server import Server
from tests.waiting import until_equal

PRELOAD = pytest.mark.parametrize("preload", ["auto", "off"])


def lines(server: Server, pattern: str) -> list[str]:
    return [line for line in server.log.lines if re.search(pattern, line)]


def test_what_is_made_at_load_lasts_as_long_as_its_mold(start: Start) -> None:
    server = start("--max-requests-per-child", "3", "parting")
    mold = server.mold()
    folder = Path(server.wait_for("^folder (.*)$")[1])
    (first,) = server.children(1).values()
    for _ in range(3):
        assert server.get("/there").body == b"%d\n" % first
    server.wait_for(f' pid={first} cause="exit 0" left$')
    answer = server.get("/there")
    assert answer.status == 200
    assert int(answer.body) != first
    assert folder.is_dir()
    assert not lines(server, "^finalized in |^registered in ")
    server.stop()
    assert lines(server, "^finalized in ") == [f"finalized in {mold}"]
    assert lines(server, "^registered in ") == [f"registered in {mold}, called in {mold}"]
    assert not folder.exists()


def test_a_former_mold_stays_while_its_children_use_its_files(start: Start) -> None:
    server = start("parting")
    mold = server.mold()
    folder = Path(server.wait_for("^folder (.*)$")[1])
    held = server.hold()
    assert server.control("reload").code == 0
    assert server.mold() != mold
    assert folder.is_dir()
    held.release()
    assert held.answer().status == 200
    until_equal(folder.exists, False)


@PRELOAD
def test_what_a_child_registers_it_calls(start: Start, preload: str) -> None:
    server = start("--preload", preload, "parting")
    (pid,) = server.children(1).values()
    assert server.get("/register").status == 200
    own = Path(server.wait_for("^own folder (.*)$")[1])
    assert own.is_dir()
    server.stop()
    assert lines(server, f"^registered in {pid}, ")[-1:] == [f"registered in {pid}, called in {pid}"]
    assert not own.exists()


@PRELOAD
@pytest.mark.parametrize("threads", ["1", "3"])
def test_what_is_written_is_not_lost(start: Start, tmp_path: Path, preload: str, threads: str) -> None:
    server = start("--preload", preload, "--threads", threads, "parting")
    (pid,) = server.children(1).values()
    assert server.get("/write").status == 200
    server.stop()
    served = f"served in {pid}\n"
    text = (tmp_path / "at-load.txt").read_text()
    assert re.fullmatch(rf"loaded in \d+\n{served}", text), text
    assert (tmp_path / "here.txt").read_text() == served
    with gzip.open(tmp_path / "here.gz", "rt") as file:
        assert file.read() == served


@PRELOAD
@pytest.mark.parametrize("threads", ["1", "3"])
def test_work_that_was_accepted_is_done(start: Start, tmp_path: Path, preload: str, threads: str) -> None:
    server = start("--preload", preload, "--threads", threads, "parting")
    (pid,) = server.children(1).values()
    assert server.get("/work").status == 200
    server.send_signal(signal.SIGTERM)
    server.wait_for(" INFO child=0 threads=worker waits for threads")
    assert not lines(server, "has done its work")
    (tmp_path / "gate").touch()
    assert server.wait() == 0
    for what in ("a pool", "a thread"):
        assert f"{what} has done its work in {pid}" in server.log.lines


def test_a_child_with_endless_work_is_killed(start: Start) -> None:
    server = start("--preload", "on", "--shutdown-timeout", "1s", "parting")
    mold = server.mold()
    folder = Path(server.wait_for("^folder (.*)$")[1])
    assert server.get("/work").status == 200
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    server.wait_for(" WARN child=0 .*killed$")
    # The mold is not affected: it runs its own exit functions.
    assert f"registered in {mold}, called in {mold}" in server.log.lines
    assert not folder.exists()


def test_what_is_logged_is_written_by_each_that_has_logged(start: Start, tmp_path: Path) -> None:
    """The logging package has registered its exit function in the mold, and is needed in each child."""
    (tmp_path / "shop.py").write_text(
        "import logging, logging.handlers, os\n"
        "from probe import application as others\n"
        "log = logging.getLogger('shop')\n"
        "log.addHandler(logging.handlers.MemoryHandler(100, target=logging.FileHandler('shop.log')))\n"
        "def application(environ, start_response):\n"
        "    log.error('served in %d', os.getpid())\n"
        "    return others(environ, start_response)\n"
    )
    server = start("--processes", "2", "shop", children=2)
    held = [server.hold() for _ in range(2)]
    for hold in held:
        hold.release()
        assert hold.answer().status == 200
    pids = server.children(2).values()
    server.stop()
    assert sorted((tmp_path / "shop.log").read_text().splitlines()) == sorted(
        f"served in {pid}" for pid in pids
    )
