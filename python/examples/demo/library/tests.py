"""The demo's features, tested in Django without a server."""

import hashlib
import json
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from threading import Barrier

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.http import StreamingHttpResponse
from django.test import Client, SimpleTestCase, TestCase

from library import demo_data
from library.models import Author, Book, Review
from mysite.secret import kept_secret

MIB = 1024 * 1024


class Filled(TestCase):
    """A test with the invented library in the database."""

    @classmethod
    def setUpTestData(cls) -> None:
        demo_data.fill()
        get_user_model().objects.create_superuser("admin", "admin@localhost", "admin")


class Pages(Filled):
    def test_the_start_page_links_to_every_part_and_makes_no_query(self) -> None:
        with self.assertNumQueries(0):
            page = self.client.get("/")
        for link in ("/books/", "/upload/", "/stream/", "/session/", "/admin/", "/pid"):
            self.assertContains(page, f'href="{link}"')

    def test_the_page_of_books_makes_15_queries(self) -> None:
        with self.assertNumQueries(15):
            page = self.client.get("/books/")
        self.assertContains(page, '<article class="card">', count=20)
        self.assertContains(page, "page 1 of 15")

    def test_the_page_of_books_makes_15_queries_for_a_signed_in_user_too(self) -> None:
        self.client.login(username="admin", password="admin")
        with self.assertNumQueries(15):
            self.client.get("/books/?page=3")

    def test_books_are_found_by_words_and_by_genre(self) -> None:
        book = Book.objects.earliest("pk")
        genre = book.genres.all()[0]
        page = self.client.get("/books/", {"q": book.title, "genre": genre.slug})
        self.assertContains(page, f'<h3><a href="/books/{book.pk}/">{book}</a></h3>', html=True)
        self.assertContains(self.client.get("/books/?q=zzz"), "No book has these words.")

    def test_a_book_shows_its_reviews(self) -> None:
        review = Review.objects.select_related("book").latest("pk")
        page = self.client.get(f"/books/{review.book.pk}/")
        self.assertContains(page, review.text)

    def test_a_book_that_is_not_there_is_not_found(self) -> None:
        with self.assertLogs("django.request"):
            answer = self.client.get("/books/999999/")
        self.assertEqual(answer.status_code, 404)

    def test_a_review_is_kept_and_thanked_for(self) -> None:
        book = Book.objects.earliest("pk")
        review = {"reader": "Ada", "rating": 5, "text": "Twice as good by night."}
        page = self.client.post(f"/books/{book.pk}/", review, follow=True)
        self.assertContains(page, "Twice as good by night.")
        self.assertContains(page, "Thank you, your review is in.")

    def test_a_review_of_six_stars_is_refused(self) -> None:
        book = Book.objects.earliest("pk")
        before = Review.objects.count()
        self.client.post(f"/books/{book.pk}/", {"reader": "Ada", "rating": 6, "text": "Too good."})
        self.assertEqual(Review.objects.count(), before)


class Uploads(SimpleTestCase):
    def test_a_file_of_20_mib_is_measured(self) -> None:
        content = os.urandom(MIB) * 20
        page = self.client.post("/upload/", {"file": SimpleUploadedFile("big.bin", content)})
        self.assertContains(page, f'<code id="size">{20 * MIB}</code>')
        self.assertContains(page, hashlib.sha256(content).hexdigest())

    def test_a_form_without_its_token_is_refused(self) -> None:
        careful = Client(enforce_csrf_checks=True)
        with self.assertLogs("django.security.csrf"):
            answer = careful.post("/upload/", {"file": SimpleUploadedFile("a.txt", b"a")})
        self.assertEqual(answer.status_code, 403)

    def test_a_form_without_a_file_is_answered_with_the_reason(self) -> None:
        self.assertContains(self.client.post("/upload/"), "This field is required.")


class Streams(SimpleTestCase):
    def test_a_stream_has_the_lines_that_were_asked_for(self) -> None:
        answer = self.client.get("/stream/?lines=3&delay=0")
        assert isinstance(answer, StreamingHttpResponse)
        lines = answer.getvalue().decode().splitlines()
        self.assertEqual([line.split(" at ")[0] for line in lines], ["1 of 3", "2 of 3", "3 of 3"])

    def test_a_stream_without_sense_is_refused(self) -> None:
        for query in ("lines=0", "lines=many", "delay=-1", "delay=nan", "delay=1e9"):
            with self.subTest(query):
                with self.assertLogs("django.request"):
                    answer = self.client.get(f"/stream/?{query}")
                self.assertEqual(answer.status_code, 400)


