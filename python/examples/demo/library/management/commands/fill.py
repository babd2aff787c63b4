"""`manage.py fill`: brings the database up to date, and fills it on the first run."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction

from library import demo_data
from library.models import Book


class Command(BaseCommand):
    help = "Migrate the database; on the first run also fill it, and add the user admin/admin."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("database: migrating")
        call_command("migrate", interactive=False, verbosity=0)
        # One transaction, so that an interrupted run leaves nothing half filled.
        with transaction.atomic():
            self.fill_library()
            self.add_admin()

    def fill_library(self) -> None:
        if Book.objects.exists():
            self.stdout.write("database: filled already")
            return
        filled = demo_data.fill()
        self.stdout.write(
            f"database: filled with {filled.books} books by {filled.authors} authors "
            f"and {filled.reviews} reviews"
        )

    def add_admin(self) -> None:
        users = get_user_model().objects
        if users.filter(username="admin").exists():
            return
        # A well-known password, for a site that only this machine can reach.
        users.create_superuser("admin", "admin@localhost", "admin")
        self.stdout.write("database: added the user admin with the password admin")
