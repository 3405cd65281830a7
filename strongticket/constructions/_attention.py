"""Pairs of random matrices in a network of attention: what each becomes, its candidates, and its mask.

A head's logits see Q and K only through K'Q, its outputs see V and O only through O V. No ReLU stands between the two,
so a unit (a row of Q or V) that keeps one weight u, of input i, offers u v to every output for inputs of either sign:
both signs of u are usable (Otsuka et al. 2025, Lemma 4). Feed-forward layers and the head are gadgets with ReLU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket.constructions._construction import LayerReport
from strongticket.constructions._gadget import TOGETHER, WEAKEST, Choice, HalfInputs, Pool, prune_rows, rows_at_once
from strongticket.constructions._grid import PRODUCTS
from strongticket.models import Attention, AttentionTarget, Layer
from strongticket.ticket import Mask, Source

__all__ = ["Kept", "Product", "products", "prune", "widened"]

Assignment = Literal["column-aware", "fixed"]
Integers = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False)
class Product:
    """Name two matrices of the source whose product, pruned, is one matrix of the target.

    Args:
        place: what it is, in words.
        first: parameter of which each unit is a row.
        second: parameter of which each unit is a column, or a row where `transposed`.
        head: which head's units are meant, of `heads`; 0 of 1 where they are all.
        wanted: the target's matrix [outputs, inputs] in float64.
        halves: what units can serve; signs are 0 where no ReLU stands between the two.
    """

    place: str
    first: str
    second: str
    head: int
    heads: int
    transposed: bool
    wanted: NDArray[np.float64]
    halves: HalfInputs

    @property
    def linear(self) -> bool:
        """Whether no ReLU stands between the two."""
        return not self.halves.signs.any()

    def units(self, source: Source) -> slice:
        """Return which rows of the first matrix are meant."""
        width = source.shapes[self.first][0] // self.heads
        return slice(self.head * width, (self.head + 1) * width)

    def incoming(self, source: Source) -> NDArray[np.int32]:  # [units, inputs]
        """Return the first matrix in whole units of its grid."""
        rows, dimension = self.units(source), self.halves.dimension
        flat = slice(rows.start * dimension, rows.stop * dimension)
        return source.integers(self.first, flat).reshape(-1, dimension)

    def outgoing(self, source: Source) -> NDArray[np.int32]:  # [outputs, units]
        """Return the second matrix in whole units of its grid."""
        rows, outputs = self.units(source), len(self.wanted)
        if self.transposed:
            flat = slice(rows.start * outputs, rows.stop * outputs)
            return np.ascontiguousarray(source.integers(self.second, flat).reshape(-1, outputs).T)
        if self.heads == 1:
            return source.integers(self.second)
        index = np.arange(outputs)[:, None] * source.shapes[self.second][1] + np.arange(rows.start, rows.stop)
        return source.integers(self.second, index)


def products(target: AttentionTarget) -> list[Product]:
    """Return the products of matrices that a target needs, in the order in which they act."""
    own = target.architecture

    def rectified(place: str, name: Callable[[int], str], layers: list[NDArray[np.float64]]) -> Iterator[Product]:
        for i, matrix in enumerate(layers):
            halves = HalfInputs.of(matrix.shape[1], signed=i == 0, bias=False)
            yield Product(f"{place} {i}", name(2 * i), name(2 * i + 1), 0, 1, False, matrix, halves)

    found: list[Product] = []
    for b, heads in enumerate(target.heads):
        query, key, value, out = (own.name(b, part) for part in ("query", "key", "value", "out"))
        for h, head in enumerate(heads):
            place = f"block {b} head {h}"
            found += [
                Product(f"{place} logits", query, key, h, own.heads, True, head.logits, _both(own.dim)),
                Product(f"{place} values", value, out, h, own.heads, False, head.values, _both(own.dim)),
            ]
        if own.hidden:
            names = [own.name(b, f"feed.{i}") for i in range(2 * len(own.hidden) + 2)]
            layers = [target.exact[name] for name in names[: len(own.hidden) + 1]]
            found += rectified(f"block {b} feed", lambda i, names=names: names[i], layers)  # type: ignore[misc]
    layers = [target.exact[f"head.{i}.weight"] for i in range(len(own.head) + 1)]
    found += rectified("head", lambda i: f"head.{i}.weight", layers)
    return found


def _both(dimension: int) -> HalfInputs:
    """Inputs of either sign, which one unit serves alike."""
    inputs = np.arange(dimension, dtype=np.int64)
    return HalfInputs(inputs, np.zeros_like(inputs), dimension, False, False)


def assign(product: Product, first: NDArray[np.int32], items: int, assignment: Assignment) -> Pool:
    """Give each input (or half of it) its candidates among the units of the first matrix.

    Args:
        product: what is made.
        first: its first matrix, [units, inputs].
        items: candidates per input.
        assignment: "fixed" reserves consecutive units; "column-aware" gives each unit to the input where its weight is
            largest, until each input has enough. Both look at the first matrix alone.
    """
    halves = product.halves
    if assignment == "fixed":
        neurons = np.arange(len(halves) * items, dtype=np.int64).reshape(-1, items)
        u = first[neurons, halves.inputs[:, None]].astype(np.int64)
        alive = (u != 0) & (u * halves.signs[:, None] >= 0)
        return Pool(np.where(alive, neurons, 0), np.where(alive, u, 0))
    u = first[:, halves.inputs].astype(np.int64)
    offers = np.abs(u) if product.linear else u * halves.signs
    neurons = np.zeros((len(halves), items), dtype=np.int64)
    chosen = np.zeros((len(halves), items), dtype=np.int64)
    count = np.zeros(len(halves), dtype=np.int64)
    weakest = int(WEAKEST * 2.0**23)
    for unit, row in enumerate(offers):
        best = int(np.where(count < items, row, -1).argmax())
        if count[best] < items and row[best] >= weakest:
            neurons[best, count[best]], chosen[best, count[best]] = unit, u[unit, best]
            count[best] += 1
            if count.min() == items:
                break
    return Pool(neurons, chosen)


@final
class Kept:
    """The mask of a source, gathered product by product."""

    def __init__(self, source: Source) -> None:
        self._kept: dict[str, NDArray[np.bool_]] = {
            name: np.zeros(shape, dtype=np.bool_) for name, shape in source.shapes.items()
        }

    def add(self, product: Product, units: slice, pool: Pool, kept: NDArray[np.bool_]) -> int:
        """Keep what a product uses: some of its second matrix, and of the first what those units see.

        Returns:
            How many weights.
        """
        used: NDArray[np.bool_] = np.logical_or.reduce(kept, axis=0)
        column, place = np.nonzero(np.logical_and(pool.u != 0, used[pool.neurons]))
        self._kept[product.first][units.start + pool.neurons[column, place], product.halves.inputs[column]] = True
        if product.transposed:
            self._kept[product.second][units] = kept.T
        else:
            self._kept[product.second][:, units] = kept
        return int(np.count_nonzero(kept)) + len(column)

    def mask(self) -> Mask:
        """Return the mask."""
        return Mask(self._kept)


def prune(
    index: int,
    product: Product,
    source: Source,
    kept: Kept,
    *,
    items: int,
    assignment: Assignment,
    eps: float,
    choose: Choice,
) -> tuple[LayerReport, NDArray[np.void]]:
    """Choose a subset of the candidates for each entry of one matrix of the target, and keep it.

    Args:
        index: number of the product.
        product: which matrices.
        source: the random network.
        kept: what is kept is added to it.
        items: candidates per entry.
        assignment: see `assign`.
        eps: tolerance of an entry.
        choose: the subset-sum solver.

    Returns:
        How it went, and the entries out of tolerance.
    """
    clock = time.perf_counter()
    pool = assign(product, product.incoming(source), items, assignment)
    seconds = {"assign": time.perf_counter() - clock, "source": 0.0, "solve": 0.0, "mask": 0.0}
    second = product.outgoing(source)
    layer, tolerance = Layer(product.wanted, None), PRODUCTS.tolerance(eps)
    wanted = PRODUCTS.wanted(product.halves, layer)
    errors: Integers = np.empty_like(wanted)
    chosen: NDArray[np.bool_] = np.zeros(second.shape, dtype=np.bool_)
    step = rows_at_once(8 * len(product.halves) * min(items, TOGETHER))
    for start in range(0, len(wanted), step):
        here = slice(start, start + step)
        chosen[here], errors[here] = prune_rows(second[here], pool, wanted[here], tolerance, choose, seconds)
    count = kept.add(product, product.units(source), pool, chosen)
    failed = PRODUCTS.unreached(index, product.halves, layer, errors, tolerance)
    plain, alive = PRODUCTS.plain(errors), np.abs(pool.u[pool.u != 0])
    report = LayerReport(
        layer=index,
        problems=wanted.size,
        items=items,
        fewest_items=pool.fewest,
        weakest_item=float(alive.min(initial=1 << 23)) * 2.0**-23,
        width=second.shape[1],
        kept=count,
        unreached=len(failed),
        largest_error=float(PRODUCTS.upward(np.abs(errors).max(initial=0).reshape(1))[0]),
        rms_error=float(np.sqrt(np.mean(plain * plain))),
        seconds=seconds,
    )
    return report, failed


def widened(own: Attention, key: int, value: int, hidden: list[int], head: list[int]) -> Attention:
    """Return a source's architecture: each matrix of the target has become two with so many units between them."""
    return Attention(
        own.layers,
        own.dim,
        own.heads,
        key,
        value,
        _between(hidden, own.hidden) if own.hidden else (),
        _between(head, own.head),
        patch=own.patch,
        vocabulary=own.vocabulary,
        length=own.length,
        classes=own.classes,
    )


def _between(new: list[int], old: tuple[int, ...]) -> tuple[int, ...]:
    """Return new[0], old[0], new[1], ..., new[-1]."""
    found = [new[0]]
    for width, following in zip(old, new[1:], strict=True):
        found += [width, following]
    return tuple(found)
