"""The unit files under a real systemd, unchanged: /srv/site, www-data, with all hardening."""

import os
import pwd
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import systemd
from tests.client import PATIENCE, Answer, Client
from tests.conftest import open_door
from tests.load import Load
from tests.server import APPS, ROOT
from tests.systemd import Systemd
from tests.waiting import until

DEPLOY = ROOT / "deploy"
SERVICE = "rwsgi.service"
READY = r" child=\d+ gen=\d+ pid=(\d+) ready$"
FRONT = r" pid=(\d+) front serving$"

# For a machine without a journal, and for an interpreter in a home folder.
DROP_IN = f"""[Service]
StandardOutput=append:/srv/log
StandardError=append:/srv/log
{systemd.interpreter()}"""

SITE = """
import errno
import os
from probe import ACTS, application as application, wait_at

GENERATION = 1

def write(environ, query):
    try:
        with open(query["path"], "w") as file:
            return file.write("written")
    except OSError as error:
        return errno.errorcode[error.errno]

def status(environ, query):
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\\n").split(":\\t", 1) for line in file if ":\\t" in line)

ACTS["/write"] = write
ACTS["/status"] = status
ACTS["/generation"] = lambda environ, query: GENERATION
ACTS["/seen"] = lambda environ, query: os.path.exists(query["path"])
"""


class Service:
    """The unit, and the log of its server."""

    def __init__(self, manager: Systemd) -> None:
        self.manager = manager
        self.site = manager.srv / "site"
        self.module = self.site / "mysite" / "wsgi.py"
        self._log = manager.srv / "log"
        self._gates = 0

    def main(self) -> int:
        """The main process according to systemd."""
        return int(self.manager.show(SERVICE, "MainPID")[0])

    def lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def wait_for(self, pattern: str, since: int = 0) -> re.Match[str]:
        """The last line of the log that matches, once there is one after the first `since`."""

        def look() -> re.Match[str] | None:
            found = (re.search(pattern, line) for line in reversed(self.lines()[since:]))
            return next(filter(None, found), None)

        return until(look, lambda: "\n".join([pattern, *self.lines()]))

    def pid(self, pattern: str, since: int = 0) -> int:
        """The pid in such a line."""
        return int(self.wait_for(pattern, since)[1])

    def gate(self) -> Path:
        """A named pipe at which the application waits; a byte opens it."""
        self._gates += 1
        gate = self.site / f"gate-{self._gates}"
        os.mkfifo(gate)
        os.chmod(gate, 0o644)
        return gate

    def hold(self, client: Client) -> Path:
        """Have the application hold a request until the returned gate is opened."""
        gate, since = self.gate(), len(self.lines())
        client.send(f"/hold?gate=/srv/site/{gate.name}")
        self.wait_for(f"^holding /srv/site/{gate.name} in ", since)
        return gate

    def get(self, target: str) -> Answer:
        with self.manager.client() as client:
            return client.get(target)

    def is_well(self, main: int, restarts: int = 0) -> None:
        """The service is unchanged and serves."""
        found = self.manager.show(SERVICE, "ActiveState", "SubState", "MainPID", "NRestarts")
        assert found == ["active", "running", str(main), str(restarts)]
        assert self.get("/").status == 200


def open_gate(gate: Path) -> None:
    with open(gate, "wb", buffering=0) as pipe:
        pipe.write(b"!")


@pytest.fixture(scope="module")
def manager() -> Iterator[Systemd]:
    """One systemd for all tests, with the site and the units installed."""
    if why_not := systemd.why_not():
        pytest.skip(why_not)
    door = open_door("binary")
    with systemd.running([path for path in DEPLOY.iterdir() if path.is_file()]) as manager:
        programs = manager.srv / "site/.venv/bin"
        programs.mkdir(parents=True)
        for name in ("rwsgi", "rwsgictl"):
            shutil.copy(door.program.with_name(name), programs)
        manager.configure(SERVICE, "test", DROP_IN)
        yield manager


@pytest.fixture
def service(manager: Systemd) -> Iterator[Service]:
    """The service, not started yet, and stopped at the end."""
    service = Service(manager)
    service.module.parent.mkdir(exist_ok=True)
    service.module.write_text(SITE)
    shutil.copy(APPS / "probe.py", service.site)
    (manager.srv / "log").write_text("")
    yield service
    print(f"--- the log\n{(manager.srv / 'log').read_text()}")
    print(manager.ctl("status", "rwsgi.service", "rwsgi.socket").out)
    manager.ctl("disable", "--now", "rwsgi.socket", SERVICE)
    manager.ctl("reset-failed")
    for gate in service.site.glob("gate-*"):
        gate.unlink()


@pytest.fixture
def started(service: Service) -> Service:
    """The active service, with all of its children ready."""
    # Enabled, because systemd forgets the state of a stopped unit that nothing refers to.
    service.manager.do("enable", "--now", "rwsgi")
    service.manager.until_shown(SERVICE, StatusText="Serving: 0 busy, 5 idle, 0 waiting; 5 processes ready")
    return service


