"""Every proof about fully connected networks, run on the same trained network: accuracy, certificate, size, time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, final, get_args

from experiments._experiment import AbstractExperiment
from strongticket import architecture

__all__ = ["PROOFS", "Proof", "Proofs"]

Proof = Literal["pensia", "malach", "orseau", "burkholz"]
PROOFS: Final[tuple[Proof, ...]] = get_args(Proof)

_DENSE = 10**8  # weights of a source that is made whole for the strict check
_BATCH = 250  # images at a time: a source is up to some 10^5 neurons wide


@final
@dataclass(frozen=True)
class Proofs(AbstractExperiment):
    """Train a target, run one paper's construction on it, check the ticket strictly, certify and evaluate it.

    All sources have as many candidates as the construction's own prediction or count for this target asks for.

    Args:
        data: data set; all but digits are read from STRONGTICKET_DATA.
        model: architecture of the target, by name.
        proof: whose construction.
        weight_eps: tolerance per weight, in (0, 1).
        delta: failure probability that sizes the source, in (0, 1).
        seed: of training and of the random network.
    """

    name: ClassVar[str] = "proofs"
    version: ClassVar[int] = 1

    data: Literal["digits", "mnist", "fashion-mnist"] = "mnist"
    model: str = "lenet-300-100"
    proof: Proof = "pensia"
    weight_eps: float = 0.01
    delta: float = 0.1
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Return the numbers of one ticket."""
        from experiments._study import prepare, train_target
        from strongticket import Domain, constructions
        from strongticket.certify import examine, examine_copies
        from strongticket.models import sparse_module
        from strongticket.ticketfile import dumps, loads
        from strongticket.training import logits

        known: Mapping[Proof, Any] = {
            "pensia": constructions.Pensia2020Optimal,
            "malach": constructions.Malach2020Proving,
            "orseau": constructions.Orseau2020Logarithmic,
            "burkholz": constructions.Burkholz2022Most,
        }
        options: dict[str, Any] = {"choose": "first"} if self.proof == "malach" else {}
        box = Domain.box(0, 1)
        method = known[self.proof](weight_eps=self.weight_eps, delta=self.delta, domain=box, seed=self.seed, **options)
        trained = train_target(*prepare(self.data, self.model, seed=self.seed), seed=self.seed)
        target, test = trained.target, trained.data.test
        inputs = test.inputs.flatten(1)
        clock = [time.perf_counter()]
        made = method.construct(target)
        clock.append(time.perf_counter())
        if self.proof == "burkholz":
            report = examine_copies(made.best, target, box, method.copies(target))
        else:
            report = examine(made.best, target, box)
        clock.append(time.perf_counter())
        ticket = loads(dumps(made.best))
        module = sparse_module(ticket)
        wide = ticket.source.architecture.size > _DENSE  # reading the file has regenerated the kept weights anyway
        outputs = logits(module, inputs, batch_size=_BATCH)
        built = made.to_json()
        return {
            "data": trained.data.name,
            "target": target.architecture.id,
            "target_accuracy": trained.accuracy,
            "ticket_accuracy": float((outputs.argmax(1) == test.labels).double().mean()),
            "equal_predictions": float((outputs.argmax(1) == trained.logits.argmax(1)).double().mean()),
            "largest_logit_change": float((outputs - trained.logits).abs().max()),
            "logit_range": float(trained.logits.max() - trained.logits.min()),
            "strict_check": ticket == made.best and (wide or ticket.matches(ticket.module())),
            "proved_error": report.maximum.error,
            "construction": {k: v for k, v in built.items() if k not in ("layers", "unreached_weights")},
            "measured": {"seconds": {"construct": clock[1] - clock[0], "certify": clock[2] - clock[1]}},
        }

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: digits, one seed; default: LeNet-300-100 on MNIST, 3 seeds."""
        return {
            "quick": [cls(data="digits", model="mlp-64-24-10", proof=proof) for proof in PROOFS],
            "default": [cls(proof=proof, seed=seed) for seed in range(3) for proof in PROOFS],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per ticket, in percent and seconds."""
        return [
            {
                "data": run.data,
                "target": result["target"],
                "proof": run.proof,
                "seed": run.seed,
                "target %": 100 * result["target_accuracy"],
                "ticket %": 100 * result["ticket_accuracy"],
                "equal %": 100 * result["equal_predictions"],
                "source weights": result["construction"]["source_weights"],
                "kept/weight": result["construction"]["kept"] / architecture(result["target"]).size,
                "unreached": result["construction"]["unreached"],
                "proved / range": result["proved_error"] / result["logit_range"],
                "construct s": result["measured"]["seconds"]["construct"],
                "certify s": result["measured"]["seconds"]["certify"],
            }
            for run, result in finished
        ]
