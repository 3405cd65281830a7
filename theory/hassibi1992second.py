"""Hassibi & Stork 1992: the optimal brain surgeon on a quadratic loss: one weight, its inverse, sets, the recursion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import sympy

from strongticket.bounds import get
from theory._quadratic_claims import JointClaim, RecursionClaim, SurgeonClaim, constrained_minimum
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS", "greedy_losses"]

_Rows = Sequence[Sequence[Fraction]]


def greedy_losses(hessian: _Rows, weights: Sequence[Fraction], order: Sequence[int]) -> list[Fraction]:
    """Return what each deletion costs when weights go in this order and the others are re-optimised each time. Exact.

    >>> h = [[Fraction(2), Fraction(1)], [Fraction(1), Fraction(2)]]
    >>> greedy_losses(h, [Fraction(1), Fraction(1)], [0, 1])
    [Fraction(3, 4), Fraction(9, 4)]
    """
    alive, current, losses = list(range(len(weights))), list(weights), []
    for q in order:
        sub = [[hessian[i][j] for j in alive] for i in alive]
        change, cost = constrained_minimum(sub, [current[i] for i in alive], [alive.index(q)])
        for i, step in zip(alive, change, strict=True):
            current[i] += step
        losses.append(cost)
        alive.remove(q)
    return losses


# ---------------------------------------------------------------- proof steps


def _matrix_symbols() -> tuple[Any, Any, Any, Any]:
    """An inverse Hessian K of any size, the unit vector e, the weight w and the entry v = e'Ke."""
    n = sympy.Symbol("n", integer=True, positive=True)
    w, v = sympy.Symbol("w", real=True), sympy.Symbol("v", positive=True)
    return sympy.MatrixSymbol("K", n, n), sympy.MatrixSymbol("e", n, 1), w, v


def _check_lagrangian() -> bool:
    """Stationary: H d + l e = 0 with e'd = -w; solved by elimination for generic symmetric H, every q."""
    for n in (1, 2, 3):
        entries = {(i, j): sympy.Symbol(f"h{min(i, j)}{max(i, j)}") for i in range(n) for j in range(n)}
        hessian = sympy.Matrix(n, n, lambda i, j, entries=entries: entries[i, j])
        inverse, w, multiplier = hessian.inv(), sympy.Symbol("w"), sympy.Symbol("l")
        for q in range(n):
            unit = sympy.eye(n)[:, q]
            change = sympy.symbols(f"d:{n}")
            stationary = [*(hessian * sympy.Matrix(change) + multiplier * unit), change[q] + w]
            (found,) = sympy.linsolve(stationary, *change, multiplier)
            claimed = -w / inverse[q, q] * inverse * unit
            if sympy.simplify(sympy.Matrix(found[:n]) - claimed) != sympy.zeros(n, 1):
                return False
    return True


def _check_stationary() -> bool:
    """H d = -(w/v) e for d = -(w/v) K e: along every z with z_q = 0 the slope z'Hd is 0."""
    K, e, w, v = _matrix_symbols()
    return bool((K.inverse() * (-w / v * K * e)).doit() + w / v * e == sympy.ZeroMatrix(e.shape[0], 1))


def _check_value() -> bool:
    """d'Hd/2 = (w/v)^2 e'Ke/2, which is w^2/(2v) for v = e'Ke: the formula of the bound itself."""
    K, e, w, v = _matrix_symbols()
    change, across = -w / v * K * e, -w / v * e.T * K  # the transpose, K being symmetric
    cost = (across * K.inverse() * change / 2).doit()
    if cost != (w**2 / v**2 / 2 * (e.T * K * e)).doit():
        return False
    bound = get("hassibi1992second.saliency").expression
    names = {symbol.name: symbol for symbol in bound.free_symbols}
    claimed = bound.xreplace({names["w"]: w, names["v"]: v})
    return bool(sympy.simplify(w**2 / v**2 * v / 2 - claimed) == 0)


def _check_downdate() -> bool:
    """From the inverse of a bordered matrix [[A, b], [b', h]], s = h - b'Kb with K the inverse of A."""
    n = sympy.Symbol("n", integer=True, positive=True)
    A, b = sympy.MatrixSymbol("A", n, n), sympy.MatrixSymbol("b", n, 1)
    s = sympy.Symbol("s", positive=True)
    corner, column, row = A.I + A.I * b * b.T * A.I / s, -A.I * b / s, -b.T * A.I / s
    first = sympy.expand((A * corner + b * row).doit()).doit() - sympy.Identity(n)
    second = sympy.expand((A * column + b / s).doit()).doit()
    # corner - column row / v with v = 1/s
    left = sympy.expand((corner - column * row * s).doit()).doit() - A.I
    return all(
        each.doit() in (0, sympy.ZeroMatrix(*shape))
        for each, shape in ((first, (n, n)), (second, (n, 1)), (left, (n, n)))
    )


