"""Lueker 1998, "Exponentially small bounds on the expected optimum of the partition and subset sum problems".

How many random numbers make every z of an interval a subset sum, within eps, with probability 1 - delta?

- `theorem`: the published order C ln(1/eps); the constant C is left open by the paper.
- `explicit_items`, `items_needed`: an explicit and rigorous number of items. **Derived by strongticket**, not in the
  paper; the proof is stated and checked step by step by `python -m theory show lueker1998exponentially`.
- `coverage_floor`, `counting_floor`: what no method can beat.
- `quenched_tail`, `items_predicted`: what to expect; predictions, not bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._floor import coverage_floor
from strongticket.bounds._information import failure_predicted, items_predicted, quenched_failure
from strongticket.bounds._laws import LAWS, ItemLaw, Law, LawName, get_law
from strongticket.bounds._split import least_groups

__all__ = [
    "BOUNDS",
    "LAWS",
    "ExplicitItems",
    "ItemLaw",
    "LawName",
    "coverage_floor",
    "explicit_items",
    "failure_predicted",
    "get_law",
    "items_counted",
    "items_for_range",
    "items_needed",
    "items_predicted",
    "quenched_failure",
]


# One formula, two arithmetics: `log` is sympy's for the Bound and numpy's for the search over its free parameters.
def phase_one(log: Callable[[Any], Any], eps: Any, delta_1: Any, c: Any, q: Any, theta: Any, s: Any) -> Any:
    """Items after which less than a share theta of [-c, c] is covered with probability at most delta_1 (a real)."""
    growth = 1 - q * (1 - theta) * (1 - 2 ** (-s))
    return (log(1 / delta_1) + s * log(2 * c * theta / eps)) / -log(growth)


def phase_two(log: Callable[[Any], Any], eps: Any, delta_2: Any, c: Any, q: Any, theta: Any) -> Any:
    """Further items after which more than eps/2 of [-c, c] is uncovered with probability at most delta_2 (a real)."""
    return (log(1 / delta_2) + log(4 * c * (1 - theta) / eps)) / -log(1 - q * theta)


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _theorem() -> Formula:
    import sympy

    C, eps = _symbols("C eps")
    return Formula(
        C * sympy.log(1 / eps),
        (
            Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "tolerance"),
            Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
        ),
        frozenset({"C"}),
    )


def _explicit() -> Formula:
    import sympy

    eps, delta, delta_1, c, q, theta, s = _symbols("eps delta delta_1 c q theta s")
    n_1 = sympy.ceiling(sympy.Max(0, phase_one(sympy.log, eps, delta_1, c, q, theta, s)))
    n_2 = sympy.ceiling(sympy.Max(0, phase_two(sympy.log, eps, delta - delta_1, c, q, theta)))
    started = sympy.Piecewise((0, 2 * c * theta <= eps), (n_1, True))
    return Formula(
        started + n_2,
        (
            Hypothesis("0 < eps <= 2c", sympy.And(eps > 0, eps <= 2 * c), "tolerance, at most the whole range"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
            Hypothesis("0 < delta_1 < delta", sympy.And(delta_1 > 0, delta_1 < delta), "share of the first phase"),
            Hypothesis("0 < q <= 1/2", sympy.And(q > 0, 2 * q <= 1), "q = 2 c f0, f0 = least density on [-2c, 2c]"),
            Hypothesis("c > 0", c > 0, "targets are all |z| <= c"),
            Hypothesis("0 < theta < 1", sympy.And(theta > 0, theta < 1), "free: where the phases meet"),
            Hypothesis("s > 0", s > 0, "free: exponent of the supermartingale"),
        ),
    )


def _coverage_floor() -> Formula:
    import sympy

    n, z, eps = _symbols("n z eps")
    return Formula(
        2 ** (-n) * sympy.laguerre(n, eps - z),
        (
            Hypothesis("eps > 0", eps > 0, "tolerance"),
            Hypothesis("eps < z <= 1 + eps", sympy.And(eps < z, z <= 1 + eps), "z is the target's magnitude"),
            Hypothesis("n integer >= 1", sympy.And(n >= 1, sympy.Eq(sympy.floor(n), n)), "number of items"),
        ),
    )


def _counting_floor() -> Formula:
    import sympy

    c, eps = _symbols("c eps")
    return Formula(
        sympy.log(c / eps) / sympy.log(2),
        (
            Hypothesis("eps > 0", eps > 0, "tolerance"),
            Hypothesis("c >= eps", c >= eps, "targets are all |z| <= c"),
        ),
    )


def _fixed_size_floor() -> Formula:
    import sympy

    n, k, z, eps = _symbols("n k z eps")
    j = sympy.Symbol("j", integer=True)

    def below(t: Any) -> Any:
        """P(sum of the k largest of n items <= t)."""
        left = sympy.Max(j - (k - t) / 2, 0) ** n
        others = (-1) ** (k - j) * sympy.factorial(j - 1) * sympy.factorial(k - j)
        return sympy.Sum(left / (j ** (n - k + 1) * others), (j, 1, k))

    return Formula(
        below(z - eps) + below(-z - eps),
        (
            Hypothesis("eps > 0", eps > 0, "tolerance"),
            Hypothesis("0 <= z < k + eps", sympy.And(z >= 0, z < k + eps), "z is the target's magnitude"),
            Hypothesis("k integer >= 1", sympy.And(k >= 1, sympy.Eq(sympy.floor(k), k)), "items of a subset"),
            Hypothesis("n integer >= k", sympy.And(n >= k, sympy.Eq(sympy.floor(n), n)), "number of items"),
        ),
    )


def _quenched_tail() -> Formula:
    import sympy

    n, z, eps, v = _symbols("n z eps v")
    s = sympy.sqrt(n * v) / 2
    rate = 2 * eps * 2**n / (s * sympy.sqrt(2 * sympy.pi))
    t = sympy.sqrt(2 * sympy.log(rate))
    tail = sympy.cosh(z * t / s) * sympy.exp(-(z**2) / (2 * s**2)) / (rate * sympy.sqrt(sympy.pi * sympy.log(rate)))
    return Formula(
        tail,
        (
            Hypothesis("eps > 0", eps > 0, "tolerance"),
            Hypothesis("v > 0", v > 0, "variance of an item: 1/3 for U(-1, 1)"),
            Hypothesis("n >= 1", n >= 1, "number of items"),
            Hypothesis("rate >= 10", rate >= 10, "expected number of hits; below, use quenched_failure"),
        ),
    )


def _first_moment() -> Formula:
    import sympy

    n, eps, v = _symbols("n eps v")
    s = sympy.sqrt(n * v) / 2
    return Formula(
        sympy.exp(-2 * eps * 2**n / (s * sympy.sqrt(2 * sympy.pi))),
        (
            Hypothesis("eps > 0", eps > 0, "tolerance"),
            Hypothesis("v > 0", v > 0, "variance of an item: 1/3 for U(-1, 1)"),
            Hypothesis("n >= 1", n >= 1, "number of items"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "lueker1998exponentially.theorem",
        "number of items U(-1, 1) such that all |z| <= 1/2 are subset sums within eps, with probability 1 - eps",
        Relation.UPPER,
        _theorem,
        "Lueker 1998, as restated by later papers (Corollary 2.5 or 3.3); the constant C is not given",
    ),
    Bound(
        "lueker1998exponentially.explicit_items",
        "number of items such that all |z| <= c are subset sums within eps, with probability 1 - delta; "
        "any admissible theta, s and delta_1 give a valid number, items_needed() minimises over them",
        Relation.UPPER,
        _explicit,
        "strongticket: two phases of the covered share, a supermartingale and Markov's inequality",
    ),
    Bound(
        "lueker1998exponentially.coverage_floor",
        "probability that no subset sum of n items U(-1, 1) comes within eps of a target of magnitude z",
        Relation.LOWER,
        _coverage_floor,
        "strongticket: the largest subset sum is the sum of the positive items",
    ),
    Bound(
        "lueker1998exponentially.fixed_size_floor",
        "probability that no sum of exactly k of n items U(-1, 1) comes within eps of a target of magnitude z",
        Relation.LOWER,
        _fixed_size_floor,
        "strongticket: the largest sum of k items, a weighted sum of uniform spacings",
    ),
    Bound(
        "lueker1998exponentially.counting_floor",
        "number of items for all |z| <= c within eps: 2^n intervals of length 2 eps must cover 2c",
        Relation.LOWER,
        _counting_floor,
        "strongticket: counting",
    ),
    Bound(
        "lueker1998exponentially.quenched_tail",
        "probability that no subset sum of n centred items of variance v lies within eps of a target of magnitude z, "
        "when many hits are expected; without the coverage floor",
        Relation.PREDICTION,
        _quenched_tail,
        "strongticket: Poisson approximation given the items, tail of the integral",
    ),
    Bound(
        "lueker1998exponentially.first_moment",
        "probability that no subset sum of n centred items of variance v lies within eps of a target where they are "
        "densest; first_moment_items() solves it for n; far too small where failures are rare",
        Relation.PREDICTION,
        _first_moment,
        "strongticket: Poisson approximation with the mean number of hits",
    ),
)


@dataclass(frozen=True)
class ExplicitItems:
    """A number of items that provably suffices, with the parameters at which `explicit_items` gives it.

    Attributes:
        items: first + second.
        first, second: items of the growth phase and of the completion phase.
        values: arguments for the bound `lueker1998exponentially.explicit_items`; empty when no item is needed.
    """

    items: int
    first: int
    second: int
    values: dict[str, float]


Search = Literal["fine", "table"]


def _grid(search: Search) -> tuple[Any, Any, Any]:
    theta = np.arange(5, 96) / 100.0
    s = np.concatenate([np.linspace(0.1, 5.0, 50), np.linspace(5.5, 40.0, 30)])
    share = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    if search == "table":
        return theta, s, share
    # supersets of the table's grid, so that the fine search never asks for more
    share = np.unique(np.concatenate([share, np.geomspace(1e-6, 0.5, 16), 1.0 - np.geomspace(1e-6, 0.5, 16)]))
    s = np.unique(np.concatenate([s, np.geomspace(0.05, 80.0, 160)]))
    return np.unique(np.concatenate([theta, np.arange(1, 100) / 100.0])), s, share


@lru_cache(maxsize=4096)
def explicit_items(
    eps: float,
    delta: float,
    *,
    law: Law = "uniform",
    c: float | None = None,
    q: float | None = None,
    search: Search = "fine",
) -> ExplicitItems:
    """Find the free parameters at which our rigorous bound asks for the fewest items.

    Every point of the search grid is a valid bound, and counts are rounded up, so the result is rigorous however
    coarse the grid is.

    Args:
        eps: tolerance, in (0, 1).
        delta: failure probability, in (0, 1); 1e-12 and less are fine.
        law: law of the items; gives q when q is None.
        c: all |z| <= c are to be reached; the law's best range when None (1/2 for uniform items).
        q: 2 c f0 for a law of your own with density at least f0 on [-2c, 2c]; needs c.
        search: "fine", or "table" for the small grid of the published table.

    Raises:
        ValueError: an argument outside its range.

    >>> explicit_items(0.01, 0.01, search="table").items
    95
    """
    if not 0.0 < eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"eps and delta must lie in (0, 1), got eps = {eps}, delta = {delta}")
    if q is not None and c is None:
        raise ValueError("q = 2 c f0 belongs to a range: give c too")
    if search not in ("fine", "table"):
        raise ValueError(f"search is 'fine' or 'table', got {search!r}")
    chosen = get_law(law, eps)
    c = chosen.best_range if c is None else c
    q = chosen.mixture(c) if q is None else q
    if not (0.0 < c < math.inf and 0.0 < q <= 0.5):
        raise ValueError(
            f"a range c > 0 and a mixture 0 < q <= 1/2 are needed, got c = {c}, q = {q}: the theorem needs items with "
            "a density around 0"
        )
    if eps >= c:
        return ExplicitItems(0, 0, 0, {})  # the empty subset is within eps of every |z| <= c
    theta, s, share = _grid(search)
    by_s = theta[:, None, None], s[None, :, None], share[None, None, :]
    first = phase_one(np.log, eps, by_s[2] * delta, c, q, by_s[0], by_s[1])
    best_s = np.argmin(first, axis=1)
    first = np.where(2.0 * c * theta[:, None] <= eps, 0.0, np.min(first, axis=1))
    second = phase_two(np.log, eps, (delta - share * delta)[None, :], c, q, theta[:, None])
    # round up with room for the rounding of the logarithms
    first, second = (np.ceil(np.maximum(x, 0.0) * (1.0 + 1e-12) + 1e-9).astype(int) for x in (first, second))
    first = np.where(2.0 * c * theta[:, None] <= eps, 0, first)
    i, j = np.unravel_index(int(np.argmin(first + second)), first.shape)
    values = {
        "eps": float(eps),
        "delta": float(delta),
        "c": float(c),
        "q": float(q),
        "theta": float(theta[i]),
        "s": float(s[best_s[i, j]]),
        "delta_1": float(share[j] * delta),
    }
    return ExplicitItems(int(first[i, j] + second[i, j]), int(first[i, j]), int(second[i, j]), values)


def items_needed(
    eps: float,
    delta: float,
    *,
    law: Law = "uniform",
    c: float | None = None,
    q: float | None = None,
    search: Search = "fine",
) -> int:
    """Return a number of items that provably suffices for all |z| <= c at once; see `explicit_items`.

    >>> items_needed(0.01, 0.01), items_needed(0.01, 0.01 / 397_000)
    (95, 198)
    """
    return explicit_items(eps, delta, law=law, c=c, q=q, search=search).items


def items_counted(eps: float, reach: float) -> int:
    """Return the least n with 2^n intervals of length 2 eps covering [-reach, reach]: fewer items cannot do, proved.

    >>> items_counted(0.01, 1.0), items_counted(0.25, 1.0), items_counted(0.5, 0.1)
    (7, 2, 0)
    """
    if not (0.0 < eps < math.inf and 0.0 < reach < math.inf):
        raise ValueError(f"eps and reach must be positive and finite, got eps = {eps}, reach = {reach}")
    return max(0, (math.ceil(Fraction(reach) / Fraction(eps)) - 1).bit_length())


def items_for_range(eps: float, delta: float, reach: float, *, law: Law = "uniform", max_groups: int = 16) -> int:
    """Return a number of items that provably suffices for all |z| <= reach at once, also beyond the law's range.

    z is split as g equal parts, each a subset sum of its own group of items within eps/g, failing with probability at
    most delta/g; the cheapest of the first max_groups possible g is taken.

    Args:
        eps: tolerance, in (0, 1).
        delta: failure probability, in (0, 1).
        reach: all |z| <= reach are to be reached, > 0.
        law: law of the items; it needs a density around 0.
        max_groups: how many numbers of groups are tried.

    Raises:
        ValueError: an argument outside its range, or a law without a density around 0.

    >>> items_for_range(0.01, 0.01, 0.5), items_for_range(0.01, 0.01, 1.0)
    (95, 218)
    """
    if not 0.0 < reach < math.inf:
        raise ValueError(f"reach must be positive and finite, got {reach}")
    chosen = get_law(law, eps)
    widest = 0.5 if chosen.name in ("uniform", "normal") else 0.45  # for products q falls to 0 at 1/2
    least = least_groups(widest, reach)

    def each(groups: int) -> int:
        # a group reaches at least reach/g: one step up, or the law's best range if that is wider
        just = min(widest, math.nextafter(reach / groups, math.inf))
        ranges = {just, max(just, chosen.best_range)}
        return min(items_needed(eps / groups, delta / groups, law=chosen, c=c) for c in ranges)

    return min(groups * each(groups) for groups in range(least, least + max_groups))
