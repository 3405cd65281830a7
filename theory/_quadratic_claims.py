"""Claims about quadratic losses: what float64 computes, against exact rational arithmetic on the same numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from strongticket.bounds import get
from strongticket.pruning.quadratic import (
    inverse_by_cholesky,
    inverse_by_recursion,
    joint_increase,
    joint_update,
    obd_saliencies,
    obs_delete,
    obs_order,
    obs_saliencies,
)
from theory._claim import AbstractClaim, Outcome, Trial, check_whole
from theory._draws import Draws

__all__ = [
    "KINDS",
    "AbstractQuadraticClaim",
    "DamageClaim",
    "JointClaim",
    "RecursionClaim",
    "SurgeonClaim",
    "constrained_minimum",
    "draw_hessian",
    "solve_exactly",
]

Array = npt.NDArray[np.float64]

KINDS = ("random", "ill-conditioned", "scaled", "low-rank", "diagonal", "extreme")
"""Positive definite matrices: of Gaussian rows; of eigenvalues that differ by the condition number; random with weights
in units that differ by up to 10^8; few rows and a damping of their mean square over the condition number; diagonal; and
one whose first weight leans to the least and to the largest eigenvalue equally, for which OBD errs most."""


def draw_hessian(kind: str, n: int, condition: float, seed: int) -> Array:  # [n, n]
    """Draw a positive definite matrix of one of the `KINDS`.

    >>> draw_hessian("diagonal", 2, 100.0, 0).round(4).tolist()
    [[1.0, 0.0], [0.0, 100.0]]
    """
    draws = Draws(seed).inside("hessian")
    rows = draws.normal("rows", (2 * n, n))
    exponents = np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(1)
    if kind == "diagonal":
        return np.asarray(np.diag(condition**exponents), dtype=np.float64)
    if kind == "low-rank":
        few = rows[: max(1, n // 2)]
        return _symmetric(few.T @ few / len(few) + float((few**2).mean()) / condition * np.eye(n))
    if kind in ("ill-conditioned", "extreme"):
        basis = np.linalg.qr(rows[:n])[0]
        if kind == "extreme" and n > 1:
            basis, half = np.eye(n), 0.5**0.5
            basis[[0, 0, -1, -1], [0, -1, 0, -1]] = half, half, half, -half
        return _symmetric(np.asarray((basis * condition**exponents) @ basis.T))
    if kind == "scaled":
        units = 10.0 ** (8.0 * draws.uniform("units", n, low=0.0) - 4.0)
        return _symmetric(rows.T @ rows / len(rows) * np.outer(units, units))
    if kind == "random":
        return _symmetric(rows.T @ rows / len(rows))
    raise ValueError(f"kind is one of {', '.join(KINDS)}, mixed, got {kind!r}")


def _symmetric(matrix: Array) -> Array:
    return np.asarray((matrix + matrix.T) / 2.0)


def solve_exactly(matrix: Sequence[Sequence[Fraction]], right: Sequence[Fraction]) -> list[Fraction]:
    """Solve a positive definite system in rational arithmetic, by elimination.

    >>> solve_exactly([[Fraction(2), Fraction(1)], [Fraction(1), Fraction(3)]], [Fraction(3), Fraction(4)])
    [Fraction(1, 1), Fraction(1, 1)]
    """
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    n = len(rows)
    for i, pivot in enumerate(rows):
        if pivot[i] <= 0:
            raise ValueError("the matrix is not positive definite")
        for row in rows[i + 1 :]:
            factor = row[i] / pivot[i]
            for j in range(i, n + 1):
                row[j] -= factor * pivot[j]
    found = [Fraction(0)] * n
    for i in reversed(range(n)):
        known = sum((rows[i][j] * found[j] for j in range(i + 1, n)), Fraction(0))
        found[i] = (rows[i][n] - known) / rows[i][i]
    return found


def constrained_minimum(
    hessian: Sequence[Sequence[Fraction]], weights: Sequence[Fraction], removed: Sequence[int]
) -> tuple[list[Fraction], Fraction]:
    """Return the change of the weights that costs least among those that set some to 0, and what it costs. Exact.

    >>> h = [[Fraction(2), Fraction(1)], [Fraction(1), Fraction(2)]]
    >>> constrained_minimum(h, [Fraction(1), Fraction(1)], [0])
    ([Fraction(-1, 1), Fraction(1, 2)], Fraction(3, 4))
    """
    n, gone = len(weights), set(removed)
    free = [i for i in range(n) if i not in gone]
    change = [-weights[i] if i in gone else Fraction(0) for i in range(n)]
    pull = [sum((hessian[i][j] * weights[j] for j in gone), Fraction(0)) for i in free]
    for i, value in zip(free, solve_exactly([[hessian[i][j] for j in free] for i in free], pull), strict=True):
        change[i] = value
    cost = sum((change[i] * hessian[i][j] * change[j] for i in range(n) for j in range(n)), Fraction(0)) / 2
    return change, cost


class AbstractQuadraticClaim(AbstractClaim):
    """A formula on a random quadratic, in float64, is the exact value up to a relative tolerance.

    The theorem is exact, so no failure is allowed. Changes of weights are compared in the units in which the Hessian
    has ones on its diagonal, relative to the largest change.

    Parameters of every such claim: n (weights), kind (one of `KINDS`, or "mixed": one of them drawn for each trial),
    condition (number, of kinds that have one), tolerance, factor (what is predicted is divided by it: the twin that
    should be falsified).
    """

    defaults: Mapping[str, Any] = MappingProxyType(
        {"n": 6, "kind": "mixed", "condition": 1e6, "tolerance": 1e-8, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        check_whole(p, "n", 1, 40)
        if p["kind"] not in (*KINDS, "mixed"):
            raise ValueError(f"kind is one of {', '.join(KINDS)}, mixed, got {p['kind']!r}")
        if not 1.0 <= p["condition"] <= 1e15 or not p["tolerance"] > 0.0 or not p["factor"] > 0.0:
            raise ValueError("condition must lie in 1..1e15, tolerance and factor must be positive")
        return p

    def failure_probability(self, **params: Any) -> float:
        """None: these are identities."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw a quadratic and compare."""
        p = self.resolve(**params)
        draws = Draws(seed)
        kind = KINDS[int(draws.below("kind", len(KINDS))[0])] if p["kind"] == "mixed" else p["kind"]
        hessian = draw_hessian(kind, p["n"], p["condition"], seed)
        # in the units that make the diagonal of the Hessian 1, so that no weight is free
        weights = draws.normal("weights", p["n"]) / np.sqrt(np.diag(hessian))
        error = self.error(draws, hessian, weights, p)
        outcome = Outcome.SUCCESS if error <= p["tolerance"] else Outcome.FAILURE
        return Trial(outcome, f"{kind}: relative error {error:.2g}")

    @abstractmethod
    def error(self, draws: Draws, hessian: Array, weights: Array, params: Mapping[str, Any]) -> float:
        """Return the largest relative error that is seen."""


