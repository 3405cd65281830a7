"""What the kept results of long runs must show, seed by seed; nothing is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest

from experiments import AbstractExperiment, MissingRuns, finished
from experiments.critical_batch import CriticalBatch, cost
from experiments.double_descent import DoubleDescent, peak_and_descents
from experiments.double_descent_nets import DoubleDescentNets
from experiments.elastic import PUBLISHED, Elastic
from experiments.imp import Imp
from experiments.mask_criteria import PUBLISHED as PUBLISHED_UNTRAINED
from experiments.mask_criteria import RANDOM, MaskCriteria
from experiments.one_ticket import OneTicket
from experiments.prune_then_descend import PruneThenDescend
from experiments.pruning_at_start import PruningAtStart
from experiments.sparse_double_descent import SparseDoubleDescent
from strongticket.runs import Store

RESULTS = Path(__file__).parents[2] / "results"
E = TypeVar("E", bound=AbstractExperiment)


def kept(experiment: type[E], preset: str) -> list[tuple[E, dict[str, Any]]]:
    try:
        return finished(experiment, preset, Store(RESULTS))
    except (MissingRuns, OSError) as missing:
        pytest.skip(f"these runs are not kept here: {missing}")


def tickets(preset: str) -> dict[tuple[int, str, int], dict[str, Any]]:
    runs = kept(Imp, preset)
    return {(run.seed, run.arm, row["level"]): row for run, result in runs for row in result["rows"]}


@pytest.mark.parametrize("level", [7, 9, 12, 15])
def test_tickets_of_lenet_learn_faster_and_better_than_with_fresh_weights(level: int) -> None:
    """At 21.1, 13.5, 7.0 and 3.6 per cent of the weights, in every one of five pairs."""
    found = tickets("mnist")
    for seed in range(5):
        ticket, fresh = found[seed, "ticket", level], found[seed, "reinit", level]
        assert ticket["kept"] == fresh["kept"]
        assert ticket["test_at_stop"] > fresh["test_at_stop"]
        assert ticket["early_stop"] < fresh["early_stop"]


def test_the_order_of_the_published_curves() -> None:
    """51.3 per cent learn faster than all, 21.1 faster still, 3.6 about as fast as all, 7.0 in between."""
    found = tickets("mnist")
    stops = {n: sum(found[seed, "ticket", n]["early_stop"] for seed in range(5)) / 5 for n in range(16)}
    assert stops[7] < stops[3] < stops[0]
    assert stops[7] < stops[12] < stops[15]
    assert abs(stops[15] / stops[0] - 1) < 0.25
    fastest = min(stops.values())
    assert stops[7] < 1.1 * fastest


def test_tickets_of_the_digits_are_better_by_half_a_point_at_the_density_of_the_pilot() -> None:
    found = tickets("quick")
    gains = [found[s, "ticket", 12]["test_at_stop"] - found[s, "reinit", 12]["test_at_stop"] for s in range(5)]
    assert min(gains) > 0
    assert sum(gains) / 5 > 0.005


@pytest.mark.parametrize("preset", ["quick", "mnist"])
def test_masks_that_drop_weights_of_another_sign_know_the_classes_untrained(preset: str) -> None:
    """In every seed; random masks, the opposite criteria and fresh weights under any mask do not, at any level."""
    for run, result in kept(MaskCriteria, preset):
        for row in result["rows"]:
            for weights, right in row["untrained"].items():
                if weights == "reinit" or run.criterion in (RANDOM, "small-final", "large-final-different-sign"):
                    assert right < 0.25, (run, row["level"], weights)
                elif run.criterion == "large-final-same-sign" and 4 <= row["level"] <= 12:
                    assert right > 0.45, (run, row["level"], weights)


def test_the_published_accuracy_of_an_untrained_mask() -> None:
    """86 per cent on MNIST, of a mask that nobody searched for, with weights of one size: within three points."""
    best = [
        max(100 * row["untrained"]["constant-sign"] for row in result["rows"])
        for run, result in kept(MaskCriteria, "mnist")
        if run.criterion == "large-final-same-sign"
    ]
    assert len(best) == 3
    assert abs(sum(best) / 3 - PUBLISHED_UNTRAINED["mnist"]) < 3.0


@pytest.mark.parametrize("preset", ["quick", "mnist"])
def test_large_final_weights_make_better_tickets_than_random_masks_and_small_ones_worse(preset: str) -> None:
    """Where 7 per cent of the weights remain, as means over the seeds."""
    means: dict[str, float] = {}
    for run, result in kept(MaskCriteria, preset):
        if run.trained:
            row = next(row for row in result["rows"] if row["level"] == 12)
            means[run.criterion] = means.get(run.criterion, 0.0) + row["test_at_end"]
    for better in ("large-final", "large-final-same-sign", "magnitude-increase", "movement"):
        assert means[better] > means[RANDOM]
    for worse in ("small-final", "small-init-small-final", "small-init"):
        assert means[worse] < means[RANDOM]


def test_tickets_learn_more_than_random_ones_wherever_they_come_from() -> None:
    """Halves of the data and another optimiser, 7 per cent of the weights, as means; other digits tell nothing here."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for run, result in kept(OneTicket, "quick"):
        row = next(row for row in result["rows"] if row["level"] == 12)
        means = found.setdefault(run.way, {})
        means[run.arm] = means.get(run.arm, 0.0) + row["test_at_end"] / 3
    assert len(found) == 4
    for (_, target), means in found.items():
        assert means["transferred"] > means["target"] - 0.01
        if "6 to 9" not in target:
            assert means["transferred"] > means["reinit"] > means["random-global"]


