"""What variants of the product gadget share: candidates of whole rows, solved together, and their kept entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket.bounds import lueker1998exponentially, otsuka2025partially
from strongticket.bounds._floor import most_units
from strongticket.bounds._laws import get_law
from strongticket.bounds.gadhikar2023random import failure_thinned
from strongticket.bounds.lueker1998exponentially import LawName
from strongticket.constructions._gadget import TOGETHER, Choice, Pool, spare_neurons
from strongticket.constructions._prediction import Failure

__all__ = [
    "Picked",
    "Solved",
    "kept_of",
    "predicted_failure",
    "products",
    "solve_live",
    "solve_together",
    "sparse_spare",
]

HALF = 1 << 45
"""1/2 on the grid of products."""


@final
@dataclass(frozen=True)
class Solved:
    """Subsets of candidates: mask bits and error = wanted - sum, [rows, columns] each."""

    chosen: NDArray[np.int64]
    error: NDArray[np.int64]


def products(v: NDArray[np.int32], pool: Pool) -> NDArray[np.int64]:  # [rows, width] -> [rows, columns, n]
    """Return the candidates u v of every weight; 0 at empty places."""
    columns, items = pool.u.shape
    found: NDArray[np.int64] = v[:, pool.neurons.reshape(-1)].reshape(len(v), columns, items) * pool.u
    return found


def solve_together(
    candidates: NDArray[np.int64],  # [rows, columns, n], n <= 40
    wanted: NDArray[np.int64],  # [rows, columns]
    choose: Choice,
) -> Solved:
    """Choose a subset for every weight; the empty one where none is better."""
    flat = wanted.reshape(-1)
    bits, found = choose(np.ascontiguousarray(candidates.reshape(flat.size, -1)), flat)
    better = np.abs(found) < np.abs(flat)
    return Solved(np.where(better, bits, 0).reshape(wanted.shape), np.where(better, found, flat).reshape(wanted.shape))


@final
@dataclass(frozen=True)
class Picked:
    """Subsets of candidates as booleans, [rows, columns, n], and error = wanted - sum, [rows, columns]."""

    picked: NDArray[np.bool_]
    error: NDArray[np.int64]

    def kept(self, pool: Pool, width: int) -> NDArray[np.bool_]:  # [rows, width]
        """Return the entries of the second layer that are kept."""
        kept = np.zeros((len(self.picked), width), dtype=bool)
        row, column, place = np.nonzero(self.picked & (pool.u != 0))
        kept[row, pool.neurons[column, place]] = True
        return kept


def solve_live(
    candidates: NDArray[np.int64],  # [rows, columns, n]
    wanted: NDArray[np.int64],  # [rows, columns]
    tolerance: int,
    choose: Choice,
    *,
    refill: bool = False,
) -> Picked:
    """Choose among the candidates that are not 0: up to 40 of them as one problem, more in groups, tried in turn.

    Args:
        candidates: integers on the grid of products.
        wanted: of each weight.
        tolerance: largest |error| that ends the search of a problem.
        choose: the subset-sum solver.
        refill: first take candidates outside of the group, of the sign of what is wanted, one by one until what is left
            lies in [-1/2, 1/2]: for targets that a group may not reach.
    """
    items = candidates.shape[2]
    flat, goal = candidates.reshape(-1, items), wanted.reshape(-1)
    order = np.argsort(flat == 0, axis=1, kind="stable")
    live = np.take_along_axis(flat, order, axis=1)
    most = int((flat != 0).sum(axis=1).max(initial=0))
    error, picked = goal.copy(), np.zeros((len(flat), most), dtype=bool)
    for start in range(0, most, TOGETHER):
        here = np.flatnonzero(np.abs(error) > tolerance) if start else np.arange(len(flat))
        if not here.size:
            break
        group = slice(start, min(start + TOGETHER, most))
        left, taken = goal[here], np.zeros((len(here), most), dtype=bool)
        for j in (*range(start), *range(group.stop, most)) if refill else ():
            item = live[here, j]
            take = (np.abs(left) > HALF) & (np.sign(item) == np.sign(left))
            taken[:, j], left = take, left - np.where(take, item, 0)
        bits, found = choose(np.ascontiguousarray(live[here, group]), left)
        useful = np.abs(found) < np.abs(left)
        found = np.where(useful, found, left)
        taken[:, group] = (bits[:, None] >> np.arange(group.stop - start) & 1).astype(bool) & useful[:, None]
        better = np.abs(found) < np.abs(error[here])
        error[here[better]], picked[here[better]] = found[better], taken[better]
    placed = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(placed, order[:, :most], picked, axis=1)
    return Picked(placed.reshape(candidates.shape), error.reshape(wanted.shape))


def kept_of(chosen: NDArray[np.int64], pool: Pool, width: int) -> NDArray[np.bool_]:  # [rows, columns] -> [rows, width]
    """Return the entries of the second layer that the chosen subsets keep."""
    items = pool.u.shape[1]
    picked = (chosen[:, :, None] >> np.arange(items) & 1).astype(bool) & (pool.u != 0)
    kept = np.zeros((len(chosen), width), dtype=bool)
    row, column, place = np.nonzero(picked)
    kept[row, pool.neurons[column, place]] = True
    return kept


def sparse_spare(edges: float) -> Callable[[int], int]:
    """Return `spare_neurons` for a source whose edges are there with probability p.

    With one open column a neuron qualifies with probability h = p/4: filling n places takes n/h neurons on average,
    with variance n (1 - h)/h^2.
    """
    if edges == 1:
        return spare_neurons
    chance = edges / 4.0

    def spare(items: int) -> int:
        deviation = math.sqrt(items * (1.0 - chance)) / chance
        return math.ceil(items / chance) - items + 5 * math.ceil(deviation)

    return spare


def predicted_failure(
    eps: float, scale: float | None, *, edges: float = 1.0, locked: float = 0.0, draws: int = 1
) -> Failure:
    """Return how often candidates are predicted to miss a weight.

    Args:
        eps: tolerance.
        scale: candidates are uniform on [-scale, scale]; None for products of which half are dead (fixed blocks).
        edges: probability that an edge is there.
        locked: share of the second layer's edges that is locked.
        draws: independent tries.
    """
    size = 1.0 if scale is None else scale
    share = edges * edges if scale is None else edges
    law: LawName = "half_product" if scale is None else "uniform"
    if edges != 1 and scale is None:  # half of the products are dead: thinned once, not twice
        law, share = "product", share / 2.0

    @cache
    def dense(items: int, z: float) -> float:
        return lueker1998exponentially.failure_predicted(items, eps, law=law, target=z, scale=size)

    @cache
    def far(items: int, z: float) -> float:  # locked sums may put targets beyond what the floor follows
        method: Literal["combined", "quenched"] = "combined" if z <= size * most_units(get_law(law)) else "quenched"
        return lueker1998exponentially.failure_predicted(items, eps, law=law, target=z, scale=size, method=method)

    def failure(items: int, z: float) -> float:
        if locked:
            variance = {"half_product": 1.0 / 18.0, "product": 1.0 / 9.0, "uniform": size * size / 3.0}[law]
            spread = partial(otsuka2025partially.failure_predicted, items, locked, z, variance, share=share)
            return spread(lambda k, shifted: far(k, math.ceil(8.0 * shifted) / 8.0))
        once = dense(items, z) if edges == 1 else failure_thinned(items, share, lambda k: dense(k, z))
        return once if draws == 1 else once**draws

    return failure
