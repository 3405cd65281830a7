"""Sreenivasan et al. 2022: deep networks of random signs contain quantised networks, exactly."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np

from strongticket import bounds
from strongticket.bounds.sreenivasan2022finding import copies_needed
from strongticket.constructions import Sreenivasan2022Finding
from theory._binary_claims import DoublingClaim, rounded
from theory._contenders import Contender
from theory._draws import Draws
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["CONTENDERS", "THEOREMS"]


def _check_digits() -> bool:
    """W x = sum_t 2^t (P_t - N_t) x, by doubled inputs and partial sums, in integers."""
    for case in range(40):
        draws = Draws(2022).inside(f"case {case}")
        w = draws.below("w", 63, 12).reshape(3, 4) - 31
        x = draws.below("x", 100, 4)
        doubled, sums = x.copy(), {1: np.zeros(3, dtype=np.int64), -1: np.zeros(3, dtype=np.int64)}
        for t in range(5):
            for sign in sums:
                sums[sign] = sums[sign] + (np.maximum(sign * w, 0) >> t & 1) @ doubled
            doubled = doubled + doubled
        if not (sums[1] - sums[-1] == w @ x).all() or min(sums[1].min(), sums[-1].min()) < 0:
            return False
    return True


def _check_picks() -> bool:
    """Among R random signs none is +1 with probability 2^-R, and fewer than two with (R + 1) 2^-R: enumeration."""
    for copies in range(1, 11):
        counts = [sum(signs) for signs in itertools.product((0, 1), repeat=copies)]
        none, few = Fraction(counts.count(0), 2**copies), Fraction(sum(c < 2 for c in counts), 2**copies)
        if none != Fraction(1, 2**copies) or few != Fraction(copies + 1, 2**copies):
            return False
    return True


def _check_copies() -> bool:
    failure = bounds.get("sreenivasan2022finding.copies_failure")
    for doublings, picks, delta in itertools.product((0, 20, 10**5), (1, 50, 10**6), (0.5, 1e-3, 1e-9)):
        copies = copies_needed(doublings, picks, delta)
        exact = Fraction(copies * ((copies + 1) * doublings + picks), 2**copies)
        if not exact <= Fraction(delta) or failure(R=copies, doublings=doublings, picks=picks) > delta:
            return False
    return True


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="sreenivasan2022finding.tickets",
        title="a deep network of random signs contains a ticket equal to each quantised network",
        statement="Published: a random network of +-1 weights, of depth O(L log(dL/eps)) and width O(d "
        "log^2(dL/eps)), contains with high probability a ticket within eps of each ReLU network of depth L, width d "
        "and norms <= 1. Ours: let the target's weights be multiples of 2^-b, of at most B binary digits. A source "
        "of L (B + 1) + 1 layers of random signs (the last times 2^-(bL)) and width R (d_in + 2 d_out), R copies of "
        "each number with sreenivasan2022finding.copies_failure <= delta/2, and a first layer of enough neurons "
        "contains, with probability at least 1 - delta, a ticket that equals the target on all inputs.",
        hypotheses=(
            "signs of the source are independent and fair",
            "weights (and biases) of the target are multiples of 2^-b",
            "ReLU networks; inputs that may be negative count as two channels",
        ),
        bound_keys=(
            "sreenivasan2022finding.copies_failure",
            "sreenivasan2022finding.depth",
            "sreenivasan2022finding.theorem_depth",
            "sreenivasan2022finding.theorem_width",
        ),
        status="The published orders are quoted (their constants are open); the construction and its explicit count "
        "are ours, as the paper's own gadget was not read. For weights of b bits R is of the order log(d L b/delta), "
        "where every number has R copies. The construction needs fewer than the union bound asks for, since a copy "
        "that fails is left out: for a 4-5-3-2 target of 4 bits 23 are proved to be enough for delta = 0.01; of 200 "
        "sources each 5 fail with 7 copies, 2 with 10 and none with 12. The claim succeeds only where "
        "`certify.telescope` proves, from seed and mask alone, that the ticket is the target.",
        steps=(
            ProofStep(
                "binary digits",
                "doubled inputs and partial sums give W x exactly, and all states are nonnegative, so that ReLU is the "
                "identity (40 cases, integers)",
                _check_digits,
                general=False,
            ),
            ProofStep(
                "picks",
                "R signs hold no +1 with probability 2^-R and fewer than two with (R + 1) 2^-R (R <= 10, enumeration)",
                _check_picks,
                general=False,
            ),
            ProofStep(
                "copies",
                "the union bound at copies_needed is at most delta (27 cases, exact)",
                _check_copies,
                general=False,
            ),
        ),
        assumptions=(
            Assumption("depth and width as orders", "Sreenivasan et al. 2022"),
            Assumption(
                "given the layers before, the signs of a layer are independent; each wanted edge has R candidates of "
                "its own; union bound",
                "argued here",
            ),
            Assumption(
                "the first layer has enough neurons: neurons_to_fill", "kumar2025quantized.theorem1, step filling"
            ),
        ),
        claim=DoublingClaim(),
    ),
)

CONTENDERS = (Contender("sreenivasan2022finding", "rounded target", Sreenivasan2022Finding, prepare=rounded(12)),)
