"""Claims about a frequency: two-sided ones, that a predicted one is as accurate as is said, and that of a floor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from theory._claim import AbstractClaim, Outcome, Tally, Trial, check_whole

__all__ = ["AbstractAgreementClaim", "chance_range"]

CHANCE = 0.01
"""Probability with which a batch may lie outside of the range that its size allows, if the claim is true."""


def chance_range(batch: int, low: float, high: float) -> tuple[int, int]:
    """Return the numbers of hits in a batch that are left with probability CHANCE at most, if low <= P(hit) <= high.

    >>> chance_range(1000, 0.45, 0.55)
    (410, 590)
    """
    least = int(stats.binom.ppf(CHANCE / 2.0, batch, min(1.0, low))) if low > 0.0 else 0
    most = int(stats.binom.isf(CHANCE / 2.0, batch, min(1.0, high))) if high < 1.0 else batch
    return least, most


class AbstractAgreementClaim(AbstractClaim):
    """A prediction with its accuracy: a trial is a batch, and fails if the batch is too far off, on either side.

    Parameters of every such claim: batch (experiments in one trial), tolerance (relative error that the prediction may
    have), factor (what is predicted is multiplied by it: the twin that should be falsified).
    """

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        check_whole(p, "batch")
        if p["tolerance"] is not None and not p["tolerance"] >= 0.0:
            raise ValueError(f"tolerance must be >= 0, got {p['tolerance']}")
        if not p["factor"] > 0.0:
            raise ValueError(f"factor must be positive, got {p['factor']}")
        return p

    @abstractmethod
    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Return the range of the batch's result."""

    @abstractmethod
    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Carry out one batch."""

    def failure_probability(self, **params: Any) -> float:
        """Batches may be off by chance."""
        return CHANCE

    def trial(self, seed: int, **params: Any) -> Trial:
        """Carry out one batch and compare it with the range."""
        p = self.resolve(**params)
        return self._judge(seed, p, self.allowed(p))

    def run(self, seeds: Sequence[int], **params: Any) -> Tally:
        """Carry out the batches; the range is computed once."""
        p = self.resolve(**params)
        allowed = self.allowed(p)
        return Tally.of((seed, self._judge(seed, p, allowed)) for seed in seeds)

    def describe(self, **params: Any) -> str:
        """Return the parameters in words, and the range."""
        p = self.resolve(**params)
        low, high = self.allowed(p)
        return f"{super().describe(**params)}; a batch gives {low:.6g} to {high:.6g}"

    def _judge(self, seed: int, params: Mapping[str, Any], allowed: tuple[float, float]) -> Trial:
        found, (low, high) = self.measure(seed, params), allowed
        outcome = Outcome.SUCCESS if low <= found <= high else Outcome.FAILURE
        return Trial(outcome, f"{found:.6g} where {low:.6g} to {high:.6g} is allowed")
