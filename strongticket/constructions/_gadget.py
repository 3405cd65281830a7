"""The product gadget: two random layers, pruned, act as one chosen linear map on inputs of known sign.

For x >= 0 and u > 0, v * relu(u x) = (u v) x; for x <= 0 and u < 0 likewise. So a hidden neuron that keeps one
incoming weight u, from input i, serves the half-input (i, sign u), and a subset of the products u v approximates a
weight for that half. A neuron that keeps only a positive bias is a constant, and serves the bias of the target the same
way. The hidden layer is shared by all outputs; each output has its own v. (Pensia et al. 2020, Lemmas 1-3.)

The second layer may have several weights per output and hidden neuron: a convolution one for each place of its kernel,
any layer one for each element of its basis. ReLU acts on each position alone, so a hidden channel is still u times its
input channel, and each coefficient is a subset sum of its own. (da Cunha et al. 2022, Ferbach et al. 2023.)
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket.models import MLP
from strongticket.ticket import Mask, Source

__all__ = [
    "AbstractPair",
    "Choice",
    "HalfInputs",
    "LayerPair",
    "Pool",
    "PrunedPair",
    "assign_column_aware",
    "assign_fixed",
    "prune_in_blocks",
    "prune_pair",
    "prune_rows",
    "rows_at_once",
    "spare_neurons",
    "stage",
]

BLOCK_BYTES = 96 << 20  # candidates held at a time
TOGETHER = 40  # candidates that are solved as one exact problem
GROUP = 24  # candidates per group where there are more, or 8 beyond what counting demands; groups are tried in turn
WEAKEST = 0.5  # a neuron whose best open half-input has |u| below this is left out by the column-aware assignment

Choice = Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""(items [batch, n], targets [batch]), integers on one grid -> (mask bits [batch], error = target - sum [batch])."""

Rows = Callable[[NDArray[np.int32], slice, dict[str, float]], tuple[NDArray[np.bool_], NDArray[np.int64]]]
"""(weights of the second layer [rows, width], which rows, seconds by stage) -> (kept [rows, width], errors [rows,
columns]) for some rows of a pair; an output has as many rows as its basis has elements."""


@dataclass(frozen=True)
class HalfInputs:
    """The half-inputs that a layer's hidden neurons can serve.

    Args:
        inputs: input of each, [columns]; the number `dimension` stands for the constant 1 behind the bias.
        signs: +1 for max(x, 0) and the constant, -1 for min(x, 0), [columns].
        dimension: number of inputs of the layer.
        signed: whether inputs can be negative, so that each has two halves.
        bias: whether the constant is among them, as the last one.
    """

    inputs: NDArray[np.int64]
    signs: NDArray[np.int64]
    dimension: int
    signed: bool
    bias: bool

    @classmethod
    def of(cls, dimension: int, *, signed: bool, bias: bool) -> HalfInputs:
        """Both halves of each input where it can be negative, the positive one where not; then the constant."""
        inputs = np.repeat(np.arange(dimension), 2 if signed else 1)
        signs = np.tile([1, -1], dimension) if signed else np.ones(dimension, dtype=np.int64)
        if bias:
            inputs, signs = np.append(inputs, dimension), np.append(signs, 1)
        return cls(inputs, signs, dimension, signed, bias)

    def __len__(self) -> int:
        return len(self.inputs)


class AbstractPair(ABC):
    """One pair of source layers that becomes one layer of the target, or one of its groups.

    The first layer's tensor has a row of `halves.dimension` weights for each hidden neuron, the second one's a weight
    for each output, hidden neuron and basis element. Of both, the pair may own a run of rows only.
    """

    source: Source
    halves: HalfInputs

    @property
    @abstractmethod
    def first(self) -> str:
        """Name of the first layer's weights, [neurons, inputs]."""

    @property
    @abstractmethod
    def second(self) -> str:
        """Name of the second layer's weights, [outputs, neurons, elements]."""

    @property
    @abstractmethod
    def biases(self) -> tuple[str, str] | None:
        """Names of the biases of both layers, if they have any."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Hidden neurons of the pair."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs of the pair."""

    @property
    def elements(self) -> int:
        """Weights of the second layer per output and hidden neuron: the size of its basis."""
        return 1

    @property
    def group(self) -> int:
        """How many groups of the same size come before it in both tensors."""
        return 0

    def incoming(self, start: int, stop: int, columns: slice = slice(None)) -> NDArray[np.int32]:
        """Return what neurons start..stop offer to each half-input: u times its sign, [neurons, columns].

        Args:
            start: first neuron.
            stop: one behind the last.
            columns: which half-inputs; for some of them only their weights are made.
        """
        halves, dimension, neurons = self.halves, self.halves.dimension, self.group * self.width
        rows = np.arange(neurons + start, neurons + stop, dtype=np.int64)
        chosen, signs = halves.inputs[columns], halves.signs[columns]
        constant = np.flatnonzero(chosen == dimension)
        offers = np.empty((stop - start, len(chosen)), dtype=np.int32)
        if len(chosen) == len(halves):
            own = slice(int(rows[0]) * dimension, (int(rows[-1]) + 1) * dimension)
            u = self.source.integers(self.first, own).reshape(-1, dimension)
            if halves.signed:
                offers[:, 0 : 2 * dimension : 2] = u
                np.negative(u, out=offers[:, 1 : 2 * dimension : 2])
            else:
                offers[:, :dimension] = u
        else:
            weighted = np.flatnonzero(chosen < dimension)
            drawn = self.source.integers(self.first, rows[:, None] * dimension + chosen[weighted])
            offers[:, weighted] = drawn * signs[weighted].astype(np.int32)
        if constant.size:
            assert self.biases is not None
            offers[:, constant[0]] = self.source.integers(self.biases[0], rows)
        return offers


