"""Convolution over a finite group: the basis of layers that commute with the group's action on itself."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from strongticket.models.bases.abstract import AbstractBasis, mix

__all__ = ["MAX_ORDER", "GroupConvolution", "dihedral", "symmetric"]

MAX_ORDER: Final = 256
Table = tuple[tuple[int, ...], ...]

_NAMED = re.compile(r"group-(dihedral|symmetric)([1-9]\d{0,2})", re.ASCII)
_PLAIN = re.compile(r"group([1-9]\d{0,2})-([0-9a-f]+)", re.ASCII)


@final
@dataclass(frozen=True)
class GroupConvolution(AbstractBasis):
    """Convolve over a finite group: y[g] = sum over k of w[k] x[g k^-1] (Cohen & Welling 2016).

    It commutes with x[g] -> x[a^-1 g] for every a. Positions are the elements of the group, 0..n-1.

    Args:
        table: table[g][h] is the product g h; `dihedral` and `symmetric` in `strongticket.models.bases` make some.

    Raises:
        ValueError: the table is not that of a group, or has more than 256 elements.

    >>> GroupConvolution(dihedral(4)).id, GroupConvolution(((0, 1), (1, 0))).id
    ('group-dihedral4', 'group2-00010100')
    """

    table: Table

    def __post_init__(self) -> None:
        table = tuple(tuple(int(entry) for entry in row) for row in self.table)
        object.__setattr__(self, "table", table)
        _check(table)

    @classmethod
    def read(cls, text: str) -> GroupConvolution:
        """Read the basis from its id.

        Raises:
            ValueError: it is not written so, or not the table of a group.
        """
        if named := _NAMED.fullmatch(text):
            if int(named[2]) > (MAX_ORDER // 2 if named[1] == "dihedral" else 5):
                raise ValueError(f"a group has at most {MAX_ORDER} elements, got {text!r}")
            return cls(_GROUPS[named[1]](int(named[2])))
        match = _PLAIN.fullmatch(text)
        if match is None or len(match[2]) != 2 * int(match[1]) ** 2:
            raise ValueError(f"a group is written like group-dihedral4 or group2-00010100, got {text[:60]!r}")
        entries, n = bytes.fromhex(match[2]), int(match[1])
        return cls(tuple(tuple(entries[n * g : n * (g + 1)]) for g in range(n)))

    @cached_property
    def id(self) -> str:
        """``group-dihedral4``, or ``group2-00010100``: the order, and the table in two hexadecimal digits an entry."""
        n = self.size
        for name, make in _GROUPS.items():
            for m in range(3, n + 1):
                if n == (2 * m if name == "dihedral" else _factorial(m)) and make(m) == self.table:
                    return f"group-{name}{m}"
        return f"group{n}-" + bytes(itertools.chain.from_iterable(self.table)).hex()

    @property
    def inputs(self) -> tuple[int, ...]:
        """(n,): the elements."""
        return (self.size,)

    @property
    def outputs(self) -> tuple[int, ...]:
        """(n,): the elements."""
        return (self.size,)

    @property
    def size(self) -> int:
        """The order n of the group."""
        return len(self.table)

    @cached_property
    def reads(self) -> NDArray[np.int64]:  # [K, n]
        """The element g k^-1 that output g takes with coefficient k."""
        table = np.array(self.table)
        unit = int(np.flatnonzero((table == np.arange(self.size)).all(axis=1))[0])
        inverse = (table == unit).argmax(axis=1)
        found: NDArray[np.int64] = table[:, inverse].T.astype(np.int64)
        found.setflags(write=False)
        return found

    def apply(self, weight: Tensor, x: Tensor, groups: int = 1) -> Tensor:
        """Return the group convolution."""
        reads = torch.from_numpy(self.reads.copy()).to(x.device)
        return mix(weight, x[:, :, reads], groups)

    def matrices(self) -> list[scipy.sparse.csr_array]:
        """Return the permutation of each element."""
        n = self.size
        return [scipy.sparse.csr_array((np.ones(n), (np.arange(n), reads)), shape=(n, n)) for reads in self.reads]


def dihedral(n: int) -> Table:
    """Return the table of the 2n symmetries of a regular n-gon: r^a is number a, r^a s is number n + a.

    >>> dihedral(3)[3][1]  # s r = r^2 s
    5
    """

    def product(g: int, h: int) -> int:
        (a, flip), (b, other) = (g % n, g // n), (h % n, h // n)
        return (a - b if flip else a + b) % n + n * (flip ^ other)

    return tuple(tuple(product(g, h) for h in range(2 * n)) for g in range(2 * n))


def symmetric(n: int) -> Table:
    """Return the table of all permutations of n things in lexicographic order; (g h)(i) = g(h(i)).

    >>> len(symmetric(3)), symmetric(3)[1][1]
    (6, 0)
    """
    members = list(itertools.permutations(range(n)))
    number = {member: i for i, member in enumerate(members)}
    return tuple(tuple(number[tuple(g[i] for i in h)] for h in members) for g in members)


_GROUPS: Final[Mapping[str, Callable[[int], Table]]] = {"dihedral": dihedral, "symmetric": symmetric}


def _factorial(n: int) -> int:
    return 1 if n < 2 else n * _factorial(n - 1) if n < 10 else 0


def _check(table: Table) -> None:
    n = len(table)
    if not 1 <= n <= MAX_ORDER or any(len(row) != n for row in table):
        raise ValueError(f"the table of a group is square with 1 to {MAX_ORDER} rows, got {n}")
    array = np.array(table)
    everyone = np.arange(n)
    if not (np.array_equal(np.sort(array, axis=0).T, np.broadcast_to(everyone, (n, n)))
            and np.array_equal(np.sort(array, axis=1), np.broadcast_to(everyone, (n, n)))):  # fmt: skip
        raise ValueError(f"every row and column of a group's table holds each of 0..{n - 1} once")
    for g in range(n):  # (g h) k = g (h k)
        wrong = np.argwhere(array[array[g]] != array[g][array])
        if len(wrong):
            h, k = wrong[0].tolist()
            raise ValueError(f"the table is not associative: ({g} {h}) {k} is not {g} ({h} {k})")
