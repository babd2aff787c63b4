"""How an application is named: as Flask, Pyramid, gunicorn, uWSGI and mod_wsgi document it."""

from pathlib import Path

import pytest

from tests.conftest import Run, Start

SHOP = """
def create_app(stage="none", *, debug=False, only=()):
    if stage == "broken":
        raise TypeError("no such stage")

    def application(environ, start_response):
        start_response("200 OK", [])
        return [repr((stage, debug, only)).encode()]

    return application

class Maker:
    create = staticmethod(create_app)

def with_defaults(config=None, testing=False):
    return create_app(config)

class Application:
    def __call__(self, environ, start_response):
        return create_app()(environ, start_response)

def needs(stage):
    return create_app(stage)

def nothing():
    pass

async def awaited():
    return create_app()

number = 3

async def asgi(scope, receive, send):
    pass

class Asgi:
    async def __call__(self, scope, receive, send):
        pass

asgi_object = Asgi()

def asgi_of_old(scope):
    return asgi

def view(request):
    return b""

def gives_view():
    return view

def wrapped(function):
    import functools

    @functools.wraps(function)
    def wrapper(*arguments):
        return create_app("wrapped")(*arguments[-2:])

    return wrapper

view_as_werkzeug_wraps_it = wrapped(view)
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("create_app()", ("none", False, ())),
        ("create_app('production')", ("production", False, ())),
        ('create_app("a:b (c)", debug=True, only=(-1, None))', ("a:b (c)", True, (-1, None))),
        ("create_app( stage = 'x' )", ("x", False, ())),
        ("Maker.create('inner')", ("inner", False, ())),
        ("with_defaults()", (None, False, ())),
        ("Application()", ("none", False, ())),
        ("view_as_werkzeug_wraps_it", ("wrapped", False, ())),
    ],
)
@pytest.mark.parametrize("preload", ["on", "off"])
def test_a_factory_is_called_with_literals(start: Start, call: str, answer: object, preload: str) -> None:
    server = start("--preload", preload, f"shop:{call}")
    assert server.get("/").body == repr(answer).encode()


def test_a_factory_may_be_named_in_the_file_and_is_called_anew_by_a_reload(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "rwsgi.toml").write_text("app = 'shop:create_app(\"one\")'\n")
    server = start()
    assert b"'one'" in server.get("/").body
    (tmp_path / "rwsgi.toml").write_text("app = 'shop:create_app(\"two\")'\n")
    assert server.control("reload").code == 0
    assert b"'two'" in server.get("/").body


WRONG = {
    "create_app": "`shop:create_app` is a factory, not an application: it takes (stage='none', *, "
    "debug=False, only=()) and not (environ, start_response); write `shop:create_app()`",
    "with_defaults": "write `shop:with_defaults()`",
    "Application": "write `shop:Application()`",
    "needs": "`shop:needs` is not a WSGI application: it takes (stage) and not (environ, "
    "start_response); a factory is called with literal arguments, as `shop:needs(…)`",
    "needs()": "`shop:needs()` cannot be called so: missing a required argument: 'stage'; it takes (stage)",
    "create_app(stages=1)": "got an unexpected keyword argument 'stages'",
    "create_app(os.environ)": "the arguments of `shop:create_app(os.environ)` must be literals",
    "create_app(**{})": "must be literals",
    "create_app(1, 2": "must be module:callable, module:factory(), module, or the path of",
    "create_app(1 2)": "`shop:create_app(1 2)` is no call of a factory in Python: ",
    "create_app()()": "`shop:create_app()()` is no call of a factory, such as",
    "gives_view()": "what `shop:gives_view()` returned is not a WSGI application: it takes (request) and not",
    "nothing()": "`shop:nothing()` returned None and not an application",
    "awaited()": "`shop:awaited()` is an `async` factory, which only an ASGI server can await",
    "number()": "`shop:number()` cannot be called: it is 3",
    "create_ap()": "shop has no attribute `create_ap`",
    "asgi": "`shop:asgi` is an ASGI application, and rwsgi serves WSGI; "
    "an ASGI server, as uvicorn, serves it",
    "asgi_object": "`shop:asgi_object` is an ASGI application",
    "Asgi()": "`shop:Asgi()` is an ASGI application",
    "asgi_of_old": "`shop:asgi_of_old` is an ASGI application",
}


@pytest.mark.parametrize("call", WRONG)
@pytest.mark.parametrize("mode", [["--check"], []], ids=["check", "serve"])
def test_what_no_request_could_call_is_told_when_it_is_loaded(run: Run, call: str, mode: list[str]) -> None:
    ran = run(*mode, f"shop:{call}")
    assert ran.code == (64 if call.endswith("2") else 78), ran.err
    assert WRONG[call] in ran.err.replace('\\"', '"')
    assert "Traceback" not in ran.err


def test_an_exception_of_a_factory_has_its_traceback(run: Run) -> None:
    ran = run("shop:create_app('broken')")
    assert ran.code == 75
    assert "TypeError: no such stage" in ran.err
    assert 'shop.py", line 4, in create_app' in ran.err
    # The traceback begins where the application does.
    assert "<rwsgi " not in ran.err


@pytest.mark.parametrize("beside", [True, False])
def test_the_asgi_module_of_django_is_recognised(run: Run, tmp_path: Path, beside: bool) -> None:
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "__init__.py").touch()
    (tmp_path / "mysite" / "asgi.py").write_text("from shop import asgi_object as application")
    if beside:
        (tmp_path / "mysite" / "wsgi.py").touch()
    ran = run("mysite.asgi")
    assert ran.code == 78
    hint = ": `mysite.wsgi` is beside it" if beside else "; an ASGI server, as uvicorn, serves it"
    assert f"`mysite.asgi:application` is an ASGI application, and rwsgi serves WSGI{hint}" in ran.err


FILES = {
    "site.wsgi": "from shop import create_app\n"
    "application = create_app('site')\nother = create_app('other')\n",
    "mysite/__init__.py": "",
    "mysite/settings.py": "STAGE = 'relative'",
    "mysite/wsgi.py": "from shop import create_app\nfrom . import settings\n"
    "application = create_app(settings.STAGE)\nname = __name__\n",
    "bare/app.py": "import shop, beside\napp = shop.create_app(beside.__name__)\n",
    "bare/beside.py": "",
    "bare/json.py": "import json\nassert json.dumps(1) == '1'\nimport shop\napp = shop.create_app('json')\n",
    # As pgAdmin's.
    "web/pgAdmin4.wsgi": "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))\n"
    "from pgAdmin4 import app as application\n",
    "web/pgAdmin4.py": "import shop\napp = shop.create_app('pgAdmin')\n",
    "web/beside.wsgi": "from beside import app as application\n",
    "web/beside.py": "import shop\napp = shop.create_app('beside')\n",
    # Its own models import it, as in many a small site.
    "web/circle.py": "import shop\nstage = 'circle'\n"
    "import models\napp = shop.create_app(models.circle.stage)\n",
    "web/models.py": "import circle\n",
}


@pytest.mark.parametrize(
    ("app", "stage"),
    [
        ("shop.py:create_app('file')", "file"),
        ("site.wsgi", "site"),
        ("site.wsgi:other", "other"),
        ("./site.wsgi:application", "site"),
        ("mysite/wsgi.py", "relative"),
        ("mysite/wsgi.py:application", "relative"),
        ("mysite.wsgi:application", "relative"),
        ("bare/app.py:app", "beside"),
        ("bare/json.py:app", "json"),
        ("web/pgAdmin4.wsgi", "pgAdmin"),
        ("web/beside.wsgi:application", "beside"),
        ("web/circle.py:app", "circle"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["in its folder", "from elsewhere"])
def test_a_file_is_served_with_what_is_beside_it(
    start: Start, tmp_path: Path, app: str, stage: str, elsewhere: bool
) -> None:
    site = tmp_path / "deployed"
    for name, text in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (site / "shop.py").write_text(SHOP)
    (tmp_path / "shop.py").unlink()
    if not elsewhere:
        server = start(app, folder=site)
    elif "/" in app or app.startswith(("shop.py", "site.wsgi")):
        server = start("--python-path", str(site), str(site / app))
    else:
        server = start("--chdir", str(site), app)
    assert server.get("/").body == repr((stage, False, ())).encode()


def test_a_file_is_the_module_that_others_import(start: Start, tmp_path: Path) -> None:
    """It is executed once, and by the name that it has in the package."""
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "__init__.py").touch()
    (tmp_path / "mysite" / "main.py").write_text(
        "import shop\nprint('executed', __name__)\nimport mysite.views\napp = shop.create_app()\n"
    )
    (tmp_path / "mysite" / "views.py").write_text("import mysite.main\n")
    server = start("--preload", "on", "mysite/main.py:app")
    assert server.get("/").status == 200
    server.stop()
    assert str(server.output).splitlines() == ["executed mysite.main"]


def test_what_a_file_does_not_have_is_told(run: Run) -> None:
    ran = run("shop.py:nothere")
    assert ran.code == 78
    assert "shop.py has no attribute `nothere`" in ran.err
    ran = run("nowhere/wsgi.py:application")
    assert ran.code == 64
    assert 'app "nowhere/wsgi.py:application" is not a file in ' in ran.err
