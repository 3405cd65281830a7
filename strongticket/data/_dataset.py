"""The records that hold a data set, and the split into training, validation and test parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from strongticket.data._bytes import DataError
from strongticket.random import SPLIT, permutation

__all__ = ["Dataset", "Part", "Split", "from_arrays", "held_out", "pair_of"]

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set: what goes into the network and what should come out.

    It stands wherever a pair (inputs, labels) does, and unpacks as one: `x, y = split`, `train(network, *split, ...)`.
    Type checkers, which cannot count what is unpacked, like `*split.pair` better.

    Attributes:
        inputs: float32, every value in [0, 1].
        labels: int64, at least 0, one for each row of `inputs`.

    >>> split = Split(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    >>> inputs, labels = split
    >>> len(split), inputs is split.inputs, labels is split.labels
    (1, True, True)
    """

    inputs: Tensor  # [n, features]
    labels: Tensor  # [n]

    def __post_init__(self) -> None:
        if self.inputs.dtype != torch.float32 or self.inputs.ndim < 2:
            raise DataError(
                f"inputs must be a float32 tensor [n, features...], got {self.inputs.dtype} of shape "
                f"{tuple(self.inputs.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.inputs.shape[:1]:
            raise DataError(
                f"labels must be an int64 tensor of shape [{len(self.inputs)}], got {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}"
            )
        if not len(self):
            return
        low, high = (float(value) for value in torch.aminmax(self.inputs))
        if not (low >= 0 and high <= 1):  # written so that NaN fails
            raise DataError(f"inputs must lie in [0, 1], got values from {low} to {high}: rescale them first")
        if int(self.labels.min()) < 0:
            raise DataError(f"labels must be at least 0, got {int(self.labels.min())}")

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the inputs, then the labels: the length counts examples, but a split unpacks as the pair it is."""
        yield self.inputs
        yield self.labels

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """(inputs, labels), for what insists on a tuple."""
        return self.inputs, self.labels

    def take(self, count: int) -> Split:
        """Return the first `count` examples (all of them if there are fewer)."""
        return Split(self.inputs[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> Split:
        """Return the same split on another device."""
        return Split(self.inputs.to(device), self.labels.to(device))


def pair_of(data: tuple[Tensor, Tensor] | Split | None) -> tuple[Tensor, Tensor] | None:
    """Return what may be given as a split as the pair (inputs, labels)."""
    return data.pair if isinstance(data, Split) else data


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split once: train on `train`, choose on `validation`, read `test` once, at the end.

    Attributes:
        name: its name, also part of what decides the split.
        note: what has to be said beside every number made with it; empty if nothing.
        train: the part to fit weights on.
        validation: the part to make choices on; may be empty.
        test: the official test part (or what was given as such).
        classes: how many classes there are; labels lie in 0..classes-1.
        image_shape: (channels, height, width) of one row of inputs, or None if rows are no images.
    """

    name: str
    note: str
    train: Split
    validation: Split
    test: Split
    classes: int
    image_shape: tuple[int, int, int] | None

    def __post_init__(self) -> None:
        if not len(self.train) or not len(self.test):
            raise DataError(
                f"data set '{self.name}': train and test must not be empty, got {len(self.train)} and {len(self.test)}"
            )
        width = self.train.inputs.shape[1:]
        for part in ("validation", "test"):
            split = getattr(self, part)
            if split.inputs.shape[1:] != width:
                raise DataError(
                    f"data set '{self.name}': a training example has shape {tuple(width)}, "
                    f"one of {part} {tuple(split.inputs.shape[1:])}: expected the same"
                )
        if self.image_shape is not None and math.prod(self.image_shape) != math.prod(width):
            raise DataError(
                f"data set '{self.name}': image_shape {self.image_shape} does not hold {math.prod(width)} values"
            )
        worst = max(int(split.labels.max()) for split in (self.train, self.validation, self.test) if len(split))
        if worst >= self.classes:
            raise DataError(f"data set '{self.name}': found label {worst}, expected 0 to {self.classes - 1}")

    @property
    def features(self) -> int:
        """How many numbers one example has."""
        return math.prod(self.train.inputs.shape[1:])

    def images(self, part: Part) -> Tensor:
        """Return the inputs of one part as images, for networks with convolutions.

        Args:
            part: "train", "validation" or "test".

        Returns:
            The inputs as [n, channels, height, width]; no copy is made.

        Raises:
            DataError: the rows are no images.
        """
        if self.image_shape is None:
            raise DataError(f"data set '{self.name}' has no image shape: pass image_shape=(channels, height, width)")
        split: Split = getattr(self, part)
        return split.inputs.reshape(len(split), *self.image_shape)


def held_out(seed: int, name: str, n: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose which of `n` examples are held out: a pure function of the seed, the name and the two numbers.

    Args:
        seed: 0 to 2^64 - 1.
        name: name of the split's random stream, normally the data set's name.
        n: how many examples there are.
        count: how many to hold out, 0 to n - 1.

    Returns:
        The indices kept and those held out, each ascending, so that the original order stays.

    Raises:
        DataError: `count` leaves nothing to train on, or is negative.

    >>> kept, out = held_out(0, "example", 10, 3)
    >>> len(kept), len(out), sorted([*kept.tolist(), *out.tolist()]) == list(range(10))
    (7, 3, True)
    """
    if not 0 <= count < n:
        raise DataError(f"validation must hold out 0 to {n - 1} of the {n} training examples, got {count}")
    order = np.asarray(permutation(seed, name, n, purpose=SPLIT), dtype=np.int64)
    return np.sort(order[count:]), np.sort(order[:count])


def from_arrays(
    name: str,
    x: npt.ArrayLike | Tensor,
    y: npt.ArrayLike | Tensor,
    x_test: npt.ArrayLike | Tensor,
    y_test: npt.ArrayLike | Tensor,
    *,
    validation: int | None = None,
    seed: int = 0,
    classes: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    scale: int = 255,
    note: str = "",
) -> Dataset:
    """Make a `Dataset` of your own arrays: bytes are scaled to [0, 1], everything is checked, validation is held out.

    Args:
        name: a name; together with `seed` it decides which examples are held out.
        x: training inputs [n, ...]; unsigned bytes (divided by `scale`) or floats already in [0, 1].
        y: training labels [n], integers from 0.
        x_test: test inputs, of the same kind.
        y_test: test labels.
        validation: how many training examples to hold out; by default a tenth, rounded down.
        seed: seed of the split, 0 to 2^64 - 1.
        classes: number of classes; by default the largest label plus one.
        image_shape: (channels, height, width) of one example, if it is an image.
        scale: the value that becomes 1.0 when inputs are bytes.
        note: what has to be said beside every number made with this data.

    Returns:
        The data set; inputs are flattened to [n, features].

    Raises:
        DataError: shapes do not fit, a value is NaN, infinite or outside [0, 1], or a label is no class.

    >>> import numpy as np
    >>> images, labels = np.arange(80, dtype=np.uint8).reshape(20, 2, 2), np.arange(20) % 2
    >>> data = from_arrays("example", images[:15], labels[:15], images[15:], labels[15:], validation=5)
    >>> len(data.train), len(data.validation), len(data.test), data.features, data.classes
    (10, 5, 5, 4, 2)
    """
    train_x, train_y = _raw(name, "training", x, y)
    test_x, test_y = _raw(name, "test", x_test, y_test)
    count = len(train_y) // 10 if validation is None else validation
    kept, out = held_out(seed, name, len(train_y), count)
    parts = [
        Split(_unit_floats(inputs, scale), torch.from_numpy(labels))
        for inputs, labels in ((train_x[kept], train_y[kept]), (train_x[out], train_y[out]), (test_x, test_y))
    ]
    if classes is None:
        classes = int(max(train_y.max(), test_y.max())) + 1
    return Dataset(name, note, parts[0], parts[1], parts[2], classes, image_shape)


def _raw(
    name: str, part: str, x: npt.ArrayLike | Tensor, y: npt.ArrayLike | Tensor
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    inputs, labels = (
        np.asarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value) for value in (x, y)
    )
    if inputs.ndim < 2 or labels.ndim != 1 or len(inputs) != len(labels) or not len(labels):
        raise DataError(
            f"data set '{name}': expected {part} inputs [n, ...] and labels [n] with n >= 1, "
            f"got shapes {inputs.shape} and {labels.shape}"
        )
    if inputs.dtype != np.uint8 and not np.issubdtype(inputs.dtype, np.floating):
        raise DataError(
            f"data set '{name}': {part} inputs must be unsigned bytes or floats in [0, 1], got {inputs.dtype}: convert"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"data set '{name}': {part} labels must be integers, got {labels.dtype}")
    return inputs.reshape(len(inputs), -1), labels.astype(np.int64)


def _unit_floats(inputs: npt.NDArray[Any], scale: int) -> Tensor:
    if inputs.dtype == np.uint8:
        # A table of the 256 quotients: correctly rounded divisions, the same bits in every library and version.
        return torch.from_numpy((np.arange(256, dtype=np.float32) / np.float32(scale))[inputs])
    return torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
