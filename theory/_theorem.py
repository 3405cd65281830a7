"""`Theorem`: statement, bounds, proof steps that a machine checks, citations, and a claim to break.

Trials of the claim are run by `falsify`, those that were run elsewhere are read by `judge`, and `looseness` runs the
claim's optimistic twins.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binom

from strongticket import bounds
from strongticket.statistics import Decision, Evidence, anytime_interval, interval, p_value
from theory._claim import AbstractClaim, Tally
from theory._report import CONFIDENCE, Looseness, Report, Verdict, judged
from theory._trials import run_trials

__all__ = [
    "Assumption",
    "ProofStep",
    "StepResult",
    "Theorem",
    "check_all",
    "falsify",
    "judge",
    "looseness",
]


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


def falsify(
    theorem: Theorem,
    *,
    trials: int = 2000,
    seed: int = 0,
    alpha: float = 1e-6,
    sequential: bool = False,
    family: int = 1,
    progress: Callable[[int, int], None] | None = None,
    **params: Any,
) -> Report:
    """Try to falsify a theorem: run its claim, count the failures, compare them with what it allows.

    The hypothesis tested is "a trial fails with probability at most delta"; it is rejected when the exact binomial
    probability of so many failures is at most alpha. Undecided trials are not counted as failures; trials that the
    construction missed are, unless the claim judges existence alone.

    A sequential test stops as soon as the verdict is sure, either way, and keeps the probability of a wrong one below
    alpha in spite of all its looks (`strongticket.statistics.SequentialTest`). Only it can say HOLDS: that a trial
    fails with probability below delta. That takes about log(1/alpha) / delta trials without a failure, so that of a
    tiny delta HOLDS_SO_FAR is all that can be had.

    Args:
        theorem: what to test; it must have a claim.
        trials: number of independent trials; of a sequential test, the most.
        seed: makes the run reproducible, 0..2^64-1.
        alpha: level; a true theorem is called falsified with probability at most alpha.
        sequential: stop as soon as the verdict is sure.
        family: how many claims are checked together, this one included: the verdict is sure at alpha / family. Give
            their reports to `adjusted`.
        progress: called with (done, trials) now and then.
        **params: parameters of the claim; see `theorem.claim.defaults`.

    Raises:
        ValueError: the theorem has no claim, or trials, alpha, seed or family make no sense.
    """
    tally, evidence, seconds = run_trials(
        _claim(theorem),
        trials=trials,
        seed=seed,
        alpha=alpha,
        sequential=sequential,
        family=family,
        progress=progress,
        **params,
    )
    return judge(
        theorem,
        tally,
        alpha=alpha,
        evidence=evidence,
        planned=trials,
        family=family,
        seconds=seconds,
        **params,
    )


def judge(
    theorem: Theorem,
    tally: Tally,
    *,
    alpha: float = 1e-6,
    evidence: Evidence | None = None,
    planned: int | None = None,
    family: int = 1,
    seconds: float = 0.0,
    **params: Any,
) -> Report:
    """Return the report of trials that were run, here or elsewhere, at one time or in parts.

    Args:
        theorem: what was tested; it must have a claim.
        tally: all its trials.
        alpha: level.
        evidence: of the looks of a sequential test; None: the number of trials was fixed beforehand.
        planned: trials that were asked for; None: those of the tally.
        family: how many claims are checked together.
        seconds: that they took.
        **params: parameters of the claim.
    """
    claim = _claim(theorem)
    delta = claim.failure_probability(**params)
    construction = claim.judges_construction(**params)
    n, counted = tally.trials, tally.failures + tally.missed * construction
    worst = counted + tally.undecided
    if evidence is None:
        low, high = interval(n, counted, CONFIDENCE)
        p, at_worst, holds = p_value(n, counted, delta), p_value(n, worst, delta), float(binom.cdf(worst, n, delta))
    else:
        low, high = anytime_interval(n, counted, CONFIDENCE)
        p, at_worst, holds = evidence.p_value, evidence.p_value_at_worst, evidence.p_value_holds
    return judged(
        Report(
            key=theorem.key,
            params=claim.resolve(**params),
            trials=n,
            failures=tally.failures,
            missed=tally.missed,
            undecided=tally.undecided,
            judges_construction=construction,
            delta=delta,
            alpha=alpha,
            p_value=p,
            low=low,
            high=high,
            verdict=Verdict.INCONCLUSIVE,
            seconds=seconds,
            setting=claim.describe(**params),
            examples=tally.examples,
            planned=n if planned is None else planned,
            sequential=evidence is not None,
            stopped=_STOPPED[evidence.decision if evidence else None],
            p_value_at_worst=at_worst,
            p_value_holds=holds,
            family=family,
            p_adjusted=min(1.0, family * p),
        )
    )


_STOPPED = {
    None: "all trials that were asked for were run",
    Decision.GO_ON: "stopped at the last trial that was asked for, with nothing sure",
    Decision.FALSIFIED: "stopped as it was sure that failures are more frequent than allowed",
    Decision.HOLDS: "stopped as it was sure that failures are less frequent than allowed",
}


def _claim(theorem: Theorem) -> AbstractClaim:
    if theorem.claim is None:
        raise ValueError(f"{theorem.key} has no claim to falsify")
    return theorem.claim


def looseness(
    theorem: Theorem,
    *,
    factors: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
    trials: int = 200,
    seed: int = 0,
    alpha: float = 1e-6,
    sequential: bool = False,
    seconds: float = math.inf,
    **params: Any,
) -> Looseness:
    """Run optimistic twins of a theorem, its bound divided by each factor, until one is falsified.

    Args:
        theorem: what to test.
        factors: factors >= 1, increasing.
        trials: trials per factor.
        seed: makes the run reproducible.
        alpha: level of each test.
        sequential: stop the trials of each factor as soon as its verdict is sure.
        seconds: no further factor is begun when twice the time so far would exceed this.
        **params: parameters of the claim.
    """
    claim = _claim(theorem)
    if not factors or any(not math.isfinite(f) or f < 1.0 for f in factors) or list(factors) != sorted(factors):
        raise ValueError(f"factors must be increasing numbers >= 1, got {list(factors)}")
    rows: list[tuple[float, Report]] = []
    standing, falsified_at, ended = 0.0, None, Looseness.ended
    started = time.perf_counter()
    for factor in factors:
        if rows and 2.0 * (time.perf_counter() - started) > seconds:
            ended = "time was up"
            break
        twin = claim.optimistic(float(factor), **params)
        try:
            report = falsify(theorem, trials=trials, seed=seed, alpha=alpha, sequential=sequential, **twin)
        except ValueError as error:
            if not rows:
                raise
            ended = f"the next twin makes no claim ({error}), so the list ended"
            break
        rows.append((float(factor), report))
        if report.verdict is Verdict.FALSIFIED:
            falsified_at = float(factor)
            break
        if report.verdict in (Verdict.HOLDS, Verdict.HOLDS_SO_FAR):
            standing = float(factor)
    return Looseness(theorem.key, tuple(rows), standing, falsified_at, ended)
