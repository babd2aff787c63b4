"""Runs the server for PasteDeploy and `pserve`: `use = egg:rwsgi#main` in the section `[server:main]`."""

import os
import signal
import sys
import sysconfig
from typing import NoReturn

Settings = dict[str, str]


def serve(app: object, global_conf: Settings, **settings: str) -> NoReturn:
    """Become the server, which loads the application of the file by itself.

    The one that was loaded here, in order to come to this, is left: the supervisor has no code of the
    application, and a reload loads it from its files. What stands in the section are options of the server.
    """
    command = command_line(global_conf, settings, sys.argv)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # Python ignores it, and a program that is started would, too.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(sys.executable, command)


def command_line(global_conf: Settings, settings: Settings, typed: list[str]) -> list[str]:
    """The command that serves what PasteDeploy has read."""
    file = os.path.abspath(global_conf["__file__"])
    name = application_name(file, typed)
    script = os.path.join(sysconfig.get_path("scripts"), "rwsgi")
    program = [script] if os.path.isfile(script) else ["-m", "rwsgi"]
    options = {key.replace("_", "-"): value for key, value in settings.items()}
    host, port = options.pop("host", "127.0.0.1"), options.pop("port", None)
    if port is not None:
        options.setdefault("bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    options.setdefault("python", sys.executable)
    options["paste"] = f"{file}#{name}" if name else file
    # A list has a line for each of its values, and mostly none beside its name.
    words = [f"--{key}={line}" for key, value in options.items() for line in lines(value)]
    # Those that were typed; the file has its own, which need not stand on a command line that all can read.
    words += [
        f"--paste-global={key}={value}" for key, value in global_conf.items() if f"{key}={value}" in typed
    ]
    return [sys.executable, *program, *words]


def lines(value: str) -> list[str]:
    """The lines of a value that are not empty, or the one that there is."""
    return [line.strip() for line in value.split("\n") if line.strip()] or [""]


def application_name(file: str, typed: list[str]) -> str | None:
    """The application that `pserve` was told to serve, which it does not pass on."""
    name, found = None, None
    words = iter(typed[1:])
    for word in words:
        if word in ("-n", "--app-name"):
            name = next(words, None)
        elif word.startswith("--app-name="):
            name = word.partition("=")[2]
        elif word.startswith("-n") and not word.startswith("--"):
            name = word[2:]
        else:
            path, _, fragment = word.partition("#")
            if os.path.abspath(path) == file:
                found = word
                name = name or fragment or None
    return name if found is not None else None
