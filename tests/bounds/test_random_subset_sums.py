"""Floors, first moments, saddlepoint and their rules against exact solutions, enumeration and published values."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from strongticket import bounds
from strongticket.bounds import _fixed_size
from strongticket.bounds import random_subset_sums as sums
from strongticket.bounds._saddlepoint import _estimate, log_expected, log_expected_of_size
from strongticket.subsetsum import solve

Array = npt.NDArray[np.float64]
NAMES = ("uniform", "product", "half_product", "normal", "hyperbolic")
LAWS = [*sums.LAWS.values(), sums.Hyperbolic(0.01)]


def draw(law: str, shape: tuple[int, ...], rng: np.random.Generator, low: float = 0.01) -> Array:
    """Items by the definition of the law, not by the code under test."""
    if law == "normal":
        return rng.normal(size=shape)
    if law == "hyperbolic":
        return np.asarray(rng.choice([-1.0, 1.0], shape) * low ** rng.uniform(0, 1, shape))
    u, v = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape)
    return np.asarray({"uniform": u, "product": u * v, "half_product": np.maximum(u, 0) * v}[law])


@cache
def least_errors(law: str, n: int, trials: int, averaged: bool, low: float = 0.01) -> Array:
    rng = np.random.default_rng([NAMES.index(law), n, trials, averaged])
    items = draw(law, (trials, n), rng, low)
    targets = rng.uniform(-1, 1, trials) if averaged else np.ones(trials)
    return solve(items, targets, objective="min_error", threads=1).errors()


def sigma(rate: float, trials: int) -> float:
    return math.sqrt(max(rate * (1 - rate), 1 / trials) / trials)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_laws_against_draws(law: sums.ItemLaw) -> None:
    rng = np.random.default_rng(3)
    items = draw(law.name, (400_000,), rng)
    live = items[items != 0]
    assert live.size / items.size == pytest.approx(law.alive, abs=0.004)
    assert np.mean(live**2) == pytest.approx(law.variance, rel=0.02)
    made = law.magnitude(rng.uniform(0, 1, (law.uniforms, 400_000)))
    for x in (0.02, 0.1, 0.5, 0.9, 1.5):
        assert float(law.magnitude_cdf(np.array([x]))[0]) == pytest.approx(np.mean(np.abs(live) <= x), abs=0.004)
        assert float(law.magnitude_cdf(np.array([x]))[0]) == pytest.approx(np.mean(made <= x), abs=0.004)
    for t in (0.1, 1.0, 7.0, 40.0):
        assert float(law.characteristic(np.array([t]))[0]) == pytest.approx(np.mean(np.cos(t * live)), abs=0.008)


@pytest.mark.parametrize("law", [law for law in LAWS if law.name != "hyperbolic"], ids=lambda law: law.name)
def test_mixture_is_the_least_density_of_its_window(law: sums.ItemLaw) -> None:
    best = law.mixture(law.best_range)
    for c in (0.05, 0.1, 0.2, 0.3, 0.45):
        step = 1e-6  # the densities fall with |x|: the least is at the end
        ends = law.magnitude_cdf(np.array([2 * c - step, 2 * c]))
        density = law.alive * float(ends[1] - ends[0]) / (2 * step)
        assert law.mixture(c) == pytest.approx(2 * c * density, rel=1e-4)
        assert law.mixture(c) <= best + 1e-12


def test_hyperbolic_items_follow_the_tolerance_and_have_no_theorem() -> None:
    assert sums.get_law("hyperbolic", 0.1) == sums.Hyperbolic(0.1)
    by_name = sums.coverage_floor(10, 0.1, law="hyperbolic")
    assert by_name == sums.coverage_floor(10, 0.1, law=sums.Hyperbolic(0.1))
    assert by_name != sums.coverage_floor(10, 0.1, law=sums.Hyperbolic(0.01))
    with pytest.raises(ValueError, match="density around 0"):
        sums.items_needed(0.1, 0.1, law="hyperbolic")
    with pytest.raises(ValueError, match="least magnitude"):
        sums.get_law("hyperbolic")
    for low in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="in \\(0, 1\\)"):
            sums.Hyperbolic(low)


# ---------------------------------------------------------------- floors


def test_floor_values() -> None:
    """Values found elsewhere, by other means."""
    for n, value in {10: 1.95e-2, 15: 1.81e-3, 20: 1.48e-4, 21: 8.86e-5, 24: 1.87e-5, 30: 7.71e-7, 34: 8.81e-8}.items():
        assert sums.coverage_floor(n, 0.01, averaged=True) == pytest.approx(value, rel=5e-3)
    assert sums.coverage_floor(21, 0.01, law="product", averaged=True) == pytest.approx(4.8e-3, rel=0.01)
    assert sums.coverage_floor(21, 0.01, law="normal", averaged=True) == pytest.approx(4e-5, rel=0.05)
    for law, expected in {"uniform": (26, 30, 34), "product": (38, 44, 49), "normal": (24, 28, 32)}.items():
        found = tuple(sums.floor_items(0.01, delta, law, averaged=True) for delta in (1e-5, 1e-6, 1e-7))  # type: ignore[arg-type]
        assert found == expected


@pytest.mark.parametrize("n", [1, 5, 21])
def test_averaged_uniform_floor_is_exact(n: int) -> None:
    eps = 0.01
    series = sum(math.comb(n, k) * (1 - eps) ** (k + 1) / math.factorial(k + 1) for k in range(n + 1)) / 2**n
    assert sums.coverage_floor(n, eps, averaged=True) == pytest.approx(series, rel=2e-9)
    assert sums.coverage_floor(n, eps, averaged=True) <= series
    # and beyond one item unit
    wide = quad(lambda z: sums.coverage_floor(n, 0.1, target=z, scale=0.4), 0.1, 0.9, points=[0.5])[0] / 0.9
    assert sums.coverage_floor(n, 0.1, target=0.9, averaged=True, scale=0.4) == pytest.approx(wide, rel=1e-6)


def irwin_hall(k: int, t: Fraction) -> Fraction:
    """P(sum of k numbers U(0, 1) <= t), by the alternating sum, exactly."""
    if t >= k:
        return Fraction(1)
    terms = ((-1) ** j * math.comb(k, j) * (t - j) ** k for j in range(math.floor(t) + 1))
    return sum(terms, Fraction(0)) / math.factorial(k)


@pytest.mark.parametrize(("n", "target"), [(1, 1.5), (6, 2.0), (30, 2.01), (60, 6.5), (90, 30.0)])
def test_uniform_floor_beyond_one_unit_in_exact_fractions(n: int, target: float) -> None:
    t = Fraction(target) - Fraction(0.01)
    exact = sum(math.comb(n, k) * irwin_hall(k, t) for k in range(n + 1)) / 2**n
    floor = sums.coverage_floor(n, 0.01, target=target)
    assert floor <= exact
    assert floor == pytest.approx(float(exact), rel=2e-9)


def test_floor_does_not_fall_where_one_lattice_ends_and_the_next_begins() -> None:
    for law in NAMES:
        floors = [sums.coverage_floor(20, 0.01, law=law, target=z) for z in (0.9, 1.01, 1.0101, 1.2, 3.0, 8.0)]  # type: ignore[arg-type]
        assert floors == sorted(floors)
    # beyond what is followed: its value there
    assert sums.coverage_floor(200, 0.01, target=70.0) == sums.coverage_floor(200, 0.01, target=64.01)
    with pytest.raises(ValueError, match="use method 'saddlepoint'"):
        sums.failure_predicted(30, 0.01, law="product", target=9.0)


@pytest.mark.parametrize("law", NAMES)
def test_predictions_beyond_one_unit_against_exact_solutions(law: Any) -> None:
    """|z| = 2, of 16 items: the floor is most of it."""
    rng, trials = np.random.default_rng(21), 10_000
    items = draw(law, (trials, 16), rng)
    failed = float((solve(items, np.full(trials, 2.0), objective="min_error", threads=1).errors() > 0.01).mean())
    floor = sums.coverage_floor(16, 0.01, law=law, target=2.0)
    noise = 4 * sigma(failed, trials)
    assert 0.3 * failed - noise <= floor <= failed + noise
    assert 0.6 * failed - noise <= sums.failure_predicted(16, 0.01, law=law, target=2.0) <= 1.8 * failed + noise
    found = sums.saddlepoint_failure(16, 0.01, law=law, target=2.0, draws=20_000)
    assert abs(found.value - failed) <= 0.15 * failed + noise + 4 * found.standard_error


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("law", NAMES)
def test_floor_is_below_the_reach_of_drawn_items_and_near_it(law: Any, averaged: bool) -> None:
    rng, trials, n, eps = np.random.default_rng(4), 200_000, 9, 0.01
    reach = np.maximum(draw(law, (trials, n), rng), 0).sum(axis=1)
    missed = float((reach < (rng.uniform(0, 1, trials) if averaged else 1.0) - eps).mean())
    floor = sums.coverage_floor(n, eps, law=law, averaged=averaged)
    assert floor <= missed + 4 * sigma(missed, trials)
    assert floor >= 0.985 * missed - 4 * sigma(missed, trials)


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize(("n", "size"), [(9, 1), (9, 2), (9, 4), (9, 8), (9, 9), (12, 6)])
def test_fixed_size_floor_by_sorting(n: int, size: int, averaged: bool) -> None:
    rng, trials, eps, target = np.random.default_rng(5), 100_000, 0.05, 0.8
    ordered = np.sort(rng.uniform(-1, 1, (trials, n)), axis=1)
    z = rng.uniform(-target, target, trials) if averaged else np.full(trials, target)
    low, high = ordered[:, :size].sum(axis=1), ordered[:, n - size :].sum(axis=1)
    missed = float(((high < z - eps) | (low > z + eps)).mean())
    floor = sums.fixed_size_floor(n, size, eps, target=target, averaged=averaged)
    assert floor == pytest.approx(missed, abs=4 * sigma(missed, trials))


def test_fixed_size_floor_at_its_ends() -> None:
    assert sums.fixed_size_floor(3, 4, 0.1) == 1.0
    assert sums.fixed_size_floor(5, 0, 0.1, target=0.5) == 1.0
    assert sums.fixed_size_floor(5, 0, 0.1, target=0.05) == 0.0
    assert sums.fixed_size_floor(5, 0, 0.1, target=0.4, averaged=True) == pytest.approx(0.75)
    assert sums.fixed_size_floor(5, 2, 0.1, target=0.0, averaged=True) == sums.fixed_size_floor(5, 2, 0.1, target=0.0)
    assert sums.fixed_size_floor(1, 1, 0.25, target=0.5) == pytest.approx(0.75)
    assert sums.fixed_size_floor(8, 3, 0.02, target=0.4, scale=0.5) == sums.fixed_size_floor(8, 3, 0.04, target=0.8)
    # the largest sum of k cannot exceed that of all positive items
    for size in range(1, 13):
        assert sums.fixed_size_floor(12, size, 0.01) >= sums.coverage_floor(12, 0.01)


# ---------------------------------------------------------------- first moments


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_expected_hits_of_a_size_by_enumeration(law: sums.ItemLaw, size: int) -> None:
    from itertools import combinations

    rng, trials, n, eps, target = np.random.default_rng(6), 60_000, 6, 0.05, 0.7
    items = draw(law.name, (trials, n), rng)
    for averaged in (False, True):
        z = rng.uniform(-target, target, trials) if averaged else np.full(trials, target)
        hits = np.zeros(trials)
        for chosen in combinations(range(n), size):
            some = items[:, list(chosen)]
            hits += (np.abs(some.sum(axis=1) - z) <= eps) & (some != 0).all(axis=1)
        expected = sums.fixed_size_hits(n, size, eps, law=law, target=target, averaged=averaged)
        assert expected == pytest.approx(hits.mean(), abs=4 * hits.std() / math.sqrt(trials) + 1e-9)


def test_hits_of_all_sizes_are_the_annealed_mean() -> None:
    n, eps, z = 14, 0.001, 0.6
    by_size = math.fsum(sums.fixed_size_hits(n, k, eps, target=z) for k in range(n + 1))
    assert by_size == pytest.approx(2**n * 2 * eps * math.sqrt(3 / (math.pi * n)) * math.exp(-3 * z * z / n), rel=0.02)
    assert sums.annealed_failure(n, eps, target=z) == pytest.approx(math.exp(-by_size), rel=0.25)


def test_first_moment_rule_and_its_bound() -> None:
    published = {("uniform", 0.1): (1.7, 5.3, 6.4), ("uniform", 1e-6): (20.1, 22.9, 24.0)}
    published |= {("product", 0.1): (1.0, 4.3, 5.5), ("normal", 1e-3): (10.5, 13.4, 14.4)}
    for (law, eps), row in published.items():
        found = tuple(sums.first_moment_items(eps, delta, law=law) for delta in (0.5, 1e-2, 1e-4))  # type: ignore[arg-type]
        assert found == pytest.approx(row, abs=0.051)
    live = sums.first_moment_items(0.01, 1e-3, law="product")
    assert sums.first_moment_items(0.01, 1e-3, law="half_product") == 2 * live
    from strongticket import bounds

    n = sums.first_moment_items(0.01, 1e-3)
    assert bounds.get("lueker1998exponentially.first_moment")(n=n, eps=0.01, v=1 / 3) == pytest.approx(1e-3, rel=1e-9)


# ---------------------------------------------------------------- saddlepoint


def test_saddlepoint_density_counts_the_subset_sums() -> None:
    """All 2^16 sums, in windows; without its correction the densities would be 5 % and 10 % too large."""
    ratios: dict[int | None, list[float]] = {None: [], 5: [], 8: [], 11: []}
    for seed in range(12):
        rng, width = np.random.default_rng(seed), 0.15
        items = rng.uniform(-1, 1, (1, 16))
        every, sizes = np.zeros(1), np.zeros(1, dtype=int)
        for x in items[0]:
            every, sizes = np.concatenate([every, every + x]), np.concatenate([sizes, sizes + 1])
        middle = items.sum() / 2
        for z in np.array([[middle - 0.5], [middle], [middle + 0.4]]):
            for size, found in ratios.items():
                some = every if size is None else every[sizes == size]
                counted = np.count_nonzero(np.abs(some - z) <= width) / (2 * width)
                log_density = log_expected(items, z) if size is None else log_expected_of_size(items, z, size)
                found.append(math.exp(log_density[0]) / counted)
    for found in ratios.values():
        assert np.mean(found) == pytest.approx(1.0, abs=0.025)
        assert 0.7 < min(found) < max(found) < 1.4


@given(st.lists(st.floats(0.01, 2), min_size=3, max_size=12), st.integers(0, 4095), st.floats(0.001, 0.999))
@settings(max_examples=60)
def test_saddlepoint_is_finite_and_symmetric_inside_the_range(sizes: list[float], signs: int, place: float) -> None:
    items = np.array([[x if signs >> i & 1 else -x for i, x in enumerate(sizes)]])
    low, high = np.minimum(items, 0).sum(axis=1), np.maximum(items, 0).sum(axis=1)
    z = low + place * (high - low)
    found = log_expected(items, z)
    assert np.isfinite(found).all()
    # complements of subsets, and scaling
    assert log_expected(items, items.sum(axis=1) - z) == pytest.approx(found, rel=1e-5, abs=1e-5)
    assert log_expected(4 * items, 4 * z) + math.log(4) == pytest.approx(found, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("n", [8, 12, 16])
@pytest.mark.parametrize("law", NAMES)
def test_floor_and_saddlepoint_against_exact_solutions(law: Any, n: int, averaged: bool) -> None:
    trials = 60_000 if n < 16 else 30_000
    for eps in (0.01,) if law == "hyperbolic" else (0.1, 0.01, 1e-3, 1e-4):
        failed = float((least_errors(law, n, trials, averaged) > eps).mean())
        noise = 4 * sigma(failed, trials)
        setting: dict[str, Any] = {"law": law, "averaged": averaged}
        found = sums.saddlepoint_failure(n, eps, draws=20_000, **setting)
        assert found.floor <= failed + noise
        assert found.floor == sums.coverage_floor(n, eps, **setting)
        # half_product has 4 live items in 8: a saddlepoint is out of its depth
        off = 0.1 if law != "half_product" else 0.15 if n == 16 else 0.3
        assert abs(found.value - failed) <= off * failed + noise + 4 * found.standard_error
        # fewer hits than Poisson with the mean number: exp(-mean) is below, and quenched between
        annealed = sums.failure_predicted(n, eps, method="annealed", **setting)
        if n >= 12 and law != "half_product":
            assert annealed <= failed + noise


PUBLISHED = {
    8: (4.3e-2, 0.29, 0.86, 0.98),
    10: (1.6e-2, 8.0e-2, 0.58, 0.94),
    12: (5.68e-3, 2.29e-2, 0.205, 0.811),
    16: (7.7e-4, 2.3e-3, 1.3e-2, 0.13),
    20: (9.7e-5, 2.53e-4, 1.173e-3, 8.13e-3),
}


@pytest.mark.parametrize(("n", "row"), PUBLISHED.items())
def test_saddlepoint_against_published_frequencies(n: int, row: tuple[float, ...]) -> None:
    """Uniform items, z ~ U(-1, 1), millions of exact solutions: within 10 % and the draws' own error."""
    for eps, rate in zip((0.1, 0.01, 1e-3, 1e-4), row, strict=True):
        found = sums.saddlepoint_failure(n, eps, averaged=True)
        assert found.tells
        assert abs(found.value / rate - 1) <= 0.1 + 3 * found.standard_error / rate
        assert found.floor <= rate * 1.02


