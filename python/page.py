"""Writes python/README.md, the page on PyPI, from README.md, whose relative links would be broken there.

If pyproject.toml names the repository, links point into it; otherwise they are replaced by file names.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "python" / "README.md"

LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")
NOTE = "<!-- Made from README.md by python/page.py. -->\n\n"
WHERE = (
    "Files that are named here are in the source distribution: "
    "`pip download --no-deps --no-binary :all: rwsgi`.\n\n"
)


def page() -> str:
    """The text of README.md without relative links."""
    repository = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    def link(found: re.Match[str]) -> str:
        text, target = found["text"], found["target"]
        if re.match(r"https?:", target):
            return found[0]
        if repository:
            return f"[{text}]({repository[1]}/blob/HEAD/{target})"
        return f"`{target}`" if text == target else f"{text}: `{target}`"

    title, _, text = (ROOT / "README.md").read_text().partition("\n\n")
    return f"{title}\n\n{NOTE}{'' if repository else WHERE}{LINK.sub(link, text)}"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    PAGE.write_text(page())
