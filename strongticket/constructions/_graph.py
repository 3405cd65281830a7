"""The generic route to tickets of convolutional, equivariant and residual networks: coefficients in a basis.

Every linear layer of the target, a sum of coefficients w[o, i, k] times basis elements, becomes a pair of layers of the
source: a pointwise layer, ReLU, and a layer in the target's own basis. A hidden channel keeps one incoming weight u,
from input channel i; then relu(u x) is u times the channel (or its half), position by position, and the coefficient is
a subset sum of products u v[o, h, k] over the hidden channels that serve i. What has no parameters - pools, shortcuts,
sums - the source shares with the target. (da Cunha et al. 2022; Ferbach et al. 2023.)
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import subsetsum
from strongticket.bounds import HypothesisError
from strongticket.bounds import pensia2020optimal as bounds
from strongticket.bounds.lueker1998exponentially import LawName
from strongticket.certificate import Domain
from strongticket.constructions._checks import check_budget, check_domain, check_items, check_one_of
from strongticket.constructions._construction import UNREACHED, Construction, LayerReport, Plan, Progress
from strongticket.constructions._gadget import (
    WEAKEST,
    Pool,
    PrunedPair,
    assign_column_aware,
    assign_fixed,
    neurons_needed,
    prune_pair,
)
from strongticket.constructions._graph_layers import Coefficients, GraphPair, coefficients, tolerance_for
from strongticket.constructions._grid import PRODUCTS, shifted
from strongticket.constructions._prediction import chooser, predicted_items_of
from strongticket.constructions.pensia2020optimal import MOST_ITEMS
from strongticket.models import Target
from strongticket.models.bases import Convolution, Pointwise
from strongticket.models.graph import Add, Graph
from strongticket.models.targets import GraphTarget
from strongticket.ticket import Init, Mask, Source, Ticket

__all__ = ["AbstractGraphConstruction", "graph_target"]

SIGNED_BOX = Domain.box(-1, 1)
REACH = 4.0
"""Largest |coefficient| of a target; the theorems speak of less, and more items reach more."""


@dataclass(frozen=True)
class AbstractGraphConstruction(ABC):
    """Prune one random network of twice the depth to a given one: what the theorems on layers in a basis share.

    Args:
        weight_eps: tolerance of every single coefficient and bias, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the whole network in maximum norm on the domain (or on inputs in [-1, 1], if that is
            more), in (0, 1), for targets whose layers have norm <= 1 between maximum norms.
        delta: failure probability that sizes the source, in (0, 1).
        items: candidates per coefficient: a number >= 1; "theorem" (the explicit rigorous count, see
            `Pensia2020Optimal`); or "information-limit" (the predicted count at which delta coefficients of *this*
            target are expected to fail).
        assignment: "column-aware" (hidden channels serve the half-input they are best for; in layers of more than 1,024
            half-inputs within windows of 128) or "fixed" (blocks, half of whose channels are dead).
        objective: "sparsest" (fewest kept weights within the tolerance) or "min_error" (the exact minimum error; beyond
            40 candidates, the minimum of the first group of at most 40 that is within the tolerance).
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    Raises:
        ValueError: a parameter outside its range.
    """

    key: ClassVar[str]
    """The paper whose proof it runs."""

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Literal["theorem", "information-limit"] = "information-limit"
    assignment: Literal["column-aware", "fixed"] = "column-aware"
    objective: Literal["sparsest", "min_error"] = "sparsest"
    domain: Domain = SIGNED_BOX
    seed: int = 0
    backend: subsetsum.Backend = "auto"

    def __post_init__(self) -> None:
        check_budget(self.weight_eps, self.network_eps, self.delta)
        check_items(self.items, ("theorem", "information-limit"), MOST_ITEMS)
        check_domain(self.domain)
        check_one_of("assignment", self.assignment, ("column-aware", "fixed"))
        check_one_of("objective", self.objective, ("sparsest", "min_error"))

    @abstractmethod
    def check(self, graph: Graph) -> None:
        """Refuse networks that the paper does not speak of.

        Raises:
            HypothesisError: a step that does not belong to them, with what to do.
        """

    def plan(self, target: GraphTarget) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: see `check`; a coefficient beyond 4; with `network_eps` a layer of norm beyond 1; a bias
                in a layer whose basis lets no constant pass.
        """
        return self._prepare(target)[0]

    def construct(self, target: GraphTarget, *, progress: Progress | None = None) -> Construction:
        """Run the proof: assign hidden channels, solve every subset sum exactly, gather the mask.

        In `Construction.unreached`, rows count output channels and basis elements, row = o K + k; `input` is the input
        channel, and the number of input channels stands for the bias.

        Args:
            target: the network, its normalisation folded.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError: see `plan`.
        """
        plan, layers, pairs = self._prepare(target)
        total = sum(_solved(layer) for layer in layers)
        done = 0
        masks: list[Mask] = []
        reports: list[LayerReport] = []
        unreached: list[NDArray[np.void]] = [np.zeros(0, dtype=UNREACHED)]
        for index, (layer, steps) in enumerate(zip(layers, pairs, strict=True)):
            eps = PRODUCTS.tolerance(plan.weight_eps[index])
            solved = [
                self._group(GraphPair(plan.source, layer.halves, steps, group), layer, plan.items[index], eps, count)
                for group in range(layer.layer.groups)
                for count in [shifted(progress, done + group * _solved(layer) // layer.layer.groups, total)]
            ]
            done += _solved(layer)
            masks.append(_joined(plan.source, steps, [pruned for _, pruned in solved]))
            failed = _unreached(index, layer, [pruned.errors for _, pruned in solved], eps)
            unreached.append(failed)
            reports.append(_report(plan, index, steps, layer, solved, masks[-1].count, len(failed)))
        return Construction(
            self.key, plan, Ticket(plan.source, Mask.merge(*masks)), np.concatenate(unreached), tuple(reports)
        )

    def _prepare(self, target: GraphTarget) -> tuple[Plan, list[Coefficients], list[tuple[int, int]]]:
        """The plan, the target's layers, and the source's steps of each."""
        if not isinstance(target, GraphTarget):
            raise TypeError(
                f"a target is a GraphTarget, got {type(target).__name__}: use GraphTarget.from_module for a module, "
                "GraphTarget.from_target for a Target"
            )
        self.check(target.architecture)
        layers = coefficients(target, self.domain)
        if not layers:
            raise HypothesisError("the target has no layer with weights: there is nothing to find")
        _check_reach(layers)
        if self.weight_eps is not None:
            eps = float(self.weight_eps)
        else:
            assert self.network_eps is not None
            eps = tolerance_for(target, self.network_eps, self.domain)
            PRODUCTS.check_tolerance(eps)
            eps = min(eps, 0.5)
        problems = sum(layer.problems for layer in layers)
        items = [self._items(layer, eps, problems) for layer in layers]
        hidden = {layer.step: self._hidden(layer, count) for layer, count in zip(layers, items, strict=True)}
        graph, pairs = target.architecture.widened(hidden)
        plan = Plan(
            Source(graph, self.seed, Init("uniform23")),
            (eps,) * len(layers),
            tuple(items),
            tuple(layer.problems for layer in layers),
            tuple(2 if layer.signed else 1 for layer in layers),
        )
        return plan, layers, [pairs[layer.step] for layer in layers]

    def _hidden(self, layer: Coefficients, items: int) -> int:
        columns = len(layer.halves)
        return columns * items if self.assignment == "fixed" else neurons_needed(columns, items, layer.window)

    def _items(self, layer: Coefficients, eps: float, problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        magnitudes, fixed = layer.magnitudes(), self.assignment == "fixed"
        if self.items == "theorem":
            count = bounds.items_for_network(
                problems,
                eps,
                self.delta,
                mode="theorem",
                max_target=float(magnitudes.max(initial=0.0)),
                assignment=self.assignment,
                u_min=WEAKEST,
            )
            return max(1, count)
        rivals = min(len(layer.halves), layer.window or len(layer.halves))
        scale = 1.0 if fixed else max(WEAKEST, 1 - 2 / (rivals + 1))  # mean of the best of so many uniforms
        share = self.delta * magnitudes.size / problems
        law: LawName = "half_product" if fixed else "uniform"
        return predicted_items_of(magnitudes, eps, share, law, scale)

    def _group(
        self, pair: GraphPair, layer: Coefficients, items: int, tolerance: int, progress: Any
    ) -> tuple[Pool, PrunedPair]:
        """Solve one group of a layer."""
        clock = time.perf_counter()
        if self.assignment == "column-aware":
            pool = assign_column_aware(pair, items, layer.window)
        else:
            pool = assign_fixed(pair, items)
        seconds = time.perf_counter() - clock
        wanted = PRODUCTS.wanted(pair.halves, layer.rows(pair.number))
        pruned = prune_pair(pair, pool, wanted, tolerance, chooser(self.objective, tolerance, self.backend), progress)
        return pool, PrunedPair(pruned.mask, pruned.errors, {"assign": seconds, **pruned.seconds})


def graph_target(target: GraphTarget | Target | nn.Module, inputs: Sequence[int] | None = None) -> GraphTarget:
    """Return a network as a target of steps: modules are traced, MLP targets are taken over.

    Args:
        target: the network.
        inputs: shape of one input, for a module; (channels, height, width) of an image.

    Raises:
        ValueError: a target that reads inputs of another shape than the one given.
    """
    if not isinstance(target, GraphTarget | Target):
        return GraphTarget.from_module(target, inputs=None if inputs is None else tuple(inputs))
    made = target if isinstance(target, GraphTarget) else GraphTarget.from_target(target)
    if inputs is not None and tuple(inputs) != made.architecture.inputs:
        raise ValueError(f"the target reads inputs of shape {made.architecture.inputs}, got {tuple(inputs)}")
    return made


def plain_chain(graph: Graph, key: str) -> None:
    """Refuse sums of values: the theorem speaks of layers one after the other."""
    for k, step in enumerate(graph.steps):
        if isinstance(step, Add):
            raise HypothesisError(
                f"step {k} of the target adds values ({key} speaks of layers one after the other); take "
                "Burkholz2022Convolutional for residual networks"
            )


def only_convolutions(graph: Graph, key: str) -> None:
    """Refuse layers that are neither convolutional nor dense."""
    for k in graph.affine:
        basis = graph.layer(k).basis
        if not isinstance(basis, Convolution | Pointwise):
            raise HypothesisError(
                f"step {k} of the target is a layer in the basis {basis.id[:60]} ({key} speaks of convolutions and "
                "dense layers); take Ferbach2023General for other bases"
            )


def _solved(layer: Coefficients) -> int:
    """Problems that are really solved: biases stand in one row of several."""
    return len(layer.halves) * layer.layer.channels_out * layer.layer.basis.size


def _check_reach(layers: Sequence[Coefficients]) -> None:
    for layer in layers:
        for name, values in (("weight", layer.weight), ("bias", layer.bias)):
            if values is None or not values.size or float(np.abs(values).max()) <= REACH:
                continue
            place = tuple(np.argwhere(np.abs(values) > REACH)[0].tolist())
            raise HypothesisError(
                f"steps.{layer.step}.{name}{list(place)} of the target is {float(values[place])!r}; the construction "
                f"reaches coefficients in [-{REACH:g}, {REACH:g}]. Rescale the target: a ReLU layer divided by c > 0 "
                "and the next one multiplied by c are the same network"
            )


def _joined(source: Source, steps: tuple[int, int], parts: Sequence[PrunedPair]) -> Mask:
    """Put the masks of a layer's groups together: each has its own run of rows of every tensor."""
    if len(parts) == 1:
        return parts[0].mask
    shapes = {name: source.shapes[name] for name in parts[0].mask}
    indices = {
        name: np.concatenate(
            [part.mask.indices(name) + group * (math.prod(shape) // len(parts)) for group, part in enumerate(parts)]
        )
        for name, shape in shapes.items()
    }
    return Mask.from_indices(shapes, indices)


def _unreached(
    index: int, layer: Coefficients, errors: Sequence[NDArray[np.int64]], tolerance: int
) -> NDArray[np.void]:
    """The coefficients that are off by more than the tolerance, in the numbers of the whole layer."""
    found = []
    for group, each in enumerate(errors):
        failed = PRODUCTS.unreached(index, layer.halves, layer.rows(group), each, tolerance)
        bias = failed["input"] == layer.halves.dimension
        failed["row"] += group * len(each)
        failed["input"] = np.where(bias, layer.layer.channels_in, failed["input"] + group * layer.halves.dimension)
        found.append(failed)
    return np.concatenate(found)


def _report(
    plan: Plan,
    index: int,
    steps: tuple[int, int],
    layer: Coefficients,
    solved: Sequence[tuple[Pool, PrunedPair]],
    kept: int,
    unreached: int,
) -> LayerReport:
    seconds: dict[str, float] = {}
    for _, pruned in solved:
        for stage, took in pruned.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + took
    alive = np.concatenate([np.abs(pool.u[pool.u != 0]) for pool, _ in solved])
    exponent = plan.source.grid_exponent(Graph.weight_name(steps[0]))
    graph = plan.source.architecture
    assert isinstance(graph, Graph)
    return PRODUCTS.report(
        plan,
        index,
        np.concatenate([pruned.errors for _, pruned in solved]),
        width=graph.layer(steps[0]).channels_out,
        fewest_items=min(pool.fewest for pool, _ in solved),
        weakest_item=math.ldexp(float(alive.min()) if alive.size else 0.0, exponent),
        kept=kept,
        unreached=unreached,
        seconds=seconds,
    )
