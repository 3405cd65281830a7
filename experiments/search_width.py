"""What a searched subnetwork achieves, against the width of the random network that it lies in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, final

from experiments._search import TITLES, AbstractSearch, Data, Plan, beside_controls, grouped, over, searched, widened

__all__ = ["WIDTHS", "SearchWidth"]

WIDTHS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)


@final
@dataclass(frozen=True)
class SearchWidth(AbstractSearch):
    """Search at one width factor with edge-popup, beside a random and a shuffled mask.

    Args:
        data, model, recipe, epochs, seed: see `AbstractSearch`; the model is the network at width factor 1.
        width: factor of the hidden layers.
        density: fraction of each layer that is kept, in (0, 1].
    """

    name: ClassVar[str] = "search_width"
    version: ClassVar[int] = 1

    width: float
    density: float

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls."""
        recipe = self.how().with_density(self.density)
        return searched(widened(self.network(), self.width), self.parts(), [recipe], self.seed)

    @classmethod
    def settings(cls, data: Data, plan: Plan) -> Sequence[Mapping[str, Any]]:
        """Every width; on CIFAR-10 up to that of the plan."""
        widths = [width for width in WIDTHS if data != "cifar10" or width <= 1]
        return [{"epochs": plan.epochs, "width": width, "density": 0.5} for width in widths]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per width: accuracies over the seeds, and what they have over width factor 1 and a random mask."""
        groups, rows = grouped(finished, "data", "model", "width"), []
        for (data, model, width), results in groups.items():
            row: dict[str, Any] = {"data": TITLES[data], "model": results[0]["model"], "width": width}
            row |= {"seeds": len(results), **beside_controls(results)}
            if (usual := groups.get((data, model, 1.0))) and width != 1:
                row["over width 1"] = over(results, usual)
            rows.append(row)
        return rows
