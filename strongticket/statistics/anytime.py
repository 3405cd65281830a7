"""What failures say about their probability when one may look after every trial: mixture martingales.

Let X_1, X_2, ... be independent, 1 with probability p, and L_n(q) = q^k (1 - q)^(n - k) the likelihood of k failures
in n trials. For every q, L_n(q) / L_n(p) is a martingale that starts at 1: each factor has mean p (q/p) + (1 - p)
(1 - q)/(1 - p) = 1. So its average over any law of q that is fixed beforehand is one too, and by Ville's inequality
(ville1939etude) it exceeds 1/alpha *at any time whatever* with probability at most alpha. Three consequences
(robbins1970statistical; howard2021timeuniform and ramdas2023gametheoretic for the modern view):

- `log_against`: q averaged over (delta, 1], against p <= delta. There q/delta > (1 - q)/(1 - delta), so that the mean
  of a factor, p q/delta + (1 - p) (1 - q)/(1 - delta), rises with p and is 1 at p = delta: under every p <= delta the
  average is a supermartingale. Its logarithm beyond log(1/alpha) shows that p > delta.
- `log_in_favour`: q averaged over [0, delta), against p >= delta, by the same argument mirrored.
- `anytime_interval`: the p whose martingale, averaged over all q, has not reached 1/alpha. As L_n has one peak, they
  are an interval; it covers p at all times at once.

The law of q is Jeffreys' Beta(1/2, 1/2), cut to its side. In favour of a claim, half of the weight sits on q = 0, as a
bound from a proof is mostly far from tight, and trials without any failure are what one sees then: at delta = 0.01 and
alpha = 1e-6, 1423 of them are enough, where Jeffreys' law alone takes 1523 and a number fixed beforehand 1375.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["anytime_interval", "log_against", "log_in_favour"]


def log_against(trials: ArrayLike, failures: ArrayLike, delta: float) -> NDArray[np.float64]:
    """Return the log evidence that failures are more frequent than delta; it rises with the failures.

    Args:
        trials: how many trials so far, >= 0; any shape.
        failures: how many of them failed; broadcasts with the trials.
        delta: probability of a failure that is allowed, in [0, 1].

    >>> round(float(log_against(10, 3, 0.01)), 2), round(float(log_against(1000, 10, 0.01)), 2)
    (6.44, -4.27)
    """
    import numpy as np
    from scipy.special import betaincc

    n, k = _counts(trials, failures, delta)
    if delta == 1.0:  # nothing is more frequent
        return np.full(k.shape, -np.inf)
    with np.errstate(divide="ignore"):
        above = np.log(betaincc(k + 0.5, n - k + 0.5, delta)) - np.log(betaincc(0.5, 0.5, delta))
        return np.asarray(_log_average(n, k) + above - _log_likelihood(n, k, delta))


def log_in_favour(trials: ArrayLike, failures: ArrayLike, delta: float) -> NDArray[np.float64]:
    """Return the log evidence that failures are less frequent than delta; it falls with the failures.

    Of delta = 0 and of delta = 1 there is none: the first cannot be shown, the second says nothing.

    >>> round(float(log_in_favour(2000, 0, 0.01)), 2), round(float(log_in_favour(2000, 20, 0.01)), 2)
    (19.59, -2.69)
    """
    import numpy as np
    from scipy.special import betainc

    n, k = _counts(trials, failures, delta)
    if delta in (0.0, 1.0):
        return np.full(k.shape, -np.inf)
    with np.errstate(divide="ignore"):
        below = np.log(betainc(k + 0.5, n - k + 0.5, delta)) - np.log(betainc(0.5, 0.5, delta))
        spread = _log_average(n, k) + below
        never = np.where(k == 0, 0.0, -np.inf)  # L(0) = 0^k
        return np.asarray(np.logaddexp(spread, never) - math.log(2.0) - _log_likelihood(n, k, delta))


def anytime_interval(trials: int, failures: int, confidence: float = 0.99) -> tuple[float, float]:
    """Return an interval of the failure probability that holds for every number of trials at once.

    With at least this confidence, the true probability lies in the intervals after 1, 2, 3, ... trials, all of them;
    so it may be looked at whenever one likes, and trials may be stopped for what it says. The price is width: compare
    `interval`, for a number of trials fixed beforehand. Weights: 1/4 on each of q = 0 and q = 1, the rest Jeffreys'.

    Args:
        trials: how many trials so far, >= 0; without any, the interval is [0, 1].
        failures: how many of them failed.
        confidence: in (0, 1).

    Raises:
        ValueError: the numbers make no sense.

    >>> [round(end, 4) for end in anytime_interval(2000, 0)]
    [0.0, 0.003]
    """
    if not 0 <= failures <= trials:
        raise ValueError(f"failures must lie between 0 and the {trials} trials, got {failures}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if trials == 0:
        return 0.0, 1.0
    import numpy as np
    from scipy.optimize import brentq

    n, k = np.asarray(float(trials)), np.asarray(float(failures))
    parts = [math.log(0.5) + float(_log_average(n, k))]
    parts += [math.log(0.25)] * ((failures == 0) + (failures == trials))
    least = float(np.logaddexp.reduce(parts)) + math.log1p(-confidence)  # of the log likelihood, inside

    def beyond(p: float) -> float:
        return float(_log_likelihood(n, k, p)) - least

    peak = failures / trials
    low = 0.0 if failures == 0 else float(brentq(beyond, *_bracket(beyond, peak, 0.0), xtol=1e-300, rtol=1e-14))
    high = 1.0 if failures == trials else float(brentq(beyond, *_bracket(beyond, peak, 1.0), xtol=1e-16, rtol=1e-14))
    # outward by more than the rounding of the likelihoods
    return low * (1.0 - 1e-9), min(1.0, high + 1e-9 * (1.0 - high) + 1e-15)


def _bracket(beyond: Any, peak: float, end: float) -> tuple[float, float]:
    """Two places around the root between the peak and an end, finite at both."""
    reach = 0.5
    while beyond(end + (peak - end) * reach) > 0.0:
        reach *= 0.5
    return end + (peak - end) * reach, end + (peak - end) * min(1.0, 2.0 * reach)


def _counts(trials: ArrayLike, failures: ArrayLike, delta: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    if not 0.0 <= delta <= 1.0:
        raise ValueError(f"delta must lie in [0, 1], got {delta}")
    n, k = np.broadcast_arrays(np.asarray(trials, dtype=np.float64), np.asarray(failures, dtype=np.float64))
    if not bool(np.all((k >= 0) & (k <= n))):
        raise ValueError(f"failures must lie between 0 and the trials, got {failures!r} of {trials!r}")
    return n, k


def _log_average(n: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
    """The likelihood averaged over Beta(1/2, 1/2)."""
    import numpy as np
    from scipy.special import betaln

    return np.asarray(betaln(k + 0.5, n - k + 0.5) - math.log(math.pi))


def _log_likelihood(n: NDArray[np.float64], k: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    import numpy as np
    from scipy.special import xlog1py, xlogy

    return np.asarray(xlogy(k, p) + xlog1py(n - k, -p))
