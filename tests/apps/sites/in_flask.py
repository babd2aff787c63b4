"""The site in Flask."""

from collections.abc import Iterator
from hashlib import sha256

from flask import Flask, Response, redirect, request, send_file

app = Flask(__name__)


def hello(name: str) -> str:
    return f"hello {name} {request.args['q']}"


def form() -> str:
    return request.form["text"]


def upload() -> str:
    return sha256(request.files["file"].read()).hexdigest()


def bake() -> Response:
    response = Response("baked")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def cookies() -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(request.cookies.items()))


def elsewhere() -> object:
    return redirect("/hello/you?q=again")


def fail() -> str:
    raise RuntimeError("on purpose")


def stream() -> Response:
    def parts() -> Iterator[str]:
        yield "one\n"
        yield "two\n"

    return Response(parts())


def download() -> Response:
    return send_file(request.args["path"])


app.add_url_rule("/hello/<name>", view_func=hello)
app.add_url_rule("/form", view_func=form, methods=["POST"])
app.add_url_rule("/upload", view_func=upload, methods=["POST"])
app.add_url_rule("/bake", view_func=bake)
app.add_url_rule("/cookies", view_func=cookies)
app.add_url_rule("/elsewhere", view_func=elsewhere)  # type: ignore[arg-type]
app.add_url_rule("/fail", view_func=fail)
app.add_url_rule("/stream", view_func=stream)
app.add_url_rule("/download", view_func=download)
