"""Put values on an integer grid and say exactly, or with a proven bound, what was lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BUDGET = 1 << 60  # sum of |items| of one instance stays below: kernels form numbers up to four times as large
FAR = 1 << 61  # targets beyond are out of reach of any items within the budget
LOOSEST = 1 << 62  # above every possible error
_ROWS = 1 << 14


@dataclass(frozen=True)
class Grid:
    """The unit 2^exponent of the integers, and whether the given values are multiples of it."""

    exponent: int
    certified: bool


def in_units(units: int, exponent: int) -> float:
    """units * 2^exponent, rounded up."""
    return float(round_up(np.array([units], np.int64), exponent)[0])


def floor_units(eps: Fraction, exponent: int) -> int:
    """Largest integer number of units 2^exponent that is at most `eps`."""
    return math.floor(eps / Fraction(2) ** exponent)


def round_up(units: Ints, exponent: int) -> Floats:
    """units * 2^exponent (units >= 0) as float64, rounded up."""
    near = units.astype(np.float64)
    # 2^63 is the only float64 here that int64 cannot hold, and it is above every int64.
    low = (near < 2.0**63) & (np.minimum(near, 2.0**63 - 1024).astype(np.int64) < units)
    near = np.where(low, np.nextafter(near, np.inf), near)
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(near, exponent)
        lost = np.ldexp(scaled, -exponent) < near  # only where the result is subnormal
    return np.where(lost, np.nextafter(scaled, np.inf), scaled)


def _lowest_bit(values: Floats) -> int | None:
    """Exponent of the coarsest power of two of which all `values` are multiples; None if all are 0."""
    lowest = None
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64, copy=False)
        fraction, power = np.frexp(part[part != 0])
        if fraction.size:
            whole = np.ldexp(fraction, 53).astype(np.int64)
            trailing = np.frexp((whole & -whole).astype(np.float64))[1] - 1
            bit = int((power - 53 + trailing).min())
            lowest = bit if lowest is None else min(lowest, bit)
    return lowest


def find_grid(items: Floats, targets: Floats) -> Grid:
    """Choose the unit: the coarsest on which all values lie, if the budget allows it, else the finest it allows."""
    bits = [bit for bit in (_lowest_bit(items), _lowest_bit(targets)) if bit is not None]
    reach = max(
        (float(np.abs(items[s : s + _ROWS]).sum(1, dtype=np.float64).max()) for s in range(0, len(items), _ROWS)),
        default=0.0,
    )
    if reach == 0.0:  # only the targets matter, and each is its own error
        reach = float(np.abs(targets).max(initial=0.0))
    # sum |x| <= 2^power (1 + 2^-45), so that rounding each item adds less than is left up to 2^60
    finest = math.frexp(reach)[1] - 59 if reach > 0 else 0
    if not bits:
        return Grid(0, True)
    if min(bits) >= finest:
        return Grid(min(bits), True)
    return Grid(finest, False)


def to_grid(values: Floats, exponent: int) -> Ints:
    """Nearest integers to values / 2^exponent; far values stop at +-2^61."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.rint(np.ldexp(values, -exponent))
    return np.clip(scaled, -float(FAR), float(FAR)).astype(np.int64)


def error_bound(items: Floats, targets: Floats, chosen: Bools) -> Floats:
    """Upper bound of |target - chosen sum| for float64 values: exact if nothing was rounded, else slightly above.

    The running sum is kept together with its rounding errors, which float addition allows to compute exactly
    (Knuth's two-sum); only the sum of those errors is rounded, by at most n 2^-53 of their absolute sum.
    """
    total, carry, spread = targets.copy(), np.zeros(len(targets)), np.zeros(len(targets))
    for i in range(items.shape[1]):
        total, slip = _two_sum(total, np.where(chosen[:, i], -items[:, i], 0.0))
        carry, spread = carry + slip, spread + np.abs(slip)
    best, slip = _two_sum(total, carry)
    # twice the textbook bound, which covers the rounding of the bound itself
    doubt = np.abs(slip) + np.where(spread > 0, 2 * items.shape[1] * 2.0**-53 * spread + 5e-324, 0.0)
    return np.where(doubt == 0, np.abs(best), np.nextafter(np.abs(best) + doubt, np.inf))


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a + b as rounded, and what the rounding lost, exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def far_subset(
    items: Floats,  # [n]
    target: float,
    eps: Fraction | None,
    size: int | None,
) -> tuple[int, Fraction]:
    """Best mask and its exact error for a target with |target| >= 2 sum |items|.

    All of the target's reach lies on one side, so the best subset of each size takes the items that lead farthest to
    that side. `size` None: as many as lead there, or, with `eps`, no more than are needed.
    """
    sign = 1 if target > 0 else -1
    useful = [i for i in range(len(items)) if (sign * items[i] > 0 if size is None else items[i] != 0)]
    rest, mask = abs(Fraction(target)), 0
    for i in sorted(useful, key=lambda i: -sign * items[i])[:size]:
        if size is None and eps is not None and rest <= eps:
            break
        rest -= sign * Fraction(float(items[i]))
        mask |= 1 << i
    return mask, rest


def float_below(value: Fraction) -> float:
    """The largest float64 below 2^1023 that is at most `value` >= 0."""
    near = float(min(value, Fraction(2) ** 1023))
    return near if Fraction(near) <= value else float(np.nextafter(near, -np.inf))


def float_above(value: Fraction) -> float:
    """The smallest float64 that is at least `value`, for 0 <= value < 2^1023."""
    near = float(value)
    return near if Fraction(near) >= value else float(np.nextafter(near, np.inf))
