"""Applications from PyPI, their preparation, and the expected results."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The place of an application: its virtual environment, and the folder in which it is served."""

    environment: Path
    folder: Path

    def run(self, *command: str, **variables: str) -> None:
        """Run a program of the environment in the folder. Its output is shown when it fails."""
        ran = subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if ran.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout[-4000:]}")


@dataclass(frozen=True)
class Site:
    """An application."""

    requirements: tuple[str, ...]
    app: str
    prepare: Callable[[Place], None]
    paths: tuple[str, ...]
    """Paths that must be answered with 200."""
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""
    """A regular expression for the expected warning about sharing; empty if there is none."""
    is_alone: bool = False
    """It locks its files, so only one process can load it, and none is ever replaced."""
    seconds: float = 120
    """Seconds after which it must be ready."""


def wagtail(place: Place) -> None:
    """The project that `wagtail start` creates."""
    place.run("wagtail", "start", "shop", ".")
    place.run("python", "manage.py", "migrate", "--verbosity=0")
    # Production settings, except for the database.
    (place.folder / "shop" / "settings" / "served.py").write_text(
        "from .base import *\nSECRET_KEY = 'for this alone'\nDEBUG = False\nALLOWED_HOSTS = ['*']\n"
        "STORAGES['staticfiles']['BACKEND'] = 'django.contrib.staticfiles.storage.StaticFilesStorage'\n"
    )


def superset(place: Place) -> None:
    """Its database, and a module with the application: the package has only a factory."""
    (place.folder / "superset_config.py").write_text(
        "SECRET_KEY = 'for this alone, and long enough'\n"
        f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{place.folder}/superset.db'\n"
        "TALISMAN_ENABLED = False\n"
    )
    (place.folder / "served.py").write_text(
        "from superset.app import create_app\napplication = create_app()\n"
    )
    settings = {"FLASK_APP": "superset.app:create_app()", "PYTHONPATH": str(place.folder)}
    for command in (("db", "upgrade"), ("init",)):
        place.run("superset", *command, **settings)


def pywb(place: Place) -> None:
    """A collection without records."""
    place.run("wb-manager", "init", "books")


def plone(place: Place) -> None:
    """An instance with a database in a file, and a site in it."""
    place.run("mkwsgiinstance", "--dir", ".", "--user", "admin:admin")
    (place.folder / "make_site.py").write_text(
        "import transaction\n"
        "from Products.CMFPlone.factory import addPloneSite\n"
        "from AccessControl.SecurityManagement import newSecurityManager\n"
        "newSecurityManager(None, app.acl_users.getUser('admin').__of__(app.acl_users))\n"
        "addPloneSite(app, 'Plone', title='Books', extension_ids=('plonetheme.barceloneta:default',))\n"
        "transaction.commit()\n"
    )
    place.run("zconsole", "run", "etc/zope.conf", "make_site.py")
    (place.folder / "served.py").write_text(
        "from Zope2.Startup.run import make_wsgi_app\n"
        f"application = make_wsgi_app({{}}, '{place.folder}/etc/zope.conf')\n"
    )


SITES = {
    "wagtail": Site(
        requirements=("wagtail==8.0.1",),
        app="shop.wsgi",
        prepare=wagtail,
        paths=("/", "/admin/login/"),
        variables={"DJANGO_SETTINGS_MODULE": "shop.settings.served"},
    ),
    "superset": Site(
        # It declares neither of them, or newer versions that do not work.
        requirements=("apache-superset==6.1.0", "flask-caching==2.3.1", "rich", "cachetools"),
        app="served",
        prepare=superset,
        paths=("/health", "/login/"),
        variables={"SUPERSET_CONFIG_PATH": "superset_config.py"},
    ),
    "pywb": Site(
        requirements=("pywb==2.10.0",),
        app="pywb.apps.wayback",
        prepare=pywb,
        paths=("/", "/books/"),
        options=("--threads", "4"),
        # Its components communicate by HTTP over the loopback interface.
        warning=r"listens at 127\.0\.0\.1 port \d+.* \(made by pywb\.",
    ),
    "plone": Site(
        # Otherwise pip takes the newest alpha, which is incompatible.
        requirements=("Plone==6.2.2", "plone.app.layout<7"),
        app="served",
        prepare=plone,
        paths=("/", "/Plone"),
        warning=r"Data\.fs\.lock\) is locked \(FLOCK WRITE\)",
        is_alone=True,
    ),
}
