"""Pensia et al. 2020, "Optimal lottery tickets via subset sum": every weight of the target becomes a subset sum.

Theorem 1: a random ReLU network of depth 2L, wider than the target by a factor O(log(dL / min(eps, delta))), contains
a subnetwork that is within eps of the target on the unit ball. Here the proof runs: one frozen random network, and for
each target weight the exact subset of its candidate products. See `_gadget` for the two layers that make one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import subsetsum
from strongticket.bounds import chijiwa2021pruning, gadhikar2023random, otsuka2025partially
from strongticket.bounds import pensia2020optimal as bounds
from strongticket.certificate import Domain
from strongticket.constructions._checks import (
    check_budget,
    check_domain,
    check_items,
    check_one_of,
)
from strongticket.constructions._construction import (
    AbstractConstruction,
    Construction,
    Plan,
    Progress,
)
from strongticket.constructions._gadget import (
    TOGETHER,
    WEAKEST,
    HalfInputs,
    LayerPair,
    Pool,
    PrunedPair,
    assign_column_aware,
    assign_fixed,
    prune_in_blocks,
    prune_pair,
    rows_at_once,
    stage,
)
from strongticket.constructions._grid import (
    PRODUCTS,
    extended,
    halves_of,
)
from strongticket.constructions._layerwise import Gathering, plan_products
from strongticket.constructions._prediction import chooser, predicted_items
from strongticket.constructions._variants import predicted_failure, sparse_spare
from strongticket.constructions.chijiwa2021pruning import RedrawnRows, check_draws
from strongticket.constructions.otsuka2025partially import LockedRows, check_share
from strongticket.models import Layer, Target
from strongticket.random.sparse import sparse_law
from strongticket.ticket import Init

__all__ = ["EXACT_ITEMS", "WEAKEST_ITEM", "Pensia2020Optimal", "construct"]

KEY = "pensia2020optimal"
EXACT_ITEMS = TOGETHER
"""Up to this many candidates per weight, an unreached weight has no subset in its tolerance; beyond, none was found."""
WEAKEST_ITEM = WEAKEST
"""Least |u| of a candidate that the column-aware assignment accepts."""
MOST_ITEMS = 1 << 20
UNIT_BALL = Domain.ball(1)

Assignment = Literal["column-aware", "fixed"]
Items = Literal["theorem", "information-limit"]


@final
@dataclass(frozen=True)
class Pensia2020Optimal(AbstractConstruction):
    """Prune one random ReLU network of depth 2L to a given ReLU network of depth L.

    Args:
        weight_eps: tolerance of every single weight, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the whole network on the domain (or the unit ball, if that is larger), in (0, 1), for
            targets with |W_i|_2 <= 1: the theorem, whose domain is the unit ball.
        delta: failure probability that sizes the source, in (0, 1).
        items: candidates per weight: a number >= 1; "theorem" (the explicit rigorous count: with so many candidates a
            subset for every weight exists with probability 1 - delta; that the column-aware assignment fills every
            place is no part of the proof, `LayerReport.fewest_items` tells; beyond 40 candidates the search by groups
            may miss a subset, and says so);
            or "information-limit" (the predicted count at which delta weights of *this* target are expected to fail).
        assignment: "column-aware" (neurons serve the half-input they are best for) or "fixed" (the paper's blocks,
            half of whose neurons are dead).
        objective: "sparsest" (fewest kept weights within the tolerance) or "min_error" (the exact minimum error; beyond
            40 candidates, the minimum of the first group of at most 40 that is within the tolerance).
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver: a name, see `strongticket.subsetsum.solver`, or a solver of your own.
        edges: probability that an edge of the source is there at all, a multiple of 1/512 (Gadhikar et al. 2023).
        locked: share of each second layer's edges that every ticket keeps, in [0, 1) (Otsuka et al. 2025).
        draws: how often a weight may be tried, each time with other draws of its candidates' second weights (Chijiwa et
            al. 2021). With more than one the ticket is no strict one, its `reading` says which draw each kept weight
            is; at most 40 candidates per weight.

    Raises:
        ValueError: a parameter outside its range, or locked edges together with several draws.
    """

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Items = "information-limit"
    assignment: Assignment = "column-aware"
    objective: Literal["sparsest", "min_error"] = "sparsest"
    domain: Domain = UNIT_BALL
    seed: int = 0
    backend: str | subsetsum.AbstractSubsetSumSolver = "auto"
    edges: float = 1.0
    locked: float = 0.0
    draws: int = 1
    key = KEY

    def __post_init__(self) -> None:
        check_budget(self.weight_eps, self.network_eps, self.delta)
        check_items(self.items, ("theorem", "information-limit"), MOST_ITEMS)
        check_domain(self.domain)
        check_one_of("assignment", self.assignment, ("column-aware", "fixed"))
        check_one_of("objective", self.objective, ("sparsest", "min_error"))
        sparse_law(self.edges)
        check_share(self.locked)
        check_draws(self.draws)
        if self.draws > 1 and (self.locked or self.edges != 1):
            raise ValueError(
                "weights that may be drawn again are tried without locked or absent edges: give one option"
            )
        if self.draws > 1 and self.items == "theorem" and self.assignment == "fixed":
            raise ValueError("several draws are proved to help for assignment='column-aware' only, or give items")

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a weight beyond 1, or with `network_eps` a layer of norm beyond 1.
        """
        plan = plan_products(
            target,
            self.weight_eps,
            self.network_eps,
            self.domain,
            self.seed,
            items=self._items,
            spare=sparse_spare(self.edges) if self.assignment == "column-aware" else lambda count: 0,
            init=Init(sparse_law(self.edges)),
        )
        if self.draws > 1 and max(plan.items) > TOGETHER:
            raise ValueError(
                f"several draws take at most {TOGETHER} candidates per weight, solved as one problem; got "
                f"{max(plan.items)}: give items, or loosen weight_eps"
            )
        return replace(plan, locked=float(self.locked), draws=self.draws)

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof: assign neurons, solve every subset sum exactly, gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all |weights| <= 1.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError: see `plan`.
        """
        plan = self.plan(target)
        gathering = Gathering(plan, target, progress)
        redraws: dict[str, NDArray[np.int32]] = {}
        for i, layer in enumerate(target.layers):
            pair = LayerPair(plan.source, i, halves_of(i, layer, self.domain))
            seconds = {"assign": 0.0}
            with stage(seconds, "assign"):
                assign = assign_column_aware if self.assignment == "column-aware" else assign_fixed
                pool = assign(pair, plan.items[i])
            wanted, tolerance = PRODUCTS.wanted(pair.halves, layer), PRODUCTS.tolerance(plan.weight_eps[i])
            pruned, taken = self._prune(pair, pool, wanted, tolerance, gathering.counter())
            redraws |= taken
            gathering.add_pair(PRODUCTS, pair, pool, pruned, tolerance, seconds)
        return gathering.construction(KEY, redraws)

    def _prune(
        self,
        pair: LayerPair,
        pool: Pool,
        wanted: NDArray[np.int64],
        tolerance: int,
        progress: Callable[[int], None] | None,
    ) -> tuple[PrunedPair, dict[str, NDArray[np.int32]]]:
        """Prune a pair, and say which draws its second layer's kept weights are."""
        choose = chooser(self.objective, tolerance, self.backend)
        if not self.locked and self.draws == 1 and self.edges == 1:
            return prune_pair(pair, pool, wanted, tolerance, choose, progress), {}
        rows = rows_at_once(8 * pool.u.size)
        if self.draws == 1:
            options = (pool, wanted, tolerance, choose)
            locked = LockedRows(pair.source, pair.second, pair.width, self.locked, *options)
            return prune_in_blocks(pair, pool, rows, locked, progress), {}
        redrawn = RedrawnRows(pair.source, pair.second, pair.width, self.draws, pool, wanted, tolerance, choose)
        pruned = prune_in_blocks(pair, pool, rows, redrawn, progress)
        return pruned, {pair.second: redrawn.redraws(pruned.mask)}

    def _items(self, layer: Layer, half: HalfInputs, eps: float, problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        magnitudes = np.abs(extended(layer)[:, half.inputs])
        if self.items == "theorem":
            return max(1, self._proved(problems, eps, float(magnitudes.max(initial=0.0))))
        share = self.delta * magnitudes.size / problems
        failure = predicted_failure(
            eps,
            # columns that a neuron finds open, whose best uniform it serves
            max(WEAKEST, 1 - 2 / (len(half) * self.edges + 1)) if self.assignment == "column-aware" else None,
            edges=self.edges,
            locked=self.locked,
            draws=self.draws,
        )
        return predicted_items(magnitudes, eps, share, failure, locked=self.locked > 0)

    def _proved(self, problems: int, eps: float, largest: float) -> int:
        if self.draws > 1:
            return chijiwa2021pruning.items_for_network(
                problems, eps, self.delta, draws=self.draws, max_target=largest, u_min=WEAKEST
            )
        if self.locked:
            count = partial(otsuka2025partially.items_for_network, locked=self.locked, edges=self.edges)
        elif self.edges != 1:
            count = partial(gadhikar2023random.items_for_network, edges=self.edges)
        else:
            count = partial(bounds.items_for_network, mode="theorem")
        return count(problems, eps, self.delta, max_target=largest, assignment=self.assignment, u_min=WEAKEST)


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a trained ReLU network into a strict strong lottery ticket: `Pensia2020Optimal(**options).construct`.

    Args:
        target: the network to find inside a random one; a module is read by `Target.from_module`.
        options: parameters of `Pensia2020Optimal`.

    >>> import torch
    >>> from strongticket.models import Target
    >>> weights = [torch.linspace(-0.5, 0.5, 12).reshape(3, 4), torch.linspace(-0.4, 0.6, 6).reshape(2, 3)]
    >>> target = Target.from_state({"0.weight": weights[0], "1.weight": weights[1]})
    >>> result = construct(target, weight_eps=0.01, items=16, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.01
    True
    """
    method = Pensia2020Optimal(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
