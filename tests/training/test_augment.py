"""Crops and flips against a loop over images; each a function of (seed, epoch, example) alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strongticket.training import crop_flip, train
from strongticket.training.augment import Augmenter

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


def test_draws_belong_to_seed_epoch_and_example() -> None:
    images = torch.rand(300, 1, 8, 8)
    rows = torch.arange(300)
    change = Augmenter("crop-flip", 3, 1, 300, CPU)
    whole = change(images, rows)
    some = torch.tensor([250, 3, 77])
    assert torch.equal(change(images[some], some), whole[some])
    for seed, epoch in ((4, 1), (3, 2)):
        assert not torch.equal(Augmenter("crop-flip", seed, epoch, 300, CPU)(images, rows), whole)
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
    from strongticket.training import Recipe

    spied.clear()
    train(net, images, labels, Recipe(1, 5, 0.1, augmentation="crop-flip"), seed=1)
    assert (torch.cat(spied) == 0).any()
    with pytest.raises(ValueError, match="crop-flip needs images"):
        train(nn.Linear(16, 2), images.flatten(1), labels, Recipe(1, 5, 0.1, augmentation="crop-flip"))
