"""What all mask searches have in common: the interface of a method, and what a search remembers for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, ClassVar, get_args

from torch import Tensor

from strongticket.reading import Kind
from strongticket.search.layers import Layer, ScoreInit

__all__ = ["LATER", "AbstractMethod", "MethodState", "check_whole"]

LATER: dict[str, Any] = {"later": True}
"""Metadata of options that came after the first release: they are not named where they have their default value, so
that what was saved before still reads as the same method."""


class AbstractMethod(ABC):
    """What distinguishes one mask search from another; instances are frozen dataclasses.

    Args:
        score_init: law of the scores before the search, see `strongticket.search.layers.ScoreInit`; the default of each
            method is that of its paper. Where |S| is ranked, "zero" has no slope, and no score would ever move.
    """

    key: str
    score_init: ScoreInit
    bias_score_init: ClassVar[ScoreInit] = "relu-uniform"
    """Law of the scores of biases that are searched with a layer, by the fan-in of that layer."""
    reading: Kind = "plain"
    """How a ticket reads the kept weights, before factors."""
    clamp: tuple[float, float] | None = None
    """Range that scores are brought back into before each step."""
    samples: bool = False
    """Whether the mask is drawn anew at every step."""

    def __post_init__(self) -> None:
        if self.score_init not in get_args(ScoreInit):
            raise ValueError(f"expected score_init in {get_args(ScoreInit)}, got {self.score_init!r}")

    def __repr__(self) -> str:
        """Name the method and its settings; those that came later only where they are not at their defaults."""
        told = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not (field.metadata.get("later") and value == field.default):
                told.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"

    @property
    def moves(self) -> bool:
        """Whether the choice depends on how much of the search is over."""
        return False

    @abstractmethod
    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Return what each weight is multiplied by, per layer [size]: bool, or small integers as float."""

    @abstractmethod
    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return dL/dS of a layer [size] from G = dL/dWe."""

    def weigh(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return the effective weights of a layer."""
        return weight * mask


def check_whole(name: str, value: object) -> None:
    """Refuse what is no whole number from 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise ValueError(f"expected {name} >= 1, a whole number, got {value!r}")


@dataclass
class MethodState:
    """What a search remembers besides the scores: where it is, and what was settled for good.

    Attributes:
        progress: share of the search that is over, in [0, 1].
        step: number of steps taken.
        seed: of the draws that a method makes.
        alive: Gem-Miner's survivors, per layer; None for others. Made by the first choice.
        thresholds: fixed thresholds, per layer; None for others. Made by the first choice.
    """

    progress: float = 0.0
    step: int = 0
    seed: int = 0
    alive: list[Tensor] | None = None
    thresholds: list[Tensor] | None = None
