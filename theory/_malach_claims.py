"""The claims of Malach et al. 2020 as experiments: one random pair per weight; neurons kept of a depth-2 network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket import bounds as rooms
from strongticket.bounds import malach2020proving as bounds
from strongticket.bounds import pensia2020optimal as budgets
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._draws import Draws
from theory._targets import draw_layers
from theory._tickets import AbstractTicketClaim, Matrix, Place, fewer, to_target

if TYPE_CHECKING:
    from strongticket.constructions import Construction

__all__ = ["PREDICTORS", "FeaturesClaim", "PairClaim", "inside_paper"]


def inside_paper(layers: list[Matrix]) -> list[Matrix]:
    """Shrink layers of norm at most 1 so that no weight exceeds 1/sqrt(fan-in), the theorem's other hypothesis."""
    inside = []
    for layer in layers:
        largest = float(np.abs(layer).max()) * math.sqrt(layer.shape[1])
        inside.append(layer / largest * (1.0 - 1e-10) if largest > 1.0 - 1e-10 else layer)
    return inside


@final
class PairClaim(AbstractTicketClaim):
    """Theorem 2.1 by the real construction: it finds, in a random source, one pair for each weight, and so a ticket.

    A trial draws one target inside the hypotheses, takes the source that the bound sizes, and runs the construction. It
    succeeds only when a ticket came out, its weights, regenerated from seed and mask, meet the target's, and a
    certificate proves its outputs within eps on the whole unit ball. Where a weight is not met, every neuron of its
    block is tried again here: if no product meets it, the trial is a failure (of the proof's own assignment: other
    masks are not excluded); if one does, the construction missed it.

    Parameters: eps (network error), delta, sizes, kind of target ("mixed": each kind in turn), bound ("paper": width
    and tolerance of Theorem 2.1; "pair": the same event, our constant; "product": our exact count; the latter two with
    the tolerance by our closed form), choose (what the construction takes; None: what the bound counts, the nearest
    pair or the nearest product), blocks, items (per block; None: by the bound), factor (the bound's items are divided
    by it).
    """

    text = (
        "draw a target of norm <= 1 and entries <= 1/sqrt(fan-in), and a random source; one random pair per weight "
        "makes a ticket, proved to be within eps on the unit ball"
    )
    defaults: Mapping[str, Any]

    def __init__(self, **defaults: Any) -> None:
        standard = {
            "eps": 0.7,
            "delta": 0.01,
            "sizes": "2-2-1",
            "kind": "mixed",
            "bound": "paper",
            "choose": None,
            "blocks": "shared",
            "items": None,
            "factor": 1.0,
        }
        self.defaults = MappingProxyType({**standard, **defaults})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `weight_eps` and `items` as numbers and `sizes` as a tuple."""
        p = super().resolve(**params)
        sizes = p["sizes"]
        if p["bound"] not in ("paper", "pair", "product"):
            raise ValueError(f"bound is 'paper', 'pair' or 'product', got {p['bound']!r}")
        if p["choose"] is None:
            p["choose"] = "nearest" if p["bound"] == "product" else "nearest-pair"
        if p["bound"] == "paper":
            s, w, depth = max(sizes[:-1]), max(sizes[1:]), len(sizes) - 1
            p["weight_eps"] = bounds.paper_weight_eps(p["eps"], depth, s, w)
            width = rooms.get("malach2020proving.theorem2_1_width")
            needed = round(width(eps=p["eps"], delta=p["delta"], s=s, w=w, L=depth)) // (w * s)
        else:
            p["weight_eps"] = min(budgets.weight_eps([(b, a) for a, b in pairwise(sizes)], p["eps"]), 0.5)
            fine, largest = p["weight_eps"] - bounds.GRID_SLACK - 2.0**-44, 1.0 / math.sqrt(min(sizes[:-1]))
            if p["bound"] == "pair" and largest > 1.0 - fine:
                raise ValueError("the pair bound needs weights of at most 1 - weight_eps: take layers of fan-in >= 2")
            needed = bounds.items_for_network(
                p["problems"], fine, p["delta"], event=p["bound"], max_target=largest
            )  # fmt: skip
        p["items"] = fewer(needed, p)
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return (
            f"targets {'-'.join(map(str, p['sizes']))} ({p['kind']}), eps = {p['eps']:g} on the unit ball, "
            f"{p['weight_eps']:.3g} per weight, {p['items']} neurons per block ({p['blocks']} blocks, {p['bound']} "
            f"bound, {p['choose']}), {p['problems']} pairs, delta = {p['delta']:g}"
        )

    def draw(self, kind: str, p: Mapping[str, Any], seed: int) -> list[Matrix]:
        """Draw layers of norm at most 1 without entries beyond 1/sqrt(fan-in)."""
        return inside_paper(draw_layers(kind, p["sizes"], seed))

    def construct(self, layers: Sequence[Matrix], p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the source that the bound sizes."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Malach2020Proving

        return Malach2020Proving(
            weight_eps=p["weight_eps"],
            items=p["items"],
            choose=p["choose"],
            blocks=p["blocks"],
            domain=Domain.ball(1),
            seed=seed,
        ).construct(to_target(layers))

    def not_met(
        self, construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
    ) -> Trial:
        """Try every product of the blocks."""
        if all(_some_product(construction, layers, place, p) for place in places):
            detail = f"the construction does not meet {len(places)} weights, yet products of their blocks do"
            return Trial(Outcome.MISSED, detail)
        detail = f"{len(places)} weights are not met, and for one of them no product of its block is within tolerance"
        return Trial(Outcome.FAILURE, detail)


def _some_product(construction: Construction, layers: Sequence[Matrix], place: Place, p: Mapping[str, Any]) -> bool:
    """Whether some neuron of the block, or none at all, meets this weight, from the source itself, one by one."""
    layer, row, i, sign = place
    source, names = construction.plan.source, list(construction.plan.source.shapes)
    (_, d_in), (_, width) = source.shapes[names[2 * layer]], source.shapes[names[2 * layer + 1]]
    neurons = i + d_in * np.arange(p["items"], dtype=np.int64)
    if p["blocks"] == "own":
        neurons += row * d_in * p["items"]
    u = source.weight(names[2 * layer], neurons * d_in + i).double().numpy()
    v = source.weight(names[2 * layer + 1], row * width + neurons).double().numpy()
    products = np.append((u * v)[u * sign > 0], 0.0)
    return bool(np.abs(products - layers[layer][row, i]).min() <= p["weight_eps"])


def _constant(width: int, draws: Draws) -> Matrix:
    return np.ones(width)


def _signs(width: int, draws: Draws) -> Matrix:
    return np.asarray(2.0 * draws.below("coefficients", 2, width) - 1.0)


def _spread(width: int, draws: Draws) -> Matrix:
    return draws.uniform("coefficients", width)


def _rare(width: int, draws: Draws) -> Matrix:
    return np.where(draws.uniform("which", width, low=0.0) < 0.05, 1.0, 0.0)


_PREDICTORS = {"constant": _constant, "signs": _signs, "spread": _spread, "rare": _rare}
PREDICTORS: tuple[str, ...] = (*_PREDICTORS, "fitted")


@final
class FeaturesClaim(AbstractClaim):
    """Neurons of a random depth-2 network copy a random-features predictor, by the real construction.

    A trial draws the source, some inputs of 1-norm 1 (so that every feature is at most B = 1), and the coefficients of
    a predictor on the source's own features, which do not look at its second layer. It fails when the root mean square
    difference over the inputs exceeds eps. For "fitted" predictors the coefficients are the best bounded ones for
    random labels, so that the pruned network is at most eps worse than the best random-features predictor.

    Parameters: eps, delta, dimension, bound (C), points (inputs; 1 is the hardest for the bound), kind of predictor
    ("mixed": each in turn), width (None: by the bound), factor (the bound's width is divided by it).
    """

    text = (
        "draw a depth-2 source, inputs and a random-features predictor with |coefficients| <= C on its features; the "
        "neurons kept by the rule stay within eps of it, in root mean square over the inputs"
    )
    by_bound = ("width",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {
            "eps": 0.1,
            "delta": 0.01,
            "dimension": 4,
            "bound": 1.0,
            "points": 8,
            "kind": "mixed",
            "width": None,
            "factor": 1.0,
        }
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the width as a number."""
        p = super().resolve(**params)
        for name in ("dimension", "points"):
            check_whole(p, name)
        check_choice(p, "kind", ("mixed", *PREDICTORS))
        check_factor(p)
        if p["width"] is None:
            bound = rooms.get("malach2020proving.random_features_width")
            p["width"] = max(1, math.floor(bound(eps=p["eps"], delta=p["delta"], C=p["bound"], B=1) / p["factor"]))
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return (
            f"width {p['width']}, {p['dimension']} inputs, {p['points']} points of 1-norm 1, {p['kind']} predictors "
            f"with |a_j| <= {p['bound']:g}, eps = {p['eps']:g}, delta = {p['delta']:g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw source, inputs and predictor, keep the neurons, compare the outputs."""
        from strongticket.constructions._malach2020proving_neurons import RandomFeatures

        p = self.resolve(**params)
        kind = in_turn(p["kind"], PREDICTORS, seed)
        draws = Draws(seed)
        features = RandomFeatures(p["dimension"], p["width"], p["bound"], seed)
        x = draws.normal("inputs", (p["points"], p["dimension"]))
        x[0] = np.eye(p["dimension"])[0]  # a unit vector meets the largest features
        x /= np.abs(x).sum(axis=1, keepdims=True)
        if kind == "fitted":
            labels = 2.0 * draws.below("labels", 2, p["points"]) - 1.0
            coefficients = features.fit(x, 0.1 * p["bound"] * labels, steps=40)
        else:
            coefficients = p["bound"] * _PREDICTORS[kind](p["width"], draws)
        wanted, got = features.predict(coefficients, x), features.outputs(features.prune(coefficients), x)
        off = float(np.sqrt(np.mean((wanted - got) ** 2)))
        return Trial(
            Outcome.SUCCESS if off <= p["eps"] else Outcome.FAILURE,
            f"{kind} predictor: off by {off:.3g} in root mean square",
        )
