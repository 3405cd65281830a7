"""The proof steps of Natale et al. 2024 that a machine checks: by sympy, by exact fractions, by counting."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import sympy

from strongticket import bounds
from strongticket.bounds.natale2024sparsity import (
    hit_probability,
    item_plan,
    needed_bits,
    sum_cdf,
    sum_density,
    theorem5_kept,
)
from theory._natale_claims import separated
from theory._theorem import ProofStep
from theory.pensia2020optimal import THEOREMS as PENSIA_THEOREMS

__all__ = [
    "COROLLARY_STEPS",
    "DENSITY_STEPS",
    "SECOND_MOMENT_STEPS",
    "THEOREM2_STEPS",
    "THEOREM3_STEPS",
    "THEOREM5_STEPS",
]

_EXACT = 40
"""Sums of up to so many items are computed exactly; beyond, the Fourier estimate takes over."""
_CURVE = Fraction(163, 25000)
"""c with -log(sin t / t) <= t^2/6 + c t^4 on [0, 3/2]."""


# ------------------------------------------------------------------ densities of sums


def _check_irwin_hall() -> bool:
    """Against convolution: f_(k+1)(x) = (F_k(x + 1) - F_k(x - 1)) / 2, and F_1 is the uniform distribution."""
    points = [Fraction(a, 7) for a in range(-40, 41)]
    start = all(sum_cdf(1, x) == min(max((x + 1) / 2, Fraction(0)), Fraction(1)) for x in points)
    return start and all(
        sum_density(k + 1, x) == (sum_cdf(k, x + 1) - sum_cdf(k, x - 1)) / 2
        for k in range(1, 7)
        for x in points
        if abs(x) < k + 1
    )


def _above_root(k: int) -> Fraction:
    """A fraction just above sqrt(k), or equal to it."""
    scaled = k * 10**24
    root = math.isqrt(scaled)
    return Fraction(root if root * root == scaled else root + 1, 10**12)


def _check_small_sums() -> bool:
    for k in range(1, _EXACT + 1):
        at_root, at_zero = sum_density(k, _above_root(k)), sum_density(k, Fraction(0))
        if at_root**2 * k < Fraction(3, 20) ** 2 or at_zero**2 * k > Fraction(1, 2):
            return False
    return True


def _exp_above(y: Fraction) -> Fraction:
    """An upper bound of exp(-y) for y in [0, 1]: an alternating series cut after a positive term."""
    return sum(((-y) ** m / math.factorial(m) for m in range(21)), Fraction(0))


def _check_characteristic() -> bool:
    # -log(sin t / t) = sum_m zeta(2m) t^(2m) / (m pi^(2m)): the first coefficient is 1/6 and all are positive, so
    # (-log(sin t / t) - t^2/6) / t^4 rises with t, and c is enough on [0, t0] if it is at t0 = 3/2
    first = sympy.simplify(sympy.zeta(2) / sympy.pi**2 - sympy.Rational(1, 6)) == 0
    t = sympy.Symbol("t")
    series = sympy.series(-sympy.log(sympy.sin(t) / t), t, 0, 10).removeO()
    terms = all(
        sympy.simplify(series.coeff(t, 2 * m) - sympy.zeta(2 * m) / (m * sympy.pi ** (2 * m))) == 0 for m in range(1, 5)
    )
    t0 = Fraction(3, 2)
    sine = sum(((-1) ** m * t0 ** (2 * m + 1) / math.factorial(2 * m + 1) for m in range(12)), Fraction(0))  # below sin
    return bool(first and terms and sine / t0 >= _exp_above(t0**2 / 6 + _CURVE * t0**4))


def _check_fourier() -> bool:
    k, t = sympy.Symbol("k", positive=True), sympy.Symbol("t", positive=True)
    moment = sympy.Rational(3, 8) * sympy.sqrt(sympy.pi) * (6 / k) ** sympy.Rational(5, 2)
    if sympy.simplify(sympy.integrate(t**4 * sympy.exp(-k * t**2 / 6), (t, 0, sympy.oo)) - moment) != 0:
        return False
    # a Gaussian tail from 3/2: t <= t^2 / (3/2) under the integral; and that of t^-k from pi
    tail = sympy.integrate(t / sympy.Rational(3, 2) * sympy.exp(-k * t**2 / 6), (t, sympy.Rational(3, 2), sympy.oo))
    first_tail = 2 / k * sympy.exp(-3 * k / 8)
    if sympy.simplify(tail - first_tail) != 0:
        return False
    last_tail = sympy.pi ** (1 - k) / (k - 1)
    curve = sympy.Rational(_CURVE.numerator, _CURVE.denominator)
    lost = sympy.sqrt(k) / sympy.pi * (k * curve * moment + first_tail + last_tail)
    gauss = sympy.sqrt(3 / (2 * sympy.pi))
    # each of the three terms falls with k > 1: their logarithmic derivatives are sums of negative numbers
    slopes = (
        (moment * k, -1 / k),
        (first_tail, -1 / (2 * k) - sympy.Rational(3, 8)),
        (last_tail, -(k + 1) / (2 * k * (k - 1)) - sympy.log(sympy.pi)),
    )
    for term, slope in slopes:
        if sympy.simplify(sympy.diff(sympy.log(sympy.sqrt(k) * term), k) - slope) != 0:
            return False
    lower = gauss * sympy.exp(-sympy.Rational(3, 2)) - lost.subs(k, _EXACT + 1)
    upper = gauss + (sympy.sqrt(k) / sympy.pi * last_tail).subs(k, _EXACT + 1)
    return bool(
        lower.evalf(40) > sympy.Rational(3, 20) and upper.evalf(40) < sympy.sqrt(sympy.Rational(1, 2)).evalf(40)
    )


# ------------------------------------------------------------------ Theorem 2 and the second moment


def _check_pairs() -> bool:
    """Pairs of k-subsets by the number of elements shared, counted literally and by the formula."""
    for n, k in ((5, 2), (6, 3), (7, 3), (7, 5)):
        subsets = [frozenset(some) for some in itertools.combinations(range(n), k)]
        for i in range(k + 1):
            literal = sum(len(one & other) == i for one in subsets for other in subsets)
            if literal != math.comb(n, k) * math.comb(k, i) * math.comb(n - k, k - i):
                return False
    return True


def _check_second_moment() -> bool:
    """P(Y > 0) E[Y^2] >= (E Y)^2 for toys: every item is one of four values."""
    values = [Fraction(v, 4) for v in (-3, -1, 1, 3)]
    for n, k, z in ((3, 1, Fraction(0)), (4, 2, Fraction(1, 2)), (4, 3, Fraction(1, 4))):
        total = square = some = 0
        for draw in itertools.product(values, repeat=n):
            hits = sum(abs(sum(chosen) - z) <= Fraction(1, 4) for chosen in itertools.combinations(draw, k))
            total, square, some = total + hits, square + hits * hits, some + (hits > 0)
        if Fraction(total) ** 2 > square * some:
            return False
    return True


def _check_entropy_count() -> bool:
    # C(n, k) sqrt(8 k (n - k) / n) >= 2^(n H2(k/n)) = n^n / (k^k (n - k)^(n - k)), squared, in integers
    return all(
        math.comb(n, k) ** 2 * 8 * k * (n - k) * (k**k * (n - k) ** (n - k)) ** 2 >= n * n ** (2 * n)
        for n in range(2, 61)
        for k in range(1, n)
    )


def _check_fresh() -> bool:
    # E[1/(j + 1)] over the number j of elements not shared: exactly (n + 1)/((k + 1)(n - k + 1))
    for n in range(2, 25):
        for k in range(1, n // 2 + 1):
            mean = sum(
                Fraction(math.comb(k, k - j) * math.comb(n - k, j), math.comb(n, k) * (j + 1)) for j in range(k + 1)
            )
            if mean != Fraction(n + 1, (k + 1) * (n - k + 1)):
                return False
    # at most 2/(k + 1) as n = 2k + extra; and sqrt(2) sqrt(2/(k + 1)) < 2/sqrt(k)
    k, extra = sympy.Symbol("k", positive=True), sympy.Symbol("extra", nonnegative=True)
    n = 2 * k + extra
    room = sympy.expand(2 * (n - k + 1) - (n + 1))
    return bool(room.is_positive and sympy.expand(4 / k - 4 / (k + 1) - 4 / (k * (k + 1))).simplify() == 0)


def _check_constant() -> bool:
    eps, k, lower, upper = sympy.symbols("eps k c_l c_u", positive=True)
    hit = eps * lower / sympy.sqrt(k)  # the half of the window that lies on |x| <= sqrt(k)
    same = sympy.sqrt(8 * k) * eps / k  # 1/C(n, k) <= sqrt(8k) 2^(-n H2(k/n)) <= sqrt(8k) eps/k
    other = 2 * eps * upper * 2 / sympy.sqrt(k)
    formula = bounds.get("natale2024sparsity.theorem2_probability").expression
    real = {sympy.Symbol(x.name, real=True): x for x in (lower, upper)}
    closed = sympy.simplify(hit / (same + other) - formula.subs(real)) == 0
    value = formula.subs(dict(zip(real, (sympy.Rational(3, 20), 1 / sympy.sqrt(2)), strict=True)))
    return bool(closed and sympy.simplify(value - sympy.Rational(3, 80) / sympy.sqrt(2)) == 0)


# ------------------------------------------------------------------ amplification and Theorem 3


def _check_amplification() -> bool:
    # (1 - c)^r <= exp(-c r) = (eps/k)^4 at r = (4/c) ln(k/eps); a net of spacing eps has at most 2 sqrt(k)/eps + 1
    # points, and sqrt(k) <= k, so the union is at most (2 k/eps + 1)(eps/k)^4 <= 2 eps^3 + eps^4 <= eps up to 1/2
    eps, k = sympy.symbols("eps k", positive=True)
    union = sympy.expand((2 * k / eps + 1) * (eps / k) ** 4)
    split = sympy.expand(union - (2 * eps**3 / k**3 + eps**4 / k**4)) == 0
    rest = 2 * eps**2 + eps**3  # of eps, which must be at most one; it rises with eps
    half = rest.subs(eps, sympy.Rational(1, 2)) <= 1 and sympy.diff(rest, eps).is_positive is True
    # items: r groups of c_hyp log2(2k/eps)/H <= 2 c_hyp log2(k/eps)/H, as 2k/eps <= (k/eps)^2; rounding r up to a
    # whole number adds one, and (4/c)(1 - ln 2) log2(k/eps) >= 1
    rounding = 4 * (1 - sympy.log(2)) > 1
    return bool(split and half and rounding)


def _check_shapes() -> bool:
    d, e, k, n = sympy.symbols("d_in d_out k n", positive=True)
    found = {
        name: bounds.get(f"natale2024sparsity.theorem3_{name}").expression for name in ("kept", "parameters", "density")
    }
    plain = {sympy.Symbol(x.name, real=True): x for x in (d, e, k, n)}
    gamma = {sympy.Symbol("gamma", real=True): k / n}
    share = found["kept"].subs(plain) / found["parameters"].subs(plain)
    # two signs, n neurons each for every input, weights in and out; a kept product keeps at most one weight of either
    parameters = sympy.expand(found["parameters"].subs(plain) - (2 * d * n * d + e * 2 * d * n)) == 0
    kept = sympy.expand(found["kept"].subs(plain) - 2 * (2 * d * e * k)) == 0
    return bool(parameters and kept and sympy.simplify(share - found["density"].subs(plain).subs(gamma)) == 0)


_PLANS = tuple(itertools.product((1, 2, 3, 6), (0.1, 0.01), (1, 5000), (0.5, 1.0)))


def _check_plans() -> bool:
    """The numbers of `item_plan`, added up again in exact arithmetic."""
    for size, eps, problems, largest in _PLANS:
        plan = item_plan(size, eps, 0.01, problems=problems, max_target=largest)
        success = hit_probability(plan.group, size, Fraction(eps), Fraction(largest))
        if not plan.success <= success or problems * (1 - success) ** plan.groups > Fraction(1, 100):
            return False
        formula = bounds.get("natale2024sparsity.explicit_items")
        if formula(**plan.values) != plan.items and plan.groups > 1:
            return False
    return True


def _check_thinning() -> bool:
    u, least, rest = sympy.symbols("u least rest", positive=True)
    # U(-u, u) is, with probability least/u, U(-least, least), else uniform on the rest: densities
    inside = least / u * 1 / (2 * least)
    outside = (1 - least / u) / (2 * (u - least))
    flat = sympy.simplify(inside - 1 / (2 * u)) == 0 and sympy.simplify(outside - 1 / (2 * u)) == 0
    enough = sympy.simplify((least / u).subs(u, 1 / (1 + rest)) - least) == least * rest  # u <= 1: at least `least`
    return bool(flat and enough)


# ------------------------------------------------------------------ Theorem 5


def _check_upper_count() -> bool:
    # C(n, k) <= 2^(n H2(k/n)), in integers, for all k: the condition k <= (1 - 1/(2 pi)) n is not needed
    return all(math.comb(n, k) * k**k * (n - k) ** (n - k) <= n**n for n in range(1, 61) for k in range(n + 1))


def _check_closing() -> bool:
    # d^2 log2(sqrt(k)/(2 eps)) - 1 >= (d^2/2) log2(k/eps) is d^2 (log2(1/eps)/2 - 1) >= 1: at eps = 1/16, d = 1
    # with equality, and the left side rises with d and with 1/eps
    d, bits, k = sympy.symbols("d bits k", positive=True)
    needed = d**2 * (k / 2 + bits - 1) - 1  # k, bits: log2 of k and of 1/eps
    claimed = d**2 / 2 * (k + bits)
    gap = sympy.expand(needed - claimed - (d**2 * (bits / 2 - 1) - 1)) == 0
    more, larger = sympy.symbols("more larger", nonnegative=True)
    at = (d**2 * (bits / 2 - 1) - 1).subs({d: 1 + larger, bits: 4 + more})
    return bool(gap and sympy.expand(at).is_nonnegative)


def _check_counting() -> bool:
    # the calculator's least k is the least in exact arithmetic, for balls of radius 1 and sqrt(k)
    for m, entries, eps in ((60, 4, Fraction(1, 20)), (200, 9, Fraction(1, 100)), (40, 16, Fraction(1, 20))):
        for scaled in (False, True):
            enough = [
                k
                for k in range(1, m // 2 + 1)
                if 4 * math.comb(m, k) ** 2 * (2 * eps) ** (2 * entries) >= (k**entries if scaled else 1)
            ]
            if theorem5_kept(m, entries, float(eps), scaled=scaled) != (enough[0] if enough else None):
                return False
    parameters = bounds.get("pensia2020optimal.theorem2_parameters")
    return all(abs(needed_bits(d * d, 0.01) - parameters(d=d, eps=0.01)) < 1e-9 for d in (1, 3, 10))


def _check_separated() -> bool:
    for size, eps in itertools.product((1, 2, 4, 9), (Fraction(1, 100), Fraction(1, 37))):
        half = (separated(size, float(eps)) - 1) // 2
        spacing = 2 * eps * (1 + Fraction(1, 10**9))
        room = 1 + Fraction(1, 10**11)
        if not (half * spacing) ** 2 <= size * room < ((half + 1) * spacing) ** 2 * room**2:
            return False
    return True


DENSITY_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "Irwin and Hall",
        "the piecewise polynomials satisfy the recursion of convolution with U(-1, 1) (exact fractions, k <= 7, 81 "
        "points)",
        _check_irwin_hall,
        general=False,
    ),
    ProofStep(
        "up to 40 items",
        "sqrt(k) f_k(sqrt(k)) >= 3/20 and sqrt(k) f_k(0) <= 1/sqrt(2) for k = 1..40 (exact fractions, all of them)",
        _check_small_sums,
    ),
    ProofStep(
        "characteristic function",
        "-log(sin t / t) - t^2/6 is >= 0 on [0, pi] and <= 0.00652 t^4 on [0, 3/2]: coefficients of the series (sympy, "
        "the first four), value at 3/2 (exact fractions)",
        _check_characteristic,
    ),
    ProofStep(
        "more than 40 items",
        "the density differs from the Gaussian one, in units of 1/sqrt(k), by less than at k = 41, which leaves "
        "sqrt(k) f_k(sqrt(k)) > 3/20 and sqrt(k) f_k(0) < 1/sqrt(2) (sympy: integrals, slopes in k, values at 41)",
        _check_fourier,
    ),
)

SECOND_MOMENT_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "pairs of subsets",
        "C(n, k) C(k, i) C(n - k, k - i) ordered pairs of k-subsets share i elements (counted, four cases)",
        _check_pairs,
        general=False,
    ),
    ProofStep(
        "second moment",
        "P(Y > 0) >= (E Y)^2 / E Y^2 (Cauchy and Schwarz; exact enumeration of three toys)",
        _check_second_moment,
        general=False,
    ),
)

THEOREM2_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "number of subsets",
        "C(n, k) >= 2^(n H2(k/n)) / sqrt(8 k (n - k)/n), hence 1/C(n, k) <= sqrt(8k) eps/k (exact integers, n <= 60)",
        _check_entropy_count,
        general=False,
    ),
    ProofStep(
        "fresh elements",
        "for two random k-subsets, j the elements of one that the other lacks: E[1/(j + 1)] = (n + 1)/((k + 1)(n - k "
        "+ 1)) "
        "(exact, n <= 24) <= 2/(k + 1) for k <= n/2 (sympy), so E[j^-1/2; j > 0] <= 2/sqrt(k) by Jensen's inequality",
        _check_fresh,
        general=False,
    ),
    ProofStep(
        "the constant",
        "hit >= eps c_l/sqrt(k) over (2 sqrt(2) + 4 c_u) eps/sqrt(k) is c_thm; with c_l = 3/20 and c_u = 1/sqrt(2) it "
        "is 3/(80 sqrt(2)) = 0.0265 (sympy)",
        _check_constant,
    ),
)

COROLLARY_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "amplification",
        "r = (4/c_thm) ln(k/eps) groups, a net of spacing eps met within eps/2, r rounded up: failure <= eps for "
        "eps <= 1/2, with c_amp = 8 c_hyp/c_thm (sympy)",
        _check_amplification,
    ),
)

_GADGET = tuple(
    step
    for theorem in PENSIA_THEOREMS
    if theorem.key == "pensia2020optimal.theorem1"
    for step in theorem.steps
    if step.name in ("gadget", "entries to norm", "layer errors", "closing")
)

THEOREM3_STEPS: tuple[ProofStep, ...] = (
    *_GADGET,
    ProofStep(
        "shapes",
        "2 d_in n neurons, d_in weights into each and d_out out of each; at most two weights kept per product and "
        "sign: "
        "kept over parameters is 2 d_out gamma/(d_in + d_out) (sympy)",
        _check_shapes,
    ),
    ProofStep(
        "column-aware candidates",
        "U(-u, u) with u in [u_min, 1] is U(-u_min, u_min) with probability u_min/u >= u_min, else what is left "
        "(sympy)",
        _check_thinning,
    ),
    ProofStep(
        "plans",
        f"for {len(_PLANS)} plans, N (1 - p)^groups <= delta with p in exact fractions",
        _check_plans,
        general=False,
    ),
)

THEOREM5_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "number of tickets",
        "C(n, k) <= 2^(n H2(k/n)) for all k (exact integers, n <= 60; in general one term of (p + q)^n = 1, p = k/n)",
        _check_upper_count,
        general=False,
    ),
    ProofStep(
        "closing",
        "d^2 log2(sqrt(k)/(2 eps)) - 1 >= (d^2/2) log2(k/eps) for eps <= 1/16 and d >= 1 (sympy)",
        _check_closing,
    ),
    ProofStep(
        "counting",
        "the calculator's least k with C(m, k) >= (1/2)(r/(2 eps))^D is the least in exact arithmetic, r = 1 and "
        "sqrt(k) (three cases each); with all tickets counted it is Theorem 2 of Pensia et al.",
        _check_counting,
        general=False,
    ),
    ProofStep(
        "the claim's set",
        "it is 2 eps-separated, inside [-sqrt(k), sqrt(k)], and cannot be extended by one spacing (exact, 8 cases)",
        _check_separated,
        general=False,
    ),
)
