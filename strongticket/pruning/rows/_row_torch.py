"""The elimination of `remove_in_order` in torch alone: many rows at a time, in panels of pivots, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["eliminate"]

_PANEL = 32
_SCRATCH = 1 << 28  # bytes of inverses that are held at a time
_COMPACT = 0.85


def eliminate(
    weight: Tensor,  # [rows, d]
    inverse: Tensor,  # [d, d] or [rows, d, d]
    start: Tensor,  # [rows, d] bool
    steps: int,
    n_of_m: tuple[int, int] | None,
) -> tuple[Tensor, Tensor]:  # [rows, steps] int64, [rows, steps] float64
    """Return order and losses; see `remove_in_order`, which checks the arguments."""
    rows, d = weight.shape
    chunk = max(1, min(64, _SCRATCH // (d * d * weight.element_size())))
    order = torch.empty(rows, steps, dtype=torch.int64, device=weight.device)
    losses = torch.empty(rows, steps, dtype=torch.float64, device=weight.device)
    shared = _symmetric(inverse) if inverse.ndim == 2 else None
    for first in range(0, rows, chunk):
        part = slice(first, first + chunk)
        own = _symmetric(inverse[part]) if shared is None else shared.expand(len(weight[part]), d, d)
        _Chunk(weight[part], own, start[part], n_of_m).run(order[part], losses[part])
    return order, losses


def _symmetric(inverse: Tensor) -> Tensor:
    """Return the matrices of which the lower triangles are given: rows of them are read whole."""
    return inverse.tril() + inverse.tril(-1).mT


class _Chunk:
    """Rows that lose their weights side by side: the same number of columns is left in each at any time.

    The inverses are brought up to date once per panel: within one, the row of a pivot is made from the inverse as it
    was before the panel and the panel's earlier pivots.
    """

    def __init__(self, weight: Tensor, inverse: Tensor, start: Tensor, n_of_m: tuple[int, int] | None) -> None:
        rows, d = weight.shape
        late = torch.finfo(weight.dtype).max ** 0.5
        self.weight = weight * start
        self.inverse = inverse.clone()
        self.diagonal = inverse.diagonal(dim1=1, dim2=2).clone()
        self.floor = self.diagonal.amax(1, keepdim=True) * torch.finfo(weight.dtype).tiny
        self.column = torch.arange(d, device=weight.device).repeat(rows, 1)
        self.late = torch.tensor(late, dtype=weight.dtype, device=weight.device)
        self.bias = torch.where(start, torch.zeros_like(self.late), -self.late)  # what is pruned already goes first
        self.keep, self.group = n_of_m or (0, d)
        size = (d - self.group * torch.arange(-(-d // self.group), device=weight.device)).clamp(max=self.group)
        self.left = size.repeat(rows, 1)  # columns of each group that are not gone
        self._close_groups()

    def _close_groups(self) -> None:
        """Let the columns of groups that have no more than `keep` left go late."""
        if self.keep:
            full = (self.left <= self.keep).gather(1, self.column // self.group)
            self.bias = torch.where(full & (self.bias == 0), self.late, self.bias)

    def run(self, order: Tensor, losses: Tensor) -> None:
        """Write as many steps of the elimination as there is room for."""
        steps = order.shape[1]
        for begin in range(0, steps, _PANEL):
            width = min(_PANEL, steps - begin)
            panel = self.weight.new_zeros(len(order), width, self.weight.shape[1])
            for step in range(width):
                order[:, begin + step], losses[:, begin + step] = self._remove(panel, step)
            if begin + width < steps:
                self.inverse.baddbmm_(panel.transpose(1, 2), panel, alpha=-1)
                self._compact()

    def _remove(self, panel: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Take the weight of least loss out of each row; write its scaled row of the inverse into the panel."""
        score = self.weight.square() / self.diagonal + self.bias
        pivot = score.argmin(1, keepdim=True)  # [rows, 1], the first of equals
        wide = pivot[:, :, None].expand(-1, -1, self.weight.shape[1])
        row = self.inverse.gather(1, wide)  # [rows, 1, n]
        if step:
            done = panel[:, :step]
            factors = done.gather(2, pivot[:, :, None].expand(-1, step, -1)).transpose(1, 2)  # [rows, 1, step]
            row = torch.baddbmm(row, factors, done, alpha=-1)
        own, column = self.weight.gather(1, pivot), self.column.gather(1, pivot)
        root = self.diagonal.gather(1, pivot).sqrt()
        scaled = row[:, 0].div_(root).masked_fill_(self.bias.isinf(), 0.0)
        panel[:, step] = scaled
        loss = 0.5 * (own.double() / root.double()).square()
        self.weight.addcmul_(scaled, own / root, value=-1)
        self.diagonal.addcmul_(scaled, scaled, value=-1)
        torch.maximum(self.diagonal, self.floor, out=self.diagonal)
        self.weight.scatter_(1, pivot, 0.0)
        self.diagonal.scatter_(1, pivot, 1.0)
        self.bias.scatter_(1, pivot, torch.inf)
        if self.keep:
            self.left.scatter_add_(1, column // self.group, torch.full_like(column, -1))
            self._close_groups()
        return column[:, 0], loss[:, 0]

    def _compact(self) -> None:
        """Drop the columns that are gone, in all rows the same number, once they are enough to pay for the copy."""
        alive = ~self.bias.isinf()
        left = int(alive[0].sum())
        if left > _COMPACT * alive.shape[1]:
            return
        index = alive.nonzero()[:, 1].view(len(alive), left)
        self.inverse = self.inverse.gather(1, index[:, :, None].expand(-1, -1, self.inverse.shape[2]))
        self.inverse = self.inverse.gather(2, index[:, None, :].expand(-1, left, -1))
        self.weight, self.diagonal, self.bias, self.column = (
            values.gather(1, index) for values in (self.weight, self.diagonal, self.bias, self.column)
        )
