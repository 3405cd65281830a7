"""How the layers of a target meet the grid of products: wanted weights, tolerances, plans and reports of all gadgets.

A construction by product gadgets takes a target layer by layer. Each weight becomes a problem in whole numbers, in
units of the grid on which all products of two random weights lie; what is left of it comes back as an error there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from strongticket.bounds import HypothesisError
from strongticket.bounds import pensia2020optimal as bounds
from strongticket.certificate import Domain
from strongticket.constructions._construction import UNREACHED, LayerReport, Plan, Progress
from strongticket.constructions._gadget import HalfInputs, Pool
from strongticket.models import MLP, Layer, Target
from strongticket.ticket import Init, Source

__all__ = ["PRODUCTS", "Grid", "extended", "halves_of", "lay_out", "shifted", "weakest_item", "weight_tolerances"]

Integers = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Grid:
    """The multiples of 2^exponent.

    Args:
        exponent: of the unit.
        exact: whether the target's weights lie on it; else they are rounded to it, by half a unit at most.
    """

    exponent: int
    exact: bool = False

    def wanted(self, halves: HalfInputs, layer: Layer) -> Integers:
        """Return the wanted weight of each half-input in units, [outputs, columns]."""
        return np.rint(np.ldexp(extended(layer), -self.exponent)).astype(np.int64)[:, halves.inputs]

    def plain(self, errors: Integers) -> NDArray[np.float64]:
        """Return errors in plain units."""
        return np.asarray(np.ldexp(errors.astype(np.float64), self.exponent))

    def upward(self, errors: Integers) -> NDArray[np.float64]:
        """Return |errors| of weights in plain units, never too small: rounding the target is paid for."""
        if self.exact:
            return self.plain(np.abs(errors))
        return np.asarray(np.nextafter(np.ldexp(np.abs(errors) + 0.5, self.exponent), np.inf))

    def tolerance(self, eps: float) -> int:
        """Return a tolerance per weight in units; one of them pays for rounding the target."""
        return math.floor(math.ldexp(eps, -self.exponent)) - 1

    def check_tolerance(self, eps: float) -> None:
        """Refuse a tolerance per weight below which the grid cannot tell hit from miss."""
        finest = 2.0 ** (self.exponent + 1)
        if eps < finest:
            raise ValueError(
                f"a tolerance of {eps:.3g} per weight is finer than the products of two random weights, which are "
                f"multiples of 2^{self.exponent}; the finest is 2^{self.exponent + 1} = {finest:.3g}"
            )

    def unreached(
        self, index: int, halves: HalfInputs, layer: Layer, errors: Integers, tolerance: int
    ) -> NDArray[np.void]:
        """Return the weights of a layer that are off by more than the tolerance, see `UNREACHED`."""
        rows, columns = np.nonzero(np.abs(errors) > tolerance)
        failed = np.zeros(len(rows), dtype=UNREACHED)
        failed["layer"], failed["row"] = index, rows
        failed["input"], failed["sign"] = halves.inputs[columns], halves.signs[columns]
        failed["target"] = extended(layer)[rows, halves.inputs[columns]]
        failed["error"] = self.upward(errors[rows, columns])
        return failed

    def report(
        self,
        plan: Plan,
        index: int,
        errors: Integers,
        *,
        fewest_items: int,
        weakest_item: float,
        kept: int,
        unreached: int,
        seconds: dict[str, float],
        width: int | None = None,
    ) -> LayerReport:
        """Return how a layer went; see `LayerReport` for what is given, of which an MLP knows the width itself."""
        plain, architecture = self.plain(errors), plan.source.architecture
        if width is None:
            assert isinstance(architecture, MLP)
            width = architecture.sizes[2 * index + 1]
        return LayerReport(
            layer=index,
            problems=plan.problems[index],
            items=plan.items[index],
            fewest_items=fewest_items,
            weakest_item=weakest_item,
            width=width,
            kept=kept,
            unreached=unreached,
            largest_error=float(self.upward(np.abs(errors).max(initial=0).reshape(1))[0]),
            rms_error=float(np.sqrt(np.mean(plain * plain))),
            seconds=seconds,
        )


PRODUCTS: Final = Grid(-46)
"""Products of two uniform23 weights."""


def extended(layer: Layer) -> NDArray[np.float64]:
    """Return a layer's matrix with its bias as a last column, [outputs, inputs (+ 1)]."""
    return layer.weight if layer.bias is None else np.column_stack([layer.weight, layer.bias])


