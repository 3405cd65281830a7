"""Convolutional, residual and equivariant networks as strict tickets: accuracy, proofs, time and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

from experiments._experiment import AbstractExperiment
from experiments._timing import timed

if TYPE_CHECKING:
    from torch import Tensor

    from strongticket.certify import Report
    from strongticket.constructions import Construction
    from strongticket.models.targets import GraphTarget

__all__ = ["GraphTickets"]

EQUIVARIANT = ("circulant12", "dihedral4", "sets10")


@final
@dataclass(frozen=True)
class GraphTickets(AbstractExperiment):
    """Construct the strict ticket of one network, certify it and compare the two on data.

    Args:
        data: images, read from STRONGTICKET_DATA; or "drawn": inputs drawn from the domain, no labels.
        model: a trained network of `_graph_targets.RECIPES`, its normalisation folded; or with drawn data a small
            network of three layers with drawn coefficients that is equivariant under cyclic shifts, the symmetries of a
            square, or permutations of a set.
        weight_eps: tolerance per coefficient, in (0, 1).
        objective: exact minimum error, or the sparsest subset within the tolerance.
        items: candidates per coefficient; None for the predicted count.
        seed: of the training or of the drawn coefficients, of the random network, and of the search for differences.
        tests: how many test inputs are looked at one by one.
    """

    name: ClassVar[str] = "graph_tickets"
    version: ClassVar[int] = 1

    data: Literal["drawn", "mnist", "fashion-mnist", "cifar10"]
    model: str
    weight_eps: float = 0.01
    objective: Literal["sparsest", "min_error"] = "min_error"
    items: int | None = 26
    seed: int = 0
    tests: int = 10_000

    def run(self) -> dict[str, Any]:
        """Do it, and return its numbers; what depends on the machine is under "measured"."""
        from experiments._study import peak_memory
        from strongticket import Domain
        from strongticket.certify import attack, examine, margins
        from strongticket.constructions import Burkholz2022Convolutional, DaCunha2022Proving, Ferbach2023General
        from strongticket.ticketfile import dumps, loads

        seconds: dict[str, float] = {}
        drawn = self.data == "drawn"
        domain = Domain.box(-1, 1) if drawn else Domain.box(0, 1)
        with timed(seconds, "target"):
            target, inputs, labels, note = self._drawn() if drawn else self._trained()
        kind = Ferbach2023General if drawn else DaCunha2022Proving
        method = (Burkholz2022Convolutional if "resnet" in self.model else kind)(
            weight_eps=self.weight_eps,
            objective=self.objective,
            items="information-limit" if self.items is None else self.items,
            domain=domain,
            seed=self.seed,
        )
        with timed(seconds, "construct"):
            construction = method.construct(target)
        with timed(seconds, "certify"):
            report = examine(construction.best, target, domain)
        with timed(seconds, "margins"):
            sure = margins(report, target, inputs.numpy(), None if labels is None else labels.numpy())
        with timed(seconds, "attack"):
            found = attack(construction.best, target, domain, restarts=2, steps=20, seed=self.seed).error
        with timed(seconds, "save and load"):
            file = dumps(construction.best, provenance={"construction": construction.key})
            strict = loads(file) == construction.best
        with timed(seconds, "compare outputs"):
            outputs = _outputs(construction, target, report, inputs, labels)
        return {
            "note": note,
            "target": target.architecture.id,
            "target_weights": target.architecture.size,
            "largest_target_weight": target.largest,
            "strict_check": strict,
            "file_bytes": len(file),
            **outputs,
            "tests": len(inputs),
            "proved_equal_predictions": sure.fraction,
            "proved_equal_by_domain": float(sure.unchanged_globally.mean()),
            "proved_accuracy": sure.accuracy,
            "proved_error": report.maximum.error,
            "attacked_error": found,
            **self._symmetry(construction, inputs),
            "construction": _short(construction),
            "measured": {"seconds": seconds, "peak_memory_bytes": peak_memory()},
        }

    def _trained(self) -> tuple[GraphTarget, Tensor, Tensor, str]:
        from experiments._graph_targets import trained_network
        from strongticket.models.targets import GraphTarget

        trained = trained_network(self.data, self.model, seed=self.seed)
        shape = trained.data.image_shape
        assert shape is not None
        target = GraphTarget.from_module(trained.module, shape)
        images, labels = trained.data.images("test")[: self.tests], trained.data.test.labels[: self.tests]
        return target, images, labels, trained.data.note

    def _drawn(self) -> tuple[GraphTarget, Tensor, None, str]:
        import torch

        from strongticket.models import MLP
        from strongticket.models.graph import Affine, Graph, Rectify
        from strongticket.models.targets import GraphTarget
        from strongticket.ticket import Source

        basis = _basis(self.model)
        channels = (3, 8, 8, 4)
        steps: list[Affine | Rectify] = []
        for before, after in pairwise(channels):
            steps += [Rectify()] if steps else []
            steps.append(Affine(basis, before, after, bias=True))
        graph = Graph((3, *basis.inputs), tuple(steps))
        drawn = Source(graph, self.seed).weights()
        target = GraphTarget(graph, {name: 0.5 * value for name, value in drawn.items()})
        count, size = self.tests, 3 * basis.inputs[0]
        inputs = Source(MLP((count, size)), self.seed).weight(MLP.weight_name(0))
        return target, inputs.reshape(count, 3, *basis.inputs).to(torch.float32), None, "coefficients drawn at random"

    def _symmetry(self, construction: Construction, inputs: Tensor) -> dict[str, Any]:
        """How far the ticket is from commuting with a generator of its group, beyond rounding: it should be 0."""
        if self.data != "drawn":
            return {}
        moved = _generator(self.model)
        ticket = construction.best.module().double()
        some = inputs[:64].double()
        gap = ticket(some[..., moved]) - ticket(some)[..., moved]
        return {"broken_symmetry": float(gap.abs().max())}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: equivariant networks, drawn; mnist: LeNet-5 and Conv-2, 5 seeds of the first; cifar10: ResNet-8."""
        lenet = cls("mnist", "lenet5+bias")
        residual = cls("cifar10", "resnet8x0.5+affine+bias", weight_eps=1e-4, items=32)
        return {
            "quick": [cls("drawn", model, tests=1000) for model in EQUIVARIANT],
            "mnist": [
                *(replace(lenet, seed=seed) for seed in range(5)),
                replace(lenet, objective="sparsest", weight_eps=0.002, items=None),
                cls("mnist", "conv2+1x28x28+bias", tests=1000),
            ],
            "cifar10": [residual, replace(residual, objective="sparsest", weight_eps=2e-4, items=None)],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per network, in percent and seconds."""
        return [
            {
                "data": run.data,
                "model": run.model,
                "objective": run.objective,
                "seed": run.seed,
                "target %": None if "target_accuracy" not in result else 100 * result["target_accuracy"],
                "ticket %": None if "ticket_accuracy" not in result else 100 * result["ticket_accuracy"],
                "equal %": 100 * result["equal_predictions"],
                "proved equal %": 100 * result["proved_equal_predictions"],
                "unreached": result["construction"]["unreached"],
                "kept/weight": result["construction"]["kept_per_weight"],
                "proved": result["proved_error"],
                "attacked": result["attacked_error"],
                "construct s": result["measured"]["seconds"]["construct"],
                "certify s": result["measured"]["seconds"]["certify"],
                "GB": result["measured"]["peak_memory_bytes"] / 1e9,
            }
            for run, result in finished
        ]


def _basis(model: str) -> Any:
    from strongticket.models.bases import Circulant, GroupConvolution, Sets, dihedral

    if model not in EQUIVARIANT:
        raise ValueError(f"a drawn network is one of {', '.join(EQUIVARIANT)}, got {model!r}")
    return {"circulant12": Circulant(12), "dihedral4": GroupConvolution(dihedral(4)), "sets10": Sets(10)}[model]


def _generator(model: str) -> list[int]:
    """Where each position's value comes from under one symmetry: x -> x[..., these]."""
    from strongticket.models.bases import dihedral

    if model == "circulant12":
        return [(p - 1) % 12 for p in range(12)]
    if model == "sets10":
        return [1, 2, 0, *range(3, 10)]
    table = dihedral(4)
    return [table[5][g] for g in range(8)]


def _outputs(
    construction: Construction, target: GraphTarget, report: Report, inputs: Tensor, labels: Tensor | None
) -> dict[str, Any]:
    """The target's and the ticket's outputs, in float64 where their difference does not drown in rounding.

    The masked random network itself, thousands of hidden channels wide, is run on some inputs, in float32.
    """
    import torch

    from strongticket.certify import differences
    from strongticket.models import sparse_module
    from strongticket.training import logits

    with torch.no_grad():
        module = target.module().double()
        plain = torch.cat([module(part.double()) for part in torch.split(inputs, 256)]).flatten(1)
        change = torch.from_numpy(differences(report.comparison, inputs.numpy()))
        few = inputs[:64]
        masked = logits(sparse_module(construction.best), few).flatten(1)
    ticket = plain + change
    classes = {"target": plain.argmax(1), "ticket": ticket.argmax(1)}
    known = {} if labels is None else {f"{k}_accuracy": _share(each == labels) for k, each in classes.items()}
    return {
        **known,
        "equal_predictions": _share(classes["target"] == classes["ticket"]),
        "largest_change": float(change.abs().max()),
        "output_range": float(plain.max() - plain.min()),
        "masked_network": {"inputs": len(few), "largest_gap": float((masked - ticket[: len(few)]).abs().max())},
    }


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())


def _short(construction: Construction) -> dict[str, Any]:
    found = construction.to_json()
    found.pop("unreached_weights")
    for layer in found["layers"]:
        layer.pop("seconds")
    return found
