"""Presets of the experiments with weak tickets can be run: parameters are read back, networks are as published."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import AbstractExperiment, find
from experiments._weak import DEVICE, STAGES, device
from experiments._weak_parts import recipe_of
from experiments.imp import NETWORKS, PUBLISHED_CONVOLUTIONAL, Imp
from experiments.mask_criteria import RANDOM
from strongticket.models import architecture
from strongticket.runs import from_json
from strongticket.source import AbstractArchitecture
from strongticket.weak import SCOPES, STEP_RECIPES, StepRecipe, counted, kinds, level_totals
from strongticket.weak import Imp as Trunk

NAMES = (
    *("imp", "one_ticket", "elastic", "pruning_at_start", "double_descent", "double_descent_nets"),
    *("mask_criteria", "sparse_double_descent", "neurons_and_features", "critical_batch", "prune_then_descend"),
)
PUBLISHED_NOWHERE = ("prune_then_descend",)


@cache
def network(name: str) -> AbstractArchitecture:
    return architecture(name)


def trunks(run: AbstractExperiment) -> list[Trunk]:
    """What a run prunes iteratively."""
    given = run.spec.to_json()["params"]
    models = [given[key] for key in ("model", "source", "target", "source_model", "target_model") if key in given]
    names = [given[key] for key in ("recipe", "source_recipe", "target_recipe") if key in given]
    steps, every = given["steps"], given.get("evaluate_every", given["steps"])
    recipes: list[StepRecipe] = [
        STEP_RECIPES[name].changed(steps=steps, evaluate_every=every)
        if name in STEP_RECIPES
        else recipe_of(name, steps, every)
        for name in names
    ]
    rest = {"rewind": given.get("rewind", 0), "criterion": given.get("criterion", "large-final")}
    if rest["criterion"] == RANDOM:
        rest["criterion"] = "large-final"
    rest["law"] = given.get("law", "glorot-normal")
    return [Trunk(model, recipe, given["scope"], **rest) for model in models for recipe in recipes]


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_can_be_run(name: str) -> None:
    experiment = find(name)
    presets = experiment.presets()
    assert "quick" in presets
    assert ("paper" in presets) == (name not in PUBLISHED_NOWHERE)
    seen = set()
    for runs in presets.values():
        assert runs
        assert len({run.spec.key for run in runs}) == len(runs)
        for run in runs:
            params = run.spec.to_json()["params"]
            assert from_json(experiment, json.loads(json.dumps(params))) == run
            if "scope" in params:
                seen |= {(trunk.model, trunk.rule, trunk.recipe) for trunk in trunks(run)}
    for model, scope, recipe in seen:
        layers = kinds(network(model).shapes)
        assert scope.pruned(layers)
        assert recipe.augmentation == "none" or "conv" in layers.values()


SIZES = {
    "conv2": 4_300_992,
    "conv4": 2_425_024,
    "conv6": 2_261_184,
    "resnet20": 270_896,
    "vgg19": 20_024_000,
}
STEPS = {"conv2": 20_000, "conv4": 25_000, "conv6": 30_000, "resnet20": 30_000, "vgg19": 112_480}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_paper_have_its_sizes_steps_and_densities(name: str) -> None:
    key = name.partition("-")[0]
    runs = Imp.presets()[name]
    assert {(run.model, run.recipe, run.scope, run.steps, run.evaluate_every) for run in runs} == {
        (NETWORKS[name].model, NETWORKS[name].recipe, NETWORKS[name].scope, STEPS[key], 100)
    }
    shapes = counted(network(NETWORKS[name].model).shapes)
    totals = level_totals(shapes, SCOPES[NETWORKS[name].scope], NETWORKS[name].levels)
    assert totals[0] == SIZES[key]
    off = 0.25 if key == "conv6" else 0.05
    assert all(abs(100 * totals[n] / totals[0] - printed) < off for n, printed in PUBLISHED_CONVOLUTIONAL[key].items())
    assert sum(run.arm == "reinit" for run in runs) == 15
    assert {level for run in runs for level in run.levels} == set(range(NETWORKS[name].levels + 1))


def test_an_epoch_is_what_the_presets_say() -> None:
    """Steps are epochs times batches: 45,000 or half of it for CIFAR-10, 55,000 for MNIST."""

    def steps(examples: int, batch: int, epochs: int) -> int:
        return epochs * -(-examples // batch)

    def of(name: str, preset: str) -> set[int]:
        return {run.spec.to_json()["params"]["steps"] for run in find(name).presets()[preset]}

    assert of("elastic", "paper") == of("pruning_at_start", "paper") == {steps(45_000, 128, 160)}
    assert of("elastic", "mlp") == of("elastic", "mlp-arms") == {steps(60_000, 128, 40)}
    assert of("elastic", "mlp-held-out") == {steps(55_000, 128, 40)}
    assert of("one_ticket", "paper") == {steps(22_500, 512, 160)}
    assert of("sparse_double_descent", "paper") == {steps(55_000, 128, 160)}
    assert of("imp", "paper") == {50_000}
    vgg = STEP_RECIPES["lth-vgg19"]
    assert vgg.milestones == (80 * 703, 120 * 703)
    assert vgg.steps == 160 * 703, "the paper drops the last batch, of 8 examples"


def test_the_learning_rates_of_the_paper() -> None:
    resnet, vgg = STEP_RECIPES["lth-resnet"], STEP_RECIPES["lth-vgg19"]
    assert {name: (recipe.lr, recipe.warmup) for name, recipe in STEP_RECIPES.items() if recipe.optimiser == "sgd"} == {
        "lth-resnet": (0.1, 0),
        "lth-resnet-low": (0.01, 0),
        "lth-resnet-warm": (0.03, 20_000),
        "lth-vgg19": (0.1, 0),
        "lth-vgg19-low": (0.01, 0),
        "lth-vgg19-warm": (0.1, 10_000),
        "open-lth-lenet": (0.1, 0),
    }
    assert STEP_RECIPES["lth-resnet-warm"] == resnet.changed(lr=0.03, warmup=20_000)
    assert [vgg.lr_at(step) for step in (0, 56_239)] == [0.1, 0.1]
    assert STEP_RECIPES["lth-vgg19-warm"].lr_at(9_999) == pytest.approx(0.1)
    adam = {name: recipe.lr for name, recipe in STEP_RECIPES.items() if recipe.optimiser == "adam"}
    assert adam["lth-lenet"] == 1.2e-3
    assert [adam[f"lth-conv{n}"] for n in (2, 4, 6)] == [2e-4, 3e-4, 3e-4]
    assert [adam[f"lth-conv{n}-dropout"] for n in (2, 4, 6)] == [3e-4, 2e-4, 2e-4]


@pytest.mark.parametrize(
    "name", ["imp", "mask_criteria", "one_ticket", "elastic", "pruning_at_start", "sparse_double_descent"]
)
def test_where_to_train_is_up_to_the_user(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The published sizes need a GPU: every experiment that trains levels must be able to reach one."""
    pytest.importorskip("sklearn")
    monkeypatch.setenv(STAGES, str(tmp_path))
    run: Any = find(name).presets()["quick"][0]
    monkeypatch.delenv(DEVICE, raising=False)
    assert device() is None
    monkeypatch.setenv(DEVICE, "cpu")
    assert device() == torch.device("cpu")
    monkeypatch.setenv(DEVICE, "nowhere")
    with pytest.raises(ValueError, match="STRONGTICKET_DEVICE names 'nowhere'"):
        run.run()
    assert not any(tmp_path.rglob("*.pt")), "refused before anything was trained"