@final
@dataclass(frozen=True)
class LayerPair(AbstractPair):
    """One pair of layers of an MLP that becomes one layer of the target."""

    source: Source
    layer: int  # layer of the target; the pair is 2 * layer and 2 * layer + 1
    halves: HalfInputs

    @property
    def mlp(self) -> MLP:
        """The source's architecture."""
        assert isinstance(self.source.architecture, MLP)
        return self.source.architecture

    @property
    def first(self) -> str:
        """Name of the first layer's matrix."""
        return MLP.weight_name(2 * self.layer)

    @property
    def second(self) -> str:
        """Name of the second layer's matrix."""
        return MLP.weight_name(2 * self.layer + 1)

    @property
    def biases(self) -> tuple[str, str] | None:
        """Names of the biases of both layers, if they have any."""
        return (MLP.bias_name(2 * self.layer), MLP.bias_name(2 * self.layer + 1)) if self.mlp.bias else None

    @property
    def width(self) -> int:
        """Hidden neurons of the pair."""
        return self.mlp.sizes[2 * self.layer + 1]

    @property
    def outputs(self) -> int:
        """Outputs of the pair."""
        return self.mlp.sizes[2 * self.layer + 2]


@dataclass(frozen=True)
class Pool:
    """Which hidden neurons are candidates for which half-input.

    Args:
        neurons: [columns, n]; 0 where a place is empty.
        u: signed incoming weight as an integer on the source's grid, [columns, n]; 0 where a place is empty.
    """

    neurons: NDArray[np.int64]
    u: NDArray[np.int64]

    @property
    def fewest(self) -> int:
        """Candidates of the worst-served half-input."""
        return int((self.u != 0).sum(axis=1).min()) if self.u.size else 0


def assign_fixed(pair: AbstractPair, items: int) -> Pool:
    """Reserve `items` consecutive neurons for each half-input; those with the wrong sign are dead (Pensia's blocks)."""
    columns = len(pair.halves)
    neurons = np.arange(columns * items, dtype=np.int64).reshape(columns, items)
    rows = pair.group * pair.width + neurons
    dimension = pair.halves.dimension
    weighted = pair.halves.inputs < dimension
    u = np.zeros((columns, items), dtype=np.int64)
    flat = rows[weighted] * dimension + pair.halves.inputs[weighted, None]
    u[weighted] = pair.source.integers(pair.first, flat)
    if not weighted.all():
        assert pair.biases is not None
        u[~weighted] = pair.source.integers(pair.biases[0], rows[~weighted])
    alive = u * pair.halves.signs[:, None] > 0
    return Pool(np.where(alive, neurons, 0), np.where(alive, u, 0))


def spare_neurons(items: int) -> int:
    """Neurons added to columns * items so that the column-aware assignment fills every place, but for rare misses.

    With one open column a neuron qualifies with probability 1/4: filling n places takes 4 n neurons on average, with
    variance 12 n. More columns only make qualifying likelier. (One column of one item stays empty once in 1,000 draws,
    of 16 items once in 20,000; `LayerReport.fewest_items` tells.)
    """
    return 3 * items + 5 * int(np.ceil(np.sqrt(12 * items)))


def assign_column_aware(pair: AbstractPair, items: int, window: int | None = None) -> Pool:
    """Give each neuron to the half-input for which its incoming weight is largest, until each half-input has enough.

    Which neuron serves which input is free, because the mask decides it. The neurons are read once, in order; the
    choice depends on the first layer alone, so the second layer's weights stay independent and uniform given it.

    Args:
        pair: the source layers.
        items: neurons per half-input.
        window: half-inputs that compete for a neuron; None for all. With a window, each run of so many half-inputs has
            neurons of its own (see `windows`), and no other weights of these are ever made.
    """
    parts = [_assign_window(pair, items, *part) for part in windows(len(pair.halves), items, pair.width, window)]
    return Pool(np.concatenate([part.neurons for part in parts]), np.concatenate([part.u for part in parts]))


