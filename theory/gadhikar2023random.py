"""Gadhikar, Mukherjee & Burkholz 2023: random sparse sources, and the factor 1/log(1/(1 - p)) that they cost."""

from __future__ import annotations

import itertools
from fractions import Fraction

import sympy

from strongticket import bounds
from strongticket.bounds.gadhikar2023random import SparsePlan, item_plan
from strongticket.constructions import Pensia2020Optimal
from theory._contenders import Contender
from theory._option_claims import DeadItemsClaim, LinksClaim, SparseTicketClaim
from theory._theorem import Assumption, ProofStep, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS
from theory.pensia2020optimal import STEPS as PENSIA_STEPS

__all__ = ["CONTENDERS", "THEOREMS", "check_plan"]


def _check_links() -> bool:
    """The least whole n of the formula is the least with (1 - (1 - p)^n)^N >= 1 - delta, in exact fractions."""
    least = bounds.get("gadhikar2023random.link_copies")
    quarter, half, tenth, third = Fraction(1, 4), Fraction(1, 2), Fraction(1, 10), Fraction(1, 3)
    for p, many, delta in itertools.product((quarter, half), (1, 5, 40), (tenth, third)):
        n = int(least(p=float(p), N=many, delta=float(delta)))
        reached = [(1 - (1 - p) ** k) ** many >= 1 - delta for k in (n - 1, n)]
        if reached != [False, True]:
            return False
    return True


def _check_order() -> bool:
    p, delta, many, n = sympy.symbols("p delta N n", positive=True)
    factor = bounds.get("gadhikar2023random.width_factor").expression
    real = {sympy.Symbol(s.name, real=True): s for s in (p, delta, many)}
    # log(N (1 - p)^n / delta) = 0 at the formula's n; n = log(N/delta)/log(1/(1 - p))
    logarithm = sympy.log(many) - sympy.log(delta) + n * sympy.log(1 - p)
    at = sympy.expand_log(factor.xreplace(real), force=True)
    return bool(sympy.simplify(logarithm.subs(n, at)) == 0)


def _check_thinned() -> bool:
    """With probability p the covered measure grows as it would, else it stays: growth q becomes p q, and v <= 2 v."""
    v, q, p = sympy.symbols("v q p", positive=True)
    grown = p * (v + q * v * (1 - v)) + (1 - p) * v
    return bool(sympy.expand(grown - (v + p * q * v * (1 - v))) == 0)


