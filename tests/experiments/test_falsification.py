"""Blocks of a study against one call of falsify, tables against the statistics, presets against the theorems."""

from __future__ import annotations

from dataclasses import replace

import pytest

import theory
from experiments import falsification
from experiments.falsification import ALPHA, Falsification, reports
from strongticket.runs import from_json, to_json
from strongticket.statistics import benjamini_hochberg, holm
from theory import Verdict

EXPLICIT, FLOOR = "lueker1998exponentially.explicit", "lueker1998exponentially.coverage_floor"


@pytest.mark.parametrize(
    ("key", "settings"), [(EXPLICIT, ("items=10", "eps=0.05")), (FLOOR, ()), ("kumar2025quantized.first_moment", ())]
)
def test_the_blocks_of_a_study_are_one_call_of_falsify(key: str, settings: tuple[str, ...]) -> None:
    runs = Falsification.study(key, blocks=4, trials=30, settings=settings, seed=3)
    finished = [(run, run.run()) for run in reversed(runs)]  # in whatever order they were finished
    (report,) = reports(finished)
    whole = theory.get(key).falsify(trials=120, seed=3, alpha=ALPHA, **runs[0].params)
    assert replace(report, seconds=0.0) == replace(whole, seconds=0.0)
    assert 0 < report.failures < 120
    assert report.seconds > 0


def test_a_block_depends_on_its_own_parameters_alone() -> None:
    first, again = (Falsification(FLOOR, block=2, trials=20).run() for _ in range(2))
    first.pop("measured"), again.pop("measured")
    assert first == again
    other = Falsification(FLOOR, block=2, trials=20, seed=1).run()
    assert other["examples"] != first["examples"]
    run = Falsification(EXPLICIT, ("items=20",), 1, 5)
    assert from_json(Falsification, to_json(run)) == run


def test_the_table_adjusts_for_all_its_claims() -> None:
    runs = [
        *Falsification.study(EXPLICIT, 2, 40, settings=("items=10",)),
        *Falsification.study(EXPLICIT, 1, 80, settings=("items=60",)),
        *Falsification.study(FLOOR, 1, 60),
        *Falsification.study(FLOOR, 1, 60, seed=1),
    ]
    finished = [(run, run.run()) for run in runs]
    rows = Falsification.table(finished)
    assert [(row["theorem"], row["seed"], row["trials"]) for row in rows] == [
        (f"{EXPLICIT} items=10", 0, 80),
        (f"{EXPLICIT} items=60", 0, 80),
        (FLOOR, 0, 60),
        (FLOOR, 1, 60),
    ]
    p_values = [row["p"] for row in rows]
    assert [row["p Holm"] for row in rows] == list(holm(p_values))
    assert [row["p BH"] for row in rows] == list(benjamini_hochberg(p_values))
    assert {row["level"] for row in rows} == {ALPHA}  # a verdict says how sure it is
    assert [row["verdict"] for row in rows] == ["FALSIFIED", "HOLDS_SO_FAR", "HOLDS_SO_FAR", "HOLDS_SO_FAR"]
    assert rows[0]["low 99%"] > rows[0]["allowed"]
    assert reports(finished)[0].verdict is Verdict.FALSIFIED


def test_a_block_that_is_given_twice_is_refused() -> None:
    run = Falsification(FLOOR, trials=5)
    with pytest.raises(ValueError, match="twice"):
        reports([(run, run.run())] * 2)


def test_presets_try_every_claim_with_enough_trials_to_contradict_it() -> None:
    claimed = {theorem.key for theorem in theory.all() if theorem.claim is not None}
    assert claimed >= falsification._SLOW | falsification._SLOWEST | falsification._LENIENT
    for preset in ("quick", "default"):
        trials: dict[str, int] = {}
        for run in Falsification.preset(preset):
            trials[run.theorem] = trials.get(run.theorem, 0) + run.trials
        assert set(trials) == claimed
        for key, count in trials.items():
            claim = theory.get(key).claim
            assert claim is not None
            assert claim.failure_probability() ** count <= ALPHA / len(claimed), (preset, key)
    pensia = Falsification.preset("pensia")
    assert sum(run.trials for run in pensia) == 10_000
    assert {(run.theorem, run.settings, run.seed) for run in pensia} == {("pensia2020optimal.theorem1", (), 0)}
    assert len({run.block for run in pensia}) == len(pensia)


@pytest.mark.parametrize("bad", [{"block": -1}, {"trials": 0}, {"seed": -1}, {"seed": 1 << 64}])
def test_parameters_that_make_no_sense_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Falsification(**bad)  # type: ignore[arg-type]


def test_a_theorem_without_a_claim_is_refused() -> None:
    silent = next(theorem.key for theorem in theory.all() if theorem.claim is None)
    with pytest.raises(ValueError, match="no claim"):
        Falsification(silent, trials=2).run()
    with pytest.raises(ValueError, match="name=value"):
        Falsification(FLOOR, ("items",), trials=2).run()
