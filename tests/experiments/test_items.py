from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, kstest, norm

import experiments.items as module
from experiments.items import EPS, LAWS, QUANTILES, TABLE, Count, Items, Law, finished, needed, table_text, tally
from strongticket.bounds.random_subset_sums import coverage_floor
from strongticket.runs import Store

RESULTS = Store(Path(__file__).parents[2] / "results")
UNIT = Fraction(1, 2**46)


def study(law: Any, items: tuple[int, ...] = (7,), trials: int = 30, **change: Any) -> Items:
    eps = (0.1,) if law == "hyperbolic" else (0.3, 0.1, 0.01)
    return replace(Items(law, "uniform", eps, items, trials, by_size=False, seed=3), **change)


def errors_by_size(run: Items, n: int) -> list[list[Fraction]]:
    """By the definition, in exact fractions: the least error of the subsets of each size, for each trial."""
    items, targets = run._draw(n, 0, run.trials)
    return [
        [min(abs(z - sum(subset)) * UNIT for subset in combinations(row, size)) for size in range(n + 1)]
        for row, z in zip(items.tolist(), targets.tolist(), strict=True)
    ]


@pytest.mark.parametrize("target", ["uniform", "1"])
@pytest.mark.parametrize("law", LAWS)
def test_failures_and_quantiles_are_those_of_the_definition(law: Any, target: Any) -> None:
    run = study(law, items=(1, 4, 7), target=target)
    result = run.run()
    for n, fails, quantiles in zip(run.items, result["fail"], result["quantiles"], strict=True):
        errors = sorted(min(each) for each in errors_by_size(run, n))
        assert fails == [sum(error > Fraction(eps) for error in errors) for eps in run.eps]
        for level, value in zip(QUANTILES, quantiles, strict=True):
            below = [error for error in errors if sum(e <= error for e in errors) >= level * len(errors)]
            assert value == float(below[0])


@pytest.mark.parametrize("law", ["uniform", "product", "normal", "hyperbolic"])
def test_each_size_is_that_of_the_definition(law: Any) -> None:
    run = study(law, items=(3, 6), by_size=True)
    result = run.run()
    for i, n in enumerate(run.items):
        errors = errors_by_size(run, n)
        for j, eps in enumerate(run.eps):
            hits = [[error <= Fraction(eps) for error in each] for each in errors]
            assert result["fail"][i][j] == [sum(not hit[k] for hit in hits) for k in range(n + 1)]
            first = [hit.index(True) for hit in hits if any(hit)]
            assert result["sparsest"][i][j] == [first.count(k) for k in range(n + 1)]
        middle = (run.trials + 1) // 2 - 1
        assert result["median"][i] == [float(sorted(each[k] for each in errors)[middle]) for k in range(n + 1)]


