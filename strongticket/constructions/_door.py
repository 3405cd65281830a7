"""One door to the constructions: each kind of target has a proof that is tried first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from strongticket.constructions._construction import Construction
from strongticket.constructions.dacunha2022proving import DaCunha2022Proving
from strongticket.constructions.otsuka2025attention import Otsuka2025Attention
from strongticket.constructions.pensia2020optimal import Pensia2020Optimal
from strongticket.models import AttentionModule, AttentionTarget, GraphModule, GraphTarget, Target

__all__ = ["FIRST_CHOICE", "construct"]

AnyTarget = Target | GraphTarget | AttentionTarget

FIRST_CHOICE: Final[Mapping[type, Callable[..., Any]]] = MappingProxyType(
    {Target: Pensia2020Optimal, GraphTarget: DaCunha2022Proving, AttentionTarget: Otsuka2025Attention}
)
"""The construction that `construct` takes for each kind of target."""

_READERS: Final[Mapping[type, Callable[[Any], AnyTarget]]] = MappingProxyType(
    {AttentionModule: AttentionTarget.from_module, GraphModule: GraphTarget.from_module}
)
"""Networks that say by themselves what they are."""


def construct(target: AnyTarget | nn.Module, *, inputs: Sequence[int] | None = None, **options: object) -> Construction:
    """Turn a trained network into a strict strong lottery ticket, by the proof for its kind.

    A `Target` (Linear and ReLU layers) goes to `Pensia2020Optimal`, a `GraphTarget` (convolutions, pools) to
    `DaCunha2022Proving`, an `AttentionTarget` to `Otsuka2025Attention`. Residual networks, other proofs and their own
    settings: take the class, see `strongticket.constructions`.

    Args:
        target: the network to find inside a random one. A module is read by `Target.from_module`; one that is no MLP is
            traced by `GraphTarget.from_module` if `inputs` is given.
        inputs: shape of one input of a module, such as (1, 28, 28).
        options: parameters of the construction, such as weight_eps or network_eps, items, objective, domain, seed.

    Raises:
        TypeError: no target or network, one that cannot be read, or a parameter that the construction does not have.
        ValueError: `inputs` for what is no module, or that it does not take; a parameter outside its range.
        HypothesisError: the target is outside the theorem.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3))
    >>> result = construct(net, inputs=(1, 8, 8), weight_eps=0.01, seed=1)
    >>> result.key, result.ticket is not None and result.largest_error <= 0.01
    ('dacunha2022proving', True)
    """
    given: object = target
    if not isinstance(given, (nn.Module, *FIRST_CHOICE)):
        kinds = ", ".join(kind.__name__ for kind in FIRST_CHOICE)
        raise TypeError(f"expected a torch module or one of {kinds}, got {type(given).__name__}")
    if inputs is not None and (type(target) in _READERS or not isinstance(target, nn.Module)):
        raise ValueError(
            f"inputs= is the shape of a module's input; {type(target).__name__} knows its own: leave it out"
        )
    read = _read(target, inputs) if isinstance(target, nn.Module) else target
    result: Construction = FIRST_CHOICE[type(read)](**options).construct(read)
    return result


def _read(module: nn.Module, inputs: Sequence[int] | None) -> AnyTarget:
    """The module as the first kind of target that can hold it."""
    if type(module) in _READERS:
        return _READERS[type(module)](module)
    try:
        target = Target.from_module(module)
    except (TypeError, ValueError) as error:
        if inputs is None:
            raise
        try:
            return GraphTarget.from_module(module, tuple(inputs))
        except (TypeError, ValueError) as graph_error:
            raise graph_error from error
    if inputs is not None and math.prod(inputs) != target.architecture.sizes[0]:
        raise ValueError(f"the network reads {target.architecture.sizes[0]} numbers, got inputs={tuple(inputs)}")
    return target
