"""Where two theorems ask for sources of the same size: roots of the difference of their formulas, by sympy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import sympy

from theory._contenders import EPS, Contender, NotApplicable, Setting

__all__ = ["Crossing", "crossings", "roots"]

RANGE = (1e-12, 0.5)
"""Tolerances of the network among which crossings are looked for."""
_POINTS = 241
_DIGITS = 20


@dataclass(frozen=True)
class Crossing:
    """A tolerance at which two formulas give the same number of source weights.

    Attributes:
        first, second: labels of the results.
        eps: the tolerance of the network.
        weights: the number of weights there.
        smaller_below: the label of the result that asks for less at smaller tolerances.
        planned: weights of the sources that the two constructions really plan there, in whole numbers of neurons; None
            where one of them refuses that tolerance, which makes the crossing one of formulas only.
        refused: what it says then.
    """

    first: str
    second: str
    eps: float
    weights: float
    smaller_below: str
    planned: tuple[int, int] | None
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def roots(first: sympy.Expr, second: sympy.Expr, span: tuple[float, float] = RANGE) -> list[float]:
    """Return the places in eps where two positive expressions are equal, in increasing order.

    Changes of sign of ln(first/second) are bracketed on a grid in ln(eps), and each is narrowed by sympy's `nsolve`
    (bisection, 20 digits). Two roots inside one cell of the grid are not seen.

    >>> [round(root, 6) for root in roots(1 / EPS, 100 * sympy.log(1 / EPS) / sympy.log(10))]
    [0.004209]
    """
    t = sympy.Symbol("t", real=True)
    gap = (sympy.log(first) - sympy.log(second)).xreplace({EPS: sympy.exp(t)})
    grid = np.linspace(np.log(span[0]), np.log(span[1]), _POINTS)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.asarray(sympy.lambdify(t, gap, ["scipy", "numpy"])(grid), dtype=np.complex128)
    real = np.where(values.imag == 0.0, values.real, np.nan) + np.zeros(len(grid))
    found = []
    for k in range(len(grid) - 1):
        low, high = real[k], real[k + 1]
        if low == 0.0:
            found.append(float(np.exp(grid[k])))
        elif low * high < 0.0:
            bracket = (sympy.Float(grid[k], _DIGITS), sympy.Float(grid[k + 1], _DIGITS))
            root = sympy.nsolve(gap, t, bracket, solver="bisect", prec=_DIGITS, verify=False)
            found.append(float(sympy.exp(root)))
    return found


def crossings(
    chosen: Sequence[Contender], setting: Setting
) -> tuple[tuple[Crossing, ...], tuple[tuple[str, str], ...]]:
    """Return all crossings of the formulas of these results, and why some have no formula."""
    formulas: dict[str, sympy.Expr] = {}
    without: list[tuple[str, str]] = []
    for one in chosen:
        if one.size is None:
            without.append((one.label, one.why or "no closed formula of the size in eps"))
            continue
        try:
            formulas[one.label] = one.size(setting)
        except (NotApplicable, ValueError) as error:
            without.append((one.label, str(error)))
    found = []
    for (first, a), (second, b) in combinations(formulas.items(), 2):
        for eps in roots(a, b):
            weights = float(a.xreplace({EPS: sympy.Float(eps, _DIGITS)}))
            below = sympy.Float(eps * 0.99, _DIGITS)
            smaller = first if float((a - b).xreplace({EPS: below})) < 0 else second
            planned, refused = _planned([one for one in chosen if one.label in (first, second)], setting, eps)
            found.append(Crossing(first, second, eps, weights, smaller, planned, refused))
    return tuple(sorted(found, key=lambda one: one.eps)), tuple(without)


def _planned(pair: Sequence[Contender], setting: Setting, eps: float) -> tuple[tuple[int, int] | None, str]:
    """Ask both constructions for their sources at a tolerance."""
    sizes = []
    for one in pair:
        asked, _ = one.counts()
        try:
            method, target = one.method(replace(setting, eps=eps), str(asked))
            sizes.append(int(method.plan(target).source.architecture.size))
        except (ValueError, TypeError) as error:
            return None, f"{one.label}: {str(error).splitlines()[0]}"
    return (sizes[0], sizes[1]), ""
