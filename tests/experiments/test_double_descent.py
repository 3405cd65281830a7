"""Double descent, the critical batch and the descent of tickets, small: parts against oracles, runs, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import AbstractExperiment, MissingRuns
from experiments._descend import Landscape, regressed
from experiments._examples import few, noisy
from experiments._hidden_layer import MOMENTUM, Net, descend, glorot, widened
from experiments.critical_batch import CriticalBatch, cost
from experiments.double_descent import DoubleDescent, peak_and_descents
from experiments.double_descent_nets import DoubleDescentNets, drop_at_threshold
from experiments.neurons_and_features import NeuronsAndFeatures
from experiments.prune_then_descend import PruneThenDescend
from experiments.sparse_double_descent import SparseDoubleDescent
from paper_figs import fig14_double_descent, fig15_critical_batch
from strongticket.data import load
from strongticket.models import MLP
from strongticket.runs import Store, execute
from strongticket.ticket import Mask, Source, Ticket

COUNTS = (20, 40, 56, 60, 64, 100, 240)


def _small() -> dict[type[AbstractExperiment], list[Any]]:
    features = [
        DoubleDescent("digits", kind, 2.0 if kind == "fourier" else 0.0, 60, 100, noise, COUNTS, "qr", seed)
        for kind in ("fourier", "relu")
        for noise in (0.0, 0.2)
        for seed in range(2)
    ]
    nets = [
        DoubleDescentNets("digits", arm, (2, 4, 6, 9, 30), 40, 100, 0.2, 0.005, 300, seed)
        for arm in ("reuse", "fresh")
        for seed in range(2)
    ]
    pruned = [
        SparseDoubleDescent("digits", "mlp-64-30-10-10+bias", "digits", 40, noise, 2, "lth-lenet", 0)
        for noise in (0.0, 0.4)
    ]
    copied = [NeuronsAndFeatures("digits", 40, 100, (20, 40, 60, 400, 8000), seed) for seed in range(2)]
    batches = [CriticalBatch("digits", 2.0, 60, (1, 4, 32), (1.0, 2.4), 20_000, seed) for seed in range(2)]
    descents = [
        PruneThenDescend("digits", base, model, mask, 12, 4, 20, 0)
        for base, model in (("edge-popup", "mlp-64-24-10"), ("constructed", "mlp-64-24-10"))
        for mask in ("ticket", "dense", "random")
        if base == "edge-popup" or mask == "ticket"
    ]
    every: list[list[Any]] = [features, nets, pruned, copied, batches, descents]
    return {type(runs[0]): runs for runs in every}


SMALL = _small()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRONGTICKET_STAGES", str(tmp_path_factory.mktemp("stages")))
        patch.setattr("experiments.prune_then_descend._SEARCH_EPOCHS", 1)
        for experiment, runs in SMALL.items():
            summary = execute([run.spec for run in runs], experiment.function(), store, jobs=1)
            assert summary.complete, summary.failures
    return store


def results(store: Store, experiment: type[AbstractExperiment]) -> list[tuple[Any, dict[str, Any]]]:
    records = store.collect(run.spec for run in SMALL[experiment]).records
    return list(zip(SMALL[experiment], (record.result for record in records), strict=True))


def test_random_features_peak_at_the_threshold_and_descend_twice(store: Store) -> None:
    for run, result in results(store, DoubleDescent):
        rows = {row["count"]: row for row in result["rows"]}
        assert all(row["train_loss"] < 1e-10 for row in rows.values() if row["rank"] == 60)
        assert all(row["train_loss"] > 1e-6 for row in rows.values() if row["rank"] < 60)
        if run.kind == "fourier":
            seen = peak_and_descents(60, result)
            assert (seen["norm_peak"], rows[60]["rank"]) == (60, 60)
            assert seen["error_peak"] in (56, 60, 64)
            assert rows[60]["test_loss"] == max(row["test_loss"] for row in rows.values())
            assert rows[60]["ridge"]["test_error"] < rows[60]["test_error"] / 1.5
            if not run.noise:
                assert seen["second"] < seen["first"]
    table = DoubleDescent.table(results(store, DoubleDescent))
    assert [row["noise"] for row in table] == [0.0, 0.2, 0.0, 0.2]


def test_reuse_and_fresh_starts_are_the_same_above_the_threshold(store: Store) -> None:
    found = {(run.arm, run.seed): result for run, result in results(store, DoubleDescentNets)}
    for seed in range(2):
        reuse, fresh = found["reuse", seed], found["fresh", seed]
        assert 5 < reuse["threshold"] < 6
        assert [row["reused"] for row in reuse["rows"]] == [False, True, False, False, False]
        assert reuse["rows"][2:] == fresh["rows"][2:]
        assert reuse["rows"][1] != fresh["rows"][1]
        assert [row["parameters"] for row in fresh["rows"]] == [75 * width + 10 for width in (2, 4, 6, 9, 30)]
        assert drop_at_threshold(reuse) == reuse["rows"][1]["test_loss"] - reuse["rows"][2]["test_loss"]


def test_neurons_copy_the_predictor_once_there_are_many(store: Store) -> None:
    for _, result in results(store, NeuronsAndFeatures):
        rows = result["rows"]
        assert rows[-1]["apart"] < rows[0]["apart"]
        assert all(row["apart"] <= 3 * row["allowed"] for row in rows)
        assert all(0 < row["kept"] < row["count"] for row in rows)


def test_what_batches_cost(store: Store) -> None:
    for _, result in results(store, CriticalBatch):
        assert 3 < result["critical_batch"] < 6
        small, large = cost(result, 4), cost(result, 32)
        assert small is not None
        assert large is not None
        assert 1.0 <= small < 2.5 < large
        beyond = next(row for row in result["rows"] if (row["batch"], row["multiple"]) == (32, 2.4))
        assert beyond["outcome"] == "diverged"


def test_descents_keep_the_mask_and_follow_their_frozen_twins(store: Store) -> None:
    for run, result in results(store, PruneThenDescend):
        assert result["outcome"] == "done"
        assert result["curve"][0][1] == pytest.approx(result["frozen"][0][1], rel=1e-5)
        assert [at for at, _ in result["curve"]] == [at for at, _ in result["frozen"]]
        # the first steps are those of the linear model
        assert result["curve"][1][1] == pytest.approx(result["frozen"][1][1], rel=0.25)
        assert result["guaranteed_rate"] < 1.0
        if run.mask != "dense":
            assert result["density"] < 1.0
    kept = {(run.base, run.mask): result["kept"] for run, result in results(store, PruneThenDescend)}
    assert kept["edge-popup", "ticket"] == kept["edge-popup", "random"] < kept["edge-popup", "dense"]


def test_figures(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for figure in (fig14_double_descent, fig15_critical_batch):
        with pytest.raises(MissingRuns, match="python -m experiments run"):
            figure.draw(Store(tmp_path / "empty"), tmp_path)
    for experiment, runs in SMALL.items():
        monkeypatch.setattr(experiment, "presets", classmethod(lambda cls, runs=runs: {"quick": runs}))
        assert experiment.table(results(store, experiment))
    names = [
        path.name for figure in (fig14_double_descent, fig15_critical_batch) for path in figure.draw(store, tmp_path)
    ]
    assert names == [
        f"{name}.{kind}" for name in ("fig14_double_descent", "fig15_critical_batch") for kind in ("pdf", "png", "svg")
    ]


def test_noise_spoils_the_share_that_is_asked_for() -> None:
    labels = np.arange(1000) % 7
    spoilt = noisy(labels, 7, 0.3, seed=1)
    assert int((spoilt != labels).sum()) == 300
    assert set(np.unique((spoilt - labels) % 7)) == set(range(7))
    assert np.array_equal(noisy(labels, 7, 0.0, seed=1), labels)
    with pytest.raises(ValueError, match="must lie in"):
        noisy(labels, 7, 1.5, seed=1)
    with pytest.raises(ValueError, match="training examples to take"):
        few("digits", 10**6, 10, 0.0, 0)
    one, other = few("digits", 30, 10, 0.5, 3), few("digits", 30, 10, 0.0, 3)
    assert np.array_equal(one.inputs, other.inputs)
    assert int((one.labels != other.labels).sum()) == 15


def test_the_hidden_layer_against_automatic_differentiation() -> None:
    net = widened(glorot(5, 3, 2, seed=1), 6, seed=2)
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.uniform(size=(7, 5))).float()
    wanted = torch.from_numpy(generator.normal(size=(7, 2))).float()
    weights = [net.first.clone().requires_grad_(True), net.second.clone().requires_grad_(True)]
    moved = [torch.zeros_like(part) for part in weights]
    for _ in range(5):
        loss = (Net(*weights)(x) - wanted).square().sum(1).mean() / 2
        slopes = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for part, momentum, slope in zip(weights, moved, slopes, strict=True):
                momentum.mul_(MOMENTUM).add_(slope, alpha=-0.1)
                part += momentum
    found = descend(net, x, wanted, rate=0.1, epochs=5)
    torch.testing.assert_close(found.net.first, weights[0].detach())
    torch.testing.assert_close(found.net.second, weights[1].detach())
    assert found.loss == pytest.approx(float((found.net(x) - wanted).square().sum(1).mean()))
    # the reused part begins as it was
    assert torch.equal(net.first[:, :3], glorot(5, 3, 2, seed=1).first)
    with pytest.raises(ValueError, match="cannot be reused"):
        widened(net, 5, seed=0)
    assert descend(found.net, x, found.net(x), rate=0.1, epochs=50, until_right=True).epochs == 0


def _linear(seed: int, kept: Sequence[int]) -> Landscape:
    """A network without a hidden layer: a quadratic."""
    mlp = MLP((4, 3))
    mask = torch.zeros(12, dtype=torch.bool)
    mask[list(kept)] = True
    ticket = Ticket(Source(mlp, seed), Mask({"layers.0.weight": mask.view(3, 4)}))
    inputs = torch.from_numpy(np.random.default_rng(seed).uniform(size=(6, 4))).float()
    return Landscape(ticket, inputs, torch.arange(6) % 3, 3)


def test_on_a_quadratic_the_twin_is_the_descent() -> None:
    landscape = _linear(2, range(11))
    found, path = landscape.descend(2, 60, 0)
    for (at, loss), (also, twin) in zip(found["curve"], found["frozen"], strict=True):
        assert at == also
        assert loss == pytest.approx(twin, rel=1e-3)
    assert found["kernel_change"] < 1e-5
    assert found["segments"]["humps"] == 0
    assert all(value > 0 for value in found["around"]["quasar"] if value is not None)
    assert len(path[0][1]) == 11
    rows = torch.autograd.functional.jacobian(lambda w: landscape.outputs(w, landscape._inputs).reshape(-1), path[0][1])
    np.testing.assert_allclose(landscape.kernel(path[0][1]), (rows @ rows.T).double().numpy(), rtol=1e-4, atol=1e-6)


def test_a_regressed_target_is_good_and_bounded() -> None:
    data = load("digits", seed=0)
    target = regressed(MLP((64, 24, 10)), data, 0, steps=200)
    assert target.largest <= 1.0
    module = target.architecture.module(dict(target.weights))
    assert float((module(data.train.inputs).argmax(1) == data.train.labels).double().mean()) > 0.8


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="increasing"):
        replace(SMALL[DoubleDescent][0], counts=(4, 2))
    with pytest.raises(ValueError, match="increasing"):
        replace(SMALL[DoubleDescentNets][0], widths=(0, 1))
    with pytest.raises(ValueError, match="increasing"):
        replace(SMALL[NeuronsAndFeatures][0], counts=())
    with pytest.raises(ValueError, match="multiples > 0"):
        replace(SMALL[CriticalBatch][0], multiples=(0.0,))
    with pytest.raises(ValueError, match="at least 1"):
        replace(SMALL[PruneThenDescend][0], steps=0)


def test_descents_that_diverged_are_said_and_are_not_quasi_convex(store: Store) -> None:
    """Such a run has one point: nothing was seen of its surroundings, which must not pass for quasi-convexity."""
    runs = [(run, result) for run, result in results(store, PruneThenDescend) if run.mask == "ticket"]
    run, good = next(pair for pair in runs if pair[0].base == "edge-popup")
    nothing: dict[str, Any] = {"least_quasar": None, "quasar": [], "quasi_convex": True}
    start = good["curve"][:1]
    bad = {**good, "outcome": "diverged", "curve": start, "frozen": start, "rate": 1.0, "path": nothing}
    both = PruneThenDescend.table([(run, good), (replace(run, seed=run.seed + 1), bad)])
    alone = PruneThenDescend.table([(run, good)])
    assert (both[0]["seeds"], both[0]["diverged"]) == (2, 1)
    assert both[0]["rate per step"] == alone[0]["rate per step"]
    assert both[0]["quasi-convex along path"] == f"{int(good['path']['quasi_convex'])} of 2"
    assert "diverged" not in alone[0]
    (row,) = PruneThenDescend.table([(run, bad)])
    assert (row["rate per step"], row["quasi-convex along path"]) == (None, "0 of 1")
