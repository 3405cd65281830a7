"""Ma, Bassily & Belkin 2018, "The power of interpolation": how fast SGD goes where every example can be fitted.

Least squares with a solution that fits every example: beta >= |x_i|^2 for all examples, and the non-zero eigenvalues
of H, the mean of x_i x_i', lie in [lambda_k, lambda_1]. A step of size eta on m examples, drawn with replacement, takes
the error e to one with E|e'|^2 <= sum_i g(lambda_i) e_i^2, e_i along the eigenvectors; equal if all |x_i|^2 = beta.

Symbols: l an eigenvalue, l1 the largest, lk the least that is not 0, m the batch size, eta the step size.
"""

from __future__ import annotations

from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = ["BOUNDS", "best_rate", "best_step", "critical_batch", "safe_step", "step_contraction"]


def _symbols(names: str) -> Any:
    import sympy

    return sympy.symbols(names, real=True)


def _batch(m: Any) -> Hypothesis:
    import sympy

    return Hypothesis("m >= 1", sympy.And(m >= 1, sympy.Eq(sympy.floor(m), m)), "examples of a step, a whole number")


def _spectrum(beta: Any, l1: Any, lk: Any = None) -> tuple[Hypothesis, ...]:
    found = [
        Hypothesis("l1 > 0", l1 > 0, "largest eigenvalue of the mean of x x'"),
        Hypothesis("l1 <= beta", l1 <= beta, "no eigenvalue of the mean exceeds the largest squared norm"),
    ]
    if lk is not None:
        found += [
            Hypothesis("lk > 0", lk > 0, "least eigenvalue that is not 0"),
            Hypothesis("lk <= l1", lk <= l1, "the least eigenvalue is not above the largest"),
        ]
    return tuple(found)


def _step(eta: Any) -> Hypothesis:
    return Hypothesis("eta >= 0", eta >= 0, "step size")


def _step_contraction() -> Formula:
    import sympy

    l, m, eta, beta = _symbols("l m eta beta")  # noqa: E741 - the eigenvalue
    inside = Hypothesis("0 <= l <= beta", sympy.And(l >= 0, l <= beta), "an eigenvalue of the mean of x x'")
    return Formula((1 - eta * l) ** 2 + eta**2 * l * (beta - l) / m, (_batch(m), _step(eta), inside))


def _best_step() -> Formula:
    import sympy

    m, beta, l1, lk = _symbols("m beta l1 lk")
    few = m / (beta + (m - 1) * lk)
    many = 2 * m / (beta + (m - 1) * (l1 + lk))
    return Formula(
        sympy.Piecewise((few, (m - 1) * (l1 - lk) <= beta), (many, True)), (_batch(m), *_spectrum(beta, l1, lk))
    )


def _best_rate() -> Formula:
    import sympy

    m, beta, l1, lk = _symbols("m beta l1 lk")
    both = beta + (m - 1) * (l1 + lk)
    few = 1 - m * lk / (beta + (m - 1) * lk)
    many = 1 - 4 * m * (m - 1) * l1 * lk / both**2
    return Formula(
        sympy.Piecewise((few, (m - 1) * (l1 - lk) <= beta), (many, True)), (_batch(m), *_spectrum(beta, l1, lk))
    )


def _largest_step() -> Formula:
    m, beta, l1 = _symbols("m beta l1")
    return Formula(2 * m / (beta + (m - 1) * l1), (_batch(m), *_spectrum(beta, l1)))


def _safe_step() -> Formula:
    m, beta, l1 = _symbols("m beta l1")
    return Formula(m / (beta + (m - 1) * l1), (_batch(m), *_spectrum(beta, l1)))


def _convex_rate() -> Formula:
    m, beta, l1, alpha = _symbols("m beta l1 alpha")
    convex = (
        Hypothesis("alpha >= 0", alpha >= 0, "strong convexity of the mean loss"),
        Hypothesis("alpha <= l1", alpha <= l1, "strong convexity is at most smoothness"),
    )
    return Formula(1 - alpha * m / (beta + (m - 1) * l1), (_batch(m), *_spectrum(beta, l1), *convex))


