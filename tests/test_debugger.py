"""debugpy, which starts the server, or listens in a child."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.client import PATIENCE
from tests.conftest import Start
from tests.server import Door
from tests.test_upgrade import stop, successor

WHEEL = pytest.mark.parametrize("door", ["wheel"], indirect=True)
QUIET = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@WHEEL
@pytest.mark.parametrize("form", ["script", "module"])
def test_a_server_that_a_debugger_has_started(start: Start, door: Door, form: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    before = [str(door.program.with_name("python")), "-m", "debugpy", "--listen", address]
    if form == "module":
        # The command that follows is the value of an option.
        before += ["-m", "rwsgi", "--touch-reload"]
    server = start("--max-requests-per-child", "3", "probe", environment=QUIET, before=before)
    assert processes.threads(server.pid) == 1
    for _ in range(2):
        (pid,) = server.children(1).values()
        for _ in range(3):
            assert server.get("/").json()["pid"] == pid
        server.wait_for(f' pid={pid} cause="exit 0" left$')
    server.send_signal(signal.SIGHUP)
    server.wait_for(" gen=2 reloaded$")
    assert server.get("/").status == 200
    # It is started in the same way, with the debugger.
    server.send_signal(signal.SIGUSR2)
    pid = successor(server)
    assert server.process.wait(PATIENCE) == 0
    assert server.get("/").status == 200
    stop(server, pid)


SHOP = """
import debugpy
import rwsgi
from probe import ACTS, application as application

@rwsgi.after_fork
def debug():
    debugpy.listen(("127.0.0.1", {port}))

def price(environ, query):
    half = 21
    return half * 2

ACTS["/price"] = price
"""


class Debugger:
    """A client of the debug adapter protocol."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self._socket.makefile("rb")
        self._last = 0

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, wait: bool = True, **arguments: Any) -> Any:
        self._last += 1
        number = self._last
        body = json.dumps({"seq": number, "type": "request", "command": command, "arguments": arguments})
        self._socket.sendall(f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if not wait:
            return None
        answer = self.until(lambda message: message.get("request_seq") == number)
        assert answer["success"], answer
        return answer.get("body")

    def event(self, name: str) -> Any:
        return self.until(lambda message: message.get("event") == name).get("body")

    def until(self, is_it: Any) -> Any:
        while True:
            length = 0
            while line := self._file.readline().strip():
                name, _, value = line.partition(b":")
                if name == b"Content-Length":
                    length = int(value)
            message = json.loads(self._file.read(length))
            if is_it(message):
                return message


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("preload", ["auto", "off"])
def test_a_breakpoint_in_a_view(start: Start, tmp_path: Path, preload: str, threads: str) -> None:
    port = free_port()
    shop = tmp_path / "shop.py"
    shop.write_text(SHOP.format(port=port))
    options = ("--processes", "1", "--preload", preload, "--threads", threads)
    server = start(*options, "shop", environment=QUIET)
    debugger = Debugger(port)
    try:
        debugger.ask("initialize", adapterID="test", clientID="test")
        debugger.ask("attach", wait=False, justMyCode=True)
        debugger.event("initialized")
        line = shop.read_text().splitlines().index("    return half * 2") + 1
        set_ = debugger.ask("setBreakpoints", source={"path": str(shop)}, breakpoints=[{"line": line}])
        assert set_["breakpoints"][0]["verified"]
        debugger.ask("configurationDone")
        client = server.client()
        client.send("/price")
        stopped = debugger.event("stopped")
        assert stopped["reason"] == "breakpoint"
        frame = debugger.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
        assert (frame["name"], frame["line"]) == ("price", line)
        assert debugger.ask("evaluate", expression="half", frameId=frame["id"])["result"] == "21"
        debugger.ask("continue", threadId=stopped["threadId"])
        assert client.answer().body == b"42"
        debugger.ask("disconnect", terminateDebuggee=False)
    finally:
        debugger.close()
    assert server.get("/price").body == b"42"
    server.stop()
