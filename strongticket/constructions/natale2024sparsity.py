"""Natale et al. 2024, "On the sparsity of the strong lottery ticket hypothesis": each weight from exactly k candidates.

Theorem 3: the more over-parameterised the random network, the sparser its tickets can be. Here the proof runs: the
product gadget of two random layers (`_gadget`), with each target weight a sum of exactly k of its n candidates. So k
moves the ticket along the curve of density against over-parameterisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import subsetsum
from strongticket.bounds import natale2024sparsity as bounds
from strongticket.bounds.random_subset_sums import LawName, fixed_size_failure, saddlepoint_failure
from strongticket.certificate import Domain
from strongticket.constructions._checks import (
    check_budget,
    check_domain,
    check_items,
    check_one_of,
)
from strongticket.constructions._construction import AbstractConstruction, Construction, Plan, Progress
from strongticket.constructions._fixed_size import NOTHING, FixedSize, group_of, prune_fixed_size
from strongticket.constructions._gadget import (
    TOGETHER,
    WEAKEST,
    HalfInputs,
    LayerPair,
    assign_column_aware,
    assign_fixed,
    spare_neurons,
    stage,
)
from strongticket.constructions._grid import (
    PRODUCTS,
    extended,
    halves_of,
)
from strongticket.constructions._layerwise import Gathering, plan_products
from strongticket.constructions.pensia2020optimal import MOST_ITEMS, UNIT_BALL, Assignment, Items
from strongticket.models import Layer, Target

__all__ = ["Natale2024Sparsity", "construct", "proved_items"]

KEY = "natale2024sparsity"
_DRAWS = 1000  # of a predicted probability: within some 10 %
_MOST_SIZE = 20  # half of the candidates that are solved as one problem


@final
@dataclass(frozen=True)
class Natale2024Sparsity(AbstractConstruction):
    """Prune one random ReLU network of depth 2L to a given one of depth L, keeping exactly k products per weight.

    Args:
        size: k, products kept per weight of the target (per half of a signed input), 1 to 20.
        weight_eps: tolerance of every single weight, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the whole network on the domain (or the unit ball, if that is larger), in (0, 1), for
            targets with |W_i|_2 <= 1.
        delta: failure probability that sizes the source, in (0, 1).
        items: candidates per weight, a number >= size; "theorem" (our explicit count: groups of candidates, each of
            which serves a weight with a proved probability; the search goes through the same groups, so it finds the
            ticket with probability 1 - delta; column-aware only); or "information-limit" (the predicted count at which
            delta weights of *this* target are expected to fail).
        assignment: "column-aware" (neurons serve the half-input they are best for) or "fixed" (the paper's blocks,
            half of whose neurons are dead).
        at_most: keep the empty subset where it is within the tolerance, instead of exactly k: sparser, and no longer
            the paper's tickets.
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    One or two candidates are found among any number; larger sizes are solved exactly among up to 40 candidates, and
    group by group where there are more, as in the paper's amplification.

    A weight for which fewer than k candidates are alive keeps none of them; it is unreached, with the error 2^14.

    Raises:
        ValueError: a parameter outside its range.
    """

    size: int = 3
    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Items = "information-limit"
    assignment: Assignment = "column-aware"
    at_most: bool = False
    domain: Domain = UNIT_BALL
    seed: int = 0
    backend: subsetsum.Backend = "auto"
    key = KEY

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int):
            raise TypeError(f"size is a whole number, got {self.size!r}")
        if not 1 <= self.size <= _MOST_SIZE:
            raise ValueError(f"size must lie in 1..{_MOST_SIZE}, got {self.size}")
        if not isinstance(self.at_most, bool):
            raise TypeError(f"at_most is True or False, got {self.at_most!r}")
        check_budget(self.weight_eps, self.network_eps, self.delta)
        check_items(self.items, ("theorem", "information-limit"), MOST_ITEMS)
        check_domain(self.domain)
        check_one_of("assignment", self.assignment, ("column-aware", "fixed"))
        if not isinstance(self.items, str) and self.items < self.size:
            raise ValueError(f"items must be at least size = {self.size}, got {self.items}")
        if self.items == "theorem" and self.assignment != "column-aware":
            raise ValueError("items='theorem' is proved for assignment='column-aware' only; give a number")

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a weight beyond 1, or with `network_eps` a layer of norm beyond 1.
        """
        return plan_products(
            target,
            self.weight_eps,
            self.network_eps,
            self.domain,
            self.seed,
            items=self._items,
            spare=spare_neurons if self.assignment == "column-aware" else lambda count: 0,
        )

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof: assign neurons, choose exactly k candidates for every weight, gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all |weights| <= 1.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError: see `plan`.
        """
        plan = self.plan(target)
        gathering = Gathering(plan, target, progress)
        for i, layer in enumerate(target.layers):
            pair = LayerPair(plan.source, i, halves_of(i, layer, self.domain))
            seconds = {"assign": 0.0}
            with stage(seconds, "assign"):
                pool = (assign_column_aware if self.assignment == "column-aware" else assign_fixed)(pair, plan.items[i])
            wanted, tolerance = PRODUCTS.wanted(pair.halves, layer), PRODUCTS.tolerance(plan.weight_eps[i])
            rule = FixedSize(self.size, tolerance, self.at_most, self.backend)
            pruned = prune_fixed_size(pair, pool, wanted, rule, gathering.counter())
            # where no k candidates are alive nothing is kept, and the whole weight is the error
            shown = np.where(pruned.errors == NOTHING, wanted, pruned.errors)
            gathering.add_pair(PRODUCTS, pair, pool, pruned, tolerance, seconds, shown=shown)
        return gathering.construction(KEY)

    def _items(self, layer: Layer, half: HalfInputs, eps: float, problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        magnitudes = np.abs(extended(layer)[:, half.inputs])
        if self.items == "theorem":
            largest = float(magnitudes.max(initial=0.0))
            return proved_items(self.size, eps, self.delta, problems, max_target=largest)
        fixed = self.assignment == "fixed"
        scale = 1.0 if fixed else max(WEAKEST, 1 - 2 / (len(half) + 1))
        share = self.delta * magnitudes.size / problems
        return _predicted_items(magnitudes.reshape(-1), self.size, eps, share, fixed, scale)


def proved_items(size: int, weight_eps: float, delta: float, problems: int, *, max_target: float) -> int:
    """Return candidates per weight at which the construction finds its ticket with probability 1 - delta. Ours.

    Column-aware candidates in groups of the size that the construction searches (`bounds.item_plan`).

    Args:
        size: number k kept per weight.
        weight_eps: tolerance of each weight, in (0, 1).
        delta: failure probability, in (0, 1), provided that every place of the pool is filled, as it is but for rare
            misses, which the construction reports as unreached.
        problems: number of weights, twice that for signed inputs.
        max_target: largest |weight|.

    >>> proved_items(3, 0.01, 0.01, 1000, max_target=0.5)
    440
    """
    # the tolerance loses two units of the products' grid, and each v is within 2^-23 of one drawn from U(-1, 1)
    inside = weight_eps - 2.0**-44 - size * 2.0**-23
    if inside <= 0.0:
        raise ValueError(f"weight_eps = {weight_eps:g} is finer than the grid of {size} random weights; loosen it")
    plan = bounds.item_plan(
        size, inside, delta, problems=problems, max_target=max_target, u_min=WEAKEST, groups_of=(group_of(size),)
    )
    return max(2, plan.groups) * group_of(size)  # at least two groups, as up to 40 candidates are one


@lru_cache(maxsize=4096)
def _missed(items: int, size: int, eps: float, law: LawName, z: float, scale: float) -> float:
    """Predict how often no `size` of the items serve z. Hits of one or two are about Poisson; of more, they are not."""
    if size <= 2 or items <= size:
        return fixed_size_failure(items, size, eps, law=law, target=z, scale=scale)
    return saddlepoint_failure(items, eps, size=size, law=law, target=z, scale=scale, draws=_DRAWS).value


def _predicted_items(
    magnitudes: NDArray[np.float64], size: int, eps: float, delta: float, fixed: bool, scale: float
) -> int:
    """The fewest candidates at which delta weights of these magnitudes are expected to fail: a prediction."""
    counts, edges = np.histogram(magnitudes, bins=4, range=(0.0, max(float(magnitudes.max(initial=0.0)), eps)))
    levels = [(count, z) for count, z in zip(counts.tolist(), edges[1:].tolist(), strict=True) if count]
    law: LawName = "half_product" if fixed else "uniform"

    def one(items: int, z: float) -> float:
        return _missed(items, size, eps, law, z, scale)

    def failures(items: int) -> float:
        together = FixedSize(size, 0, False, "auto").group(items)
        full, rest = divmod(items, together)
        return math.fsum(count * one(together, z) ** full * (one(rest, z) if rest else 1.0) for count, z in levels)

    # not monotone where one problem becomes several groups
    for low, high in ((size, TOGETHER), (TOGETHER, 1 << 12)) if size > 2 else ((size, 1 << 16),):
        if failures(high) <= delta:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if failures(middle) > delta else (low, middle)
            return high
    raise ValueError(
        f"eps = {eps}, delta = {delta} and size = {size} would need more than {high} candidates per weight: loosen them"
    )


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a network into a strict ticket with k products per weight: `Natale2024Sparsity(**options).construct`.

    Args:
        target: the network to find inside a random one; a module is read by `Target.from_module`.
        options: parameters of `Natale2024Sparsity`.

    >>> import torch
    >>> from strongticket.models import Target
    >>> target = Target.from_state({"0.weight": torch.linspace(-0.5, 0.5, 12).reshape(3, 4)})
    >>> result = construct(target, size=2, weight_eps=0.05, items=24, domain=Domain.box(0, 1), seed=1)
    >>> result.ticket is not None, result.best.mask["layers.1.weight"].sum().item() # 2 for each of the 12 weights
    (True, 24)
    """
    method = Natale2024Sparsity(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