def windows(columns: int, items: int, width: int, window: int | None) -> list[tuple[slice, slice]]:
    """Return the runs of half-inputs that share neurons, each with its run of neurons; without a window all of both."""
    if window is None or window >= columns:
        return [(slice(0, columns), slice(0, width))]
    found, neuron = [], 0
    for start in range(0, columns, window):
        here = slice(start, min(start + window, columns))
        count = (here.stop - start) * items + spare_neurons(items)
        found.append((here, slice(neuron, neuron + count)))
        neuron += count
    return found


def neurons_needed(columns: int, items: int, window: int | None) -> int:
    """Return how many hidden neurons the column-aware assignment asks for."""
    whole = columns * items + spare_neurons(items)
    return int(windows(columns, items, whole, window)[-1][1].stop)


def _assign_window(pair: AbstractPair, items: int, which: slice, own: slice) -> Pool:
    """Assign the neurons `own` to the half-inputs `which`."""
    columns = which.stop - which.start
    neurons = np.zeros((columns, items), dtype=np.int64)
    u = np.zeros((columns, items), dtype=np.int64)
    count = np.zeros(columns, dtype=np.int64)
    closed = np.iinfo(np.int32).min
    weakest = int(WEAKEST * 2.0 ** -pair.source.grid_exponent(pair.first))
    is_open = np.ones(columns, dtype=bool)
    signs = pair.halves.signs[which]
    block = max(1, min(4096, (BLOCK_BYTES // 4) // max(1, columns)))
    for start in range(own.start, own.stop, block):
        if not is_open.any():
            break
        offers = pair.incoming(start, min(start + block, own.stop), which)
        offers[:, ~is_open] = closed
        best = offers.argmax(axis=1)
        for row in range(len(offers)):
            column = int(best[row])
            if not is_open[column]:
                column = int(offers[row].argmax())
            offer = int(offers[row, column])
            if offer < weakest:
                continue
            place = int(count[column])
            neurons[column, place] = start + row
            u[column, place] = offer * int(signs[column])
            count[column] = place + 1
            if place + 1 == items:
                is_open[column] = False
                offers[row + 1 :, column] = closed
    return Pool(neurons, u)


@dataclass(frozen=True)
class PrunedPair:
    """The kept entries of one layer pair, and how well each weight is met.

    Args:
        mask: of the pair's parameters.
        errors: target - sum for each problem, integers on the product grid, [outputs * elements, columns].
        seconds: wall-clock time by stage.
    """

    mask: Mask
    errors: NDArray[np.int64]
    seconds: dict[str, float]


def prune_pair(
    pair: AbstractPair,
    pool: Pool,
    targets: NDArray[np.int64],  # [outputs * elements, columns], integers on the product grid
    tolerance: int,
    choose: Choice,
    progress: Callable[[int], None] | None = None,
) -> PrunedPair:
    """Choose a subset of the candidates for every weight and gather the mask, in blocks of rows.

    Args:
        pair: the source layers.
        pool: candidates of each half-input.
        targets: wanted weight of each output and basis element for each half-input.
        tolerance: largest |error| that ends the search of a problem; only pools of several groups look further.
        choose: the subset-sum solver.
        progress: called with the number of problems done so far.
    """
    rows = rows_at_once(8 * len(pair.halves) * min(pool.u.shape[1], TOGETHER))

    def solve(
        v: NDArray[np.int32], here: slice, seconds: dict[str, float]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:  # fmt: skip
        return prune_rows(v, pool, targets[here], tolerance, choose, seconds)

    return prune_in_blocks(pair, pool, rows, solve, progress)


def rows_at_once(bytes_each: int) -> int:
    """Return how many rows of a pair are solved together: a multiple of 8, and candidates that fit."""
    return max(8, BLOCK_BYTES // max(1, bytes_each) // 8 * 8)


@contextmanager
def stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall-clock time of a stage to what it took before."""
    clock = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - clock


def prune_in_blocks(
    pair: AbstractPair, pool: Pool, rows: int, solve: Rows, progress: Callable[[int], None] | None = None
) -> PrunedPair:
    """Gather the mask of a pair and the errors of its weights, some rows at a time.

    Args:
        pair: the source layers; of a pair that is one of several groups, the mask is of that group's rows alone.
        pool: candidates of each half-input.
        rows: rows at a time, a multiple of 8.
        solve: what chooses for some rows.
        progress: called with the number of problems done so far.
    """
    columns, width, outputs, elements = len(pair.halves), pair.width, pair.outputs, pair.elements
    each = width * elements  # weights of one output
    used = np.zeros(width, dtype=bool)
    errors = np.empty((outputs * elements, columns), dtype=np.int64)
    packed: list[NDArray[np.uint8]] = []
    seconds = {"source": 0.0, "solve": 0.0, "mask": 0.0}
    together = max(8, rows // elements // 8 * 8)  # outputs: whole bytes of mask
    for start in range(0, outputs, together):
        stop = min(start + together, outputs)
        here = slice(start * elements, stop * elements)
        with stage(seconds, "source"):
            begin = (pair.group * outputs + start) * each
            v = pair.source.integers(pair.second, slice(begin, begin + (stop - start) * each))
            v = v.reshape(-1, width, elements).swapaxes(1, 2).reshape(-1, width)
        kept, errors[here] = solve(v, here, seconds)
        with stage(seconds, "mask"):
            used |= kept.any(axis=0)
            stored = kept.reshape(-1, elements, width).swapaxes(1, 2).reshape(-1)
            packed.append(np.packbits(stored, bitorder="little"))
        if progress is not None:
            progress(here.stop * columns)
    shape = (outputs, width, elements) if len(pair.source.shapes[pair.second]) == 3 else (outputs, width)
    mask = Mask.merge(
        _incoming_mask(pair, pool, used), Mask.from_packed({pair.second: shape}, {pair.second: _join(packed)})
    )
    if pair.biases is not None:
        mask = Mask.merge(mask, Mask.from_indices({pair.biases[1]: (outputs,)}, {}))
    return PrunedPair(mask, errors, seconds)


def prune_rows(
    v: NDArray[np.int32],  # [rows, width]
    pool: Pool,
    targets: NDArray[np.int64],  # [rows, columns]
    tolerance: int,
    choose: Choice,
    seconds: dict[str, float],
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Solve some rows, one group of candidates after the other; a problem met within the tolerance looks no further."""
    columns, items = pool.u.shape
    wanted = targets.reshape(-1)
    size = items if items <= TOGETHER else _group_size(tolerance)
    open_problems = np.arange(wanted.size)
    error = wanted.copy()  # of the empty subset, to begin with
    chosen = np.zeros(wanted.size, dtype=np.int64)
    group = np.zeros(wanted.size, dtype=np.int64)
    for start in range(0, items, max(1, size)):
        with stage(seconds, "source"):
            neurons, u = pool.neurons[:, start : start + size], pool.u[:, start : start + size]
            if start == 0:
                candidates = (v[:, neurons.reshape(-1)] * u.reshape(1, -1)).reshape(-1, neurons.shape[1])
            else:
                row, column = np.divmod(open_problems, columns)
                candidates = v[row[:, None], neurons[column]] * u[column]
        with stage(seconds, "solve"):
            bits, found = choose(candidates, wanted[open_problems])
            better = np.abs(found) < np.abs(error[open_problems])
            at = open_problems[better]
            chosen[at], error[at], group[at] = bits[better], found[better], start
            open_problems = open_problems[np.abs(error[open_problems]) > tolerance]
        if not open_problems.size:
            break
    with stage(seconds, "mask"):
        kept = np.zeros(v.shape, dtype=bool)
        for start in np.unique(group):
            neurons = pool.neurons[:, start : start + size]
            of_group = np.where(group == start, chosen, 0).astype("<i8").view(np.uint8).reshape(-1, 8)
            picked = np.unpackbits(of_group, axis=1, count=neurons.shape[1], bitorder="little").reshape(len(v), -1)
            alive = pool.u[:, start : start + size].reshape(-1) != 0
            kept[:, neurons.reshape(-1)[alive]] |= picked[:, alive].view(np.bool_)
    return kept, error.reshape(targets.shape)


def _group_size(tolerance: int) -> int:
    """Candidates per group: enough that a reachable target is met in one group but for rare misses."""
    bits = 46 - max(1, tolerance).bit_length()  # of a target of size 1
    return min(TOGETHER, max(GROUP, bits + 8))


def _incoming_mask(pair: AbstractPair, pool: Pool, used: NDArray[np.bool_]) -> Mask:
    """Keep the one incoming weight of every neuron that some output uses."""
    dimension = pair.halves.dimension
    serving = (pool.u != 0) & used[pool.neurons]
    inputs = np.broadcast_to(pair.halves.inputs[:, None], pool.u.shape)
    weighted = serving & (inputs < dimension)
    shape = (pair.width, *pair.source.shapes[pair.first][1:])
    shapes: dict[str, tuple[int, ...]] = {pair.first: shape}
    indices = {pair.first: pool.neurons[weighted] * dimension + inputs[weighted]}
    if pair.biases is not None:
        shapes[pair.biases[0]] = (pair.width,)
        indices[pair.biases[0]] = pool.neurons[serving & (inputs == dimension)]
    return Mask.from_indices(shapes, indices)


def _join(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)
