"""The site in Django, in one file."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from django.conf import settings

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None)

from django.core.files.uploadedfile import UploadedFile  # noqa: E402  only once the settings are there
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import (  # noqa: E402
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import path  # noqa: E402


def hello(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"hello {name} {request.GET['q']}")


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.POST["text"])


def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    assert isinstance(file, UploadedFile)
    return HttpResponse(sha256(file.read()).hexdigest())


def bake(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("baked")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def cookies(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(f"{name}={value}" for name, value in sorted(request.COOKIES.items())))


def elsewhere(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/hello/you?q=again")


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        yield "one\n"
        yield "two\n"

    return StreamingHttpResponse(parts())


def download(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(request.GET["path"]).open("rb"))


urlpatterns = [
    path("hello/<name>", hello),
    path("form", form),
    path("upload", upload),
    path("bake", bake),
    path("cookies", cookies),
    path("elsewhere", elsewhere),
    path("fail", fail),
    path("stream", stream),
    path("download", download),
]

application = get_wsgi_application()
