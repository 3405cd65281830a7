"""Put values on an integer grid and say exactly, or with a proven bound, what was lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BUDGET = 1 << 60  # sum of |items| of one instance stays below: kernels form numbers up to four times as large
FAR = 1 << 61  # targets beyond are out of reach of any items within the budget
LOOSEST = 1 << 62  # above every possible error
_ROWS = 1 << 14
_NO_BIT = 1 << 20  # above the exponent of every float64


@dataclass(frozen=True, eq=False)
class Grids:
    """The unit 2^exponent of each instance's integers, and whether its values are multiples of it."""

    exponent: Ints  # [batch]
    certified: Bools  # [batch]


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


def lowest_bits(values: Floats) -> Ints:  # [rows, n] -> [rows]
    """Exponent of the coarsest power of two of which a row's values are all multiples; `_NO_BIT` if all are 0."""
    fraction, power = np.frexp(values)
    whole = np.ldexp(fraction, 53).astype(np.int64)
    trailing = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    bits = np.where(whole == 0, _NO_BIT, power - 53 + trailing)
    return np.asarray(bits.min(1, initial=_NO_BIT), dtype=np.int64)


def row_reach(values: npt.NDArray[Any]) -> Floats:  # [rows, n] -> [rows]
    """Sum |value| of each row in float64, the same for a row wherever it stands; may be inf or nan."""
    reach = np.empty(len(values), np.float64)
    for start in range(0, len(values), _ROWS):
        # one order of summation whatever the layout was
        part = np.array(values[start : start + _ROWS], dtype=np.float64, order="C")
        with np.errstate(over="ignore", invalid="ignore"):
            reach[start : start + _ROWS] = np.abs(part, out=part).sum(1)
    return reach


def find_grids(
    items: npt.NDArray[Any],  # [pools, n]
    targets: Floats,  # [batch]
    pool: Ints | slice,  # [batch] row of `items` of each target
    reach: Floats,  # [pools] sum |items|
) -> Grids:
    """Choose the units: one for all where a single power of two will do, else to each instance its own.

    One will do if every value is a multiple of it and the items and targets of every row fit their budgets: then it is
    the coarsest. Otherwise each instance has the coarsest unit on which its own values lie, or, where that is finer
    than its budget allows, the finest that is allowed. So nothing but a common unit depends on the rest of the batch,
    and a common unit changes no value.
    """
    bits = np.empty(len(items), np.int64)
    for start in range(0, len(items), _ROWS):
        bits[start : start + _ROWS] = lowest_bits(items[start : start + _ROWS].astype(np.float64, copy=False))
    # sum |x| <= 2^power (1 + 2^-45), so that rounding each item adds less than is left up to 2^60
    finest = np.where(reach > 0, np.frexp(reach)[1].astype(np.int64) - 59, -_NO_BIT)
    coarsest, allowed = np.minimum(bits[pool], lowest_bits(targets[:, None])), finest[pool]
    common = int(coarsest.min(initial=_NO_BIT))
    common = 0 if common == _NO_BIT else common
    if common >= int(allowed.max(initial=-_NO_BIT)) and not is_far(targets, common).any():
        return Grids(np.full(len(targets), common), np.ones(len(targets), bool))
    certified = coarsest >= allowed
    exponent = np.where(certified, coarsest, allowed)
    return Grids(np.where(exponent == _NO_BIT, 0, exponent), certified)


def is_far(targets: Floats, exponent: int) -> Bools:
    """Which targets are too far from every subset for the integers."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.abs(np.ldexp(targets, -exponent)) >= float(FAR))


def to_grid(values: Floats, exponent: int) -> Ints:
    """Nearest integers to values / 2^exponent; far values stop at +-2^61."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.rint(np.ldexp(values, -exponent))
    return np.clip(scaled, -float(FAR), float(FAR)).astype(np.int64)


def error_bound(items: Floats, targets: Floats, chosen: Bools) -> Floats:
    """|target - chosen sum| of float64 values, rounded up: exact if float64 can say it, else at most 2^-45 above.

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
    bound = np.where(doubt == 0, np.abs(best), np.nextafter(np.abs(best) + doubt, np.inf))
    for row in np.flatnonzero(doubt > 2.0**-46 * np.abs(best)).tolist():  # rare: next to nothing is left of the target
        left = sum((-Fraction(x) for x in items[row][chosen[row]].tolist()), Fraction(float(targets[row])))
        bound[row] = float_above(abs(left))
    return bound


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
