"""What every method promises, held over all that are registered; and the front door itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import strongticket.pruning as pruning
from strongticket import Mask
from strongticket.pruning import (
    METHODS,
    AbstractPruner,
    AbstractScore,
    Iterative,
    Magnitude,
    NofM,
    Problem,
    Pruned,
    Retraining,
    Rounds,
    ScorePruner,
    Taylor,
    Unstructured,
    measured_increase,
    prune,
    prune_path,
    pruner_of,
    score,
)
from strongticket.selection import kept_count
from strongticket.training import TrainingError, train

NEED_NO_DATA = {"random", "magnitude", "synflow"}
every_method = pytest.mark.parametrize("key", METHODS)
Case = tuple[nn.Module, tuple[Tensor, Tensor]]


@pytest.fixture(scope="session")
def digits() -> Case:
    """A small net trained on the digits; 5 inputs of 16 and one hidden unit are dead, sizes are odd."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32).view(-1, 8, 8) / 16
    inputs = nn.functional.avg_pool2d(inputs[:, None], 2).flatten(1)  # [n, 16]
    inputs[:, [0, 3, 5, 12, 15]] = 0.0
    data = (inputs[:400].contiguous(), torch.tensor(labels[:400], dtype=torch.int64))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 10))
    trained = train(net, *data, epochs=40, batch_size=32, lr=0.02).module
    trained.get_parameter("0.bias")[2] = -100.0  # never active
    return trained, data


def run(key: str, case: Case, densities: tuple[float, ...], **settings: Any) -> tuple[Pruned, ...]:
    return prune_path(case[0], case[1], key, densities, **settings)


def check(pruned: Pruned, case: Case, count: int) -> None:
    assert pruned.mask.count == count
    names = ("0.weight", "2.weight")
    assert tuple(pruned.mask) == names
    module, masked = pruned.module(), pruned.module(updated=False)
    for name in names:
        gone, trained = ~pruned.mask[name], case[0].get_parameter(name)
        assert bool(torch.isfinite(pruned.weights[name]).all())
        assert pruned.weights[name].shape == trained.shape
        assert not bool(pruned.weights[name][gone].any())
        assert not bool(module.get_parameter(name)[gone].any())
        assert torch.equal(masked.get_parameter(name)[~gone], trained[~gone])
        if not pruned.updated:
            assert torch.equal(pruned.weights[name][~gone], trained[~gone])
    for name in ("0.bias", "2.bias"):  # biases are never pruned
        assert torch.equal(module.get_parameter(name), case[0].get_parameter(name))
    assert pruned.predicted_increase is None or math.isfinite(pruned.predicted_increase)


@every_method
def test_counts_are_exact_zeros_are_zeros_and_paths_are_nested(key: str, digits: Case) -> None:
    before = {name: value.clone() for name, value in digits[0].state_dict().items()}
    densities = (1.0, 0.77, 0.5, 0.1, 1 / 182, 0.0)
    path = run(key, digits, densities)
    assert len(path) == len(densities)
    for density, pruned in zip(densities, path, strict=True):
        check(pruned, digits, kept_count(density, 182))
        assert pruned.method == key
    for more, less in pairwise(path):
        assert (more.mask & less.mask) == less.mask
    assert all(torch.equal(before[name], value) for name, value in digits[0].state_dict().items())
    whole = path[0]
    assert whole.predicted_increase in (None, 0.0) or abs(whole.predicted_increase) < 1e-9


@every_method
def test_results_are_functions_of_the_arguments(key: str, digits: Case) -> None:
    (first, alone), (second,) = run(key, digits, (0.6, 0.3), seed=5), run(key, digits, (0.3,), seed=5)
    assert alone.mask == second.mask
    for name in first.mask:
        torch.testing.assert_close(alone.weights[name], second.weights[name], rtol=1e-5, atol=1e-6)
    torch.manual_seed(99)  # nothing depends on torch's own generator
    again = run(key, digits, (0.3,), seed=5)[0]
    assert again.mask == second.mask
    assert all(torch.equal(again.weights[name], second.weights[name]) for name in again.mask)
    assert again.predicted_increase == second.predicted_increase


@every_method
def test_what_was_pruned_before_stays_so(key: str, digits: Case) -> None:
    torch.manual_seed(3)
    start = Mask({"0.weight": torch.rand(7, 16) < 0.4, "2.weight": torch.rand(10, 7) < 0.7})
    for density, pruned in zip((0.9, 0.3, 0.05), run(key, digits, (0.9, 0.3, 0.05), start=start), strict=True):
        assert pruned.mask.count == min(start.count, kept_count(density, 182))
        assert (pruned.mask & start) == pruned.mask
        for name in start:
            assert not bool(pruned.weights[name][~start[name]].any())


