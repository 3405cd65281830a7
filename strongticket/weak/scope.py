"""Which weights a round of pruning may take, and exactly how many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal

from strongticket._files import canonical_json

__all__ = ["SCOPES", "Kind", "Scope", "counted", "kinds", "level_counts", "level_totals", "round_half_even"]

Kind = Literal["conv", "shortcut", "linear", "output"]
KINDS: Final[tuple[Kind, ...]] = ("conv", "shortcut", "linear", "output")


def counted(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the parameters that densities are fractions of: matrices and kernels, all of them, pruned or not."""
    return {name: tuple(shape) for name, shape in shapes.items() if len(shape) >= 2}


def kinds(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Kind]:
    """Return what each counted parameter is.

    The last matrix is the output layer; kernels of a path beside others are shortcuts, known by their names
    ("downsample", "shortcut"); other kernels are convolutions, other matrices linear layers.

    >>> kinds({"fc1.weight": (300, 784), "fc1.bias": (300,), "fc2.weight": (10, 300)})
    {'fc1.weight': 'linear', 'fc2.weight': 'output'}
    """
    weights = counted(shapes)
    matrices = [name for name, shape in weights.items() if len(shape) == 2]
    found: dict[str, Kind] = {}
    for name, shape in weights.items():
        if len(shape) == 2:
            found[name] = "output" if name == matrices[-1] else "linear"
        else:
            found[name] = "shortcut" if "downsample" in name or "shortcut" in name else "conv"
    return found


def round_half_even(value: Fraction) -> int:
    """Return the nearest whole number, the even one of two.

    >>> round_half_even(Fraction(5, 2)), round_half_even(Fraction(7, 2)), round_half_even(Fraction(8, 3))
    (2, 4, 3)
    """
    return round(value)


@dataclass(frozen=True)
class Scope:
    """Say what a round of pruning takes away.

    Attributes:
        removed: share that goes in a round, of what is left: {kind of layer: share in [0, 1)}; kinds without one are
            never pruned.
        competing: layers compete for one number of weights ("global"); else each has its own.
        of_all: with competing layers, the number is a share of all counted weights that are left, not only of those in
            the scope.

    Raises:
        ValueError: unknown kinds, shares out of range, or several shares for layers that compete.

    >>> scope = Scope((("linear", Fraction(1, 5)), ("output", Fraction(1, 10))))
    >>> scope.kept({"a": 10, "b": 10}, {"a": "linear", "b": "output"})
    {'a': 8, 'b': 9}
    """

    removed: tuple[tuple[Kind, Fraction], ...]
    competing: bool = False
    of_all: bool = False

    def __post_init__(self) -> None:
        shares = dict(self.removed)
        if not shares or len(shares) != len(self.removed) or not set(shares) <= set(KINDS):
            raise ValueError(f"expected one share for each of some kinds in {KINDS}, got {self.removed}")
        if not all(isinstance(share, Fraction) and 0 <= share < 1 for share in shares.values()):
            raise ValueError(f"expected shares as fractions in [0, 1), got {self.removed}")
        if self.competing and len(set(shares.values())) > 1:
            raise ValueError(f"layers that compete have one share, got {self.removed}")
        if self.of_all and not self.competing:
            raise ValueError("of_all says what competing layers lose together: set competing too")

    def pruned(self, layers: Mapping[str, Kind]) -> list[str]:
        """Return the layers that are pruned at all."""
        shares = dict(self.removed)
        return [name for name, kind in layers.items() if shares.get(kind)]

    def kept(self, left: Mapping[str, int], layers: Mapping[str, Kind]) -> dict[str, int]:
        """Return how many weights each layer keeps after a round, for layers that do not compete.

        Raises:
            ValueError: they do compete.
        """
        if self.competing:
            raise ValueError("layers that compete have one number together: see kept_together")
        shares = dict(self.removed)
        return {
            name: count - round_half_even(shares.get(layers[name], Fraction(0)) * count) for name, count in left.items()
        }

    def kept_together(self, left: Mapping[str, int], layers: Mapping[str, Kind]) -> int:
        """Return how many weights the pruned layers keep together after a round, for layers that compete."""
        inside = sum(left[name] for name in self.pruned(layers))
        return self._left(inside, sum(left.values()) - inside)

    def _left(self, inside: int, outside: int) -> int:
        """What a round leaves of so many competing weights, beside so many that it does not touch."""
        base = inside + outside if self.of_all else inside
        return max(0, inside - round_half_even(self.removed[0][1] * base))

    @property
    def key(self) -> str:
        """A text that says all of it, for the names of runs."""
        shares = {kind: str(share) for kind, share in self.removed}
        return canonical_json({"removed": shares, "competing": self.competing, "of_all": self.of_all})


def _scope(competing: bool = False, of_all: bool = False, **shares: str) -> Scope:
    pairs = tuple((kind, Fraction(shares[kind])) for kind in KINDS if kind in shares)
    return Scope(pairs, competing, of_all)


SCOPES: Final[Mapping[str, Scope]] = MappingProxyType(
    {
        "lth-lenet": _scope(linear="1/5", output="1/10"),
        "lth-conv2": _scope(conv="1/10", linear="1/5", output="1/10"),
        "lth-conv4": _scope(conv="1/10", linear="1/5", output="1/10"),
        "lth-conv6": _scope(conv="3/20", linear="1/5", output="1/10"),
        "lth-global": _scope(competing=True, conv="1/5"),
        "openlth": _scope(competing=True, conv="1/5", shortcut="1/5", linear="1/5", output="1/5"),
        "openlth-output-kept": _scope(competing=True, of_all=True, conv="1/5", shortcut="1/5", linear="1/5"),
    }
)
"""lth-*: Frankle & Carbin (2019); the global one leaves shortcuts and the output layer alone. openlth: all layers of
facebookresearch/open_lth's ResNets, which Chen et al. (2021) use; with the output kept, as its LeNet and VGG, it still
counts in the number that goes."""


def level_counts(shapes: Mapping[str, tuple[int, ...]], scope: Scope, levels: int) -> list[dict[str, int]]:
    """Return how many weights each layer keeps at levels 0, 1, ..., `levels`, for layers that do not compete.

    >>> table = level_counts({"a.weight": (300, 784), "b.weight": (10, 300)}, SCOPES["lth-lenet"], 1)
    >>> table[1]
    {'a.weight': 188160, 'b.weight': 2700}
    """
    layers = kinds(shapes)
    table = [{name: math.prod(shape) for name, shape in counted(shapes).items()}]
    for _ in range(levels):
        table.append(scope.kept(table[-1], layers))
    return table


def level_totals(shapes: Mapping[str, tuple[int, ...]], scope: Scope, levels: int) -> Sequence[int]:
    """Return how many counted weights are kept in all at levels 0, 1, ..., `levels`, whether layers compete or not."""
    if not scope.competing:
        return [sum(row.values()) for row in level_counts(shapes, scope, levels)]
    layers = kinds(shapes)
    sizes = {name: math.prod(shape) for name, shape in counted(shapes).items()}
    inside = scope.pruned(layers)
    outside = sum(size for name, size in sizes.items() if name not in inside)
    left, totals = sum(sizes[name] for name in inside), [sum(sizes.values())]
    for _ in range(levels):
        left = scope._left(left, outside)
        totals.append(left + outside)
    return totals
