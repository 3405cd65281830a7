"""Trained and pruned, found untrained, constructed: what three kinds of subnetworks of the same network achieve.

Strong tickets change no weight. So every method of pruning has three columns: the trained weights under the mask alone;
the same with the method's own change of the survivors; and after training them again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final, get_args

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from experiments._pruning import PLANS, accuracy_of, dense_of, popup, retrained, source_of
from experiments._search import TITLES, parts_of

if TYPE_CHECKING:
    from torch import nn

    from strongticket.mask import Mask
    from strongticket.pruning import AbstractPruner

__all__ = ["ARMS", "Arm", "PruningCompare", "pruner_named"]

Arm = Literal[
    "random",
    "magnitude, layer",
    "magnitude, global",
    "obd",
    "obd, 16 rounds",
    "woodfisher",
    "exact-obs",
    "exact-obs, global",
    "network-obs",
    "network-obs, 10 stages",
    "dense, retrained",
    "edge-popup",
    "random, untrained",
    "constructed",
]
ARMS: Final[tuple[Arm, ...]] = get_args(Arm)
SLOW: Final[tuple[Arm, ...]] = ("network-obs", "network-obs, 10 stages")
"""Arms whose work grows with the square of the number of weights: for small networks only."""
DENSITIES: Final = (0.5, 0.3, 0.1, 0.05, 0.02)


@final
@dataclass(frozen=True)
class PruningCompare(AbstractExperiment):
    """Make subnetworks of one network by one method, at several densities.

    The network is drawn from the seed. "edge-popup" looks for a mask of these random weights, and "random, untrained"
    is its control, a mask that nobody looked for; the others first train the weights, all, and remove some of the
    trained network. "dense, retrained" removes none: what a second training does by itself. "constructed" is a mask on
    a wider random network that computes what the trained network does (layers with weights beyond 1 are scaled down to
    1 for it, which changes no prediction).

    Densities are kept weights over the weights of the trained network, also for "constructed", where the network that
    the mask is on has many times as many, and that density is beyond 1.

    Args:
        data: data set; MNIST is read from STRONGTICKET_DATA. It says which network and how long it is trained.
        arm: how the subnetwork is made.
        densities: fractions kept; of no effect on "constructed" and "dense, retrained".
        examples: training examples that saliencies and curvature are measured on.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "pruning_compare"
    version: ClassVar[int] = 1

    data: Literal["digits", "mnist"]
    arm: Arm
    densities: tuple[float, ...]
    examples: int
    seed: int

    def run(self) -> dict[str, Any]:
        """Return what was kept and the accuracies, at each density."""
        dense = dense_of(self.data, self.seed)
        started = time.perf_counter()
        special = {
            "dense, retrained": self._again,
            "edge-popup": self._found,
            "random, untrained": self._unsought,
            "constructed": self._constructed,
        }
        rows = special.get(self.arm, self._pruned)()
        return {
            "note": parts_of(self.data, self.seed).note,
            "model": PLANS[self.data].model,
            "weights": source_of(self.data, self.seed).architecture.size,
            "dense": dense.test_accuracy,
            "dense_lr": dense.lr,
            "rows": rows,
            "measured": {"seconds": time.perf_counter() - started},
        }

    def _pruned(self) -> list[dict[str, Any]]:
        from strongticket.pruning import measured_increase, prune_path

        dense, parts = dense_of(self.data, self.seed).module, parts_of(self.data, self.seed)
        seen = (parts.train[0][: self.examples], parts.train[1][: self.examples])
        path = prune_path(dense, seen, pruner_named(self.arm), self.densities, seed=self.seed)
        return [
            {
                "density": density,
                "kept": pruned.mask.count,
                "kept_per_layer": dict(pruned.mask.counts),
                "mask_only": accuracy_of(pruned.module(updated=False), parts),
                "updated": accuracy_of(pruned.module(), parts) if pruned.updated else None,
                "predicted_increase": pruned.predicted_increase,
                "measured_increase": measured_increase(pruned, seen),
                **retrained(pruned.module(), pruned.mask, self.data, self.seed),
            }
            for density, pruned in zip(self.densities, path, strict=True)
        ]

    def _again(self) -> list[dict[str, Any]]:
        from strongticket.pruning import mask_of

        dense = dense_of(self.data, self.seed)
        every = mask_of(dense.module)
        return [
            {
                "density": 1.0,
                "kept": every.count,
                "kept_per_layer": dict(every.counts),
                "mask_only": dense.test_accuracy,
                "updated": None,
                **retrained(dense.module, every, self.data, self.seed),
            }
        ]

    def _found(self) -> list[dict[str, Any]]:
        rows = []
        for density in self.densities:
            found = popup(self.data, self.seed, density)
            row = self._untrained(density, found.ticket.module(), found.ticket.mask)
            rows.append({**row, "search_lr": found.recipe.lr})
        return rows

    def _unsought(self) -> list[dict[str, Any]]:
        from strongticket.pruning import prune_path

        source = source_of(self.data, self.seed)
        module = source.architecture.module(source.weights())
        path = prune_path(module, None, "random", self.densities, allocation="layer", seed=self.seed)
        return [
            self._untrained(density, pruned.module(), pruned.mask)
            for density, pruned in zip(self.densities, path, strict=True)
        ]

    def _untrained(self, density: float, module: nn.Module, mask: Mask) -> dict[str, Any]:
        """What a mask on the random weights achieves, and where training leads from there."""
        return {
            "density": density,
            "kept": mask.count,
            "kept_per_layer": dict(mask.counts),
            "mask_only": accuracy_of(module, parts_of(self.data, self.seed)),
            "updated": None,
            **retrained(module, mask, self.data, self.seed),
        }

    def _constructed(self) -> list[dict[str, Any]]:
        from strongticket import Target
        from strongticket.constructions import Pensia2020Optimal

        parts = parts_of(self.data, self.seed)
        dense = Target.from_module(dense_of(self.data, self.seed).module)
        # without biases, a layer divided by c > 0 divides the logits by c and changes no prediction
        scales = {name: max(1.0, float(value.abs().max())) for name, value in dense.weights.items()}
        target = Target(dense.architecture, {name: value / scales[name] for name, value in dense.weights.items()})
        method = Pensia2020Optimal(weight_eps=0.01, items=28, objective="sparsest", seed=self.seed)
        result = method.construct(target)
        if result.ticket is None:
            raise RuntimeError(f"{len(result.unreached)} weights were not reached: give more items")
        return [
            {
                "density": result.ticket.mask.count / dense.architecture.size,
                "kept": result.ticket.mask.count,
                "source_density": result.ticket.mask.density,
                "kept_per_weight": result.kept_per_weight,
                "divided_by": list(scales.values()),
                "source_weights": result.ticket.mask.size,
                "mask_only": accuracy_of(result.ticket.module(), parts),
                "updated": None,
                "retrained": None,
            }
        ]

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits) and mnist, 5 seeds each.

        MNIST goes without `SLOW`: to delete 266,200 weights one by one, each with a look at all others, takes several
        minutes of one core per run. `experiments.mlpnet` has these methods on MNIST with a smaller network.
        """
        return {
            "quick": [cls("digits", arm, DENSITIES, 1000, seed) for seed in range(5) for arm in ARMS],
            "mnist": [cls("mnist", arm, DENSITIES, 2000, seed) for seed in range(5) for arm in ARMS if arm not in SLOW],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per arm and density: the three columns, over the seeds."""
        rows = []
        for data in dict.fromkeys(run.data for run, _ in finished):
            dense = {run.seed: result["dense"] for run, result in finished if run.data == data}
            whole = [{"accuracy": value} for value in dense.values()]
            rows.append({"data": TITLES[data], "arm": "dense", "density": "1", "seeds": len(whole)})
            weights = next(result["weights"] for run, result in finished if run.data == data)
            rows[-1] |= {"kept": f"{weights:,}", "mask only %": percent(whole)}
        for (data, arm, _), group in by_place(finished).items():
            density = sum(one["density"] for one in group) / len(group)
            kept = sum(one["kept"] for one in group) / len(group)
            row = {"data": TITLES[data], "arm": arm, "density": f"{density:.3g}", "seeds": len(group)}
            row["kept"] = f"{kept:,.0f}"
            for column in ("mask_only", "updated", "retrained"):
                known = [one for one in group if one[column] is not None]
                row[f"{column.replace('_', ' ')} %"] = percent(known, column) if known else ""
            rows.append(row)
        return rows


