"""The grand comparison, small: every family runs, rows say what was agreed, and no budget is exceeded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import find
from experiments._grand import RIVALS, goal_of
from experiments._grand_constructed import outputs_of, thin_outputs
from experiments._grand_searched import FOUND, ITERATIVE, OWN_DENSITY
from experiments._weak import STAGES
from experiments.grand_comparison import FAMILIES, METHODS, PLANS, GrandComparison, over_limit
from strongticket import Domain
from strongticket.constructions import Pensia2020Optimal
from strongticket.models import architecture, sparse_module
from strongticket.search import SEARCH_RECIPES, random_source
from strongticket.storage import subset_bits
from strongticket.ticket import Mask, Ticket
from strongticket.weak import STEP_RECIPES

MODEL = "mlp-64-12-10"
SIZE = 64 * 12 + 12 * 10
ROW = {
    "method", "family", "state", "setting", "source", "density", "kept", "kept_per_weight", "accuracy", "agreement",
    "error", "relative_error", "certified", "certified_over_range", "mse", "items", "bits", "limit", "equal_bits",
}  # fmt: skip


@pytest.fixture(autouse=True)
def stages(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv(STAGES, str(tmp_path_factory.getbasetemp() / "grand-stages"))  # one target for all tests


def small(method: str, *settings: float, recipe: str = "", length: int = 0) -> GrandComparison:
    return GrandComparison("digits", MODEL, method, settings, recipe, length, 100, 3)


def checked(run: GrandComparison) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a run and its rows, after what is true of every row was checked."""
    result = run.run()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["weights"] == SIZE
    assert len(result["measured"]["seconds"]) == len(result["rows"])
    for row in result["rows"]:
        assert set(row) >= ROW
        assert row["family"] in FAMILIES
        assert row["density"] == row["kept"] / row["source"]["weights"]
        assert row["kept_per_weight"] == row["kept"] / SIZE
        bits = row["bits"]
        parts = sum(bits[name] for name in ("seed", "recipe", "positions", "values", "dense"))
        assert bits["total"] == pytest.approx(parts)
        assert bits["per_weight"] == pytest.approx(bits["total"] / SIZE)
        assert 1 - row["agreement"] >= abs(row["accuracy"] - result["target"]["accuracy"]) - 1e-9
        assert (row["limit"] is None) == (row["mse"] is None)
        for name, rival in row["equal_bits"].items():
            assert name in (*RIVALS, "float32")
            assert rival["bits"] <= bits["total"]
            if rival.get("limit") and rival["limit"]["empirical"] is not None:
                assert rival["limit"]["empirical"] * SIZE <= rival["bits"]
    return result, result["rows"]


@pytest.mark.parametrize("method", ["pensia", "chijiwa, 4 draws", "burkholz, depth L + 1", "diffenderfer, rounded"])
def test_constructed_tickets_are_strict_and_certified(method: str) -> None:
    result, (row, control) = checked(small(method, 0.05))
    assert row["strict"]
    assert row["error"] <= row["certified"] + 1e-3  # the float32 pass rounds
    assert row["agreement"] > 0.9 > control["agreement"]
    assert row["kept"] == control["kept"]
    assert row["bits"] == control["bits"]
    assert row["source"]["weights"] > SIZE
    assert row["mse"] < 0.05**2
    ratio = over_limit(row)
    assert ratio is not None
    assert ratio > 1
    largest = [float(abs(layer.weight).max()) for layer in goal_of("digits", MODEL, 3).target.layers]
    sizes = (64 * 12, 120)
    levels = [n * math.log2(math.ceil(w / 0.05)) for n, w in zip(sizes, largest, strict=True)]
    assert row["covering_bits"] == pytest.approx(sum(levels) / SIZE)
    assert set(result["measured"]["seconds"][0]) == {"making", "certifying"}
    assert row["file"]["file"] > row["bits"]["positions"]


def test_tickets_of_another_structure_have_no_certificate() -> None:
    _, rows = checked(small("sreenivasan, rounded", 0.05))
    assert rows[0]["certified"] is None
    assert rows[0]["unreached"] == 0
    assert rows[0]["mse"] > 0  # of rounding


def test_leaving_out_idle_neurons_changes_rounding_only() -> None:
    goal = goal_of("digits", MODEL, 3)
    ticket = Pensia2020Optimal(weight_eps=0.1, domain=Domain.box(0, 1)).construct(goal.target).best
    whole, thin = goal.outputs_of(sparse_module(ticket)), thin_outputs(ticket, goal.pixels[0])
    assert torch.allclose(whole, thin, atol=1e-4)
    assert torch.equal(outputs_of(goal, ticket), whole)
    other = random_source(architecture("mlp-4-2+bias"), seed=0)
    with pytest.raises(ValueError, match="without biases"):
        thin_outputs(Ticket(other, Mask.full(other.shapes)), torch.ones(1, 4))


def test_found_tickets_stand_beside_their_controls() -> None:
    _, rows = checked(small("edge-popup", 0.5, 0.1, recipe="digits", length=4))
    assert [row["method"] for row in rows[:3]] == ["edge-popup", "edge-popup, random mask", "edge-popup, shuffled"]
    assert [row["family"] for row in rows] == ["found", "control", "control"] * 2
    half, random, shuffled = rows[:3]
    assert half["kept"] == random["kept"] == shuffled["kept"] == SIZE // 2
    assert half["bits"]["positions"] == pytest.approx(subset_bits(768, 384) + subset_bits(120, 60))
    assert half["accuracy"] > random["accuracy"] + 0.2
    assert half["mse"] is None
    assert set(half["equal_bits"]) <= set(RIVALS)
    assert not random["equal_bits"]
    assert rows[3]["kept"] < half["kept"]