@every_method
def test_a_single_parameter_and_layers_of_one_weight(key: str) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 1), nn.Tanh(), nn.Linear(1, 2))
    inputs = torch.randn(30, 3)
    data = (inputs, (inputs[:, 0] > 0).long())
    for density, pruned in zip((1.0, 0.4, 0.0), prune_path(net, data, key, (1.0, 0.4, 0.0)), strict=True):
        assert pruned.mask.count == kept_count(density, 5)
    single = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 2, bias=False))
    narrow = (inputs[:, :1], data[1])
    for density in (0.0, 0.5, 1.0):
        pruned = prune(single, narrow, key, density, names=["0.weight"])
        assert pruned.mask.count == kept_count(density, 1)
        assert list(pruned.mask) == ["0.weight"]
    last = prune(net, data, key, 0.5, names=["2.weight"])
    assert last.mask.count == 1
    assert torch.equal(last.module().get_parameter("0.weight"), net[0].weight)


@every_method
def test_fewer_examples_than_weights_and_one_example(key: str, digits: Case) -> None:
    net, (inputs, labels) = digits
    for count in (1, 3):
        pruned = prune(net, (inputs[:count], labels[:count]), key, 0.5)
        check(pruned, digits, 91)


@every_method
def test_losses_and_densities_that_make_no_sense_are_refused(key: str, digits: Case) -> None:
    net, (inputs, labels) = digits
    for density in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="in \\[0, 1\\]"):
            prune(net, (inputs, labels), key, density)
    if key in NEED_NO_DATA:
        assert prune(net, None, key, 0.5).mask.count == 91
        return
    with pytest.raises(ValueError, match="data"):
        prune(net, None, key, 0.5)
    with pytest.raises((ValueError, TrainingError)):
        prune(net, (1e38 * inputs, labels), key, 0.5)


@pytest.mark.parametrize("key", [key for key in METHODS if issubclass(type(METHODS[key]()), AbstractScore)])
def test_predictions_are_made_by_those_who_promise_them(key: str, digits: Case) -> None:
    made = METHODS[key]()
    assert isinstance(made, AbstractScore)
    (pruned,) = run(key, digits, (0.5,))
    assert (pruned.predicted_increase is not None) == made.is_increase
    saliencies = score(digits[0], digits[1], key)
    assert {name: tuple(value.shape) for name, value in saliencies.items()} == {
        "0.weight": (7, 16),
        "2.weight": (10, 7),
    }
    if made.is_increase:
        total = sum(float(value[~pruned.mask[name]].double().sum()) for name, value in saliencies.items())
        assert math.isclose(total, pruned.predicted_increase or 0.0, rel_tol=1e-9)


def test_every_key_names_the_method_that_it_makes() -> None:
    for key, make in METHODS.items():
        made = make()
        assert made.key == key
        assert isinstance(made, AbstractPruner | AbstractScore)
    classes = [part for part in vars(pruning).values() if isinstance(part, type)]
    public = {part.key for part in classes if issubclass(part, AbstractScore) and hasattr(part, "key")}
    public |= {part.key for part in classes if issubclass(part, AbstractPruner) and hasattr(part, "key")}
    assert public - set(METHODS) == {"scores", "rounds"}
    assert set(METHODS) <= public


def test_no_score_is_as_bad_as_chance(digits: Case) -> None:
    from strongticket.training import accuracy

    found = {key: accuracy(run(key, digits, (0.5,))[0].module(), *digits[1]) for key in ("random", "magnitude", "obd")}
    assert found["magnitude"] > found["random"] + 0.1
    assert found["obd"] > found["random"] + 0.1


def test_methods_can_be_given_with_settings_of_their_own(digits: Case) -> None:
    assert prune(*digits, Magnitude(), 0.4).mask == prune(*digits, "magnitude", 0.4).mask
    by_layer = prune(*digits, "magnitude", 0.5, allocation="layer")
    assert by_layer.mask.counts == {"0.weight": 56, "2.weight": 35}
    two_of_four = prune(*digits, "exact-obs", 0.5, structure=NofM(2, 4), names=["0.weight"])
    assert bool((two_of_four.mask["0.weight"].view(7, 4, 4).sum(2) == 2).all())
    assert prune(*digits, "obs", 0.5, structure=Unstructured()).mask == prune(*digits, "obs", 0.5).mask
    rounds = prune(*digits, "taylor", 0.3, schedule=Iterative(3))
    expected = Rounds(ScorePruner(Taylor()), Iterative(3)).prune(Problem.of(*digits), 0.3)
    assert rounds.mask == expected.mask


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pruner_of("obx"), "unknown method"),
        (lambda: pruner_of("obs", allocation="layer"), "no allocation"),
        (lambda: pruner_of("obs", structure=NofM(2, 4)), "no structure"),
        (lambda: pruner_of("magnitude", allocation="supsup"), "allocation"),
        (lambda: pruner_of("magnitude", retraining=Retraining("digits")), "schedule"),
        (lambda: score(nn.Linear(2, 2), None, "obs"), "use prune"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_the_measured_increase_is_the_difference_of_mean_losses(digits: Case) -> None:
    pruned = prune(*digits, "magnitude", 0.3)
    net, (inputs, labels) = digits
    before, after = (float(nn.functional.cross_entropy(m(inputs), labels)) for m in (net, pruned.module()))
    assert math.isclose(measured_increase(pruned, digits[1]), after - before, rel_tol=1e-5)
    assert measured_increase(prune(*digits, "magnitude", 1.0), digits[1]) == 0.0
