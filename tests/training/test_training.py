"""The trainer: reproducible, pure, honest about divergence, and good enough for the targets that we need."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.data import load
from strongticket.models import MLP
from strongticket.training import (
    RECIPES,
    Epoch,
    Recipe,
    TrainingError,
    accuracy,
    initialise,
    logits,
    predictions,
    train,
)


@pytest.fixture(scope="module")
def blobs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    return torch.rand(90, 5, generator=generator) * 0.5 + 0.5 * nn.functional.one_hot(labels, 5), labels


def small(dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def state(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def test_same_seed_same_bits_whatever_the_global_state(blobs):
    x, y = blobs
    net = initialise(small(0.3), seed=3)
    results = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        torch.rand(noise)
        before = torch.get_rng_state()
        results.append(train(net, x, y, epochs=3, batch_size=16, lr=0.01, seed=5, validation=(x, y)))
        assert torch.equal(before, torch.get_rng_state())
    assert state(results[0].module) == state(results[1].module)
    assert results[0].history == results[1].history
    other = train(net, x, y, epochs=3, batch_size=16, lr=0.01, seed=6, validation=(x, y))
    assert state(other.module) != state(results[0].module)


def test_nothing_given_is_changed(blobs):
    x, y = (value.clone() for value in blobs)
    net = initialise(small(), seed=0).train()
    net[3].eval()
    frozen = copy.deepcopy(net)
    threads = torch.get_num_threads()
    trained = train(net, x, y, epochs=2, batch_size=16, lr=0.1, optimiser="sgd", threads=2)
    accuracy(net, x, y)
    assert state(net) == state(frozen)
    assert [part.training for part in net.modules()] == [part.training for part in frozen.modules()]
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(x, blobs[0])
    assert torch.get_num_threads() == threads
    assert not trained.module.training
    assert not any(p.requires_grad or p.grad is not None for p in trained.module.parameters())


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_it_is_the_plain_loop(blobs, optimiser, schedule):
    """The oracle: a literal training loop with torch's textbook optimisers (not fused)."""
    x, y = blobs
    net = initialise(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), seed=1)
    recipe = Recipe(
        4, 32, lr=0.05, optimiser=optimiser, weight_decay=0.02, schedule=schedule, max_weight=0.5, keep_best=False
    )
    trained = train(net, x, y, recipe, seed=9)
    slow = copy.deepcopy(net)
    matrices, biases = [slow[0].weight, slow[2].weight], [slow[0].bias, slow[2].bias]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": biases, "weight_decay": 0.0}]
    if optimiser == "adam":
        steps = torch.optim.AdamW(groups, lr=0.05, foreach=False, fused=False)
    else:
        steps = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True, foreach=False, fused=False)
    count = 0
    for epoch in range(1, 5):
        order = random.permutation(9, f"epoch/{epoch}", 90, purpose="slt-order/1").tolist()
        for start in (0, 32, 64):
            if schedule == "cosine":
                for group in steps.param_groups:
                    group["lr"] = 0.05 * (1 + math.cos(math.pi * count / 12)) / 2
            count += 1
            rows = order[start : start + 32]
            steps.zero_grad()
            nn.functional.cross_entropy(slow(x[rows]), y[rows]).backward()
            steps.step()
            with torch.no_grad():
                for parameter in slow.parameters():
                    parameter.clamp_(-0.5, 0.5)
    for ours, theirs in zip(trained.module.parameters(), slow.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert float(ours.abs().max()) <= 0.5


def test_history_is_measured(blobs):
    x, y = blobs
    net = initialise(nn.Linear(5, 3), seed=0)
    seen: list[Epoch] = []
    trained = train(net, x, y, epochs=1, batch_size=90, lr=1e-9, validation=(x[:30], y[:30]), progress=seen.append)
    (epoch,) = trained.history
    assert tuple(seen) == trained.history
    assert epoch.loss == pytest.approx(float(nn.functional.cross_entropy(net(x), y).detach()), rel=1e-5)
    assert epoch.accuracy == accuracy(net, x, y)
    assert epoch.validation_accuracy == accuracy(net, x[:30], y[:30])
    without = train(net, x, y, epochs=1, batch_size=90, lr=1e-9, validation=(x[:0], y[:0]))
    assert without.history[0].validation_accuracy is None


def test_the_best_epoch_is_kept(blobs):
    x, y = blobs
    shuffled = torch.roll(y, 1)  # training on wrong labels makes the right ones worse, epoch by epoch
    net = train(initialise(nn.Linear(5, 3), 0), x, y, epochs=30, batch_size=30, lr=0.05).module
    kwargs = {"epochs": 20, "batch_size": 30, "lr": 0.05, "validation": (x, y)}
    best, last = (train(net, x, shuffled, **kwargs, keep_best=keep) for keep in (True, False))
    scores = [epoch.validation_accuracy for epoch in best.history]
    assert best.best_epoch == 1 + scores.index(max(scores))
    assert accuracy(best.module, x, y) == max(scores)
    assert last.best_epoch == 20
    assert accuracy(last.module, x, y) == scores[-1] < max(scores)


def test_architectures_and_frozen_parts(blobs):
    x, y = blobs
    trained = train(MLP((5, 8, 3), bias=True), x, y, epochs=20, batch_size=30, lr=0.05, seed=1)
    assert accuracy(trained.module, x, y) > 0.9
    net = initialise(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), seed=0)
    net[0].requires_grad_(False)
    partly = train(net, x, y, epochs=2, batch_size=30, lr=0.05).module
    assert torch.equal(partly[0].weight, net[0].weight)
    assert not torch.equal(partly[2].weight, net[2].weight)


