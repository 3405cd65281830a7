"""Ma, Bassily & Belkin 2018: SGD where every example can be fitted: rates, step sizes, the critical batch size."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Rational

from strongticket.bounds import get
from theory._interpolation_claims import ConvexClaim, RateClaim, StepClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS", "beyond_the_bound"]


def _formula(name: str, **symbols: Any) -> Any:
    """The formula of a bound, with these in place of its symbols."""
    expression = get(f"ma2018power.{name}").expression
    return expression.xreplace({symbol: symbols[symbol.name] for symbol in expression.free_symbols})


def _branch(name: str, which: int, **symbols: Any) -> Any:
    """One branch of a bound in pieces: 0 for small batches, 1 for large ones."""
    expression = get(f"ma2018power.{name}").expression.args[which][0]
    return expression.xreplace({symbol: symbols[symbol.name] for symbol in expression.free_symbols})


def _ordered() -> tuple[Any, Any, Any, Any]:
    """(m, beta, l1, lk) for any m > 1 and lk <= l1 <= beta, as sums of positive numbers."""
    r, lk = sympy.symbols("r lk", positive=True)
    s, t = sympy.symbols("s t", nonnegative=True)
    return 1 + r, lk + s + t, lk + s, lk


def _check_moments() -> bool:
    """Two generic examples in the plane, all batches of 2 and of 3."""
    eta = sympy.Symbol("eta", real=True)
    rows = [sympy.Matrix(sympy.symbols(f"x{i}:2", real=True)) for i in ("a", "b")]
    e = sympy.Matrix(sympy.symbols("e:2", real=True))
    mean = sum((x * x.T for x in rows), sympy.zeros(2, 2)) / 2
    fourth = sum(((x.T * x)[0] * (x.T * e)[0] ** 2 for x in rows), sympy.Integer(0)) / 2
    for m in (2, 3):
        total = sympy.Integer(0)
        for code in range(2**m):
            batch = [rows[code >> k & 1] for k in range(m)]
            after = e - eta / m * sum((x * (x.T * e)[0] for x in batch), sympy.zeros(2, 1))
            total += (after.T * after)[0]
        exact = total / 2**m
        he = mean * e
        claimed = (e.T * e)[0] - 2 * eta * (e.T * he)[0]
        claimed += eta**2 * (fourth / m + Rational(m - 1, m) * (he.T * he)[0])
        if sympy.expand(exact - claimed) != 0:
            return False
    return True


def _check_contraction() -> bool:
    l, m, eta, beta = sympy.symbols("l m eta beta", real=True)  # noqa: E741
    collected = 1 - 2 * eta * l + eta**2 * (beta * l / m + (m - 1) * l**2 / m)
    same = sympy.simplify(collected - _formula("step_contraction", l=l, m=m, eta=eta, beta=beta)) == 0
    # the ends of the range are the worst, for the expression is convex in l
    bend = sympy.simplify(sympy.diff(collected, l, 2) - 2 * eta**2 * (m - 1) / m) == 0
    return bool(same and bend)


def _check_small() -> bool:
    m, beta, l1, lk = _ordered()
    eta = sympy.Symbol("eta", real=True)
    low = _formula("step_contraction", l=lk, m=m, eta=eta, beta=beta)
    high = _formula("step_contraction", l=l1, m=m, eta=eta, beta=beta)
    step = _branch("best_step", 0, m=m, beta=beta, lk=lk)
    stationary = sympy.simplify(sympy.diff(low, eta).subs(eta, step)) == 0
    bowl = sympy.diff(low, eta, 2).subs(eta, step).is_positive is not False
    value = sympy.simplify(low.subs(eta, step) - _branch("best_rate", 0, m=m, beta=beta, lk=lk)) == 0
    # high <= low there exactly if (m - 1)(l1 - lk) <= beta
    gap = sympy.factor(sympy.simplify((low - high).subs(eta, step)))
    positive = m * (l1 - lk) / (beta + (m - 1) * lk) ** 2
    condition = sympy.simplify(gap - positive * (beta - (m - 1) * (l1 - lk))) == 0
    return bool(stationary and bowl and value and condition)


def _check_large() -> bool:
    m, beta, l1, lk = _ordered()
    eta = sympy.Symbol("eta", real=True)
    low = _formula("step_contraction", l=lk, m=m, eta=eta, beta=beta)
    high = _formula("step_contraction", l=l1, m=m, eta=eta, beta=beta)
    step = _branch("best_step", 1, m=m, beta=beta, l1=l1, lk=lk)
    crossing = sympy.simplify((low - high).subs(eta, step)) == 0
    value = sympy.simplify(low.subs(eta, step) - _branch("best_rate", 1, m=m, beta=beta, l1=l1, lk=lk)) == 0
    # past the minimum of `high` always; before that of `low` if (m - 1)(l1 - lk) > beta
    past = sympy.simplify(step - m / (beta + (m - 1) * l1))
    past_value = m * (beta + (m - 1) * (l1 - lk)) / ((beta + (m - 1) * (l1 + lk)) * (beta + (m - 1) * l1))
    before = sympy.simplify(m / (beta + (m - 1) * lk) - step)
    before_value = m * ((m - 1) * (l1 - lk) - beta) / ((beta + (m - 1) * lk) * (beta + (m - 1) * (l1 + lk)))
    after = sympy.simplify(past - past_value) == 0 and past_value.is_positive
    return bool(crossing and value and after and sympy.simplify(before - before_value) == 0)


def _check_largest_step() -> bool:
    l, m, eta, beta = sympy.symbols("l m eta beta", positive=True)  # noqa: E741
    g = _formula("step_contraction", l=l, m=m, eta=eta, beta=beta)
    bound = _formula("largest_step", m=m, beta=beta, l1=l)
    return bool(sympy.simplify(g - 1 - eta * l * (beta + (m - 1) * l) / m * (eta - bound)) == 0)


def _check_axes() -> bool:
    """Examples sqrt(beta) u_j: each direction has its own contraction; all batches of 1, 2 and 3 of 3."""
    beta, eta = sympy.symbols("beta eta", positive=True)
    e = sympy.symbols("e:2", real=True)
    places = (0, 0, 1)  # the first axis twice
    shares = (Rational(2, 3), Rational(1, 3))
    for m in (1, 2, 3):
        totals = [sympy.Integer(0)] * 2
        for code in range(3**m):
            met = [places[code // 3**k % 3] for k in range(m)]
            for j in range(2):
                totals[j] += (e[j] * (1 - eta * beta * met.count(j) / m)) ** 2
        for j in range(2):
            g = _formula("step_contraction", l=beta * shares[j], m=m, eta=eta, beta=beta)
            if sympy.expand(totals[j] / 3**m - g * e[j] ** 2) != 0:
                return False
    return True


def beyond_the_bound(m: int = 8, percent: int = 2) -> tuple[Any, Any]:
    """Return (contraction g(lambda_1) of one step, largest eigenvalue of many) above the bound on the step size.

    Two examples (c, s) and (c, -s) of norm 1, c^2 = 4/5; squared errors of both directions, in expectation, are
    multiplied by a matrix.

    >>> one, many = beyond_the_bound()
    >>> bool(one > 1), bool(many < 1)
    (True, True)
    """
    l1, l2 = Rational(4, 5), Rational(1, 5)
    eta = _formula("largest_step", m=sympy.Integer(m), beta=sympy.Integer(1), l1=l1) * (1 + Rational(percent, 100))
    mixed = eta**2 * l1 * l2 / m
    matrix = sympy.Matrix([[(1 - eta * l1) ** 2, mixed], [mixed, (1 - eta * l2) ** 2]])
    return _formula("step_contraction", l=l1, m=m, eta=eta, beta=1), max(matrix.eigenvals(), key=sympy.N)


def _check_beyond() -> bool:
    """The matrix by all batches of 2, and its eigenvalue at the batch size 8, exactly."""
    eta, a, b = sympy.symbols("eta a b", real=True)
    l1, l2 = Rational(4, 5), Rational(1, 5)
    c, s = sympy.sqrt(l1), sympy.sqrt(l2)
    rows = [sympy.Matrix([c, s]), sympy.Matrix([c, -s])]
    total = sympy.zeros(2, 2)
    for one in rows:
        for two in rows:
            step = sympy.eye(2) - eta / 2 * (one * one.T + two * two.T)
            total += step * sympy.diag(a, b) * step.T
    mixed = eta**2 * l1 * l2 / 2
    first = (1 - eta * l1) ** 2 * a + mixed * b
    second = mixed * a + (1 - eta * l2) ** 2 * b
    same = sympy.expand(total[0, 0] / 4 - first) == 0 and sympy.expand(total[1, 1] / 4 - second) == 0
    one_step, many = beyond_the_bound()
    return bool(same and total[0, 1].expand() == 0 and one_step > 1 and many < 1)


def _check_worth() -> bool:
    m, beta, l1 = sympy.symbols("m beta l1", positive=True)
    worth = _formula("worth", m=m, beta=beta, l1=l1)
    critical = _formula("critical_batch", beta=beta, l1=l1)
    steps = _formula("safe_step", m=m, beta=beta, l1=l1) / _formula("safe_step", m=1, beta=beta, l1=l1)
    ratio = sympy.simplify(worth - steps) == 0
    half = sympy.simplify(worth.subs(m, critical) - critical / 2) == 0
    # worth = 1/(1/m + (1 - 1/m)/(m* - 1)), so below m and below m* - 1, and increasing to it
    inverse = sympy.simplify(1 / worth - (1 / m + (1 - 1 / m) / (critical - 1))) == 0
    return bool(ratio and half and inverse and sympy.limit(worth, m, sympy.oo) == sympy.simplify(critical - 1))


def _check_convex() -> bool:
    """With F >= 0 the loss, <grad, e> >= F + alpha |e|^2/2, |grad f_i|^2 <= 2 beta f_i, |grad F|^2 <= 2 l1 F."""
    m, beta, l1, alpha, F, size = sympy.symbols("m beta l1 alpha F size", positive=True)
    eta = _formula("safe_step", m=m, beta=beta, l1=l1)
    pull = F + alpha * size / 2
    noise = 2 * beta * F / m + (m - 1) / m * 2 * l1 * F
    after = size - 2 * eta * pull + eta**2 * noise
    claimed = _formula("convex_rate", m=m, beta=beta, l1=l1, alpha=alpha) * size
    return bool(sympy.simplify(after - claimed) == 0)


_MOMENTS = ProofStep(
    "moments",
    "E|e'|^2 = |e|^2 - 2 eta e'He + eta^2 (mean |x|^2 <x, e>^2 + (m - 1) |He|^2)/m, H the mean of x x' (sympy: two "
    "generic examples in the plane, all batches of 2 and 3)",
    _check_moments,
    general=False,
)
_CONTRACTION = ProofStep(
    "contraction",
    "with |x|^2 <= beta that is at most sum g(lambda_i) e_i^2, with equality for equal norms; g is convex in lambda, "
    "so the worst eigenvalue is the largest or the least (sympy)",
    _check_contraction,
)
_WITHOUT = Assumption(
    "batches are drawn with replacement; draws are independent, so that mixed terms factor", "argued here"
)

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="ma2018power.step",
        title="one step of SGD on least squares that every example can satisfy",
        statement="Let y_i = <x_i, w*> for all examples, |x_i|^2 <= beta, H the mean of x_i x_i'. A step of size eta "
        "on m examples takes e = w - w* to e' with E|e'|^2 <= sum_i g(lambda_i) e_i^2, g(l) = (1 - eta l)^2 + eta^2 l "
        "(beta - l)/m, e_i along the eigenvectors of H; equal if all |x_i|^2 = beta. So no error grows in expectation "
        "up to eta = 2m/(beta + (m - 1) lambda_1), and with equal norms one grows above it.",
        hypotheses=("some w* fits every example", "|x_i|^2 <= beta", "batches are drawn with replacement"),
        bound_keys=("ma2018power.step_contraction", "ma2018power.largest_step"),
        status="Derived here and checked by machine; the claim takes the expectation over all batches. The sum is not "
        "one of separate directions: only for examples on the axes does each have its own g (then SGD does diverge "
        "above the bound). In general an error may grow in one step above the bound, and vanish in the long run: two "
        "examples show it, exactly.",
        steps=(
            _MOMENTS,
            _CONTRACTION,
            ProofStep(
                "bound on the step size",
                "g(l) - 1 = eta l (beta + (m - 1) l)/m times (eta - 2m/(beta + (m - 1) l)) (sympy)",
                _check_largest_step,
            ),
            ProofStep(
                "axes",
                "examples on the axes: E e_j'^2 = g(lambda_j) e_j^2 for each j, so that errors diverge above the bound "
                "(sympy: three examples on two axes, all batches of 1, 2 and 3)",
                _check_axes,
                general=False,
            ),
            ProofStep(
                "beyond the bound",
                "examples (c, s) and (c, -s), c^2 = 4/5, m = 8, a step 2 % beyond the bound: one step may make an "
                "error grow, and all errors tend to 0 (sympy, exact)",
                _check_beyond,
                general=False,
            ),
        ),
        assumptions=(_WITHOUT,),
        claim=StepClaim(),
    ),
    Theorem(
        key="ma2018power.optimal",
        title="the best step size, its rate, and the batch size from which more examples hardly help",
        statement="In the setting of ma2018power.step let all non-zero eigenvalues of H lie in [lambda_k, lambda_1], "
        "and let e begin in the span of the examples. The worst contraction max g is least at eta = m/(beta + (m - 1) "
        "lambda_k) if (m - 1)(lambda_1 - lambda_k) <= beta, where it is 1 - m lambda_k/(beta + (m - 1) lambda_k); else "
        "at 2m/D, D = beta + (m - 1)(lambda_1 + lambda_k), where it is 1 - 4m(m - 1) lambda_1 lambda_k/D^2. By the "
        "step sizes m/(beta + (m - 1) lambda_1) a step of batch m is worth m beta/(beta + (m - 1) lambda_1) steps of "
        "batch 1: nearly m for small m, m*/2 at m* = beta/lambda_1 + 1, never m* - 1.",
        hypotheses=(
            "some w* fits every example",
            "|x_i|^2 <= beta",
            "the first error lies in the span of the examples",
            "batches are drawn with replacement",
        ),
        bound_keys=(
            "ma2018power.best_rate",
            "ma2018power.best_step",
            "ma2018power.critical_batch",
            "ma2018power.worth",
            "ma2018power.safe_step",
        ),
        status="Derived here and checked by machine, both branches. The claim runs SGD from the slowest direction and "
        "lets Markov's inequality turn the rate into one that a single run can break. What a step is worth compares "
        "guarantees; what it is worth in fact is measured in experiments/critical_batch.py.",
        steps=(
            _CONTRACTION,
            ProofStep(
                "small batches",
                "g(lambda_k) is least at m/(beta + (m - 1) lambda_k), and g(lambda_1) is not above it there exactly if "
                "(m - 1)(lambda_1 - lambda_k) <= beta (sympy)",
                _check_small,
            ),
            ProofStep(
                "large batches",
                "g(lambda_1) = g(lambda_k) at 2m/D, past the minimum of the first, and before that of the second "
                "exactly if (m - 1)(lambda_1 - lambda_k) > beta: no other step size is better (sympy)",
                _check_large,
            ),
            ProofStep(
                "two regimes",
                "1/worth = 1/m + (1 - 1/m)/(m* - 1); worth is m*/2 at m*, and tends to m* - 1 (sympy)",
                _check_worth,
            ),
        ),
        assumptions=(
            _WITHOUT,
            Assumption("P(Z >= E Z/delta) <= delta for Z >= 0", "Markov's inequality, any textbook of probability"),
        ),
        claim=RateClaim(),
    ),
    Theorem(
        key="ma2018power.convex",
        title="convex losses that vanish together: the same step size, the same kind of rate",
        statement="Let every loss f_i >= 0 be convex and beta-smooth and vanish at w*, their mean F be lambda_1-smooth "
        "and alpha-strongly convex. With eta = m/(beta + (m - 1) lambda_1), E|e'|^2 <= (1 - eta alpha) |e|^2.",
        hypotheses=(
            "f_i(w*) = 0 for all examples",
            "f_i is convex and beta-smooth",
            "F is lambda_1-smooth and alpha-strongly convex",
            "batches are drawn with replacement",
        ),
        bound_keys=("ma2018power.convex_rate", "ma2018power.safe_step"),
        status="Derived here; two textbook facts are cited. The claim takes one-sided quadratics, over all batches.",
        steps=(
            ProofStep(
                "collected",
                "|e|^2 - 2 eta (F + alpha |e|^2/2) + eta^2 (2 beta F/m + (m - 1)/m 2 lambda_1 F) = (1 - eta alpha) "
                "|e|^2 at that eta (sympy)",
                _check_convex,
            ),
        ),
        assumptions=(
            _WITHOUT,
            Assumption(
                "a convex, non-negative, b-smooth f has |grad f|^2 <= 2 b f; strong convexity gives <grad F, e> >= F + "
                "alpha |e|^2/2",
                "any textbook of optimisation",
            ),
        ),
        claim=ConvexClaim(),
    ),
)
