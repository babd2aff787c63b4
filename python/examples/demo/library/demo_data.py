"""An invented library, the same on every machine."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from django.utils.text import slugify

from library.models import Author, Book, Genre, Publisher, Review

BOOKS = 300
AUTHORS = 48

FIRST_NAMES = (
    "Ada Anselm Beatriz Caspar Dorothea Emeka Farida Gustav Hana Ines Jakub Kateryna Leopold "
    "Mirela Nadia Odile Priya Quentin Rosalind Stellan Tomoko Ulrike Viktor Wanjiru"
).split()
LAST_NAMES = (
    "Abernathy Bergström Castellan Dubois Eriksen Fairweather Grünwald Hollis Ivanova Jansen "
    "Kowalska Lindqvist Marchetti Nakamura Okonkwo Pemberton Quiroga Rasmussen Szabó Thackeray "
    "Underhill Valdés Whitlock Zimmermann"
).split()
PUBLISHERS = (
    ("Blue Lantern", "Edinburgh"),
    ("Cartographer & Daughters", "Lisbon"),
    ("Halfway House", "Tallinn"),
    ("Kestrel Press", "Galway"),
    ("Nightjar Editions", "Montréal"),
    ("Orchard Row", "Ljubljana"),
    ("Salt & Paper", "Trondheim"),
    ("Two Rivers", "Basel"),
)
GENRES = "Adventure Biography Crime Essays Fantasy History Mystery Poetry Romance Travel".split()
ADJECTIVES = (
    "Borrowed Brass Crooked Distant Forgotten Glass Hollow Last Patient Quiet Restless Second "
    "Silver Slow Unfinished Winter"
).split()
NOUNS = (
    "Almanac Bridge Cartographer Clockmaker Ferry Garden Harbour Lamplighter Letter Lighthouse "
    "Map Museum Observatory Orchard Parliament River Staircase Station Tide Violin"
).split()
PLACES = "Antwerp Bergen Cádiz Dubrovnik Ghent Kraków Odesa Porto Riga Trieste".split()
OPENINGS = (
    "A stranger arrives with the morning post",
    "Nobody in town remembers who built the tower",
    "Three sisters inherit a house that none of them can find",
    "The survey of the coast was meant to take a week",
    "An archivist discovers a letter addressed to herself",
    "It begins with a wager, and a train that leaves early",
)
TURNS = (
    "and by autumn every clock on the street disagrees",
    "while the river slowly gives back what it took",
    "until the ledger is opened and the sums come out wrong",
    "but the only witness speaks a language of her own",
    "and the map turns out to be older than the land",
    "just as the last ferry of the season is cancelled",
)
VERDICTS = (
    (1, "I gave up when the second chapter began with a list of ferries."),
    (2, "A fine idea, told by somebody in a hurry."),
    (3, "Good company on a long journey, and soon forgotten."),
    (3, "The middle sags, but the ending earns its keep."),
    (4, "Quiet, clever, and kinder than it pretends to be."),
    (4, "I missed my stop twice because of it."),
    (5, "I have already given three copies away."),
    (5, "The rare book that is better the second time."),
)
FIRST_REVIEW = datetime(2024, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Filled:
    books: int
    authors: int
    reviews: int


def fill() -> Filled:
    """Fill the empty tables; the caller holds the transaction."""
    # Not for secrets: the seed makes every copy of the library the same.
    chance = random.Random(1989)
    authors = Author.objects.bulk_create(invented_authors(chance))
    publishers = Publisher.objects.bulk_create(Publisher(name=n, city=c) for n, c in PUBLISHERS)
    genres = Genre.objects.bulk_create(Genre(name=name, slug=slugify(name)) for name in GENRES)
    books = Book.objects.bulk_create(invented_books(chance, publishers))
    Book.authors.through.objects.bulk_create(
        Book.authors.through(book=book, author=author)
        for book in books
        for author in chance.sample(authors, chance.choice((1, 1, 1, 2)))
    )
    Book.genres.through.objects.bulk_create(
        Book.genres.through(book=book, genre=genre)
        for book in books
        for genre in chance.sample(genres, chance.choice((1, 2, 3)))
    )
    reviews = Review.objects.bulk_create(invented_reviews(chance, books))
    return Filled(books=len(books), authors=len(authors), reviews=len(reviews))


def invented_authors(chance: random.Random) -> Iterator[Author]:
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    for name in chance.sample(names, AUTHORS):
        yield Author(name=name, born=chance.randint(1880, 1985))


def invented_books(chance: random.Random, publishers: list[Publisher]) -> Iterator[Book]:
    for title in invented_titles(chance):
        yield Book(
            title=title,
            summary=f"{chance.choice(OPENINGS)}, {chance.choice(TURNS)}.",
            year=chance.randint(1920, 2024),
            pages=chance.randint(90, 720),
            publisher=chance.choice(publishers),
        )


def invented_titles(chance: random.Random) -> list[str]:
    titles: set[str] = set()
    shapes = (
        lambda: f"The {chance.choice(ADJECTIVES)} {chance.choice(NOUNS)}",
        lambda: f"A {chance.choice(NOUNS)} in {chance.choice(PLACES)}",
        lambda: "The {} and the {}".format(*chance.sample(NOUNS, 2)),
        lambda: f"{chance.choice(PLACES)}, {chance.choice(ADJECTIVES)} City",
    )
    while len(titles) < BOOKS:
        titles.add(chance.choice(shapes)())
    # The order of a set differs between machines.
    return sorted(titles)


def invented_reviews(chance: random.Random, books: list[Book]) -> Iterator[Review]:
    for book in books:
        for _ in range(chance.randint(0, 9)):
            rating, text = chance.choice(VERDICTS)
            yield Review(
                book=book,
                reader=f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)[0]}.",
                rating=rating,
                text=text,
                written=FIRST_REVIEW + timedelta(minutes=chance.randint(0, 800_000)),
            )