def check_plan(plan: SparsePlan, delta: float) -> bool:
    """Whether the phases of all groups of one problem, at whole numbers of items, add up to at most delta."""
    v = {name: sympy.Float(x, 40) for name, x in plan.values.items()}
    q, theta, s, start = v["p"] * v["q"], v["theta"], v["s"], v["eps"] / (2 * v["c"])
    rho = 1 - q * (1 - theta) * (1 - 2 ** (-s))
    first = 0 if start >= theta else (theta / start) ** s * rho**plan.first
    second = (1 - theta) * (1 - q * theta) ** (plan.items // plan.groups - plan.first) * 4 * v["c"] / v["eps"]
    return bool(plan.groups * (first + second) <= delta)


_PLANS = tuple(itertools.product((1, 1000), (0.1, 0.01), (0.1, 1e-4), (0.5, 0.125), ("fixed", "column-aware")))


def _check_plans() -> bool:
    for problems, eps, delta, edges, assignment in _PLANS:
        plan = item_plan(problems, eps, delta, edges=edges, max_target=0.5, assignment=assignment, u_min=0.5)  # type: ignore[arg-type]
        c = Fraction(plan.values["c"])
        if c * plan.groups < Fraction(1, 2) or plan.items % plan.groups:
            return False
        if not check_plan(plan, delta / problems):
            return False
    return True


def _check_floor() -> bool:
    """n independent items are all 0 with probability (1 - p)^n: by enumeration in exact fractions."""
    for n, p in itertools.product((1, 3, 5), (Fraction(1, 8), Fraction(1, 2))):
        dead = sum((_weight(some, p) for some in itertools.product((0, 1), repeat=n) if not any(some)), Fraction(0))
        floor = bounds.get("gadhikar2023random.dead_floor")(p=float(p), n=n)
        if dead != (1 - p) ** n or abs(floor - float(dead)) > 1e-15:
            return False
    return True


def _weight(some: tuple[int, ...], p: Fraction) -> Fraction:
    weight = Fraction(1)
    for there in some:
        weight *= p if there else 1 - p
    return weight


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="gadhikar2023random.links",
        title="a sparse network has every link of a target if it is wider by log(N/delta)/log(1/(1 - p))",
        statement="Let each edge of a network be there with probability p, independently, and let each of the N "
        "links of a target have n edges of its own that can stand for it. All links are available with probability "
        "(1 - (1 - p)^n)^N exactly; n >= log(N/delta)/log(1/(1 - p)) makes it at least 1 - delta.",
        hypotheses=("0 < p < 1, 0 < delta < 1", "edges are independent", "links have edges of their own (copies)"),
        bound_keys=("gadhikar2023random.link_copies", "gadhikar2023random.width_factor"),
        status="The paper (read in its abstract and introduction, not in its proofs) states that a sparse random "
        "network represents any target if it is wider by a factor of the order 1/log(1/(1 - p)), and that "
        "three-layer networks need it. This is the counting behind it in exact form, ours: necessary and sufficient "
        "for links with copies of their own. That a trained sparse network computes the target needs no more than "
        "the links; nothing is trained here. The claim draws the edges.",
        steps=(
            ProofStep(
                "least number",
                "the formula's n is the least with (1 - (1 - p)^n)^N >= 1 - delta (exact fractions, 12 cases)",
                _check_links,
                general=False,
            ),
            ProofStep("order", "N (1 - p)^n = delta at n = log(N/delta)/log(1/(1 - p)) (sympy)", _check_order),
        ),
        assumptions=(Assumption("independence of disjoint sets of edges", "any textbook of probability"),),
        claim=LinksClaim(),
    ),
    Theorem(
        key="gadhikar2023random.tickets",
        title="random sparse networks contain strong tickets",
        statement="Targets and sources as in pensia2020optimal.theorem1, but each weight of the source is U(-1, 1) "
        "with probability p and absent otherwise. With n = gadhikar2023random.explicit_items candidates per weight "
        "(per group), with probability at least 1 - delta all targets have masks within eps on the unit ball.",
        hypotheses=(
            "0 < eps < 1, 0 < delta < 1, 0 < p <= 1",
            "every layer has spectral norm |W_i| <= 1, inputs have Euclidean norm <= 1",
            "weights of the source are independent, 0 with probability 1 - p and U(-1, 1) otherwise",
        ),
        bound_keys=("gadhikar2023random.explicit_items",),
        status="That sparse random networks contain strong tickets is the paper's; the count is ours: our subset-sum "
        "bound allows any mixture that contains the density with weight p, so q becomes p q. (p is that of a "
        "candidate: of its second edge where neurons are assigned by their first one, of both edges in fixed "
        "blocks.) The source is a strict frozen network: law 'sparse<k>', p = k/512, is the dense network of the "
        "same seed times a frozen mask. The claim runs the real construction and counts a trial as a success only if "
        "a certificate proves the ticket within eps; where more than 40 candidates are there, groups of them are "
        "searched in turn, and a miss counts.",
        steps=(
            ProofStep(
                "thinning",
                "a candidate that is there with probability p makes the covered share grow by p q v (1 - v) in the "
                "mean, and at most doubles it (sympy)",
                _check_thinned,
            ),
            ProofStep(
                "plans",
                f"for {len(_PLANS)} plans the failure bounds of both phases at whole numbers of items are at most "
                "delta/(g N), and g groups reach the largest weight (40 digits)",
                _check_plans,
                general=False,
            ),
            *(step for step in PENSIA_STEPS if step.name in ("gadget", "entries to norm", "layer errors", "closing")),
        ),
        lemmas=tuple(theorem for theorem in SUBSET_SUM_THEOREMS if theorem.key == "lueker1998exponentially.explicit"),
        assumptions=(
            Assumption("strong tickets in sparse sources, as an order", "Gadhikar, Mukherjee and Burkholz 2023"),
            Assumption("groups and union bound, as for pensia2020optimal.theorem1", "argued there"),
        ),
        claim=SparseTicketClaim(),
    ),
    Theorem(
        key="gadhikar2023random.floor",
        title="the factor 1/log(1/(1 - p)) is necessary for strong tickets too",
        statement="If each of the n candidates of a weight |w| > eps is there with probability p, independently, "
        "then no subset is within eps with probability at least (1 - p)^n; so n >= log(1/delta)/log(1/(1 - p)) "
        "candidates are needed for probability 1 - delta.",
        hypotheses=("0 < p < 1", "candidates are independent", "|w| > eps"),
        bound_keys=("gadhikar2023random.dead_floor", "gadhikar2023random.floor_items"),
        status="Ours; for one weight and its own candidates, whatever their values are. The claim decides with "
        "certainty and is loose by what the values add: its twins multiply the floor.",
        steps=(
            ProofStep(
                "all absent",
                "n independent candidates are all absent with probability (1 - p)^n (enumeration, exact fractions)",
                _check_floor,
                general=False,
            ),
        ),
        claim=DeadItemsClaim(),
    ),
)

CONTENDERS = (Contender("gadhikar2023random", "half of the edges", Pensia2020Optimal, {"edges": 0.5}),)
