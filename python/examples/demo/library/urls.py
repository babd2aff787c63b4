"""The addresses of the library's pages."""

from django.urls import path

from library import views

urlpatterns = [
    path("", views.home, name="home"),
    path("books/", views.books, name="books"),
    path("books/<int:pk>/", views.book, name="book"),
    path("upload/", views.upload, name="upload"),
    path("stream/", views.stream, name="stream"),
    path("session/", views.session, name="session"),
    path("healthz", views.healthz, name="healthz"),
    path("pid", views.pid, name="pid"),
]
