"""The addresses of a server, and what it does with existing files there."""

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from tests.client import Client
from tests.conftest import Run, Start
from tests.server import Server
from tests.tools import tool

# Executes the program, with the descriptor of the first argument as the one that systemd passes.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.close(int(sys.argv[1]))
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="http", LISTEN_PIDFDID="7")
os.execv(sys.argv[2], sys.argv[2:])
"""


def ask(server: Server, address: tuple[str, int] | str) -> dict[str, str]:
    with Client(address) as client:
        answer = client.get("/environ").json()
    assert isinstance(answer, dict)
    assert answer["SERVER_SOFTWARE"].startswith("rwsgi/")
    return answer


def port_of(server: Server) -> int:
    assert isinstance(server.address, tuple)
    return server.address[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_port_0_takes_a_free_port(start: Start, host: str) -> None:
    server = start("probe", bind=f"{host}:0")
    assert port_of(server) > 0
    ask(server, server.address)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_an_ipv6_address_is_served_where_there_is_one(start: Start, run: Run) -> None:
    if has_ipv6():
        server = start("probe", bind="[::1]:0")
        assert port_of(server) > 0
        ask(server, server.address)
    else:
        ran = run("probe", bind="[::1]:0")
        assert ran.code != 0
        assert "cannot listen on [::1]:0: " in ran.err


def serves(address: tuple[str, int]) -> bool:
    try:
        with Client(address) as client:
            return client.get("/").status == 200
    except ConnectionRefusedError:
        return False


def test_all_addresses_of_ipv6_are_all_of_ipv4_too(start: Start) -> None:
    if not has_ipv6():
        # The test of an IPv6 address has what becomes of one there.
        return
    server = start("probe", bind="[::]:0")
    port = port_of(server)
    assert serves(("::1", port))
    # A client of IPv4 has its address.
    assert ask(server, ("127.0.0.1", port))["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("turned", [False, True])
def test_both_families_may_be_named_each_by_itself(start: Start, turned: bool) -> None:
    if not has_ipv6():
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    addresses = [f"[::]:{port}", f"127.0.0.1:{port}"]
    first, second = reversed(addresses) if turned else addresses
    server = start("--bind", second, "probe", bind=first)
    assert len(server.urls) == 2
    assert serves(("::1", port)) and serves(("127.0.0.1", port))


# Makes the only interface there is, as a machine without IPv6 has it, and becomes the program.
WITHOUT_IPV6 = """
import fcntl, os, socket, struct, sys
IFF_UP, SIOCSIFFLAGS = 1, 0x8914
for name in ("all", "lo"):
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:
        file.write("1")
with socket.socket() as any:
    fcntl.ioctl(any, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a network")
def test_where_there_is_no_ipv6_localhost_is_served_and_an_ipv6_address_refused(
    start: Start, run: Run
) -> None:
    before = [tool("unshare", "util-linux"), "--net", sys.executable, "-c", WITHOUT_IPV6]
    server = start("probe", bind="localhost:0", before=before)
    assert [url.rpartition(":")[0] for url in server.urls] == ["http://127.0.0.1"]
    ran = run("probe", bind="[::1]:0", before=before)
    assert ran.code != 0
    assert "cannot listen on [::1]:0: " in ran.err


def test_several_addresses_are_served(start: Start) -> None:
    server = start("--bind", "unix:s", "--bind", "127.0.0.1:0", "probe")
    assert len(server.urls) == 3
    assert ask(server, server.address)["REMOTE_ADDR"] == "127.0.0.1"
    # A client of a unix socket has no address.
    assert ask(server, str(server.folder / "s")).get("REMOTE_ADDR", "") == ""


def test_a_second_server_on_the_same_port_is_refused(start: Start, run: Run) -> None:
    first = start("probe")
    second = run("probe", bind=f"127.0.0.1:{port_of(first)}")
    assert second.code == 69
    assert f"127.0.0.1:{port_of(first)} is in use" in second.err
    assert "Traceback" not in second.err
    ask(first, first.address)


def test_a_second_server_on_the_same_unix_socket_is_refused(start: Start, run: Run) -> None:
    first = start("probe", bind="unix:s")
    second = run("probe", bind="unix:s")
    assert second.code == 69
    assert "s is in use" in second.err
    ask(first, first.address)


def test_a_port_is_free_as_soon_as_the_server_has_stopped(start: Start) -> None:
    first = start("probe")
    assert first.client().get("/").status == 200
    port = port_of(first)
    first.stop()
    ask(start("probe", bind=f"127.0.0.1:{port}"), ("127.0.0.1", port))


def test_a_unix_socket_is_removed_at_the_end(start: Start) -> None:
    server = start("probe", bind="unix:s")
    path = server.folder / "s"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert server.address == str(path)
    ask(server, server.address)
    server.stop()
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ("", 0o666),
        ("?mode=0600", 0o600),
        (f"?group={os.getegid()}", 0o660),
        (f"?group={os.getegid()}&mode=0622", 0o622),
    ],
)
def test_a_unix_socket_has_its_mode_whatever_the_umask(start: Start, options: str, mode: int) -> None:
    """Else the proxy, which is another user, could not connect."""
    with_umask = ["/bin/sh", "-c", 'umask 077; exec "$@"', "sh"]
    server = start("probe", bind=f"unix:s{options}", before=with_umask)
    found = (server.folder / "s").stat()
    assert (found.st_mode & 0o777, found.st_gid) == (mode, os.getegid())
    assert server.address == str(server.folder / "s")
    ask(server, server.address)
    server.stop()
    assert not (server.folder / "s").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("?mode=0999", "has a mode that is not an octal number from 0 to 0777"),
        ("?owner=www-data", "is neither mode=0660 nor group=NAME"),
        ("?group=no-group-has-this-name", "has a group that is no group of this machine"),
    ],
)
def test_what_is_wrong_about_a_unix_socket_is_told(run: Run, options: str, problem: str) -> None:
    ran = run("probe", bind=f"unix:s{options}")
    assert ran.code == 64
    assert f'bind "unix:s{options}" ' in ran.err
    assert problem in ran.err


