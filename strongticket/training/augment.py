"""Random changes to training images, each a function of (seed, epoch, example): no result depends on call order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.training.recipe import Augmentation

__all__ = ["PADDING", "Augmenter", "crop_flip", "resized_crop_flip"]

PADDING = 4
"""Width of the border of zeros, in pixels; of standardised images that is the mean colour, not black."""
_AREA = (0.08, 1.0)
"""Share of the padded image that a resized crop covers: the least and the most, uniform in between."""
_ASPECT = 4 / 3
"""Width over height of a resized crop lies between the inverse of this and this, its logarithm uniform."""
_TRIES = 10
_WORDS = 2 * _TRIES + 3
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]


def crop_flip(
    images: Tensor,  # [batch, channels, height, width]
    down: Tensor,  # [batch] int64
    right: Tensor,  # [batch] int64
    flip: Tensor,  # [batch] bool
    *,
    padding: int = PADDING,
) -> Tensor:
    """Return crops of the images' own size out of the images with a border of zeros, some of them mirrored.

    Args:
        images: the images.
        down: row of the padded image where the crop starts, 0 to 2 * padding; `padding` leaves the image in place.
        right: its column.
        flip: which crops are mirrored left to right.
        padding: width of the border.

    >>> image = torch.arange(4.0).view(1, 1, 2, 2)
    >>> crop_flip(image, torch.tensor([2]), torch.tensor([1]), torch.tensor([True]), padding=1)[0, 0]
    tensor([[3., 2.],
            [0., 0.]])
    """
    height, width = images.shape[2:]
    windows = nn.functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[torch.arange(len(images), device=images.device), :, down, right]
    return torch.where(flip.view(-1, 1, 1, 1), crops.flip(3), crops)


def resized_crop_flip(
    images: Tensor,  # [batch, channels, height, width]
    boxes: Tensor,  # [batch, 4] int64: top, left, height, width
    flip: Tensor,  # [batch] bool
    *,
    padding: int = PADDING,
) -> Tensor:
    """Return boxes cut out of the images with a border of zeros, resized to the images' own size, some mirrored.

    Linear interpolation; where a box is larger than the image, each pixel averages over all that it stands for
    (antialiasing), as published code does when it resizes.

    Args:
        images: the images, floating point.
        boxes: in the padded images, within them; heights and widths at least 1.
        flip: which crops are mirrored left to right.
        padding: width of the border.

    >>> image = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 1, 2, 2)
    >>> resized_crop_flip(image, torch.tensor([[1, 1, 1, 2]]), torch.tensor([True]), padding=1)[0, 0]
    tensor([[1., 0.],
            [1., 0.]])
    """
    height, width = images.shape[2:]
    top, left, tall, wide = boxes.to(images.dtype).unbind(1)
    rows = _interpolation(top, tall, height, height + 2 * padding)
    columns = _interpolation(left, wide, width, width + 2 * padding)
    columns = torch.where(flip.view(-1, 1, 1), columns.flip(1), columns)
    # the border is zero, so that it needs no making: its rows and columns of the weights are left out
    inside = slice(padding, -padding or None)
    return rows[:, None, :, inside] @ images @ columns[:, None, :, inside].transpose(2, 3)


def _interpolation(
    start: Tensor, length: Tensor, out: int, size: int
) -> Tensor:  # [batch], [batch] -> [batch, out, size]
    """Weights that resize the stretch [start, start + length) of `size` pixels to `out` pixels; they add up to 1."""
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    scale = length / out
    pixels = torch.arange(size, device=start.device, dtype=start.dtype)
    centres = start + (torch.arange(out, device=start.device, dtype=start.dtype).view(-1, 1) + 0.5) * scale
    weights = (1 - (pixels + 0.5 - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixels >= start) & (pixels < start + length))
    return weights / weights.sum(2, keepdim=True)


def random_boxes(words: Words, height: int, width: int) -> Ints:  # [n, _WORDS - 1] -> [n, 4]
    """Return boxes in images: area and aspect are tried until both fit, ten times at most, then the place is drawn.

    What never fits becomes the largest box of an allowed aspect in the middle.

    Args:
        words: random 32-bit words.
        height, width: of the images to cut from, border included.
    """
    draws = (words.astype(np.float64) + 0.5) / 2.0**32
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * draws[:, :_TRIES])
    aspect = np.exp(math.log(_ASPECT) * (2 * draws[:, _TRIES : 2 * _TRIES] - 1))
    wide, tall = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    first = fits.argmax(1)
    every = np.arange(len(words))
    some = fits[every, first]
    tall = np.where(some, tall[every, first], min(height, round(width * _ASPECT)))
    wide = np.where(some, wide[every, first], min(width, round(height * _ASPECT)))
    room = np.stack([height - tall, width - wide], 1)
    places = np.where(some[:, None], np.floor(draws[:, -2:] * (room + 1)), room // 2)
    return np.concatenate([places, tall[:, None], wide[:, None]], 1).astype(np.int64)


class Augmenter:
    """The changes of one epoch, for any examples in any order.

    Args:
        kind: see `AbstractRecipe.augmentation`.
        seed, epoch: name the draws.
        count: number of training examples.
        device: where the images are.
    """

    def __init__(self, kind: Augmentation, seed: int, epoch: int, count: int, device: torch.device) -> None:
        self._kind, self._device = kind, device
        self._draws: tuple[Tensor, ...] = ()
        self._words: Words | None = None
        if kind == "crop-flip":
            words = random.words(seed, f"epoch/{epoch}", 0, 3 * count, purpose=random.AUGMENTATION).reshape(-1, 3)
            # scaling a 32-bit word to 0..8 favours no value by more than 9 / 2^32
            shifts = (words[:, :2].astype(np.uint64) * np.uint64(2 * PADDING + 1)) >> np.uint64(32)
            self._keep(shifts[:, 0].astype(np.int64), shifts[:, 1].astype(np.int64), words[:, 2] >= 1 << 31)
        if kind == "resized-crop-flip":
            words = random.words(seed, f"epoch/{epoch}/boxes", 0, _WORDS * count, purpose=random.AUGMENTATION)
            self._words = words.reshape(-1, _WORDS)

    def _keep(self, *parts: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> None:
        self._draws = tuple(torch.from_numpy(np.ascontiguousarray(part)).to(self._device) for part in parts)

    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:  # [batch, ...], [batch] -> [batch, ...]
        """Return the images of the examples with these numbers, changed."""
        if self._kind == "none":
            return images
        if self._words is not None:  # the boxes depend on the size of the images, which is known now
            height, width = (size + 2 * PADDING for size in images.shape[2:])
            self._keep(random_boxes(self._words[:, :-1], height, width), self._words[:, -1] >= 1 << 31)
            self._words = None
        draws = (part[rows] for part in self._draws)
        return crop_flip(images, *draws) if self._kind == "crop-flip" else resized_crop_flip(images, *draws)
