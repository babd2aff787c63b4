"""The data of the page of books: 15 queries, as many as a page of a real site makes."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.paginator import Page, Paginator
from django.db.models import Avg, Count, F, Prefetch, Q, QuerySet

from library.models import Author, Book, Genre, Publisher, Review

PER_PAGE = 20


@dataclass(frozen=True)
class Totals:
    books: int
    authors: int
    reviews: int
    rating: float | None


def totals() -> Totals:
    """Three queries."""
    reviews = Review.objects.aggregate(count=Count("pk"), rating=Avg("rating"))
    return Totals(
        books=Book.objects.count(),
        authors=Author.objects.count(),
        reviews=reviews["count"],
        rating=reviews["rating"],
    )


def page_of_books(words: str, genre: str, number: str | None) -> Page[Book]:
    """Five queries: the count, the books, and their authors, genres and reviews."""
    found: QuerySet[Book] = Book.objects.select_related("publisher").annotate(rating=Avg("reviews__rating"))
    if words:
        found = found.filter(Q(title__icontains=words) | Q(summary__icontains=words))
    if genre:
        found = found.filter(pk__in=Book.objects.filter(genres__slug=genre))
    reviews = Prefetch("reviews", Review.objects.only("book_id", "reader", "rating", "written"))
    # Ordered explicitly, because a query with grouping ignores the model's ordering.
    found = found.order_by("title", "pk").prefetch_related("authors", "genres", reviews)
    page = Paginator(found, PER_PAGE).get_page(number)
    # Slicing is lazy: evaluated here, so that the template makes no query.
    page.object_list = list(page.object_list)
    return page


def genres() -> list[Genre]:
    """One query."""
    return list(Genre.objects.annotate(count=Count("books")).order_by("name"))


def best_books() -> list[Book]:
    """Two queries: the books and their authors."""
    rated = Book.objects.annotate(rating=Avg("reviews__rating"), votes=Count("reviews"))
    return list(rated.filter(votes__gte=3).order_by("-rating", "title").prefetch_related("authors")[:5])


def busiest_authors() -> list[Author]:
    """One query."""
    return list(Author.objects.annotate(count=Count("books")).order_by("-count", "name")[:8])


def publishers() -> list[Publisher]:
    """One query."""
    return list(Publisher.objects.annotate(count=Count("books")).order_by("-count", "name"))


def decades() -> list[tuple[int, int]]:
    """One query: each decade and its number of books."""
    decade = F("year") - F("year") % 10
    rows = Book.objects.order_by().values(decade=decade).annotate(count=Count("pk")).order_by("decade")
    return [(row["decade"], row["count"]) for row in rows]


def latest_reviews() -> list[Review]:
    """One query."""
    return list(Review.objects.select_related("book")[:5])
