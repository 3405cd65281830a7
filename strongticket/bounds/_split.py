"""How a target too large for one subset sum is split: g equal parts, each a subset sum of a group of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from strongticket.bounds._laws import ItemLaw

__all__ = ["least_groups", "ways_to_split"]


def least_groups(widest: float, max_target: float) -> int:
    """Return the least number g >= 1 of groups, each of which reaches `widest`, with g widest >= max_target exactly.

    >>> least_groups(0.45, 0.0), least_groups(0.45, 0.9), least_groups(0.45, 1.0)
    (1, 2, 3)
    """
    least = max(1, math.ceil(max_target / widest))
    return least + (Fraction(widest) * least < Fraction(max_target))  # the division may have been rounded down


def ways_to_split(
    max_target: float, law: ItemLaw, u_min: float | None, most: int
) -> Iterator[tuple[int, float, float]]:
    """Return numbers of groups worth trying, from the least possible on, until more cannot be cheaper.

    Args:
        max_target: largest magnitude of a target, finite.
        law: of the items, where nothing is known of their first factor.
        u_min: least first factor that is known: the density then is at least 1/2 on [-u_min, u_min]; None: unknown.
        most: largest number of them.

    Yields:
        (groups, c, q): each part lies in [-c, c], on which the law holds the uniform one with weight q.
    """
    # a group reaches at most c, and q falls to 0 as c nears 1/2 for products
    widest = 0.45 if u_min is None else u_min / 2.0
    least = least_groups(widest, max_target)
    for groups in range(least, least + most):
        if u_min is not None:
            yield groups, widest, widest
        else:
            # one step up, so that groups * c >= max_target holds exactly
            c = max(law.best_range, math.nextafter(max_target / groups, math.inf))
            yield groups, c, law.mixture(c)
        if groups * law.best_range > 2.0 * max_target:
            return
