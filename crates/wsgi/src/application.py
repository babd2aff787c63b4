"""Finds the application: imports it, calls its factory, and says what is wrong where it is none.

Runs as the module ``_rwsgi_loading``; Rust calls the functions without an underscore.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any


class NotThereError(Exception):
    """There is no application where it should be."""


def find(kind: str, place: str, name: str | None, variables: list[tuple[str, str]]) -> Any:
    """Import the module and return its application, which may be what a factory returns."""
    if kind == "django":
        return _django_application(place)
    if kind == "paste":
        return _paste_application(place, name, dict(variables))
    module = _file_module(place) if kind == "file" else _import(place)
    return _application(module, place, name)


def import_all(names: list[str]) -> None:
    """Import what the application would import with its first requests."""
    for name in names:
        _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Another name is one that the module itself imports: that one may be installed later.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise NotThereError(f"{type(error).__name__}: {error}{_looked(error.name)}") from None
        raise


def _looked(name: str) -> str:
    """Where a module of this name was looked for, as the end of a sentence."""
    parent = name.rpartition(".")[0]
    if parent:
        module = sys.modules.get(parent)
        folders = list(getattr(module, "__path__", ()))
        return (
            f"; looked for in {', '.join(folders)}" if folders else f" ({getattr(module, '__file__', None)})"
        )
    # Of the folders of packages the environment says enough.
    library = os.path.dirname(os.__file__)
    packages = ("site-packages", "dist-packages", "lib-dynload")
    own = [
        entry or os.getcwd()
        for entry in sys.path
        if entry != library and not entry.endswith(".zip") and os.path.basename(entry) not in packages
    ]
    return f"; looked for in {', '.join(dict.fromkeys(own))} and in the packages of {sys.prefix}"


def _application(module: ModuleType, place: str, name: str | None) -> Any:
    """What the module calls `name`, or what the call in `name` returns: `create_app("prod", debug=True)`."""
    if name is None:
        name = next((usual for usual in ("application", "app") if hasattr(module, usual)), None)
        if name is None:
            raise NotThereError(f"{place} has neither `application` nor `app`")
    path, parenthesis, _ = name.partition("(")
    found = _attribute(module, place, path.strip())
    if parenthesis:
        found = _call(found, place, name)
    _check(found, place, f"`{place}:{name}`", None if parenthesis else f"{place}:{name}")
    return found


def _attribute(module: ModuleType, place: str, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotThereError(f"{place} has no attribute `{name}`") from None
    return found


def _call(factory: Any, place: str, call: str) -> Any:
    """Call the factory with the arguments in `call`, which are literals."""
    # Not needed where no factory is: it takes memory.
    import ast
    import inspect

    told = f"`{place}:{call}`"
    try:
        expression = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotThereError(f"{told} is no call of a factory in Python: {error}") from None
    if not isinstance(expression, ast.Call) or isinstance(expression.func, ast.Call):
        raise NotThereError(
            f'{told} is no call of a factory, such as `{place}:create_app("prod", debug=True)`'
        )
    arguments: list[Any] = []
    named: dict[str, Any] = {}
    try:
        arguments += [ast.literal_eval(argument) for argument in expression.args]
        for keyword in expression.keywords:
            if keyword.arg is None:
                raise ValueError(keyword)
            named[keyword.arg] = ast.literal_eval(keyword.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise NotThereError(
            f"the arguments of {told} must be literals: texts, numbers, True, False, None, and lists, "
            "tuples, dictionaries or sets of them"
        ) from None
    if not callable(factory):
        raise NotThereError(f"{told} cannot be called: it is {_shown(factory)}")
    if inspect.iscoroutinefunction(factory):
        raise NotThereError(f"{told} is an `async` factory, which only an ASGI server can await")
    signature = _signature(factory)
    if signature is not None:
        try:
            signature.bind(*arguments, **named)
        except TypeError as error:
            raise NotThereError(f"{told} cannot be called so: {error}; it takes {signature}") from None
    application = factory(*arguments, **named)
    if application is None:
        raise NotThereError(f"{told} returned None and not an application")
    return application


def _check(application: Any, place: str, told: str, factory: str | None) -> None:
    """Refuse what no request could call with `environ` and `start_response`.

    `factory` is how it would be named if it has not been called, and is to be.
    """
    if not callable(application):
        raise NotThereError(f"what {place} offers as its application cannot be called: {_shown(application)}")
    signature = _signature(application)
    if _is_asgi(application, signature):
        raise NotThereError(f"{told} is an ASGI application, and rwsgi serves WSGI{_wsgi_beside(place)}")
    if signature is None:
        return
    parameters = list(signature.parameters.values())
    takes_all = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    kinds = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.kind.name in kinds and parameter.default is parameter.empty
    ]
    # `create_app(config=None, testing=False)` could be called with the two arguments of WSGI as well.
    is_factory = not needed and not takes_all and "start_response" not in signature.parameters
    if is_factory and factory:
        raise NotThereError(
            f"{told} is a factory, not an application: it takes {signature} and not (environ, "
            f"start_response); write `{factory}()`"
        )
    try:
        if not is_factory:
            signature.bind(None, None)
            return
    except TypeError:
        pass
    if factory:
        hint = f"; a factory is called with literal arguments, as `{factory}(…)`"
    else:
        told, hint = f"what {told} returned", ""
    raise NotThereError(
        f"{told} is not a WSGI application: it takes {signature} and not (environ, start_response){hint}"
    )


def _signature(function: Any) -> Any:
    """Its signature, or None where there is none to know."""
    try:
        import inspect
    except ImportError:  # Its modules may be out of the reach of the application's user.
        return None
    for follow in (False, True):
        # Not that of the function which a decorator has wrapped: werkzeug's takes a request, its wrapper
        # what WSGI gives.
        try:
            return inspect.signature(function, follow_wrapped=follow)
        except (ValueError, TypeError):
            continue
        except Exception:  # An object may answer with anything when it is asked for `__signature__`.
            return None
    return None


def _is_asgi(application: Any, signature: Any) -> bool:
    if signature is None:
        return False
    import inspect

    for function in (application, type(application).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return True
    names = list(signature.parameters)
    return names[:3] == ["scope", "receive", "send"] or names == ["scope"]


def _wsgi_beside(place: str) -> str:
    """The module that Django has for WSGI servers, where there is one."""
    package, _, last = place.rpartition(".")
    try:
        if last == "asgi" and package and importlib.util.find_spec(f"{package}.wsgi") is not None:
            return f": `{package}.wsgi` is beside it"
    except (ImportError, ValueError):
        pass
    return "; an ASGI server, as uvicorn, serves it"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _file_module(path: str) -> ModuleType:
    """The module of a file, imported by its name where that leads to it: then others can import it, too."""
    if not os.path.isfile(path):
        raise NotThereError(f"there is no file {path}")
    name, top = _module_name(path)
    # Behind all others: what is beside the file can be imported, and hides nothing.
    if top not in map(os.path.realpath, sys.path):
        sys.path.append(top)
    if name is not None and _leads_to(name.partition(".")[0], path, top):
        return _import(name)
    # It must not hide a module that the application imports, as `site.wsgi` does that imports `site`.
    name = "_rwsgi_application"
    loader = importlib.machinery.SourceFileLoader(name, os.path.abspath(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None, "a loader was given"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _module_name(path: str) -> tuple[str | None, str]:
    """The name of the file as a module of its packages, if it has one, and the folder that they are in."""
    # Of a file that is a link the name is its own: it may lead to one that many have in common.
    folder, file = os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path)
    stem, suffix = os.path.splitext(file)
    parts = [stem]
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.basename(folder):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    is_name = suffix == ".py" and all(map(str.isidentifier, parts))
    return (".".join(parts) if is_name else None), folder


def _leads_to(name: str, path: str, top: str) -> bool:
    """An import of the name leads to the file, or to the package that it is in."""
    if name in sys.modules:
        return False
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return False
    origin = os.path.realpath(spec.origin)
    return origin == os.path.realpath(path) or origin == os.path.join(top, name, "__init__.py")


def _paste_application(path: str, name: str | None, variables: dict[str, str]) -> Any:
    """The application of a file of PasteDeploy, with the logging that the file sets up."""
    import configparser
    from urllib.parse import quote

    if not os.path.isfile(path):
        raise NotThereError(f"there is no file {path}")
    try:
        deploy = importlib.import_module("paste.deploy.loadwsgi")
    except ModuleNotFoundError as error:
        if error.name is None or not "paste.deploy.loadwsgi.".startswith(f"{error.name}."):
            raise
        raise NotThereError(
            f"--paste needs the package PasteDeploy, which {sys.prefix} does not have: "
            "pip install PasteDeploy"
        ) from None
    told = f"{path}#{name}" if name else path
    try:
        _set_up_logging(path, variables)
        # A path is unquoted there.
        application = deploy.loadapp(
            f"config:{quote(os.path.abspath(path))}", name=name, global_conf=variables
        )
    except (LookupError, configparser.Error) as error:
        # Code of the application raises such errors, too: then its frames are among these.
        ours = ("<rwsgi ", os.path.dirname(str(deploy.__file__)), str(configparser.__file__))
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
            trace = trace.tb_next
        if trace is not None:
            raise
        raise NotThereError(f"{told}: {' '.join(str(error).split())}") from None
    _check(application, told, f"`{told}`", None)
    return application


def _set_up_logging(path: str, variables: dict[str, str]) -> None:
    import configparser

    parser = configparser.RawConfigParser(strict=False)
    parser.read(path, encoding="utf-8")
    if parser.has_section("loggers"):
        from logging.config import fileConfig

        place = os.path.abspath(path)
        defaults = {**variables, "__file__": place, "here": os.path.dirname(place)}
        fileConfig(path, defaults, disable_existing_loggers=False, encoding="utf-8")


def _django_application(settings: str) -> Any:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    conf = _import("django.conf")
    place = getattr(conf.settings, "WSGI_APPLICATION", None)
    if place is None:
        return importlib.import_module("django.core.wsgi").get_wsgi_application()
    module, _, name = place.rpartition(".")
    if not module:
        raise NotThereError(f"WSGI_APPLICATION is {place!r}, not like 'mysite.wsgi.application'")
    return _application(_import(module), module, name)


# There is no such file, whatever looks for the files of modules.
for _name in ("__file__", "__cached__"):
    globals().pop(_name, None)
