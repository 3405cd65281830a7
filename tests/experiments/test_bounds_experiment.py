from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from experiments.bounds import DELTAS, LAWS, TARGETS, Bounds, groups, items_interval, items_measured, theory
from strongticket.bounds.lueker1998exponentially import coverage_floor, failure_predicted
from strongticket.random import law


def drawn(run: Bounds, trial: int) -> tuple[list[Fraction], Fraction]:
    """Items and target of one trial in exact fractions, from the values themselves."""

    def values(what: str, per_trial: int) -> list[Fraction]:
        made = law("uniform23").values(
            run.seed,
            f"bounds {run.law} {run.target} {what}",
            trial * per_trial,
            (trial + 1) * per_trial,
            purpose="slt-trial/1",
        )
        return [Fraction(float(value)) for value in made]

    second = values("v", run.max_items)
    target = values("target", 1)[0] / 2 if run.target == "spread" else Fraction(1, 2)
    if run.law == "uniform":
        return second, target
    return [max(u, Fraction(0)) * v for u, v in zip(values("u", run.max_items), second, strict=True)], target


def slow_hitting_time(items: list[Fraction], target: Fraction, eps: float) -> int:
    """By the definition: the least n such that some subset of the first n items is within eps; -1 for never."""
    for n in range(len(items) + 1):
        for size in range(n + 1):
            for subset in combinations(items[:n], size):
                if abs(target - sum(subset)) <= Fraction(eps):
                    return n
    return -1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", LAWS)
def test_hitting_times_are_those_of_the_definition(name: Any, target: Any) -> None:
    run = Bounds(law=name, target=target, eps=(0.3, 0.06, 0.01), trials=25, max_items=9, seed=5)
    slow = np.zeros((3, 10), dtype=int)
    for trial in range(run.trials):
        for row, eps in zip(slow, run.eps, strict=True):
            time = slow_hitting_time(*drawn(run, trial), eps)
            if time >= 0:
                row[time] += 1
    assert run.run() == {"hits": slow.tolist()}
    assert slow.sum() < 3 * run.trials  # some never hit, so that case is tested too


def test_a_seed_names_its_trials() -> None:
    def hits(seed: int, trials: int = 200) -> Any:
        return Bounds("uniform", "edge", (0.05,), trials, 12, seed).run()["hits"]

    assert hits(0) == hits(0)
    assert hits(0) != hits(1)
    assert hits(0, 30_000) != [[150 * n for n in row] for row in hits(0)]  # later trials are others


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", LAWS)
def test_failures_agree_with_floor_and_prediction(name: Any, target: Any) -> None:
    trials, most = 20_000, 24
    run = Bounds(name, target, (0.1, 0.01, 0.001), trials, most, 1)
    for eps, hits in zip(run.eps, run.run()["hits"], strict=True):
        failed = trials - np.cumsum(hits)
        assert np.all(np.diff(failed) <= 0)
        for n in (4, 8, 12, 16, 20, 24):
            setting: dict[str, Any] = {"law": name, "target": 0.5, "averaged": target == "spread"}
            floor = coverage_floor(n, eps, **setting)
            assert binom.cdf(failed[n], trials, floor) > 1e-6  # a proved lower bound
            if n >= 12 and failed[n] > 100:
                # measured, not proved: the truth lies between the two ways to combine floor and density
                least, most_likely = (failure_predicted(n, eps, combine=how, **setting) for how in ("max", "sum"))
                assert 0.75 * least < failed[n] / trials < 1.35 * most_likely


histograms = st.lists(st.integers(0, 30), min_size=1, max_size=12)


@given(histograms, st.integers(0, 20), st.sampled_from([0.5, 0.1, 0.01]))
def test_items_measured_is_the_smallest_number_that_fails_rarely_enough(
    hits: list[int], never: int, delta: float
) -> None:  # fmt: skip
    trials = sum(hits) + never
    if trials == 0:
        return
    failing = [Fraction(trials - sum(hits[: n + 1]), trials) for n in range(len(hits))]
    enough = [n for n, rate in enumerate(failing) if rate * trials <= delta * trials]
    assert items_measured(hits, trials, delta) == (min(enough) if enough else None)


@settings(max_examples=30)
@given(histograms, st.integers(0, 20), st.sampled_from([0.5, 0.1, 0.01]))
def test_interval_is_made_of_exact_binomial_intervals(hits: list[int], never: int, delta: float) -> None:
    trials = sum(hits) + never
    if trials == 0:
        return
    found: dict[str, int | None] = {"low": None, "high": None}
    for n in reversed(range(len(hits))):
        interval = binomtest(trials - sum(hits[: n + 1]), trials).proportion_ci(0.99, "exact")
        for end in found:
            if getattr(interval, end) <= delta:
                found[end] = n
    low, high = items_interval(hits, trials, delta)
    assert (low, high) == (found["low"], found["high"])
    measured = items_measured(hits, trials, delta)
    if measured is not None and low is not None:
        assert low <= measured
        assert high is None or measured <= high


def test_table_pools_the_seeds_and_shows_their_spread() -> None:
    runs = [Bounds("uniform", "edge", (0.1, 0.05), 10, 3, seed) for seed in (0, 1)]
    results = [{"hits": [[0, 9, 1, 0], [0, 0, 9, 1]]}, {"hits": [[0, 10, 0, 0], [0, 0, 1, 9]]}]
    rows = Bounds.table(list(zip(runs, results, strict=True)))
    assert [(row["delta"], row["eps"]) for row in rows] == [(delta, eps) for delta in DELTAS for eps in (0.1, 0.05)]
    first, second = rows[0], rows[1]
    assert (first["measured"], first["least seed"], first["most seed"]) == (1, 1, 1)
    assert (second["measured"], second["least seed"], second["most seed"]) == (3, 2, 3)
    (group,) = groups(list(zip(runs, results, strict=True)))
    assert group.pooled() == [[0, 19, 1, 0], [0, 0, 10, 10]]
    assert rows[0]["theorem"] == theory("uniform", "edge", 0.1, 0.1)["theorem"]


def test_theory_orders_floor_prediction_and_theorem() -> None:
    for name in LAWS:
        for eps in (1e-1, 1e-3, 1e-6):
            values = theory(name, "edge", eps, 0.01)
            assert values["counted"] < values["predicted"] < values["theorem"]


@pytest.mark.parametrize(
    "change", [{"eps": ()}, {"eps": (0.1, 0.2)}, {"eps": (1.0,)}, {"eps": (0.1, 0.0)}, {"trials": 0}, {"max_items": 0}]
)
def test_bad_parameters_are_refused(change: dict[str, Any]) -> None:
    values: dict[str, Any] = {"law": "uniform", "target": "edge", "eps": (0.1,), "trials": 1, "max_items": 4, "seed": 0}
    Bounds(**values)
    with pytest.raises(ValueError):
        Bounds(**{**values, **change})
