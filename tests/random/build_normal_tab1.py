"""Rebuild strongticket/tables/normal_tab1.bin from the definition: python tests/random/build_normal_tab1.py.

Without an option the script only compares digests; --write replaces the shipped file. The coefficients are those of
the exact interpolation problem rounded to the nearest double, so any method that carries enough digits finds the same
bytes: the quantile comes from Newton's method on the tail of erfc in 70 digits, the polynomial from the discrete
orthogonality of Chebyshev polynomials.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

TABLE = Path(__file__).parents[2] / "strongticket" / "tables" / "normal_tab1.bin"
DIGITS = 70
TERMS, SEGMENTS, OCTAVES = 8, 16, 53


def quantile(p: mp.mpf) -> mp.mpf:
    """Return the standard normal quantile of 0 < p < 1/2; a double start and five Newton steps give all digits."""
    z = mp.mpf(float(ndtri(float(p))))
    for _ in range(5):
        z -= (mp.erfc(-z / mp.sqrt(2)) / 2 - p) / mp.npdf(z)
    return z


def interpolation_matrix() -> list[list[mp.mpf]]:
    """Return the matrix that takes values at the Chebyshev nodes to the coefficients of 1, x, ..., x^7."""
    polynomials = [[mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]]  # T_0 and T_1, coefficients from the constant up
    while len(polynomials) < TERMS:
        following = [mp.mpf(0), *(2 * c for c in polynomials[-1])]
        for power, c in enumerate(polynomials[-2]):
            following[power] -= c
        polynomials.append(following)
    matrix = [[mp.mpf(0)] * TERMS for _ in range(TERMS)]
    for degree, coefficients in enumerate(polynomials):
        for node in range(TERMS):
            weight = mp.cos(degree * mp.pi * (2 * node + 1) / (2 * TERMS)) * (1 if degree == 0 else 2) / TERMS
            for power, c in enumerate(coefficients):
                matrix[power][node] += c * weight
    return matrix


def build(octaves: range = range(OCTAVES)) -> NDArray[np.float64]:  # [16 * len(octaves), 8]
    """Return the rows of the octaves named, row 16 * octave + segment in the whole table."""
    with mp.workdps(DIGITS):
        nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * TERMS)) for i in range(TERMS)]
        matrix = interpolation_matrix()
        rows = []
        for octave in octaves:
            for segment in range(SEGMENTS):
                width = mp.ldexp(1, -octave - 2) / SEGMENTS
                middle = (SEGMENTS + segment + mp.mpf(1) / 2) * width
                values = [quantile(middle + node * width / 2) for node in nodes]
                rows.append([float(mp.fdot(line, values)) for line in matrix])
    return np.array(rows)


if __name__ == "__main__":
    made = build().astype("<f8").tobytes()
    if "--write" in sys.argv:
        TABLE.write_bytes(made)
    same = TABLE.is_file() and TABLE.read_bytes() == made
    print(hashlib.sha256(made).hexdigest(), "as shipped" if same else "DIFFERS from the shipped file")
    sys.exit(not same)
