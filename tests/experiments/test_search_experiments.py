"""The experiments with mask searches, small: controls, choices on validation data, verdicts, and their figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import AbstractExperiment, MissingRuns, find, finished
from experiments._percent import percent
from experiments._search import DATA, Parts, parts_of, searched, widened
from experiments.search_density import SearchDensity
from experiments.search_inits import SearchInits
from experiments.search_methods import ARMS, SearchMethods, method_of
from experiments.search_width import SearchWidth
from paper_figs import fig06_search, fig07_methods
from strongticket.models import architecture
from strongticket.runs import Store, execute
from strongticket.search import search_recipe
from strongticket.statistics import gain

EXPERIMENTS: tuple[type[AbstractExperiment], ...] = (SearchDensity, SearchWidth, SearchMethods, SearchInits)


@pytest.fixture(autouse=True)
def sklearn() -> None:
    pytest.importorskip("sklearn")


def small(experiment: type[Any]) -> list[Any]:
    """Two seeds of some of the runs, in two epochs of a small network."""
    runs = [run for run in experiment.preset("digits") if run.seed < 2]
    runs = [run for run in runs if getattr(run, "density", None) in (None, 0.3, 0.5)]
    return [replace(run, model="mlp-64-32-10", epochs=2) for run in runs]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
    for experiment in EXPERIMENTS:
        assert execute([run.spec for run in small(experiment)], experiment.function(), store).complete
    return store


@pytest.fixture
def presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for experiment in EXPERIMENTS:
        runs = small(experiment)
        others: dict[str, Sequence[Any]] = {data: experiment.presets()[data] for data in DATA[1:]}

        def of(
            cls: type[Any], runs: Sequence[Any] = runs, others: Mapping[str, Sequence[Any]] = others
        ) -> Mapping[str, Sequence[Any]]:
            return {"quick": runs, "digits": runs, **others}

        monkeypatch.setattr(experiment, "presets", classmethod(of))


def test_presets_are_one_for_each_data_set_with_five_seeds() -> None:
    for experiment in EXPERIMENTS:
        found = experiment.presets()
        assert list(found) == ["quick", *DATA]
        assert found["quick"] == found["digits"]
        for data in DATA:
            runs: Sequence[Any] = found[data]
            assert {run.data for run in runs} == {data}
            for one in runs:
                assert {run.seed for run in runs if replace(run, seed=0) == replace(one, seed=0)} == set(range(5))


def test_run_keys_are_those_of_the_results_that_are_kept() -> None:
    """Moving fields from class to class must not make the committed results worthless."""
    store = Store(Path(__file__).parents[2] / "results")
    if not store.folder.exists():
        pytest.skip("no results beside the tests")
    for experiment in EXPERIMENTS:
        for data in ("digits", "mnist"):
            assert not store.collect(run.spec for run in experiment.presets()[data]).missing, (experiment.name, data)


def test_arms_without_decay_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weight decay at the learning rates of logits would hold every probability at one half."""
    from experiments import search_methods

    seen: dict[str, set[float]] = {}

    def watching(network: object, parts: object, recipes: Sequence[Any], seed: int) -> dict[str, Any]:
        seen.setdefault(recipes[0].method.key, set()).update(recipe.optimiser.weight_decay for recipe in recipes)
        return {}

    monkeypatch.setattr(search_methods, "searched", watching)
    for run in SearchMethods.preset("digits"):
        if run.seed == 0 and run.method != "trained":
            run.run()
    assert seen["bernoulli"] == seen["gem-miner"] == {0.0}
    assert seen["edge-popup"] == seen["multicoated"] == {1e-4}


def test_a_result_is_reproducible_and_beside_its_controls(store: Store) -> None:
    run = next(run for run in small(SearchDensity) if run.density == 0.5)
    result = store.read(run.spec).result
    again = run.run()
    assert {**again, "measured": None} == {**result, "measured": None}
    assert result["strict"]
    assert result["density"] == 0.5
    assert result["kept"] == {"layers.0.weight": 1024, "layers.1.weight": 160}
    assert result["accuracy"] > max(result["random_accuracy"], result["shuffled_accuracy"]) + 0.1
    assert len(result["flips"]) == 2
    assert result["file_bytes"] < 4_000


def test_choices_are_made_on_validation_data_and_tests_come_last() -> None:
    """With test labels that lie, nothing but the test accuracies changes."""
    honest = parts_of("digits", 1)
    lying = replace(honest, test=(honest.test[0], (honest.test[1] + 1) % 10))
    recipes = [search_recipe("digits").changed(epochs=2, lr=lr) for lr in (1e-4, 0.4)]
    net = architecture("mlp-64-32-10")
    a, b = (searched(net, parts, recipes, 1) for parts in (honest, lying))
    assert a["lr"] == b["lr"] == 0.4
    assert a["validation_accuracy"] == max(choice["validation_accuracy"] for choice in a["choices"])
    assert a["kept"] == b["kept"]
    assert a["accuracy"] > 0.4 > b["accuracy"]


