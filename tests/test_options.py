"""Options: read from each source, documented, and effective."""

import re
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from tests import processes
from tests.client import Client
from tests.conftest import Run, Start
from tests.server import DEMO, ROOT


def test_version_and_help_are_printed(run: Run) -> None:
    version = run("--version", bind=None)
    assert version.code == 0
    assert re.fullmatch(r"rwsgi \d+\.\d+\.\d+", version.out)
    page = run("--help", bind=None)
    assert (page.code, page.err) == (0, "")
    for option in ("--bind ADDR", "-p, --processes N", "--preload auto|on|off", "--print-config"):
        assert option in page.out
    assert max(map(len, page.out.splitlines())) < 80


def test_every_option_of_the_reference_is_in_the_help(run: Run) -> None:
    page = run("--help", bind=None).out
    names = re.findall(
        r"^### `(?:-\w, )?(--[\w-]+)", (ROOT / "docs" / "options.md").read_text(), re.MULTILINE
    )
    assert len(names) > 25
    assert [name for name in names if name not in page] == []


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "rwsgi.toml").write_text("threads = 4\nprocesses = 4\nbacklog = 4\nKeepAliveTimeout = 7\n")
    environment = {"RWSGI_THREADS": "3", "RWSGI_PROCESSES": "3"}
    ran = run("--threads", "2", "--print-config", "probe", bind=None, environment=environment)
    assert ran.code == 0, ran.err
    for line in [
        "threads = 2  # command line",
        "processes = 3  # environment variable RWSGI_PROCESSES",
        "backlog = 4  # rwsgi.toml:3",
        "keep-alive = 7  # rwsgi.toml:4",
        '# stack-size = "8M"  # default',
    ]:
        assert line in ran.out.splitlines(), ran.out


def test_a_file_alone_is_enough_to_serve(start: Start, tmp_path: Path) -> None:
    (tmp_path / "rwsgi.toml").write_text(
        "app = 'probe'\nprocesses = 2\nThreadsPerChild = 3\nbind = ['127.0.0.1:0']\n[env]\nPLACE = 'file'\n"
    )
    server = start(bind=None, children=2)
    answer = server.get("/").json()
    assert (answer["multithread"], answer["multiprocess"]) == (True, True)
    assert server.get("/os.environ").json()["PLACE"] == "file"


def test_the_environment_alone_is_enough_to_serve(start: Start) -> None:
    environment = {"RWSGI_APP": "probe", "RWSGI_BIND": "127.0.0.1:0", "RWSGI_PROCESSES": "2"}
    answer = start(bind=None, children=2, environment=environment).get("/").json()
    assert (answer["multithread"], answer["multiprocess"]) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--thread", "4", "probe"], "command line: unknown option --thread; did you mean --threads?"),
        (["--workers", "4", "probe"], "command line: unknown option --workers; rwsgi calls it --processes"),
        (["--threads", "many", "probe"], 'threads "many" must be a whole number from 1 to 255'),
        (["--stack-size", "255K", "probe"], 'stack-size "255K" must be a size from 256K to 1G'),
        (["--bind", "8000", "probe"], 'bind "8000" has no port: write HOST:PORT, :PORT, unix:PATH or fd://N'),
        (["--chdir", "nowhere", "probe"], 'chdir "nowhere" is not a folder'),
        (["--reload-include", "a/**b", "probe"], 'reload-include "a/**b" is no pattern: recursive wildcards'),
        (["nowhere.py"], 'app "nowhere.py" is not a file in'),
        ([], "no application: give module:callable, module:factory(), module, or the path of a .wsgi"),
    ],
)
def test_a_wrong_command_line_is_explained(run: Run, arguments: list[str], message: str) -> None:
    ran = run(*arguments, bind=None)
    assert (ran.code, ran.out) == (64, "")
    assert len(ran.err.splitlines()) == 1, ran.err
    assert ran.err.startswith("rwsgi: ")
    assert message in ran.err


