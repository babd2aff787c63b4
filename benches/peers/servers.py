"""The servers, each with its best configuration."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from benches.measuring import ROOT

HERE = Path(__file__).parent
APPLICATIONS = HERE / "applications"
ENVIRONMENT = ROOT / ".venv-peers"

BARE = ROOT / "target/release/examples/bare"
# Apache refuses to serve as root. When run as root, Apache is started in a user namespace in which root's
# files belong to its own user, so that it can read the same files as the others.
NOT_ROOT = "unshare --user --map-user=65534 --map-group=65534 " if os.geteuid() == 0 else ""


@dataclass(frozen=True)
class Shape:
    """A number of processes with a number of threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes}x{self.threads}"


@dataclass(frozen=True)
class Peer:
    """A server and its limitations."""

    command: str
    """A format string with the fields of `start`, and `{port}`."""
    needs: Path | None = None
    """The file that shows whether it is installed."""
    threads: bool = True
    """Whether a process can have several application threads."""
    processes: bool = True
    """Whether it can have several processes."""

    def refuses(self, shape: Shape) -> str | None:
        """Why it cannot take part, or None."""
        if self.needs and not self.needs.exists():
            return "is not built"
        if shape.threads > 1 and not self.threads:
            return "has no threads"
        if shape.processes > 1 and not self.processes:
            return "has one process"
        return None

    def start(self, application: str, shape: Shape, folder: Path, options: str = "") -> str:
        """The command line, in which `{port}` is replaced later."""
        module, _, name = application.partition(":")
        fields: Mapping[str, object] = {
            "bin": ENVIRONMENT / "bin",
            "application": application,
            "module": module,
            "name": name,
            "processes": shape.processes,
            "threads": shape.threads,
            "here": HERE,
            "folder": folder,
            "applications": APPLICATIONS,
            "options": options,
            "port": "{port}",
        }
        return self.command.format_map(fields)


def rwsgi(program: str, options: str = "") -> Peer:
    """This server, started by `program`."""
    return Peer(
        f"{program} --processes {{processes}} --threads {{threads}} --bind 127.0.0.1:{{port}} "
        f"{options} {{options}} {{application}}"
    )


def servers(program: str) -> dict[str, Peer]:
    """All servers; rwsgi is started by `program`."""
    return {"rwsgi": rwsgi(program), "rwsgi-unshared": rwsgi(program, "--preload off"), **PEERS}


def _script(name: str) -> Path:
    return ENVIRONMENT / "bin" / name


def _library(name: str) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return ENVIRONMENT / "lib" / version / "site-packages" / f"_{name}{EXTENSION_SUFFIXES[0]}"


def _gunicorn(options: str) -> Peer:
    return Peer(
        "{bin}/gunicorn --bind 127.0.0.1:{port} --workers {processes} --no-control-socket "
        f"--log-level warning {options} {{options}} {{application}}",
        needs=_script("gunicorn"),
        threads="gthread" in options,
    )


def _uwsgi(options: str) -> Peer:
    return Peer(
        f"{{bin}}/uwsgi {options} --master --die-on-term --need-app --single-interpreter --disable-logging "
        "--virtualenv {bin}/.. --module {application} --processes {processes} --threads {threads} "
        "--tcp-nodelay --listen 1024 {options}",
        needs=_script("uwsgi"),
    )


def _mod_wsgi(options: str) -> Peer:
    return Peer(
        NOT_ROOT + "{bin}/mod_wsgi-express start-server --application-type module --callable-object {name} "
        "--host 127.0.0.1 --port {port} --processes {processes} --threads {threads} --server-root {folder} "
        "--include-file {here}/apache.conf --python-path {applications} --log-to-terminal "
        f"--disable-reloading --enable-sendfile {options} {{options}} {{module}}",
        needs=_script("mod_wsgi-express"),
    )


GTHREAD = "--worker-class gthread --threads {threads} --keep-alive 75 --worker-connections 10000"
# It closes the connection without announcing that.
CLOSING = "--add-header 'Connection: close'"
# The router keeps connections open when it knows the end of an answer.
ROUTER = "--http 127.0.0.1:{port} --http-keepalive --http-auto-chunked"

PEERS = {
    "bare": Peer(f"{shlex.quote(str(BARE))} {{port}} {{name}}", needs=BARE),
    "gunicorn-sync": _gunicorn("--worker-class sync"),
    "gunicorn-gthread": _gunicorn(GTHREAD),
    "gunicorn-preload": _gunicorn(f"{GTHREAD} --preload"),
    "uwsgi": _uwsgi(ROUTER),
    "uwsgi-lazy": _uwsgi(f"{ROUTER} --lazy-apps"),
    "uwsgi-socket": _uwsgi(f"--http-socket 127.0.0.1:{{port}} {CLOSING}"),
    "uwsgi-http11": _uwsgi("--http11-socket 127.0.0.1:{port}"),
    "granian": Peer(
        "{bin}/granian --interface wsgi --host 127.0.0.1 --port {port} --workers {processes} "
        "--blocking-threads {threads} --no-ws --http 1 --log-level warning {options} {application}",
        needs=_script("granian"),
    ),
    "mod_wsgi-daemon": _mod_wsgi("--server-mpm event --keep-alive-timeout 75"),
    # Apache uses the application's threads for connections here: a kept connection would occupy one.
    "mod_wsgi-embedded": _mod_wsgi("--embedded-mode --server-mpm worker --keep-alive-timeout 0"),
    "waitress": Peer(
        "{bin}/waitress-serve --listen=127.0.0.1:{port} --threads={threads} --connection-limit=10000 "
        "--asyncore-use-poll {options} {application}",
        needs=_script("waitress-serve"),
        processes=False,
    ),
    "cheroot": Peer(
        "{bin}/cheroot --bind 127.0.0.1:{port} --threads {threads} --max-threads {threads} "
        "--request-queue-size 1024 {options} {application}",
        needs=_script("cheroot"),
        processes=False,
    ),
    "bjoern": Peer(
        "{bin}/python {here}/launch.py bjoern {application} {port} {processes}",
        needs=_library("bjoern"),
        threads=False,
    ),
    "fastwsgi": Peer(
        "{bin}/python {here}/launch.py fastwsgi {application} {port} {processes}",
        needs=_library("fastwsgi"),
        threads=False,
    ),
}
