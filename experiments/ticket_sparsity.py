"""How sparse can a ticket be in how large a random network? The measured curve, and what counting demands.

For each k, the smallest of a ladder of random networks in which every weight of a target has a sum of exactly k
products within its tolerance (Natale et al. 2024), and the density of that ticket. And for every construction that
there is: the bits that its masks can hold, beside the bits that any construction needs (Pensia et al. 2020, Theorem 2;
Natale et al. 2024, Theorem 5).
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment

if TYPE_CHECKING:
    from strongticket import Target
    from strongticket.constructions import AbstractConstruction, Construction

__all__ = ["TicketSparsity", "constructions", "layer_bits", "tolerance"]

_CURVE: Final = "Natale2024Sparsity"
_GRID_BITS: Final = 8  # quantised targets are multiples of 2^-8
_RUNGS: Final = 60  # of a ladder, at most


@final
@dataclass(frozen=True)
class TicketSparsity(AbstractExperiment):
    """Tickets of one target: for several numbers of products per weight, or by one construction as it sizes itself.

    Attributes:
        data: data set; all but digits are read from STRONGTICKET_DATA.
        model: architecture of the target, by name.
        target: "trained", or "uniform": entries U(-1/2, 1/2), as a target drawn at random from the ball is.
        construction: name of the construction, in `strongticket.constructions`.
        sizes: products per weight, each in 1..20, or 0: as few as each weight needs (Pensia et al. 2020). If there are
            none, the construction is run once, with as many items as it asks for by default.
        weight_eps: tolerance per weight, in (0, 1).
        growth: ratio of the numbers of items on two rungs of a ladder, > 1.
        seed: of training, of the target, and of the random networks.
    """

    name: ClassVar[str] = "ticket_sparsity"
    version: ClassVar[int] = 1

    data: Literal["digits", "mnist", "fashion-mnist"] = "digits"
    model: str = "mlp-64-64-10"
    target: Literal["trained", "uniform"] = "trained"
    construction: str = _CURVE
    sizes: tuple[int, ...] = ()
    weight_eps: float = 0.01
    growth: float = 1.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.growth > 1.0:
            raise ValueError(f"growth must be above 1, got {self.growth}")
        if self.sizes and self.construction != _CURVE:
            raise ValueError(f"sizes are for {_CURVE}, got construction {self.construction!r}")

    def run(self) -> dict[str, Any]:
        """Make the target, then its tickets."""
        from experiments._study import prepare, train_target

        loaded, mlp = prepare(self.data, self.model, seed=self.seed)
        accuracy, inputs, labels = None, None, None
        if self.target == "trained":
            trained = train_target(loaded, mlp, seed=self.seed)
            target, accuracy = trained.target, trained.accuracy
            inputs, labels = loaded.test.inputs.flatten(1), loaded.test.labels
        else:
            target = _uniform(mlp, self.seed)
        shown = {
            "model": target.architecture.id,
            "target_weights": target.architecture.size,
            "target_accuracy": accuracy,
            "layers": [[*layer.weight.shape, float(abs(layer.weight).max())] for layer in target.layers],
        }
        measured: dict[str, float] = {}
        rows = []
        for size in self.sizes or (None,):
            clock = time.perf_counter()
            row = self._one(target) if size is None else self._ladder(target, size)
            found = row.pop("found", None)
            if found is not None:
                row |= _numbers(found, target if size is not None else row.pop("aim"), inputs, labels)
            measured[str(size)] = time.perf_counter() - clock
            rows.append(row)
        return {**shown, "tickets": rows, "measured": {"seconds": measured}}

    def _ladder(self, target: Target, size: int) -> dict[str, Any]:
        """Climb until every weight is reached."""
        from strongticket import Domain
        from strongticket.constructions import Natale2024Sparsity, Pensia2020Optimal

        box = Domain.box(0, 1)
        items, tried = _first_rung(size, self.weight_eps), []
        for _ in range(_RUNGS):
            method: AbstractConstruction = (
                Natale2024Sparsity(size=size, weight_eps=self.weight_eps, items=items, domain=box, seed=self.seed)
                if size
                else Pensia2020Optimal(weight_eps=self.weight_eps, items=items, domain=box, seed=self.seed)
            )
            found = method.construct(target)
            tried.append([items, len(found.unreached)])
            if found.ticket is not None:
                return {"size": size, "items": items, "tried": tried, "found": found}
            items = max(items + 1, math.ceil(items * self.growth))
        return {"size": size, "items": None, "tried": tried, "refused": f"no ticket up to {items} items"}

    def _one(self, target: Target) -> dict[str, Any]:
        """Run a construction as it sizes itself; on a quantised target if it takes no tolerance."""
        known = constructions()
        if self.construction not in known:
            return {"refused": f"no construction {self.construction!r} of targets; there are {', '.join(known)}"}
        made, rounded = known[self.construction], False
        accepted = set(inspect.signature(made).parameters)
        options = {name: value for name, value in self._options().items() if name in accepted}
        if "weight_eps" not in accepted:
            target, rounded = _rounded(target), True
        try:
            found = made(**options).construct(target)
        except (TypeError, ValueError, ImportError) as error:
            return {"refused": f"{type(error).__name__}: {error}"}
        return {"rounded": rounded, "items": [int(n) for n in found.plan.items], "found": found, "aim": target}

    def _options(self) -> dict[str, Any]:
        from strongticket import Domain

        return {"weight_eps": self.weight_eps, "domain": Domain.box(0, 1), "seed": self.seed}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick, default: the curve (digits; with MNIST and more seeds); constructions: all there are, digits."""
        few, many = (0, 1, 2, 3, 4, 6, 8), (0, 1, 2, 3, 4, 5, 6, 8, 10, 12)
        digits = [
            cls(target=kind, sizes=many, seed=seed) for seed in range(5) for kind in ("trained", "uniform")
        ]  # fmt: skip
        lenet = [
            cls(data="mnist", model="lenet-300-100+bias", sizes=(0, 2, 3, 4, 6), seed=seed) for seed in range(5)
        ]  # fmt: skip
        return {
            "quick": [cls(model="mlp-64-16-10", target="uniform", sizes=few, growth=1.2, seed=seed) for seed in (0, 1)],
            "constructions": [
                cls(target=kind, construction=name, seed=seed)
                for name in constructions()
                for kind in ("trained", "uniform")
                for seed in range(5)
            ],
            "default": digits + lenet,
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per ticket."""
        rows = []
        for run, result in finished:
            for ticket in result["tickets"]:
                row = {"data": run.data, "target": run.target, "construction": run.construction, "seed": run.seed}
                if "refused" in ticket:
                    rows.append({**row, "refused": ticket["refused"]})
                    continue
                needed = layer_bits(result["layers"], tolerance(run, ticket))
                rows.append(
                    {
                        **row,
                        "k": ticket.get("size"),
                        "items": ticket["items"],
                        "unreached": ticket["unreached"],
                        "source/weights": ticket["parameters"] / result["target_weights"],
                        "density %": 100 * ticket["density"],
                        "kept/weight": ticket["kept"] / result["target_weights"],
                        "mask bits/needed": ticket["mask_bits"] / needed,
                        "proved": ticket["proved_error_box"],
                        "ticket %": None if ticket["accuracy"] is None else 100 * ticket["accuracy"],
                    }
                )
        return rows


def tolerance(run: TicketSparsity, ticket: Mapping[str, Any]) -> float:
    """Half the distance of targets that a ticket tells apart."""
    return 2.0 ** -(_GRID_BITS + 1) if ticket.get("rounded") else run.weight_eps


def layer_bits(layers: Sequence[Sequence[float]], weight_eps: float) -> float:
    """Return the bits that masks need, to serve all targets with such layers with probability 1/2. Ours, by counting.

    The targets' entries fill, in each layer, the interval between minus and plus the largest one seen. A mask has one
    effective matrix per layer, so it serves at most one of a set of targets that differ by more than 2 weight_eps in
    some entry; and floor(r/weight_eps) + 1 values of each entry, or one less where that divides, are so far apart.
    (Theorem 2 of Pensia et al. 2020 has a ball of a norm, and volumes, which lose one bit per weight.) As many networks
    are enough, and needed to serve all: it is `strongticket.storage.covering_bits` of all layers, but for the one bit
    of the probability.

    Args:
        layers: (rows, columns, largest |entry|) of each layer.
        weight_eps: tolerance of each entry.

    >>> round(layer_bits([[10, 10, 1.0]], 0.01), 1) # 100 entries with 100 values each
    663.4
    """
    parts = (rows * columns * math.log2(math.floor(top / weight_eps * (1 - 1e-9)) + 1) for rows, columns, top in layers)
    return math.fsum(parts) - 1.0


def constructions() -> dict[str, type[AbstractConstruction]]:
    """Return every construction that `strongticket.constructions` offers at the moment, by name.

    >>> "Pensia2020Optimal" in constructions()
    True
    """
    import strongticket.constructions as room

    return {
        name: value
        for name, value in sorted(vars(room).items())
        if name in room.__all__
        and inspect.isclass(value)
        and issubclass(value, room.AbstractConstruction)
        and not inspect.isabstract(value)
    }


def _first_rung(size: int, eps: float) -> int:
    """Items at which some weights of many cannot but fail: fewer than five sums near 0 are expected for each."""
    from strongticket.bounds.random_subset_sums import fixed_size_hits

    if size == 0:
        return 12
    items = size + 1
    while fixed_size_hits(items, size, eps, target=0.0) < 5.0:
        items += 1
    return items


def _uniform(mlp: Any, seed: int) -> Target:
    """A target of entries U(-1/2, 1/2), on the grid of the project's uniform law."""
    import torch

    from strongticket import Target
    from strongticket.random import TRIAL, UNIFORM23

    weights = {}
    for name, shape in mlp.shapes.items():
        values = UNIFORM23.values(seed, f"target {name}", 0, math.prod(shape), purpose=TRIAL)
        weights[name] = torch.as_tensor(values).reshape(shape) / 2
    return Target(mlp, weights)


def _rounded(target: Target) -> Target:
    from strongticket import Target as Same

    scale = 2.0**_GRID_BITS
    return Same(target.architecture, {name: (value * scale).round() / scale for name, value in target.weights.items()})


def _numbers(found: Construction, target: Target, inputs: Any, labels: Any) -> dict[str, Any]:
    """What a ticket amounts to: sizes, bits, a proved error, accuracy."""
    from strongticket import Domain
    from strongticket.bounds.natale2024sparsity import mask_bits
    from strongticket.certify import examine
    from strongticket.models import sparse_module
    from strongticket.training import logits

    parameters, kept = found.plan.source.architecture.size, found.best.mask.count
    accuracy = None
    if inputs is not None:
        predicted = logits(sparse_module(found.best), inputs).argmax(1)
        accuracy = float((predicted == labels).double().mean())
    return {
        "parameters": parameters,
        "kept": kept,
        "density": kept / parameters,
        "mask_bits": mask_bits(parameters, kept),
        "unreached": len(found.unreached),
        "largest_error": found.largest_error,
        "proved_error_box": examine(found.best, target, Domain.box(0, 1)).maximum.error,
        "accuracy": accuracy,
    }
