"""Elastic tickets: a ticket of one depth, made deeper or shallower, beside one that was found at that depth.

Chen, Cheng, Wang, Gan, Liu & Wang (2021) claim that copying (or dropping) blocks of a ticket gives a ticket of another
depth, about as good as iterative pruning there and better than what pruning before training finds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, cast, final, get_args

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._weak import device, stages_folder
from experiments._weak_parts import PartName, RecipeName, recipe_of, title_of, weak_part
from strongticket.statistics import gain

if TYPE_CHECKING:
    from strongticket.weak import Level, Trunk, WeakData
    from strongticket.weak.weak_ticket import AtStart

__all__ = ["ABLATIONS", "APART", "ARMS", "BASELINES", "EVERY", "PUBLISHED", "PUBLISHED_VGG", "Arm", "Elastic"]

Arm = Literal[
    "imp",
    "elastic",
    "elastic-reinit",
    "elastic-random",
    "elastic-random-reinit",
    "elastic-random-copies",
    "elastic-snip-copies",
    "elastic-apart",
    "reinit",
    "random-layer",
    "magnitude",
    "snip",
    "grasp",
    "grasp-abs",
    "synflow",
]
EVERY: Final[tuple[Arm, ...]] = get_args(Arm)
NEW_BLOCKS: Final[Arm] = "elastic-snip-copies"
APART: Final[Arm] = "elastic-apart"
ARMS: Final[tuple[Arm, ...]] = tuple(arm for arm in EVERY if arm not in (NEW_BLOCKS, APART))
"""Arms of the presets "quick", "mlp-arms" and "fashion"; `NEW_BLOCKS` has a preset of its own, "blocks", `APART` is in
"quick" besides, and both are in "paper"."""
OTHER_DRAW: Final = 1_000_000
"""What is added to the seed of a source that is drawn apart from its target."""
LEVEL: Final = 10
"""The level of the published table: 89.26 per cent are gone."""
BASELINES: Final[tuple[Arm, ...]] = ("reinit", "random-layer", "magnitude", "snip", "grasp", "grasp-abs", "synflow")
ABLATIONS: Final[tuple[Arm, ...]] = tuple(arm for arm in ARMS if arm.startswith("elastic-"))
PUBLISHED: Final[Mapping[tuple[int, int], float]] = MappingProxyType(
    {
        (2, 2): 98.06,
        (2, 3): 97.95,
        (2, 4): 97.99,
        (3, 2): 97.91,
        (3, 3): 97.83,
        (3, 4): 97.83,
        (4, 2): 97.88,
        (4, 3): 97.91,
        (4, 4): 98.03,
    }
)
"""Table 5 of the paper, its half on MNIST: {(layers of 300 in the source, in the target): test accuracy in per cent} at
density 0.1074; equal numbers are iterative pruning."""
PUBLISHED_VGG: Final[Mapping[tuple[int, int], float]] = MappingProxyType(
    {
        (2, 2): 93.50,
        (2, 3): 93.61,
        (2, 5): 93.38,
        (3, 2): 93.50,
        (3, 3): 93.62,
        (3, 5): 93.59,
        (5, 2): 93.44,
        (5, 3): 93.59,
        (5, 5): 93.38,
    }
)
"""Its other half, VGG-13 with so many linear layers on the original CIFAR-10."""


@final
@dataclass(frozen=True)
class Elastic(AbstractExperiment):
    """Train a ticket of another depth, or one that stands beside it.

    All arms of a seed share the trunks of source and target, whose levels are kept as stages (see "imp"). Weights are
    drawn by seed and name, so that layers which source and target have in common begin from the same weights. Barriers
    along the line between the trained networks depend on it: the arm "elastic-apart" has a source of another seed.

    Args:
        data: what on.
        source: the network that the ticket is found in.
        target: the one of another depth.
        recipe: how everything is trained.
        steps: of each training.
        evaluate_every: steps between two looks at the validation data.
        scope: what a round takes away, by name.
        rewind: the step that is rewound to.
        law: of the initial weights.
        order: of the copied blocks: "append" or "interpolate".
        arm: "imp": a ticket of the target's own; "elastic": the source's, made to fit, and the same with fresh weights,
            with a mask that is shuffled within layers, with both, with one that is shuffled in the copies alone, and
            with new blocks in place of the copies, of the target's own weights and as many of them, chosen by SNIP;
            "elastic-apart": "elastic" with a source that was drawn, and saw its data, by another seed;
            "reinit" and "random-layer": controls of "imp"; the others: what pruning at the start finds on the target's
            rewound weights, at the density of "imp".
        levels: rounds of pruning.
        per_class: training examples of each class that SNIP and GraSP look at.
        path_points: of the line between the trained elastic ticket and the trained ticket of the target's own, on test
            data; 0: none.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "elastic"
    version: ClassVar[int] = 1

    data: PartName
    source: str
    target: str
    recipe: RecipeName
    steps: int
    evaluate_every: int
    scope: str
    rewind: int
    law: str
    order: Literal["append", "interpolate"]
    arm: Arm
    levels: tuple[int, ...]
    per_class: int
    path_points: int
    seed: int

    def run(self) -> dict[str, Any]:
        """Return densities and accuracies at each level."""
        from strongticket.weak.blocks import Blocks
        from strongticket.weak.elastic import BlockPlan, elastic
        from strongticket.weak.weak_ticket import WeakTicket, refilled

        data = weak_part(self.data, self.seed).to(device())
        target = self._trunk(self.target, data)
        rows, seconds = [], []
        for number in self.levels:
            ticket, level = None, None
            if self.arm.startswith("elastic"):
                apart = OTHER_DRAW if self.arm == APART else 0
                ticket = WeakTicket.of(self._trunk(self.source, data, apart), number)
                lengths = [Blocks.of(one).lengths for one in (ticket.network, target.network)]
                plan = BlockPlan.between(lengths[0], lengths[1], self.order)
                ticket = elastic(ticket, target.network, plan)
                if self.arm == "elastic-random-copies":
                    ticket = replace(ticket, pruned=plan.copies(target.network))
                if self.arm == "elastic-snip-copies":
                    parts = plan.copies(target.network, whole=True)
                    ticket = refilled(ticket, parts, target, data, per_class=self.per_class)
            level = self._level(target, number, data, ticket)
            names = ("density", "early_stop", "test_at_stop", "test_at_end")
            row = {"level": number, **{name: level.record[name] for name in names}, **_stages_of(target, level)}
            if self.arm in ("elastic", APART) and self.path_points:
                row["path"] = self._path(target, target.level(number), level, data)
            rows.append(row)
            seconds.append(level.record["measured"]["seconds"])
        return {"data": data.name, "rows": rows, "measured": {"training_s": seconds}}

    def _trunk(self, model: str, data: WeakData, apart: int = 0) -> Trunk:
        from strongticket.weak import Imp, Trunk

        recipe = recipe_of(self.recipe, self.steps, self.evaluate_every)
        imp = Imp(model, recipe, self.scope, self.rewind, law=self.law, seed=self.seed + apart)
        return Trunk(imp, data, stages_folder())

    def _level(self, target: Trunk, number: int, data: WeakData, ticket: Any) -> Level:
        from strongticket.weak import Control
        from strongticket.weak.weak_ticket import at_start, controlled, train_ticket

        weights: Literal["ticket", "reinit"] = "reinit" if self.arm.endswith("reinit") else "ticket"
        mask: Literal["ticket", "layer-shuffle"] = "layer-shuffle" if "random" in self.arm else "ticket"
        if ticket is not None:
            return train_ticket(target, controlled(ticket, Control(weights, mask), target))
        if self.arm in ("imp", "reinit", "random-layer"):
            return target.branch(number, Control(weights, mask))
        method = cast("AtStart", self.arm)
        return train_ticket(target, at_start(target, number, method, data, per_class=self.per_class))

    def _path(self, target: Trunk, found: Level, made: Level, data: WeakData) -> dict[str, Any]:
        from strongticket.weak.connectivity import connection

        line = connection(
            target.network,
            found.final,
            made.final,
            data.test,
            points=self.path_points,
            statistics=data.train[0][:4096],
        )
        return {"accuracy": [point.accuracy for point in line.points], "barrier": line.barrier, "drop": line.drop}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (perceptrons on the digits), blocks, mlp-held-out, mlp, mlp-arms (MNIST), fashion, paper (CIFAR-10).

        mlp: the published table, 40 epochs of all 60,000 examples as in the code that the paper's is made of;
        mlp-held-out: the same on 55,000 of them; mlp-arms: everything else beside one pair of depths; fashion:
        ResNet-14 to 20 of half the width on images of 14x14; blocks: new blocks in place of copies, and what of the
        others stands beside them; paper: 160 epochs, ResNets of 14 to 56 layers, VGG-13 with 2 to 5 linear layers.

        paper differs from the published runs where their code and text leave it open or our parts do: scales of batch
        normalisation begin at 1 (theirs at U(0, 1)), SNIP and GraSP look at 100 examples per class in training mode
        (theirs at all of them in evaluation mode), and decay spares normalisation and biases.
        """
        perceptron = {"scope": "openlth-output-kept", "rewind": 0, "law": "kaiming-normal", "per_class": 10}
        digits = {**perceptron, "data": "digits", "recipe": "digits-sgd", "steps": 400, "evaluate_every": 40}
        mnist = {**perceptron, "data": "mnist", "recipe": "open-lth", "steps": 17_200, "evaluate_every": 430}
        whole = {**mnist, "data": "mnist-whole", "steps": 18_760, "evaluate_every": 469}
        residual = {"scope": "openlth", "law": "kaiming-normal", "path_points": 6}
        fashion = {
            **residual,
            "data": "fashion-mnist-14",
            "recipe": "small-resnet",
            "steps": 800,
            "evaluate_every": 400,
            "rewind": 50,
            "per_class": 50,
        }
        cifar = {
            **residual,
            "data": "cifar10",
            "recipe": "resnet",
            "steps": 56_320,
            "evaluate_every": 1_760,
            "rewind": 1_000,
            "per_class": 100,
        }
        small = {n: perceptron_name(64, n) for n in (2, 3, 4)}
        large = {n: perceptron_name(784, n) for n in (2, 3, 4)}
        resnet = {n: f"resnet{n}x0.5+affine+1x14x14" for n in (14, 20)}
        wide = {n: f"resnet{n}+affine" for n in (14, 20, 32, 56)}
        vgg = {n: f"vgg13fc{n}+affine" for n in (2, 3, 5)}
        linear = {**cifar, "scope": "openlth-output-kept", "rewind": 200, "path_points": 0}
        steps = ((14, 20), (20, 32), (32, 56))
        copies: tuple[Arm, ...] = ("elastic-random-copies", NEW_BLOCKS)
        return {
            "quick": [
                *cls._square(small, (10,), 3, {**digits, "path_points": 6}),
                *cls._pair(small[2], small[3], (*BASELINES, *ABLATIONS), (10,), 3, {**digits, "path_points": 0}),
                *cls._pair(small[2], small[3], (APART,), (10,), 3, {**digits, "path_points": 6}),
            ],
            "blocks": [
                *cls._pair(large[2], large[3], ("imp", "elastic"), (10,), 3, {**whole, "path_points": 11}),
                *cls._pair(large[2], large[3], copies, (10,), 3, {**whole, "path_points": 0}),
                *cls._pair(resnet[14], resnet[20], ("imp", "elastic", *copies), (5, 8, 12), 3, fashion),
            ],
            "mlp-held-out": cls._square(large, (10,), 3, {**mnist, "path_points": 11}),
            "mlp": cls._square(large, (10,), 3, {**whole, "path_points": 11}),
            "mlp-arms": [
                *cls._pair(large[2], large[3], ("imp", "elastic"), (10,), 3, {**whole, "path_points": 11}),
                *cls._pair(large[2], large[3], (*BASELINES, *ABLATIONS), (10,), 3, {**whole, "path_points": 0}),
            ],
            "fashion": cls._pair(resnet[14], resnet[20], ARMS, (5, 8, 12), 3, fashion),
            "paper": list(
                dict.fromkeys(
                    [
                        *(run for a, b in steps for run in cls._pair(wide[a], wide[b], EVERY, (6, 10, 13), 3, cifar)),
                        *cls._pair(wide[56], wide[32], ARMS, (6, 10, 13), 3, cifar),  # where nothing is copied
                        *cls._square(vgg, (10,), 3, linear),
                    ]
                )
            ),
        }

    @classmethod
    def _square(
        cls, models: Mapping[int, str], levels: Sequence[int], seeds: int, shared: Mapping[str, Any]
    ) -> list[Self]:
        """Each network to each other; iterative pruning on the diagonal, which makes the sources, first."""
        pairs = [(a, a) for a in models] + [(a, b) for a in models for b in models if a != b]
        runs: list[Self] = []
        for a, b in pairs:
            runs += cls._pair(models[a], models[b], ("imp",) if a == b else ("elastic",), levels, seeds, shared)
        return runs

    @classmethod
    def _pair(
        cls,
        source: str,
        target: str,
        arms: Sequence[Arm],
        levels: Sequence[int],
        seeds: int,
        shared: Mapping[str, Any],
    ) -> list[Self]:
        ends = {"source": source, "target": target, "order": "append", "levels": tuple(levels)}
        return [
            cls(**{**shared, **ends, "source": target if arm not in _OF_SOURCE else source}, arm=arm, seed=seed)
            for arm in arms
            for seed in range(seeds)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per pair of networks, level and arm, the target's own ticket beside it, in pairs over the seeds."""
        # a preset may have several data sets, and then each row stands for one of them
        parts = list(dict.fromkeys(run.data for run, _ in finished))
        found = {
            (run.data, run.target, row["level"], run.source, run.arm, run.order, run.seed): row
            for run, result in finished
            for row in result["rows"]
        }
        rows = []
        for key in sorted({key[:6] for key in found}, key=lambda key: _place(key, parts)):
            data, target, number, source, arm, order = key
            mine = {seed: found[*key, seed] for seed in sorted(one[6] for one in found if one[:6] == key)}
            group = list(mine.values())
            row: dict[str, Any] = {
                "data": title_of(data),
                "source": source if arm in _OF_SOURCE else "",
                "target": target,
                "level": number,
                "arm": f"{arm}, {order}" if order != "append" else arm,
                "runs": len(group),
                "density %": percent(group, "density"),
                "at the end %": percent(group, "test_at_end"),
            }
            own = [found.get((data, target, number, target, "imp", "append", seed)) for seed in mine]
            if arm != "imp" and all(own):
                ours = [one["test_at_end"] for one in group]
                row["better than iterative pruning by"] = str(gain(ours, [one["test_at_end"] for one in own if one]))
            if "path" in group[0]:
                row["barrier %"] = percent([one["path"] for one in group], "barrier")
            published = _published(source, target)
            if published is not None and number == LEVEL and arm in ("imp", "elastic"):
                row["published %"] = f"{published:.2f}"
            rows.append(row)
        return rows


