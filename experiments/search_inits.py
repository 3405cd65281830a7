"""Which random weights make good tickets: laws of the weights, scaled by the density or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment
from experiments._search import DATA, PLANS, TITLES, Data, gain, parts_of, percent, searched

__all__ = ["INITS", "SearchInits", "by_init"]

Init = Literal["signed-constant", "kaiming-normal", "kaiming-uniform", "xavier-constant", "xavier-normal"]
INITS: Final[tuple[Init, ...]] = (
    "signed-constant",
    "kaiming-normal",
    "kaiming-uniform",
    "xavier-constant",
    "xavier-normal",
)
_USUAL: Final = ("signed-constant", False)


@final
@dataclass(frozen=True)
class SearchInits(AbstractExperiment):
    """Search with edge-popup in weights of one law, beside a random and a shuffled mask.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: name of the recipe.
        epochs: passes over the data.
        density: fraction of each layer that is kept, in (0, 1].
        init: law of the weights.
        scaled: weights times 1 / sqrt(density).
        lrs: learning rates to choose from, on validation data.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "search_inits"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    epochs: int
    density: float
    init: Init
    scaled: bool
    lrs: tuple[float, ...]
    seed: int

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls."""
        from strongticket.models import architecture
        from strongticket.search import search_recipe

        usual = search_recipe(self.recipe).changed(epochs=self.epochs).with_density(self.density)
        recipe = usual.changed(init=self.init, scaled=self.scaled)
        recipes = [recipe.changed(lr=lr) for lr in self.lrs]
        return searched(architecture(self.model), parts_of(self.data, self.seed), recipes, self.seed)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits), mnist and fashion-mnist (2 epochs), cifar10 (5 epochs): density 0.3, 5 seeds each."""
        found: dict[str, Sequence[Self]] = {data: cls._of(data) for data in DATA}
        return {"quick": found["digits"], **found}

    @classmethod
    def _of(cls, data: Data) -> list[Self]:
        plan = PLANS[data]
        epochs = {"digits": plan.epochs, "cifar10": 5}.get(data, 2)
        lrs = {"digits": (0.3, 1.0), "cifar10": (0.1,)}.get(data, (0.4, 1.6))
        return [
            cls(data, plan.model, plan.recipe, epochs, 0.3, init, scaled, lrs, seed)
            for init in INITS
            for scaled in (False, True)
            for seed in range(5)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per law: accuracies over the seeds, and what it has over the unscaled signed constant."""
        groups, rows = by_init(finished), []
        for (data, init, scaled), results in groups.items():
            row: dict[str, Any] = {"data": TITLES[data], "init": init, "scaled": "yes" if scaled else "no"}
            row |= {"seeds": len(results), "ticket %": percent(results)}
            row["random mask %"] = percent(results, "random_accuracy")
            if (init, scaled) != _USUAL:
                usual = groups[data, *_USUAL]
                each = ([result["accuracy"] for result in some] for some in (results, usual))
                row["over signed-constant"] = str(gain(*each))
            rows.append(row)
        return rows


def by_init(
    finished: Sequence[tuple[SearchInits, dict[str, Any]]],
) -> dict[tuple[Data, str, bool], list[dict[str, Any]]]:
    """Return the results of all seeds of each (data, init, scaled)."""
    groups: dict[tuple[Data, str, bool], list[dict[str, Any]]] = {}
    for run, result in finished:
        groups.setdefault((run.data, run.init, run.scaled), []).append(result)
    return groups