def test_methods_without_a_density_run_once_and_wider_networks_keep_as_many() -> None:
    _, rows = checked(small("signed-supermask", recipe="digits", length=2))
    assert [row["setting"] for row in rows] == [{}] * 3
    assert rows[0]["bits"]["values"] > 0  # the signs
    _, wide = checked(small("edge-popup, 4 times as wide", 0.25, recipe="digits", length=2))
    assert wide[0]["source"]["architecture"] == "mlp-64-48-10"
    assert abs(wide[0]["kept"] - SIZE / 4) <= 2


def test_pruned_networks_have_their_states() -> None:
    _, rows = checked(small("exact-obs", 0.5, 0.1, length=2))
    states = ["mask only", "updated", "trained", "trained, 16 values"]
    assert [row["state"] for row in rows] == states * 2
    assert {row["kept"] for row in rows[:3]} == {SIZE // 2}
    assert rows[0]["bits"] == rows[1]["bits"] == rows[2]["bits"]
    assert rows[3]["bits"]["total"] < rows[2]["bits"]["total"]
    assert rows[0]["mse"] < rows[1]["mse"]  # the mask alone changes what it keeps by nothing
    assert rows[2]["limit"] is None
    assert [bool(row["equal_bits"]) for row in rows[:4]] == [True, False, False, True]
    _, (control, *_) = checked(small("random", 0.5, length=1))
    assert control["family"] == "control"
    assert control["agreement"] < rows[0]["agreement"]


@pytest.mark.parametrize("method", list(ITERATIVE))
def test_weak_tickets_of_one_trunk_keep_as_many(method: str) -> None:
    _, (row, rounded) = checked(small(method, 0.6, recipe="digits", length=30))
    assert row["level"] == 2
    assert row["kept"] == rounded["kept"] == 491 + 97  # 768 and 120, less a fifth and a tenth, twice
    assert row["family"] == ("control" if ITERATIVE[method][1] else "iterative")


def test_other_codes_of_the_target() -> None:
    _, (whole, random) = checked(small("trained", recipe="digits"))
    assert (whole["agreement"], whole["bits"]["values"]) == (1.0, 32 * SIZE)
    assert random["family"] == "control"
    _, rows = checked(small("quantised", 2, 64))
    assert [row["method"].split(", ")[1] for row in rows] == ["uniform", "k-means", "entropy coded"] * 2
    assert all((over_limit(row) or 0.0) > 1 for row in rows)
    assert rows[3]["agreement"] > rows[0]["agreement"]
    _, rows = checked(small("sparse", 0.5))
    assert [row["kept"] for row in rows] == [SIZE // 2, SIZE // 2]


def test_the_same_run_gives_the_same_result_and_the_target_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = small("pensia", 0.1).run()
    goal_of.cache_clear()

    def untouched(*arguments: object, **keywords: object) -> None:
        raise AssertionError("the stage is there")

    monkeypatch.setattr("strongticket.training.train", untouched)
    second = small("pensia", 0.1).run()
    for result in (first, second):
        del result["measured"]
    assert first == second


def test_unknown_methods_and_unfit_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        small("magic").run()
    with pytest.raises(ValueError, match="without biases"):
        goal_of("digits", "mlp-64-8-10+bias", 0)
    with pytest.raises(ValueError, match="inputs"):
        goal_of("digits", "lenet-300-100", 0)


def test_presets_can_be_run_and_name_each_run_once() -> None:
    presets = GrandComparison.presets()
    assert list(presets) == ["quick", "default", "mnist", "fashion-mnist", "cifar10"]
    assert find("grand_comparison") is GrandComparison
    keys = [run.spec.key for runs in presets.values() for run in runs]
    assert len(keys) == len(set(keys))
    for name, runs in presets.items():
        assert {run.seed for run in runs} == set(range(3 if name == "quick" else 5))
        assert {run.method for run in runs} <= set(METHODS)
        for run in runs:
            assert architecture(run.model).size > 0
            assert bool(run.settings) == (run.method not in ("trained", *OWN_DENSITY))
            assert (run.method not in ITERATIVE) or run.recipe in STEP_RECIPES
            assert (run.method not in FOUND) or run.recipe in SEARCH_RECIPES
    assert {run.method for run in presets["default"]} == set(METHODS)
    assert set(PLANS) == {"digits", "mnist", "fashion-mnist", "cifar10"}


def test_tables_have_a_row_per_setting_sorted_by_family(tmp_path: Path) -> None:
    runs = [small("quantised", 4), small("pensia", 0.1), small("pensia", 0.05)]
    rows = GrandComparison.table([(run, run.run()) for run in runs])
    families = [FAMILIES.index(row["family"]) for row in rows]
    assert families == sorted(families)
    first = rows[0]
    assert (first["method"], first["state"], first["setting"], first["seeds"]) == ("pensia", "strict", "eps 0.1", 1)
    assert float(first["x limit"]) > 1
    assert first["codes with the same bits %"]
    assert {row["setting"] for row in rows if row["method"] == "pensia"} == {"eps 0.1", "eps 0.05"}