def test_the_service_is_active_once_its_first_child_is_ready(service: Service) -> None:
    manager, gate = service.manager, service.gate()
    service.module.write_text(SITE + f"wait_at('/srv/site/{gate.name}')\n")
    manager.do("enable", "--now", "--no-block", "rwsgi")
    service.wait_for("^holding ")
    assert manager.show(SERVICE, "ActiveState", "SubState") == ["activating", "start"]
    open_gate(gate)
    manager.until_shown(SERVICE, ActiveState="active", SubState="running")
    main = service.main()
    service.wait_for(f" pid={main} ready$")
    service.is_well(main)
    assert manager.ctl("is-enabled", "rwsgi").out == "enabled\n"


def test_systemd_shows_the_load(started: Service) -> None:
    with started.manager.client() as client:
        gate = started.hold(client)
        text = "Serving: 1 busy, 4 idle, 0 waiting; 5 processes ready"
        started.manager.until_shown(SERVICE, StatusText=text)
        assert f'Status: "{text}"' in started.manager.ctl("status", "rwsgi").out
        open_gate(gate)
        assert client.answer().status == 200


def test_the_hardening_is_in_force(started: Service) -> None:
    """All directives of the unit are effective, and the application works with them."""
    user = pwd.getpwnam("www-data")
    found = started.get("/identity").json()
    assert (found["users"], found["groups"], found["umask"]) == ([user.pw_uid] * 3, [user.pw_gid] * 3, 0o027)
    status = started.get("/status").json()
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name].strip("0") for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {""}

    def write(path: str) -> object:
        return started.get(f"/write?path={path}").json()

    for kind in ("lib", "cache", "log"):
        assert write(f"/var/{kind}/rwsgi/file") == len("written")
    assert write("/tmp/file") == len("written")
    assert not started.manager.path("/tmp/file").exists()
    for place in ("/srv/site/file", "/etc/file", "/usr/file", "/proc/sys/kernel/panic"):
        assert write(place) in {"EROFS", "EACCES"}
    for hidden in ("/proc/1", "/dev/kmsg", "/dev/vda", "/root/.profile"):
        assert started.get(f"/seen?path={hidden}").json() is False


def test_a_reload_loses_nothing(started: Service) -> None:
    manager, main = started.manager, started.main()
    load = Load(("127.0.0.1", 8000), "/generation", None)

    def ask() -> None:
        manager.enter_network()
        load.ask_on()

    client = manager.client()
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with client:
            gate = started.hold(client)
            load.wait(20)
            started.module.write_text(SITE.replace("GENERATION = 1", "GENERATION = 2"))
            manager.do("reload", "rwsgi")
            started.wait_for(" gen=2 reloaded$")
            load.wait(20)
            open_gate(gate)
            assert client.answer().status == 200
    finally:
        load.stop()
        asking.join()
    assert load.errors == []
    assert set(load.bodies) == {b"1", b"2"}
    assert started.get("/generation").json() == 2
    started.is_well(main)


def test_a_reload_serves_the_release_that_the_folder_leads_to(service: Service) -> None:
    """The unit sets the folder by WorkingDirectory=, and systemd does not pass its name to the server."""
    manager, releases = service.manager, service.manager.srv / "releases"
    (service.module.parent / "wsgi.py").write_text(
        SITE + "ACTS['/pwd'] = lambda environ, query: [os.environ.get('PWD'), os.getcwd()]\n"
    )
    releases.mkdir()
    service.site.rename(releases / "1")
    service.site.symlink_to("releases/1")
    try:
        manager.do("start", "rwsgi")
        main = service.main()
        assert service.get("/pwd").json() == [None, "/srv/releases/1"]
        shutil.copytree(releases / "1", releases / "2", ignore=shutil.ignore_patterns("gate-*"))
        (releases / "2" / "mysite" / "wsgi.py").write_text(SITE.replace("GENERATION = 1", "GENERATION = 2"))
        (releases / "next").symlink_to("releases/2")
        (releases / "next").rename(service.site)
        shutil.rmtree(releases / "1")
        manager.do("reload", "rwsgi")
        assert service.get("/generation").json() == 2
        service.is_well(main)
        manager.do("stop", "rwsgi")
    finally:
        release = service.site.resolve()
        service.site.unlink()
        release.rename(service.site)
        shutil.rmtree(releases)


def test_systemd_is_notified_of_a_failed_reload(started: Service) -> None:
    main = started.main()
    started.module.write_text("raise ValueError('no shop')\n")
    assert started.manager.ctl("reload", "rwsgi").code != 0
    assert started.get("/generation").json() == 1
    started.is_well(main)


