"""The library in Django's admin."""

from django.contrib import admin

from library.models import Author, Book, Genre, Publisher, Review


class ReviewInline(admin.TabularInline):
    model = Review
    extra = 0


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ("title", "year", "publisher", "pages")
    list_filter = ("genres", "publisher")
    list_select_related = ("publisher",)
    search_fields = ("title", "authors__name")
    autocomplete_fields = ("authors", "publisher")
    filter_horizontal = ("genres",)
    inlines = (ReviewInline,)


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    list_display = ("name", "born")
    search_fields = ("name",)


@admin.register(Publisher)
class PublisherAdmin(admin.ModelAdmin):
    list_display = ("name", "city")
    search_fields = ("name",)


@admin.register(Genre)
class GenreAdmin(admin.ModelAdmin):
    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012 - Django's own form of it


@admin.register(Review)
class ReviewAdmin(admin.ModelAdmin):
    list_display = ("book", "reader", "rating", "written")
    list_filter = ("rating",)
    list_select_related = ("book",)
    autocomplete_fields = ("book",)
    date_hierarchy = "written"
