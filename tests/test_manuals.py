"""The man pages in the programs that display them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT

PAGES = sorted((ROOT / "deploy" / "wheel" / "data" / "share" / "man" / "man1").iterdir())


def shown(page: Path) -> str:
    """The page as text without any warning."""
    if shutil.which("mandoc"):
        command = ["mandoc", "-W", "error", "-T", "utf8"]
    elif shutil.which("groff"):
        command = ["groff", "-ww", "-man", "-T", "utf8", "-P-cbou"]
    else:
        pytest.skip("neither mandoc nor groff is installed")
    done = subprocess.run([*command, page], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    # mandoc prints bold letters by overstriking.
    return re.sub(".\b", "", done.stdout)


def test_there_is_a_page_for_each_program() -> None:
    assert [page.name for page in PAGES] == ["rwsgi.1", "rwsgictl.1"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_man_page_is_read_without_a_warning(page: Path) -> None:
    text = shown(page)
    assert text.splitlines()[0].split() == [f"{page.stem}(1)", "User", "Commands", f"{page.stem}(1)"]
    for title in ("NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert title in text.splitlines()
    assert "--control PATH" in text


def test_a_man_page_has_what_help_has() -> None:
    text = shown(PAGES[0])
    for word in ("--processes N|auto", "-b, --bind ADDR", "--max-requests", "RWSGI_STACK_SIZE", "SIGNALS"):
        assert word in text
