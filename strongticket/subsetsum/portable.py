"""The solver that runs wherever torch does: a bitonic meet in the middle of whole tensors, nothing compiled."""

from __future__ import annotations

from typing import final

import numpy as np
import torch

from strongticket.subsetsum._exact import Bools, Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.problem import Objective

__all__ = ["TorchSolver"]

_LARGEST = 44  # a half of 2^22 sums, several copies
_SCRATCH = 1 << 20  # int64 elements of the merged list, held at a time
_PEAK = 1 << 62


@final
class TorchSolver(AbstractSubsetSumSolver):
    """Exact minimum and sparsest subset within eps on any torch device, up to 44 items.

    Args:
        device: where to work, for example "cpu" or "cuda".
    """

    name = "torch"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def refuse(self, n: int, objective: Objective) -> None:
        """Refuse halves that would need gigabytes."""
        if n > _LARGEST:
            raise ValueError(f"expected at most {_LARGEST} items for backend 'torch', got {n}: use fewer items")

    def chunk_size(self, n: int, objective: Objective) -> int:
        """Bound the merged list; a GPU takes more at a time."""
        room = _SCRATCH if self.device.type == "cpu" else _SCRATCH << 6
        return int(min(1 << 16, max(1, room >> ((n + 1) // 2 + 1))))

    def choose(self, items: Ints, targets: Ints, objective: Objective, eps: int | None) -> Choice:
        """Minimum error for every row; then, if asked, the sparsest subset where the minimum is within eps."""
        batch, n = items.shape
        if batch == 0 or n == 0:
            return Choice(np.zeros(batch, np.int64), np.ones(batch, bool))
        x = torch.from_numpy(items).to(self.device)
        z = torch.from_numpy(targets).to(self.device)
        if n == 1:
            x = torch.nn.functional.pad(x, (0, 1))
        masks = _minimum(x, z)
        if objective == "sparsest" and eps is not None:
            masks = _sparsest(x, z, eps, masks)
        proved: Bools = np.ones(batch, bool)
        return Choice(masks.cpu().numpy() & ((1 << n) - 1), proved)


def _clean(c: torch.Tensor, stride: int) -> torch.Tensor:  # [positions, batch]
    """Sort bitonic columns: compare-exchange at distance stride, stride / 2, ..., 1."""
    shape = c.shape
    while stride:
        low, high = c.view(-1, 2, stride, shape[1]).unbind(1)
        c = torch.stack([torch.minimum(low, high), torch.maximum(low, high)], 1)
        stride //= 2
    return c.view(shape)


def _upper_half(a: torch.Tensor) -> torch.Tensor:  # [h, batch] -> [2^(h-1), batch]
    """The sorted upper half of the signed sums of the rows of `a`, which are symmetric about 0."""
    upper = a[:1]
    for row in a[1:]:
        upper = _clean(torch.cat([upper.flip(0) + row, (upper - row).abs()]), len(upper))
    return upper


def _signs(a: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:  # [h, batch], [batch] -> [batch]
    """Bits b with sum of (2 b_i - 1) a_i equal to `wanted`."""
    sums = -a.sum(0, keepdim=True)
    for row in a:
        sums = torch.cat([sums, sums + 2 * row])
    return (sums == wanted).to(torch.uint8).argmax(0)


def _minimum(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:  # [batch, n], [batch] -> [batch]
    """Masks of least error; the mathematics is that of the compiled kernel."""
    n = x.shape[1]
    h = n // 2
    a = 2 * x.abs().T.contiguous()
    total, size = x.sum(1), x.abs().sum(1)
    z = torch.minimum(torch.maximum(z, (total - size) // 2 - 1), (total + size) // 2 + 1)
    t = torch.minimum(torch.maximum(2 * (2 * z - total) + 1, -2 * size - 1), 2 * size + 1)
    u, v = _upper_half(a[:h]), _upper_half(a[h : 2 * h])
    best = torch.full_like(z, _PEAK)
    signs = torch.zeros_like(z)
    for last in range(1 << (n - 2 * h)):
        shifted = t if n == 2 * h else (t - a[-1] if last else t + a[-1])
        merged = _clean(torch.cat([-u.flip(0), u, shifted + v.flip(0), shifted - v]), 2 * len(u))
        gap = merged[1:] - merged[:-1]
        # sums of one list differ by an even number, sums of different lists by an odd one
        gap, at = torch.where(gap % 2 == 1, gap, _PEAK).min(0)
        left = merged.gather(0, at[None])[0]
        right = left + gap
        odd = left % 2 == 1
        sum_a, key_b = torch.where(odd, right, left), torch.where(odd, left, right)
        pattern = _signs(a[:h], sum_a) | (_signs(a[h : 2 * h], shifted - key_b) << h) | (last << (2 * h))
        signs = torch.where(gap < best, pattern, signs)
        best = torch.minimum(best, gap)
    place = torch.arange(n, device=x.device)
    chosen = ((signs[:, None] >> place) & 1) == (x >= 0)
    return (chosen.long() << place).sum(1)


def _half_classes(x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Per subset size: ascending sums [batch, C(h, k)] and the masks behind them."""
    h = x.shape[1]
    sums = torch.zeros_like(x[:, :1])
    size = torch.zeros(1, dtype=torch.long, device=x.device)
    for i in range(h):
        sums = torch.cat([sums, sums + x[:, i : i + 1]], 1)
        size = torch.cat([size, size + 1])
    classes = []
    for k in range(h + 1):
        members = (size == k).nonzero()[:, 0]
        ordered, order = sums[:, members].sort(1)
        classes.append((ordered.contiguous(), members[order]))
    return classes


def _sparsest(x: torch.Tensor, z: torch.Tensor, eps: int, masks: torch.Tensor) -> torch.Tensor:
    """Replace the masks of least error that are within eps by sparsest ones, trying sizes in ascending order."""
    n = x.shape[1]
    h = n // 2
    place = torch.arange(n, device=x.device)
    error = (z - (((masks[:, None] >> place) & 1) * x).sum(1)).abs()
    rows = (error <= eps).nonzero()[:, 0]
    if not len(rows):
        return masks
    masks = masks.clone()
    first, second = _half_classes(x[rows, :h]), _half_classes(x[rows, h:])
    for size in range(n + 1):
        best = torch.full_like(z[rows], _PEAK)
        found = torch.zeros_like(best)
        for ka in range(max(0, size - (n - h)), min(h, size) + 1):
            error, pattern = _closest(*first[ka], *second[size - ka], z[rows], h)
            found = torch.where(error < best, pattern, found)
            best = torch.minimum(best, error)
        hit = best <= eps
        masks[rows[hit]] = found[hit]
        rows = rows[~hit]
        if not len(rows):
            break
        first = [(sums[~hit], bits[~hit]) for sums, bits in first]
        second = [(sums[~hit], bits[~hit]) for sums, bits in second]
    return masks


def _closest(
    a: torch.Tensor, a_masks: torch.Tensor, b: torch.Tensor, b_masks: torch.Tensor, z: torch.Tensor, h: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Least |z - a_i - b_j| of each row and its mask."""
    rest = z[:, None] - b
    above = torch.searchsorted(a, rest).clamp(max=a.shape[1] - 1)
    below = (above - 1).clamp(min=0)
    error_above, error_below = (rest - a.gather(1, above)).abs(), (rest - a.gather(1, below)).abs()
    at = torch.where(error_below < error_above, below, above)
    error, j = torch.minimum(error_above, error_below).min(1)
    i = at.gather(1, j[:, None])
    pattern = a_masks.gather(1, i) | (b_masks.gather(1, j[:, None]) << h)
    return error, pattern[:, 0]
