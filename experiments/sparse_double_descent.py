"""Sparse double descent: as weights are pruned under label noise, test accuracy falls, recovers, and falls again.

He et al. (2022): a dense network fits the wrong labels; pruned a little it fits them worse and errs more; pruned
further it can no longer fit them, and errs less. Iterative magnitude pruning with noise in the training labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self, final

import numpy as np

from experiments._examples import noisy
from experiments._experiment import AbstractExperiment, by_setting
from experiments._search import TITLES, Data
from experiments._weak import device, stages_folder, weak_data

__all__ = ["SparseDoubleDescent", "by_setting"]

SEEDS: Final = range(5)


@final
@dataclass(frozen=True)
class SparseDoubleDescent(AbstractExperiment):
    """Prune iteratively, with some training labels wrong, and test every level at its end.

    Validation and test labels are right. Levels are kept as stages (in the folder that STRONGTICKET_STAGES names, or
    out/stages).

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: how levels are trained, by name.
        steps: of each training.
        noise: share of the training labels that are wrong.
        levels: how many levels of pruning follow the dense one.
        scope: what a round takes away, by name.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "sparse_double_descent"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    steps: int
    noise: float
    levels: int
    scope: str
    seed: int

    def run(self) -> dict[str, Any]:
        """Return accuracies at each level; on the wrong labels too."""
        import torch

        import strongticket.weak as weak

        data = weak_data(self.data, self.seed)
        inputs, labels = data.train
        classes = int(labels.max()) + 1
        spoilt = torch.from_numpy(noisy(labels.numpy(), classes, self.noise, self.seed))
        noisy_data = replace(data, train=(inputs, spoilt), name=f"{data.name}, {self.noise:g} of the labels wrong")
        recipe = weak.STEP_RECIPES[self.recipe].changed(steps=self.steps, evaluate_every=self.steps)
        imp = weak.Imp(self.model, recipe, self.scope, 0, "large-final", seed=self.seed)
        trunk = weak.Trunk(imp, noisy_data, stages_folder(), device=device())
        rows = []
        for number in range(self.levels + 1):
            record = trunk.level(number).record
            rows.append(
                {
                    "level": number,
                    "density": record["density"],
                    "kept": record["kept"],
                    "test_error": 1.0 - record["test_at_end"],
                    "train_loss": record["curve"]["train_loss"][-1],
                }
            )
        return {"data": noisy_data.name, "spoilt": int((spoilt != labels).sum()), "rows": rows}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: the digits; mnist: LeNet-300-100 for 8,000 steps, less noise too; paper; five seeds.

        paper: what he2022sparse's code does on MNIST unless told otherwise: plain SGD 0.1, batches of 128, 160 epochs,
        all layers but the output competing. One thing differs: its weights begin by Kaiming's law, ours by Glorot's.
        """

        def runs(shared: Mapping[str, Any], *noises: float) -> list[Self]:
            return [cls(**shared, noise=noise, seed=seed) for noise, seed in itertools.product(noises, SEEDS)]

        digits = {"data": "digits", "model": "mlp-64-300-100-10+bias", "recipe": "digits", "steps": 600, "levels": 24}
        lenet = {"data": "mnist", "model": "lenet-300-100+bias", "recipe": "lth-lenet", "steps": 8_000, "levels": 24}
        scope = {"scope": "lth-lenet"}
        epoch = 430  # batches of 128 of 55,000 examples
        paper = {**lenet, "recipe": "open-lth-lenet", "steps": 160 * epoch, "scope": "openlth-output-kept"}
        return {
            "quick": runs({**digits, **scope}, 0.0, 0.4),
            "mnist": runs({**lenet, **scope}, 0.0, 0.2, 0.4),
            "paper": runs(paper, 0.0, 0.2, 0.4),
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each noise and level."""
        rows = []
        for setting, results in by_setting(finished).items():
            for i in range(setting.levels + 1):
                errors = [100 * result["rows"][i]["test_error"] for result in results]
                row: dict[str, Any] = {"data": TITLES[setting.data], "noise": setting.noise, "level": i}
                row |= {"density %": f"{100 * results[0]['rows'][i]['density']:.2f}", "seeds": len(results)}
                row["test error %"] = f"{np.mean(errors):.2f} [{min(errors):.2f}, {max(errors):.2f}]"
                row["training loss"] = float(np.mean([result["rows"][i]["train_loss"] for result in results]))
                rows.append(row)
        return rows
