"""The formulas of Orseau et al. 2020 against enumeration, simulation and literal recursions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import HypothesisError
from strongticket.bounds import orseau2020logarithmic as orseau

KEY = "orseau2020logarithmic"
INSIDE = {
    "bins": {"w_max": 1.0, "eps": 0.01},
    "greedy_error": {"w_max": 2.0, "b": 1.5, "k": 7},
    "hyperbolic_items": {"B": 10, "E": 16, "delta": 0.01},
    "uniform_items": {"B": 10, "eps": 0.01, "scale": 1.0, "delta": 0.01},
    "uniform_cost": {"E": 16, "eps": 0.01, "scale": 1.0},
    "network_error": {"L": 3, "a": 4.0, "e": 0.01, "alpha": 1.0, "lipschitz": 2.0},
}


def test_every_bound_has_a_point_here() -> None:
    assert {bound.key for bound in orseau.BOUNDS} == {f"{KEY}.{name}" for name in INSIDE}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_call_curve_and_latex_agree(name: str) -> None:
    bound, values = bounds.get(f"{KEY}.{name}"), INSIDE[name]
    assert set(bound.symbols) == set(values)
    number = bound(**values)
    assert bound.curve(**values) == pytest.approx(number)
    assert bound.latex()
    some = "eps" if "eps" in values else "e" if "e" in values else "w_max" if "w_max" in values else "delta"
    with pytest.raises(HypothesisError):
        bound(**{**values, some: -0.5})


@given(ratio=st.floats(1.001, 1e6))
def test_bins_are_the_least_power_of_the_golden_ratio(ratio: float) -> None:
    k = bounds.get(f"{KEY}.bins")(w_max=ratio, eps=1.0)
    assert orseau.GOLDEN**-k * ratio <= 1 + 1e-9
    assert orseau.GOLDEN ** -(k - 1) * ratio > 1 - 1e-9


def test_known_numbers() -> None:
    assert bounds.get(f"{KEY}.bins")(w_max=1, eps=0.01) == 10
    assert bounds.get(f"{KEY}.bins")(w_max=0.5, eps=0.5) == 0
    # k bins, each hit with probability 1/(2k) by one sample of random sign: the exact union bound for k = 10
    assert orseau.items_for_bins([1] * 10, [1 / 20] * 10, 0.01) == 135
    assert orseau.items_for_bins([1] * 10, [1 / 10] * 10, 0.01) == 66


@given(
    needs=st.lists(st.integers(0, 1000), min_size=1, max_size=4),
    share=st.integers(2, 12),
    delta=st.sampled_from([0.5, 0.01, 1e-6]),
)
def test_items_for_bins_is_the_least_number(needs: list[int], share: int, delta: float) -> None:
    masses = [1 / (share + i) for i in range(len(needs))]

    def failure(n: int) -> Fraction:
        return sum((k * (1 - Fraction(p)) ** n for k, p in zip(needs, masses, strict=True)), Fraction(0))

    n = orseau.items_for_bins(needs, masses, delta)
    assert failure(n) <= Fraction(delta) * (1 + Fraction(1, 10**9))
    assert n == 1 or failure(n - 1) > Fraction(delta) * (1 - Fraction(1, 10**9))


def test_the_formulas_are_the_functions() -> None:
    for B, E, delta in ((1, 8, 0.1), (10**6, 16, 1e-4)):
        formula = bounds.get(f"{KEY}.hyperbolic_items")(B=B, E=E, delta=delta)
        assert formula == orseau.items_for_bins([B], [orseau.hyperbolic_mass(E)], delta)
    eps, scale = 0.02, 2.0
    mass = orseau.uniform_mass(eps / orseau.GOLDEN**3, scale)
    formula = bounds.get(f"{KEY}.uniform_items")(B=50, eps=eps, scale=scale, delta=0.01)
    assert formula == orseau.items_for_bins([50], [mass], 0.01)
    cost = bounds.get(f"{KEY}.uniform_cost")(E=16, eps=eps, scale=scale)
    assert cost == pytest.approx(formula / bounds.get(f"{KEY}.hyperbolic_items")(B=50, E=16, delta=0.01), rel=0.03)


@pytest.mark.parametrize(("columns", "items", "usable"), [(1, 3, 0.25), (6, 4, 1 / 16), (20, 10, 1 / 32)])
def test_neurons_for_batch_are_enough_but_not_absurd(columns: int, items: int, usable: float) -> None:
    generator = np.random.default_rng(1)
    neurons = orseau.neurons_for_batch(columns, items, usable, 0.1)
    needed = []
    for _ in range(300):
        served = np.zeros(columns, dtype=int)
        count = 0
        while (served < items).any():
            count += 1
            good = np.flatnonzero((generator.random(columns) < usable) & (served < items))
            if good.size:
                served[good[0]] += 1
        needed.append(count)
    assert np.mean(np.array(needed) > neurons) < 0.1 + 0.05
    assert neurons < 3 * np.median(needed)


@given(
    lipschitz=st.floats(0.1, 3),
    norms=st.lists(st.floats(0.1, 20), min_size=1, max_size=4),
    bias=st.booleans(),
    eps=st.sampled_from([1e-3, 0.1, 5.0]),
)
@settings(max_examples=50)
def test_weight_eps_is_the_largest_that_the_recursion_allows(
    lipschitz: float, norms: list[float], bias: bool, eps: float
) -> None:
    shapes = [(3, 2) for _ in norms]
    biases = [0.5] * len(norms) if bias else None
    each = orseau.weight_eps(shapes, eps, norms=norms, radius=2.0, bias_norms=biases, lipschitz=lipschitz)

    def literal(e: float) -> float:
        error, size = 0.0, 2.0
        for i, a in enumerate(norms):
            off, shift = e * math.sqrt(6), e * math.sqrt(3) if bias else 0.0
            error, size = a * error + off * (size + error) + shift, a * size + (0.5 if bias else 0.0)
            if i < len(norms) - 1:
                error, size = lipschitz * error, lipschitz * size
        return error

    assert literal(each) <= eps * (1 + 1e-9)
    assert literal(each * (1 + 1e-6)) > eps * (1 - 1e-9)


def test_there_is_no_norm_condition() -> None:
    bound = bounds.get(f"{KEY}.network_error")
    assert bound.failed_hypotheses(L=2, a=1000.0, e=0.1, alpha=1.0, lipschitz=1.0) == ()
    assert "norm" not in bound.conditions


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orseau.items_for_bins([1], [0.0], 0.1), "probability 0"),
        (lambda: orseau.items_for_bins([1], [0.5, 0.5], 0.1), "one probability per bin"),
        (lambda: orseau.items_for_bins([1], [0.5], 1.0), "delta in"),
        (lambda: orseau.neurons_for_batch(0, 1, 0.5, 0.1), "columns"),
        (lambda: orseau.hyperbolic_mass(0), "octave"),
        (lambda: orseau.weight_eps([], 0.1, norms=[]), "shapes"),
        (lambda: orseau.weight_eps([(1, 1)], 0.1, norms=[1.0], lipschitz=math.inf), "Lipschitz"),
    ],
)
def test_nonsense_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
