"""Schedules and fields of recipes, against the formulas written out."""

from __future__ import annotations

import math

import pytest

from strongticket.training import Recipe


def rates(recipe: Recipe, batches: int) -> list[float]:
    return [recipe.lr_at(step, batches) for step in range(recipe.epochs * batches)]


@pytest.mark.parametrize("warmup", [0, 2])
def test_cosine_per_epoch_is_the_one_of_the_reference(warmup: int) -> None:
    recipe = Recipe(7, 1, lr=0.3, schedule="cosine", per="epoch", warmup=warmup)
    for epoch in range(7):
        if epoch < warmup:
            expected = 0.3 * (epoch + 1) / warmup
        else:
            expected = 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (7 - warmup))) * 0.3
        assert rates(recipe, 4)[4 * epoch : 4 * epoch + 4] == [pytest.approx(expected, rel=1e-15)] * 4


def test_per_step_warms_up_and_falls_every_step() -> None:
    got = rates(Recipe(5, 1, lr=1.0, schedule="cosine", warmup=2), 3)
    assert got[:6] == [pytest.approx((step + 1) / 6) for step in range(6)]
    assert got[6:] == [pytest.approx(0.5 * (1 + math.cos(math.pi * step / 9))) for step in range(9)]


def test_staircase_falls_every_so_many_epochs() -> None:
    got = rates(Recipe(6, 1, lr=2.0, schedule="staircase", decay=0.5, decay_epochs=2), 3)
    assert got == [2.0] * 6 + [1.0] * 6 + [0.5] * 6
    assert set(rates(Recipe(3, 1, lr=2.0), 2)) == {2.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per": "batch"}, "per must be one of"),
        ({"warmup": 3}, "warmup"),
        ({"warmup": -1}, "warmup"),
        ({"decay": 0.0}, "decay"),
        ({"decay_epochs": 0}, "decay"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"held_out": -0.1}, "held_out"),
        ({"held_out": math.nan}, "held_out"),
        ({"augmentation": "cutout"}, "augmentation"),
        ({"autocast": "int8"}, "autocast"),
        ({"schedule": "linear"}, "schedule"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(3, 8, lr=0.1, **change)
