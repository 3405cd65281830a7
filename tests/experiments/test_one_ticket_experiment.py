"""The experiment with transferred tickets, small: parts of the digits, arms, table, presets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from experiments import _weak_parts, find
from experiments._weak import STAGES
from experiments._weak_parts import PARTS, RECIPES, PartName, recipe_of, title_of, weak_part
from experiments.one_ticket import ARMS, OneTicket
from strongticket.models import architecture
from strongticket.weak import SCOPES
from strongticket.weak.transfer import TRANSFER_ARMS

SMALL = OneTicket(
    "digits-low",
    "digits-high",
    "mlp-64-24-6+bias",
    "mlp-64-24-4+bias",
    "digits-adam",
    "digits-sgd",
    40,
    20,
    "lth-lenet",
    0,
    "glorot-normal",
    "transferred",
    0,
    (0, 2),
    0,
)


@pytest.fixture(autouse=True)
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv(STAGES, str(tmp_path / "stages"))


def test_every_arm_runs_and_stands_in_the_table() -> None:
    assert set(ARMS) == set(TRANSFER_ARMS)
    runs = [dataclasses.replace(SMALL, arm=arm) for arm in ARMS]
    results = [(run, run.run()) for run in runs]
    kept = {run.arm: result["rows"][1]["kept"] for run, result in results}
    assert kept["transferred"] == {"layers.0.weight": 983, "layers.1.weight": 96}, "the new layer is whole"
    assert kept["target"] == {"layers.0.weight": 983, "layers.1.weight": 77}
    rows = OneTicket.table(results)
    assert [(row["level"], row["arm"]) for row in rows] == [(n, arm) for n in (0, 2) for arm in ARMS]
    assert all(("transferred better by" in row) == (row["arm"] != "transferred") for row in rows)
    assert rows[0]["from"] == "8x8 digits, 0 to 5 (digits-adam)"
    assert results[0][1]["train"] == [
        len(weak_part("digits-low", 0).train[1]),
        len(weak_part("digits-high", 0).train[1]),
    ]


def test_halves_share_no_training_example() -> None:
    a, b, whole = (weak_part(part, 1) for part in ("digits-a", "digits-b", "digits"))
    every = [torch.cat([part.train[0], part.validation[0]]).flatten(1) for part in (a, b, whole)]
    assert len(every[0]) + len(every[1]) == len(every[2])
    rows = [{tuple(row) for row in part.tolist()} for part in every]
    assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == rows[2]
    counts = [torch.cat([part.train[1], part.validation[1]]).bincount() for part in (a, b)]
    assert int((counts[0] - counts[1]).abs().max()) <= 1
    for half in (a, b):
        assert len(half.validation[1]) == round(0.1 * (len(half.train[1]) + len(half.validation[1])))
        assert torch.equal(half.test[0], whole.test[0])


def test_classes_are_split_and_named_anew() -> None:
    low, high, whole = (weak_part(part, 0) for part in ("digits-low", "digits-high", "digits"))
    for i in ("train", "validation", "test"):
        labels = [getattr(part, i)[1] for part in (low, high, whole)]
        assert sorted(labels[0].unique().tolist()) == [*range(6)]
        assert sorted(labels[1].unique().tolist()) == [*range(4)]
        assert len(labels[0]) + len(labels[1]) == len(labels[2])
        assert torch.equal(labels[2][labels[2] >= 6] - 6, labels[1])


def test_a_part_that_holds_nothing_out_trains_on_all_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = weak_part("digits", 0)
    monkeypatch.setattr(_weak_parts, "weak_data", lambda data, seed: digits)
    whole = weak_part.__wrapped__("mnist-whole", 0)  # no result of another test
    for i in (0, 1):
        assert torch.equal(whole.train[i], torch.cat([digits.train[i], digits.validation[i]]))
        assert torch.equal(whole.validation[i], digits.validation[i])
        assert torch.equal(whole.test[i], digits.test[i])
    assert whole.name.endswith("nothing held out")


def test_titles_say_what_is_special() -> None:
    names: list[PartName] = list(PARTS)
    assert len({title_of(name) for name in names}) == len(names)
    assert all("JPEG" in title_of(name) for name in names if name.startswith("cifar10"))
    for recipe in RECIPES:
        assert recipe_of(recipe, 100, 10).steps == 100


def test_the_presets_can_be_run() -> None:
    assert find("one_ticket") is OneTicket
    presets = OneTicket.presets()
    assert list(presets) == ["quick", "cifar10", "mnist", "paper"]
    for runs in presets.values():
        assert len({run.spec.key for run in runs}) == len(runs)
        assert {run.seed for run in runs} >= {0, 1, 2}
        for run in runs:
            source, target = architecture(run.source_model), architecture(run.target_model)
            heads = [name for name in source.shapes if source.shapes[name] != target.shapes[name]]
            assert len(heads) in (0, 2)
            assert run.scope in SCOPES
            recipe_of(run.source_recipe, run.steps, run.evaluate_every)
