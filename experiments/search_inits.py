"""Which random weights make good tickets: laws of the weights, scaled by the density or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, final, get_args

from experiments._search import TITLES, AbstractSearch, Data, Plan, beside_controls, grouped, over, searched

__all__ = ["INITS", "SearchInits"]

Init = Literal["signed-constant", "kaiming-normal", "kaiming-uniform", "xavier-constant", "xavier-normal"]
INITS: Final[tuple[Init, ...]] = get_args(Init)
_USUAL: Final = ("signed-constant", False)


@final
@dataclass(frozen=True)
class SearchInits(AbstractSearch):
    """Search with edge-popup in weights of one law, beside a random and a shuffled mask.

    Args:
        data, model, recipe, epochs, seed: see `AbstractSearch`.
        density: fraction of each layer that is kept, in (0, 1].
        init: law of the weights.
        scaled: weights times 1 / sqrt(density).
        lrs: learning rates to choose from, on validation data.
    """

    name: ClassVar[str] = "search_inits"
    version: ClassVar[int] = 1

    density: float
    init: Init
    scaled: bool
    lrs: tuple[float, ...]

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls."""
        recipe = self.how().with_density(self.density).changed(init=self.init, scaled=self.scaled)
        return searched(self.network(), self.parts(), [recipe.changed(lr=lr) for lr in self.lrs], self.seed)

    @classmethod
    def settings(cls, data: Data, plan: Plan) -> Sequence[Mapping[str, Any]]:
        """Every law at density 0.3; on MNIST and Fashion-MNIST for 2 epochs, on CIFAR-10 for 5."""
        epochs = {"digits": plan.epochs, "cifar10": 5}.get(data, 2)
        lrs = {"digits": (0.3, 1.0), "cifar10": (0.1,)}.get(data, (0.4, 1.6))
        return [
            {"epochs": epochs, "density": 0.3, "init": init, "scaled": scaled, "lrs": lrs}
            for init in INITS
            for scaled in (False, True)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per law: accuracies over the seeds, and what it has over the unscaled signed constant."""
        groups, rows = grouped(finished, "data", "init", "scaled"), []
        for (data, init, scaled), results in groups.items():
            row: dict[str, Any] = {"data": TITLES[data], "init": init, "scaled": "yes" if scaled else "no"}
            row |= {"seeds": len(results), **beside_controls(results)}
            if (init, scaled) != _USUAL:
                row["over signed-constant"] = over(results, groups[data, *_USUAL])
            rows.append(row)
        return rows
