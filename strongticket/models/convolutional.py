"""Plain convolutional networks of the mask-search papers: Conv2 to Conv8, VGG with batch normalisation, LeNet-5."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import ClassVar, final

import torch
from torch import nn

from strongticket.models.activations import Activation, activation
from strongticket.models.grammar import AbstractImageArchitecture, image_family

__all__ = ["CONVOLUTIONAL", "Conv", "LeNet5", "Vgg", "batch_norm"]

_PAIRS = (64, 128, 256, 512)
_HIDDEN = 256


def batch_norm(channels: int, affine: bool) -> nn.BatchNorm2d:
    """Return batch normalisation with running statistics in float32, whatever torch's default type is."""
    return nn.BatchNorm2d(channels, affine=affine, dtype=torch.float32)


class _Layers:
    """Collect layers under readable names: conv1, relu1, conv2, ..., linear1, ..."""

    def __init__(self) -> None:
        self.named: OrderedDict[str, nn.Module] = OrderedDict()
        self._numbers: dict[str, int] = {}

    def add(self, kind: str, layer: nn.Module) -> None:
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        self.named[f"{kind}{self._numbers[kind]}"] = layer

    def head(self, sizes: list[int], bias: bool, act: Activation, *, normalised: bool = False) -> nn.Sequential:
        """Flatten, then linear layers of these sizes with activations between them; return all of it.

        Normalised ones have batch normalisation before each activation, and no bias but in the last layer.
        """
        self.named["flatten"] = nn.Flatten()
        for i in range(len(sizes) - 1):
            last = i == len(sizes) - 2
            self.add("linear", nn.Linear(sizes[i], sizes[i + 1], bias=bias and (last or not normalised)))
            if normalised and not last:
                self.add("norm", nn.BatchNorm1d(sizes[i + 1], affine=False, dtype=torch.float32))
            if not last:
                self.add(act, activation(act))
        return nn.Sequential(self.named)


@final
@dataclass(frozen=True)
class Conv(AbstractImageArchitecture):
    """Describe Conv-2, -4, -6 or -8: pairs of 3x3 convolutions with ReLU, 2x2 max-pooling, then 256-256-classes.

    The networks of Frankle & Carbin 2019 (Conv-8: Ramanujan et al. 2020). No normalisation; the width factor scales
    the convolutions and the two hidden linear layers.

    With the activation "sign" they are the networks of binary activations of Diffenderfer & Kailkhura 2021: batch
    normalisation (not affine) before every sign, and pooling before both.

    >>> [Conv(kind).size for kind in Conv.KINDS]
    [4300992, 2425024, 2261184, 5275840]
    """

    KINDS: ClassVar[Mapping[str, int]] = MappingProxyType({f"conv{2 * n}": n for n in (1, 2, 3, 4)})  # pairs

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = self.KINDS[self.kind]
        if min(self.inputs[1:]) < 1 << pairs:
            raise ValueError(f"{self.kind} halves its inputs {pairs} times, so {self.inputs} is too small for it")

    def build(self) -> nn.Module:
        """Return the network: conv1, relu1, conv2, relu2, pool1, ..., flatten, linear1, ..., linear3."""
        layers, (channels, height, width) = _Layers(), self.inputs
        act, binary = self.activation, self.activation == "sign"
        for pair in _PAIRS[: self.KINDS[self.kind]]:
            wanted = self.scaled(pair)
            for second in (False, True):
                layers.add("conv", nn.Conv2d(channels, wanted, 3, padding=1, bias=self.bias and not binary))
                if binary and second:
                    layers.add("pool", nn.MaxPool2d(2))
                if binary:
                    layers.add("norm", batch_norm(wanted, affine=False))
                layers.add(act, activation(act))
                if second and not binary:
                    layers.add("pool", nn.MaxPool2d(2))
                channels = wanted
            height, width = height // 2, width // 2
        hidden = self.scaled(_HIDDEN)
        sizes = [channels * height * width, hidden, hidden, self.classes]
        return layers.head(sizes, self.bias, act, normalised=binary)


