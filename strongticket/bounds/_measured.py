"""Look up how many items were needed in simulation: the table of failures that is shipped with the package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast, get_args

from scipy.special import betaincinv

from strongticket.bounds._information import floor_items
from strongticket.bounds._laws import LawName

__all__ = ["ENOUGH", "Measured", "items_from_counts", "measured_items"]

Counts = Mapping[int, tuple[int, int]]

ENOUGH = 5
"""Failures to expect at least, where a frequency is to be trusted: of fewer trials than 5 / delta nothing is read."""

_TABLE = "items.json"
_VERSION = 1


@dataclass(frozen=True)
class Measured:
    """What simulation says about n*(eps, delta), the smallest number of items that fails at most delta often.

    Attributes:
        items: the smallest number that was simulated and failed with frequency at most delta, in so many trials that
            5 failures were expected at delta; None if there is none, or if nothing was simulated.
        low: fewer items fail more often than delta: proved, or shown at 99 % confidence; None if that is not known.
        high: so many items fail at most delta often, at 99 % confidence; None if that could not be shown.
        most: largest number of items that was simulated; 0 if nothing was.
        trials: with `items` items; if there is no such number, with the first that seldom failed, or with `most`.
        note: in words, what follows.
    """

    items: int | None
    low: int | None
    high: int | None
    most: int
    trials: int
    note: str


def _interval(fail: int, trials: int) -> tuple[float, float]:
    """Clopper-Pearson: each end errs with probability at most 0.005."""
    low = 0.0 if fail == 0 else float(betaincinv(fail, trials - fail + 1, 0.005))
    return low, 1.0 if fail == trials else float(betaincinv(fail + 1, trials - fail, 0.995))


def items_from_counts(counts: Counts, delta: float, *, floor: int = 0) -> Measured:
    """Return n*(eps, delta) from failures and trials by number of items, whose trials are independent.

    Args:
        counts: failures and trials of each number of items.
        delta: failure probability.
        floor: fewer items are proved to fail more often.

    >>> counts = {4: (310, 1000), 5: (90, 1000), 6: (0, 1000)}
    >>> found = items_from_counts(counts, delta=0.1)
    >>> found.items, found.low, found.high
    (5, 5, 6)
    >>> print(items_from_counts(counts, delta=1e-4).note)
    not measured: 1,000 trials cannot tell; at least 6
    """
    if not counts:
        return Measured(None, floor or None, None, 0, 0, "not measured" + (f"; at least {floor}" if floor else ""))
    most = max(counts)
    ends = {n: _interval(*counts[n]) for n in sorted(counts)}
    # more items fail less: what is shown of n items holds for fewer (too often) or for more (seldom enough)
    bad = max((n for n, (low, _) in ends.items() if low > delta), default=-1)
    low = max(bad + 1, floor) or None
    high = next((n for n, (_, up) in ends.items() if up <= delta and n >= floor), None)
    first = next((n for n in ends if counts[n][0] <= delta * counts[n][1] and n >= floor), None)
    told = first is not None and delta * counts[first][1] >= ENOUGH
    items = first if told else None
    trials = counts[most if first is None else first][1]
    at_least = "" if low is None else f"; at least {low}"
    if items is None:
        few = first is not None or delta * trials < ENOUGH
        note = f"not measured: {trials:,} trials cannot tell" if few else f"more than {most}, all that was simulated"
        note += at_least if few or (low or 0) > most + 1 else ""
    elif items == min(ends) and items > max(low or 0, 1):
        note = f"{items} or fewer, which were not simulated"
    elif low == high:
        note = f"{items}"
    else:
        note = f"{items} (99 %: {low or 0} to {'more' if high is None else high})"
    return Measured(items, low, high, most, trials, note)


@cache
def _table() -> dict[str, Any]:
    """The table, or an empty one where none is shipped.

    Raises:
        ValueError: the table is of another version.
    """
    import json

    try:
        text = resources.files("strongticket").joinpath("tables", _TABLE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"laws": {}, "fixed_size": {}}
    table: dict[str, Any] = json.loads(text)
    if table.get("version") != _VERSION:
        raise ValueError(f"the table {_TABLE} is of version {table.get('version')!r}, this code reads {_VERSION}")
    return table


def _target_key(target: float, averaged: bool) -> str | None:
    if target != 1.0:
        return None
    return "uniform" if averaged else "1"


def measured_items(
    eps: float,
    delta: float,
    law: str = "uniform",
    *,
    target: float = 1.0,
    averaged: bool = False,
    size: int | None = None,
) -> Measured:
    """Return n*(eps, delta) as it was simulated, with every subset sum solved exactly.

    Args:
        eps: tolerance, in (0, 1); only the tabulated ones, powers of ten, were simulated.
        delta: failure probability of one target, in (0, 1).
        law: law of one item, by name.
        target: |z|, or the largest |z| when averaged; only 1 was simulated.
        averaged: z ~ U(-target, target).
        size: only subsets of exactly this many items count.

    Returns:
        The number with its confidence limits, never below `floor_items`; its note says what was not simulated.

    Raises:
        ValueError: eps or delta outside (0, 1).
    """
    if not 0.0 < eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"eps and delta must lie in (0, 1), got eps = {eps}, delta = {delta}")
    part = _table().get("laws" if size is None else "fixed_size", {})
    targets: Mapping[str, Any] = part.get(law, {}).get("targets", {})
    of_target = targets.get(_target_key(target, averaged) or "")
    if of_target is not None and size is not None:
        of_target = of_target.get(str(size))
    if of_target is None:
        subsets = "" if size is None else f" and subsets of {size}"
        what = f"{law} items, {'z uniform up to' if averaged else '|z| ='} {target:g}{subsets}"
        return Measured(None, None, None, 0, 0, f"not measured: {what}")
    by_eps = {float(key): rows for key, rows in of_target.items()}
    near = next((key for key in by_eps if math.isclose(key, eps, rel_tol=1e-9)), None)
    if near is None:
        known = ", ".join(f"{key:g}" for key in sorted(by_eps, reverse=True))
        return Measured(None, None, None, 0, 0, f"not measured at this tolerance; simulated were {known}")
    counts = {int(n): (row["fail"], row["trials"]) for n, row in by_eps[near].items()}
    if law not in get_args(LawName):
        return items_from_counts(counts, delta)
    floor = floor_items(eps, delta, cast(LawName, law), target=target, averaged=averaged, size=size)
    return items_from_counts(counts, delta, floor=floor)
