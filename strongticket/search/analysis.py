"""Look at tickets and at searches: what is kept where, what two tickets share, which weights are chosen, and when.

Everything here is computed from tickets and records; nothing is searched, trained or drawn.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strongticket.ticket import Mask, Ticket
from strongticket.training.loop import Epoch

__all__ = [
    "Flips",
    "Histogram",
    "Kept",
    "Overlap",
    "Traces",
    "flips",
    "kept_per_layer",
    "overlap",
    "traces",
    "weight_histograms",
]


@dataclass(frozen=True)
class Kept:
    """How much of one parameter is kept.

    Attributes:
        kept: number of weights kept.
        size: number of weights.
    """

    kept: int
    size: int

    @property
    def density(self) -> float:
        """Fraction kept; 0 of nothing."""
        return self.kept / self.size if self.size else 0.0


@dataclass(frozen=True)
class Flips:
    """What changed from one mask to another, in one parameter.

    Attributes:
        added: dropped before, kept now.
        removed: kept before, dropped now.
    """

    added: int
    removed: int

    @property
    def total(self) -> int:
        """Number of entries that changed."""
        return self.added + self.removed


@dataclass(frozen=True)
class Overlap:
    """What two masks share.

    Attributes:
        both: entries that both keep.
        either: entries that at least one keeps.
        chance: intersection over union to expect of random masks of these counts (the ratio of the expected numbers;
            for several layers, of their sums).
    """

    both: int
    either: int
    chance: float

    @property
    def iou(self) -> float:
        """Intersection over union, in [0, 1]; 1 if neither keeps anything."""
        return self.both / self.either if self.either else 1.0


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many weights of one parameter lie in each bin, kept and dropped ones apart.

    Attributes:
        edges: [bins + 1] float64, rising; a bin holds its lower edge, the last one its upper edge too.
        kept: [bins] int64.
        dropped: [bins] int64.
    """

    edges: NDArray[np.float64]
    kept: NDArray[np.int64]
    dropped: NDArray[np.int64]

    @property
    def density(self) -> NDArray[np.float64]:
        """Fraction kept in each bin; NaN where a bin is empty."""
        size = self.kept + self.dropped
        share: NDArray[np.float64] = np.divide(self.kept, size, out=np.full(size.shape, np.nan), where=size > 0)
        return share


@dataclass(frozen=True)
class Traces:
    """How a search went, epoch by epoch: one entry per epoch in every list.

    Attributes:
        epochs: their numbers.
        loss, accuracy: on training data, measured on the way.
        validation_accuracy: None where there are no validation data.
        flips: entries of the mask that changed in the epoch.
        density: of the searched weights.
        kept: {parameter: weights kept}.
        thresholds: {parameter: the lowest score kept}, NaN where nothing is kept or the method has no threshold.
    """

    epochs: list[int]
    loss: list[float]
    accuracy: list[float]
    validation_accuracy: list[float | None]
    flips: list[int]
    density: list[float]
    kept: dict[str, list[int]]
    thresholds: dict[str, list[float]]


def kept_per_layer(ticket: Ticket | Mask) -> dict[str, Kept]:
    """Say how much of each masked parameter is kept.

    >>> from strongticket.models import MLP
    >>> kept_per_layer(Mask.from_indices(MLP((4, 3, 2)).shapes, {"layers.0.weight": [0, 5], "layers.1.weight": [1]}))
    {'layers.0.weight': Kept(kept=2, size=12), 'layers.1.weight': Kept(kept=1, size=6)}
    """
    mask = _mask(ticket)
    return {name: Kept(mask.counts[name], math.prod(shape)) for name, shape in mask.shapes.items()}


def flips(before: Ticket | Mask, after: Ticket | Mask) -> dict[str, Flips]:
    """Say what changed from one mask to another, per parameter.

    Raises:
        ValueError: masks of different networks.

    >>> a, b = (Mask.from_indices({"w": (2, 2)}, {"w": kept}) for kept in ([0, 1], [1, 2, 3]))
    >>> flips(a, b)
    {'w': Flips(added=2, removed=1)}
    """
    old, new = _masks(before, after)
    found = {}
    for name in old:
        both = _shared(old, new, name)
        found[name] = Flips(new.counts[name] - both, old.counts[name] - both)
    return found


