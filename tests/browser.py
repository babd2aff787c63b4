"""A minimal browser with forms and cookies."""

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin

from tests.client import PATIENCE


@dataclass(frozen=True)
class Page:
    """The result of a request, after redirects."""

    url: str
    status: int
    text: str

    def token(self) -> str:
        """The CSRF token of the page's form."""
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.text)
        assert found, self.text
        return found[1]

    def by_id(self, name: str) -> str:
        """The text of an element."""
        found = re.search(rf'id="{name}">([^<]*)<', self.text)
        assert found, self.text
        return found[1]


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def get(self, path: str) -> Page:
        return self._open(urllib.request.Request(urljoin(self.url, path)))

    def post(self, path: str, form: dict[str, str]) -> Page:
        return self.post_bytes(path, urlencode(form).encode(), "application/x-www-form-urlencoded")

    def post_bytes(self, path: str, body: bytes, kind: str) -> Page:
        headers = {"Content-Type": kind}
        return self._open(urllib.request.Request(urljoin(self.url, path), data=body, headers=headers))

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=PATIENCE) as response:
                return Page(response.url, response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.url, error.code, error.read().decode())
