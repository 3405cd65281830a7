"""What competes for one count: usually the weights of one layer; with its biases, without what is frozen.

Methods and updates see units, each as one flat vector of scores; a network and a ticket have parameters. A unit goes
between the two. One that is a whole parameter, as most are, hands tensors through as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from strongticket.search.layers import Layer, initial_scores, weight_of
from strongticket.search.methods import AbstractMethod, AbstractTopK, Frozen

__all__ = ["Unit", "units_of"]


class Unit:
    """Parameters whose scores compete for one count, and which of their entries are searched.

    Args:
        parts: the parameters, weights first.
        places: of each among all searched parameters.
        frozen: what is settled beforehand; None for nothing.
        seed: of what is frozen.
        device: where the unit works.
    """

    def __init__(
        self, parts: Sequence[Layer], places: Sequence[int], frozen: Frozen | None, seed: int, device: torch.device
    ) -> None:
        self.parts, self.places = tuple(parts), tuple(places)
        self._sizes = [part.total for part in parts]
        self.layer = replace(parts[0], biases=sum(self._sizes[1:]))
        self._free: Tensor | None = None
        self._kept = torch.zeros(0, dtype=torch.int64, device=device)
        if frozen is not None:
            starts = np.concatenate([[0], np.cumsum(self._sizes)])
            splits = [frozen.split(part.name, part.total, seed) for part in parts]
            joined = [
                np.concatenate([split[i] + start for split, start in zip(splits, starts[:-1], strict=True)])
                for i in range(3)
            ]
            self.layer = replace(self.layer, frozen=(len(joined[0]), len(joined[1])))
            self._kept, self._free = (torch.from_numpy(index).to(device) for index in joined[1:])

    @property
    def whole(self) -> bool:
        """Whether it is one parameter and all of it is searched."""
        return self._free is None and len(self.parts) == 1

    def gather(self, values: Sequence[Tensor]) -> Tensor:  # [size of each part] -> [size of the unit]
        """Return what is searched of the parts' flat tensors; of a whole unit the tensor itself."""
        together = values[0] if len(values) == 1 else torch.cat(list(values))
        return together if self._free is None else together[self._free]

    def spread(
        self, values: Tensor, kept: Tensor | float = 1.0, dropped: float = 0.0
    ) -> list[Tensor]:  # [size of the unit] -> [size of each part]
        """Return the parts' flat tensors: these values where searched, others where frozen.

        Args:
            values: of what is searched.
            kept: of what is frozen and kept: one number, or a tensor with one for every entry of the parts.
            dropped: of what is frozen and dropped.
        """
        if self._free is not None:
            full = torch.full((sum(self._sizes),), dropped, dtype=values.dtype, device=values.device)
            full[self._kept] = kept[self._kept] if isinstance(kept, Tensor) else torch.as_tensor(kept).to(values)
            full[self._free] = values
            values = full
        return [values] if len(self.parts) == 1 else list(torch.split(values, self._sizes))

    def effective(
        self, method: AbstractMethod, effective: Tensor, mask: Tensor, weights: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the parts' effective weights: those of the unit, and what freezing keeps.

        Args:
            method: makes them, where they depend on all that is kept of a parameter.
            effective: of the unit, as its update made them.
            mask: of the unit; looked at for such methods alone.
            weights: all of the parts' weights.
        """
        if method.reading != "plain":
            return [method.weigh(weight, part) for weight, part in zip(weights, self.spread(mask), strict=True)]
        return self.spread(effective, torch.cat(list(weights)) if len(self._kept) else 1.0)

    def scores(self, init_of: AbstractMethod, seed: int) -> Tensor:  # [size]
        """Return the scores before the search: a function of (seed, names)."""
        laws = [init_of.score_init] + [init_of.bias_score_init] * (len(self.parts) - 1)
        drawn = [
            initial_scores(part, law, seed, like=self.parts[0]) for part, law in zip(self.parts, laws, strict=True)
        ]
        return self.gather([values.to(self._kept.device) for values in drawn])


def units_of(layers: Sequence[Layer], method: AbstractMethod, seed: int, device: torch.device) -> list[Unit]:
    """Return what competes for one count each: every parameter, but biases together with the weights they belong to.

    Only methods that count keep biases and weights together, or freeze anything.

    Raises:
        ValueError: the density cannot be had, because of what is frozen.
    """
    counting = isinstance(method, AbstractTopK)
    places = {layer.name: i for i, layer in enumerate(layers)}
    owners = {layer.name: weight_of(layer.name) if len(layer.shape) == 1 and counting else None for layer in layers}
    belongs = {name: owner for name, owner in owners.items() if owner in places}
    frozen = method.frozen if isinstance(method, AbstractTopK) else None
    units = []
    for layer in layers:
        if layer.name not in belongs:
            members = [layer, *(other for other in layers if belongs.get(other.name) == layer.name)]
            units.append(Unit(members, [places[part.name] for part in members], frozen, seed, device))
    if isinstance(method, AbstractTopK):
        method.counts([unit.layer for unit in units], 1.0)
    return units