def _place(key: tuple[PartName, str, int, str, Arm, str], parts: Sequence[PartName]) -> tuple[Any, ...]:
    """Where a row of the table stands: by data, target and level, then in the order of the arms."""
    data, target, number, source, arm, order = key
    return parts.index(data), target, number, EVERY.index(arm), source, order


_OF_SOURCE: Final[frozenset[Arm]] = frozenset(("elastic", *ABLATIONS, NEW_BLOCKS, APART))
"""Arms that know the source; for the others it is the target itself."""


def perceptron_name(inputs: int, layers: int) -> str:
    """Return the name of the paper's MLP-n: n layers of 300 units, one of 100, ten outputs.

    >>> perceptron_name(784, 3)
    'mlp-784-300-300-300-100-10+bias'
    """
    return "-".join(["mlp", str(inputs), *["300"] * layers, "100", "10+bias"])


def _published(source: str, target: str) -> float | None:
    """The paper's accuracy, in per cent, for two perceptrons for MNIST or two VGG-13; None for other networks."""
    if source.startswith("mlp-784-") and target.startswith("mlp-784-"):
        return PUBLISHED.get((source.count("-300"), target.count("-300")))
    names = [_VGG.fullmatch(name) for name in (source, target)]
    return PUBLISHED_VGG.get((int(names[0][1]), int(names[1][1]))) if names[0] and names[1] else None


_VGG: Final = re.compile(r"vgg13fc(\d)\+affine")


def _stages_of(target: Trunk, level: Level) -> dict[str, Any]:
    from strongticket.weak.blocks import block_counts

    rows = block_counts(level.mask, target.network)
    return {"stages": [[[one.kept, one.size] for one in row] for row in rows]}
