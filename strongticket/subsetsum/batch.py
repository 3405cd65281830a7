"""A chunk of integer instances, as solvers are given it: own items for each target, or pools that targets share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from strongticket.subsetsum._exact import Bools, Ints

__all__ = ["Batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Integer instances of one number of items; the arrays are not to be written to.

    Attributes:
        items: C-contiguous, sum |items| < 2^60 in each row, n <= 62, [pools, n].
        targets: within +-2^61, [batch].
        pool: row of `items` that each target draws from, ascending, [batch]; None: target b has row b of its own.
    """

    items: Ints  # [pools, n]
    targets: Ints  # [batch]
    pool: Ints | None = None  # [batch]

    @property
    def n(self) -> int:
        """Number of items of each instance."""
        return int(self.items.shape[1])

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self) -> Ints:  # [batch, n]
        """The items of every target, one row each."""
        return self.items if self.pool is None else self.items[self.pool]

    def copy(self) -> Batch:
        """The same in arrays of its own."""
        return Batch(self.items.copy(), self.targets.copy(), None if self.pool is None else self.pool.copy())

    def take(self, chosen: Ints | Bools) -> Batch:
        """Some of the targets, with their items; `chosen` ascending, as indices or as flags."""
        if self.pool is None:
            return Batch(self.items[chosen], self.targets[chosen])
        return Batch(self.items, self.targets[chosen], self.pool[chosen])

    def prefix(self, n: int) -> Batch:
        """The instances of the first `n` items alone."""
        return Batch(np.ascontiguousarray(self.items[:, :n]), self.targets, self.pool)

    def pools(self) -> Iterator[tuple[int, slice]]:
        """The rows of `items` that are used, each with the span of its targets."""
        pool = np.arange(len(self)) if self.pool is None else self.pool
        starts = np.flatnonzero(np.diff(pool, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(self)], strict=True):
            yield int(pool[start]), slice(start, stop)

    def ends(self) -> tuple[Ints, Bools]:  # [batch], [batch]
        """Answer the targets that lie at or beyond an end of their reach, and say which those are.

        All positive items (or all negative ones) then are the one subset of least error; other masks are 0.
        """
        up, down = self.items > 0, self.items < 0
        place = np.int64(1) << np.arange(self.n, dtype=np.int64)
        highest, lowest = (np.einsum("ij,ij->i", self.items, side.astype(np.int64)) for side in (up, down))
        positive, negative = up @ place, down @ place
        if self.pool is not None:
            highest, lowest, positive, negative = (v[self.pool] for v in (highest, lowest, positive, negative))
        above, below = self.targets >= highest, self.targets <= lowest
        return np.where(above, positive, np.where(below, negative, 0)), above | below

    def chosen(self, mask: Ints) -> Bools:  # [batch] -> [batch, n]
        """The masks as booleans."""
        return ((mask[:, None] >> np.arange(self.n, dtype=np.int64)) & 1).astype(bool)

    def errors(self, mask: Ints) -> Ints:  # [batch] -> [batch]
        """Target minus chosen sum, exactly."""
        bits = (mask[:, None] >> np.arange(self.n, dtype=np.int64)) & 1
        return np.asarray(self.targets - np.einsum("ij,ij->i", bits, self.rows()))  # much faster than sum(1)
