"""The shell completions in real shells: bash completes, and each installed shell reads its own."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT

SHARE = ROOT / "deploy" / "wheel" / "data" / "share"
SCRIPTS = {
    "bash": SHARE / "bash-completion" / "completions",
    "zsh": SHARE / "zsh" / "site-functions",
    "fish": SHARE / "fish" / "vendor_completions.d",
}


def completed(*words: str) -> list[str]:
    """The completions of bash for the last word."""
    program, before, last = words[0], words[-2], words[-1]
    script = f"""
        source {shlex.quote(str(SCRIPTS["bash"] / program))}
        complete -p {program} >&2 || exit
        # It has an effect only where a key was pressed.
        compopt() {{ :; }}
        COMP_WORDS=("$@") COMP_CWORD={len(words) - 1}
        _{program} {program} '{last}' '{before}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "--norc", "-c", script, "bash", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("rwsgi", "--proc"), ["--processes"]),
        (("rwsgi", "-p", "2", "--max-requests"), ["--max-requests", "--max-requests-per-child"]),
        (("rwsgi", "--preload", "o"), ["on", "off"]),
        (("rwsgi", "--processes", "a"), ["auto"]),
        (("rwsgictl", "re"), ["reload"]),
        (("rwsgictl", "stop", "--n"), ["--now"]),
        (("rwsgictl", "reload", "--n"), []),
    ],
)
def test_bash_completes(words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(*words) == offered


def test_bash_completes_a_path(tmp_path: Path) -> None:
    (tmp_path / "site.toml").touch()
    assert completed("rwsgi", "--config", f"{tmp_path}/si") == [f"{tmp_path}/site.toml"]


@pytest.mark.parametrize("shell", [shell for shell in SCRIPTS if shutil.which(shell)])
def test_a_shell_reads_its_completions(shell: str) -> None:
    scripts = sorted(SCRIPTS[shell].iterdir())
    assert len(scripts) == 2
    for script in scripts:
        done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
