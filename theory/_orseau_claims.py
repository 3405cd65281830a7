"""The claims of Orseau et al. 2020 as experiments: the greedy lemma in exact fractions, and the real construction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any, final

import numpy as np

from strongticket.bounds import orseau2020logarithmic as bounds
from theory._claim import AbstractClaim, Outcome, Trial
from theory._draws import Draws
from theory._pensia_claims import _effective_weights, _judge, _sizes, _target, _unmet
from theory._targets import KINDS, draw_layers

__all__ = ["PLACES", "GreedyClaim", "GreedyTicketClaim", "greedy"]

PLACES = ("lowest", "highest", "anywhere", "either end")
_GRAIN = 1 << 30


def greedy(weight: Fraction, numbers: Sequence[Fraction]) -> Fraction:
    """Return what is left of a weight when each number, in turn, is taken if it fits.

    >>> greedy(Fraction(3, 4), [Fraction(1, 2), Fraction(1, 3), Fraction(1, 5)])
    Fraction(1, 20)
    """
    left = weight
    for number in numbers:
        if number <= left:
            left -= number
    return left


@final
class GreedyClaim(AbstractClaim):
    """The greedy lemma in exact fractions: it may never fail.

    A trial draws a base b in (1, 2], a number v_i in each bin [(b - 1) b^-i, b^-i], at its ends or inside, and a
    weight in [0, 1], and fails if more than b^-k is left. The optimistic twin says that no more than b^(-factor k) is.

    Parameters: bins (k), place of the numbers ("mixed": each way in turn), factor.
    """

    text = "draw a base, a number in each bin and a weight; the greedy rule leaves at most b^-k (this never fails)"
    defaults: Mapping[str, Any] = MappingProxyType({"bins": 12, "place": "mixed", "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        if isinstance(p["bins"], bool) or not isinstance(p["bins"], int) or not 1 <= p["bins"] <= 100:
            raise ValueError(f"bins must be an integer from 1 to 100, got {p['bins']!r}")
        if p["place"] not in (*PLACES, "mixed"):
            raise ValueError(f"place is 'mixed' or one of {', '.join(PLACES)}, got {p['place']!r}")
        if p["factor"] < 1.0:
            raise ValueError(f"factor must be >= 1, got {p['factor']}")
        return p

    def failure_probability(self, **params: Any) -> float:
        """The lemma is certain."""
        return 0.0

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        """Claim that the bins do the work of `factor` times as many."""
        return {**params, "factor": self.resolve(**params)["factor"] * factor}

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw base, numbers and weight; run the rule."""
        p = self.resolve(**params)
        draws, k = Draws(seed), p["bins"]
        place = PLACES[seed % len(PLACES)] if p["place"] == "mixed" else p["place"]
        base = 1 + Fraction(1 + int(draws.below("base", 64)[0]), 64)
        shares = [Fraction(int(x), _GRAIN) for x in draws.below("inside", _GRAIN + 1, k)]
        if place != "anywhere":
            ends = [int(x) for x in draws.below("end", 2, k)]
            shares = [Fraction({"lowest": 0, "highest": 1}.get(place, end)) for end in ends]
        numbers = [((base - 1) + share * (2 - base)) * base**-i for i, share in enumerate(shares, 1)]
        chosen = [number for number, keep in zip(numbers, draws.below("sum", 2, k).tolist(), strict=True) if keep]
        kinds = (
            Fraction(1),
            Fraction(int(draws.below("weight", _GRAIN + 1)[0]), _GRAIN),
            min(sum(chosen), Fraction(1)),
        )
        weight = Fraction(kinds[int(draws.below("kind", 3)[0])])
        left = greedy(weight, numbers)
        detail = f"b = {base}, numbers {place}, w = {float(weight):.6g}: {float(left):.6g} is left"
        allowed = base ** -math.ceil(p["factor"] * k)
        return Trial(Outcome.SUCCESS if 0 <= left <= allowed else Outcome.FAILURE, detail)