HABITS = {
    "-w 4": "unknown option -w; of gunicorn's --workers, rwsgi calls it --processes; of uWSGI's "
    "--module, rwsgi takes it as APP without a name before it",
    "--workers 4": "unknown option --workers; rwsgi calls it --processes",
    "--timeout 120": "unknown option --timeout; rwsgi has none: a request may run as long as it needs",
    "-t 120": 'threads "120" is a number of threads here, and -t of gunicorn and uWSGI a time limit',
    "-t30": "for so many threads write --threads 30. Of a time limit, rwsgi has none: ",
    "-p gunicorn.pid": 'processes "gunicorn.pid" is a number of processes here; -p of gunicorn, a file for '
    "the pid, is --pid-file",
    "--pid x": "unknown option --pid; rwsgi calls it --pid-file",
    "--name shop": "unknown option --name; rwsgi has none: titles say what a process does",
    "--log-file -": "unknown option --log-file; rwsgi has none: its log goes to standard error",
    "--access-logfile -": "unknown option --access-logfile; rwsgi calls it --access-log",
    "-k gevent": "unknown option -k; of gunicorn's --worker-class, rwsgi has none: there is one kind",
    "-c conf.py": "unknown option -c; of gunicorn's --config, rwsgi calls it --config",
    "--daemon": "unknown option --daemon; rwsgi has none: a service manager runs it",
    "--graceful-timeout 9": "unknown option --graceful-timeout; rwsgi calls it --shutdown-timeout",
    "--http :80": "unknown option --http; rwsgi calls it --bind",
    "--wsgi-file a.py": "unknown option --wsgi-file; rwsgi takes it as APP without a name before it",
    "--master": "unknown option --master; rwsgi has none: it always does so",
    "--lazy-apps": "unknown option --lazy-apps; rwsgi calls it --preload off",
    "--harakiri 30": "unknown option --harakiri; rwsgi has none: ",
    "--uid www-data": "unknown option --uid; rwsgi calls it --user",
    "--working-directory x": "unknown option --working-directory; rwsgi calls it --chdir",
    "--reload-on-changes": "unknown option --reload-on-changes; rwsgi calls it --reload",
    "--url-alias a b": "unknown option --url-alias; rwsgi has none: a proxy in front of it",
}


@pytest.mark.parametrize("typed", HABITS)
def test_options_of_other_servers_are_answered_with_ours(run: Run, typed: str) -> None:
    ran = run(*typed.split(), "probe", bind=None)
    assert (ran.code, ran.out) == (64, "")
    assert len(ran.err.splitlines()) == 1, ran.err
    assert ran.err.startswith("rwsgi: command line: ")
    assert HABITS[typed] in ran.err


def test_many_threads_are_had_by_the_long_name(run: Run) -> None:
    assert run("--print-config", "--threads", "120", "probe").code == 0
    assert run("--print-config", "-t", "64", "probe").code == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RWSGI_THREADS", "0", 'threads "0" must be a whole number from 1 to 255'),
        ("WEB_CONCURRENCY", "many", 'processes "many" must be a whole number from 1 to 512, or auto'),
    ],
)
def test_a_wrong_environment_is_explained(run: Run, name: str, value: str, message: str) -> None:
    ran = run("probe", environment={name: value})
    assert (ran.code, ran.err) == (78, f"rwsgi: environment variable {name}: {message}")


def test_variables_for_a_service_of_the_same_name_are_ignored(start: Start) -> None:
    server = start(
        "probe",
        environment={
            "RWSGI_SERVICE_HOST": "10.43.214.28",
            "RWSGI_PORT": "tcp://10.43.214.28:8080",
            "RWSGI_THREAD": "4",
        },
    )
    names = "RWSGI_PORT, RWSGI_SERVICE_HOST, RWSGI_THREAD; did you mean RWSGI_THREADS?"
    server.wait_for(f' WARN variables="{re.escape(names)}" no options have these variables: ignored$')


def test_port_and_processes_are_those_of_the_platform(start: Start, run: Run) -> None:
    platform = {"PORT": "5000", "WEB_CONCURRENCY": "2"}
    start("probe", children=2, environment=platform)
    # Not served, because it would listen on all addresses of the machine.
    lines = run("--print-config", "probe", bind=None, environment=platform).out.splitlines()
    assert '# bind = [":5000"]  # environment variable PORT' in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# note\nthread = 4\n", "rwsgi.toml:2: unknown key thread; did you mean threads?"),
        ("\n\nthreads = 'many'\n", 'rwsgi.toml:3: threads "many" must be a whole number from 1 to 255'),
        ("threads = \n", "rwsgi.toml:1: "),
        (
            "worker_class = 'gthread'\n",
            "rwsgi.toml:1: unknown key worker_class; rwsgi has none: there is one",
        ),
        ("accesslog = '-'\n", "rwsgi.toml:1: unknown key accesslog; rwsgi calls it access-log"),
    ],
)
def test_a_wrong_file_is_explained(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rwsgi.toml").write_text(text)
    ran = run("probe")
    assert ran.code == 78
    assert ran.err.startswith(f"rwsgi: {message}"), ran.err


def test_chdir_is_where_the_application_is_and_works(start: Start, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "shop.py").write_text("from probe import application as application")
    server = start("--chdir", "inside", "shop")
    answer = server.get("/").json()
    assert answer["folder"] == str(tmp_path / "inside")
    assert answer["path"][0] == str(tmp_path / "inside")


def test_an_application_may_be_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "my-site.wsgi").write_text("from probe import application as application")
    assert start("my-site.wsgi").get("/").status == 200


