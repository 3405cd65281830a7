"""Give every random quantity its own named stream, so that no result depends on what else was drawn, or when.

A stream is a function of (seed, purpose, name): the seed is the key of Philox4x32-10, and the first 8 bytes of
sha256(purpose, a zero byte, name) fill the upper half of its counter. Word j of a stream is word j mod 4 of block
j div 4; a value of a one-word law takes word i, a value of a two-word law takes words 2i (high) and 2i + 1 (low),
where i is the flat C-order index of the entry in its parameter.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from strongticket.random.philox import BLOCKS_AT_ONCE, LANES, Philox, word_chunks

__all__ = [
    "AUGMENTATION",
    "INIT",
    "MAX_VALUES",
    "ORDER",
    "PURPOSES",
    "REINIT",
    "SCORES",
    "SPLIT",
    "TRIAL",
    "WEIGHTS",
    "check_index",
    "check_range",
    "check_seed",
    "check_streams",
    "gather_words",
    "permutation",
    "stream_id",
    "words",
    "words_at",
]

WEIGHTS: Final = "slt-weights/1"
ORDER: Final = "slt-order/1"
AUGMENTATION: Final = "slt-augmentation/1"
SPLIT: Final = "slt-split/1"
SCORES: Final = "slt-scores/1"
REINIT: Final = "slt-reinit/1"
INIT: Final = "slt-init/1"
TRIAL: Final = "slt-trial/1"

PURPOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        WEIGHTS: "the frozen weights of a random source network",
        ORDER: "the order in which training data are visited",
        AUGMENTATION: "random changes made to training data",
        SPLIT: "which examples are held out for validation",
        SCORES: "the scores that a mask search starts from",
        REINIT: "fresh weights under a found mask, the control experiment",
        INIT: "the starting weights of a network that is trained",
        TRIAL: "targets, items and inputs of a trial of a theorem",
    }
)
"""Every purpose a stream may have, with what it is for. Names are frozen: a changed meaning takes a new number."""

MAX_VALUES: Final = 1 << 62
"""Values of one stream: positions run from 0 to MAX_VALUES - 1 (so that word positions stay below 2^63)."""
_MAX_WORDS: Final = 1 << 63


def check_seed(seed: object) -> int:
    """Return `seed` if it can name a network, and refuse it otherwise.

    Raises:
        TypeError: not an int (bools, floats and numpy numbers are refused, because files must hold the seed exactly).
        ValueError: outside 0..2^64-1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed: expected an int in 0..2^64-1, got {seed!r} of type {type(seed).__name__}; use int(...)")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed: expected an int in 0..2^64-1, got {seed}; reduce it modulo 2**64 or choose another")
    return seed


def check_range(start: SupportsIndex, stop: SupportsIndex, limit: int = MAX_VALUES) -> tuple[int, int]:
    """Return (start, stop) as ints with 0 <= start <= stop <= limit.

    Raises:
        TypeError: not integers.
        ValueError: out of order or out of range.
    """
    first, last = operator.index(start), operator.index(stop)
    if not 0 <= first <= last <= limit:
        raise ValueError(f"expected 0 <= start <= stop <= 2^{limit.bit_length() - 1}, got start={first}, stop={last}")
    return first, last


def check_index(index: ArrayLike, limit: int = MAX_VALUES) -> NDArray[np.uint64]:
    """Return positions as unsigned 64-bit numbers of the same shape, refusing any outside 0..limit-1.

    Raises:
        TypeError: not an array of integers (bools are refused: pass numpy.flatnonzero(mask)).
        ValueError: a position is negative or too large.
    """
    array: NDArray[Any] = np.asarray(index)
    if array.size == 0 and not isinstance(index, np.ndarray):
        return np.zeros(array.shape, np.uint64)  # an empty list has no dtype of its own
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"index: expected integers, got dtype {array.dtype}; for a boolean mask pass numpy.flatnonzero(mask)"
        )
    if array.size and (int(array.min()) < 0 or int(array.max()) >= limit):
        raise ValueError(
            f"index: expected positions in 0..2^{limit.bit_length() - 1}-1, "
            f"got {int(array.min())}..{int(array.max())}; negative positions do not count from the end"
        )
    return array.astype(np.uint64)


def stream_id(name: str, purpose: str = WEIGHTS) -> int:
    """Return the 64-bit number of the stream that `name` has for a purpose.

    Args:
        name: what the numbers are for, for weights the parameter's name in the network; not empty.
        purpose: one of `PURPOSES`.

    >>> hex(stream_id("layer.0.weight"))
    '0x1b781a66299a53d9'
    >>> stream_id("layer.0.weight", "slt-reinit/1") == stream_id("layer.0.weight")
    False

    Raises:
        TypeError: `name` is not text.
        ValueError: `name` is empty or not encodable as UTF-8, or the purpose is unknown.
    """
    if not isinstance(name, str):
        raise TypeError(f"stream name: expected text, got {name!r} of type {type(name).__name__}")
    if not name:
        raise ValueError("stream name: expected a name such as 'layer.0.weight', got an empty text; give one")
    if purpose not in PURPOSES:
        raise ValueError(f"stream purpose: expected one of {', '.join(PURPOSES)}, got {purpose!r}")
    digest = hashlib.sha256(purpose.encode() + b"\0" + name.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "little")