def _check_border() -> bool:
    """The last row of that product: b'K + b'K b b'K / s - h b'K / s = 0 and (h - b'Kb)/s = 1, beta = b'Kb."""
    s, beta = sympy.symbols("s beta", positive=True)
    h = s + beta
    return bool(sympy.simplify(1 + beta / s - h / s) == 0 and sympy.simplify((h - beta) / s - 1) == 0)


def _check_sherman_morrison() -> bool:
    """(A + x x'/P) (K - K x x' K / (P + beta)) = 1 with A K = 1 and x'Kx = beta, in a free algebra."""
    A, K, x, y = sympy.symbols("A K x y", commutative=False)
    P, beta = sympy.symbols("P beta", positive=True)
    product = sympy.expand((A + x * y / P) * (K - K * x * y * K / (P + beta)))
    return bool(sympy.simplify(product.subs(A * K, 1).subs(y * K * x, beta)) == 1)


def _check_recursion_cases() -> bool:
    """Exact rationals: three columns one after the other, against the damped mean itself."""
    for n, alpha in itertools.product((1, 2, 3), (Fraction(1), Fraction(1, 100))):
        columns = [[Fraction((3 * i + 5 * j * j + i * j) % 7 - 3) for j in range(n)] for i in range(3)]
        count = len(columns)
        inverse = sympy.eye(n) / sympy.Rational(alpha)
        total = sympy.Rational(alpha) * sympy.eye(n)
        for column in columns:
            x = sympy.Matrix([sympy.Rational(value) for value in column])
            total += x * x.T / count
            inverse -= inverse * x * x.T * inverse / (count + (x.T * inverse * x)[0])
        if inverse * total != sympy.eye(n):
            return False
    return True


def _check_two_steps() -> bool:
    """Delete 1, then 2, [H^-1]_PP being [[v1, c], [c, v2]]: the second price is of the moved weight and inverse."""
    v1, v2, c, w1, w2 = sympy.symbols("v1 v2 c w1 w2", real=True)
    greedy = w1**2 / (2 * v1) + (w2 - c * w1 / v1) ** 2 / (2 * (v2 - c**2 / v1))
    w = sympy.Matrix([w1, w2])
    joint = (w.T * sympy.Matrix([[v1, c], [c, v2]]).inv() * w)[0] / 2
    return bool(sympy.simplify(greedy - joint) == 0)


def _check_orders() -> bool:
    """Exact rationals: every order of every set of a few matrices against the joint minimum; all against w'Hw/2."""
    for n in (2, 3, 4):
        rows = [[Fraction((7 * i + 3 * j * j + 2 * i * j + 1) % 5 - 2) for j in range(n)] for i in range(n + 2)]
        dot = [[sum((row[i] * row[j] for row in rows), Fraction(0)) for j in range(n)] for i in range(n)]
        h = [[dot[i][j] + (i == j) for j in range(n)] for i in range(n)]
        w = [Fraction(i * i - 3 * i + 1, 3) for i in range(n)]
        for size in range(1, n + 1):
            for order in itertools.permutations(range(n), size):
                if sum(greedy_losses(h, w, order)) != constrained_minimum(h, w, order)[1]:
                    return False
        whole = sum((w[i] * h[i][j] * w[j] for i in range(n) for j in range(n)), Fraction(0)) / 2
        if constrained_minimum(h, w, range(n))[1] != whole:
            return False
    return True


