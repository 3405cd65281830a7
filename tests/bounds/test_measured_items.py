"""The shipped table of simulated failures: what is read from it, and what is said where it is silent."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from strongticket.bounds import _measured, random_subset_sums
from strongticket.bounds._measured import items_from_counts, measured_items

ROWS = {"3": {"fail": 900, "trials": 1000}, "4": {"fail": 310, "trials": 1000}, "5": {"fail": 60, "trials": 1000}}
TABLE = {
    "version": 1,
    "laws": {
        "uniform": {"text": "X ~ U(-1, 1)", "targets": {"uniform": {"0.1": ROWS}, "1": {"0.1": ROWS, "1e-05": ROWS}}}
    },
    "fixed_size": {"uniform": {"text": "X ~ U(-1, 1)", "targets": {"uniform": {"2": {"0.1": ROWS}}}}},
    "environment": {},
}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a table where the package looks for one."""
    (tmp_path / "tables").mkdir()

    def write(value: object) -> None:
        (tmp_path / "tables" / "items.json").write_text(json.dumps(value))
        _measured._table.cache_clear()

    monkeypatch.setattr(_measured.resources, "files", lambda package: tmp_path)
    _measured._table.cache_clear()
    yield write
    _measured._table.cache_clear()


def test_counts_become_numbers_with_limits() -> None:
    counts = {4: (310, 1000), 5: (90, 1000), 6: (1, 1000), 7: (0, 1000)}
    for delta in (0.5, 0.3, 0.1, 0.09, 0.05, 0.01, 1e-3, 1e-4):
        found = items_from_counts(counts, delta)
        assert found.items == next(n for n, (fail, trials) in counts.items() if fail <= delta * trials)
        for n, (fail, trials) in counts.items():
            low, high = binomtest(fail, trials).proportion_ci(0.99)
            if high <= delta:
                assert found.high is not None
                assert found.high <= n
            if low > delta:
                assert found.low is None or found.low > n
    sure = items_from_counts(counts, 0.2)
    assert (sure.items, sure.low, sure.high, sure.note) == (5, 5, 5, "5")
    assert items_from_counts(counts, 1e-4).high is None
    assert "too few trials" in items_from_counts(counts, 1e-4).note
    beyond = items_from_counts({4: (310, 1000)}, 0.1)
    assert (beyond.items, beyond.low, beyond.most, beyond.trials) == (None, None, 4, 1000)
    assert beyond.note == "more than 4, which is all that was simulated"
    assert items_from_counts({}, 0.1).note == "not measured"


def test_lookup(table: Any) -> None:
    table(TABLE)
    assert measured_items(0.1, 0.1, averaged=True).items == 5
    assert measured_items(1e-5, 0.4).items == 4
    assert measured_items(0.1, 0.4, averaged=True, size=2).items == 4
    assert measured_items(0.1, 1e-3).note == "more than 5, which is all that was simulated"
    for silent in (
        measured_items(0.03, 0.1),
        measured_items(0.1, 0.1, "normal"),
        measured_items(0.1, 0.1, target=0.5),
        measured_items(0.1, 0.1, size=2),
        measured_items(0.1, 0.1, averaged=True, size=3),
    ):
        assert silent.items is None
        assert silent.most == 0
        assert silent.note.startswith("not measured")
    assert "0.1, 1e-05" in measured_items(0.03, 0.1).note


def test_no_table_and_a_foreign_table(table: Any) -> None:
    assert measured_items(0.1, 0.1).note.startswith("not measured")
    table({**TABLE, "version": 2})
    with pytest.raises(ValueError, match="version 2"):
        measured_items(0.1, 0.1)


def test_the_shipped_table_agrees_with_floor_and_prediction() -> None:
    if not resources.files("strongticket").joinpath("tables", "items.json").is_file():
        pytest.skip("no table is shipped")
    found = 0
    for law in ("uniform", "product", "normal", "hyperbolic"):
        for eps in (0.1, 0.01, 1e-3):
            for delta in (0.1, 1e-2, 1e-3):
                known = measured_items(eps, delta, law, averaged=True)
                if known.items is None or known.high is None:
                    continue
                found += 1
                setting: dict[str, Any] = {"law": law, "averaged": True}
                assert random_subset_sums.floor_items(eps, delta, **setting) <= known.high
                predicted = random_subset_sums.items_predicted(
                    eps, delta, method="saddlepoint", draws=20_000, **setting
                )
                assert abs(predicted - known.items) <= 1
    assert found > 10