def overlap(first: Ticket | Mask, second: Ticket | Mask) -> tuple[Overlap, dict[str, Overlap]]:
    """Compare two tickets of one network, such as those of two seeds or methods: as a whole and per parameter.

    Beside the intersection over union stands what random masks with the same counts would share: at density d it is
    d / (2 - d), a third at one half, so that a number alone says little.

    Args:
        first: a ticket or its mask.
        second: another of the same architecture.

    Raises:
        ValueError: masks of different networks.

    >>> a, b = (Mask.from_indices({"w": (2, 2), "v": (2,)}, {"w": kept, "v": [0]}) for kept in ([0, 1], [1, 2]))
    >>> whole, layers = overlap(a, b)
    >>> whole.iou, layers["v"].iou, layers["w"].chance
    (0.5, 1.0, 0.3333333333333333)
    """
    a, b = _masks(first, second)
    layers: dict[str, Overlap] = {}
    expected, united = 0.0, 0.0
    for name, shape in a.shapes.items():
        both, size = _shared(a, b, name), math.prod(shape)
        sum_of_both = a.counts[name] + b.counts[name]
        by_chance = a.counts[name] * b.counts[name] / size if size else 0.0
        expected, united = expected + by_chance, united + sum_of_both - by_chance
        layers[name] = Overlap(both, sum_of_both - both, _ratio(by_chance, sum_of_both - by_chance))
    both, either = (sum(getattr(layer, name) for layer in layers.values()) for name in ("both", "either"))
    return Overlap(both, either, _ratio(expected, united)), layers


def weight_histograms(ticket: Ticket, *, bins: int = 40) -> dict[str, Histogram]:
    """Count the source's weights by value, kept and dropped ones apart: does the search prefer large weights?

    The weights are those of the source, before the ticket's reading (signs, scales, redraws).

    Args:
        ticket: what was found.
        bins: number of bins between the least and the largest weight of each parameter, at least 1.

    Raises:
        ValueError: bins below 1.

    >>> from strongticket.models import MLP
    >>> from strongticket.search import random_mask, random_source
    >>> source = random_source(MLP((8, 4, 2)), seed=0)
    >>> ticket = random_mask(source, {"layers.0.weight": 10, "layers.1.weight": 8}, seed=0)
    >>> found = weight_histograms(ticket, bins=2)["layers.0.weight"]  # weights are -0.5 or 0.5
    >>> int(found.kept.sum()), int(found.dropped.sum()), found.edges.tolist()
    (10, 22, [-0.5, 0.0, 0.5])
    """
    if bins < 1:
        raise ValueError(f"expected bins >= 1, got {bins}")
    found = {}
    for name in ticket.mask:
        weights = ticket.source.weight(name).reshape(-1).double().numpy()
        keeps = ticket.mask[name].reshape(-1).numpy()
        edges = np.histogram_bin_edges(weights, bins)
        kept, dropped = (np.histogram(weights[some], edges)[0].astype(np.int64) for some in (keeps, ~keeps))
        found[name] = Histogram(edges, kept, dropped)
    return found


def traces(history: Iterable[Epoch] | str | os.PathLike[str]) -> Traces:
    """Return how a search went, from `Found.history` or from the JSONL file that `find` wrote as `log`.

    Raises:
        ValueError: the records are not those of a search.
        OSError: the file cannot be read.

    >>> import torch
    >>> from strongticket.search import find
    >>> x = torch.eye(4).repeat(8, 1)
    >>> found = find("mlp-4-32-2", x, x.argmax(1) % 2, "digits", density=0.25, epochs=3)
    >>> seen = traces(found.history)
    >>> seen.epochs, seen.kept["layers.0.weight"], len(seen.thresholds["layers.1.weight"])
    ([1, 2, 3], [32, 32, 32], 3)
    """
    records = _records(history)
    try:
        details: Sequence[Mapping[str, Any]] = [record["details"] for record in records]
        names = list(dict.fromkeys(name for one in details for name in one["kept"]))
        return Traces(
            epochs=[record["number"] for record in records],
            loss=[record["loss"] for record in records],
            accuracy=[record["accuracy"] for record in records],
            validation_accuracy=[record["validation_accuracy"] for record in records],
            flips=[one["flips"] for one in details],
            density=[one["density"] for one in details],
            kept={name: [one["kept"][name] for one in details] for name in names},
            thresholds={name: [one["thresholds"].get(name, math.nan) for one in details] for name in names},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"these are not the records of a mask search: {error!s} is missing or of another kind"
        ) from error


def _records(history: Iterable[Epoch] | str | os.PathLike[str]) -> list[Mapping[str, Any]]:
    if not isinstance(history, str | os.PathLike):
        return [vars(epoch) for epoch in history]
    try:
        return [json.loads(line) for line in Path(history).read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"{os.fspath(history)} is no log of a search, one JSON record per line: {error}") from error


def _mask(ticket: Ticket | Mask) -> Mask:
    return ticket.mask if isinstance(ticket, Ticket) else ticket


def _masks(first: Ticket | Mask, second: Ticket | Mask) -> tuple[Mask, Mask]:
    a, b = _mask(first), _mask(second)
    if a.shapes != b.shapes:
        raise ValueError(f"expected masks of one network, got parameters {a.shapes} and {b.shapes}")
    return a, b


def _shared(a: Mask, b: Mask, name: str) -> int:
    return int(np.intersect1d(a.indices(name), b.indices(name), assume_unique=True).size)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0
