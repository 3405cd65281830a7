"""Random changes to training images, each a function of (seed, epoch, example): no result depends on call order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.training.recipe import Augmentation

__all__ = ["PADDING", "Augmenter", "crop_flip"]

PADDING = 4


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


class Augmenter:
    """The changes of one epoch, for any examples in any order.

    Args:
        kind: see `AbstractRecipe.augmentation`.
        seed, epoch: name the draws.
        count: number of training examples.
        device: where the images are.
    """

    def __init__(self, kind: Augmentation, seed: int, epoch: int, count: int, device: torch.device) -> None:
        self._draws: tuple[Tensor, ...] | None = None
        if kind == "crop-flip":
            words = random.words(seed, f"epoch/{epoch}", 0, 3 * count, purpose=random.AUGMENTATION).reshape(-1, 3)
            # scaling a 32-bit word to 0..8 favours no value by more than 9 / 2^32
            shifts = (words[:, :2].astype(np.uint64) * np.uint64(2 * PADDING + 1)) >> np.uint64(32)
            parts = (shifts[:, 0].astype(np.int64), shifts[:, 1].astype(np.int64), words[:, 2] >= 1 << 31)
            self._draws = tuple(torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts)

    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:  # [batch, ...], [batch] -> [batch, ...]
        """Return the images of the examples with these numbers, changed."""
        if self._draws is None:
            return images
        down, right, flip = (part[rows] for part in self._draws)
        return crop_flip(images, down, right, flip)
