"""What a problem takes and what it refuses, before any work is done; networks in special states."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from strongticket.mask import Mask
from strongticket.pruning import (
    ExactOBS,
    Hold,
    LayerObs,
    Magnitude,
    Problem,
    SparseGPT,
    Taylor,
    hold,
    loss_function,
    mask_of,
    measured_increase,
    prune,
    score,
    to_torch_prune,
)
from strongticket.pruning.shares import ALLOCATIONS, layer_counts

X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3


def net(*inside: nn.Module) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 5), *inside, nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (DataLoader(TensorDataset(X, Y)), TypeError, r"two tensors, got DataLoader"),
        ((X.numpy(), Y), TypeError, "inputs as a tensor, got ndarray"),
        ((X, Y.numpy()), TypeError, "labels as a tensor, got ndarray"),
        ((X, Y, Y), TypeError, "two tensors"),
        ((X.double(), Y), ValueError, r"does not take inputs of shape \(6,\), torch.float64"),
        ((X[:, :5], Y), ValueError, r"does not take inputs of shape \(5,\)"),
        ((X, Y.float()), TypeError, "int64, numbers of classes, got torch.float32"),
        ((X, Y[:, None]), ValueError, r"labels \[n\] in 0..2, got shape \(20, 1\)"),
        ((X, Y + 1), ValueError, r"in 1..3; leave examples without a label out"),
        ((X, torch.where(Y == 0, -100, Y)), ValueError, "-100..2; leave examples without a label out"),
        ((X, torch.ones(20, 3)), ValueError, "rows sum to 1"),
        ((X, Y.float() * torch.nan), ValueError, "labels hold NaN"),
        ((X, Y[:3]), ValueError, "got 3 labels, 20 inputs"),
        ((X[:0], None), ValueError, "at least one"),
    ],
)
def test_data_that_do_not_fit_are_refused_at_once(data: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Problem.of(net(), data)


def test_targets_are_never_broadcast() -> None:
    single = nn.Linear(6, 1)
    targets = X[:, :1]
    with pytest.raises(ValueError, match=r"targets of shape \(20, 1\), got \(20,\)"):
        Problem.of(single, (X, targets[:, 0]), loss="squared-error")
    loss = loss_function("squared-error")
    with pytest.raises(ValueError, match=r"\(20, 1\), got \(20,\)"):
        loss(single(X), targets[:, 0])
    pruned = prune(single, None, "magnitude", 0.5)
    with pytest.raises(ValueError, match="targets"):
        measured_increase(pruned, (X, targets[:, 0]), loss="squared-error")
    outputs = single(X).detach()
    assert torch.equal(loss(outputs, targets), loss(outputs[:, 0], targets[:, 0]))


def test_networks_in_the_hands_of_torch_prune_are_read_and_refused() -> None:
    pruned = prune(net(), None, "random", 0.3)
    theirs = to_torch_prune(pruned.original, pruned.mask)
    assert mask_of(theirs) == mask_of(theirs.state_dict()) == pruned.mask
    assert mask_of(theirs, ["2.weight"])["2.weight"].equal(pruned.mask["2.weight"])
    theirs(X)
    with pytest.raises(ValueError, match=r"0.weight is 0.weight_orig times 0.weight_mask .*mask_of"):
        prune(theirs, None, "magnitude", 0.2)


def test_nan_in_buffers_and_layers_without_weights() -> None:
    spoilt = net(nn.BatchNorm1d(5))
    spoilt[1].running_mean.fill_(torch.nan)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"the buffer 1\.running_mean holds NaN"):
        Problem.of(spoilt)
    hollow = net()
    hollow[0].register_parameter("nothing", nn.Parameter(torch.zeros(6, 0)))
    assert Problem.of(hollow).names == ("0.weight", "2.weight")
    with pytest.raises(ValueError, match=r"0.nothing has shape \(6, 0\), no weight to prune"):
        Problem.of(hollow, names=["0.nothing", "2.weight"])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4), st.data())
def test_layers_without_weights_have_no_share(shapes: list[tuple[int, int]], data: st.DataObject) -> None:
    named = {str(i): shape for i, shape in enumerate(shapes)}
    sizes = {name: a * b for name, (a, b) in named.items()}
    count = data.draw(st.integers(0, sum(sizes.values())))
    for allocation in ALLOCATIONS:
        if allocation != "global":
            counts = layer_counts(named, count, allocation)
            assert sum(counts.values()) == count
            assert all(0 <= counts[name] <= sizes[name] for name in named)


def test_the_copy_of_a_held_network_is_free() -> None:
    held = net()
    mask = prune(held, None, "magnitude", 0.6).mask
    with hold(held, mask), hold(held[0], Mask({"weight": mask["0.weight"]})):
        problem = Problem.of(held)
        assert len(Hold.of(held)) == 1
        assert len(Hold.of(held[0])) == 1
    copied = problem.live()
    assert not any(Hold.of(part) for module in (problem.module, copied) for part in module.modules())
    with torch.no_grad():
        for name in mask:
            copied.get_parameter(name).fill_(1.0)
    copied(X)
    assert all(bool((copied.get_parameter(name) == 1).all()) for name in mask)


def test_methods_that_look_at_no_labels_need_none() -> None:
    for method in ("random", "magnitude", "exact-obs", "sparsegpt", "layer-obs", ExactOBS(sequential=True)):
        assert prune(net(), (X, None), method, 0.4).mask == prune(net(), (X, Y), method, 0.4).mask
    for method in ("taylor", "obd", "movement"):
        with pytest.raises(ValueError, match="give it data"):
            prune(net(), (X, None), method, 0.4)
    assert torch.equal(Problem.of(net(), (X, None)).examples, X)
    with pytest.raises(ValueError, match="give it data"):
        _ = Problem.of(net()).examples


def test_gradients_in_training_mode_go_through_the_moments_of_the_batch() -> None:
    network = net(nn.BatchNorm1d(5), nn.Dropout(0.9))
    found = {mode: score_at(network, mode) for mode in ("eval", "train")}
    twin = copy.deepcopy(network).train()
    twin[2].eval()
    nn.functional.cross_entropy(twin(X), Y).backward()  # type: ignore[no-untyped-call]
    for name, value in found["train"].items():
        weight = twin.get_parameter(name)
        assert weight.grad is not None
        torch.testing.assert_close(value, (weight * weight.grad).abs().detach())
    assert not torch.allclose(found["eval"]["0.weight"], found["train"]["0.weight"], rtol=0.1)
    assert float(network[1].running_mean.abs().sum()) == 0.0  # type: ignore[operator]
    problem = Problem.of(network, (X, Y), mode="train")
    assert not any(part.training for part in problem.module.modules())
    with pytest.raises(ValueError, match="expected a mode"):
        Problem.of(network, mode="trian")  # type: ignore[arg-type]


def score_at(network: nn.Module, mode: Any) -> dict[str, Tensor]:
    problem = Problem.of(network, (X, Y), mode=mode)
    first = Taylor().score(problem)
    assert all(torch.equal(value, first[name]) for name, value in Taylor().score(problem).items())
    return first


@pytest.mark.parametrize("method", ["taylor", "gradient-magnitude", "movement"])
def test_parameters_that_the_loss_does_not_see_have_the_score_0(method: str) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.used = nn.Linear(2, 2), nn.Linear(6, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.used(inputs)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    assert not bool(score(Idle(), (X, Y), method, names=["idle.weight"])["idle.weight"].any())
    both = score(Idle(), (X, Y), method)
    assert not bool(both["idle.weight"].any())
    assert bool(both["used.weight"].any())


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SparseGPT(allocation="bogus"), ValueError, "expected an allocation in .*'bogus'"),  # type: ignore[arg-type]
        (lambda: SparseGPT(allocation="global"), ValueError, "expected an allocation in"),
        (lambda: ExactOBS(allocation="supsup"), ValueError, "expected an allocation in .*'supsup'"),
        (lambda: LayerObs(allocation="supsup"), ValueError, "expected allocation"),  # type: ignore[arg-type]
        (lambda: prune(net(), (X, Y), ExactOBS, 0.5), TypeError, r"the class ExactOBS: write ExactOBS\(\)"),  # type: ignore[arg-type]
        (lambda: score(net(), (X, Y), Magnitude), TypeError, r"the class Magnitude: write Magnitude\(\)"),  # type: ignore[arg-type]
        (lambda: prune(net(), (X, Y), 3, 0.5), TypeError, "name of a method, a score or a pruner, got 3"),  # type: ignore[arg-type]
    ],
)
def test_methods_that_are_none_are_refused(make: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
