"""Residual networks: the CIFAR ones with three stages, and those of ImageNet with four, small stem or large.

Every convolution is followed by batch normalisation, so none has a bias; ``+bias`` is one for the linear layer. Names
in the state dict are those of torchvision's ResNets (conv1, bn1, layer1.0.conv1, layer2.0.downsample.0, ..., fc).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import ClassVar, final

from torch import Tensor, nn
from torch.nn import functional

from strongticket.models.activations import Activation, activation
from strongticket.models.convolutional import batch_norm
from strongticket.models.grammar import AbstractImageArchitecture, image_family

__all__ = ["RESIDUAL", "CifarResNet", "ResNet"]

EXPANSION = 4  # outputs of a bottleneck block, as a multiple of its stage's channels


@dataclass(frozen=True)
class Plan:
    """What a residual network is made of.

    Attributes:
        blocks: number of blocks of each stage.
        channels: of the first stage; each further stage has twice as many, at half the resolution.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions instead of two of 3x3.
        inner: a bottleneck's 3x3 convolution has this many times the stage's channels.
    """

    blocks: tuple[int, ...]
    channels: int = 64
    bottleneck: bool = False
    inner: int = 1


_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_FOUR_STAGES = {f"resnet{depth}": Plan(blocks, bottleneck=depth >= 50) for depth, blocks in _BLOCKS.items()}
_THREE_STAGES = {f"resnet{6 * n + 2}": Plan((n,) * 3, channels=16) for n in (1, 2, 3, 5, 7, 9, 18)}


class _Pad(nn.Module):
    """Take every other position and add channels of zeros: a shortcut without parameters."""

    def __init__(self, channels: int, wanted: int, stride: int) -> None:
        super().__init__()
        self.before = (wanted - channels) // 2
        self.after = wanted - channels - self.before
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, channels, h, w] -> [batch, wanted, ceil(h / stride), ...]
        return functional.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class _Block(nn.Module):
    """Add what two or three convolutions make of the inputs to the inputs."""

    def __init__(
        self, channels: int, sizes: tuple[int, ...], stride: int, affine: bool, pad: bool, act: Activation
    ) -> None:
        super().__init__()
        self.act = activation(act)
        kernels, strides = ((3, 3), (stride, 1)) if len(sizes) == 2 else ((1, 3, 1), (1, stride, 1))
        self.depth = len(sizes)
        for i, (before, after) in enumerate(zip((channels, *sizes[:-1]), sizes, strict=True)):
            kernel = kernels[i]
            conv = nn.Conv2d(before, after, kernel, strides[i], padding=kernel // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", batch_norm(after, affine))
        wanted = sizes[-1]
        self.downsample: nn.Module
        if stride == 1 and channels == wanted:
            self.downsample = nn.Identity()
        elif pad:
            self.downsample = _Pad(channels, wanted, stride)
        else:
            shortcut = nn.Conv2d(channels, wanted, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, batch_norm(wanted, affine))

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, channels, h, w]
        hidden = inputs
        for i in range(1, self.depth + 1):
            hidden = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(hidden))
            if i < self.depth:
                hidden = self.act(hidden)
        outputs: Tensor = self.act(hidden + self.downsample(inputs))
        return outputs


class _Network(nn.Module):
    """Run a stem, stages of blocks, the average over all positions and a linear layer."""

    def __init__(self, own: CifarResNet | ResNet, plan: Plan, *, large: bool, pad: bool) -> None:
        super().__init__()
        channels, affine = own.scaled(plan.channels), own.affine
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = nn.Conv2d(own.inputs[0], channels, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = batch_norm(channels, affine)
        self.act = activation(own.activation)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
        self.stages = len(plan.blocks)
        for stage, count in enumerate(plan.blocks):
            wanted = plan.channels << stage
            sizes: tuple[int, ...] = (own.scaled(wanted),) * 2
            if plan.bottleneck:
                inner = own.scaled(wanted * plan.inner)
                sizes = (inner, inner, EXPANSION * own.scaled(wanted))
            blocks = []
            for i in range(count):
                blocks.append(_Block(channels, sizes, 2 if stage and not i else 1, affine, pad, own.activation))
                channels = sizes[-1]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.average = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, own.classes, bias=own.bias)

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, channels, h, w] -> [batch, classes]
        hidden = self.pool(self.act(self.bn1(self.conv1(inputs))))
        for stage in range(1, self.stages + 1):
            hidden = self.get_submodule(f"layer{stage}")(hidden)
        outputs: Tensor = self.fc(self.average(hidden).flatten(1))
        return outputs


@final
@dataclass(frozen=True)
class CifarResNet(AbstractImageArchitecture):
    """Describe a residual network for small images: a 3x3 stem at full resolution, no pooling before the last layer.

    resnet8, 14, 20, 32, 44, 56, 110 have three stages of 16, 32 and 64 channels (He et al. 2016); resnet18-cifar,
    resnet34-cifar and resnet50-cifar the four stages of their ImageNet namesakes.

    Where a stage changes the shape, the shortcut is a 1x1 convolution with batch normalisation, as in the networks of
    the lottery-ticket papers (270,896 weights in resnet20, the denominator of their densities); with `pad` it is He et
    al.'s option A: every other position, new channels zero, no parameters (268,336 weights).

    Args:
        affine: whether normalisation has weights and biases, which are state and not random.
        pad: shortcuts without parameters.

    >>> CifarResNet("resnet20").size, CifarResNet("resnet18-cifar").size
    (270896, 11164352)
    """

    KINDS: ClassVar[Mapping[str, Plan]] = MappingProxyType(
        {**_THREE_STAGES, **{f"{kind}-cifar": plan for kind, plan in _FOUR_STAGES.items()}}
    )
    FLAGS: ClassVar[tuple[str, ...]] = ("bias", "affine", "pad")

    _: KW_ONLY
    affine: bool = False
    pad: bool = False

    def build(self) -> nn.Module:
        """Return the network."""
        return _Network(self, self.KINDS[self.kind], large=False, pad=self.pad)


@final
@dataclass(frozen=True)
class ResNet(AbstractImageArchitecture):
    """Describe a residual network for ImageNet: a 7x7 stem of stride 2, max-pooling, four stages, 1x1 shortcuts.

    resnet18 and 34 have two 3x3 convolutions per block; resnet50, 101 and wide-resnet50 (its 3x3 convolutions twice as
    wide) bottlenecks with the stride in the 3x3 convolution. With ``+bias+affine`` these are torchvision's networks.

    Args:
        affine: whether normalisation has weights and biases, which are state and not random.

    >>> ResNet("resnet50").size, ResNet("wide-resnet50").size
    (25502912, 68814016)
    """

    KINDS: ClassVar[Mapping[str, Plan]] = MappingProxyType(
        {**_FOUR_STAGES, "wide-resnet50": Plan(_BLOCKS[50], bottleneck=True, inner=2)}
    )
    FLAGS: ClassVar[tuple[str, ...]] = ("bias", "affine")

    _: KW_ONLY
    classes: int = 1000
    inputs: tuple[int, int, int] = (3, 224, 224)
    affine: bool = False

    def build(self) -> nn.Module:
        """Return the network."""
        return _Network(self, self.KINDS[self.kind], large=True, pad=False)


RESIDUAL = image_family(r"(?:wide-)?resnet", CifarResNet, ResNet)
