"""The experiment with winning tickets, small: arms share stages, the table pairs seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments import find
from experiments._weak import STAGES, stages_folder
from experiments.imp import ARMS, MARKED, NETWORKS, PUBLISHED, Arm, Imp
from strongticket.models import architecture
from strongticket.statistics import gain
from strongticket.weak import SCOPES, Descent, level_totals

SMALL = Imp("digits", "mlp-64-24-10+bias", "digits", 40, 20, "lth-lenet", 0, "large-final", "ticket", 0, (0, 2), 0)


@pytest.fixture(autouse=True)
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv(STAGES, str(tmp_path / "stages"))


def small(arm: Arm, seed: int = 0) -> Imp:
    return dataclasses.replace(SMALL, arm=arm, seed=seed, levels=(0, 2) if arm == "ticket" else (2,))


def test_every_arm_runs_on_the_stages_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first = small("ticket").run()
    assert [row["kept"] for row in first["rows"]][1] == {"layers.0.weight": 983, "layers.1.weight": 194}
    trained = []
    made = Descent.__init__

    def watched(self: Descent, *arguments: object, **keywords: object) -> None:
        trained.append(1)
        made(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Descent, "__init__", watched)
    results = [(small(arm), small(arm).run()) for arm in ARMS]
    assert len(trained) == len(ARMS) - 1, "the trunk was there"
    assert results[0][1]["rows"] == first["rows"]
    rows = Imp.table(results)
    assert [row["arm"] for row in rows] == ["dense", *ARMS]
    assert all("ticket better by" in row for row in rows[2:])
    assert stages_folder().is_dir()


def test_the_presets_are_the_published_levels() -> None:
    assert find("imp") is Imp
    presets = Imp.presets()
    assert list(presets) == ["quick", "conv", *NETWORKS, "mnist", "paper"]
    shapes = architecture("lenet-300-100").shapes
    totals = level_totals(shapes, SCOPES["lth-lenet"], 18)
    assert {level: round(100 * totals[level] / totals[0], 1) for level in PUBLISHED} == dict(PUBLISHED)
    assert set(MARKED) <= set(PUBLISHED)
    for name, runs in presets.items():
        assert len({run.spec.key for run in runs}) == len(runs)
        assert {run.seed for run in runs} == set(range(5)), name
        marked = {level for run in runs if run.arm == "reinit" for level in run.levels}
        assert marked <= {level for run in runs if run.arm == "ticket" for level in run.levels}
    paper = [run for run in presets["paper"] if run.seed == 0]
    assert {run.steps for run in paper} == {50_000}
    assert sum(run.arm == "reinit" for run in paper) == 3


def test_draws_of_one_seed_are_one_pair() -> None:
    """Three fresh draws beside one ticket say nothing about other seeds: the interval is that of two pairs."""

    def row(right: float, stop: int) -> dict[str, object]:
        seen = {"test_at_stop": right, "test_at_end": right, "early_stop": stop}
        return {"rows": [{"level": 2, "density": 0.5, **seen}]}

    tickets = [(small("ticket", seed), row(right, 100)) for seed, right in enumerate((0.9, 0.8))]
    draws = {0: ((0.80, 200), (0.82, 400), (0.84, 600)), 1: ((0.75, 100), (0.76, 200), (0.77, 300))}
    fresh = [
        (dataclasses.replace(small("reinit", seed), draw=draw), row(*draws[seed][draw]))
        for seed in draws
        for draw in range(3)
    ]
    made = {one["arm"]: one for one in Imp.table([*tickets, *fresh])}["reinit"]
    assert made["runs"] == 6
    assert made["stops later than the ticket"] == "3.00x"
    assert made["ticket better by"] == str(gain([0.9, 0.8], [0.82, 0.76]))
