"""Matrices known up to a stated error, and upper bounds of their norms that hold for every matrix within it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from scipy.linalg import lapack
from scipy.sparse.linalg import ArpackError, eigsh

from strongticket.certify._rounding import (
    FLOOR,
    UNIT,
    Floats,
    above,
    columns_above,
    gamma,
    lifted,
    norm_above,
    outward,
    raised,
)

__all__ = ["Matrix", "Product", "enclosed", "spectral_norm"]

Product = Callable[[Floats, Floats], Floats]

_LANCZOS_ABOVE = 200  # size from which Lanczos beats a full eigenvalue decomposition
_MARGINS = (1e-7, 1e-4, 1e-2, 0.1)
_STACK_MARGINS = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_POWER_STEPS = 30
_SMALLEST = 2.0**-960  # added where a product may underflow


@final
@dataclass(frozen=True, eq=False)
class Matrix:
    """Hold a real matrix by a float64 one: |true - value| <= u |value| + slack, and an error of Frobenius norm drift.

    Args:
        value: the float64 matrix.
        slack: what each entry may be off, beyond one rounding; None is zero.
        drift: Frobenius norm of a further error, for products of matrices.
    """

    value: Floats  # [m, n]
    slack: Floats | None = None  # [m, n]
    drift: float = 0.0

    @cached_property
    def size(self) -> Floats:
        """Upper bounds of the true entries' magnitudes (the drift is not in them)."""
        size = np.abs(self.value) if self.slack is None else np.abs(self.value) + self.slack
        return raised(size * (1.0 + 4.0 * UNIT))

    @cached_property
    def frobenius(self) -> float:
        """Upper bound of the Frobenius norm."""
        return (norm_above(self.size) + self.drift) * (1.0 + 4.0 * UNIT)

    @cached_property
    def error(self) -> float:
        """Upper bound of the Frobenius norm of true - value."""
        slack = 0.0 if self.slack is None else norm_above(self.slack)
        return (UNIT * norm_above(self.value) + slack + self.drift) * (1.0 + 8.0 * UNIT)

    @cached_property
    def rows(self) -> Floats:
        """Upper bounds of the rows' Euclidean norms."""
        squares = np.einsum("ij,ij->i", self.size, self.size)
        return (above(np.sqrt(squares), self.value.shape[1]) + self.drift) * (1.0 + 4.0 * UNIT)

    @cached_property
    def norm(self) -> float:
        """Upper bound of the spectral norm, verified."""
        return min((spectral_norm(self.value) + self.error) * (1.0 + 4.0 * UNIT), self.frobenius)

    def enclose(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:  # [n] or [n, batch]
        """Return bounds of every coordinate of A x over all true A and all low <= x <= high."""
        return enclosed(self, np.matmul, np.matmul, self.value.shape[1] + 8, low, high)

    def __matmul__(self, other: Matrix) -> Matrix:
        """Return the product, its rounding counted in the drift."""
        mine, others = self.frobenius, other.frobenius
        lost = gamma(self.value.shape[1] + 2) * mine * others + (_SMALLEST if mine and others else 0.0)
        drift = self.error * (others + other.error) + mine * other.error + lost
        return Matrix(self.value @ other.value, None, drift * (1.0 + 16.0 * UNIT))


def enclosed(
    held: Matrix, times: Product, size_times: Product, terms: int, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Return bounds of every coordinate of A x over all A within `held` and all low <= x <= high, A of any linear form.

    The midpoint may be off its place, as where the ends are subnormal: the radius is measured from where it is.

    Args:
        held: the numbers that A is made of.
        times: (numbers, x) -> A x, in floating point by sums of products.
        size_times: the same of A's absolute values, for nonnegative numbers and x.
        terms: no less than the roundings on the way of a product into a coordinate.
        low: least x.
        high: largest x.
    """
    middle = 0.5 * low + 0.5 * high
    radius = np.maximum(high - middle, middle - low) * (1.0 + 4.0 * UNIT)
    size = raised(middle)
    spread = above(size_times(held.size, raised(radius + gamma(terms) * size)), terms)
    if held.slack is not None:
        spread = spread + above(size_times(raised(held.slack), raised(size + radius)), terms)
    if held.drift:
        spread = spread + lifted(held.drift) * columns_above(size + radius) * (1.0 + 4.0 * UNIT)
    return outward(times(held.value, middle), spread * (1.0 + 4.0 * UNIT))


def spectral_norm(matrix: Floats) -> float:  # [m, n], or a stack [f, m, n]
    """Return a proved upper bound of a float64 matrix's spectral norm, as a rule within 1e-6 of it, relatively.

    Of a stack of matrices the largest norm is bounded, as a rule within 1e-2 of it.

    A candidate t for the largest eigenvalue of the Gram matrix G comes from an eigenvalue solver that is not trusted.
    If the floating-point Cholesky factorisation of M = fl(tI - G) runs to its end then its factor R obeys R'R = M + D
    with |D| <= gamma |R'||R| entrywise. On the diagonal |r_i|^2 = M_ii + D_ii <= M_ii + gamma |r_i|^2, so
    |r_i|^2 <= M_ii / (1 - gamma), so |D_ij| <= gamma / (1 - gamma) sqrt(M_ii M_jj), and the spectral norm of D is at
    most gamma / (1 - gamma) trace(M) (Demmel 1989; Rump 2006, "Verification of positive definiteness"). R'R is positive
    semidefinite, hence M >= -|D|, hence the largest eigenvalue of the exact Gram matrix is at most t plus |D| plus what
    forming G and M rounded. Textbook orders of summation have gamma = gamma_(n+1); we take gamma_(4n+16), so that
    blocked kernels that multiply by reciprocals of pivots are covered too.
    """
    stack = matrix if matrix.ndim == 3 else matrix[None]
    if not stack.size:
        return 0.0
    sizes = [norm_above(one) for one in stack]
    bounds = [max(sizes), max(_holder(one) for one in stack)]
    if min(stack.shape[1:]) <= 1 or not all(0 < bound < math.inf for bound in bounds):
        return max(min(size, _holder(one)) for size, one in zip(sizes, stack, strict=True))
    exponent = math.frexp(float(np.abs(stack).max()))[1]
    scaled = np.ldexp(stack, -exponent)
    flat = scaled if stack.shape[1] <= stack.shape[2] else scaled.swapaxes(1, 2)
    gram = flat @ flat.swapaxes(1, 2)
    longest = max(norm_above(one) for one in flat)
    lost = gamma(flat.shape[2] + 4) * longest**2 + _SMALLEST  # |fl(AA') - AA'| <= gamma |A||A'| entrywise
    size = flat.shape[1]
    rounding = 2.0 * gamma(4 * size + 16) * size
    largest = _largest_eigenvalue(gram[0]) if len(gram) == 1 else _largest_of_stack(gram)
    for margin in _MARGINS if len(gram) == 1 else _STACK_MARGINS:
        shift = largest * (1.0 + margin)
        if all(_definite(one, shift) for one in gram):
            square = (shift * (1.0 + rounding + 8.0 * UNIT) + lost) * (1.0 + 8.0 * UNIT)
            bounds.append(max(math.ldexp(math.sqrt(square) * (1.0 + 8.0 * UNIT), exponent), FLOOR))
            break
    return min(bounds)


def _definite(gram: Floats, shift: float) -> bool:
    """Whether the Cholesky factorisation of shift I - gram runs to its end."""
    shifted = -gram
    shifted[np.diag_indices(len(gram))] += shift  # one rounding, below u * (shift + entry) <= 4 u shift
    return bool(lapack.dpotrf(shifted, lower=1, clean=0, overwrite_a=1)[1] == 0)


def _largest_of_stack(gram: Floats) -> float:  # [f, s, s]
    """Estimate the largest eigenvalue of a stack of Gram matrices from below; nothing is proved here."""
    vector = np.cos(np.arange(1.0, gram.shape[1] + 1.0))[None, :, None].repeat(len(gram), axis=0)
    length = np.ones((len(gram), 1, 1))
    for _ in range(_POWER_STEPS):
        vector = gram @ (vector / length)
        length = np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-300)
    return float(length.max())


def _largest_eigenvalue(gram: Floats) -> float:
    """Estimate the largest eigenvalue; nothing is proved here."""
    size = len(gram)
    if size > _LANCZOS_ABOVE:
        start = np.cos(np.arange(1.0, size + 1.0))
        try:
            return float(eigsh(gram, k=1, which="LA", v0=start, tol=1e-5, return_eigenvectors=False)[0])
        except ArpackError:
            pass
    return float(np.linalg.eigvalsh(gram)[-1])


def _holder(matrix: Floats) -> float:
    """Return an upper bound of sqrt(|A|_1 |A|_inf), which is above the spectral norm."""
    size = raised(matrix)
    rows, columns = size.sum(axis=1), size.sum(axis=0)
    if not size.size:
        return 0.0
    product = math.sqrt(float(rows.max())) * math.sqrt(float(columns.max()))
    return float(above(np.asarray(product), max(size.shape)))
