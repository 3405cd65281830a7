"""Theorems of one's own: made outside of the package, found like those inside."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import theory
from theory import _template
from theory.__main__ import main

(THEOREM,) = _template.THEOREMS
SOURCE = Path(_template.__file__).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    keys = [theorem.key for theorem in theory.all()]
    yield
    for theorem in theory.all():
        if theorem.key not in keys:
            theory.forget(theorem.key)


def test_a_registered_theorem_is_found_and_forgotten() -> None:
    before = theory.all()
    theory.register(THEOREM)
    theory.register(THEOREM)  # again: nothing
    assert theory.all() == (*before, THEOREM)
    assert theory.get(THEOREM.key) is THEOREM
    assert theory.find(THEOREM.paper) == (THEOREM,)
    theory.forget(THEOREM.paper)
    assert theory.all() == before
    with pytest.raises(KeyError, match="template2026one"):
        theory.find(THEOREM.key)


def test_keys_are_of_one_theorem_and_those_here_stay() -> None:
    inside = theory.get("lueker1998exponentially.explicit")
    theory.register(inside)  # known already
    with pytest.raises(ValueError, match="another theorem 'lueker1998exponentially"):
        theory.register(THEOREM, replace(inside, title="mine"))
    with pytest.raises(KeyError, match="was registered; there are none"):  # nor was the first of the two
        theory.forget(THEOREM.key)
    with pytest.raises(ValueError, match="another theorem"):
        theory.register(THEOREM, replace(THEOREM, title="mine"))
    with pytest.raises(TypeError, match=r"register\(\*THEOREMS\)"):
        theory.register(_template.THEOREMS)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="was registered"):
        theory.forget("lueker1998exponentially")


def test_the_template_needs_public_names_only() -> None:
    names = {
        name.name: node.module or ""
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert all(
        not part.startswith("_") for module in set(names.values()) - {"__future__"} for part in module.split(".")
    )
    assert {name for name, module in names.items() if module == "theory"} <= set(theory.__all__)


def test_the_command_line_loads_a_copy_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_paper.py").write_text(SOURCE.replace("template2026one", "mine2026one"), encoding="utf-8")
    (tmp_path / "no_paper.py").write_text("X = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    key = "mine2026one.nearest"
    assert main(["check", key, "--trials", "50", "--twins", "0"]) == 2
    assert f"no theorem '{key}'" in capsys.readouterr().err
    assert main(["check", key, "--trials", "50", "--twins", "0", "--load", "my_paper"]) == 0
    assert "holds so far" in capsys.readouterr().out
    assert main(["show", key, "--load", "my_paper"]) == 0
    assert "among enough random numbers" in capsys.readouterr().out
    assert main(["show", key, "--load", "no_paper"]) == 2
    assert "no_paper has no THEOREMS" in capsys.readouterr().err
    assert main(["show", key, "--load", "missing_paper"]) == 2
    assert "missing_paper" in capsys.readouterr().err


def test_the_command_finds_modules_of_the_folder_it_is_run_in(tmp_path: Path) -> None:
    (tmp_path / "my_other.py").write_text(SOURCE.replace("template2026one", "mine2026other"), encoding="utf-8")
    root = str(Path(theory.__file__).parents[1])
    command = [sys.executable, "-m", "theory", "show", "mine2026other", "--load", "my_other", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"mine2026other.nearest"' in done.stdout
