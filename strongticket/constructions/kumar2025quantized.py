"""Kumar & Natale 2025, "Quantization vs pruning": a random network of few bits contains quantised networks *exactly*.

The source's weights are uniform on the nonzero multiples of 1/M, M = 2^k, in [-1, 1]. Two layers of it make one layer
of the target by product gadgets, whose candidates are products i j of two such integers, in units of 1/M^2; each
weight of the target, a multiple of 1/M^2, is a subset sum of its candidates with error 0, or is listed as unreached.

What of the paper's construction is not needed, and so is not built: the source is drawn at the precision delta = 1/M,
so nothing has to be cut from finer weights (which would change frozen weights). And no layer's output has to be reset
to a precision gamma for the ticket to equal the target: after each pair of layers the two hold the same integer up to
a power of two. `models.quantized.integer_outputs(..., reset=)` applies the reset to both where asked for: it keeps
integers small in deep networks, and maps equal numbers to equal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import subsetsum
from strongticket.bounds import HypothesisError
from strongticket.bounds import kumar2025quantized as bounds
from strongticket.certificate import Domain
from strongticket.constructions._checks import check_domain, check_items, check_one_of, check_target
from strongticket.constructions._construction import (
    AbstractConstruction,
    Construction,
    Plan,
    Progress,
)
from strongticket.constructions._gadget import LayerPair, Pool, assign_fixed, prune_pair, stage
from strongticket.constructions._grid import Grid, halves_of, lay_out
from strongticket.constructions._layerwise import Gathering
from strongticket.models import Target
from strongticket.random.quantized import Quantized
from strongticket.ticket import Init

__all__ = ["Kumar2025Quantized", "construct"]

KEY = "kumar2025quantized"
MOST_SOURCE_BITS = 11  # products of 2k = 22 bits, and sums of 2^20 of them, stay far inside 64 bits
MOST_ITEMS = 1 << 14
PIXELS = Domain.box(0, 1)
FILL = 1e-3  # probability that a layer has too few neurons of the wanted kind, where no theorem asks for less

Assignment = Literal["odd", "digits", "fixed"]
Items = Literal["theorem", "prediction"]


@final
@dataclass(frozen=True)
class Kumar2025Quantized(AbstractConstruction):
    """Prune one random network of k-bit weights, of depth 2L, until it equals a given quantised network of depth L.

    Args:
        source_bits: k: weights of the source are multiples of 2^-k, those of the target of 2^-2k; 1..11.
        items: candidates per weight: a number >= 1; "prediction" (the number at which `delta` weights of this target
            are predicted to fail, without proof: up to four times as many were measured for |w| <= 1/2, seven times
            near 1); or "theorem" (with probability 1 - delta all are met, proved: our count, not the paper's;
            assignment "digits" only, and targets within [-1/2, 1/2]).
        delta: failure probability, or expected number of failures, that sizes the source; in (0, 1).
        assignment: which neurons are candidates for an input. "odd": those with an odd incoming weight i >= M/4, so
            that half of the products are odd (with any i, all n would be even with probability (3/4)^n, and then no
            odd weight is met); the fewest candidates suffice. "digits": half of them have the incoming weight 1/M and
            half have 1, so that w = a/M + b/M^2 is two subset sums of uniform integers. "fixed": the paper's
            consecutive blocks, half of whose neurons are dead.
        objective: "sparsest" (fewest kept weights) or "first_hit" (any exact subset, quickest).
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    Raises:
        ValueError: a parameter outside its range.
    """

    source_bits: int = 4
    items: int | Items = "prediction"
    delta: float = 0.01
    assignment: Assignment = "odd"
    objective: Literal["sparsest", "first_hit"] = "sparsest"
    domain: Domain = PIXELS
    seed: int = 0
    backend: subsetsum.Backend = "auto"
    key = KEY

    def __post_init__(self) -> None:
        if isinstance(self.source_bits, bool) or not isinstance(self.source_bits, int):
            raise TypeError(f"source_bits is a whole number, got {self.source_bits!r}")
        if not 1 <= self.source_bits <= MOST_SOURCE_BITS:
            raise ValueError(f"source_bits must be in 1..{MOST_SOURCE_BITS}, got {self.source_bits}")
        check_one_of("assignment", self.assignment, ("odd", "digits", "fixed"))
        check_items(self.items, ("theorem", "prediction"), MOST_ITEMS)
        if self.items == "theorem" and self.assignment != "digits":
            raise ValueError(f"items='theorem' is proved for assignment='digits' only, got {self.assignment!r}")
        if not (isinstance(self.delta, int | float) and 0 < self.delta < 1):
            raise ValueError(f"delta must lie strictly between 0 and 1, got {self.delta}")
        check_one_of("objective", self.objective, ("sparsest", "first_hit"))
        check_domain(self.domain)

    @property
    def most(self) -> int:
        """M = 2^k, the largest integer weight of the source."""
        return 1 << self.source_bits

    @property
    def _grid(self) -> Grid:
        return Grid(-2 * self.source_bits, exact=True)

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a weight beyond 1 (1/2 for the theorem's count), or no multiple of 2^-2k.
        """
        check_target(target)
        self._check(target)
        halves = [halves_of(i, layer, self.domain) for i, layer in enumerate(target.layers)]
        wanted = [self._grid.wanted(half, layer) for half, layer in zip(halves, target.layers, strict=True)]
        problems = sum(values.size for values in wanted)
        items = [self._items(values, problems) for values in wanted]
        widths = [self._width(len(half), count, len(halves)) for half, count in zip(halves, items, strict=True)]
        init = Init(Quantized(self.source_bits).name)
        return lay_out(target, halves, (0.0,) * len(halves), items, widths, self.seed, init)

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof: assign neurons, solve every subset sum exactly, gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all numbers multiples of 2^-2k in [-1, 1]; make
                one with `strongticket.models.quantized.quantise`.
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
                if self.assignment == "fixed":
                    pool = assign_fixed(pair, plan.items[i])
                else:
                    pool = _assign_levels(pair, plan.items[i], self._levels())
            wanted = self._grid.wanted(pair.halves, layer)
            pruned = prune_pair(pair, pool, wanted, 0, self._choose, gathering.counter())
            gathering.add_pair(self._grid, pair, pool, pruned, 0, seconds)
        return gathering.construction(KEY)

    def _check(self, target: Target) -> None:
        reach = 0.5 if self.items == "theorem" else 1.0
        for name, value in target.weights.items():
            numbers = value.double().numpy()
            bad = np.argwhere(np.abs(numbers) > reach)
            if bad.size:
                place = tuple(bad[0].tolist())
                raise HypothesisError(
                    f"{name}{list(place)} of the target is {float(numbers[place])!r}; the construction reaches weights "
                    f"in [-{reach:g}, {reach:g}]"
                    + (" with items='theorem'" if reach < 1 else "")
                    + f": use models.quantized.quantise(target, bits, reach={reach:g})"
                )
            scaled = np.ldexp(numbers, 2 * self.source_bits)
            bad = np.argwhere(scaled != np.rint(scaled))
            if bad.size:
                place = tuple(bad[0].tolist())
                raise HypothesisError(
                    f"{name}{list(place)} of the target is {float(numbers[place])!r}, no multiple of "
                    f"2^-{2 * self.source_bits}, which products of two source weights are (the theorem's delta^2 <= "
                    "delta_t): quantise the target, or raise source_bits"
                )

    def _levels(self) -> tuple[tuple[int, ...], ...]:
        """The incoming weights that are wanted, one tuple for each kind; every input gets as many of each kind."""
        if self.assignment == "digits":
            return ((self.most,), (1,))
        return (tuple(u for u in range(1, self.most, 2) if 4 * u >= self.most),)

    def _items(self, wanted: NDArray[np.int64], problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        if self.items == "theorem":  # half of delta pays for missing neurons
            return 2 * bounds.exact_items(self.most, self.delta / (4 * problems)).items
        levels = [u for kind in self._levels() for u in kind]
        if self.assignment == "fixed":
            levels = list(range(1, self.most + 1))
        square = float(np.mean(np.square(levels))) * (self.most + 1) * (2 * self.most + 1) / 6.0
        values, counts = np.unique(np.abs(wanted), return_counts=True)
        edges = [0, *np.unique(np.geomspace(1, max(1, int(values[-1])), 17).round().astype(int)).tolist()]
        # up to an edge, all weights count as if they were on it
        bins = [(high, int(counts[(values > low) & (values <= high)].sum())) for low, high in pairwise(edges)]
        share = self.delta * wanted.size / problems
        odd = float(np.mean(np.mod(levels, 2))) / 2
        needed = bounds.items_predicted(bins, share, square, odd)
        return 2 * needed if self.assignment == "fixed" else needed  # half of a fixed block is dead

    def _width(self, columns: int, items: int, layers: int) -> int:
        if self.assignment == "fixed":
            return columns * items
        chance = min(len(kind) for kind in self._levels()) / (2 * self.most)
        return bounds.neurons_to_fill(
            columns, items, chance, self.delta / (2 * layers) if self.items == "theorem" else FILL
        )

    def _choose(
        self, items: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        sums = subsetsum.solve(items, targets, objective=self.objective, eps=0, backend=self.backend)
        return sums.mask, sums.error


def _assign_levels(pair: LayerPair, items: int, levels: tuple[tuple[int, ...], ...]) -> Pool:
    """Give each neuron, in order, to the half-input that lacks most neurons of a kind that it can serve there.

    The choice depends on the first layer alone, so the second layer's weights stay independent and uniform given it.
    """
    columns, kinds = len(pair.halves), len(levels)
    neurons = np.zeros((columns, items), dtype=np.int64)
    u = np.zeros((columns, items), dtype=np.int64)
    beyond = max(max(kind) for kind in levels) + 1
    kind_of = np.full(beyond + 1, kinds, dtype=np.int64)  # by incoming weight; `kinds` is none
    for kind, wanted in enumerate(levels):
        kind_of[list(wanted)] = kind
    lacking = np.zeros((kinds + 1, columns), dtype=np.int64)
    for kind in range(kinds):
        lacking[kind] = len(range(kind, items, kinds))
    places = lacking.copy()
    every = np.arange(columns)
    block = max(1, min(256, (1 << 24) // max(1, columns)))
    for start in range(0, pair.width, block):
        if not lacking.any():
            break
        offers = pair.incoming(start, min(start + block, pair.width))
        kind_there = kind_of[np.clip(offers, 0, beyond)]
        # what is not open now will not be later
        for row in np.flatnonzero(lacking[kind_there, every].any(axis=1)).tolist():
            open_there = lacking[kind_there[row], every]
            column = int(open_there.argmax())
            if not open_there[column]:
                continue
            kind = int(kind_there[row, column])
            # kinds alternate, so that a group of any stretch of candidates holds all of them
            place = kinds * int(places[kind, column] - lacking[kind, column]) + kind
            neurons[column, place] = start + row
            u[column, place] = int(offers[row, column]) * int(pair.halves.signs[column])
            lacking[kind, column] -= 1
    return Pool(neurons, u)


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a quantised ReLU network into a strict ticket that equals it: `Kumar2025Quantized(**options).construct`.

    Args:
        target: the network, its numbers multiples of 2^-2k in [-1, 1]; a module is read by `Target.from_module`.
        options: parameters of `Kumar2025Quantized`.

    >>> import torch
    >>> from strongticket.models.quantized import quantise, unequal_outputs
    >>> weights = [torch.linspace(-0.5, 0.5, 12).reshape(3, 4), torch.linspace(-0.4, 0.6, 6).reshape(2, 3)]
    >>> target = quantise(Target.from_state({"0.weight": weights[0], "1.weight": weights[1]}), 7).target
    >>> result = construct(target, source_bits=4, seed=1)
    >>> result.largest_error, unequal_outputs(target, result.ticket, [[255, 0, 3, 99]], 255)
    (0.0, 0)
    """
    method = Kumar2025Quantized(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
