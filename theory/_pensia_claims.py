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
    """Theorem 1 with our constants, by the real construction: a random source contains a ticket within eps.

    A trial draws a target inside the hypotheses, takes the source that the bound sizes, runs the construction, and
    checks the conclusion on the result: every layer's weights regenerated from the seed and compared with the target's,
    and the outputs on random and adversarial inputs of the unit ball. The theorem speaks of existence: where the
    construction gives up on a weight (with many items it solves group by group), complete subset sums on a fine lattice
    decide whether a subset exists, and only a weight that none reaches for certain makes the trial a failure.

    Parameters: eps (network error), delta, sizes, kind of target ("mixed": each kind in turn), assignment, objective,
    items (per weight; None: by the bound), factor (the bound's items are divided by it).
    """

    text = "draw a target of norm <= 1 and a random source; the construction finds a ticket within eps on the unit ball"
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
        weights = [a * b for a, b in pairwise(sizes)]
        shapes = [(b, a) for a, b in pairwise(sizes)]
        p["weight_eps"] = bounds.weight_eps(shapes, p["eps"])
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
            f"{p['problems']} subset sums, delta = {p['delta']:g}"
        )

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        """Divide the bound's items per weight by the factor."""
        return {**params, "items": None, "factor": self.resolve(**params)["factor"] * factor}

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Pensia2020Optimal

        p = self.resolve(**params)
        rng = np.random.default_rng(seed)
        kind = KINDS[seed % len(KINDS)] if p["kind"] == "mixed" else p["kind"]
        layers = draw_layers(kind, p["sizes"], rng)
        construction = Pensia2020Optimal(
            network_eps=p["eps"],
            delta=p["delta"],
            items=p["items"],
            assignment=p["assignment"],
            objective=p["objective"],
            domain=Domain.ball(1),
            seed=seed,
        ).construct(_target(layers))
        if construction.ticket is None:
            missed = len(construction.unreached)
            outcome = _exists(construction, p)
            how = {
                Outcome.SUCCESS: "not found by the construction, but there are subsets",
                Outcome.FAILURE: "not reached, and one of them by no subset",
                Outcome.UNDECIDED: "not reached by the construction; whether a subset exists is open",
            }
            return Trial(outcome, f"{kind} target: {missed} weights {how[outcome]}")
        return _judge(construction, layers, p, rng, kind)


def _target(layers: list[Matrix]) -> Any:
    import torch

    from strongticket.models import Target

    return Target.from_state({f"{i}.weight": torch.from_numpy(layer.copy()) for i, layer in enumerate(layers)})


def _judge(
    construction: Construction, layers: list[Matrix], p: dict[str, Any], rng: np.random.Generator, kind: str
) -> Trial:
    """Check the theorem's conclusion on the ticket, from its regenerated masked weights alone."""
    masked = [w.double().numpy() for w in construction.best.weights().values()]
    weights = []
    for first, second in zip(masked[::2], masked[1::2], strict=True):
        used = np.flatnonzero((second != 0.0).any(axis=0))  # all other neurons add nothing
        weights += [first[used], second[:, used]]
    worst = 0.0
    for layer, first, second in zip(layers, weights[::2], weights[1::2], strict=True):
        halves = [second @ np.maximum(first, 0.0)]
        if layer is layers[0]:
            halves.append(second @ np.minimum(first, 0.0))
        worst = max([worst, *(float(np.abs(half - layer).max()) for half in halves)])
    # 1e-12 is for the rounding of these matrix products
    if worst > p["weight_eps"] + 1e-12:
        return Trial(Outcome.FAILURE, f"{kind} target: a weight is off by {worst:.3g}")
    x = np.concatenate([np.eye(p["sizes"][0]), np.linalg.svd(layers[0])[2], rng.normal(size=(24, p["sizes"][0]))])
    x = np.concatenate([x, -x]) / np.linalg.norm(np.concatenate([x, x]), axis=1, keepdims=True)
    error = float(np.linalg.norm(_forward(layers, x) - _forward(weights, x), axis=1).max())
    if error > p["eps"] + 1e-12:
        return Trial(Outcome.FAILURE, f"{kind} target: an output is off by {error:.3g}")
    return Trial(Outcome.SUCCESS, f"{kind} target: weights within {worst:.3g}, outputs within {error:.3g}")


def _forward(matrices: list[Matrix], x: Matrix) -> Matrix:
    for matrix in matrices[:-1]:
        x = np.maximum(x @ matrix.T, 0.0)
    return x @ matrices[-1].T


def _exists(construction: Construction, p: dict[str, Any]) -> Outcome:
    """Decide whether subsets exist for the weights that the construction did not reach."""
    from strongticket.constructions.pensia2020optimal import EXACT_ITEMS

    if p["items"] <= EXACT_ITEMS:
        return Outcome.FAILURE
    if p["assignment"] != "fixed":
        return Outcome.UNDECIDED
    outcomes = {_decide_place(construction, place, p) for place in construction.unreached}
    for outcome in (Outcome.FAILURE, Outcome.UNDECIDED):
        if outcome in outcomes:
            return outcome
    return Outcome.SUCCESS


def _decide_place(construction: Construction, place: Any, p: dict[str, Any]) -> Outcome:
    """Decide one weight from the source itself: half-input h owns the neurons h * n .. (h + 1) * n - 1 in the paper."""
    source = construction.plan.source
    names = list(source.shapes)
    layer, i = int(place["layer"]), int(place["input"])
    column = 2 * i + int(place["sign"] < 0) if layer == 0 else i
    neurons = column * p["items"] + np.arange(p["items"], dtype=np.int64)
    width, d_in = source.shapes[names[2 * layer]]
    u = source.weight(names[2 * layer], neurons * d_in + i).double().numpy()
    v = source.weight(names[2 * layer + 1], int(place["row"]) * width + neurons).double().numpy()
    items = np.where(u * place["sign"] > 0, u, 0.0) * v
    return decide_targets(items, np.array([float(place["target"])]), p["weight_eps"])


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
        rng = np.random.default_rng(seed)
        entries, each = p["d"] ** 2, p["parameters"] // p["d"] ** 2
        spacing = 2.0 * p["eps"] * (1.0 + 1e-9)
        for _ in range(entries):
            wanted = (int(rng.integers(p["values"])) - p["values"] // 2) * spacing
            # powers of two times the spacing: every sum serves a member of its own
            items = spacing * 2.0 ** np.arange(each) if p["law"] == "binary" else rng.uniform(-1.0, 1.0, each)
            sums = np.zeros(1)
            for item in items:
                sums = np.concatenate([sums, sums + item])
            if np.abs(sums - wanted).min() > p["eps"]:
                return Trial(Outcome.SUCCESS, "no subnetwork serves this member")
        return Trial(Outcome.FAILURE, "a subnetwork serves this member")
