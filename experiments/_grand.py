"""The grand comparison's common ground: one trained target for each seed, and how everything is measured against it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from experiments._search import Data, note
from experiments._weak import stages_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from strongticket.data import Dataset
    from strongticket.models import MLP, Target
    from strongticket.storage import Approximation, Bits, Code, RateDistortion
    from strongticket.ticket import Ticket
    from strongticket.training import Recipe

__all__ = ["RIVALS", "Family", "Goal", "Row", "file_of", "goal_of", "note_of", "shape_of"]

Family = Literal["constructed", "found", "pruned", "iterative", "control", "dense"]
RIVALS: Final[tuple[Code, ...]] = ("uniform", "entropy-coded", "sparse", "sparse-quantised")
"""Codes that approximate the target's weights with as many bits as a row spends."""
BATCH: Final = 250  # images at a time: a source is up to some 10^5 neurons wide
LOSSLESS: Final = 32.0  # bits per weight from which nothing has to be approximated


@dataclass(frozen=True, eq=False)
class Goal:
    """A trained target with its data and its outputs on the test part.

    Attributes:
        target: weights within [-1/2, 1/2], no biases.
        data: pixels in [0, 1], split by the seed.
        outputs: of the target on the test part, [tests, classes].
        seconds: what training took when it was done.
    """

    target: Target
    data: Dataset
    outputs: Tensor
    seconds: float

    @property
    def network(self) -> MLP:
        """The architecture."""
        return self.target.architecture

    @property
    def size(self) -> int:
        """Number of weights of the target."""
        return self.network.size

    @cached_property
    def range(self) -> float:
        """Largest minus smallest output of the target on the test part."""
        return float(self.outputs.max() - self.outputs.min())

    @cached_property
    def law(self) -> RateDistortion:
        """The limit for codes of weights like these."""
        from strongticket.storage import RateDistortion

        return RateDistortion.of(self.target)

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor]:
        """The test part, flat."""
        return self.data.test.inputs.flatten(1), self.data.test.labels

    def measures(self, outputs: Tensor) -> dict[str, float]:
        """Return how good outputs on the test part are, and how near to the target's.

        accuracy and agreement (equal predictions) are shares; error is the largest change of an output, and
        relative_error that over the target's range of outputs.
        """
        found, error = outputs.argmax(1), float((outputs - self.outputs).abs().max())
        return {
            "accuracy": float((found == self.pixels[1]).double().mean()),
            "agreement": float((found == self.outputs.argmax(1)).double().mean()),
            "error": error,
            "relative_error": error / self.range,
        }

    def outputs_of(self, module: nn.Module) -> Tensor:
        """Return what a network that takes the target's own inputs makes of the test part."""
        from strongticket.training import logits

        return logits(module, self.pixels[0], batch_size=BATCH)

    def outputs_with(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return what the target's architecture makes of the test part with other weights."""
        return self.outputs_of(self.network.module({name: value.float() for name, value in weights.items()}))

    def mse_of(self, weights: Mapping[str, Tensor]) -> float:
        """Return the mean squared change of the target's weights."""
        pairs = ((weights[name].double(), value.double()) for name, value in self.target.weights.items())
        return sum(float((ours - theirs).square().sum()) for ours, theirs in pairs) / self.size

    def limit(self, mse: float | None) -> dict[str, float | None] | None:
        """Return the least bits per target weight of this mean squared error, by the two laws; None for no error.

        An error of 0 has no limit (real numbers have no finite name), and stands as None.
        """
        if mse is None:
            return None
        return {
            "empirical": self.law.bits(mse) / self.size if mse > 0.0 else None,
            "gaussian": self.law.gaussian(mse) / self.size if mse > 0.0 else None,
        }

    def rivals(self, bits: float) -> dict[str, dict[str, Any]]:
        """Return what codes for the target's weights achieve with at most so many bits in all."""
        from strongticket.storage import at_budget

        if bits > LOSSLESS * self.size + 10_000:  # float32 itself fits
            return {"float32": self.measures(self.outputs) | {"mse": 0.0, "bits": LOSSLESS * self.size}}
        made = {code: at_budget(code, self.target, bits) for code in RIVALS}
        return {code: self._rival(one) for code, one in made.items() if one is not None}

    def _rival(self, made: Approximation) -> dict[str, Any]:
        measured = self.measures(self.outputs_with(made.weights))
        return {**measured, "mse": made.mse, "bits": made.bits.total, "limit": self.limit(made.mse), **made.details}


@dataclass(frozen=True)
class Row:
    """One subnetwork, or one approximation, of the comparison.

    Attributes:
        method: how it was made.
        family: what kind that is.
        state: what became of the kept weights: "strict" (the source's own, times a mask), "mask only" (the trained
            ones), "updated" (by the method), "trained" (after the mask was chosen), "trained, 16 values" (then rounded
            to so many in each layer), "approximated".
        setting: the parameter that was asked for, {"density", "eps", "levels" or "step": number}, if there is one.
        source: {"architecture", "weights", "width"} of the network that the mask is on.
        kept: weights that are not left out.
        measures: see `Goal.measures`.
        bits: what it costs to write down.
        mse: mean squared change of the target's weights; None for what does not approximate them.
        certified: proved largest change of an output over all inputs in [0, 1]; None without a proof.
        items: candidates per weight of a construction.
        more: what else is worth knowing.
        seconds: what it took, by stage; not part of `to_json`.
    """

    method: str
    family: Family
    state: str
    setting: Mapping[str, float]
    source: Mapping[str, Any]
    kept: int
    measures: Mapping[str, float]
    bits: Bits
    mse: float | None = None
    certified: float | None = None
    items: tuple[int, ...] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self, goal: Goal, rivals: bool = False) -> dict[str, Any]:
        """Return the row, with the limit and, where wanted, what other codes do with the same bits."""
        own: dict[str, Any] = {
            "method": self.method,
            "family": self.family,
            "state": self.state,
            "setting": dict(self.setting),
        }
        own |= {"source": dict(self.source), "kept": self.kept, **self.measures}
        own |= {"mse": self.mse, "certified": self.certified}
        own["certified_over_range"] = None if self.certified is None else self.certified / goal.range
        total = self.bits.total
        return own | {
            "density": self.kept / self.source["weights"],
            "kept_per_weight": self.kept / goal.size,
            "items": None if self.items is None else list(self.items),
            "bits": {**self.bits.to_json(), "per_weight": total / goal.size},
            "limit": goal.limit(self.mse),
            "equal_bits": goal.rivals(total) if rivals else {},
            **self.more,
        }


