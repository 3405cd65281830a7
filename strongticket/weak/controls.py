"""What stands beside a ticket: the same number of weights from other places, or with other values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from strongticket import random
from strongticket.mask import Mask
from strongticket.pruning import shuffled_mask
from strongticket.source import Source
from strongticket.weak.initial import beginning, derived_seed

__all__ = ["CONTROLS", "Control", "control_mask", "control_weights"]

Weights = Literal["ticket", "reinit", "same-sign", "resampled", "constant-sign"]
Places = Literal["ticket", "layer-shuffle", "global-shuffle"]


@dataclass(frozen=True)
class Control:
    """Say what is changed in a ticket before it is trained.

    Only "reinit" is a beginning of its own, biases at 0 and normalisation fresh. The others change the masked matrices
    and kernels alone: where `rewind` is above 0, they keep the biases, normalisation (scales, shifts, statistics) of
    the step that is rewound to, which have seen that many steps of training.

    Attributes:
        weights: "ticket": the rewound ones; "reinit": a fresh draw of all; "same-sign": its magnitudes with the
            ticket's signs; "resampled": the ticket's own rewound values, permuted among the survivors of each layer;
            "constant-sign": the ticket's signs times the standard deviation of the layer's initial law.
        mask: "ticket"; "layer-shuffle": permuted within each layer; "global-shuffle": permuted over all layers that are
            pruned, which levels out their densities.
        draw: number of the random draw, from 0; several make the spread of a control.
    """

    weights: Weights = "ticket"
    mask: Places = "ticket"
    draw: int = 0

    def __post_init__(self) -> None:
        if self.weights not in get_args(Weights) or self.mask not in get_args(Places) or self.draw < 0:
            raise ValueError(
                f"expected weights in {get_args(Weights)}, mask in {get_args(Places)} and draw >= 0, got {self}"
            )


CONTROLS: Final[Mapping[str, Control]] = MappingProxyType(
    {
        "ticket": Control(),
        "reinit": Control("reinit"),
        "same-sign": Control("same-sign"),
        "resampled": Control("resampled"),
        "constant-sign": Control("constant-sign"),
        "random-mask": Control(mask="layer-shuffle"),
        "random-mask-global": Control(mask="global-shuffle"),
        "random-ticket": Control("reinit", "global-shuffle"),
        "random-ticket-layer": Control("reinit", "layer-shuffle"),
    }
)
"""The controls of the literature by name. "random-ticket" is that of Morcos et al. (2019): new weights and a permuted
mask."""


def control_mask(mask: Mask, control: Control, pruned: Sequence[str], seed: int) -> Mask:
    """Return the mask of a control.

    Args:
        mask: the ticket's.
        control: what is changed.
        pruned: the layers that are pruned at all; the others stay as they are.
        seed: of the trunk.

    >>> mask = Mask({"a": torch.arange(8) < 4, "b": torch.arange(8) < 2})
    >>> control_mask(mask, Control(mask="layer-shuffle"), ["a", "b"], 0).counts
    {'a': 4, 'b': 2}
    """
    if control.mask == "ticket":
        return mask
    within: Literal["layer", "network"] = "layer" if control.mask == "layer-shuffle" else "network"
    own = derived_seed(seed, f"weak/mask/{control.draw}", random.TRIAL)
    moved = shuffled_mask(Mask({name: mask[name] for name in pruned}), own, within=within)
    return Mask({**mask, **moved})


def control_weights(
    rewound: Mapping[str, Tensor], mask: Mask, control: Control, source: Source, fresh: Source, seed: int
) -> dict[str, Tensor]:
    """Return the values that a control is trained from, before its mask is applied.

    Args:
        rewound: state dict at the step that is rewound to.
        mask: the control's.
        control: what is changed.
        source: the trunk's random network.
        fresh: the random network of this draw.
        seed: of the trunk.
    """
    values = dict(rewound)
    if control.weights == "ticket":
        return values
    drawn = beginning(fresh)
    if control.weights == "reinit":
        return drawn
    for name in mask:
        old = values[name]
        if control.weights == "same-sign":
            values[name] = torch.copysign(drawn[name].to(old), old)
        elif control.weights == "constant-sign":
            values[name] = torch.copysign(torch.full_like(old, _deviation(source, name)), old)
        else:
            places = torch.from_numpy(mask.indices(name))
            stream = derived_seed(seed, f"weak/resampled/{control.draw}", random.REINIT)
            order = random.permutation(stream, name, len(places), purpose=random.REINIT)
            flat = old.reshape(-1).clone()
            flat[places] = old.reshape(-1)[places[torch.from_numpy(order)]]
            values[name] = flat.view(old.shape)
    return values


def _deviation(source: Source, name: str) -> float:
    law, scale = source.init.of(name)
    return scale * math.sqrt(Fraction(random.law(law).variance))
