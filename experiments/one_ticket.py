"""One ticket for many tasks: tickets found on some data, or with some optimiser, trained on and with others.

Morcos, Yu, Paganini & Tian (2019) claim that tickets are about as good elsewhere as tickets that were found there, and
better than random tickets, so that they hold something of networks or of images in general.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, final, get_args

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._weak import device, stages_folder
from experiments._weak_parts import PartName, RecipeName, recipe_of, title_of, weak_part
from strongticket.statistics import gain

__all__ = ["ARMS", "OneTicket"]

Arm = Literal["transferred", "target", "random-layer", "random-global", "reinit"]
ARMS: Final[tuple[Arm, ...]] = get_args(Arm)


@final
@dataclass(frozen=True)
class OneTicket(AbstractExperiment):
    """Train tickets of one trunk as another one trains, or a control of that.

    All arms of a seed share both trunks, whose levels are kept as stages (see the experiment "imp").

    Args:
        source_data: where tickets are found.
        target_data: where they are trained. Halves a and b of a data set have no training example in common.
        source_model: the network that tickets are found in.
        target_model: the network that they are trained in: the same but for, maybe, the number of classes, and then
            with a new output layer.
        source_recipe: how the levels of the source are trained.
        target_recipe: how tickets are trained on the target.
        steps: of each training.
        evaluate_every: steps between two looks at the validation data.
        scope: what a round takes away, by name.
        rewind: the step that is rewound to, in both trunks.
        law: of the initial weights.
        arm: "transferred"; "target": a ticket that was found on the target; "random-layer", "random-global": fresh
            weights under the carried mask, permuted within layers or over all; "reinit": fresh weights under it.
        draw: number of a control's draw.
        levels: of the source whose tickets are carried over.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "one_ticket"
    version: ClassVar[int] = 1

    source_data: PartName
    target_data: PartName
    source_model: str
    target_model: str
    source_recipe: RecipeName
    target_recipe: RecipeName
    steps: int
    evaluate_every: int
    scope: str
    rewind: int
    law: str
    arm: Arm
    draw: int
    levels: tuple[int, ...]
    seed: int

    def run(self) -> dict[str, Any]:
        """Return densities and accuracies on the target at each level."""
        from strongticket.weak.transfer import transfer

        source = self._trunk(self.source_data, self.source_model, self.source_recipe)
        target = self._trunk(self.target_data, self.target_model, self.target_recipe)
        rows, seconds = [], []
        for number in self.levels:
            level = transfer(source, target, number, self.arm, draw=self.draw)
            names = ("kept", "density", "early_stop", "test_at_stop", "test_at_end")
            rows.append({"level": number, **{name: level.record[name] for name in names}})
            seconds.append(level.record["measured"]["seconds"])
        said = {part: weak_part(part, self.seed) for part in (self.source_data, self.target_data)}
        return {
            "source": said[self.source_data].name,
            "target": said[self.target_data].name,
            "train": [len(said[part].train[1]) for part in (self.source_data, self.target_data)],
            "rows": rows,
            "measured": {"training_s": seconds},
        }

    def _trunk(self, part: PartName, model: str, recipe: RecipeName) -> Any:
        from strongticket.weak import Imp, Trunk

        own = recipe_of(recipe, self.steps, self.evaluate_every)
        imp = Imp(model, own, self.scope, self.rewind, law=self.law, seed=self.seed)
        return Trunk(imp, weak_part(part, self.seed), stages_folder(), device=device())

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (digits: halves, other classes, other optimisers), cifar10, mnist (to Fashion-MNIST and back), paper.

        cifar10: the halves, with a Conv-2 of a quarter of the width for a tenth of its steps. paper: VGG-19 between
        the halves of CIFAR-10 and between SGD and Adam, 160 epochs, six seeds, late resetting to epoch 1, as far as the
        paper and its public reproduction tell: of the published pairs those that our data sets allow, without
        ResNet-50; decay spares normalisation and biases.
        """
        digits = {"steps": 400, "evaluate_every": 40, "scope": "lth-lenet", "rewind": 0, "law": "glorot-normal"}
        lenet = {**digits, "steps": 8_000, "evaluate_every": 100}
        conv = {**digits, "steps": 2_000, "evaluate_every": 100, "scope": "lth-conv2"}
        vgg = {"steps": 7_040, "evaluate_every": 44, "scope": "lth-global", "rewind": 44, "law": "kaiming-normal"}
        mlp, net, small, deep = "mlp-64-300-100-10+bias", "lenet-300-100+bias", "conv2x0.25+bias", "vgg19+affine"
        low, high = "mlp-64-300-100-6+bias", "mlp-64-300-100-4+bias"
        legs: dict[str, Sequence[_Leg]] = {
            "quick": [
                _Leg(("digits-a", "digits-b"), (mlp, mlp), ("digits-adam", "digits-adam")),
                _Leg(("digits-low", "digits-high"), (low, high), ("digits-adam", "digits-adam")),
                _Leg(("digits", "digits"), (mlp, mlp), ("digits-adam", "digits-sgd")),
                _Leg(("digits", "digits"), (mlp, mlp), ("digits-sgd", "digits-adam")),
            ],
            "cifar10": [
                _Leg(("cifar10-a", "cifar10-b"), (small, small), ("conv-adam", "conv-adam")),
                _Leg(("cifar10-b", "cifar10-a"), (small, small), ("conv-adam", "conv-adam")),
            ],
            "mnist": [
                _Leg(("mnist", "fashion-mnist"), (net, net), ("lenet-adam", "lenet-adam")),
                _Leg(("fashion-mnist", "mnist"), (net, net), ("lenet-adam", "lenet-adam")),
                _Leg(("mnist", "mnist"), (net, net), ("lenet-adam", "lenet-sgd")),
                _Leg(("mnist", "mnist"), (net, net), ("lenet-sgd", "lenet-adam")),
            ],
            "paper": [
                _Leg(("cifar10-a", "cifar10-b"), (deep, deep), ("vgg", "vgg")),
                _Leg(("cifar10-a", "cifar10-a"), (deep, deep), ("vgg", "vgg-adam")),
                _Leg(("cifar10-a", "cifar10-a"), (deep, deep), ("vgg-adam", "vgg")),
            ],
        }
        return {
            "quick": cls._runs(legs["quick"], digits, (0, 4, 8, 12), seeds=3),
            "cifar10": cls._runs(legs["cifar10"], conv, (3, 7), seeds=3),
            "mnist": cls._runs(legs["mnist"], lenet, (3, 7, 9, 12), seeds=3),
            "paper": cls._runs(legs["paper"], vgg, range(0, 31, 5), seeds=6),
        }

    @classmethod
    def _runs(cls, legs: Sequence[_Leg], shared: Mapping[str, Any], levels: Sequence[int], *, seeds: int) -> list[Self]:
        return [
            cls(
                source_data=leg.data[0],
                target_data=leg.data[1],
                source_model=leg.models[0],
                target_model=leg.models[1],
                source_recipe=leg.recipes[0],
                target_recipe=leg.recipes[1],
                arm=arm,
                draw=0,
                levels=tuple(levels),
                seed=seed,
                **shared,
            )
            for leg in legs
            for arm in ARMS
            for seed in range(seeds)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per way, level and arm, with the transferred ticket beside it, in pairs over the seeds."""
        found = {
            (run.way, row["level"], run.arm, run.seed, run.draw): row for run, res in finished for row in res["rows"]
        }
        rows, ways = [], [run.way for run, _ in finished]
        for way, level, arm in sorted(
            {key[:3] for key in found}, key=lambda key: (ways.index(key[0]), key[1], ARMS.index(key[2]))
        ):
            mine = {key[3:]: row for key, row in found.items() if key[:3] == (way, level, arm)}
            row: dict[str, Any] = {
                "from": way[0],
                "to": way[1],
                "level": level,
                "density %": percent(list(mine.values()), "density"),
                "arm": arm,
                "runs": len(mine),
                "at the stop %": percent(list(mine.values()), "test_at_stop"),
                "at the end %": percent(list(mine.values()), "test_at_end"),
            }
            carried = {seed: found.get((way, level, "transferred", seed, 0)) for seed, _ in mine}
            if arm != "transferred" and all(carried.values()):
                ours = [carried[seed]["test_at_end"] for seed, _ in mine]  # type: ignore[index]
                row["transferred better by"] = str(gain(ours, [one["test_at_end"] for one in mine.values()]))
            rows.append(row)
        return rows

    @property
    def way(self) -> tuple[str, str]:
        """From where to where, for people."""
        ends = (self.source_data, self.source_recipe), (self.target_data, self.target_recipe)
        first, second = (f"{title_of(part)} ({recipe})" for part, recipe in ends)
        return first, second


@dataclass(frozen=True)
class _Leg:
    """From where to where: data, networks, recipes."""

    data: tuple[PartName, PartName]
    models: tuple[str, str]
    recipes: tuple[RecipeName, RecipeName]
