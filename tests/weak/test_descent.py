"""Training step by step: interrupted anywhere it ends with the same bits, and pruned weights are always exactly 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strongticket import Mask
from strongticket.training import CheckpointError, Recipe, TrainingError, train
from strongticket.training.checkpoint import digest
from strongticket.training.data import Examples
from strongticket.training.loop import order
from strongticket.weak import Descent, Look, StepRecipe, descend, early_stop, speed


def examples(n: int = 120) -> Examples:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 10, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    return Examples(x[30:], y[30:], (x[:30], y[:30]))


def net(normalised: bool = False) -> nn.Sequential:
    generator = torch.Generator().manual_seed(1)
    middle = [nn.BatchNorm1d(12)] if normalised else []
    made = nn.Sequential(nn.Linear(10, 12), *middle, nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4))
    for parameter in made.parameters():
        parameter.data.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return made


def mask_of(module: nn.Module) -> Mask:
    generator = torch.Generator().manual_seed(2)
    return Mask({n: torch.rand(p.shape, generator=generator) < 0.5 for n, p in module.named_parameters() if p.ndim > 1})


RECIPES = {
    "adam": StepRecipe(60, 16, 0.01, evaluate_every=7),
    "sgd": StepRecipe(
        60, 16, 0.05, optimiser="sgd", weight_decay=0.01, milestones=(30, 45), warmup=10, evaluate_every=10
    ),
    "plain": StepRecipe(60, 16, 0.05, optimiser="sgd", momentum=0.0),
    "dropout": StepRecipe(60, 16, 0.01, dropout=0.3, evaluate_every=20),
}


@pytest.mark.parametrize("name", RECIPES)
def test_all_of_it_is_half_of_it_and_then_the_rest(name: str, tmp_path: Path) -> None:
    recipe, module = RECIPES[name], net(normalised=name == "sgd")
    mask = mask_of(module)
    whole = descend(module, mask, examples(), recipe, seed=4)
    for at in (1, 23, 30):  # in the middle of an epoch of 6 steps, and at the end of one
        folder = tmp_path / str(at)
        half = descend(module, mask, examples(), recipe, seed=4, until=at, checkpoint=folder)
        assert digest(half.final) != digest(whole.final)
        rest = descend(module, mask, examples(), recipe, seed=4, checkpoint=folder)
        assert digest([rest.final, rest.best]) == digest([whole.final, whole.best])
        assert rest.looks == whole.looks


@pytest.mark.parametrize("name", RECIPES)
def test_removed_weights_are_zero_and_all_others_move(name: str) -> None:
    """The most valuable test in this field: survivors of both signs learn, and nothing brings removed weights back."""
    module = net()
    mask = mask_of(module)
    descent = Descent(module, mask, examples(), RECIPES[name], seed=4)
    for step in range(1, 61):
        descent.to(step)
        for key in mask:
            removed = descent.network.get_parameter(key).detach()[~mask[key]]
            assert bool((removed == 0).all())
            assert not bool(torch.signbit(removed).any())
    for key in mask:
        before, after = module.get_parameter(key).detach(), descent.network.get_parameter(key).detach()
        for sign in (before > 0, before < 0):
            assert bool((before != after)[mask[key] & sign].all())
        slots = descent._optimiser.state[descent.network.get_parameter(key)]
        for value in slots.values():
            if isinstance(value, Tensor) and value.ndim:
                assert not bool(value[~mask[key]].any())


def test_a_descent_from_r_sees_what_one_from_the_beginning_sees_from_r_on() -> None:
    recipe = StepRecipe(40, 16, 0.1, optimiser="sgd", milestones=(25,), warmup=20)
    seen: dict[str, list[Any]] = {"whole": [], "late": []}
    for name, begin in (("whole", 0), ("late", 13)):
        descent = Descent(net(), None, examples(), recipe, seed=9, begin=begin)
        inputs = examples().inputs

        def watch(module: nn.Module, args: Any, name: str = name, inputs: Tensor = inputs) -> None:
            if module.training:
                seen[name].append([int((inputs == row).all(1).nonzero()[0]) for row in args[0]])

        descent.network.register_forward_pre_hook(watch)
        while descent.step < 40:
            descent.to(descent.step + 1)
            seen[name][-1].append(descent._optimiser.param_groups[0]["lr"])
    assert seen["late"] == seen["whole"][13:]
    assert [row for batch in seen["whole"][:6] for row in batch[:-1]] == order(9, 1, 90).tolist()


def test_steps_are_those_of_a_literal_loop() -> None:
    recipe, data, module = RECIPES["sgd"], examples(), net()
    mask = mask_of(module)
    found = descend(module, mask, data, recipe, seed=5).final
    weights = {n: (p.detach() * mask[n] if n in mask else p.detach()).clone() for n, p in module.named_parameters()}
    speeds = {n: torch.zeros_like(w) for n, w in weights.items()}
    for step in range(60):
        rows = torch.from_numpy(order(5, step // 6 + 1, 90))[step % 6 * 16 : (step % 6 + 1) * 16]
        live = {n: w.clone().requires_grad_(True) for n, w in weights.items()}
        loss = nn.functional.cross_entropy(
            torch.func.functional_call(module, live, data.inputs[rows]), data.labels[rows]
        )
        slopes = dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))
        for n in weights:
            slope = slopes[n] * mask[n] if n in mask else slopes[n]
            slope = slope + (0.01 * weights[n] if weights[n].ndim > 1 else 0.0)
            speeds[n] = 0.9 * speeds[n] + slope
            weights[n] = (
                weights[n] - 0.05 * min(1.0, (step + 1) / 10) * 0.1 ** ((step >= 30) + (step >= 45)) * speeds[n]
            )
    for n in weights:
        torch.testing.assert_close(found[n], weights[n], rtol=1e-4, atol=1e-6)


def test_dropout_drops_hidden_units_and_is_a_function_of_the_step() -> None:
    shares = []
    descent = Descent(net(), None, examples(), RECIPES["dropout"], seed=4)
    descent.network[4].register_forward_pre_hook(lambda m, a: shares.append(float((a[0] == 0).float().mean())))
    descent.to(20)
    plain = Descent(net(), None, examples(), StepRecipe(60, 16, 0.01), seed=4)
    without: list[float] = []
    plain.network[4].register_forward_pre_hook(lambda m, a: without.append(float((a[0] == 0).float().mean())))
    plain.to(20)
    assert sum(shares) > sum(without) + 1.0
    torch.manual_seed(77)  # the global generator has no say
    again = descend(net(), None, examples(), RECIPES["dropout"], seed=4)
    assert digest(again.final) == digest(descend(net(), None, examples(), RECIPES["dropout"], seed=4).final)


def test_a_network_that_drops_by_itself_is_a_function_of_the_step_too(tmp_path: Path) -> None:
    """Dropout of the network's own, of which the recipe knows nothing; torch's generator is left where it was."""
    module, recipe = nn.Sequential(nn.Linear(10, 12), nn.Dropout(0.4), nn.Tanh(), nn.Linear(12, 4)), RECIPES["adam"]
    for parameter in module.parameters():
        parameter.data.copy_(torch.linspace(-0.4, 0.4, parameter.numel()).view(parameter.shape))
    whole = descend(module, None, examples(), recipe, seed=4)
    torch.manual_seed(77)
    before = torch.get_rng_state()
    descend(module, None, examples(), recipe, seed=4, until=23, checkpoint=tmp_path)
    rest = descend(module, None, examples(), recipe, seed=4, checkpoint=tmp_path)
    assert digest([rest.final, rest.best]) == digest([whole.final, whole.best])
    Descent(module, None, examples(), recipe, seed=4).to(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_and_epochs_are_two_faces_of_one_loop() -> None:
    """Adam without decay is the one optimiser that both have: 4 epochs of 6 batches are 24 steps, bit for bit."""
    data = examples()
    recipe = Recipe(4, 16, 0.01, keep_best=False)
    epochs = train(net(True), data.inputs, data.labels, recipe, seed=4, validation=data.validation)
    steps = descend(net(True), None, data, StepRecipe(24, 16, 0.01, evaluate_every=6), seed=4)
    assert digest(epochs.module.state_dict()) == digest(dict(steps.final))
    assert [(one.validation_loss, one.validation_accuracy) for one in epochs.history] == [
        (look.loss, look.accuracy) for look in steps.looks
    ]


def test_the_early_stop_is_the_first_least_validation_loss_and_its_weights_are_kept() -> None:
    result = descend(net(), None, examples(), RECIPES["adam"], seed=0)
    losses = [look.loss for look in result.looks]
    assert result.looks[losses.index(min(losses))] == result.stop
    until = descend(net(), None, examples(), RECIPES["adam"], seed=0, until=result.stop.step)
    assert digest(until.final) == digest(result.best)
    assert [look.step for look in result.looks] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    with pytest.raises(ValueError, match="nobody looked"):
        early_stop([])
    assert early_stop([Look(1, 2.0, 0.0, 0.0), Look(2, 1.0, 0.0, 0.0), Look(3, 1.0, 1.0, 0.0)]).step == 2


def test_the_two_estimators_of_the_published_reproduction() -> None:
    result = speed([4000, 4100, 4000, 2600, 3600], [7500, 4100, 3900, 4700, 4400])
    assert round(100 * (1 - result.mean_of_ratios), 1) == 21.4
    assert round(100 * (1 - result.ratio_of_means), 1) == 25.6
    assert (result.wins, result.pairs) == (3, 5)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    data = examples()
    with pytest.raises(ValueError, match="validation"):
        descend(net(), None, Examples(data.inputs, data.labels, None), RECIPES["adam"], seed=0)
    with pytest.raises(ValueError, match="no such parameter"):
        descend(net(), Mask({"9.weight": torch.ones(2, 2).bool()}), data, RECIPES["adam"], seed=0)
    with pytest.raises(ValueError, match="begin"):
        Descent(net(), None, data, RECIPES["adam"], seed=0, begin=61)
    with pytest.raises(TrainingError, match="lower lr"):
        descend(net(), None, data, StepRecipe(60, 16, 1e38, optimiser="sgd"), seed=0)
    descend(net(), None, data, RECIPES["adam"], seed=0, until=20, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="seed"):
        descend(net(), None, data, RECIPES["adam"], seed=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is at step 20"):
        descend(net(), None, data, RECIPES["adam"], seed=0, until=10, checkpoint=tmp_path)


WRONG: list[dict[str, Any]] = [
    {"steps": 0},
    {"lr": 0.0},
    {"momentum": 1.0},
    {"milestones": (5, 5)},
    {"milestones": (10,)},
    {"warmup": 6, "milestones": (5,)},
    {"dropout": 1.0},
    {"optimiser": "lbfgs"},
    {"evaluate_every": 0},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_recipes_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|expected"):
        StepRecipe(**{"steps": 10, "batch_size": 4, "lr": 0.1, **wrong})


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from test_descent import KILLED, examples, mask_of, net
from strongticket.training import Checkpoint
from strongticket.training.checkpoint import Keeper
from strongticket.weak import descend
save = Keeper.save
def told(keeper, state):
    save(keeper, state)
    print("saved", flush=True)
Keeper.save = told
descend(net(), mask_of(net()), examples(), KILLED, seed=3, checkpoint=Checkpoint(sys.argv[2], every_seconds=0.0))
"""
KILLED = StepRecipe(2000, 16, 0.01, dropout=0.2)


def test_killed_while_saving_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """A checkpoint after every step, so that nearly every moment is one of saving; kill -9 cannot be caught."""
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline() == b"saved\n"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert 20 <= torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["step"] < 2000
    resumed = descend(net(), mask_of(net()), examples(), KILLED, seed=3, checkpoint=tmp_path)
    whole = descend(net(), mask_of(net()), examples(), KILLED, seed=3)
    assert digest([resumed.final, resumed.best]) == digest([whole.final, whole.best])
    assert resumed.looks == whole.looks
