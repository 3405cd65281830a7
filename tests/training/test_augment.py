"""Crops, resized crops and flips against loops over images; each a function of (seed, epoch, example) alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from strongticket import random
from strongticket.training import Recipe, crop_flip, resized_crop_flip, train
from strongticket.training.augment import Augmenter, random_boxes
from strongticket.training.recipe import Augmentation

CPU = torch.device("cpu")


def test_crops_are_those_of_a_loop_over_images() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 6, 5, generator=generator)
    down, right = (torch.randint(0, 9, (40,), generator=generator) for _ in range(2))
    flip = torch.rand(40, generator=generator) < 0.5
    got = crop_flip(images, down, right, flip)
    for i in range(40):
        large = torch.zeros(3, 14, 13)
        large[:, 4:10, 4:9] = images[i]
        crop = large[:, down[i] : down[i] + 6, right[i] : right[i] + 5]
        assert torch.equal(got[i], crop[:, :, torch.arange(4, -1, -1)] if flip[i] else crop)
    assert torch.equal(crop_flip(images, down * 0 + 4, right * 0 + 4, flip & False), images)


def test_resized_crops_are_those_of_torch_image_by_image() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(200, 2, 9, 12, generator=generator)
    boxes = torch.from_numpy(random_boxes(random.words(0, "boxes", 0, 200 * 22).reshape(200, 22), 17, 20))
    boxes[:3] = torch.tensor([[0, 0, 17, 20], [4, 4, 9, 12], [16, 19, 1, 1]])  # the whole, the image itself, a corner
    flip = torch.rand(200, generator=generator) < 0.5
    got = resized_crop_flip(images, boxes, flip)
    padded = nn.functional.pad(images, (4,) * 4)
    for image, (top, left, tall, wide), mirrored, crop in zip(padded, boxes.tolist(), flip, got, strict=True):
        cut = image[None, :, top : top + tall, left : left + wide]
        wanted = nn.functional.interpolate(cut, size=(9, 12), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(crop, wanted.flip(2) if mirrored else wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[1], images[1].flip(2) if flip[1] else images[1])
    unpadded = resized_crop_flip(images, boxes * 0 + torch.tensor([0, 0, 9, 12]), flip & False, padding=0)
    torch.testing.assert_close(unpadded, images)


def literal_box(draws: list[float], height: int, width: int) -> list[int]:
    """One box as published: try areas and aspects in turn, then a place; the middle if nothing fits."""
    for k in range(10):
        area = height * width * (0.08 + 0.92 * draws[k])
        aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * draws[10 + k])
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return [int(draws[20] * (height - tall + 1)), int(draws[21] * (width - wide + 1)), tall, wide]
    if width / height < 3 / 4:
        tall, wide = round(width / (3 / 4)), width
    elif width / height > 4 / 3:
        tall, wide = height, round(height * (4 / 3))
    else:
        tall, wide = height, width
    return [(height - tall) // 2, (width - wide) // 2, tall, wide]


@pytest.mark.parametrize(("height", "width"), [(40, 40), (12, 30), (50, 9), (8, 1), (9, 12)])
def test_boxes_are_those_of_a_loop_over_tries(height: int, width: int) -> None:
    words = random.words(5, "boxes", 0, 22 * 1000).reshape(1000, 22)
    words[:20, :10] = 2**32 - 1  # the whole area: fits where the aspect happens to be that of the image
    boxes = random_boxes(words, height, width)
    for row, box in zip((words.astype(np.float64) + 0.5) / 2**32, boxes.tolist(), strict=True):
        assert box == literal_box(row.tolist(), height, width)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (height, width)).all()


def test_boxes_have_the_law_they_are_said_to_have() -> None:
    boxes = random_boxes(random.words(6, "boxes", 0, 22 * 20_000).reshape(-1, 22), 400, 400)
    share = boxes[:, 2] * boxes[:, 3] / 400**2
    small = share < 0.5  # squares of half the area fit at any aspect, so no try is lost among these
    assert np.quantile(share[small], [0.25, 0.5, 0.75]) == pytest.approx(
        0.08 + 0.42 * np.array([0.25, 0.5, 0.75]), abs=0.01
    )
    aspect = np.log(boxes[small, 3] / boxes[small, 2]) / math.log(4 / 3)
    assert np.quantile(aspect, [0.01, 0.25, 0.75, 0.99]) == pytest.approx([-0.98, -0.5, 0.5, 0.98], abs=0.03)
    free = boxes[small, 0] / (400 - boxes[small, 2])
    assert np.quantile(free, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


@pytest.mark.parametrize("kind", ["crop-flip", "resized-crop-flip"])
def test_draws_belong_to_seed_epoch_and_example(kind: Augmentation) -> None:
    images = torch.rand(300, 1, 8, 8)
    rows = torch.arange(300)
    change = Augmenter(kind, 3, 1, 300, CPU)
    whole = change(images, rows)
    some = torch.tensor([250, 3, 77])
    assert torch.equal(change(images[some], some), whole[some])
    assert torch.equal(Augmenter(kind, 3, 1, 300, CPU)(images[some], some), whole[some])
    for seed, epoch in ((4, 1), (3, 2)):
        assert not torch.equal(Augmenter(kind, seed, epoch, 300, CPU)(images, rows), whole)
    assert Augmenter("none", 3, 1, 300, CPU)(images, rows) is images


def test_every_shift_and_both_sides_occur_equally_often() -> None:
    down, right, flip = Augmenter("crop-flip", 0, 1, 20_000, CPU)._draws
    for shift in (down, right):
        counts = torch.bincount(shift, minlength=9)
        assert len(counts) == 9
        assert int(counts.min()) > 1900  # 2222 expected, standard deviation 44
        assert int(counts.max()) < 2550
    assert 9_600 < int(flip.sum()) < 10_400
    assert abs(float(torch.corrcoef(torch.stack([down.float(), right.float(), flip.float()]))[0, 1])) < 0.05


def test_training_sees_augmented_images_and_evaluation_does_not() -> None:
    seen: list[torch.Tensor] = []

    class Spy(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                spied.append(inputs.detach().clone())
            return super().forward(inputs.flatten(1))

    spied = seen
    images, labels = torch.rand(12, 1, 4, 4) + 1, torch.arange(12) % 2
    net = Spy(16, 2)
    train(net, images, labels, epochs=1, batch_size=5, lr=0.1, seed=1, validation=(images, labels))
    plain = torch.cat(spied)
    assert sorted(plain.flatten(1).sum(1).tolist()) == sorted(images.flatten(1).sum(1).tolist())
    spied.clear()
    train(net, images, labels, Recipe(1, 5, 0.1, augmentation="crop-flip"), seed=1)
    assert (torch.cat(spied) == 0).any()
    for kind in ("crop-flip", "resized-crop-flip"):
        with pytest.raises(ValueError, match=f"augmentation {kind} needs images"):
            train(nn.Linear(16, 2), images.flatten(1), labels, Recipe(1, 5, 0.1, augmentation=kind))
