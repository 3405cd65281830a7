"""Formulas of ma2018power, belkin2019reconciling and belkin2020two: numbers by hand, grids, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import belkin2019reconciling, belkin2020two, ma2018power
from theory._interpolation_claims import _contraction

PAPERS = ("ma2018power", "belkin2019reconciling", "belkin2020two")
INSIDE = {
    "ma2018power.step_contraction": {"l": 0.25, "m": 4, "eta": 0.5, "beta": 1.0},
    "ma2018power.best_step": {"m": 4, "beta": 1.0, "l1": 0.5, "lk": 0.25},
    "ma2018power.best_rate": {"m": 4, "beta": 1.0, "l1": 0.5, "lk": 0.25},
    "ma2018power.largest_step": {"m": 4, "beta": 1.0, "l1": 0.5},
    "ma2018power.safe_step": {"m": 4, "beta": 1.0, "l1": 0.5},
    "ma2018power.convex_rate": {"m": 4, "beta": 1.0, "l1": 0.5, "alpha": 0.25},
    "ma2018power.critical_batch": {"beta": 1.0, "l1": 0.5},
    "ma2018power.worth": {"m": 4, "beta": 1.0, "l1": 0.5},
    "belkin2019reconciling.parameters": {"d": 64, "H": 5, "K": 10},
    "belkin2019reconciling.threshold_width": {"n": 100, "d": 64, "K": 10},
    "belkin2019reconciling.interpolant_error": {"A": 1.0, "B": 2.0, "n": 100, "d": 2, "target": 1.0, "norm": 3.0},
    "belkin2020two.risk_below": {"n": 20, "p": 10, "outside": 0.5, "s2": 0.1},
    "belkin2020two.risk_above": {"n": 20, "p": 30, "inside": 0.5, "outside": 0.5, "s2": 0.1},
}


@pytest.mark.parametrize("key", sorted(INSIDE))
def test_call_curve_and_latex(key: str) -> None:
    bound, values = bounds.get(key), INSIDE[key]
    assert set(bound.symbols) == set(values)
    first = next(iter(values))
    np.testing.assert_allclose(bound.curve(**{**values, first: np.full(3, values[first])}), bound(**values), rtol=1e-9)
    assert bound.latex()


def test_every_bound_of_these_papers_is_here() -> None:
    assert {bound.key for bound in bounds.all() if bound.reference in PAPERS} == set(INSIDE)


@pytest.mark.parametrize("key", sorted(INSIDE))
def test_every_hypothesis_can_fail(key: str) -> None:
    bound, values = bounds.get(key), INSIDE[key]
    for hypothesis in bound.hypotheses:
        names = sorted(symbol.name for symbol in hypothesis.relation.free_symbols)
        points = [{**values, name: bad} for name in names for bad in (-1.0, 0.0, 0.3, 2.5, 1e9)]
        assert any(hypothesis in bound.failed_hypotheses(**point) for point in points), hypothesis.name


@given(
    st.integers(1, 300),
    st.floats(0.05, 1.0),
    st.floats(1e-3, 1.0),
)
def test_the_best_step_is_the_best_on_a_grid(m: int, l1: float, share: float) -> None:
    """Both branches: no step size has a smaller worst contraction, and the best one has the one that is claimed."""
    lk = l1 * share

    def worst(eta: float) -> float:
        return max(_contraction(l1, m, eta, 1.0), _contraction(lk, m, eta, 1.0))

    step, rate = ma2018power.best_step(m, 1.0, l1, lk), ma2018power.best_rate(m, 1.0, l1, lk)
    assert worst(step) == pytest.approx(rate, rel=1e-9, abs=1e-12)
    assert all(worst(step * (1.0 + shift)) >= rate - 1e-12 for shift in np.linspace(-0.9, 2.0, 59))


def test_both_branches_and_the_largest_step() -> None:
    few, many = (3, 1.0, 0.5, 0.1), (4, 1.0, 0.5, 0.1)  # (m - 1) 0.4 <= 1 only for the first
    assert ma2018power.best_step(*few) == pytest.approx(3 / 1.2)
    assert ma2018power.best_rate(*few) == pytest.approx(1 - 0.3 / 1.2)
    assert ma2018power.best_step(*many) == pytest.approx(8 / 2.8)
    assert ma2018power.best_rate(*many) == pytest.approx(1 - 4 * 4 * 3 * 0.05 / 2.8**2)
    largest = bounds.get("ma2018power.largest_step")(m=8, beta=1.0, l1=0.3)
    assert ma2018power.step_contraction(0.3, 8, largest * 0.999, 1.0) < 1.0
    assert ma2018power.step_contraction(0.3, 8, largest * 1.001, 1.0) > 1.0
    assert ma2018power.safe_step(8, 1.0, 0.3) == pytest.approx(largest / 2)


def test_the_contraction_of_the_claims_is_that_of_the_bound() -> None:
    for l, m, eta in ((0.2, 1, 0.7), (0.9, 5, 1.4), (0.0, 3, 1.0)):  # noqa: E741
        assert _contraction(l, m, eta, 1.0) == pytest.approx(ma2018power.step_contraction(l, m, eta, 1.0), rel=1e-14)


def test_what_a_step_is_worth() -> None:
    worth, critical = bounds.get("ma2018power.worth"), ma2018power.critical_batch(1.0, 0.25)
    assert critical == 5.0
    assert worth(m=1, beta=1.0, l1=0.25) == 1.0
    assert worth(m=5, beta=1.0, l1=0.25) == critical / 2
    assert worth(m=10**6, beta=1.0, l1=0.25) == pytest.approx(critical - 1, rel=1e-5)


def test_published_sizes_of_networks() -> None:
    """795 H + 10 parameters for MNIST, 75 H + 10 for the 8x8 digits; a threshold about 50 for 4,000 examples."""
    for hidden in (5, 50, 1006):
        assert belkin2019reconciling.parameters(784, hidden, 10) == 795 * hidden + 10
        assert belkin2019reconciling.parameters(64, hidden, 10) == 75 * hidden + 10
    assert 50 < belkin2019reconciling.threshold_width(4000, 784, 10) < 51


def test_the_constants_of_the_theorem_are_open() -> None:
    bound = bounds.get("belkin2019reconciling.interpolant_error")
    assert bound.unspecified == {"A", "B"}
    with pytest.raises(bounds.Unspecified, match="leaves the constant"):
        bound(n=100, d=2, target=1.0, norm=1.0)
    assert bound(**INSIDE["belkin2019reconciling.interpolant_error"]) == pytest.approx(
        4 * math.exp(-2 * math.sqrt(100 / math.log(100)))
    )


def test_the_risk_peaks_at_the_threshold() -> None:
    seen = [belkin2020two.risk(20, p, p / 60, 1 - p / 60, 0.1) for p in range(1, 61)]
    assert all(math.isinf(value) for value in seen[18:21])
    assert all(not math.isinf(value) for value in (*seen[:18], *seen[21:]))
    assert seen[17] == max(seen[:18])
    assert seen[21] == max(seen[21:])
    assert belkin2020two.risk(20, 21, 1.0, 0.0, 0.0) == pytest.approx(1 / 21)
    assert belkin2020two.risk(20, 19, 1.0, 0.0, 0.0) == 0.0
