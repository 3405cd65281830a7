"""Searches in batches: each finds what it finds alone, up to rounding; interrupted ones go on to the same bits."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strongticket.data import load
from strongticket.search import Bernoulli, EdgePopup
from strongticket.search._rows import FusedRows, PlainRows, largest_rows
from strongticket.search.find import Found, find
from strongticket.search.many import find_many
from strongticket.search.optimiser import ScoreOptimiser
from strongticket.search.recipes import search_recipe
from strongticket.selection import kept_count, largest
from strongticket.ticket import AbstractArchitecture
from strongticket.training import Checkpoint, CheckpointError, TrainingError, accuracy

DATA = load("digits")
X, Y = DATA.train.inputs[:400], DATA.train.labels[:400]
VALIDATION = (DATA.validation.inputs, DATA.validation.labels)


def flips(a: Found, b: Found) -> float:
    differ = sum(int((mask != b.masks[name]).sum()) for name, mask in a.masks.items())
    return differ / sum(mask.numel() for mask in a.masks.values())


def alone(found: Found, network: str, **options: object) -> Found:
    return find(network, X, Y, found.recipe, seed=found.seed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("transform", ["abs", "identity"])
def test_each_search_is_the_one_that_find_makes(
    compiled: bool, transform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr("strongticket.search._sweep.find_spec", lambda name: None)
    method = EdgePopup(0.5, score_transform=transform, levels=2)  # type: ignore[arg-type]
    options = {"epochs": 4, "validation": VALIDATION}
    sweep = {"seeds": [3, 4], "densities": [0.1, 0.6], "method": method}
    many = find_many("mlp-64-32-10", X, Y, "digits", **options, **sweep)  # type: ignore[arg-type]
    assert [(one.seed, one.recipe.density) for one in many] == [(3, 0.1), (3, 0.6), (4, 0.1), (4, 0.6)]
    for one in many:
        single = alone(one, "mlp-64-32-10", **options)
        assert one.ticket.matches(one.module)
        assert one.history[-1].details["kept"] == single.history[-1].details["kept"]
        assert one.history[0].loss == pytest.approx(single.history[0].loss, rel=1e-5)
        assert one.history[-1].accuracy == pytest.approx(single.history[-1].accuracy, abs=0.02)
        assert one.history[-1].details["flips"] == pytest.approx(single.history[-1].details["flips"], rel=0.2, abs=20)
        if one.best_epoch == single.best_epoch:
            assert flips(one, single) < 0.02
        score = one.history[one.best_epoch - 1].validation_accuracy
        assert accuracy(one.module, *VALIDATION) == pytest.approx(score, abs=1e-12)


def test_first_masks_agree_exactly() -> None:
    options = {"epochs": 1, "batch_size": 200}
    for one in find_many("mlp-64-32-10", X, Y, "digits", seeds=[0, 1, 2], **options):  # type: ignore[arg-type]
        assert flips(one, alone(one, "mlp-64-32-10", **options)) == 0


def test_convolutions_and_normalisation_are_searched_too() -> None:
    images = X[:64].view(-1, 1, 8, 8)
    recipe = search_recipe("digits").changed(epochs=2, batch_size=32, augmentation="crop-flip", label_smoothing=0.1)
    network = "resnet8x0.25+1x8x8"
    for one in find_many(network, images, Y[:64], recipe, seeds=[0, 1]):
        single = find(network, images, Y[:64], recipe, seed=one.seed)
        assert one.ticket.matches(one.module)
        assert one.history[0].loss == pytest.approx(single.history[0].loss, rel=1e-3)
        for name, value in single.ticket.dense.items():
            torch.testing.assert_close(one.ticket.dense[name], value, rtol=0.02, atol=0.02)


def test_rows_are_selected_by_the_rule_of_a_single_selection() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 6, (40, 50), generator=generator).float()  # ties everywhere
    counts = torch.randint(0, 51, (40, 1), generator=generator)
    counts[:3, 0] = torch.tensor([0, 50, 1])
    got = largest_rows(values, counts)
    for row, count, mask in zip(values, counts.view(-1).tolist(), got, strict=True):
        assert torch.equal(mask, largest(row, count))


def test_densities_are_exact_and_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    densities = [0.0, 0.013, 0.5, 1.0]
    found = find_many(
        "mlp-64-20-10", X, Y, "digits", densities=densities, epochs=2,
        progress=lambda number, epochs: seen.append((number, len(epochs))),
    )  # fmt: skip
    assert seen == [(1, 4), (2, 4)]
    for one, density in zip(found, densities, strict=True):
        assert one.ticket.mask.counts == {
            "layers.0.weight": kept_count(density, 1280), "layers.1.weight": kept_count(density, 200),
        }  # fmt: skip
        assert one.best_epoch == 2


SWEEP: dict[str, Any] = {"seeds": [3, 4], "densities": [0.1, 0.6], "epochs": 3, "validation": VALIDATION}
RESNET: dict[str, Any] = {
    "seeds": [0, 1],
    "epochs": 3,
    "batch_size": 24,
    "validation": (X[64:90].view(-1, 1, 8, 8), Y[64:90]),
}


def digests(found: list[Found]) -> list[Any]:
    return [(one.ticket.digest, one.best_epoch, one.history) for one in found]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("stop", [1, 7, 8, 16])  # 7 steps an epoch: in the middle of epochs and at the end of one
def test_an_interrupted_sweep_ends_with_the_same_bits(
    compiled: bool, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr("strongticket.search._sweep.find_spec", lambda name: None)
    whole = find_many("mlp-64-32-10", X, Y, "digits", **SWEEP)
    kind, left = (FusedRows if compiled else PlainRows), [stop]
    step = kind.step

    def stopping(self: Any, *arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        step(self, *arguments)

    monkeypatch.setattr(kind, "step", stopping)
    settings = Checkpoint(tmp_path, every_seconds=0.0)
    with pytest.raises(Interrupted):
        find_many("mlp-64-32-10", X, Y, "digits", **SWEEP, checkpoint=settings)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert (len(state["history"][0]), state["batch"]) == divmod(stop, 7)
    left[0] = 21 - stop  # just as many as are left to do
    assert digests(find_many("mlp-64-32-10", X, Y, "digits", **SWEEP, checkpoint=settings)) == digests(whole)
    left[0] = 0
    assert digests(find_many("mlp-64-32-10", X, Y, "digits", **SWEEP, checkpoint=settings)) == digests(whole)


def test_statistics_of_normalisation_go_on_too(tmp_path: Path) -> None:
    images = X[:64].view(-1, 1, 8, 8)
    whole = find_many("resnet8x0.25+1x8x8", images, Y[:64], "digits", **RESNET)

    def stop(number: int, epochs: list[Any]) -> None:
        if number == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        find_many("resnet8x0.25+1x8x8", images, Y[:64], "digits", **RESNET, checkpoint=tmp_path, progress=stop)
    again = find_many("resnet8x0.25+1x8x8", images, Y[:64], "digits", **RESNET, checkpoint=tmp_path)
    assert digests(again) == digests(whole)
    for a, b in zip(again, whole, strict=True):
        assert all(torch.equal(value, b.ticket.dense[name]) for name, value in a.ticket.dense.items())


KILLED = """
import sys, torch
from strongticket.search import find_many
from strongticket.training import Checkpoint