def test_saddlepoint_is_reproducible_and_honest_about_its_error() -> None:
    setting: dict[str, Any] = {"averaged": True, "draws": 20_000}
    found = [sums.saddlepoint_failure(16, 0.01, seed=seed, **setting) for seed in range(12)]
    _estimate.cache_clear()
    assert sums.saddlepoint_failure(16, 0.01, seed=3, **setting) == found[3]
    values = np.array([each.failure for each in found])
    assert len(set(values)) == len(values)
    claimed = float(np.mean([each.standard_error for each in found]))
    assert 0.4 * values.std() <= claimed <= 3 * values.std()
    many = sums.saddlepoint_failure(16, 0.01, averaged=True, draws=400_000)
    assert many.standard_error < claimed / 3
    assert abs(values.mean() - many.failure) <= 4 * claimed / math.sqrt(len(values))


def test_a_saddlepoint_that_saw_no_failure_does_not_tell() -> None:
    unseen = sums.saddlepoint_failure(256, 1e-15, draws=1000)
    assert unseen.failure <= unseen.unseen
    assert not unseen.tells
    assert unseen.value == unseen.floor > 0.0
    assert not sums.Estimate(0.0, 0.0, 1000, 1e-9).tells
    assert sums.Estimate(1.0, 0.0, 1000, 0.5).tells
    with pytest.raises(ValueError, match="at most 256 uniform items, got 257"):
        sums.saddlepoint_failure(257, 0.01)
    with pytest.raises(ValueError, match="at most 88"):
        sums.failure_predicted(89, 0.01, law="half_product", method="saddlepoint")


