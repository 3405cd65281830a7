"""Malach et al. 2020, "Proving the lottery ticket hypothesis": every weight becomes one random pair.

Theorem 2.1: a wide random ReLU network of depth 2L contains a subnetwork within eps of the target on the unit ball,
because among enough random neurons one has an incoming and an outgoing weight whose product is near the weight wanted.
A subset sum of one item, that is, and polynomially many neurons where `pensia2020optimal` needs logarithmically many.
Here the proof runs: one frozen random network, a block of its neurons for each input (for each input and output in the
paper), and for each weight, for each sign of its input, one neuron of the block. Weights within the tolerance of 0 keep
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from torch import nn

from strongticket.bounds import HypothesisError
from strongticket.bounds import malach2020proving as bounds
from strongticket.certificate import Domain
from strongticket.constructions._checks import (
    REACH,
    check_budget,
    check_domain,
    check_items,
    check_one_of,
    check_reach,
    check_target,
)
from strongticket.constructions._construction import AbstractConstruction, Construction, Plan, Progress
from strongticket.constructions._gadget import HalfInputs, stage
from strongticket.constructions._grid import PRODUCTS, extended, halves_of, lay_out, weight_tolerances
from strongticket.constructions._layerwise import Gathering
from strongticket.constructions._malach2020proving_search import UNIT, Block, Choose, Search, count_blocks
from strongticket.constructions.pensia2020optimal import UNIT_BALL
from strongticket.models import Layer, Target

__all__ = ["Malach2020Proving", "construct"]

KEY = "malach2020proving"
MOST_ITEMS = 1 << 30

Items = Literal["theorem", "paper"]
Blocks = Literal["shared", "own"]


@final
@dataclass(frozen=True)
class Malach2020Proving(AbstractConstruction):
    """Prune one random ReLU network of depth 2L to a given one of depth L, one random pair for each weight.

    Args:
        weight_eps: tolerance of every single weight, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the whole network on the domain (or the unit ball, if that is larger), in (0, 1), for
            targets with |W_i|_2 <= 1: the theorem, whose domain is the unit ball.
        delta: failure probability that sizes the source, in (0, 1).
        items: neurons in each block: a number >= 1; "theorem" (our count, rigorous for the target at hand: with
            probability 1 - delta no weight is missed); or "paper" (the paper's count, and with `network_eps` its
            hypotheses and its tolerance per weight).
        choose: "nearest" (the product nearest to the weight), "first" (the first neuron whose product is within the
            tolerance: much faster, as most problems end early; the report then counts usable neurons among those that
            were read for all inputs), or "nearest-pair" (the paper's event: incoming weight
            nearest to |w|, outgoing weight nearest to 1, signs apart).
        blocks: "shared" (a block for each input, in which every output finds its own neurons; ours, as in
            `pensia2020optimal`) or "own" (a block for each input and output, the paper's, with as many times the
            width). A block serves both signs of its input: the sign of u says which a neuron can serve.
        domain: where inputs live; on nonnegative inputs the first layer needs one neuron per weight, else two.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.

    Raises:
        ValueError: a parameter outside its range.
    """

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Items = "theorem"
    choose: Choose = "nearest"
    blocks: Blocks = "shared"
    domain: Domain = UNIT_BALL
    seed: int = 0
    key = KEY

    def __post_init__(self) -> None:
        check_budget(self.weight_eps, self.network_eps, self.delta)
        check_items(self.items, ("theorem", "paper"), MOST_ITEMS)
        check_one_of("choose", self.choose, ("nearest", "first", "nearest-pair"))
        check_one_of("blocks", self.blocks, ("shared", "own"))
        check_domain(self.domain)

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a weight beyond 1; with `network_eps` a layer of norm beyond 1; with the paper's count also
                a weight beyond 1/sqrt(fan-in).
            ValueError: the tolerance is too fine for the counts of items.
        """
        check_target(target)
        check_reach(target)
        tolerances = self._tolerances(target)
        halves = [halves_of(i, layer, self.domain) for i, layer in enumerate(target.layers)]
        problems = [layer.weight.shape[0] * len(half) for layer, half in zip(target.layers, halves, strict=True)]
        weights = sum(extended(layer).size for layer in target.layers)
        items, widths = [], []
        for layer, half, eps, each in zip(target.layers, halves, tolerances, problems, strict=True):
            items.append(self._items(layer, half, eps, each / sum(problems), weights))
            owners = layer.weight.shape[0] if self.blocks == "own" else 1
            widths.append(owners * count_blocks(half) * items[-1])
        return lay_out(target, halves, tolerances, items, widths, self.seed)

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof: for every weight and sign of its input choose one neuron of the block, and gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all |weights| <= 1.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError, ValueError: see `plan`.
        """
        plan = self.plan(target)
        gathering = Gathering(plan, target, progress)
        for i, layer in enumerate(target.layers):
            seconds = {"search": 0.0}
            with stage(seconds, "search"):
                block = Block(plan, i, halves_of(i, layer, self.domain), self.blocks == "own")
                wanted, tolerance = PRODUCTS.wanted(block.halves, layer), PRODUCTS.tolerance(plan.weight_eps[i])
                search = Search(block, wanted, tolerance, self.choose)
                search.run(gathering.counter() or (lambda here: None))
                neurons, errors = search.result()
                mask = block.mask(neurons)
            gathering.add(
                PRODUCTS,
                block.halves,
                mask,
                errors,
                tolerance,
                fewest_items=int(search.usable.min()),
                weakest_item=search.weakest / UNIT,
                seconds=seconds,
            )
            if progress is not None:
                progress("weights", gathering.done, sum(plan.problems))
        return gathering.construction(KEY)

    def _tolerances(self, target: Target) -> list[float]:
        by_norms = weight_tolerances(target, self.weight_eps, self.network_eps, self.domain)
        if self.network_eps is None or self.items != "paper":
            return by_norms
        if target.architecture.bias or self.domain.radius_in(target.architecture.sizes[0]) > 1:
            raise HypothesisError(
                "the paper speaks of networks without biases and inputs in the unit ball; with items='theorem' biases "
                "and larger domains are covered too"
            )
        for i, layer in enumerate(target.layers):
            largest, limit = float(np.abs(layer.weight).max()), 1 / math.sqrt(layer.weight.shape[1])
            if largest > limit * (1 + 1e-6):
                raise HypothesisError(
                    f"layer {i} of the target has a weight of magnitude {largest:.6g}; the paper speaks of weights of "
                    f"at most 1/sqrt(fan-in) = {limit:.6g}. Rescale the target, or take items='theorem'"
                )
        depth = len(target.layers)
        each = [bounds.paper_weight_eps(self.network_eps, depth, *x.weight.shape[::-1]) for x in target.layers]
        for eps in each:
            PRODUCTS.check_tolerance(eps)
        return each

    def _items(self, layer: Layer, half: HalfInputs, eps: float, share: float, weights: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        if self.items == "paper":
            return bounds.items_for_network(weights, eps, self.delta, event="paper")
        fine = eps - bounds.GRID_SLACK - 2.0**-44  # for the grids of the source and of the target
        if fine <= eps / 2:
            raise ValueError(
                f"a tolerance of {eps:.3g} per weight is too fine for the count of items, which pays 2^-22 for "
                "the grid of the weights: loosen it, or give a number of items"
            )
        magnitudes = np.abs(extended(layer)[:, half.inputs])
        largest = float(magnitudes.max(initial=0.0))
        if self.choose == "nearest-pair" and largest > REACH - eps:
            return bounds.items_for_network(weights, fine, self.delta, event="paper")
        if self.choose == "nearest-pair":
            problems = math.ceil(magnitudes.size / share)
            return bounds.items_for_network(problems, fine, self.delta, event="pair", max_target=largest)
        return bounds.items_for_target(magnitudes, fine, self.delta * share)


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a ReLU network into a strict ticket with one random pair per weight: `Malach2020Proving(**options)`.

    Args:
        target: the network to find inside a random one; a module is read by `Target.from_module`.
        options: parameters of `Malach2020Proving`.

    >>> import torch
    >>> from strongticket.models import Target
    >>> weights = [torch.linspace(-0.5, 0.5, 12).reshape(3, 4), torch.linspace(-0.4, 0.6, 6).reshape(2, 3)]
    >>> target = Target.from_state({"0.weight": weights[0], "1.weight": weights[1]})
    >>> result = construct(target, weight_eps=0.05, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.05, result.plan.items
    (True, (364, 484))
    """
    method = Malach2020Proving(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