def sweep(**options):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 32, generator=g), torch.arange(256) % 4
    options = {"seeds": [0, 1], "densities": [0.2, 0.5], "epochs": 60, "batch_size": 32, **options}
    return find_many("mlp-32-64-4", x, y, "digits", validation=(x[:50], y[:50]), **options)

if len(sys.argv) > 1:
    sweep(checkpoint=Checkpoint(sys.argv[1], every_seconds=0.02))
"""


def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    """SIGKILL, which nothing can catch, once the first steps are in the checkpoint."""
    file = tmp_path / "checkpoint.pt"
    victim = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    try:
        while not file.exists() and victim.poll() is None:
            time.sleep(0.005)
    finally:
        victim.kill()
        victim.wait()
    done = len(torch.load(file, weights_only=True)["state"]["history"][0])
    assert done < 60, "it was over before it was killed: give it more epochs"
    space: dict[str, Any] = {}
    exec(compile(KILLED.replace("len(sys.argv) > 1", "False"), "killed", "exec"), space)
    assert digests(space["sweep"](checkpoint=tmp_path)) == digests(space["sweep"]())


def test_a_checkpoint_of_another_sweep_is_refused(tmp_path: Path) -> None:
    find_many("mlp-64-20-10", X, Y, "digits", seeds=[0, 1], epochs=1, checkpoint=tmp_path)
    others: list[dict[str, Any]] = [
        {"seeds": [0, 2]},
        {"seeds": [0, 1], "densities": [0.5]},
        {"seeds": [0, 1], "lr": 0.1},
    ]
    for other in others:
        with pytest.raises(CheckpointError, match="another run"):
            find_many("mlp-64-20-10", X, Y, "digits", **{"epochs": 1, **other}, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="another run"):  # that of a single search
        find("mlp-64-20-10", X, Y, "digits", epochs=1, checkpoint=tmp_path)


@dataclass(frozen=True)
class Noisy(AbstractArchitecture):
    """A network with dropout, which none of the named ones has."""

    id = "noisy"

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"0.weight": (32, 64), "3.weight": (10, 32)}

    def module(self, weights: Mapping[str, Tensor]) -> nn.Module:
        net = nn.Sequential(nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10, bias=False))
        net.load_state_dict(dict(weights))
        return net


def test_noise_of_one_seed_is_that_of_single_searches_and_of_several_is_refused() -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 100}
    found = find_many(Noisy(), X, Y, "digits", seeds=[5], densities=[0.3, 0.6], **options)
    for one in found:
        single = find(Noisy(), X, Y, one.recipe, seed=5)
        assert one.history[0].loss == pytest.approx(single.history[0].loss, rel=1e-6)
        assert one.history[1].loss == pytest.approx(single.history[1].loss, rel=1e-3)
        assert flips(one, single) < 0.01
    with pytest.raises(ValueError, match=r"noisy draws noise in training.*call find for each seed"):
        find_many(Noisy(), X, Y, "digits", seeds=[5, 6], **options)


def test_an_annealed_density_is_the_one_asked_for() -> None:
    """With test data that only the first mask fits: epochs before the last level are not chosen."""
    method = EdgePopup(0.1, levels=4)
    options: dict[str, Any] = {"epochs": 8, "method": method, "validation": VALIDATION}
    for one in [
        *find_many("mlp-64-32-10", X, Y, "digits", seeds=[0, 1], **options),
        find("mlp-64-32-10", X, Y, "digits", **options),
    ]:
        assert one.best_epoch >= 6
        assert one.ticket.mask.counts["layers.0.weight"] == kept_count(0.1, 2048)
        seen = [epoch.validation_accuracy or math.nan for epoch in one.history]
        assert max(seen[:5]) > max(seen[5:])  # a choice among all would have taken a denser one


def test_what_is_not_searched_in_batches_is_refused() -> None:
    for method in (Bernoulli(), EdgePopup(0.5, allocation="global")):
        with pytest.raises(ValueError, match="call find for each"):
            find_many("mlp-64-20-10", X, Y, "digits", method=method)
    with pytest.raises(ValueError, match="at least one seed"):
        find_many("mlp-64-20-10", X, Y, "digits", seeds=[])
    out = search_recipe("digits").changed(held_out=0.1, epochs=1)
    with pytest.raises(ValueError, match="hold data out"):
        find_many("mlp-64-20-10", X, Y, out)
    assert find_many("mlp-64-20-10", X, Y, out, validation=VALIDATION)[0].history[0].validation_accuracy is not None
    with pytest.raises(ValueError, match="move their scores by SGD, got adam"):
        find_many("mlp-64-20-10", X, Y, out.changed(optimiser=ScoreOptimiser("adam"), held_out=0.0))
    with pytest.raises(TrainingError, match=r"seeds? \[?5"):
        find_many("mlp-64-20-10", X * 1e38, Y, "digits", seeds=[5], epochs=1)
