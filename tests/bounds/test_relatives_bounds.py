"""Bounds of the relatives of Pensia's theorem: sparse, frozen, binary, redrawn, biased and perturbed sources."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from strongticket import bounds
from strongticket.bounds import (
    Unspecified,
    chijiwa2021pruning,
    diffenderfer2021multiprize,
    fischer2021nonzero,
    gadhikar2023random,
    otsuka2025partially,
    pensia2020optimal,
    sreenivasan2022finding,
    xiong2022perturbation,
)

INSIDE = {
    "gadhikar2023random.width_factor": {"p": 0.3, "delta": 0.01, "N": 100},
    "gadhikar2023random.link_copies": {"p": 0.3, "delta": 0.01, "N": 100},
    "gadhikar2023random.dead_floor": {"p": 0.3, "n": 7},
    "gadhikar2023random.floor_items": {"p": 0.3, "delta": 0.01},
    "gadhikar2023random.explicit_items": {
        "eps": 0.01, "delta": 0.01, "delta_1": 0.005, "c": 0.25, "q": 0.25, "theta": 0.4, "s": 2.0, "p": 0.5,
    },
    "otsuka2025partially.locked_shift": {"n": 30, "r": 0.25, "delta": 0.01},
    "otsuka2025partially.opposing_sum": {"n": 300, "mean": 0.1, "delta": 0.01},
    "otsuka2025partially.searched_share": {"pruned": 0.25, "locked": 0.25},
    "sreenivasan2022finding.theorem_depth": {"C": 2, "d": 10, "L": 2, "eps": 0.1},
    "sreenivasan2022finding.theorem_width": {"C": 2, "d": 10, "L": 2, "eps": 0.1},
    "sreenivasan2022finding.copies_failure": {"R": 20, "doublings": 15, "picks": 40},
    "sreenivasan2022finding.depth": {"L": 2, "bits": 5},
    "diffenderfer2021multiprize.theorem_width": {"C": 2, "d": 10, "L": 2, "eps": 0.1},
    "diffenderfer2021multiprize.explicit_items": {"K": 16, "N": 100, "delta": 0.01},
    "diffenderfer2021multiprize.floor_items": {"K": 16},
    "chijiwa2021pruning.single_hit": {"p": 0.1, "k": 5, "R": 3},
    "chijiwa2021pruning.neurons_needed": {"p": 0.1, "R": 3, "delta": 0.01},
    "chijiwa2021pruning.mask_bits": {"m": 100, "R": 3},
    "chijiwa2021pruning.try_delta": {"delta": 0.01, "N": 100, "R": 3},
    "fischer2021nonzero.zero_bias_floor": {"offset": 0.5},
    "fischer2021nonzero.bias_scale": {"sigma": 0.5, "l": 3},
    "fischer2021nonzero.output_scale": {"sigma": 0.5, "L": 4},
    "fischer2021nonzero.looks_linear_usable": {"n": 4},
    "xiong2022perturbation.interval": {"eps": 0.01, "eta": 0.1, "k": 3},
    "xiong2022perturbation.hit_chance": {"eps": 0.01, "eta": 0.1, "n": 2, "c": 1.0},
}  # fmt: skip
MODULES = (
    chijiwa2021pruning,
    diffenderfer2021multiprize,
    fischer2021nonzero,
    gadhikar2023random,
    otsuka2025partially,
    sreenivasan2022finding,
    xiong2022perturbation,
)


def test_every_bound_has_a_point_and_a_refusal() -> None:
    assert set(INSIDE) == {bound.key for module in MODULES for bound in module.BOUNDS}
    for key, values in INSIDE.items():
        bound = bounds.get(key)
        number = bound(**values)
        first = next(iter(values))
        np.testing.assert_allclose(bound.curve(**{**values, first: np.full(2, values[first])}), number, rtol=1e-9)
        assert bound.latex()
        for hypothesis in bound.hypotheses:
            names = [symbol.name for symbol in hypothesis.relation.free_symbols]
            broken = ({**values, which: bad} for which in names for bad in (-1.0, 0.0, 0.3, 2.5, 1e9))
            assert any(hypothesis in bound.failed_hypotheses(**point) for point in broken), hypothesis.name
    for key in ("sreenivasan2022finding.theorem_depth", "diffenderfer2021multiprize.theorem_width"):
        with pytest.raises(Unspecified, match="leaves the constant C"):
            bounds.get(key)(**{k: v for k, v in INSIDE[key].items() if k != "C"})


@given(st.sampled_from([0.01, 0.1, 0.5, 0.9]), st.integers(1, 10**5), st.floats(1e-9, 0.5))
@settings(max_examples=30)
def test_link_copies_are_the_least(p: float, links: int, delta: float) -> None:
    least = bounds.get("gadhikar2023random.link_copies")(p=p, delta=delta, N=links)
    reached = [math.exp(links * math.log1p(-((1 - p) ** n))) if n else 0.0 for n in (least - 1, least)]
    assert reached[0] < (1 - delta) * (1 + 1e-9)
    assert reached[1] >= (1 - delta) * (1 - 1e-9)
    assert least <= math.ceil(bounds.get("gadhikar2023random.width_factor")(p=p, delta=delta, N=links))


@pytest.mark.parametrize("assignment", ["fixed", "column-aware"])
def test_with_all_edges_the_sparse_count_is_the_dense_one_and_fewer_edges_need_more(assignment: str) -> None:
    options = {"max_target": 0.5, "assignment": assignment, "u_min": 0.5}
    dense = pensia2020optimal.items_for_network(50, 0.05, 0.01, mode="theorem", **options)  # type: ignore[arg-type]
    counts = [gadhikar2023random.items_for_network(50, 0.05, 0.01, edges=p, **options) for p in (1.0, 0.5, 0.25)]  # type: ignore[arg-type]
    assert counts[0] == dense
    assert counts[1] > 1.5 * counts[0]
    assert counts[2] > 1.5 * counts[1]
    assert counts[1] >= bounds.get("gadhikar2023random.floor_items")(p=0.5, delta=0.01)
    plan = gadhikar2023random.item_plan(50, 0.05, 0.01, edges=0.5, **options)  # type: ignore[arg-type]
    assert plan.groups * bounds.get("gadhikar2023random.explicit_items")(**plan.values) == pytest.approx(
        plan.items, abs=plan.groups
    )


def test_thinning_is_the_mixture() -> None:
    def literal(n: int, p: float) -> float:
        total = 0.0
        for there in product((0, 1), repeat=n):
            k = sum(there)
            total += p**k * (1 - p) ** (n - k) * (0.5**k if k else 1.0)
        return total

    for n, p in ((1, 0.25), (5, 0.5), (9, 0.75)):
        assert gadhikar2023random.failure_thinned(n, p, lambda k: 0.5**k) == pytest.approx(literal(n, p))
    assert gadhikar2023random.failure_thinned(5, 1.0, lambda k: 0.5**k) == 0.5**5


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_locked_sums_stay_within_their_shift_and_opposing_ones_reach(share: float) -> None:
    rng = np.random.default_rng(0)
    n, delta = 60, 0.02
    u, v = rng.uniform(0.5, 1, (20_000, n)), rng.uniform(-1, 1, (20_000, n))
    locked = rng.random(u.shape) < share
    shift = otsuka2025partially.locked_shift(n, share, delta)
    assert np.mean(np.abs((u * v * locked).sum(axis=1)) > shift) <= delta
    assert shift == pytest.approx(bounds.get("otsuka2025partially.locked_shift")(n=n, r=share, delta=delta))
    mean = (1 - share) * 0.5 / 4
    reach = otsuka2025partially.opposing_sum(n, mean, delta)
    assert np.mean((np.maximum(u * v, 0) * ~locked).sum(axis=1) < reach) <= delta
    assert otsuka2025partially.locked_shift(n, 0.0, delta) == 0.0


def test_locking_costs_candidates() -> None:
    counts = [
        otsuka2025partially.items_for_network(10, 0.05, 0.01, locked=r, assignment="column-aware", u_min=0.5)
        for r in (0.0, 0.1, 0.25, 0.5)
    ]
    assert counts == sorted(counts)
    assert counts[0] == gadhikar2023random.items_for_network(
        10, 0.05, 0.01, edges=1.0, assignment="column-aware", u_min=0.5
    )


def test_the_predicted_failure_of_locked_candidates_is_simulated() -> None:
    from strongticket.subsetsum import solve

    rng, n, share, eps = np.random.default_rng(1), 14, 0.25, 0.02
    x = rng.uniform(-1, 1, (3000, n))
    locked = rng.random(x.shape) < share
    free, targets = np.where(locked, 0.0, x), 0.4 - (x * locked).sum(axis=1)
    found = solve(free, targets, backend="numba").absolute_error > eps

    def failure(k: int, z: float) -> float:
        from strongticket.bounds.lueker1998exponentially import failure_predicted

        return failure_predicted(k, eps, target=z, method="quenched")

    predicted = otsuka2025partially.failure_predicted(n, share, 0.4, 1 / 3, failure)
    assert 0.5 * np.mean(found) < predicted < 2 * np.mean(found)


def test_extreme_numbers_do_not_overflow() -> None:
    assert xiong2022perturbation.items_counted(1e-300, 0.0, 1e300) == 1994
    items = diffenderfer2021multiprize.items_exact(5, 10**12, 1e-300)
    tail = [Fraction(10**12 * sum(math.comb(n, k) for k in range(5)), 2**n) for n in (items, items - 1)]
    assert tail[0] <= Fraction(1e-300) < tail[1]


@given(st.integers(0, 40), st.integers(1, 1000), st.floats(1e-9, 0.5))
@settings(max_examples=40)
def test_signs_needed_are_the_least(largest: int, problems: int, delta: float) -> None:
    items = diffenderfer2021multiprize.items_exact(largest, problems, delta)
    if largest == 0:
        assert items == 0
        return
    assert problems * binom.cdf(largest - 1, items, 0.5) <= delta
    assert problems * binom.cdf(largest - 1, items - 1, 0.5) > delta * (1 - 1e-6)
    assert (
        largest <= items <= bounds.get("diffenderfer2021multiprize.explicit_items")(K=largest, N=problems, delta=delta)
    )


def test_copies_needed_are_the_least_and_the_failure_is_a_union_bound() -> None:
    failure = bounds.get("sreenivasan2022finding.copies_failure")
    for doublings, picks, delta in ((0, 1, 0.5), (15, 40, 0.03), (10**4, 10**5, 1e-6)):
        R = sreenivasan2022finding.copies_needed(doublings, picks, delta)
        assert failure(R=R, doublings=doublings, picks=picks) <= delta
        assert R == 3 or failure(R=R - 1, doublings=doublings, picks=picks) > delta
    # one doubling of R copies from R signs each, all of them complete: by enumeration of one copy
    for R in (3, 5):
        misses = sum(sum(signs) < 2 for signs in product((0, 1), repeat=R))
        assert Fraction(misses, 2**R) == Fraction(R + 1, 2**R)


def test_redraws_are_more_neurons() -> None:
    hit, needed = bounds.get("chijiwa2021pruning.single_hit"), bounds.get("chijiwa2021pruning.neurons_needed")
    for R in (1, 4, 50):
        k = needed(p=0.01, R=R, delta=0.05)
        assert hit(p=0.01, k=k, R=R) <= 0.05
        assert k == 1 or hit(p=0.01, k=k - 1, R=R) > 0.05
    assert bounds.get("chijiwa2021pruning.mask_bits")(m=10, R=1) == 10
    items = [chijiwa2021pruning.items_for_network(100, 0.05, 0.01, draws=R, max_target=0.25, u_min=0.5) for R in (1, 8)]
    assert items[1] < 0.5 * items[0]


def test_a_perturbed_subset_meets_its_interval_and_counting_holds() -> None:
    for eps, eta, reach in ((0.01, 0.0, 1.0), (0.01, 0.05, 3.0), (0.3, 1.0, 0.1)):
        n = xiong2022perturbation.items_counted(eps, eta, reach)
        assert 2**n * (eps + n * eta / 2) >= reach
        assert n == 0 or 2 ** (n - 1) * (eps + (n - 1) * eta / 2) < reach
    # sum over sizes, exactly
    n, eps, eta = 7, Fraction(1, 100), Fraction(1, 10)
    total = sum(math.comb(n, k) * 2 * (eps + k * eta) for k in range(n + 1))
    assert total / 2 == 2**n * (eps + n * eta / 2)
    assert xiong2022perturbation.items_counted(0.01, 0.0, 1.0) > xiong2022perturbation.items_counted(0.01, 0.01, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gadhikar2023random.live_share(0.0, "fixed"), r"edges must lie in \(0, 1\]"),
        (lambda: gadhikar2023random.item_plan(0, 0.1, 0.1, edges=0.5), "problems >= 1"),
        (lambda: gadhikar2023random.item_plan(1, 0.1, 0.1, edges=0.5, u_min=0.0), "u_min and free"),
        (lambda: gadhikar2023random.failure_thinned(-1, 0.5, lambda k: 0.0), "items >= 0"),
        (lambda: otsuka2025partially.locked_shift(5, 1.0, 0.1), "locked in"),
        (lambda: otsuka2025partially.items_for_network(5, 0.1, 0.1, locked=-0.1), "locked must lie"),
        (lambda: otsuka2025partially.items_for_network(5, 0.1, 0.1, locked=0.999), "lock less"),
        (lambda: sreenivasan2022finding.copies_needed(-1, 0, 0.1), "counts >= 0"),
        (lambda: diffenderfer2021multiprize.items_exact(-1, 1, 0.1), "K >= 0"),
        (lambda: chijiwa2021pruning.items_for_network(1, 0.1, 0.1, draws=0), "draws must be"),
        (lambda: xiong2022perturbation.items_counted(0.0, 0.1, 1.0), "eps > 0"),
        (lambda: xiong2022perturbation.items_counted(0.1, 0.1, math.inf), "finite eps > 0"),
        (
            lambda: gadhikar2023random.item_plan(1, 0.1, 0.1, edges=0.5, assignment="column"),
            "'fixed' or 'column-aware'",
        ),  # type: ignore[arg-type]
        (
            lambda: otsuka2025partially.items_for_network(5, 0.1, 0.1, locked=0.5, max_target=math.nan),
            "max_target must",
        ),
        (lambda: otsuka2025partially.opposing_sum(-1, 0.1, 0.1), "items >= 0"),
        (lambda: diffenderfer2021multiprize.items_exact(2.5, 1, 0.1), "whole number"),  # type: ignore[arg-type]
    ],
)
def test_refusals(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
