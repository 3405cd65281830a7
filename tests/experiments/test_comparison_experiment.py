"""The comparison of the theorems as an experiment, and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from experiments.comparison import Comparison
from paper_figs import fig13_comparison
from strongticket.runs import Store, execute

PAPERS = ("malach2020proving", "pensia2020optimal")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[Comparison]:
    """Two tolerances and two seeds of a tiny target."""
    runs = [Comparison("4-3-2", eps, 0.1, PAPERS, 4, seed) for eps in (0.4, 0.1) for seed in (0, 1)]

    def presets(cls: type[Comparison]) -> Mapping[str, Sequence[Comparison]]:
        return {"quick": runs}

    monkeypatch.setattr(Comparison, "presets", classmethod(presets))
    return runs


def test_a_run_depends_on_its_fields_alone() -> None:
    run = Comparison("4-3-2", 0.3, 0.1, PAPERS, 5, 1)
    first, second = run.run(), run.run()
    assert first.pop("measured")["seconds"]
    second.pop("measured")
    assert first == second
    assert {row["key"] for row in first["rows"]} == set(PAPERS)
    for row in first["rows"]:
        assert row["runs"] <= 5
        if row["measured_weights"] is not None:
            assert row["kept"] <= row["measured_weights"]
            assert row["proved"] <= 0.3


def test_fewer_runs_never_find_a_smaller_source() -> None:
    few, many = (Comparison("4-3-2", 0.2, 0.1, PAPERS, runs, 0).run()["rows"] for runs in (2, 12))
    for a, b in zip(few, many, strict=True):
        assert (a["measured_items"] or 10**9) >= (b["measured_items"] or 10**9)


def test_the_figure_is_drawn_from_the_store(small: list[Comparison], tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert execute([run.spec for run in small], Comparison.function(), store).complete
    first = fig13_comparison.draw(store, tmp_path / "a")
    second = fig13_comparison.draw(store, tmp_path / "b")
    assert [path.name for path in first] == ["fig13_comparison.pdf", "fig13_comparison.png", "fig13_comparison.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    rows = Comparison.table([(run, run.run()) for run in small[:1]])
    assert {"asked", "suffices", "kept"} <= set(rows[0])


def test_the_presets_have_seeds() -> None:
    assert len({run.seed for run in Comparison.preset("default")}) >= 5
    assert Comparison.preset("quick")