def test_the_trained_twin_and_every_method_ran(store: Store) -> None:
    results = {run.method: store.read(run.spec).result for run in small(SearchMethods) if run.seed == 0}
    assert set(results) == set(ARMS)
    for method, result in results.items():
        if method == "trained":
            assert result["density"] == 1.0
            continue
        assert result["strict"], method
        assert [choice["lr"] for choice in result["choices"]] == list(ARMS[method].rates("digits"))  # type: ignore[union-attr]
    same = {results[name]["accuracy"] for name in ("edge-popup", "edge-popup, global", "edge-popup, signed scores")}
    assert len(same) > 1
    with pytest.raises(ValueError, match="expected one of"):
        method_of("magnitude", 0.3)  # type: ignore[arg-type]


def test_biprop_with_constant_weights_is_edge_popup() -> None:
    """Why the comparison gives it other weights."""
    parts, net = parts_of("digits", 0), architecture("mlp-64-32-10")
    recipe = search_recipe("digits").changed(epochs=2)
    a, b = (searched(net, parts, [recipe.changed(method=method_of(name, 0.3))], 0) for name in ("edge-popup", "biprop"))
    assert a["accuracy"] == b["accuracy"]
    assert {run.init for run in SearchMethods.preset("digits") if run.method == "biprop"} == {"kaiming-normal"}


def test_tables_have_a_row_for_each_setting(store: Store, presets: None) -> None:
    rows = {}
    for experiment in EXPERIMENTS:
        runs = finished(experiment, "digits", store)
        table = experiment.table(runs)
        assert len(table) == len(runs) / 2
        rows[experiment.name] = table
    assert "over random" in rows["search_density"][0]
    assert rows["search_density"][-1]["density"] is None
    assert "over width 1" in rows["search_width"][0]
    assert "over edge-popup" in rows["search_methods"][-1]
    assert "over signed-constant" in rows["search_inits"][1]


def test_gains_are_student_intervals_of_the_differences() -> None:
    """By hand: differences 1, 2, 3 have mean 2 and standard error 1 / sqrt 3; t of 2 degrees at 97.5 % is 4.3027."""
    found = gain([1, 3, 3], [0, 1, 0])
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.verdict == "open"
    assert gain([1, 3, 3], [0, 1, 0], margin=5).verdict == "worse"
    assert gain([10, 11, 12], [0, 0, 0]).verdict == "better"
    assert gain([1.0], [0.0]).verdict == "open"
    assert "one seed" in str(gain([1.0], [0.0]))
    assert str(gain([0.5, 0.5], [0.25, 0.25])) == "+25.00 [25.00, 25.00] 95%: better"
    for ours, theirs in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="as many numbers"):
            gain(ours, theirs)


def test_gains_cover_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0).normal(0.3, 1.0, (2000, 5))
    found = [gain(list(row), [0.0] * 5) for row in draw]
    share = sum(one.low <= 0.3 <= one.high for one in found) / len(found)
    assert share == pytest.approx(0.95, abs=0.02)


def test_widths() -> None:
    assert widened(architecture("lenet-300-100"), 4).id == "mlp-784-1200-400-10"
    assert widened(architecture("conv4x0.25"), 2).id == "conv4x0.5"
    with pytest.raises(ValueError, match="no width"):
        widened(_Fixed(), 2)  # type: ignore[arg-type]
    assert percent([{"a": 0.1}, {"a": 0.2}], "a") == "15.00 (10.00-20.00)"


class _Fixed:
    id = "fixed"


def test_parts_are_split_by_the_seed_and_the_test_part_is_not() -> None:
    a, b = parts_of("digits", 0), parts_of("digits", 1)
    assert isinstance(a, Parts)
    assert torch.equal(a.test[0], b.test[0])
    assert not torch.equal(a.validation[1], b.validation[1])


def test_figures_are_drawn_from_what_is_complete(
    store: Store, presets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fig06_search, fig07_methods):
        assert all(find(name) in EXPERIMENTS for name in module.NEEDS)
        first, second = (module.draw(store, tmp_path / folder) for folder in "ab")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
        with pytest.raises(MissingRuns, match="--preset digits"):
            module.draw(Store(tmp_path / "empty"), tmp_path)


def test_figures_say_where_the_images_of_cifar10_come_from() -> None:
    from experiments._search import TITLES, note

    assert "JPEG" in TITLES["cifar10"]
    assert "JPEG" in note("cifar10")
    assert note("mnist", "said") == "said"
