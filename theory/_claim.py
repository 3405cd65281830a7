"""`AbstractClaim`: the part of a theorem that an experiment can contradict."""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = [
    "AbstractClaim",
    "Outcome",
    "Tally",
    "Trial",
    "check_choice",
    "check_factor",
    "check_whole",
    "in_turn",
    "setting",
]


class Outcome(Enum):
    """What one trial shows; the text is the help."""

    SUCCESS = "the conclusion was checked in this trial, and holds for certain"
    FAILURE = "the conclusion is false in this trial, for certain"
    MISSED = "the construction did not deliver; what it looks for exists, or is at least not excluded"
    UNDECIDED = "the trial's arithmetic or solver could not decide; it counts neither way"


@dataclass(frozen=True)
class Trial:
    """One trial: its outcome, and what was seen.

    Attributes:
        outcome: what the trial shows.
        detail: what was drawn and what happened, for the reader of a report.
    """

    outcome: Outcome
    detail: str

    @property
    def success(self) -> bool:
        """Whether the conclusion was checked and holds."""
        return self.outcome is Outcome.SUCCESS


@dataclass(frozen=True)
class Tally:
    """Many trials: counts, and a few of the trials that did not succeed.

    Attributes:
        trials: how many were run.
        failures, missed, undecided: how many of them had that outcome; all others were checked and hold.
        examples: details of up to five trials that did not succeed, with their seeds.
    """

    trials: int
    failures: int
    missed: int
    undecided: int
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, trials: Iterable[tuple[int, Trial]]) -> Tally:
        """Count trials, each given with its seed.

        >>> Tally.of([(7, Trial(Outcome.SUCCESS, "")), (8, Trial(Outcome.FAILURE, "off by 1"))])
        Tally(trials=2, failures=1, missed=0, undecided=0, examples=('seed 8: failure: off by 1',))
        """
        counts: Counter[Outcome] = Counter()
        examples: list[str] = []
        for seed, trial in trials:
            counts[trial.outcome] += 1
            if not trial.success and len(examples) < 5:
                examples.append(f"seed {seed}: {trial.outcome.name.lower()}: {trial.detail}")
        failures, missed, undecided = (counts[o] for o in (Outcome.FAILURE, Outcome.MISSED, Outcome.UNDECIDED))
        return cls(counts.total(), failures, missed, undecided, tuple(examples))

    def __add__(self, other: Tally) -> Tally:
        """Return the trials of both; the examples are the first five.

        >>> Tally(2, 1, 0, 0, ("a",)) + Tally(3, 0, 1, 1, ("b", "c"))
        Tally(trials=5, failures=1, missed=1, undecided=1, examples=('a', 'b', 'c'))
        """
        return Tally(
            self.trials + other.trials,
            self.failures + other.failures,
            self.missed + other.missed,
            self.undecided + other.undecided,
            (self.examples + other.examples)[:5],
        )


class AbstractClaim(ABC):
    """A statement "this fails with probability at most delta", as an experiment.

    A trial draws everything anew from its seed, targets inside the hypotheses (adversarial kinds too), runs the
    construction, and reports a failure only when it is certain, so that a theorem is never called falsified because
    a solver gave up. Where a construction gives up on what exists, the trial is `MISSED`: it counts against a claim
    that the construction finds it, and does not count against a claim that it exists; `judges_construction` says which
    of the two is judged, and reports show both numbers.

    A claim has `text`, `defaults`: its parameters with the values used when none are given, and `by_bound`: the
    parameters among them that the bound gives unless they are given.
    """

    text: str
    defaults: Mapping[str, Any]
    by_bound: tuple[str, ...] = ()

    @abstractmethod
    def trial(self, seed: int, **params: Any) -> Trial:
        """Run one trial; parameters not given take their defaults."""

    def optimistic(self, factor: float, /, **params: Any) -> dict[str, Any]:
        """Return the parameters of the optimistic twin, whose bound is better by this factor (>= 1).

        The parameter `factor` is multiplied by it, and what the bound gives is given by the better bound.
        """
        own = {**self.defaults, **params}["factor"]
        return {**params, **dict.fromkeys(self.by_bound), "factor": own * factor}

    def failure_probability(self, **params: Any) -> float:
        """Return the probability that the theorem allows a trial to fail."""
        return float(self.resolve(**params)["delta"])

    def judges_construction(self, **params: Any) -> bool:
        """Whether missed trials count as failures; they do unless a claim says otherwise."""
        return True

    def describe(self, **params: Any) -> str:
        """Return in words what the parameters amount to, with the numbers the bound gives."""
        return ", ".join(f"{name} = {value}" for name, value in self.resolve(**params).items())

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked; None stands for "by the bound".

        Raises:
            TypeError: the claim has no such parameter.
            ValueError: a number is NaN or infinite, or eps or delta lies outside (0, 1).
        """
        unknown = sorted(set(params) - set(self.defaults))
        if unknown:
            raise TypeError(f"this claim has no parameter {', '.join(unknown)}; it takes {', '.join(self.defaults)}")
        resolved = {**self.defaults, **params}
        for name, value in resolved.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
        for name in ("eps", "delta"):
            if name in resolved and not 0.0 < resolved[name] < 1.0:
                raise ValueError(f"{name} must lie in (0, 1), got {name} = {resolved[name]}")
        return resolved

    def run(self, seeds: Sequence[int], **params: Any) -> Tally:
        """Run one trial per seed; a claim whose trials batch well overrides this."""
        return Tally.of((seed, self.trial(seed, **params)) for seed in seeds)


def check_factor(p: Mapping[str, Any]) -> None:
    """Refuse a factor of a twin below 1.

    Raises:
        ValueError: saying what was got.
    """
    if not p["factor"] >= 1.0:
        raise ValueError(f"factor must be >= 1, got {p['factor']}")


def check_choice(p: Mapping[str, Any], name: str, known: Sequence[str]) -> None:
    """Refuse a value that is not one of those known; the first of them is named apart.

    Raises:
        ValueError: naming the parameter and the values known.
    """
    if p[name] not in known:
        first, *others = known
        raise ValueError(f"{name} is {first!r} or one of {', '.join(others)}, got {p[name]!r}")


def check_whole(p: Mapping[str, Any], name: str, least: int = 1, most: int | None = None) -> int:
    """Return a parameter that must be a whole number in a range.

    Raises:
        ValueError: naming the parameter, its range, and what was got.
    """
    value = p[name]
    high = math.inf if most is None else most
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= high:
        span = f">= {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be an integer {span}, got {value!r}")
    return value


def in_turn(chosen: str, kinds: Sequence[str], seed: int) -> str:
    """Return the kind that is chosen, or of "mixed" the one whose turn it is.

    >>> [in_turn("mixed", ("a", "b"), seed) for seed in (0, 1, 2)], in_turn("b", ("a", "b"), 0)
    (['a', 'b', 'a'], 'b')
    """
    return kinds[seed % len(kinds)] if chosen == "mixed" else chosen


def setting(text: str) -> tuple[str, Any]:
    """Return the name and the value of a parameter that is written name=value.

    Raises:
        ValueError: it is not written so.

    >>> setting("items=20"), setting("kind=zero"), setting("sizes=(3, 3, 2)")
    (('items', 20), ('kind', 'zero'), ('sizes', (3, 3, 2)))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"a parameter is set by name=value, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
