"""Orseau, Hutter and Rivasplata 2020, "Logarithmic pruning is all you need": greedy sums of hyperbolic weights.

One number in each of the bins (phi^-(i+1), phi^-i] w_max, i = 1..k, phi the golden ratio, is enough for every weight
|w| <= w_max within w_max phi^-k, by a greedy rule and without any solver. Under the density 1/|x| all bins are equally
likely, also those of products with a known factor. The decomposition is the paper's; **all constants here are derived
by strongticket**, for the two layers of the product gadget on the grid of `strongticket.random.hyperbolic`.

- `bins`, `greedy_error`: how many bins, and what they give.
- `hyperbolic_items`, `uniform_items`, `items_for_bins`: how many random products fill all bins.
- `uniform_cost`: what uniform weights cost.
- `neurons_for_batch`: neurons from which every input is given its share, whichever suits it ("batch sampling").
- `network_error`, `weight_eps`: no norm condition; activations with any Lipschitz constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._propagation import propagate_error, weight_budget

__all__ = [
    "BOUNDS",
    "GOLDEN",
    "SHARE",
    "UNIFORM_GRID",
    "hyperbolic_mass",
    "items_for_bins",
    "neurons_for_batch",
    "uniform_mass",
    "weight_eps",
]

GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0
SHARE = 0.3443
"""E times a lower bound of the probability that a hyperbolic weight of E octaves, cut to 9 bits, has a given sign and,
times a known factor, lies in a given bin: (log2(phi) - log2(1 + 2^-8))/2 = .344309, less what rounding bins costs."""
UNIFORM_GRID = 2.0**-22
"""What the grid of uniform weights on (-1, 1) can cost a bin of its probability."""


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _is_count(symbol: Any) -> Any:
    import sympy

    return sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))


def _bins() -> Formula:
    import sympy

    w_max, eps = _symbols("w_max eps")
    k = sympy.ceiling(sympy.log(w_max / eps) / sympy.log(sympy.GoldenRatio))
    return Formula(
        sympy.Max(0, k),
        (
            Hypothesis("eps > 0", eps > 0, "error of the weight"),
            Hypothesis("w_max > 0", w_max > 0, "largest |weight|"),
        ),
    )


def _greedy_error() -> Formula:
    w_max, b, k = _symbols("w_max b k")
    import sympy

    return Formula(
        w_max * b ** (-k),
        (
            Hypothesis("1 < b <= 2", sympy.And(b > 1, b <= 2), "base; the golden ratio makes the bins tile the line"),
            Hypothesis("k integer >= 1", _is_count(k), "bins, each with a number v_i in [(b-1) b^-i, b^-i] w_max"),
            Hypothesis("w_max > 0", w_max > 0, "largest |weight|"),
        ),
    )


def _fill_hypotheses(B: Any, delta: Any) -> tuple[Hypothesis, ...]:
    import sympy

    return (
        Hypothesis("B integer >= 1", _is_count(B), "bins to fill, over all weights of the network"),
        Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "probability that some bin stays empty"),
    )


def _hyperbolic_items() -> Formula:
    import sympy

    B, E, delta = _symbols("B E delta")
    p = sympy.Rational(str(SHARE)) / E
    return Formula(
        sympy.ceiling(sympy.log(B / delta) / -sympy.log(1 - p)),
        (*_fill_hypotheses(B, delta), Hypothesis("E >= 1", E >= 1, "octaves of the law: log2(beta/alpha)")),
    )


def _uniform_items() -> Formula:
    import sympy

    B, eps, scale, delta = _symbols("B eps scale delta")
    p = eps / (2 * sympy.GoldenRatio**3 * scale) - sympy.Float(UNIFORM_GRID, 30)
    return Formula(
        sympy.ceiling(sympy.log(B / delta) / -sympy.log(1 - p)),
        (
            *_fill_hypotheses(B, delta),
            Hypothesis("0 < eps <= scale", sympy.And(eps > 0, eps <= scale), "error per weight; v ~ U(-scale, scale)"),
            Hypothesis(
                "eps > 2^-18 scale", eps > scale * sympy.Rational(1, 2**18), "bins finer than the grid are not counted"
            ),
        ),
    )


def _uniform_cost() -> Formula:
    import sympy

    E, eps, scale = _symbols("E eps scale")
    share = sympy.log(sympy.GoldenRatio) / sympy.log(2) / (2 * E)
    return Formula(
        share * 2 * sympy.GoldenRatio**3 * scale / eps,
        (
            Hypothesis("0 < eps <= scale", sympy.And(eps > 0, eps <= scale), "error per weight; v ~ U(-scale, scale)"),
            Hypothesis("E >= 1", E >= 1, "octaves of the hyperbolic law"),
        ),
    )


def _network_error() -> Formula:
    L, a, e, alpha, lam = _symbols("L a e alpha lipschitz")
    return Formula(
        alpha * lam ** (L - 1) * ((a + e) ** L - a**L),
        (
            Hypothesis("a >= 0", a >= 0, "largest spectral norm of the target's layers: any"),
            Hypothesis("e >= 0", e >= 0, "spectral norm of each layer's error"),
            Hypothesis("alpha >= 0", alpha >= 0, "largest norm of an input"),
            Hypothesis("lipschitz >= 0", lam >= 0, "Lipschitz constant of the activation, which is 0 at 0"),
            Hypothesis("L integer >= 1", _is_count(L), "layers"),
        ),
    )


_OURS = "strongticket: "

BOUNDS: tuple[Bound, ...] = (
    Bound(
        "orseau2020logarithmic.hyperbolic_items",
        "products u v per input with |u| >= 1/2 known and v hyperbolic such that all B bins get one, with probability "
        "1 - delta; each bin is (phi^-(i+1), phi^-i] w_max with one sign",
        Relation.UPPER,
        _hyperbolic_items,
        _OURS + "union bound over the bins; the paper's own constants are not used",
    ),
    Bound(
        "orseau2020logarithmic.bins",
        "k: bins such that one number in each is enough for every |w| <= w_max within eps",
        Relation.UPPER,
        _bins,
        "golden-ratio decomposition of the paper; derived again here",
    ),
    Bound(
        "orseau2020logarithmic.greedy_error",
        "largest error of the greedy rule over all |w| <= w_max and all numbers in the k bins; it is attained",
        Relation.TIGHT,
        _greedy_error,
        _OURS + "any base 1 < b <= 2; the golden ratio is the paper's",
    ),
    Bound(
        "orseau2020logarithmic.uniform_items",
        "products u v per input with |u| >= 1/2 known and v ~ U(-scale, scale) such that all B bins get one, with "
        "probability 1 - delta; the least bin decides",
        Relation.UPPER,
        _uniform_items,
        _OURS + "corollary for uniform weights",
    ),
    Bound(
        "orseau2020logarithmic.uniform_cost",
        "how many times more products uniform weights need than hyperbolic ones, to leading order: the ratio of the "
        "probabilities of the least bin",
        Relation.PREDICTION,
        _uniform_cost,
        _OURS + "ratio of the two numbers of items, as eps -> 0",
    ),
    Bound(
        "orseau2020logarithmic.network_error",
        "error on the ball of radius alpha of L layers of norm <= a whose matrices are each wrong by e in norm",
        Relation.UPPER,
        _network_error,
        _OURS + "closed form of the layer recursion with Lipschitz activations; no norm condition",
    ),
)


def hyperbolic_mass(octaves: int) -> float:
    """Return a lower bound of the probability that a product hits a bin of given sign, hyperbolic weights.

    >>> hyperbolic_mass(16)
    0.02151875
    """
    if octaves < 1:
        raise ValueError(f"a hyperbolic law has at least one octave, got {octaves}")
    return SHARE / octaves


def uniform_mass(width: float, scale: float) -> float:
    """Return a lower bound of the probability that a product hits a bin of given sign and width, uniform weights.

    >>> round(uniform_mass(0.1, 1.0), 6)
    0.05
    """
    return max(0.0, width / (2.0 * scale) - UNIFORM_GRID)


def items_for_bins(needs: Sequence[int], masses: Sequence[float], delta: float) -> int:
    """Return the least number n of items such that all bins get one: sum_i needs_i (1 - p_i)^n <= delta.

    Args:
        needs: for each bin, how many weights need it (0 or more).
        masses: for each bin, a lower bound p_i of the probability that one item hits it.
        delta: probability that some bin stays empty, in (0, 1).

    Raises:
        ValueError: a bin that is needed cannot be hit, or a value is out of range.

    >>> items_for_bins([10], [1 / 20], 0.01)
    135
    """
    if len(needs) != len(masses):
        raise ValueError(f"one probability per bin is needed, got {len(needs)} bins and {len(masses)} probabilities")
    if not 0.0 < delta < 1.0 or any(n < 0 for n in needs) or any(not 0.0 <= p <= 1.0 for p in masses):
        raise ValueError("needs >= 0, probabilities in [0, 1] and delta in (0, 1) are needed")
    pairs = [(n, p) for n, p in zip(needs, masses, strict=True) if n]
    if not pairs:
        return 1
    if min(p for _, p in pairs) <= 0.0:
        raise ValueError("a bin that is needed has probability 0 under this law: use a larger tolerance")

    def failure(items: int) -> float:
        return math.fsum(n * math.exp(items * math.log1p(-p)) if p < 1.0 else 0.0 for n, p in pairs)

    low, high = 0, 1
    while failure(high) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure(middle) > delta else (low, middle)
    return high


def neurons_for_batch(columns: int, items: int, usable: float, delta: float) -> int:
    """Return a number of random neurons from which each of the columns is given `items` of its own, in one pass.

    A neuron is usable for each column independently with probability p (for the two halves of one input: with p each,
    never both, which is only better), and goes to some open column for which it is. With s columns open it finds one
    with probability 1 - (1 - p)^s at least, whatever happened before; s is at least the open places over `items`. So
    the number of neurons is at most a sum of independent geometric numbers, and Chernoff's inequality bounds its tail.
    Any greedy rule will do. Ours.

    Args:
        columns: half-inputs to serve, >= 1.
        items: neurons each, >= 1.
        usable: probability p, in (0, 1).
        delta: probability that some place stays empty, in (0, 1).

    >>> neurons_for_batch(10, 5, 0.25, 0.01)
    121
    """
    if columns < 1 or items < 1 or not 0.0 < usable < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(
            f"columns, items >= 1 and usable, delta in (0, 1) are needed, got {columns}, {items}, {usable}, {delta}"
        )
    misses = (1.0 - usable) ** np.arange(1, columns + 1)
    # any theta in (0, -log(1 - p)) gives a valid number
    thetas = -math.log1p(-usable) * np.geomspace(1e-4, 0.999, 200)
    exponentials = np.exp(thetas)[:, None]
    moments = items * np.log((1.0 - misses) * exponentials / (1.0 - misses * exponentials)).sum(axis=1)
    needed = float(((moments + math.log(1.0 / delta)) / thetas).min())
    return max(columns * items, math.ceil(needed * (1.0 + 1e-12)))


def weight_eps(
    shapes: Sequence[tuple[int, int]],
    network_eps: float,
    *,
    norms: Sequence[float],
    radius: float = 1.0,
    bias_norms: Sequence[float] | None = None,
    lipschitz: float = 1.0,
) -> float:
    """Return the largest common error per weight that keeps the network within network_eps, whatever its norms are.

    Args:
        shapes: (d_out, d_in) of each layer, first layer first.
        network_eps: allowed error on the ball of this radius, > 0.
        norms: spectral norms of the layers, any.
        radius: largest Euclidean norm of an input.
        bias_norms: norms of the biases when the layers have biases, which are then made of items too.
        lipschitz: Lipschitz constant of the activation between layers, which is 0 at 0; 1 for ReLU.

    >>> round(weight_eps([(5, 5), (5, 5)], 0.1, norms=[1.0, 3.0]), 6)
    0.004969
    """
    if not shapes or any(a < 1 or b < 1 for a, b in shapes):
        raise ValueError(f"shapes must be (d_out, d_in) pairs of positive sizes, got {list(shapes)}")
    if not 0.0 < lipschitz < math.inf:
        raise ValueError(f"the Lipschitz constant must be positive and finite, got {lipschitz}")
    grow = [lipschitz] * (len(shapes) - 1) + [1.0]
    with_bias = bias_norms is not None
    sizes = list(bias_norms) if bias_norms is not None else [0.0] * len(shapes)

    def error_at(e: float) -> float:
        return propagate_error(
            [g * a for g, a in zip(grow, norms, strict=True)],
            [g * e * math.sqrt(a * b) for g, (a, b) in zip(grow, shapes, strict=True)],
            radius=radius,
            bias_norms=[g * b for g, b in zip(grow, sizes, strict=True)],
            bias_errors=[g * e * math.sqrt(a) if with_bias else 0.0 for g, (a, _) in zip(grow, shapes, strict=True)],
        )

    return weight_budget(error_at, network_eps)
