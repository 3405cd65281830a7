"""The K largest values, exactly K of them: the literal rule that every faster selection must equal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["check_density", "kept_count", "largest", "largest_global", "largest_unchecked"]


def check_density(density: float, name: str = "density") -> float:
    """Return the density as a float.

    Raises:
        TypeError: not a number.
        ValueError: outside [0, 1].
    """
    if isinstance(density, bool) or not isinstance(density, int | float):
        raise TypeError(f"{name} is the fraction that is kept, a number in [0, 1], got {density!r}")
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"{name} is the fraction that is kept, in [0, 1], got {density}")
    return float(density)


def kept_count(density: float, size: int) -> int:
    """Return how many of `size` entries a density keeps: the nearest whole number, halves upward.

    >>> kept_count(0.9, 1000), kept_count(0.5, 5), kept_count(0.0, 7), kept_count(1.0, 7)
    (900, 3, 0, 7)
    """
    return min(size, max(0, math.floor(check_density(density) * size + 0.5)))


def largest(values: Tensor, count: int) -> Tensor:  # [...] -> [...] bool
    """Mark the `count` largest values; among equal ones those of the highest flat (C-order) index.

    That is the last `count` entries of a stable ascending sort. The rule speaks of logical indices, whatever the
    memory format of the tensor; the result is contiguous.

    Args:
        values: real numbers; -0.0 equals 0.0.
        count: from 0 to the number of values.

    Raises:
        ValueError: a count out of range, or NaN among the values.

    >>> largest(torch.tensor([[1.0, 3.0], [3.0, 3.0]]), 2)
    tensor([[False, False],
            [ True,  True]])
    """
    flat = values.detach().reshape(-1)
    if not 0 <= count <= flat.numel():
        raise ValueError(f"expected a count from 0 to {flat.numel()}, got {count}")
    if flat.is_floating_point() and bool(flat.isnan().any()):
        raise ValueError(f"NaN cannot be ranked: value {int(flat.isnan().nonzero()[0])} (flat index) is NaN")
    return largest_unchecked(flat, count).view(values.shape)


def largest_unchecked(flat: Tensor, count: int) -> Tensor:  # [size] -> [size] bool
    """The rule of `largest` without its checks and without waiting for the device: for use inside training steps."""
    size = flat.numel()
    if count in (0, size):
        return torch.full((size,), count > 0, dtype=torch.bool, device=flat.device)
    # kthvalue is slow on CUDA devices, where sorting is not
    threshold = flat.sort().values[size - count] if flat.is_cuda else flat.kthvalue(size - count + 1).values
    above, ties = flat > threshold, flat == threshold
    from_the_end = ties.flip(0).cumsum(0).flip(0)
    return above | (ties & (from_the_end <= count - above.sum()))


def largest_global(values: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Mark the `count` largest values of several tensors together, as if they were one, in the mapping's order.

    Raises:
        ValueError: see `largest`.

    >>> largest_global({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0])}, 2)
    {'a': tensor([False,  True]), 'b': tensor([True])}
    """
    if not values:
        return {}
    together = largest(torch.cat([value.detach().reshape(-1) for value in values.values()]), count)
    parts = torch.split(together, [value.numel() for value in values.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(values.items(), parts, strict=True)}
