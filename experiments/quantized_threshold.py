"""How many random integers does it take to meet a target exactly? The sharp threshold of kumar2025quantized, measured.

A trial draws integers by the law that sources of few bits have, and decides exactly whether some of them add up to the
target. Plain items are what the theorem speaks of; products are what the gadget's candidates are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment, by_setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["KINDS", "Group", "QuantizedThreshold", "groups", "items_at", "mean_square"]

Kind = Literal["plain", "odd", "blocks"]

KINDS: Final[Mapping[Kind, str]] = {
    "plain": "v uniform on -M..M without 0",
    "odd": "u v, u uniform on the odd numbers M/4..M: the candidates of the default assignment",
    "blocks": "u v, u uniform on 1..M: the live candidates of the paper's blocks",
}
_AT_ONCE: Final = 50_000


@final
@dataclass(frozen=True)
class QuantizedThreshold(AbstractExperiment):
    """Exactly solvable random subset sums of integers.

    Attributes:
        kind: of items, see `KINDS`.
        bits: k, M = 2^k; 1..20 (products: 2..10).
        target: the integer to be met, 1 or more; a weight of t/M (plain) or t/M^2.
        items: numbers of items, each 1..40; their trials are independent.
        trials: with each number of items.
        seed: of the items, 0..2^64-1.
    """

    name: ClassVar[str] = "quantized_threshold"
    version: ClassVar[int] = 1

    kind: Kind
    bits: int
    target: int
    items: tuple[int, ...]
    trials: int
    seed: int

    def __post_init__(self) -> None:
        low, high = (1, 20) if self.kind == "plain" else (2, 10)
        if not low <= self.bits <= high:
            raise ValueError(f"bits: expected {low}..{high} for {self.kind} items, got {self.bits}")
        if not self.items or any(not 1 <= n <= 40 for n in self.items) or len(set(self.items)) != len(self.items):
            raise ValueError(f"items: expected different numbers of items in 1..40, got {self.items}")
        if self.trials < 1 or self.target < 1:
            raise ValueError(f"expected trials >= 1 and target >= 1, got {self.trials} and {self.target}")

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 5 x 2,000 trials, M = 16, 128, 2048; default: 5 x 40,000 trials, M = 4 .. 2^16, and products."""
        return {
            "quick": cls._grid((4, 7, 11), 2_000, (4,)),
            "default": cls._grid((2, 4, 6, 7, 9, 11, 13, 15, 16), 40_000, (4, 8)),
        }

    @classmethod
    def _grid(cls, plain: Sequence[int], trials: int, products: Sequence[int]) -> list[Self]:
        from strongticket.bounds.kumar2025quantized import transition_items

        runs: list[Self] = []
        for seed in range(5):
            for bits in plain:
                first = max(1, math.floor(transition_items(1 << bits)) - 3)
                runs.append(cls("plain", bits, 1 << bits - 1, tuple(range(first, first + 13)), trials, seed))
            for bits, share in itertools.product(products, (8, 2, 1)):
                kinds: tuple[Kind, ...] = ("odd", "blocks")
                target = (1 << 2 * bits) // share - 1  # weights of nearly 1/8, 1/2 and 1; odd, the harder parity
                counts = tuple(range(2 * bits, 2 * bits + 17, 2))
                runs += [cls(kind, bits, target, counts, trials, seed) for kind in kinds]
        return runs

    def run(self) -> dict[str, Any]:
        """Return {"fail": trials in which no subset has exactly the target's sum, for each number of items}."""
        return {"fail": [self._failures(n) for n in self.items]}

    def _failures(self, n: int) -> int:
        import numpy as np

        from strongticket.subsetsum import solve

        failures = 0
        for start in range(0, self.trials, _AT_ONCE):
            items = self._draw(n, start, min(start + _AT_ONCE, self.trials))
            targets = np.full(len(items), self.target, dtype=np.int64)
            failures += int(np.count_nonzero(solve(items, targets, objective="first_hit", eps=0, threads=1).error))
        return failures

    def _draw(self, n: int, start: int, stop: int) -> NDArray[np.int64]:  # [trials, n]
        """Items of trials start..stop-1."""
        import numpy as np

        from strongticket.random import TRIAL, words
        from strongticket.random.quantized import Quantized

        most, name = 1 << self.bits, f"quantized_threshold {self.kind} {self.target} {n}"
        v = Quantized(self.bits).integers(self.seed, f"{name} v", start * n, stop * n, purpose=TRIAL)
        items: NDArray[np.int64] = v.reshape(stop - start, n).astype(np.int64)
        if self.kind == "plain":
            return items
        levels = np.array(_levels(self.kind, most))
        # the remainder favours none of at most 2^10 by more than 2^-22
        drawn = words(self.seed, f"{name} u", start * n, stop * n, purpose=TRIAL) % np.uint32(len(levels))
        items *= levels[drawn].reshape(items.shape)
        return items

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return a row for each kind, M, target and number of items: measured and predicted failure frequency."""
        rows = []
        for group in groups(finished):
            for n, share in zip(group.items, group.pooled(), strict=True):
                predicted = group.predicted(n)
                rows.append(
                    {
                        "kind": group.kind,
                        "M": 1 << group.bits,
                        "target": group.target,
                        "items": n,
                        "measured": share,
                        "predicted": predicted,
                        "measured/predicted": share / predicted if predicted else None,
                        "trials": group.trials * len(group.fail),
                    }
                )
        return rows


@dataclass(frozen=True)
class Group:
    """The runs of one kind, M and target, over its seeds.

    Attributes:
        kind, bits, target, items, trials: see `QuantizedThreshold`.
        fail: for each seed, the failures with each number of items.
    """

    kind: Kind
    bits: int
    target: int
    items: tuple[int, ...]
    trials: int
    fail: tuple[tuple[int, ...], ...]

    def pooled(self) -> list[float]:
        """Frequency of failure over all seeds, for each number of items."""
        return [sum(column) / (self.trials * len(self.fail)) for column in zip(*self.fail, strict=True)]

    def of_seeds(self) -> list[list[float]]:
        """Frequency of failure of each seed, for each number of items."""
        return [[count / self.trials for count in column] for column in zip(*self.fail, strict=True)]

    def predicted(self, items: int) -> float:
        """The predicted probability of failure."""
        from strongticket.bounds.kumar2025quantized import failure_predicted

        most = 1 << self.bits
        return failure_predicted(items, self.target, most, square=mean_square(self.kind, most))


def mean_square(kind: Kind, most: int) -> float:
    """Return E[x^2] of an item, exactly summed.

    >>> mean_square("plain", 2), mean_square("blocks", 2)
    (2.5, 6.25)
    """
    v = (most + 1) * (2 * most + 1) / 6.0
    if kind == "plain":
        return v
    levels = _levels(kind, most)
    return v * sum(x * x for x in levels) / len(levels)


def _levels(kind: Kind, most: int) -> list[int]:
    """The values that u takes."""
    return [u for u in range(1, most + 1) if kind == "blocks" or (u % 2 and 4 * u >= most)]


def groups(finished: Iterable[tuple[QuantizedThreshold, dict[str, Any]]]) -> list[Group]:
    """Gather runs that differ in the seed alone, in the order of their first run."""
    return [
        Group(run.kind, run.bits, run.target, run.items, run.trials, tuple(tuple(one["fail"]) for one in results))
        for run, results in by_setting(finished).items()
    ]


def items_at(items: Sequence[int], shares: Sequence[float], delta: float) -> float | None:
    """Return where the frequency of failure crosses delta, between numbers of items by its logarithm; None if nowhere.

    >>> items_at((4, 5), (0.4, 0.1), 0.2)
    4.5
    """
    for (n, high), (m, low) in itertools.pairwise(zip(items, shares, strict=True)):
        if high >= delta > low > 0:
            return n + (m - n) * math.log(high / delta) / math.log(high / low)
    return None
