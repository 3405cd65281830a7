"""Every tutorial, typed in as it stands: each in an empty folder, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
TUTORIALS = sorted(path.stem for path in (DOCS / "tutorials").glob("*.md") if path.stem != "index")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    return load("run_tutorial")


def run(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DOCS / "run_tutorial.py"), str(page)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_comes_out_as_it_is_written(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    done = run(DOCS / "tutorials" / f"{name}.md", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_tutorial_is_listed(runner: ModuleType) -> None:
    page = (DOCS / "tutorials" / "index.md").read_text(encoding="utf-8")
    listed = page.split("```{toctree}\n")[1].split("```")[0].split()
    assert sorted(listed) == TUTORIALS
    for name in TUTORIALS:
        text = (DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
        assert any(block.kind == "pycon" for block in runner.blocks(text)), name


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected:\n    3\nGot:\n    2"),
        ("```pycon\n>>> x = 1\n```\n\n```pycon\n>>> x\n2\n```\n", "line 6"),
        ("```console\n$ python -c 'print(1)'\n2\n```\n", "expected:\n2\n\ngot:\n1"),
        (
            "```{code-block} python\n:caption: m.py\n\nx = 5\n```\n```pycon\n>>> from m import *\n>>> x\n4\n```\n",
            "5",
        ),
    ],
)
def test_a_page_that_is_wrong_is_noticed(page: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(page, encoding="utf-8")
    done = run(path, tmp_path)
    assert done.returncode == 1
    assert said in done.stdout


@pytest.mark.parametrize(
    ("page", "status", "said"),
    [("--help", 0, "usage: run_tutorial.py [-h] page"), ("nosuch.md", 2, "no such file: nosuch.md")],
)
def test_the_runner_says_how_it_is_used(page: str, status: int, said: str, tmp_path: Path) -> None:
    done = run(Path(page), tmp_path)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_words_are_held_to_the_letter_and_numbers_to_the_tolerance(runner: ModuleType) -> None:
    check = runner.Checker(0.2).check_output
    assert check("334 of 360 (92.78%) cannot change\n", "300 of 360 (83.33%) cannot change\n", 0)
    assert not check("334 of 360 cannot change\n", "334 of 360 can change\n", 0)
    assert not check("0.9\n", "0.7\n", 0)
    assert not check("1\n", "1 2\n", 0)
    assert not runner.Checker(0.0).check_output("0.90\n", "0.91\n", 0)
