"""Reads an access log while it is written."""

import json
from pathlib import Path
from typing import Any

from tests.waiting import until

Line = dict[str, Any]


class AccessLog:
    """The file of an access log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[str]:
        """The complete lines so far."""
        text = self.path.read_bytes().decode() if self.path.exists() else ""
        return text.split("\n")[:-1]

    def wait(self, count: int) -> list[str]:
        """Wait for this number of lines; whether more follow is known only after the server has stopped."""

        def look() -> list[str] | None:
            lines = self.lines()
            return lines if len(lines) >= count else None

        return until(look, lambda: f"{count} lines, only\n" + "\n".join(self.lines()))

    def records(self) -> list[Line]:
        """The lines of a log in JSON format."""
        return [json.loads(line) for line in self.lines()]

    def wait_for_records(self, count: int) -> list[Line]:
        return [json.loads(line) for line in self.wait(count)]
