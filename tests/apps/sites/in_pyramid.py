"""The site in Pyramid."""

from collections.abc import Callable, Iterator
from hashlib import sha256

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.response import FileResponse, Response


def hello(request: Request) -> Response:
    return Response(f"hello {request.matchdict['name']} {request.params['q']}")


def form(request: Request) -> Response:
    return Response(request.POST["text"])


def upload(request: Request) -> Response:
    return Response(sha256(request.POST["file"].file.read()).hexdigest())


def bake(request: Request) -> Response:
    response = Response("baked")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def cookies(request: Request) -> Response:
    return Response(" ".join(f"{name}={value}" for name, value in sorted(request.cookies.items())))


def elsewhere(request: Request) -> Response:
    return HTTPFound("/hello/you?q=again")


def fail(request: Request) -> Response:
    raise RuntimeError("on purpose")


def stream(request: Request) -> Response:
    def parts() -> Iterator[bytes]:
        yield b"one\n"
        yield b"two\n"

    return Response(app_iter=parts())


def download(request: Request) -> Response:
    return FileResponse(request.params["path"], request)


VIEWS: dict[str, Callable[[Request], Response]] = {
    "/hello/{name}": hello,
    "/form": form,
    "/upload": upload,
    "/bake": bake,
    "/cookies": cookies,
    "/elsewhere": elsewhere,
    "/fail": fail,
    "/stream": stream,
    "/download": download,
}

with Configurator() as config:
    for pattern, view in VIEWS.items():
        config.add_route(pattern, pattern)
        config.add_view(view, route_name=pattern)
    app = config.make_wsgi_app()
