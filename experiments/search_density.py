"""What a searched subnetwork of a random network achieves, against the share of weights that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, final

from experiments._percent import percent
from experiments._search import TITLES, AbstractSearch, Data, Plan, beside_controls, grouped, searched, trained

__all__ = ["DENSITIES", "MARGIN", "SearchDensity"]

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
class SearchDensity(AbstractSearch):
    """Search at one density with edge-popup, beside a random and a shuffled mask; or train the same network.

    Args:
        data, model, recipe, epochs, seed: see `AbstractSearch`.
        density: fraction of each layer that is kept, in (0, 1]; None: train the weights of the whole network instead.
    """

    name: ClassVar[str] = "search_density"
    version: ClassVar[int] = 1

    density: float | None

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls, or of the trained network."""
        network, recipe, parts = self.network(), self.how(), self.parts()
        if self.density is None:
            return trained(network, parts, recipe, self.seed)
        return searched(network, parts, [recipe.with_density(self.density)], self.seed)

    @classmethod
    def settings(cls, data: Data, plan: Plan) -> Sequence[Mapping[str, Any]]:
        """Every density, and the trained network."""
        return [{"epochs": plan.epochs, "density": density} for density in (*DENSITIES[data], None)]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per density: accuracies over the seeds, and what the ticket has over a random mask."""
        rows: list[dict[str, Any]] = []
        for (data, model, density), results in grouped(finished, "data", "model", "density").items():
            row: dict[str, Any] = {"data": TITLES[data], "model": model, "density": density, "seeds": len(results)}
            if density is None:
                row["trained %"] = percent(results)
            else:
                row |= beside_controls(results, margin=MARGIN if data == "cifar10" else 0.0)
            rows.append(row)
        return rows
