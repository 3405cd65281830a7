"""How scores move along their slopes: what a recipe names and every update obeys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["ScoreOptimiser"]


@dataclass(frozen=True)
class ScoreOptimiser:
    """How scores move along their slopes.

    Attributes:
        name: "sgd", "adam" or "rmsprop" (torch's defaults but for what is said here).
        momentum: of SGD.
        nesterov: of SGD.
        weight_decay: added to the slope, weight_decay * S (of every optimiser; not decoupled).
    """

    name: Literal["sgd", "adam", "rmsprop"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "adam", "rmsprop"):
            raise ValueError(f"expected optimiser 'sgd', 'adam' or 'rmsprop', got {self.name!r}")
        if not 0 <= self.momentum < 1 or not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"expected momentum in [0, 1) and weight_decay >= 0, got {self.momentum} and {self.weight_decay}"
            )
        if self.nesterov and (self.momentum == 0 or self.name != "sgd"):
            raise ValueError("nesterov needs SGD with a momentum above 0")