def halves_of(index: int, layer: Layer, domain: Domain) -> HalfInputs:
    """Return the half-inputs of a layer: inputs of the network may be negative, those of later layers never are."""
    signed = index == 0 and not domain.nonnegative
    return HalfInputs.of(layer.weight.shape[1], signed=signed, bias=layer.bias is not None)


def lay_out(
    target: Target,
    halves: Sequence[HalfInputs],
    weight_eps: Sequence[float],
    items: Sequence[int],
    widths: Sequence[int],
    seed: int,
    init: Init | None = None,
) -> Plan:
    """Return the plan whose source has twice the target's depth.

    Args:
        target: an MLP.
        halves: the half-inputs of each layer.
        weight_eps: tolerance of each layer's weights.
        items: candidates per problem of each layer.
        widths: hidden neurons of each pair of source layers.
        seed: of the source.
        init: law of its weights; uniform on [-1, 1] if not given.
    """
    outputs = [layer.weight.shape[0] for layer in target.layers]
    pairs = (size for pair in zip(widths, outputs, strict=True) for size in pair)
    architecture = MLP((target.architecture.sizes[0], *pairs), bias=target.architecture.bias)
    return Plan(
        Source(architecture, seed, Init("uniform23") if init is None else init),
        tuple(weight_eps),
        tuple(items),
        tuple(count * len(half) for count, half in zip(outputs, halves, strict=True)),
        tuple(2 if half.signed else 1 for half in halves),
    )


def weakest_item(plan: Plan, index: int, pool: Pool) -> float:
    """Return the smallest |u| among the neurons in use as candidates in a pair, in plain units."""
    alive = np.abs(pool.u[pool.u != 0])
    exponent = plan.source.grid_exponent(MLP.weight_name(2 * index))
    return math.ldexp(float(alive.min()) if alive.size else 0.0, exponent)


def weight_tolerances(
    target: Target, weight_eps: float | None, network_eps: float | None, domain: Domain
) -> list[float]:
    """Return the tolerance per weight of each layer: the one given, or what the whole network's allows each.

    Raises:
        HypothesisError: with `network_eps`, a layer of norm beyond 1.
        ValueError: finer than the grid of products.
    """
    if weight_eps is not None:
        return [float(weight_eps)] * len(target.layers)
    assert network_eps is not None
    norms = [float(np.linalg.norm(layer.weight, 2)) for layer in target.layers]
    for i, norm in enumerate(norms):
        if norm > 1 + 1e-6:
            raise HypothesisError(
                f"layer {i} of the target has spectral norm {norm:.6g}; the theorem speaks of norms <= 1. Rescale "
                "the target, or give weight_eps and certify the ticket afterwards"
            )
    biases = [0.0 if x.bias is None else float(np.linalg.norm(x.bias)) for x in target.layers]
    radius = domain.radius_in(target.architecture.sizes[0])
    each = bounds.weight_eps(
        [(x.weight.shape[0], x.weight.shape[1]) for x in target.layers],
        network_eps,
        norms=[max(1.0, norm) for norm in norms],
        radius=max(radius, 1.0),
        bias_norms=biases if target.architecture.bias else None,
    )
    PRODUCTS.check_tolerance(each)
    # a budget of 1 or more (tiny targets or domains) is no tolerance that items can be counted for
    return [min(each, 0.5)] * len(target.layers)


def shifted(progress: Progress | None, done: int, total: int) -> Callable[[int], None] | None:
    """Return what counts the problems of one layer on from those done before it."""
    return None if progress is None else lambda here: progress("weights", done + here, total)
