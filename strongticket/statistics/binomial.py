"""How surprising a number of failures is, and how probable it makes them: exact, for a fixed number of trials.

Both hold for a number of trials that was chosen before anything was seen (Clopper and Pearson, clopper1934use). Whoever
looks in between and stops when it looks good needs `strongticket.statistics.sequential` instead.
"""

from __future__ import annotations

__all__ = ["interval", "p_value"]


def p_value(trials: int, failures: int, delta: float) -> float:
    """Return P[Binomial(trials, delta) >= failures], exactly: how surprising the failures are if delta is true.

    Args:
        trials: how many independent trials there were, >= 0.
        failures: how many of them failed.
        delta: probability of a failure, in [0, 1].

    Raises:
        ValueError: the numbers make no sense.

    >>> p_value(3, 3, 0.5)
    0.125
    """
    from scipy import stats

    if not 0 <= failures <= trials:
        raise ValueError(f"failures must lie between 0 and the {trials} trials, got {failures}")
    if not 0.0 <= delta <= 1.0:
        raise ValueError(f"delta must lie in [0, 1], got {delta}")
    return 1.0 if failures == 0 else float(stats.binom.sf(failures - 1, trials, delta))


def interval(trials: int, failures: int, confidence: float = 0.99) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of the failure probability.

    It covers the true probability with at least this confidence, whatever it is; each end errs with at most half of
    the rest.

    Raises:
        ValueError: the numbers make no sense.

    >>> [round(end, 4) for end in interval(2000, 0)]
    [0.0, 0.0026]
    """
    from scipy import stats

    if trials < 1 or not 0 <= failures <= trials:
        raise ValueError(f"0 <= failures <= trials and trials >= 1 are needed, got {failures} of {trials}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if failures == 0 else float(stats.beta.ppf(tail, failures, trials - failures + 1))
    high = 1.0 if failures == trials else float(stats.beta.ppf(1.0 - tail, failures + 1, trials - failures))
    return low, high
