"""What is asked of a subset: the objectives of the engine, and one of them with its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["OBJECTIVES", "Goal", "Objective"]

Objective = Literal["min_error", "sparsest", "fixed_size", "first_hit"]
"""min_error: the subset nearest to the target. sparsest: the smallest within eps, of least error at its size.
fixed_size: the nearest among those of `size` items. first_hit: any subset within eps, whichever is quickest to find."""

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True)
class Goal:
    """One objective with its parameters in integer units, as solvers are given it.

    Attributes:
        objective: see `Objective`.
        eps: largest |target - sum| that counts as found, at most 2^62; negative: nothing does. None: not asked for.
        size: number of nonzero items to choose; fixed_size only.
    """

    objective: Objective
    eps: int | None = None
    size: int | None = None

    @property
    def limit(self) -> int:
        """The tolerance as a plain integer for kernels: -1, which nothing meets, where none was asked for."""
        return -1 if self.eps is None else self.eps
