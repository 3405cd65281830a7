"""Natale et al. 2024, "On the sparsity of the strong lottery ticket hypothesis": tickets of a chosen density.

Every weight becomes a sum of exactly k of n random items, so the choice of k moves the ticket along a curve of density
against over-parameterisation.

- `theorem2_items`, `corollary1_items`, `corollary2_items`, `theorem3_items`: the published orders; the constants c_hyp,
  c_thm and c_amp are left open by the paper.
- `SUM_LOWER`, `SUM_UPPER`, `theorem2_probability`: constants for items U(-1, 1), proved. **Derived by strongticket.**
- `hit_probability`, `item_plan`: explicit numbers of items for each k, by a second moment. **Derived by strongticket.**
- `theorem5_parameters`, `theorem5_kept`, `kept_needed`, `mask_bits`, `needed_bits`: what no ticket can beat.
"""

from __future__ import annotations

import math
from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._counting import entropy, kept_needed, mask_bits, needed_bits, theorem5_kept
from strongticket.bounds._fixed_size_plan import ItemPlan, group_success, item_plan, theorem2_items
from strongticket.bounds._uniform_sums import hit_probability, sum_cdf, sum_density, window

__all__ = [
    "BOUNDS",
    "SUM_LOWER",
    "SUM_UPPER",
    "ItemPlan",
    "entropy",
    "group_success",
    "hit_probability",
    "item_plan",
    "kept_needed",
    "mask_bits",
    "needed_bits",
    "sum_cdf",
    "sum_density",
    "theorem2_items",
    "theorem3_items",
    "theorem5_kept",
    "window",
]

SUM_LOWER = 3.0 / 20.0
"""c_l: sums of k numbers U(-1, 1) have density >= c_l / sqrt(k) on [-sqrt(k), sqrt(k)], for every k. Ours."""
SUM_UPPER = math.sqrt(0.5)
"""c_u: their density is at most c_u / sqrt(k) everywhere, for every k; attained at k = 2. Ours."""


def theorem3_items(share: float, layers: int, d_in: int, d_out: int, eps: float, c_amp: float) -> float:
    """Return n* = c_amp log2(2 L d d' share n* / eps)^2 / H2(share), the largest solution: items per sign and weight.

    Args:
        share: gamma' = k/n, the share of the items that each weight keeps, in (0, 1/2].
        layers: depth L of the target.
        d_in, d_out: shape of the layer.
        eps: error of the network, in (0, 1).
        c_amp: constant of the paper, 8 c_hyp / c_thm.

    >>> round(theorem3_items(0.5, 1, 10, 10, 0.01, 1.0))
    495
    """
    if not 0.0 < share <= 0.5 or not 0.0 < eps < 1.0 or not c_amp > 0.0 or min(layers, d_in, d_out) < 1:
        raise ValueError(
            f"share in (0, 1/2], eps in (0, 1), c_amp > 0 and counts >= 1 are needed, got {share}, {eps}, {c_amp}, "
            f"{layers}, {d_in}, {d_out}"
        )
    factor, scale = c_amp / entropy(share), 2.0 * layers * d_in * d_out * share / eps
    items = 1e12 * max(1.0, factor) * max(1.0, math.log2(scale * max(1.0, factor)) ** 2)
    for _ in range(10_000):  # falls to the largest solution, as the right side grows slower than the left
        following = factor * math.log2(scale * items) ** 2
        if not following < items * (1.0 - 1e-14):
            return items
        items = following
    raise ValueError(f"no solution found for share {share} and c_amp {c_amp}")  # pragma: no cover


# ------------------------------------------------------------------ the formulas


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any) -> Hypothesis:
    import sympy

    whole = sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))
    return Hypothesis(f"{symbol.name} integer >= 1", whole, "a count")


def _entropy(share: Any) -> Any:
    import sympy

    return -(share * sympy.log(share) + (1 - share) * sympy.log(1 - share)) / sympy.log(2)


def _log2(value: Any) -> Any:
    import sympy

    return sympy.log(value) / sympy.log(2)


def _share(gamma: Any) -> Hypothesis:
    import sympy

    return Hypothesis("0 < gamma <= 1/2", sympy.And(gamma > 0, 2 * gamma <= 1), "share k/n of the items that is chosen")


