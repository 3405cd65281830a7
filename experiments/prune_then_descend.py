"""Prune first, then descend: is what follows locally quasi-convex, and does it go as fast as the theory says?

A strong ticket, found by edge-popup or constructed by pensia2020optimal's proof, already computes something close to
what is wanted. From there its kept weights are trained by SGD on the squared error, the mask held. Near a minimum that
fits every example, the tangent kernel's beta, lambda_1 and lambda_k give the rate of ma2018power. Measured here, for
the ticket and beside it for the whole network and for a random mask: that spectrum, the loss against a twin whose
kernel is frozen at the start, and whether the loss is quasi-convex around the point that is reached.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final, get_args

import numpy as np

from experiments._experiment import AbstractExperiment, by_setting
from experiments._search import TITLES, Data

if TYPE_CHECKING:
    from strongticket import Ticket

__all__ = ["MASKS", "Base", "MaskName", "PruneThenDescend", "by_setting"]

Base = Literal["edge-popup", "constructed"]
MaskName = Literal["ticket", "dense", "random"]
MASKS: Final[tuple[MaskName, ...]] = get_args(MaskName)
SEEDS: Final = range(5)
_SEARCH_EPOCHS: Final = 40


@final
@dataclass(frozen=True)
class PruneThenDescend(AbstractExperiment):
    """Hold a mask, train what it keeps, and compare with the theory of SGD under interpolation.

    All masks of a seed lie on one random network. Outputs are multiplied by a number, so that at the start their mean
    square over the examples is that of the one-hot labels: the same rule for all masks.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        base: how the ticket comes about: "edge-popup" or "constructed".
        model: the random network that is searched; or the network that is trained and then constructed.
        mask: "ticket"; "dense": all weights; "random": as many weights of each layer as the ticket keeps.
        train: training examples of the descent, of those the ticket was found with.
        batch: m, drawn with replacement.
        steps: of the descent.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "prune_then_descend"
    version: ClassVar[int] = 1

    data: Data
    base: Base
    model: str
    mask: MaskName
    train: int
    batch: int
    steps: int
    seed: int

    def __post_init__(self) -> None:
        if self.base not in ("edge-popup", "constructed") or self.mask not in MASKS:
            raise ValueError(f"expected base 'edge-popup' or 'constructed' and a mask of {MASKS}, got {self}")
        if min(self.train, self.batch, self.steps) < 1:
            raise ValueError(f"train, batch and steps must be at least 1, got {self}")

    def run(self) -> dict[str, Any]:
        """Return the spectra, the losses, the frozen twin's losses, and what was seen of quasi-convexity."""
        from experiments._descend import Landscape
        from strongticket.search import random_mask
        from strongticket.training.loop import thread_count

        with thread_count(1):
            ticket, loaded = self._ticket()
            chosen: Ticket = ticket
            if self.mask == "random":
                chosen = random_mask(ticket.source, ticket, self.seed)
            elif self.mask == "dense":
                chosen = replace(ticket, mask=type(ticket.mask).full(ticket.source.shapes))
            few = loaded.train.take(self.train)
            landscape = Landscape(chosen, few.inputs, few.labels, loaded.classes)
            found, path = landscape.descend(self.batch, self.steps, self.seed)
            ends = path[0][1], path[-1][1]
            return {
                "note": loaded.note,
                "kept": chosen.mask.count,
                "density": chosen.mask.density,
                "scale": landscape.scale,
                **found,
                "train_error": [landscape.error(end, few.inputs, few.labels) for end in ends],
                "test_error": [landscape.error(end, loaded.test.inputs, loaded.test.labels) for end in ends],
            }

    def _ticket(self) -> tuple[Ticket, Any]:
        """The ticket and the data set."""
        from strongticket.data import load
        from strongticket.models import architecture

        loaded = load(self.data, seed=self.seed)
        network = architecture(self.model)
        if self.base == "edge-popup":
            from strongticket.search import EdgePopup, find, search_recipe

            recipe = search_recipe("digits").changed(epochs=_SEARCH_EPOCHS, method=EdgePopup(0.3))
            validation = (loaded.validation.inputs, loaded.validation.labels)
            found = find(
                network, loaded.train.inputs, loaded.train.labels, recipe, seed=self.seed, validation=validation
            )
            return found.ticket, loaded
        from experiments._descend import regressed
        from strongticket import MLP, Domain
        from strongticket.constructions import Pensia2020Optimal

        if not isinstance(network, MLP):
            raise ValueError(f"a network that is trained and then constructed is an MLP, got {network.id}")
        target = regressed(network, loaded, self.seed)
        method = Pensia2020Optimal(weight_eps=0.01, domain=Domain.box(0, 1), seed=self.seed)
        return method.construct(target).best, loaded

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 50 digits, 400 steps; default: 100 digits, 2,000 steps; both bases, all masks, five seeds.

        There is no "paper": nobody has published this measurement.
        """
        models: tuple[tuple[Base, str], ...] = (("edge-popup", "mlp-64-128-10"), ("constructed", "mlp-64-24-10"))

        def runs(train: int, steps: int) -> list[Self]:
            return [
                cls("digits", base, model, mask, train, 8, steps, seed)
                for (base, model), mask, seed in itertools.product(models, MASKS, SEEDS)
            ]

        return {"quick": runs(50, 400), "default": runs(100, 2_000)}

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each base and mask, medians over the seeds whose descent did not diverge."""
        rows = []
        for setting, every in by_setting(finished).items():
            results = [result for result in every if result["outcome"] == "done"]

            def median(value: Any, results: Sequence[Mapping[str, Any]] = results) -> float | None:
                known = [found for result in results if (found := value(result)) is not None]
                return float(np.median(known)) if known else None

            row: dict[str, Any] = {"data": TITLES[setting.data], "base": setting.base, "mask": setting.mask}
            row |= {"seeds": len(every), "weights kept": median(lambda one: one["kept"], every)}
            if len(results) < len(every):
                row["diverged"] = len(every) - len(results)
            row["m*"] = median(lambda one: one["spectrum"]["critical_batch"], every)
            row["first loss"] = median(lambda one: one["curve"][0][1], every)
            row["last loss"] = median(lambda one: one["curve"][-1][1])
            row["frozen twin"] = median(lambda one: one["frozen"][-1][1])
            row["rate per step"] = median(lambda one: one["rate"])
            row["frozen rate"] = median(lambda one: one["frozen_rate"])
            row["guaranteed rate"] = median(lambda one: one["guaranteed_rate"], every)
            row["kernel moved by"] = median(lambda one: one["kernel_change"])
            row["least <grad, w - w*>/loss"] = median(lambda one: one["path"]["least_quasar"])
            # a path without any point to look at shows nothing
            convex = [one["path"]["quasi_convex"] for one in results if one["path"]["least_quasar"] is not None]
            row["quasi-convex along path"] = f"{sum(convex)} of {len(every)}"
            row["segments with a hump"] = sum(one["segments"]["humps"] for one in results)
            row["of"] = sum(one["segments"]["tried"] for one in results)
            errors = [median(lambda one, end=end: one["test_error"][end]) for end in (0, 1)]
            row["test error %"] = " to ".join("-" if one is None else f"{100 * one:.1f}" for one in errors)
            rows.append(row)
        return rows
