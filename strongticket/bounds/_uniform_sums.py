"""Sums of k independent numbers U(-1, 1), exactly: what proofs about subsets of a fixed size are made of."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

__all__ = ["hit_probability", "sum_cdf", "sum_density", "window"]

MOST = 64
"""Largest number of summands: beyond, exact sums of alternating terms grow slow."""


def _check(count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise ValueError(f"the number of summands is an integer in 1..{MOST}, got {count!r}")


def _truncated(count: int, power: int, y: Fraction) -> Fraction:
    """sum_(j < y) (-1)^j C(k, j) (y - j)^power, for 0 <= y <= k."""
    terms = (math.comb(count, j) * (-1) ** j * (y - j) ** power for j in range(math.ceil(y)))
    return sum(terms, Fraction(0))


@lru_cache(maxsize=4096)
def sum_cdf(count: int, x: Fraction) -> Fraction:
    """Return P(S_k <= x), exactly (Irwin and Hall).

    >>> sum_cdf(2, Fraction(1)), sum_cdf(3, Fraction(0))
    (Fraction(7, 8), Fraction(1, 2))
    """
    _check(count)
    if x >= count:
        return Fraction(1)
    if x <= -count:
        return Fraction(0)
    if x > 0:  # symmetric; fewer terms that way
        return 1 - sum_cdf(count, -x)
    return _truncated(count, count, (x + count) / 2) / math.factorial(count)


def sum_density(count: int, x: Fraction) -> Fraction:
    """Return the density of S_k at x, exactly; at the ends of a single number's range, that inside.

    >>> [sum_density(k, Fraction(0)) for k in (1, 2, 3)]
    [Fraction(1, 2), Fraction(1, 2), Fraction(3, 8)]
    """
    _check(count)
    if abs(x) > count:
        return Fraction(0)
    if count == 1:
        return Fraction(1, 2)
    return _truncated(count, count - 1, (count - abs(x)) / 2) / (2 * math.factorial(count - 1))


def window(count: int, z: Fraction, eps: Fraction) -> Fraction:
    """Return P(|S_k - z| <= eps), exactly; it falls as |z| grows, as S_k is symmetric and unimodal."""
    return sum_cdf(count, z + eps) - sum_cdf(count, z - eps)


@lru_cache(maxsize=4096)
def hit_probability(items: int, size: int, eps: Fraction, target: Fraction) -> Fraction:
    """Return a proved lower bound on P(some sum of exactly k of n numbers U(-1, 1) lies within eps of z). Ours.

    The number Y of such sums has E Y = C p, C = C(n, k), p = P(|S_k - z| <= eps), and P(Y > 0) >= (E Y)^2 / E Y^2.
    Two subsets share i elements with probability P_i = C(k, i) C(n - k, k - i) / C. Given one of them hits, the other
    does with probability p if i = 0, and at most P(|S_(k-i)| <= eps) else, as its k - i other elements are fresh. So

        P(Y > 0) >= p / (1/C + P_0 p + sum_(0<i<k) P_i P(|S_(k-i)| <= eps)).

    Args:
        items: number of items n.
        size: number k of items chosen, 1 <= k <= n.
        eps: tolerance, > 0.
        target: z, or the largest |z| of many: the bound falls as |z| grows.

    >>> round(float(hit_probability(15, 2, Fraction(1, 100), Fraction(1, 2))), 2)
    0.43
    """
    if not 1 <= size <= items:
        raise ValueError(f"1 <= size <= items is needed, got size = {size}, items = {items}")
    if eps <= 0:
        raise ValueError(f"eps must be positive, got {eps}")
    subsets, hit = math.comb(items, size), window(size, target, eps)
    shared = Fraction(1) + math.comb(items - size, size) * hit  # of 1/C and P_0 p, times C
    for i in range(1, size):
        pairs = math.comb(size, i) * math.comb(items - size, size - i)
        if pairs:
            shared += pairs * window(size - i, Fraction(0), eps)
    return hit * subsets / shared