def test_an_application_may_be_named_in_its_module(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import probe\nclass Shop: door = staticmethod(probe.application)\nshop = Shop()"
    )
    assert start("shop:shop.door").get("/").status == 200


def test_without_an_application_a_django_project_is_served(start: Start, tmp_path: Path) -> None:
    server = start("--chdir", str(DEMO), environment={"DEMO_VAR": str(tmp_path / "var")})
    assert server.get("/healthz").body == b"ok\n"


def test_python_path_comes_in_the_order_given(start: Start, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which.py").write_text(f"NAME = {name!r}")
    (tmp_path / "shop.py").write_text(
        "from probe import application as application, log_line\n"
        "from which import NAME\nlog_line('found ' + NAME)"
    )
    server = start("--python-path", "first", "--python-path", str(tmp_path / "second"), "shop")
    server.wait_for("^found first$")


def test_variables_are_there_before_the_application_is(start: Start, tmp_path: Path) -> None:
    (tmp_path / "variables").write_text("# of the shop\nA=file\nexport B='two words'\n")
    (tmp_path / "shop.py").write_text(
        "import os\nfrom probe import application as application, log_line\n"
        "log_line('{A} {B} {C}'.format_map(os.environ))"
    )
    server = start("--env-file", "variables", "--env", "A=option", "--env", "C=a=b", "shop")
    server.wait_for("^option two words a=b$")


def test_modules_are_imported_with_the_application(start: Start, tmp_path: Path) -> None:
    (tmp_path / "extra.py").write_text("import os, probe\nprobe.log_line(f'extra in {os.getpid()}')")
    server = start("--preload", "on", "--import", "extra", "probe")
    assert int(server.wait_for(r"^extra in (\d+)$")[1]) == server.mold()


def test_the_application_sees_its_mount_point(start: Start) -> None:
    server = start("--script-name", "/shop", "probe")
    answer = server.get("/shop/environ?a=b").json()
    assert (answer["SCRIPT_NAME"], answer["PATH_INFO"], answer["QUERY_STRING"]) == (
        "/shop",
        "/environ",
        "a=b",
    )
    assert server.get("/shopping/environ").status == 404
    assert server.get("/environ").status == 404


def test_warm_up_requests_run_in_the_mold(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import os\nfrom probe import application as inner, log_line\n"
        "def application(environ, start_response):\n"
        "    log_line('{} {} in {}'.format(environ['HTTP_HOST'], environ['PATH_INFO'], os.getpid()))\n"
        "    return inner(environ, start_response)\n"
    )
    urls = ("/", "http://shop.example/nothing", "/leave?how=raise")
    warmups = [word for url in urls for word in ("--warmup", url)]
    server = start("--preload", "on", *warmups, "--warmup-failures", "warn", "shop")
    mold = server.mold()
    assert int(server.wait_for(r"^localhost / in (\d+)$")[1]) == mold
    assert int(server.wait_for(r"^shop\.example /nothing in (\d+)$")[1]) == mold
    server.wait_for(r" WARN .*/nothing.*404")
    server.wait_for(r" WARN .*/leave")
    assert server.get("/").json()["pid"] != mold


def test_a_request_line_that_is_too_long_is_refused(start: Start) -> None:
    server = start("--limit-request-line", "300", "probe")
    assert server.get("/?" + "a" * 250).status == 200
    assert server.get("/?" + "a" * 400).status == 414


def test_header_fields_that_are_too_many_or_too_long_are_refused(start: Start) -> None:
    server = start("--limit-request-fields", "10", "--limit-request-field-size", "300", "probe")
    # One field is Host.
    assert server.get("/", {f"X-{number}": "a" for number in range(9)}).status == 200
    assert server.get("/", {f"X-{number}": "a" for number in range(10)}).status == 431
    assert server.get("/", {"X": "a" * 250}).status == 200
    assert server.get("/", {"X": "a" * 400}).status == 431


def test_a_body_that_is_too_large_is_refused(start: Start) -> None:
    server = start("--limit-request-body", "1K", "probe")
    assert server.client().post("/body", b"a" * 1024).json()["size"] == 1024
    # Refused by its announced length, before it is sent.
    client = server.client()
    client.socket.sendall(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\n\r\n")
    assert client.answer().status == 413
    client = server.client()
    chunk = b"200\r\n" + b"a" * 0x200 + b"\r\n"
    client.socket.sendall(
        b"POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3
    )
    assert client.answer().status == 413


def test_a_refused_request_never_reaches_the_application(start: Start) -> None:
    server = start("--limit-request-line", "300", "probe")
    assert server.get("/").json()["served"] == 1
    assert server.get("/?" + "a" * 400).status == 414
    assert server.get("/").json()["served"] == 2


def test_an_idle_connection_is_closed_after_its_time(start: Start) -> None:
    server = start("--keep-alive", "500ms", "probe")
    client = server.client()
    assert client.get("/").status == 200
    answered = time.monotonic()
    assert client.rest() == b""
    assert time.monotonic() - answered >= 0.4


def test_without_keep_alive_each_answer_ends_its_connection(start: Start) -> None:
    client = start("--keep-alive", "0", "probe").client()
    assert client.get("/").headers["Connection"] == "close"
    assert client.rest() == b""


def test_a_head_that_does_not_come_is_not_waited_for(start: Start) -> None:
    server = start("--header-timeout", "500ms", "probe")
    silent, half = server.client(), server.client()
    half.socket.sendall(b"GET / HTTP/1.1\r\nHost: ")
    for client in (silent, half):
        rest = client.rest()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    server = start("--body-timeout", "500ms", "probe")
    client = server.client()
    client.socket.sendall(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
    assert client.answer().status == 408
    # The application's only thread has not waited for it, either.
    assert server.get("/").json()["served"] == 1


def test_a_full_queue_is_answered_with_503(start: Start) -> None:
    server = start("--max-queue", "2", "probe")
    held = server.hold()
    # All three are sent before the first is read; the first two to arrive wait.
    clients = [server.client() for _ in range(3)]
    for client in clients:
        client.send("/")
    selected = _first_readable(clients)
    refused = selected.answer()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    held.release()
    assert held.answer().status == 200
    assert [client.answer().status for client in clients if client is not selected] == [200, 200]


def _first_readable(clients: list[Client]) -> Client:
    poll = select.poll()
    by_descriptor = {client.socket.fileno(): client for client in clients}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    ready = poll.poll(30_000)
    assert len(ready) == 1
    return by_descriptor[ready[0][0]]


def test_connections_beyond_the_limit_wait_for_their_turn(start: Start) -> None:
    server = start("--max-connections", "2", "--keep-alive", "1h", "probe")
    first, second = server.client(), server.client()
    assert (first.get("/").status, second.get("/").status) == (200, 200)
    third = server.client()
    third.send("/")
    # Shows that the third was not accepted instead.
    assert second.get("/").json()["served"] == 3
    first.close()
    assert third.answer().json()["served"] == 4


def test_as_many_connections_wait_as_the_backlog_holds(start: Start) -> None:
    server = start("--backlog", "2", "--max-connections", "1", "--keep-alive", "1h", "probe", bind="unix:s")
    # The one that may be open, and those in the backlog: the kernel accepts one more than the backlog.
    first = server.client()
    assert first.get("/").status == 200
    waiting = [server.client() for _ in range(3)]
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.connect(server.address)
    first.close()
    assert waiting[0].get("/").status == 200


def test_the_log_level_is_kept_but_for_the_line_that_machines_wait_for(start: Start) -> None:
    server = start("--log-level", "error", "probe", children=None)
    ready = server.wait_for(r" INFO url=http://127\.0\.0\.1:\d+ pid=\d+ ready$")
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    quiet = [line for line in server.log.lines if " INFO " in line or " WARN " in line]
    assert quiet == [ready.string]


def test_check_loads_and_reports_without_listening(run: Run, start: Start, tmp_path: Path) -> None:
    taken = start("probe")
    assert isinstance(taken.address, tuple)
    (tmp_path / "shop.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='stays', daemon=True).start()\n"
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"
    )
    ran = run("--check", "--warmup", "/", "shop", bind=f"127.0.0.1:{taken.address[1]}")
    assert ran.code == 0, ran.err
    assert "stays" in ran.out
    assert " ready" not in ran.err
    (tmp_path / "shop.py").write_text("raise ValueError('no shop')")
    broken = run("--check", "shop")
    assert broken.code == 78
    assert "ValueError: no shop" in broken.err


def test_the_options_are_not_in_the_list_of_processes(start: Start) -> None:
    """Values may be secrets."""
    server = start("--env", "PASSWORD=hunter2", "probe")
    for process in server.tree():
        assert "hunter2" not in processes.title(process.pid)
    assert server.get("/").json()["arguments"] == ["rwsgi"]


def test_the_start_up_message_has_address_processes_and_how_to_stop(start: Start) -> None:
    server = start("--processes", "2", "--threads", "3", "probe", children=2)
    output = "\n".join(server.log.lines)
    for text in (server.url, "2 processes x 3 threads", "stack 8M", "3.", f"kill -TERM {server.pid}"):
        assert text in output, output
    assert len([line for line in server.log.lines if line.endswith(f" pid={server.pid} ready")]) == 1
