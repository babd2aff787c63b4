"""Dependencies between crates match ARCHITECTURE.md, and unsafe code is only in the permitted files."""

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.modules import Crate
from tests.server import ROOT

ARROWS = {
    "rwsgi": {"rwsgi-exchange", "rwsgi-front", "rwsgi-pool", "rwsgi-supervisor", "rwsgi-wsgi"},
    "rwsgi-exchange": set(),
    "rwsgi-front": {"rwsgi-exchange"},
    "rwsgi-pool": set(),
    "rwsgi-supervisor": {"rwsgi-exchange", "rwsgi-pool"},
    "rwsgi-wsgi": {"rwsgi-exchange"},
}

# Which crates may use these.
KEPT_IN = {
    r"hyper.*|tokio.*": {"rwsgi-front"},
    r"pyo3.*": {"rwsgi-wsgi", "rwsgi"},
    r"nix": {"rwsgi-supervisor"},
}

# Crates that every crate may use.
FOR_ALL = {"thiserror", "tracing"}
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()

# The crates by their folders.
CRATES = {"exchange", "front", "pool", "rwsgi", "supervisor", "wsgi"}

# The lists in ARCHITECTURE.md of which each step names a file and its functions.
JOURNEYS = ["A request's journey", "A child's life"]

# The folders and files of a crate from top to bottom: each uses only those of lines below its own.
LAYERS = {
    "front": [
        {"server"},
        {"http1", "http2"},
        {"handler"},
        {"respond"},
        {"upstream"},
        {"access_log"},
        {"http", "net"},
    ],
    "rwsgi": [{"cli"}, {"process"}, {"python"}, {"host"}, {"config"}, {"log"}],
}
UNSAFE_IN = [
    "crates/exchange/src/layout.rs",
    "crates/exchange/src/model/memory.rs",
    "crates/exchange/src/original.rs",
    "crates/supervisor/src/sys/",
    "crates/wsgi/src/file_wrapper.rs",
    "crates/wsgi/src/interpreter.rs",
]


@functools.cache
def crates() -> dict[str, dict[str, Any]]:
    """The parsed Cargo.toml files."""
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return {crate["name"]: crate for crate in found["packages"]}


def dependencies(crate: str) -> set[str]:
    """Of every kind, also those of tests and build scripts."""
    return {dependency["name"] for dependency in crates()[crate]["dependencies"]}


def test_the_crates_are_those_of_the_design() -> None:
    assert set(crates()) == set(ARROWS)


@pytest.mark.parametrize("crate", ARROWS)
def test_a_crate_depends_only_on_permitted_ones(crate: str) -> None:
    ours = {name for name in dependencies(crate) if name.startswith("rwsgi")}
    assert ours <= ARROWS[crate]


def test_the_rules_of_the_pool_depend_on_nothing() -> None:
    found = {
        (dependency["name"], dependency["kind"]) for dependency in crates()["rwsgi-pool"]["dependencies"]
    }
    assert found == {("proptest", "dev")}


@pytest.mark.parametrize("crate", ARROWS)
def test_a_crate_uses_those_that_the_table_names(crate: str) -> None:
    """Dependencies of tests and build scripts are not checked."""
    used = {
        dependency["name"].removeprefix("rwsgi-")
        for dependency in crates()[crate]["dependencies"]
        if dependency["kind"] is None
    }
    row = next(row for row in table("crate") if f"rwsgi-{row[0]}".removesuffix("-rwsgi") == crate)
    named = set(re.findall(r"[\w-]+", row[2]))
    assert used - FOR_ALL == named


def test_each_file_that_the_architecture_names_is_there() -> None:
    named = set(re.findall(r"`([\w./-]+(?:\.(?:rs|py|md)|/))`", ARCHITECTURE))
    assert len(named) > 40
    # In a sentence or row about one crate, only its files are named.
    inside = [str(path) for path in (ROOT / "crates").glob("*/src/**/*")]
    missing = []
    for name in sorted(named):
        first, _, rest = name.partition("/")
        here = [ROOT / name, ROOT / "crates" / name, ROOT / "crates" / first / "src" / rest]
        if not any(path.exists() for path in here):
            missing += [name] if not any(path.endswith(f"/{name.rstrip('/')}") for path in inside) else []
    assert missing == []