def test_saddlepoint_says_when_it_cannot_tell() -> None:
    rare = sums.saddlepoint_failure(34, 0.01, averaged=True, draws=5_000)
    assert not rare.tells
    assert rare.value == rare.floor == sums.coverage_floor(34, 0.01, averaged=True)
    assert sums.saddlepoint_failure(12, 0.01, averaged=True, draws=5_000).tells
    found = sums.items_predicted(0.01, 1e-9, averaged=True, method="saddlepoint", draws=5_000)
    assert found == sums.floor_items(0.01, 1e-9, averaged=True)


@pytest.mark.parametrize("law", NAMES)
def test_targets_within_eps_never_fail(law: Any) -> None:
    for function in (sums.annealed_failure, sums.quenched_failure, sums.failure_predicted):
        assert function(3, 0.2, law=law, target=0.2) == 0.0
        # averaged: only the part with |z| > eps counts
        share = function(0, 0.2, law=law, averaged=True)
        assert share == pytest.approx(0.8)
        nodes, weights = np.polynomial.legendre.leggauss(60)
        by_target = [function(3, 0.2, law=law, target=float(z)) for z in 0.6 + 0.4 * nodes]
        if function is not sums.failure_predicted:
            mean = 0.4 * float(weights @ np.array(by_target))
            assert function(3, 0.2, law=law, averaged=True) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("eps", [1e-12, 1e-16, 1e-25])
