"""Applications of PasteDeploy, as Pyramid, CKAN and Galaxy have them: by `--paste`, and from `pserve`."""

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.server import Door, Server
from tests.test_environments import make

SHOP = """
import logging, os

def make(global_conf, **settings):
    given = os.environ.get("FIRST", "") + os.environ.get("SECOND", "")

    if settings.get("stage") == "broken":
        raise KeyError("no such stage")

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/env":
            return [given.encode()]
        logging.getLogger("shop").info("asked")
        return [repr((settings, global_conf["kept"], global_conf["here"])).encode()]

    return application

def asgi(global_conf):
    async def application(scope, receive, send):
        pass
    return application
"""

INI = """
[DEFAULT]
kept = default

[app:main]
paste.app_factory = shop:make
stage = main

[app:admin]
paste.app_factory = shop:make
stage = %(stage_of_admin)s

[app:broken]
paste.app_factory = shop:make
stage = broken

[app:asgi]
paste.app_factory = shop:asgi

[composite:all]
use = egg:Paste#urlmap
/ = main
"""

LOGGING = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stdout,)
formatter = plain
[formatter_plain]
format = of the ini: %(name)s %(message)s
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "site.ini").write_text(INI)


@pytest.mark.parametrize("preload", ["on", "off"])
def test_the_application_of_a_file_is_served(start: Start, tmp_path: Path, preload: str) -> None:
    server = start("--preload", preload, "--paste", "site.ini")
    assert server.get("/").body == repr(({"stage": "main"}, "default", str(tmp_path))).encode()


def test_another_one_of_it_gets_variables(start: Start, tmp_path: Path) -> None:
    variables = ["--paste-global", "stage_of_admin=x=y", "--paste-global", "kept=typed"]
    server = start("--chdir", str(tmp_path), "--paste", "site.ini#admin", *variables)
    assert server.get("/").body == repr(({"stage": "x=y"}, "typed", str(tmp_path))).encode()


def test_it_may_be_named_by_the_environment_and_by_the_file(start: Start, tmp_path: Path) -> None:
    text = "paste = 'site.ini#admin'\n[paste-global]\nstage_of_admin = 'file'\n"
    (tmp_path / "rwsgi.toml").write_text(text)
    assert b"'stage': 'file'" in start().get("/").body
    # What is nearer to the command line comes first.
    assert b"'stage': 'main'" in start(environment={"RWSGI_PASTE": "site.ini"}).get("/").body
    assert start("probe").get("/").json()["folder"] == str(tmp_path)


def test_a_name_that_has_the_sign_of_a_section_is_a_name(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a#b c.ini").write_text(INI)
    assert b"'stage': 'main'" in start("--paste", "a#b c.ini").get("/").body
    assert b"'stage': 'main'" in start("--paste", "a#b c.ini#main").get("/").body


def test_its_logging_is_set_up(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text(INI + LOGGING)
    server = start("--paste", "site.ini")
    server.get("/")
    server.output.until(
        lambda lines: "of the ini: shop asked" in lines or None, "the line of the application"
    )


def test_a_change_of_it_is_one_of_the_application(start: Start, tmp_path: Path) -> None:
    server = start("--reload", "--paste", "site.ini")
    (tmp_path / "site.ini").write_text(INI.replace("stage = main", "stage = changed"))
    server.wait_for(" gen=2 reloaded$")
    assert b"'stage': 'changed'" in server.get("/").body


WRONG = {
    "nowhere.ini": (64, 'paste "nowhere.ini" is not a file in '),
    "site.ini#": (64, 'paste "site.ini#" must be FILE, or FILE#NAME'),
    "site.ini#none": (78, "site.ini#none: No section 'none' (prefixed by 'app' or "),
    "site.ini#admin": (78, "which is not a valid option name. Raw value: '%(stage_of_admin)s'"),
    "bad.ini": (78, "bad.ini: File contains no section headers."),
    "site.ini#asgi": (78, "site.ini#asgi` is an ASGI application, and rwsgi serves WSGI"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("mode", [["--check"], []], ids=["check", "serve"])
def test_what_is_wrong_with_it_is_told(run: Run, tmp_path: Path, name: str, mode: list[str]) -> None:
    (tmp_path / "bad.ini").write_text("no section\n")
    ran = run(*mode, "--paste", name)
    code, text = WRONG[name]
    assert ran.code == code, ran.err
    assert text in ran.err
    assert "Traceback" not in ran.err


def test_an_exception_of_the_application_is_not_the_files(run: Run) -> None:
    ran = run("--paste", "site.ini#broken")
    assert ran.code == 75
    assert "KeyError: 'no such stage'" in ran.err
    assert 'shop.py", line 8, in make' in ran.err


def test_two_applications_are_refused(run: Run) -> None:
    ran = run("--paste", "site.ini", "shop", bind=None)
    text = 'command line: paste "site.ini" names an application, and so does app "shop": leave one out'
    assert (ran.code, ran.err) == (64, f"rwsgi: {text}")


def test_an_environment_without_pastedeploy_is_told(run: Run, tmp_path: Path) -> None:
    environment = tmp_path.resolve() / "other"
    make(environment)
    ran = run("--paste", "site.ini", environment={"VIRTUAL_ENV": str(environment)})
    assert ran.code == 78
    assert f"--paste needs the package PasteDeploy, which {environment} does not have" in ran.err


SERVER = """
[server:main]
use = egg:rwsgi#main
host = 127.0.0.1
port = %(port)s
processes = 2
python_path = more
env =
    FIRST=1
    SECOND=2
"""


@pytest.fixture
def pserve(door: Door) -> Door:
    """Of the environment that the wheel is in; the binary has no package where PasteDeploy could find it."""
    program = door.program.with_name("pserve")
    if door.name == "wheel":
        assert os.access(program, os.X_OK), f"{program} is not there: pip install pyramid"
    return Door("wheel", program)


@pytest.mark.parametrize("how", [["-n", "admin"], ["--app-name=admin"], []])
def test_pserve_starts_the_server(door: Door, pserve: Door, tmp_path: Path, how: list[str]) -> None:
    if door.name == "binary":
        return
    (tmp_path / "site.ini").write_text(INI + SERVER)
    # As installed, where pserve finds it.
    environment = {"PYTHONPATH": str(tmp_path)}
    arguments = [*how, "site.ini", "port=0", "stage_of_admin=typed"]
    server = Server(pserve, tmp_path, arguments, environment)
    try:
        server.wait_until_ready(2)
        stage = b"typed" if how else b"main"
        assert b"'stage': '%s'" % stage in server.get("/").body
        assert server.get("/env").body == b"12"
        server.send_signal(signal.SIGHUP)
        server.wait_for(" gen=2 reloaded$")
        assert b"'stage': '%s'" % stage in server.get("/").body
        server.stop()
    finally:
        server.destroy()


def test_a_wrong_option_for_pserve_is_told(door: Door, pserve: Door, tmp_path: Path) -> None:
    if door.name == "binary":
        return
    (tmp_path / "site.ini").write_text(INI + "[server:main]\nuse = egg:rwsgi#main\nworkers = 4\n")
    server = Server(pserve, tmp_path, ["site.ini"], {"PYTHONPATH": str(tmp_path)})
    try:
        assert server.wait() == 64
        assert "unknown option --workers; rwsgi calls it --processes" in str(server.log)
    finally:
        server.destroy()
