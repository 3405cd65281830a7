"""Counting, the explicit count, widths and predictions of Kumar & Natale 2025, against slow twins."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import HypothesisError, Unspecified
from strongticket.bounds import kumar2025quantized as kumar

INSIDE = {
    "theorem1_items": {"C": 3.0, "spacing": 1 / 16},
    "theorem2_items": {"C": 3.0, "spacing": 1 / 16},
    "theorem3_parameters": {"d": 3, "spacing": 1 / 16, "p": 0.5},
    "theorem3_width": {"d": 3, "spacing": 1 / 16, "p": 0.5},
    "lemma4_term": {"n": 128},
    "explicit_items": {"M": 16, "c": 8, "delta": 0.01, "delta_1": 0.005, "theta": 0.4, "s": 2.0},
    "transition_bits": {"n": 12},
    "solutions_predicted": {"n": 12, "M": 127},
}


def test_every_bound_has_a_point_and_a_refusal() -> None:
    assert {f"kumar2025quantized.{name}" for name in INSIDE} == {bound.key for bound in kumar.BOUNDS}
    for name, values in INSIDE.items():
        bound = bounds.get(f"kumar2025quantized.{name}")
        number = bound(**values)
        first = next(iter(values))
        curve = bound.curve(**{**values, first: np.full(2, values[first])})
        np.testing.assert_allclose(curve, number, rtol=1e-9)
        assert bound.latex()
        for hypothesis in bound.hypotheses:
            names = [symbol.name for symbol in hypothesis.relation.free_symbols]
            broken = ({**values, which: bad} for which in names for bad in (-1.0, 0.0, 0.3, 2.5, 1e9))
            assert any(hypothesis in bound.failed_hypotheses(**point) for point in broken), hypothesis.name


def test_what_the_paper_leaves_open_is_asked_for() -> None:
    with pytest.raises(Unspecified, match="leaves the constant C"):
        bounds.get("kumar2025quantized.theorem1_items")(spacing=0.1)
    one, two = (bounds.get(f"kumar2025quantized.theorem{i}_items") for i in (1, 2))
    assert one(C=2, spacing=1 / 256) == 16
    assert two(C=2, spacing=1 / 256) == 128
    with pytest.raises(HypothesisError, match="spacing"):
        one(C=2, spacing=0.75)


@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 60))
def test_counting_is_the_count(bits: int, d: int, parameters: int) -> None:
    needed = bounds.get("kumar2025quantized.theorem3_parameters")
    enough = Fraction(2) ** parameters >= Fraction(1, 2) * (2 * 2**bits + 1) ** (d * d)
    assert enough == (parameters >= needed(d=d, spacing=2.0**-bits, p=0.5))
    width = bounds.get("kumar2025quantized.theorem3_width")(d=d, spacing=2.0**-bits, p=0.5)
    assert width * 2 * d == pytest.approx(needed(d=d, spacing=2.0**-bits, p=0.5))


def test_the_lemmas_term_says_nothing_of_real_networks() -> None:
    term = bounds.get("kumar2025quantized.lemma4_term")
    assert term(n=128) == pytest.approx(1.0)
    assert 266_200 * term(n=10**9) > 1


@given(st.integers(2, 300), st.floats(1e-12, 0.9), st.data())
@settings(max_examples=40)
def test_the_explicit_count_is_its_bound_and_falls(largest: int, delta: float, data: st.DataObject) -> None:
    reach = data.draw(st.integers(1, largest // 2))
    plan = kumar.exact_items(largest, delta, reach=reach)
    bound = bounds.get("kumar2025quantized.explicit_items")
    assert plan.items - 1 <= bound(**plan.values) <= plan.items
    assert kumar.exact_items(largest, delta / 2, reach=reach).items >= plan.items
    assert plan.items <= kumar.exact_items(largest, delta).items
    assert 2**plan.items >= 2 * reach + 1  # counting


@pytest.mark.parametrize("largest", [2, 3, 8, 100])
def test_the_explicit_count_makes_every_integer(largest: int) -> None:
    rng = np.random.default_rng(0)
    items = kumar.exact_items(largest, 0.2).items
    missing = 0
    for _ in range(300):
        drawn = rng.integers(1, largest + 1, items) * rng.choice([-1, 1], items)
        sums = {0}
        for x in drawn.tolist():
            sums |= {y + x for y in sums}
            if len(sums) > 4 * largest and set(range(-largest, largest + 1)) <= sums:
                break
        missing += not set(range(-(largest // 2), largest // 2 + 1)) <= sums
    assert missing <= 60
    assert kumar.exact_items(largest, 0.2, reach=0).items == 0


@pytest.mark.parametrize(("inputs", "places", "chance"), [(1, 5, 0.25), (6, 4, 0.1), (40, 8, 0.25), (40, 8, 1 / 32)])
def test_the_width_fills_every_place_as_often_as_it_says(inputs: int, places: int, chance: float) -> None:
    """The process itself, one neuron after the other; the width is not many times what is needed on average."""
    delta, rng = 0.05, np.random.default_rng(1)
    width = kumar.neurons_to_fill(inputs, places, chance, delta)
    read = []
    for _ in range(200):
        lacking, count = np.full(inputs, places), 0
        while lacking.any():
            count += 1
            offered = np.flatnonzero((rng.random(inputs) < chance) & (lacking > 0))
            if offered.size:
                lacking[offered[lacking[offered].argmax()]] -= 1
        read.append(count)
    assert np.mean(np.array(read) > width) <= delta
    assert inputs * places <= width <= 4 * np.mean(read)
    assert kumar.neurons_to_fill(inputs, places, chance, 1e-9) >= width
    assert kumar.neurons_to_fill(inputs, 0, chance, delta) == 0


@pytest.mark.parametrize(("n", "largest"), [(1, 5), (2, 4), (3, 2)])
def test_expected_solutions_by_enumeration(n: int, largest: int) -> None:
    numbers = [x for x in range(-largest, largest + 1) if x]
    counts: dict[int, int] = {}
    for items in itertools.product(numbers, repeat=n):
        for pick in itertools.product((0, 1), repeat=n):
            total = sum(p * x for p, x in zip(pick, items, strict=True))
            counts[total] = counts.get(total, 0) + 1
    for target in range(-n * largest - 2, n * largest + 3):
        assert kumar.expected_solutions(n, target, largest) == Fraction(counts.get(target, 0), len(numbers) ** n)


def test_the_prediction_is_near_the_exact_mean() -> None:
    """Annealed: 2^n times a Gaussian density of variance n v / 2, against the exact coefficient."""
    for n, largest, target in ((8, 127, 63), (12, 16, 8), (16, 50, 0)):
        variance = n * (largest + 1) * (2 * largest + 1) / 12
        density = math.exp(-(target**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        assert float(kumar.expected_solutions(n, target, largest)) == pytest.approx(2**n * density, rel=0.05)


def test_the_predicted_failure_has_the_known_values() -> None:
    """Computed for M = 127, t = 63 and M = 2047, t = 1023 by an independent quadrature."""
    from scipy.integrate import quad

    for n, target, largest in ((7, 63, 127), (11, 63, 127), (15, 1023, 2047)):
        s = math.sqrt(n * (largest + 1) * (2 * largest + 1) / 6 / 4)
        rate = 2**n / (s * math.sqrt(2 * math.pi))

        def integrand(g: float, rate: float = rate, shift: float = target / s) -> float:
            return math.exp(-rate * math.exp(-((g - shift) ** 2) / 2) - g * g / 2) / math.sqrt(2 * math.pi)

        assert kumar.failure_predicted(n, target, largest) == pytest.approx(quad(integrand, -12, 12)[0], rel=1e-6)
    assert kumar.failure_predicted(0, 3, 7) == 1.0
    assert kumar.failure_predicted(0, 0, 7) == 0.0


def test_the_transition_is_where_one_subset_is_expected() -> None:
    rate, critical = (bounds.get(f"kumar2025quantized.{name}") for name in ("solutions_predicted", "transition_bits"))
    for largest in (1, 15, 127, 2**14):
        n = kumar.transition_items(largest)
        below, above = math.floor(n), math.ceil(n)
        if below > 1:
            assert rate(n=below, M=largest) <= 1 <= rate(n=above, M=largest)
    assert critical(n=20) == pytest.approx(math.log2(2**20 / math.sqrt(math.pi * 20 / 6)))


@pytest.mark.parametrize("odd", [1.0, 0.5, 0.25])
def test_predicted_items_are_the_fewest(odd: float) -> None:
    targets, square = [(0, 100), (5, 40), (60, 2)], 2000.0
    n = kumar.items_predicted(targets, 0.1, square, odd)

    def lacking(items: int) -> float:
        return sum(
            k * ((1 - odd) ** items * bool(t) + kumar.failure_predicted(items, t, 256, square=square))
            for t, k in targets
        )

    assert lacking(n) <= 0.1 < lacking(n - 1)
    assert kumar.items_predicted([(0, 5)], 0.1, square, odd) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kumar.exact_items(16, 0.0), "delta must lie"),
        (lambda: kumar.exact_items(16, 0.1, reach=9), "2 c <= M"),
        (lambda: kumar.neurons_to_fill(0, 1, 0.5, 0.1), "inputs >= 1"),
        (lambda: kumar.neurons_to_fill(1, 1, 0.0, 0.1), "chance in"),
        (lambda: kumar.transition_items(0), "at least 1"),
        (lambda: kumar.items_predicted([(1, 1)], 0.0, 1.0), "must be positive"),
        (lambda: kumar.items_predicted([(1, 1)], 0.1, 1.0, 0.0), "must be positive"),
        (lambda: kumar.expected_solutions(65, 1, 4), r"0\.\.64 items"),
    ],
)
def test_refusals(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