def _exact(hessian: Array, weights: Array) -> tuple[list[list[Fraction]], list[Fraction]]:
    return [[Fraction(x) for x in row] for row in hessian.tolist()], [Fraction(x) for x in weights.tolist()]


def _off(found: float, exact: Fraction) -> float:
    """Relative error; of 0 only 0 is right."""
    difference = abs(Fraction(found) - exact)
    return float(difference / abs(exact)) if exact else float("inf" if difference else 0.0)


def _far(found: Array, exact: Sequence[Fraction], hessian: Array) -> float:
    """Largest error of a change of weights relative to the largest change, in units of the Hessian's diagonal."""
    units = np.sqrt(np.diag(hessian))
    size = max(abs(float(value)) * unit for value, unit in zip(exact, units, strict=True))
    errors = (abs(float(Fraction(x) - y)) * u for x, y, u in zip(found.tolist(), exact, units, strict=True))
    return max(errors) / size if size else 0.0


@final
class SurgeonClaim(AbstractQuadraticClaim):
    """OBS's saliency and update are the constrained minimum: for one weight drawn at random."""

    text = "draw a quadratic and a weight; saliency and update of OBS are the exact constrained minimum"

    def error(self, draws: Draws, hessian: Array, weights: Array, params: Mapping[str, Any]) -> float:
        """Compare the increase and the update."""
        q = int(draws.below("weight", len(weights))[0])
        change, cost = constrained_minimum(*_exact(hessian, weights), [q])
        w, inverse = torch.from_numpy(weights), inverse_by_cholesky(torch.from_numpy(hessian))
        increase = float(obs_saliencies(w, inverse)[q]) / params["factor"]
        moved = obs_delete(w, inverse, q)[0].numpy() - weights
        return max(_off(increase, cost), _far(moved, change, hessian))


