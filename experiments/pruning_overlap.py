"""Is the main job of gradient descent pruning? Masks of trained weights against masks found without training.

A network is trained from the very random weights that a mask search looks through. If training mostly pruned, the
weights that it makes large would be those that the search keeps, and these weights as they were at the start would
already compute. Both are measured here, beside what two trainings, or two searches, have in common with each other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._pruning import PLANS, accuracy_of, dense_of, popup, source_of
from experiments._search import TITLES, parts_of

if TYPE_CHECKING:
    from torch import Tensor

    from strongticket.mask import Mask

__all__ = ["PAIRS", "PruningOverlap", "chance"]

PAIRS = ("popup/magnitude", "popup/obd", "magnitude/obd", "popup/popup", "magnitude/magnitude", "popup/random")
"""Pairs of masks: of the same random weights, found and trained; the last but one two trainings in another order of
the data, the one before it two searches from other scores and another order."""
ACCURACIES = (
    "popup on random", "magnitude on random", "obd on random", "chance on random",
    "magnitude on trained", "popup on trained", "chance on trained",
)  # fmt: skip
"""Which mask on which weights: the random ones that all started from, or those that training made of them."""
_OTHER = 1000


@final
@dataclass(frozen=True)
class PruningOverlap(AbstractExperiment):
    """Compare masks of one random network at one density, each layer at that density.

    Args:
        data: data set; MNIST is read from STRONGTICKET_DATA. It says which network and how long it is trained.
        density: fraction kept.
        examples: training examples that curvature is measured on.
        seed: of everything that is random; the second training and search take another.
    """

    name: ClassVar[str] = "pruning_overlap"
    version: ClassVar[int] = 1

    data: Literal["digits", "mnist"]
    density: float
    examples: int
    seed: int

    def run(self) -> dict[str, Any]:
        """Return the overlaps of the masks, the overlaps expected by chance, and accuracies."""
        from strongticket.pruning import Magnitude, mask_of, prune
        from strongticket.pruning.obd import OBD

        started = time.perf_counter()
        parts = parts_of(self.data, self.seed)
        seen = (parts.train[0][: self.examples], parts.train[1][: self.examples])
        first, second = (dense_of(self.data, self.seed, order) for order in (None, self.seed + _OTHER))
        magnitude = prune(first.module, None, Magnitude(), self.density, allocation="layer").mask
        masks = {
            "popup": popup(self.data, self.seed, self.density).ticket.mask,
            "magnitude": magnitude,
            "obd": prune(first.module, seen, OBD(), self.density, allocation="layer").mask,
            "random": prune(first.module, None, "random", self.density, allocation="layer", seed=self.seed).mask,
        }
        again = {
            "popup": popup(self.data, self.seed, self.density, self.seed + _OTHER).ticket.mask,
            "magnitude": prune(second.module, None, Magnitude(), self.density, allocation="layer").mask,
        }
        overlaps, expected = {}, {}
        for pair in PAIRS:
            one, other = pair.split("/")
            mine, theirs = masks[one], again[other] if one == other else masks[other]
            overlaps[pair], expected[pair] = mine.iou(theirs), chance(mine, theirs)
        return {
            "note": parts.note,
            "model": PLANS[self.data].model,
            "dense": first.test_accuracy,
            "kept": {name: mask.count for name, mask in masks.items()},
            "iou": overlaps,
            "chance": expected,
            "accuracy": self._accuracies(masks),
            "signs_kept": self._signs(magnitude),
            "signs_kept_of_all": self._signs(mask_of(first.module)),
            "measured": {"seconds": time.perf_counter() - started},
        }

    def _accuracies(self, masks: Mapping[str, Mask]) -> dict[str, float]:
        """Each mask on the random weights that all started from, and on the trained ones."""
        source, parts = source_of(self.data, self.seed), parts_of(self.data, self.seed)
        trained = dense_of(self.data, self.seed).module
        weights: dict[str, dict[str, Tensor]] = {
            "random": source.weights(),
            "trained": {name: parameter.detach() for name, parameter in trained.named_parameters()},
        }
        found = {}
        for name in ACCURACIES:
            mask, _, which = name.partition(" on ")
            kept = masks["random" if mask == "chance" else mask]
            values = {key: value * kept[key] for key, value in weights[which].items()}
            found[name] = accuracy_of(source.architecture.module(values), parts)
        return found

    def _signs(self, mask: Mask) -> float:
        """Share of the weights that the mask keeps that training left on their side of 0."""
        before, after = source_of(self.data, self.seed).weights(), dense_of(self.data, self.seed).module
        same = sum(int(((before[name] * after.get_parameter(name)) > 0)[mask[name]].sum()) for name in mask)
        return same / mask.count

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits) and mnist: 5 densities, 5 seeds each."""
        densities = (0.5, 0.3, 0.1, 0.05, 0.02)
        return {
            "quick": [cls("digits", density, 1000, seed) for seed in range(5) for density in densities],
            "mnist": [cls("mnist", density, 4000, seed) for seed in range(5) for density in densities],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per density: overlaps (those expected by chance in brackets) and accuracies, over the seeds."""
        groups: dict[tuple[Literal["digits", "mnist"], float], list[dict[str, Any]]] = {}
        for run, result in finished:
            groups.setdefault((run.data, run.density), []).append(result)
        rows = []
        for (data, density), results in groups.items():
            row: dict[str, Any] = {"data": TITLES[data], "density": density, "seeds": len(results)}
            row["dense %"] = percent(results, "dense")
            for pair in PAIRS:
                mean, by_chance = (
                    sum(result[kind][pair] for result in results) / len(results) for kind in ("iou", "chance")
                )
                row[pair] = f"{mean:.3f} ({by_chance:.3f})"
            for name in ACCURACIES:
                row[f"{name} %"] = percent([result["accuracy"] for result in results], name)
            row["signs kept %"] = percent(results, "signs_kept")
            row["signs kept of all %"] = percent(results, "signs_kept_of_all")
            rows.append(row)
        return rows


def chance(one: Mask, other: Mask) -> float:
    """Return the overlap to expect of masks that keep as many weights of each layer, but know nothing of each other.

    Expected weights kept by both over expected weights kept by either; 1 where nothing is kept.

    >>> import torch
    >>> from strongticket.mask import Mask
    >>> half = Mask({"w": torch.arange(4) < 2})
    >>> chance(half, half)
    0.3333333333333333
    """
    sizes = {name: one[name].numel() for name in one}
    both = sum(one.counts[name] * other.counts[name] / sizes[name] for name in sizes if sizes[name])
    either = one.count + other.count - both
    return both / either if either else 1.0
