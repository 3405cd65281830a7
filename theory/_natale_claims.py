"""The claims of Natale et al. 2024 as experiments: sums of exactly k items, tickets of k products, packings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket.bounds import get
from strongticket.bounds import natale2024sparsity as bounds
from strongticket.bounds.pensia2020optimal import weight_eps
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._draws import Draws
from theory._tickets import AbstractTicketClaim, Matrix, Place, fewer, to_target

if TYPE_CHECKING:
    from strongticket.constructions import Construction

__all__ = ["FixedSizeClaim", "FixedSizePackingClaim", "FixedSizeTicketClaim", "separated"]

_MOST = 40  # items that are solved as one exact problem
_PLACES = {"zero": 0.0, "middle": 0.5, "edge": 1.0}


def _check_counts(p: Mapping[str, Any]) -> None:
    for name in ("size", "items"):
        if p[name] is not None:
            check_whole(p, name)
    check_factor(p)


@lru_cache(maxsize=1)
def _theorem2_success() -> float:
    return get("natale2024sparsity.theorem2_probability")(c_l=bounds.SUM_LOWER, c_u=bounds.SUM_UPPER)


def _nearest(items: np.ndarray[Any, Any], z: float, size: int, eps: float) -> tuple[Outcome, float]:
    """Decide by an exact solution whether a sum of exactly `size` items lies within eps of z."""
    from strongticket.subsetsum import solve

    found = solve(items[None, :], np.array([z]), objective="fixed_size", size=size, threads=1)
    error, slack = float(found.absolute_error[0]), float(found.bound[0])
    if int(found.size[0]) == size and error <= eps:
        return Outcome.SUCCESS, error
    return (Outcome.FAILURE if error - slack > eps else Outcome.UNDECIDED), error


@final
class FixedSizeClaim(AbstractClaim):
    """A fixed |z| <= sqrt(k) is within eps of a sum of exactly k of n items U(-1, 1), with a proved probability.

    That probability is c_thm with our constants ("theorem2", at the least n with n H2(k/n) >= log2(k/eps)), or the
    second moment at that n ("second_moment"). Trials are decided exactly.

    Parameters: eps, size (k), items (n; None: by the theorem), at ("edge": z = sqrt(k), "middle": sqrt(k)/2, "zero",
    "mixed": each in turn), twin (what an optimistic twin betters: "probability", or "items": c_hyp = 1/factor), factor.
    """

    text = "draw n items U(-1, 1) and a z with |z| <= sqrt(k); some sum of exactly k of them is within eps of z"

    def __init__(self, bound: str, **setting: Any) -> None:
        self._bound = bound
        self.defaults: Mapping[str, Any] = MappingProxyType(
            {"eps": 0.001, "size": 3, "items": None, "at": "edge", "twin": "probability", "factor": 1.0, **setting}
        )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the items and the probability of success that is claimed."""
        p = super().resolve(**params)
        _check_counts(p)
        check_choice(p, "at", ("mixed", *_PLACES))
        if p["twin"] not in ("probability", "items"):
            raise ValueError(f"twin is 'probability' or 'items', got {p['twin']!r}")
        fewer = p["factor"] if p["twin"] == "items" else 1.0
        if p["items"] is None:
            p["items"] = bounds.theorem2_items(p["size"], p["eps"], 1.0 / fewer)
        if not p["size"] <= p["items"] <= _MOST:
            raise ValueError(
                f"size = {p['size']} and eps = {p['eps']} ask for {p['items']} items; between size and {_MOST} can be "
                "solved exactly: take another size or a larger eps"
            )
        if self._bound == "theorem2":
            success = _theorem2_success()
        else:
            success = bounds.group_success(p["items"], p["size"], p["eps"], math.sqrt(p["size"]))
        better = p["factor"] if p["twin"] == "probability" else 1.0
        return {**p, "success": min(1.0 - 1e-9, success * better)}

    def failure_probability(self, **params: Any) -> float:
        """One minus the probability of success that is claimed."""
        return 1.0 - float(self.resolve(**params)["success"])

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        where = {
            "edge": "z = sqrt(k)",
            "middle": "z = sqrt(k)/2",
            "zero": "z = 0",
            "mixed": "z = 0, sqrt(k)/2, sqrt(k)",
        }
        return (
            f"exactly {p['size']} of {p['items']} items, {where[p['at']]}, eps = {p['eps']:g}; success has probability "
            f"{p['success']:.3g} at least ({self._bound.replace('_', ' ')})"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the items and decide."""
        p = self.resolve(**params)
        place = in_turn(p["at"], tuple(_PLACES), seed)
        items = Draws(seed).uniform("items", p["items"])
        outcome, error = _nearest(items, _PLACES[place] * math.sqrt(p["size"]), p["size"], p["eps"])
        return Trial(outcome, f"{place}: the nearest sum is off by {error:.3g}")


@final
class FixedSizeTicketClaim(AbstractTicketClaim):
    """Theorem 3 with our numbers, by the real construction: a ticket of k products per weight, proved within eps.

    A trial draws one target inside the hypotheses, takes the source that our explicit number of items sizes, and runs
    the construction. It succeeds when a ticket came out that keeps exactly k products for each weight, whose weights,
    regenerated from seed and mask, meet the target's, and whose outputs `strongticket.certify` proves within eps on the
    whole unit ball. Where a weight is not met, no k candidates of its pool serve it (size 1 and 2, or at most 40
    items: a failure, certain for this assignment of neurons), or the search by groups missed them (`MISSED`).

    Parameters: eps (network error), delta, size (k), sizes, kind of target ("mixed": each kind in turn), items (per
    weight; None: by the bound), factor (the bound's items are divided by it).
    """

    text = (
        "draw a target of norm <= 1 and a random source; the construction finds a ticket that keeps k products per "
        "weight, proved to be within eps on the unit ball"
    )
    defaults: Mapping[str, Any] = MappingProxyType(
        {"eps": 0.1, "delta": 0.01, "size": 3, "sizes": "3-3-2", "kind": "mixed", "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `weight_eps` and `items` as numbers and `sizes` as a tuple."""
        from strongticket.constructions.natale2024sparsity import proved_items

        p = super().resolve(**params)
        _check_counts(p)
        p["weight_eps"] = min(weight_eps([(b, a) for a, b in pairwise(p["sizes"])], p["eps"]), 0.5)
        if p["items"] is None:
            needed = proved_items(p["size"], p["weight_eps"], p["delta"], p["problems"], max_target=1.0)
            p["items"] = fewer(needed, p, p["size"])
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return (
            f"targets {'-'.join(map(str, p['sizes']))} ({p['kind']}), eps = {p['eps']:g} on the unit ball, "
            f"{p['weight_eps']:.3g} per weight, exactly {p['size']} of {p['items']} items for each of {p['problems']} "
            f"weights, delta = {p['delta']:g}"
        )

    def construct(self, layers: Sequence[Matrix], p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the source that the bound sizes."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Natale2024Sparsity

        return Natale2024Sparsity(
            size=p["size"], network_eps=p["eps"], items=p["items"], domain=Domain.ball(1), seed=seed
        ).construct(to_target(layers))

    def not_met(
        self, construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
    ) -> Trial:
        """Small problems are solved completely; the search by groups may miss a subset."""
        return Trial(
            Outcome.FAILURE if p["size"] <= 2 or p["items"] <= _MOST else Outcome.MISSED,
            f"{len(places)} weights are not met by {p['size']} of their {p['items']} candidates",
        )

    def conclude(
        self,
        construction: Construction,
        layers: Sequence[Matrix],
        weights: Sequence[Matrix],
        p: Mapping[str, Any],
        seed: int,
    ) -> Trial:
        """Check the number of products of each weight too."""
        if not _exactly(construction, p):
            return Trial(Outcome.FAILURE, f"not {p['size']} products for each weight")
        return super().conclude(construction, layers, weights, p, seed)


def _exactly(construction: Construction, p: Mapping[str, Any]) -> bool:
    """Whether each output keeps k products for each half of each input."""
    for i, (d_in, d_out) in enumerate(pairwise(p["sizes"])):
        kept = construction.best.mask[f"layers.{2 * i + 1}.weight"].numpy().sum(axis=1)
        if kept.tolist() != [p["size"] * d_in * (2 if i == 0 else 1)] * d_out:
            return False
    return True


def separated(size: int, eps: float) -> int:
    """Return how many multiples of a spacing just above 2 eps lie in [-sqrt(k), sqrt(k)].

    >>> separated(1, 0.1), separated(4, 0.1)
    (9, 19)
    """
    return 2 * math.floor(math.sqrt(size) / (2.0 * eps * (1.0 + 1e-9))) + 1


@final
class FixedSizePackingClaim(AbstractClaim):
    """Theorem 5 as an experiment: the C(n, k) tickets of exactly k of n parameters serve few of a separated set.

    A trial draws n parameters and a member of a 2 eps-separated set of [-sqrt(k), sqrt(k)]. It "fails" when exactly k
    of them sum to the member within eps, which by counting has probability C(n, k) / (size of the set) at most. The
    optimistic twin says that tickets are worth 1/factor of their bits.

    Parameters: eps, size (k), items (n; None: the most with C(n, k) below a quarter of the set), law ("uniform", or
    "members": n different members, the best there is for size 1), factor.
    """

    text = "draw n parameters and a member of a separated set; exactly k of them serve it (this must be rare)"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"eps": 0.01, "size": 1, "items": None, "law": "members", "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters with the size of the set and the probability that counting allows."""
        p = super().resolve(**params)
        _check_counts(p)
        if p["law"] not in ("uniform", "members"):
            raise ValueError(f"law is 'uniform' or 'members', got {p['law']!r}")
        members = separated(p["size"], p["eps"])
        if p["items"] is None:
            fitting = [n for n in range(p["size"], _MOST + 1) if 4 * math.comb(n, p["size"]) <= members]
            if not fitting:
                raise ValueError(f"a set of {members} members is too small for size = {p['size']}: take a smaller eps")
            p["items"] = fitting[-1]
        if not p["size"] <= p["items"] <= (members if p["law"] == "members" else _MOST):
            raise ValueError(f"items must lie between size = {p['size']} and what can be solved, got {p['items']}")
        allowed = min(1.0, math.comb(p["items"], p["size"]) ** (1.0 / p["factor"]) / members)
        return {**p, "members": members, "delta": allowed}

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return (
            f"exactly {p['size']} of n = {p['items']} parameters ({p['law']}), {p['members']} separated members, "
            f"eps = {p['eps']:g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw parameters and member; report a failure when exactly k of the parameters serve it."""
        p = self.resolve(**params)
        draws, half = Draws(seed), p["members"] // 2
        spacing = 2.0 * p["eps"] * (1.0 + 1e-9)
        wanted = (int(draws.below("member", p["members"])[0]) - half) * spacing
        if p["law"] == "members":
            items = (draws.order("items", p["members"])[: p["items"]] - half) * spacing
            items = np.where(items == 0.0, 1e-3 * p["eps"], items)  # a zero is never chosen
        else:
            items = draws.uniform("items", p["items"])
        outcome, error = _nearest(items, wanted, p["size"], p["eps"])
        if outcome is Outcome.UNDECIDED:
            return Trial(outcome, "too close to call")
        served = outcome is Outcome.SUCCESS
        return Trial(Outcome.FAILURE if served else Outcome.SUCCESS, f"the nearest sum is off by {error:.3g}")
