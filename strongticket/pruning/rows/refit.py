"""The best weights on a given support: exact least squares, row by row."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["refit", "row_losses"]

_SCRATCH = 1 << 27  # bytes of sub-matrices that are held at a time


def refit(target: Tensor, hessian: Tensor, kept: Tensor) -> Tensor:  # [rows, d], [d, d], [rows, d] bool -> [rows, d]
    """Return the rows w on their supports S of least (w - target) H (w - target)^T: w_S = H_SS^-1 (H target)_S.

    Rows of similar support size are solved together by Cholesky factors, as many as fit into some memory.

    Args:
        target: the rows of least loss without a support.
        hessian: symmetric positive definite; the dtype is that of the arithmetic.
        kept: the supports.

    Returns:
        Rows in the dtype of `hessian`, 0 outside the support.

    Raises:
        ValueError: H is not positive definite on a support.

    >>> hessian = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> refit(torch.tensor([[1.0, 1.0]]), hessian, torch.tensor([[True, False]]))
    tensor([[1.5000, 0.0000]])
    """
    target = target.to(hessian)
    kept = kept.to(hessian.device)
    right = (target @ hessian) * kept
    sizes = kept.sum(1)
    rising = torch.argsort(sizes, stable=True)
    result = torch.zeros_like(target)
    first = int((sizes == 0).sum())  # empty supports are done
    while first < len(rising):
        # the widest row of a chunk sets its memory: rows come in rising order, so look ahead
        most = max(1, _SCRATCH // (int(sizes[rising[first]]) ** 2 * target.element_size()))
        rows = rising[first : first + most]
        rows = rows[: max(1, _SCRATCH // (int(sizes[rows[-1]]) ** 2 * target.element_size()))]
        result[rows] = _solve(right[rows], hessian, kept[rows])
        first += len(rows)
    return result


def _solve(right: Tensor, hessian: Tensor, kept: Tensor) -> Tensor:
    """Solve rows together; supports are padded by unit columns to the size of the largest."""
    width = int(kept.sum(1).max())
    index = torch.argsort(~kept, dim=1, stable=True)[:, :width]  # [rows, width], the support first
    real = kept.gather(1, index)
    matrix = hessian[index[:, :, None], index[:, None, :]]
    matrix = matrix * (real[:, :, None] & real[:, None, :]) + torch.diag_embed((~real).to(matrix))
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        raise ValueError("H is not positive definite on a support: add damping")
    solved = torch.cholesky_solve(right.gather(1, index)[:, :, None], factor)[:, :, 0]
    return torch.zeros_like(right).scatter(1, index, solved * real)


def row_losses(weight: Tensor, target: Tensor, hessian: Tensor) -> Tensor:  # [rows, d] twice, [d, d] -> [rows]
    """Return (w - target) H (w - target)^T / 2 of each row, in the dtype of H.

    >>> row_losses(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]]), torch.eye(2))
    tensor([2.])
    """
    change = weight.to(hessian) - target.to(hessian)
    return 0.5 * ((change @ hessian) * change).sum(1)
