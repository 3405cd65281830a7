"""Bound what floating point may have lost, so that every number of a proof is an upper bound and not an estimate.

Standard model of float64 with unit roundoff u = 2^-53: a sum of n products, in any order and with or without fused
operations, is off by at most gamma_n * sum |products|, gamma_n = n u / (1 - n u) (Higham 2002, section 3.1). Underflow
is kept out by raising magnitudes below 2^-500 to that floor before they are multiplied: larger is sound in a bound.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNIT", "Floats", "above", "gamma", "norm_above", "outward", "raised", "total_above"]

Floats = NDArray[np.float64]

UNIT = 2.0**-53
FLOOR = 2.0**-500


def gamma(terms: int) -> float:
    """Return an upper bound of gamma_terms; 1.02 pays for the denominator and for this product's own rounding."""
    if not 0 <= terms < 2**40:
        raise ValueError(f"a rounding bound covers fewer than 2^40 terms, got {terms}")
    return 1.02 * terms * UNIT


def above(value: Floats, terms: int) -> Floats:
    """Return an upper bound of the exact number whose float64 sum of `terms` nonnegative terms is `value`.

    fl >= exact (1 - gamma_n), so exact <= fl (1 + 2 gamma_n); four more terms pay for this product and for a root.
    """
    grown: Floats = value * (1.0 + 2.0 * gamma(terms + 4))
    return grown


def raised(value: Floats) -> Floats:
    """Return the magnitudes of `value`, the nonzero ones below the floor raised to it."""
    size: Floats = np.abs(value)
    tiny = (size < FLOOR) & (size > 0)
    if tiny.any():
        size[tiny] = FLOOR
    return size


def outward(middle: Floats, radius: Floats) -> tuple[Floats, Floats]:
    """Return float64 (low, high) that enclose middle -+ radius; a radius of 0 is exact and stays so."""
    low: Floats = np.where(radius == 0, middle, np.nextafter(middle - radius, -np.inf))
    high: Floats = np.where(radius == 0, middle, np.nextafter(middle + radius, np.inf))
    return low, high


def norm_above(value: Floats) -> float:
    """Return an upper bound of the Euclidean norm of all entries (the Frobenius norm of a matrix)."""
    if not value.size:
        return 0.0
    size = raised(value)
    largest = float(size.max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    scale = 2.0 ** -math.frexp(largest)[1] if largest < 2.0**900 else 2.0**-900
    flat = (size * scale).reshape(-1)
    # entries that the scaling could have pushed below the floor are raised again
    flat = raised(flat)
    return float(above(np.sqrt(np.dot(flat, flat)), flat.size)) / scale


def total_above(*terms: float) -> float:
    """Return an upper bound of a sum of nonnegative numbers."""
    return math.nextafter(math.fsum(terms), math.inf) if any(terms) else 0.0
