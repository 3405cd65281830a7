"""How weight errors become network errors: the recursion over layers, its closed form, and budgets per weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

__all__ = ["closed_form_error", "propagate_error", "weight_budget"]


def _nonnegative(name: str, values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    for index, number in enumerate(numbers):
        if not (math.isfinite(number) and number >= 0.0):
            raise ValueError(f"{name}[{index}] must be finite and >= 0, got {number}")
    return numbers


def propagate_error(
    norms: Sequence[float],
    errors: Sequence[float],
    *,
    radius: float = 1.0,
    bias_norms: Sequence[float] | None = None,
    bias_errors: Sequence[float] | None = None,
) -> float:
    """Bound the output error of a network whose layer matrices and biases are slightly wrong.

    err_i = a_i err_{i-1} + e_i (B_{i-1} + err_{i-1}) + beta_i, B_i = a_i B_{i-1} + b_i, B_0 = radius, err_0 = 0, for
    activations that are 1-Lipschitz with value 0 at 0, in any norm and the operator norm that belongs to it. The
    result is plain floating point, for sizing; certificates are computed elsewhere, with outward rounding.

    Args:
        norms: operator norms a_i of the target's layers, first layer first.
        errors: operator norms e_i of the differences; one per layer.
        radius: largest norm of an input.
        bias_norms: norms b_i of the biases; none when None.
        bias_errors: norms beta_i of the bias differences; none when None.

    >>> round(propagate_error([1.0, 1.0], [0.1, 0.1]), 6)
    0.21
    """
    a, e = _nonnegative("norms", norms), _nonnegative("errors", errors)
    b = _nonnegative("bias_norms", bias_norms if bias_norms is not None else [0.0] * len(a))
    beta = _nonnegative("bias_errors", bias_errors if bias_errors is not None else [0.0] * len(a))
    if not len(a) == len(e) == len(b) == len(beta):
        raise ValueError(f"one value per layer is needed, got {len(a)} norms, {len(e)} errors, {len(b)}, {len(beta)}")
    size, error = _nonnegative("radius", [radius])[0], 0.0
    for a_i, e_i, b_i, beta_i in zip(a, e, b, beta, strict=True):
        error = a_i * error + e_i * (size + error) + beta_i
        size = a_i * size + b_i
    return error


def closed_form_error(norms: Sequence[float], errors: Sequence[float], *, radius: float = 1.0) -> float:
    """Return radius * (prod(a_i + e_i) - prod a_i): what `propagate_error` gives without biases.

    >>> round(closed_form_error([1.0, 1.0], [0.1, 0.1]), 6)
    0.21
    """
    a, e = _nonnegative("norms", norms), _nonnegative("errors", errors)
    if len(a) != len(e):
        raise ValueError(f"one error per norm is needed, got {len(a)} norms and {len(e)} errors")
    return _nonnegative("radius", [radius])[0] * (
        math.prod(x + y for x, y in zip(a, e, strict=True)) - math.prod(a)
    )  # fmt: skip


def weight_budget(error_at: Callable[[float], float], network_eps: float) -> float:
    """Return the largest error per weight (to 1e-12, from below) at which an increasing error bound is <= network_eps.

    Args:
        error_at: network error as an increasing function of the error per weight, 0 at 0.
        network_eps: allowed network error, > 0.

    >>> round(weight_budget(lambda e: 4 * e, 0.1), 6)
    0.025
    """
    if not 0.0 < network_eps < math.inf:
        raise ValueError(f"network_eps must be positive and finite, got {network_eps}")
    high = network_eps
    while error_at(high) <= network_eps:
        high *= 2.0
        if high > 1e12 * max(1.0, network_eps):
            raise ValueError("the network error does not grow with the error per weight: the target maps all to 0")
    low = 0.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if error_at(middle) <= network_eps else (low, middle)
    return low
