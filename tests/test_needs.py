"""The messages of `make` on a machine that lacks something, before anything is compiled."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.server import ROOT

NEEDS = ROOT / "tests" / "fresh" / "needs"
# Programs of every Debian, and the required ones.
PROGRAMS = (
    "awk cut dirname find grep head make mkdir sed sh sort tail touch as ld cc cargo rustc rustup".split()
)


class Machine:
    """A machine with these programs and no others."""

    def __init__(self, folder: Path) -> None:
        self._programs = folder / "programs"
        self._programs.mkdir()
        self._site = folder / "site"
        self._site.mkdir()
        for name in PROGRAMS:
            if found := shutil.which(name):
                (self._programs / name).symlink_to(found)
        self.put(
            "python3", f'PYTHONPATH={shlex.quote(str(self._site))} exec {shlex.quote(sys.executable)} "$@"'
        )

    def put(self, name: str, script: str) -> None:
        self.remove(name)
        (self._programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._programs / name).chmod(0o755)

    def remove(self, name: str) -> None:
        (self._programs / name).unlink(missing_ok=True)

    def change_python(self, text: str) -> None:
        """Run this code whenever Python starts."""
        (self._site / "sitecustomize.py").write_text(f"import sys, sysconfig\n{text}\n")

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept: Mapping[str, str] = {
            name: value for name, value in os.environ.items() if name in {"HOME", "CARGO_HOME", "RUSTUP_HOME"}
        }
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**kept, **environment, "PATH": str(self._programs)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_reported_where_all_is_installed(machine: Machine) -> None:
    ran = machine.run(str(NEEDS))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def messages(machine: Machine) -> list[str]:
    ran = machine.run(str(NEEDS))
    assert (ran.returncode, ran.stdout) == (1, "")
    return ran.stderr.splitlines()


def test_each_missing_program_is_one_line(machine: Machine) -> None:
    for name in ("cargo", "rustc", "cc", "python3"):
        machine.remove(name)
    lines = messages(machine)
    assert [line.split(":")[0] for line in lines] == [
        "cargo is not installed",
        "rustc is not installed",
        "there is no C compiler (cc)",
        "python3 is not installed",
    ]
    assert "https://rustup.rs" in lines[0]
    assert lines[2].endswith(": apt install gcc libc6-dev")


@pytest.mark.parametrize(
    ("name", "script", "line"),
    [
        ("cargo", "echo cargo 1.63.0", "cargo is of Rust 1.63.0: rwsgi needs Rust "),
        ("rustc", "echo 'rustc 1.85.0 (4d91de4e4 2025-02-17)'", "rustc is of Rust 1.85.0: "),
        ("cargo", "echo 'error: no default toolchain' >&2; exit 1", "cargo does not run (error: no default "),
        ("cc", "exit 1", "cc cannot build a program of a few lines: apt install "),
        (
            "python3",
            "exit 3",
            "python3 does not run (): rwsgi needs CPython 3.10 or later: apt install python3",
        ),
    ],
)
def test_an_unsuitable_program_is_reported(machine: Machine, name: str, script: str, line: str) -> None:
    machine.put(name, script)
    (message,) = messages(machine)
    assert message.startswith(line)


@pytest.mark.parametrize("version", ["1.95.0", "1.100.0-nightly", "2.0.0"])
def test_a_later_rust_is_accepted(machine: Machine, version: str) -> None:
    machine.put("cargo", f"echo cargo {version}")
    assert machine.run(str(NEEDS)).stderr == ""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("sys.version_info = (3, 9, 2)", "python3 is of version 3.9: rwsgi needs CPython 3.10 or later"),
        ("sys.implementation.name = 'pypy'", "python3 is pypy: rwsgi needs CPython"),
        (
            "sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1",
            "python3 is a free-threaded build: rwsgi needs ",
        ),
        (
            "sysconfig.get_path = lambda name: '/nowhere'",
            "python3 has no headers or library (/nowhere/Python.h): apt install python3-dev",
        ),
        (
            "sysconfig.get_config_vars()['LDLIBRARY'] = 'nothing.so'",
            "python3 has no headers or library (",
        ),
        (
            "sys.modules['ensurepip'] = sys.modules['pip'] = None",
            "python3 cannot make a virtual environment with pip: apt install python3-venv",
        ),
    ],
)
def test_an_unsuitable_python_is_reported(machine: Machine, change: str, line: str) -> None:
    machine.change_python(change)
    (message,) = messages(machine)
    assert message.startswith(line)


@pytest.mark.parametrize(
    "target", ["serve", "test", "build", "wheel", "test-rust", "test-model", "test-end-to-end"]
)
def test_make_stops_before_it_does_anything(machine: Machine, tmp_path: Path, target: str) -> None:
    machine.remove("cc")
    # Made by a former run, when there was a compiler.
    for name in ("venv", "wheel", "demo", "dev"):
        done = tmp_path / "env" / "done" / name
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    ran = machine.run("make", target, f"VENV={tmp_path}/env")
    assert ran.returncode == 2
    assert ran.stdout == ""
    first, second = ran.stderr.splitlines()
    assert first.startswith("there is no C compiler (cc)")
    assert second.endswith("needs] Error 1")


def test_make_refuses_an_environment_that_it_would_split(machine: Machine) -> None:
    ran = machine.run("make", "serve", "VENV=a b")
    assert ran.returncode == 2
    assert 'VENV is "a b": it must be one path without spaces' in ran.stderr
