"""What a subset-sum solver hands back: which items, how close, and whether anything better exists."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

__all__ = ["OUTCOMES", "Fronts", "Outcome", "SubsetSums"]


class Outcome(Enum):
    """How the search for one target ended; the value is the text to show.

    >>> print(Outcome.NOT_FOUND.value)
    no subset within eps was found, and none was excluded: draw more items, loosen eps, or use an exact solver
    """

    FOUND = "a subset as asked for was found"
    NOT_FOUND = (
        "no subset within eps was found, and none was excluded: draw more items, loosen eps, or use an exact solver"
    )
    NONE_EXISTS = "proved: no subset of these items is as asked for; draw more items or loosen eps"


OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
"""Outcome of each code in `SubsetSums.outcome`."""


@dataclass(frozen=True, eq=False)
class SubsetSums:
    """The chosen subsets of a batch of instances, their exact errors, and what was proved.

    Where no subset is within eps, `mask` is still the best one known: the minimum-error subset if NONE_EXISTS. Where
    fewer nonzero items exist than "fixed_size" asks for, it is all of them.

    Attributes:
        mask: bit i of entry b is set where item i of instance b is chosen (so n <= 62).
        error: target minus chosen sum, in units of 2^exponent: exact for the values on that grid, which are the given
            values themselves when `certified`. Saturated at +-(2^63 - 1) for a floating-point target that is farther
            from every subset than int64 can say.
        size: number of chosen items; zero items are never chosen.
        outcome: index into `OUTCOMES`.
        canonical: the mask is proved to be the one that the tie rule names (see `strongticket.subsetsum.solve`); where
            false, a choice among equally good subsets may have been left to the backend.
        absolute_error: |target - chosen sum| of the values as given, rounded up to float64.
        exponent: the unit of `error` is 2^exponent.
        certified: the given values lie on the grid, so that every claim (minimum, sparsest, NONE_EXISTS) is exact.
        bound: no subset has an error smaller than `absolute_error - bound` (min_error, fixed_size); 0 when certified.
    """

    mask: npt.NDArray[np.int64]  # [batch]
    error: npt.NDArray[np.int64]  # [batch]
    size: npt.NDArray[np.int64]  # [batch]
    outcome: npt.NDArray[np.uint8]  # [batch]
    canonical: npt.NDArray[np.bool_]  # [batch]
    absolute_error: npt.NDArray[np.float64]  # [batch]
    exponent: int
    certified: bool
    bound: float

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def found(self) -> npt.NDArray[np.bool_]:  # [batch]
        """Where a subset as asked for was found."""
        return np.equal(self.outcome, OUTCOMES.index(Outcome.FOUND))

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each instance."""
        return [OUTCOMES[code] for code in self.outcome]

    def count(self, outcome: Outcome) -> int:
        """Number of instances that ended in `outcome`."""
        return int(np.count_nonzero(self.outcome == OUTCOMES.index(outcome)))

    def chosen(self, n: int) -> npt.NDArray[np.bool_]:  # [batch, n]
        """The masks as booleans, one column per item.

        Raises:
            ValueError: a chosen item has an index of `n` or more.
        """
        if not 0 <= n <= 62 or (len(self.mask) and int(self.mask.max()) >> n):
            raise ValueError(f"expected the number of items the problem was posed with, at most 62, got n = {n}")
        return ((self.mask[:, None] >> np.arange(n, dtype=np.int64)) & 1).astype(bool)

    def errors(self) -> npt.NDArray[np.float64]:  # [batch]
        """|target - chosen sum| of the values as given: upper bounds, exact wherever float64 can say the error."""
        return self.absolute_error


@dataclass(frozen=True, eq=False)
class Fronts:
    """The best subset of every size, for a batch of instances: how much error each further item buys.

    Attributes:
        mask: of the best subset with exactly k nonzero items; -1 where there are fewer than k.
        error: target minus chosen sum in units of 2^exponent, exact for values on the grid; 2^63 - 1 where there is no
            such subset.
        absolute_error: |target - chosen sum| of the values as given, rounded up; infinite where there is none.
        exponent: the unit of `error` is 2^exponent.
        certified: the given values lie on the grid, so that each entry is the exact minimum at its size.
        bound: no subset of the same size has an error smaller than `absolute_error - bound`; 0 when certified.
    """

    mask: npt.NDArray[np.int64]  # [batch, n + 1]
    error: npt.NDArray[np.int64]  # [batch, n + 1]
    absolute_error: npt.NDArray[np.float64]  # [batch, n + 1]
    exponent: int
    certified: bool
    bound: float

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def efficient(self) -> npt.NDArray[np.bool_]:  # [batch, n + 1]
        """The Pareto front: sizes whose error is smaller than that of every smaller size.

        >>> from strongticket.subsetsum import pareto
        >>> pareto([[8, 4, 1]], [5], backend="brute").efficient.tolist()  # errors 5, 1, 0 and 8
        [[True, True, True, False]]
        """
        before = np.minimum.accumulate(self.absolute_error, axis=1)
        return np.concatenate([self.mask[:, :1] >= 0, self.absolute_error[:, 1:] < before[:, :-1]], axis=1)
