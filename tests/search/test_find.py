"""Finding tickets: strict, resumable with every method, chosen on validation data, honest about divergence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from strongticket.data import load
from strongticket.models import MLP
from strongticket.search import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    Searcher,
    SignedSupermask,
    random_source,
)
from strongticket.search.find import find
from strongticket.search.recipes import search_recipe
from strongticket.training import Checkpoint, CheckpointError, TrainingError, accuracy
from strongticket.training.checkpoint import digest

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(96, 12, generator=GENERATOR)
Y = (X @ torch.randn(12, 3, generator=GENERATOR)).argmax(1)
NET = MLP((12, 40, 3))
SHORT = {"epochs": 4, "batch_size": 16}


def test_digits_in_a_second_far_above_a_random_mask() -> None:
    from strongticket.search.controls import random_mask, shuffled_mask

    data = load("digits")
    validation = (data.validation.inputs, data.validation.labels)
    found = find("mlp-64-256-10", data.train.inputs, data.train.labels, "digits", validation=validation)
    assert found.ticket.matches(found.module)
    assert found.ticket.mask.density == 0.5
    score = accuracy(found.module, data.test.inputs, data.test.labels)
    assert score >= 0.9
    for control in (random_mask(found.source, found.ticket, 0), shuffled_mask(found.ticket, 0)):
        assert control.mask.counts == found.ticket.mask.counts
        assert accuracy(control.module(), data.test.inputs, data.test.labels) <= 0.3


def test_a_seed_is_all_there_is_to_it() -> None:
    before = (X.clone(), Y.clone())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    a, b = (find(NET, X, Y, "digits", seed=7, **SHORT) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(X, before[0])
    assert torch.equal(Y, before[1])
    assert a.ticket == b.ticket
    assert a.history == b.history
    other = find(NET, X, Y, "digits", seed=8, **SHORT)
    assert other.ticket.source.seed == 8
    assert not a.module.training
    assert not any(p.requires_grad or p.grad is not None for p in a.module.parameters())


def test_it_is_the_plain_loop_around_a_searcher() -> None:
    """The oracle: the loop that a user would write."""
    from strongticket import random

    recipe = search_recipe("digits").changed(epochs=3, batch_size=40, label_smoothing=0.1)
    found = find(NET, X, Y, recipe, seed=2)
    searcher = Searcher(random_source(NET, 2), EdgePopup(0.5), seed=2, optimiser=recipe.optimiser)
    step = 0
    for epoch in (1, 2, 3):
        order = torch.from_numpy(random.permutation(2, f"epoch/{epoch}", 96, purpose="slt-order/1"))
        for start in (0, 40, 80):
            rows = order[start : start + 40]
            loss = torch.nn.functional.cross_entropy(searcher.module(X[rows]), Y[rows], label_smoothing=0.1)
            searcher.zero_grad()
            loss.backward()
            searcher.step(recipe.lr_at(step, 3), progress=(step + 1) / 9)
            step += 1
    assert found.ticket == searcher.ticket()


def test_the_best_epoch_on_validation_data_is_kept() -> None:
    wrong = (X, (Y + 1) % 3)
    for keep_best in (True, False):
        recipe = search_recipe("digits").changed(keep_best=keep_best, **SHORT)
        found = find(NET, X, Y, recipe, validation=wrong)
        scores = [epoch.validation_accuracy for epoch in found.history]
        expected = 1 + scores.index(max(scores)) if keep_best else 4  # type: ignore[type-var]
        assert found.best_epoch == expected
        assert accuracy(found.module, *wrong) == scores[expected - 1]
        assert found.ticket.matches(found.module)


def test_statistics_come_from_training_data_alone() -> None:
    images = X.view(96, 3, 2, 2).repeat(1, 1, 4, 4)
    recipe = search_recipe("digits").changed(keep_best=False, epochs=2, batch_size=16)
    plain = find("resnet8x0.25-3+3x8x8", images, Y, recipe)
    wild = find("resnet8x0.25-3+3x8x8", images, Y, recipe, validation=(images * 1e4, Y))
    assert plain.ticket == wild.ticket
    assert any("running_mean" in name and bool(value.any()) for name, value in plain.ticket.dense.items())
    assert plain.ticket.matches(plain.module)


def test_a_recipe_may_hold_data_out() -> None:
    recipe = search_recipe("digits").changed(held_out=0.25, **SHORT)
    seen: list[int] = []
    a = find(NET, X, Y, recipe, progress=lambda epoch: seen.append(epoch.number))
    assert seen == [1, 2, 3, 4]
    assert a.history[0].validation_accuracy is not None
    assert a.history[0].validation_accuracy * 24 == pytest.approx(round(a.history[0].validation_accuracy * 24))
    assert a.history[0].accuracy * 72 == pytest.approx(round(a.history[0].accuracy * 72))


METHODS = [
    EdgePopup(0.3, levels=3),
    EdgePopup(0.3, allocation="global"),
    Biprop(0.3),
    IteRand(0.4, period=5, rate=0.5),
    Bernoulli(),
    SignedSupermask(),
    GemMiner(0.3, stages=3),
    Multicoated((0.4, 0.2)),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}")
def test_every_method_resumes_with_the_same_bits(
    method: AbstractMethod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(**options: object):  # type: ignore[no-untyped-def]
        return find(NET, X, Y, "digits", method=method, validation=(X[:30], Y[:30]), **SHORT, **options)

    whole = run()
    step, left = Searcher.step, [14]

    def stopping(self: Searcher, lr: float, *, progress: float = 0.0) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        step(self, lr, progress=progress)

    settings = Checkpoint(tmp_path, every_seconds=0.0)
    monkeypatch.setattr(Searcher, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=settings)
    monkeypatch.undo()
    again = run(checkpoint=settings)
    assert again.history == whole.history
    assert digest(again.module.state_dict()) == digest(whole.module.state_dict())
    assert digest(dict(again.masks)) == digest(dict(whole.masks))
    assert again.ticket == whole.ticket
    assert whole.ticket.matches(whole.module)
    assert again.ticket.matches(again.module)
    with pytest.raises(CheckpointError, match="recipe"):
        run(checkpoint=settings, lr=0.05)


def test_records_say_what_happened_to_the_mask(tmp_path: Path) -> None:
    found = find(NET, X, Y, "digits", density=0.25, log=tmp_path / "log.jsonl", **SHORT)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["number"] for record in records] == [1, 2, 3, 4]
    before = Searcher(found.source, EdgePopup(0.25), seed=0).masks()
    first = find(NET, X, Y, search_recipe("digits").changed(schedule="constant"), density=0.25, epochs=1, batch_size=16)
    flips = sum(int((before[name] != mask).sum()) for name, mask in first.masks.items())
    assert flips == first.history[0].details["flips"] > 0
    last = found.history[-1].details
    assert last == records[-1]["details"]
    assert last["kept"] == {"layers.0.weight": 120, "layers.1.weight": 30}
    assert last["density"] == 0.25
    assert set(last["thresholds"]) == set(last["kept"])
    assert all(value > 0 for value in last["thresholds"].values())


def test_a_source_is_searched_as_it_is() -> None:
    source = random_source(MLP((12, 40, 3), bias=True), 11, "kaiming-normal")
    found = find(source, X, Y, "digits", names=("layers.1.weight",), keep=("layers.0.weight",), **SHORT)
    assert found.source == source
    assert found.ticket.mask.counts == {
        "layers.0.weight": 480, "layers.0.bias": 0, "layers.1.weight": 60, "layers.1.bias": 0,
    }  # fmt: skip
    assert found.ticket.matches(found.module)


def test_divergence_and_bad_arguments_are_reported() -> None:
    with pytest.raises(TrainingError, match="epoch 1"):
        find(NET, X / X.abs().max() * 3e38, Y, "digits", **SHORT)
    with pytest.raises(ValueError, match="does not take inputs"):
        find("mlp-5-3-2", X, Y, "digits")
    with pytest.raises(ValueError, match="unknown recipe 'fast'"):
        find(NET, X, Y, "fast")
    with pytest.raises(ValueError, match="no single density"):
        find(NET, X, Y, "digits", method=Bernoulli(), density=0.1)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        find(NET, X, Y + 1, "digits")
    with pytest.raises(ValueError, match="validation inputs"):
        find(NET, X, Y, "digits", validation=(X * torch.nan, Y))
    with pytest.raises(ValueError, match="images"):
        find(NET, X, Y, "ramanujan2020-conv2")


@pytest.mark.data
@pytest.mark.slow
def test_mnist_recipe(real_data: Path) -> None:
    from strongticket.training import standardise

    if not (real_data / "mnist").is_dir():
        pytest.skip(f"no mnist/ in {real_data}")
    data = load("mnist", folder=real_data)
    x, v, test = standardise(data.train.inputs, data.validation.inputs, data.test.inputs)
    found = find("lenet-300-100", x, data.train.labels, "mnist", validation=(v, data.validation.labels))
    assert accuracy(found.module, test, data.test.labels) >= 0.965
