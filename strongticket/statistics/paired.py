"""Is one thing better than another, measured with the same seeds or on the same examples? Differences in pairs.

What the seeds have in common (the split, the initial weights, the order of the data) cancels in the differences, so
that few seeds show more than two separate means and spreads would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["CONFIDENCE", "MOST_PAIRS", "Gain", "McNemar", "gain", "mcnemar", "sign_flip"]

CONFIDENCE: Final = 0.95
MOST_PAIRS: Final = 40
"""Pairs that `sign_flip` takes at most: it goes over two tables of 2^20 sums then."""


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
        """In points of accuracy: mean, interval with its confidence, verdict; no correction for other comparisons."""
        if self.seeds == 1:
            return f"{100 * self.mean:+.2f}, one seed"
        interval = f"[{100 * self.low:.2f}, {100 * self.high:.2f}] {CONFIDENCE:.0%}"
        return f"{100 * self.mean:+.2f} {interval}: {self.verdict}"


def gain(ours: Sequence[float], theirs: Sequence[float], *, margin: float = 0.0) -> Gain:
    """Compare two things that were measured with the same seeds, by Student's interval of the differences.

    The interval is right where the differences are about normal; `sign_flip` asks for less and says less.

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

    differences = _differences(ours, theirs)
    n = len(differences)
    mean = math.fsum(differences) / n
    if n == 1:
        return Gain(mean, -math.inf, math.inf, 1, "open")
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    low, high = mean - reach, mean + reach
    return Gain(mean, low, high, n, "better" if low > margin else "worse" if high < margin else "open")


def sign_flip(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    margin: float = 0.0,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
) -> float:
    """Return the p-value of "the differences are symmetric about the margin", exactly, over all 2^n flips of signs.

    Fisher's permutation test for pairs (fisher1935design): if it makes no difference which of the two is called ours,
    each difference might as well have had the other sign, and a sum as large as the one seen has a probability that can
    be counted. Nothing is assumed about how the numbers are distributed. The least value is 2^-n, or 2^(1-n) two-sided:
    five seeds can give 0.0625 at best, so that they can never show a difference at 5 %, whatever they are; six can.

    Sums that differ by less than rounding count as equal, which can only raise the p-value.

    Args:
        ours: a finite number for each seed, 1..40 of them.
        theirs: the same for what it is held against.
        margin: taken off each difference.
        alternative: "greater": ours are larger; "less": smaller; "two-sided": either.

    Raises:
        ValueError: not one finite number of each for every seed, too many seeds, or no such alternative.

    >>> sign_flip([0.9, 0.92, 0.91, 0.93, 0.9, 0.91], [0.8] * 6)
    0.03125
    """
    import numpy as np

    differences = [d - margin for d in _differences(ours, theirs)]
    n = len(differences)
    if not all(map(math.isfinite, differences)):
        raise ValueError("expected finite numbers; what is missing has to be left out together with its partner")
    if n > MOST_PAIRS:
        raise ValueError(
            f"at most {MOST_PAIRS} pairs can be counted exactly, got {n}; use gain, whose interval is good then"
        )
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative: expected 'two-sided', 'greater' or 'less', got {alternative!r}")
    total = math.fsum(differences)
    least = -total if alternative == "less" else abs(total) if alternative == "two-sided" else total
    least -= 1e-12 * math.fsum(map(abs, differences))
    # half of the signs on either side: sums a + b >= least are counted by bisection in the sorted b
    a, b = (_signed_sums(np.array(half)) for half in (differences[: n // 2], differences[n // 2 :]))
    b.sort()
    above = int(np.sum(len(b) - np.searchsorted(b, least - a, side="left"), dtype=np.int64))
    sides = 2 if alternative == "two-sided" else 1  # the sums are symmetric about 0
    return min(1.0, sides * above / float(2**n))


@dataclass(frozen=True)
class McNemar:
    """Which examples only one of two classifiers gets right, and how surprising that is if they are equally good.

    Attributes:
        only_first, only_second: how many examples only that one gets right.
        examples: how many there are.
        p_value: exact and two-sided: of so uneven a split of the examples on which they differ.
    """

    only_first: int
    only_second: int
    examples: int
    p_value: float


def mcnemar(first: Any, second: Any) -> McNemar:
    """Compare two classifiers on the same examples, by the exact test of McNemar (mcnemar1947note).

    Examples that both get right, or both wrong, say nothing. Of the others, either has half if the two are equally
    good: a binomial with p = 1/2. It speaks about these two networks on such examples; whether one *method* is better
    than another is a question about seeds, for `gain` and `sign_flip`.

    Args:
        first: for each example, whether the first classifier is right: booleans (list, array or tensor).
        second: the same for the second classifier.

    Raises:
        ValueError: not one boolean of each for every example.

    >>> mcnemar([True] * 10 + [False] * 5, [False] * 9 + [True] * 6)
    McNemar(only_first=9, only_second=5, examples=15, p_value=0.423950195...)
    """
    import numpy as np
    from scipy import stats

    one, two = np.asarray(first), np.asarray(second)
    if one.dtype != bool or two.dtype != bool or one.ndim != 1 or one.shape != two.shape or not one.size:
        raise ValueError(
            f"expected a boolean (right or wrong) of both for each example, at least one, got {one.dtype} of shape "
            f"{one.shape} and {two.dtype} of shape {two.shape}"
        )
    ours, theirs = int(np.count_nonzero(one & ~two)), int(np.count_nonzero(two & ~one))
    tail = float(stats.binom.cdf(min(ours, theirs), ours + theirs, 0.5)) if ours + theirs else 1.0
    return McNemar(ours, theirs, int(one.size), min(1.0, 2.0 * tail))


def _differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"expected as many numbers of both, at least one, got {len(ours)} and {len(theirs)}")
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def _signed_sums(values: Any) -> Any:  # [2^len(values)]
    """All sums of the values with either sign."""
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