@final
class GreedyTicketClaim(AbstractClaim):
    """The theorem with our constants, by the real construction: it finds, in a random source, a ticket within eps.

    A trial draws one target of any norms, takes the source that the bound sizes, and runs the construction. It succeeds
    only when a ticket came out and the conclusion was checked on it: every weight against the ticket's own,
    regenerated from seed and mask; and the certificate of `strongticket.certify`, proved from the ticket and the target
    alone, that outputs differ by at most eps on the unit ball. A trial in which the greedy rule does not meet every
    weight is `MISSED` (other subsets may meet it), and counts: what is judged is the greedy construction. A trial in
    which all bins are filled and a weight is not met would contradict the lemma, and is a failure.

    Parameters: eps (network error), delta, sizes, kind of target ("mixed": each kind in turn), norm (of every layer),
    weights ("hyperbolic" or "uniform"), assignment ("batch" or "fixed"), items (per weight; None: by the bound for the
    target drawn), factor (the bound's items are divided by it).
    """

    text = (
        "draw a target of any norm and a random source; the greedy construction finds a ticket, proved to be within "
        "eps on the unit ball"
    )

    def __init__(self, **defaults: Any) -> None:
        self.defaults = MappingProxyType(
            {
                "eps": 0.5,
                "delta": 0.01,
                "sizes": "3-2-2",
                "kind": "mixed",
                "norm": 2.0,
                "weights": "hyperbolic",
                "assignment": "batch",
                "items": None,
                "factor": 1.0,
                **defaults,
            }
        )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `weight_eps` as a number and `sizes` as a tuple."""
        p = super().resolve(**params)
        p["sizes"] = sizes = _sizes(p["sizes"])
        if p["kind"] not in (*KINDS, "mixed"):
            raise ValueError(f"kind is 'mixed' or one of {', '.join(KINDS)}, got {p['kind']!r}")
        if p["factor"] < 1.0 or not 0.0 < p["norm"] <= 1e6:
            raise ValueError(f"factor >= 1 and 0 < norm <= 1e6 are needed, got {p['factor']} and {p['norm']}")
        shapes = [(b, a) for a, b in pairwise(sizes)]
        p["weight_eps"] = bounds.weight_eps(shapes, p["eps"], norms=[p["norm"]] * len(shapes))
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words, with the numbers of the first kind of target."""
        p = self.resolve(**params)
        layers = self._layers("gaussian", p, 0)
        plan = self._method(p, 0).plan(_target(layers))
        items = p["items"] if p["items"] is not None else max(1, math.floor(max(plan.items) / p["factor"]))
        law = plan.source.init.law
        return (
            f"targets {'-'.join(map(str, p['sizes']))} ({p['kind']}), norms {p['norm']:g}, eps = {p['eps']:g} on the "
            f"unit ball, {p['weight_eps']:.3g} per weight, {law}, {p['assignment']}, n = {items} items per weight for "
            f"a gaussian target, delta = {p['delta']:g}"
        )

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        """Divide the bound's items per weight by the factor."""
        return {**params, "items": None, "factor": self.resolve(**params)["factor"] * factor}

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        p = self.resolve(**params)
        kind = KINDS[seed % len(KINDS)] if p["kind"] == "mixed" else p["kind"]
        layers = self._layers(kind, p, seed)
        target = _target(layers)
        items = p["items"]
        if items is None and p["factor"] > 1.0:
            needed = max(self._method(p, seed).plan(target).items)
            items = max(1, math.floor(needed / p["factor"]))
        construction = self._method(p, seed, items).construct(target)
        weights = _effective_weights(construction)
        places = _unmet(construction, layers, weights, p["weight_eps"])
        if places:
            broken = any((c.complete & ~_met(construction, c.layer, places, c.complete.shape)).any()
                         for c in construction.bins)  # fmt: skip
            outcome = Outcome.FAILURE if broken else Outcome.MISSED
            return Trial(outcome, f"{kind} target: {len(places)} weights are not met by greedy sums")
        trial = _judge(construction, layers, weights, p, seed)
        return Trial(trial.outcome, f"{kind} target: {trial.detail}")

    def _layers(self, kind: str, p: Mapping[str, Any], seed: int) -> list[Any]:
        return [layer * p["norm"] for layer in draw_layers(kind, p["sizes"], seed)]

    def _method(self, p: Mapping[str, Any], seed: int, items: int | None = None) -> Any:
        from strongticket.constructions import Orseau2020Logarithmic

        return Orseau2020Logarithmic(
            weight_eps=p["weight_eps"],
            delta=p["delta"],
            items="target" if items is None else items,
            weights=p["weights"],
            assignment=p["assignment"],
            seed=seed,
        )


def _met(
    construction: Any, layer: int, places: Sequence[tuple[int, int, int, int]], shape: tuple[int, ...]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a weight of this layer is met, by row and half-input."""
    signed = construction.plan.halves[layer] == 2
    met = np.ones(shape, dtype=bool)
    for at, row, i, sign in places:
        if at == layer:
            met[row, 2 * i + int(sign < 0) if signed else i] = False
    return met
