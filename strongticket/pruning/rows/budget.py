"""How many weights each row loses, from what its single steps cost: exact in the total, prefixes of the order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from strongticket.selection import largest

__all__ = ["BUDGETS", "Budget", "share_out", "urgency"]

Budget = Literal["hull", "heap", "sort", "uniform"]
"""hull: whole segments of the lower convex hull of each row's cumulative losses, by slope; the last one may be cut.
Where it is not, no other choice of prefixes has a lower loss. heap: the cheapest next step again and again. sort: the
cheapest single steps; their number per row is the prefix, though a cheap step may follow dear ones (the rule of
Frantar 2022). uniform: rows at equal lengths."""

BUDGETS: tuple[Budget, ...] = get_args(Budget)


def urgency(losses: Tensor, rule: Budget = "hull") -> Tensor:  # [rows, steps] float64 -> same
    """Return keys such that the steps with the least keys of all rows together are to be made.

    Args:
        losses: what each step of each row costs.
        rule: see `Budget`. The keys of all rules but "sort" never fall along a row.

    Raises:
        ValueError: an unknown rule.

    >>> losses = torch.tensor([[4.0, 1.0, 6.0]], dtype=torch.float64)
    >>> urgency(losses).tolist(), urgency(losses, "heap").tolist()
    ([[2.5, 2.5, 6.0]], [[4.0, 4.0, 6.0]])
    """
    if rule not in BUDGETS:
        raise ValueError(f"expected a budget of {BUDGETS}, got {rule!r}")
    if rule == "sort" or losses.shape[1] == 0:
        return losses.clone()
    if rule == "heap":
        return losses.cummax(1).values
    if rule == "uniform":
        return torch.arange(losses.shape[1], dtype=losses.dtype, device=losses.device).expand(losses.shape).clone()
    # the slopes of the lower hull of cumulative sums are the isotonic regression of the summands
    rows = [isotonic_regression(row).x for row in losses.double().cpu().numpy()]
    return torch.from_numpy(np.stack(rows)).to(losses.device) if rows else losses.double()


def share_out(
    keys: Sequence[Tensor],  # [rows, steps] each
    count: int,
    least: Sequence[Tensor] | None = None,  # [rows] int64 each
) -> list[Tensor]:  # [rows] int64 each
    """Return how many steps each row goes: `count` in all, those of the least keys, earlier rows first among equals.

    Args:
        keys: of `urgency`, for groups of rows that compete with each other; their lengths may differ.
        count: number of steps of all rows together.
        least: steps that each row goes in any case; None: none.

    Raises:
        ValueError: a count out of range.

    >>> share_out([torch.tensor([[2.5, 2.5, 6.0], [1.0, 3.0, 3.0]])], 4)
    [tensor([2, 2])]
    """
    keys = [key.double().cpu() for key in keys]
    if least is not None:
        keys = [
            key.masked_fill(torch.arange(key.shape[1]) < first.cpu()[:, None], -torch.inf)
            for key, first in zip(keys, least, strict=True)
        ]
    size = sum(key.numel() for key in keys)
    forced = 0 if least is None else int(sum(first.sum() for first in least))
    if not forced <= count <= size:
        raise ValueError(f"expected {forced} to {size} steps, got {count}")
    stay = largest(torch.cat([key.reshape(-1) for key in keys]), size - count) if keys else torch.zeros(0)
    parts = torch.split(stay, [key.numel() for key in keys])
    return [(~part.view(key.shape)).sum(1) for part, key in zip(parts, keys, strict=True)]
