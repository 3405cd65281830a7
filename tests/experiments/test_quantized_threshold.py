"""The threshold experiment against its definition, its grouping, and the figure drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.quantized_threshold import KINDS, QuantizedThreshold, groups, items_at, mean_square
from paper_figs import fig12_threshold
from strongticket.random import TRIAL
from strongticket.random.quantized import Quantized
from strongticket.runs import Store, execute


@pytest.mark.parametrize("kind", KINDS)
def test_failures_are_those_of_the_definition(kind: Any) -> None:
    run = QuantizedThreshold(kind, 3, 7, (1, 4, 6), 40, 5)
    expected = []
    for n in run.items:
        drawn = run._draw(n, 0, run.trials).tolist()
        sums = [{sum(c) for size in range(n + 1) for c in combinations(row, size)} for row in drawn]
        expected.append(sum(7 not in each for each in sums))
    assert run.run() == {"fail": expected}
    assert 0 < expected[-1] < expected[0]


@pytest.mark.parametrize("kind", KINDS)
def test_items_follow_their_law(kind: Any) -> None:
    run = QuantizedThreshold(kind, 2, 1, (4,), 20_000, 1)
    items = run._draw(4, 0, run.trials)
    v = Quantized(2).integers(1, f"quantized_threshold {kind} 1 4 v", 0, 80_000, purpose=TRIAL).reshape(-1, 4)
    u, rest = np.divmod(items, v)
    assert (rest == 0).all()
    levels = {"plain": [1], "odd": [1, 3], "blocks": [1, 2, 3, 4]}[kind]
    assert sorted(np.unique(u).tolist()) == levels
    assert np.allclose(np.unique(u, return_counts=True)[1] / u.size, 1 / len(levels), atol=0.01)
    assert (items.astype(float) ** 2).mean() == pytest.approx(mean_square(kind, 4), rel=0.02)
    part = run._draw(4, 50, 60)
    assert np.array_equal(part, items[50:60])


def test_groups_and_table_pool_the_seeds() -> None:
    runs = [QuantizedThreshold("plain", 3, 4, (3, 5), 300, seed) for seed in range(3)]
    finished = [(run, run.run()) for run in runs]
    (group,) = groups(finished)
    shares = [sum(result["fail"][i] for _, result in finished) / 900 for i in range(2)]
    assert group.pooled() == shares
    assert group.of_seeds()[0] == [result["fail"][0] / 300 for _, result in finished]
    rows = QuantizedThreshold.table(finished)
    assert [row["measured"] for row in rows] == shares
    assert all(0.7 < row["measured/predicted"] < 1.4 for row in rows)
    assert rows[0]["trials"] == 900


def test_where_a_level_is_crossed() -> None:
    assert items_at((2, 3, 4), (0.8, 0.2, 0.05), 0.2) == 3.0
    assert items_at((2, 3), (0.8, 0.4), 0.2) is None
    assert items_at((2, 3), (0.1, 0.05), 0.2) is None


def test_presets_are_valid_and_cheapest_first() -> None:
    presets = QuantizedThreshold.presets()
    assert list(presets) == ["quick", "default"]
    for runs in presets.values():
        assert {run.seed for run in runs} == set(range(5))
        assert len(set(runs)) == len(runs)
    assert all(run.trials == 2_000 for run in presets["quick"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 0}, "bits: expected 1..20"),
        ({"kind": "blocks", "bits": 1}, "bits: expected 2..10"),
        ({"items": (41,)}, "items: expected different"),
        ({"items": (3, 3)}, "items: expected different"),
        ({"trials": 0}, "trials >= 1"),
        ({"target": 0}, "target >= 1"),
    ],
)
def test_bad_parameters_are_refused(change: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"kind": "plain", "bits": 3, "target": 4, "items": (3,), "trials": 5, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        QuantizedThreshold(**values)


def test_the_figure_is_drawn_from_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def presets(cls: type[QuantizedThreshold]) -> Mapping[str, Sequence[QuantizedThreshold]]:
        runs = [cls("plain", bits, 1 << bits - 1, tuple(range(1, 12)), 200, s) for bits in (4, 7) for s in range(2)]
        products = [cls(kind, 4, 128, (8, 12), 200, s) for kind in ("odd", "blocks") for s in range(2)]
        return {"quick": [*runs, *products]}

    monkeypatch.setattr(QuantizedThreshold, "presets", classmethod(presets))
    store = Store(tmp_path / "results")
    assert execute(
        [run.spec for run in QuantizedThreshold.preset("quick")], QuantizedThreshold.function(), store
    ).complete
    first = fig12_threshold.draw(store, tmp_path / "a")
    assert [path.name for path in first] == ["fig12_threshold.pdf", "fig12_threshold.png", "fig12_threshold.svg"]
    before = [path.read_bytes() for path in first]
    monkeypatch.setattr(fig12_threshold, "failure_predicted", lambda *a: 0.5)
    after = [path.read_bytes() for path in fig12_threshold.draw(store, tmp_path / "a")]
    assert all(old != new for old, new in zip(before, after, strict=True))
