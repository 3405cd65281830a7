"""The claims of Pensia et al. 2020 as experiments: the real construction for Theorem 1, a packing for Theorem 2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from strongticket.bounds import pensia2020optimal as bounds
from theory._claim import AbstractClaim, Outcome, Trial
from theory._coverage import decide_targets
from theory._draws import Draws
from theory._targets import KINDS, draw_layers

if TYPE_CHECKING:
    from strongticket.constructions import Construction

__all__ = ["PackingClaim", "TicketClaim", "packing_size"]

Matrix = npt.NDArray[np.float64]


def _sizes(value: Any) -> tuple[int, ...]:
    sizes = tuple(int(x) for x in value.split("-")) if isinstance(value, str) else tuple(int(x) for x in value)
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError(f"sizes needs at least two positive layer sizes such as 3-3-2, got {value!r}")
    return sizes


@final
class TicketClaim(AbstractClaim):
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
        p["sizes"] = sizes = _sizes(p["sizes"])
        if p["kind"] not in (*KINDS, "mixed"):
            raise ValueError(f"kind is 'mixed' or one of {', '.join(KINDS)}, got {p['kind']!r}")
        if p["factor"] < 1.0:
            raise ValueError(f"factor must be >= 1, got {p['factor']}")
        if p["judge"] not in ("construction", "existence"):
            raise ValueError(f"judge is 'construction' or 'existence', got {p['judge']!r}")
        weights = [a * b for a, b in pairwise(sizes)]
        shapes = [(b, a) for a, b in pairwise(sizes)]
        p["weight_eps"] = min(bounds.weight_eps(shapes, p["eps"]), 0.5)  # the construction's own cap
        p["problems"] = sum(weights) + weights[0]  # inputs of the ball are signed: two problems per weight there
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
            p["items"] = max(1, math.floor(needed / p["factor"]))
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

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        """Divide the bound's items per weight by the factor."""
        return {**params, "items": None, "factor": self.resolve(**params)["factor"] * factor}

    def judges_construction(self, **params: Any) -> bool:
        """Whether the construction must find the ticket; else it is enough that one exists."""
        return bool(self.resolve(**params)["judge"] == "construction")

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Pensia2020Optimal

        p = self.resolve(**params)
        kind = KINDS[seed % len(KINDS)] if p["kind"] == "mixed" else p["kind"]
        layers = draw_layers(kind, p["sizes"], seed)
        construction = Pensia2020Optimal(
            network_eps=p["eps"],
            delta=p["delta"],
            items=p["items"],
            assignment=p["assignment"],
            objective=p["objective"],
            domain=Domain.ball(1),
            seed=seed,
        ).construct(_target(layers))
        weights = _effective_weights(construction)
        places = _unmet(construction, layers, weights, p["weight_eps"])
        if not places:
            trial = _judge(construction, layers, weights, p, seed)
            return Trial(trial.outcome, f"{kind} target: {trial.detail}")
        outcome = _exists(construction, layers, places, p)
        how = {
            Outcome.MISSED: "the construction does not meet {} weights, yet subsets of their blocks do",
            Outcome.FAILURE: "{} weights are not met, and for one of them no subset of its block is within tolerance",
            Outcome.UNDECIDED: "the construction does not meet {} weights; whether there are subsets is open",
        }
        detail = f"{kind} target: {how[outcome].format(len(places))}"
        if outcome is Outcome.UNDECIDED and p["judge"] == "construction":
            outcome = Outcome.MISSED
        return Trial(outcome, detail)


Place = tuple[int, int, int, int]
"""One weight of the target: layer, row, input, and the half of the input (+1 or -1)."""


def _target(layers: list[Matrix]) -> Any:
    import torch

    from strongticket.models import Target

    return Target.from_state({f"{i}.weight": torch.from_numpy(layer.copy()) for i, layer in enumerate(layers)})


def _effective_weights(construction: Construction) -> list[Matrix]:
    """The ticket's weights, regenerated from seed and mask; hidden neurons without outgoing weight are left out."""
    masked = [w.double().numpy() for w in construction.best.weights().values()]
    weights = []
    for first, second in zip(masked[::2], masked[1::2], strict=True):
        used = np.flatnonzero((second != 0.0).any(axis=0))
        weights += [first[used], second[:, used]]
    return weights


def _unmet(construction: Construction, layers: list[Matrix], weights: list[Matrix], eps: float) -> list[Place]:
    """The weights that the construction reports as unreached, and those that are off whatever it reports."""
    places = {(int(u["layer"]), int(u["row"]), int(u["input"]), int(u["sign"])) for u in construction.unreached}
    for i, layer in enumerate(layers):
        first, second = weights[2 * i], weights[2 * i + 1]
        halves = {1: second @ np.maximum(first, 0.0)}
        if i == 0:  # later layers see nonnegative inputs only
            halves[-1] = second @ np.minimum(first, 0.0)
        for sign, half in halves.items():
            # 1e-12 is for the rounding of these matrix products
            off = np.argwhere(np.abs(half - layer) > eps + 1e-12)
            places |= {(i, int(row), int(column), sign) for row, column in off}
    return sorted(places)


def _judge(
    construction: Construction, layers: list[Matrix], weights: list[Matrix], p: dict[str, Any], seed: int
) -> Trial:
    """Prove the theorem's conclusion on the ticket, or find an input that contradicts it."""
    from strongticket.certificate import Domain, Rigor
    from strongticket.certify import StructureError, examine

    draws, d = Draws(seed).inside("inputs"), p["sizes"][0]
    x = np.concatenate([np.eye(d), np.linalg.svd(layers[0])[2], draws.normal("directions", (24, d))])
    x = np.concatenate([x, -x]) / np.linalg.norm(np.concatenate([x, x]), axis=1, keepdims=True)
    found = float(np.linalg.norm(_forward(layers, x) - _forward(weights, x), axis=1).max())
    if found > p["eps"] + 1e-12:
        return Trial(Outcome.FAILURE, f"an output is off by {found:.3g}")
    try:
        proved = examine(construction.best, _target(layers), Domain.ball(1)).euclidean
    except StructureError as error:
        return Trial(Outcome.UNDECIDED, f"nothing can be proved of the ticket: {error}")
    if proved.rigor is not Rigor.PROVED or not found - 1e-12 <= proved.error <= p["eps"]:
        return Trial(Outcome.UNDECIDED, f"outputs are off by {found:.3g}, {proved.rigor.name} is {proved.error:.3g}")
    return Trial(Outcome.SUCCESS, f"outputs proved within {proved.error:.3g}, off by {found:.3g} at most where tried")


def _forward(matrices: list[Matrix], x: Matrix) -> Matrix:
    for matrix in matrices[:-1]:
        x = np.maximum(x @ matrix.T, 0.0)
    return x @ matrices[-1].T


def _exists(construction: Construction, layers: list[Matrix], places: list[Place], p: dict[str, Any]) -> Outcome:
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


def _decide_place(construction: Construction, layers: list[Matrix], place: Place, p: dict[str, Any]) -> Outcome:
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
        if isinstance(p["d"], bool) or not isinstance(p["d"], int) or p["d"] < 1:
            raise ValueError(f"d must be an integer >= 1, got {p['d']!r}")
        if p["law"] not in ("binary", "uniform"):
            raise ValueError(f"law is 'binary' or 'uniform', got {p['law']!r}")
        if p["factor"] < 1.0:
            raise ValueError(f"factor must be >= 1, got {p['factor']}")
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

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        """Claim that `factor` times as many parameters would be needed."""
        return {**params, "factor": self.resolve(**params)["factor"] * factor}

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
