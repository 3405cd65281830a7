"""How many steps a batch is worth: SGD on kernel least squares, on both sides of the critical batch size.

Ma, Bassily and Belkin (2018): where every example can be fitted, a step of batch m is worth nearly m steps of batch 1
up to m* = beta/lambda_1 + 1, and hardly more than m* - 1 of them however large the batch; steps beyond 2m/(beta + (m -
1) lambda_1) diverge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, final

import numpy as np

from experiments._examples import few
from experiments._experiment import AbstractExperiment, by_setting
from experiments._search import TITLES, Data
from strongticket.bounds import get

__all__ = ["GOAL", "CriticalBatch", "by_setting", "cost"]

GOAL: Final = 0.01
"""The training loss at which runs end: squared error summed over classes; it is 1 at the start."""
SEEDS: Final = range(5)


@final
@dataclass(frozen=True)
class CriticalBatch(AbstractExperiment):
    """Count the steps to a small training loss for every batch size and step size.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        bandwidth: of the Gaussian kernel; pixels lie in [0, 1].
        train: n, training examples.
        batches: batch sizes m, drawn with replacement.
        multiples: step sizes, as multiples of m/(beta + (m - 1) lambda_1); the bound on the step size is 2.
        samples: most examples seen in a run, or 300 steps if that is more.
        seed: of examples and batches.
    """

    name: ClassVar[str] = "critical_batch"
    version: ClassVar[int] = 1

    data: Data
    bandwidth: float
    train: int
    batches: tuple[int, ...]
    multiples: tuple[float, ...]
    samples: int
    seed: int

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or not self.multiples or min(self.multiples) <= 0.0:
            raise ValueError(f"expected batch sizes >= 1 and multiples > 0, got {self.batches} and {self.multiples}")

    def run(self) -> dict[str, Any]:
        """Return the spectrum, and steps and losses of each run."""
        from strongticket.weak.features import FourierFeatures, one_hot
        from strongticket.weak.interpolation import descend, spectrum

        examples = few(self.data, self.train, 4, 0.0, self.seed)
        kernel = FourierFeatures(examples.inputs.shape[1], self.bandwidth).kernel(examples.inputs, examples.inputs)
        found = spectrum(kernel)
        misses = -one_hot(examples.labels, examples.classes)
        rows = []
        for batch in self.batches:
            for multiple in self.multiples:
                step = multiple * found.safe_step(batch)
                done = descend(
                    kernel, misses, batch=batch, step=step, seed=self.seed, goal=GOAL,
                    most=max(300, self.samples // batch), look_every=max(1, 8 // batch),
                )  # fmt: skip
                loss = done.loss if math.isfinite(done.loss) else None
                row = {"batch": batch, "multiple": multiple, "step": step, "outcome": done.outcome}
                rows.append({**row, "steps": done.steps, "samples": done.steps * batch, "loss": loss})
        return {
            "note": examples.note,
            "beta": found.beta,
            "lambda_1": found.largest,
            "lambda_k": found.least,
            "rank": found.rank,
            "critical_batch": found.critical_batch,
            "rows": rows,
        }

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 200 and 400 digits; default: 500 and 1,000 of MNIST; paper: 10,000; five seeds each."""
        powers = tuple(1 << k for k in range(10))
        multiples = (0.5, 1.0, 1.8, 2.4)

        def runs(
            data: Data, bandwidth: float, trains: Sequence[int], batches: Sequence[int], samples: int
        ) -> list[Self]:
            return [
                cls(data, bandwidth, train, tuple(batches), multiples, samples, seed)
                for train in trains
                for seed in SEEDS
            ]

        return {
            "quick": runs("digits", 2.0, (200, 400), powers[:9], 300_000),
            "default": runs("mnist", 5.0, (500, 1_000), powers[:9], 300_000),
            "paper": runs("mnist", 5.0, (10_000,), powers, 2_000_000),
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each n and batch size, at the safe step size: examples, and how they grew, against the theory."""
        rows = []
        for setting, results in by_setting(finished).items():
            critical = [result["critical_batch"] for result in results]
            for batch in setting.batches:
                ratios = [cost(result, batch) for result in results]
                known = [ratio for ratio in ratios if ratio is not None]
                row: dict[str, Any] = {"data": TITLES[setting.data], "n": setting.train, "seeds": len(results)}
                row["m*"] = f"{np.mean(critical):.2f} [{min(critical):.2f}, {max(critical):.2f}]"
                row["m"] = batch
                row["examples, as multiple of batch 1"] = f"{np.mean(known):.2f}" if known else None
                worth = [get("ma2018power.worth")(m=batch, beta=one["beta"], l1=one["lambda_1"]) for one in results]
                row["by the step sizes"] = f"{np.mean([batch / value for value in worth]):.2f}"
                for multiple in setting.multiples:
                    every = [_row(result, batch, multiple)["outcome"] for result in results]
                    row[f"reached at {multiple:g}x"] = f"{every.count('reached')} of {len(every)}"
                rows.append(row)
        return rows


def cost(result: Mapping[str, Any], batch: int, multiple: float = 1.0) -> float | None:
    """Return the examples to the goal as a multiple of those of batch 1 at the safe step; None if it is not reached."""
    mine, first = _row(result, batch, multiple), _row(result, 1, 1.0)
    if mine["outcome"] != "reached" or first["outcome"] != "reached":
        return None
    return float(mine["samples"] / first["samples"])


def _row(result: Mapping[str, Any], batch: int, multiple: float) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        row for row in result["rows"] if (row["batch"], row["multiple"]) == (batch, multiple)
    )
    return found
