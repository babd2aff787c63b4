"""A private systemd: process 1 of separate namespaces.

It sees the machine's programs. Its own are its processes, its network, its control groups, and /etc, /run,
/srv, /tmp and /var.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.client import PATIENCE, Client
from tests.server import Ran
from tests.tools import tool
from tests.waiting import until

T = TypeVar("T")

PROGRAM = Path("/lib/systemd/systemd")
CLONE_NEWNET = 0x40000000

# The units that ours need, without the machine's own, which would set up its disks and clock.
TARGETS = "basic multi-user network shutdown sockets sysinit".split()

# The mounts. {top} is the folder of the test.
NAMESPACE = """
set -e
mount --make-rprivate /
mount --bind {top}/srv /srv
mount --bind {python} /srv/python
mount -t tmpfs -o mode=755 tmpfs /run
cp -a /etc /run/etc
rm -rf /run/etc/systemd/system
mkdir /run/etc/systemd/system
cp {top}/units/* /run/etc/systemd/system
mount --bind /run/etc /etc
for folder in /tmp /var; do mount -t tmpfs -o mode=755 tmpfs $folder; done
mkdir -m 1777 /var/tmp
chmod 1777 /tmp
mkdir /var/cache /var/lib /var/log
mount --bind /dev/null /dev/console
mount -t proc proc /proc
while umount -R /sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
"""

NAMESPACES = "--fork --pid --mount --net --ipc --uts --cgroup --kill-child".split()


def why_not() -> str:
    """Why no systemd can be started here; empty when one can."""
    if os.geteuid() != 0:
        return "only root starts a systemd of its own"
    tool("systemctl", "systemd")
    if not os.access(PROGRAM, os.X_OK):
        return f"there is no {PROGRAM}"
    try:
        with control_group() as group, tempfile.TemporaryDirectory() as folder:
            top = Path(folder)
            lay_out(top)
            command = [*inside(group), "sh", "-c", namespace(top)]
            ran = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            return f"no namespaces: {ran.stderr.strip()}" if ran.returncode else ""
    except OSError as error:
        return f"no control group: {error}"


def lay_out(top: Path) -> None:
    """The folders of a systemd."""
    os.chmod(top, 0o755)
    (top / "srv" / "python").mkdir(parents=True)
    (top / "units").mkdir()
    for name in TARGETS:
        (top / "units" / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")


def namespace(top: Path) -> str:
    return NAMESPACE.format(top=top, python=sys.base_prefix)


def inside(group: Path) -> list[str]:
    """The prefix for a command that is to be process 1 of separate namespaces."""
    # A control group namespace begins at the group of the process that creates it.
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    return ["sh", "-c", enter, "sh", tool("unshare", "util-linux"), *NAMESPACES]


@contextmanager
def control_group() -> Iterator[Path]:
    """A new group in the version 2 hierarchy, below the one of this process."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    hierarchy = next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)
    if hierarchy is None:
        raise FileNotFoundError("version 2 is not mounted")
    own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    group = Path(tempfile.mkdtemp(prefix="rwsgi-test-", dir=Path(hierarchy) / (own[1] if own else "")))
    try:
        yield group
    finally:
        # It is empty a moment after the last process in it has been killed.
        until(lambda: remove(group) or None, lambda: f"{group} is in use")


def remove(group: Path) -> bool:
    """Remove a control group and those below it, if they are empty."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


class Systemd:
    """A running systemd."""

    def __init__(self, top: Path, process: subprocess.Popen[bytes]) -> None:
        self.srv = top / "srv"
        """Its folder /srv."""
        self._process = process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        # unshare's child becomes systemd after it has mounted everything.
        self._pid = until(lambda: int(children.read_text() or 0) or None, lambda: "no process 1")
        until(
            lambda: True if self.ctl("is-system-running").out in {"running\n", "degraded\n"} else None,
            lambda: self.ctl("--no-pager", "list-jobs") if process.poll() is None else "it ended",
        )

    # Commands to it.

    def ctl(self, *arguments: str) -> Ran:
        """Run systemctl."""
        return self.run(tool("systemctl", "systemd"), *arguments)

    def do(self, *arguments: str) -> None:
        """Run systemctl, which must succeed."""
        ran = self.ctl(*arguments)
        assert ran.code == 0, f"{arguments}: {ran}"

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """Run systemctl, and do not wait for its end."""
        return subprocess.Popen(self._inside(tool("systemctl", "systemd"), *arguments), text=True)

    def run(self, *command: str) -> Ran:
        """Run a program there."""
        ran = subprocess.run(
            self._inside(*command), capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def kill(self, number: signal.Signals, pid: int) -> None:
        """Send a signal to a process, by its id inside."""
        ran = self.run("sh", "-c", f"kill -{number.value} {pid}")
        assert ran.code == 0, ran

    def configure(self, unit: str, name: str, text: str) -> None:
        """Write a drop-in, as `systemctl edit` does."""
        folder = self.path(f"/etc/systemd/system/{unit}.d")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.conf").write_text(text)
        self.do("daemon-reload")

    def restore(self, unit: str, name: str) -> None:
        """Remove a drop-in."""
        self.path(f"/etc/systemd/system/{unit}.d/{name}.conf").unlink()
        self.do("daemon-reload")

    # Its state.

    def has(self, pid: int) -> bool:
        """Whether there is a process of this number."""
        return self.path(f"/proc/{pid}").exists()

    def show(self, unit: str, *properties: str) -> list[str]:
        """Properties of a unit, in this order."""
        output = self.ctl("show", *(f"--property={name}" for name in properties), unit).out
        found = dict(line.split("=", 1) for line in output.splitlines())
        return [found[name] for name in properties]

    def until_shown(self, unit: str, **expected: str) -> None:
        """Wait until the properties of a unit have values that match."""

        def look() -> bool | None:
            found = self.show(unit, *expected)
            pairs = zip(expected.values(), found, strict=True)
            return True if all(re.fullmatch(pattern, value) for pattern, value in pairs) else None

        until(look, lambda: f"{expected}, but {self.show(unit, *expected)}:\n{self.ctl('status', unit).out}")

    # Access to it.

    def path(self, path: str) -> Path:
        """The path of one of its files from outside."""
        return Path(f"/proc/{self._pid}/root{path}")

    def client(self, port: int = 8000) -> Client:
        """A connection from inside its network."""
        return self.at_home(lambda: Client(("127.0.0.1", port)))

    def at_home(self, what: Callable[[], T]) -> T:
        """Run a function in a thread inside its network."""
        with ThreadPoolExecutor(1, initializer=self.enter_network) as thread:
            return thread.submit(what).result()

    def enter_network(self) -> None:
        """Move this thread alone into its network."""
        descriptor = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY)
        try:
            # As os.setns of Python 3.12 does.
            library = ctypes.CDLL(None, use_errno=True)
            assert library.setns(descriptor, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(descriptor)

    # Its end.

    def destroy(self) -> None:
        """End it with everything that it has started."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def _inside(self, *command: str) -> list[str]:
        return [tool("nsenter", "util-linux"), f"--target={self._pid}", "--all", "--", *command]


@contextmanager
def running(units: Iterable[Path]) -> Iterator[Systemd]:
    """Start one that has these units, and wait until it is up."""
    with control_group() as group, tempfile.TemporaryDirectory(prefix="rwsgi-") as folder:
        top = Path(folder)
        lay_out(top)
        for path in units:
            shutil.copy(path, top / "units")
        # As in a container, nothing is mounted or loaded. It sees only the units of the test.
        environment = {
            "PATH": os.environ["PATH"],
            "container": "rwsgi-test",
            "SYSTEMD_UNIT_PATH": "/etc/systemd/system",
        }
        start = f"exec {PROGRAM} --system --unit=multi-user.target --log-target=null --show-status=no"
        process = subprocess.Popen(
            [*inside(group), "sh", "-c", namespace(top) + start],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        systemd = None
        try:
            systemd = Systemd(top, process)
            yield systemd
        finally:
            if systemd is not None:
                systemd.destroy()
            elif process.poll() is None:
                # unshare kills its child.
                process.kill()
                process.wait(PATIENCE)


def interpreter() -> str:
    """The line of a unit by which the binary finds its Python, if that is not in a standard place."""
    library = Path(sysconfig.get_config_var("LIBDIR"))
    if Path(sys.base_prefix).is_relative_to("/usr"):
        return ""
    return f"Environment=LD_LIBRARY_PATH=/srv/python/{library.relative_to(sys.base_prefix)}\n"
