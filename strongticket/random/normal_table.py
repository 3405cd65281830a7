"""Read the table behind the law normal-tab1, and invert the normal distribution with it: float64 + and * only.

Square roots, logarithms and exponentials differ in their last bits between libraries and devices, so every usual
recipe for normal numbers (Box-Muller, ziggurat, AS241) gives different weights on different machines. Here the
quantile is a polynomial of degree 7 on each of 848 segments, evaluated by Horner's rule as separate products and
sums, which every IEEE machine rounds alike.

The quantile is needed at p = f * 2^-54 for odd f = 1, 3, ..., 2^53 - 1, which is p in (0, 1/2). A double f = m * 2^e
with m in [1/2, 1) lies in octave 53 - e, of 53; each octave has 16 equal segments. Row 16 * octave + segment holds
c0..c7 of the polynomial in x in [-1, 1], where p = middle + x * half-width. It interpolates the exact quantile at the
8 Chebyshev nodes cos(pi (2i + 1) / 16), its coefficients rounded to the nearest double. The maximum error is below
4e-15, absolute.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["OCTAVES", "SEGMENTS", "TABLE_SHA256", "TERMS", "HalfQuantile", "columns_by_exponent", "table"]

OCTAVES: Final = 53
SEGMENTS: Final = 16
TERMS: Final = 8
TABLE_SHA256: Final = "dd50258803da2df83b4c5c751f1e4df17da22f8878fdea585d9c583301b3dba4"

MANTISSA_BITS: Final = 48
"""Bits of a double below the four leading mantissa bits that name the segment."""
FIRST_ROW: Final = 1023 << 4
"""The upper 16 bits of the double 1.0, the smallest f."""


@cache
def table() -> NDArray[np.float64]:  # [848, 8]
    """Return the shipped coefficients, checked against their digest; read-only.

    Raises:
        RuntimeError: the installed file is missing or damaged.
    """
    try:
        data = files("strongticket").joinpath("tables", "normal_tab1.bin").read_bytes()
    except FileNotFoundError as error:
        raise RuntimeError("tables/normal_tab1.bin is missing from the package; reinstall strongticket") from error
    found = hashlib.sha256(data).hexdigest()
    if found != TABLE_SHA256:
        raise RuntimeError(
            f"tables/normal_tab1.bin is damaged: expected sha256 {TABLE_SHA256}, got {found}; reinstall strongticket"
        )
    rows = np.frombuffer(data, "<f8").reshape(OCTAVES * SEGMENTS, TERMS).astype(np.float64)
    rows.flags.writeable = False
    return rows


@cache
def columns_by_exponent() -> NDArray[np.float64]:  # [8, 848]
    """Return the table with octaves in ascending order of f, one contiguous row per coefficient c0..c7; read-only.

    In this order the row of a double f is its upper 16 bits (sign, exponent, four mantissa bits) less those of 1.0:
    octave and segment are read off the bits, and no frexp is needed.
    """
    rows = table().reshape(OCTAVES, SEGMENTS, TERMS)[::-1].reshape(-1, TERMS)
    columns = np.ascontiguousarray(rows.T)
    columns.flags.writeable = False
    return columns


@final
class HalfQuantile:
    """Map 52-bit numbers v to the normal quantile of (2v + 1) * 2^-54, in buffers that are used again and again.

    >>> float(HalfQuantile(1)(np.array([2**52 - 1], np.uint64))[0]) < 0
    True

    Args:
        capacity: the most numbers that one call will bring.
    """

    __slots__ = ("_bits", "_coefficient", "_columns", "_row", "_x", "_y")

    def __init__(self, capacity: int) -> None:
        self._columns = columns_by_exponent()
        self._bits = np.empty(capacity, np.int64)
        self._row = np.empty(capacity, np.intp)
        self._x = np.empty(capacity, np.float64)
        self._y = np.empty(capacity, np.float64)
        self._coefficient = np.empty(capacity, np.float64)

    def __call__(self, v: NDArray[np.uint64]) -> NDArray[np.float64]:  # [n] -> [n], overwritten by the next call
        """Return the quantiles, all of them negative."""
        n = v.size
        bits, row = self._bits[:n], self._row[:n]
        x, y, coefficient = self._x[:n], self._y[:n], self._coefficient[:n]
        np.left_shift(v, np.uint64(1), out=bits.view(np.uint64))
        np.bitwise_or(bits, 1, out=bits)
        np.copyto(x, bits)  # f = 2v + 1 below 2^53: exact
        raw = x.view(np.int64)
        np.right_shift(raw, MANTISSA_BITS, out=row)
        np.subtract(row, FIRST_ROW, out=row)
        np.bitwise_and(raw, (1 << MANTISSA_BITS) - 1, out=bits)
        np.copyto(x, bits)
        np.multiply(x, 2.0 ** (1 - MANTISSA_BITS), out=x)
        np.subtract(x, 1.0, out=x)  # exact: x is a multiple of 2^-47 in [-1, 1)
        # mode="clip" writes straight into `out`, where the default goes through a copy; no row is out of range.
        np.take(self._columns[TERMS - 1], row, out=y, mode="clip")
        for term in range(TERMS - 2, -1, -1):
            np.take(self._columns[term], row, out=coefficient, mode="clip")
            np.multiply(y, x, out=y)
            np.add(y, coefficient, out=y)
        return y
