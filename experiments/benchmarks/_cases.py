"""What is measured: instances that every method shares, questions, and the engine's backends as methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from strongticket.subsetsum import Batch, Fronts, Goal, Objective, SubsetSums, pareto, solve, solver

__all__ = ["EXPONENT", "Instances", "Kind", "Method", "Question", "engine", "kernel", "on_device"]

Ints = npt.NDArray[np.int64]
Kind = Literal["uniform", "product"]

EXPONENT: Final[dict[str, int]] = {"uniform": -23, "product": -46}
"""uniform: items and targets uniform on the odd multiples, and the multiples, of 2^-23 in [-1, 1): they fit int32 keys.
product: items are products of two such uniform items, targets multiples of 2^-46: they need int64 keys."""


class Instances:
    """Random instances of one kind and number of items: instance b is the same however many are asked for.

    >>> one, many = Instances("product", 5, 0).first(1), Instances("product", 5, 0).first(9)
    >>> bool((one[0] == many[0][:1]).all() and one[1][0] == many[1][0])
    True
    """

    def __init__(self, kind: Kind, n: int, seed: int) -> None:
        self.kind, self.n, self.seed = kind, n, seed
        self._items, self._targets = np.empty((0, n), np.int64), np.empty(0, np.int64)

    def first(self, count: int) -> tuple[Ints, Ints]:
        """Items [count, n] and targets [count], in units of 2^EXPONENT."""
        if count > len(self._targets):
            u, v = self._odd(count, 0), self._odd(count, 1) if self.kind == "product" else None
            top = 1 << -EXPONENT[self.kind]
            self._items = u if v is None else u * v
            self._targets = self._stream(2).integers(-top, top, count)
        return self._items[:count], self._targets[:count]

    def _stream(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.n, part])

    def _odd(self, count: int, part: int) -> Ints:
        return 2 * self._stream(part).integers(-(1 << 22), 1 << 22, (count, self.n)) + 1


@dataclass(frozen=True)
class Question:
    """One objective with its parameters, as a user asks it.

    Attributes:
        objective: of `solve`, or "pareto".
        eps: tolerance, for "sparsest" and "first_hit".
        targets_per_pool: number of targets that share a row of items; None: each has its own.
    """

    objective: Objective | Literal["pareto"]
    eps: float | None = None
    targets_per_pool: int | None = None

    def size(self, n: int) -> int | None:
        """Number of items to choose, for "fixed_size": about the size that serves loose tolerances best."""
        return max(1, n // 4) if self.objective == "fixed_size" else None

    @property
    def text(self) -> str:
        """The question in words.

        >>> Question("sparsest", 0.01, 784).text
        'sparsest within 0.01, 784 targets per pool'
        """
        words = {
            "min_error": "exact minimum",
            "sparsest": f"sparsest within {self.eps:g}" if self.eps else "sparsest",
            "fixed_size": "exact minimum of n // 4 items",
            "pareto": "exact minimum of every size",
            "first_hit": f"any subset within {self.eps:g}" if self.eps else "any subset",
        }[self.objective]
        return words if self.targets_per_pool is None else f"{words}, {self.targets_per_pool} targets per pool"


@dataclass(frozen=True)
class Method:
    """A way to answer a question.

    Attributes:
        name: how tables call it.
        call: what is timed: items [pools, n] and targets [batch] -> a result.
        facts: result -> what every exact method must agree on, one row per target; not timed.
        most: largest number of items that it is asked.
        clock: "cpu": seconds of all threads of this process; "wall": for work on another device.
    """

    name: str
    call: Callable[[Ints, Ints], Any]
    facts: Callable[[Any], Ints]
    most: int = 62
    clock: Literal["cpu", "wall"] = "cpu"


def on_device(backend: str) -> bool:
    """Whether a backend computes on another device than the CPU, so that its time is wall time."""
    return backend.startswith(("triton", "torch:cuda"))


def engine(backend: str, kind: Kind, question: Question, n: int) -> Method:
    """A backend of `strongticket.subsetsum` on one thread: the whole call, with its checks, masks and exact errors."""
    chosen = solver(backend)
    common: dict[str, Any] = {"exponent": EXPONENT[kind], "backend": chosen, "threads": 1}

    def call(items: Ints, targets: Ints) -> SubsetSums | Fronts:
        pool = None
        if (share := question.targets_per_pool) is not None:
            pool = np.arange(len(targets)) // share
        if question.objective == "pareto":
            return pareto(items, targets, pool=pool, **common)
        return solve(
            *(items, targets),
            objective=question.objective,
            eps=question.eps,
            size=question.size(n),
            pool=pool,
            **common,
        )

    most = 16 if backend == "brute" else 62
    clock: Literal["cpu", "wall"] = "wall" if on_device(backend) else "cpu"
    return Method(backend, call, partial(_facts, kind, question), most, clock)


def _facts(kind: Kind, question: Question, result: SubsetSums | Fronts) -> Ints:
    error = np.abs(result.error)
    if not isinstance(result, SubsetSums):
        return error  # [batch, n + 1]
    found = result.found
    if question.eps is not None and (error[found] > math.floor(question.eps * 2.0 ** -EXPONENT[kind])).any():
        raise AssertionError(f"{question.text}: a subset reported as found is not within eps")
    if question.objective == "first_hit":  # which subset is found is left to the backend
        return found[:, None].astype(np.int64)
    if question.objective == "sparsest":
        return np.stack([found, np.where(found, result.size, -1), error], 1)
    return error[:, None]


def kernel(backend: str, n: int) -> Method:
    """The exact minimum without the door around it: masks for integer instances, in the chunks that the door cuts."""
    chosen, goal = solver(backend), Goal("min_error")
    step = chosen.chunk_size(n, goal)

    def call(items: Ints, targets: Ints) -> tuple[Ints, Ints, Ints]:
        parts = [
            chosen.choose(Batch(items[start : start + step], targets[start : start + step]), goal).mask
            for start in range(0, len(targets), step)
        ]
        return items, targets, np.concatenate(parts)

    return Method(f"{backend} kernel", call, lambda result: np.abs(Batch(*result[:2]).errors(result[2]))[:, None])
