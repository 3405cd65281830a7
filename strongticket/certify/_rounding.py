"""Bound what floating point may have lost, so that every number of a proof is an upper bound and not an estimate.

Standard model of float64 with unit roundoff u = 2^-53: a sum of n products, in any order and with or without fused
operations, is off by at most gamma_n * sum |products|, gamma_n = n u / (1 - n u) (Higham 2002, section 3.1).

The model fails where products underflow, so upper bounds are kept out of there. A bound that is going to be a factor is
first raised: it is 0, or at least 2^-500 (a larger upper bound is sound, and 0 stands for numbers that are exactly 0).
A product of two raised factors is at least 2^-1000, so it and a few more factors near 1, or down to 2^-20, stay above
2^-1022, where roundings are relative; raised again, it can be the next factor. So the bound of a chain of layers cannot
vanish, however small its numbers. Sums need no care: the sum of two floats that is below 2^-1022 is exact. A signed
product that is no bound and may underflow (a matrix times the middle of an interval) is off by at most 2^-1074 for each
term, and the radius that goes with it, made of raised factors, is larger than that wherever both factors are not 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FLOOR",
    "UNIT",
    "Floats",
    "above",
    "columns_above",
    "gamma",
    "growth",
    "lifted",
    "norm_above",
    "outward",
    "raised",
]

Floats = NDArray[np.float64]

UNIT = 2.0**-53
FLOOR = 2.0**-500


def gamma(terms: int) -> float:
    """Return an upper bound of gamma_terms; 1.02 pays for the denominator and for this product's own rounding."""
    if not 0 <= terms < 2**40:
        raise ValueError(f"a rounding bound covers fewer than 2^40 terms, got {terms}")
    return 1.02 * terms * UNIT


def growth(terms: int) -> float:
    """Return the factor by which a float64 sum of `terms` nonnegative products must grow to be an upper bound.

    fl >= exact (1 - gamma_n), so exact <= fl (1 + 2 gamma_n); four more terms pay for this product and for a root.
    """
    return 1.0 + 2.0 * gamma(terms + 4)


def above(value: Floats, terms: int) -> Floats:
    """Return an upper bound of the exact number whose float64 sum of `terms` nonnegative terms is `value`."""
    grown: Floats = value * growth(terms)
    return grown


def raised(value: Floats) -> Floats:
    """Return the magnitudes of `value`, the nonzero ones below the floor raised to it."""
    size: Floats = np.abs(value)
    tiny = (size < FLOOR) & (size > 0)
    if tiny.any():
        size[tiny] = FLOOR
    return size


def lifted(value: float) -> float:
    """Return a nonnegative number, raised to the floor if it is below it and not 0."""
    return FLOOR if 0.0 < value < FLOOR else value


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


def columns_above(value: Floats) -> Floats:  # [m, n] -> [n]
    """Return upper bounds of the columns' Euclidean norms, each 0 or at least the floor."""
    size = raised(value)
    scale = 2.0**-600 if size.size and float(size.max()) > 2.0**400 else 1.0
    size = raised(size * scale)
    return above(np.sqrt((size * size).sum(axis=0)), len(size)) / scale
