"""The empirical Fisher matrix of a whole network and its inverse, without ever making either.

F = damping I + (1/N) G' G has as many rows as the network has weights, but a rank of at most N beyond the damping. So
all that pruning asks of its inverse comes from the small matrix K = N damping I + G G' (singh2020woodfisher builds the
same inverse by N rank-one steps). With K = L L' and Z = L^-1 G, the inverse of F is (I - Z' Z) / damping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Final, final

import torch
from torch import Tensor

from strongticket.pruning.quadratic import inverse_by_recursion

__all__ = ["LowRankFisher", "block_diagonal_inverses", "cholesky_inverse", "fisher_inverse", "recursion_inverse"]

_CHUNK: Final = 4096


@final
class LowRankFisher:
    """Answer questions about F = damping I + (1/N) G' G and its inverse, in float64 whatever the dtype of G.

    Only the small matrix K and what is asked for are float64: G may stay float32, and is widened by chunks of columns.

    Args:
        gradients: G, a row per example (or group of examples) [N, n], float32 or float64.
        damping: above 0, in units of squared derivatives.
        gram: G G' in float64 [N, N] where it is known already; None: computed.

    Raises:
        ValueError: shapes that do not fit, no rows, gradients that are not finite, or damping that is not above 0.

    >>> fisher = LowRankFisher(torch.tensor([[3.0, 0.0]]), damping=1.0)
    >>> fisher.diagonal_of_inverse()
    tensor([0.1000, 1.0000], dtype=torch.float64)
    """

    def __init__(self, gradients: Tensor, damping: float, *, gram: Tensor | None = None) -> None:
        _check(gradients, damping)
        self.gradients = gradients
        self.damping = damping
        if gram is None:
            gram = self._gram()
        elif gram.shape != (len(gradients), len(gradients)) or gram.dtype != torch.float64:
            raise ValueError(f"expected a float64 Gram matrix of {len(gradients)} rows, got {gram.dtype} {gram.shape}")
        if not bool(torch.isfinite(gram).all()):
            raise ValueError("the gradients hold NaN or infinite values: the loss is not smooth there, or overflows")
        shifted = gram + len(gradients) * damping * torch.eye(len(gradients), dtype=gram.dtype, device=gram.device)
        self.factor = _cholesky(shifted)
        """L, the lower Cholesky factor of K [N, N] float64."""

    @property
    def rows(self) -> int:
        """N."""
        return len(self.gradients)

    @property
    def size(self) -> int:
        """n."""
        return self.gradients.shape[1]

    @cached_property
    def _inverse_factor(self) -> Tensor:
        # products run at twice the speed of triangular solves; L is as well-conditioned as the square root of K
        eye = torch.eye(self.rows, dtype=self.factor.dtype, device=self.factor.device)
        inverse: Tensor = torch.linalg.solve_triangular(self.factor, eye, upper=False)
        return inverse

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        for begin in range(0, self.size, _CHUNK):
            part = slice(begin, begin + _CHUNK)
            yield part, self.gradients[:, part].double()

    def _gram(self) -> Tensor:
        gram = torch.zeros(self.rows, self.rows, dtype=torch.float64, device=self.gradients.device)
        for _, chunk in self._chunks():
            gram.addmm_(chunk, chunk.T)
        return gram

    def whitened(self, index: Tensor | slice) -> Tensor:  # [N, m] float64
        """Return Z = L^-1 G at some columns: the inverse of F is (I - Z' Z) / damping."""
        z: Tensor = torch.linalg.solve_triangular(self.factor, self.gradients[:, index].double(), upper=False)
        return z

    def mean(self) -> Tensor:  # [n] float64
        """Return the mean of the gradients."""
        ones = torch.ones(self.rows, dtype=torch.float64, device=self.gradients.device)
        return self.transposed(ones / self.rows)

    def diagonal(self) -> Tensor:  # [n] float64
        """Return the diagonal of F: damping plus the mean squared derivative of each weight."""
        out = torch.empty(self.size, dtype=torch.float64, device=self.gradients.device)
        for part, chunk in self._chunks():
            out[part] = chunk.square().sum(0)
        return out.div_(self.rows).add_(self.damping)

    def diagonal_of_inverse(self) -> Tensor:  # [n] float64
        """Return the diagonal of the inverse of F, between 1 / (largest eigenvalue of F) and 1 / damping."""
        out = torch.empty(self.size, dtype=torch.float64, device=self.gradients.device)
        for part, chunk in self._chunks():
            squares = chunk.square().sum(0).div_(self.rows)
            inside = (self._inverse_factor @ chunk).square_().sum(0).neg_().add_(1.0)
            # [F^-1]_qq >= 1 / F_qq in exact arithmetic: keeps cancellation from making it 0 or less
            out[part] = torch.maximum(inside / self.damping, 1 / (squares + self.damping))
        return out

    def multiply(self, x: Tensor) -> Tensor:  # [n] or [n, k], float64
        """Return F x."""
        x = x.double()
        return self.transposed(self.across(x) / self.rows) + self.damping * x

    def solve(self, x: Tensor) -> Tensor:  # [n] or [n, k], float64
        """Return the inverse of F times x."""
        x = x.double()
        across = self.across(x)
        wide = across.unsqueeze(1) if x.ndim == 1 else across
        inner = torch.cholesky_solve(wide, self.factor).view_as(across)
        return (x - self.transposed(inner)) / self.damping

    def quadratic(self, x: Tensor) -> float:
        """Return x' F x / 2, the increase of the loss that F predicts for a step x [n] from a minimum."""
        x = x.double()
        return float(self.damping * x.dot(x) + self.across(x).square().sum() / self.rows) / 2

    def block(self, index: Tensor) -> Tensor:  # [m] -> [m, m] float64
        """Return rows and columns `index` of the inverse of F (not the inverse of a block of F)."""
        z = self.whitened(index)
        inverse = torch.mm(z.T, z).neg_()
        inverse.diagonal().add_(1.0)
        return inverse.div_(self.damping)

    def across(self, x: Tensor) -> Tensor:
        """Return G times x [n] or [n, k]."""
        out = torch.zeros(self.rows, *x.shape[1:], dtype=torch.float64, device=x.device)
        for part, chunk in self._chunks():
            out += chunk @ x[part]
        return out

    def transposed(self, y: Tensor) -> Tensor:
        """Return the transpose of G times y [N] or [N, k]."""
        out = torch.empty(self.size, *y.shape[1:], dtype=torch.float64, device=y.device)
        for part, chunk in self._chunks():
            out[part] = chunk.T @ y
        return out


def recursion_inverse(gradients: Tensor, damping: float) -> Tensor:  # [N, n] -> [n, n] float64
    """Return the inverse of F one gradient after the other, as hassibi1992second and singh2020woodfisher define it.

    Slow: the other forms are held against it.
    """
    _check(gradients, damping)
    return inverse_by_recursion(gradients.double(), damping)


def cholesky_inverse(gradients: Tensor, damping: float) -> Tensor:  # [..., N, n] -> [..., n, n] float64
    """Return the inverse of F from F itself, for several blocks of weights at a time."""
    _check(gradients, damping)
    rows, n = gradients.shape[-2:]
    wide = gradients.double()
    fisher = (wide.mT @ wide).div_(rows)
    fisher.diagonal(dim1=-2, dim2=-1).add_(damping)
    return torch.cholesky_inverse(_cholesky(fisher)) if n else fisher


def fisher_inverse(gradients: Tensor, damping: float) -> Tensor:  # [N, n] -> [n, n] float64
    """Return the inverse of F by the cheaper form: through F itself up to n = N, through the small matrix above.

    >>> fisher_inverse(torch.tensor([[3.0, 0.0]]), 1.0).diagonal()
    tensor([0.1000, 1.0000], dtype=torch.float64)
    """
    if gradients.shape[1] <= len(gradients):
        return cholesky_inverse(gradients, damping)
    return LowRankFisher(gradients, damping).block(torch.arange(gradients.shape[1], device=gradients.device))


def block_diagonal_inverses(gradients: Tensor, damping: float, block: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield (which weights, their inverse [b, b] float64) for consecutive blocks of the weights, each by itself.

    Args:
        gradients: [N, n].
        damping: above 0.
        block: weights per block, at least 1; the last one may be smaller.

    Raises:
        ValueError: see `LowRankFisher`; or a block below 1.
    """
    _check(gradients, damping)
    if block < 1:
        raise ValueError(f"expected blocks of at least one weight, got {block}")
    rows, n = gradients.shape
    together = max(1, (1 << 25) // (8 * block * max(block, rows))) if block <= rows else 1
    for begin in range(0, n, block * together):
        part = gradients[:, begin : begin + block * together]
        whole = part.shape[1] // block * block
        if block <= rows and whole:
            batch = part[:, :whole].reshape(rows, -1, block).transpose(0, 1)
            for i, inverse in enumerate(cholesky_inverse(batch, damping)):
                yield slice(begin + i * block, begin + (i + 1) * block), inverse
        elif whole:
            yield slice(begin, begin + whole), fisher_inverse(part[:, :whole], damping)
        if whole < part.shape[1]:
            yield slice(begin + whole, begin + part.shape[1]), fisher_inverse(part[:, whole:], damping)


def _cholesky(matrix: Tensor) -> Tensor:
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool((info != 0).any()):
        raise ValueError("the Fisher matrix is singular to rounding: raise the damping, or check the gradients for NaN")
    return factor


def _check(gradients: Tensor, damping: float) -> None:
    if gradients.ndim < 2 or not gradients.shape[-2] or gradients.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"expected gradients [N, n] in float32 or float64, N >= 1, got {gradients.dtype} {tuple(gradients.shape)}"
        )
    if not 0 < damping < math.inf:
        raise ValueError(f"damping keeps the Fisher matrix invertible: expected a number above 0, got {damping}")
