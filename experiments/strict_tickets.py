"""Trained networks found inside frozen random ones: accuracy, certificates, time and size, on real data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

from experiments._experiment import AbstractExperiment

__all__ = ["StrictTickets"]


@final
@dataclass(frozen=True)
class StrictTickets(AbstractExperiment):
    """Train a target, construct its strict ticket by Pensia et al. 2020, certify and evaluate it.

    Args:
        data: data set; all but digits are read from STRONGTICKET_DATA.
        model: architecture of the target, by name.
        items: candidates per weight.
        objective: exact minimum error, or the sparsest subset within the tolerance.
        weight_eps: tolerance per weight, in (0, 1).
        assignment: column-aware, or the paper's fixed blocks.
        seed: of training, of the random network, and of the search for large differences.
    """

    name: ClassVar[str] = "strict_tickets"
    version: ClassVar[int] = 2

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"] = "mnist"
    model: str = "mlp-784-500-10"
    items: int = 28
    objective: Literal["sparsest", "min_error"] = "min_error"
    weight_eps: float = 0.01
    assignment: Literal["column-aware", "fixed"] = "column-aware"
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Do the main job and return its numbers."""
        from experiments._study import prepare, study, train_target
        from strongticket import Domain
        from strongticket.constructions import Pensia2020Optimal

        method = Pensia2020Optimal(
            weight_eps=self.weight_eps,
            items=self.items,
            objective=self.objective,
            assignment=self.assignment,
            domain=Domain.box(0, 1),
            seed=self.seed,
        )
        trained = train_target(*prepare(self.data, self.model, seed=self.seed), seed=self.seed)
        result = study(trained, method).to_json()
        result["construction"].pop("unreached_weights")
        return result

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: digits; default: MNIST and Fashion-MNIST at depths 2, 3 and 6, 5 seeds."""
        deep = "mlp-784-256-128-128-64-32-10+bias"
        mnist = cls()
        nets = [
            mnist,
            replace(mnist, objective="sparsest"),
            replace(mnist, model="lenet-300-100+bias"),
            replace(mnist, model=deep),
        ]
        return {
            "quick": [cls(data="digits", model="mlp-64-64-10", seed=seed) for seed in range(5)],
            "default": [
                replace(net, data=data, seed=seed)
                for seed in range(5)
                for data in ("mnist", "fashion-mnist")
                for net in nets
            ],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per network, in percent and seconds."""
        return [
            {
                "data": run.data,
                "model": result["model"],
                "objective": run.objective,
                "seed": run.seed,
                "target %": 100 * result["target_accuracy"],
                "ticket %": 100 * result["ticket_accuracy"],
                "equal %": 100 * result["equal_predictions"],
                "proved equal %": 100 * result["proved_equal_predictions"],
                "unreached": result["construction"]["unreached"],
                "kept/weight": result["construction"]["kept_per_weight"],
                "proved": result["proved_error_box"],
                "/ range %": 100 * result["proved_over_logit_range"],
                "/ found": result["proved_over_sampled"],
                "construct s": result["measured"]["seconds"]["construct"],
                "GB": result["measured"]["peak_memory_bytes"] / 1e9,
            }
            for run, result in finished
        ]
