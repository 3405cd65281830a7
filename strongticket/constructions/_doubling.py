"""Whole matrices from random signs: a deep +-1 network, pruned, doubles its inputs and adds up binary digits.

On inputs x >= 0 a matrix W = sum_b 2^b (P_b - N_b), P_b and N_b of zeros and ones, is computed exactly: layer after
layer the states 2^t x_i and the partial sums A_j = sum_{b < t} 2^b (P_b x)_j (and those of N) are carried in R copies
each. A copy of 2^(t+1) x_i keeps two edges +1 from different copies of 2^t x_i; a copy of the next A_j keeps one edge
+1 from the A_j before and one from 2^t x_i for each i with that bit set. All states are nonnegative, so ReLU does
nothing, until an output takes one edge +1 from A_j and one edge -1 from its counterpart. Only signs are chosen, never
magnitudes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from strongticket.models import MLP
from strongticket.ticket import Mask, Source

__all__ = ["Built", "DoublingPlan", "build", "counts_of", "wide_layers"]

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

_AT_ONCE = 1 << 22  # signs looked at together


@final
@dataclass(frozen=True)
class DoublingPlan:
    """Where everything stands in the network of doublings.

    Args:
        matrices: wanted integers of each target layer, [outputs, channels]; channels are nonnegative numbers.
        copies: R, of every state and of every hidden output.
        pool: neurons of the first source layer.
    """

    matrices: tuple[Integers, ...]
    copies: int
    pool: int

    @property
    def bits(self) -> tuple[int, ...]:
        """Binary digits of each layer's largest magnitude, at least 1."""
        return tuple(max(1, int(np.abs(m).max(initial=0)).bit_length()) for m in self.matrices)

    def widths(self) -> tuple[int, ...]:
        """Neurons of every source layer behind the inputs."""
        widths = [self.pool]
        for index, (matrix, bits) in enumerate(zip(self.matrices, self.bits, strict=True)):
            outputs, channels = matrix.shape
            widths += [self.copies * (channels + 2 * outputs)] * (bits - 1) + [self.copies * 2 * outputs]
            widths.append(outputs * (1 if index == len(self.matrices) - 1 else self.copies))
        return tuple(widths)

    @property
    def ends(self) -> tuple[int, ...]:
        """Number of source layers up to the outputs of each target layer."""
        return tuple(1 + int(end) for end in np.cumsum([bits + 1 for bits in self.bits]))


def counts_of(matrices: Sequence[Integers]) -> tuple[int, int]:
    """Return (numbers doubled, numbers taken over) in the network of these matrices: what its failures are counted by.

    >>> counts_of([np.array([[3, -1], [0, 2]])])
    (2, 12)
    """
    doublings = picks = 0
    for matrix in matrices:
        outputs, channels = matrix.shape
        magnitude = np.abs(matrix)
        bits = max(1, int(magnitude.max(initial=0)).bit_length())
        doublings += (bits - 1) * channels
        picks += sum(int(np.count_nonzero(magnitude >> b & 1)) for b in range(bits)) + 2 * bits * outputs
    return doublings, picks


def wide_layers(layers: Sequence[tuple[Integers, Integers | None]], bits: int, *, signed: bool) -> tuple[Integers, ...]:
    """Return matrices over nonnegative channels: halves of signed inputs, and a constant behind them for biases.

    The constant is 1 at first and carried along times 2^bits for each layer, as everything else is.

    Args:
        layers: integer weights and biases of each layer, in units of 2^-bits.
        bits: see layers.
        signed: inputs of the network can be negative; then channels 2i and 2i + 1 are max(x_i, 0) and max(-x_i, 0).
    """
    wide = []
    for index, (weight, bias) in enumerate(layers):
        matrix = weight
        if signed and index == 0:
            matrix = np.stack([weight, -weight], axis=2).reshape(len(weight), -1)
        if bias is not None:
            matrix = np.column_stack([matrix, bias])
            if index < len(layers) - 1:
                constant = np.zeros((1, matrix.shape[1]), dtype=np.int64)
                constant[0, -1] = 1 << bits
                matrix = np.concatenate([matrix, constant])
        wide.append(matrix)
    return tuple(wide)


@final
@dataclass(frozen=True)
class State:
    """Which neurons of a layer carry which numbers.

    Args:
        neurons: those of each number, [numbers, copies].
        alive: which of them are complete, [numbers, copies].
    """

    neurons: Integers
    alive: Bools


