"""Counting tickets: how many masks there are, and how many targets they would have to serve."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import gammaln

__all__ = ["entropy", "kept_needed", "log_choose", "mask_bits", "needed_bits", "theorem5_kept"]

_LOG2 = math.log(2.0)
_SLACK = 1e-9  # relative; necessary conditions lean to the smaller number where rounding could decide
_TERMS = 4096


def entropy(share: float) -> float:
    """Return the binary entropy H2 in bits.

    >>> entropy(0.5), entropy(0.0)
    (1.0, 0.0)
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a share lies in [0, 1], got {share}")
    if share in (0.0, 1.0):
        return 0.0
    return -(share * math.log2(share) + (1.0 - share) * math.log1p(-share) / _LOG2)


def mask_bits(parameters: int, kept: int, *, exactly: bool = False) -> float:
    """Return log2 of the number of tickets with at most (or exactly) so many kept weights of m.

    Rounded up where m exceeds some thousands, by a few bits at most.

    >>> mask_bits(10, 10), round(mask_bits(10, 5, exactly=True), 3)
    (10.0, 7.977)
    """
    if not 0 <= kept <= parameters:
        raise ValueError(f"0 <= kept <= parameters is needed, got {kept} of {parameters}")
    if exactly:
        return float(log_choose(parameters, kept)) / _LOG2
    if kept >= parameters:
        return float(parameters)
    if 2 * kept >= parameters:  # all but the larger ones
        return parameters + math.log1p(-(2.0 ** (mask_bits(parameters, parameters - kept - 1) - parameters))) / _LOG2
    terms = log_choose(parameters, kept - np.arange(min(kept, _TERMS) + 1))
    peak, last = float(terms[0]), kept - len(terms) + 1
    ratio = last / (parameters - last + 1)  # the terms left out fall at least so fast
    rest = math.exp(float(terms[-1]) - peak) * ratio / (1.0 - ratio) if last else 0.0
    return min(float(parameters), (peak + math.log(float(np.exp(terms - peak).sum()) + rest)) / _LOG2)


def log_choose(items: int, size: Any) -> Any:
    """Return log C(m, k), of each k; gammaln has relative error 1e-15, so huge ones are off by about 1e-15 m log m."""
    return gammaln(items + 1.0) - gammaln(size + 1.0) - gammaln(items - size + 1.0)


def needed_bits(entries: int, eps: float, radius: float = 1.0) -> float:
    """Return D log2(radius/(2 eps)) - 1: bits that masks must hold to serve a ball of targets with probability 1/2.

    The targets are all points of a ball of any norm in D dimensions, to be met within eps in that norm: all d x d
    matrices of spectral norm <= radius, or all with entries of magnitude <= radius (Pensia et al. 2020, Theorem 2).

    >>> round(needed_bits(100, 0.01), 1)
    563.4
    """
    if entries < 0 or eps <= 0.0 or not 0.0 <= radius < math.inf:
        raise ValueError(f"entries >= 0, eps > 0 and radius >= 0 are needed, got {entries}, {eps}, {radius}")
    return entries * math.log2(radius / (2.0 * eps)) - 1.0 if radius > 2.0 * eps else 0.0


def kept_needed(parameters: int, bits: float, *, exactly: bool = False) -> int | None:
    """Return the least k for which tickets of at most (or exactly) k of m weights are 2^bits, or None if none is.

    With `exactly`, k <= m/2.

    >>> kept_needed(1000, 563.4), kept_needed(500, 563.4)
    (134, None)
    """
    top = parameters // 2 if exactly else parameters
    needed = bits - _SLACK * max(1.0, abs(bits))
    if mask_bits(parameters, top, exactly=exactly) < needed:
        return None
    if mask_bits(parameters, 0, exactly=exactly) >= needed:
        return 0
    low, high = 0, top
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mask_bits(parameters, middle, exactly=exactly) >= needed else (middle, high)
    return high


def theorem5_kept(parameters: int, entries: int, eps: float, *, scaled: bool = False) -> int | None:
    """Return the least ticket size k, exactly k of m weights, k <= m/2, that can serve all targets: the counting form.

    C(m, k) >= (1/2) (r/(2 eps))^D, with r = 1 for targets of norm <= 1, and r = sqrt(k) as in the paper for those of
    norm <= sqrt(k).

    Args:
        parameters: number m of the source's weights.
        entries: D, the number of weights of the linear target.
        eps: error in the norm of the ball, in (0, 1/2).
        scaled: take the paper's ball, which grows with k.

    >>> theorem5_kept(2000, 100, 0.01), theorem5_kept(2000, 100, 0.01, scaled=True)
    (99, 205)
    """
    if parameters < 1 or entries < 1 or not 0.0 < eps < 0.5:
        raise ValueError(f"parameters, entries >= 1 and eps in (0, 1/2) are needed, got {parameters}, {entries}, {eps}")
    if not scaled:
        return kept_needed(parameters, needed_bits(entries, eps), exactly=True)
    k = np.arange(1, parameters // 2 + 1)
    bits = log_choose(parameters, k) / _LOG2
    needed = entries * np.log2(np.sqrt(k) / (2.0 * eps)) - 1.0
    enough = bits >= needed - _SLACK * np.maximum(1.0, np.abs(needed))
    return int(k[np.argmax(enough)]) if enough.any() else None
