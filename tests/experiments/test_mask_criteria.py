"""The experiment with mask criteria, small: one training for all criteria, untrained masks as they are defined."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import find
from experiments._weak import STAGES, weak_data
from experiments.mask_criteria import KEEPS, RANDOM, UNTRAINED, MaskCriteria
from strongticket.training import accuracy
from strongticket.weak import CRITERIA, STEP_RECIPES, Descent, Imp, Trunk

SMALL = MaskCriteria(
    "digits", "mlp-64-24-10+bias", "digits", 40, 20, "lth-lenet", "large-final", "one-shot", (2, 4), (4,), 0
)


@pytest.fixture(autouse=True)
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv(STAGES, str(tmp_path / "stages"))


def test_every_criterion_of_the_library_is_compared() -> None:
    assert sorted(KEEPS) == sorted([*CRITERIA, RANDOM])
    assert find("mask_criteria") is MaskCriteria
    for runs in MaskCriteria.presets().values():
        seeds = {run.seed for run in runs}
        assert {(run.criterion, run.seed) for run in runs} == {(kept, seed) for kept in KEEPS for seed in seeds}


def test_all_criteria_cut_one_training(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    made = Descent.__init__

    def watched(self: Descent, *arguments: object, **keywords: object) -> None:
        trained.append(1)
        made(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Descent, "__init__", watched)
    results = [(run := dataclasses.replace(SMALL, criterion=kept), run.run()) for kept in KEEPS]
    # the whole network once, what each criterion keeps, and what the random masks are shuffles of was there
    assert len(trained) == 1 + len(KEEPS)
    counts = [[row["kept"] for row in result["rows"]] for _, result in results]
    assert all(other == counts[0] for other in counts)
    table = MaskCriteria.table(results)
    assert [(row["level"], row["kept"]) for row in table] == [(n, kept) for n in (2, 4) for kept in KEEPS]
    assert all(("trained %" in row) == (row["level"] == 4) for row in table)
    assert sum("better than a random mask by" in row for row in table) == len(KEEPS) - 1


def test_untrained_masks_are_judged_on_the_values_that_they_are_named_after() -> None:
    result = dataclasses.replace(SMALL, criterion="large-final-same-sign").run()
    recipe = STEP_RECIPES["digits"].changed(steps=40, evaluate_every=20)
    data = weak_data("digits", 0)
    trunk = Trunk(Imp("mlp-64-24-10+bias", recipe, criterion="large-final-same-sign"), data)
    begin, final = trunk.rewound(), trunk.level(0).final
    state: dict[str, dict[str, Any]] = {weights: dict(begin) for weights in UNTRAINED}
    row = result["rows"][1]
    for name in trunk.shapes:
        kept = trunk.mask(4, "one-shot")[name]
        turned = final[name] * begin[name].sign() <= 0
        assert int(kept.sum()) == row["kept"][name]
        assert not bool((kept & turned).any()) or int((~turned).sum()) < row["kept"][name]
        size = (2 / sum(trunk.shapes[name])) ** 0.5  # standard deviation of a normal Glorot law
        state["ticket"][name] = begin[name] * kept
        state["constant-sign"][name] = begin[name].sign() * size * kept
    for weights in ("ticket", "constant-sign"):
        module = trunk.network.module(state[weights])
        assert row["untrained"][weights] == accuracy(module, *data.test)
    assert row["untrained"]["reinit"] != row["untrained"]["ticket"]


def test_a_random_mask_has_the_counts_of_each_layer_and_other_places() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = dataclasses.replace(SMALL, criterion=RANDOM).run()
        torch.manual_seed(1)
        again = dataclasses.replace(SMALL, criterion=RANDOM, trained=()).run()
    kept = dataclasses.replace(SMALL, trained=()).run()
    assert [row["untrained"] for row in first["rows"]] == [row["untrained"] for row in again["rows"]]
    assert [row["kept"] for row in first["rows"]] == [row["kept"] for row in kept["rows"]]
    assert [row["untrained"] for row in first["rows"]] != [row["untrained"] for row in kept["rows"]]
    assert "test_at_end" in first["rows"][1]
    assert "test_at_end" not in again["rows"][1]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"criterion": "largest"}, "expected a criterion"),
        ({"family": "twice"}, "expected a criterion of .* and a family"),
        ({"trained": (3,)}, r"\[3\] are not in \(2, 4\)"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(SMALL, **wrong)
