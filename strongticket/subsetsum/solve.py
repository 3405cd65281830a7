"""The front door: solve a batch of subset sums with the best backend at hand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, Literal, get_args

from strongticket.subsetsum.abstract import AbstractSubsetSumSolver
from strongticket.subsetsum.brute import BruteForceSolver
from strongticket.subsetsum.goal import Objective
from strongticket.subsetsum.result import Fronts, SubsetSums

__all__ = ["BACKENDS", "Backend", "pareto", "solve", "solver"]

Backend = Literal["auto", "numba", "numba-plain", "torch", "triton", "brute"]
BACKENDS: tuple[str, ...] = get_args(Backend)


def solver(backend: str = "auto") -> AbstractSubsetSumSolver:
    """Make a solver by name.

    Args:
        backend: one of

            - "numba": vector kernels on the CPU, the fastest there; "numba:int32" or "numba:int64" fix the width of
              their keys, which is otherwise chosen by the size of the numbers.
            - "numba-plain": a hash join in plain loops, for processors without wide vectors.
            - "torch" or "torch:DEVICE": whole-tensor operations, any device, nothing to compile.
            - "triton" or "triton:DEVICE": one fused kernel per instance on a CUDA device.
            - "brute": all subsets, n <= 16.
            - "auto": "numba" where it is installed, else "torch".

    Raises:
        TypeError: not a name.
        ValueError: an unknown name.
        ImportError: the package behind the name is not installed.

    >>> solver("brute").name
    'brute'
    """
    if not isinstance(backend, str):
        raise TypeError(f"expected backend to be one of the names {BACKENDS} or a solver, got {backend!r}")
    name, _, detail = backend.partition(":")
    if name == "auto":
        name = "numba" if find_spec("numba") else "torch"
    if name == "torch":
        from strongticket.subsetsum.portable import TorchSolver

        return TorchSolver(detail or "cpu")
    if name == "triton":
        from strongticket.subsetsum.fused import TritonSolver

        return TritonSolver(detail or "cuda")
    if name == "numba" and detail in ("", "int32", "int64"):
        from strongticket.subsetsum.compiled import NumbaSolver

        return NumbaSolver("int32" if detail == "int32" else "int64" if detail else "auto")
    if name == "numba-plain" and not detail:
        from strongticket.subsetsum.plain import PlainSolver

        return PlainSolver()
    if name == "brute" and not detail:
        return BruteForceSolver()
    raise ValueError(
        f"expected backend in {BACKENDS}, 'torch:DEVICE', 'triton:DEVICE' or 'numba:int32|int64', got {backend!r}"
    )


def solve(
    items: Any,  # [batch, n], [pools, n] or [n]
    targets: Any,  # [batch]
    *,
    objective: Objective = "min_error",
    eps: float | Fraction | None = None,
    size: int | None = None,
    pool: Any = None,  # [batch]
    exponent: int | None = None,
    backend: str | AbstractSubsetSumSolver = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SubsetSums:
    """Choose, for each target, the items whose sum comes nearest to it, or the fewest that come within eps.

    Integer values are solved exactly. Floating-point values are solved exactly where they are multiples of one power
    of two within the budget (all float32 and most float64 random numbers are); elsewhere a row is rounded to the finest
    grid that fits it and the result says so (`certified`, `bound`); errors are always those of the values given.

    **Ties.** Among equally good subsets the rule names the one of least |error|, then of fewest items, then of the
    smallest mask as an integer ("sparsest": size before error). Where certified, equal errors (and sizes, for
    "sparsest") are promised across backends; equal masks wherever the best subset is unique, and wherever the result
    says `canonical`: elsewhere the choice among ties was left to the backend. Zero items are never chosen, so rows may
    be padded.

    **Batches.** A row's error, outcome and bound do not depend on the rest of the batch, nor on its order or the
    number of threads; only the unit `exponent` of exact errors may. Rows of `items` that no target uses are not
    looked at.

    Args:
        items: values to choose from, n <= 62, integer or floating point, array or CPU/GPU tensor: a row for each
            target, or one row [n] that all targets share, or the rows of several pools. Integers need
            sum |items| < 2^60 in each row. A C-contiguous int64 array is not copied for the backends named here.
        targets: the sums to reach, of the same kind. Integers must lie within +-2^61.
        objective: "min_error": least |target - sum|. "sparsest": fewest items with |target - sum| <= eps, and among
            those of that size the least error; where nothing is within eps, the subset of least error, if n allows to
            find it ("numba", n > 40: a search of up to seven items, then, to n = 48, the costly minimum). "fixed_size":
            least |target - sum| with exactly `size` nonzero items. "first_hit": any subset within eps, by the exact
            minimum over growing prefixes of the items (not the same subset from every backend).
        eps: tolerance in the units of the values, >= 0. None (min_error, fixed_size): any error counts as found.
        size: number of items to choose, for "fixed_size".
        pool: row of `items` that each target draws from, where targets share pools.
        exponent: integer values stand for multiples of 2^exponent (default 0, from -1074 to 960); eps and absolute
            errors are scaled by it.
        backend: a name (see `solver`) or a solver.
        threads: number of threads (default: all available cores); used by the numba backends.
        progress: called, in the calling thread, with the number of instances finished since the last call.

    Raises:
        TypeError: values that are not numbers, integers mixed with floats, tensors that numpy cannot hold.
        ValueError: wrong shapes, NaN or infinite values (named by index), too many items, values beyond the budget.

    >>> import numpy as np
    >>> result = solve(np.array([[0.5, -0.25, 0.625]]), np.array([0.375]), backend="brute")
    >>> result.chosen(3), result.errors(), result.certified
    (array([[False,  True,  True]]), array([0.]), array([ True]))
    >>> result = solve([[8, 5, 3, 1]], [9], objective="sparsest", eps=1, backend="brute")
    >>> result.chosen(4), result.error, result.size
    (array([[ True, False, False, False]]), array([1]), array([1]))
    >>> solve([8, 5, 3, 1], [9, 4], objective="fixed_size", size=2, backend="brute").mask.tolist()  # one shared pool
    [9, 12]
    """
    chosen = backend if isinstance(backend, AbstractSubsetSumSolver) else solver(backend)
    return chosen.solve(
        items,
        targets,
        objective=objective,
        eps=eps,
        size=size,
        pool=pool,
        exponent=exponent,
        threads=threads,
        progress=progress,
    )


def pareto(
    items: Any,  # [batch, n], [pools, n] or [n]
    targets: Any,  # [batch]
    *,
    pool: Any = None,  # [batch]
    exponent: int | None = None,
    backend: str | AbstractSubsetSumSolver = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Fronts:
    """Find the best subset of every size at once: what each further item buys in error, and any weighing of the two.

    Args:
        items, targets, pool, exponent, backend, threads, progress: as for `solve`, with objective "fixed_size".

    Raises:
        TypeError, ValueError: as for `solve`.

    >>> pareto([[8, 4, 1]], [5], backend="brute").error.tolist()
    [[5, 1, 0, -8]]
    """
    chosen = backend if isinstance(backend, AbstractSubsetSumSolver) else solver(backend)
    return chosen.fronts(items, targets, pool=pool, exponent=exponent, threads=threads, progress=progress)
