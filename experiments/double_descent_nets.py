"""Double descent with a hidden layer: with and without what Belkin et al. (2019) do differently below the threshold.

Below it they start from the smaller network's weights, let the rate fall, and stop at the first fit; above it they do
none of this. How much of the drop at the threshold is that switch? So both are run: "reuse", as published, and "fresh",
where every network is trained as those above. The two differ in all three things at once, so that they tell what the
switch does, not which part of it does it. (curth2023uturn makes the same point of other models: the second descent
begins where the axis changes what it counts.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, final

import numpy as np

from experiments._examples import few
from experiments._experiment import AbstractExperiment, by_setting
from experiments._search import TITLES, Data
from strongticket.bounds import belkin2019reconciling as bounds

__all__ = ["PUBLISHED_WIDTHS", "Arm", "DoubleDescentNets", "by_setting", "drop_at_threshold"]

Arm = Literal["reuse", "fresh"]
PUBLISHED_WIDTHS: Final = (
    5, 6, 9, 13, 15, 25, 30, 34, 38, 41, 44, 47, 48, 49, 50, 51, 57, 63, 88, 107, 252, 314, 1006,
)  # fmt: skip
"""Hidden units of the published study, of 4,000 examples of MNIST."""
SEEDS: Final = range(5)


@final
@dataclass(frozen=True)
class DoubleDescentNets(AbstractExperiment):
    """Train one hidden layer of every width on the same examples, from narrow to wide.

    "reuse": below the threshold the first network is fresh and each wider one goes on from the one before, its new
    units N(0, 0.01), its rate times 0.9 every 500 epochs, until every example is classified correctly; from there on
    networks are fresh, the rate stays, and no training ends early. "fresh": so it is at all widths; three things differ
    from "reuse" below the threshold, then: the start, the rate and the stop. The paper gives neither rate nor batch
    size nor activation: here every step sees all examples, and units are ReLUs.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        arm: "reuse" or "fresh", see above.
        widths: hidden units, increasing.
        train: n, training examples.
        tests: most test examples.
        noise: share of the training labels that are wrong.
        rate: step size.
        epochs: of each training, at most.
        seed: of weights, examples and noise.
    """

    name: ClassVar[str] = "double_descent_nets"
    version: ClassVar[int] = 1

    data: Data
    arm: Arm
    widths: tuple[int, ...]
    train: int
    tests: int
    noise: float
    rate: float
    epochs: int
    seed: int

    def __post_init__(self) -> None:
        if not self.widths or list(self.widths) != sorted(set(self.widths)) or self.widths[0] < 1:
            raise ValueError(f"expected increasing numbers of hidden units, got {self.widths}")
        if self.arm not in ("reuse", "fresh") or not self.rate > 0 or self.epochs < 1:
            raise ValueError(f"expected 'reuse' or 'fresh', a rate above 0 and an epoch at least, got {self}")

    def run(self) -> dict[str, Any]:
        """Return training and test errors and losses of each width."""
        import torch

        from experiments._hidden_layer import Net, descend, glorot, widened
        from strongticket.training.loop import thread_count
        from strongticket.weak.features import judge, one_hot

        examples = few(self.data, self.train, self.tests, self.noise, self.seed)
        d, classes = examples.inputs.shape[1], examples.classes
        threshold = bounds.threshold_width(self.train, d, classes)
        inputs = torch.from_numpy(examples.inputs).float()
        wanted = torch.from_numpy(one_hot(examples.labels, classes)).float()
        tests, labels = examples.test
        rows: list[dict[str, Any]] = []
        before: Net | None = None
        with thread_count(1):
            for width in self.widths:
                below = self.arm == "reuse" and width < threshold
                reused = before if below else None
                start = glorot(d, width, classes, self.seed) if reused is None else widened(reused, width, self.seed)
                found = descend(
                    start, inputs, wanted, rate=self.rate, epochs=self.epochs, decay=0.9 if below else 1.0,
                    until_right=below,
                )  # fmt: skip
                before = found.net
                outputs = found.net(torch.from_numpy(tests).float()).double().numpy()
                test = judge(outputs, labels, one_hot(labels, classes))
                rows.append(
                    {
                        "width": width,
                        "parameters": bounds.parameters(d, width, classes),
                        "reused": reused is not None,
                        "epochs": found.epochs,
                        "train_error": found.error,
                        "train_loss": found.loss,
                        "test_error": test.error,
                        "test_loss": test.loss,
                    }
                )
        return {"note": examples.note, "threshold": threshold, "tests": len(labels), "rows": rows}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 100 digits; default: 200, longer, more widths; mnist: 1,000 of MNIST; paper: 4,000; five seeds."""
        arms: tuple[Arm, ...] = ("reuse", "fresh")

        def runs(
            data: Data, widths: Sequence[int], train: int, tests: int, noises: Sequence[float], epochs: int
        ) -> list[Self]:
            return [
                cls(data, arm, tuple(widths), train, tests, noise, 0.005, epochs, seed)
                for noise, arm, seed in itertools.product(noises, arms, SEEDS)
            ]

        few_widths = (2, 4, 6, 8, 10, 12, 13, 14, 16, 20, 30, 60, 150)
        widths = (2, 3, 4, 6, 8, 10, 12, 15, 18, 20, 22, 24, 25, 26, 27, 28, 30, 34, 40, 55, 80, 140, 300, 600)
        mnist = (2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 26, 40, 80)
        return {
            "quick": runs("digits", few_widths, 100, 360, (0.0, 0.2), 4_000),
            "default": runs("digits", widths, 200, 360, (0.0, 0.2), 6_000),
            "mnist": runs("mnist", mnist, 1_000, 2_000, (0.0, 0.2), 2_000),
            "paper": runs("mnist", PUBLISHED_WIDTHS, 4_000, 10_000, (0.0,), 6_000),
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each arm, noise and width; below the threshold, arms differ in more than what is reused."""
        rows = []
        for setting, results in by_setting(finished).items():
            for i, width in enumerate(setting.widths):
                every = [result["rows"][i] for result in results]
                row: dict[str, Any] = {"data": TITLES[setting.data], "noise": setting.noise, "arm": setting.arm}
                row |= {"H": width, "parameters": every[0]["parameters"], "seeds": len(every)}
                row["threshold H"] = round(results[0]["threshold"], 1)
                row["reused"] = "yes" if every[0]["reused"] else "no"
                for name in ("train_error", "test_error"):
                    row[f"{name.replace('_', ' ')} %"] = 100 * float(np.mean([one[name] for one in every]))
                for name in ("train_loss", "test_loss"):
                    row[name.replace("_", " ")] = float(np.mean([one[name] for one in every]))
                rows.append(row)
        return rows


def drop_at_threshold(result: Mapping[str, Any]) -> float:
    """Return by how much the test loss falls from the last width below the threshold to the first above it.

    >>> rows = [{"parameters": p, "width": w, "test_loss": l} for w, p, l in ((1, 5, 0.9), (3, 15, 0.4))]
    >>> drop_at_threshold({"threshold": 2.0, "rows": rows})
    0.5
    """
    below = [row["test_loss"] for row in result["rows"] if row["width"] < result["threshold"]]
    above = [row["test_loss"] for row in result["rows"] if row["width"] >= result["threshold"]]
    return float(below[-1] - above[0])
