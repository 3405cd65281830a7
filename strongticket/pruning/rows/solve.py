"""Remove the weights of each row one by one, the cheapest first, while the others make up for it: exact greedy OBS."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from strongticket.pruning.rows import _row_compiled, _row_torch

__all__ = ["BACKENDS", "Backend", "Removal", "remove_in_order", "steps_to_n_of_m"]

Backend = Literal["auto", "numba", "torch"]
BACKENDS: tuple[Backend, ...] = ("auto", "numba", "torch")


@dataclass(frozen=True, eq=False)
class Removal:
    """In which order rows lose their weights, and what each step costs.

    Attributes:
        order: columns, the first to go first [rows, steps] int64.
        losses: increase of the row's quadratic loss by each step [rows, steps] float64, at least 0. A later step may
            cost less than an earlier one.
    """

    order: Tensor
    losses: Tensor

    def kept(self, removed: Tensor, d: int) -> Tensor:  # [rows] int64 -> [rows, d] bool
        """Mark the columns that are left when each row has gone `removed` steps.

        >>> Removal(torch.tensor([[2, 0], [1, 2]]), torch.zeros(2, 2)).kept(torch.tensor([1, 2]), 3)
        tensor([[ True,  True, False],
                [ True, False, False]])
        """
        steps = torch.arange(self.order.shape[1], device=self.order.device)
        gone = steps < removed.to(self.order.device)[:, None]
        kept = torch.ones(len(self.order), d, dtype=torch.bool, device=self.order.device)
        return kept.scatter(1, self.order, ~gone)


def remove_in_order(
    weight: Tensor,  # [rows, d]
    inverse: Tensor,  # [d, d] or [rows, d, d]
    steps: int | None = None,
    *,
    start: Tensor | None = None,  # [rows, d] bool
    n_of_m: tuple[int, int] | None = None,
    backend: Backend = "auto",
    threads: int = 1,
) -> Removal:
    """Return the order in which the greedy optimal brain surgeon removes the weights of each row (Hassibi 1993).

    A row w has the loss (w' - w) H (w' - w)^T / 2. Each step removes the weight p of least w_p^2 / (2 [H^-1]_pp), the
    lowest column of equals, moves the others to where the loss is least without it, and goes on with H^-1 of what is
    left. Rows do not know of each other, so the result does not depend on the number of threads. Memory: one matrix
    [d, d] per thread, or a few at a time (torch); never one per row.

    Args:
        weight: rows to prune, finite. The dtype, float64 or float32, is that of the arithmetic; in float32 near ties
            are settled differently.
        inverse: inverse of H, symmetric positive definite, one for all rows or one for each; the lower triangle is
            read. For a row of which columns are pruned already that is the inverse of the whole H.
        steps: how many weights to remove from each row; None: all.
        start: False where a weight is pruned already: those go first, at loss 0, the lowest column first. None: all
            True. Their weights count as 0.
        n_of_m: (n, m): of each m columns side by side the last n of a row go late, after the others of the row, so
            that a prefix leaves n of m; see `steps_to_n_of_m`. Up to there the order is greedy among the columns that
            may go; in what follows it need not be, as large offsets swallow the digits that tell losses apart.
        backend: "numba": compiled, on the CPU; "torch": on any device; "auto": numba for tensors on the CPU where it
            is installed.
        threads: threads of the numba backend.

    Returns:
        Order and losses, on the device of the weights.

    Raises:
        ValueError: shapes that do not fit, a number of steps out of range, or a diagonal that is not positive.
        TypeError: dtypes other than float32 and float64, or different ones.
        ImportError: backend "numba" without numba.

    >>> removal = remove_in_order(torch.tensor([[3.0, 1.0, 2.0]]), torch.eye(3))
    >>> removal.order, removal.losses
    (tensor([[1, 2, 0]]), tensor([[0.5000, 2.0000, 4.5000]], dtype=torch.float64))
    """
    steps = _checked(weight, inverse, steps, start, n_of_m, backend, threads)
    weight, inverse = weight.detach(), inverse.detach()
    start = torch.ones_like(weight, dtype=torch.bool) if start is None else start.to(weight.device)
    if backend == "auto":
        backend = "numba" if weight.device.type == "cpu" and find_spec("numba") else "torch"
    if 0 in (weight.shape[0], steps):
        empty = weight.new_empty(len(weight), steps, dtype=torch.float64)
        return Removal(empty.long(), empty)
    if backend == "torch":
        removal = Removal(*_row_torch.eliminate(weight, inverse, start, steps, n_of_m))
    else:
        removal = Removal(*_row_compiled.eliminate(weight, inverse, start, steps, n_of_m, threads))
    if not bool(torch.isfinite(removal.losses).all()):
        raise ValueError("the losses overflow: H is singular to working precision; add damping, or scale the weights")
    return removal


def steps_to_n_of_m(start: Tensor, n_of_m: tuple[int, int]) -> Tensor:  # [rows, d] bool -> [rows] int64
    """Return after how many steps of `remove_in_order` at most n of each m columns side by side are left.

    A last group of fewer than m columns keeps at most n as well.

    >>> steps_to_n_of_m(torch.tensor([[True] * 6, [False] * 3 + [True] * 3]), (2, 4))
    tensor([2, 3])
    """
    n, m = n_of_m
    rows, d = start.shape
    padded = torch.nn.functional.pad(start, (0, -d % m)).view(rows, -1, m)
    return d - padded.sum(2).clamp(max=n).sum(1)


def _checked(
    weight: Tensor,
    inverse: Tensor,
    steps: int | None,
    start: Tensor | None,
    n_of_m: tuple[int, int] | None,
    backend: str,
    threads: int,
) -> int:
    if weight.ndim != 2 or tuple(inverse.shape) not in ((weight.shape[1],) * 2, (*weight.shape, weight.shape[1])):
        raise ValueError(
            f"expected weights [rows, d] and an inverse [d, d] or [rows, d, d], got {tuple(weight.shape)} and "
            f"{tuple(inverse.shape)}"
        )
    if weight.dtype not in (torch.float32, torch.float64) or inverse.dtype != weight.dtype:
        raise TypeError(f"expected float32 or float64 for both, got weights {weight.dtype}, inverse {inverse.dtype}")
    d = weight.shape[1]
    if steps is not None and not 0 <= steps <= d:
        raise ValueError(f"expected 0 to {d} steps, got {steps}")
    if start is not None and (start.shape != weight.shape or start.dtype != torch.bool):
        raise ValueError(f"expected a boolean start of shape {tuple(weight.shape)}, got {start.dtype} {start.shape}")
    if n_of_m is not None and not 1 <= n_of_m[0] <= n_of_m[1]:
        raise ValueError(f"expected n_of_m = (n, m) with 1 <= n <= m, got {n_of_m}")
    if backend not in BACKENDS:
        raise ValueError(f"expected backend in {BACKENDS}, got {backend!r}")
    if threads < 1:
        raise ValueError(f"expected at least one thread, got {threads}")
    if not bool((inverse.diagonal(dim1=-2, dim2=-1) > 0).all()) or not bool(torch.isfinite(inverse).all()):
        raise ValueError("expected a finite inverse with a positive diagonal: H is not positive definite; add damping")
    if not bool(torch.isfinite(weight).all()):
        raise ValueError("the weights hold NaN or infinite values")
    return d if steps is None else steps
