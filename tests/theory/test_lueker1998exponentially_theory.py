"""The subset-sum theorems: they hold at their bound, and too small constants are falsified."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import theory
from strongticket.bounds import lueker1998exponentially as bounds
from theory import Verdict
from theory._subset_sum_claims import ACCURACY
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


# ---------------------------------------------------------------- floors and predictions

FLOOR = theory.get("lueker1998exponentially.coverage_floor")
SIZED = theory.get("lueker1998exponentially.fixed_size_floor")
PREDICTED = theory.get("lueker1998exponentially.predictions")
NAMES = ("uniform", "product", "half_product", "normal", "hyperbolic")


@pytest.mark.parametrize("law", NAMES)
def test_failures_are_not_rarer_than_the_floor(law: str) -> None:
    setting: dict[str, Any] = {"law": law, "items": {"half_product": 28, "product": 12}.get(law, 8)}
    assert FLOOR.falsify(trials=500, **setting).verdict is Verdict.HOLDS_SO_FAR
    assert FLOOR.falsify(trials=1500, factor=2.2, **setting).verdict is Verdict.FALSIFIED


def test_failures_of_a_size_are_not_rarer_than_the_floor() -> None:
    assert SIZED.falsify(trials=500).verdict is Verdict.HOLDS_SO_FAR
    assert SIZED.falsify(trials=500, averaged=True).verdict is Verdict.HOLDS_SO_FAR
    assert SIZED.falsify(trials=500, factor=2.0).verdict is Verdict.FALSIFIED
    with pytest.raises(ValueError, match="uniform items"):
        SIZED.falsify(trials=10, law="normal")
    with pytest.raises(ValueError, match="nothing to falsify"):
        FLOOR.falsify(trials=10, target=0.05)


@pytest.mark.parametrize("method", ["saddlepoint", "combined"])
@pytest.mark.parametrize("law", NAMES)
def test_predictions_are_as_accurate_as_said(law: str, method: str) -> None:
    setting: dict[str, Any] = {"law": law, "method": method, "averaged": True}
    assert PREDICTED.falsify(trials=10, **setting).verdict is Verdict.HOLDS_SO_FAR
    least, most = ACCURACY[method, law]
    for factor in (1.5 / least, 0.5 / most):  # what was seen is on one side of the range, so some room is left
        assert PREDICTED.falsify(trials=10, factor=factor, **setting).verdict is Verdict.FALSIFIED


def test_accuracy_holds_for_the_shipped_table() -> None:
    """Measured over predicted, for every law: `ACCURACY` is what the table says, with room for its own error."""
    from strongticket.bounds import random_subset_sums as sums
    from strongticket.bounds._measured import _table

    checked = 0
    for law in NAMES:
        for target, of_eps in _table()["laws"][law]["targets"].items():
            for eps, of_n in of_eps.items():
                for n in ("8", "14", "20"):
                    row = of_n[n]
                    if not 1000 <= row["fail"] <= 0.9 * row["trials"]:
                        continue
                    setting: dict[str, Any] = {"law": law, "averaged": target == "uniform"}
                    rate = row["fail"] / row["trials"]
                    found = sums.saddlepoint_failure(int(n), float(eps), draws=10_000, **setting)
                    combined = sums.failure_predicted(int(n), float(eps), **setting)
                    for method, value, error in (
                        ("saddlepoint", found.value, found.standard_error),
                        ("combined", combined, 0.0),
                    ):
                        least, most = ACCURACY[method, law]
                        noise = 4 * (error / value + row["fail"] ** -0.5)
                        assert least - noise <= rate / value <= most + noise
                        checked += 1
    assert checked > 120
