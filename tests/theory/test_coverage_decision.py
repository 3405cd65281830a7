"""The lattice decision of coverage against complete enumeration, and honesty of both of its answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Outcome
from theory._coverage import decide_coverage, decide_targets, rounded_sums

ITEMS = st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-3), min_size=0, max_size=11).map(np.array)


def all_sums(items: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.zeros(1)
    for x in items:
        sums = np.concatenate([sums, sums + x])
    return np.sort(sums)


def margin(items: npt.NDArray[np.float64], c: float) -> float:
    """Largest distance of a point of [-c, c] from the nearest subset sum, by the sorted gaps."""
    sums = all_sums(items)
    points = [-c, c]
    middles = (sums[1:] + sums[:-1]) / 2
    points += [float(m) for m in middles if -c <= m <= c]
    return max(float(np.abs(sums - p).min()) for p in points)


@given(ITEMS, st.floats(0.01, 0.5), st.floats(0.005, 0.4))
def test_decision_equals_enumeration(items: npt.NDArray[np.float64], c: float, eps: float) -> None:
    distance = margin(np.asarray(items, dtype=float), c)
    outcome = decide_coverage(np.asarray(items, dtype=float), c, eps).outcome
    if outcome is Outcome.SUCCESS:
        assert distance <= eps * (1 + 1e-9)
    elif outcome is Outcome.FAILURE:
        assert distance >= eps * (1 - 1e-9)
    else:
        assert abs(distance - eps) <= eps / 1000


@given(ITEMS, st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.floats(0.005, 0.4))
def test_targets_equal_enumeration(items: npt.NDArray[np.float64], targets: list[float], eps: float) -> None:
    sums = all_sums(np.asarray(items, dtype=float))
    distance = max(float(np.abs(sums - z).min()) for z in targets)
    outcome = decide_targets(np.asarray(items, dtype=float), np.array(targets), eps)
    if outcome is Outcome.SUCCESS:
        assert distance <= eps * (1 + 1e-9)
    elif outcome is Outcome.FAILURE:
        assert distance >= eps * (1 - 1e-9)
    else:
        assert abs(distance - eps) <= eps / 1000


def test_undecided_is_rare() -> None:
    rng = np.random.default_rng(0)
    outcomes = [decide_coverage(rng.uniform(-1, 1, 10), 0.5, 0.02).outcome for _ in range(200)]
    assert outcomes.count(Outcome.UNDECIDED) <= 2
    assert min(outcomes.count(Outcome.SUCCESS), outcomes.count(Outcome.FAILURE)) >= 20


def test_rounded_sums_literally() -> None:
    items = np.array([0.3, -0.7, 0.05])
    whole = np.rint(items / 0.01).astype(int)
    expected = sorted({int(s) for s in np.rint(all_sums(whole.astype(float))) if abs(s) <= 50})
    assert rounded_sums(items, 0.01, 0.5).tolist() == expected


def test_refuses_nan() -> None:
    with pytest.raises(ValueError, match="finite"):
        decide_coverage(np.array([0.1, np.nan]), 0.5, 0.1)
