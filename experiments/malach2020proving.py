"""How many random neurons one weight waits for: for a pair near (|w|, 1), as the proof does, and for the product."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, final

import numpy as np

from experiments._experiment import AbstractExperiment
from strongticket import random
from strongticket.bounds.malach2020proving import hit_probability

__all__ = ["Malach2020Proving", "hit_rate"]

_FIRST, _MOST = 1 << 10, 1 << 20  # neurons drawn at a time


def hit_rate(event: str, target: float, eps: float) -> float:
    """Return the probability that one neuron serves: of the product exactly; of the pair for target + e, eps <= 1.

    The pair is to be within e = eps/(1 + target) in both coordinates, so that its product is within eps.

    >>> hit_rate("pair", 0.25, 0.05)
    0.0008
    """
    if event == "product":
        return float(hit_probability(target, eps))
    return (eps / (1.0 + target)) ** 2 / 2.0


@final
@dataclass(frozen=True)
class Malach2020Proving(AbstractExperiment):
    """Draw neurons until one serves the weight, many times, for each tolerance.

    Args:
        event: "product" (u > 0 and u v within eps of the weight) or "pair" (u near the weight and v near 1, so that the
            product is within eps: the proof's event).
        target: the weight, in (0, 1).
        eps: tolerances.
        trials: times that it is waited for, at each tolerance.
        seed: of the draws.
    """

    name: ClassVar[str] = "malach2020proving"
    version: ClassVar[int] = 1

    event: Literal["product", "pair"] = "product"
    target: float = 0.25
    eps: tuple[float, ...] = (0.1, 0.03, 0.01, 0.003)
    trials: int = 200
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Return, for each tolerance, how many neurons were drawn in each trial up to the one that serves."""
        return {"neurons": [[self._wait(eps, trial) for trial in range(self.trials)] for eps in self.eps]}

    def _wait(self, eps: float, trial: int) -> int:
        law, start, count = random.law("uniform23"), 0, _FIRST
        while True:
            u, v = (
                law.values(
                    self.seed,
                    f"{self.name} {trial} {name}",
                    start,
                    start + count,
                    dtype="float64",
                    purpose=random.TRIAL,
                )
                for name in ("u", "v")
            )
            if self.event == "product":
                hit = (u > 0.0) & (np.abs(u * v - self.target) <= eps)
            else:
                each = eps / (1.0 + self.target)
                hit = (np.abs(u - self.target) <= each) & (np.abs(v - 1.0) <= each)
            if hit.any():
                return start + int(hit.argmax()) + 1
            start, count = start + count, min(2 * count, _MOST)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: one seed; default: 5 seeds, finer tolerances, more weights."""
        fine = (0.1, 0.03, 0.01, 0.003, 0.001)
        return {
            "quick": [cls(event="product"), cls(event="pair", eps=(0.1, 0.03, 0.01))],
            "default": [
                cls(event=event, target=target, eps=fine if event == "product" else fine[:-1], seed=seed)
                for event in ("product", "pair")
                for target in (0.05, 0.25, 0.75)
                for seed in range(5)
            ],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per run: mean waits beside 1/p at the widest and the finest tolerance, and the exponent of eps."""
        rows = []
        for run, result in finished:
            means = [float(np.mean(waits)) for waits in result["neurons"]]
            predicted = [1.0 / hit_rate(run.event, run.target, eps) for eps in run.eps]
            exponent = math.nan
            if len(set(run.eps)) > 1:
                exponent = float(np.polyfit(np.log(run.eps), np.log(means), 1)[0])
            rows.append(
                {
                    "event": run.event,
                    "weight": run.target,
                    "seed": run.seed,
                    "eps": f"{run.eps[0]:g} .. {run.eps[-1]:g}",
                    "neurons": f"{means[0]:.0f} .. {means[-1]:.0f}",
                    "1/p": f"{predicted[0]:.0f} .. {predicted[-1]:.0f}",
                    "exponent of eps": round(exponent, 2),
                }
            )
        return rows
