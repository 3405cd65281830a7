"""The claims of Ma, Bassily & Belkin 2018: expectations over all batches; long runs, by Markov's inequality."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from strongticket.bounds import ma2018power as bounds
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._draws import Draws

__all__ = ["KINDS", "ConvexClaim", "RateClaim", "StepClaim", "all_batches", "draw_examples"]

Array = npt.NDArray[np.float64]

KINDS = ("axes", "equal", "unequal", "narrow")
"""Examples: on the coordinate axes, of equal norm, some axes met more often; of equal norm in random directions; of
norms that differ; of equal norm in nearly the same direction."""
_MOST_BATCHES = 5000


def draw_examples(kind: str, n: int, d: int, seed: int) -> Array:  # [n, d]
    """Draw examples of one of the `KINDS`, the largest of norm 1; at least d of them, and of rank d.

    >>> rows = draw_examples("axes", 3, 2, 0)
    >>> bool((rows.sum(axis=1) == 1).all()), int(np.linalg.matrix_rank(rows))
    (True, 2)
    """
    draws = Draws(seed).inside("examples")
    if kind == "axes":
        places = np.concatenate([np.arange(d), draws.below("places", d, n - d) if n > d else np.arange(0)])
        return np.asarray(np.eye(d)[places])
    rows = draws.normal("rows", (n, d))
    if kind == "narrow":
        rows = rows * 0.3 + np.eye(d)[0]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if kind == "unequal":
        sizes = draws.uniform("sizes", n, low=0.1)
        rows = rows * (sizes / sizes.max())[:, None]
    return np.asarray(rows)


def all_batches(n: int, m: int) -> npt.NDArray[np.int64]:  # [n^m, m]
    """Return every batch of m examples out of n, with replacement and in order: all are equally likely.

    >>> all_batches(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return np.array(list(itertools.product(range(n), repeat=m)), dtype=np.int64)


class _AbstractSGDClaim(AbstractClaim):
    """What claims about one step share: examples, the start, all batches."""

    defaults: Mapping[str, Any] = MappingProxyType(
        {"n": 5, "d": 3, "m": 3, "kind": "mixed", "tolerance": 1e-9, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        for name in ("n", "d", "m"):
            check_whole(p, name, 1, 64)
        check_choice(p, "kind", ("mixed", *KINDS))
        check_factor(p)
        if p["n"] < p["d"]:
            raise ValueError(f"n must be at least d, so that one solution fits, got n = {p['n']}, d = {p['d']}")
        if p["n"] ** p["m"] > _MOST_BATCHES:
            raise ValueError(f"all n^m batches are gone through: at most {_MOST_BATCHES}, got {p['n']}^{p['m']}")
        return p

    def failure_probability(self, **params: Any) -> float:
        """None: the expectation is taken over all batches."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw examples and an error, take the expectation over all batches, compare."""
        p = self.resolve(**params)
        kind = in_turn(p["kind"], KINDS, seed)
        draws = Draws(seed)
        x = draw_examples(kind, p["n"], p["d"], seed)
        values, vectors = np.linalg.eigh(x.T @ x / p["n"])
        along = draws.normal("error", p["d"]) if seed & 64 else np.eye(p["d"])[int(draws.below("direction", p["d"])[0])]
        excess, detail = self.compare(draws, kind, x, np.maximum(values, 0.0), vectors, along, p)
        outcome = Outcome.SUCCESS if excess <= p["tolerance"] else Outcome.FAILURE
        return Trial(outcome, f"{kind}: {detail}")

    @abstractmethod
    def compare(
        self, draws: Draws, kind: str, x: Array, values: Array, vectors: Array, along: Array, p: Mapping[str, Any]
    ) -> tuple[float, str]:
        """Return by how much the conclusion is missed, relatively, and what was seen."""


@final
class StepClaim(_AbstractSGDClaim):
    """One step of least squares: E|e'|^2 over all batches is at most sum g(lambda_i) e_i^2, and equal for equal norms.

    Parameters: n examples in d dimensions, m of them in a step (n^m <= 5,000), kind of examples ("mixed": each in
    turn), tolerance (relative rounding), factor (beta is divided by it in what is predicted).
    """

    text = "draw examples and an error; over all batches, the expected squared error after a step is what g says"

    def compare(
        self, draws: Draws, kind: str, x: Array, values: Array, vectors: Array, along: Array, p: Mapping[str, Any]
    ) -> tuple[float, str]:
        """Compare at a random step size, up to beyond the one that diverges."""
        m, eta = p["m"], 3.0 * float(draws.uniform("step", 1, low=0.0)[0])
        error = vectors @ along
        pulls = x[all_batches(p["n"], m)]  # [batches, m, d]
        after = error - eta / m * np.einsum("bmd,bm->bd", pulls, pulls @ error)
        seen = float((after**2).sum(axis=1).mean())
        beta = 1.0 / p["factor"]
        said = float(sum(_contraction(value, m, eta, beta) * e**2 for value, e in zip(values, along, strict=True)))
        scale = float(error @ error) * max(1.0, eta**2)
        excess = (seen - said) / scale if kind == "unequal" else abs(seen - said) / scale
        return excess, f"m = {m}, eta = {eta:.3g}: E|e'|^2 = {seen:.9g}, g gives {said:.9g}"


def _contraction(l: float, m: int, eta: float, beta: float) -> float:  # noqa: E741 - the eigenvalue
    # the formula of the bound in floats; a test holds them equal (a twin's beta may lie below an eigenvalue)
    return float((1 - eta * l) ** 2 + eta**2 * l * (beta - l) / m)


@final
class ConvexClaim(_AbstractSGDClaim):
    """One safe step on convex losses that all vanish at one point: E|e'|^2 <= (1 - eta alpha) |e|^2.

    The loss of an example is <x, e>^2/2 where that is positive and a share of it elsewhere, so that it is no quadratic;
    alpha is that share times the least eigenvalue of the mean.

    Parameters: see StepClaim; share (of the loss on the other side, in (0, 1]), factor (1 - eta alpha becomes
    1 - eta alpha factor).
    """

    text = "draw one-sided quadratics and an error; over all batches, a safe step contracts by 1 - eta alpha at least"
    defaults: Mapping[str, Any] = MappingProxyType({**_AbstractSGDClaim.defaults, "share": 0.5})

    def compare(
        self, draws: Draws, kind: str, x: Array, values: Array, vectors: Array, along: Array, p: Mapping[str, Any]
    ) -> tuple[float, str]:
        """Compare at the safe step size."""
        if not 0.0 < p["share"] <= 1.0:
            raise ValueError(f"share must lie in (0, 1], got {p['share']}")
        m = p["m"]
        eta = bounds.safe_step(m, 1.0, min(1.0, float(values[-1])))
        error = vectors @ along
        pulls = x[all_batches(p["n"], m)]
        inner = pulls @ error
        slopes = np.where(inner > 0.0, inner, p["share"] * inner)
        after = error - eta / m * np.einsum("bmd,bm->bd", pulls, slopes)
        seen = float((after**2).sum(axis=1).mean() / (error @ error))
        said = 1.0 - eta * p["share"] * float(values[0]) * p["factor"]
        return seen - said, f"m = {m}: E|e'|^2 / |e|^2 = {seen:.6g}, at most {said:.6g} is claimed"


@final
class RateClaim(AbstractClaim):
    """At the best step size |e_t|^2 exceeds (g*)^t |e_0|^2 / delta with probability at most delta.

    That is the rate with Markov's inequality, so that a single run can fail. A trial draws examples, starts along the
    eigenvector of the least eigenvalue, and runs SGD.

    Parameters: n examples in d dimensions, m of them in a step, steps, kind of examples ("mixed": each in turn), delta,
    factor (g* is raised to it).
    """

    text = "draw examples; SGD at the best step size is within the rate, up to 1/delta, in all but delta of the runs"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"n": 12, "d": 3, "m": 8, "steps": 60, "kind": "mixed", "delta": 0.05, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        for name in ("n", "d", "m", "steps"):
            check_whole(p, name, 1, 100_000)
        check_choice(p, "kind", ("mixed", *KINDS))
        check_factor(p)
        if p["n"] < p["d"]:
            raise ValueError(f"n must be at least d, so that one solution fits, got n = {p['n']}, d = {p['d']}")
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Run SGD once."""
        p = self.resolve(**params)
        kind = in_turn(p["kind"], KINDS, seed)
        draws = Draws(seed)
        x = draw_examples(kind, p["n"], p["d"], seed)
        values, vectors = np.linalg.eigh(x.T @ x / p["n"])
        least, largest, m = float(values[0]), min(1.0, float(values[-1])), p["m"]
        eta, rate = bounds.best_step(m, 1.0, largest, least), bounds.best_rate(m, 1.0, largest, least)
        error = vectors[:, 0]
        for batch in draws.below("batches", p["n"], m * p["steps"]).reshape(p["steps"], m):
            rows = x[batch]
            error = error - eta / m * (rows.T @ (rows @ error))
        seen, allowed = float(error @ error), rate ** (p["steps"] * p["factor"]) / p["delta"]
        # below the rounding of the error itself nothing can be said
        outcome = Outcome.SUCCESS if seen <= max(allowed, 1e-28) else Outcome.FAILURE
        return Trial(outcome, f"{kind}: |e|^2 = {seen:.3g} after {p['steps']} steps, {allowed:.3g} is allowed")
