"""What constructions layer by layer have in common: how their sources are planned, and what is gathered on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket.certificate import Domain
from strongticket.constructions._checks import check_reach, check_target
from strongticket.constructions._construction import Construction, LayerReport, Plan, Progress
from strongticket.constructions._gadget import HalfInputs, LayerPair, Pool, PrunedPair
from strongticket.constructions._grid import Grid, halves_of, lay_out, shifted, weakest_item, weight_tolerances
from strongticket.models import Layer, Target
from strongticket.ticket import Init, Mask, Reading, Ticket

__all__ = ["Gathering", "plan_products"]

Count = Callable[[Layer, HalfInputs, float, int], int]
"""(layer, its half-inputs, tolerance of its weights, subset sums in all) -> candidates per weight."""


def plan_products(
    target: Target,
    weight_eps: float | None,
    network_eps: float | None,
    domain: Domain,
    seed: int,
    *,
    items: Count,
    spare: Callable[[int], int],
    init: Init | None = None,
) -> Plan:
    """Check a target of products of two uniform weights, and plan a source with this many neurons per half-input.

    Args:
        target: an MLP.
        weight_eps: tolerance per weight, or None.
        network_eps: tolerance of the whole network, where there is none per weight.
        domain: where inputs live.
        seed: of the source.
        items: candidates per weight of a layer.
        spare: neurons more for a layer, given its candidates per weight.
        init: law of the source's weights; uniform on [-1, 1] if not given.

    Raises:
        HypothesisError: a weight beyond 1, or with `network_eps` a layer of norm beyond 1.
    """
    check_target(target)
    check_reach(target)
    tolerances = weight_tolerances(target, weight_eps, network_eps, domain)
    halves = [halves_of(i, layer, domain) for i, layer in enumerate(target.layers)]
    problems = sum(layer.weight.shape[0] * len(half) for layer, half in zip(target.layers, halves, strict=True))
    layers = zip(target.layers, halves, tolerances, strict=True)
    counts = [items(layer, half, eps, problems) for layer, half, eps in layers]
    widths = [len(half) * count + spare(count) for half, count in zip(halves, counts, strict=True)]
    return lay_out(target, halves, tolerances, counts, widths, seed, init)


@final
@dataclass
class Gathering:
    """Collect what becomes of each layer of a target, in order: mask, report, and the weights that were not reached.

    Args:
        plan: of the construction.
        target: what it was planned for.
        progress: see `Progress`.
    """

    plan: Plan
    target: Target
    progress: Progress | None
    masks: list[Mask] = field(default_factory=list)
    reports: list[LayerReport] = field(default_factory=list)
    unreached: list[NDArray[np.void]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Problems of the layers gathered so far."""
        return sum(self.plan.problems[: len(self.reports)])

    def counter(self) -> Callable[[int], None] | None:
        """Return what counts the problems of the next layer on from those before it."""
        return shifted(self.progress, self.done, sum(self.plan.problems))

    def add(
        self,
        grid: Grid,
        halves: HalfInputs,
        mask: Mask,
        errors: NDArray[np.int64],
        tolerance: int,
        *,
        fewest_items: int,
        weakest_item: float,
        seconds: dict[str, float],
        shown: NDArray[np.int64] | None = None,
    ) -> None:
        """Add the next layer.

        Args:
            grid: that its errors are on.
            halves: its half-inputs.
            mask: of its pair.
            errors: what is left of each weight, [outputs, half-inputs].
            tolerance: the largest |error| of a weight that is reached.
            fewest_items: see `LayerReport`.
            weakest_item: see `LayerReport`.
            seconds: by stage.
            shown: the errors that are reported, where they are others.
        """
        index = len(self.reports)
        self.masks.append(mask)
        self.unreached.append(grid.unreached(index, halves, self.target.layers[index], errors, tolerance))
        self.reports.append(
            grid.report(
                self.plan,
                index,
                errors if shown is None else shown,
                fewest_items=fewest_items,
                weakest_item=weakest_item,
                kept=mask.count,
                unreached=len(self.unreached[-1]),
                seconds=seconds,
            )
        )

    def add_pair(
        self,
        grid: Grid,
        pair: LayerPair,
        pool: Pool,
        pruned: PrunedPair,
        tolerance: int,
        seconds: dict[str, float],
        *,
        shown: NDArray[np.int64] | None = None,
    ) -> None:
        """Add the next layer, made by product gadgets; `seconds` are those of the stages before the pruning."""
        self.add(
            grid,
            pair.halves,
            pruned.mask,
            pruned.errors,
            tolerance,
            fewest_items=pool.fewest,
            weakest_item=weakest_item(self.plan, len(self.reports), pool),
            seconds={**seconds, **pruned.seconds},
            shown=shown,
        )

    def construction(self, key: str, redraws: dict[str, NDArray[np.int32]] | None = None) -> Construction:
        """Return the result, once every layer has been added; its kept weights are these draws, if they are given."""
        ticket = Ticket(self.plan.source, Mask.merge(*self.masks), reading=Reading(redraws=redraws or {}))
        return Construction(key, self.plan, ticket, np.concatenate(self.unreached), tuple(self.reports))