_LAGRANGIAN = ProofStep(
    "Lagrangian",
    "d'Hd/2 is stationary under w_q + d_q = 0 at d = -(w_q / [H^-1]_qq) H^-1 e_q alone (sympy, generic symmetric H of "
    "1 to 3 weights, every q)",
    _check_lagrangian,
    general=False,
)
_STATIONARY = ProofStep(
    "no slope",
    "H d = -(w_q/v) e_q for d = -(w_q/v) H^-1 e_q, v = [H^-1]_qq: so (d + z)'H(d + z)/2 = d'Hd/2 + z'Hz/2 for every z "
    "with z_q = 0, and d is the minimum (sympy, matrices of any size)",
    _check_stationary,
)
_VALUE = ProofStep("saliency", "d'Hd/2 = w_q^2/(2v), the bound (sympy, matrices of any size)", _check_value)
_DOWNDATE = ProofStep(
    "inverse of the survivors",
    "if [[P, p], [p', v]] is the inverse of [[A, b], [b', h]], then A^-1 = P - p p'/v; the bordered inverse is "
    "multiplied out (sympy, matrices of any size)",
    _check_downdate,
)
_BORDER = ProofStep("last row", "the last row of that product, with the scalar beta = b'A^-1 b (sympy)", _check_border)
_SHERMAN = ProofStep(
    "one example more",
    "(A + x x'/P)^-1 = A^-1 - A^-1 x x'A^-1/(P + x'A^-1 x) (sympy, noncommuting symbols: any size)",
    _check_sherman_morrison,
)
_RECURSION = ProofStep(
    "recursion",
    "from I/alpha, one column after the other, to the inverse of alpha I + the mean of x x' (exact, 3 columns, 1 to 3 "
    "weights, two alphas)",
    _check_recursion_cases,
    general=False,
)
_TWO = ProofStep(
    "two deletions",
    "the losses of two deletions one after the other add up to w_P'([H^-1]_PP)^-1 w_P/2 (sympy); with blocks in place "
    "of the first weight, this is the step of an induction",
    _check_two_steps,
)
_ORDERS = ProofStep(
    "every order",
    "losses of successive deletions add up to the constrained minimum, for every order of every set; all weights "
    "together cost w'Hw/2 (exact, one matrix each of 2 to 4 weights)",
    _check_orders,
    general=False,
)
_QUADRATIC = "the loss is (w - w0)'H(w - w0)/2 above its value at w0, H symmetric positive definite"

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="hassibi1992second.single",
        title="the cheapest way to be rid of one weight",
        statement="Among all changes d of the weights with w_q + d_q = 0, the quadratic loss grows least, by "
        "w_q^2 / (2 [H^-1]_qq), for d = -(w_q / [H^-1]_qq) H^-1 e_q. The inverse Hessian of the other weights is then "
        "H^-1 - H^-1 e_q e_q' H^-1 / [H^-1]_qq without row and column q.",
        hypotheses=(_QUADRATIC, "w = w0: the network stands at the minimum"),
        bound_keys=("hassibi1992second.saliency",),
        status="Proved, by steps that hold for matrices of any size. The claim runs the library's float64 code on "
        "random and badly conditioned quadratics against exact rational arithmetic on the same numbers. Its tolerance "
        "of 1e-8 is met up to condition numbers of about 10^7 (measured: errors of 2e-10 at 10^6, 1e-8 at 10^8); units "
        "of the weights that differ by factors do not count as bad condition.",
        steps=(_LAGRANGIAN, _STATIONARY, _VALUE, _DOWNDATE, _BORDER),
        assumptions=(
            Assumption(
                "that a network's loss is the quadratic: third derivatives are left out, the gradient is taken for 0",
                "hassibi1992second; experiments measure what it costs",
            ),
        ),
        claim=SurgeonClaim(),
    ),
    Theorem(
        key="hassibi1992second.joint",
        title="what a set of weights costs does not depend on the order of deletion",
        statement="Deleting the weights P one after the other, each at the price w_q^2 / (2 [H^-1]_qq) of its turn, "
        "costs w_P' ([H^-1]_PP)^-1 w_P / 2 in all, the least for which the set can be deleted, and the survivors end "
        "at w - H^-1_:P ([H^-1]_PP)^-1 w_P. Deleting all weights costs w'Hw/2. Which set is best is another question: "
        "deleting the cheapest each time need not find it.",
        hypotheses=(_QUADRATIC, "w = w0: the network stands at the minimum"),
        bound_keys=("hassibi1992second.saliency",),
        status="Not in the paper as a theorem, but what makes its iteration exact. The step for two weights is "
        "general; the induction over blocks is argued. The claim runs the library's float64 code, every prefix of "
        "the greedy order, against exact rational arithmetic.",
        steps=(_TWO, _ORDERS),
        assumptions=(
            Assumption(
                "induction: after the first deletion the survivors stand at the minimum of the quadratic on them, so "
                "the theorem for fewer weights applies; the sum is elimination of [H^-1]_PP by blocks",
                "argued here",
            ),
        ),
        claim=JointClaim(),
    ),
    Theorem(
        key="hassibi1992second.recursion",
        title="the inverse Hessian, one example after the other",
        statement="Let H_m = alpha I + (1/P) sum over k <= m of X_k X_k'. Then H_m^-1 = H_(m-1)^-1 - H_(m-1)^-1 X_m "
        "X_m' H_(m-1)^-1 / (P + X_m' H_(m-1)^-1 X_m), starting from H_0^-1 = I / alpha; with X_k the derivatives of "
        "the output for example k, H_P is the damped outer-product approximation of the Hessian.",
        hypotheses=("alpha > 0",),
        bound_keys=("hassibi1992second.saliency",),
        status="Proved. The claim runs the library's recursion in float64 against the exact inverse.",
        steps=(_SHERMAN, _RECURSION),
        claim=RecursionClaim(),
    ),
)
