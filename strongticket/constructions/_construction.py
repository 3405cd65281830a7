"""What every construction returns, and what every construction is: a proof turned into a mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strongticket.models import Target
from strongticket.ticket import Source, Ticket

__all__ = ["UNREACHED", "AbstractConstruction", "Construction", "LayerReport", "Plan", "Progress"]

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) while long work goes on."""

UNREACHED = np.dtype(
    [("layer", "i4"), ("row", "i8"), ("input", "i8"), ("sign", "i1"), ("target", "f8"), ("error", "f8")]
)
"""One weight for which no subset within the tolerance was found: its layer of the target, its row, its input (the
number of inputs stands for the bias), the half of the input (+1 or -1), its value, and the smallest error found. With
at most 40 candidates that is proved to be the smallest of all subsets; with more, groups are searched in turn."""


@dataclass(frozen=True)
class Plan:
    """Say before any work what a construction will do: its source network and its subset-sum problems.

    Args:
        source: the random network, already fixed: recipe and seed.
        weight_eps: tolerance of each weight, per layer of the target.
        items: candidates per subset-sum problem, per layer.
        problems: number of subset-sum problems, per layer.
        halves: per layer, whether inputs need both halves of the gadget (2) or the positive one alone (1).
        locked: share of each second layer's edges that every ticket keeps, see `otsuka2025partially.locked_edges`.
        draws: how often a weight of the target may be tried, see `chijiwa2021pruning`.
    """

    source: Source
    weight_eps: tuple[float, ...]
    items: tuple[int, ...]
    problems: tuple[int, ...]
    halves: tuple[int, ...]
    locked: float = 0.0
    draws: int = 1

    @property
    def over_parameterisation(self) -> float:
        """Weights of the source per subset-sum problem."""
        return self.source.architecture.size / max(1, sum(self.problems))


@dataclass(frozen=True)
class LayerReport:
    """How one layer of the target went.

    Args:
        layer: its number, from 0.
        problems: subset-sum problems solved.
        items: candidates reserved per problem.
        fewest_items: usable candidates of the worst-served input.
        weakest_item: smallest |u| among the neurons in use as candidates, in [0, 1].
        width: hidden neurons of the source in this layer pair.
        kept: weights kept in the pair.
        unreached: problems whose best error found exceeds the tolerance.
        largest_error: largest |error| of a weight, rounded upward.
        rms_error: root mean square of the errors.
        seconds: wall-clock time by stage.
    """

    layer: int
    problems: int
    items: int
    fewest_items: int
    weakest_item: float
    width: int
    kept: int
    unreached: int
    largest_error: float
    rms_error: float
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**self.__dict__, "seconds": dict(self.seconds)}


@dataclass(frozen=True)
class Construction:
    """The result of running a proof on a target: one mask on one frozen random network.

    Nothing is redrawn on failure: where some weight has no subset within its tolerance, `ticket` is None, `unreached`
    lists those weights, and `best` is still the strict ticket with the best subset for each of them.

    Args:
        key: the paper whose proof was run.
        plan: what was asked.
        best: the ticket made of the chosen subsets.
        unreached: the weights out of tolerance (see `UNREACHED`); empty on success.
        layers: how each layer went.
    """

    key: str
    plan: Plan
    best: Ticket
    unreached: NDArray[np.void]
    layers: tuple[LayerReport, ...]

    @property
    def ticket(self) -> Ticket | None:
        """The ticket, if every weight is within its tolerance; otherwise None."""
        return None if len(self.unreached) else self.best

    @property
    def largest_error(self) -> float:
        """Largest error of any single weight."""
        return max((layer.largest_error for layer in self.layers), default=0.0)

    @property
    def kept_per_weight(self) -> float:
        """Kept weights of the ticket per weight of the target."""
        return self.best.mask.count / max(1, sum(layer.problems for layer in self.layers))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of everything but the masks; at most 1,000 unreached weights are listed."""
        names = UNREACHED.names or ()
        return {
            "construction": self.key,
            "source": self.plan.source.to_json(),
            "source_weights": self.plan.source.architecture.size,
            "weight_eps": list(self.plan.weight_eps),
            "items": list(self.plan.items),
            "problems": sum(self.plan.problems),
            **({"locked": self.plan.locked} if self.plan.locked else {}),
            **({"draws": self.plan.draws} if self.plan.draws > 1 else {}),
            "ticket_digest": self.best.digest,
            "kept": self.best.mask.count,
            "kept_per_weight": self.kept_per_weight,
            "density": self.best.mask.density,
            "largest_weight_error": self.largest_error,
            "unreached": len(self.unreached),
            "unreached_weights": [dict(zip(names, row.tolist(), strict=True)) for row in self.unreached[:1000]],
            "layers": [layer.to_json() for layer in self.layers],
        }


class AbstractConstruction(ABC):
    """Turn the proof of a paper into an algorithm: target in, 0/1 mask on one frozen random network out."""

    key: str

    @abstractmethod
    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: the target is outside the theorem, with the value and what to do.
        """

    @abstractmethod
    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof on the target."""
