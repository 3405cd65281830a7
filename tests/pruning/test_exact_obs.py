from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from strongticket.mask import Mask
from strongticket.pruning import exact_obs
from strongticket.pruning.abstract import AbstractPruner, Pruned
from strongticket.pruning.exact_obs import ExactOBS
from strongticket.pruning.layer_obs import LayerObs
from strongticket.pruning.magnitude import Magnitude
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.layerwise import Block
from strongticket.pruning.saliency import ScorePruner
from strongticket.pruning.sparsegpt import SparseGPT
from strongticket.pruning.structures import NofM
from strongticket.training.loop import thread_count

PRUNERS: list[AbstractPruner] = [
    ExactOBS(),
    ExactOBS(backend="torch", budget="sort"),
    ExactOBS(swaps=True, allocation="global"),
    ExactOBS(allocation="erdos-renyi", budget="uniform", refit=False),
    ExactOBS(budget="heap", dtype="float32"),
    ExactOBS(sequential=True, swaps=True),
    ExactOBS(sequential=True, allocation="global"),
    SparseGPT(block=3),
    SparseGPT(refit=True, allocation="erdos-renyi"),
    LayerObs(),
    LayerObs(allocation="layer", published=True),
]
DENSITIES = (1.0, 0.5, 0.2, 0.0)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))


def problem(seed: int = 0, n: int = 40, start: Mask | None = None) -> Problem:
    inputs = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return Problem.of(network(seed), (inputs, None), start=start)


