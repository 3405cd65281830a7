"""All theorems on one target: the source each asks for, the one that suffices, and the bits of its mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from experiments._experiment import AbstractExperiment

__all__ = ["Comparison"]

_PAPERS = (
    "kumar2025quantized",
    "malach2020proving",
    "natale2024sparsity",
    "orseau2020logarithmic",
    "pensia2020optimal",
)


@final
@dataclass(frozen=True)
class Comparison(AbstractExperiment):
    """`python -m theory compare` with a number of runs instead of a time limit, so that it is the same on any machine.

    Args:
        target: sizes; a network is drawn inside the hypotheses of all results.
        eps: tolerance of the outputs on the unit ball.
        delta: failure probability.
        papers: whom to ask.
        runs: most constructions to run for each result.
        seed: of target and sources.
    """

    name: ClassVar[str] = "comparison"
    version: ClassVar[int] = 1

    target: str = "16-12-4"
    eps: float = 0.1
    delta: float = 0.01
    papers: tuple[str, ...] = _PAPERS
    runs: int = 16
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Return the comparison as JSON, times apart."""
        from dataclasses import replace

        from theory._compare import compare, make_setting

        setting = make_setting(self.target, self.eps, self.delta, seed=self.seed, seconds=math.inf)
        found = compare(replace(setting, runs=self.runs), only=self.papers).to_json()
        seconds = [row.pop("measured")["seconds"] for row in found["rows"]]
        return {**found, "measured": {"seconds": seconds}}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: two tolerances, one seed; default: five tolerances and 5 seeds."""
        return {
            "quick": [cls(eps=eps, runs=6) for eps in (0.3, 0.1)],
            "default": [
                cls(target="32-24-8", eps=eps, seed=seed) for eps in (0.3, 0.1, 0.03, 0.01, 0.003) for seed in range(5)
            ],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per run and result."""
        return [
            {
                "result": ", ".join(filter(None, (row["key"], row["variant"]))),
                "eps": run.eps,
                "seed": run.seed,
                "asked": row["asked_weights"],
                "suffices": row["measured_weights"],
                "kept": row["kept"],
                "mask bits / limit": row["mask_bits"] / result["limit_bits"] if row["mask_bits"] else None,
            }
            for run, result in finished
            for row in result["rows"]
        ]
