"""What a searched subnetwork achieves, against the width of the random network that it lies in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, final

from experiments._experiment import AbstractExperiment
from experiments._search import DATA, PLANS, TITLES, Data, gain, parts_of, percent, searched, widened

__all__ = ["WIDTHS", "SearchWidth", "by_width"]

WIDTHS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)


@final
@dataclass(frozen=True)
class SearchWidth(AbstractExperiment):
    """Search at one width factor with edge-popup, beside a random and a shuffled mask.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network at width factor 1, by name.
        recipe: name of the recipe.
        epochs: passes over the data.
        width: factor of the hidden layers.
        density: fraction of each layer that is kept, in (0, 1].
        seed: of everything that is random.
    """

    name: ClassVar[str] = "search_width"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    epochs: int
    width: float
    density: float
    seed: int

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls."""
        from strongticket.models import architecture
        from strongticket.search import search_recipe

        network = widened(architecture(self.model), self.width)
        recipe = search_recipe(self.recipe).changed(epochs=self.epochs).with_density(self.density)
        return searched(network, parts_of(self.data, self.seed), [recipe], self.seed)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits), mnist, fashion-mnist, cifar10 (up to the width of the plan): 5 seeds each."""
        found: dict[str, Sequence[Self]] = {data: cls._of(data) for data in DATA}
        return {"quick": found["digits"], **found}

    @classmethod
    def _of(cls, data: Data) -> list[Self]:
        plan = PLANS[data]
        widths = [width for width in WIDTHS if data != "cifar10" or width <= 1]
        return [
            cls(data, plan.model, plan.recipe, plan.epochs, width, 0.5, seed) for width in widths for seed in range(5)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per width: accuracies over the seeds, and what they have over width factor 1 and a random mask."""
        groups, rows = by_width(finished), []
        for (data, model, width), results in groups.items():
            ours = [result["accuracy"] for result in results]
            row: dict[str, Any] = {"data": TITLES[data], "model": results[0]["model"], "width": width}
            row |= {"seeds": len(results), "ticket %": percent(results)}
            row |= {f"{kind} mask %": percent(results, f"{kind}_accuracy") for kind in ("random", "shuffled")}
            row["over random"] = str(gain(ours, [result["random_accuracy"] for result in results]))
            if (usual := groups.get((data, model, 1.0))) and width != 1:
                row["over width 1"] = str(gain(ours, [result["accuracy"] for result in usual]))
            rows.append(row)
        return rows


def by_width(
    finished: Sequence[tuple[SearchWidth, dict[str, Any]]],
) -> dict[tuple[Data, str, float], list[dict[str, Any]]]:
    """Return the results of all seeds of each (data, model, width)."""
    groups: dict[tuple[Data, str, float], list[dict[str, Any]]] = {}
    for run, result in finished:
        groups.setdefault((run.data, run.model, run.width), []).append(result)
    return groups
