"""Properties of the distributions that can be checked before `make dist`, which checks the built ones."""

import re
import runpy

from tests.distribution import relative_links
from tests.server import ROOT


def test_the_page_on_pypi_is_that_of_the_repository() -> None:
    page = runpy.run_path(str(ROOT / "python" / "page.py"))["page"]()
    assert (ROOT / "python" / "README.md").read_text() == page, "run python3 python/page.py"


def test_no_link_of_the_page_on_pypi_leads_nowhere() -> None:
    assert relative_links((ROOT / "python" / "README.md").read_text()) == []


def test_every_link_between_the_documents_leads_to_a_file() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benches" / "README.md"]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in relative_links(document.read_text())
        if not target.startswith("#") and not (document.parent / target.partition("#")[0]).exists()
    ]
    assert len(documents) > 5
    assert broken == []


def test_the_changelog_and_the_versions_agree() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert version
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changes
    assert version[1] in changes
