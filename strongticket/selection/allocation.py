"""How a density is shared out among layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

from strongticket.selection.largest import check_density, kept_count

__all__ = ["ALLOCATIONS", "Allocation", "allocate"]

Allocation = Literal["layer", "global", "erdos-renyi", "erdos-renyi-kernel"]
"""layer: every layer at the same density. global: one threshold for all, so that layers compete; no counts are fixed.
erdos-renyi: density of a layer proportional to (inputs + outputs) / (inputs * outputs), so that small layers stay
dense; with kernel: the kernel's sides count too (Mocanu et al. 2018, Evci et al. 2020)."""

ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)


def allocate(shapes: Mapping[str, tuple[int, ...]], density: float, allocation: Allocation = "layer") -> dict[str, int]:
    """Return how many entries each layer keeps.

    Args:
        shapes: shapes of the layers' weights; the first side counts outputs, the second inputs, others the kernel.
        density: fraction kept, in [0, 1].
        allocation: "layer", "erdos-renyi" or "erdos-renyi-kernel". The counts of the last two add up to
            `kept_count(density, all entries)` exactly.

    Raises:
        ValueError: an unknown allocation, "global" (whose counts depend on the scores), or a density out of range.

    >>> allocate({"wide": (300, 784), "last": (10, 300)}, 0.1)
    {'wide': 23520, 'last': 300}
    >>> allocate({"wide": (300, 784), "last": (10, 300)}, 0.1, "erdos-renyi")
    {'wide': 20820, 'last': 3000}
    """
    check_density(density)
    if allocation == "layer":
        return {name: kept_count(density, math.prod(shape)) for name, shape in shapes.items()}
    if allocation not in ("erdos-renyi", "erdos-renyi-kernel"):
        raise ValueError(f"expected an allocation with fixed counts, one of {ALLOCATIONS} but 'global': {allocation!r}")
    weights = {name: _erdos_renyi(shape, allocation == "erdos-renyi-kernel") for name, shape in shapes.items()}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = kept_count(density, sum(sizes.values()))
    full: set[str] = set()
    while True:  # layers whose share exceeds 1 are kept whole, and the others share the rest
        rest = total - sum(sizes[name] for name in full)
        base = sum(weights[name] * sizes[name] for name in shapes if name not in full)
        factor = rest / base if base > 0 else 0.0
        more = {name for name in shapes if name not in full and factor * weights[name] > 1.0}
        if not more:
            break
        full |= more
    shares = {name: float(sizes[name]) if name in full else factor * weights[name] * sizes[name] for name in shapes}
    return _whole(shares, sizes, total)


def _erdos_renyi(shape: tuple[int, ...], kernel: bool) -> float:
    if len(shape) < 2:
        return 1.0 / max(1, math.prod(shape))
    if kernel:
        return sum(shape) / math.prod(shape)
    return (shape[0] + shape[1]) / (shape[0] * shape[1])


def _whole(shares: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Round shares to whole counts that add up: down first, then up where most was lost, the first of equals first."""
    counts = {name: min(sizes[name], math.floor(share)) for name, share in shares.items()}
    by_loss = sorted(shares, key=lambda name: counts[name] - shares[name])
    missing = total - sum(counts.values())
    for name in [*by_loss, *by_loss]:
        if missing and counts[name] < sizes[name]:
            counts[name] += 1
            missing -= 1
    return counts
