"""Chijiwa et al. 2021, "Pruning randomly initialized neural networks with iterative randomization": several draws.

Every weight of the source may be drawn anew up to R - 1 times. Here a weight of the target that no subset of its
candidates meets is tried again with the next draw of these candidates' second weights, R times in all; the first draw
with a subset in the tolerance is taken, else the best of them. A ticket then is a 0/1 mask and, for each kept weight,
the number of its draw: its `Reading` has redraws (so it is no strict ticket for R > 1), and it is regenerated from the
seed bit for bit all the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strongticket.constructions._gadget import Choice, Pool, stage
from strongticket.constructions._variants import kept_of, products, solve_together
from strongticket.ticket import Mask, Source

__all__ = ["MOST_DRAWS", "RedrawnRows", "check_draws"]

MOST_DRAWS = 1 << 12


def check_draws(draws: int) -> None:
    """Refuse a number of draws that is no whole number >= 1."""
    if isinstance(draws, bool) or not isinstance(draws, int):
        raise TypeError(f"draws is a whole number, got {draws!r}")
    if not 1 <= draws <= MOST_DRAWS:
        raise ValueError(f"draws must be in 1..{MOST_DRAWS}, got {draws}")


class RedrawnRows:
    """Solve rows of a pair, draw after draw, until each weight is met: see `_gadget.prune_in_blocks`.

    Args:
        source: the random network.
        name: of the pair's second layer.
        width: neurons of the pair.
        draws: R, how often a weight is tried.
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
        draws: int,
        pool: Pool,
        wanted: NDArray[np.int64],
        tolerance: int,
        choose: Choice,
    ) -> None:
        self._source, self._name, self._width, self._draws = source, name, width, draws
        self._pool, self._wanted, self._tolerance, self._choose = pool, wanted, tolerance, choose
        self.events: NDArray[np.int32] = np.zeros(wanted.shape, dtype=np.int32)  # the draw that each weight takes

    def __call__(
        self, v: NDArray[np.int32], here: slice, seconds: dict[str, float]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return the kept entries of some rows and their errors; notes the draws taken."""
        wanted = self._wanted[here]
        with stage(seconds, "source"):
            candidates = products(v, self._pool)
        with stage(seconds, "solve"):
            found = solve_together(candidates, wanted, self._choose)
        chosen, error, events = found.chosen, found.error, self.events[here]
        for event in range(1, self._draws):
            row, column = np.nonzero(np.abs(error) > self._tolerance)
            if not row.size:
                break
            with stage(seconds, "source"):
                again = self._redrawn(here.start + row, column, event)
            with stage(seconds, "solve"):
                tried = solve_together(again[:, None, :], wanted[row, column][:, None], self._choose)
                better = np.abs(tried.error[:, 0]) < np.abs(error[row, column])
                at = row[better], column[better]
                chosen[at], error[at], events[at] = tried.chosen[better, 0], tried.error[better, 0], event
        with stage(seconds, "mask"):
            return kept_of(chosen, self._pool, self._width), error

    def _redrawn(self, row: NDArray[np.int64], column: NDArray[np.int64], event: int) -> NDArray[np.int64]:
        """Products with the weights of a later draw, [problems, candidates]."""
        index = row[:, None] * self._width + self._pool.neurons[column]
        exponent = self._source.grid_exponent(self._name)
        values = self._source.redrawn(self._name, index, event).numpy().astype(np.float64)
        return np.ldexp(values, -exponent).astype(np.int64) * self._pool.u[column]

    def redraws(self, mask: Mask) -> NDArray[np.int32]:
        """Return the draw of each kept weight of the second layer, in the order of flat indices."""
        served = np.zeros(self._width, dtype=np.int64)
        columns = np.broadcast_to(np.arange(len(self._pool.u))[:, None], self._pool.u.shape)
        alive = self._pool.u != 0
        served[self._pool.neurons[alive]] = columns[alive]
        row, neuron = np.divmod(mask.indices(self._name), self._width)
        return np.asarray(self.events[row, served[neuron]])