@final
@dataclass(frozen=True)
class LeNet5(AbstractImageArchitecture):
    """Describe LeNet-5 (LeCun et al. 1998) as it is used today: 5x5 convolutions 6-16, then 120-84-classes.

    ReLU and 2x2 max-pooling after each convolution; the first one pads by 2, so that 28x28 inputs are its 32x32.

    >>> LeNet5().size, LeNet5(bias=True).size
    (61470, 61706)
    """

    KINDS: ClassVar[Mapping[str, None]] = MappingProxyType({"lenet5": None})

    kind: str = "lenet5"
    _: KW_ONLY
    inputs: tuple[int, int, int] = (1, 28, 28)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.inputs[1:]) < 12:
            raise ValueError(f"lenet5 needs inputs of at least 12x12, so {self.inputs} is too small for it")

    def build(self) -> nn.Module:
        """Return the network: conv1, relu1, pool1, conv2, relu2, pool2, flatten, linear1, relu3, ..., linear3."""
        layers, (channels, height, width) = _Layers(), self.inputs
        for wanted, padding in ((6, 2), (16, 0)):
            layers.add("conv", nn.Conv2d(channels, self.scaled(wanted), 5, padding=padding, bias=self.bias))
            layers.add(self.activation, activation(self.activation))
            layers.add("pool", nn.MaxPool2d(2))
            channels = self.scaled(wanted)
            height, width = (height - 4 + 2 * padding) // 2, (width - 4 + 2 * padding) // 2
        sizes = [channels * height * width, self.scaled(120), self.scaled(84), self.classes]
        return layers.head(sizes, self.bias, self.activation)


_VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_VGG13 = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))
_VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
_SMALL = ((128, 128), (256, 256), (512, 512))
_LINEAR = {"vgg13fc2": 2, "vgg13fc3": 3, "vgg13fc5": 5}


@final
@dataclass(frozen=True)
class Vgg(AbstractImageArchitecture):
    """Describe a VGG network in its CIFAR form: 3x3 convolutions with batch normalisation, then one linear layer.

    vgg11, 13, 16, 19: 2x2 max-pooling after each of the first four groups, the average over all positions after the
    fifth. vgg-small: max-pooling after each of its three groups, and all positions go into the linear layer.

    vgg13fc2, vgg13fc3 and vgg13fc5 are the VGG-13-2, -3 and -5 of Chen et al. 2021: so many linear layers instead of
    one, those before the last as wide as what comes in, with activations and without normalisation.

    Args:
        affine: whether normalisation has weights and biases, which are state and not random.

    >>> Vgg("vgg19").size, Vgg("vgg-small").size  # 20,018,880 in convolutions and 5,120 in the linear layer
    (20024000, 4656512)
    >>> Vgg("vgg13fc3").size - Vgg("vgg13").size == 2 * 512**2
    True
    """

    KINDS: ClassVar[Mapping[str, tuple[tuple[int, ...], ...]]] = MappingProxyType(
        {
            "vgg11": _VGG11,
            "vgg13": _VGG13,
            "vgg16": _VGG16,
            "vgg19": _VGG19,
            "vgg-small": _SMALL,
            **dict.fromkeys(_LINEAR, _VGG13),
        }
    )
    FLAGS: ClassVar[tuple[str, ...]] = ("bias", "affine")

    _: KW_ONLY
    affine: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.inputs[1:]) < 1 << self._pools:
            raise ValueError(f"{self.kind} halves its inputs {self._pools} times, so {self.inputs} is too small for it")

    @property
    def _pools(self) -> int:
        return len(self.KINDS[self.kind]) - (self.kind != "vgg-small")

    @property
    def linear(self) -> int:
        """Number of linear layers, the last one included."""
        return _LINEAR.get(self.kind, 1)

    def build(self) -> nn.Module:
        """Return the network: conv1, norm1, relu1, ..., pool1, ..., average1 (no vgg-small), flatten, linear1, ..."""
        layers, (channels, height, width) = _Layers(), self.inputs
        for group, members in enumerate(self.KINDS[self.kind]):
            for wanted in members:
                layers.add("conv", nn.Conv2d(channels, self.scaled(wanted), 3, padding=1, bias=False))
                layers.add("norm", batch_norm(self.scaled(wanted), self.affine))
                layers.add(self.activation, activation(self.activation))
                channels = self.scaled(wanted)
            if group < self._pools:
                layers.add("pool", nn.MaxPool2d(2))
                height, width = height // 2, width // 2
        if self.kind != "vgg-small":
            layers.add("average", nn.AdaptiveAvgPool2d(1))
            height = width = 1
        sizes = [channels * height * width] * self.linear + [self.classes]
        return layers.head(sizes, self.bias, self.activation)


CONVOLUTIONAL = image_family(r"conv\d|vgg|lenet(?!-\d\d)", Conv, LeNet5, Vgg)
