from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import MissingRuns
from experiments.items import Items
from paper_figs import fig04_law
from strongticket.runs import Store, execute


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A small study of `items`."""
    quick = [
        replace(run, items=(4, 8, 11), trials=300) for run in Items.preset("quick") if run.seed < 2 and not run.by_size
    ]

    def presets(cls: type[Items]) -> Mapping[str, Sequence[Items]]:
        return {"quick": quick}

    monkeypatch.setattr(Items, "presets", classmethod(presets))
    monkeypatch.setattr(fig04_law, "DRAWS", 2_000)
    store = Store(tmp_path / "results")
    assert execute([run.spec for run in quick], Items.function(), store).complete
    return store


def test_the_same_results_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    first, second = (fig04_law.draw(store, tmp_path / folder) for folder in "ab")
    assert [path.name for path in first] == ["fig04_law.pdf", "fig04_law.png", "fig04_law.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_corrected_prediction_redraws_the_figure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    before = [path.read_bytes() for path in fig04_law.draw(store, tmp_path)]
    right = fig04_law.failure_predicted
    monkeypatch.setattr(fig04_law, "failure_predicted", lambda *a, **k: right(*a, **k) / 2)
    after = [path.read_bytes() for path in fig04_law.draw(store, tmp_path)]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_missing_runs_are_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingRuns, match="python -m experiments run items"):
        fig04_law.draw(Store(tmp_path / "empty"), tmp_path)
