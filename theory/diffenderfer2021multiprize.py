"""Diffenderfer & Kailkhura 2021: random networks of signs and one scale contain quantised networks, exactly."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import sympy

from strongticket import bounds
from strongticket.bounds.diffenderfer2021multiprize import items_exact
from strongticket.constructions import Diffenderfer2021Multiprize
from theory._binary_claims import CountingSignsClaim, rounded
from theory._contenders import Contender
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["CONTENDERS", "THEOREMS"]


def _check_hoeffding() -> bool:
    """n = 2K + l + sqrt(l^2 + 4 K l) solves (n - 2K)^2 = 2 n l, where exp(-2 (n/2 - K)^2/n) = exp(-l)."""
    K, tail = sympy.symbols("K l", positive=True)
    n = 2 * K + tail + sympy.sqrt(tail**2 + 4 * K * tail)
    solved = sympy.expand((n - 2 * K) ** 2 - 2 * n * tail) == 0
    exponent = sympy.simplify(2 * (n / 2 - K) ** 2 / n - tail) == 0
    return bool(solved and exponent)


def _check_tail() -> bool:
    """N P(Bin(n, 1/2) < K) <= delta at items_exact, and not at one sign less: exact integers."""
    for largest, many, delta in itertools.product((1, 4, 16), (1, 1000), (Fraction(1, 10), Fraction(1, 10**6))):
        n = items_exact(largest, many, float(delta))
        tails = [many * Fraction(sum(comb(m, k) for k in range(min(largest, m + 1))), 2**m) for m in (n, n - 1)]
        if not tails[0] <= delta or tails[1] <= delta * (1 - Fraction(1, 10**6)):
            return False
        if n > bounds.get("diffenderfer2021multiprize.explicit_items")(K=largest, N=many, delta=float(delta)):
            return False
    return True


def _check_gadget() -> bool:
    """v relu(u x) = u v x where u and x have one sign, else 0; so k products equal to s add up to k s."""
    for u, v, x in itertools.product((-1, 1), (-1, 1), range(-3, 4)):
        if v * max(0, u * x) != (u * v * x if u * x > 0 else 0):
            return False
    return True


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="diffenderfer2021multiprize.tickets",
        title="a random binary network with a scale contains a ticket equal to each quantised network",
        statement="Published: a random binary network of depth 2L and width of order L d^(3/2)/eps + L d log(Ld/eps) "
        "contains with high probability a binary ticket within eps of each ReLU network of depth L and width d. "
        "Ours: let the target's weights be multiples of 2^-b of magnitude at most K 2^-b. A source of 2L layers of "
        "random signs, every second one times 2^-b, with n candidates per weight, N P(Bin(n, 1/2) < K) <= delta/2, "
        "and neurons enough contains, with probability at least 1 - delta, a ticket that equals the target on all "
        "inputs; n = 2K + l + sqrt(l^2 + 4Kl), l = log(2N/delta), is enough, and n >= K is necessary.",
        hypotheses=(
            "signs of the source are independent and fair",
            "weights (and biases) of the target are multiples of 2^-b of magnitude at most K 2^-b",
            "ReLU networks",
        ),
        bound_keys=(
            "diffenderfer2021multiprize.explicit_items",
            "diffenderfer2021multiprize.floor_items",
            "diffenderfer2021multiprize.theorem_width",
        ),
        status="The published width is quoted as an order (from summaries; its constant is open). Construction and "
        "count are ours: a weight k 2^-b is |k| candidates of its sign. The count has the published shape, 1/eps "
        "plus a logarithm, as K = 2^b is 1/(2 eps) for rounding errors of eps. Rounding the target costs 2^-(b+1) "
        "per weight, and nothing else is lost: the claim requires a PROVED certificate of error 0 against the "
        "quantised target. Searches for such tickets by scores (biprop) are in strongticket.search.",
        steps=(
            ProofStep("Hoeffding", "the n of the formula solves (n - 2K)^2 = 2 n l (sympy)", _check_hoeffding),
            ProofStep(
                "exact tail",
                "N P(Bin(n, 1/2) < K) <= delta at items_exact, not before, and below the formula (12 cases, exact)",
                _check_tail,
                general=False,
            ),
            ProofStep(
                "gadget", "v relu(u x) = u v x for signs u, v (all cases, |x| <= 3)", _check_gadget, general=False
            ),
        ),
        assumptions=(
            Assumption("width as an order", "Diffenderfer and Kailkhura 2021"),
            Assumption("Hoeffding's inequality; union bound", "any textbook of probability"),
            Assumption("neurons enough: neurons_to_fill", "kumar2025quantized.theorem1, step filling"),
        ),
        claim=CountingSignsClaim(),
    ),
)

CONTENDERS = (
    Contender("diffenderfer2021multiprize", "rounded target", Diffenderfer2021Multiprize, prepare=rounded(8)),
)
