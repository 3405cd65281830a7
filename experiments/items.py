"""How often do n random items miss a target? Exact minima of random subset sums, for every law that is used here.

A trial draws n items and a target on a dyadic grid and solves for the subset nearest to the target, exactly, so one
trial serves every eps and no trial is decided by rounding. Pooled over the seeds, the failures are the table that
`strongticket bound items` looks up: `python -m experiments.items` writes it from the results, to
strongticket/tables/items.json.

All items and targets are integers times 2^-46. Uniform values are odd ones, products are exact products of two
uniform values on 2^-23, normal and hyperbolic values are rounded to the nearest one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment, MissingRuns, finished
from strongticket._files import write_atomically
from strongticket.bounds.random_subset_sums import ENOUGH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from strongticket.runs import Store

__all__ = [
    "DELTAS",
    "ENOUGH",
    "EPS",
    "LAWS",
    "QUANTILES",
    "TABLE",
    "Count",
    "Items",
    "Needed",
    "needed",
    "table_text",
    "tally",
]

Law = Literal["uniform", "product", "half_product", "normal", "hyperbolic"]
Target = Literal["uniform", "1"]
Key = tuple[Law, Target, int | None]

LAWS: Final[Mapping[Law, str]] = {
    "uniform": "X ~ U(-1, 1)",
    "product": "X = u v, u, v ~ U(-1, 1)",
    "half_product": "X = max(u, 0) v, u, v ~ U(-1, 1): half of the items are dead",
    "normal": "X ~ N(0, 1)",
    "hyperbolic": "|X| log-uniform on [eps, 1], with a random sign: one law for each eps",
}
TARGETS: Final[Mapping[Target, str]] = {"uniform": "z ~ U(-1, 1)", "1": "z = 1"}
EPS: Final = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DELTAS: Final = (0.5, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
TABLE: Final = Path(__file__).parents[1] / "strongticket" / "tables" / "items.json"

MOST_SIZE: Final = 10
"""Largest exact size of a subset that is tabulated."""

_GRID: Final = -46
_AT_ONCE: Final = 1 << 15
_SEEDS: Final = range(5)


@final
@dataclass(frozen=True)
class Items(AbstractExperiment):
    """Least errors of random subset sums.

    Attributes:
        law: of one item.
        target: "uniform": z ~ U(-1, 1); "1": z = 1.
        eps: tolerances, each in (0, 1), largest first; hyperbolic items have one, which is their least magnitude.
        items: numbers of items, each 1..62; their trials are independent.
        trials: with each number of items.
        by_size: measure the subsets of exactly k items for every k, not the best of all subsets.
        seed: of items and targets, 0..2^64-1.
    """

    name: ClassVar[str] = "items"
    version: ClassVar[int] = 1

    law: Law
    target: Target
    eps: tuple[float, ...]
    items: tuple[int, ...]
    trials: int
    by_size: bool
    seed: int

    def __post_init__(self) -> None:
        if not self.eps or any(not 0 < eps < 1 for eps in self.eps) or list(self.eps) != sorted(self.eps, reverse=True):
            raise ValueError(f"eps: expected tolerances in (0, 1), largest first, got {self.eps}")
        if self.law == "hyperbolic" and len(self.eps) != 1:
            raise ValueError(f"eps: hyperbolic items are another law for each eps, so give one, got {self.eps}")
        if not self.items or any(not 1 <= n <= 62 for n in self.items) or len(set(self.items)) != len(self.items):
            raise ValueError(f"items: expected different numbers of items in 1..62, got {self.items}")
        if self.trials < 1:
            raise ValueError(f"expected trials >= 1, got {self.trials}")
        if self.by_size and self.law == "half_product":
            raise ValueError("by_size: items of half_product may be zero, and a zero item is never chosen")

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: up to 20 items, 5 x 2,000 trials; default: up to 32 items, 5 x 400,000 (n <= 20) .. 5 x 100,000.

        The default for z = 1 is up to 32 items (uniform as above; half_product 48, hyperbolic 26), 5 x 200,000
        (n <= 24) .. 5 x 50,000.
        """
        few = [(_span(1, 20), 2_000)]
        quick = cls._grid(few, few, few, [(_span(4, 12), 1_000)], _AtOne(few, few, few))
        many = [(_span(1, 16), 400_000), (_span(17, 20), 400_000), (_span(21, 24), 200_000), (_span(25, 28), 200_000)]
        default = cls._grid(
            [*many, (_span(29, 30), 100_000), (_span(31, 32), 100_000)],
            [(_span(1, 32), 200_000), (_span(33, 40), 200_000), (_span(41, 48), 100_000)],
            [(_span(1, 20), 200_000), (_span(21, 26), 100_000), (_span(27, 30), 20_000)],
            [(_span(4, 16), 20_000), (_span(17, 21), 20_000), (_span(22, 24), 10_000)],
            _AtOne(
                [(_span(1, 24), 200_000), (_span(25, 32), 50_000)],
                [(_span(1, 24), 200_000), (_span(25, 48), 50_000)],
                [(_span(1, 24), 200_000), (_span(25, 26), 50_000)],
            ),
        )
        return {"quick": quick, "default": default}

    @classmethod
    def _grid(cls, plain: _Plan, half: _Plan, hyperbolic: _Plan, by_size: _Plan, at_one: _AtOne) -> list[Self]:
        """Every law with its plan, cheapest numbers of items first; a plan is a list of (items, trials)."""
        studies: list[tuple[Law, Target, tuple[float, ...], _Plan, bool]] = [
            ("uniform", "uniform", EPS, plain, False),
            ("uniform", "1", EPS, plain, False),
            ("product", "uniform", EPS, plain, False),
            ("normal", "uniform", EPS, plain, False),
            ("half_product", "uniform", EPS, half, False),
            *(("hyperbolic", "uniform", (eps,), hyperbolic, False) for eps in EPS),
            ("uniform", "uniform", EPS, by_size, True),
            ("product", "uniform", EPS, by_size, True),
            ("product", "1", EPS, at_one.plain, False),
            ("normal", "1", EPS, at_one.plain, False),
            ("half_product", "1", EPS, at_one.half, False),
            *(("hyperbolic", "1", (eps,), at_one.hyperbolic, False) for eps in EPS),
        ]
        return [
            cls(law, target, eps, items, trials, sized, seed)
            for law, target, eps, plan, sized in studies
            for items, trials in plan
            for seed in _SEEDS
        ]

    def run(self) -> dict[str, Any]:
        """Return failures and quantiles for each number of items; see `_of_all_sizes` and `_of_each_size`."""
        each = [self._of_each_size(n) if self.by_size else self._of_all_sizes(n) for n in self.items]
        return {name: [result[name] for result in each] for name in each[0]}

    def _of_all_sizes(self, n: int) -> dict[str, Any]:
        """{"fail": trials beyond each eps, "quantiles": of the least error, at `QUANTILES`}."""
        import numpy as np

        parts = (_least_errors(*self._draw(n, *span)) for span in self._spans())
        errors = np.sort(np.concatenate(list(parts)))
        within = np.searchsorted(errors, self._limits(), side="right")
        return {"fail": (self.trials - within).tolist(), "quantiles": [_quantile(errors, q) for q in QUANTILES]}

    def _of_each_size(self, n: int) -> dict[str, Any]:
        """Lists over the sizes k = 0..n.

        "fail": for each eps, trials where no subset of exactly k items is within eps; "sparsest": for each eps, trials
        where k is the smallest size within eps; "median": of the least error.
        """
        import numpy as np

        from strongticket.subsetsum import pareto

        drawn = (self._draw(n, *span) for span in self._spans())
        fronts = [pareto(items, targets, exponent=_GRID, threads=1).error for items, targets in drawn]
        errors = np.abs(np.concatenate(fronts))  # [trials, n + 1]
        within = [errors <= limit for limit in self._limits()]
        first = [np.where(hit.any(axis=1), hit.argmax(axis=1), n + 1) for hit in within]
        return {
            "fail": [np.count_nonzero(~hit, axis=0).tolist() for hit in within],
            "sparsest": [np.bincount(sizes, minlength=n + 2)[: n + 1].tolist() for sizes in first],
            "median": [_quantile(np.sort(column), 0.5) for column in errors.T],
        }

    def _spans(self) -> Iterable[tuple[int, int]]:
        return ((start, min(start + _AT_ONCE, self.trials)) for start in range(0, self.trials, _AT_ONCE))

    def _limits(self) -> list[int]:
        """Largest errors within each eps, in units of the grid."""
        return [int(Fraction(eps) / Fraction(2) ** _GRID) for eps in self.eps]

    def _draw(self, n: int, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Items [trials, n] and targets [trials] of trials start..stop-1, in units of the grid."""
        import numpy as np

        name, count = f"items {self.law} {self.target} {n}", stop - start
        if self.target == "1":
            targets = np.full(count, 1 << -_GRID, dtype=np.int64)
        else:
            targets = _uniform(self.seed, f"{name} target", start, stop)
        return self._items(name, n * start, n * stop).reshape(count, n), targets

    def _items(self, name: str, start: int, stop: int) -> NDArray[np.int64]:
        """Items start..stop-1 of a stream."""
        import numpy as np

        from strongticket.random import NORMAL_TAB1, TRIAL, UNIFORM23

        if self.law == "uniform":
            return _uniform(self.seed, f"{name} x", start, stop)
        if self.law == "normal":
            values = NORMAL_TAB1.values(self.seed, f"{name} x", start, stop, dtype="float64", purpose=TRIAL)
            return _on_grid(values)
        if self.law == "hyperbolic":
            return _hyperbolic(self.eps[0], self.seed, f"{name} x", start, stop)
        u, v = (UNIFORM23.integers(self.seed, f"{name} {what}", start, stop, purpose=TRIAL) for what in ("u", "v"))
        return np.multiply(np.maximum(u, 0) if self.law == "half_product" else u, v, dtype=np.int64)

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return n*(eps, delta), a row for each law, target, size and eps; `Needed` says what "25*" and ">32" are."""
        return [
            {
                "law": law,
                "target": TARGETS[target],
                "size": "any" if size is None else str(size),
                "eps": f"{eps:.0e}",
                **{f"{delta:g}": str(needed(counts, delta)) for delta in DELTAS},
            }
            for (law, target, size), of_eps in tally(finished).items()
            for eps, counts in of_eps.items()
        ]


_Plan = Sequence[tuple[tuple[int, ...], int]]


@dataclass(frozen=True)
class _AtOne:
    """Plans for z = 1: of the products and normal items, and of two laws of their own."""

    plain: _Plan
    half: _Plan
    hyperbolic: _Plan


def _span(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


def _uniform(seed: int, name: str, start: int, stop: int) -> NDArray[np.int64]:
    """Odd integers below 2^46 in magnitude, uniform: values start..stop-1 of a stream, 46 bits of two words each."""
    import numpy as np

    from strongticket.random import TRIAL, words

    high, low = (words(seed, name, 2 * start, 2 * stop, purpose=TRIAL).reshape(-1, 2) >> 9).T
    made: NDArray[np.int64] = ((high.astype(np.int64) << 23 | low) << 1 | 1) - (1 << -_GRID)
    return made


def _on_grid(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    import numpy as np

    made: NDArray[np.int64] = np.rint(np.ldexp(values, -_GRID)).astype(np.int64)
    return made


def _hyperbolic(eps: float, seed: int, name: str, start: int, stop: int) -> NDArray[np.int64]:
    """+-eps^t with t = w / 2^32, w a word: values start..stop-1 of a stream.

    eps^t is a product of square roots of square roots of eps, one table for each byte of w; roots and products of
    float64 are the same everywhere, which exp is not.
    """
    import numpy as np

    from strongticket.random import TRIAL, words

    signs, exponents = words(seed, name, 2 * start, 2 * stop, purpose=TRIAL).reshape(-1, 2).T
    root, values = eps, np.ones(stop - start)
    for shift in (24, 16, 8, 0):
        table = np.ones(1)
        for _ in range(8):  # the next lower bit doubles the table
            root = math.sqrt(root)
            table = np.outer(table, [1.0, root]).ravel()
        values *= table[exponents >> shift & 0xFF]
    magnitudes = _on_grid(values)
    return np.where(signs >> 31, -magnitudes, magnitudes)


def _least_errors(items: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:  # [trials]
    """Least |target - subset sum| of each row, exactly; zero items are left out before solving."""
    import numpy as np

    from strongticket.subsetsum import solve

    live = np.count_nonzero(items, axis=1)
    errors = np.empty(len(items), dtype=np.int64)
    for count in np.unique(live):
        rows = np.flatnonzero(live == count)
        some = items[rows]
        packed = some if count == items.shape[1] else some[some != 0].reshape(len(rows), count)
        errors[rows] = np.abs(solve(packed, targets[rows], exponent=_GRID, threads=1).error)
    return errors


def _quantile(errors: NDArray[np.int64], level: float) -> float:
    """The smallest error that at least this share of the (sorted) errors does not exceed."""
    return math.ldexp(int(errors[math.ceil(Fraction(str(level)) * len(errors)) - 1]), _GRID)


@dataclass(frozen=True)
class Count:
    """Failures in trials, of each seed.

    Attributes:
        fails, trials: one entry per seed.
    """

    fails: tuple[int, ...]
    trials: tuple[int, ...]

    @property
    def fail(self) -> int:
        """Failures of all seeds."""
        return sum(self.fails)

    @property
    def total(self) -> int:
        """Trials of all seeds."""
        return sum(self.trials)

    @property
    def rate(self) -> float:
        """Frequency of failures, all seeds together."""
        return self.fail / self.total

    @property
    def rates(self) -> tuple[float, ...]:
        """Frequency of failures of each seed."""
        return tuple(fail / trials for fail, trials in zip(self.fails, self.trials, strict=True))


def tally(finished: Iterable[tuple[Items, dict[str, Any]]]) -> dict[Key, dict[float, dict[int, Count]]]:
    """Return the failures by (law, target, exact size or None), then by eps, then by number of items."""
    found: dict[Key, dict[float, dict[int, list[tuple[int, int]]]]] = {}
    for run, result in finished:
        for n, rows in zip(run.items, result["fail"], strict=True):
            for eps, row in zip(run.eps, rows, strict=True):
                sizes = list(enumerate(row))[1 : MOST_SIZE + 1] if run.by_size else [(None, row)]
                for size, fail in sizes:
                    of_n = found.setdefault((run.law, run.target, size), {}).setdefault(eps, {})
                    of_n.setdefault(n, []).append((fail, run.trials))
    return {
        key: {
            eps: {n: Count(*map(tuple, zip(*seeds, strict=True))) for n, seeds in sorted(of_n.items())}
            for eps, of_n in of_eps.items()
        }
        for key, of_eps in found.items()
    }


@dataclass(frozen=True)
class Needed:
    """How many items were needed, and how sure that is; as text "22", "25*" (few failures support it) or ">32".

    Attributes:
        items: the number, or None if it is larger than `most`.
        few: fewer than `ENOUGH` failures are expected there.
        most: the largest number of items that was measured.
    """

    items: int | None
    few: bool
    most: int

    def __str__(self) -> str:
        return f">{self.most}" if self.items is None else f"{self.items}{'*' if self.few else ''}"


def needed(counts: Mapping[int, Count], delta: float) -> Needed:
    """Return n*: the smallest number of items, of those measured, that failed with frequency at most delta.

    >>> counts = {n: Count((fails,), (1000,)) for n, fails in {4: 310, 5: 90, 6: 4}.items()}
    >>> [str(needed(counts, delta)) for delta in (0.1, 0.004, 0.001)]
    ['5', '6*', '>6']
    """
    for n, count in sorted(counts.items()):
        if count.fail <= delta * count.total:
            return Needed(n, delta * count.total < ENOUGH, max(counts))
    return Needed(None, False, max(counts))


def table_text(store: Store) -> str:
    """Return the text of strongticket/tables/items.json: failures and trials of all seeds, from the default preset.

    "laws": law -> {"text", "targets": target -> eps -> n -> {"fail", "trials"}}; "fixed_size" is the same with the
    size k of the subsets between target and eps; "environment" names every version that took part.

    Raises:
        MissingRuns: the store lacks runs; the message names the command.
    """
    import json

    runs = finished(Items, "default", store)
    laws: dict[str, Any] = {}
    sized: dict[str, Any] = {}
    for (law, target, size), of_eps in tally(runs).items():
        entry = (laws if size is None else sized).setdefault(law, {"text": LAWS[law], "targets": {}})["targets"]
        entry = entry.setdefault(target, {})
        entry = entry if size is None else entry.setdefault(str(size), {})
        for eps, counts in of_eps.items():
            entry[str(eps)] = {str(n): {"fail": each.fail, "trials": each.total} for n, each in counts.items()}
    seen: dict[str, list[Any]] = {}
    for record in store.collect(run.spec for run, _ in runs).records:
        for name, value in record.environment.items():
            if value not in seen.setdefault(name, []):
                seen[name].append(value)
    environment = {name: values[0] if len(values) == 1 else values for name, values in sorted(seen.items())}
    whole = {"version": 1, "laws": laws, "fixed_size": sized, "environment": environment}
    return json.dumps(whole, separators=(",", ":"), allow_nan=False) + "\n"


def main() -> int:
    """Write the table from the results that are in the folder results/, where `python -m experiments run` puts them."""
    import sys

    from strongticket.runs import Store

    try:
        print(write_atomically(TABLE, table_text(Store(Path("results")))))
    except MissingRuns as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