@final
@dataclass(frozen=True)
class Built:
    """What became of a plan.

    Args:
        edges: kept edges of each source layer behind the first, as flat indices.
        used: neurons of the first layer that something depends on.
        effective: matrix of each target layer as built: the wanted one, but for rows that no copy completed.
        fewest: complete copies of the number with the fewest.
    """

    edges: tuple[Integers, ...]
    used: Integers
    effective: tuple[Integers, ...]
    fewest: int

    def mask(self, source: Source) -> Mask:
        """Return the mask of the layers behind the first."""
        shapes = {name: shape for name, shape in source.shapes.items() if name not in _first_names()}
        kept = {MLP.weight_name(layer): index for layer, index in enumerate(self.edges, start=1)}
        return Mask.from_indices(shapes, kept)


def _first_names() -> tuple[str, str]:
    return MLP.weight_name(0), MLP.bias_name(0)


@final
@dataclass(frozen=True)
class _Picks:
    """New neurons of one layer, and the edges that each of them wants to keep.

    Args:
        found: whether a new neuron finds all its edges, [requests, new neurons].
        columns: the old neurons at their other ends, [requests, new neurons, edges].
    """

    found: Bools
    columns: Integers


def _pick(
    source: Source,
    layer: int,
    rows: Integers,  # [requests, new neurons]
    old: State,
    numbers: Integers,  # [requests]
    *,
    count: int = 1,
    sign: int = 1,
) -> _Picks:
    """Find for each new neuron the first `count` complete copies of a number to which it has an edge of this sign."""
    name = MLP.weight_name(layer)
    inputs, copies = source.shapes[name][1], old.alive.shape[1]
    found = np.zeros(rows.shape, dtype=bool)
    columns = np.zeros((*rows.shape, count), dtype=np.int64)
    step = max(1, _AT_ONCE // max(1, rows.shape[1] * copies))
    for begin in range(0, len(rows), step):
        here = slice(begin, begin + step)
        there, alive = old.neurons[numbers[here]], old.alive[numbers[here]]
        signs = source.integers(name, rows[here, :, None] * inputs + there[:, None, :])
        good = (signs == sign) & alive[:, None, :]
        rank = good.cumsum(axis=2)
        found[here] = rank[:, :, -1] >= count
        for j in range(count):
            place = (good & (rank == j + 1)).argmax(axis=2)
            columns[here, :, j] = np.take_along_axis(there, place, axis=1)
    return _Picks(found, columns)


def _flat(rows: Integers, picks: _Picks, complete: Bools, inputs: int) -> Integers:
    """Flat indices of the wanted edges of complete neurons."""
    wanted = (rows[:, :, None] * inputs + picks.columns)[complete]
    return np.asarray(wanted.reshape(-1))


def _numbered(start: int, numbers: int, copies: int) -> Integers:  # [numbers, copies]
    return start + np.arange(numbers * copies, dtype=np.int64).reshape(numbers, copies)


def build(plan: DoublingPlan, source: Source, first: State) -> Built:
    """Prune the layers behind the first to the plan's matrices; nothing is redrawn, and what fails is left out.

    Args:
        plan: the wanted matrices.
        source: an MLP of random signs with the plan's widths.
        first: neurons of the first layer that carry the channels.
    """
    state, fewest = first, int(first.alive.sum(axis=1).min(initial=plan.copies))
    silent = np.zeros(len(first.alive), dtype=bool)  # channels that are 0 whatever the input is
    edges: list[Integers] = []
    effective: list[Integers] = []
    for index, (matrix, bits) in enumerate(zip(plan.matrices, plan.bits, strict=True)):
        last = index == len(plan.matrices) - 1
        block = _Block(source, 1 + len(edges), np.where(silent, 0, matrix), bits, plan.copies)
        made, state, least = block.prune(state, 1 if last else plan.copies)
        edges += made
        fewest = min(fewest, least)
        lost = ~_any(state.alive) & _any(block.matrix)
        effective.append(np.where(lost[:, None], 0, matrix))
        silent = ~_any(block.matrix)
    return Built(*_trimmed(edges, source), tuple(effective), fewest)


def _trimmed(edges: Sequence[Integers], source: Source) -> tuple[tuple[Integers, ...], Integers]:
    """Drop edges into neurons that no output depends on; and say which neurons of the first layer are left."""
    names = [MLP.weight_name(layer) for layer in range(1, len(edges) + 1)]
    needed = np.ones(source.shapes[names[-1]][0], dtype=bool)
    kept: list[Integers] = []
    for name, index in zip(reversed(names), reversed(edges), strict=True):
        inputs = source.shapes[name][1]
        alive = np.sort(index[needed[index // inputs]])
        kept.append(alive)
        needed = np.zeros(inputs, dtype=bool)
        needed[alive % inputs] = True
    return tuple(reversed(kept)), np.flatnonzero(needed)


@final
@dataclass(frozen=True)
class _Block:
    """The source layers that become one layer of the target."""

    source: Source
    layer: int  # the first of them
    matrix: Integers  # [outputs, channels]
    bits: int
    copies: int

    def prune(self, doubled: State, output_copies: int) -> tuple[list[Integers], State, int]:
        """Return the kept edges by layer, the outputs, and the fewest complete copies of a needed number."""
        outputs, channels = self.matrix.shape
        parts = {sign: np.maximum(sign * self.matrix, 0) for sign in (1, -1)}
        sums = {sign: State(*_nothing(outputs, self.copies)) for sign in parts}
        started = {sign: np.zeros(outputs, dtype=bool) for sign in parts}
        layers: list[Integers] = []
        fewest = self.copies
        for bit in range(self.bits):
            layer, start = self.layer + bit, 0
            pieces: list[Integers] = []
            higher = _any((np.abs(self.matrix) >> (bit + 1)).T)
            following = doubled
            if bit < self.bits - 1:
                made, following = self._double(layer, doubled, higher)
                pieces.append(made)
                fewest = min(fewest, _fewest(following, higher))
                start = channels * self.copies
            for sign, part in parts.items():
                rows = _numbered(start, outputs, self.copies)
                digits = (part >> bit & 1).astype(bool)
                made, sums[sign] = self._add(layer, rows, doubled, sums[sign], started[sign], digits)
                pieces.append(made)
                started[sign] |= _any(digits)
                fewest = min(fewest, _fewest(sums[sign], started[sign]))
                start += outputs * self.copies
            layers.append(np.concatenate(pieces))
            doubled = following
        made, state = self._subtract(self.layer + self.bits, sums, started, output_copies)
        if output_copies > 1:
            fewest = min(fewest, _fewest(state, _any(self.matrix)))
        return [*layers, made], state, fewest

    def _double(self, layer: int, old: State, wanted: Bools) -> tuple[Integers, State]:
        """The numbers 2^(t + 1) x_i that are still wanted, each from two copies of 2^t x_i."""
        numbers = np.flatnonzero(wanted)
        rows = _numbered(0, len(wanted), self.copies)
        picks = _pick(self.source, layer, rows[numbers], old, numbers, count=2)
        alive = np.zeros(rows.shape, dtype=bool)
        alive[numbers] = picks.found
        return _flat(rows[numbers], picks, picks.found, self._inputs(layer)), State(rows, alive)

    def _add(
        self, layer: int, rows: Integers, doubled: State, before: State, started: Bools, digits: Bools
    ) -> tuple[Integers, State]:
        """The partial sums with one digit more; a sum that has no digit yet is 0 and needs no neuron."""
        carried, (output, channel) = np.flatnonzero(started), np.nonzero(digits)
        carry = _pick(self.source, layer, rows[carried], before, carried)
        take = _pick(self.source, layer, rows[output], doubled, channel)
        complete = np.repeat((started | _any(digits))[:, None], self.copies, axis=1)
        complete[carried] &= carry.found
        np.logical_and.at(complete, output, take.found)
        inputs = self._inputs(layer)
        pieces = [
            _flat(rows[carried], carry, complete[carried], inputs),
            _flat(rows[output], take, complete[output], inputs),
        ]
        return np.concatenate(pieces), State(rows, complete)

    def _subtract(
        self, layer: int, sums: dict[int, State], started: dict[int, Bools], copies: int
    ) -> tuple[Integers, State]:
        """The outputs: one edge +1 from the sum of positive digits, one edge -1 from that of negative ones."""
        rows = _numbered(0, len(self.matrix), copies)
        complete = np.repeat((started[1] | started[-1])[:, None], copies, axis=1)
        wanted = {sign: np.flatnonzero(begun) for sign, begun in started.items()}
        picks = {
            sign: _pick(self.source, layer, rows[numbers], sums[sign], numbers, sign=sign)
            for sign, numbers in wanted.items()
        }
        for sign, numbers in wanted.items():
            complete[numbers] &= picks[sign].found
        inputs = self._inputs(layer)
        pieces = [_flat(rows[n], picks[s], complete[n], inputs) for s, n in wanted.items()]
        return np.concatenate(pieces), State(rows, complete)

    def _inputs(self, layer: int) -> int:
        return self.source.shapes[MLP.weight_name(layer)][1]


def _nothing(numbers: int, copies: int) -> tuple[Integers, Bools]:
    return np.zeros((numbers, copies), dtype=np.int64), np.zeros((numbers, copies), dtype=bool)


def _fewest(state: State, wanted: Bools) -> int:
    return int(state.alive[wanted].sum(axis=1).min(initial=state.alive.shape[1]))


def _any(values: NDArray[Any]) -> Bools:  # [rows, ...] -> [rows]
    return np.asarray((values != 0).any(axis=1))
