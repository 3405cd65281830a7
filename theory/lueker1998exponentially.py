"""Lueker 1998: n = O(log 1/eps) random numbers have a subset sum near every point; the paper's order, our constants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import sympy

from strongticket.bounds import lueker1998exponentially as bounds
from theory._claim import AbstractClaim, Trial, check_factor
from theory._coverage import decide_coverage
from theory._draws import Draws
from theory._subset_sum_claims import FloorClaim, PredictionClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS", "CoverageClaim", "OrderClaim", "draw_items"]


def draw_items(law: str, items: int, seed: int) -> npt.NDArray[np.float64]:
    """Draw the items of one subset-sum problem from a law of `strongticket.bounds.lueker1998exponentially.LAWS`."""
    draws = Draws(seed)
    if law == "normal":
        return draws.normal("x", items)
    v = draws.uniform("v", items)
    if law == "uniform":
        return v
    if law == "product":
        return draws.uniform("u", items, low=0.0) * v
    if law == "half_product":
        return np.asarray(np.maximum(draws.uniform("u", items), 0.0) * v)
    raise ValueError(f"law is one of {', '.join(bounds.LAWS)}, got {law!r}")


@final
class CoverageClaim(AbstractClaim):
    """Our explicit bound: so many items reach every |z| <= c within eps, except with probability delta.

    A trial decides coverage of the whole interval, with certainty on both sides, by all subset sums on a fine lattice.
    Parameters: eps, delta, law, c (None: the law's best range), items (None: by the bound), factor (the bound's number
    of items is divided by it).
    """

    text = "draw n items; every z in [-c, c] is within eps of a subset sum"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"eps": 0.01, "delta": 0.01, "law": "uniform", "c": None, "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `c` and `items` as numbers."""
        p = super().resolve(**params)
        p["c"] = bounds.get_law(p["law"]).best_range if p["c"] is None else float(p["c"])
        check_factor(p)
        if p["items"] is None:
            needed = bounds.items_needed(p["eps"], p["delta"], law=p["law"], c=p["c"])
            p["items"] = math.floor(needed / p["factor"])
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        law = bounds.LAWS[p["law"]].text
        return (
            f"n = {p['items']} items {law}, all |z| <= {p['c']:.4g} within eps = {p['eps']:g}, delta = {p['delta']:g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the items and decide."""
        p = self.resolve(**params)
        return decide_coverage(draw_items(p["law"], p["items"], seed), p["c"], p["eps"])


@final
class OrderClaim(AbstractClaim):
    """The paper's order with a constant of your choice: C ln(1/eps) items U(-1, 1), probability 1 - eps, |z| <= 1/2."""

    text = "draw ceil(C ln(1/eps)) items U(-1, 1); every |z| <= 1/2 is within eps, except with probability eps"
    defaults: Mapping[str, Any] = MappingProxyType({"eps": 0.01, "constant": 8.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters with the number of items and delta = eps."""
        p = super().resolve(**params)
        if not p["constant"] > 0.0:
            raise ValueError(f"constant must be positive, got {p['constant']}")
        return {**p, "delta": p["eps"], "items": math.ceil(p["constant"] * math.log(1.0 / p["eps"]))}

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the items and decide."""
        p = self.resolve(**params)
        return decide_coverage(draw_items("uniform", p["items"], seed), 0.5, p["eps"])

    def optimistic(self, factor: float, /, **params: Any) -> dict[str, Any]:
        """Divide the constant by the factor."""
        return {**params, "constant": self.resolve(**params)["constant"] / factor}


# ---------------------------------------------------------------- proof steps

_Union = list[tuple[Fraction, Fraction]]


def _unions() -> list[_Union]:
    """Unions of disjoint intervals with rational ends inside [-1/2, 1/2], of several shapes."""
    found: list[_Union] = [[(Fraction(-1, 8), Fraction(1, 8))], [(Fraction(-1, 2), Fraction(1, 2))]]
    for pieces in (1, 2, 3, 4):
        for repeat in range(3):
            ends = sorted(Draws(1998).order(f"union {pieces} {repeat}", 41)[: 2 * pieces].tolist())
            found.append(
                [
                    (Fraction(a, 40) - Fraction(1, 2), Fraction(b, 40) - Fraction(1, 2))
                    for a, b in zip(ends[::2], ends[1::2], strict=True)
                ]
            )
    return found


def _length(union: _Union) -> Fraction:
    return sum((b - a for a, b in union), Fraction(0))


def _gain(union: _Union, x: Fraction, c: Fraction) -> Fraction:
    """Length of ((C + x) within [-c, c]) outside C."""
    gained = Fraction(0)
    for a, b in union:
        low, high = max(a + x, -c), min(b + x, c)
        if high > low:
            gained += high - low - sum((max(Fraction(0), min(high, q) - max(low, p)) for p, q in union), Fraction(0))
    return gained


def expected_gain(union: _Union, c: Fraction) -> Fraction:
    """Expected growth of the covered set when X ~ U(-2c, 2c) is added, exactly.

    The growth is piecewise linear in X, with kinks where an end meets an end, so the trapezoid rule over the kinks
    is exact.
    """
    ends = {end for interval in union for end in interval}
    kinks = sorted({q - p for p in ends for q in ends | {-c, c}} | {-2 * c, 2 * c})
    kinks = [x for x in kinks if -2 * c <= x <= 2 * c]
    area = Fraction(0)
    for left, right in itertools.pairwise(kinks):
        area += (right - left) * (_gain(union, left, c) + _gain(union, right, c)) / 2
    return area / (4 * c)


def _check_growth() -> bool:
    c = Fraction(1, 2)
    # f0 |C| (2c - |C|) with f0 = 1/2
    return all(expected_gain(u, c) == Fraction(1, 2) * _length(u) * (2 * c - _length(u)) for u in _unions())


def _check_doubling() -> bool:
    c = Fraction(1, 2)
    shifts = [Fraction(k, 16) for k in range(-16, 17)]
    return all(0 <= _gain(union, x, c) <= _length(union) for union in _unions() for x in shifts)


def _check_convexity() -> bool:
    r, s = sympy.Symbol("r", positive=True), sympy.Symbol("s", positive=True)
    chord = 1 - (r - 1) * (1 - 2 ** (-s))
    ends = [sympy.simplify((r ** (-s) - chord).subs(r, end)) == 0 for end in (1, 2)]
    return all(ends) and sympy.diff(r ** (-s), r, 2).is_positive is True


def _check_supermartingale() -> bool:
    q, theta, v, s, mean = sympy.symbols("q theta v s mean", positive=True)
    # chord inequality in expectation, at the least possible mean ratio 1 + q (1 - v), v <= theta
    expected = 1 - (mean - 1) * (1 - 2 ** (-s))
    decreasing = sympy.simplify(sympy.diff(expected, mean) + (1 - 2 ** (-s))) == 0
    at_v = expected.subs(mean, 1 + q * (1 - v))
    rho = 1 - q * (1 - theta) * (1 - 2 ** (-s))
    # rho - at_v = q (theta - v)(1 - 2^-s), which is >= 0 for v <= theta
    return bool(decreasing and sympy.expand(rho - at_v - q * (theta - v) * (1 - 2 ** (-s))) == 0)


def _check_second_phase() -> bool:
    q, theta, v = sympy.symbols("q theta v", positive=True)
    left = (1 - v) - q * v * (1 - v)
    return bool(
        sympy.expand(left - (1 - v) * (1 - q * v)) == 0
        and sympy.expand((1 - v) * (1 - q * theta) - left - q * (1 - v) * (v - theta)) == 0
    )


def _check_end() -> bool:
    # [z - e, z + e] within [-c, c] is [max(z - e, -c), min(z + e, c)]: in each of the four cases at least e long, as
    # |z| <= c and e <= 2c; write z = (p - r)/2, c = (p + r)/2 with p, r >= 0, and e = 2c - gap
    p, r, gap = sympy.symbols("p r gap", nonnegative=True)
    z, c = (p - r) / 2, (p + r) / 2
    e = sympy.Symbol("e", nonnegative=True)
    longer = [2 * e - e, (c - z + e) - e, (z + e + c) - e, 2 * c - (2 * c - gap)]
    return all(sympy.expand(excess).is_nonnegative is True for excess in longer)


def _check_simplex() -> bool:
    t, x = sympy.symbols("t x", positive=True)
    volume = sympy.Integer(1)
    for k in range(1, 7):
        volume = sympy.integrate(volume.subs(t, t - x), (x, 0, t))
        if sympy.simplify(volume - t**k / sympy.factorial(k)) != 0:
            return False
    return True


def _check_laguerre() -> bool:
    t = sympy.Symbol("t", real=True)
    for n in range(9):
        total = sum(sympy.binomial(n, k) * t**k / sympy.factorial(k) for k in range(n + 1))
        if sympy.expand(total - sympy.laguerre(n, -t)) != 0:
            return False
    return True


def _check_largest_sum() -> bool:
    """Against the moments: E[S_k] and E[S_k^2] of order statistics of U(0, 1) are known exactly."""
    t = sympy.Symbol("t", real=True)
    for k, n in itertools.combinations_with_replacement(range(1, 6), 2):
        # U(-1, 1) = 2 U - 1; E[U_(i)] = i/(n+1), Cov = i (n+1-j) / ((n+1)^2 (n+2)) for i <= j
        top = range(n - k + 1, n + 1)
        mean = 2 * sum(Fraction(i, n + 1) for i in top) - k
        spread = 4 * sum(Fraction(min(i, j) * (n + 1 - max(i, j)), (n + 1) ** 2 * (n + 2)) for i in top for j in top)
        weights = [
            Fraction((-1) ** (k - j), j ** (n - k + 1) * math.factorial(j - 1) * math.factorial(k - j))
            for j in range(1, k + 1)
        ]
        # E[g(S)] = g(k) - integral of g' F over [-k, k]
        for power, moment in ((1, mean), (2, spread + mean**2)):
            lost = sum(
                sympy.Rational(w.numerator, w.denominator)
                * sympy.integrate(sympy.expand(power * t ** (power - 1) * (j - (k - t) / 2) ** n), (t, k - 2 * j, k))
                for j, w in enumerate(weights, start=1)
            )
            if sympy.Rational(k) ** power - lost != sympy.Rational(moment.numerator, moment.denominator):
                return False
    return True


def _check_best_range() -> bool:
    c = sympy.Symbol("c", positive=True)
    q = c * sympy.log(1 / (2 * c))
    best = 1 / (2 * sympy.E)
    stationary = sympy.simplify(sympy.diff(q, c).subs(c, best)) == 0
    concave = sympy.diff(q, c, 2).is_negative is True
    return bool(stationary and concave and sympy.simplify(q.subs(c, best) - best) == 0)


def _check_product_density() -> bool:
    x, z = sympy.Symbol("x", positive=True), sympy.Symbol("z", positive=True)
    density = sympy.integrate(1 / (2 * x), (x, z, 1))  # Y = z/X has density 1/2 where |z| <= X
    mass = 2 * sympy.integrate(-sympy.log(z) / 2, (z, 0, 1))
    variance = 2 * sympy.integrate(-(z**2) * sympy.log(z) / 2, (z, 0, 1))
    return bool(sympy.simplify(density + sympy.log(z) / 2) == 0 and mass == 1 and variance == sympy.Rational(1, 9))


STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "one more item",
        "if C is the set of points of [-c, c] already within eps/2 of a subset sum, then adding X with density >= f0 "
        "on "
        "[-2c, 2c] covers in expectation at least f0 |C| (2c - |C|) more; for U(-1, 1), c = 1/2 with equality "
        "(exact integrals over 14 unions of rational intervals)",
        _check_growth,
        general=False,
    ),
    ProofStep(
        "at most doubling",
        "the covered length never shrinks and at most doubles with one item (exact, same unions, 33 shifts)",
        _check_doubling,
        general=False,
    ),
    ProofStep(
        "chord",
        "r^-s <= 1 - (r - 1)(1 - 2^-s) on [1, 2]: r^-s is convex and meets the chord at both ends (sympy)",
        _check_convexity,
    ),
    ProofStep(
        "supermartingale",
        "while v < theta: E[(v'/v)^-s] <= 1 - q (1 - theta)(1 - 2^-s), from E[v'/v] >= 1 + q (1 - v) (sympy)",
        _check_supermartingale,
    ),
    ProofStep(
        "completion",
        "once v >= theta: E[1 - v'] <= (1 - v)(1 - q theta); Markov's inequality ends the phase (sympy)",
        _check_second_phase,
    ),
    ProofStep(
        "end",
        "if less than eps/2 is uncovered, each [z - eps/2, z + eps/2] within [-c, c] holds a covered point: its "
        "length is at least eps/2 when eps/2 <= 2c (sympy, the four cases of which ends are cut off)",
        _check_end,
    ),
    ProofStep(
        "products",
        "uv with u ~ U(0, 1), v ~ U(-1, 1) has density ln(1/|z|)/2, mass 1 and variance 1/9 (sympy)",
        _check_product_density,
    ),
    ProofStep(
        "best range for products",
        "q = 2c f0 = c ln(1/(2c)) is largest at c = 1/(2e), where q = c (sympy)",
        _check_best_range,
    ),
)

FLOOR_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "simplex", "P(k uniforms on [0, 1] sum below t) = t^k/k! for t <= 1 (sympy, k <= 6)", _check_simplex, False
    ),
    ProofStep("Laguerre", "sum_k C(n, k) t^k/k! = L_n(-t) (sympy, n <= 8)", _check_laguerre, False),
)