def image_problem(groups: int = 1, n: int = 30) -> Problem:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=groups), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 9, 3),
    )  # fmt: skip
    inputs = torch.randn(n, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    return Problem.of(layers, (inputs, None))


def check(pruned: Pruned, given: Problem, density: float) -> None:
    assert pruned.mask.count == min(given.start.count, int(density * given.size + 0.5))
    for name in given.names:
        assert pruned.weights[name].shape == given.shapes[name]
        assert pruned.weights[name].dtype == given.weights[name].dtype
        assert bool(torch.isfinite(pruned.weights[name]).all())
        assert not pruned.weights[name][~pruned.mask[name]].any()
        assert bool((pruned.mask[name] <= given.start[name]).all())
    assert pruned.predicted_increase is None
    assert pruned.stats["layer_loss"] == pytest.approx(sum(pruned.stats["layer_losses"].values()))


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_counts_are_exact_and_what_is_pruned_is_zero(pruner: AbstractPruner) -> None:
    for given in (problem(), image_problem(groups=2)):
        before = {name: value.clone() for name, value in given.module.state_dict().items()}
        for pruned, density in zip(pruner.path(given, DENSITIES), DENSITIES, strict=True):
            check(pruned, given, density)
        assert all(torch.equal(value, before[name]) for name, value in given.module.state_dict().items())


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_density_one_changes_nothing(pruner: AbstractPruner) -> None:
    given = problem()
    pruned = pruner.prune(given, 1.0)
    for name in given.names:
        torch.testing.assert_close(pruned.weights[name], given.weights[name], rtol=1e-5, atol=1e-6)
    assert pruned.stats["layer_loss"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_a_sparse_start_stays_pruned(pruner: AbstractPruner) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = problem().shapes
    start = Mask({name: torch.rand(shape, generator=generator) < 0.6 for name, shape in shapes.items()})
    given = problem(start=start)
    for pruned, density in zip(pruner.path(given, (0.9, 0.3)), (0.9, 0.3), strict=True):
        check(pruned, given, density)


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_dead_inputs_go_first_and_cost_nothing(pruner: AbstractPruner) -> None:
    if getattr(pruner, "refit", True) is False and isinstance(pruner, ExactOBS):
        pytest.skip("no layer loss to compare")
    layer = nn.Linear(6, 2)
    layer.weight.data[:, 1] = 100.0
    inputs = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    inputs[:, [1, 4]] = 0
    given = Problem.of(layer, (inputs, None))
    pruned = pruner.prune(given, 8 / 12)
    assert not pruned.mask["weight"][:, [1, 4]].any()
    assert pruned.stats["layer_loss"] == pytest.approx(0.0, abs=1e-9)
    some = pruner.prune(given, 10 / 12)  # two of the four are still there, with their values
    kept = some.mask["weight"][:, [1, 4]]
    assert int(kept.sum()) == 2
    assert torch.equal(some.weights["weight"][:, [1, 4]][kept], layer.weight.data[:, [1, 4]][kept])


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_fewer_examples_than_inputs_need_damping(pruner: AbstractPruner) -> None:
    given = problem(n=3)
    check(pruner.prune(given, 0.5), given, 0.5)
    undamped = type(pruner)(damping=0.0)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="damping"):
        undamped.prune(given, 0.5)


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_one_weight(pruner: AbstractPruner) -> None:
    given = Problem.of(nn.Linear(1, 1), (torch.randn(4, 1), None))
    assert [pruned.mask.count for pruned in pruner.path(given, (0.0, 1.0))] == [0, 1]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pruner", [ExactOBS(), ExactOBS(swaps=True), SparseGPT(), LayerObs()], ids=str)
def test_a_convolution_is_a_linear_layer_of_unfolded_inputs(pruner: AbstractPruner, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, groups=groups, bias=False).double()
    inputs = torch.randn(20, 4, 4, 4, dtype=torch.float64)
    ours = pruner.prune(Problem.of(conv, (inputs, None)), 1 / 3)
    columns = functional.unfold(inputs, 3).transpose(1, 2).reshape(20 * 4, groups, -1)
    for group in range(groups):
        linear = nn.Linear(36 // groups, 6 // groups, bias=False).double()
        span = slice(6 // groups * group, 6 // groups * (group + 1))
        linear.weight.data.copy_(conv.weight.data[span].flatten(1))
        kept = ours.mask["weight"][span].flatten(1)
        density = float(kept.double().mean())  # the groups of a layer share its budget
        same = pruner.prune(Problem.of(linear, (columns[:, group], None)), density)
        assert torch.equal(same.mask["weight"], kept)
        torch.testing.assert_close(same.weights["weight"], ours.weights["weight"][span].flatten(1))


def test_biases_are_never_pruned_and_move_only_in_sequence() -> None:
    given = problem()
    for pruner in (ExactOBS(), SparseGPT(), LayerObs()):
        pruned = pruner.prune(given, 0.3)
        assert set(pruned.weights) == set(given.names)
        module = pruned.module()
        assert torch.equal(module[0].bias, given.module[0].bias)
    moved = ExactOBS(sequential=True).prune(given, 0.3)
    assert set(moved.weights) == {*given.names, "0.bias", "2.bias", "4.bias"}
    assert all(bool(moved.weights[f"{k}.bias"].any()) for k in (0, 2, 4))


def test_a_path_is_one_elimination_per_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []
    original = exact_obs.remove_in_order
    monkeypatch.setattr(
        exact_obs,
        "remove_in_order",
        lambda weight, *rest, **more: (calls.append(weight), original(weight, *rest, **more))[1],
    )
    path = ExactOBS(swaps=True).path(problem(), (0.5, 0.3, 0.1))
    assert len(calls) == 3
    single = ExactOBS(swaps=True).prune(problem(), 0.3)
    assert single.mask == path[1].mask


def test_one_layer_gets_the_joint_optimum_of_its_mask() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(7, 3).double(), torch.randn(50, 7, dtype=torch.float64)
    given = Problem.of(layer, (inputs, None))
    pruned = ExactOBS(damping=0.0, budget="hull").prune(given, 0.4)
    dense = inputs @ layer.weight.data.T
    for row in range(3):
        support = pruned.mask["weight"][row]
        best = torch.linalg.lstsq(inputs[:, support], dense[:, row : row + 1]).solution[:, 0]
        torch.testing.assert_close(pruned.weights["weight"][row, support], best)
    change = inputs @ pruned.weights["weight"].T - dense
    assert pruned.stats["layer_loss"] == pytest.approx(float(0.5 * change.square().sum() / 50))


def test_better_budgets_and_swaps_lower_the_loss() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(30, 20).double()
    mixed = torch.randn(200, 8, dtype=torch.float64) @ torch.randn(8, 30, dtype=torch.float64)
    inputs = torch.relu(mixed) + 0.2 * torch.randn(200, 30, dtype=torch.float64)
    given = Problem.of(layer, (inputs, None))
    losses = {
        name: pruner.prune(given, 0.2).stats["layer_loss"]
        for name, pruner in {
            "swaps": ExactOBS(damping=1e-6, swaps=True),
            "short swaps": ExactOBS(damping=1e-6, swaps=True, patience=0),
            "hull": ExactOBS(damping=1e-6),
            "sort": ExactOBS(damping=1e-6, budget="sort"),
            "one-shot": LayerObs(damping=1e-6),
            "sparsegpt, refit": SparseGPT(damping=1e-6, refit=True),
            "sparsegpt": SparseGPT(damping=1e-6),
            "published one-shot": LayerObs(damping=1e-6, published=True),
        }.items()
    }
    assert losses["swaps"] <= losses["short swaps"] < losses["hull"] <= losses["sort"] < losses["one-shot"]
    assert losses["hull"] < losses["sparsegpt, refit"] < losses["sparsegpt"]
    assert losses["one-shot"] < losses["published one-shot"]


def test_n_of_m() -> None:
    torch.manual_seed(2)
    net, inputs = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), torch.randn(40, 8)
    start = Mask({"0.weight": torch.rand(6, 8) < 0.6, "2.weight": torch.rand(4, 6) < 0.6})
    for n, m, names in ((2, 4, ("0.weight",)), (1, 2, None), (2, 2, None)):
        for left in (None, start if names is None else Mask({name: start[name] for name in names})):
            given = Problem.of(net, (inputs, None), names=names, start=left)
            by_score = ScorePruner(Magnitude(), structure=NofM(n, m)).prune(given, n / m)
            pruned = ExactOBS(n_of_m=(n, m)).prune(given, n / m)
            assert pruned.mask.counts == by_score.mask.counts
            for name in given.names:
                groups = (pruned.mask[name].view(-1, m).sum(1), given.start[name].view(-1, m).sum(1).clamp(max=n))
                assert torch.equal(*groups)
    for pruner in (ExactOBS(n_of_m=(2, 4)), ScorePruner(Magnitude(), structure=NofM(2, 4))):
        with pytest.raises(ValueError, match=r"has the density 0\.5 only"):
            pruner.prune(Problem.of(net, (inputs, None), names=["0.weight"]), 0.4)
        with pytest.raises(ValueError, match="which groups of 4 do not divide"):
            pruner.prune(Problem.of(net, (inputs, None)), 0.5)


def test_results_do_not_depend_on_threads() -> None:
    one, two = (ExactOBS(swaps=True, backend="numba", threads=threads).prune(problem(), 0.3) for threads in (1, 2))
    assert one.mask == two.mask
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert one.stats == two.stats


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_results_do_not_depend_on_the_threads_of_torch(pruner: AbstractPruner) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    mixed = torch.relu(torch.randn(400, 30) @ torch.randn(30, 300))
    given, made = Problem.of(layers, (mixed, None)), []
    for threads in (1, 2):
        with thread_count(threads):
            made.append(pruner.prune(given, 0.1))
            assert torch.get_num_threads() == threads
    one, two = made
    assert one.mask == two.mask
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert one.stats == two.stats


@pytest.mark.parametrize("pruner", [ExactOBS, LayerObs, SparseGPT], ids=str)
def test_damping_that_is_lost_in_rounding_is_refused(pruner: Callable[..., AbstractPruner]) -> None:
    torch.manual_seed(0)
    given = Problem.of(nn.Linear(60, 4), (torch.randn(20, 60), None))
    with pytest.raises(ValueError, match=r"singular.*damping"):
        pruner(damping=1e-15).prune(given, 0.3)
    assert pruner(damping=1e-6).prune(given, 0.3).mask.count == 72


def test_an_order_that_was_lost_in_rounding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem()
    remove = exact_obs.remove_in_order

    def worse(*arguments: Any, **settings: Any) -> Any:
        removal = remove(*arguments, **settings)
        return replace(removal, losses=removal.losses * 1.01)

    monkeypatch.setattr(exact_obs, "remove_in_order", worse)
    with pytest.raises(ValueError, match="do not add up: use more damping"):
        ExactOBS().prune(given, 0.5)


@pytest.mark.parametrize("pruner", [ExactOBS(), SparseGPT()], ids=str)
def test_the_model_of_a_layer_is_let_go_before_the_next_is_made(
    pruner: AbstractPruner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Tensor]] = []
    build = Block.of

    def watched(*arguments: Any) -> Block:
        gc.collect()
        assert not any(matrix() is not None for matrix in made)
        block = build(*arguments)
        made.append(weakref.ref(block.hessian))
        return block

    monkeypatch.setattr(Block, "of", watched)
    pruner.path(problem(), (0.5, 0.2))
    assert len(made) == 3


def test_sequential_fits_are_joint_least_squares() -> None:
    """Each layer's survivors and bias against lstsq of the dense outputs on the pruned network's inputs."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs = torch.randn(60, 6, dtype=torch.float64)
    given = Problem.of(dense, (inputs, None))
    pruned = ExactOBS(damping=0.0, sequential=True).prune(given, 0.5)
    before, target = inputs, inputs
    for k in (0, 2):
        wanted = dense[k](target).detach()
        for row in range(len(wanted[0])):
            support = pruned.mask[f"{k}.weight"][row]
            design = torch.cat([before[:, support], torch.ones(60, 1, dtype=torch.float64)], 1)
            best = torch.linalg.lstsq(design, wanted[:, row : row + 1]).solution[:, 0]
            torch.testing.assert_close(pruned.weights[f"{k}.weight"][row, support], best[:-1], rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(pruned.weights[f"{k}.bias"][row], best[-1], rtol=1e-8, atol=1e-10)
        out = before @ pruned.weights[f"{k}.weight"].T + pruned.weights[f"{k}.bias"]
        loss = float(0.5 * (out - wanted).square().sum() / 60)
        assert pruned.stats["layer_losses"][f"{k}.weight"] == pytest.approx(loss)
        before, target = torch.tanh(out), torch.tanh(wanted)


def test_sequential_pruning_keeps_outputs_closer() -> None:
    given = problem(n=300)
    inputs = given.examples
    dense = given.module(inputs)

    def error(pruned: Pruned) -> float:
        return float((pruned.module()(inputs) - dense).square().mean())

    assert error(ExactOBS(sequential=True).prune(given, 0.4)) < error(ExactOBS().prune(given, 0.4))


def test_layers_that_compete_in_sequence_keep_what_they_keep_at_once() -> None:
    given = problem()
    for density in (0.1, 0.4):
        at_once = ExactOBS(allocation="global").prune(given, density)
        in_turn = ExactOBS(allocation="global", sequential=True).prune(given, density)
        assert in_turn.mask.counts == at_once.mask.counts
        assert in_turn.mask.counts != ExactOBS(sequential=True).prune(given, density).mask.counts


def test_sequential_refuses_layers_that_are_not_called() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, given: Tensor) -> Tensor:
            return self.used(given)

    given = Problem.of(Partly(), (torch.randn(9, 3), None))
    for pruner in (ExactOBS(sequential=True), ExactOBS(), SparseGPT()):
        with pytest.raises(ValueError, match="never called"):
            pruner.prune(given, 0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"damping": -1.0},
        {"damping": float("nan")},
        {"budget": "convex"},
        {"allocation": "rows"},
        {"allocation": "global", "budget": "uniform"},
        {"n_of_m": (5, 4)},
        {"n_of_m": (2, 4), "swaps": True},
        {"sequential": True, "refit": False},
        {"patience": -1},
        {"threads": 0},
        {"dtype": "float16"},
        {"backend": "cuda"},
    ],
)
def test_bad_options_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError):
        ExactOBS(**arguments)


def test_bad_densities_are_refused() -> None:
    with pytest.raises(ValueError, match="density"):
        ExactOBS().prune(problem(), 1.5)


def test_the_original_is_untouched_by_copies() -> None:
    given = problem()
    pruned = ExactOBS(refit=False).prune(given, 0.5)
    assert not pruned.updated
    for name in given.names:
        assert torch.equal(pruned.weights[name], given.weights[name] * pruned.mask[name])
    assert torch.equal(copy.deepcopy(pruned).mask["0.weight"], pruned.mask["0.weight"])
