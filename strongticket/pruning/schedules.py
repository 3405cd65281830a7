"""By which steps a density is reached: at once, by equal factors, or along a cubic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from strongticket.selection.largest import check_density

__all__ = ["AbstractSchedule", "Gradual", "Iterative", "OneShot"]


class AbstractSchedule(ABC):
    """The densities on the way from one to another."""

    key: ClassVar[str]

    def densities(self, start: float, target: float) -> tuple[float, ...]:
        """Return the densities after each round: never rising, the last one is the target, exactly.

        Args:
            start: density before the first round, in [0, 1].
            target: density after the last one, in [0, 1]; one that is not below the start is a single round.

        Raises:
            ValueError: a density outside [0, 1].
        """
        check_density(start, "start")
        check_density(target, "target")
        if target >= start:
            return (target,)
        return (*self._between(start, target), target)

    @abstractmethod
    def _between(self, start: float, target: float) -> tuple[float, ...]:
        """Return the densities before the last one, for a target below the start."""


@final
@dataclass(frozen=True)
class OneShot(AbstractSchedule):
    """Prune in a single round.

    >>> OneShot().densities(1.0, 0.1)
    (0.1,)
    """

    key: ClassVar[str] = "one-shot"

    def _between(self, start: float, target: float) -> tuple[float, ...]:
        return ()


@final
@dataclass(frozen=True)
class Iterative(AbstractSchedule):
    """Prune in rounds that each keep the same fraction of what is left.

    To density 0 no such fraction leads; there the rounds take away equal numbers.

    Args:
        rounds: at least 1.

    >>> Iterative(3).densities(1.0, 0.125)
    (0.5, 0.25, 0.125)
    """

    rounds: int = 5
    key: ClassVar[str] = "iterative"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")

    def _between(self, start: float, target: float) -> tuple[float, ...]:
        shares = [(i + 1) / self.rounds for i in range(self.rounds - 1)]
        if target == 0.0:
            return tuple(start * (1.0 - share) for share in shares)
        return tuple(start * (target / start) ** share for share in shares)


@final
@dataclass(frozen=True)
class Gradual(AbstractSchedule):
    """Prune fast at first and ever slower: Zhu & Gupta (2017), d_i = d_end + (d_start - d_end) (1 - i / steps)^3.

    The paper's rule for the fraction removed, s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, is this one for the
    fraction kept; its first pruning, at t_0, removes nothing, and is left out.

    Args:
        steps: at least 1.

    >>> Gradual(2).densities(1.0, 0.5)
    (0.5625, 0.5)
    """

    steps: int = 10
    key: ClassVar[str] = "gradual"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def _between(self, start: float, target: float) -> tuple[float, ...]:
        return tuple(target + (start - target) * (1.0 - (i + 1) / self.steps) ** 3 for i in range(self.steps - 1))
