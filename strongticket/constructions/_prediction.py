"""How many candidates a target's weights are predicted to need, and the solver that then chooses among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from strongticket import subsetsum
from strongticket.bounds import lueker1998exponentially
from strongticket.bounds.lueker1998exponentially import LawName
from strongticket.constructions._gadget import Choice

__all__ = ["Failure", "chooser", "predicted_items", "predicted_items_of"]

Failure = Callable[[int, float], float]
"""(candidates, magnitude of the target) -> predicted probability that no subset is within the tolerance."""


def chooser(
    objective: Literal["sparsest", "min_error"], tolerance: int, backend: str | subsetsum.AbstractSubsetSumSolver
) -> Choice:
    """Return the exact solver of one tolerance: the sparsest subset within it, or the one of least error."""

    def choose(items: NDArray[np.int64], targets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        eps = tolerance if objective == "sparsest" else None
        sums = subsetsum.solve(items, targets, objective=objective, eps=eps, backend=backend)
        return sums.mask, sums.error

    return choose


def predicted_items_of(magnitudes: NDArray[np.float64], eps: float, delta: float, law: LawName, scale: float) -> int:
    """Return the fewest candidates of one law, times scale, at which delta weights are expected to fail."""
    predict = lueker1998exponentially.failure_predicted
    return predicted_items(magnitudes, eps, delta, lambda n, z: predict(n, eps, law=law, target=z, scale=scale))


def predicted_items(
    magnitudes: NDArray[np.float64], eps: float, delta: float, failure: Failure, *, locked: bool = False
) -> int:
    """Return the fewest candidates at which delta weights of these magnitudes are expected to fail, as predicted.

    Args:
        magnitudes: of the weights.
        eps: tolerance; weights up to it are met by the empty subset.
        delta: expected failures, > 0.
        failure: of one weight.
        locked: some candidates are kept whatever is chosen, so that the empty subset meets nothing for certain.
    """
    hard = magnitudes.reshape(-1) if locked else magnitudes[magnitudes > eps]
    if not hard.size:
        return 1
    counts, edges = np.histogram(hard, bins=16, range=(0.0, max(eps, float(hard.max()))))

    def failures(items: int) -> float:
        levels = zip(counts.tolist(), edges[1:].tolist(), strict=True)
        return math.fsum(n * failure(items, z) for n, z in levels if n)

    low, high = 0, 8
    while failures(high) > delta:
        low, high = high, 2 * high
        if high > 1024:
            raise ValueError(
                f"eps = {eps} and delta = {delta} would need more than {high} candidates per weight: loosen them"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failures(middle) > delta else (low, middle)
    return high
