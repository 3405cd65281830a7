"""The experiment with elastic tickets, small: arms, table, presets, published numbers."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from experiments import find
from experiments._weak import STAGES
from experiments._weak_parts import PartName, title_of, weak_part
from experiments.elastic import APART, EVERY, NEW_BLOCKS, PUBLISHED, PUBLISHED_VGG, Elastic, perceptron_name
from strongticket.models import architecture
from strongticket.statistics import gain
from strongticket.weak import SCOPES, level_totals
from strongticket.weak.blocks import Blocks

pytestmark = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits need scikit-learn")
SMALL = Elastic(
    "digits",
    "mlp-64-24-24-10+bias",
    "mlp-64-24-24-24-10+bias",
    "digits-sgd",
    40,
    20,
    "openlth-output-kept",
    0,
    "kaiming-normal",
    "append",
    "elastic",
    (0, 2),
    3,
    3,
    0,
)


@pytest.fixture(autouse=True)
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGES, str(tmp_path / "stages"))


def test_every_arm_runs_and_stands_in_the_table() -> None:
    runs = [dataclasses.replace(SMALL, arm=arm) for arm in EVERY]
    runs = [run if run.arm.startswith("elastic") else dataclasses.replace(run, source=run.target) for run in runs]
    results = [(run, run.run()) for run in runs]
    densities = {run.arm: result["rows"][1]["density"] for run, result in results}
    matched = {densities[arm] for arm in EVERY if not arm.startswith("elastic")}
    assert matched == {densities["imp"]}, "baselines have the density of iterative pruning"
    assert len({densities[arm] for arm in EVERY if arm.startswith("elastic") and arm != APART}) == 1
    assert densities[APART] != densities["elastic"], "layers of another source compete otherwise"
    assert densities["elastic-random-copies"] != densities["imp"]
    elastic, fresh = (next(result for run, result in results if run.arm == arm) for arm in ("elastic", NEW_BLOCKS))
    assert fresh["rows"][1]["stages"] == elastic["rows"][1]["stages"], "new blocks keep as many weights as copies"
    kept = elastic["rows"][1]["stages"]
    assert kept[0][1] == kept[0][2], "the third block is a copy of the second"
    assert set(elastic["rows"][1]["path"]) == {"accuracy", "barrier", "drop"}
    rows = Elastic.table(results)
    assert [(row["level"], row["arm"]) for row in rows] == [(n, arm) for n in (0, 2) for arm in EVERY]
    assert all(("better than iterative pruning by" in row) == (row["arm"] != "imp") for row in rows)
    assert all(("barrier %" in row) == (row["arm"] in ("elastic", APART)) for row in rows)


def test_interpolating_is_another_run_of_the_same_density() -> None:
    source, target = "mlp-64-24-24-24-10+bias", "mlp-64-24-24-24-24-24-10+bias"
    runs = [
        dataclasses.replace(SMALL, order=order, source=source, target=target, levels=(1,), path_points=0)
        for order in ("append", "interpolate")
    ]
    first, second = (run.run()["rows"][0] for run in runs)
    assert first["density"] == second["density"]
    assert first["stages"] != second["stages"]


def test_the_presets_can_be_run_and_pairs_are_there() -> None:
    assert find("elastic") is Elastic
    presets = Elastic.presets()
    assert list(presets) == ["quick", "blocks", "mlp-held-out", "mlp", "mlp-arms", "fashion", "paper"]
    for runs in presets.values():
        assert len({run.spec.key for run in runs}) == len(runs)
        have = {(run.target, run.seed) for run in runs if run.arm == "imp"}
        for run in runs:
            assert run.scope in SCOPES
            assert run.arm == "elastic" or not run.path_points or run.arm in EVERY
            assert (run.target, run.seed) in have, "its own ticket stands beside it"
            ends = [Blocks.of(architecture(name)) for name in (run.source, run.target)]
            assert len(ends[0].stages) == len(ends[1].stages)
        assert {run.seed for run in runs} == {0, 1, 2}


def test_the_table_of_the_paper_has_its_density() -> None:
    models = {perceptron_name(784, n): n for n in (2, 3, 4)}
    runs = [run for run in Elastic.presets()["mlp"] if run.arm in ("imp", "elastic") and run.seed == 0]
    assert {(models[run.source], models[run.target]) for run in runs} == set(PUBLISHED)
    for name in models:
        network = architecture(name.removesuffix("+bias"))
        totals = level_totals(network.shapes, SCOPES["openlth-output-kept"], 10)
        assert round(100 * (1 - totals[10] / totals[0]), 2) == 89.26
    row = {"level": 10, "density": 0.1, "test_at_end": 0.98}
    made = Elastic.table([(run, {"rows": [row]}) for run in runs])
    assert sorted(float(one["published %"]) for one in made) == sorted(PUBLISHED.values())


def test_the_other_half_of_the_table_is_in_the_paper_preset() -> None:
    """VGG-13 with k linear layers: rewound to step 200 of 160 epochs, at the same density."""
    runs = [run for run in Elastic.presets()["paper"] if run.source.startswith("vgg13") and run.seed == 0]
    ends = {(int(run.source[7]), int(run.target[7])) for run in runs}
    assert ends == set(PUBLISHED_VGG)
    assert {(run.rewind, run.levels, run.steps, run.arm == "imp") for run in runs} == {
        (200, (10,), 56_320, own) for own in (True, False)
    }
    row = {"level": 10, "density": 0.1, "test_at_end": 0.93}
    made = Elastic.table([(run, {"rows": [row]}) for run in runs])
    assert sorted(float(one["published %"]) for one in made) == sorted(PUBLISHED_VGG.values())


def test_new_blocks_stand_only_where_something_is_copied() -> None:
    presets = Elastic.presets()
    for name in ("quick", "mlp", "mlp-arms", "fashion"):
        assert all(run.arm != NEW_BLOCKS for run in presets[name])
    blocks = set(presets["blocks"])
    assert {run.arm for run in blocks - set(presets["mlp-arms"]) - set(presets["fashion"])} == {NEW_BLOCKS}
    for run in (*presets["blocks"], *presets["paper"]):
        if run.arm == NEW_BLOCKS:
            lengths = [Blocks.of(architecture(name)).lengths for name in (run.source, run.target)]
            assert lengths[0] < lengths[1]


def test_small_images_are_means() -> None:
    pytest.importorskip("torch")
    part = weak_part("digits", 0)
    from experiments._weak_parts import _pooled

    small = _pooled(part)
    assert small.train[0].shape[-2:] == (4, 4)
    assert float(small.train[0][0, 0, 0, 0]) == pytest.approx(float(part.train[0][0, 0, :2, :2].mean()), abs=1e-6)


def test_rows_name_their_own_data() -> None:
    """One preset has perceptrons on MNIST beside residual networks on small images."""
    runs = Elastic.presets()["blocks"]
    row = {"density": 0.1, "test_at_end": 0.9}
    made = Elastic.table([(run, {"rows": [{"level": n, **row} for n in run.levels]}) for run in runs])
    named = {(one["data"], one["target"]) for one in made}
    assert named == {(title_of(run.data), run.target) for run in runs}
    assert len({data for data, _ in named}) == 2
    # the same networks on other data are other rows, held against their own tickets
    here = dataclasses.replace(SMALL, arm="elastic", levels=(2,))
    own = dataclasses.replace(here, arm="imp", source=here.target)
    right: dict[tuple[PartName, str], float] = {
        **{("digits", "elastic"): 0.5, ("digits", "imp"): 0.4},
        **{("digits-a", "elastic"): 0.7, ("digits-a", "imp"): 0.9},
    }
    several = [
        (
            dataclasses.replace(run, data=data, seed=seed),
            {"rows": [{"level": 2, **row, "test_at_end": right[data, arm]}]},
        )
        for (data, arm) in right
        for run in (here, own)
        for seed in range(2)
        if run.arm == arm
    ]
    table = Elastic.table(several)
    assert len(table) == 4
    leads = [one["better than iterative pruning by"] for one in table if one["arm"] == "elastic"]
    assert leads == [str(gain([0.5] * 2, [0.4] * 2)), str(gain([0.7] * 2, [0.9] * 2))]
