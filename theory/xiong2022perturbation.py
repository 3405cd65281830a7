"""Xiong, Liao & Kyrillidis 2022: subset sums of candidates that may be moved a little."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import sympy

from strongticket import bounds
from strongticket.bounds.xiong2022perturbation import items_counted
from theory._option_claims import PerturbedClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS"]


def _check_sum() -> bool:
    """sum_k C(n, k) (eps + k eta) = 2^n (eps + n eta/2), by k C(n, k) = n C(n-1, k-1)."""
    n, k = sympy.symbols("n k", integer=True, positive=True)
    absorbed = sympy.simplify(sympy.combsimp(k * sympy.binomial(n, k) / (n * sympy.binomial(n - 1, k - 1)))) == 1
    eps, eta = sympy.symbols("eps eta", positive=True)
    for items in range(8):
        total = sum(math.comb(items, j) * (eps + j * eta) for j in range(items + 1))
        if sympy.expand(total - 2**items * (eps + items * eta / 2)) != 0:
            return False
    return bool(absorbed)


def _check_interval() -> bool:
    """Moves of at most eta each change the sum of k numbers by anything in [-k eta, k eta], and by no more."""
    eta = Fraction(1, 10)
    for k in range(1, 6):
        ends = {sum(signs) * eta for signs in itertools.product((-1, 1), repeat=k)}
        if max(ends) != k * eta or min(ends) != -k * eta:
            return False
        if bounds.get("xiong2022perturbation.interval")(eps=0.25, eta=0.5, k=k) != 0.25 + 0.5 * k:
            return False
    return True


def _check_counted() -> bool:
    chance = bounds.get("xiong2022perturbation.hit_chance")
    for eps, eta, reach in itertools.product((0.1, 1e-3), (0.0, 1e-3, 0.1), (0.5, 2.0)):
        n = items_counted(eps, eta, reach)
        if chance(eps=eps, eta=eta, n=n, c=reach) < 1 or (n and chance(eps=eps, eta=eta, n=n - 1, c=reach) >= 1):
            return False
    return True


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="xiong2022perturbation.counting",
        title="what candidates that may move by eta can meet, by counting",
        statement="Let each of n numbers be moved by at most eta. A subset of k of them meets the targets within eps "
        "+ k eta of its sum, and no others; all subsets together meet a set of length at most 2^(n+1) (eps + n "
        "eta/2). So a target uniform on [-c, c], independent of the numbers, is met with probability at most 2^n "
        "(eps + n eta/2)/c, whatever their law is; and meeting all |z| <= c takes n with 2^n (eps + n eta/2) >= c.",
        hypotheses=("eps > 0, eta >= 0, c > 0", "the target is independent of the numbers"),
        bound_keys=("xiong2022perturbation.hit_chance", "xiong2022perturbation.interval"),
        status="The paper (read in its abstract) lets the weights of the source be perturbed and "
        "states that the over-parameterisation falls by a factor O(1/(1 + eps)). The counting is ours. For powers of "
        "two whose intervals do not overlap it is attained but for the edges, which is what the claim tries first. "
        "This is no theorem on strict tickets: perturbed weights have to be stored. "
        "`constructions.xiong2022perturbation` solves such subset sums exactly, and "
        "`bounds.xiong2022perturbation.failure_predicted` predicts their failures, without proof.",
        steps=(
            ProofStep(
                "sum",
                "sum_k C(n, k) (eps + k eta) = 2^n (eps + n eta/2) (sympy: the absorption, and n < 8)",
                _check_sum,
            ),
            ProofStep(
                "interval",
                "k moves of at most eta change a sum by at most k eta, and by as much (k <= 5, exact fractions)",
                _check_interval,
                general=False,
            ),
            ProofStep("least number", "items_counted gives the least n (12 cases)", _check_counted, general=False),
        ),
        assumptions=(
            Assumption("a set of length l meets a uniform target with probability at most l/(2c)", "argued here"),
            Assumption("the theorem on networks", "Xiong, Liao and Kyrillidis 2022"),
        ),
        claim=PerturbedClaim(),
    ),
)