def test_tolerances_below_the_rounding_of_the_target(eps: float) -> None:
    """Ten times less tolerance: log2(10) more items, no jump where eps is lost beside |z|."""
    for method in ("annealed", "quenched", "combined"):
        here, tighter = (sums.items_predicted(e, 0.1, method=method) for e in (eps, eps / 10))  # type: ignore[arg-type]
        assert 2 <= tighter - here <= 5
    assert sums.annealed_failure(50, 1e-14) == pytest.approx(
        math.exp(-(2.0**50) * 2e-14 * math.sqrt(3 / (math.pi * 50)) * math.exp(-3 / 50)), rel=1e-3
    )
    with pytest.raises(ValueError, match="eps >= 1e-30"):
        sums.items_predicted(1e-31, 0.1)
    with pytest.raises(ValueError, match="at most 64 items"):
        sums.floor_items(0.1, 0.1, size=65)


def test_narrow_windows_of_hyperbolic_items(monkeypatch: pytest.MonkeyPatch) -> None:
    for eps, z in [(1e-3, 1.0), (1e-4, 0.5), (1e-6, 1.0), (1e-6, 0.9)]:
        # P(|X + Y - z| <= eps), Y on a fine grid of its logarithm
        law, total = sums.Hyperbolic(eps), 0.0
        for sign in (-1.0, 1.0):
            y = z - sign * eps ** ((np.arange(1_000_000) + 0.5) / 1e6)
            ends = [np.sign(x) * law.magnitude_cdf(np.abs(x)) for x in (y - eps, y + eps)]
            total += float((ends[1] - ends[0]).mean()) / 4.0
        assert sums.fixed_size_hits(2, 2, eps, law="hyperbolic", target=z) == pytest.approx(total, rel=0.03)
    monkeypatch.setattr(_fixed_size, "_MOST_FREQUENCIES", 1 << 16)
    with pytest.raises(ValueError, match="not resolved"):
        sums.fixed_size_hits(2, 2, 1e-6, law="hyperbolic", target=0.7)


