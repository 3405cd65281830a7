"""Small transformer encoders that classify: images cut into patches, or sequences of tokens."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from strongticket.models.grammar import MAX_CLASSES, Family, check_inputs, check_whole, read_suffix, write_suffix
from strongticket.models.modules import AbstractModuleArchitecture

__all__ = ["TRANSFORMERS", "PatchTransformer", "TokenTransformer"]

WIDENING: Final = 4  # hidden units of a block's two linear layers, as a multiple of its dimension
MAX_LAYERS, MAX_DIMENSION, MAX_PATCH, MAX_VOCABULARY, MAX_LENGTH = 256, 16384, 1024, 1 << 20, 1 << 16
_FLAGS = ("bias", "affine")


class _Block(nn.Module):
    """Let positions look at each other, then work on each alone; each step is added to its normalised inputs."""

    def __init__(self, dim: int, heads: int, bias: bool, affine: bool) -> None:
        super().__init__()
        self.norm1 = _layer_norm(dim, affine)
        self.attention = nn.MultiheadAttention(dim, heads, bias=bias, batch_first=True)
        self.norm2 = _layer_norm(dim, affine)
        self.linear1 = nn.Linear(dim, WIDENING * dim, bias=bias)
        self.linear2 = nn.Linear(WIDENING * dim, dim, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, positions, dim]
        normal = self.norm1(inputs)
        hidden: Tensor = inputs + self.attention(normal, normal, normal, need_weights=False)[0]
        update: Tensor = self.linear2(nn.functional.gelu(self.linear1(self.norm2(hidden))))
        return hidden + update


class _Encoder(nn.Module):
    """Add a vector per position, run the blocks, and classify the average over positions."""

    def __init__(self, own: PatchTransformer | TokenTransformer, embedding: nn.Module, positions: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = _embedding(positions, own.dim)
        self.blocks = nn.Sequential(*(_Block(own.dim, own.heads, own.bias, own.affine) for _ in range(own.layers)))
        self.norm = _layer_norm(own.dim, own.affine)
        self.head = nn.Linear(own.dim, own.classes, bias=own.bias)

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, channels, h, w] or [batch, length] -> [batch, classes]
        hidden = self.embedding(inputs)
        if hidden.ndim == 4:  # of patches: [batch, dim, rows, columns]
            hidden = hidden.flatten(2).transpose(1, 2)
        hidden = hidden + self.positions(torch.arange(hidden.shape[1], device=hidden.device))
        outputs: Tensor = self.head(self.norm(self.blocks(hidden)).mean(1))
        return outputs


def _embedding(number: int, dim: int) -> nn.Embedding:
    # weights given, since to draw them on the meta device makes torch load seconds' worth of modules
    return nn.Embedding(number, dim, _weight=torch.empty(number, dim))


def _layer_norm(dim: int, affine: bool) -> nn.LayerNorm:
    return nn.LayerNorm(dim, elementwise_affine=affine, dtype=torch.float32)


def _check(own: PatchTransformer | TokenTransformer) -> None:
    check_whole("the number of layers", own.layers, MAX_LAYERS)
    check_whole("the dimension", own.dim, MAX_DIMENSION)
    check_whole("the number of heads", own.heads, own.dim)
    check_whole("the number of classes", own.classes, MAX_CLASSES)
    if own.dim % own.heads:
        raise ValueError(f"the dimension is a multiple of the number of heads, got {own.dim} and {own.heads}")
    for flag in _FLAGS:
        if not isinstance(getattr(own, flag), bool):
            raise TypeError(f"{flag} is True or False, got {getattr(own, flag)!r}")


@final
@dataclass(frozen=True)
class PatchTransformer(AbstractModuleArchitecture):
    """Describe a transformer encoder that classifies images by their patches.

    Each patch is a linear function of its pixels (a convolution whose stride is its size) plus a vector of its place;
    blocks normalise first, have GELU between linear layers of `dim` and 4 `dim` units, and the head reads the average
    over patches. All matrices are random, embeddings and attention included.

    Args:
        layers: number of blocks.
        dim: units of a position.
        heads: of the attention; `dim` is a multiple of it.
        patch: side of a patch in pixels; height and width are multiples of it.
        classes: number of outputs.
        inputs: (channels, height, width) of an image.
        bias: whether attention and linear layers have (random) biases.
        affine: whether normalisation has weights and biases, which are state and not random.

    >>> PatchTransformer(2, 64, 4, 4).id, PatchTransformer(2, 64, 4, 4).size
    ('vit-l2-d64-h4-p4', 106112)
    """

    layers: int
    dim: int
    heads: int
    patch: int
    _: KW_ONLY
    classes: int = 10
    inputs: tuple[int, int, int] = (3, 32, 32)
    bias: bool = False
    affine: bool = False

    def __post_init__(self) -> None:
        _check(self)
        check_whole("the side of a patch", self.patch, MAX_PATCH)
        object.__setattr__(self, "inputs", check_inputs(self.inputs))
        if self.inputs[1] % self.patch or self.inputs[2] % self.patch:
            raise ValueError(f"height and width are multiples of the patch, got {self.inputs} and {self.patch}")

    @property
    def id(self) -> str:
        """The canonical name: ``vit-l2-d64-h4-p4``, and what differs from the defaults."""
        return f"vit-l{self.layers}-d{self.dim}-h{self.heads}-p{self.patch}" + write_suffix(
            classes=None if self.classes == 10 else self.classes,
            inputs=None if self.inputs == (3, 32, 32) else self.inputs,
            flags={"bias": self.bias, "affine": self.affine},
        )

    def build(self) -> nn.Module:
        """Return the network."""
        channels, height, width = self.inputs
        patches = nn.Conv2d(channels, self.dim, self.patch, self.patch, bias=self.bias)
        return _Encoder(self, patches, (height // self.patch) * (width // self.patch))


@final
@dataclass(frozen=True)
class TokenTransformer(AbstractModuleArchitecture):
    """Describe a transformer encoder that classifies sequences of tokens; see `PatchTransformer` for its blocks.

    Args:
        layers: number of blocks.
        dim: units of a position.
        heads: of the attention; `dim` is a multiple of it.
        vocabulary: number of tokens; inputs are integers [batch, n] below it.
        length: longest sequence.
        classes: number of outputs.
        bias: whether attention and linear layers have (random) biases.
        affine: whether normalisation has weights and biases, which are state and not random.

    >>> TokenTransformer(1, 32, 2, vocabulary=100, length=16, classes=2).id
    'encoder-l1-d32-h2-v100-t16-2'
    """

    layers: int
    dim: int
    heads: int
    vocabulary: int
    length: int
    _: KW_ONLY
    classes: int = 10
    bias: bool = False
    affine: bool = False

    def __post_init__(self) -> None:
        _check(self)
        check_whole("the vocabulary", self.vocabulary, MAX_VOCABULARY)
        check_whole("the longest sequence", self.length, MAX_LENGTH)

    @property
    def id(self) -> str:
        """The canonical name: ``encoder-l1-d32-h2-v100-t16``, and what differs from the defaults."""
        kind = f"encoder-l{self.layers}-d{self.dim}-h{self.heads}-v{self.vocabulary}-t{self.length}"
        classes = None if self.classes == 10 else self.classes
        return kind + write_suffix(classes=classes, flags={"bias": self.bias, "affine": self.affine})

    def build(self) -> nn.Module:
        """Return the network."""
        return _Encoder(self, _embedding(self.vocabulary, self.dim), self.length)


_NUMBER = r"([1-9]\d{0,7})"
_VIT = re.compile(rf"vit-l{_NUMBER}-d{_NUMBER}-h{_NUMBER}-p{_NUMBER}((?:-|\+).*)?", re.ASCII)
_TOKENS = re.compile(rf"encoder-l{_NUMBER}-d{_NUMBER}-h{_NUMBER}-v{_NUMBER}-t{_NUMBER}((?:-|\+).*)?", re.ASCII)


def _read(name: str) -> PatchTransformer | TokenTransformer:
    match = _VIT.fullmatch(name) or _TOKENS.fullmatch(name)
    if match is None:
        raise ValueError("the form is vit-l2-d64-h4-p4 (layers, dimension, heads, patch) or encoder-l1-d32-h2-v100-t16")
    *numbers, rest = match.groups()
    found: dict[str, Any] = read_suffix(rest or "", _FLAGS)
    if match.re is _VIT:
        return PatchTransformer(*map(int, numbers), **found)
    if "inputs" in found:
        raise ValueError("tokens have no +CxHxW; their vocabulary and length are -v and -t")
    return TokenTransformer(*map(int, numbers), **found)


TRANSFORMERS = Family(re.compile("vit-|encoder-"), _read, ("vit-l2-d64-h4-p4", "encoder-l1-d32-h2-v100-t16"))
