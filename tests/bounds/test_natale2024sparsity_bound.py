"""Sums of exactly k items and counting, against enumeration, simulation and exact arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from strongticket import bounds
from strongticket.bounds import HypothesisError, Unspecified
from strongticket.bounds import natale2024sparsity as natale

INSIDE: dict[str, dict[str, float]] = {
    "theorem2_items": {"k": 3, "eps": 0.01, "gamma": 0.2, "c_hyp": 1.0},
    "theorem2_probability": {"c_l": natale.SUM_LOWER, "c_u": natale.SUM_UPPER},
    "density_lower": {"k": 3},
    "density_upper": {"k": 3},
    "corollary1_items": {"k": 3, "eps": 0.01, "gamma": 0.2, "c_amp": 302.0},
    "corollary2_items": {"eps": 0.01, "gamma": 0.2, "c_amp": 302.0},
    "theorem3_items": {"L": 2, "d_in": 64, "d_out": 10, "eps": 0.01, "gamma": 0.2, "n": 1e6, "c_amp": 302.0},
    "theorem3_parameters": {"d_in": 64, "d_out": 10, "n": 100},
    "theorem3_kept": {"d_in": 64, "d_out": 10, "k": 3},
    "theorem3_density": {"d_in": 64, "d_out": 10, "gamma": 0.2},
    "explicit_items": {"group": 24, "p": 0.8, "N": 1000, "delta": 0.01},
    "theorem5_parameters": {"d": 10, "eps": 0.01, "gamma": 0.2, "k": 30},
}


def test_every_formula_has_a_point_here() -> None:
    keys = {bound.key for bound in bounds.all() if bound.reference == "natale2024sparsity"}
    assert keys == {f"natale2024sparsity.{name}" for name in INSIDE}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_calls_and_refusals(name: str) -> None:
    bound, values = bounds.get(f"natale2024sparsity.{name}"), INSIDE[name]
    assert set(bound.symbols) == set(values)
    number = bound(**values)
    first = next(iter(values))
    np.testing.assert_allclose(bound.curve(**{**values, first: np.full(2, values[first])}), number, rtol=1e-9)
    assert bound.latex()
    given_too = {**values, **dict.fromkeys(bound.conditions, 1e7)}
    assert bound.failed_hypotheses(**given_too) == ()
    for hypothesis in bound.hypotheses:
        names = sorted(symbol.name for symbol in hypothesis.relation.free_symbols)
        changed = ({**given_too, n: bad} for n in names for bad in (-1.0, 0.0, 0.3, 2.0, 1e9))
        assert any(hypothesis in bound.failed_hypotheses(**point) for point in changed), hypothesis.name
    for constant in bound.unspecified:
        with pytest.raises(Unspecified, match=constant):
            bound(**{n: v for n, v in values.items() if n != constant})


def test_the_constant_of_theorem2_and_what_it_makes_of_the_corollary() -> None:
    c_thm = bounds.get("natale2024sparsity.theorem2_probability")(c_l=natale.SUM_LOWER, c_u=natale.SUM_UPPER)
    assert c_thm == pytest.approx(3 / (80 * math.sqrt(2)), rel=1e-15)
    assert round(8 / c_thm) == 302
    with pytest.raises(HypothesisError):
        bounds.get("natale2024sparsity.theorem5_parameters")(d=3, eps=0.1, gamma=0.2, k=3)


# ------------------------------------------------------------------ sums


@pytest.mark.parametrize("k", [2, 3, 5, 11])
def test_densities_are_b_splines_and_distributions_their_integrals(k: int) -> None:
    spline = BSpline.basis_element(np.arange(k + 1))  # density of a sum of k numbers U(0, 1)
    for point in (Fraction(0), Fraction(1, 3), Fraction(-4, 5), Fraction(k * 9, 10)):
        y = float(point + k) / 2
        assert float(natale.sum_density(k, point)) == pytest.approx(float(spline(y)) / 2, rel=1e-9)
        assert float(natale.sum_cdf(k, point)) == pytest.approx(float(spline.integrate(0, y)), rel=1e-9)
    assert natale.sum_density(k, Fraction(k + 1)) == 0


@given(st.integers(1, 12), st.fractions(-13, 13), st.fractions(Fraction(1, 1000), 2))
def test_windows_are_probabilities_and_fall_with_the_distance(k: int, z: Fraction, eps: Fraction) -> None:
    near, far = natale.window(k, z, eps), natale.window(k, z + (1 if z >= 0 else -1) * eps / 3, eps)
    assert 0 <= far <= near <= 1
    assert natale.window(k, -z, eps) == near
    # the mean value theorem, with a density that falls with |x|
    assert near <= 2 * eps * natale.sum_density(k, Fraction(0))


@pytest.mark.parametrize("count", [0, 65, 2.5])
def test_other_numbers_of_summands_are_refused(count: object) -> None:
    with pytest.raises(ValueError, match=r"1\.\.64"):
        natale.sum_cdf(count, Fraction(0))  # type: ignore[arg-type]


@given(st.integers(1, 64), st.floats(0, 1))
@settings(max_examples=60)
def test_densities_lie_between_their_constants(k: int, share: float) -> None:
    density = float(natale.sum_density(k, Fraction(share * math.sqrt(k))))
    assert density * math.sqrt(k) * (1 + 1e-12) >= natale.SUM_LOWER
    assert density * math.sqrt(k) <= natale.SUM_UPPER * (1 + 1e-12)


# ------------------------------------------------------------------ the second moment


def literal_bound(items: int, size: int, eps: Fraction, target: Fraction) -> Fraction:
    """(E Y)^2 / E Y^2, summed over all ordered pairs of subsets."""
    subsets = [frozenset(some) for some in itertools.combinations(range(items), size)]
    hit = natale.window(size, target, eps)
    square = Fraction(0)
    for one in subsets:
        for other in subsets:
            fresh = len(other - one)
            again = Fraction(1) if not fresh else hit if fresh == size else natale.window(fresh, Fraction(0), eps)
            square += hit * again
    return (len(subsets) * hit) ** 2 / square


@pytest.mark.parametrize(("items", "size"), [(1, 1), (4, 1), (5, 2), (6, 3), (5, 4), (4, 4)])
@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_hit_probability_is_the_literal_sum_over_pairs(items: int, size: int, target: float) -> None:
    eps, z = Fraction(1, 50), Fraction(target)
    assert natale.hit_probability(items, size, eps, z) == literal_bound(items, size, eps, z)


@pytest.mark.parametrize(("items", "size", "eps"), [(8, 2, 0.05), (12, 3, 0.01), (10, 5, 0.01), (30, 1, 0.02)])
def test_hit_probability_is_below_the_measured_frequency(items: int, size: int, eps: float) -> None:
    rng = np.random.default_rng(0)
    trials, z = 4000, math.sqrt(size) / 2
    chosen = np.array(list(itertools.combinations(range(items), size)))
    drawn = rng.uniform(-1, 1, (trials, items))
    hits = np.mean([np.abs(row[chosen].sum(axis=1) - z).min() <= eps for row in drawn])
    proved = natale.group_success(items, size, eps, z)
    assert proved <= hits + 4 * math.sqrt(hits * (1 - hits) / trials)
    assert proved >= hits / 3  # and not far below


def test_weaker_items_serve_less_and_only_strong_ones_count() -> None:
    chances = [natale.group_success(24, 3, 0.01, 0.5, u) for u in (0.3, 0.5, 0.9, 1.0)]
    assert chances == sorted(chances)
    # thinning, literally: the exact probabilities with Binomial weights
    eps, z = Fraction(0.01) / Fraction(0.5), Fraction(1)
    expected = sum(
        Fraction(math.comb(8, g), 2**8) * natale.hit_probability(g, 2, eps, z) for g in range(2, 9)
    )  # fmt: skip
    assert natale.group_success(8, 2, 0.01, 0.5, 0.5) == pytest.approx(float(expected), rel=1e-8)


@given(st.integers(1, 6), st.sampled_from([0.1, 0.01]), st.integers(1, 10**6), st.sampled_from([0.1, 1e-6]))
@settings(max_examples=40)
def test_plans_add_up_and_are_monotone(size: int, eps: float, problems: int, delta: float) -> None:
    plan = natale.item_plan(size, eps, delta, problems=problems)
    assert problems * (1 - plan.success) ** plan.groups <= delta
    assert plan.items == plan.groups * plan.group
    assert natale.item_plan(size, eps, delta, problems=2 * problems).items >= plan.items
    assert natale.item_plan(size, eps, delta / 2, problems=problems).items >= plan.items
    one = natale.item_plan(size, eps, delta, problems=problems, groups_of=(plan.group,))
    assert one == plan


def test_what_k_items_do_not_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="do not come within"):
        natale.item_plan(2, 0.01, 0.1, max_target=3.0)
    with pytest.raises(ValueError, match="u_min"):
        natale.group_success(10, 2, 0.01, 0.5, 1.5)


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_theorem2_items_is_the_least(size: int) -> None:
    for eps in (0.1, 1e-4):
        n = natale.theorem2_items(size, eps)
        assert n * natale.entropy(size / n) >= math.log2(size / eps)
        assert n == 2 * size or (n - 1) * natale.entropy(size / (n - 1)) < math.log2(size / eps)


def test_theorem3_items_solves_its_equation() -> None:
    formula = bounds.get("natale2024sparsity.theorem3_items")
    for share, c_amp in itertools.product((0.5, 0.1, 1e-3), (1.0, 302.0)):
        n = natale.theorem3_items(share, 2, 64, 10, 0.01, c_amp)
        values = {"L": 2, "d_in": 64, "d_out": 10, "eps": 0.01, "gamma": share, "c_amp": c_amp}
        assert formula(n=n, **values) == pytest.approx(n, rel=1e-9)
        assert formula(n=2 * n, **values) < 2 * n  # beyond it, every n is enough


# ------------------------------------------------------------------ counting


@given(st.integers(1, 400), st.data())
def test_mask_bits_are_exact(parameters: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, parameters))
    literal = sum(math.comb(parameters, i) for i in range(kept + 1))
    assert natale.mask_bits(parameters, kept) == pytest.approx(math.log2(literal), abs=1e-6)
    exactly = natale.mask_bits(parameters, kept, exactly=True)
    assert exactly == pytest.approx(math.log2(math.comb(parameters, kept)), abs=1e-6)


def test_mask_bits_of_many_parameters_stay_between_simple_bounds() -> None:
    for parameters, kept in ((10**9, 10**7), (10**8, 4 * 10**7), (10**6, 499_999)):
        bits = natale.mask_bits(parameters, kept)
        one = natale.mask_bits(parameters, kept, exactly=True)
        assert one <= bits <= min(parameters, one + math.log2(kept + 1))


@given(st.integers(1, 150), st.integers(0, 160))
def test_kept_needed_is_the_least(parameters: int, bits: int) -> None:
    """Against integers; what rounding cannot tell apart leans to the smaller number."""
    counts = [math.comb(parameters, i) for i in range(parameters + 1)]
    for exactly, numbers in ((False, list(itertools.accumulate(counts))), (True, counts[: parameters // 2 + 1])):
        enough = [k for k, number in enumerate(numbers) if math.log2(number) >= bits - 1e-9 * max(1, bits)]
        assert natale.kept_needed(parameters, bits, exactly=exactly) == (enough[0] if enough else None)


def test_counting_agrees_with_pensias_theorem() -> None:
    from strongticket.bounds.pensia2020optimal import theorem2_kept

    for m, d, eps in ((1000, 10, 0.01), (300, 5, 0.1), (100, 6, 0.01)):
        bits = natale.needed_bits(d * d, eps)
        assert natale.kept_needed(m, bits) == theorem2_kept(m, d, eps)
        exactly, at_most = natale.theorem5_kept(m, d * d, eps), natale.kept_needed(m, bits)
        assert exactly is None or (at_most is not None and exactly >= at_most)


@pytest.mark.parametrize("scaled", [False, True])
def test_theorem5_kept_implies_theorem5(scaled: bool) -> None:
    """Where the counting form allows n parameters with k of them kept, n is at least what the theorem says."""
    formula = bounds.get("natale2024sparsity.theorem5_parameters")
    for n, d, eps in ((3000, 5, 0.01), (3000, 10, 0.05)):
        k = natale.theorem5_kept(n, d * d, eps, scaled=scaled)
        assert k is not None
        if scaled:
            assert formula(d=d, eps=eps, gamma=k / n, k=k) <= n


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (natale.entropy, (1.5,)),
        (natale.mask_bits, (3, 4)),
        (natale.needed_bits, (3, 0.0)),
        (natale.theorem5_kept, (10, 3, 0.6)),
        (natale.theorem2_items, (0, 0.1)),
        (natale.theorem2_items, (3, 1.0)),
        (natale.theorem3_items, (0.7, 1, 1, 1, 0.1, 1.0)),
        (natale.hit_probability, (3, 4, Fraction(1, 10), Fraction(0))),
        (natale.hit_probability, (3, 2, Fraction(0), Fraction(0))),
    ],
)
def test_bad_values_are_refused(function: object, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"needed|must|lies"):
        function(*arguments)  # type: ignore[operator]