def test_certain_cases() -> None:
    assert sums.saddlepoint_failure(10, 0.2, target=0.1).value == 0.0  # the empty subset
    assert sums.saddlepoint_failure(0, 0.2, target=0.5).value == 1.0
    assert sums.saddlepoint_failure(3, 0.2, target=0.5, size=4).value == 1.0
    one = sums.saddlepoint_failure(4, 0.1, averaged=True, size=4)  # a single subset: its own probability
    assert one.value == pytest.approx(1 - sums.fixed_size_hits(4, 4, 0.1, averaged=True), abs=4 * one.standard_error)


# ---------------------------------------------------------------- sizes of subsets


SIZES = {
    (10, 0.01): (0.906, 0.719, 0.475, 0.338, 0.328, 0.427, 0.611, 0.832),
    (15, 0.01): (0.862, 0.471, 0.083, 0.017, 0.011, 0.014, 0.022, 0.039),
    (21, 1e-4): (0.998, 0.986, 0.916, 0.699, 0.338, 0.097, 0.031, 0.020),
}


@pytest.mark.parametrize(("setting", "row"), SIZES.items())
def test_sizes_against_published_frequencies(setting: tuple[int, float], row: tuple[float, ...]) -> None:
    n, eps = setting
    for size, rate in enumerate(row, start=1):
        found = sums.failure_predicted(n, eps, averaged=True, size=size, draws=8_000)
        # the published digits, and 4 standard errors of 20,000 draws
        noise = 0.0005 + 4 * sigma(rate, 20_000)
        assert abs(found - rate) <= 0.12 * rate + noise
        if size <= 2:
            assert sums.fixed_size_failure(n, size, eps, averaged=True) == pytest.approx(rate, rel=0.03)
        assert sums.fixed_size_floor(n, size, eps, averaged=True) <= rate + 0.0005