def test_the_service_outlives_its_children_and_its_front(started: Service) -> None:
    main = started.main()
    for pattern in (READY, FRONT):
        killed, since = started.pid(pattern), len(started.lines())
        started.manager.kill(signal.SIGKILL, killed)
        assert started.pid(pattern, since) != killed
        started.is_well(main)


def test_a_server_that_hangs_is_started_anew(started: Service) -> None:
    manager = started.manager
    manager.do("stop", "rwsgi")
    manager.configure(SERVICE, "watchdog", "[Service]\nWatchdogSec=1s\nRestartSec=100ms\n")
    try:
        manager.do("start", "rwsgi")
        main = started.main()
        manager.kill(signal.SIGSTOP, main)
        manager.until_shown(SERVICE, ActiveState="active", SubState="running", NRestarts="1")
        assert started.main() != main
        started.is_well(started.main(), restarts=1)
    finally:
        manager.restore(SERVICE, "watchdog")


def test_another_server_takes_the_place_of_the_first(started: Service) -> None:
    """systemd does not take the end of the first for that of the service, and can stop the successor."""
    manager, main = started.manager, started.main()
    manager.do("kill", "--kill-whom=main", "--signal=USR2", "rwsgi")
    successor = started.pid(r" pid=(\d+) another server serves$")
    manager.until_shown(SERVICE, MainPID=str(successor))
    until(lambda: None if manager.has(main) else True, lambda: f"{main} is still there")
    started.is_well(successor)
    stops_when_requests_are_answered(started)


def stops_when_requests_are_answered(service: Service) -> None:
    manager, main, since = service.manager, service.main(), len(service.lines())
    with manager.client() as client:
        gate = service.hold(client)
        with manager.begin("stop", "rwsgi") as stop:
            service.wait_for(" stopping$", since)
            assert manager.show(SERVICE, "ActiveState") == ["deactivating"]
            assert stop.poll() is None
            open_gate(gate)
            assert client.answer().status == 200
            assert stop.wait(PATIENCE) == 0
    found = manager.show(SERVICE, "ActiveState", "SubState", "Result", "ExecMainStatus", "ExecMainPID")
    assert found == ["inactive", "dead", "success", "0", str(main)]


def test_a_stop_lets_requests_finish(started: Service) -> None:
    stops_when_requests_are_answered(started)


def test_a_term_lets_requests_finish(started: Service) -> None:
    """systemd sends TERM when rwsgictl cannot reach the server."""
    started.manager.path("/run/rwsgi/rwsgi.sock").unlink()
    stops_when_requests_are_answered(started)


def test_a_server_stopped_by_other_means_stays_stopped(started: Service) -> None:
    ran = started.manager.run("/srv/site/.venv/bin/rwsgictl", "stop")
    assert ran.code == 0, ran
    started.manager.until_shown(SERVICE, ActiveState="inactive", Result="success", NRestarts="0")


def test_what_a_new_try_does_not_cure_is_not_tried_again(service: Service) -> None:
    service.module.rename(service.module.with_name("moved.py"))
    assert service.manager.ctl("start", "rwsgi").code != 0
    found = service.manager.show(SERVICE, "ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert found == ["failed", "exit-code", "78", "0"]


def test_what_comes_up_late_is_waited_for(service: Service) -> None:
    """For more attempts than systemd's default limit, which is five."""
    manager, database = service.manager, service.site / "database"
    manager.configure(SERVICE, "late", "[Service]\nRestartSec=100ms\n")
    try:
        service.module.write_text(
            f"import os\nif not os.path.exists('{database.name}'): raise ConnectionError('refused')\n" + SITE
        )
        assert manager.ctl("start", "rwsgi").code != 0
        manager.until_shown(SERVICE, NRestarts=r"[7-9]|\d\d+", ExecMainStatus="75", ActiveState="activating")
        database.touch()
        manager.until_shown(SERVICE, ActiveState="active", SubState="running")
        assert service.get("/").status == 200
    finally:
        database.unlink(missing_ok=True)
        manager.restore(SERVICE, "late")


def test_the_first_connection_starts_the_service(service: Service) -> None:
    manager = service.manager
    manager.do("enable", "--now", "rwsgi.socket")
    assert manager.show(SERVICE, "ActiveState") == ["inactive"]
    assert service.get("/").status == 200
    manager.until_shown(SERVICE, ActiveState="active")
    main = service.main()
    # A client that connects while no server runs waits for the next one.
    with manager.client() as client:
        gate = service.hold(client)
        with manager.begin("restart", "rwsgi") as restart:
            service.wait_for(" stopping$")
            with manager.client() as early:
                early.send("/")
                open_gate(gate)
                assert client.answer().status == 200
                assert restart.wait(PATIENCE) == 0
                assert early.answer().status == 200
    assert service.main() != main
    manager.do("stop", "rwsgi")
    assert manager.show("rwsgi.socket", "ActiveState", "SubState") == ["active", "listening"]
