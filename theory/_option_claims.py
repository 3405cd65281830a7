"""Claims about variants of the subset-sum theorem: absent and locked edges, redraws, gains, perturbed candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket import bounds as registry
from strongticket.bounds import chijiwa2021pruning, gadhikar2023random, otsuka2025partially, pensia2020optimal
from theory._claim import AbstractClaim, Outcome, Trial, check_factor, check_whole
from theory._coverage import decide_targets
from theory._draws import Draws
from theory._tickets import AbstractTicketClaim, Matrix, Place, fewer, layer_sizes, to_target

if TYPE_CHECKING:
    from strongticket.constructions import Construction

__all__ = [
    "DeadItemsClaim",
    "GainsClaim",
    "LinksClaim",
    "LockedSumsClaim",
    "NoBiasClaim",
    "PerturbedClaim",
    "RetriesClaim",
    "SingleHitClaim",
    "SparseTicketClaim",
]


def _share(p: Mapping[str, Any], name: str, *, one: bool = False) -> float:
    value = p[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 1.0 - (not one) * 1e-9:
        raise ValueError(f"{name} must lie in (0, 1{']' if one else ')'}, got {value!r}")
    return float(value)


@final
class LinksClaim(AbstractClaim):
    """So many copies of each neuron make every link of a target available.

    A trial draws which of the edges are there and looks whether each link has one. Parameters: p (an edge is there),
    links, delta, copies (None: by the bound), factor (the bound's copies are divided by it).
    """

    text = "draw the edges of a sparse network; each link of the target is there in one of its copies"
    by_bound = ("copies",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"p": 0.25, "links": 1000, "delta": 0.01, "copies": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of copies."""
        p = super().resolve(**params)
        check_factor(p)
        share, links = _share(p, "p"), check_whole(p, "links", 1, 10**6)
        if p["copies"] is None:
            least = registry.get("gadhikar2023random.link_copies")(p=share, N=links, delta=p["delta"])
            p["copies"] = max(1, math.floor(least / p["factor"]))
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the edges and count the links without any."""
        p = self.resolve(**params)
        there = Draws(seed).uniform("edges", (p["links"], p["copies"]), low=0.0) < p["p"]
        missing = int(np.count_nonzero(~there.any(axis=1)))
        return Trial(Outcome.FAILURE if missing else Outcome.SUCCESS, f"{missing} of {p['links']} links are missing")


@final
class DeadItemsClaim(AbstractClaim):
    """No solver meets a target more often than some candidate is there: the floor of sparse sources.

    A trial draws n sparse candidates and decides, with certainty, whether a subset comes within eps; it "fails" if one
    does, which the claim allows with probability 1 - (1 - p)^n. Parameters: p, items, target, eps, factor (the floor is
    multiplied by it).
    """

    text = "draw sparse candidates; no subset comes within eps of the target (this must not be rarer than the floor)"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"p": 0.125, "items": 32, "target": 0.25, "eps": 0.02, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the floor."""
        p = super().resolve(**params)
        check_factor(p)
        share, items = _share(p, "p"), check_whole(p, "items", 1, 40)
        if not p["target"] > p["eps"]:
            raise ValueError(f"target must lie beyond eps = {p['eps']}, got {p['target']}")
        p["floor"] = p["factor"] * registry.get("gadhikar2023random.dead_floor")(p=share, n=items)
        if not 0.0 < p["floor"] < 1.0:
            raise ValueError(f"the floor is {p['floor']:.3g}: nothing to falsify")
        return p

    def failure_probability(self, **params: Any) -> float:
        """How often a subset may come near the target."""
        return 1.0 - float(self.resolve(**params)["floor"])

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw candidates and decide."""
        p = self.resolve(**params)
        draws = Draws(seed)
        items = draws.uniform("items", p["items"]) * (draws.uniform("edges", p["items"], low=0.0) < p["p"])
        found = decide_targets(items, np.array([p["target"]]), p["eps"])
        outcome = {Outcome.SUCCESS: Outcome.FAILURE, Outcome.FAILURE: Outcome.SUCCESS}.get(found, found)
        return Trial(outcome, f"{np.count_nonzero(items)} of {p['items']} candidates are there")


@final
class SparseTicketClaim(AbstractTicketClaim):
    """Random sparse sources contain tickets, by the real construction: with our count of candidates, one within eps.

    Parameters: those of every ticket claim, edges (probability that an edge is there, a multiple of 1/512) and
    assignment. A weight that is not met makes the trial missed: other masks are not excluded.
    """

    text = (
        "draw a target of norm <= 1 and a random sparse source; the construction finds a ticket, proved to be within "
        "eps on the unit ball"
    )
    defaults: Mapping[str, Any] = MappingProxyType(
        {
            "eps": 0.3,
            "delta": 0.01,
            "sizes": "2-1-1",
            "kind": "mixed",
            "edges": 0.5,
            "assignment": "column-aware",
            "items": None,
            "factor": 1.0,
        }
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `weight_eps` and `items` as numbers."""
        from strongticket.constructions.pensia2020optimal import WEAKEST_ITEM
        from strongticket.random.sparse import sparse_law

        p = super().resolve(**params)
        sparse_law(p["edges"])
        shapes = [(b, a) for a, b in pairwise(p["sizes"])]
        p["weight_eps"] = min(pensia2020optimal.weight_eps(shapes, p["eps"]), 0.5)
        if p["items"] is None:
            needed = gadhikar2023random.items_for_network(
                p["problems"],
                p["weight_eps"],
                p["delta"],
                edges=p["edges"],
                max_target=1.0,
                assignment=p["assignment"],
                u_min=WEAKEST_ITEM,
            )
            p["items"] = fewer(needed, p)
        return p

    def construct(self, layers: Sequence[Matrix], p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the sparse source that the bound sizes."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Pensia2020Optimal

        return Pensia2020Optimal(
            network_eps=p["eps"],
            delta=p["delta"],
            items=p["items"],
            assignment=p["assignment"],
            domain=Domain.ball(1),
            seed=seed,
            edges=p["edges"],
        ).construct(to_target(layers))

    def not_met(
        self, construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
    ) -> Trial:
        """A weight that is not met: missed."""
        return Trial(Outcome.MISSED, f"{len(places)} weights are not met")


@final
class LockedSumsClaim(AbstractClaim):
    """With some candidates locked, the free ones still meet every weight |w| <= 1, at our count.

    A trial draws the n candidates u v of one weight, u in [1/2, 1] ("column-aware"), which of them are locked, and
    decides with certainty whether free ones meet w minus the locked sum, for five weights. Parameters: locked, eps,
    delta, items (None: by the bound, for one weight), factor (the bound's items are divided by it).
    """

    text = "draw candidates, some of them locked; with the locked ones kept, subsets of the others meet every weight"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"locked": 0.25, "eps": 0.05, "delta": 0.01, "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of candidates."""
        p = super().resolve(**params)
        check_factor(p)
        if p["items"] is None:
            needed = otsuka2025partially.items_for_network(
                1, p["eps"], p["delta"], locked=_share(p, "locked"), assignment="column-aware", u_min=0.5
            )
            p["items"] = fewer(needed, p)
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw candidates and locks, and decide."""
        p = self.resolve(**params)
        draws, n = Draws(seed), check_whole(p, "items", 1, 10**5)
        items = draws.uniform("u", n, low=0.5) * draws.uniform("v", n)
        locked = draws.uniform("locks", n, low=0.0) < p["locked"]
        shift = float(items[locked].sum())
        outcome = decide_targets(items[~locked], np.array([-1.0, -0.5, 0.0, 0.3, 1.0]) - shift, p["eps"])
        return Trial(outcome, f"{int(locked.sum())} of {n} candidates are locked, their sum is {shift:.3g}")


@final
class SingleHitClaim(AbstractClaim):
    """k weights with R draws each are k R chances to come near a number.

    Parameters: eps (half width of the interval around the number, inside the law's range), draws (R), delta, neurons
    (None: by the bound), factor (the bound's neurons are divided by it).
    """

    text = "draw k weights R times each; one of the draws is within eps of the number wanted"
    by_bound = ("neurons",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"eps": 0.01, "draws": 8, "delta": 0.05, "neurons": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of weights."""
        p = super().resolve(**params)
        check_factor(p)
        draws = check_whole(p, "draws", 1, 10**4)
        if p["neurons"] is None:
            needed = registry.get("chijiwa2021pruning.neurons_needed")(p=p["eps"], R=draws, delta=p["delta"])
            p["neurons"] = max(1, math.floor(needed / p["factor"]))
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw U(-1, 1): the probability of an interval of length 2 eps is eps."""
        p = self.resolve(**params)
        drawn = Draws(seed).uniform("weights", (p["neurons"], p["draws"]))
        near = float(np.abs(drawn - 0.3).min())
        return Trial(Outcome.SUCCESS if near <= p["eps"] else Outcome.FAILURE, f"the nearest draw is off by {near:.3g}")


@final
class RetriesClaim(AbstractClaim):
    """R tries of a subset sum, each with fresh second weights, meet a weight at our count of candidates.

    A trial draws u in [1/2, 1] once and v for each try, and decides each with certainty. Parameters: draws (R), target,
    eps, delta, items (None: by the bound, for one weight), factor (the bound's items are divided by it).
    """

    text = "draw candidates whose second weights may be drawn R times; in one of the draws a subset meets the weight"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"draws": 8, "target": 0.25, "eps": 0.05, "delta": 0.01, "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of candidates."""
        p = super().resolve(**params)
        check_factor(p)
        draws = check_whole(p, "draws", 1, 10**4)
        if p["items"] is None:
            needed = chijiwa2021pruning.items_for_network(
                1, p["eps"], p["delta"], draws=draws, max_target=abs(p["target"]), u_min=0.5
            )
            p["items"] = fewer(needed, p)
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw and decide, try after try."""
        p = self.resolve(**params)
        draws, n = Draws(seed), p["items"]
        u, wanted = draws.uniform("u", n, low=0.5), np.array([p["target"]])
        seen = []
        for event in range(p["draws"]):
            outcome = decide_targets(u * draws.uniform(f"v {event}", n), wanted, p["eps"])
            if outcome is Outcome.SUCCESS:
                return Trial(outcome, f"met in draw {event}")
            seen.append(outcome)
        undecided = Outcome.UNDECIDED in seen
        return Trial(Outcome.UNDECIDED if undecided else Outcome.FAILURE, f"not met in {p['draws']} draws")


@final
class GainsClaim(AbstractClaim):
    """Layers times gains, biases times the product of gains so far: every ticket is multiplied by the product of all.

    A trial draws a source with biases, a mask and gains that are powers of two, and compares outputs bit for bit. The
    twin scales biases by less: by the product over `factor`. Parameters: sizes, factor (a power of two).
    """

    text = "draw a source with biases, a mask and gains; outputs are multiplied by the product of the gains, exactly"
    defaults: Mapping[str, Any] = MappingProxyType({"sizes": "4-6-5-3", "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        check_factor(p)
        if math.frexp(p["factor"])[0] != 0.5:
            raise ValueError(f"factor must be a power of two, so that nothing is rounded, got {p['factor']}")
        return {**p, "sizes": layer_sizes(p["sizes"])}

    def failure_probability(self, **params: Any) -> float:
        """None: this is an identity."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw everything and compare."""
        import torch

        from strongticket.constructions.fischer2021nonzero import with_gains
        from strongticket.models import MLP
        from strongticket.ticket import Mask, Source, Ticket

        p = self.resolve(**params)
        draws, mlp = Draws(seed), MLP(p["sizes"], bias=True)
        kept = {n: draws.uniform(n, s, low=0.0) < 0.5 for n, s in mlp.shapes.items()}
        plain = Ticket(Source(mlp, seed), Mask(kept))
        gains = [2.0 ** (int(k) - 3) for k in draws.below("gains", 7, mlp.depth)]
        scaled = with_gains(plain, gains)
        if p["factor"] != 1.0:
            init = scaled.source.init
            own = tuple((n, law, s / (p["factor"] if n.endswith("bias") else 1.0)) for n, law, s in init.overrides)
            scaled = Ticket(Source(mlp, seed, type(init)(init.law, init.scale, own)), plain.mask)
        x = torch.from_numpy(draws.normal("inputs", (16, p["sizes"][0]))).float()
        equal = torch.equal(scaled.module()(x), plain.module()(x) * math.prod(gains))
        return Trial(Outcome.SUCCESS if equal else Outcome.FAILURE, f"gains {gains}")


@final
class NoBiasClaim(AbstractClaim):
    """A source without biases contains no ticket near a target with f(0) != 0.

    A trial draws a bias-free source, a mask, and f(0); the error at x = 0 is at least the largest |f(0)|, whatever was
    drawn. Parameters: sizes, factor (the error claimed is multiplied by it).
    """

    text = "draw a source without biases, a mask and f(0); the outputs at 0 are off by at least the largest |f(0)|"
    defaults: Mapping[str, Any] = MappingProxyType({"sizes": "4-6-3", "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        check_factor(p)
        return {**p, "sizes": layer_sizes(p["sizes"])}

    def failure_probability(self, **params: Any) -> float:
        """None."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw everything and run the ticket at 0."""
        import torch

        from strongticket.models import MLP
        from strongticket.ticket import Mask, Source, Ticket

        p = self.resolve(**params)
        draws, mlp = Draws(seed), MLP(p["sizes"])
        ticket = Ticket(Source(mlp, seed), Mask({n: draws.uniform(n, s, low=0.0) < 0.5 for n, s in mlp.shapes.items()}))
        wanted = draws.uniform("offset", p["sizes"][-1])
        outputs = ticket.module()(torch.zeros(1, p["sizes"][0])).double().numpy()[0]
        off = max(abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(outputs, wanted, strict=True))
        floor = Fraction(float(np.abs(wanted).max())) * Fraction(p["factor"])
        return Trial(Outcome.SUCCESS if off >= floor else Outcome.FAILURE, f"off by {float(off):.3g} at 0")


@final
class PerturbedClaim(AbstractClaim):
    """Counting: n candidates that may move by eta meet a random target no more often than their intervals are long.

    A trial draws candidates and a target uniform on [-c, c]; it "fails" when a subset meets it. Parameters: items, eps,
    eta, reach (c), law ("powers": powers of two, the best there is for eta = 0; "uniform"), factor (the probability
    that counting allows is divided by it).
    """

    text = "draw candidates that may move by eta and a random target; a subset meets it (no more often than counting)"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"items": 5, "eps": 0.004, "eta": 0.002, "reach": 1.0, "law": "powers", "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with what counting allows."""
        p = super().resolve(**params)
        check_factor(p)
        items = check_whole(p, "items", 1, 16)
        if p["law"] not in ("powers", "uniform"):
            raise ValueError(f"law is 'powers' or 'uniform', got {p['law']!r}")
        chance = registry.get("xiong2022perturbation.hit_chance")
        p["allowed"] = chance(eps=p["eps"], eta=p["eta"], n=items, c=p["reach"]) / p["factor"]
        if not 0.0 < p["allowed"] < 1.0:
            raise ValueError(f"counting allows {p['allowed']:.3g}: nothing to falsify; take fewer items")
        return p

    def failure_probability(self, **params: Any) -> float:
        """What counting allows."""
        return float(self.resolve(**params)["allowed"])

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw candidates and target, and look for a subset."""
        from strongticket.constructions.xiong2022perturbation import perturbed_sums

        p = self.resolve(**params)
        draws, n = Draws(seed), p["items"]
        items = draws.uniform("items", n)
        if p["law"] == "powers":  # sums spread evenly over [-c, c)
            items = p["reach"] * 2.0 ** -np.arange(n)
            items[0] *= -1.0
        target = p["reach"] * draws.uniform("target", 1)
        hit = bool(perturbed_sums(items[None], target, p["eps"], p["eta"]).found[0])
        return Trial(Outcome.FAILURE if hit else Outcome.SUCCESS, "a subset meets it" if hit else "no subset meets it")