def _tolerance(eps: Any, limit: int = 1) -> Hypothesis:
    import sympy

    text = f"0 < eps < {'1' if limit == 1 else f'1/{limit}'}"
    return Hypothesis(text, sympy.And(eps > 0, limit * eps < 1), "tolerance")


def _theorem2_items() -> Formula:
    k, eps, gamma, c_hyp = _symbols("k eps gamma c_hyp")
    known = (_count(k), _tolerance(eps), _share(gamma), Hypothesis("c_hyp >= 1", c_hyp >= 1, "constant"))
    return Formula(c_hyp * _log2(k / eps) / _entropy(gamma), known, frozenset({"c_hyp"}))


def _theorem2_probability() -> Formula:
    import sympy

    c_l, c_u = _symbols("c_l c_u")
    return Formula(
        c_l / (2 * sympy.sqrt(2) + 4 * c_u),
        (
            Hypothesis("c_l > 0", c_l > 0, "sums of k items have density >= c_l/sqrt(k) on |x| <= sqrt(k)"),
            Hypothesis("c_u >= c_l", c_u >= c_l, "and at most c_u/sqrt(k) everywhere"),
        ),
    )


def _density(lower: bool) -> Formula:
    import sympy

    (k,) = _symbols("k")
    return Formula(sympy.Rational(3, 20) / sympy.sqrt(k) if lower else 1 / sympy.sqrt(2 * k), (_count(k),))


def _corollary1_items() -> Formula:
    k, eps, gamma, c_amp = _symbols("k eps gamma c_amp")
    known = (_count(k), _tolerance(eps, 2), _share(gamma), Hypothesis("c_amp > 0", c_amp > 0, "8 c_hyp / c_thm"))
    return Formula(c_amp * _log2(k / eps) ** 2 / _entropy(gamma), known, frozenset({"c_amp"}))


def _corollary2_items() -> Formula:
    eps, gamma, c_amp, k = _symbols("eps gamma c_amp k")
    least = 2 * c_amp * (_log2(k) ** 2 + 2 * _log2(k) * _log2(1 / eps))
    large = Hypothesis("k large", k >= least, "k >= 2 c_amp (log2(k)^2 + 2 log2(k) log2(1/eps))")
    known = (_tolerance(eps, 2), _share(gamma), large, Hypothesis("c_amp > 0", c_amp > 0, "8 c_hyp / c_thm"))
    return Formula(2 * c_amp * _log2(1 / eps) ** 2 / _entropy(gamma), known, frozenset({"c_amp"}))


def _theorem3_items() -> Formula:
    L, d_in, d_out, eps, gamma, n, c_amp = _symbols("L d_in d_out eps gamma n c_amp")
    known = (
        *(_count(symbol) for symbol in (L, d_in, d_out)),
        _tolerance(eps, 2),
        _share(gamma),
        Hypothesis("n >= 1", n >= 1, "items per sign and weight, on both sides of the condition"),
        Hypothesis("c_amp > 0", c_amp > 0, "8 c_hyp / c_thm"),
    )
    argument = 2 * L * d_in * d_out * gamma * n / eps
    return Formula(c_amp * _log2(argument) ** 2 / _entropy(gamma), known, frozenset({"c_amp"}))


def _theorem3_parameters() -> Formula:
    d_in, d_out, n = _symbols("d_in d_out n")
    return Formula(2 * d_in * n * (d_in + d_out), tuple(_count(symbol) for symbol in (d_in, d_out, n)))


def _theorem3_kept() -> Formula:
    d_in, d_out, k = _symbols("d_in d_out k")
    return Formula(4 * d_in * d_out * k, tuple(_count(symbol) for symbol in (d_in, d_out, k)))


def _theorem3_density() -> Formula:
    d_in, d_out, gamma = _symbols("d_in d_out gamma")
    return Formula(2 * d_out * gamma / (d_in + d_out), (_count(d_in), _count(d_out), _share(gamma)))


