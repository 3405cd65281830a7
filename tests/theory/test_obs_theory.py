"""OBD's and OBS's theorems: steps that a wrong formula fails, claims with twins that are falsified, exact oracles."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory
from strongticket import bounds
from theory import Verdict, hassibi1992second, lecun1989optimal
from theory._quadratic_claims import KINDS, SurgeonClaim, constrained_minimum, draw_hessian, solve_exactly
from theory.hassibi1992second import greedy_losses
from theory.lecun1989optimal import recursion_of_two_layers

THEOREMS = (*theory.find("lecun1989optimal"), *theory.find("hassibi1992second"))


def test_which_theorems_there_are() -> None:
    assert [theorem.key for theorem in THEOREMS] == [
        "lecun1989optimal.saliency",
        "lecun1989optimal.recursion",
        "hassibi1992second.single",
        "hassibi1992second.joint",
        "hassibi1992second.recursion",
    ]


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.key)
def test_claims_hold_and_their_twins_are_falsified(theorem: theory.Theorem) -> None:
    assert theorem.claim is not None
    assert theorem.falsify(trials=60, seed=3).verdict is Verdict.HOLDS_SO_FAR
    twin = theorem.falsify(trials=60, seed=3, **theorem.claim.optimistic(1.001))
    assert twin.verdict is Verdict.FALSIFIED


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_quadratic_is_met(kind: str) -> None:
    claim = SurgeonClaim()
    assert claim.run(range(20), kind=kind, n=5).failures == 0
    hessian = draw_hessian(kind, 5, 1e4, 1)
    assert np.array_equal(hessian, hessian.T)
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert eigenvalues[0] > 0
    if kind in ("ill-conditioned", "diagonal", "extreme"):
        assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(1e4, rel=1e-8)


def test_rounding_is_what_the_tolerance_is_for() -> None:
    """At a condition number of 10^12 float64 does not hold 1e-8: the claim can be falsified by arithmetic alone."""
    theorem = theory.get("hassibi1992second.single")
    assert theorem.falsify(trials=100, condition=1e12, kind="low-rank").verdict is Verdict.FALSIFIED
    assert theorem.falsify(trials=100, condition=1e12, kind="scaled").verdict is Verdict.HOLDS_SO_FAR


def test_the_largest_ratio_is_attained() -> None:
    kappa, hessian = 1e3, draw_hessian("extreme", 4, 1e3, 0)
    ratio = hessian[0, 0] * np.linalg.inv(hessian)[0, 0]
    assert ratio == pytest.approx(bounds.get("lecun1989optimal.overestimate")(kappa=kappa), rel=1e-9)
    found = theory.get("lecun1989optimal.saliency").looseness(factors=(1.0, 1.01), trials=60)
    assert (found.largest_not_falsified, found.falsified_at) == (1.0, 1.01)


def test_bounds_are_the_saliencies() -> None:
    assert bounds.get("lecun1989optimal.saliency")(w=3.0, h=4.0) == 18.0
    assert bounds.get("lecun1989optimal.saliency")(w=3.0, h=0.0) == 0.0  # a dead input costs nothing
    assert bounds.get("hassibi1992second.saliency")(w=3.0, v=0.25) == 18.0
    assert bounds.get("lecun1989optimal.hidden_curvature")(slope=2.0, bend=3.0, above=5.0, pull=-1.0) == 17.0
    with pytest.raises(bounds.HypothesisError, match="positive definite"):
        bounds.get("hassibi1992second.saliency")(w=1.0, v=0.0)
    with pytest.raises(bounds.HypothesisError, match="minimum"):
        bounds.get("lecun1989optimal.saliency")(w=1.0, h=-1.0)
    with pytest.raises(bounds.HypothesisError, match="eigenvalue"):
        bounds.get("lecun1989optimal.overestimate")(kappa=0.5)


@given(st.integers(1, 6), st.integers(0, 2**32))
def test_exact_elimination_against_numpy(n: int, seed: int) -> None:
    hessian = draw_hessian("random", n, 1.0, seed)
    rows = [[Fraction(x) for x in row] for row in hessian.tolist()]
    right = [Fraction(i + 1) for i in range(n)]
    found = solve_exactly(rows, right)
    for row, value in zip(rows, right, strict=True):
        assert sum((a * x for a, x in zip(row, found, strict=True)), Fraction(0)) == value
    expected = np.linalg.solve(hessian, np.arange(1.0, n + 1))
    np.testing.assert_allclose([float(x) for x in found], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="positive definite"):
        solve_exactly([[-x for x in row] for row in rows], right)


def test_the_constrained_minimum_is_a_minimum() -> None:
    h = [[Fraction(x) for x in row] for row in draw_hessian("random", 4, 1.0, 5).tolist()]
    w = [Fraction(1), Fraction(-2), Fraction(3), Fraction(1, 2)]
    change, cost = constrained_minimum(h, w, [1, 3])
    assert [change[1], change[3]] == [2, Fraction(-1, 2)]
    for place, step in ((0, Fraction(1, 100)), (0, Fraction(-1, 100)), (2, Fraction(1, 100)), (2, Fraction(-1, 100))):
        other = list(change)
        other[place] += step
        moved = sum((other[i] * h[i][j] * other[j] for i in range(4) for j in range(4)), Fraction(0)) / 2
        assert moved > cost
    for order in permutations([1, 3]):
        assert sum(greedy_losses(h, w, order)) == cost


def test_wrong_derivations_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another formula in the bounds, the steps that derive it fail."""
    import sympy

    def wrong(key: str) -> bounds.Bound:
        found = bounds.get(key)
        flipped = {"lecun1989optimal.hidden_curvature": "bend"}.get(key, "w")
        symbol = sympy.Symbol(flipped, real=True)
        expression = found.expression.xreplace({symbol: -2 * symbol})
        build = lambda: bounds.Formula(expression)  # noqa: E731
        return bounds.Bound(key, found.quantity, found.relation, build, found.place)

    monkeypatch.setattr(hassibi1992second, "get", wrong)
    monkeypatch.setattr(lecun1989optimal, "get", wrong)
    failed = {r.step.name for theorem in THEOREMS for r in theorem.check_steps() if not r.passed}
    assert failed >= {"saliency", "no other weight moves", "hidden unit"}


