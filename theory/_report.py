"""What a report of trials says: the verdict on a claim, alone or among several, for a reader and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from strongticket.statistics import SequentialTest, holm, p_value

__all__ = ["CONFIDENCE", "Looseness", "Report", "Verdict", "adjusted", "judged", "verdict"]

CONFIDENCE = 0.99


class Verdict(Enum):
    """What the trials say about a claim; the text is the help."""

    HOLDS = "failures are less frequent than the claim allows, beyond chance"
    HOLDS_SO_FAR = "failures are not more frequent than the claim allows, as far as these trials can tell"
    FALSIFIED = "failures are more frequent than the claim allows, beyond chance"
    INCONCLUSIVE = "no outcome of these trials could have falsified it, or undecided trials could tip it: run more"


def verdict(trials: int, failures: int, undecided: int, delta: float, alpha: float) -> Verdict:
    """Return the verdict of a fixed number of trials: a true theorem is called falsified with probability <= alpha.

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
        alpha: level of the test: each sure verdict is wrong with at most this probability; in a family, any of them.
        p_value: of "a trial counts with probability <= delta": P[Binomial(trials, delta) >= counted], or of a
            sequential test, valid whenever it stops.
        low, high: interval of the probability that a trial counts: Clopper and Pearson's, or of a sequential test,
            valid whenever it stops.
        verdict: what follows.
        seconds: wall clock.
        setting: the parameters in words, with the numbers that the bound gives.
        examples: some trials that did not succeed, with their seeds.
        planned: trials asked for; of a sequential test, the most that it may take.
        sequential: whether trials ended as soon as the verdict was sure.
        stopped: why no more trials were run.
        p_value_at_worst: the p-value if all undecided trials had counted against the claim.
        p_value_holds: of "a trial counts with probability >= delta", undecided trials counted against the claim.
        confidence: of the interval.
        family: how many claims were checked together.
        p_adjusted: the p-value adjusted for all of them by Holm's method.
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
    planned: int
    sequential: bool
    stopped: str
    p_value_at_worst: float
    p_value_holds: float
    confidence: float = CONFIDENCE
    family: int = 1
    p_adjusted: float = 1.0

    @property
    def counted(self) -> int:
        """Trials that count against what is judged."""
        return self.failures + self.missed if self.judges_construction else self.failures

    @property
    def checked(self) -> int:
        """Trials whose conclusion was checked and holds."""
        return self.trials - self.failures - self.missed - self.undecided

    @property
    def saved(self) -> int:
        """Trials asked for that need not be run, as the verdict was sure."""
        return self.planned - self.trials

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
            *self._numbers(),
            *self._family(),
            *self._what_is_falsified(),
            *(f"  {example}" for example in self.examples if self.verdict not in _GOOD),
        ]
        return "\n".join(lines)

    def _numbers(self) -> tuple[str, ...]:
        interval = f"  failure probability: {100 * self.confidence:g} % interval [{self.low:.3g}, {self.high:.3g}]"
        if not self.sequential:
            falsified = "falsified at" if self.family == 1 else "falsified if p after Holm is"
            return (
                f"{interval}; P[Bin >= {self.counted}] = {self.p_value:.3g}, {falsified} <= {self.alpha:.3g}; "
                f"{self.seconds:.1f} s",
            )
        level = f"{self.alpha:.3g}" + (f" / {self.family} (claims)" if self.family > 1 else "")
        stopped = f"  {self.stopped}; {self.saved} of {self.planned} trials saved; {self.seconds:.1f} s"
        numbers = (
            f"{interval}, p = {self.p_value:.3g} for at most {self.delta:.3g}, "
            f"p = {self.p_value_holds:.3g} for no less",
            f"  interval and both p are valid at any time of stopping; sure is p <= {level}",
            stopped,
        )
        return numbers + self._reach()

    def _reach(self) -> tuple[str, ...]:
        """How far away it is to be sure that it holds, where that was out of reach."""
        if self.verdict is not Verdict.HOLDS_SO_FAR or self.delta == 1.0:
            return ()
        least = SequentialTest(self.delta, self.alpha / self.family, cap=self.planned).least_trials_to_hold
        if least is None and self.delta > 0.0:
            return ("  to be sure that it holds was out of reach: that takes more than 1e298 trials",)
        if least is None:
            return ("  no number of trials could show for sure that it holds: nothing is allowed to fail, ever",)
        if least <= self.planned:
            return ()
        return (f"  to be sure that it holds was out of reach: that takes {least} trials, all without a failure",)

    def _family(self) -> tuple[str, ...]:
        if self.family == 1:
            return ()
        return (
            f"  one of {self.family} claims checked together: p = {self.p_adjusted:.3g} after Holm, so that any true "
            f"one is called falsified with probability <= {self.alpha:.3g}",
        )

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
        return {
            **value,
            "checked": self.checked,
            "saved": self.saved,
            "verdict": self.verdict.name,
            "examples": list(self.examples),
        }


_GOOD = (Verdict.HOLDS, Verdict.HOLDS_SO_FAR)


def judged(report: Report) -> Report:
    """Return the report with the verdict that follows from its p-values.

    Of a family it has Bonferroni's share of the level, alone; what Holm's method adds depends on the other reports, and
    comes as `p_adjusted`.
    """
    level = report.alpha / report.family
    if report.sequential:
        most = SequentialTest(report.delta, level, cap=report.planned)
        least = float(most.p_values(report.planned, report.planned))
    else:
        least = p_value(report.trials, report.trials, report.delta)
    if report.p_value <= level or report.p_adjusted <= report.alpha:
        found = Verdict.FALSIFIED
    elif report.sequential and report.p_value_holds <= level:
        found = Verdict.HOLDS
    elif least > level or (report.undecided and report.p_value_at_worst <= report.alpha):
        # of the largest p-value of a family Holm's method asks for no more than alpha
        found = Verdict.INCONCLUSIVE
    else:
        found = Verdict.HOLDS_SO_FAR
    return replace(report, verdict=found)


def adjusted(reports: Sequence[Report]) -> tuple[Report, ...]:
    """Return reports of claims that were checked together, with p-values and verdicts adjusted for their number.

    With probability at least 1 - alpha no true claim among them is called falsified, however they depend on each other
    (Holm's method). A sequential test among them must have been told the size of the family when it ran, or it
    stopped too early to be sure.

    Raises:
        ValueError: the reports have different levels, or a sequential one was run for another number of claims.
    """
    if len({report.alpha for report in reports}) > 1:
        raise ValueError(f"expected reports at one level, got {sorted({report.alpha for report in reports})}")
    for report in reports:
        if report.sequential and report.family != len(reports):
            raise ValueError(
                f"{report.key} was tested sequentially as one of {report.family} claims, not of {len(reports)}: run it "
                f"again with family={len(reports)}"
            )
    found = holm([report.p_value for report in reports])
    return tuple(
        judged(replace(report, family=len(reports), p_adjusted=p)) for report, p in zip(reports, found, strict=True)
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
