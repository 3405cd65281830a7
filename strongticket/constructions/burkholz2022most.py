"""Burkholz 2022, "Most activation functions can win the lottery without excessive depth": tickets of depth L + 1.

The source has one layer more than the target, not twice as many, and the target's own activation: ReLU, leaky ReLU,
tanh or sigmoid. Every hidden neuron of the target is built rho times, so that each weight to the next layer is a subset
sum over the rho plain random weights that lead there. See `_copies`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket import subsetsum
from strongticket.bounds import HypothesisError
from strongticket.bounds import burkholz2022most as bounds
from strongticket.certificate import Domain
from strongticket.constructions._burkholz2022most_layers import Layout, Work
from strongticket.constructions._checks import check_budget, check_domain, check_items, check_one_of
from strongticket.constructions._construction import AbstractConstruction, Construction, Plan, Progress
from strongticket.constructions._copies import UNIT, traits_of
from strongticket.constructions._gadget import WEAKEST, Choice, HalfInputs
from strongticket.constructions._grid import extended
from strongticket.constructions._prediction import predicted_items_of
from strongticket.models import Layer, Target
from strongticket.ticket import Mask, Ticket

__all__ = ["Burkholz2022Most"]

KEY = "burkholz2022most"
MOST_ITEMS: Final = 1 << 12
LARGEST: Final = 40  # exponent: weights and inputs up to 2^40
UNIT_BALL: Final = Domain.ball(1)
QUICK: Final = 24  # candidates that are looked at first: solving many more takes ten times as long for each eight
WIDEST: Final = 64  # exponent of the largest scale of a source
FINEST: Final = -22  # exponent of the finest tolerance of plain weights, per unit of their law

Items = Literal["theorem", "information-limit"]
Integers = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Burkholz2022Most(AbstractConstruction):
    """Prune one random network of depth L + 1 to a given network of depth L with the same activation.

    Any weights are reached: each layer of the source is uniform on [-s, s] with s the power of two at or above the
    layer's largest weight. (With tanh and sigmoid the first two layers are scaled against each other as well, so that
    the first stays where the activation is nearly linear.)

    Args:
        weight_eps: tolerance of every single weight, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the whole network on inputs |x_i| <= 1 (or the domain, if that is larger), in (0, 1),
            for targets without biases, with ReLU or leaky ReLU: the theorem with strongticket's constants.
        delta: failure probability that sizes the source, in (0, 1).
        items: copies of each hidden neuron, and candidates of a weight of the first layer: a number >= 1; "theorem"
            (the explicit rigorous count, layer by layer: a subset for every weight exists with probability 1 - delta;
            it speaks of no biases, nor of what cancels a sigmoid at 0; beyond 40 candidates the search by groups may
            miss a subset, and says so); or "information-limit" (the predicted
            count at which delta weights of *this* target are expected to fail). Or a number for each layer: candidates
            of the first, then copies of each hidden layer.
        objective: "sparsest" (fewest kept weights within the tolerance, among the first 24 candidates if they have such
            a subset) or "min_error" (the exact minimum error; beyond 40 candidates, the minimum of the first group of
            at most 40 that is within the tolerance).
        domain: where inputs live; on nonnegative inputs the first layer of a ReLU network needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    Raises:
        ValueError: a parameter outside its range.

    >>> import torch
    >>> weights = {"0.weight": torch.linspace(-2, 2, 12).reshape(3, 4), "1.weight": torch.linspace(-1, 1, 3)[None]}
    >>> target = Target.from_state(weights, "tanh")
    >>> found = Burkholz2022Most(weight_eps=0.01, items=20, domain=Domain.box(-1, 1)).construct(target)
    >>> found.best.source.architecture.depth, found.ticket is not None and found.largest_error <= 0.01
    (3, True)
    """

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | tuple[int, ...] | Items = "information-limit"
    objective: Literal["sparsest", "min_error"] = "sparsest"
    domain: Domain = UNIT_BALL
    seed: int = 0
    backend: subsetsum.Backend = "auto"
    key = KEY

    def __post_init__(self) -> None:
        check_budget(self.weight_eps, self.network_eps, self.delta)
        if isinstance(self.items, tuple):
            each: tuple[object, ...] = self.items
            if any(isinstance(items, bool) or not isinstance(items, int) for items in each):
                raise TypeError(f"items of the layers are a whole number each, got {each!r}")
            for items in self.items:
                check_items(items, ("theorem", "information-limit"), MOST_ITEMS)
        else:
            check_items(self.items, ("theorem", "information-limit"), MOST_ITEMS)
        check_domain(self.domain)
        check_one_of("objective", self.objective, ("sparsest", "min_error"))

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: with `network_eps`, a bias or a curved activation; a weight beyond 2^40; a tolerance that
                is finer than what plain random weights can tell.
        """
        return self._layout(target).plan

    def copies(self, target: Target) -> tuple[Integers, ...]:
        """Return, for each hidden layer of the source but the first, which neuron of the target each neuron stands for.

        -1 is a neuron that may be a constant. This is the hint that `strongticket.certify.certify_copies` takes.
        """
        return tuple(hidden.stands_for for hidden in self._layout(target).hidden)

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof: solve every subset sum exactly, from the last layer to the first, and gather the mask.

        A copy that no neuron of the next layer has chosen is not built.

        Args:
            target: an MLP of any depth and activation, with or without biases.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError: see `plan`.
        """
        work = Work(self._layout(target), target, self.choice, progress)
        for index in range(len(target.layers) - 1, 0, -1):
            work.plain_layer(index)
        work.first_pair()
        ticket = Ticket(work.layout.plan.source, Mask.merge(*work.masks()))
        unreached = np.concatenate(work.unreached[::-1])
        return Construction(KEY, work.layout.plan, ticket, unreached, tuple(work.reports[::-1]))

    def choice(self, tolerance: int) -> Choice:
        """Return the solver of one tolerance."""

        def solve(items: Integers, targets: Integers) -> tuple[Integers, Integers]:
            eps = tolerance if self.objective == "sparsest" else None
            sums = subsetsum.solve(items, targets, objective=self.objective, eps=eps, backend=self.backend)
            return sums.mask, sums.error

        def choose(items: Integers, targets: Integers) -> tuple[Integers, Integers]:
            if self.objective == "min_error" or items.shape[1] <= QUICK:
                return solve(items, targets)
            mask, error = solve(np.ascontiguousarray(items[:, :QUICK]), targets)
            hard = np.flatnonzero(np.abs(error) > tolerance)
            if hard.size:
                mask[hard], error[hard] = solve(items[hard], targets[hard])
            return mask, error

        return choose

    def _layout(self, target: Target) -> Layout:
        if not isinstance(target, Target):
            raise TypeError(f"a target is a strongticket.Target, got {type(target).__name__}: use Target.from_module")
        if isinstance(self.items, tuple) and len(self.items) != len(target.layers):
            raise ValueError(f"items has {len(self.items)} numbers for the {len(target.layers)} layers of the target")
        scales = tuple(_scale(i, layer) for i, layer in enumerate(target.layers))
        tolerances, items = self._sizes(target, scales)
        for i, (eps, scale) in enumerate(zip(tolerances, scales, strict=True)):
            finest = math.ldexp(1.0, scale + (FINEST if i else 2 * FINEST))
            if eps < finest:
                raise HypothesisError(
                    f"a tolerance of {eps:.3g} for the weights of layer {i} is finer than sums of random weights can "
                    f"tell, which are multiples of {finest / 2:.3g}; the finest is {finest:.3g}"
                )
        return Layout.of(
            target,
            self.seed,
            halves=tuple(self.halves(i, target) for i in range(len(target.layers))),
            scales=scales,
            contraction=self._contraction(target, scales[0], tolerances[0]),
            tolerances=tolerances,
            items=items,
        )

    def _contraction(self, target: Target, scale: int, eps: float) -> int:
        """Return k: weights of at most 2^-k into the first layer keep it where tanh or the sigmoid is nearly linear.

        Raises:
            HypothesisError: a domain or a tolerance for which that part is too small.
        """
        traits = traits_of(target.architecture.activation)
        size = max(abs(self.domain.low), abs(self.domain.high), 1.0)
        contraction = traits.contraction(size, eps)
        second = scale + contraction - round(math.log2(traits.slope))  # what the first layer loses the second regains
        if max(contraction, second) > WIDEST:
            raise HypothesisError(
                f"{target.architecture.activation} is linear within the tolerance {eps:.3g} only near 0, and inputs "
                f"up to {size:.3g} take weights beyond 2^{WIDEST}: scale the inputs down, or allow a larger tolerance"
            )
        finest = math.ldexp(1.0, second - UNIT)  # of sums of halves of the second layer's weights, two of their units
        if traits.intercept and eps < finest:
            raise HypothesisError(
                f"a tolerance of {eps:.3g} is finer than what cancels the sigmoid at 0 can tell; for inputs up to "
                f"{size:.3g} and the largest weight 2^{scale} of layer 0 the finest is {finest:.3g}"
            )
        return contraction

    def _sizes(self, target: Target, scales: Sequence[int]) -> tuple[list[float], list[int]]:
        """Return the tolerance and the candidates of each layer: from the last to the first, as each layer's problems
        are as many as the next layer needs copies."""
        layers, depth = target.layers, len(target.layers)
        curved = traits_of(target.architecture.activation).cubic > 0
        if self.network_eps is not None and (curved or target.architecture.bias):
            raise HypothesisError(
                "network_eps takes ReLU and leaky ReLU networks without biases, got "
                f"{target.architecture.id}: give weight_eps, and certify the ticket afterwards"
            )
        sizes = [1.0 if self.network_eps is None else max(1.0, *map(abs, (self.domain.low, self.domain.high)))]
        for layer in layers:
            sizes.append(sizes[-1] * float(np.abs(layer.weight).sum(axis=1).max()))
        tolerances, items, copies, gain = [0.0] * depth, [0] * depth, 1, 1.0
        for i in range(depth - 1, -1, -1):
            layer, reach = layers[i], math.ldexp(1.0, scales[i])
            if self.weight_eps is not None:
                tolerances[i] = float(self.weight_eps)
            else:
                assert self.network_eps is not None
                each = bounds.layer_tolerance(self.network_eps, depth, layer.weight.shape[1], sizes[i], gain)
                tolerances[i] = _rounded_down(each)
            columns = len(self.halves(i, target)) if i == 0 else extended(layer).shape[1]
            problems = layer.weight.shape[0] * copies * columns
            halves = i == 0 and self.halves(0, target).signed
            fold = traits_of(target.architecture.activation).fold if halves else 1.0  # both halves share the tolerance
            items[i] = self._items(layer, tolerances[i] / fold, problems, i, depth, reach)
            gain *= bounds.amplification(layer.weight.shape[1], items[i], reach)
            copies = items[i]
        return tolerances, items

    def _items(self, layer: Layer, eps: float, problems: int, index: int, depth: int, reach: float) -> int:
        if not isinstance(self.items, str):
            return self.items[index] if isinstance(self.items, tuple) else int(self.items)
        magnitudes = np.abs(extended(layer)) / reach
        eps = min(eps / reach, 0.5)
        if self.items == "theorem":
            largest = 1.0 if magnitudes.any() else 0.0  # in units of their law
            return bounds.items_for_layer(problems, eps, self.delta / depth, largest, WEAKEST if index == 0 else 1.0)
        scale = 1.0 if index else max(WEAKEST, 1 - 2 / (layer.weight.shape[1] + 1))
        return predicted_items_of(magnitudes, eps, self.delta / depth * magnitudes.size / problems, "uniform", scale)

    def halves(self, index: int, target: Target) -> HalfInputs:
        """Return the half-inputs that the first pair serves (index 0), or the inputs of a later layer."""
        layer, activation = target.layers[index], target.architecture.activation
        traits = traits_of(activation)
        signed = index == 0 and traits.halves and not self.domain.nonnegative
        own = layer.bias is not None and (index > 0 or traits.intercept == 0.0)
        return HalfInputs.of(layer.weight.shape[1], signed=signed, bias=own)


def _scale(index: int, layer: Layer) -> int:
    """Return k with 2^k at or above the layer's largest weight; 0 for a layer of zeros."""
    largest = float(np.abs(extended(layer)).max(initial=0.0))
    if largest == 0.0:
        return 0
    mantissa, exponent = math.frexp(largest)
    scale = exponent - 1 if mantissa == 0.5 else exponent
    if scale > LARGEST:
        raise HypothesisError(f"layer {index} of the target has a weight of {largest:.3g}, beyond 2^{LARGEST}")
    return max(scale, -LARGEST)


def _rounded_down(value: float) -> float:
    """Return the number of two binary digits at or below a positive one, so that similar targets have equal sources."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.floor(8.0 * mantissa) / 8.0, exponent)
