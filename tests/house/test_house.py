"""The rules of the house that a tool can hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import strongticket

ROOT = Path(strongticket.__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not run from a checkout")


def test_every_paper_key_is_in_the_bibliography() -> None:
    entries = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "references.bib").read_text(), re.MULTILINE))
    rooms = ("strongticket/bounds", "strongticket/constructions", "theory", "experiments")
    files = {path.stem for room in rooms for path in (ROOT / room).glob("*.py")}
    keys = {stem for stem in files if re.fullmatch(r"[a-z]+(19|20)\d\d[a-z]+", stem)}
    assert {"pensia2020optimal", "lueker1998exponentially"} <= keys
    assert keys <= entries, f"without an entry in references.bib: {sorted(keys - entries)}"


def test_imports_follow_the_arrows() -> None:
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None) == 0


def test_no_module_is_much_longer_than_500_lines() -> None:
    rooms = ("strongticket", "theory", "experiments", "paper_figs")
    long = {
        str(path.relative_to(ROOT)): lines
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 550
    }
    assert not long


@pytest.mark.parametrize("target", ["demo", "test", "figures"])
def test_the_make_targets_name_commands_that_exist(target: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not inside a make
    done = subprocess.run([make, "-n", target], cwd=ROOT, env=outside, capture_output=True, text=True, check=True)
    command = done.stdout.strip().splitlines()[-1].split()
    assert command[0].endswith("/bin/python")
    run = subprocess.run(
        [sys.executable, *command[1:], "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
