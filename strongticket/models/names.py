"""Names of architectures: which network a command, a file or a source means; and a place for networks of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from torch import nn

from strongticket.models.attention import ATTENTION
from strongticket.models.convolutional import CONVOLUTIONAL
from strongticket.models.grammar import Family
from strongticket.models.graph import GRAPHS
from strongticket.models.mlp import PERCEPTRONS
from strongticket.models.modules import ModuleArchitecture
from strongticket.models.residual import RESIDUAL
from strongticket.models.transformer import TRANSFORMERS
from strongticket.ticket import AbstractArchitecture

__all__ = ["FAMILIES", "architecture", "register"]

FAMILIES: Final[tuple[Family, ...]] = (PERCEPTRONS, CONVOLUTIONAL, RESIDUAL, TRANSFORMERS, ATTENTION, GRAPHS)
"""The families whose names are built in."""

_OWN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_registered: dict[str, tuple[object, AbstractArchitecture]] = {}


def architecture(name: str) -> AbstractArchitecture:
    """Read an architecture from its name, so that commands and ticket files can say which network they mean.

    Built in are:

    - ``mlp-D0-D1-...-DL``, ``lenet-300-100`` (784-300-100-10) and ``lenet-500`` (784-500-10, Pensia et al. 2020);
    - ``conv2``, ``conv4``, ``conv6``, ``conv8``, ``lenet5``, ``vgg11``, ``vgg13``, ``vgg16``, ``vgg19``, ``vgg-small``,
      and ``vgg13fc2``, ``vgg13fc3``, ``vgg13fc5`` with so many linear layers;
    - ``resnet8``, 14, 20, 32, 44, 56, 110 for small images; ``resnet18``, 34, 50, 101 and ``wide-resnet50`` for large
      ones, the first four also as ``resnet18-cifar``;
    - ``vit-l2-d64-h4-p4`` (layers, dimension, heads, patch) and ``encoder-l1-d32-h2-v100-t16`` (vocabulary, length);
    - ``attention-l1-d16-h2-k8-v8-f64-p8-t8``, without normalisation (see `Attention`);
    - ``graph-784_dense:784:300_relu_dense:300:10`` and all other ids of a `Graph`.

    Networks of images take a width factor and all but MLPs a number of classes: ``conv4x0.25``, ``resnet20x2-100``.
    Options: ``+bias`` (random biases), ``+affine`` (normalisation with weights and biases, as state), ``+1x28x28``
    (shape of the inputs), ``+pad`` (CIFAR ResNets: shortcuts without parameters), ``+elu`` and ``+sign`` (activations
    of convolutional and residual networks, instead of ReLU). Without options there are no biases, and normalisation is
    not affine. And every name given to `register`.

    Raises:
        TypeError: not a text.
        ValueError: no such name; the message says what is wrong with it.

    >>> architecture("lenet-300-100").size, architecture("lenet-300-100+bias").size
    (266200, 266610)
    >>> architecture("conv4x0.25-100+bias").id, architecture("resnet20").size
    ('conv4x0.25-100+bias', 270896)
    """
    if not isinstance(name, str):
        raise TypeError(f"an architecture is named by a text, got {name!r}")
    if name in _registered:
        return _registered[name][1]
    reason = ""
    for family in FAMILIES:
        if family.claims.match(name):
            try:
                return family.read(name)
            except ValueError as error:
                reason = f": {error}"
    examples = ", ".join(example for family in FAMILIES for example in family.examples[:2])
    advice = "" if reason else f"; use a name like {examples}, or register a network of yours"
    raise ValueError(f"no architecture is named {str(name)[:60]!r}{reason}{advice}")


def register(
    name: str, made: AbstractArchitecture | Callable[[], nn.Module], *, replace: bool = False
) -> AbstractArchitecture:
    """Give a network of your own a name, for this process: `architecture` then reads it, and ticket files can hold it.

    Every program that loads such a file registers the name first.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``; none that a built-in family could claim.
        made: a class or function that builds the network (see `ModuleArchitecture`), or an architecture of this id.
        replace: take the name from what was registered under it before; never from a built-in network.

    Returns:
        The architecture.

    Raises:
        TypeError: neither an architecture nor something that builds a network.
        ValueError: a name that is taken or not of this form, or a network that cannot be an architecture.

    >>> net = register("my-two-layers", lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)))
    >>> architecture("my-two-layers") is net
    True
    """
    if not isinstance(name, str):
        raise TypeError(f"an architecture is named by a text, got {name!r}")
    if not _OWN_NAME.fullmatch(name):
        raise ValueError(f"a name has 1 to 100 letters, digits, '.', '_' and '-', got {name[:120]!r}")
    if any(family.claims.match(name) for family in FAMILIES):
        raise ValueError(f"{name!r} is a name of a built-in family of networks, now or later; choose another")
    if name in _registered and _registered[name][0] is made:
        return _registered[name][1]
    if name in _registered and not replace:
        raise ValueError(f"another network is registered as {name!r}; choose another name, or give replace=True")
    new = made if isinstance(made, AbstractArchitecture) else ModuleArchitecture(name, made)
    if new.id != name:
        raise ValueError(f"the architecture has the id {new.id!r}, so it cannot be registered as {name!r}")
    if not new.shapes:
        raise ValueError(f"{name!r} has no random parameters")
    _registered[name] = (made, new)
    return new