def _explicit_items() -> Formula:
    import sympy

    group, p, N, delta = _symbols("group p N delta")
    return Formula(
        group * sympy.ceiling(sympy.log(N / delta) / -sympy.log(1 - p)),
        (
            _count(group),
            _count(N),
            Hypothesis("0 < p < 1", sympy.And(p > 0, p < 1), "success of one group, from group_success()"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability of all N weights"),
        ),
    )


def _theorem5_parameters() -> Formula:
    d, eps, gamma, k = _symbols("d eps gamma k")
    return Formula(
        d**2 * _log2(k / eps) / (2 * _entropy(gamma)), (_count(d), _count(k), _tolerance(eps, 16), _part(gamma))
    )


def _part(gamma: Any) -> Hypothesis:
    import sympy

    return Hypothesis("0 < gamma < 1", sympy.And(gamma > 0, gamma < 1), "share k/n of the parameters that is kept")


_AMP = "the constant c_amp = 8 c_hyp/c_thm is left open; with ours, 8/theorem2_probability, it is 302"

BOUNDS: tuple[Bound, ...] = (
    Bound(
        "natale2024sparsity.theorem2_items",
        "items n, with k = gamma n, at which a fixed |z| <= sqrt(k) is within eps of a sum of exactly k of them with "
        "probability c_thm at least",
        Relation.UPPER,
        _theorem2_items,
        "Theorem 2; c_hyp >= 1 and c_thm > 0 are left open; we prove c_hyp = 1 with theorem2_probability",
    ),
    Bound(
        "natale2024sparsity.theorem2_probability",
        "c_thm: that probability is at least this, with c_hyp = 1",
        Relation.LOWER,
        _theorem2_probability,
        "strongticket: second moment with the constants made explicit; c_l = 3/20 and c_u = 1/sqrt(2) for U(-1, 1)",
    ),
    Bound(
        "natale2024sparsity.density_lower",
        "density of a sum of k items U(-1, 1) at any |x| <= sqrt(k) is at least this",
        Relation.LOWER,
        lambda: _density(lower=True),
        "strongticket: exact for k <= 40, Fourier beyond; the limit is sqrt(3/(2 pi)) exp(-3/2) = 0.154 / sqrt(k)",
    ),
    Bound(
        "natale2024sparsity.density_upper",
        "density of a sum of k items U(-1, 1) is at most this everywhere",
        Relation.UPPER,
        lambda: _density(lower=False),
        "strongticket: exact for k <= 3, Fourier beyond (it also follows from Ball's cube slicing)",
    ),
    Bound(
        "natale2024sparsity.corollary1_items",
        "items n, with k = gamma n, at which all |z| <= sqrt(k) are within eps of sums of exactly k of them with "
        "probability 1 - eps",
        Relation.UPPER,
        _corollary1_items,
        f"Corollary 1; {_AMP}",
    ),
    Bound(
        "natale2024sparsity.corollary2_items",
        "the same for large k",
        Relation.UPPER,
        _corollary2_items,
        f"Corollary 2; {_AMP}",
    ),
    Bound(
        "natale2024sparsity.theorem3_items",
        "n*: items per sign and weight of a layer; n is enough if it is not below this value at n itself "
        "(theorem3_items() solves it)",
        Relation.UPPER,
        _theorem3_items,
        f"Theorem 3; {_AMP}",
    ),
    Bound(
        "natale2024sparsity.theorem3_parameters",
        "weights of the random layer pair of width 2 d_in n",
        Relation.TIGHT,
        _theorem3_parameters,
        "shapes in Theorem 3",
    ),
    Bound(
        "natale2024sparsity.theorem3_kept",
        "weights kept in a layer pair, k of n items per sign and weight",
        Relation.UPPER,
        _theorem3_kept,
        "Theorem 3",
    ),
    Bound(
        "natale2024sparsity.theorem3_density",
        "density of the ticket in a layer pair, gamma = k/n",
        Relation.UPPER,
        _theorem3_density,
        "Theorem 3, for one layer: kept over parameters",
    ),
    Bound(
        "natale2024sparsity.explicit_items",
        "items per weight, in disjoint groups, such that each of N weights is within its tolerance of a sum of exactly "
        "k items of one group, with probability 1 - delta; item_plan() chooses the groups",
        Relation.UPPER,
        _explicit_items,
        "strongticket: second moment for one group, independent groups, union bound over the weights",
    ),
    Bound(
        "natale2024sparsity.theorem5_parameters",
        "parameters n of a random network whose tickets of exactly k = gamma n of them serve, each with probability "
        "1/2, all d x d matrices of norm <= sqrt(k) within eps",
        Relation.LOWER,
        _theorem5_parameters,
        "Theorem 5 (it also asks gamma <= 1 - 1/(2 pi), which counting does not need); theorem5_kept() counts exactly",
    ),
)
