"""Lower precision: bfloat16 trains, scores and weights stay float32, and losses are scaled as float16 needs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from strongticket.search import EdgePopup, GemMiner
from strongticket.search.find import find
from strongticket.training import Recipe, initialise, train
from strongticket.training.precision import LossScale

X = torch.eye(6).repeat(10, 1)
Y = X.argmax(1) % 3


def test_bfloat16_runs_inside_the_network_alone() -> None:
    seen: set[torch.dtype] = set()

    class Spy(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            out = super().forward(inputs)
            if self.training:
                seen.add(out.dtype)
            return out

    net = Spy(6, 3)
    net.load_state_dict(initialise(nn.Linear(6, 3), 0).state_dict())
    trained = train(net, X, Y, Recipe(20, 10, 0.1, autocast="bfloat16"), validation=(X, Y))
    assert seen == {torch.bfloat16}
    assert trained.module.weight.dtype == torch.float32
    assert trained.history[-1].validation_accuracy == 1.0
    exact = train(net, X, Y, Recipe(20, 10, 0.1), validation=(X, Y))
    assert not torch.equal(exact.module.weight, trained.module.weight)


def test_bfloat16_search_finds_a_strict_ticket() -> None:
    from strongticket.search.recipes import search_recipe

    recipe = search_recipe("digits").changed(autocast="bfloat16", epochs=15, batch_size=10, method=EdgePopup(0.4))
    found = find("mlp-6-40-3", X, Y, recipe)
    assert found.ticket.matches(found.module)
    assert found.history[-1].accuracy > 0.9


def test_float16_needs_cuda() -> None:
    with pytest.raises(ValueError, match="CUDA"):
        train(initialise(nn.Linear(6, 3), 0), X, Y, Recipe(1, 10, 0.1, autocast="float16"))


def test_losses_are_scaled_and_gradients_unscaled() -> None:
    scale, weight = LossScale(), nn.Parameter(torch.tensor([2.0]))
    scale.scale(3 * weight.sum()).backward()
    assert weight.grad is not None
    assert weight.grad.item() == 3 * 2.0**16
    assert scale.unscale([weight])
    assert weight.grad.item() == 3
    weight.grad = torch.tensor([torch.inf])
    assert not scale.unscale([weight])
    assert scale.factor == 2.0**15
    for _ in range(2000):
        weight.grad = torch.tensor([1.0])
        assert scale.unscale([weight])
    assert scale.factor == 2.0**16


def test_a_search_whose_last_step_overflows_is_over_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gem-Miner has made its last pruning and unflagged the survivors, though the scaler left the last step out."""
    from strongticket.search.recipes import search_recipe
    from strongticket.training import steps as steps_module

    class Overflowing(LossScale):
        steps = 0

        def unscale(self, parameters: Iterable[nn.Parameter]) -> bool:
            self.steps += 1
            return super().unscale(parameters) and self.steps < 4

    monkeypatch.setattr(steps_module, "lower_precision", lambda kind, device: nullcontext())  # float16 needs CUDA
    monkeypatch.setattr(steps_module, "LossScale", Overflowing)
    method = GemMiner(0.5, stages=3, unflag=True)
    recipe = search_recipe("digits").changed(autocast="float16", epochs=1, batch_size=len(X) // 4, method=method)
    found = find("mlp-6-40-3", X, Y, recipe)
    left = sum(mask.numel() for mask in found.masks.values())
    for _ in range(3):
        left -= math.ceil((1 - 0.5 ** (1 / 3)) * left)
    assert sum(int(mask.sum()) for mask in found.masks.values()) == left
