"""Winning tickets: iterative magnitude pruning beside one-shot pruning, fresh weights and random masks.

Frankle & Carbin (2019) claim that what iterative pruning leaves, put back to where it began, learns at least as fast
and as well as the whole network, and that the same mask with fresh weights does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._search import TITLES, Data
from experiments._weak import device, moments_of, stages_folder, weak_data
from strongticket.statistics import gain

__all__ = ["ARMS", "NETWORKS", "PUBLISHED", "PUBLISHED_CONVOLUTIONAL", "Arm", "Imp", "Network"]

Arm = Literal[
    "ticket",
    "one-shot",
    "reinit",
    "same-sign",
    "resampled",
    "constant-sign",
    "random-mask",
    "random-mask-global",
    "random-ticket",
]
ARMS: Final[tuple[Arm, ...]] = (
    "ticket",
    "one-shot",
    "reinit",
    "same-sign",
    "resampled",
    "constant-sign",
    "random-mask",
    "random-mask-global",
    "random-ticket",
)
MARKED: Final = (3, 7, 9, 12, 15)
"""Levels whose densities the paper names: 51.3, 21.1, 13.5, 7.0 and 3.6 per cent."""
BESIDE: Final[tuple[Arm, ...]] = ("reinit", "one-shot", "random-mask", "same-sign")
"""Arms that the presets have beside the tickets."""
PUBLISHED: Final[Mapping[int, float]] = {3: 51.3, 7: 21.1, 9: 13.5, 12: 7.0, 15: 3.6, 18: 1.9}
"""{level: per cent of weights kept}, as printed in the paper for LeNet-300-100."""
SEEDS: Final = range(5)


@dataclass(frozen=True)
class Network:
    """A convolutional network of the paper: its name, recipe and scope, and how many levels are pruned."""

    model: str
    recipe: str
    scope: str
    levels: int


NETWORKS: Final[Mapping[str, Network]] = MappingProxyType(
    {
        **{
            f"conv{n}{extra}": Network(f"conv{n}+bias", f"lth-conv{n}{extra}", f"lth-conv{n}", 20)
            for n in (2, 4, 6)
            for extra in ("", "-dropout")
        },
        **{
            f"resnet20{extra}": Network("resnet20+bias+affine", f"lth-resnet{extra}", "lth-global", 12)
            for extra in ("", "-low", "-warm")
        },
        **{
            f"vgg19{extra}": Network("vgg19+bias+affine", f"lth-vgg19{extra}", "lth-global", 19)
            for extra in ("", "-low", "-warm")
        },
    }
)
"""The paper's networks for CIFAR-10, a preset each, with the published settings; "resnet20" is what it calls Resnet-18,
"low" and "warm" are its other learning rates. They need a GPU (set STRONGTICKET_DEVICE): hours to days of a core for
each training."""
PUBLISHED_CONVOLUTIONAL: Final[Mapping[str, Mapping[int, float]]] = MappingProxyType(
    {
        "conv2": {11: 8.8, 14: 4.6},
        "conv4": {11: 11.1, 12: 9.2},
        "conv6": {7: 26.4, 10: 15.1},
        "resnet20": {6: 27.1, 7: 21.9, 10: 11.8},
        "vgg19": {15: 3.5, 19: 1.5},
    }
)
"""{network: {level: per cent of weights kept}}, as printed. Ours are the same, but for Conv-6: 26.6 and 15.3. The paper
counts 1.7 million weights in it; the network that it describes has 2,261,184."""


@final
@dataclass(frozen=True)
class Imp(AbstractExperiment):
    """Train one arm of a trunk of iterative pruning at some of its levels.

    All arms of a seed share the trunk's random network, masks, data order and validation examples. Its levels are
    trained once and kept as stages (in the folder that STRONGTICKET_STAGES names, or out/stages): whichever arm comes
    first makes them, and a run that was killed goes on from the last one.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: how levels are trained, by name.
        steps: of each training.
        evaluate_every: steps between two looks at the validation data.
        scope: what a round takes away, by name.
        rewind: the step that is rewound to.
        criterion: which weights stay.
        arm: "ticket": the levels of the trunk; "one-shot": the same counts, cut at once; or a control.
        draw: number of the control's draw.
        levels: which ones are trained.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "imp"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    steps: int
    evaluate_every: int
    scope: str
    rewind: int
    criterion: str
    arm: Arm
    draw: int
    levels: tuple[int, ...]
    seed: int

    def run(self) -> dict[str, Any]:
        """Return counts, early stops and accuracies at each level."""
        import strongticket.weak as weak

        data = weak_data(self.data, self.seed)
        recipe = weak.STEP_RECIPES[self.recipe].changed(steps=self.steps, evaluate_every=self.evaluate_every)
        imp = weak.Imp(self.model, recipe, self.scope, self.rewind, self.criterion, seed=self.seed)
        trunk = weak.Trunk(imp, data, stages_folder(), device=device())
        rows = []
        for number in self.levels:
            if self.arm in ("ticket", "one-shot"):
                level = trunk.level(number, "one-shot" if self.arm == "one-shot" else "iterative")
            else:
                base = weak.CONTROLS[self.arm]
                level = trunk.branch(number, weak.Control(base.weights, base.mask, self.draw))
            rows.append({"level": number, **_row(level)})
        mean, std = moments_of(self.data, self.seed)
        return {
            "data": data.name,
            "counted": trunk.mask(0).size,
            "train": len(data.train[1]),
            "validation": len(data.validation[1]),
            "inputs": {"mean": mean, "std": std},
            "rows": rows,
            "measured": {"training_s": [row.pop("seconds") for row in rows]},
        }

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (digits), a small conv, one for each of `NETWORKS`, mnist (a sixth of the steps), paper; five seeds.

        conv: Conv-2 of a quarter of the width for a tenth of its steps. paper: LeNet-300-100 for 50,000 steps, levels 0
        to 20, every level once cut at once and three times drawn afresh, as published.
        """
        digits = {"data": "digits", "model": "mlp-64-300-100-10+bias", "recipe": "digits"}
        lenet = {"data": "mnist", "model": "lenet-300-100+bias", "recipe": "lth-lenet"}
        scope: dict[str, Any] = {"scope": "lth-lenet", "rewind": 0, "criterion": "large-final"}
        digits, lenet = {**digits, **scope}, {**lenet, **scope}
        conv = {**scope, "data": "cifar10", "model": "conv2x0.25+bias", "recipe": "lth-conv2", "scope": "lth-conv2"}
        return {
            "quick": cls._runs(
                {**digits, "steps": 600, "evaluate_every": 20},
                {"ticket": range(0, 17, 2), **dict.fromkeys(BESIDE, (2, 6, 12))},
            ),
            "conv": cls._runs(
                {**conv, "steps": 2_000, "evaluate_every": 100},
                {"ticket": range(0, 11, 2), "reinit": range(2, 11, 2)},
            ),
            # before the last two, since figures draw the last complete preset, and these have other levels
            **{name: cls._published(network) for name, network in NETWORKS.items()},
            "mnist": cls._runs(
                {**lenet, "steps": 8_000, "evaluate_every": 100},
                {"ticket": range(16), **dict.fromkeys(BESIDE, (7, 12)), "reinit": MARKED},
            ),
            "paper": cls._runs(
                {**lenet, "steps": 50_000, "evaluate_every": 100},
                {
                    "ticket": range(21),
                    **dict.fromkeys(BESIDE, (*MARKED, 18)),
                    "one-shot": range(1, 21),
                    "reinit": range(1, 21),
                },
                reinits=3,
            ),
        }

    @classmethod
    def _published(cls, network: Network) -> list[Self]:
        """Tickets at all levels, and each of them drawn afresh three times."""
        from strongticket.weak import STEP_RECIPES

        shared = {"data": "cifar10", "model": network.model, "recipe": network.recipe, "scope": network.scope}
        more = {"steps": STEP_RECIPES[network.recipe].steps, "evaluate_every": 100, "rewind": 0}
        levels: dict[Arm, Sequence[int]] = {"ticket": range(network.levels + 1), "reinit": range(1, network.levels + 1)}
        return cls._runs({**shared, **more, "criterion": "large-final"}, levels, reinits=3)

    @classmethod
    def _runs(cls, shared: Mapping[str, Any], levels: Mapping[Arm, Sequence[int]], *, reinits: int = 1) -> list[Self]:
        draws = {arm: reinits if arm == "reinit" else 1 for arm in levels}
        # the trunks first: their branches then find them made
        return [
            cls(**shared, arm=arm, draw=draw, levels=tuple(some), seed=seed)
            for arm, some in levels.items()
            for draw in range(draws[arm])
            for seed in SEEDS
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per level and arm: early stop, accuracies, and the ticket beside it, in pairs over the seeds."""
        from strongticket.weak import speed

        found = {(run.seed, run.arm, run.draw, row["level"]): row for run, result in finished for row in result["rows"]}
        rows = []
        for level, arm in sorted({(key[3], key[1]) for key in found}, key=lambda pair: (pair[0], ARMS.index(pair[1]))):
            mine = {(seed, draw): row for (seed, a, draw, n), row in found.items() if (n, a) == (level, arm)}
            group = list(mine.values())
            row: dict[str, Any] = {
                "data": TITLES[finished[0][0].data],
                "level": level,
                "density %": f"{100 * group[0]['density']:.1f}",
                "arm": "dense" if level == 0 else arm,
                "runs": len(group),
                "early stop": f"{sum(one['early_stop'] for one in group) / len(group):,.0f}",
                "at the stop %": percent(group, "test_at_stop"),
                "at the end %": percent(group, "test_at_end"),
            }
            if arm != "ticket":
                # the draws of a seed stand beside one and the same ticket: they are one pair, not several
                seeds = sorted({seed for seed, _ in mine})
                ours = [found[(seed, "ticket", 0, level)] for seed in seeds]
                theirs = [_mean_of([one for (of, _), one in mine.items() if of == seed]) for seed in seeds]
                stops = speed([one["early_stop"] for one in theirs], [one["early_stop"] for one in ours])
                row["stops later than the ticket"] = f"{stops.mean_of_ratios:.2f}x"
                better = gain([one["test_at_stop"] for one in ours], [one["test_at_stop"] for one in theirs])
                row["ticket better by"] = str(better)
            rows.append(row)
        return rows


def _mean_of(draws: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the draws of a control for one seed."""
    return {name: sum(one[name] for one in draws) / len(draws) for name in ("early_stop", "test_at_stop")}


def _row(level: Any) -> dict[str, Any]:
    record = level.record
    names = ("kept", "density", "early_stop", "validation_at_stop", "test_at_stop", "test_at_end")
    curve = {name: record["curve"][name] for name in ("step", "loss", "accuracy")}
    return {**{name: record[name] for name in names}, "curve": curve, "seconds": record["measured"]["seconds"]}