_SPACINGS = ProofStep(
    "largest items",
    "the distribution of the sum of the k largest of n items U(-1, 1) by that formula has the mean and the mean square "
    "that the order statistics have (exact, k <= n <= 5)",
    _check_largest_sum,
    general=False,
)

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="lueker1998exponentially.theorem",
        title="O(log 1/eps) random numbers have a subset sum near every point",
        statement="There is a constant C such that n >= C ln(1/eps) i.i.d. items U(-1, 1) have, with probability at "
        "least "
        "1 - eps, a subset sum within eps of every z in [-1/2, 1/2].",
        hypotheses=("0 < eps < 1", "the items' law contains a uniform density around 0 with constant weight"),
        bound_keys=("lueker1998exponentially.theorem",),
        status="Cited for the order. The paper gives no constant, so only a constant of your choice can be tried: "
        "the default 8 is ours. Our explicit bound (lueker1998exponentially.explicit) implies the order, with proof.",
        assumptions=(
            Assumption("the order n = O(log 1/eps) with an unspecified constant", "Lueker 1998, Corollary 2.5 / 3.3"),
        ),
        claim=OrderClaim(),
    ),
    Theorem(
        key="lueker1998exponentially.explicit",
        title="explicit number of items for all targets at once (strongticket)",
        statement="Let X_1, ..., X_n be independent, each with density at least f0 on [-2c, 2c] given the earlier "
        "ones, and "
        "q = 2 c f0. For any theta in (0, 1), s > 0 and delta_1 + delta_2 = delta, n = n_1 + n_2 items suffice for "
        "every "
        "|z| <= c to be within eps of a subset sum with probability at least 1 - delta, if "
        "(theta/v0)^s (1 - q (1 - theta)(1 - 2^-s))^n_1 <= delta_1 with v0 = min(1, eps/(2c)) (n_1 = 0 if v0 >= "
        "theta), and "
        "(1 - theta)(1 - q theta)^n_2 <= delta_2 eps/(4c).",
        hypotheses=(
            "0 < eps <= 2c",
            "0 < delta < 1",
            "density at least f0 > 0 on [-2c, 2c]; any further part is allowed",
        ),
        bound_keys=("lueker1998exponentially.explicit_items", "lueker1998exponentially.counting_floor"),
        status="Derived by strongticket, not in the paper. The algebra of both phases is checked by sympy in general; "
        "the growth by one more item, and that it at most doubles, are computed exactly on 14 unions of intervals; "
        "their general argument is in words (Fubini). The claim is tried by complete subset sums on a fine lattice, "
        "certain on both sides.",
        steps=STEPS,
        assumptions=(
            Assumption(
                "Markov's inequality and conditional expectation along the items", "any textbook of probability"
            ),
            Assumption(
                "growth: adding X covers the z in [-c, c] outside C with z - X in C; for each such z, z - C lies in "
                "[-2c, 2c], so P(X in z - C) >= f0 |C|, and by Fubini the expected gain is at least f0 |C| (2c - |C|)",
                "measure theory; argued here, computed for 14 unions only",
            ),
            Assumption(
                "doubling: what one item adds is contained in a copy of C, shifted by it, so at most |C|",
                "argued here, computed for 14 unions only",
            ),
        ),
        claim=CoverageClaim(),
    ),
    Theorem(
        key="lueker1998exponentially.coverage_floor",
        title="the items may not reach that far (strongticket)",
        statement="For independent items with symmetric laws, the probability that no subset sum lies within eps of z "
        "is at least P(sum of the positive items < |z| - eps), the sum over k of "
        "C(n, k) (a/2)^k (1 - a/2)^(n - k) F_k(|z| - eps), where a = P(X != 0) and F_k is the distribution function "
        "of a sum of k positive items. For X_i ~ U(-1, 1) and eps < |z| <= 1 + eps that is 2^-n L_n(-(|z| - eps)), L_n "
        "the Laguerre polynomial.",
        hypotheses=("eps > 0", "eps < |z|", "items independent, alike, symmetric about 0"),
        bound_keys=("lueker1998exponentially.coverage_floor",),
        status="Derived by strongticket. The identity is checked by sympy for n <= 8, and a smaller value on a lattice "
        "is used for laws other than U(-1, 1). The claim draws items of any law, solves for the nearest subset sum, "
        "and is falsified if that is within eps more often than one minus the floor.",
        steps=FLOOR_STEPS,
        assumptions=(
            Assumption("the largest subset sum is the sum of the positive items", "by definition; argued here"),
        ),
        claim=FloorClaim(items=6),
    ),
    Theorem(
        key="lueker1998exponentially.fixed_size_floor",
        title="the k largest items may not reach that far (strongticket)",
        statement="For n independent items U(-1, 1), the probability that no sum of exactly k of them lies within eps "
        "of z is at least P(S_k < |z| - eps) + P(S_k < -|z| - eps), S_k the sum of the k largest, with "
        "P(S_k <= t) = sum_(j=1..k) w_j (j - (k - t)/2)_+^n, 1/w_j = j^(n-k+1) (-1)^(k-j) (j - 1)! (k - j)!.",
        hypotheses=("eps > 0", "1 <= k <= n", "items independent, U(-1, 1)"),
        bound_keys=("lueker1998exponentially.fixed_size_floor",),
        status="Derived by strongticket. Mean and mean square of the distribution are compared with those of the "
        "order statistics for n <= 5, exactly; the claim draws items, solves for the nearest sum of k of them, and is "
        "falsified if that is within eps more often than one minus the floor.",
        steps=(_SPACINGS,),
        assumptions=(
            Assumption(
                "k minus the sum of the k largest of n numbers U(0, 1) is a weighted sum of uniform spacings, whose "
                "distribution function is a divided difference of a truncated power",
                "order statistics; argued here, two moments computed for n <= 5",
            ),
            Assumption("all sums of k items lie between those of the k smallest and of the k largest", "by definition"),
        ),
        claim=FloorClaim(eps=0.05, items=8, size=6),
    ),
    Theorem(
        key="lueker1998exponentially.predictions",
        title="how often no subset sum is near, predicted (strongticket)",
        statement="Given the items, the number of subset sums within eps of z is about Poisson with mean "
        "2 eps 2^n f(z), f the density of a random subset sum: taken by a saddlepoint ('saddlepoint'), or as Gaussian "
        "with the floor of the reach added ('combined'). Measured frequencies of failure divided by predicted ones "
        "were between 0.88 and 1.14 for the saddlepoint (hyperbolic items: 1.65), and between 0.53 and 1.4 for "
        "'combined' (products: 2.5, as the tail grows rarer).",
        hypotheses=("independent items of one of the five laws", "6 to 28 items, eps from 1e-1 to 1e-6"),
        bound_keys=("lueker1998exponentially.quenched_tail", "lueker1998exponentially.first_moment"),
        status="Derived by strongticket, as predictions: no proof. The claim draws batches of problems, solves them "
        "exactly, and is falsified if they fail more or less often than the accuracy of the method and law allows.",
        assumptions=(
            Assumption(
                "hits are Poisson given the items",
                "not proved here: sums that differ in nearly equal items come in clusters. Compared with simulations",
            ),
        ),
        claim=PredictionClaim(),
    ),
)