def test_sizes_by_enumeration() -> None:
    from itertools import combinations

    rng, trials, n, eps = np.random.default_rng(11), 10_000, 9, 0.02
    items, targets = draw("product", (trials, n), rng), rng.uniform(-1, 1, trials)
    for size in (1, 2, 7, 8):
        every = np.stack([items[:, list(chosen)].sum(axis=1) for chosen in combinations(range(n), size)])
        failed = float((np.abs(every - targets).min(axis=0) > eps).mean())
        found = sums.failure_predicted(n, eps, law="product", averaged=True, size=size, draws=10_000)
        assert abs(found - failed) <= 0.15 * failed + 4 * sigma(failed, trials)


# ---------------------------------------------------------------- numbers of items


MEASURED = {  # z ~ U(-1, 1), delta = .5, .1, 1e-2, 1e-3
    ("uniform", 1e-1): (4, 7, 11, 16),
    ("uniform", 1e-2): (7, 10, 14, 18),
    ("uniform", 1e-4): (14, 17, 20, 24),
    ("product", 1e-2): (7, 12, 19, 26),
    ("product", 1e-3): (11, 14, 20, 27),
    ("normal", 1e-2): (8, 11, 14, 17),
    ("normal", 1e-4): (15, 17, 20, 23),
    ("hyperbolic", 1e-1): (3, 7, 13, 17),
    ("hyperbolic", 1e-2): (8, 14, 24),
}


