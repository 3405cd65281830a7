"""What the pages are made by: examples in the generators' docstrings, and text that must come out as it went in."""

from __future__ import annotations

import doctest
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

DOCS = Path(__file__).resolve().parents[2] / "docs"
GENERATORS = ("rst", "docstrings", "theorems", "commands")


@pytest.fixture(autouse=True)
def docs_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield
    for name in [name for name in sys.modules if name == "generate" or name.startswith("generate.")]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    if name == "commands":
        pytest.importorskip("tyro")
    return importlib.import_module(f"generate.{name}")


@pytest.mark.parametrize("name", GENERATORS)
def test_their_examples_hold(name: str) -> None:
    found = doctest.testmod(module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_runner_s_examples_hold() -> None:
    found = doctest.testmod(importlib.import_module("run_tutorial"))
    assert found.attempted > 0
    assert found.failed == 0


def seen(text: str) -> str:
    """What a reader sees of reStructuredText."""
    from docutils.core import publish_doctree

    settings = {"report_level": 1, "halt_level": 1, "file_insertion_enabled": False, "smart_quotes": False}
    return " ".join(str(publish_doctree(text, settings_overrides=settings).astext()).split())


@given(st.text(alphabet="ab |*_`:.,()<>[]-+=\\\n", max_size=60).map(lambda text: f"a{text.replace('`', '')}z"))
def test_prose_is_read_as_it_is_written(text: str) -> None:
    pytest.importorskip("docutils")
    words = " ".join(text.split())
    assert seen(module("rst").cell(text)) == words


def test_a_docstring_keeps_its_lists_examples_and_magnitudes() -> None:
    pytest.importorskip("docutils")
    text = "The |w| of `a*b`:\n- one, over\n  two lines\n- two_\n\n>>> 1\n1\n"
    made = module("rst").paragraphs(text)
    assert seen(made) == "The |w| of a*b: one, over two lines two_ >>> 1 1"


def test_papers_are_cited_and_formulas_set_as_in_the_report() -> None:
    from paper_figs.report._mathml import formula
    from strongticket import bounds

    page = module("theorems").page("xiong2022perturbation")
    assert "with ε-perturbation. International" in page
    assert "Xiong et al. 2023\n===" in page
    for bound in bounds.all():
        if bound.reference == "xiong2022perturbation":
            assert formula(bound.expression, alt=bound.latex(), block=True) in page


def test_the_gallery_says_what_each_figure_is_drawn_from() -> None:
    page = module("gallery").page()
    assert "From the experiment ``bounds``." in page
    assert "From the experiments ``search_density``, ``search_width``." in page
    made = "python -m experiments.benchmarks.subset_sum --peers --out results/benchmarks/subset_sum.json"
    assert f"From a benchmark, ``{made}``." in page


def test_sections_become_fields() -> None:
    lines = [
        "Do it.",
        "",
        "Args:",
        "    items: of |a|.",
        "        More.",
        "    low, high: ends.",
        "Returns:",
        "    x: y.",
    ]
    module("docstrings").prepare(None, "class", "", None, None, lines)
    text = "\n".join(lines)
    assert ":param items:\n    of \\|a\\|.\n    More." in text
    assert ":param low,high:" in text
    assert ":returns:\n    x: y." in text
