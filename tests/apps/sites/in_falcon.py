"""The site in Falcon."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from falcon import App, HTTPFound, Request, Response


class Hello:
    def on_get(self, request: Request, response: Response, name: str) -> None:
        response.text = f"hello {name} {request.get_param('q')}"


class Form:
    def on_post(self, request: Request, response: Response) -> None:
        response.text = request.get_media()["text"]


class Upload:
    def on_post(self, request: Request, response: Response) -> None:
        for part in request.get_media():
            if part.name == "file":
                response.text = sha256(part.stream.read()).hexdigest()


class Bake:
    def on_get(self, request: Request, response: Response) -> None:
        response.set_cookie("a", "1", secure=False)
        response.set_cookie("b", "2", secure=False)
        response.text = "baked"


class Cookies:
    def on_get(self, request: Request, response: Response) -> None:
        response.text = " ".join(f"{name}={value}" for name, value in sorted(request.cookies.items()))


class Elsewhere:
    def on_get(self, request: Request, response: Response) -> None:
        raise HTTPFound("/hello/you?q=again")


class Fail:
    def on_get(self, request: Request, response: Response) -> None:
        raise RuntimeError("on purpose")


class Stream:
    def on_get(self, request: Request, response: Response) -> None:
        def parts() -> Iterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        response.stream = parts()


class Download:
    def on_get(self, request: Request, response: Response) -> None:
        path = Path(request.get_param("path", required=True))
        # Falcon wraps what can be read into `wsgi.file_wrapper` by itself.
        response.set_stream(path.open("rb"), path.stat().st_size)

    on_head = on_get


app = App()
app.add_route("/hello/{name}", Hello())
app.add_route("/form", Form())
app.add_route("/upload", Upload())
app.add_route("/bake", Bake())
app.add_route("/cookies", Cookies())
app.add_route("/elsewhere", Elsewhere())
app.add_route("/fail", Fail())
app.add_route("/stream", Stream())
app.add_route("/download", Download())
