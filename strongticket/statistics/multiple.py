"""Many tests at once: p-values adjusted so that one true claim among many is not called false by mere number.

An adjusted p-value is compared with the level itself: reject where it is <= alpha. With `holm`, *any* true claim at all
is rejected with probability at most alpha, however the tests depend on each other (tests that share seeds do): that
is the one for verdicts. With `benjamini_hochberg`, of the rejected claims on average at most a share alpha are true, if
the tests are independent or positively dependent; `benjamini_yekutieli` needs no such condition and pays for it by a
factor of 1 + 1/2 + ... + 1/m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["benjamini_hochberg", "benjamini_yekutieli", "holm"]


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted by Holm's step-down method, in the order given (holm1979simple).

    The smallest is multiplied by m, the next by m - 1, and so on; none is less than one before it. Never larger than
    Bonferroni's m p, and valid under the same conditions: none.

    Raises:
        ValueError: a p-value outside of [0, 1].

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    order = _order(p_values)
    m, least, adjusted = len(order), 0.0, [1.0] * len(order)
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (m - rank) * p_values[place]))
        adjusted[place] = least
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted by the step-up method of Benjamini and Hochberg, in order (benjamini1995controlling).

    Raises:
        ValueError: a p-value outside of [0, 1].

    >>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, 0.03, 0.005])]
    [0.02, 0.04, 0.04, 0.02]
    """
    return _step_up(p_values, 1.0)


def benjamini_yekutieli(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted as by `benjamini_hochberg`, valid however they depend (benjamini2001control).

    Raises:
        ValueError: a p-value outside of [0, 1].

    >>> [round(p, 3) for p in benjamini_yekutieli([0.01, 0.04, 0.03, 0.005])]
    [0.042, 0.083, 0.083, 0.042]
    """
    return _step_up(p_values, math.fsum(1.0 / k for k in range(1, len(p_values) + 1)))


def _step_up(p_values: Sequence[float], penalty: float) -> tuple[float, ...]:
    order = _order(p_values)
    m, most, adjusted = len(order), 1.0, [1.0] * len(order)
    for rank in range(m, 0, -1):
        place = order[rank - 1]
        most = min(most, penalty * m / rank * p_values[place])
        adjusted[place] = most
    return tuple(adjusted)


def _order(p_values: Sequence[float]) -> list[int]:
    """Places of the p-values, the smallest first."""
    wrong = [p for p in p_values if not 0.0 <= p <= 1.0]
    if wrong:
        raise ValueError(f"p-values must lie in [0, 1], got {wrong[0]}")
    return sorted(range(len(p_values)), key=lambda place: p_values[place])
