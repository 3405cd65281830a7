"""Subsets of exactly k candidates for every weight of a layer pair: the search, and the mask that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strongticket import subsetsum
from strongticket.constructions._gadget import (
    TOGETHER,
    LayerPair,
    Pool,
    PrunedPair,
    prune_in_blocks,
    rows_at_once,
    stage,
)

__all__ = ["NOTHING", "FixedSize", "prune_fixed_size"]

Integers = NDArray[np.int64]

NOTHING = np.int64(1) << 60
"""Error of a weight for which there are no k candidates: farther than any subset."""


@dataclass(frozen=True)
class FixedSize:
    """How a subset of a fixed size is looked for.

    One or two candidates are found among any number of them, exactly. Larger sizes are solved exactly among up to 40;
    beyond, groups of the candidates are tried in turn, and the first one within the tolerance is taken.

    Args:
        size: number k of candidates to choose.
        tolerance: largest |error| that ends the search of a problem, and that lets `at_most` choose nothing.
        at_most: choose nothing where nothing is within the tolerance of the target.
        backend: of `strongticket.subsetsum.solve`.
    """

    size: int
    tolerance: int
    at_most: bool
    backend: str

    def group(self, items: int) -> int:
        """Return how many candidates are solved together."""
        if self.size <= 2 or items <= TOGETHER:
            return items
        return group_of(self.size)

    def choose(self, items: Integers, targets: Integers) -> tuple[Integers, Integers]:
        """Choose among candidates [batch, n] (0: a dead one) for targets [batch].

        Returns:
            The places of the chosen candidates [batch, k], -1 where nothing is chosen, and the errors [batch].
        """
        chosen = np.full((len(targets), self.size), -1, dtype=np.int64)
        error = np.where(self.at_most & (np.abs(targets) <= self.tolerance), targets, NOTHING)
        still = np.flatnonzero(np.abs(error) > self.tolerance)
        step = self.group(items.shape[1])
        for start in range(0, items.shape[1] - self.size + 1, max(1, step)):
            places, found = self._group(items[still, start : start + step], targets[still])
            better = np.abs(found) < np.abs(error[still])
            chosen[still[better]], error[still[better]] = places[better] + start, found[better]
            still = still[np.abs(error[still]) > self.tolerance]
            if not still.size:
                break
        return chosen, error

    def _group(self, items: Integers, targets: Integers) -> tuple[Integers, Integers]:
        if items.shape[1] < self.size:
            return np.full((len(targets), self.size), -1, dtype=np.int64), np.full(len(targets), NOTHING)
        if self.size == 1:
            return _nearest(items, targets)
        if self.size == 2 and items.shape[1] > TOGETHER:
            return _nearest_pair(items, targets)
        sums = subsetsum.solve(items, targets, objective="fixed_size", size=self.size, backend=self.backend)
        full = sums.size == self.size
        places = np.full((len(targets), self.size), -1, dtype=np.int64)
        _, where = np.nonzero(sums.chosen(items.shape[1])[full])
        places[full] = where.reshape(-1, self.size)
        return places, np.where(full, sums.error, NOTHING)


def group_of(size: int) -> int:
    """Candidates solved together where there are more than 40: an exact search among them takes milliseconds at most.

    >>> group_of(3), group_of(8)
    (40, 28)
    """
    return TOGETHER if size <= 6 else 28 if size <= 14 else 2 * size


def _nearest(items: Integers, targets: Integers) -> tuple[Integers, Integers]:
    errors = np.where(items == 0, NOTHING, targets[:, None] - items)
    best = np.abs(errors).argmin(axis=1)
    found = np.take_along_axis(errors, best[:, None], axis=1)[:, 0]
    return np.where(found == NOTHING, -1, best)[:, None], found


def _nearest_pair(items: Integers, targets: Integers) -> tuple[Integers, Integers]:
    """The best of all pairs, one candidate against all later ones at a time."""
    places = np.full((len(targets), 2), -1, dtype=np.int64)
    error = np.full(len(targets), NOTHING)
    for first in range(items.shape[1] - 1):
        second, found = _nearest(items[:, first + 1 :], targets - items[:, first])
        better = (np.abs(found) < np.abs(error)) & (items[:, first] != 0) & (second[:, 0] >= 0)
        places[better, 0], places[better, 1] = first, second[better, 0] + first + 1
        error[better] = found[better]
    return places, error


def prune_fixed_size(
    pair: LayerPair,
    pool: Pool,
    targets: Integers,  # [outputs, columns], integers on the product grid
    rule: FixedSize,
    progress: Callable[[int], None] | None = None,
) -> PrunedPair:
    """Choose k candidates for every weight and gather the mask, in blocks of rows.

    Args:
        pair: the source layers.
        pool: candidates of each half-input.
        targets: wanted weight of each output for each half-input.
        rule: how to choose.
        progress: called with the number of problems done so far.
    """
    columns, items = pool.u.shape

    def solve(v: NDArray[np.int32], here: slice, seconds: dict[str, float]) -> tuple[NDArray[np.bool_], Integers]:
        with stage(seconds, "source"):
            candidates = (v[:, pool.neurons.reshape(-1)] * pool.u.reshape(1, -1)).reshape(-1, items)
        with stage(seconds, "solve"):
            chosen, error = rule.choose(candidates, targets[here].reshape(-1))
        with stage(seconds, "mask"):
            kept = np.zeros(v.shape, dtype=bool)
            problem, nth = np.nonzero(chosen >= 0)
            row, column = np.divmod(problem, columns)
            kept[row, pool.neurons[column, chosen[problem, nth]]] = True
        return kept, error.reshape(-1, columns)

    return prune_in_blocks(pair, pool, rows_at_once(24 * columns * items), solve, progress)
