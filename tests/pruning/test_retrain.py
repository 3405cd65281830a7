"""Training under a mask: exact zeros all the way, reproducible, resumable, and better than before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from strongticket import Mask
from strongticket.pruning import Magnitude, Problem, Pruned, Retraining, ScorePruner, retrain, train_held
from strongticket.training import Checkpoint, CheckpointError, Epoch, Recipe, accuracy, initialise, train

ADAM = Recipe(6, 32, lr=5e-3, weight_decay=0.3, schedule="cosine")
SGD = Recipe(6, 32, lr=0.05, optimiser="sgd", weight_decay=0.01, max_weight=0.4)


def data(n: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 8, generator=generator)
    return inputs, (inputs[:, :3] + 0.3 * inputs[:, 3:6]).argmax(1)


def pruned(density: float = 0.15) -> Pruned:
    net = initialise(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)), 1)
    trained = train(net, *data(), epochs=10, batch_size=32, lr=0.01).module
    return ScorePruner(Magnitude()).prune(Problem.of(trained), density)


def zeros_only(module: nn.Module, mask: Mask) -> bool:
    return not any(bool(module.get_parameter(name)[~mask[name]].any()) for name in mask)


@pytest.mark.parametrize("recipe", [ADAM, SGD], ids=["adam", "sgd"])
def test_retraining_improves_and_keeps_exact_zeros(recipe: Recipe) -> None:
    before = pruned()
    after = retrain(before, *data(), recipe, seed=3)
    assert zeros_only(after.module, before.mask)
    assert accuracy(after.module, *data()) > accuracy(before.module(), *data()) + 0.02
    for name in before.mask:
        survivors = before.mask[name]
        assert bool((after.module.get_parameter(name) != before.weights[name])[survivors].all())
    assert not after.module.training
    assert not any(parameter.requires_grad for parameter in after.module.parameters())
    assert not after.module._forward_pre_hooks
    assert len(after.history) == recipe.epochs
    assert after.mask == before.mask


def test_the_result_is_a_function_of_the_seed_and_the_input_stays_as_it_is() -> None:
    before = pruned()
    kept = {name: value.clone() for name, value in before.original.state_dict().items()}
    first, second, third = (retrain(before, *data(), ADAM, seed=seed).module.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["0.weight"], third["0.weight"])
    assert all(torch.equal(kept[name], value) for name, value in before.original.state_dict().items())


def test_without_the_update_it_starts_from_the_trained_values() -> None:
    before = pruned()
    moved = Pruned(
        before.mask,
        {name: 3 * value for name, value in before.weights.items()},
        before.original, None, True, "moved",
    )  # fmt: skip
    seen: list[Tensor] = []
    for updated in (True, False):
        tiny = Recipe(1, 1000, lr=1e-12, keep_best=False)
        seen.append(retrain(moved, *data(), tiny, updated=updated).module.get_parameter("0.weight"))
    torch.testing.assert_close(seen[0], 3 * seen[1], atol=1e-6, rtol=1e-5)


def test_the_best_epoch_on_validation_data_is_returned() -> None:
    before, recipe = pruned(), ADAM.changed(lr=0.2, schedule="constant", epochs=12)
    held = data(260)
    validation = (held[0][200:], held[1][200:])
    after = retrain(before, *data(), recipe, validation=validation)
    scores = [epoch.validation_accuracy for epoch in after.history]
    assert after.best_epoch == scores.index(max(scores)) + 1  # type: ignore[type-var]
    assert accuracy(after.module, *validation) == scores[after.best_epoch - 1]
    assert zeros_only(after.module, before.mask)


class Stop(Exception):
    """What an interrupted run raises here."""


def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path: Path) -> None:
    before = pruned()
    whole = retrain(before, *data(), ADAM).module.state_dict()

    def stop(epoch: Epoch) -> None:
        if epoch.number == 3:
            raise Stop

    with pytest.raises(Stop):
        retrain(before, *data(), ADAM, checkpoint=Checkpoint(tmp_path), progress=stop)
    resumed = retrain(before, *data(), ADAM, checkpoint=Checkpoint(tmp_path)).module.state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(CheckpointError, match="another run"):
        retrain(pruned(0.3), *data(), ADAM, checkpoint=Checkpoint(tmp_path))


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_nothing_and_everything_can_be_kept(density: float) -> None:
    before = pruned(density)
    after = retrain(before, *data(), ADAM.changed(epochs=2))
    assert zeros_only(after.module, before.mask)
    assert after.mask.density == density


def test_parameters_that_are_frozen_stay_so() -> None:
    before = pruned()
    module = before.module()
    module.get_parameter("3.weight").requires_grad_(True)
    after = train_held(module, before.mask, *data(), ADAM.changed(epochs=2)).module
    assert torch.equal(after.get_parameter("0.weight"), module.get_parameter("0.weight"))
    assert not torch.equal(after.get_parameter("3.weight"), module.get_parameter("3.weight"))


def test_bad_recipes_and_data_are_refused_before_work() -> None:
    with pytest.raises(ValueError, match="unknown recipe"):
        Retraining("mnst")
    with pytest.raises(ValueError, match="labels must lie"):
        retrain(pruned(), data()[0], data()[1] + 7, ADAM)


def test_parts_of_a_recipe_are_replaced_by_words_as_in_train() -> None:
    before = pruned()
    words = retrain(before, *data(), ADAM, epochs=2, batch_size=16, lr=0.01)
    assert words.recipe == ADAM.changed(epochs=2, batch_size=16, lr=0.01)
    assert len(words.history) == 2
    changed = retrain(before, *data(), ADAM.changed(epochs=2, batch_size=16, lr=0.01))
    assert torch.equal(words.module.get_parameter("0.weight"), changed.module.get_parameter("0.weight"))
    assert retrain(before, *data(), epochs=1, batch_size=64, lr=0.01).recipe == Recipe(1, 64, 0.01)
    with pytest.raises(ValueError, match=r"without a recipe, batch_size, lr must be given"):
        retrain(before, *data(), epochs=1)
    with pytest.raises(ValueError, match="unknown recipe 'digit'"):
        retrain(before, *data(), "digit", epochs=1)
