"""Theorems on interpolation and double descent: steps that a wrong formula fails, claims whose twins are falsified."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import theory
from strongticket import bounds
from theory import Verdict, belkin2019reconciling, belkin2020two, ma2018power
from theory._interpolation_claims import KINDS, StepClaim, all_batches, draw_examples

KEYS = (
    "ma2018power.step",
    "ma2018power.optimal",
    "ma2018power.convex",
    "belkin2019reconciling.nested",
    "belkin2020two.gaussian",
)
TRIALS = {"belkin2020two.gaussian": (10, 1.5, {"batch": 60, "tolerance": 0.3})}
TWINS = {"ma2018power.optimal": 3.0, "ma2018power.convex": 8.0}


@pytest.mark.parametrize("key", KEYS)
def test_steps_claims_and_twins(key: str) -> None:
    theorem = theory.get(key)
    assert [result.step.name for result in theorem.check_steps() if not result.passed] == []
    trials, factor, params = TRIALS.get(key, (60, TWINS.get(key, 1.5), {}))
    assert theorem.falsify(trials=trials, seed=5, **params).verdict is Verdict.HOLDS_SO_FAR
    assert theorem.claim is not None
    twin = theorem.claim.optimistic(factor, **params)
    assert theorem.falsify(trials=trials, seed=5, **twin).verdict is Verdict.FALSIFIED


def test_wrong_formulas_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(key: str) -> bounds.Bound:
        found = bounds.get(key)
        symbol = sorted(found.expression.free_symbols, key=str)[0]
        expression = found.expression.xreplace({symbol: 2 * symbol})
        build = lambda: bounds.Formula(expression)  # noqa: E731
        return bounds.Bound(key, found.quantity, found.relation, build, found.place)

    for module in (ma2018power, belkin2019reconciling, belkin2020two):
        monkeypatch.setattr(module, "get", wrong)
    failed = {result.step.name for key in KEYS for result in theory.get(key).check_steps() if not result.passed}
    assert failed >= {
        "contraction", "bound on the step size", "axes", "small batches", "large batches", "collected",
        "width", "below", "above",
    }  # fmt: skip


def test_the_bound_on_the_step_size_is_for_one_step() -> None:
    """Just above it an error grows in one step and shrinks in many; far above it grows in both."""
    one, many = ma2018power.beyond_the_bound(8, 2)
    assert one > 1 > many
    one, many = ma2018power.beyond_the_bound(8, 50)
    assert one > 1
    assert many > 1


def test_sgd_beyond_the_bound_really_converges() -> None:
    """The same two examples, by simulation."""
    c, s = 0.8**0.5, 0.2**0.5
    x = np.array([[c, s], [c, -s]])
    eta = 1.02 * bounds.get("ma2018power.largest_step")(m=8, beta=1.0, l1=0.8)
    generator = np.random.default_rng(0)
    errors = np.tile([1.0, 0.0], (400, 1))
    for _ in range(400):
        rows = x[generator.integers(0, 2, (400, 8))]
        errors = errors - eta / 8 * np.einsum("rmd,rm->rd", rows, np.einsum("rmd,rd->rm", rows, errors))
    assert float((errors**2).sum(axis=1).mean()) < 0.1
    assert sympy.N(ma2018power.beyond_the_bound(8, 2)[0]) > 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_what_they_are_said_to_be(kind: str) -> None:
    rows = draw_examples(kind, 6, 3, seed=4)
    norms = np.linalg.norm(rows, axis=1)
    assert norms.max() == pytest.approx(1.0)
    assert np.linalg.matrix_rank(rows) == 3
    assert (norms.min() == pytest.approx(1.0)) == (kind != "unequal")


def test_expectations_over_all_batches_against_sampled_ones() -> None:
    """Monte Carlo of g, at three pairs of batch and step size."""
    x = draw_examples("equal", 5, 3, seed=1)
    values, vectors = np.linalg.eigh(x.T @ x / 5)
    generator = np.random.default_rng(3)
    error = vectors[:, 1]
    for m, eta in ((1, 0.7), (8, 1.5), (64, 2.0)):
        rows = x[generator.integers(0, 5, (20_000, m))]
        after = error - eta / m * np.einsum("rmd,rm->rd", rows, rows @ error)
        seen = (after**2).sum(axis=1)
        said = bounds.get("ma2018power.step_contraction")(l=float(values[1]), m=m, eta=eta, beta=1.0)
        assert abs(float(seen.mean()) - said) < 5 * float(seen.std()) / 20_000**0.5
    assert len(all_batches(3, 4)) == 81


def test_refusals() -> None:
    claim = StepClaim()
    with pytest.raises(ValueError, match="at most 5000"):
        claim.trial(0, n=10, m=5)
    with pytest.raises(ValueError, match="n must be at least d"):
        claim.trial(0, n=2, d=3)
    with pytest.raises(ValueError, match="differ from n by 6"):
        theory.get("belkin2020two.gaussian").falsify(trials=1, p=21)
