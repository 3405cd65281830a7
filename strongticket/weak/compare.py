"""Compare trainings in pairs: how much earlier one stops than the other, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Speed", "speed"]


@dataclass(frozen=True)
class Speed:
    """How late one training stops beside another, by two estimators that papers do not tell apart.

    Attributes:
        mean_of_ratios: mean over pairs of this / other.
        ratio_of_means: mean of these / mean of the others.
        wins: pairs in which this one stops earlier.
        pairs: how many there are.
    """

    mean_of_ratios: float
    ratio_of_means: float
    wins: int
    pairs: int


def speed(these: Sequence[float], others: Sequence[float]) -> Speed:
    """Return how late these stop beside the others, pair by pair; below 1 is earlier.

    Args:
        these: early-stop iterations, one per seed.
        others: those of the same seeds.

    Raises:
        ValueError: no pairs, or numbers that are not above 0.

    >>> result = speed([1000, 3000], [2000, 2000])
    >>> result.mean_of_ratios, result.ratio_of_means, result.wins
    (1.0, 1.0, 1)
    """
    if not these or len(these) != len(others):
        raise ValueError(f"expected pairs, got {len(these)} numbers and {len(others)}")
    if min(*these, *others) <= 0:
        raise ValueError(f"expected iterations above 0, got {list(these)} and {list(others)}")
    ratios = [a / b for a, b in zip(these, others, strict=True)]
    wins = sum(a < b for a, b in zip(these, others, strict=True))
    return Speed(sum(ratios) / len(ratios), sum(these) / sum(others), wins, len(ratios))
