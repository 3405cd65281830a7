"""Linear layers in a basis, known up to a stated error: enclosures of products, and norms of the whole map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch

from strongticket.certify._graph_norms import column_sums, overlap, values_norm
from strongticket.certify._matrix import Matrix, enclosed
from strongticket.certify._rounding import UNIT, Floats, above, lifted, raised
from strongticket.models.bases import AbstractBasis

__all__ = ["Operator", "channel_sums"]

_SMALL, _LARGE = 2.0**-20, 2.0**20


@final
@dataclass(frozen=True, eq=False)
class Operator:
    """Hold the linear map sum over o, i, k of w[o, i, k] E_oi (x) B_k by its coefficients: the `Matrix` of a graph.

    Args:
        basis: the B_k.
        coefficients: [O, I / groups, K], with what is known of their error; no drift.
        groups: runs of channels that see only their own.

    Raises:
        ValueError: entries of the basis that are not 0 and not between 2^-20 and 2^20 in magnitude, for which the
            bounds of underflow do not hold.
    """

    basis: AbstractBasis
    coefficients: Matrix
    groups: int = 1

    def __post_init__(self) -> None:
        entries = getattr(self.basis, "arrays", None)  # of a user's own; those of all others are 0 and 1
        if entries is not None:
            sizes = np.abs(entries[entries != 0])
            if sizes.size and not (sizes.min() >= _SMALL and sizes.max() <= _LARGE):
                raise ValueError(
                    f"a certificate needs basis entries of 2^-20 to 2^20 in magnitude, got {sizes.min():g} to "
                    f"{sizes.max():g}: scale the basis, and the weights the other way"
                )

    @property
    def terms(self) -> int:
        """No less than the roundings between a product and the coordinate it is part of, in whatever order."""
        inputs = int(self.coefficients.value.shape[1])
        return inputs * (self.basis.terms + self.basis.size) + 16

    def times(self, numbers: Floats, x: Floats) -> Floats:
        """Apply coefficients to x [I, *positions] or [batch, I, *positions], in plain float64."""
        return _apply(self.basis, numbers, x, self.groups)

    def size_times(self, numbers: Floats, x: Floats) -> Floats:
        """The same with the absolute values of the basis."""
        return _apply(self.basis.absolute(), numbers, x, self.groups)

    def enclose(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Return bounds of every coordinate of A x over all true A and all low <= x <= high, [I, *positions]."""
        if not (low.any() or high.any()):
            nothing = np.zeros((len(self.coefficients.value), *self.basis.outputs))
            return nothing, nothing
        return enclosed(self.coefficients, self.times, self.size_times, self.terms, low, high)

    @cached_property
    def rows(self) -> Floats:  # [O, *outputs]
        """Upper bounds of the Euclidean norms of the rows.

        By Cauchy and Schwarz, (sum_k w_k B_k[p, q])^2 <= sum_k |B_k[p, q]| sum_k w_k^2 |B_k[p, q]|.
        """
        size = self.coefficients.size
        ones = np.ones((size.shape[1] * self.groups, *self.basis.inputs))
        squares = above(self.size_times(size * size, ones), self.terms) * overlap(self.basis)
        return above(np.sqrt(squares), 8)

    @cached_property
    def holder(self) -> float:
        """Upper bound of sqrt(|A|_1 |A|_inf) of the absolute values, which is above the spectral norm of any A."""
        return _holder(self, self.coefficients.size)

    @cached_property
    def norm(self) -> float:
        """Upper bound of the spectral norm of the whole map, verified; see `_graph_norms`."""
        value = self.coefficients.value
        off = np.abs(value) * UNIT
        if self.coefficients.slack is not None:
            off = off + self.coefficients.slack
        plain = values_norm(self.basis, value, self.groups) + _holder(self, raised(off * (1.0 + 8.0 * UNIT)))
        return lifted(min(plain * (1.0 + 8.0 * UNIT), self.holder))

    @cached_property
    def drift_norm(self) -> float:
        """Upper bound of the norm of true minus held."""
        off = np.abs(self.coefficients.value) * UNIT
        if self.coefficients.slack is not None:
            off = off + self.coefficients.slack
        return lifted(_holder(self, raised(off * (1.0 + 8.0 * UNIT))))

    @cached_property
    def largest(self) -> float:
        """Upper bound of the largest coefficient's magnitude."""
        return float(self.coefficients.size.max(initial=0.0))


def _apply(basis: AbstractBasis, numbers: Floats, x: Floats, groups: int) -> Floats:
    # In float64 on the CPU torch unrolls convolutions into matrix products, so the model of `_rounding` holds; fast
    # transforms, whose errors are other ones, are used for float32 and on other devices.
    single = x.ndim == 1 + len(basis.inputs)
    given = torch.from_numpy(np.ascontiguousarray(x[None] if single else x))
    with torch.no_grad():
        made: Floats = basis.apply(torch.from_numpy(np.ascontiguousarray(numbers)), given, groups).numpy()
    return made[0] if single else made


def _holder(operator: Operator, size: Floats) -> float:
    """sqrt(|A|_1 |A|_inf) for coefficients that are raised sizes."""
    if not size.any():
        return 0.0
    ones = np.ones((size.shape[1] * operator.groups, *operator.basis.inputs))
    rows = float(operator.size_times(size, ones).max())
    columns = float(channel_sums(size * column_sums(operator.basis), operator.groups).max())
    product = math.sqrt(rows) * math.sqrt(columns)
    return float(above(np.asarray(product), operator.terms + size.shape[0] * size.shape[2] + 8))


def channel_sums(size: Floats, groups: int) -> Floats:  # [O, I / groups, K] -> [groups, I / groups]
    """Add over the outputs of each group and over the basis."""
    parts = size.reshape(groups, size.shape[0] // groups, *size.shape[1:])
    total: Floats = parts.sum(axis=(1, 3))
    return total