def test_initialise_follows_the_law_and_the_name():
    net = nn.Sequential(nn.Linear(400, 300), nn.BatchNorm1d(300), nn.Conv2d(4, 8, 3))
    with torch.no_grad():
        net[1].weight.fill_(7)
    fresh = initialise(net, seed=11)
    scale = np.float32(1 / 20)
    expected = random.UNIFORM23.values(11, "0.weight", 0, 120_000, purpose="slt-init/1") * scale
    assert np.array_equal(fresh[0].weight.detach().numpy().reshape(-1), expected)
    assert float(fresh[0].weight.detach().var()) == pytest.approx(float(scale) ** 2 / 3, rel=0.02)
    assert float(fresh[2].weight.detach().abs().max()) <= 1 / 6
    assert torch.equal(fresh[1].weight.detach(), torch.ones(300))
    assert torch.equal(net[1].weight.detach(), torch.full((300,), 7.0))
    with pytest.raises(TypeError, match=r"1 \(LSTM\)"):
        initialise(nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2)), seed=0)
    with pytest.raises(ValueError, match="seed"):
        initialise(net, seed=-1)


def test_logits_do_not_depend_on_batches(blobs):
    net = initialise(small(0.5), seed=0)
    whole = logits(net, blobs[0])
    assert torch.allclose(whole, logits(net, blobs[0], batch_size=7), atol=1e-6)
    assert torch.equal(predictions(net, blobs[0]), whole.argmax(1))
    with pytest.raises(ValueError, match="batch_size"):
        logits(net, blobs[0], batch_size=0)
    with pytest.raises(ValueError, match="one label per input"):
        accuracy(net, blobs[0], blobs[1][:-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.full((90, 5), math.nan)}, "NaN"),
        ({"inputs": torch.full((90, 5), math.inf)}, "NaN or infinite"),
        ({"inputs": torch.zeros(90, 5, dtype=torch.int32)}, "float inputs"),
        ({"inputs": torch.zeros(89, 5)}, "one label per input"),
        ({"labels": torch.full((90,), 3)}, r"0\.\.2"),
        ({"labels": torch.full((90,), -1)}, r"0\.\.2"),
        ({"labels": torch.zeros(90)}, "int64"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"max_weight": 0.0}, "max_weight"),
        ({"optimiser": "rmsprop"}, "optimiser"),
        ({"schedule": "step"}, "schedule"),
        ({"recipe": "imagenet"}, "digits"),
        ({"lr": None}, "lr must be given"),
        ({"threads": 0}, "threads"),
        ({"module": nn.ReLU()}, "no parameters"),
        ({"validation": (torch.full((2, 5), math.nan), torch.zeros(2, dtype=torch.int64))}, "validation inputs"),
    ],
)
def test_bad_input_is_refused(blobs, change, message):
    arguments = {"module": nn.Linear(5, 3), "inputs": blobs[0], "labels": blobs[1]}
    arguments |= {"epochs": 1, "batch_size": 30, "lr": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        train(**arguments)


def test_divergence_and_bad_weights_are_reported(blobs):
    x, y = blobs
    net = initialise(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), seed=0)
    with pytest.raises(TrainingError, match=r"epoch \d+ .*lower lr"):
        train(net, x, y, epochs=50, batch_size=30, lr=1e12, optimiser="sgd")
    with torch.no_grad():
        net[2].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"2\.weight"):
        train(net, x, y, epochs=1, batch_size=30, lr=0.1)


def test_digits_recipe():
    data = load("digits")
    start = time.perf_counter()
    trained = train(
        MLP((64, 64, 10)),
        data.train.inputs,
        data.train.labels,
        "digits",
        validation=(data.validation.inputs, data.validation.labels),
    )
    assert time.perf_counter() - start < 30  # about 1 s on an idle core
    assert accuracy(trained.module, data.test.inputs, data.test.labels) >= 0.95
    assert max(float(p.abs().max()) for p in trained.module.parameters()) <= RECIPES["digits"].max_weight


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "least"),
    [
        ("mnist", MLP((784, 500, 10)), 0.972),
        ("mnist", MLP((784, 300, 100, 10), bias=True), 0.97),
        ("mnist", MLP((784, 256, 128, 128, 64, 32, 10)), 0.97),
        ("fashion-mnist", MLP((784, 500, 10)), 0.88),
    ],
)
def test_mnist_recipe(real_data: Path, name: str, target: MLP, least: float):
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name}/ in {real_data}")
    data = load(name, folder=real_data)
    trained = train(
        target,
        data.train.inputs,
        data.train.labels,
        "mnist",
        validation=(data.validation.inputs, data.validation.labels),
    )
    assert accuracy(trained.module, data.test.inputs, data.test.labels) >= least