class Sessions(Filled):
    def test_visits_are_counted_for_each_browser_and_forgotten_on_demand(self) -> None:
        other = Client()
        self.assertEqual([visits(self.client.get("/session/").content) for _ in range(3)], ["1", "2", "3"])
        self.assertEqual(visits(other.get("/session/").content), "1")
        self.assertEqual(visits(self.client.post("/session/", follow=True).content), "1")

    def test_signing_in_goes_by_form_and_shows_who_it_is(self) -> None:
        browser = Client(enforce_csrf_checks=True)
        token = form_token(browser.get("/accounts/login/").content)
        form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token}
        page = browser.post("/accounts/login/", form, follow=True)
        self.assertContains(page, '<b id="user">admin</b>', html=True)

    def test_the_admin_lists_the_books(self) -> None:
        browser = Client(enforce_csrf_checks=True)
        self.assertRedirects(browser.get("/admin/"), "/admin/login/?next=/admin/")
        token = form_token(browser.get("/admin/login/").content)
        form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token}
        browser.post("/admin/login/?next=/admin/", form)
        self.assertContains(browser.get("/admin/library/book/"), "300 books")
        for model in ("author", "book", "genre", "publisher", "review"):
            with self.subTest(model):
                self.assertEqual(browser.get(f"/admin/library/{model}/add/").status_code, 200)

    def test_the_style_of_the_admin_is_served(self) -> None:
        answer = self.client.get("/static/admin/css/base.css")
        assert isinstance(answer, StreamingHttpResponse)
        self.assertEqual(answer.headers["Content-Type"], "text/css")
        self.assertIn(b"--primary", answer.getvalue())


class Whereabouts(SimpleTestCase):
    def test_healthz_says_ok(self) -> None:
        self.assertEqual(self.client.get("/healthz").content, b"ok\n")

    def test_pid_names_process_and_thread(self) -> None:
        where = json.loads(self.client.get("/pid").content)
        self.assertEqual(where["pid"], os.getpid())
        self.assertEqual(where["thread"], "MainThread")
        # The tests do not run in a child of rwsgi.
        self.assertIsNone(where["child"])

    def test_a_host_beyond_this_machine_is_refused(self) -> None:
        with self.assertLogs("django.security.DisallowedHost"):
            answer = self.client.get("/healthz", headers={"host": "example.org"})
        self.assertEqual(answer.status_code, 400)


class Fill(TestCase):
    def test_the_first_run_fills_and_the_second_changes_nothing(self) -> None:
        output = StringIO()
        call_command("fill", stdout=output)
        counts = (Book.objects.count(), Author.objects.count(), Review.objects.count())
        self.assertEqual(counts[:2], (demo_data.BOOKS, demo_data.AUTHORS))
        self.assertIn("filled with 300 books", output.getvalue())
        self.assertTrue(self.client.login(username="admin", password="admin"))
        call_command("fill", stdout=output)
        self.assertIn("filled already", output.getvalue())
        after = (Book.objects.count(), Author.objects.count(), Review.objects.count())
        self.assertEqual(after, counts)

    def test_a_changed_password_stays_changed(self) -> None:
        call_command("fill", stdout=StringIO())
        admin = get_user_model().objects.get(username="admin")
        admin.set_password("something else")
        admin.save()
        call_command("fill", stdout=StringIO())
        self.assertFalse(self.client.login(username="admin", password="admin"))


class Secret(SimpleTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "secret-key"

    def test_the_key_is_made_once_and_for_its_owner_only(self) -> None:
        key = kept_secret(self.path)
        self.assertGreaterEqual(len(key), 50)
        self.assertEqual(kept_secret(self.path), key)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(os.listdir(self.path.parent), ["secret-key"])

    def test_all_who_start_at_once_get_the_same_key(self) -> None:
        start = Barrier(8)

        def begin(_: int) -> str:
            start.wait(timeout=10)
            return kept_secret(self.path)

        with ThreadPoolExecutor(8) as pool:
            self.assertEqual(len(set(pool.map(begin, range(8)))), 1)


class Inputs(HTMLParser):
    """The hidden fields of a page's forms."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        field = dict(attrs)
        if tag == "input" and field.get("type") == "hidden":
            self.values[field["name"] or ""] = field["value"] or ""


def form_token(page: bytes) -> str:
    inputs = Inputs()
    inputs.feed(page.decode())
    return inputs.values["csrfmiddlewaretoken"]


def visits(page: bytes) -> str:
    return page.decode().partition('<b id="visits">')[2].partition("<")[0]
