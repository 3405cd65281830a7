"""Timing that grows its batch until it is long enough to trust, and the comparison of everything that was timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from experiments.benchmarks._cases import Instances, Method, Question

__all__ = ["Agreement", "Effort", "Timing", "measure"]

Ints = npt.NDArray[np.int64]
LEAST: Final = 8
"""Fewest instances that are timed together."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: least duration of one timed repetition.
        repetitions: of which the fastest counts.
        most_rows: largest batch of one call; a repetition makes several calls where that is too short.
    """

    seconds: float
    repetitions: int
    most_rows: int = 1 << 19


@dataclass(frozen=True)
class Timing:
    """What one method took.

    Attributes:
        us: microseconds per instance, of the fastest repetition.
        batch, calls: instances of a call, and calls of a repetition.
        facts: of the batch that was timed, see `Method.facts`.
    """

    us: float
    batch: int
    calls: int
    facts: Ints


def measure(method: Method, question: Question, instances: Instances, effort: Effort) -> Timing:
    """Time a method on the first of the instances; calls that compile and warm up are not counted."""
    clock = time.process_time if method.clock == "cpu" else time.perf_counter
    share = question.targets_per_pool or 1
    batch = _whole(LEAST, share)
    _timed(method, _given(instances, batch, share), 1, clock)
    while (spent := _timed(method, _given(instances, batch, share), 1, clock)[0]) < effort.seconds / 8:
        if 4 * batch > effort.most_rows:
            break
        batch *= 4
    wanted = 1.1 * batch * effort.seconds / max(spent, 1e-6)
    batch = _whole(min(max(LEAST, math.ceil(wanted)), effort.most_rows), share)
    calls = max(1, math.ceil(wanted / batch))
    given = _given(instances, batch, share)
    each = [_timed(method, given, calls, clock) for _ in range(effort.repetitions)]
    best = min(seconds for seconds, _ in each) / (batch * calls)
    return Timing(1e6 * best, batch, calls, method.facts(each[-1][1]))


def _whole(count: int, share: int) -> int:
    """At least `count` instances, in whole pools."""
    return -(-count // share) * share


def _given(instances: Instances, batch: int, share: int) -> tuple[Ints, Ints]:
    items, targets = instances.first(batch)
    return items[: -(-batch // share)], targets


def _timed(
    method: Method, given: tuple[Ints, Ints], calls: int, clock: Callable[[], float]
) -> tuple[float, object]:  # fmt: skip
    start = clock()
    for _ in range(calls):
        result = method.call(*given)
    return clock() - start, result


@dataclass
class Agreement:
    """The facts that several methods found about the same instances; the only mutable thing here.

    >>> agreement = Agreement("exact minimum, n = 8")
    >>> agreement.add("a", np.array([[3], [1], [4]]))
    >>> agreement.add("b", np.array([[3], [1]]))
    >>> agreement.verified
    {'a': 2, 'b': 2}
    >>> agreement.add("c", np.array([[3], [2]]))
    Traceback (most recent call last):
    AssertionError: exact minimum, n = 8: a finds [1] for instance 1 and c finds [2]: trust neither
    """

    title: str
    facts: dict[str, Ints] = field(default_factory=dict)

    def add(self, name: str, facts: Ints) -> None:
        """Compare with every other method on the instances that both have.

        Raises:
            AssertionError: they differ.
        """
        for other, theirs in self.facts.items():
            both = min(len(facts), len(theirs))
            wrong = np.flatnonzero((facts[:both] != theirs[:both]).any(axis=1))
            if wrong.size:
                at = int(wrong[0])
                raise AssertionError(
                    f"{self.title}: {other} finds {theirs[at].tolist()} for instance {at} and {name} finds "
                    f"{facts[at].tolist()}: trust neither"
                )
        self.facts[name] = facts

    @property
    def verified(self) -> dict[str, int]:
        """How many instances of each method's timed batch were compared with another method."""
        lengths = {name: len(facts) for name, facts in self.facts.items()}
        return {
            name: max((min(length, other) for them, other in lengths.items() if them != name), default=0)
            for name, length in lengths.items()
        }
