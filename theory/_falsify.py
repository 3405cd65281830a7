"""Exact statistics of a claim's trials: a verdict on a theorem, and how loose its bound is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from scipy import stats

from theory._draws import Draws

if TYPE_CHECKING:
    from theory._theorem import Theorem

__all__ = ["Looseness", "Report", "Verdict", "falsify", "interval", "looseness", "p_value", "trial_seeds", "verdict"]

# Seeds per call of the claim's `run`, so that progress can be shown.
_CHUNK = 50


class Verdict(Enum):
    """What the trials say about a claim; the text is the help."""

    HOLDS_SO_FAR = "failures are not more frequent than the claim allows, as far as these trials can tell"
    FALSIFIED = "failures are more frequent than the claim allows, beyond chance"
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

    What is judged is either that the construction delivers (then a trial counts against it when it failed or was
    missed) or that what it looks for exists (then only when it failed, and missed trials are held to say nothing).

    Attributes:
        key: the theorem's key.
        params: every parameter of the claim.
        trials: how many were run.
        failures: trials whose conclusion is false for certain.
        missed: trials in which the construction did not deliver what exists, or may exist.
        undecided: trials that say nothing.
        judges_construction: whether missed trials count.
        delta: failure probability that the theorem allows.
        alpha: level of the test.
        p_value: P[Binomial(trials, delta) >= counted].
        low, high: 99 % Clopper-Pearson interval of the probability that a trial counts.
        verdict: what follows.
        seconds: wall clock.
        setting: the parameters in words, with the numbers that the bound gives.
        examples: some trials that did not succeed, with their seeds.
    """

    key: str
    params: dict[str, Any]
    trials: int
    failures: int
    missed: int
    undecided: int
    judges_construction: bool
    delta: float
    alpha: float
    p_value: float
    low: float
    high: float
    verdict: Verdict
    seconds: float
    setting: str
    examples: tuple[str, ...]

    @property
    def counted(self) -> int:
        """Trials that count against what is judged."""
        return self.failures + self.missed if self.judges_construction else self.failures

    @property
    def checked(self) -> int:
        """Trials whose conclusion was checked and holds."""
        return self.trials - self.failures - self.missed - self.undecided

    def text(self) -> str:
        """Return the report for a reader, in a few lines."""
        missed = ""
        if self.missed:
            how = "counted as failures" if self.judges_construction else "not counted: existence alone is judged"
            missed = f", {self.missed} missed by the construction ({how})"
        lines = [
            f"{self.key}: {self.verdict.name.replace('_', ' ').lower()} ({self.verdict.value})",
            f"  setting: {self.setting}",
            f"  {self.failures} failures in {self.trials} trials{missed}"
            + (f", {self.undecided} undecided" if self.undecided else "")
            + f", {self.checked} checked and found to hold; the theorem allows {self.delta:.3g} per trial",
            f"  failure probability: 99 % interval [{self.low:.3g}, {self.high:.3g}]; "
            f"P[Bin >= {self.counted}] = {self.p_value:.3g}, falsified at <= {self.alpha:.3g}; {self.seconds:.1f} s",
            *self._what_is_falsified(),
            *(f"  {example}" for example in self.examples if self.verdict is not Verdict.HOLDS_SO_FAR),
        ]
        return "\n".join(lines)

    def _what_is_falsified(self) -> tuple[str, ...]:
        if self.verdict is not Verdict.FALSIFIED or p_value(self.trials, self.failures, self.delta) <= self.alpha:
            return ()
        return (
            "  falsified is that the construction finds it so often; that it exists so often is not: "
            f"{self.failures} failures alone would be no surprise",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; what depends on the machine stands under "measured"."""
        value = asdict(self)
        value["measured"] = {"seconds": value.pop("seconds")}
        return {**value, "checked": self.checked, "verdict": self.verdict.name, "examples": list(self.examples)}


def trial_seeds(seed: int, trials: int) -> list[int]:
    """Return one 63-bit seed per trial; the first ones do not depend on how many are asked for.

    >>> trial_seeds(0, 2) == trial_seeds(0, 5)[:2]
    True
    """
    return [word >> 1 for word in Draws(seed).bits("trials", trials).tolist()]


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
    probability of so many failures is at most alpha. Undecided trials are not counted as failures; trials that the
    construction missed are, unless the claim judges existence alone.

    Args:
        theorem: what to test; it must have a claim.
        trials: number of independent trials.
        seed: makes the run reproducible, 0..2^64-1.
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
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be an integer in 0..2^64-1, got {seed!r}")
    claim = theorem.claim
    resolved = claim.resolve(**params)
    delta = claim.failure_probability(**params)
    setting = claim.describe(**params)
    started = time.perf_counter()
    seeds = trial_seeds(seed, trials)
    failures = missed = undecided = 0
    examples: list[str] = []
    for first in range(0, trials, _CHUNK):
        tally = claim.run(seeds[first : first + _CHUNK], **params)
        failures, missed, undecided = failures + tally.failures, missed + tally.missed, undecided + tally.undecided
        examples += tally.examples[: 5 - len(examples)]
        if progress is not None:
            progress(min(first + _CHUNK, trials), trials)
    judges_construction = claim.judges_construction(**params)
    counted = failures + missed if judges_construction else failures
    low, high = interval(trials, counted)
    return Report(
        key=theorem.key,
        params=resolved,
        trials=trials,
        failures=failures,
        missed=missed,
        undecided=undecided,
        judges_construction=judges_construction,
        delta=delta,
        alpha=alpha,
        p_value=p_value(trials, counted, delta),
        low=low,
        high=high,
        verdict=verdict(trials, counted, undecided, delta, alpha),
        seconds=time.perf_counter() - started,
        setting=setting,
        examples=tuple(examples),
    )


@dataclass(frozen=True)
class Looseness:
    """Which optimistic twins of a bound trials of this number and level contradict.

    That a twin was not falsified does not mean that it is true: its failures may be more frequent than delta, but not
    so much that these trials show it; the interval of each row says what they do show.

    Attributes:
        key: the theorem's key.
        rows: (factor, report) of each optimistic twin that was run, in increasing order of the factor.
        largest_not_falsified: largest factor whose trials could have falsified it and did not; 0 when there is none.
        falsified_at: smallest factor that was falsified; None when the list of factors ended before.
        ended: why no further factor was tried, where none was falsified.
    """

    key: str
    rows: tuple[tuple[float, Report], ...]
    largest_not_falsified: float
    falsified_at: float | None
    ended: str = "the list of factors ended"

    def text(self) -> str:
        """Return the table for a reader."""
        lines = [f"{self.key}: the bound divided by a factor; trials that count against it, with 99 % interval"]
        for factor, report in self.rows:
            missed = f" ({report.missed} of them missed)" if report.missed and report.judges_construction else ""
            lines.append(
                f"  / {factor:<6g} {report.counted:>6} of {report.trials}{missed} "
                f"[{report.low:.3g}, {report.high:.3g}] (allowed {report.delta:.3g}), p = {report.p_value:.3g}: "
                f"{report.verdict.name.replace('_', ' ').lower()}; {report.setting}"
            )
        report = self.rows[-1][1]
        trials = f"by {report.trials} trials each at alpha = {report.alpha:g}"
        if self.falsified_at is None:
            lines.append(f"  no factor broke it, {trials}: {self.ended} at {self.rows[-1][0]:g}")
        elif self.largest_not_falsified:
            lines.append(
                f"  not falsified up to {self.largest_not_falsified:g}, falsified at {self.falsified_at:g}, {trials}"
            )
        else:
            lines.append(f"  falsified at {self.falsified_at:g}, {trials}; no smaller factor was tried with power")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "key": self.key,
            "rows": [{"factor": factor, **report.to_json()} for factor, report in self.rows],
            "largest_not_falsified": self.largest_not_falsified,
            "falsified_at": self.falsified_at,
            "ended": self.ended if self.falsified_at is None else "",
        }


def looseness(
    theorem: Theorem,
    *,
    factors: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
    trials: int = 200,
    seed: int = 0,
    alpha: float = 1e-6,
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
        seconds: no further factor is begun when twice the time so far would exceed this.
        **params: parameters of the claim.
    """
    if theorem.claim is None:
        raise ValueError(f"{theorem.key} has no claim to falsify")
    if not factors or any(not math.isfinite(f) or f < 1.0 for f in factors) or list(factors) != sorted(factors):
        raise ValueError(f"factors must be increasing numbers >= 1, got {list(factors)}")
    rows: list[tuple[float, Report]] = []
    standing, falsified_at, ended = 0.0, None, Looseness.ended
    started = time.perf_counter()
    for factor in factors:
        if rows and 2.0 * (time.perf_counter() - started) > seconds:
            ended = "time was up"
            break
        twin = theorem.claim.optimistic(float(factor), **params)
        try:
            report = falsify(theorem, trials=trials, seed=seed, alpha=alpha, **twin)
        except ValueError as error:
            if not rows:
                raise
            ended = f"the next twin makes no claim ({error}), so the list ended"
            break
        rows.append((float(factor), report))
        if report.verdict is Verdict.FALSIFIED:
            falsified_at = float(factor)
            break
        if report.verdict is Verdict.HOLDS_SO_FAR:
            standing = float(factor)
    return Looseness(theorem.key, tuple(rows), standing, falsified_at, ended)
