"""How many random items does one weight need? Measured, beside what a theorem guarantees and theory predicts.

A trial draws items one after the other until some subset of them comes within eps of the target; the number drawn by
then is its *hitting time*. So n*(eps, delta), the smallest number of items that fails with frequency at most delta, is
the (1 - delta)-quantile of the hitting times, one trial serves every eps and every delta at once, and hard solving is
left to the few trials that are still unlucky. Items and targets are integers on a dyadic grid and every minimum is
exact: no trial is decided by rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LAWS", "TARGETS", "Bounds", "Group", "groups", "items_interval", "items_measured", "theory"]

Law = Literal["uniform", "half_product"]
Target = Literal["edge", "spread"]

LAWS: Final[Mapping[Law, str]] = {
    "uniform": "X ~ U(-1, 1): what a column-aware assignment comes near to",
    "half_product": "X = max(u, 0) v, u, v ~ U(-1, 1): the paper's fixed blocks; half of the items are dead",
}
TARGETS: Final[Mapping[Target, str]] = {"edge": "z = 1/2", "spread": "z ~ U(-1/2, 1/2)"}
REACH: Final = 0.5
DELTAS: Final = (0.1, 0.01, 0.001)

_DEEPEST: Final = 40  # live items solved at most; an instance of 40 takes tens of milliseconds
_AT_ONCE: Final = 20_000


@final
@dataclass(frozen=True)
class Bounds(AbstractExperiment):
    """Hitting times of random subset sums.

    Attributes:
        law: of one item.
        target: what is to be reached.
        eps: tolerances, each in (0, 1), largest first.
        trials: hitting times measured.
        max_items: items drawn at most, dead ones included; a trial that needs more counts as a failure for every n.
        seed: of the items and targets, 0..2^64-1.
    """

    name: ClassVar[str] = "bounds"
    version: ClassVar[int] = 1

    law: Law
    target: Target
    eps: tuple[float, ...]
    trials: int
    max_items: int
    seed: int

    def __post_init__(self) -> None:
        if not self.eps or any(not 0 < eps < 1 for eps in self.eps) or list(self.eps) != sorted(self.eps, reverse=True):
            raise ValueError(f"eps: expected tolerances in (0, 1), largest first, got {self.eps}")
        if self.trials < 1 or not 1 <= self.max_items <= 1000:
            raise ValueError(f"expected trials >= 1 and 1 <= max_items <= 1000, got {self.trials}, {self.max_items}")

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: tolerances down to 1e-4, 5 x 4,000 trials; default: down to 1e-6, 5 x 200,000 trials."""
        coarse = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
        fine = (*coarse, 3e-5, 1e-5, 3e-6, 1e-6)
        return {"quick": cls._grid(coarse, 4_000), "default": cls._grid(fine, 200_000)}

    @classmethod
    def _grid(cls, eps: tuple[float, ...], trials: int) -> list[Self]:
        most: dict[Law, int] = {"uniform": 40, "half_product": 96}
        return [
            cls(law, target, eps, trials, most[law], seed)
            for law, target, seed in itertools.product(LAWS, TARGETS, range(5))
        ]

    def run(self) -> dict[str, Any]:
        """Return {"hits": one list per eps; entry n counts the trials whose hitting time is n, n = 0..max_items}.

        Trials that never came within eps are those missing from the list's sum.
        """
        import numpy as np

        hits = np.zeros((len(self.eps), self.max_items + 1), dtype=np.int64)
        for start in range(0, self.trials, _AT_ONCE):
            times = self._hitting_times(start, min(start + _AT_ONCE, self.trials))
            for row, of_eps in zip(hits, times, strict=True):
                row += np.bincount(of_eps[of_eps >= 0], minlength=self.max_items + 1)
        return {"hits": hits.tolist()}

    def _hitting_times(self, start: int, stop: int) -> NDArray[np.int64]:  # [eps, trials], -1 for never
        """Hitting times of trials start..stop-1."""
        import numpy as np

        items, order, live, targets, exponent = self._draw(start, stop)
        limits = [int(Fraction(eps) / Fraction(2) ** exponent) for eps in self.eps]  # error <= eps iff <= floor
        times = np.full((len(self.eps), stop - start), -1, dtype=np.int64)
        active = np.arange(stop - start)
        for count in range(min(_DEEPEST, self.max_items) + 1):
            active = active[live[active] >= count]
            if not active.size:
                break
            errors = _least_errors(items[active, :count], targets[active])
            drawn = order[active, count - 1] + 1 if count else np.zeros(active.size, dtype=np.int64)
            for row, limit in zip(times, limits, strict=True):
                new = (errors <= limit) & (row[active] < 0)
                row[active[new]] = drawn[new]
            active = active[errors > limits[-1]]
        return times

    def _draw(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
        """Items with the live ones first, their places in the draw, how many live, targets; unit 2^exponent."""
        import numpy as np

        from strongticket.random import TRIAL, law

        uniform = law("uniform23")

        def integers(what: str, per_trial: int) -> NDArray[np.int64]:
            name = f"bounds {self.law} {self.target} {what}"
            made = uniform.integers(self.seed, name, start * per_trial, stop * per_trial, purpose=TRIAL)
            return made.reshape(stop - start, per_trial).astype(np.int64)

        half = integers("target", 1)[:, 0] if self.target == "spread" else np.full(stop - start, 1 << 23)
        second = integers("v", self.max_items)
        if self.law == "uniform":
            places = np.broadcast_to(np.arange(self.max_items), second.shape)
            return 2 * second, places, np.full(stop - start, self.max_items), half, -24
        first = integers("u", self.max_items)
        order = np.argsort(first < 0, axis=1, kind="stable")
        items = np.take_along_axis(np.maximum(first, 0) * second, order, axis=1)
        return items, order, np.count_nonzero(first > 0, axis=1), half << 22, -46

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return a row for each law, target, delta and eps: items by theorem, measured, predicted, counted."""
        rows = []
        for group in groups(finished):
            for delta, (i, eps) in itertools.product(DELTAS, enumerate(group.eps)):
                each = [items_measured(hits[i], group.trials, delta) for hits in group.hits]
                low, high = items_interval(group.pooled()[i], group.trials * len(each), delta)
                rows.append(
                    {
                        "law": group.law,
                        "target": TARGETS[group.target],
                        "delta": delta,
                        "eps": eps,
                        **theory(group.law, group.target, eps, delta),
                        "measured": items_measured(group.pooled()[i], group.trials * len(each), delta),
                        "least seed": None if None in each else min(n for n in each if n is not None),
                        "most seed": None if None in each else max(n for n in each if n is not None),
                        "low 99%": low,
                        "high 99%": high,
                    }
                )
        return rows


@dataclass(frozen=True)
class Group:
    """The runs of one law and target, which differ in the seed alone.

    Attributes:
        law, target, eps, trials: of each run.
        hits: hitting times of each seed, [seed][eps][n].
    """

    law: Law
    target: Target
    eps: tuple[float, ...]
    trials: int
    hits: tuple[list[list[int]], ...]

    def pooled(self) -> list[list[int]]:  # [eps][n]
        """Return the hitting times of all seeds together."""
        return [[sum(n) for n in zip(*rows, strict=True)] for rows in zip(*self.hits, strict=True)]


def groups(finished: Sequence[tuple[Bounds, dict[str, Any]]]) -> list[Group]:
    """Return runs grouped over their seeds, in the order of first appearance."""
    by_key: dict[tuple[Law, Target, tuple[float, ...], int, int], list[list[list[int]]]] = {}
    for run, result in finished:
        key = (run.law, run.target, run.eps, run.trials, run.max_items)
        by_key.setdefault(key, []).append(result["hits"])
    return [Group(law, target, eps, trials, tuple(hits)) for (law, target, eps, trials, _), hits in by_key.items()]


def items_measured(hits: Sequence[int], trials: int, delta: float) -> int | None:
    """Return the smallest n that fails with frequency at most delta; None if that was not reached.

    >>> items_measured([0, 3, 5, 2], trials=10, delta=0.2) # 2 of 10 still fail with two items
    2
    """
    left = trials
    for n, count in enumerate(hits):
        left -= count
        if left <= delta * trials:
            return n
    return None


def items_interval(
    hits: Sequence[int], trials: int, delta: float, *, confidence: float = 0.99
) -> tuple[int | None, int | None]:
    """Return an interval for the true n*: exact (Clopper-Pearson) bounds of the failure probability meet delta there.

    Each end errs with probability at most (1 - confidence) / 2. Failures are fewer with more items in every single
    trial, so the ends are found by going through n once.

    >>> items_interval([0, 50, 40, 8, 2], trials=100, delta=0.1)
    (2, 3)
    """
    from strongticket.statistics import interval

    left = trials
    low: int | None = None
    for n, count in enumerate(hits):
        left -= count
        ends = interval(trials, left, confidence)
        if low is None and ends[0] <= delta:
            low = n
        if ends[1] <= delta:
            return low, n
    return low, None


def theory(law: Law, target: Target, eps: float, delta: float) -> dict[str, Any]:
    """Return what theory says: items by the theorem with our constant, predicted at the limit, and by counting.

    The theorem promises more than is measured: *all* targets |z| <= 1/2 at once with these items.

    >>> theory("uniform", "edge", 0.01, 0.01)
    {'theorem': 95, 'predicted': ..., 'counted': 5.64...}
    """
    from strongticket import bounds
    from strongticket.bounds.lueker1998exponentially import items_needed, items_predicted
    from strongticket.bounds.pensia2020optimal import item_plan

    if law == "uniform":
        theorem = items_needed(eps, delta, c=REACH)
    else:
        theorem = item_plan(1, eps, delta, max_target=REACH, assignment="fixed").items
    return {
        "theorem": theorem,
        "predicted": items_predicted(eps, delta, law, target=REACH, averaged=target == "spread"),
        "counted": bounds.get("lueker1998exponentially.counting_floor")(eps=eps, c=REACH),
    }


def _least_errors(items: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:  # [batch]
    """Least |target - subset sum| of each row, exactly."""
    import numpy as np

    from strongticket.subsetsum import solve

    return np.abs(solve(items, targets, objective="min_error").error)
