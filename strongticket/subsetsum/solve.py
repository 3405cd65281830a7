"""The front door: solve a batch of subset sums with the best backend at hand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, Literal, get_args

from strongticket.subsetsum.abstract import AbstractSubsetSumSolver
from strongticket.subsetsum.brute import BruteForceSolver
from strongticket.subsetsum.problem import Objective
from strongticket.subsetsum.result import SubsetSums

__all__ = ["BACKENDS", "Backend", "solve", "solver"]

Backend = Literal["auto", "numba", "torch", "brute"]
BACKENDS: tuple[str, ...] = get_args(Backend)


def solver(backend: str = "auto") -> AbstractSubsetSumSolver:
    """Make a solver by name.

    Args:
        backend: "numba" (fast, CPU), "torch" or "torch:DEVICE" (any device, nothing to compile), "brute" (all subsets,
            n <= 16), or "auto": numba where it is installed, else torch.

    Raises:
        ValueError: an unknown name.
        ImportError: numba was asked for and is not installed.

    >>> solver("brute").name
    'brute'
    """
    name, _, device = backend.partition(":")
    if name == "auto":
        name = "numba" if find_spec("numba") else "torch"
    if name == "torch":
        from strongticket.subsetsum.portable import TorchSolver

        return TorchSolver(device or "cpu")
    if name == "numba" and not device:
        from strongticket.subsetsum.compiled import NumbaSolver

        return NumbaSolver()
    if name == "brute" and not device:
        return BruteForceSolver()
    raise ValueError(f"expected backend in {BACKENDS} or 'torch:DEVICE', got {backend!r}")


def solve(
    items: Any,  # [batch, n]
    targets: Any,  # [batch]
    *,
    objective: Objective = "min_error",
    eps: float | Fraction | None = None,
    exponent: int | None = None,
    backend: str | AbstractSubsetSumSolver = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SubsetSums:
    """Choose, for each row, the items whose sum comes nearest to the row's target, or the fewest that come within eps.

    Integer values are solved exactly. Floating-point values are solved exactly where they are multiples of one power
    of two within the budget (all float32 and most float64 random numbers are); otherwise they are rounded to the
    finest grid that fits and the result says so (`certified`, `bound`); errors are always those of the values given.

    Equal errors are promised across backends, threads, batch sizes and batch orders (for "sparsest" equal sizes
    and errors); equal masks wherever the best subset is unique. Zero items are never chosen, so rows may be padded.

    Args:
        items: values to choose from, n <= 62, integer or floating point, array or CPU/GPU tensor.
            Integers need sum |items| < 2^60 in each row. A C-contiguous int64 array is not copied.
        targets: the sums to reach, of the same kind. Integers must lie within +-2^61.
        objective: "min_error": least |target - sum|. "sparsest": fewest items with |target - sum| <= eps, and among
            those of that size the least error; where nothing is within eps, the subset of least error.
        eps: tolerance in the units of the values, >= 0. None (min_error only): every row counts as found.
        exponent: integer values stand for multiples of 2^exponent (default 0); eps and errors are scaled by it.
        backend: a name (see `solver`) or a solver.
        threads: number of threads (default: all available cores); used by "numba".
        progress: called, in the calling thread, with the number of instances finished since the last call.

    Raises:
        TypeError: values that are not numbers, or integers mixed with floats.
        ValueError: wrong shapes, NaN or infinite values (named by index), too many items, values beyond the budget.

    >>> import numpy as np
    >>> result = solve(np.array([[0.5, -0.25, 0.625]]), np.array([0.375]), backend="brute")
    >>> result.chosen(3), result.errors(), result.certified
    (array([[False,  True,  True]]), array([0.]), True)
    >>> result = solve([[8, 5, 3, 1]], [9], objective="sparsest", eps=1, backend="brute")
    >>> result.chosen(4), result.error, result.size
    (array([[ True, False, False, False]]), array([1]), array([1]))
    """
    chosen = solver(backend) if isinstance(backend, str) else backend
    return chosen.solve(
        items, targets, objective=objective, eps=eps, exponent=exponent, threads=threads, progress=progress
    )
