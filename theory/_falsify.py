"""Exact statistics of a claim's trials: a verdict on a theorem, and how loose its bound is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from theory._theorem import Theorem

__all__ = ["Looseness", "Report", "Verdict", "falsify", "interval", "looseness", "p_value", "trial_seeds", "verdict"]

# Seeds per call of the claim's `run`, so that progress can be shown.
_CHUNK = 50


class Verdict(Enum):
    """What the trials say about a theorem; the text is the help."""

    HOLDS_SO_FAR = "failures are no more frequent than the theorem allows"
    FALSIFIED = "failures are more frequent than the theorem allows, beyond chance"
    INCONCLUSIVE = "no outcome of these trials could have falsified it, or undecided trials could tip it: run more"


def p_value(trials: int, failures: int, delta: float) -> float:
    """Return P[Binomial(trials, delta) >= failures], exactly: how surprising the failures are if the theorem holds.

    >>> p_value(3, 3, 0.5)
    0.125
    """
    if not 0 <= failures <= trials:
        raise ValueError(f"failures must lie between 0 and the {trials} trials, got {failures}")
    return 1.0 if failures == 0 else float(stats.binom.sf(failures - 1, trials, delta))


def interval(trials: int, failures: int, confidence: float = 0.99) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of the failure probability.

    >>> [round(end, 4) for end in interval(2000, 0)]
    [0.0, 0.0026]
    """
    if trials < 1 or not 0 <= failures <= trials:
        raise ValueError(f"0 <= failures <= trials and trials >= 1 are needed, got {failures} of {trials}")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if failures == 0 else float(stats.beta.ppf(tail, failures, trials - failures + 1))
    high = 1.0 if failures == trials else float(stats.beta.ppf(1.0 - tail, failures + 1, trials - failures))
    return low, high


def verdict(trials: int, failures: int, undecided: int, delta: float, alpha: float) -> Verdict:
    """Return the verdict at level alpha: a true theorem is called falsified with probability at most alpha.

    >>> verdict(2000, 40, 0, 0.01, 1e-6).name, verdict(2000, 0, 0, 0.01, 1e-6).name, verdict(2, 2, 0, 0.01, 1e-6).name
    ('HOLDS_SO_FAR', 'HOLDS_SO_FAR', 'INCONCLUSIVE')
    """
    if p_value(trials, failures, delta) <= alpha:
        return Verdict.FALSIFIED
    if p_value(trials, trials, delta) > alpha or p_value(trials, failures + undecided, delta) <= alpha:
        return Verdict.INCONCLUSIVE
    return Verdict.HOLDS_SO_FAR


@dataclass(frozen=True)
class Report:
    """The result of trying to falsify a theorem.

    Attributes:
        key: the theorem's key.
        params: every parameter of the claim.
        trials, failures, undecided: counts.
        delta: failure probability that the theorem allows.
        alpha: level of the test.
        p_value: P[Binomial(trials, delta) >= failures].
        low, high: 99 % Clopper-Pearson interval of the failure probability.
        verdict: what follows.
        seconds: wall clock.
        setting: the parameters in words, with the numbers that the bound gives.
        examples: some trials that did not succeed, with their seeds.
    """

    key: str
    params: dict[str, Any]
    trials: int
    failures: int
    undecided: int
    delta: float
    alpha: float
    p_value: float
    low: float
    high: float
    verdict: Verdict
    seconds: float
    setting: str
    examples: tuple[str, ...]

    def text(self) -> str:
        """Return the report for a reader, in a few lines."""
        lines = [
            f"{self.key}: {self.verdict.name.replace('_', ' ').lower()} ({self.verdict.value})",
            f"  setting: {self.setting}",
            f"  {self.failures} failures in {self.trials} trials"
            + (f", {self.undecided} undecided" if self.undecided else "")
            + f"; the theorem allows {self.delta:.3g} per trial",
            f"  failure probability: 99 % interval [{self.low:.3g}, {self.high:.3g}]; "
            f"P[Bin >= failures] = {self.p_value:.3g}, falsified at <= {self.alpha:.3g}; {self.seconds:.1f} s",
            *(f"  {example}" for example in self.examples if self.verdict is not Verdict.HOLDS_SO_FAR),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**asdict(self), "verdict": self.verdict.name, "examples": list(self.examples)}


def trial_seeds(seed: int, trials: int) -> list[int]:
    """Return one 63-bit seed per trial; the first ones do not depend on how many are asked for.

    >>> trial_seeds(0, 2) == trial_seeds(0, 5)[:2]
    True
    """
    words = np.random.SeedSequence(seed).generate_state(trials, np.uint64)
    return [int(word >> np.uint64(1)) for word in words]


