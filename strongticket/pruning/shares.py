"""How many weights or groups each layer keeps, so that the counts add up exactly and shrink together."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import Final

from strongticket.selection import Allocation

__all__ = ["ALLOCATIONS", "check_allocation", "layer_counts"]

ALLOCATIONS: Final[tuple[Allocation, ...]] = ("layer", "global", "erdos-renyi", "erdos-renyi-kernel")
"""The allocations that keep as many weights in all as a density says, which is what pruning promises."""


def check_allocation(allocation: str, *, competing: bool = True) -> None:
    """Refuse an allocation that pruning does not have.

    Args:
        allocation: what was asked for.
        competing: whether the method lets layers compete ("global").

    Raises:
        ValueError: see above.
    """
    known = tuple(name for name in ALLOCATIONS if competing or name != "global")
    if allocation not in known:
        raise ValueError(f"expected an allocation in {known}, got {allocation!r}")


def layer_counts(
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
    allocation: Allocation = "layer",
    *,
    sizes: Mapping[str, int] | None = None,
    left: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Share out `count` kept entries among layers: each keeps min(left, round(t * share)) for one common t.

    The shares are the layers' sizes ("layer": every layer at the same density), or sizes times the density that the
    Erdos-Renyi rules give. Counts add up exactly, and no layer's count grows when `count` falls: so masks of several
    densities are nested. Where two layers would take the last entry at the same t, the first one does.

    Args:
        shapes: shapes of the layers' weights: outputs, inputs, kernel.
        count: from 0 to all that is left.
        allocation: "layer", "erdos-renyi" or "erdos-renyi-kernel"; "global" has no counts of its own.
        sizes: number of entries of each layer, where they are groups of weights; None: its weights.
        left: number of entries that a layer still has; None: all.

    Raises:
        ValueError: a count out of range, or an allocation without counts.

    >>> layer_counts({"wide": (300, 784), "last": (10, 300)}, 23820)
    {'wide': 23520, 'last': 300}
    >>> layer_counts({"wide": (300, 784), "last": (10, 300)}, 23820, "erdos-renyi")
    {'wide': 20820, 'last': 3000}
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()} if sizes is None else sizes
    left = sizes if left is None else left
    if not 0 <= count <= sum(left.values()):
        raise ValueError(f"expected a count from 0 to the {sum(left.values())} that are left, got {count}")
    shares = {name: sizes[name] * _relative_density(shape, allocation) for name, shape in shapes.items()}

    def at(t: float) -> dict[str, int]:
        return {name: min(left[name], math.floor(t * shares[name] + 0.5)) for name in shapes}

    low, high = 0.0, 1.0
    while sum(at(high).values()) < count:
        low, high = high, 2 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sum(at(middle).values()) <= count else (low, middle)
    # one entry less per layer than the bisection says, then in order: rounding of t must not decide who is first
    counts = {name: max(0, kept - 1) for name, kept in at(low).items()}
    order = {name: i for i, name in enumerate(shapes)}
    heap = [((counts[name] + 0.5) / shares[name], order[name], name) for name in shapes if left[name]]
    heapq.heapify(heap)
    missing = count - sum(counts.values())
    while missing:
        _, _, name = heapq.heappop(heap)
        if counts[name] < left[name]:
            counts[name] += 1
            missing -= 1
            heapq.heappush(heap, ((counts[name] + 0.5) / shares[name], order[name], name))
    return counts


def _relative_density(shape: tuple[int, ...], allocation: Allocation) -> float:
    if allocation == "layer" or 0 in shape:
        return 1.0
    if allocation not in ("erdos-renyi", "erdos-renyi-kernel"):
        raise ValueError(f"expected 'layer', 'erdos-renyi' or 'erdos-renyi-kernel', which fix counts: {allocation!r}")
    if len(shape) < 2:
        return 1.0 / max(1, math.prod(shape))
    sides = shape if allocation == "erdos-renyi-kernel" else shape[:2]
    return sum(sides) / math.prod(sides)