def test_only_iterative_pruning_finds_more_than_counts() -> None:
    """Where 7 per cent of the weights remain: a mask that is shuffled within its layers, as means over five seeds."""
    means: dict[tuple[str, str], float] = {}
    for run, result in kept(PruningAtStart, "digits"):
        row = next(row for row in result["rows"] if row["level"] == 12)
        means[run.method, run.check] = means.get((run.method, run.check), 0.0) + row["test_at_end"] / 5
    assert means["imp", "none"] > means["imp", "shuffle"] + 0.01
    assert means["imp", "none"] > means["imp", "reinit"]
    for method in ("magnitude", "snip", "synflow", "grasp", "grasp-abs"):
        assert means[method, "none"] < means[method, "shuffle"] + 0.005
        assert means[method, "none"] > means[method, "invert"] + 0.03


def test_pruning_lowers_the_error_of_wrong_labels_and_raises_it_again() -> None:
    """In every seed with 40 per cent of wrong labels; with right ones it only rises."""
    for run, result in kept(SparseDoubleDescent, "quick"):
        errors = [row["test_error"] for row in result["rows"]]
        best = min(range(len(errors)), key=errors.__getitem__)
        if run.noise:
            assert 8 <= best < len(errors) - 1
            assert errors[best] < 0.6 * errors[0]
            assert errors[-1] > errors[best] + 0.02
        else:
            assert errors[-1] > 2 * errors[0]


def test_the_published_peak_of_networks_is_where_their_training_changes() -> None:
    """Reused weights fit the examples below the threshold; the next width begins anew and does not: sums over seeds."""
    losses: dict[float, list[float]] = {}
    for run, result in kept(DoubleDescentNets, "quick"):
        rows = result["rows"]
        last = max((i for i, row in enumerate(rows) if row["reused"]), default=None)
        assert (last is not None) == (run.arm == "reuse")
        if last is not None:
            sums = losses.setdefault(run.noise, [0.0, 0.0, 0.0])
            for place, at in enumerate((last, last + 1, -1)):
                sums[place] += rows[at]["train_loss"]
    assert len(losses) == 2
    for before, after, widest in losses.values():
        assert after > 3 * before > 3 * widest


def test_descent_is_quasi_convex_from_tickets_and_from_all_else_and_faster_than_guaranteed() -> None:
    """So that quasi-convexity tells tickets from nothing; their test error rises, that of the others falls."""
    for run, result in kept(PruneThenDescend, "quick"):
        assert result["path"]["quasi_convex"], run
        assert result["segments"]["humps"] == 0, run
        assert result["rate"] < result["guaranteed_rate"], run
        before, after = result["test_error"]
        assert (after > before) == (run.mask == "ticket"), run


@pytest.mark.parametrize("preset", ["quick", "default"])
def test_random_features_peak_at_the_threshold(preset: str) -> None:
    """At N = n; of ReLU features some are 0 on all examples, so that it takes a few more."""
    for run, result in kept(DoubleDescent, preset):
        seen = peak_and_descents(run.train, result)
        most = run.train if run.kind == "fourier" else 1.1 * run.train
        assert run.train <= seen["norm_peak"] <= most, run
        assert run.train <= seen["error_peak"] <= most, run
        assert seen["peak"] > max(seen["first"], seen["second"])
        assert run.noise or seen["second"] < seen["first"]


def test_batches_cost_little_below_the_critical_size_and_much_above_it() -> None:
    for run, result in kept(CriticalBatch, "default"):
        below, middle, above = (cost(result, m) for m in (8, 16, 64))
        assert below is not None
        assert middle is not None
        assert above is not None
        assert 4 < result["critical_batch"] < 16
        assert below < 1.7, run
        assert above / middle > 2.4, run


def test_elastic_perceptrons_are_as_good_as_the_published_ones() -> None:
    """Table 5 of the paper, its half on MNIST: means of three seeds within 0.3 points, all nine pairs of depths."""
    found: dict[tuple[int, int], list[float]] = {}
    for run, result in kept(Elastic, "mlp"):
        depths = run.source.count("-300"), run.target.count("-300")
        found.setdefault(depths, []).append(100 * result["rows"][0]["test_at_end"])
    assert set(found) == set(PUBLISHED)
    for depths, seen in found.items():
        assert len(seen) == 3
        assert abs(sum(seen) / 3 - PUBLISHED[depths]) <= 0.3, depths


@pytest.mark.parametrize("level", [5, 8, 12])
def test_elastic_residual_networks_are_near_iterative_pruning_and_above_the_rest(level: int) -> None:
    """ResNet-14 made a ResNet-20 on small images: means of three seeds."""
    seen: dict[str, list[float]] = {}
    for run, result in kept(Elastic, "fashion"):
        row = next(row for row in result["rows"] if row["level"] == level)
        seen.setdefault(run.arm, []).append(100 * row["test_at_end"])
    assert all(len(values) == 3 for values in seen.values())
    means = {arm: sum(values) / 3 for arm, values in seen.items()}
    assert means["elastic"] >= means["imp"] - 0.5
    for other in ("snip", "grasp", "random-layer", "reinit"):
        assert means["elastic"] > means[other], other
