"""Stop trials of a claim as soon as its verdict is sure, with the probability of a wrong one kept below alpha.

The claim: "a trial fails with probability p <= delta". It can end in two sure ways, each with its own error alpha,
under any rule of looking and stopping:

- FALSIFIED: if p <= delta is true, this happens with probability at most alpha;
- HOLDS: if p >= delta is true (the claim is false, or just about true), this happens with probability at most alpha.

Evidence is the mixture martingale of `strongticket.statistics.anytime`, which needs no plan. With a cap, the largest
number of trials that will be run, alpha is halved between the martingale and one exact binomial test at the cap, which
counts as soon as later trials cannot change it; the halves add up by the union bound. The martingale alone stops early
where p is far from delta, and has less power near it; the exact test at the cap alone (a curtailed test) cannot stop
before it has seen all the failures that it asks for at the cap. Both together stop early and are at the cap nearly as
powerful as the test of fixed size; `SequentialTest.characteristics` computes by how much, exactly, over all paths.
Wald's test (wald1945sequential) is quicker still against one alternative p; there is none to single out here.

>>> test = SequentialTest(delta=0.01, cap=2000)
>>> test.observe(test.start, trials=10, failures=5).decision.name
'FALSIFIED'
>>> test.observe(test.start, trials=1600, failures=0).decision.name
'HOLDS'
>>> test.observe(test.start, trials=1600, failures=0, undecided=2).decision.name  # they could have failed
'GO_ON'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from strongticket.statistics.anytime import log_against, log_in_favour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Characteristics", "Decision", "Evidence", "SequentialTest"]


_TINIEST = 1e-298  # trials that would show less are no longer doubles


class Decision(Enum):
    """Where a sequential test stands; the text is the help."""

    FALSIFIED = "failures are more frequent than allowed, beyond chance, however often one has looked"
    HOLDS = "failures are less frequent than allowed, beyond chance, however often one has looked"
    GO_ON = "nothing is sure yet: more trials"


@dataclass(frozen=True)
class Evidence:
    """What the looks of a sequential test have shown so far.

    Attributes:
        trials, failures, undecided: at the last look.
        p_value: of "p <= delta", valid at any time: if that is true, it is alpha or less, ever, with probability alpha
            at most.
        p_value_at_worst: the same if all undecided trials had failed; no verdict, but it says what they could tip.
        p_value_holds: of "p >= delta", undecided trials counted as failures.
        decision: where the test stands.
    """

    trials: int = 0
    failures: int = 0
    undecided: int = 0
    p_value: float = 1.0
    p_value_at_worst: float = 1.0
    p_value_holds: float = 1.0
    decision: Decision = Decision.GO_ON


@dataclass(frozen=True)
class Characteristics:
    """What a sequential test does if trials fail with probability p, computed exactly.

    Attributes:
        p: probability that a trial fails.
        falsified, holds, open: probabilities that it ends so; open is at the cap.
        trials: expected number of trials.
        cap: the largest number.
        fixed_falsified: probability that the test of fixed size, `cap` trials, would have falsified.
    """

    p: float
    falsified: float
    holds: float
    open: float
    trials: float
    cap: int
    fixed_falsified: float

    @property
    def saved(self) -> float:
        """Expected share of the trials of the test of fixed size that need not be run."""
        return 1.0 - self.trials / self.cap


@dataclass(frozen=True)
class SequentialTest:
    """A test of "a trial fails with probability at most delta" that may be looked at whenever one likes.

    Attributes:
        delta: probability of a failure that is allowed, in [0, 1].
        alpha: probability of each wrong sure verdict, in (0, 1).
        cap: most trials that will be run, fixed beforehand; None: no plan, the martingale alone, with all of alpha.
    """

    delta: float
    alpha: float = 1e-6
    cap: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.delta <= 1.0:
            raise ValueError(f"delta must lie in [0, 1], got {self.delta}")
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha must lie in (0, 1), got {self.alpha}")
        if self.cap is not None and (isinstance(self.cap, bool) or not isinstance(self.cap, int) or self.cap < 1):
            raise ValueError(f"cap must be an integer >= 1 or None, got {self.cap!r}")

    @property
    def start(self) -> Evidence:
        """The evidence before any trial."""
        return Evidence()

    def observe(self, evidence: Evidence, *, trials: int, failures: int, undecided: int = 0) -> Evidence:
        """Return the evidence after a look at the counts of all trials so far.

        Undecided trials never help a verdict: they count as successes against the claim, and as failures for it.

        Args:
            evidence: of the look before, or `start`.
            trials: all trials so far, at most the cap.
            failures: how many of them failed for certain.
            undecided: how many of them say nothing.

        Raises:
            ValueError: the counts do not go on from those of the look before.
        """
        steps = (trials - evidence.trials, failures - evidence.failures, undecided - evidence.undecided)
        if min(steps) < 0 or steps[1] + steps[2] > steps[0]:
            raise ValueError(
                f"counts of all trials so far are needed, and they only grow: got {trials} trials, {failures} "
                f"failures, {undecided} undecided after {evidence.trials}, {evidence.failures}, {evidence.undecided}"
            )
        if self.cap is not None and trials > self.cap:
            raise ValueError(f"the test was planned for {self.cap} trials at most, got {trials}; plan a larger cap")
        against = min(evidence.p_value, float(self.p_values(trials, failures)))
        holds = min(evidence.p_value_holds, float(self.p_values_holds(trials, failures + undecided)))
        decision = evidence.decision
        if decision is Decision.GO_ON:
            decision = (
                Decision.FALSIFIED
                if against <= self.alpha
                else Decision.HOLDS
                if holds <= self.alpha
                else Decision.GO_ON
            )
        worst = min(evidence.p_value_at_worst, float(self.p_values(trials, failures + undecided)))
        return Evidence(trials, failures, undecided, against, worst, holds, decision)

    def p_values(self, trials: ArrayLike, failures: ArrayLike) -> NDArray[np.float64]:
        """Return the p-value of "p <= delta" at each of these looks, valid for all looks at once; any shape."""
        import numpy as np
        from scipy.special import bdtrc

        evidence = np.exp(-np.maximum(log_against(trials, failures, self.delta), 0.0))
        if self.cap is None:
            return np.asarray(evidence)
        k = np.asarray(failures)
        # later failures only add: P[Bin(cap, delta) >= failures so far] is no less than it will be at the cap
        tail = np.where(k > 0, bdtrc(np.maximum(k - 1, 0), self.cap, self.delta), 1.0)
        return np.asarray(np.minimum(1.0, 2.0 * np.minimum(evidence, tail)))

    def p_values_holds(self, trials: ArrayLike, failures: ArrayLike) -> NDArray[np.float64]:
        """Return the p-value of "p >= delta" at each of these looks, valid for all looks at once; any shape."""
        import numpy as np
        from scipy.special import bdtr

        evidence = np.exp(-np.maximum(log_in_favour(trials, failures, self.delta), 0.0))
        if self.cap is None or self.delta in (0.0, 1.0):
            return np.asarray(evidence)
        # as if all trials that are left failed
        most = np.asarray(failures) + self.cap - np.asarray(trials)
        return np.asarray(np.minimum(1.0, 2.0 * np.minimum(evidence, bdtr(most, self.cap, self.delta))))

    def boundaries(self, trials: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each number of trials the most failures with which it HOLDS and the fewest that falsify it.

        -1 where no number of failures will do, and trials + 1 where none is enough.

        >>> holds, falsified = SequentialTest(0.01, cap=2000).boundaries([10, 1500, 2000])
        >>> holds.tolist(), falsified.tolist()
        ([-1, 0, 2], [5, 44, 46])
        """
        import numpy as np

        n = np.asarray(trials, dtype=np.int64)
        falsified = _first(n, lambda k: self.p_values(n, k) <= self.alpha)
        holds = _first(n, lambda k: self.p_values_holds(n, k) > self.alpha) - 1
        return holds, falsified

    @cached_property
    def least_trials_to_hold(self) -> int | None:
        """Fewest trials, all without a failure, after which it HOLDS; None where none are enough, delta being 0 or 1.

        None too if delta < 1e-298: they would be too many for a double.

        About log(1/alpha) / delta: for a tiny delta out of reach of any experiment, and then trials can refute the
        claim, or fail to, but not confirm it.

        >>> SequentialTest(0.01).least_trials_to_hold, SequentialTest(1e-6).least_trials_to_hold
        (1423, 14298089)
        """
        if self.delta in (0.0, 1.0) or self.delta < _TINIEST:
            return None
        test = self
        if self.cap is not None and float(self.p_values_holds(self.cap, 0)) > self.alpha:
            test = SequentialTest(self.delta, self.alpha / 2.0)  # a cap that is large enough
        low, high = 0, test.cap or 1
        while float(test.p_values_holds(high, 0)) > test.alpha:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if float(test.p_values_holds(middle, 0)) <= test.alpha else (middle, high)
        return high

    def characteristics(self, p: float, *, looks: Sequence[int] | None = None) -> Characteristics:
        """Compute what the test does if trials fail with probability p, over all paths, exactly up to rounding.

        Args:
            p: probability that a trial fails, in [0, 1]; no trial is undecided.
            looks: numbers of trials after which one looks, increasing; None: after each. The cap is always looked at.

        Raises:
            ValueError: the test has no cap, or p or the looks make no sense.

        >>> usual = SequentialTest(0.01, cap=2000).characteristics(0.0)
        >>> usual.holds, usual.trials, round(usual.saved, 3)
        (1.0, 1493.0, 0.253)
        """
        import numpy as np

        if self.cap is None:
            raise ValueError("a test without a cap may go on for ever; give one: SequentialTest(delta, alpha, cap=...)")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must lie in [0, 1], got {p}")
        times = sorted({*(range(1, self.cap + 1) if looks is None else looks), self.cap})
        if times[0] < 1 or times[-1] > self.cap:
            raise ValueError(f"looks must lie in 1..{self.cap}, got {times[0]}..{times[-1]}")
        holds, falsified = self.boundaries(times)
        paths = np.ones(1)  # probability of each number of failures and of still going on
        ended = {Decision.FALSIFIED: 0.0, Decision.HOLDS: 0.0}
        expected, before = 0.0, 0
        for now, most, least in zip(times, holds.tolist(), falsified.tolist(), strict=True):
            paths = np.convolve(paths, _binomial(now - before, p))
            rest = paths.sum()
            ended[Decision.FALSIFIED] += float(paths[least:].sum())
            ended[Decision.HOLDS] += float(paths[: most + 1].sum())
            paths = paths[:least].copy()
            paths[: most + 1] = 0.0
            expected += now * float(rest - paths.sum())
            before = now
        left = float(paths.sum())
        return Characteristics(
            p,
            ended[Decision.FALSIFIED],
            ended[Decision.HOLDS],
            left,
            expected + self.cap * left,
            self.cap,
            _fixed_power(self.cap, self.delta, self.alpha, p),
        )


def _first(n: NDArray[np.int64], holds: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Least k in 0..n from which on a condition holds, by bisection; n + 1 where it never does."""
    import numpy as np

    low, high = np.full(n.shape, -1, dtype=np.int64), n + 1
    while bool(np.any(high - low > 1)):
        middle = np.clip((low + high) // 2, 0, n)
        inside = high - low > 1
        yes = holds(middle)
        high, low = np.where(inside & yes, middle, high), np.where(inside & ~yes, middle, low)
    return high


def _binomial(trials: int, p: float) -> NDArray[np.float64]:
    """Probabilities of 0..trials failures."""
    import numpy as np
    from scipy import stats

    if trials == 1:
        return np.array([1.0 - p, p])
    return np.asarray(stats.binom.pmf(np.arange(trials + 1), trials, p))


def _fixed_power(trials: int, delta: float, alpha: float, p: float) -> float:
    """Probability that the test of fixed size falsifies: so many failures that their tail is at most alpha."""
    import numpy as np
    from scipy import stats

    tails = stats.binom.sf(np.arange(-1, trials), trials, delta)
    least = int(np.count_nonzero(tails > alpha))
    return float(stats.binom.sf(least - 1, trials, p)) if least <= trials else 0.0
