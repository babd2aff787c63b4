#!/usr/bin/env python3
"""Runs `make serve` like a user at a terminal: waits for the page, logs in to the admin, presses Ctrl-C.

Further arguments are make's, for example PYTHON=python3.13. Exits 0 when all of it went well.
"""

import os
import pty
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
sys.dont_write_bytecode = True

from tests import processes  # noqa: E402
from tests.browser import Browser  # noqa: E402

ADDRESS = ("127.0.0.1", 8000)
URL = "http://{}:{}".format(*ADDRESS)
# Timeouts in seconds: for building everything; after Ctrl-C, where requests in flight would have 30.
BUILDING, STOPPING = 40 * 60, 40


class Terminal:
    """A terminal with its output and input."""

    def __init__(self, *command: str) -> None:
        self.began = time.monotonic()
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvp(command[0], command)
        self._text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.status: int | None = None

    def has_ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def press_ctrl_c(self) -> str:
        """Returns the output from then on."""
        before = len(self._text)
        os.write(self._screen, b"\x03")
        deadline = time.monotonic() + STOPPING
        while not self.has_ended():
            assert time.monotonic() < deadline, f"Ctrl-C did not end it in {STOPPING} s"
            time.sleep(0.05)
        self._reader.join(STOPPING)
        return self._text[before:]

    def kill(self) -> None:
        for process in processes.of_session(self.pid):
            os.kill(process.pid, signal.SIGKILL)

    def _read(self) -> None:
        # When the last process with the open terminal has ended, reading fails.
        try:
            while data := os.read(self._screen, 65536):
                text = data.decode(errors="replace")
                sys.stdout.write(text)
                sys.stdout.flush()
                self._text += text
        except OSError:
            pass


def answers() -> bool:
    with socket.socket() as client:
        return client.connect_ex(ADDRESS) == 0


def is_of(terminal: Terminal) -> bool:
    """Whether the process that answers was started in this terminal."""
    made_by = re.search(r"<dt>process</dt><dd>(\d+)</dd>", Browser(URL).get("/").text)
    return made_by is not None and int(made_by[1]) in {
        process.pid for process in processes.of_session(terminal.pid)
    }


def visit(url: str) -> None:
    """The page, and the admin after its login."""
    browser = Browser(url)
    page = browser.get("/")
    assert (page.status, "A small library" in page.text) == (200, True), page
    login = browser.get("/admin/")
    assert login.url.endswith("/admin/login/?next=/admin/"), login
    form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": login.token()}
    page = browser.post("/admin/login/?next=/admin/", form)
    assert (page.status, "Site administration" in page.text) == (200, True), page


def main() -> None:
    assert not answers(), f"another server has {URL}"
    terminal = Terminal("make", "serve", *sys.argv[1:])
    try:
        deadline = terminal.began + BUILDING
        while not answers():
            assert not terminal.has_ended(), "it ended before it served"
            assert time.monotonic() < deadline, f"it does not serve after {BUILDING} s"
            time.sleep(0.2)
        took = time.monotonic() - terminal.began
        assert is_of(terminal), f"another server has {URL}"
        visit(URL)
        output = terminal.press_ctrl_c()
        assert not answers(), "it still answers"
        left = [process for process in processes.of_session(terminal.pid) if not process.is_zombie]
        assert not left, f"these are left: {left}"
        # make receives the Ctrl-C, too.
        assert terminal.status in {0, -signal.SIGINT, 128 + signal.SIGINT}, f"exit code {terminal.status}"
        assert not re.search(r"Error \d|Traceback|WARN|ERROR", output), f"after Ctrl-C: {output}"
        print(f"make serve: built and ready in {took:.0f} s, visited, and stopped by Ctrl-C")
    finally:
        terminal.kill()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as wrong:
        sys.exit(f"make serve: {wrong}")
