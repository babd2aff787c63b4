"""The demo's addresses."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.staticfiles.views import serve as static_file
from django.urls import include, path

urlpatterns = [
    path("", include("library.urls")),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    # A production site leaves static files to the server in front of Python. Here Django serves those of the
    # admin, so that the demo works without collecting them; "insecure" is Django's word for doing so with
    # DEBUG off.
    path("static/<path:path>", static_file, {"insecure": True}),
]