@pytest.mark.parametrize(("setting", "row"), MEASURED.items())
def test_predicted_items_against_published_thresholds(setting: tuple[Any, float], row: tuple[int, ...]) -> None:
    law, eps = setting
    for delta, measured in zip((0.5, 0.1, 1e-2, 1e-3), row, strict=False):
        found = sums.items_predicted(eps, delta, law, averaged=True, method="saddlepoint", draws=20_000)
        assert abs(found - measured) <= 1
        combined = sums.items_predicted(eps, delta, law, averaged=True)
        assert -1 <= combined - measured <= 2
        assert sums.floor_items(eps, delta, law, averaged=True) <= measured


@given(
    n=st.integers(0, 60),
    more=st.integers(1, 8),
    eps=st.floats(-6, -0.5).map(lambda x: 10**x),
    wider=st.floats(1, 3),
    law=st.sampled_from(NAMES[:4]),
    averaged=st.booleans(),
    target=st.floats(0.0, 1.5),
)
@settings(max_examples=60)
def test_floors_and_predictions_fall_with_items_and_tolerance(
    n: int, more: int, eps: float, wider: float, law: Any, averaged: bool, target: float
) -> None:
    setting: dict[str, Any] = {"law": law, "averaged": averaged, "target": target}
    for function in (sums.coverage_floor, sums.quenched_failure, sums.annealed_failure, sums.failure_predicted):
        here = function(n, eps, **setting)
        assert 0.0 <= here <= 1.0
        assert function(n + more, eps, **setting) <= here * (1 + 1e-9) + 1e-15
        assert function(n, min(eps * wider, 0.9), **setting) <= here * (1 + 1e-9) + 1e-15
        # items half as large and a target and a tolerance of half the size: nothing changes
        half = {**setting, "target": target / 2}
        assert function(n, eps / 2, scale=0.5, **half) == pytest.approx(here, rel=1e-6, abs=1e-15)
    assert sums.failure_predicted(n, eps, **setting) >= sums.coverage_floor(n, eps, **setting)