@final
class JointClaim(AbstractQuadraticClaim):
    """Greedy losses add up to the joint loss of the set, whatever was deleted; all weights together cost w'Hw/2."""

    text = "draw a quadratic; delete weights one by one: losses add up to the joint loss, weights are at its minimum"

    def error(self, draws: Draws, hessian: Array, weights: Array, params: Mapping[str, Any]) -> float:
        """Compare sums, joint increases and joint updates after every number of deletions."""
        h, w0 = _exact(hessian, weights)
        w, inverse = torch.from_numpy(weights), inverse_by_cholesky(torch.from_numpy(hessian))
        order, losses = obs_order(w, inverse, len(weights))
        worst = 0.0
        for count in range(1, len(weights) + 1):
            removed = order[:count].tolist()
            change, cost = constrained_minimum(h, w0, removed)
            added = float(losses[:count].sum()) / params["factor"]
            together = joint_increase(w, inverse, removed) / params["factor"]
            moved = joint_update(w, inverse, removed).numpy() - weights
            worst = max(worst, _off(added, cost), _off(together, cost), _far(moved, change, hessian))
        return worst


@final
class RecursionClaim(AbstractQuadraticClaim):
    """The recursion over examples gives the inverse of the damped mean of outer products.

    The Hessian drawn is taken apart into n columns by its Cholesky factor; the damping is its largest entry over the
    condition number.
    """

    text = "draw outer products; their inverse, one example after the other, is the exact one"

    def error(self, draws: Draws, hessian: Array, weights: Array, params: Mapping[str, Any]) -> float:
        """Compare all entries, relative to the geometric mean of their diagonal entries."""
        n = len(weights)
        rows = np.linalg.cholesky(hessian).T * n**0.5
        damping = float(hessian.max()) / params["condition"]
        found = inverse_by_recursion(torch.from_numpy(rows), damping).numpy() / params["factor"]
        columns = [[Fraction(x) for x in row] for row in rows.tolist()]
        total = [
            [
                sum((x[i] * x[j] for x in columns), Fraction(0)) / n + (Fraction(damping) if i == j else 0)
                for j in range(n)
            ]
            for i in range(n)
        ]
        units = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
        exact = [solve_exactly(total, unit) for unit in units]
        scale = [float(exact[i][i]) ** 0.5 for i in range(n)]
        errors = [[abs(float(Fraction(float(found[i, j])) - exact[i][j])) for j in range(n)] for i in range(n)]
        return float(max(errors[i][j] / (scale[i] * scale[j]) for i in range(n) for j in range(n)))


@final
class DamageClaim(AbstractQuadraticClaim):
    """OBD's saliency is what a weight costs if no other moves, at least OBS's, and above it by Kantorovich at most.

    The factor divides that largest ratio.
    """

    text = (
        "draw a quadratic; OBD's saliency is the cost without update, from 1 to (1 + kappa)^2 / (4 kappa) times OBS's"
    )

    def error(self, draws: Draws, hessian: Array, weights: Array, params: Mapping[str, Any]) -> float:
        """Return by how much the ratio leaves its range, or the saliency the exact cost."""
        h, w0 = _exact(hessian, weights)
        saliencies = obd_saliencies(torch.from_numpy(weights), torch.from_numpy(np.diag(hessian).copy()))
        eigenvalues = np.linalg.eigvalsh(hessian)
        # the eigenvalues' own rounding errors are given away
        slack = 1e-14 * len(weights) * eigenvalues[-1]
        kappa = float((eigenvalues[-1] + slack) / max(eigenvalues[0] - slack, 1e-300))
        most = get("lecun1989optimal.overestimate")(kappa=max(1.0, kappa)) / params["factor"]
        worst = 0.0
        for q, saliency in enumerate(saliencies.tolist()):
            least = constrained_minimum(h, w0, [q])[1]
            ratio = float(Fraction(saliency) / least)
            worst = max(worst, _off(saliency, h[q][q] * w0[q] ** 2 / 2), 1.0 - ratio, ratio / most - 1.0)
        return worst
