"""Which methods are asked which questions, and for how many items: the plan of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from experiments.benchmarks._cases import Kind, Question

__all__ = ["COARSE", "EPS", "Group", "cuda_groups", "groups"]

EPS: Final = 0.01
"""The tolerance of published tickets, and of every comparison within a tolerance."""
COARSE: Final = frozenset((8, 12, 16, 21, 24, 28, 32))
"""Numbers of items for all but the main questions."""
_SHARED: Final = (16, 21, 24)


@dataclass(frozen=True)
class Group:
    """Methods that answer one question about the same instances.

    Attributes:
        items: numbers of items, ascending.
        plain_peers: whether the peers that take batches are asked too.
    """

    kind: Kind
    question: Question
    backends: tuple[str, ...]
    items: tuple[int, ...]
    plain_peers: bool = False


def groups(items: Sequence[int]) -> list[Group]:
    """Every backend and objective on the CPU; the two main questions for all the numbers of items.

    >>> [group.question.text for group in groups([8])][:3]
    ['exact minimum', 'exact minimum', 'sparsest within 0.01']
    """
    every = tuple(sorted(set(items)))
    some = tuple(n for n in every if n in COARSE) or every
    shared = tuple(n for n in every if n in _SHARED) or every[-1:]
    long = (*(n for n in some if n >= 12), 40) if every[-1] >= 32 else some
    minimum, sparsest, sized = Question("min_error"), Question("sparsest", EPS), Question("fixed_size")
    fronts = Question("pareto")
    narrow, wide = ("numba:int32", "numba:int64", "numba-plain", "torch"), ("numba:int64", "numba-plain", "torch")
    general = ("numba", "numba-plain", "torch", "brute")
    return [
        Group("uniform", minimum, (*narrow, "brute"), every, plain_peers=True),
        Group("product", minimum, (*wide, "brute"), every),
        Group("uniform", sparsest, general, every),
        Group("product", sparsest, ("numba", "numba-plain"), some),
        *(Group("uniform", Question("sparsest", eps), ("numba",), some) for eps in (1e-3, 1e-4)),
        *(Group("uniform", question, general, some) for question in (sized, fronts)),
        *(Group("product", question, ("numba",), some) for question in (sized, fronts)),
        *(Group("uniform", Question("first_hit", eps), ("numba", "numba-plain"), long) for eps in (EPS, 1e-3, 1e-6)),
        Group("uniform", Question("min_error", None, 784), narrow, shared),
        Group("uniform", Question("min_error", None, 100_000), narrow[:-1], shared),
    ]


def cuda_groups(items: Sequence[int]) -> list[Group]:
    """What is asked of a GPU."""
    every = tuple(sorted(set(items)))
    some = tuple(n for n in every if n in COARSE) or every
    questions = (Question("min_error"), Question("sparsest", EPS), Question("fixed_size"), Question("pareto"))
    backends = ("triton", "torch:cuda")
    return [
        *(Group("uniform", question, backends, some) for question in questions),
        Group("product", Question("min_error"), backends, some),
    ]