@pytest.mark.parametrize("title", JOURNEYS)
def test_each_function_of_a_journey_is_in_the_file_named_before_it(title: str) -> None:
    steps = numbered(title)
    assert len(steps) > 8
    missing = []
    for step in steps:
        # A step begins with a file and its function. Further functions are those of the file named last.
        assert re.match(r"`[\w/]+\.(?:rs|py)` `\w+`", step), step
        text = ""
        for name in re.findall(r"`([\w/.]+)`", step):
            if name.endswith((".rs", ".py")):
                crate, _, rest = name.partition("/")
                text = (ROOT / "crates" / crate / "src" / rest).read_text()
                file = name
            elif not re.search(rf"\b(?:fn|def) {name}\b", text):
                missing.append(f"{name} in {file}")
    assert missing == []


@pytest.mark.parametrize("what", KEPT_IN)
def test_what_belongs_to_one_room_stays_there(what: str) -> None:
    users = {crate for crate in ARROWS if any(re.fullmatch(what, name) for name in dependencies(crate))}
    assert users == KEPT_IN[what]


def test_the_programs_use_python_for_their_module_alone() -> None:
    using = {path.name for path in sources("crates/rwsgi/src") if re.search(r"\bpyo3\b", code(path))}
    assert using == {"module.rs"}


@pytest.mark.parametrize("crate", sorted(CRATES))
def test_no_two_files_lead_to_each_other(crate: str) -> None:
    names = [
        sorted("/".join(module) or "lib" for module in circle)
        for circle in Crate(ROOT / "crates" / crate / "src").circles()
    ]
    assert names == []


@pytest.mark.parametrize("crate", sorted(LAYERS))
def test_the_folders_of_a_crate_know_only_those_below_them(crate: str) -> None:
    source = ROOT / "crates" / crate / "src"
    line = {name: number for number, names in enumerate(LAYERS[crate]) for name in names}
    folders = {path.name for path in source.iterdir() if path.is_dir()} - {"bin"}
    assert folders <= set(line)
    found = Crate(source)
    upwards = [
        f"{'/'.join(module)} -> {'/'.join(used) or 'lib'}"
        for module in found.files
        if module and module[0] in line
        for used in found.uses(module)
        if used[:1] != module[:1] and (not used or line.get(used[0], 100) <= line[module[0]])
    ]
    assert upwards == []


@pytest.mark.parametrize("crate", sorted(CRATES))
def test_every_file_of_a_crate_is_named_in_architecture(crate: str) -> None:
    found = sources(f"crates/{crate}/src")
    shipped = [path for path in found if not {"model", "tests"} & set(path.parts)]
    names = {path.stem for path in shipped} - {"mod", "tests"}
    assert len(names) > 10
    assert [name for name in sorted(names) if not re.search(rf"[`/]{name}(?:`|\.rs`)", ARCHITECTURE)] == []


def test_unsafe_code_is_where_it_is_argued() -> None:
    found = {
        str(path.relative_to(ROOT)) for path in sources("crates") if re.search(r"\bunsafe\b", code(path))
    }
    assert found
    assert [path for path in found if not path.startswith(tuple(UNSAFE_IN))] == []


def test_each_file_with_unsafe_code_gives_the_reason() -> None:
    for path in sources("crates"):
        if re.search(r"\bunsafe\b", code(path)):
            text = path.read_text()
            assert re.search(r"#!\[expect\(\s*unsafe_code,\s*reason = ", text), path
            assert text.count("SAFETY: ") >= len(re.findall(r"\bunsafe (?:\{|impl)", code(path))), path


def test_no_two_tests_of_the_crates_can_share_a_scratch_file() -> None:
    """`tempfile` creates a folder for each test, and removes it even if the test fails."""
    assert [path for path in sources("crates") if re.search(r"\btemp_dir\(\)\s*\.join\b", code(path))] == []


@pytest.mark.parametrize("crate", ARROWS)
def test_the_lints_hold_for_every_crate(crate: str) -> None:
    manifest = Path(crates()[crate]["manifest_path"]).read_text()
    assert "[lints]\nworkspace = true" in manifest


def table(first: str) -> list[list[str]]:
    """The rows of the table with this first heading, without the quotes around names."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in ARCHITECTURE.splitlines()
        if line.startswith("|")
    ]
    start = next(number for number, row in enumerate(rows) if row[0] == first)
    return [[cell.replace("`", "") for cell in row] for row in rows[start + 2 :]]


def numbered(title: str) -> list[str]:
    """The steps of the numbered list with this title, each in one line."""
    section = ARCHITECTURE.split(f"### {title}\n\n")[1].split("\n\n")[0]
    steps = re.split(r"^\d+\. ", section, flags=re.MULTILINE)
    return [" ".join(step.split()) for step in steps[1:]]


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.rs"))


def code(path: Path) -> str:
    """The text of a source file without comments and strings."""
    return re.sub(r'//[^\n]*|"(?:[^"\\]|\\.)*"', "", path.read_text())
