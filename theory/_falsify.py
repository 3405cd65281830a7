"""Run a claim's trials, with a fixed number of them or until the verdict is sure; measure how loose a bound is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy.stats import binom

from strongticket.statistics import Decision, Evidence, SequentialTest, anytime_interval, interval, p_value
from theory._claim import AbstractClaim, Tally
from theory._draws import Draws
from theory._report import CONFIDENCE, Report, Verdict, adjusted, judged, verdict

if TYPE_CHECKING:
    from theory._theorem import Theorem

__all__ = [
    "Looseness",
    "Report",
    "Verdict",
    "adjusted",
    "falsify",
    "judge",
    "looks",
    "looseness",
    "trial_seeds",
    "verdict",
]

# Seeds per call of the claim's `run`, so that progress can be shown; fewer at first, where a sequential test may stop.
_CHUNK, _FIRST_CHUNK = 50, 5


def trial_seeds(seed: int, trials: int) -> list[int]:
    """Return one 63-bit seed per trial; the first ones do not depend on how many are asked for.

    >>> trial_seeds(0, 2) == trial_seeds(0, 5)[:2]
    True
    """
    return [word >> 1 for word in Draws(seed).bits("trials", trials).tolist()]


def looks(trials: int, *, sequential: bool = False) -> Iterator[int]:
    """Yield the numbers of trials after which the counts are looked at; the last is all of them.

    >>> list(looks(120)), list(looks(120, sequential=True))[:4], list(looks(120, sequential=True))[-3:]
    ([50, 100, 120], [5, 10, 15, 20], [50, 100, 120])
    """
    done = 0
    while done < trials:
        done = min(trials, done + (_FIRST_CHUNK if sequential and done < _CHUNK else _CHUNK))
        yield done


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
    claim = _claim(theorem)
    _check_numbers(trials, seed, alpha, family)
    claim.resolve(**params)
    test = SequentialTest(claim.failure_probability(**params), alpha / family, cap=trials)
    construction = claim.judges_construction(**params)
    started, done = time.perf_counter(), 0
    seeds, tally, evidence = trial_seeds(seed, trials), Tally(0, 0, 0, 0), test.start
    for now in looks(trials, sequential=sequential):
        tally, done = tally + claim.run(seeds[done:now], **params), now
        if progress is not None:
            progress(done, trials)
        if sequential:
            counted = tally.failures + tally.missed * construction
            evidence = test.observe(evidence, trials=done, failures=counted, undecided=tally.undecided)
            if evidence.decision is not Decision.GO_ON:
                break
    seconds = time.perf_counter() - started
    return judge(
        theorem,
        tally,
        alpha=alpha,
        evidence=evidence if sequential else None,
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


def _check_numbers(trials: int, seed: int, alpha: float, family: int) -> None:
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials must be an integer >= 1, got {trials!r}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be an integer in 0..2^64-1, got {seed!r}")
    if isinstance(family, bool) or not isinstance(family, int) or family < 1:
        raise ValueError(f"family must be an integer >= 1, got {family!r}")


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
        most = "at most " if report.sequential else ""
        trials = f"by {most}{report.planned} trials each at alpha = {report.alpha:g}"
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