@given(
    st.floats(-4, -1), st.floats(-7, -1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["annealed", "combined"])
)
@settings(max_examples=25)
def test_items_fall_with_eps_and_delta(a: float, b: float, da: float, db: float, method: Any) -> None:
    setting: dict[str, Any] = {"law": "uniform", "averaged": True}
    eps, delta = 10**a, 10**b
    tight = sums.items_predicted(eps, delta, method=method, **setting)
    assert sums.items_predicted(min(eps * 10**da, 0.9), delta, method=method, **setting) <= tight
    assert sums.items_predicted(eps, min(delta * 10**db, 0.9), method=method, **setting) <= tight
    assert sums.floor_items(eps, delta, **setting) <= sums.items_predicted(eps, delta, **setting)


def test_the_theorem_beyond_its_range() -> None:
    assert sums.items_for_range(0.01, 0.01, 0.5) == sums.items_needed(0.01, 0.01) == 95
    two = sums.items_for_range(0.01, 0.01, 1.0)
    assert two <= 2 * sums.items_needed(0.005, 0.005)
    assert sums.items_for_range(0.01, 0.01, 0.3) <= 95
    assert sums.items_for_range(0.01, 0.01, 0.7, law="normal") >= sums.items_predicted(0.01, 0.01, "normal", target=0.7)
    for reach in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="reach"):
            sums.items_for_range(0.01, 0.01, reach)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_bad_numbers_are_refused(bad: float) -> None:
    for function in (sums.coverage_floor, sums.quenched_failure, sums.annealed_failure, sums.saddlepoint_failure):
        with pytest.raises(ValueError, match="eps"):
            function(5, bad)
        with pytest.raises(ValueError, match="scale"):
            function(5, 0.1, scale=bad)
        if bad != 0.0:
            with pytest.raises(ValueError, match="target"):
                function(5, 0.1, target=bad)
    for eps, delta in [(bad, 0.1), (0.1, bad), (1.0, 0.1), (0.1, 1.0)]:
        for items in (sums.items_predicted, sums.floor_items, sums.first_moment_items, sums.measured_items):
            with pytest.raises(ValueError, match="in \\(0, 1\\)"):
                items(eps, delta)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": -1}, "items"),
        ({"items": 2.5}, "items"),
        ({"items": True}, "items"),
        ({"size": -1}, "size"),
        ({"size": 1.5}, "size"),
        ({"method": "guess"}, "method"),
        ({"method": "quenched", "size": 2}, "fixed size"),
        ({"method": "saddlepoint", "draws": 10}, "draws"),
        ({"method": "saddlepoint", "seed": -1}, "seed"),
        ({"combine": "product"}, "combine"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sums.failure_predicted(**{"items": 5, "eps": 0.1, **arguments})
    with pytest.raises(KeyError, match="no law"):
        sums.failure_predicted(5, 0.1, law="cauchy")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("eps", "k", "n", "z"), [(5.92e-6, 11, 39, 0.2733), (5.7e-5, 7, 11, 0.934), (0.25, 1, 1, 0.5), (0.01, 6, 12, 5.5)]
)
def test_the_formula_of_the_fixed_size_floor_is_exact_where_its_terms_cancel(
    eps: float, k: int, n: int, z: float
) -> None:
    def below(t: Fraction) -> Fraction:
        total = Fraction(0)
        for j in range(1, k + 1):
            left = max(j - (k - t) / 2, Fraction(0)) ** n
            total += (-1) ** (k - j) * left / (j ** (n - k + 1) * math.factorial(j - 1) * math.factorial(k - j))
        return total

    exact = float(below(Fraction(z) - Fraction(eps)) + below(-Fraction(z) - Fraction(eps)))
    floor = bounds.get("lueker1998exponentially.fixed_size_floor")
    for number in (int, float):
        assert floor(eps=eps, k=number(k), n=number(n), z=z) == pytest.approx(exact, rel=1e-13)
    assert floor.curve(eps=eps, k=k, n=n, z=[z, z]).tolist() == [floor(eps=eps, k=k, n=n, z=z)] * 2
