"""The claims of Pensia et al. 2020 as experiments: the real construction for Theorem 1, a packing for Theorem 2."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket.bounds import pensia2020optimal as bounds
from theory._claim import AbstractClaim, Outcome, Trial, check_factor, check_whole
from theory._coverage import decide_targets
from theory._draws import Draws
from theory._tickets import AbstractTicketClaim, Matrix, Place, fewer, to_target

if TYPE_CHECKING:
    from strongticket.constructions import Construction

__all__ = ["PackingClaim", "TicketClaim", "packing_size"]


@final
class TicketClaim(AbstractTicketClaim):
    """Theorem 1 with our constants, by the real construction: it finds, in a random source, a ticket within eps.

    A trial draws one target inside the hypotheses, takes the source that the bound sizes, and runs the construction. It
    succeeds only when a ticket came out and the conclusion was checked on it: every weight of the target against the
    ticket's weights, regenerated from seed and mask; and the certificate of `strongticket.certify`, proved from the
    ticket and the target alone, that the outputs differ by at most eps on the whole unit ball.

    Where a weight is not met, complete subset sums on a fine lattice decide whether a subset of its own block of
    neurons meets it (for the paper's blocks, "fixed"). If none does, the trial is a failure: certain, but of this way
    of proving the theorem: masks that use other neurons for that weight are not excluded. If one does, the trial was
    missed by the construction. (The pool of a column-aware half-input is not decided again: where it is one exact
    problem, the solver is taken at its word; beyond, whether a subset exists stays open.)

    The theorem speaks of all targets at once; a trial tries one target, drawn with its source.

    Parameters: eps (network error), delta, sizes, kind of target ("mixed": each kind in turn), assignment, objective,
    items (per weight; None: by the bound), factor (the bound's items are divided by it), judge ("construction": missed
    trials are failures; "existence": they are not counted, as there are subsets for all weights; that these make a
    ticket within eps is then the proof's word, unchecked).
    """

    text = (
        "draw a target of norm <= 1 and a random source; the construction finds a ticket, proved to be within eps on "
        "the unit ball"
    )
    defaults: Mapping[str, Any] = MappingProxyType(
        {
            "eps": 0.1,
            "delta": 0.01,
            "sizes": "3-3-2",
            "kind": "mixed",
            "assignment": "fixed",
            "objective": "sparsest",
            "items": None,
            "factor": 1.0,
            "judge": "construction",
        }
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `weight_eps` and `items` as numbers and `sizes` as a tuple."""
        from strongticket.constructions.pensia2020optimal import WEAKEST_ITEM

        p = super().resolve(**params)
        if p["judge"] not in ("construction", "existence"):
            raise ValueError(f"judge is 'construction' or 'existence', got {p['judge']!r}")
        shapes = [(b, a) for a, b in pairwise(p["sizes"])]
        p["weight_eps"] = min(bounds.weight_eps(shapes, p["eps"]), 0.5)  # the construction's own cap
        if p["items"] is None:
            needed = bounds.items_for_network(
                p["problems"],
                p["weight_eps"],
                p["delta"],
                mode="theorem",
                max_target=1.0,
                assignment=p["assignment"],
                u_min=WEAKEST_ITEM,
            )
            p["items"] = fewer(needed, p)
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return (
            f"targets {'-'.join(map(str, p['sizes']))} ({p['kind']}), eps = {p['eps']:g} on the unit ball, "
            f"{p['weight_eps']:.3g} per weight, n = {p['items']} items per weight ({p['assignment']}), "
            f"{p['problems']} subset sums, delta = {p['delta']:g}; judged: "
            + ("the construction finds it" if p["judge"] == "construction" else "it exists")
        )

    def judges_construction(self, **params: Any) -> bool:
        """Whether the construction must find the ticket; else it is enough that one exists."""
        return bool(self.resolve(**params)["judge"] == "construction")

    def construct(self, layers: Sequence[Matrix], p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the source that the bound sizes."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Pensia2020Optimal

        return Pensia2020Optimal(
            network_eps=p["eps"],
            delta=p["delta"],
            items=p["items"],
            assignment=p["assignment"],
            objective=p["objective"],
            domain=Domain.ball(1),
            seed=seed,
        ).construct(to_target(layers))

    def not_met(
        self, construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
    ) -> Trial:
        """Decide whether there are subsets for the weights that are not met."""
        outcome = _exists(construction, layers, places, p)
        how = {
            Outcome.MISSED: "the construction does not meet {} weights, yet subsets of their blocks do",
            Outcome.FAILURE: "{} weights are not met, and for one of them no subset of its block is within tolerance",
            Outcome.UNDECIDED: "the construction does not meet {} weights; whether there are subsets is open",
        }
        detail = how[outcome].format(len(places))
        if outcome is Outcome.UNDECIDED and p["judge"] == "construction":
            outcome = Outcome.MISSED
        return Trial(outcome, detail)


def _exists(
    construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
) -> Outcome:
    """Decide whether there are subsets for the weights that the construction did not meet: MISSED if for all."""
    from strongticket.constructions.pensia2020optimal import EXACT_ITEMS

    if p["assignment"] != "fixed":
        # the pool of a column-aware half-input is not followed here; where one exact problem holds it all, the solver
        # is taken at its word
        return Outcome.FAILURE if p["items"] <= EXACT_ITEMS else Outcome.UNDECIDED
    outcomes = {_decide_place(construction, layers, place, p) for place in places}
    for outcome in (Outcome.FAILURE, Outcome.UNDECIDED):
        if outcome in outcomes:
            return outcome
    return Outcome.MISSED


def _decide_place(construction: Construction, layers: Sequence[Matrix], place: Place, p: Mapping[str, Any]) -> Outcome:
    """Decide one weight from the source itself: half-input h owns the neurons h * n .. (h + 1) * n - 1 in the paper."""
    layer, row, i, sign = place
    source = construction.plan.source
    names = list(source.shapes)
    column = 2 * i + int(sign < 0) if layer == 0 else i
    neurons = column * p["items"] + np.arange(p["items"], dtype=np.int64)
    width, d_in = source.shapes[names[2 * layer]]
    u = source.weight(names[2 * layer], neurons * d_in + i).double().numpy()
    v = source.weight(names[2 * layer + 1], row * width + neurons).double().numpy()
    items = np.where(u * sign > 0, u, 0.0) * v
    return decide_targets(items, np.array([layers[layer][row, i]]), p["weight_eps"])


def packing_size(d: int, eps: float) -> int:
    """Return how many values per entry a 2 eps-separated set of d x d matrices of norm <= 1 has, by a plain grid.

    Entries are multiples of a spacing just above 2 eps inside [-1/d, 1/d], so that norms are at most 1.

    >>> packing_size(1, 0.1)
    9
    """
    return 2 * math.floor(1.0 / (2.0 * d * eps * (1.0 + 1e-9))) + 1


@final
class PackingClaim(AbstractClaim):
    """Theorem 2 as an experiment: few parameters serve few of the matrices of a separated set.

    A trial draws a source of m parameters and a random member of a 2 eps-separated set of d x d matrices. It "fails"
    when some subnetwork approximates the member within eps in every entry, which by counting has probability at most
    2^m over the size of the set, whatever the law of the parameters is. The optimistic twin says that `factor` times as
    many parameters would be needed.

    Parameters: eps, d, bits (how many bits the source has less than the set, per entry), law ("binary": the best
    there is; "uniform"), factor.
    """

    text = "draw a source of m parameters and a member of a separated set; a subnetwork serves it (this must be rare)"
    defaults: Mapping[str, Any] = MappingProxyType({"eps": 0.01, "d": 1, "bits": 2, "law": "binary", "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters with the number m of parameters and the probability that counting allows."""
        p = super().resolve(**params)
        check_whole(p, "d")
        if p["law"] not in ("binary", "uniform"):
            raise ValueError(f"law is 'binary' or 'uniform', got {p['law']!r}")
        check_factor(p)
        if not p["bits"] >= 1:
            raise ValueError(f"bits must be >= 1, got {p['bits']}")
        values = packing_size(p["d"], p["eps"])
        each = math.floor(math.log2(values)) - int(p["bits"])
        if each < 1 or each > 20:
            raise ValueError(
                f"eps = {p['eps']}, d = {p['d']}, bits = {p['bits']} leave {each} parameters per entry; 1 to 20 can "
                f"be tried"
            )
        entries = p["d"] ** 2
        allowed = min(1.0, 2.0 ** (entries * (each / p["factor"] - math.log2(values))))
        return {**p, "values": values, "parameters": entries * each, "delta": allowed}

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return (
            f"m = {p['parameters']} parameters ({p['law']}), {p['d']} x {p['d']} matrices, {p['values']} separated "
            f"values per "
            f"entry, eps = {p['eps']:g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw source and member; report a failure when some subset of each entry's parameters serves it."""
        p = self.resolve(**params)
        entries, each = p["d"] ** 2, p["parameters"] // p["d"] ** 2
        spacing = 2.0 * p["eps"] * (1.0 + 1e-9)
        for entry in range(entries):
            draws = Draws(seed).inside(f"entry {entry}")
            wanted = (int(draws.below("member", p["values"])[0]) - p["values"] // 2) * spacing
            # powers of two times the spacing: every sum serves a member of its own
            items = spacing * 2.0 ** np.arange(each) if p["law"] == "binary" else draws.uniform("items", each)
            sums = np.zeros(1)
            for item in items:
                sums = np.concatenate([sums, sums + item])
            if np.abs(sums - wanted).min() > p["eps"]:
                return Trial(Outcome.SUCCESS, "no subnetwork serves this member")
        return Trial(Outcome.FAILURE, "a subnetwork serves this member")
