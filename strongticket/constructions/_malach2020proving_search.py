"""Where the candidates of each weight are in Malach's construction, and the one pass that chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket.constructions._construction import Plan
from strongticket.constructions._gadget import HalfInputs
from strongticket.models import MLP
from strongticket.ticket import Mask

__all__ = ["UNIT", "Block", "Choose", "Chunk", "Search", "count_blocks"]

CHUNK = 1 << 16  # candidates of one output held at a time
GATHERED = 1 << 20  # candidates of many outputs held at a time, where few problems are left
SPARSE = 0.1  # share of open problems below which their weights are drawn one by one, which costs more for each
FAR = np.iinfo(np.int64).max
UNIT = 1 << 23  # 1 on the grid of the weights

Choose = Literal["nearest", "first", "nearest-pair"]


def count_blocks(halves: HalfInputs) -> int:
    """Return the number of blocks of neurons: one for each input, and one for the constant behind the bias."""
    return halves.dimension + halves.bias


@final
@dataclass(frozen=True)
class Chunk:
    """Some neurons of every block: numbers start..stop-1 in each, with what they offer."""

    start: int
    stop: int


@final
@dataclass(frozen=True)
class Block:
    """Where the candidates of each problem are in one pair of source layers.

    Neuron k of the block of input b has the number k * blocks + b, so that the same stretch of all blocks is read in
    one go; with blocks of its own for each output, output r has all of that again from r * blocks * items on.
    """

    plan: Plan
    layer: int
    halves: HalfInputs
    own: bool

    @property
    def blocks(self) -> int:
        """Blocks of neurons for each output that has its own, or in all."""
        return count_blocks(self.halves)

    @property
    def items(self) -> int:
        """Neurons in each block."""
        return self.plan.items[self.layer]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Inputs, hidden neurons, outputs of the pair."""
        mlp = self.plan.source.architecture
        assert isinstance(mlp, MLP)
        d_in, width, d_out = mlp.sizes[2 * self.layer : 2 * self.layer + 3]
        return d_in, width, d_out

    def first(self, row: int) -> int:
        """Number of the first neuron that serves this output."""
        return row * self.blocks * self.items if self.own else 0

    def incoming(self, row: int, chunk: Chunk) -> NDArray[np.int64]:
        """Return u of the chunk's neurons for each half-input, 0 where the sign is the other half's: [k, columns]."""
        neurons = self.first(row) + np.arange(chunk.start * self.blocks, chunk.stop * self.blocks, dtype=np.int64)
        u = self._incoming(neurons.reshape(-1, self.blocks), np.arange(self.blocks)).astype(np.int64)
        u = u[:, self.halves.inputs] if self.halves.signed else u
        return np.where(u * self.halves.signs > 0, u, 0)

    def outgoing(self, row: int, chunk: Chunk) -> NDArray[np.int32]:
        """Return v of the chunk's neurons for one output, [k, columns]."""
        begin = row * self.sizes[1] + self.first(row)
        stretch = slice(begin + chunk.start * self.blocks, begin + chunk.stop * self.blocks)
        v = self.plan.source.integers(MLP.weight_name(2 * self.layer + 1), stretch).reshape(-1, self.blocks)
        return v[:, self.halves.inputs] if self.halves.signed else v

    def neurons(self, rows: NDArray[np.int64], columns: NDArray[np.int64], k: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of neurons k of the blocks of these problems."""
        own = rows * (self.blocks * self.items) if self.own else 0
        return own + k * self.blocks + self.halves.inputs[columns]

    def incoming_at(self, columns: NDArray[np.int64], neurons: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return u of some neurons for the half-inputs of these problems, 0 where the sign is the other half's."""
        u = self._incoming(neurons, self.halves.inputs[columns]).astype(np.int64)
        return np.where(u * self.halves.signs[columns] > 0, u, 0)

    def outgoing_at(self, rows: NDArray[np.int64], neurons: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return v of some neurons for these outputs."""
        return self.plan.source.integers(MLP.weight_name(2 * self.layer + 1), rows * self.sizes[1] + neurons)

    def mask(self, neurons: NDArray[np.int64]) -> Mask:
        """Return the pair's mask: the chosen neuron of each problem, [outputs, columns], or -1 for none."""
        d_in, width, d_out = self.sizes
        rows, columns = np.nonzero(neurons >= 0)
        chosen = neurons[rows, columns]
        used, place = np.unique(chosen, return_index=True)
        inputs = self.halves.inputs[columns][place]
        names = [MLP.weight_name(2 * self.layer), MLP.weight_name(2 * self.layer + 1)]
        shapes: dict[str, tuple[int, ...]] = {names[0]: (width, d_in), names[1]: (d_out, width)}
        weighted = inputs < d_in
        indices = {names[0]: used[weighted] * d_in + inputs[weighted], names[1]: rows * width + chosen}
        if self.halves.bias:
            biases = [MLP.bias_name(2 * self.layer), MLP.bias_name(2 * self.layer + 1)]
            shapes |= {biases[0]: (width,), biases[1]: (d_out,)}
            indices[biases[0]] = used[~weighted]
        return Mask.from_indices(shapes, indices)

    def _incoming(self, neurons: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the one incoming weight that each of these neurons keeps for its block, or its bias."""
        source, d_in = self.plan.source, self.sizes[0]
        inputs = np.broadcast_to(inputs, neurons.shape)
        u = np.empty(neurons.shape, dtype=np.int32)
        weighted = inputs < d_in
        u[weighted] = source.integers(MLP.weight_name(2 * self.layer), neurons[weighted] * d_in + inputs[weighted])
        if not weighted.all():
            u[~weighted] = source.integers(MLP.bias_name(2 * self.layer), neurons[~weighted])
        return u


@final
class Search:
    """One pass over all candidates of one pair of layers, keeping the best of each problem so far."""

    def __init__(self, block: Block, targets: NDArray[np.int64], tolerance: int, choose: Choose) -> None:
        self.block, self.targets, self.tolerance, self.choose = block, targets, tolerance, choose
        self.best = np.full(targets.shape, FAR)  # distance of the best candidate
        self.k = np.full(targets.shape, -1)  # its number in its block
        # what the empty subset serves keeps nothing; the nearest product is looked for all the same
        self.open = np.ones(targets.shape, bool) if choose == "nearest" else np.abs(targets) > tolerance
        self.usable = np.zeros((targets.shape[0] if block.own else 1, targets.shape[1]), dtype=np.int64)
        self.weakest = UNIT

    def run(self, report: Callable[[int], None]) -> None:
        """Look at all candidates, or until no problem is open; `report` is told about how many problems are done."""
        start, items = 0, self.block.items
        while start < items and self.open.any():
            left = int(self.open.sum())
            few = left < SPARSE * self.open.size
            # few problems are looked at without their neighbours; more than one per block share what is read of u
            alone = few and (self.block.own or left < self.block.blocks)
            step = GATHERED // left if alone else CHUNK // self.open.shape[1]
            chunk = Chunk(start, min(start + max(1, step), items))
            if few:
                self._look_at_few(chunk, None if alone else self._shared(0, chunk))
            else:
                self._look_at_all(chunk)
            start = chunk.stop
            report(int((~self.open).sum()) if self.choose == "first" else self.open.size * start // items)

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the chosen neuron of each problem (-1: none) and its error, target - product, [outputs, columns]."""
        neurons, errors = np.full(self.targets.shape, -1), self.targets.copy()
        rows, columns = np.nonzero(self.k >= 0)
        chosen = self.block.neurons(rows, columns, self.k[rows, columns])
        u, v = self.block.incoming_at(columns, chosen), self.block.outgoing_at(rows, chosen)
        found = self.targets[rows, columns] - u * v
        better = np.abs(found) < np.abs(errors[rows, columns])
        neurons[rows[better], columns[better]] = chosen[better]
        errors[rows[better], columns[better]] = found[better]
        return neurons, errors

    def _shared(self, row: int, chunk: Chunk) -> NDArray[np.int64]:
        """Read u of all blocks that serve a row, and count what is usable."""
        u = self.block.incoming(row, chunk)
        self.usable[row if self.block.own else 0] += (u != 0).sum(axis=0)
        self.weakest = min(self.weakest, int(np.abs(u[u != 0]).min(initial=UNIT)))
        return u

    def _look_at_all(self, chunk: Chunk) -> None:
        columns = np.arange(self.open.shape[1])
        u = self._shared(0, chunk)
        for row in range(len(self.targets)):
            if self.block.own and row:
                u = self._shared(row, chunk)
            if self.open[row].any():
                self._update(np.full_like(columns, row), columns, chunk.start, u, self.block.outgoing(row, chunk))

    def _look_at_few(self, chunk: Chunk, shared: NDArray[np.int64] | None) -> None:
        rows, columns = np.nonzero(self.open)
        k = np.arange(chunk.start, chunk.stop)[:, None]
        step = max(1, GATHERED // len(k))
        for begin in range(0, len(rows), step):
            some, places = rows[begin : begin + step], columns[begin : begin + step]
            neurons = self.block.neurons(some, places, k)
            u = self.block.incoming_at(places, neurons) if shared is None else shared[:, places]
            self._update(some, places, chunk.start, u, self.block.outgoing_at(some, neurons))

    def _update(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        start: int,
        u: NDArray[np.int64],  # [k, problems]
        v: NDArray[np.integer],  # [k, problems]
    ) -> None:
        distance = self._distance(u, v, self.targets[rows, columns])
        if self.choose == "first":
            hit = distance <= self.tolerance
            found = np.flatnonzero(hit.any(axis=0) & self.open[rows, columns])
            self.k[rows[found], columns[found]] = start + hit[:, found].argmax(axis=0)
            self.open[rows[found], columns[found]] = False
            return
        least = distance.min(axis=0)
        found = np.flatnonzero((least < self.best[rows, columns]) & self.open[rows, columns])
        self.best[rows[found], columns[found]] = least[found]
        self.k[rows[found], columns[found]] = start + distance[:, found].argmin(axis=0)

    def _distance(self, u: NDArray[np.int64], v: NDArray[np.integer], targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how far candidates are: |target - u v|, or the larger of ||u| - |w|| and |1 - v| for the pair."""
        if self.choose != "nearest-pair":
            distance = u * v
            distance -= targets
            return np.abs(distance, out=distance)
        incoming = np.abs((np.abs(u) << 23) - np.abs(targets))
        outgoing = (UNIT - v.astype(np.int64) * np.sign(targets) * np.sign(u)) << 23
        return np.where(u == 0, FAR, np.maximum(incoming, outgoing))
