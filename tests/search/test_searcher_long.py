"""The mask against a brute-force stable sort at every step of long searches, over layers of very different sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from strongticket.models import MLP
from strongticket.search import EdgePopup, ScoreOptimiser, Searcher, random_source
from strongticket.selection import kept_count


def compare_at_every_step(sizes: tuple[int, ...], density: float, steps: int, lr: float) -> list[int]:
    searcher = Searcher(
        random_source(MLP(sizes), 0), EdgePopup(density), optimiser=ScoreOptimiser(momentum=0.9, weight_decay=1e-4)
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, sizes[0], generator=generator)
    y = (x @ torch.randn(sizes[0], sizes[-1], generator=generator)).argmax(1)
    for step in range(steps):
        rows = torch.randint(0, 512, (64,), generator=generator)
        loss = nn.functional.cross_entropy(searcher.module(x[rows]), y[rows])
        searcher.zero_grad()
        loss.backward()
        searcher.step(lr * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
            ranks = searcher.scores[layer.name].abs().view(-1)
            order = torch.sort(ranks, stable=True).indices
            expected = torch.zeros_like(weight)
            chosen = order[layer.size - kept_count(density, layer.size) :]
            expected[chosen] = weight[chosen]
            assert torch.equal(searcher.module.get_parameter(layer.name).view(-1), expected), (step, layer.name)
    return searcher._update.misses


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_masks_are_exact_over_hundreds_of_steps(density: float) -> None:
    misses = compare_at_every_step((100, 60, 10, 5), density, 250, lr=0.1)
    assert sum(misses) < 100  # small layers move fast; most steps still need no search from scratch


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.1, 0.5])
def test_masks_are_exact_over_two_thousand_steps(density: float) -> None:
    compare_at_every_step((784, 300, 100, 10), density, 2000, lr=0.1)


@pytest.mark.slow
def test_masks_are_exact_in_layers_of_ten_and_of_ten_million() -> None:
    compare_at_every_step((5, 2, 3200, 3200, 3), 0.3, 30, lr=0.1)