def falsify(
    theorem: Theorem,
    *,
    trials: int = 2000,
    seed: int = 0,
    alpha: float = 1e-6,
    progress: Callable[[int, int], None] | None = None,
    **params: Any,
) -> Report:
    """Try to falsify a theorem: run its claim, count the failures, compare them with what it allows.

    The hypothesis tested is "a trial fails with probability at most delta"; it is rejected when the exact binomial
    probability of so many failures is at most alpha. Undecided trials are not counted as failures.

    Args:
        theorem: what to test; it must have a claim.
        trials: number of independent trials.
        seed: makes the run reproducible.
        alpha: level; a true theorem is called falsified with probability at most alpha.
        progress: called with (done, trials) now and then.
        **params: parameters of the claim; see `theorem.claim.defaults`.

    Raises:
        ValueError: the theorem has no claim, or trials or alpha make no sense.
    """
    if theorem.claim is None:
        raise ValueError(f"{theorem.key} has no claim to falsify")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials must be an integer >= 1, got {trials!r}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    claim = theorem.claim
    resolved = claim.resolve(**params)
    delta = claim.failure_probability(**params)
    setting = claim.describe(**params)
    started = time.perf_counter()
    seeds = trial_seeds(seed, trials)
    failures = undecided = 0
    examples: list[str] = []
    for first in range(0, trials, _CHUNK):
        tally = claim.run(seeds[first : first + _CHUNK], **params)
        failures, undecided = failures + tally.failures, undecided + tally.undecided
        examples += tally.examples[: 5 - len(examples)]
        if progress is not None:
            progress(min(first + _CHUNK, trials), trials)
    low, high = interval(trials, failures)
    return Report(
        key=theorem.key,
        params=resolved,
        trials=trials,
        failures=failures,
        undecided=undecided,
        delta=delta,
        alpha=alpha,
        p_value=p_value(trials, failures, delta),
        low=low,
        high=high,
        verdict=verdict(trials, failures, undecided, delta, alpha),
        seconds=time.perf_counter() - started,
        setting=setting,
        examples=tuple(examples),
    )


@dataclass(frozen=True)
class Looseness:
    """By which factor a bound could be better before experiments contradict it.

    Attributes:
        key: the theorem's key.
        rows: (factor, report) of each optimistic twin that was run, in increasing order of the factor.
        largest_surviving: largest factor that was not falsified (0 when even the bound itself was).
        broken_at: smallest factor that was falsified; None when none was.
    """

    key: str
    rows: tuple[tuple[float, Report], ...]
    largest_surviving: float
    broken_at: float | None

    def text(self) -> str:
        """Return the table for a reader."""
        lines = [f"{self.key}: looseness"]
        for factor, report in self.rows:
            lines.append(
                f"  / {factor:<6g} {report.failures:>6} of {report.trials} failed, p = {report.p_value:<9.3g} "
                f"{report.verdict.name.lower():<13} {report.setting}"
            )
        if self.broken_at is None:
            lines.append("  no factor tried breaks the bound within these trials")
        else:
            lines.append(f"  loose by a factor of at least {self.largest_surviving:g}, below {self.broken_at:g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "key": self.key,
            "rows": [{"factor": factor, **report.to_json()} for factor, report in self.rows],
            "largest_surviving": self.largest_surviving,
            "broken_at": self.broken_at,
        }


def looseness(
    theorem: Theorem,
    *,
    factors: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
    trials: int = 200,
    seed: int = 0,
    alpha: float = 1e-6,
    **params: Any,
) -> Looseness:
    """Run optimistic twins of a theorem, its bound divided by each factor, until one is falsified.

    Args:
        theorem: what to test.
        factors: factors >= 1, increasing.
        trials: trials per factor.
        seed: makes the run reproducible.
        alpha: level of each test.
        **params: parameters of the claim.
    """
    if theorem.claim is None:
        raise ValueError(f"{theorem.key} has no claim to falsify")
    if not factors or any(not math.isfinite(f) or f < 1.0 for f in factors) or list(factors) != sorted(factors):
        raise ValueError(f"factors must be increasing numbers >= 1, got {list(factors)}")
    rows: list[tuple[float, Report]] = []
    surviving, broken = 0.0, None
    for factor in factors:
        twin = theorem.claim.optimistic(float(factor), **params)
        report = falsify(theorem, trials=trials, seed=seed, alpha=alpha, **twin)
        rows.append((float(factor), report))
        if report.verdict is Verdict.FALSIFIED:
            broken = float(factor)
            break
        if report.verdict is Verdict.HOLDS_SO_FAR:
            surviving = float(factor)
    return Looseness(theorem.key, tuple(rows), surviving, broken)
