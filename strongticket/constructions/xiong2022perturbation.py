"""Xiong et al. 2022, "Strong lottery ticket hypothesis with eps-perturbation": subset sums of candidates that may move.

**Not a strict ticket**: the kept weights are changed, each by at most eta, and have to be stored. So this stays at the
level of subset sums: what is returned are masks and the common change of the chosen candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from strongticket import subsetsum

__all__ = ["PerturbedSums", "perturbed_sums"]


@final
@dataclass(frozen=True)
class PerturbedSums:
    """Subsets of candidates, and by how much each chosen candidate is moved.

    Args:
        mask: bit i is set where candidate i is chosen, [batch].
        size: chosen candidates, [batch].
        move: what is added to each of them, at most eta in magnitude, [batch].
        error: |target - sum| that is left, [batch].
        found: whether it is within eps, [batch].
    """

    mask: NDArray[np.int64]
    size: NDArray[np.int64]
    move: NDArray[np.float64]
    error: NDArray[np.float64]
    found: NDArray[np.bool_]


def perturbed_sums(
    items: ArrayLike,  # [batch, n]
    targets: ArrayLike,  # [batch]
    eps: float,
    eta: float,
    *,
    backend: subsetsum.Backend = "auto",
) -> PerturbedSums:
    """Choose the fewest candidates whose sum comes within eps when each of them may be moved by eta, exactly.

    For every size the subset nearest to the target is the best one, as all subsets of a size may move equally far.
    Where no subset is within eps, the one that leaves the least error is returned.

    Args:
        items: candidates, n <= 40.
        targets: sums to reach.
        eps: tolerance, >= 0.
        eta: how far a candidate may be moved, >= 0.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    Raises:
        ValueError: a negative or infinite eps or eta.

    >>> found = perturbed_sums([[0.5, -0.25, 0.75]], [0.55], eps=0.01, eta=0.05)
    >>> found.mask, found.move.round(3), found.found
    (array([1]), array([0.05]), array([ True]))
    """
    for name, value in (("eps", eps), ("eta", eta)):
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} must be finite and at least 0, got {value}")
    fronts = subsetsum.pareto(items, targets, backend=backend)
    sizes = np.arange(fronts.error.shape[1])
    distance = fronts.absolute_error  # [batch, n + 1], infinite where there is no subset of the size
    left = np.maximum(distance - sizes * eta, 0.0)
    within = left <= eps
    best = np.where(within.any(axis=1), within.argmax(axis=1), left.argmin(axis=1))
    row = np.arange(len(best))
    count = np.maximum(best, 1)
    move = np.sign(fronts.error[row, best]) * np.minimum(distance[row, best] / count, eta) * (best > 0)
    return PerturbedSums(fronts.mask[row, best], best, move, left[row, best], within[row, best])
