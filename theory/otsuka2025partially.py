"""Otsuka et al. 2025: random networks of which a part is frozen, pruned for good or locked, contain strong tickets."""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import partial

import sympy

from strongticket import bounds
from strongticket.bounds.gadhikar2023random import Assignment, item_plan, live_share
from strongticket.bounds.otsuka2025partially import items_for_network, locked_shift, opposing_sum
from strongticket.constructions import Pensia2020Optimal
from theory._contenders import Contender
from theory._draws import Draws
from theory._option_claims import LockedSumsClaim
from theory._theorem import Assumption, ProofStep, Theorem
from theory.gadhikar2023random import THEOREMS as SPARSE_THEOREMS
from theory.gadhikar2023random import check_plan

__all__ = ["CONTENDERS", "THEOREMS"]


def _check_bernstein() -> bool:
    """t of the formula solves t^2 / (2 (n r/3 + t/3)) = log(2/delta); u v has mean square at most 1/3."""
    n, r, delta = (sympy.Symbol(name, real=True) for name in ("n", "r", "delta"))
    t = bounds.get("otsuka2025partially.locked_shift").expression
    solved = sympy.simplify(t**2 - 2 * (n * r / 3 + t / 3) * sympy.log(2 / delta)) == 0
    u, v = sympy.symbols("u v", positive=True)
    square = sympy.integrate(v**2 / 2, (v, -1, 1)) * u**2
    return bool(solved and sympy.simplify(square - u**2 / 3) == 0)


def _check_hoeffding() -> bool:
    """n mean - s solves exp(-2 s^2 / n) = delta."""
    n, mean, delta = (sympy.Symbol(name, real=True) for name in ("n", "mean", "delta"))
    s = n * mean - bounds.get("otsuka2025partially.opposing_sum").expression
    u, v = sympy.symbols("u v", positive=True)
    half = sympy.integrate(u * v / 2, (v, 0, 1)) == u / 4
    product = sympy.integrate(u / 4, (u, 0, 1)) / 2 == sympy.Rational(1, 16)
    return bool(sympy.simplify(2 * s**2 / n - sympy.log(1 / delta)) == 0 and half and product)


def _check_refill() -> bool:
    """Candidates of one sign, at most 1 each, bring any number that they reach to [-1/2, 1/2], one by one."""
    half = Fraction(1, 2)
    for case in range(200):
        draws = Draws(2025).inside(f"case {case}")
        items = [Fraction(int(k) - 8, 8) for k in draws.below("items", 17, 12)]
        wanted = Fraction(int(draws.below("wanted", 81)[0]) - 40, 10)
        sign = 1 if wanted > 0 else -1
        same = sum((x for x in items if x * sign > 0), Fraction(0))
        left = wanted
        for x in items:
            if x * sign > 0 and abs(left) > half:
                left -= x
        if abs(same) >= abs(wanted) - half and abs(left) > half:
            return False
    return True


_ASSIGNMENTS: tuple[Assignment, ...] = ("fixed", "column-aware")
_CASES = tuple(itertools.product((1, 1000), (0.1, 0.5), _ASSIGNMENTS))


def _check_shares() -> bool:
    """At the counts that items_for_network gives: first parts reach far enough, and the shares of delta add up."""
    for problems, locked, assignment in _CASES:
        delta, share = 0.01, live_share(1.0, assignment)
        common = partial(items_for_network, problems, 0.1, delta, assignment=assignment, u_min=0.5)
        main = item_plan(
            problems, 0.1, delta / 2, edges=1.0, max_target=0.5, assignment=assignment, u_min=0.5, free=1.0 - locked
        )
        items = common(locked=locked)
        mean = (1 - locked) * share * (0.125 if assignment == "column-aware" else 1 / 16)
        each = delta / (4 * problems)
        reach = opposing_sum(items - main.items, mean, each / 2)
        if reach < 1.0 + locked_shift(items, locked, each) - 0.5 or items <= common(locked=0.0):
            return False
        if abs(problems * (each + 2 * each / 2) - delta / 2) > 1e-15 or not check_plan(main, delta / 2 / problems):
            return False
    return True


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="otsuka2025partially.locked",
        title="locked edges only shift the targets: a partially frozen network contains strong tickets",
        statement="Of the n candidates u v of each weight, u in [u_min, 1] (or both halves of a fixed block), v ~ "
        "U(-1, 1), let each be locked with probability r, independently: it is kept whatever the ticket is. With n = "
        "otsuka2025partially.items_for_network, with probability at least 1 - delta every |w| <= max_target of all N "
        "weights is within weight_eps of the locked sum plus some free candidates. Edges that are pruned for good "
        "are those of a sparse source (gadhikar2023random).",
        hypotheses=(
            "0 <= r < 1, 0 < delta < 1, 0 < weight_eps < 1",
            "candidates are independent, and locked independently of their values",
            "locked are edges of each second layer; a neuron's first edge is chosen by the mask",
        ),
        bound_keys=(
            "otsuka2025partially.locked_shift",
            "otsuka2025partially.opposing_sum",
            "otsuka2025partially.searched_share",
            "gadhikar2023random.explicit_items",
        ),
        status="The paper (read in its abstract and introduction) extends the subset-sum argument to frozen "
        "variables; the statement with explicit counts is ours. Locked sums are bounded by Bernstein's inequality, "
        "what free candidates of one sign can make good by Hoeffding's, and what is left, in [-1/2, 1/2], is met by "
        "the rest: all for every target at once. The construction (Pensia2020Optimal with `locked`) does the same: "
        "the locked edges come from a stream named by the seed, and all of them are in the mask. Edges of first "
        "layers are not locked here: a locked one would give a neuron a second input. The claim is about one weight, "
        "for five targets, decided with certainty.",
        steps=(
            ProofStep(
                "Bernstein",
                "the shift t solves t^2/(2 (n r/3 + t/3)) = log(2/delta), with E (u v)^2 = u^2/3 <= 1/3 (sympy)",
                _check_bernstein,
            ),
            ProofStep(
                "Hoeffding",
                "the opposing sum n m - s has 2 s^2/n = log(1/delta); E max(u v, 0) is u/4, and 1/16 in fixed blocks "
                "(sympy)",
                _check_hoeffding,
            ),
            ProofStep(
                "first part",
                "free candidates of the sign of what is wanted, each at most 1, taken while more than 1/2 is left, "
                "end in [-1/2, 1/2] if their sum is at least |wanted| - 1/2 (200 cases, exact fractions)",
                _check_refill,
                general=False,
            ),
            ProofStep(
                "shares",
                f"at the numbers of items_for_network ({len(_CASES)} cases) the first part reaches far enough, and the "
                "failure probabilities add up to delta",
                _check_shares,
                general=False,
            ),
        ),
        lemmas=tuple(theorem for theorem in SPARSE_THEOREMS if theorem.key == "gadhikar2023random.tickets"),
        assumptions=(
            Assumption("Bernstein's and Hoeffding's inequalities", "any textbook of probability"),
            Assumption("existence in frozen networks with an open constant", "Otsuka et al. 2025"),
            Assumption(
                "first part in general: each step takes at most 1 from what is more than 1/2, so it never falls below "
                "-1/2",
                "argued here",
            ),
        ),
        claim=LockedSumsClaim(),
    ),
)

CONTENDERS = (Contender("otsuka2025partially", "a tenth locked", Pensia2020Optimal, {"locked": 0.1}),)
