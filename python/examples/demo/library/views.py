"""The demo's pages: one for each feature that a server must handle well."""

import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from library import catalogue
from library.forms import ReviewForm, SearchForm, StreamForm, UploadForm
from library.models import Book

# The title that rwsgi gives to its processes.
TITLE = re.compile(rb"rwsgi: child (\d+) gen (\d+)")


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The start page. It makes no query."""
    return render(request, "library/home.html", {"whereabouts": whereabouts()})


@require_safe
def books(request: HttpRequest) -> HttpResponse:
    """The catalogue: 15 queries and a large template."""
    form = SearchForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {"q": "", "genre": ""}
    context = {
        "asked": asked,
        "totals": catalogue.totals(),
        "page": catalogue.page_of_books(asked["q"], asked["genre"], request.GET.get("page")),
        "genres": catalogue.genres(),
        "best": catalogue.best_books(),
        "authors": catalogue.busiest_authors(),
        "publishers": catalogue.publishers(),
        "decades": catalogue.decades(),
        "latest": catalogue.latest_reviews(),
    }
    return render(request, "library/books.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def book(request: HttpRequest, pk: int) -> HttpResponse:
    """One book with its reviews, and a form for one more."""
    found = get_object_or_404(Book.objects.select_related("publisher"), pk=pk)
    form = ReviewForm(request.POST) if request.method == "POST" else ReviewForm()
    if form.is_valid():
        form.instance.book = found
        form.save()
        messages.success(request, "Thank you, your review is in.")
        return redirect(found)
    return render(request, "library/book.html", {"book": found, "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """Receives a file, and shows its size and digest."""
    posted = request.method == "POST"
    form = UploadForm(request.POST, request.FILES) if posted else UploadForm()
    received = Received.measure(form.cleaned_data["file"]) if form.is_valid() else None
    return render(request, "library/upload.html", {"form": form, "received": received})


@require_safe
def stream(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Lines that are sent as they are made: `?lines=` of them, `?delay=` seconds apart."""
    form = StreamForm(request.GET)
    if not form.is_valid():
        return HttpResponseBadRequest(form.errors.as_text() + "\n", content_type="text/plain")
    lines = form.cleaned_data["lines"] or 10
    delay = form.cleaned_data["delay"]
    return StreamingHttpResponse(
        ticks(lines, 0.3 if delay is None else delay), content_type="text/plain; charset=utf-8"
    )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def session(request: HttpRequest) -> HttpResponse:
    """Counts the visits of one browser; a POST forgets them."""
    if request.method == "POST":
        request.session.pop("visits", None)
        return redirect("session")
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return render(request, "library/session.html", {"visits": visits})


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Shows that Python answers, without a database query."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def pid(request: HttpRequest) -> JsonResponse:
    """Shows which process and thread answered the request."""
    return JsonResponse(whereabouts())


@dataclass(frozen=True)
class Received:
    """An uploaded file."""

    name: str
    size: int
    sha256: str

    @classmethod
    def measure(cls, file: UploadedFile) -> "Received":
        size, digest = 0, hashlib.sha256()
        for chunk in file.chunks():
            size += len(chunk)
            digest.update(chunk)
        return cls(name=file.name or "", size=size, sha256=digest.hexdigest())


def ticks(lines: int, delay: float) -> Iterator[str]:
    for number in range(1, lines + 1):
        if number > 1:
            time.sleep(delay)
        yield f"{number} of {lines} at {timezone.now():%H:%M:%S.%f} from process {os.getpid()}\n"


def whereabouts() -> dict[str, object]:
    """The process and thread of this request; under rwsgi also the child's slot and generation."""
    title = TITLE.search(Path("/proc/self/cmdline").read_bytes())
    return {
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "child": int(title[1]) if title else None,
        "generation": int(title[2]) if title else None,
        "python": sys.version.split()[0],
    }
