"""Checks the result of `make dist`: python -m tests.distribution FOLDER"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from tests.server import ROOT

TAGS = ("manylinux_2_17", "manylinux_2_34")
LICENSES = {"LICENSE-MIT", "LICENSE-APACHE"}
# Files installed beside the package: `deploy/wheel/data`, where `man` and shells find them.
SHARED = {
    str(path.relative_to(ROOT / "deploy" / "wheel" / "data"))
    for path in (ROOT / "deploy" / "wheel" / "data").rglob("*")
    if path.is_file()
}
# Files that a build from the source distribution does not need.
LEFT_OUT = {".gitignore"}


def main(folder: Path) -> None:
    (source,) = folder.glob("*.tar.gz")
    look_into_source(source)
    wheels = sorted(folder.glob("*.whl"))
    for tag in TAGS:
        (wheel,) = (wheel for wheel in wheels if tag in wheel.name)
        look_into_wheel(wheel)
        install(wheel)
    assert len(wheels) == len(TAGS), wheels
    print(f"{folder}: the source distribution is whole, and {len(wheels)} wheels work")


def look_into_source(path: Path) -> None:
    """It contains every file of the repository."""
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True)
    # In an unpacked source distribution there is no repository to compare with.
    lacking = set(listed.stdout.splitlines()) - held - LEFT_OUT
    assert not lacking, f"{path.name} lacks {sorted(lacking)}"
    assert not (built := [name for name in held if "__pycache__" in name or name.endswith(".so")]), built


def look_into_wheel(path: Path) -> None:
    """It contains the package, its pages, both licences, no broken link, and no path of the builder."""
    ours = [str(ROOT), str(Path.home()), os.environ.get("CARGO_HOME", "")]
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            content = archive.read(name)
            # A home folder of `/` would be found everywhere.
            found = [place for place in ours if len(place) > 1 and os.fsencode(place) + b"/" in content]
            assert not found, f"{path.name}: {name} has {found}"
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert {f"{info}/licenses/{name}" for name in LICENSES} <= set(names), names
    share = info.replace(".dist-info", ".data/data/")
    assert {name.removeprefix(share) for name in names if name.startswith(share)} == SHARED
    others = [name for name in names if not name.startswith(("rwsgi/", f"{info}/", share))]
    assert not others, f"{path.name} has {others}"
    assert not relative_links(metadata)


def relative_links(text: str) -> list[str]:
    """Links of a page that would be broken on PyPI."""
    return [target for target in re.findall(r"\]\(([^)]+)\)", text) if not re.match(r"https?:", target)]


def install(path: Path) -> None:
    """It works in a new environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = f"{folder}/bin/python"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
        subprocess.run([*pip, "install", "--quiet", "--no-index", path], check=True)
        for program in ("rwsgi", "rwsgictl"):
            ran = subprocess.run([f"{folder}/bin/{program}", "--version"], capture_output=True, text=True)
            assert re.match(r"rwsgi(ctl)? \d+\.\d+\.\d+", ran.stdout), ran
        assert not [name for name in SHARED if not (Path(folder) / name).is_file()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
