"""Trials that stop when the verdict is sure; verdicts on several claims at once; reports put together from parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

import theory
from strongticket.statistics import Decision, SequentialTest, anytime_interval, holm
from theory import AbstractClaim, Outcome, Report, Tally, Theorem, Trial, Verdict
from theory.__main__ import main
from theory._draws import Draws
from theory._report import adjusted
from theory._theorem import falsify, judge
from theory._trials import looks, trial_seeds


class DieClaim(AbstractClaim):
    """Fails with probability `truth`, says nothing with probability `undecided`, misses with probability `missed`."""

    text = "a die does not show a one"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"delta": 0.1, "truth": 0.0, "undecided": 0.0, "missed": 0.0, "judges": True, "factor": 1.0}
    )

    def failure_probability(self, **params: Any) -> float:
        p = self.resolve(**params)
        return p["delta"] / p["factor"]

    def judges_construction(self, **params: Any) -> bool:
        return bool(self.resolve(**params)["judges"])

    def trial(self, seed: int, **params: Any) -> Trial:
        p = self.resolve(**params)
        draw = float(Draws(seed).uniform("die", 1, low=0.0)[0])
        for outcome, name in ((Outcome.FAILURE, "truth"), (Outcome.UNDECIDED, "undecided"), (Outcome.MISSED, "missed")):
            if draw < p[name]:
                return Trial(outcome, name)
            draw -= p[name]
        return Trial(Outcome.SUCCESS, "another number")


def die(**changes: Any) -> Theorem:
    fields: dict[str, Any] = {
        "key": "nobody2001dice.theorem",
        "title": "dice",
        "statement": "dice fall",
        "hypotheses": (),
        "bound_keys": (),
        "status": "a test",
        "claim": DieClaim(),
    }
    return Theorem(**{**fields, **changes})


def slow_stop(trials: int, seed: int, alpha: float, **params: Any) -> tuple[int, Decision]:
    """Trial by trial, looking where `looks` says."""
    claim = DieClaim()
    test = SequentialTest(claim.failure_probability(**params), alpha, cap=trials)
    outcomes = [claim.trial(one, **params).outcome for one in trial_seeds(seed, trials)]
    bad = {Outcome.FAILURE, Outcome.MISSED} if claim.judges_construction(**params) else {Outcome.FAILURE}
    evidence = test.start
    for now in looks(trials, sequential=True):
        failures = sum(outcome in bad for outcome in outcomes[:now])
        undecided = outcomes[:now].count(Outcome.UNDECIDED)
        evidence = test.observe(evidence, trials=now, failures=failures, undecided=undecided)
        if evidence.decision is not Decision.GO_ON:
            break
    return now, evidence.decision


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"truth": 0.05},
        {"truth": 0.1},
        {"truth": 0.25},
        {"truth": 0.6},
        {"missed": 0.6},
        {"missed": 0.6, "judges": False},
        {"undecided": 0.05},
        {"truth": 0.02, "undecided": 0.6},
    ],
)
def test_it_stops_where_the_verdict_is_sure_and_not_before(params: dict[str, Any], seed: int) -> None:
    report = die().falsify(trials=400, seed=seed, alpha=1e-4, sequential=True, **params)
    now, decision = slow_stop(400, seed, 1e-4, **params)
    assert report.trials == now
    sure = {Decision.FALSIFIED: Verdict.FALSIFIED, Decision.HOLDS: Verdict.HOLDS}
    if decision in sure:
        assert report.verdict is sure[decision]
        assert "as it was sure" in report.stopped
    else:
        assert report.verdict in (Verdict.HOLDS_SO_FAR, Verdict.INCONCLUSIVE)
        assert (report.trials, report.saved) == (400, 0)
    first = die().falsify(trials=report.trials, seed=seed, **params)  # the same trials as without stopping
    assert (first.failures, first.missed, first.undecided) == (report.failures, report.missed, report.undecided)
    assert first.examples == report.examples
    assert (report.low, report.high) == anytime_interval(report.trials, report.counted)


def extreme(delta: float, truth: float) -> Report:
    class Extreme(DieClaim):
        def failure_probability(self, **_: Any) -> float:
            return delta

    return die(claim=Extreme()).falsify(trials=60, sequential=True, truth=truth)


def test_theorems_that_allow_nothing_or_everything() -> None:
    broken = extreme(0.0, 0.1)
    assert broken.verdict is Verdict.FALSIFIED
    assert broken.failures >= 1
    assert broken.trials < 60
    assert extreme(0.0, 0.0).verdict is Verdict.HOLDS_SO_FAR
    assert "no number of trials" in extreme(0.0, 0.0).text()
    assert extreme(1.0, 1.0).verdict is extreme(1.0, 0.0).verdict is Verdict.INCONCLUSIVE  # it says nothing
    assert extreme(1.0, 0.5).text()


def test_what_it_says() -> None:
    sure = die().falsify(trials=2000, sequential=True)
    assert sure.verdict is Verdict.HOLDS
    assert sure.trials == 150  # 143 trials without a failure are enough, and the next look is then
    assert sure.saved == 1850
    text = sure.text()
    assert "1850 of 2000 trials saved" in text
    assert "valid at any time of stopping" in text
    value = sure.to_json()
    assert value["verdict"] == "HOLDS"
    assert (value["planned"], value["saved"], value["sequential"]) == (2000, 1850, True)
    assert value["p_value_holds"] <= 1e-6 < value["p_value"]
    assert json.loads(json.dumps(value)) == value | {"params": dict(value["params"])}
    broken = die().falsify(trials=2000, sequential=True, truth=0.6)
    assert broken.verdict is Verdict.FALSIFIED
    assert broken.trials <= 30
    assert broken.examples
    assert broken.examples[0] in broken.text()


def test_a_tiny_delta_cannot_be_shown_and_the_report_says_so() -> None:
    report = die().falsify(trials=200, sequential=True, delta=1e-7)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    least = SequentialTest(1e-7, 1e-6, cap=200).least_trials_to_hold
    assert least is not None
    assert least > 1e8
    assert f"out of reach: that takes {least} trials" in report.text()


def test_undecided_trials_leave_it_open() -> None:
    report = die().falsify(trials=300, sequential=True, undecided=0.5)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.trials == 300
    assert report.p_value_at_worst <= 1e-6 < report.p_value_holds
    fixed = die().falsify(trials=300, undecided=0.5)
    assert fixed.verdict is Verdict.INCONCLUSIVE
    assert fixed.p_value_at_worst <= 1e-6


def test_a_fixed_number_of_trials_is_judged_as_before() -> None:
    """Never HOLDS, however clear: the level speaks of one test, and its number of trials was fixed."""
    report = die().falsify(trials=2000)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.trials == report.planned == 2000
    assert (report.family, report.sequential, report.p_adjusted) == (1, False, report.p_value)
    assert "P[Bin >= 0] = 1, falsified at <= 1e-06" in report.text()
    assert "all trials" in report.stopped


def test_parts_together_are_one_call() -> None:
    params = {"truth": 0.2, "undecided": 0.1, "missed": 0.1}
    seeds, tally = trial_seeds(7, 130), Tally(0, 0, 0, 0)
    for first in range(0, 130, 13):
        tally += DieClaim().run(seeds[first : first + 13], **params)
    whole = falsify(die(), trials=130, seed=7, **params)
    assert judge(die(), tally, seconds=whole.seconds, **params) == whole


def reports(p: list[tuple[float, int]], trials: int = 60, **options: Any) -> list[Report]:
    return [judge(die(), Tally(trials, failures, 0, 0), delta=delta, **options) for delta, failures in p]


def test_verdicts_on_several_claims_are_holms() -> None:
    alone = reports([(0.1, 20), (0.1, 17), (0.1, 2), (0.5, 30)], alpha=1e-4)
    assert [report.verdict for report in alone[:2]] == [Verdict.FALSIFIED, Verdict.FALSIFIED]
    assert alone[1].p_value > 1e-4 / 3  # so that it is not surprising among four
    found = adjusted(alone)
    assert [report.p_adjusted for report in found] == list(holm([report.p_value for report in alone]))
    for report in found:
        assert (report.verdict is Verdict.FALSIFIED) == (report.p_adjusted <= 1e-4)
        assert report.family == 4
        assert "one of 4 claims checked together" in report.text()
    (one,) = adjusted(alone[:1])
    assert one == alone[0]


def test_what_is_surprising_alone_may_not_be_among_many() -> None:
    (alone,) = reports([(0.1, 15)], alpha=1e-3)
    assert alone.verdict is Verdict.FALSIFIED
    many = adjusted([alone, *reports([(0.1, 3)] * 30, alpha=1e-3)])
    assert many[0].verdict is Verdict.HOLDS_SO_FAR
    # of a family so large no outcome of these trials could have falsified any of them
    few = adjusted(reports([(0.5, 0)] * 40, trials=8, alpha=0.05))
    assert {report.verdict for report in few} == {Verdict.INCONCLUSIVE}
    assert reports([(0.5, 0)], trials=8, alpha=0.05)[0].verdict is Verdict.HOLDS_SO_FAR


def test_undecided_trials_are_held_against_the_least_that_holm_may_ask_for() -> None:
    """p at worst lies above alpha / 2 and below alpha: with the other claim falsified first, it would be enough."""
    tipping = judge(die(), Tally(60, 12, 0, 3), delta=0.1, alpha=1e-3)
    assert 5e-4 < tipping.p_value_at_worst <= 1e-3 < tipping.p_value
    both = adjusted([tipping, *reports([(0.1, 40)], alpha=1e-3)])
    assert [report.verdict for report in both] == [Verdict.INCONCLUSIVE, Verdict.FALSIFIED]


def test_the_level_named_is_the_one_that_was_used() -> None:
    """P alone is not what decides among several: a reader must not find a p below "falsified at" and no verdict."""
    (alone,) = reports([(0.1, 15)], alpha=1e-3)
    assert "falsified at <= 0.001" in alone.text()
    many = adjusted([alone, *reports([(0.1, 3)] * 30, alpha=1e-3)])
    assert many[0].p_value < 1e-3 < many[0].p_adjusted
    assert "falsified at" not in many[0].text()
    assert "falsified if p after Holm is <= 0.001" in many[0].text()


def test_of_what_hardly_ever_may_fail_the_report_speaks_too() -> None:
    for delta, said in ((5e-324, "more than 1e298 trials"), (1e-200, "that takes")):
        report = judge(die(), Tally(9, 0, 0, 0), evidence=SequentialTest(delta, cap=9).start, delta=delta)
        assert report.verdict is Verdict.HOLDS_SO_FAR
        assert said in report.text()


def test_holms_step_falsifies_what_bonferronis_share_alone_would_not() -> None:
    first, second = reports([(0.1, 40), (0.1, 0)], alpha=1e-3)
    close = replace(second, p_value=0.9e-3, p_adjusted=1.0)
    assert 0.9e-3 > 1e-3 / 2
    assert [report.verdict for report in adjusted([first, close])] == [Verdict.FALSIFIED, Verdict.FALSIFIED]


def test_a_family_is_sure_at_its_share_of_the_level() -> None:
    one = die().falsify(trials=1000, sequential=True)
    ten = die().falsify(trials=1000, sequential=True, family=10)
    assert one.trials < ten.trials
    assert ten.p_value_holds <= 1e-7
    assert adjusted([ten] * 10)[0].verdict is Verdict.HOLDS
    with pytest.raises(ValueError, match="family=3"):
        adjusted([one] * 3)
    with pytest.raises(ValueError, match="one level"):
        adjusted([*reports([(0.1, 1)], alpha=1e-3), *reports([(0.1, 1)], alpha=1e-2)])


@pytest.mark.parametrize("family", [0, True, 1.5])
def test_families_that_make_no_sense_are_refused(family: Any) -> None:
    with pytest.raises(ValueError, match="family"):
        falsify(die(), trials=3, family=family)


def test_twins_may_stop_early_too() -> None:
    options: dict[str, Any] = {"factors": (1, 2, 4, 8), "trials": 600, "truth": 0.09}
    fixed, early = die().looseness(**options), die().looseness(sequential=True, **options)
    assert fixed.falsified_at == early.falsified_at
    assert sum(report.trials for _, report in early.rows) < sum(report.trials for _, report in fixed.rows)
    assert "by at most 600 trials each" in early.text()


def test_the_command_stops_when_it_is_sure(capsys: pytest.CaptureFixture[str]) -> None:
    key = "lueker1998exponentially.explicit"
    args = ["check", key, "--eps", "0.05", "--delta", "0.1", "--trials", "400", "--sequential"]
    assert main([*args, "--twins", "0"]) == 0
    text = capsys.readouterr().out
    assert f"{key}: holds (" in text
    assert "of 400 trials saved" in text
    assert main([*args, "--twins", "100", "--json"]) == 0
    report, twins = json.loads(capsys.readouterr().out)
    assert report["trials"] < 400
    assert twins["falsified_at"] is not None
    assert main(["check", key, "--trials", "400", "--sequential", "--set", "items=6", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["trials"] < 100


def test_the_command_tries_a_grid_and_adjusts_it(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["check", "lueker1998exponentially.explicit", "--trials", "100", "--twins", "0", "--set", "items=8"]
    assert main([*args, "items=60", "eps=0.05", "eps=0.1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["params"]["items"], one["params"]["eps"]) for one in found] == [
        (8, 0.05), (8, 0.1), (60, 0.05), (60, 0.1)
    ]  # fmt: skip
    assert [one["p_adjusted"] for one in found] == list(holm([one["p_value"] for one in found]))
    assert {one["family"] for one in found} == {4}
    assert main([*args, "items=60"]) == 1
    assert capsys.readouterr().out.count("one of 2 claims checked together") == 2


def test_a_wrong_parameter_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theory, "falsify", lambda *_, **__: pytest.fail("it ran"))
    assert main(["check", "pensia2020optimal", "--set", "sizes=2-2", "--trials", "5"]) == 2  # only theorem 1 has sizes
    assert "sizes" in capsys.readouterr().err
