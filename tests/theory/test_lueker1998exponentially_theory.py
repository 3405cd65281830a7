"""The subset-sum theorems: they hold at their bound, and too small constants are falsified."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import theory
from strongticket.bounds import lueker1998exponentially as bounds
from theory import Verdict
from theory.lueker1998exponentially import draw_items, expected_gain

EXPLICIT = theory.get("lueker1998exponentially.explicit")


@pytest.mark.parametrize("law", ["uniform", "product", "half_product"])
@pytest.mark.parametrize("eps", [0.1, 0.01])
def test_explicit_bound_holds(law: str, eps: float) -> None:
    report = EXPLICIT.falsify(trials=300, eps=eps, delta=0.05, law=law)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.undecided == 0


def test_too_few_items_are_falsified() -> None:
    assert EXPLICIT.falsify(trials=300, items=10).verdict is Verdict.FALSIFIED
    assert EXPLICIT.falsify(trials=300, items=0, eps=0.3).failures == 300


def test_too_small_a_constant_is_falsified() -> None:
    theorem = theory.get("lueker1998exponentially.theorem")
    assert theorem.falsify(trials=300).verdict is Verdict.HOLDS_SO_FAR
    assert theorem.falsify(trials=300, constant=2.0).verdict is Verdict.FALSIFIED


def test_looseness_is_five_to_seven() -> None:
    found = EXPLICIT.looseness(factors=(1, 2, 4, 5, 7, 8), trials=300)
    assert found.largest_not_falsified >= 4
    assert found.falsified_at in (7, 8)


def test_measured_failures_agree_with_simulation_of_others() -> None:
    """P(not every |z| <= 1/2 within .01) for n = 12 uniform items: .118 in an independent simulation."""
    report = EXPLICIT.falsify(trials=1500, items=12)
    assert report.low <= 0.118 <= report.high


def test_growth_by_sampling() -> None:
    union = [(Fraction(-3, 8), Fraction(-1, 8)), (Fraction(1, 4), Fraction(3, 8))]
    exact = float(expected_gain(union, Fraction(1, 2)))
    rng = np.random.default_rng(4)
    z = rng.uniform(-0.5, 0.5, 400_000)
    x = rng.uniform(-1, 1, z.size)
    inside = lambda p: ((p > -3 / 8) & (p < -1 / 8)) | ((p > 1 / 4) & (p < 3 / 8))  # noqa: E731
    assert np.mean(~inside(z) & inside(z - x)) == pytest.approx(exact, abs=4 * np.sqrt(0.12 / z.size))


def test_draws_have_the_law() -> None:
    for law in bounds.LAWS.values():
        items = draw_items(law.name, 200_000, 5)
        assert items.var() == pytest.approx(law.variance * law.alive, rel=0.03)
        assert (items != 0).mean() == pytest.approx(law.alive, abs=0.01)
    with pytest.raises(ValueError, match="law"):
        draw_items("cauchy", 3, 0)
