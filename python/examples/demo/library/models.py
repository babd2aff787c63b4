"""A lending library: books, their authors and publishers, and readers' reviews."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone


class Author(models.Model):
    name = models.CharField(max_length=120, unique=True)
    born = models.PositiveSmallIntegerField("year of birth")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Publisher(models.Model):
    name = models.CharField(max_length=120, unique=True)
    city = models.CharField(max_length=80)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Genre(models.Model):
    name = models.CharField(max_length=60, unique=True)
    slug = models.SlugField(unique=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=200)
    summary = models.TextField()
    year = models.PositiveSmallIntegerField("year of publication", db_index=True)
    pages = models.PositiveSmallIntegerField()
    publisher = models.ForeignKey(Publisher, on_delete=models.PROTECT, related_name="books")
    authors = models.ManyToManyField(Author, related_name="books")
    genres = models.ManyToManyField(Genre, related_name="books")

    class Meta:
        ordering = ("title", "pk")

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("book", args=[self.pk])


class Review(models.Model):
    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="reviews")
    reader = models.CharField("your name", max_length=80)
    rating = models.PositiveSmallIntegerField(
        default=4, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    text = models.TextField(max_length=2000)
    written = models.DateTimeField(default=timezone.now, db_index=True, editable=False)

    class Meta:
        ordering = ("-written", "-pk")
        constraints = (
            models.CheckConstraint(condition=models.Q(rating__range=(1, 5)), name="rating_from_1_to_5"),
        )

    def __str__(self) -> str:
        return f"{self.rating}/5 by {self.reader}"
