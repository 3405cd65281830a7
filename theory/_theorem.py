"""`Theorem`: statement, bounds, proof steps that a machine checks, citations, and a claim to break."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from strongticket import bounds
from theory._claim import AbstractClaim
from theory._falsify import Looseness, Report, falsify, looseness

__all__ = ["Assumption", "ProofStep", "StepResult", "Theorem", "check_all"]


@dataclass(frozen=True)
class ProofStep:
    """One step of a proof that sympy or exact arithmetic can check, by a computation that could come out false.

    Attributes:
        name: short name.
        statement: what is shown, and by what means it is checked.
        check: returns True when the step holds.
        general: whether the check covers all values of the statement; else it covers the cases that the statement
            names, exactly, and the general argument is in words (see the theorem's assumptions).
    """

    name: str
    statement: str
    check: Callable[[], bool]
    general: bool = True

    def run(self, theorem: str = "") -> StepResult:
        """Check the step; an exception in the check counts as not passed, and is reported."""
        started = time.perf_counter()
        try:
            passed, error = bool(self.check()), ""
        except Exception as problem:  # a step that cannot be evaluated is not proved
            passed, error = False, f"{type(problem).__name__}: {problem}"
        return StepResult(self, passed, error, time.perf_counter() - started, theorem)


@dataclass(frozen=True)
class StepResult:
    """Whether a proof step holds: `passed`, the error of a check that broke, the seconds, and whose step it is."""

    step: ProofStep
    passed: bool
    error: str
    seconds: float
    theorem: str


@dataclass(frozen=True)
class Assumption:
    """A step that no machine checks here.

    Attributes:
        statement: what is taken for granted.
        citation: where it is proved.
    """

    statement: str
    citation: str


@dataclass(frozen=True)
class Theorem:
    """A theorem with everything needed to read it, use it and try to break it.

    Attributes:
        key: `"<paper>.<name>"`.
        title: one line.
        statement: the whole statement.
        hypotheses: each hypothesis, in words.
        bound_keys: keys of its formulas in `strongticket.bounds`, the main one first.
        status: what was checked, and how; what is ours and what is the paper's.
        steps: its own proof steps that a machine can check.
        lemmas: theorems that the proof rests on; their steps are not listed again.
        assumptions: what is argued in words or cited instead.
        claim: the experiment; None for a theorem that has none.
        formulas: bounds that are not in `strongticket.bounds`, of a theorem of yours outside this package.
    """

    key: str
    title: str
    statement: str
    hypotheses: tuple[str, ...]
    bound_keys: tuple[str, ...]
    status: str
    steps: tuple[ProofStep, ...] = ()
    lemmas: tuple[Theorem, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    claim: AbstractClaim | None = None
    formulas: tuple[bounds.Bound, ...] = ()

    @property
    def paper(self) -> str:
        """Key of the paper."""
        return self.key.partition(".")[0]

    @property
    def bounds(self) -> tuple[bounds.Bound, ...]:
        """The formulas, the main one first."""
        return tuple(bounds.get(key) for key in self.bound_keys) + self.formulas

    def check_steps(self) -> tuple[StepResult, ...]:
        """Check every proof step now: its own, then those of the lemmas."""
        return check_all((self,))[0]

    def all_steps(self) -> tuple[tuple[str, ProofStep], ...]:
        """Return whose step and the step: its own, then those of the lemmas."""
        own = tuple((self.key, step) for step in self.steps)
        return own + tuple(pair for lemma in self.lemmas for pair in lemma.all_steps())

    def falsify(
        self, *, trials: int = 2000, seed: int = 0, alpha: float = 1e-6, sequential: bool = False, **params: Any
    ) -> Report:
        """Try to break the theorem by experiment; see `theory.falsify`."""
        return falsify(self, trials=trials, seed=seed, alpha=alpha, sequential=sequential, **params)

    def looseness(self, **options: Any) -> Looseness:
        """Measure by which factor the bound could be better; see `theory.looseness`."""
        return looseness(self, **options)


def check_all(theorems: Sequence[Theorem]) -> tuple[tuple[StepResult, ...], ...]:
    """Check the proof steps of all these theorems; a lemma that several rest on is checked once."""
    found: dict[tuple[str, ProofStep], StepResult] = {}
    for theorem in theorems:
        for pair in theorem.all_steps():
            if pair not in found:
                found[pair] = pair[1].run(pair[0])
    return tuple(tuple(found[pair] for pair in theorem.all_steps()) for theorem in theorems)