def _critical_batch() -> Formula:
    beta, l1 = _symbols("beta l1")
    return Formula(beta / l1 + 1, _spectrum(beta, l1))


def _worth() -> Formula:
    m, beta, l1 = _symbols("m beta l1")
    return Formula(m * beta / (beta + (m - 1) * l1), (_batch(m), *_spectrum(beta, l1)))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "ma2018power.step_contraction",
        "E|e'|^2 / |e|^2 of one step of size eta on m examples, for an error e along an eigenvector of eigenvalue l; "
        "exact if all examples have |x|^2 = beta",
        Relation.UPPER,
        _step_contraction,
        "the paper's g(lambda; m, eta); derived here",
    ),
    Bound(
        "ma2018power.best_step",
        "step size whose worst contraction over eigenvalues in [lk, l1] is the least",
        Relation.TIGHT,
        _best_step,
        "the paper's theorem on the optimal step size; derived here",
    ),
    Bound(
        "ma2018power.best_rate",
        "E|e_{t+1}|^2 / |e_t|^2 at the best step size, whatever the error; attained by equal norms",
        Relation.UPPER,
        _best_rate,
        "the paper's theorem on the optimal step size; derived here",
    ),
    Bound(
        "ma2018power.largest_step",
        "step size up to which no error grows in one step, in expectation; with equal norms one grows above it",
        Relation.TIGHT,
        _largest_step,
        "the paper's bound on the step size; derived here for one step, see theory for many",
    ),
    Bound(
        "ma2018power.safe_step",
        "step size that needs no lk: half the largest one",
        Relation.UPPER,
        _safe_step,
        "the paper's step size for convex losses",
    ),
    Bound(
        "ma2018power.convex_rate",
        "E|e_{t+1}|^2 / |e_t|^2 at the safe step size, for convex losses that are beta-smooth, whose mean is l1-smooth "
        "and alpha-strongly convex",
        Relation.UPPER,
        _convex_rate,
        "the paper's theorem on convex losses; derived here",
    ),
    Bound(
        "ma2018power.critical_batch",
        "batch size m* below which a step is worth nearly m steps of batch 1, and above which it saturates",
        Relation.PREDICTION,
        _critical_batch,
        "the paper's critical batch size beta/lambda_1 + 1",
    ),
    Bound(
        "ma2018power.worth",
        "steps of batch 1 that one step of batch m is worth, by the safe step sizes; never above beta/l1 = m* - 1",
        Relation.PREDICTION,
        _worth,
        "the ratio of the paper's two step sizes",
    ),
)


def _bound(name: str) -> Bound:
    return next(bound for bound in BOUNDS if bound.key == f"ma2018power.{name}")


def step_contraction(l: float, m: int, eta: float, beta: float) -> float:  # noqa: E741
    """Return g(l; m, eta), by which one step multiplies the expected squared error along an eigenvector.

    >>> step_contraction(0.5, 1, 1.0, 1.0)
    0.5
    """
    return _bound("step_contraction")(l=l, m=m, eta=eta, beta=beta)


def best_step(m: int, beta: float, l1: float, lk: float) -> float:
    """Return the step size of the least worst contraction.

    >>> best_step(1, 2.0, 1.0, 0.5), best_step(5, 1.0, 1.0, 0.5)
    (0.5, 1.4285714285714286)
    """
    return _bound("best_step")(m=m, beta=beta, l1=l1, lk=lk)


def best_rate(m: int, beta: float, l1: float, lk: float) -> float:
    """Return the worst contraction of a step at the best step size.

    >>> best_rate(1, 2.0, 1.0, 0.5)
    0.75
    """
    return _bound("best_rate")(m=m, beta=beta, l1=l1, lk=lk)


def safe_step(m: int, beta: float, l1: float) -> float:
    """Return m / (beta + (m - 1) l1).

    >>> safe_step(1, 2.0, 1.0), safe_step(3, 1.0, 0.5)
    (0.5, 1.5)
    """
    return _bound("safe_step")(m=m, beta=beta, l1=l1)


def critical_batch(beta: float, l1: float) -> float:
    """Return m* = beta/l1 + 1.

    >>> critical_batch(1.0, 0.16)
    7.25
    """
    return _bound("critical_batch")(beta=beta, l1=l1)
