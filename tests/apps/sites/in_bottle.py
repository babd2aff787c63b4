"""The site in Bottle."""

import os
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from bottle import Bottle, redirect, request, response, static_file


def hello(name: str) -> str:
    return f"hello {name} {request.query.q}"


def form() -> str:
    return str(request.forms.text)


def upload() -> str:
    return sha256(request.files.file.file.read()).hexdigest()


def bake() -> str:
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return "baked"


def cookies() -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(request.cookies.items()))


def elsewhere() -> None:
    redirect("/hello/you?q=again")


def fail() -> str:
    raise RuntimeError("on purpose")


def stream() -> Iterator[str]:
    yield "one\n"
    yield "two\n"


def download() -> Any:
    folder, name = os.path.split(request.query.path)
    return static_file(name, folder)


app = Bottle()
app.route("/hello/<name>", callback=hello)
app.route("/form", "POST", form)
app.route("/upload", "POST", upload)
app.route("/bake", callback=bake)
app.route("/cookies", callback=cookies)
app.route("/elsewhere", callback=elsewhere)
app.route("/fail", callback=fail)
app.route("/stream", callback=stream)
app.route("/download", callback=download)