def test_a_stale_socket_is_replaced(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    server = start("probe", bind="unix:s")
    ask(server, server.address)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_touched(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("elsewhere")
    before = path.lstat()
    ran = run("probe", bind="unix:s")
    assert ran.code == 69
    assert "exists and is not a socket" in ran.err
    after = path.lstat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )


def test_an_inherited_socket_is_served_and_not_passed_on(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        server = start("probe", bind=f"fd://{number}", inherited=[number])
        assert server.address == listener.getsockname()
        ask(server, server.address)
        found = server.get("/program?way=os.system").json()
        assert "socket:" not in found, found
        server.stop()
        # It is the test's socket, and continues to listen.
        with Client(listener.getsockname()):
            pass


@pytest.mark.parametrize("what", ["connected", "file", "closed"])
def test_a_descriptor_that_does_not_listen_is_refused(run: Run, what: str) -> None:
    # The descriptors of a command: 0 is /dev/null, 1 is a pipe, 99 is not open.
    number = {"connected": 1, "file": 0, "closed": 99}[what]
    ran = run("probe", bind=f"fd://{number}")
    assert ran.code == 78
    assert f"descriptor {number} is not a socket that listens" in ran.err


def test_sockets_of_systemd_are_served_when_no_address_is_given(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        server = start(
            "probe", bind=None, inherited=[number], before=[sys.executable, "-c", AS_SYSTEMD, str(number)]
        )
        assert server.address == listener.getsockname()
        ask(server, server.address)
        found = server.get("/program?way=os.system").json()
        assert "socket:" not in found, found
        assert not [name for name in server.get("/os.environ").json() if name.startswith("LISTEN_")]


def test_sockets_of_systemd_for_another_process_are_not_ours(start: Start, run: Run) -> None:
    taken = start("probe", bind="127.0.0.1:0")
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
    ran = run("probe", bind=f"127.0.0.1:{port_of(taken)}", environment=environment)
    assert ran.code == 69


def test_an_address_that_this_machine_does_not_have_is_refused(run: Run) -> None:
    # TEST-NET-1 of RFC 5737. The address may appear later, so a service manager may retry.
    ran = run("probe", bind="192.0.2.1:0")
    assert ran.code == 69
    assert "cannot listen on 192.0.2.1:0" in ran.err


def test_an_unresolvable_name_is_refused(run: Run) -> None:
    # RFC 6761: never resolved, except by name servers that answer everything with an address of their own.
    ran = run("probe", bind="site.invalid:0")
    assert ran.code == 69
    assert "site.invalid cannot be resolved" in ran.err or "cannot listen on" in ran.err


def test_the_program_can_be_started_without_standard_input(start: Start) -> None:
    """With descriptor 0 closed, the first socket must not take its place."""
    server = start("probe", before=["/bin/sh", "-c", 'exec "$@" 0<&-', "sh"])
    ask(server, server.address)
    found = server.get("/program?way=os.system").json()
    assert "socket:" not in found, found


def test_a_too_long_path_is_reported_with_its_length(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ("x" * (108 - len(str(tmp_path)) - 1))
    ran = run("probe", bind=f"unix:{path}")
    assert ran.code == 78
    assert "the path has 108 bytes, and that of a socket at most 107" in ran.err


def test_a_start_that_fails_leaves_no_socket_behind(start: Start, run: Run, tmp_path: Path) -> None:
    taken = start("probe")
    path = tmp_path / "ours.sock"
    ran = run("--bind", f"unix:{path}", "probe", bind=f"127.0.0.1:{port_of(taken)}")
    assert ran.code == 69
    assert run("--bind", f"127.0.0.1:{port_of(taken)}", "probe", bind=f"unix:{path}").code == 69
    assert not path.exists()
