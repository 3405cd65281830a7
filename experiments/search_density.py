"""What a searched subnetwork of a random network achieves, against the share of weights that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, final

from experiments._experiment import AbstractExperiment
from experiments._search import DATA, PLANS, TITLES, Data, gain, parts_of, percent, searched, trained

__all__ = ["DENSITIES", "MARGIN", "SearchDensity", "by_density"]

DENSITIES: Final[Mapping[Data, tuple[float, ...]]] = {
    "digits": (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0),
    "mnist": (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    "fashion-mnist": (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    "cifar10": (0.1, 0.3, 0.5, 0.7, 0.9),
}
MARGIN: Final = 0.3
"""By how much a ticket is claimed to beat the random mask of the same layer densities, on CIFAR-10: 30 points."""


@final
@dataclass(frozen=True)
class SearchDensity(AbstractExperiment):
    """Search at one density with edge-popup, beside a random and a shuffled mask; or train the same network.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: name of the recipe.
        epochs: passes over the data.
        density: fraction of each layer that is kept, in (0, 1]; None: train the weights of the whole network instead.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "search_density"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    epochs: int
    density: float | None
    seed: int

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls, or of the trained network."""
        from strongticket.models import architecture
        from strongticket.search import search_recipe

        network, recipe = architecture(self.model), search_recipe(self.recipe).changed(epochs=self.epochs)
        parts = parts_of(self.data, self.seed)
        if self.density is None:
            return trained(network, parts, recipe, self.seed)
        return searched(network, parts, [recipe.with_density(self.density)], self.seed)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits), mnist, fashion-mnist, cifar10: 5 seeds each."""
        found: dict[str, Sequence[Self]] = {data: cls._of(data) for data in DATA}
        return {"quick": found["digits"], **found}

    @classmethod
    def _of(cls, data: Data) -> list[Self]:
        plan, densities = PLANS[data], (*DENSITIES[data], None)
        return [
            cls(data, plan.model, plan.recipe, plan.epochs, density, seed) for density in densities for seed in range(5)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per density: accuracies over the seeds, and what the ticket has over a random mask."""
        rows: list[dict[str, Any]] = []
        for (data, model, density), results in by_density(finished).items():
            row: dict[str, Any] = {"data": TITLES[data], "model": model, "density": density, "seeds": len(results)}
            row["ticket %" if density is not None else "trained %"] = percent(results)
            if density is not None:
                row |= {f"{kind} mask %": percent(results, f"{kind}_accuracy") for kind in ("random", "shuffled")}
                each = ([result[name] for result in results] for name in ("accuracy", "random_accuracy"))
                row["over random"] = str(gain(*each, margin=MARGIN if data == "cifar10" else 0.0))
            rows.append(row)
        return rows


def by_density(
    finished: Sequence[tuple[SearchDensity, dict[str, Any]]],
) -> dict[tuple[Data, str, float | None], list[dict[str, Any]]]:
    """Return the results of all seeds of each (data, model, density); density None is the trained network."""
    groups: dict[tuple[Data, str, float | None], list[dict[str, Any]]] = {}
    for run, result in finished:
        groups.setdefault((run.data, run.model, run.density), []).append(result)
    return groups