def check_streams(names: Iterable[str], purpose: str = WEIGHTS) -> dict[str, int]:
    """Return the stream number of every name, refusing names that would share their random numbers.

    >>> sorted(check_streams(["fc1.weight", "fc2.weight"]))
    ['fc1.weight', 'fc2.weight']

    Raises:
        ValueError: a name occurs twice, or two names have the same stream (a chance of 2^-64 per pair).
    """
    owners: dict[int, str] = {}
    for name in names:
        number = stream_id(name, purpose)
        if owners.get(number) == name:
            raise ValueError(f"expected distinct names, got {name!r} twice; its numbers would be used twice")
        if number in owners:
            raise ValueError(
                f"{name!r} and {owners[number]!r} share the stream {number:#018x} and would get the same numbers; "
                "rename one of them"
            )
        owners[number] = name
    return {name: number for number, name in owners.items()}


def words(
    seed: int, name: str, start: SupportsIndex, stop: SupportsIndex, *, purpose: str = WEIGHTS
) -> NDArray[np.uint32]:  # [stop - start]
    """Return words start..stop-1 of a stream: the raw 32-bit material that laws and tests are made of.

    Args:
        seed: 0..2^64-1.
        name: the stream's name.
        start: first word, from 0.
        stop: one past the last word, at most 2^63.
        purpose: one of `PURPOSES`.

    >>> [f"{w:08x}" for w in words(42, "layer.0.weight", 0, 3)]
    ['58874d9d', 'a9825381', 'a6b62f71']
    >>> far = words(42, "layer.0.weight", 10**15, 10**15 + 9)
    >>> np.array_equal(far[4:], words(42, "layer.0.weight", 10**15 + 4, 10**15 + 9))
    True

    Raises:
        TypeError: a seed, name or bound of the wrong type.
        ValueError: a value out of range.
    """
    key, stream = check_seed(seed), stream_id(name, purpose)
    first, last = check_range(start, stop, _MAX_WORDS)
    out = np.empty(last - first, np.uint32)
    for offset, piece in word_chunks(key, stream, first, last):
        out[offset : offset + piece.size] = piece
    return out


def words_at(seed: int, name: str, index: ArrayLike, *, purpose: str = WEIGHTS) -> NDArray[np.uint32]:  # shape of index
    """Return the words of a stream at any positions 0..2^63-1, with work and memory proportional to their number.

    >>> [f"{w:08x}" for w in words_at(42, "layer.0.weight", [2, 0, 2])]
    ['a6b62f71', '58874d9d', 'a6b62f71']

    Raises:
        TypeError: a seed, name or index of the wrong type.
        ValueError: a value out of range.
    """
    key, stream = check_seed(seed), stream_id(name, purpose)
    positions = check_index(index, _MAX_WORDS)
    return gather_words(key, stream, positions.reshape(-1), 1).reshape(positions.shape)


def gather_words(
    seed: int,
    stream: int,
    index: NDArray[np.uint64],  # [n]
    per_value: int,
) -> NDArray[np.uint32]:  # [n * per_value]
    """Return the `per_value` (1 or 2) consecutive words of each value named, one after the other.

    A value of two words never straddles two blocks, so each value costs one block.
    """
    out = np.empty((index.size, per_value), np.uint32)
    philox = Philox(seed, stream, min(BLOCKS_AT_ONCE, index.size))
    shift, mask = (np.uint64(2), np.uint64(3)) if per_value == 1 else (np.uint64(1), np.uint64(1))
    for begin in range(0, index.size, BLOCKS_AT_ONCE):
        part = index[begin : begin + BLOCKS_AT_ONCE]
        made = philox.gather(part >> shift).reshape(part.size, LANES // per_value, per_value)
        out[begin : begin + part.size] = made[np.arange(part.size), (part & mask).astype(np.intp)]
    return out.reshape(-1)


def permutation(seed: int, name: str, n: int, *, purpose: str = ORDER) -> NDArray[np.int64]:  # [n]
    """Return a random order of 0..n-1 that is the same on every machine and numpy version.

    Element i gets a 64-bit key (words 2i and 2i + 1 of the stream) and the order sorts the keys; equal keys, a chance
    below n^2 / 2^65, keep their order. Give each epoch its own name, for example ``f"epoch {epoch}"``.

    Args:
        seed: 0..2^64-1.
        name: the stream's name.
        n: number of elements, 0..2^62.
        purpose: one of `PURPOSES`; the default orders training data, "slt-split/1" chooses what is held out.

    >>> permutation(0, "epoch 0", 6).tolist()
    [5, 3, 4, 0, 2, 1]

    Raises:
        TypeError: a seed, name or count of the wrong type.
        ValueError: a value out of range.
    """
    _, count = check_range(0, n)
    pairs = words(seed, name, 0, 2 * count, purpose=purpose).reshape(-1, 2).astype(np.uint64)
    keys = (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]
    return np.argsort(keys, kind="stable").astype(np.int64)
