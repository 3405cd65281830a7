"""Networks of multi-head attention without normalisation: the architecture of strong tickets in transformers.

Tokens are embedded by a map that is given, not random: it is part of the state. Each block adds attention to its
inputs, then a ReLU feed-forward network of each token alone. A linear head, or an MLP, reads the mean of the tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from strongticket.models.grammar import MAX_CLASSES, Family, check_whole, read_suffix, write_suffix
from strongticket.models.mlp import linear
from strongticket.models.modules import check_values
from strongticket.ticket import AbstractArchitecture

__all__ = ["ATTENTION", "EMBEDDING", "POSITIONS", "Attention", "AttentionModule"]

MAX_LAYERS, MAX_DIMENSION, MAX_INNER, MAX_LENGTH, MAX_WIDTHS = 64, 4096, 1 << 24, 1 << 16, 64
EMBEDDING: Final = "embedding"
"""State: [dim, patch], or [vocabulary, dim]."""
POSITIONS: Final = "positions"
"""State: [length, dim], added to the tokens by their place."""


@final
@dataclass(frozen=True)
class Attention(AbstractArchitecture):
    """Describe a network of multi-head attention without normalisation and without biases.

    With tokens x_1, ..., x_T as columns, head h adds O_h V_h X softmax((K_h X)'(Q_h X) / sqrt(key)) to them, each
    column of the softmax being the weights of all tokens for one token; then x -> x + F(x), F an MLP of ReLU layers.

    Args:
        layers: number of blocks.
        dim: coordinates of a token.
        heads: of each block.
        key: rows of each head's Q and K; logits are divided by its square root.
        value: rows of each head's V, columns of its O.
        hidden: widths between the layers of F; none for blocks of attention alone.
        head: widths between the layers of the classifier; none for a linear one.
        patch: numbers of a token; inputs are [batch, T, patch], or of any shape that is cut into such tokens in order.
        vocabulary: number of tokens; inputs are integers [batch, T]. Either this or `patch` is not 0.
        length: most tokens of an input, where tokens have positions; 0: no positions and any number of tokens.
        classes: number of outputs.

    Raises:
        ValueError: a number out of range, or both or none of patch and vocabulary.

    >>> net = Attention(1, 16, 2, 8, 8, (64,), patch=8, length=8)
    >>> net.id, net.size
    ('attention-l1-d16-h2-k8-v8-f64-p8-t8', 3232)
    """

    layers: int
    dim: int
    heads: int
    key: int
    value: int
    hidden: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    _: KW_ONLY
    patch: int = 0
    vocabulary: int = 0
    length: int = 0
    classes: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "head", tuple(self.head))
        check_whole("the number of layers", self.layers, MAX_LAYERS)
        check_whole("the dimension", self.dim, MAX_DIMENSION)
        check_whole("the number of heads", self.heads, MAX_DIMENSION)
        for what, width in (("key", self.key), ("value", self.value)):
            check_whole(f"the width of a {what}", width, MAX_INNER)
        for width in (*self.hidden, *self.head):
            check_whole("a hidden width", width, MAX_INNER)
        if max(len(self.hidden), len(self.head)) > MAX_WIDTHS:  # its id could not be read
            raise ValueError(f"there are at most {MAX_WIDTHS} hidden widths, got {len(self.hidden)}, {len(self.head)}")
        check_whole("the number of classes", self.classes, MAX_CLASSES)
        if (self.patch == 0) == (self.vocabulary == 0):
            raise ValueError(
                f"give one of patch (tokens are vectors) and vocabulary, got {self.patch} and {self.vocabulary}"
            )
        if self.patch:
            check_whole("the patch", self.patch, MAX_DIMENSION)
        else:
            check_whole("the vocabulary", self.vocabulary, 1 << 20)
        if self.length:
            check_whole("the length", self.length, MAX_LENGTH)

    @property
    def id(self) -> str:
        """The canonical name, such as ``attention-l1-d16-h2-k8-v8-f64-p8-t8``; the grammar is in `architecture`."""
        text = f"attention-l{self.layers}-d{self.dim}-h{self.heads}-k{self.key}-v{self.value}"
        text += f"-f{_joined(self.hidden)}" if self.hidden else ""
        text += f"-o{_joined(self.head)}" if self.head else ""
        text += f"-p{self.patch}" if self.patch else f"-w{self.vocabulary}"
        text += f"-t{self.length}" if self.length else ""
        return text + write_suffix(classes=None if self.classes == 10 else self.classes)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """``blocks.b.query.weight`` and ``key`` [heads key, dim], ``value`` [heads value, dim], ``out`` [dim, heads
        value], ``feed.i`` of F, and ``head.i`` of the classifier; all random."""
        found: dict[str, tuple[int, ...]] = {}
        for block in range(self.layers):
            for part, width in (("query", self.key), ("key", self.key), ("value", self.value)):
                found[self.name(block, part)] = (self.heads * width, self.dim)
            found[self.name(block, "out")] = (self.dim, self.heads * self.value)
            for i, shape in enumerate(_layers(self.dim, self.hidden, self.dim) if self.hidden else ()):
                found[self.name(block, f"feed.{i}")] = shape
        for i, shape in enumerate(_layers(self.dim, self.head, self.classes)):
            found[f"head.{i}.weight"] = shape
        return found

    @property
    def state(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """The given embedding, and the positions."""
        shape = (self.dim, self.patch) if self.patch else (self.vocabulary, self.dim)
        return {EMBEDDING: (shape, "float32")} | (
            {POSITIONS: ((self.length, self.dim), "float32")} if self.length else {}
        )

    def initial_state(self) -> dict[str, Tensor]:
        """Return an embedding without trained numbers: tokens fill the first coordinates, positions the last ones.

        The numbers of a patch become the first coordinates of its token (a word of a vocabulary: a 1 at its number),
        and place t a 1 in the t-th coordinate from the end; numbers beyond `dim` wrap around.
        """
        values = torch.eye(self.dim)[torch.arange(self.patch or self.vocabulary) % self.dim]
        found = {EMBEDDING: values.T.contiguous() if self.patch else values}
        if self.length:
            found[POSITIONS] = torch.eye(self.dim).flip(0)[torch.arange(self.length) % self.dim]
        return found

    @staticmethod
    def name(block: int, part: str) -> str:
        """Name of a matrix of a block: part is query, key, value, out or feed.0, feed.1, ..."""
        return f"blocks.{block}.{part}.weight"

    def module(self, weights: Mapping[str, Tensor]) -> AttentionModule:
        """Build the network; embedding and positions are buffers, which training leaves as they are."""
        check_values(self, weights)
        return AttentionModule(self, weights)


@final
class AttentionModule(nn.Module):
    """Run a network of attention whose weights are given."""

    embedding: Tensor
    positions: Tensor

    def __init__(self, own: Attention, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.architecture = own
        self.register_buffer(EMBEDDING, weights[EMBEDDING])
        if own.length:
            self.register_buffer(POSITIONS, weights[POSITIONS])
        self.blocks = nn.ModuleList(_Block(own, block, weights) for block in range(own.layers))
        self.head = nn.ModuleList(linear(weights[f"head.{i}.weight"], None) for i in range(len(own.head) + 1))

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, T, patch], or integers [batch, T] -> [batch, classes]
        """Return the outputs (logits)."""
        tokens = self.tokens(inputs)
        for block in self.blocks:
            tokens = block(tokens)
        return _mlp(self.head, tokens.mean(1))

    def tokens(self, inputs: Tensor) -> Tensor:  # -> [batch, T, dim]
        """Return the embedded tokens.

        Raises:
            ValueError: inputs that are no whole number of tokens, or more tokens than there are positions.
        """
        own = self.architecture
        if own.patch:
            flat = inputs.flatten(1)
            if flat.shape[1] % own.patch or not flat.shape[1]:
                raise ValueError(f"an input is cut into tokens of {own.patch} numbers, got {flat.shape[1]}")
            tokens = nn.functional.linear(flat.reshape(len(flat), -1, own.patch), self.embedding)
        else:
            tokens = nn.functional.embedding(inputs, self.embedding)
        if not own.length:
            return tokens
        if tokens.shape[1] > own.length:
            raise ValueError(f"an input has at most {own.length} tokens, got {tokens.shape[1]}")
        return tokens + self.positions[: tokens.shape[1]]


class _Block(nn.Module):
    def __init__(self, own: Attention, block: int, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.heads = own.heads
        self.scale = 1.0 / math.sqrt(own.key)
        self.query, self.key, self.value, self.out = (
            linear(weights[own.name(block, part)], None) for part in ("query", "key", "value", "out")
        )
        count = len(own.hidden) + 1 if own.hidden else 0
        self.feed = nn.ModuleList(linear(weights[own.name(block, f"feed.{i}")], None) for i in range(count))

    def forward(self, tokens: Tensor) -> Tensor:  # [batch, T, dim]
        query, key, value = (
            layer(tokens).reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        shares = torch.softmax(query @ key.transpose(2, 3) * self.scale, dim=3)
        mixed: Tensor = tokens + self.out((shares @ value).transpose(1, 2).flatten(2))
        return mixed + _mlp(self.feed, mixed) if len(self.feed) else mixed


def _mlp(layers: nn.ModuleList, hidden: Tensor) -> Tensor:
    for i, layer in enumerate(layers):
        hidden = layer(torch.relu(hidden) if i else hidden)
    return hidden


def _layers(inputs: int, hidden: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
    widths = (inputs, *hidden, outputs)
    return list(zip(widths[1:], widths[:-1], strict=True))


def _joined(widths: tuple[int, ...]) -> str:
    return ".".join(map(str, widths))


_NUMBER = r"([1-9]\d{0,7})"
_WIDTHS = r"([1-9]\d{0,7}(?:\.[1-9]\d{0,7}){0,63})"
_NAME = re.compile(
    rf"attention-l{_NUMBER}-d{_NUMBER}-h{_NUMBER}-k{_NUMBER}-v{_NUMBER}(?:-f{_WIDTHS})?(?:-o{_WIDTHS})?"
    rf"(?:-p{_NUMBER}|-w{_NUMBER})(?:-t{_NUMBER})?((?:-[1-9]|\+).*)?",
    re.ASCII,
)


def _read(name: str) -> Attention:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            "the form is attention-l1-d16-h2-k8-v8-f64-o32-p8-t8 (layers, dimension, heads, key, value, hidden widths "
            "of the feed-forward and the head, patch or -w vocabulary, length)"
        )
    layers, dim, heads, key, value, hidden, head, patch, vocabulary, length, rest = match.groups()
    found: dict[str, Any] = read_suffix(rest or "", ())
    if set(found) - {"classes"}:
        raise ValueError("a network of attention has no options but its number of classes")
    return Attention(
        int(layers),
        int(dim),
        int(heads),
        int(key),
        int(value),
        _widths(hidden),
        _widths(head),
        patch=int(patch or 0),
        vocabulary=int(vocabulary or 0),
        length=int(length or 0),
        **found,
    )


def _widths(text: str | None) -> tuple[int, ...]:
    return tuple(map(int, text.split("."))) if text else ()


ATTENTION = Family(re.compile("attention-"), _read, ("attention-l1-d16-h2-k8-v8-f64-p8-t8",))
