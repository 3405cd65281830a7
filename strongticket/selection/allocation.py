"""How a density is shared out among layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, get_args

from strongticket.selection.largest import check_density, kept_count

__all__ = ["ALLOCATIONS", "SUPSUP_FACTOR", "Allocation", "allocate"]

Allocation = Literal["layer", "global", "erdos-renyi", "erdos-renyi-kernel", "supsup"]
"""layer: every layer at the same density. global: one threshold for all, so that layers compete; no counts are fixed.
erdos-renyi: density of a layer proportional to (inputs + outputs) / (inputs * outputs), so that small layers stay
dense; with kernel: the kernel's sides count too (Mocanu et al. 2018, Evci et al. 2020). supsup: the rule of Wortsman et
al. 2020 (SupSup), min(density, 32 (inputs + outputs) / (inputs * outputs * kernel)): the density is a cap, 0.5 there,
and what is kept in all comes out of the shapes."""

ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)
SUPSUP_FACTOR: Final = 32.0


def allocate(
    shapes: Mapping[str, tuple[int, ...]],
    density: float,
    allocation: Allocation = "layer",
    *,
    sizes: Mapping[str, int] | None = None,
    bounds: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, int]:
    """Return how many entries each layer keeps.

    Args:
        shapes: shapes of the layers' weights; the first side counts outputs, the second inputs, others the kernel.
        density: fraction kept, in [0, 1].
        allocation: any but "global". The counts of the Erdos-Renyi ones add up to `kept_count(density, all entries)`
            exactly.
        sizes: {layer: number of entries}, where others than those of its shape are chosen from too (biases).
        bounds: {layer: (least, most)} that it can keep, where part of it is settled. The Erdos-Renyi allocations stay
            within them and share out what is left; the others, whose counts are fixed, are refused if they do not.

    Raises:
        ValueError: an unknown allocation, "global" (whose counts depend on the scores), a density out of range, or
            counts that the bounds do not allow.

    >>> allocate({"wide": (300, 784), "last": (10, 300)}, 0.1)
    {'wide': 23520, 'last': 300}
    >>> allocate({"wide": (300, 784), "last": (10, 300)}, 0.1, "erdos-renyi")
    {'wide': 20820, 'last': 3000}
    >>> allocate({"wide": (300, 784), "last": (10, 300)}, 0.1, "erdos-renyi", bounds={"last": (500, 2500)})
    {'wide': 21320, 'last': 2500}
    """
    check_density(density)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()} | dict(sizes or {})
    limits = {name: (0, size) for name, size in sizes.items()} | dict(bounds or {})
    if allocation in ("layer", "supsup"):
        shares = {name: _fixed_share(shape, density, allocation) for name, shape in shapes.items()}
        counts = {name: kept_count(shares[name], size) for name, size in sizes.items()}
        for name, count in counts.items():
            check_bounds(name, count, limits[name])
        return counts
    if allocation not in ("erdos-renyi", "erdos-renyi-kernel"):
        raise ValueError(f"expected an allocation with fixed counts, one of {ALLOCATIONS} but 'global': {allocation!r}")
    weights = {name: _erdos_renyi(shape, allocation == "erdos-renyi-kernel") for name, shape in shapes.items()}
    total = kept_count(density, sum(sizes.values()))
    if bounds:
        least, most = (sum(limit[i] for limit in limits.values()) for i in (0, 1))
        check_bounds("the network", total, (least, most))
        bases = {name: weights[name] * sizes[name] for name in shapes}
        return _whole(_shares_within(bases, limits, total), limits, total)
    full: set[str] = set()
    while True:  # layers whose share exceeds 1 are kept whole, and the others share the rest
        rest = total - sum(sizes[name] for name in full)
        base = sum(weights[name] * sizes[name] for name in shapes if name not in full)
        factor = rest / base if base > 0 else 0.0
        more = {name for name in shapes if name not in full and factor * weights[name] > 1.0}
        if not more:
            break
        full |= more
    wanted = {name: float(sizes[name]) if name in full else factor * weights[name] * sizes[name] for name in shapes}
    return _whole(wanted, limits, total)


def check_bounds(name: str, count: int, bounds: tuple[int, int]) -> int:
    """Return a count that lies within bounds.

    Raises:
        ValueError: it does not.
    """
    least, most = bounds
    if not least <= count <= most:
        raise ValueError(
            f"the density keeps {count} weights of {name}, but what is frozen allows {least} (kept already) to {most} "
            "(all that is not dropped): change the density, or freeze less"
        )
    return count


def _fixed_share(shape: tuple[int, ...], density: float, allocation: str) -> float:
    if allocation == "layer" or len(shape) < 2:
        return density
    return min(density, SUPSUP_FACTOR * (shape[0] + shape[1]) / math.prod(shape)) if math.prod(shape) else density


def _erdos_renyi(shape: tuple[int, ...], kernel: bool) -> float:
    if len(shape) < 2:
        return 1.0 / max(1, math.prod(shape))
    if kernel:
        return sum(shape) / math.prod(shape)
    return (shape[0] + shape[1]) / (shape[0] * shape[1])


def _shares_within(bases: Mapping[str, float], limits: Mapping[str, tuple[int, int]], total: int) -> dict[str, float]:
    """Return factor * base, brought within each layer's limits, for the factor at which they add up to the total.

    The sum rises with the factor and is straight between the points where some layer reaches a limit.
    """

    def at(factor: float) -> dict[str, float]:
        return {name: min(max(factor * base, limits[name][0]), limits[name][1]) for name, base in bases.items()}

    corners = sorted({limit / base for name, base in bases.items() if base > 0 for limit in limits[name]} | {0.0})
    sums = [sum(at(corner).values()) for corner in corners]
    after = next((i for i, reached in enumerate(sums) if reached >= total), len(corners) - 1)
    before = max(0, after - 1)
    low, high = at(corners[before]), at(corners[after])
    part = (total - sums[before]) / (sums[after] - sums[before]) if sums[after] > sums[before] else 0.0
    return {name: low[name] + part * (high[name] - low[name]) for name in bases}


def _whole(shares: Mapping[str, float], limits: Mapping[str, tuple[int, int]], total: int) -> dict[str, int]:
    """Round shares to whole counts that add up: down first, then up where most was lost, the first of equals first."""
    counts = {name: min(limits[name][1], math.floor(share)) for name, share in shares.items()}
    by_loss = sorted(shares, key=lambda name: counts[name] - shares[name])
    missing = total - sum(counts.values())
    for name in [*by_loss, *by_loss]:
        if missing and counts[name] < limits[name][1]:
            counts[name] += 1
            missing -= 1
    return counts
