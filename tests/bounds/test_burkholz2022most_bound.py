"""Copies of neurons: formulas against the functions that size constructions, enumeration and exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import HypothesisError
from strongticket.bounds import burkholz2022most as burkholz
from strongticket.bounds.lueker1998exponentially import explicit_items

INSIDE: dict[str, dict[str, float]] = {
    "explicit_copies": {"weight_eps": 0.01, "delta": 0.01, "delta_1": 0.005, "N": 1000, "theta": 0.5, "t": 1.0},
    "layer_tolerance": {"eps": 0.1, "L": 3, "d": 10, "B": 2.0, "G": 40.0},
    "amplification": {"d": 10, "copies": 20, "s": 0.5},
    "source_parameters": {"d_in": 784, "d": 300, "d_out": 10, "items": 30, "copies": 25},
    "tanh_curvature": {"t": -0.3},
    "sigmoid_curvature": {"t": 0.7},
}
OUTSIDE: list[tuple[str, dict[str, float]]] = [
    ("explicit_copies", {"weight_eps": 0.0}),
    ("explicit_copies", {"delta_1": 0.02}),
    ("explicit_copies", {"theta": 1.0}),
    ("layer_tolerance", {"eps": 1.0}),
    ("layer_tolerance", {"G": 0.0}),
    ("amplification", {"copies": 0}),
    ("source_parameters", {"d": 2.5}),
]


def test_every_formula_has_a_point_here() -> None:
    keys = {bound.key for bound in bounds.all() if bound.reference == "burkholz2022most"}
    assert keys == {f"burkholz2022most.{name}" for name in INSIDE}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_formulas_have_values_and_latex(name: str) -> None:
    bound = bounds.get(f"burkholz2022most.{name}")
    assert bound(**INSIDE[name]) > 0
    assert bound.latex()
    assert float(bound.curve(**INSIDE[name])) == pytest.approx(bound(**INSIDE[name]), rel=1e-9)


@pytest.mark.parametrize(("name", "values"), OUTSIDE)
def test_values_outside_the_hypotheses_are_refused(name: str, values: dict[str, float]) -> None:
    with pytest.raises(HypothesisError, match="says nothing here"):
        bounds.get(f"burkholz2022most.{name}")(**INSIDE[name] | values)


@pytest.mark.parametrize(("problems", "eps", "delta"), [(1, 0.3, 0.5), (1000, 0.01, 0.01), (400_000, 1e-4, 1e-6)])
def test_copies_are_those_of_the_subset_sum_bound(problems: int, eps: float, delta: float) -> None:
    found = explicit_items(eps, delta / problems)
    least = burkholz.items_for_layer(problems, eps, delta, 0.5)
    assert 1 <= least <= max(1, found.items)
    assert least <= burkholz.items_for_layer(problems, eps / 2, delta, 0.5)
    assert least <= burkholz.items_for_layer(2 * problems, eps, delta, 0.5)
    assert burkholz.items_for_layer(problems, eps, delta, eps) == 1  # the empty subset will do


def test_products_need_more_candidates_than_plain_weights() -> None:
    plain, products = (burkholz.items_for_layer(1000, 0.01, 0.01, 0.5, u_min=u) for u in (1.0, 0.5))
    assert plain < products


@given(st.integers(1, 9), st.integers(1, 500), st.floats(0, 100), st.floats(1e-3, 1e6), st.floats(1e-6, 0.99))
def test_tolerances_spend_the_budget_and_no_more(
    layers: int, inputs: int, size: float, gain: float, eps: float
) -> None:  # fmt: skip
    found = burkholz.layer_tolerance(eps, layers, inputs, size, gain)
    exact = Fraction(found) * layers * inputs * Fraction(max(size, 1e-12)) * Fraction(gain)
    assert found == 0.5 or math.isclose(float(exact), eps, rel_tol=1e-12)
    assert exact <= Fraction(eps) * (1 + Fraction(1, 10**12))


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="network_eps in"):
        burkholz.layer_tolerance(1.0, 1, 1, 1.0, 1.0)
    with pytest.raises(ValueError, match="positive scale"):
        burkholz.amplification(1, 1, 0.0)


@pytest.mark.parametrize("t", [-30.0, -2.0, -0.1, 1e-3, 0.5, 4.0])
def test_curvature_bounds_hold_and_are_the_right_order_near_zero(t: float) -> None:
    import mpmath

    with mpmath.workdps(60):
        x = mpmath.mpf(t)
        off = {"tanh": abs(mpmath.tanh(x) - x), "sigmoid": abs(1 / (1 + mpmath.exp(-x)) - mpmath.mpf(1) / 2 - x / 4)}
    for name, value in off.items():
        bound = bounds.get(f"burkholz2022most.{name}_curvature")(t=t)
        assert value <= bound
        assert abs(t) > 0.2 or value > 0.99 * bound
