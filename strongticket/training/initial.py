"""Starting weights of a network that is trained: a pure function of the seed and the parameters' names."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from strongticket import random
from strongticket.models import GraphLayer

__all__ = ["AFFINE", "initialise"]

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, GraphLayer)


def initialise(module: nn.Module, seed: int) -> nn.Module:
    """Return a copy of a network with fresh random weights that are a pure function of (seed, parameter name).

    The law is torch's default for Linear and convolutions: weights and biases uniform between -1/sqrt(fan_in) and
    1/sqrt(fan_in); normalisation layers start as the identity. Unlike torch's own, the bits depend neither on the
    version nor on the device nor on the order in which the layers were made.

    Args:
        module: the network; left as it is.
        seed: 0 to 2^64 - 1.

    Returns:
        The copy, its parameters requiring gradients.

    Raises:
        TypeError: a layer has parameters of a kind that is not known here.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> a, b = initialise(net, 7), initialise(net, 7)
    >>> bool((a[0].weight == b[0].weight).all()), bool((a[0].weight.abs() < 0.5).all())
    (True, True)
    """
    random.check_seed(seed)
    fresh = copy.deepcopy(module)
    for prefix, layer in fresh.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if not own:
            continue
        if isinstance(layer, AFFINE):
            scale = np.float32(1.0 / math.sqrt(layer.weight[0].numel()))
            for name, parameter in own.items():
                _fill(parameter, f"{prefix}.{name}" if prefix else name, seed, scale)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
            layer.reset_parameters()
        else:
            raise TypeError(
                f"cannot initialise {prefix or 'the network'} ({type(layer).__name__}): only Linear, Conv and "
                "normalisation layers have a known law; set its weights yourself and pass the module to train"
            )
    return fresh.requires_grad_(True)


def _fill(parameter: nn.Parameter, name: str, seed: int, scale: np.float32) -> None:
    values = random.UNIFORM23.values(seed, name, 0, parameter.numel(), purpose=random.INIT) * scale
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))
