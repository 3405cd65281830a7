"""What a subset-sum solver hands back: which items, how close, and whether anything better exists."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OUTCOMES", "Fronts", "Outcome", "SubsetSums"]


class Outcome(Enum):
    """How the search for one target ended; the value is the text to show.

    FOUND: without eps, and for "sparsest", the subset is the best one, as the solver proved; otherwise it is within
    eps. NONE_EXISTS is always proved. For values off the grid (`certified` false) "best" is up to `bound`.

    >>> print(Outcome.NOT_FOUND.value)
    nothing was proved: the subset is the best one known; draw more items, loosen eps, or use an exact solver
    """

    FOUND = "a subset as asked for was found"
    NOT_FOUND = (
        "nothing was proved: the subset is the best one known; draw more items, loosen eps, or use an exact solver"
    )
    NONE_EXISTS = "proved: no subset of these items is as asked for; draw more items or loosen eps"


_SATURATED = 2**63 - 1

OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
"""Outcome of each code in `SubsetSums.outcome`."""


@dataclass(frozen=True, eq=False)
class SubsetSums:
    """The chosen subsets of a batch of instances, their exact errors, and what was proved.

    Where no subset is within eps, `mask` is still the best one known: the minimum-error subset if NONE_EXISTS, and the
    nearest that the solver could find if NOT_FOUND. For "sparsest" that may be a subset within eps, as
    `absolute_error` shows, when a sparser one was not excluded. Where fewer nonzero items exist than "fixed_size" asks
    for, it is all of them.

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
        exponent: the unit of `error` is 2^exponent: one for the batch if all of it lies on one grid, else each row's.
        certified: the given values lie on the grid, so that every claim (minimum, sparsest, NONE_EXISTS) is exact: the
            exact error is error * 2^exponent, unless saturated, and `absolute_error` is its float64, rounded up.
        bound: 0 where certified: no subset as asked for by "min_error" or "fixed_size" has a smaller exact error.
            Elsewhere none has an error smaller than `absolute_error - bound`.
    """

    mask: npt.NDArray[np.int64]  # [batch]
    error: npt.NDArray[np.int64]  # [batch]
    size: npt.NDArray[np.int64]  # [batch]
    outcome: npt.NDArray[np.uint8]  # [batch]
    canonical: npt.NDArray[np.bool_]  # [batch]
    absolute_error: npt.NDArray[np.float64]  # [batch]
    exponent: npt.NDArray[np.int64]  # [batch]
    certified: npt.NDArray[np.bool_]  # [batch]
    bound: npt.NDArray[np.float64]  # [batch]

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
        """|target - chosen sum| of the values as given, rounded up: off the grid by up to 2^-45 of the error."""
        return self.absolute_error


@dataclass(frozen=True, eq=False)
class Fronts:
    """The best subset of every size, for a batch of instances: how much error each further item buys.

    Attributes:
        mask: of the best subset with exactly k nonzero items; -1 where there are fewer than k.
        error: target minus chosen sum in units of 2^exponent, exact for values on the grid; 2^63 - 1 where there is no
            such subset; saturated at +-(2^63 - 1) in the rows of floating-point targets too far away for int64.
        absolute_error: |target - chosen sum| of the values as given, rounded up; infinite where there is none.
        exponent: the unit of a row's errors is 2^exponent.
        certified: the given values lie on the grid, so that each entry is the exact minimum at its size: the exact
            error is error * 2^exponent, unless saturated, and `absolute_error` is its float64, rounded up.
        bound: 0 where certified: no subset of the same size has a smaller exact error. Elsewhere none has an error
            smaller than `absolute_error - bound`.
    """

    mask: npt.NDArray[np.int64]  # [batch, n + 1]
    error: npt.NDArray[np.int64]  # [batch, n + 1]
    absolute_error: npt.NDArray[np.float64]  # [batch, n + 1]
    exponent: npt.NDArray[np.int64]  # [batch]
    certified: npt.NDArray[np.bool_]  # [batch]
    bound: npt.NDArray[np.float64]  # [batch]

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def efficient(self) -> npt.NDArray[np.bool_]:  # [batch, n + 1]
        """The Pareto front: sizes whose error is smaller than that of every smaller size.

        Where certified the errors are compared exactly, elsewhere (and for targets too far away for int64) as floats.

        >>> from strongticket.subsetsum import pareto
        >>> pareto([[8, 4, 1]], [5], backend="brute").efficient.tolist()  # errors 5, 1, 0 and 8
        [[True, True, True, False]]
        """
        units, values = np.abs(self.error), self.absolute_error
        exact = self.certified & (units[:, 0] != _SATURATED)
        return np.where(exact[:, None], _falls(units), _falls(values))


def _falls(errors: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:  # [batch, n + 1]
    """Which entries of a row are below all before them; the first always is."""
    before = np.minimum.accumulate(errors, axis=1)
    first = np.ones((len(errors), 1), bool)
    return np.concatenate([first, errors[:, 1:] < before[:, :-1]], axis=1)