@pytest.mark.parametrize("law", LAWS)
def test_a_seed_names_its_trials_whatever_is_made_at_once(law: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = study(law, items=(5, 8), trials=50)
    whole = run.run()
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    assert run.run() == whole
    assert study(law, items=(8,), trials=50).run()["fail"] == whole["fail"][1:]  # numbers of items do not interact
    assert study(law, items=(5, 8), trials=50, seed=4).run() != whole


def log_uniform(values: Any) -> Any:
    return np.clip(1 - np.log(values) / math.log(0.1), 0, 1)


@pytest.mark.parametrize(
    ("law", "magnitude"),
    [
        ("uniform", lambda x: np.clip(x, 0, 1)),
        ("product", lambda x: np.clip(x * (1 - np.log(x)), 0, 1)),
        ("half_product", lambda x: np.clip(x * (1 - np.log(x)), 0, 1)),
        ("normal", lambda x: 2 * norm.cdf(x) - 1),
        ("hyperbolic", log_uniform),
    ],
)
def test_items_follow_their_law(law: Any, magnitude: Any) -> None:
    items, targets = (values.ravel() * 2.0**-46 for values in study(law)._draw(20, 0, 5000))
    dead = np.mean(items == 0)
    assert abs(dead - (0.5 if law == "half_product" else 0)) < 0.01
    live = items[items != 0]
    assert kstest(np.abs(live), magnitude).pvalue > 1e-4
    assert abs(np.mean(live > 0) - 0.5) < 0.01
    assert abs(np.corrcoef(live[:-1], live[1:])[0, 1]) < 0.02
    assert kstest(targets, "uniform", args=(-1, 2)).pvalue > 1e-4


def test_a_target_of_one_is_one() -> None:
    assert set(study("uniform", target="1")._draw(3, 0, 9)[1].tolist()) == {2**46}


counts = st.dictionaries(st.integers(1, 30), st.integers(0, 40), min_size=1)


@given(counts, st.sampled_from([0.5, 0.1, 0.01]))
def test_needed_is_the_smallest_number_that_fails_rarely_enough(fails: dict[int, int], delta: float) -> None:
    answer = needed({n: Count((fail,), (40,)) for n, fail in fails.items()}, delta)
    enough = [n for n, fail in fails.items() if fail / 40 <= delta]
    assert answer.items == (min(enough) if enough else None)
    assert answer.few == (bool(enough) and 40 * delta < 5)
    mark = "*" if answer.few else ""
    assert str(answer) == (f"{min(enough)}{mark}" if enough else f">{max(fails)}")


def test_tally_keeps_the_seeds_apart_and_pools_them() -> None:
    runs = [study("uniform", items=(4, 5), trials=10 + seed, seed=seed) for seed in range(2)]
    results = [{"fail": [[1, 2, 3], [0, 1, 2]]}, {"fail": [[4, 5, 6], [3, 4, 5]]}]
    found = tally(zip(runs, results, strict=True))
    assert list(found) == [("uniform", "uniform", None)]
    count = found["uniform", "uniform", None][0.1][5]
    assert count == Count((1, 4), (10, 11))
    assert (count.fail, count.total, count.rate, count.rates) == (5, 21, 5 / 21, (1 / 10, 4 / 11))
    sized = study("uniform", items=(2,), by_size=True)
    found = tally([(sized, {"fail": [[[9, 8, 7], [6, 5, 4], [3, 2, 1]]]})])
    assert {key[2]: of_eps[0.1][2].fails for key, of_eps in found.items()} == {1: (5,), 2: (4,)}


@pytest.mark.parametrize(
    "change",
    [
        {"eps": ()},
        {"eps": (0.1, 0.2)},
        {"eps": (1.0,)},
        {"items": ()},
        {"items": (0,)},
        {"items": (63,)},
        {"items": (4, 4)},
        {"trials": 0},
        {"law": "hyperbolic"},
        {"law": "half_product", "by_size": True},
    ],
)
def test_bad_parameters_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(Items("uniform", "uniform", (0.3, 0.1), (4,), 1, by_size=False, seed=0), **change)


def test_presets_use_five_seeds_and_every_law() -> None:
    assert set(LAWS) == set(get_args(Law))
    for runs in Items.presets().values():
        assert {run.law for run in runs} == set(LAWS)
        alike: dict[Any, list[int]] = {}
        for run in runs:
            key = (run.law, run.target, run.eps, run.items, run.trials, run.by_size)
            alike.setdefault(key, []).append(run.seed)
        assert all(seeds == [0, 1, 2, 3, 4] for seeds in alike.values())


def test_the_committed_table_is_what_the_committed_results_give() -> None:
    assert table_text(RESULTS) == TABLE.read_text()


def test_the_committed_table_obeys_what_is_proved() -> None:
    laws = json.loads(TABLE.read_text())["laws"]
    assert set(laws) == set(LAWS)
    for law in ("uniform", "product", "half_product"):
        for target, of_eps in laws[law]["targets"].items():
            assert set(of_eps) == {str(eps) for eps in EPS}
            for eps, of_n in of_eps.items():
                for n, count in of_n.items():
                    floor = coverage_floor(int(n), float(eps), law=law, averaged=target == "uniform")
                    assert binom.cdf(count["fail"], count["trials"], floor) > 1e-6


def test_seeds_differ_as_binomial_counts_do() -> None:
    for of_eps in tally(finished(Items, "default", RESULTS)).values():
        for count in (count for counts in of_eps.values() for count in counts.values()):
            below = binom.cdf(count.fails, count.trials, count.rate)
            above = binom.sf(np.array(count.fails) - 1, count.trials, count.rate)
            assert np.minimum(below, above).min() > 1e-9
