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

ROWS = {n: {"fail": fail, "trials": 1000} for n, fail in (("11", 900), ("12", 310), ("13", 60))}
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
        first = next(n for n, (fail, trials) in counts.items() if fail <= delta * trials)
        assert found.items == (first if delta * 1000 >= 5 else None)
        for n, (fail, trials) in counts.items():
            low, high = binomtest(fail, trials).proportion_ci(0.99)
            if high <= delta:
                assert found.high is not None
                assert found.high <= n
            if low > delta:
                assert found.low is None or found.low > n
    sure = items_from_counts(counts, 0.2)
    assert (sure.items, sure.low, sure.high, sure.note) == (5, 5, 5, "5")
    untold = items_from_counts(counts, 1e-4)
    assert (untold.items, untold.low, untold.high, untold.trials) == (None, 6, None, 1000)
    assert untold.note == "not measured: 1,000 trials cannot tell; at least 6"
    beyond = items_from_counts({4: (310, 1000)}, 0.1)
    assert (beyond.items, beyond.low, beyond.most, beyond.trials) == (None, 5, 4, 1000)
    assert beyond.note == "more than 4, all that was simulated"
    assert items_from_counts({}, 0.1).note == "not measured"


def test_nothing_is_said_of_what_was_not_run_or_is_proved_wrong() -> None:
    from_four = items_from_counts({4: (10, 1000), 5: (1, 1000)}, 0.1)
    assert (from_four.items, from_four.low) == (4, None)
    assert from_four.note == "4 or fewer, which were not simulated"
    gap = items_from_counts({4: (900, 1000), 8: (10, 1000)}, 0.1)
    assert (gap.items, gap.low, gap.high) == (8, 5, 8)
    # a frequency below delta by chance, where the floor is above it
    counts = {9: (300, 1000), 10: (9, 1000), 11: (4, 1000)}
    assert items_from_counts(counts, 0.01).items == 10
    held = items_from_counts(counts, 0.01, floor=11)
    assert (held.items, held.low) == (11, 11)
    assert items_from_counts(counts, 0.01, floor=30).note.endswith("at least 30")


def test_no_number_is_below_its_floor_or_from_too_few_trials() -> None:
    numbers = 0
    for law in ("uniform", "product", "half_product", "normal", "hyperbolic"):
        for eps in (0.1, 0.01, 1e-4, 1e-6):
            for exponent in (1, 2, 3, 4, 5, 7, 12):
                for averaged in (True, False):
                    delta = 10.0**-exponent
                    found = measured_items(eps, delta, law, averaged=averaged)
                    floor = random_subset_sums.floor_items(eps, delta, law, averaged=averaged)  # type: ignore[arg-type]
                    assert (found.low or 0) >= floor
                    if found.items is not None:
                        numbers += 1
                        assert found.items >= floor
                        assert delta * found.trials >= random_subset_sums.ENOUGH
    assert numbers > 60


def test_lookup(table: Any) -> None:
    table(TABLE)
    assert measured_items(0.1, 0.1, averaged=True).items == 13
    assert measured_items(1e-5, 0.4).items == 12
    assert measured_items(0.1, 0.4, averaged=True, size=2).items == 12
    floor = random_subset_sums.floor_items(0.1, 1e-3)
    assert measured_items(0.1, 1e-3).note == f"not measured: 1,000 trials cannot tell; at least {floor}"
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
                    eps, delta, method="saddlepoint", draws=10_000, **setting
                )
                assert abs(predicted - known.items) <= 1
    assert found > 10