@pytest.mark.parametrize(("outputs", "hidden"), [(1, 3), (4, 2)])
def test_the_recursion_and_its_sign(outputs: int, hidden: int) -> None:
    theorem = theory.get("lecun1989optimal.recursion")
    setting = {"outputs": outputs, "hidden": hidden}
    assert theorem.falsify(trials=40, **setting).failures == 0
    assert theorem.falsify(trials=40, factor=-1.0, **setting).failures == 40


def test_without_the_bends_the_recursion_is_the_gauss_newton_diagonal() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(3, 2)), generator.normal(size=(1, 3))
    x, target = generator.normal(size=2), generator.normal(size=1)
    found = recursion_of_two_layers(first, second, x, target, 0.0)

    def output(weights: torch.Tensor) -> torch.Tensor:
        return torch.tanh(weights[6:] @ torch.tanh(weights[:6].view(3, 2) @ torch.from_numpy(x)))

    flat = torch.from_numpy(np.concatenate([first.reshape(-1), second.reshape(-1)]))
    slopes = torch.func.jacrev(output)(flat)
    np.testing.assert_allclose(np.concatenate([part.reshape(-1) for part in found]), 2 * slopes.numpy() ** 2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 0}, "n must be"),
        ({"kind": "flat"}, "kind"),
        ({"condition": 0.5}, "condition"),
        ({"tolerance": 0.0}, "pos"),
    ],
)
def test_settings_that_make_no_sense_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theory.get("hassibi1992second.joint").falsify(trials=1, **params)
