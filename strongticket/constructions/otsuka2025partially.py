"""Otsuka et al. 2025, "Partially frozen random networks contain compact strong lottery tickets": locked edges.

Edges that are pruned for good are those of a sparse source (`Pensia2020Optimal(edges=...)`, law "sparse<k>"). Locked
edges stay in every ticket: here a random share of each second layer's edges, named by the seed of the source alone, so
that the ticket is as strict as any: a 0/1 mask, of which the locked part needs no bits. The locked candidates of a
weight add up to a number that the free ones must make good for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strongticket import random
from strongticket.constructions._gadget import Choice, Pool, stage
from strongticket.constructions._variants import products, solve_live
from strongticket.ticket import Source, Ticket

__all__ = ["LockedRows", "check_share", "locked_edges", "respects_locks"]


def check_share(locked: float) -> None:
    """Refuse a share of locked edges outside [0, 1)."""
    if isinstance(locked, bool) or not isinstance(locked, int | float) or not 0.0 <= locked < 1.0:
        raise ValueError(f"locked is a share of edges in [0, 1), got {locked!r}")


def locked_edges(source: Source, name: str, share: float, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
    """Return which edges of a parameter are locked, at flat indices start..stop-1; edges that are absent never are.

    An edge is locked if its word of the stream "<name> locked" is below share * 2^32: a function of (seed, name, index)
    and the share, whatever the mask is.

    Args:
        source: the random network.
        name: the parameter.
        share: in [0, 1).
        start: first flat index.
        stop: one past the last; None for the parameter's end.

    >>> from strongticket.models import MLP
    >>> source = Source(MLP((4, 8, 2)), seed=3)
    >>> int(locked_edges(source, "layers.1.weight", 0.25).sum())
    4
    """
    check_share(share)
    size = int(np.prod(source.shapes[name]))
    last = size if stop is None else stop
    if not share:
        return np.zeros(last - start, dtype=bool)
    words = random.words(source.seed, f"{name} locked", start, last)
    return np.asarray((words < np.uint32(share * 2.0**32)) & (source.integers(name, slice(start, last)) != 0))


def respects_locks(ticket: Ticket, name: str, share: float) -> bool:
    """Check that a ticket keeps every locked edge of a parameter."""
    return bool(ticket.mask[name].numpy().reshape(-1)[locked_edges(ticket.source, name, share)].all())


class LockedRows:
    """Solve rows of a pair with absent and locked edges, the latter kept whatever is chosen: see `prune_in_blocks`.

    All locked edges are in the mask. Those of neurons that serve nothing meet no signal; those of the others add to
    every weight they are candidates of.

    Args:
        source: the random network.
        name: of the pair's second layer.
        width: neurons of the pair.
        share: of edges that is locked.
        pool: candidates.
        wanted: integers on the grid of products, [outputs, columns].
        tolerance: largest |error| of a weight that is met.
        choose: the subset-sum solver.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        width: int,
        share: float,
        pool: Pool,
        wanted: NDArray[np.int64],
        tolerance: int,
        choose: Choice,
    ) -> None:
        self._source, self._name, self._width, self._share = source, name, width, share
        self._pool, self._wanted, self._tolerance, self._choose = pool, wanted, tolerance, choose

    def __call__(
        self, v: NDArray[np.int32], here: slice, seconds: dict[str, float]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return the kept entries of some rows and their errors."""
        with stage(seconds, "source"):
            start = here.start * self._width
            locked = locked_edges(self._source, self._name, self._share, start, start + v.size).reshape(v.shape)
            candidates = products(v, self._pool)
            fixed = locked[:, self._pool.neurons.reshape(-1)].reshape(candidates.shape)
            shift = np.where(fixed, candidates, 0).sum(axis=2)
        with stage(seconds, "solve"):
            free, wanted = np.where(fixed, 0, candidates), self._wanted[here] - shift
            found = solve_live(free, wanted, self._tolerance, self._choose, refill=bool(self._share))
        with stage(seconds, "mask"):
            return found.kept(self._pool, self._width) | locked, found.error
