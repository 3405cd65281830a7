"""How much better one thing is than another, measured with the same seeds: differences, their interval, a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["CONFIDENCE", "Gain", "gain", "percent"]

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Gain:
    """How much better one thing is than another, seed by seed.

    Attributes:
        mean: of the differences.
        low, high: 95 % interval of the true mean: Student's, of the differences of the seeds.
        seeds: how many there are.
        verdict: "better" or "worse" if the interval lies on that side of what was asked for; "open" otherwise.
    """

    mean: float
    low: float
    high: float
    seeds: int
    verdict: Literal["better", "worse", "open"]

    def __str__(self) -> str:
        """In points of accuracy: mean, interval, verdict."""
        if self.seeds == 1:
            return f"{100 * self.mean:+.2f}, one seed"
        return f"{100 * self.mean:+.2f} [{100 * self.low:.2f}, {100 * self.high:.2f}] {self.verdict}"


def gain(ours: Sequence[float], theirs: Sequence[float], *, margin: float = 0.0) -> Gain:
    """Compare two things that were measured with the same seeds.

    Args:
        ours: a number for each seed.
        theirs: the same for what it is held against.
        margin: how much better ours is claimed to be.

    Raises:
        ValueError: not one number of each for every seed.

    >>> gain([0.9, 0.92, 0.91], [0.1, 0.12, 0.13]).verdict, gain([0.9, 0.2], [0.1, 0.8]).verdict
    ('better', 'open')
    """
    from scipy import stats

    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"expected as many numbers of both, at least one, got {len(ours)} and {len(theirs)}")
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    if n == 1:
        return Gain(mean, -math.inf, math.inf, 1, "open")
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    low, high = mean - reach, mean + reach
    return Gain(mean, low, high, n, "better" if low > margin else "worse" if high < margin else "open")


def percent(results: Sequence[Mapping[str, Any]], name: str = "accuracy") -> str:
    """Return the mean over the seeds, and the least and the most of them, in percent.

    >>> percent([{"accuracy": 0.25}, {"accuracy": 0.75}])
    '50.00 (25.00-75.00)'
    """
    values = [100 * result[name] for result in results]
    return f"{math.fsum(values) / len(values):.2f} ({min(values):.2f}-{max(values):.2f})"
