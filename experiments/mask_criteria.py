"""Which trained weights to keep, and what a mask knows before its weights are trained.

Zhou, Lan, Liu & Yosinski (2019) cut a trained network by ten criteria on where each weight began and where it ended,
and claim that those which keep large final weights make winning tickets; that masks which drop weights that change
their sign ("large-final-same-sign") classify far above chance on the untrained weights, and better still on nothing
but their signs; and that with signs drawn afresh all of this is gone. Such a mask is a strong ticket that nobody
searched for. The paper's untrained masks are cut at once, its tickets iteratively.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final, get_args

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._search import TITLES, Data
from experiments._weak import device, stages_folder, weak_data
from experiments.imp import NETWORKS
from strongticket.statistics import gain

if TYPE_CHECKING:
    from strongticket.weak import Control, Trunk, WeakData

__all__ = ["KEEPS", "PUBLISHED", "RANDOM", "UNTRAINED", "WAYS", "MaskCriteria", "Untrained"]

RANDOM: Final = "random"
"""Named like a criterion: as many weights of each layer as "large-final" keeps, drawn at random."""
KEEPS: Final = (
    *("large-final", "large-final-same-sign", "magnitude-increase", "movement", "large-init-large-final"),
    *("large-init", RANDOM, "small-init", "large-final-different-sign", "small-init-small-final", "small-final"),
)
"""The criteria of `strongticket.weak.CRITERIA`, and `RANDOM` where one would expect those above to be better."""
Family = Literal["iterative", "one-shot"]
WAYS: Final[Mapping[Family, str]] = MappingProxyType({"iterative": "iteratively", "one-shot": "at once"})
Untrained = Literal["ticket", "constant-sign", "reinit"]
UNTRAINED: Final[Mapping[Untrained, str]] = MappingProxyType(
    {"ticket": "its own weights", "constant-sign": "one size, its signs", "reinit": "weights drawn afresh"}
)
"""{control: the values under a mask that are looked at before training}; see `strongticket.weak.Control`."""
PUBLISHED: Final[Mapping[Data, float]] = MappingProxyType({"mnist": 86.0, "cifar10": 41.0})
"""{data: test accuracy in per cent} of the best untrained network that the paper reports without learning a mask."""


@final
@dataclass(frozen=True)
class MaskCriteria(AbstractExperiment):
    """Cut a trained network by one criterion, and look at what is left before and after its training.

    All criteria of a seed share the random network, its training, the data order and the counts. Trainings are kept as
    stages (see the experiment "imp").

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: how levels are trained, by name.
        steps: of each training.
        evaluate_every: steps between two looks at the validation data.
        scope: what a round takes away, by name.
        criterion: which weights stay: one of `KEEPS`.
        family: "iterative", or "one-shot": the trained network is cut to the counts of a level at once.
        levels: where the untrained masks are looked at.
        trained: where they are trained as well.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "mask_criteria"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    steps: int
    evaluate_every: int
    scope: str
    criterion: str
    family: Family
    levels: tuple[int, ...]
    trained: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        if self.criterion not in KEEPS or self.family not in get_args(Family):
            raise ValueError(f"expected a criterion of {KEEPS} and a family of {get_args(Family)}, got {self}")
        if strange := sorted(set(self.trained) - set(self.levels)):
            raise ValueError(f"levels that are trained are looked at first: {strange} are not in {self.levels}")

    def run(self) -> dict[str, Any]:
        """Return counts and accuracies at each level: untrained, as `UNTRAINED` lists, and trained."""
        from strongticket.weak import STEP_RECIPES, Imp, Trunk

        data = weak_data(self.data, self.seed).to(device())
        recipe = STEP_RECIPES[self.recipe].changed(steps=self.steps, evaluate_every=self.evaluate_every)
        criterion = "large-final" if self.criterion == RANDOM else self.criterion
        trunk = Trunk(Imp(self.model, recipe, self.scope, 0, criterion, seed=self.seed), data, stages_folder())
        rows = [self._row(trunk, number, data) for number in self.levels]
        trained = [trunk.branch(number, self._control, self.family) for number in self.trained]
        for level, number in zip(trained, self.trained, strict=True):
            names = ("early_stop", "test_at_stop", "test_at_end")
            rows[self.levels.index(number)] |= {name: level.record[name] for name in names}
        return {
            "data": data.name,
            "rows": rows,
            "measured": {"training_s": [level.record["measured"]["seconds"] for level in trained]},
        }

    def _row(self, trunk: Trunk, number: int, data: WeakData) -> dict[str, Any]:
        """What a level keeps, and what that is good for untrained."""
        from strongticket.training import accuracy
        from strongticket.weak import Control, WeakTicket, controlled

        found = controlled(WeakTicket.of(trunk, number, self.family), self._control, trunk)
        beside = {weights: controlled(found, Control(weights), trunk).module() for weights in UNTRAINED}
        inputs, labels = data.test
        return {
            "level": number,
            "kept": found.mask.counts,
            "density": found.density,
            "empty": [name for name, count in found.mask.counts.items() if not count],
            "untrained": {weights: accuracy(one.to(inputs.device), inputs, labels) for weights, one in beside.items()},
        }

    @property
    def _control(self) -> Control:
        from strongticket.weak import Control

        return Control(mask="layer-shuffle" if self.criterion == RANDOM else "ticket")

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits), conv2, conv4, conv6, mnist (LeNet-300-100 cut at once, a sixth of the steps), paper.

        The paper takes over the networks and settings of frankle2019lottery: paper has LeNet-300-100, the others its
        convolutional networks on CIFAR-10, which need a GPU. But for mnist, masks are cut at once, and looked at
        untrained, and cut iteratively, and trained as well.
        """
        digits = {"data": "digits", "model": "mlp-64-300-100-10+bias", "recipe": "digits", "scope": "lth-lenet"}
        lenet = {"data": "mnist", "model": "lenet-300-100+bias", "recipe": "lth-lenet", "scope": "lth-lenet"}
        even, every = range(2, 13, 2), range(1, 21)
        return {
            "quick": cls._both_ways({**digits, "steps": 600, "evaluate_every": 20}, even, seeds=3),
            # before the last two: figures draw the last complete preset
            **{name: cls._both_ways(_convolutional(name), every) for name in ("conv2", "conv4", "conv6")},
            "mnist": cls._runs(
                {**lenet, "steps": 8_000, "evaluate_every": 100}, range(1, 16), (7, 12), family="one-shot", seeds=3
            ),
            "paper": cls._both_ways({**lenet, "steps": 50_000, "evaluate_every": 100}, every),
        }

    @classmethod
    def _both_ways(cls, shared: Mapping[str, Any], levels: Sequence[int], seeds: int = 5) -> list[Self]:
        at_once = cls._runs(shared, levels, (), family="one-shot", seeds=seeds)
        return at_once + cls._runs(shared, levels, levels, seeds=seeds)

    @classmethod
    def _runs(
        cls,
        shared: Mapping[str, Any],
        levels: Sequence[int],
        trained: Sequence[int],
        *,
        family: Family = "iterative",
        seeds: int = 5,
    ) -> list[Self]:
        more: Any = {**shared, "family": family, "levels": tuple(levels), "trained": tuple(trained)}
        return [cls(**more, criterion=criterion, seed=seed) for seed in range(seeds) for criterion in KEEPS]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per way to cut, level and criterion: accuracies untrained and trained, the latter in pairs."""
        found = {
            (run.family, row["level"], run.criterion, run.seed): row
            for run, result in finished
            for row in result["rows"]
        }
        rows = []
        for key in sorted({key[:3] for key in found}, key=lambda key: (*key[:2], KEEPS.index(key[2]))):
            family, level, criterion = key
            mine = {one[3]: row for one, row in found.items() if one[:3] == key}
            group = list(mine.values())
            row: dict[str, Any] = {
                "data": TITLES[finished[0][0].data],
                "cut": WAYS[family],
                "level": level,
                "density %": f"{100 * group[0]['density']:.1f}",
                "kept": criterion,
                "runs": len(group),
            }
            for weights, what in UNTRAINED.items():
                row[f"untrained, {what} %"] = percent([one["untrained"] for one in group], weights)
            if "test_at_end" in group[0]:
                row["trained %"] = percent(group, "test_at_end")
                drawn = [found.get((family, level, RANDOM, seed)) for seed in mine]
                if criterion != RANDOM and all(drawn):
                    theirs = [one["test_at_end"] for one in drawn if one]
                    row["better than a random mask by"] = str(gain([one["test_at_end"] for one in group], theirs))
            row["empty layers"] = sum(len(one["empty"]) for one in group)
            rows.append(row)
        return rows


def _convolutional(name: str) -> dict[str, Any]:
    """The settings of frankle2019lottery for one of its networks."""
    from strongticket.weak import STEP_RECIPES

    network = NETWORKS[name]
    shared = {"data": "cifar10", "model": network.model, "recipe": network.recipe, "scope": network.scope}
    return {**shared, "steps": STEP_RECIPES[network.recipe].steps, "evaluate_every": 100}
