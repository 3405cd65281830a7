"""Sreenivasan et al. 2022, "Finding nearly everything within random binary networks": a network of random signs.

The paper: a random network of +-1 weights, of depth O(L log(dL/eps)) and width O(d log^2(dL/eps)), contains a ticket
within eps of every network of depth L and width d. The construction here is **ours**, and does it in whole numbers: a
quantised target is computed *exactly*, by doublings and binary digits (see `_doubling`). One random bit decides each
weight of the source, and magnitudes come from depth alone: layers = L (bits + 1) + 1, width = R (d_in + 2 d_out) with
R = O(log(dL bits/delta)) copies of every number.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket.bounds import HypothesisError
from strongticket.bounds import sreenivasan2022finding as bounds
from strongticket.bounds.kumar2025quantized import neurons_to_fill
from strongticket.certificate import Domain
from strongticket.constructions._checks import check_domain, check_items, check_target
from strongticket.constructions._construction import (
    UNREACHED,
    AbstractConstruction,
    Construction,
    LayerReport,
    Plan,
    Progress,
)
from strongticket.constructions._doubling import Built, DoublingPlan, State, build, counts_of, wide_layers
from strongticket.constructions._gadget import HalfInputs, LayerPair, Pool, assign_column_aware
from strongticket.constructions._grid import Grid
from strongticket.models import MLP, Target
from strongticket.ticket import Init, Mask, Source, Ticket

__all__ = ["Sreenivasan2022Finding", "construct"]

KEY = "sreenivasan2022finding"
MOST_BITS = 20
MOST_SCALE = 62  # the last layer's scale is 2^-(bits * L) at the finest
MOST_ITEMS = 1 << 12
PIXELS = Domain.box(0, 1)

Integers = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Sreenivasan2022Finding(AbstractConstruction):
    """Prune one deep random network of signs until it equals a given quantised ReLU network.

    Args:
        bits: numbers of the target are multiples of 2^-bits, of any size below 2^20 of these units; 0..20.
        items: R, neurons that carry each number, and candidates for each edge: a number >= 2, or "theorem" (all edges
            are found with probability 1 - delta, proved).
        delta: failure probability that sizes the source, in (0, 1).
        scaled: the weights of the last source layer are +-2^-(bits L), so that the ticket equals the target; otherwise
            all weights are +-1 and the ticket is the target times 2^(bits L).
        domain: where inputs live; inputs that can be negative cost two channels each.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.

    Raises:
        ValueError: a parameter outside its range.
    """

    bits: int = 4
    items: int | Literal["theorem"] = "theorem"
    delta: float = 0.01
    scaled: bool = True
    domain: Domain = PIXELS
    seed: int = 0
    key = KEY

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise TypeError(f"bits is a whole number, got {self.bits!r}")
        if not 0 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits must be in 0..{MOST_BITS}, got {self.bits}")
        check_items(self.items, ("theorem", "theorem"), MOST_ITEMS)
        if self.items == 1:
            raise ValueError("items must be at least 2: doubling a number takes two copies of it, got 1")
        if not (isinstance(self.delta, int | float) and 0 < self.delta < 1):
            raise ValueError(f"delta must lie strictly between 0 and 1, got {self.delta}")
        check_domain(self.domain)

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a number that is no multiple of 2^-bits or too large, or a scale beyond 2^-62.
        """
        doubling, halves = self._doubling(target)
        mlp = MLP((target.architecture.sizes[0], *doubling.widths()), bias=target.architecture.bias)
        last = mlp.depth - 1
        names = [MLP.weight_name(last), *([MLP.bias_name(last)] if mlp.bias else [])] if self.scaled else []
        scale = 2.0 ** -(self.bits * len(target.layers))
        layers = len(doubling.matrices)
        return Plan(
            Source(mlp, self.seed, Init("sign", overrides=tuple((name, "sign", scale) for name in names))),
            (0.0,) * layers,
            (doubling.copies,) * layers,
            tuple(matrix.size for matrix in doubling.matrices),
            tuple(2 if halves.signed and i == 0 else 1 for i in range(layers)),
        )

    def ends(self, target: Target) -> tuple[int, ...]:
        """Return the number of source layers up to the outputs of each layer of the target.

        Raises:
            HypothesisError: see `plan`.
        """
        return self._doubling(target)[0].ends

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Pick the edges, layer after layer, and gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all numbers multiples of 2^-bits; make one with
                `strongticket.models.quantized.quantise`.
            progress: called with ("weights", problems done, problems in all), when all is done.

        Raises:
            HypothesisError: see `plan`.
        """
        plan = self.plan(target)
        doubling, halves = self._doubling(target)
        clock = time.perf_counter()
        pool = assign_column_aware(LayerPair(plan.source, 0, halves), doubling.copies)
        assigned = time.perf_counter()
        built = build(doubling, plan.source, State(pool.neurons, pool.u != 0))
        mask = Mask.merge(_first_mask(plan.source, halves, pool, built.used), built.mask(plan.source))
        seconds = {"assign": assigned - clock, "mask": time.perf_counter() - assigned}
        unreached = [
            self._unreached(i, wanted, found, halves)
            for i, (wanted, found) in enumerate(zip(doubling.matrices, built.effective, strict=True))
        ]
        if progress is not None:
            progress("weights", sum(plan.problems), sum(plan.problems))
        reports = self._reports(plan, doubling, built, mask, unreached, seconds)
        return Construction(KEY, plan, Ticket(plan.source, mask), np.concatenate(unreached), reports)

    def _doubling(self, target: Target) -> tuple[DoublingPlan, HalfInputs]:
        check_target(target)
        self._check(target)
        signed, bias = not self.domain.nonnegative, target.architecture.bias
        whole = Grid(-self.bits, exact=True)
        layers = []
        for layer in target.layers:
            numbers = whole.wanted(HalfInputs.of(layer.weight.shape[1], signed=False, bias=bias), layer)
            layers.append((numbers[:, : layer.weight.shape[1]], numbers[:, -1] if bias else None))
        matrices = wide_layers(layers, self.bits, signed=signed)
        halves = HalfInputs.of(target.architecture.sizes[0], signed=signed, bias=bias)
        copies = self.items
        if isinstance(copies, str):  # half of delta pays for the first layer
            copies = bounds.copies_needed(*counts_of(matrices), self.delta / 2)
        pool = neurons_to_fill(len(halves), copies, 0.5, self.delta / 2)
        return DoublingPlan(matrices, copies, pool), halves

    def _check(self, target: Target) -> None:
        if not target.architecture.rectified:
            raise HypothesisError(f"the construction is one of ReLU networks, got {target.architecture.id}")
        depth = len(target.layers)
        if self.scaled and self.bits * depth > MOST_SCALE:
            raise HypothesisError(
                f"{depth} layers of {self.bits} bits need the scale 2^-{self.bits * depth}; the finest is "
                f"2^-{MOST_SCALE}: take fewer bits, or scaled=False"
            )
        for name, value in target.weights.items():
            numbers = value.double().numpy()
            units = np.ldexp(numbers, self.bits)
            bad = np.argwhere((units != np.rint(units)) | (np.abs(units) >= 2.0**MOST_BITS))
            if bad.size:
                place = tuple(bad[0].tolist())
                if units[place] == np.rint(units[place]):
                    raise HypothesisError(
                        f"{name}{list(place)} of the target is {float(numbers[place])!r}, not below 2^{MOST_BITS} "
                        f"units of 2^-{self.bits}: take fewer bits, or rescale the target"
                    )
                raise HypothesisError(
                    f"{name}{list(place)} of the target is {float(numbers[place])!r}, no multiple of 2^-{self.bits}: "
                    f"use models.quantized.quantise(target, {max(1, self.bits)})"
                )

    def _unreached(self, index: int, wanted: Integers, found: Integers, halves: HalfInputs) -> NDArray[np.void]:
        rows, columns = np.nonzero(wanted != found)
        failed = np.zeros(len(rows), dtype=UNREACHED)
        failed["layer"], failed["row"] = index, rows
        failed["input"] = halves.inputs[columns] if index == 0 else columns
        failed["sign"] = halves.signs[columns] if index == 0 else 1
        sign = failed["sign"].astype(np.int64)  # the channel of max(-x, 0) carries -w
        failed["target"] = np.ldexp((sign * wanted[rows, columns]).astype(np.float64), -self.bits)
        failed["error"] = np.ldexp(np.abs(wanted - found)[rows, columns].astype(np.float64), -self.bits)
        return failed

    def _reports(
        self,
        plan: Plan,
        doubling: DoublingPlan,
        built: Built,
        mask: Mask,
        unreached: list[NDArray[np.void]],
        seconds: dict[str, float],
    ) -> tuple[LayerReport, ...]:
        reports, begin = [], 0
        for i, (end, wanted, found) in enumerate(zip(doubling.ends, doubling.matrices, built.effective, strict=True)):
            names = [MLP.weight_name(layer) for layer in range(begin, end)]
            if begin == 0 and MLP.bias_name(0) in mask:
                names.append(MLP.bias_name(0))
            wrong = np.ldexp(np.abs(wanted - found).astype(np.float64), -self.bits)
            reports.append(
                LayerReport(
                    layer=i,
                    problems=plan.problems[i],
                    items=doubling.copies,
                    fewest_items=built.fewest,
                    weakest_item=1.0,
                    width=max(doubling.widths()[begin:end]),
                    kept=sum(mask.counts[name] for name in names),
                    unreached=len(unreached[i]),
                    largest_error=float(wrong.max(initial=0.0)),
                    rms_error=float(np.sqrt(np.mean(wrong * wrong))),
                    seconds=seconds if i == 0 else {},
                )
            )
            begin = end
        return tuple(reports)


def _first_mask(source: Source, halves: HalfInputs, pool: Pool, used: Integers) -> Mask:
    """Keep the one incoming edge of each neuron of the first layer that something depends on."""
    name, bias = MLP.weight_name(0), MLP.bias_name(0)
    column, place = np.nonzero((pool.u != 0) & np.isin(pool.neurons, used))
    neurons, inputs = pool.neurons[column, place], halves.inputs[column]
    weighted = inputs < halves.dimension
    shapes = {name: source.shapes[name]}
    kept = {name: neurons[weighted] * halves.dimension + inputs[weighted]}
    if halves.bias:
        shapes[bias], kept[bias] = source.shapes[bias], neurons[~weighted]
    return Mask.from_indices(shapes, kept)


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a quantised ReLU network into a ticket of random signs: `Sreenivasan2022Finding(**options).construct`.

    Args:
        target: the network, its numbers multiples of 2^-bits; a module is read by `Target.from_module`.
        options: parameters of `Sreenivasan2022Finding`.

    >>> import torch
    >>> weights = [torch.tensor([[3.0, -2.0], [1.0, 0.0]]) / 4, torch.tensor([[-1.0, 5.0]]) / 4]
    >>> target = Target.from_state({"0.weight": weights[0], "1.weight": weights[1]})
    >>> ticket = construct(target, bits=2).ticket
    >>> ticket.source.init.law, ticket.source.architecture.depth
    ('sign', 8)
    >>> x = torch.tensor([[0.25, 1.0], [1.0, 0.5]])
    >>> target.module()(x).tolist() == ticket.module()(x).tolist()
    True
    """
    method = Sreenivasan2022Finding(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
