"""Counts of Malach et al. 2020 against numbers by hand, against integrals, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import HypothesisError
from strongticket.bounds import malach2020proving as malach

EPS = st.sampled_from([0.3, 0.1, 0.03, 0.01])


def slow_hit(a: float, e: float, steps: int = 400_001) -> float:
    """P(u > 0, |u v - a| <= e), word for word: the integral over u in (0, 1) of the share of v in (-1, 1)."""
    u = (np.arange(steps) + 0.5) / steps
    low, high = np.maximum((a - e) / u, -1.0), np.minimum((a + e) / u, 1.0)
    return float(np.mean(np.maximum(high - low, 0.0)) / 4.0)


@given(st.floats(-1.0, 1.0), EPS)
def test_the_hit_probability_is_the_integral(a: float, e: float) -> None:
    assert float(malach.hit_probability(a, e)) == pytest.approx(slow_hit(abs(a), e), abs=1e-5)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), EPS)
def test_larger_weights_are_harder(a: float, b: float, e: float) -> None:
    low, high = sorted((a, b))
    assert float(malach.hit_probability(high, e)) <= float(malach.hit_probability(low, e)) + 1e-15


def test_the_worked_size() -> None:
    width = bounds.get("malach2020proving.theorem2_1_width")(s=16, w=16, L=2, eps=0.1, delta=0.1)
    inner = 64 * 16**2 * 2**2 * 16 / 0.01 * math.log(2 * 16 * 16 * 2 / 0.1)
    assert width == pytest.approx(256 * inner, rel=1e-8)
    assert width == pytest.approx(2.48e11, rel=2e-3)


def test_the_width_is_the_items_at_the_papers_tolerance() -> None:
    width = bounds.get("malach2020proving.theorem2_1_width")
    for s, w, depth, eps in ((3, 2, 1, 0.3), (16, 8, 4, 0.01), (1, 1, 1, 0.9)):
        each = malach.items_for_network(w * s * depth, malach.paper_weight_eps(eps, depth, s, w), 0.05, event="paper")
        assert abs(width(s=s, w=w, L=depth, eps=eps, delta=0.05) / (w * s) - each) <= 1


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6), EPS, st.sampled_from([0.5, 0.1, 1e-3]))
def test_items_for_target_are_the_least_that_the_union_bound_allows(
    weights: list[float], e: float, delta: float
) -> None:
    n = malach.items_for_target(weights, e, delta)
    hit = [float(malach.hit_probability(w, e)) for w in weights if w > e]

    def failures(count: int) -> float:
        return sum((1.0 - p) ** count for p in hit)

    assert failures(n) <= delta * (1 + 1e-6)
    assert n == 1 or failures(n - 1) > delta * (1 - 1e-6)


@given(st.floats(0.05, 1.0), EPS, st.integers(1, 10**6), st.sampled_from([0.3, 1e-2, 1e-6]))
def test_the_counts_agree_and_stand_in_order(a: float, e: float, problems: int, delta: float) -> None:
    if a <= e * 1.001:
        return
    product = malach.items_for_network(problems, e, delta, event="product", max_target=a)
    assert abs(product - malach.items_for_target([a] * 3, e, 3 * delta / problems)) <= 1 + 1e-9 * product
    least = bounds.get("malach2020proving.least_items")(weight_eps=e, delta=delta, target=a)
    assert least <= product
    paper = malach.items_for_network(problems, e, delta, event="paper")
    if a <= 1 - e - 1e-9:  # the hypothesis is checked exactly, on binary fractions
        pair = malach.items_for_network(problems, e, delta, event="pair", max_target=a)
        assert product <= pair <= paper
    assert product <= paper


def test_the_product_needs_one_over_eps_and_the_pair_its_square() -> None:
    def ratio(event: malach.Event) -> float:
        few, many = (malach.items_for_network(100, e, 0.01, event=event, max_target=0.3) for e in (0.01, 0.001))
        return many / few

    assert ratio("product") == pytest.approx(10, rel=0.02)
    assert ratio("pair") == pytest.approx(100, rel=0.001)
    assert ratio("paper") == pytest.approx(100, rel=0.001)
    at_one = [malach.items_for_network(100, e, 0.01, event="product") for e in (0.01, 0.001)]
    assert at_one[1] / at_one[0] == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("event", ["pair", "product"])
def test_the_events_are_as_likely_as_said(event: malach.Event) -> None:
    """With the counts, misses of one weight are as rare as delta says, for the product and for the pair."""
    rng = np.random.default_rng(7)
    a, e, delta, draws = 0.4, 0.1, 0.1, 20_000
    n = malach.items_for_network(1, e, delta, event=event, max_target=a)
    u, v = rng.uniform(-1, 1, (2, draws, n))
    if event == "product":
        hit = (u > 0) & (np.abs(u * v - a) <= e)
        p = float(malach.hit_probability(a, e))
    else:
        each = e / (1 + a)
        hit = (np.abs(u - a) <= each) & (np.abs(v - 1) <= each)
        p = each**2 / 2
        assert (np.abs((u * v - a)[hit]) <= e).all()
    missed = float((~hit.any(axis=1)).mean())
    assert missed == pytest.approx((1 - p) ** n, abs=4 * math.sqrt(delta / draws))
    assert (1 - p) ** n <= delta


def test_random_features() -> None:
    width = bounds.get("malach2020proving.random_features_width")
    error = bounds.get("malach2020proving.random_features_error")
    k = int(width(eps=0.1, delta=0.01, C=1, B=1))
    assert k == math.ceil(800 * (math.sqrt(1 / 3) + math.sqrt(math.log(100))) ** 2)
    # the expected error is below the one that holds with probability 1 - delta
    assert error(k=k, C=1, B=1) < 0.1
    assert width(eps=0.1, delta=0.01, C=3, B=1) == pytest.approx(9 * k, abs=9)


def test_refusals() -> None:
    width = bounds.get("malach2020proving.theorem2_1_width")
    good = {"s": 4, "w": 4, "L": 2, "eps": 0.1, "delta": 0.1}
    assert width(**good, norm=1.0, largest=0.5)
    for bad in ({"largest": 0.51}, {"norm": 1.1}, {"eps": 0.0}, {"delta": 1.0}, {"s": 1.5}):
        with pytest.raises(HypothesisError):
            width(**{**good, **bad})
    with pytest.raises(HypothesisError, match="max_target"):
        malach.items_for_network(10, 0.1, 0.1, event="pair", max_target=0.95)
    for call in (
        lambda: malach.items_for_network(10, 0.0, 0.1, event="product"),
        lambda: malach.items_for_target([0.5], 0.1, 1.0),
        lambda: malach.items_for_target([1.5], 0.1, 0.1),
        lambda: malach.items_for_network(10, 0.1, 0.1, event="luck"),  # type: ignore[arg-type]
        lambda: malach.hit_probability(0.5, math.inf),
        lambda: malach.hit_probability(math.nan, 0.1),
    ):
        with pytest.raises(ValueError):
            call()
    assert malach.items_for_network(10, 0.1, 0.1, event="product", max_target=0.05) == 1