def by_place(
    finished: Sequence[tuple[PruningCompare, dict[str, Any]]],
) -> dict[tuple[Literal["digits", "mnist"], Arm, int], list[dict[str, Any]]]:
    """Return the rows of all seeds of each (data, arm, number of the density)."""
    groups: dict[tuple[Literal["digits", "mnist"], Arm, int], list[dict[str, Any]]] = {}
    for run, result in finished:
        for place, row in enumerate(result["rows"]):
            groups.setdefault((run.data, run.arm, place), []).append(row)
    return groups


def pruner_named(arm: Arm) -> AbstractPruner:
    """Return the pruner of an arm.

    All have their defaults, but for two things. "network-obs" looks at 300 examples for speed. And damping and
    first-order term of "network-obs, 10 stages" are the best of eight settings by validation accuracy, tried on the
    digits (seeds 100 and 101, which no preset has) and taken over to other data: no other arm was tuned.

    Raises:
        ValueError: an arm that prunes nothing.
    """
    from strongticket.pruning import OBD, ExactOBS, Iterative, NetworkObs, pruner_of

    match arm:
        case "random" | "obd" | "woodfisher":
            return pruner_of(arm, allocation="layer" if arm == "random" else None)
        case "magnitude, layer" | "magnitude, global":
            return pruner_of("magnitude", allocation="layer" if arm.endswith("layer") else "global")
        case "obd, 16 rounds":
            return pruner_of(OBD(), schedule=Iterative(16))
        case "exact-obs" | "exact-obs, global":
            return ExactOBS(swaps=True, allocation="global" if arm.endswith("global") else "layer")
        case "network-obs":
            return NetworkObs(samples=300)
        case "network-obs, 10 stages":
            return NetworkObs(samples=300, group=1, stages=10, damping=1e-3, first_order=False)
    raise ValueError(f"{arm!r} prunes nothing")
