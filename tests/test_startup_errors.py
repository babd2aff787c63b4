"""Failed starts give the reason and leave nothing behind; the latter is checked by `run`."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.server import APPS, Door

PRELOAD = pytest.mark.parametrize("preload", ["auto", "on", "off"])

# A retry may help.
NOT_LOADED = 75
CONFIGURATION = 78

# Applications that cannot be loaded, the exit code, and the expected log lines.
UNLOADABLE = {
    "is not there": (None, CONFIGURATION, ["ModuleNotFoundError: No module named 'shop'"]),
    "imports what is not there": (
        "import nowhere",
        NOT_LOADED,
        ["ModuleNotFoundError: No module named 'nowhere'", "shop.py"],
    ),
    "has no application": ("application_ = 1", CONFIGURATION, ["neither `application` nor `app`"]),
    "is not callable": ("application = 3", CONFIGURATION, ["cannot be called: 3"]),
    "is no Python": ("def application(:", NOT_LOADED, ["SyntaxError: ", "shop.py"]),
    "raises": (
        "def load():\n    raise ValueError('no such shop')\nload()",
        NOT_LOADED,
        ["ValueError: no such shop", "in load"],
    ),
    "exits": ("import sys\nsys.exit(3)", NOT_LOADED, ["SystemExit: 3"]),
}


def check(code: int, err: str, texts: list[str], expected: int = NOT_LOADED) -> None:
    assert code == expected, err
    assert not re.search(r" url=.* ready$", err, re.MULTILINE), err
    for text in texts:
        assert text in err, err


@PRELOAD
@pytest.mark.parametrize("how", UNLOADABLE)
def test_an_application_that_cannot_be_loaded_ends_the_start(
    run: Run, tmp_path: Path, how: str, preload: str
) -> None:
    source, code, texts = UNLOADABLE[how]
    if source is not None:
        (tmp_path / "shop.py").write_text(source)
    ran = run("--preload", preload, "--processes", "2", "shop")
    check(ran.code, ran.err, [*texts, "the application cannot be loaded"], code)
    # The traceback begins with the application's code.
    assert "_rwsgi_prelude" not in ran.err
    assert "prelude.py" not in ran.err


@PRELOAD
def test_an_attribute_that_is_not_there_ends_the_start(run: Run, tmp_path: Path, preload: str) -> None:
    (tmp_path / "shop.py").write_text("app = print")
    ran = run("--preload", preload, "shop:application")
    check(ran.code, ran.err, ["shop has no attribute `application`"], CONFIGURATION)


@PRELOAD
@pytest.mark.parametrize("code", [0, 3, 64, 70, 71, 78])
def test_an_application_that_ends_its_process_ends_the_start(
    run: Run, tmp_path: Path, code: int, preload: str
) -> None:
    """With one process it is the child, which loads the application itself."""
    (tmp_path / "shop.py").write_text(f"import os\nos._exit({code})")
    ran = run("--preload", preload, "shop")
    why = "the mold has ended before any child" if preload == "on" else "the last child has ended before any"
    check(ran.code, ran.err, [f'cause="exit {code}', f"{why} was ready"])


def test_several_children_that_end_while_they_load_end_the_start(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import os\nos._exit(3)")
    ran = run("--preload", "off", "--processes", "3", "shop")
    check(ran.code, ran.err, ['cause="exit 3', "the last child has ended before any was ready"])


@PRELOAD
def test_an_import_slower_than_the_startup_timeout_ends_the_start(
    run: Run, tmp_path: Path, preload: str
) -> None:
    (tmp_path / "shop.py").write_text("import threading\nthreading.Event().wait()")
    ran = run("--preload", preload, "--startup-timeout", "1s", "shop")
    check(ran.code, ran.err, ["startup timeout"])


def test_an_import_that_does_not_let_go_of_the_interpreter_ends_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("while True: pass")
    ran = run("--startup-timeout", "1s", "shop")
    check(ran.code, ran.err, ["startup timeout"])


@pytest.mark.parametrize("code", [9, 71])
def test_children_that_never_become_ready_end_the_start(run: Run, tmp_path: Path, code: int) -> None:
    """Exit code 71 means a lack of resources, which the application cannot claim."""
    (tmp_path / "shop.py").write_text(f"import os\nos._exit({code})")
    ran = run("--preload", "off", "--mpm", "worker", "--startup-timeout", "1s", "shop")
    check(ran.code, ran.err, [f'cause="exit {code}', "the last child has ended before any was ready"])


def test_a_django_project_with_broken_addresses_cannot_be_loaded(run: Run, tmp_path: Path) -> None:
    """Its views are loaded before the first request, so the error appears at the start."""
    (tmp_path / "shop.py").write_text(
        "from django.conf import settings\n"
        "settings.configure(ROOT_URLCONF='addresses', SECRET_KEY='x')\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "application = get_wsgi_application()\n"
    )
    (tmp_path / "addresses.py").write_text("import views_that_are_missing")
    ran = run("shop")
    check(ran.code, ran.err, ["No module named 'views_that_are_missing'"])


def test_an_import_that_is_not_there_ends_the_start(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("application = print")
    ran = run("--import", "nowhere", "shop")
    check(ran.code, ran.err, ["No module named 'nowhere'"], CONFIGURATION)


@PRELOAD
@pytest.mark.parametrize(
    ("app", "code"),
    [
        ("nowhere", CONFIGURATION),
        ("shop.nowhere", CONFIGURATION),
        ("nowhere.wsgi", CONFIGURATION),
        ("no.wsgi", CONFIGURATION),
        # These modules exist, and import one that does not.
        ("shop.wsgi", NOT_LOADED),
        ("late", NOT_LOADED),
        ("late.wsgi", NOT_LOADED),
    ],
)
def test_an_application_that_does_not_exist_is_another_thing_than_what_it_imports(
    run: Run, tmp_path: Path, app: str, code: int, preload: str
) -> None:
    for name, text in {"shop": "", "late": "import shop.settings"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        (tmp_path / name / "wsgi.py").write_text("import shop.settings\napplication = print\n")
    ran = run("--preload", preload, app)
    check(ran.code, ran.err, ["the application cannot be loaded"], code)


@PRELOAD
@pytest.mark.parametrize("count", ["1", "3"])
@pytest.mark.parametrize("app", ["nowhere:app", "nowhere.wsgi", "shop.nowhere", "shop:nowhere"])
def test_a_wrong_module_is_told_once_with_where_it_was_looked_for(
    run: Run, tmp_path: Path, app: str, preload: str, count: str
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "more").mkdir()
    ran = run("--preload", preload, "--processes", count, "--python-path", "more", app)
    assert ran.code == CONFIGURATION
    told = [line for line in ran.err.splitlines() if "nowhere" in line]
    assert len(told) == 1, ran.err
    assert ran.err.count("the application cannot be loaded") == 1, ran.err
    places = {
        "nowhere": f"; looked for in {tmp_path}, {tmp_path / 'more'} and in the packages of {sys.prefix}",
        "shop.nowhere": f'; looked for in {tmp_path / "shop"}"',
        "shop:nowhere": "shop has no attribute `nowhere`",
    }
    assert places[app if app.startswith("shop") else "nowhere"] in told[0], told
    # What the server itself has killed for it is no event of its own.
    assert "SIGKILL" not in ran.err
    check = run("--check", "--python-path", "more", app)
    assert check.code == CONFIGURATION
    assert check.err.count("nowhere") == told[0].count("nowhere") + 1, check.err


FAILING = {
    "an exception": ("raise ConnectionError('no database')", "ConnectionError: no database"),
    "a status": ("start_response('503 No', []); return [b'']", "the answer has the status 503"),
    "a broken answer": (
        "start_response('200 OK', []); return (1 / 0 for _ in '1')",
        "ZeroDivisionError: division by zero",
    ),
    "no answer": ("return []", "the application did not call start_response"),
    "an exit": ("raise SystemExit(1)", "SystemExit: 1"),
}


def write_failing(folder: Path, how: str) -> str:
    code, reason = FAILING[how]
    (folder / "shop.py").write_text(f"def application(environ, start_response):\n    {code}\n")
    return reason


@PRELOAD
@pytest.mark.parametrize("how", FAILING)
def test_a_warm_up_that_fails_ends_the_start(run: Run, tmp_path: Path, how: str, preload: str) -> None:
    reason = write_failing(tmp_path, how)
    ran = run("--preload", preload, "--warmup", "/page", "shop")
    check(ran.code, ran.err, [f"url=/page {'status=503 ' if '503' in reason else ''}reason=", reason])


def test_a_check_fails_with_the_warm_up(run: Run, tmp_path: Path) -> None:
    write_failing(tmp_path, "an exception")
    ran = run("--check", "--warmup", "/page", "shop")
    assert (ran.code, ran.out) == (CONFIGURATION, ""), ran.err
    assert "--warmup /page: ConnectionError: no database" in ran.err
    assert run("--check", "--warmup", "/page", "--warmup-failures", "warn", "shop").code == 0


@PRELOAD
def test_a_failing_warm_up_may_be_a_warning(start: Start, tmp_path: Path, preload: str) -> None:
    write_failing(tmp_path, "an exception")
    server = start("--preload", preload, "--warmup", "/page", "--warmup-failures", "warn", "shop")
    server.wait_for(r" WARN .*url=/page .*ConnectionError: no database.* the warm-up failed$")
    assert server.get("/").status == 500


def fake_environment(folder: Path, version: str) -> Path:
    environment = folder / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\nversion = {version}\n")
    return environment


@pytest.mark.parametrize("how", ["--python", "VIRTUAL_ENV"])
def test_a_virtual_environment_of_another_version_is_refused(
    door: Door, run: Run, tmp_path: Path, how: str
) -> None:
    environment = fake_environment(tmp_path, "3.99.1")
    (tmp_path / "shop.py").write_text("application = print")
    if how == "--python":
        ran = run("--python", str(environment), "shop")
    else:
        ran = run("shop", environment={"VIRTUAL_ENV": str(environment)})
    reason = {
        "binary": f"virtual environment {environment} is for Python 3.99.1, but this rwsgi",
        "wheel": f"virtual environment {environment} is for Python 3.99.1, but its interpreter is",
    }
    check(ran.code, ran.err, [reason[door.name]], CONFIGURATION)


def test_a_python_that_is_not_there_is_refused(door: Door, run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("application = print")
    ran = run("--python", "nowhere/bin/python", "shop")
    check(ran.code, ran.err, [str(tmp_path / "nowhere/bin/python")], CONFIGURATION)


def test_its_own_python_may_be_named(start: Start) -> None:
    assert start("--python", sys.prefix, "probe").get("/").status == 200
    assert start("--python", sys.executable, "probe").get("/").status == 200


def test_the_traceback_of_an_import_is_in_the_log_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("1 / 0")
    ran = run("--processes", "4", "shop")
    assert ran.err.count("ZeroDivisionError: division by zero\n") == 1, ran.err


def test_a_server_that_has_served_stays_when_children_cannot_load_any_more(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("from probe import application as application")
    server = start("--preload", "off", "--processes", "2", "shop", children=2)
    children = server.children(2)
    (tmp_path / "shop.py").write_text("raise ValueError('broken by a deploy')")
    # A compiled file could be used for a new source of the same second.
    for compiled in (tmp_path / "__pycache__").glob("*"):
        compiled.unlink()
    held = server.hold()
    slot = next(slot for slot, pid in children.items() if pid != held.pid)
    os.kill(children[slot], signal.SIGKILL)
    server.wait_for("^ValueError: broken by a deploy$")
    held.release()
    assert held.answer().json()["pid"] == held.pid
    assert server.get("/").status == 200


@pytest.mark.parametrize("arguments", [("probe",), ("--check", "probe")], ids=["serve", "check"])
def test_a_free_threaded_build_is_refused(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Simulated, because the interpreters of the tests have the GIL."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.abiflags += 't'\n")
    ran = run("--python-path", str(APPS), *arguments, environment={"PYTHONPATH": str(tmp_path)})
    text = " is a free-threaded build, which rwsgi does not support yet: use one that has"
    check(ran.code, ran.err, [text], CONFIGURATION)
    assert "Traceback" not in ran.err
