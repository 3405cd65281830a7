"""Improve the supports of rows: exchange a kept for a pruned weight as long as one exchange lowers the loss."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from strongticket.pruning.rows._row_compiled import aligned, load_kernels, shares
from strongticket.pruning.rows.solve import BACKENDS, Backend

__all__ = ["Swapped", "swap"]

_TENURE = 2


@dataclass(frozen=True, eq=False)
class Swapped:
    """Supports after exchanges.

    Attributes:
        kept: the supports [rows, d], as large as before.
        gain: by how much the loss of each row fell [rows] float64, by its own account.
        count: number of exchanges that led to each row's support [rows] int64.
    """

    kept: Tensor
    gain: Tensor
    count: Tensor


def swap(
    target: Tensor,  # [rows, d] float64
    hessian: Tensor,  # [d, d] float64
    kept: Tensor,  # [rows, d] bool
    *,
    allowed: Tensor | None = None,  # [rows, d] bool
    patience: int = 8,
    most: int | None = None,
    tolerance: float = 1e-12,
    backend: Backend = "auto",
    threads: int = 1,
) -> Swapped:
    """Exchange weights within rows, the best exchange first, as long as that lowers (w - target) H (w - target)^T / 2.

    The weights on a support are always the best ones. With M = (H_SS)^-1, C = H_PS M, r = (H (target - w))_P and
    s = diag(H_PP - C H_SP), exchanging i in S for j in P changes the loss by half of
    w_i^2 / M_ii - (r_j + C_ji w_i / M_ii)^2 / (s_j + C_ji^2 / M_ii): so one search costs |S| |P| operations.

    Args:
        target: rows of least loss without a support.
        hessian: symmetric positive definite.
        kept: the supports to start from.
        allowed: columns that may come in; None: all.
        patience: exchanges that a row goes uphill from its best support, the least loss first, in search of a better
            one; what was exchanged on the way stays put for two exchanges. 0: stop where no exchange helps. The best
            support counts.
        most: exchanges per row at most; None: a generous limit.
        tolerance: exchanges that earn less than this part of target H target^T do not count as better; above 0.
        backend: see `remove_in_order`; "torch" is slow, and on any device.
        threads: of the numba backend; results do not depend on it.

    Raises:
        ValueError: shapes or a tolerance that do not fit, or H not positive definite on a support.
        TypeError: other dtypes.

    >>> hessian = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    >>> swapped = swap(torch.tensor([[1.0, 2.0]]).double(), hessian, torch.tensor([[True, False]]))
    >>> swapped.kept.tolist(), swapped.count.tolist()
    ([[False, True]], [1])
    """
    allowed = _checked(target, hessian, kept, allowed, backend, tolerance, patience, threads)
    most = 8 * target.shape[1] + 64 if most is None else most
    right = target @ hessian
    limits = tolerance * (right * target).sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    if backend == "auto":
        backend = "numba" if target.device.type == "cpu" and find_spec("numba") else "torch"
    if backend == "torch":
        rows = [_row(hessian, *given, patience, most) for given in zip(right, kept, allowed, limits, strict=True)]
        gain, count = ([row[k] for row in rows] for k in (1, 2))
        own = torch.stack([row[0] for row in rows]) if rows else kept.clone()
        device = target.device
        return Swapped(own, torch.tensor(gain, dtype=torch.float64, device=device), torch.tensor(count, device=device))
    return _compiled(hessian, right, kept, allowed, limits, patience, most, threads)


def _compiled(
    hessian: Tensor,
    right: Tensor,
    kept: Tensor,
    allowed: Tensor,
    limits: Tensor,
    patience: int,
    most: int,
    threads: int,
) -> Swapped:
    load_kernels()
    from strongticket.pruning.rows import _swap_kernels as kernels

    rows, d = kept.shape
    matrix, sides, free, tolerance = (
        np.ascontiguousarray(tensor.cpu().numpy()) for tensor in (hessian, right, allowed, limits)
    )
    own = kept.cpu().numpy().copy()
    gains, counts = np.zeros(rows), np.zeros(rows, np.int64)
    pitch = kernels.pitch_for(d)
    largest = int(kept.sum(1).max()) if rows else 0

    def work(span: slice) -> bool:
        scratch = aligned(kernels.scratch_elements(d, largest), np.float64)
        return bool(
            kernels.exchange(
                matrix, sides[span], own[span], free[span], tolerance[span], patience, most, gains[span], counts[span],
                scratch, pitch,
            )
        )  # fmt: skip

    spans = shares(rows, threads)
    if len(spans) > 1:
        with ThreadPoolExecutor(len(spans)) as pool:
            solved = all(list(pool.map(work, spans)))
    else:
        solved = all(work(span) for span in spans)
    if not solved:
        raise ValueError("H is not positive definite on a support: add damping")
    return Swapped(*(torch.from_numpy(array).to(kept.device) for array in (own, gains, counts)))


def _row(
    hessian: Tensor, right: Tensor, kept: Tensor, allowed: Tensor, tolerance: Tensor, patience: int, most: int
) -> tuple[Tensor, float, int]:
    """One row, everything from scratch at each exchange."""
    kept, best = kept.clone(), kept
    held = torch.zeros_like(right, dtype=torch.int64)
    now, least, found = 0.0, 0.0, 0
    for made in range(most):
        if made - found > patience:
            break
        change, i, j = _best(hessian, right, kept, allowed, held > made)
        if change == math.inf or (patience == 0 and not change < -float(tolerance)):
            break
        kept[i], kept[j] = False, True
        now += change
        if now < least - float(tolerance):
            least, found, best = now, made + 1, kept.clone()
            held.zero_()
        else:
            held[i] = held[j] = made + 1 + _TENURE
    return best, -0.5 * least, found


def _best(hessian: Tensor, right: Tensor, kept: Tensor, allowed: Tensor, held: Tensor) -> tuple[float, int, int]:
    """Twice the change of the loss by the best exchange of columns that are not held, and its columns."""
    support, pruned = kept.nonzero()[:, 0], (allowed & ~kept).nonzero()[:, 0]
    if not len(support) or not len(pruned):
        return math.inf, 0, 0
    factor, failed = torch.linalg.cholesky_ex(hessian[support][:, support])
    if bool(failed):
        raise ValueError("H is not positive definite on a support: add damping")
    inverse = torch.cholesky_inverse(factor)
    beside = hessian[pruned][:, support]  # [m, k]
    cross = beside @ inverse
    weight = inverse @ right[support]
    residual = right[pruned] - beside @ weight
    spare = hessian.diagonal()[pruned] - (cross * beside).sum(1)
    own = inverse.diagonal()
    left = (spare[:, None] + cross.square() / own).clamp(min=1e-14 * float(hessian.diagonal()[pruned].max()))
    change = weight.square() / own - (residual[:, None] + cross * weight / own).square() / left  # [m, k]
    change = change.masked_fill(held[pruned][:, None] | held[support], math.inf)
    at = int(change.T.argmin())
    i, j = divmod(at, len(pruned))
    return float(change[j, i]), int(support[i]), int(pruned[j])


def _checked(
    target: Tensor,
    hessian: Tensor,
    kept: Tensor,
    allowed: Tensor | None,
    backend: str,
    tolerance: float,
    patience: int,
    threads: int,
) -> Tensor:
    if target.ndim != 2 or tuple(hessian.shape) != (target.shape[1],) * 2 or kept.shape != target.shape:
        raise ValueError(
            f"expected rows [rows, d], H [d, d] and supports [rows, d], got {tuple(target.shape)}, "
            f"{tuple(hessian.shape)} and {tuple(kept.shape)}"
        )
    if target.dtype != torch.float64 or hessian.dtype != torch.float64 or kept.dtype != torch.bool:
        raise TypeError(f"expected float64 rows and H and boolean supports, got {target.dtype}, {hessian.dtype}")
    if not tolerance > 0 or patience < 0 or threads < 1 or backend not in BACKENDS:
        raise ValueError(
            f"expected a tolerance above 0, a patience of at least 0, at least one thread and a backend in {BACKENDS}, "
            f"got {tolerance}, {patience}, {threads} and {backend!r}"
        )
    allowed = torch.ones_like(kept) if allowed is None else allowed.to(kept.device)
    if allowed.shape != kept.shape:
        raise ValueError(f"expected allowed columns of shape {tuple(kept.shape)}, got {tuple(allowed.shape)}")
    return allowed
