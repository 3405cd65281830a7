"""Chijiwa et al. 2021: weights that may be drawn again, and what that saves."""

from __future__ import annotations

import itertools
from fractions import Fraction

import sympy

from strongticket import bounds
from strongticket.bounds.chijiwa2021pruning import items_for_network
from strongticket.bounds.gadhikar2023random import item_plan
from theory._contenders import Contender
from theory._option_claims import RetriesClaim, SingleHitClaim
from theory._theorem import Assumption, ProofStep, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS

__all__ = ["CONTENDERS", "THEOREMS"]


def _check_chances() -> bool:
    """k weights with R draws each miss with (1 - p)^(k R): by enumeration of all draws, in exact fractions."""
    p = Fraction(1, 3)
    for k, draws in ((1, 1), (2, 3), (3, 2)):
        missed = Fraction(0)
        for near in itertools.product((0, 1), repeat=k * draws):
            if not any(near):
                missed += (1 - p) ** len(near)
        if missed != (1 - p) ** (k * draws):
            return False
    single, needed = (bounds.get(f"chijiwa2021pruning.{name}") for name in ("single_hit", "neurons_needed"))
    for chance, draws, delta in itertools.product((0.3, 0.01), (1, 7), (0.1, 1e-6)):
        least = needed(p=chance, R=draws, delta=delta)
        missed_by = [single(p=chance, k=k, R=draws) if k >= 1 else 1.0 for k in (least - 1, least)]
        if not missed_by[1] <= delta < missed_by[0]:
            return False
    return True


def _check_square() -> bool:
    """If both weights of a neuron may be drawn R times, its chance 1 - (1 - p q)^... is R^2 p q to first order."""
    p, q, draws = sympy.symbols("p q R", positive=True)
    chance = (1 - (1 - p) ** draws) * (1 - (1 - q) ** draws)
    first = sympy.diff(sympy.diff(chance, p), q).subs({p: 0, q: 0})
    return bool(sympy.simplify(first - draws**2) == 0)


def _check_tries() -> bool:
    delta, many, draws = (sympy.Symbol(name, real=True) for name in ("delta", "N", "R"))
    each = bounds.get("chijiwa2021pruning.try_delta").expression
    positive = {s: sympy.Symbol(s.name, positive=True) for s in (delta, many, draws)}
    total = sympy.simplify(many * each**draws - delta)
    union = sympy.simplify(total.xreplace(positive)) == 0
    for number, tries in ((1, 1), (1000, 4), (10, 16)):
        found = items_for_network(number, 0.05, 0.01, draws=tries, max_target=0.25, u_min=0.5)
        allowed = (0.01 / number) ** (1 / tries) * (1 - 1e-12)
        plan = item_plan(1, 0.05, allowed, edges=1.0, max_target=0.25, assignment="column-aware", u_min=0.5)
        if found != plan.items or number * plan.values["delta"] ** tries > 0.01:
            return False
    return bool(union)


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="chijiwa2021pruning.single_hit",
        title="k weights that may be drawn R times are k R chances",
        statement="Let one draw of a weight be near enough to a number with probability p. None of k weights with R "
        "independent draws each is near enough with probability (1 - p)^(k R), so k R >= log(1/delta)/log(1/(1 - p)) "
        "is sufficient and necessary for probability 1 - delta. If both weights of a neuron may be drawn R times, "
        "its chance grows by R^2 to first order.",
        hypotheses=("0 < p < 1, 0 < delta < 1", "draws are independent", "R >= 1 draws: R - 1 times anew"),
        bound_keys=(
            "chijiwa2021pruning.neurons_needed",
            "chijiwa2021pruning.single_hit",
            "chijiwa2021pruning.mask_bits",
        ),
        status="The paper reduces the width of the nearest-neuron construction (malach2020proving) by drawing "
        "weights again, for targets of Frobenius norm <= 1 (as quoted in summaries, not read here). The counting is "
        "exact and ours. The bits of a ticket grow: which draw a kept weight comes from has to be stored, log2(1 + "
        "R) bits for each weight of the source at most.",
        steps=(
            ProofStep(
                "chances",
                "all k R draws miss with probability (1 - p)^(k R) (enumeration, exact fractions), and the formula's "
                "k is the least (8 cases)",
                _check_chances,
                general=False,
            ),
            ProofStep("both weights", "(1 - (1-p)^R) (1 - (1-q)^R) = R^2 p q + higher orders (sympy)", _check_square),
        ),
        assumptions=(Assumption("the theorem on whole networks", "Chijiwa et al. 2021"),),
        claim=SingleHitClaim(),
    ),
    Theorem(
        key="chijiwa2021pruning.retries",
        title="subset sums that may be tried again need fewer candidates",
        statement="Let the second weights of the n candidates u v of each of N given weights |w| <= max_target be "
        "drawn up to R times, u in [u_min, 1]. If one try of one weight fails with probability at most "
        "(delta/N)^(1/R), all N are met in some try with probability at least 1 - delta.",
        hypotheses=(
            "tries are independent given the first weights, which stay",
            "the bound on one try holds whatever the first weights in [u_min, 1] are (column-aware assignment)",
            "the targets are given: other targets take other draws",
        ),
        bound_keys=("chijiwa2021pruning.try_delta", "gadhikar2023random.explicit_items"),
        status="Ours, as the construction is (Pensia2020Optimal with `draws`): a weight that is not met is tried again "
        "with the next draw of all its candidates. For a layer of 20 x 10 weights U(-1/2, 1/2), tolerance 0.01 and "
        "delta = 0.01, 21 candidates are predicted to do with one draw and 7 with R = 16. Such tickets are certified, "
        "but they are no strict tickets: their reading names a draw for each kept weight. Choosing a draw for each "
        "candidate, not for all of them together, would give (1 + R)^n sums instead of R 2^n; that is not built.",
        steps=(
            ProofStep(
                "tries",
                "N ((delta/N)^(1/R))^R = delta (sympy), and the plans keep to it (3 cases)",
                _check_tries,
            ),
        ),
        lemmas=tuple(theorem for theorem in SUBSET_SUM_THEOREMS if theorem.key == "lueker1998exponentially.explicit"),
        assumptions=(Assumption("union bound", "any textbook of probability"),),
        claim=RetriesClaim(),
    ),
)

CONTENDERS = (
    Contender(
        "chijiwa2021pruning",
        why="its tickets take a draw for each kept weight: they are no strict tickets, and their bits count otherwise",
    ),
)
