"""Pruning before training: SNIP, GraSP and SynFlow beside their sanity checks, and beside iterative pruning.

Frankle, Dziugaite, Roy & Carbin (2020) claim that what these methods find is how many weights each layer keeps, and no
more: shuffling a mask within each layer costs no accuracy, nor do fresh weights, while both spoil what iterative
pruning finds; and turning scores round should ruin a method that ranks weights at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final, get_args

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._weak import device, stages_folder
from experiments._weak_parts import PartName, RecipeName, recipe_of, title_of, weak_part
from strongticket.statistics import gain

if TYPE_CHECKING:
    from strongticket.weak import Level, Trunk, WeakData

__all__ = ["CHECKS", "METHODS", "Check", "Method", "PruningAtStart"]

Method = Literal["imp", "random", "random-layer", "magnitude", "snip", "grasp", "grasp-abs", "synflow"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
Check = Literal["none", "shuffle", "reinit", "invert"]
CHECKS: Final[Mapping[Check, str]] = MappingProxyType(
    {
        "none": "as found",
        "shuffle": "with its mask shuffled",
        "reinit": "with fresh weights",
        "invert": "with its scores turned round",
    }
)
"""{check: what is done}."""


@final
@dataclass(frozen=True)
class PruningAtStart(AbstractExperiment):
    """Train what one method keeps of a network before it is trained, or a check of that.

    All methods and checks of a seed share the random network, the data order and the counts: those of the levels of
    iterative pruning, which is one of the methods. Trainings are kept as stages (see the experiment "imp").

    Args:
        data: what on.
        model: the network, by name.
        recipe: how everything is trained.
        steps: of each training.
        evaluate_every: steps between two looks at the validation data.
        scope: what a round of iterative pruning takes away, by name; it also says which layers are pruned at all.
        rewind: the step whose weights are pruned; 0: the beginning.
        law: of the initial weights.
        method: what prunes; "imp": iterative pruning, which trains first.
        check: "none"; "shuffle": the mask is shuffled within each layer; "reinit": it gets fresh weights; "invert": the
            method's lowest scores are kept (not for "imp").
        levels: rounds of iterative pruning, whose counts all methods have.
        per_class: training examples of each class that SNIP and GraSP look at.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "pruning_at_start"
    version: ClassVar[int] = 1

    data: PartName
    model: str
    recipe: RecipeName
    steps: int
    evaluate_every: int
    scope: str
    rewind: int
    law: str
    method: Method
    check: Check
    levels: tuple[int, ...]
    per_class: int
    seed: int

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.check not in CHECKS:
            raise ValueError(f"expected a method of {METHODS} and a check of {list(CHECKS)}, got {self}")
        if (self.method, self.check) == ("imp", "invert"):
            raise ValueError("iterative pruning has no scores to turn round: choose another check, or method")

    def run(self) -> dict[str, Any]:
        """Return counts and accuracies at each level."""
        from strongticket.weak import Imp, Trunk

        data = weak_part(self.data, self.seed).to(device())
        recipe = recipe_of(self.recipe, self.steps, self.evaluate_every)
        imp = Imp(self.model, recipe, self.scope, self.rewind, law=self.law, seed=self.seed)
        trunk = Trunk(imp, data, stages_folder())
        rows, seconds = [], []
        for number in self.levels:
            level = self._level(trunk, number, data)
            names = ("kept", "density", "early_stop", "test_at_stop", "test_at_end")
            empty = [name for name, count in level.mask.counts.items() if not count]
            rows.append({"level": number, **{name: level.record[name] for name in names}, "empty": empty})
            seconds.append(level.record["measured"]["seconds"])
        return {"data": data.name, "rows": rows, "measured": {"training_s": seconds}}

    def _level(self, trunk: Trunk, number: int, data: WeakData) -> Level:
        from strongticket.weak import Control, at_start, controlled, train_ticket

        weights: Literal["ticket", "reinit"] = "reinit" if self.check == "reinit" else "ticket"
        mask: Literal["ticket", "layer-shuffle"] = "layer-shuffle" if self.check == "shuffle" else "ticket"
        if self.method == "imp":
            return trunk.branch(number, Control(weights, mask))
        found = at_start(trunk, number, self.method, data, per_class=self.per_class, backwards=self.check == "invert")
        return train_ticket(trunk, controlled(found, Control(weights, mask), trunk))

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits, three seeds), digits (five), mnist (LeNet-300-100, 8,000 steps), paper.

        paper: ResNet-20 on CIFAR-10 for 160 epochs, with the recipe, the scope and the three densities (0.262, 0.107
        and 0.055) of chen2021elastic's comparison, but at the beginning, where the methods were made for, instead of
        step 1,000.
        """
        digits = {"data": "digits", "model": "mlp-64-300-100-10+bias", "recipe": "digits-adam", "steps": 400}
        lenet = {"data": "mnist", "model": "lenet-300-100+bias", "recipe": "lenet-adam", "steps": 8_000}
        resnet = {"data": "cifar10", "model": "resnet20+affine", "recipe": "resnet", "steps": 56_320}
        glorot = {"scope": "lth-lenet", "law": "glorot-normal", "rewind": 0, "per_class": 10}
        kaiming = {"scope": "openlth", "law": "kaiming-normal", "rewind": 0, "per_class": 10}
        return {
            "quick": cls._runs({**digits, **glorot, "evaluate_every": 40}, (4, 8, 12), seeds=3),
            "digits": cls._runs({**digits, **glorot, "evaluate_every": 40}, (4, 8, 12), seeds=5),
            "mnist": cls._runs({**lenet, **glorot, "evaluate_every": 100}, (7, 12), seeds=3),
            "paper": cls._runs({**resnet, **kaiming, "evaluate_every": 1_760}, (6, 10, 13), seeds=3),
        }

    @classmethod
    def _runs(cls, shared: Mapping[str, Any], levels: Sequence[int], *, seeds: int) -> list[Self]:
        return [
            cls(**shared, method=method, check=check, levels=tuple(levels), seed=seed)
            for method, check, seed in itertools.product(METHODS, CHECKS, range(seeds))
            if check in _checks_of(method)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per level and method: what it finds, and what each check costs, in pairs over the seeds."""
        found = {
            (row["level"], run.method, run.check, run.seed): row for run, result in finished for row in result["rows"]
        }
        rows = []
        for level, method in sorted({key[:2] for key in found}, key=lambda key: (key[0], METHODS.index(key[1]))):
            mine = {key[3]: row for key, row in found.items() if key[:3] == (level, method, "none")}
            if not mine:
                continue
            group = list(mine.values())
            row: dict[str, Any] = {
                "data": title_of(finished[0][0].data),
                "level": level,
                "density %": percent(group, "density"),
                "method": method,
                "runs": len(group),
                "at the end %": percent(group, "test_at_end"),
                "empty layers": sum(len(one["empty"]) for one in group),
            }
            for check, what in CHECKS.items():
                other = [found.get((level, method, check, seed)) for seed in mine]
                if check != "none" and all(other):
                    theirs = [one["test_at_end"] for one in other if one]
                    row[f"better than {what} by"] = str(gain([one["test_at_end"] for one in group], theirs))
            rows.append(row)
        return rows


def _checks_of(method: Method) -> tuple[Check, ...]:
    """The checks that say something: a random mask is the same when it is shuffled or turned round."""
    if method.startswith("random"):
        return ("none",)
    return ("none", "shuffle", "reinit") if method == "imp" else ("none", "shuffle", "reinit", "invert")
