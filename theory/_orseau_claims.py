"""The claims of Orseau et al. 2020 as experiments: the greedy lemma in exact fractions, and the real construction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket.bounds import orseau2020logarithmic as bounds
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._draws import Draws
from theory._targets import draw_layers
from theory._tickets import AbstractTicketClaim, Matrix, Place, fewer, to_target

if TYPE_CHECKING:
    from strongticket.constructions import Construction

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
        check_whole(p, "bins", 1, 100)
        check_choice(p, "place", ("mixed", *PLACES))
        check_factor(p)
        return p

    def failure_probability(self, **params: Any) -> float:
        """The lemma is certain."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw base, numbers and weight; run the rule."""
        p = self.resolve(**params)
        draws, k = Draws(seed), p["bins"]
        place = in_turn(p["place"], PLACES, seed)
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
class GreedyTicketClaim(AbstractTicketClaim):
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
        if not 0.0 < p["norm"] <= 1e6:
            raise ValueError(f"norm must lie in (0, 1e6], got {p['norm']}")
        shapes = [(b, a) for a, b in pairwise(p["sizes"])]
        p["weight_eps"] = bounds.weight_eps(shapes, p["eps"], norms=[p["norm"]] * len(shapes))
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words, with the numbers of the first kind of target."""
        p = self.resolve(**params)
        plan = self._method(p, 0).plan(to_target(self.draw("gaussian", p, 0)))
        items = fewer(max(plan.items), p)
        law = plan.source.init.law
        return (
            f"targets {'-'.join(map(str, p['sizes']))} ({p['kind']}), norms {p['norm']:g}, eps = {p['eps']:g} on the "
            f"unit ball, {p['weight_eps']:.3g} per weight, {law}, {p['assignment']}, n = {items} items per weight for "
            f"a gaussian target, delta = {p['delta']:g}"
        )

    def draw(self, kind: str, p: Mapping[str, Any], seed: int) -> list[Matrix]:
        """Draw layers of any norm."""
        return [layer * p["norm"] for layer in draw_layers(kind, p["sizes"], seed)]

    def construct(self, layers: Sequence[Matrix], p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the source that the bound sizes for this target."""
        target, items = to_target(layers), p["items"]
        if items is None and p["factor"] > 1.0:
            items = fewer(max(self._method(p, seed).plan(target).items), p)
        found: Construction = self._method(p, seed, items).construct(target)
        return found

    def not_met(
        self, construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
    ) -> Trial:
        """It contradicts the lemma if all bins of such a weight are filled."""
        broken = any(
            (c.complete & ~_met(construction, c.layer, places, c.complete.shape)).any()
            for c in construction.bins  # type: ignore[attr-defined]
        )
        detail = f"{len(places)} weights are not met by greedy sums"
        return Trial(Outcome.FAILURE if broken else Outcome.MISSED, detail)

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
