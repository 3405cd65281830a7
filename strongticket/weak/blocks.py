"""Which parts of a network are its stages and blocks: what elastic tickets copy, and what they leave alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from strongticket.mask import Mask
from strongticket.models import MLP, CifarResNet, ResNet, Vgg
from strongticket.source import AbstractArchitecture

__all__ = ["BlockCount", "Blocks", "Unit", "block_counts"]

Unit = tuple[str, ...]
"""Prefixes of the names of a block's parameters and buffers, such as ("conv3.", "norm3.")."""


@dataclass(frozen=True)
class Blocks:
    """Say which names of a state dict belong to which block of which stage.

    Attributes:
        stages: the blocks of each stage, in order. Within a stage all but the first have the same shapes.
        rest: prefixes of what is in no block (stem, output layer); those of two networks correspond in this order.

    >>> Blocks((((("a.",), ("b.",)),)), ("out.",)).lengths
    (2,)
    """

    stages: tuple[tuple[Unit, ...], ...]
    rest: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.stages or not all(self.stages):
            raise ValueError(f"expected at least one stage, each of at least one block, got {self.stages}")

    @classmethod
    def of(cls, network: AbstractArchitecture) -> Blocks:
        """Return the stages of a residual network, a VGG or a perceptron.

        ResNet: residual blocks with their normalisation. VGG: a convolution and its normalisation, a stage ending where
        the width changes or where pixels are pooled; hidden linear layers are one more stage. MLP: a hidden layer, a
        stage being layers of the same width; its first one, which may come from another width, is never copied.

        Raises:
            ValueError: another network; give `Blocks` of your own for it.

        >>> from strongticket.models import architecture
        >>> Blocks.of(architecture("resnet14")).lengths, Blocks.of(architecture("vgg13")).lengths
        ((2, 2, 2), (2, 2, 2, 2, 2))
        >>> Blocks.of(architecture("mlp-784-300-300-100-10")).stages
        ((('layers.0.',), ('layers.1.',)), (('layers.2.',),))
        """
        if isinstance(network, CifarResNet | ResNet):
            stages: list[list[Unit]] = [
                [(f"layer{stage}.{i}.",) for i in range(count)]
                for stage, count in enumerate(network.KINDS[network.kind].blocks, 1)
            ]
            rest: tuple[str, ...] = ("conv1.", "bn1.", "fc.")
        elif isinstance(network, Vgg):
            stages, number = [], 0
            for group in network.KINDS[network.kind]:
                stages.append([(f"conv{number + i}.", f"norm{number + i}.") for i in range(1, len(group) + 1)])
                number += len(group)
            if network.linear > 1:
                stages.append([(f"linear{i}.",) for i in range(1, network.linear)])
            rest = (f"linear{network.linear}.",)
        elif isinstance(network, MLP) and network.depth > 1:
            hidden = list(range(network.depth - 1))
            runs = [list(run) for _, run in groupby(hidden, lambda i: network.sizes[i + 1])]
            stages = [[(f"layers.{i}.",) for i in run] for run in runs]
            rest = (f"layers.{network.depth - 1}.",)
        else:
            raise ValueError(
                f"no blocks are known of {network.id}: ResNets, VGGs and perceptrons with hidden layers have some; "
                "for a network of yours, give Blocks(stages, rest)"
            )
        return cls(tuple(tuple(stage) for stage in stages), rest)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(len(stage) for stage in self.stages)

    def owners(self, network: AbstractArchitecture) -> dict[str, tuple[Unit, str]]:
        """Return the unit of each name of a network's state dict, and what stands behind the unit's prefix.

        A part of the rest is a unit of one prefix.

        Raises:
            ValueError: a name that is in no unit or in several, or a unit without names.
        """
        units = [unit for stage in self.stages for unit in stage] + [(prefix,) for prefix in self.rest]
        found: dict[str, tuple[Unit, str]] = {}
        for name in (*network.shapes, *network.state):
            mine = [(unit, prefix) for unit in units for prefix in unit if name.startswith(prefix)]
            if len(mine) != 1:
                raise ValueError(f"{name} of {network.id} should be in one block or part of the rest, got {mine}")
            unit, prefix = mine[0]
            found[name] = (unit, f"{unit.index(prefix)}/{name.removeprefix(prefix)}")
        used = {unit for unit, _ in found.values()}
        if empty := [unit for unit in units if unit not in used]:
            raise ValueError(f"{network.id} has nothing named {empty[:3]}: these are blocks of another network")
        return found


@dataclass(frozen=True)
class BlockCount:
    """How many of a block's weights are kept.

    Attributes:
        kept: of them.
        size: all of its matrices and kernels.
    """

    kept: int
    size: int

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.kept / self.size


def block_counts(
    mask: Mask, network: AbstractArchitecture, blocks: Blocks | None = None
) -> tuple[tuple[BlockCount, ...], ...]:
    """Return what is kept of each block of each stage.

    Args:
        mask: over the counted weights of the network.
        network: what is masked.
        blocks: its blocks; None: those that are known of it.

    >>> from strongticket.models import architecture
    >>> net = architecture("mlp-4-3-3-2")
    >>> block_counts(Mask.full(net.shapes), net)
    ((BlockCount(kept=12, size=12), BlockCount(kept=9, size=9)),)
    """
    blocks = Blocks.of(network) if blocks is None else blocks
    owners = blocks.owners(network)
    sizes = {name: mask[name].numel() for name in mask}
    rows = []
    for stage in blocks.stages:
        names = [[name for name in mask if owners[name][0] == unit] for unit in stage]
        rows.append(tuple(BlockCount(sum(mask.counts[n] for n in mine), sum(sizes[n] for n in mine)) for mine in names))
    return tuple(rows)