def shape_of(network: Any) -> dict[str, Any]:
    """Return what a row says of the network that a mask is on."""
    sizes = getattr(network, "sizes", ())
    return {"architecture": network.id, "weights": network.size, "width": max(sizes[1:-1], default=0)}


def file_of(ticket: Ticket) -> dict[str, int]:
    """Return the sizes of a ticket's real file, in bits."""
    from strongticket.storage import file_bits

    return file_bits(ticket).to_json()


@lru_cache(maxsize=1)
def goal_of(data: Data, model: str, seed: int) -> Goal:
    """Return the target of a seed: trained once, and kept as a stage, which all methods share.

    Raises:
        ValueError: a network that does not fit the data, before any work is done.
        DataError: data that are not there, or damaged.
    """
    import torch

    from experiments._study import prepare
    from strongticket.models import Target
    from strongticket.runs import Spec
    from strongticket.training import logits, suggestion, train
    from strongticket.training.checkpoint import digest
    from strongticket.weak import Stage, Stages

    loaded, network = prepare(data, model, seed=seed)
    if network.bias:
        raise ValueError(f"the comparison has targets without biases, got {model}")
    recipe: Recipe = suggestion(data)[1]
    parts = (*_pair(loaded.train), *_pair(loaded.validation))
    spec = Spec(
        "grand-target", 1, {"data": digest(list(parts)), "model": model, "recipe": asdict(recipe), "seed": seed}
    )

    def make() -> Stage:
        started = time.perf_counter()
        trained = train(network, parts[0], parts[1], recipe, seed=seed, validation=(parts[2], parts[3]))
        weights = Target.from_module(trained.module).weights
        return Stage({"measured": {"seconds": time.perf_counter() - started}}, dict(weights))

    stage = Stages(stages_folder()).made(spec, make)
    target = Target(network, stage.tensors)
    outputs = logits(target.module(), loaded.test.inputs.flatten(1), batch_size=BATCH)
    assert torch.isfinite(outputs).all()
    return Goal(target, loaded, outputs, float(stage.record["measured"]["seconds"]))


def _pair(part: Any) -> tuple[Tensor, Tensor]:
    return part.inputs.flatten(1), part.labels


def note_of(goal: Goal, data: Data) -> str:
    """Return what has to be said beside the numbers."""
    return note(data, goal.data.note)
