from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor, nn

from strongticket.pruning.rows.refit import refit, row_losses
from strongticket.pruning.rows.solve import remove_in_order
from strongticket.pruning.rows.swaps import swap
from strongticket.training import initialise, train


def problem(rows: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(2 * d + 2, max(1, d // 2), generator=generator, dtype=torch.float64)
    mixed = factors @ torch.randn(max(1, d // 2), d, generator=generator, dtype=torch.float64)
    inputs = torch.relu(mixed) + 0.3 * torch.randn(2 * d + 2, d, generator=generator, dtype=torch.float64)
    hessian = inputs.T @ inputs / len(inputs)
    return torch.randn(rows, d, generator=generator, dtype=torch.float64), hessian + 0.01 * torch.eye(d)


def loss(weight: Tensor, hessian: Tensor, kept: Tensor) -> Tensor:
    return row_losses(refit(weight, hessian, kept), weight, hessian)


def literal(weight: Tensor, hessian: Tensor, kept: Tensor) -> tuple[Tensor, int]:
    """Exchanges priced by refitting every neighbour of the support."""
    count = 0
    while True:
        now = float(loss(weight[None], hessian, kept[None]))
        pairs = list(itertools.product(kept.nonzero()[:, 0].tolist(), (~kept).nonzero()[:, 0].tolist()))
        if not pairs:
            return kept, count
        near = kept.repeat(len(pairs), 1)
        for place, (i, j) in enumerate(pairs):
            near[place, i], near[place, j] = False, True
        losses = loss(weight.expand(len(pairs), -1), hessian, near)
        if float(losses.min()) >= now - 1e-11:
            return kept, count
        kept, count = near[int(losses.argmin())], count + 1


@settings(max_examples=25)
@given(st.integers(1, 8), st.integers(0, 10**6), st.sampled_from(["numba", "torch"]))
def test_exchanges_are_those_of_literal_refits(d: int, seed: int, backend: str) -> None:
    weight, hessian = problem(2, d, seed)
    kept = torch.rand(2, d, generator=torch.Generator().manual_seed(seed)) < 0.5
    swapped = swap(weight, hessian, kept, patience=0, backend=backend)
    assert swapped.kept.sum(1).tolist() == kept.sum(1).tolist()
    for row in range(2):
        expected, count = literal(weight[row], hessian, kept[row])
        assert torch.equal(swapped.kept[row], expected)
        assert int(swapped.count[row]) == count
    gained = loss(weight, hessian, kept) - loss(weight, hessian, swapped.kept)
    torch.testing.assert_close(swapped.gain, gained, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("d", "density", "patience"), [(60, 0.3, 6), (150, 0.5, 0), (150, 0.1, 8)])
def test_long_searches_from_bad_supports(d: int, density: float, patience: int) -> None:
    weight, hessian = problem(3, d, d)
    worst = torch.zeros(3, d, dtype=torch.bool)
    worst[:, : int(density * d)] = True
    worst = worst.gather(1, weight.abs().argsort(1).argsort(1))  # the smallest weights are kept
    fast = swap(weight, hessian, worst, patience=patience, backend="numba")
    slow = swap(weight, hessian, worst, patience=patience, backend="torch")
    assert torch.equal(fast.kept, slow.kept)
    assert torch.equal(fast.count, slow.count)
    gained = loss(weight, hessian, worst) - loss(weight, hessian, fast.kept)
    torch.testing.assert_close(fast.gain, gained, rtol=1e-9, atol=0)
    assert not swap(weight, hessian, fast.kept, patience=patience).count.any()
    assert int(fast.count.max()) > 64 or d < 150 or density < 0.5  # more than are made between fresh starts


def test_columns_that_may_not_come_in_stay_out() -> None:
    weight, hessian = problem(4, 30, 3)
    kept = torch.zeros(4, 30, dtype=torch.bool)
    kept[:, :5] = True
    allowed = torch.arange(30) < 12
    for backend in ("numba", "torch"):
        swapped = swap(weight, hessian, kept, allowed=allowed.expand(4, 30), backend=backend)
        assert not swapped.kept[:, 12:].any()
        assert swapped.count.any()


def test_results_are_bitwise_equal_at_one_and_more_threads() -> None:
    weight, hessian = problem(7, 50, 1)
    kept = weight.abs() > 1.2
    one, two = (swap(weight, hessian, kept, backend="numba", threads=threads) for threads in (1, 2))
    assert torch.equal(one.kept, two.kept)
    assert torch.equal(one.gain, two.gain)


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(0, 10**6))
def test_patience_finds_supports_at_least_as_good(d: int, seed: int) -> None:
    weight, hessian = problem(4, d, seed)
    kept = torch.rand(4, d, generator=torch.Generator().manual_seed(seed)) < 0.5
    short = swap(weight, hessian, kept, patience=0)
    longer, slow = (swap(weight, hessian, kept, patience=6, backend=backend) for backend in ("numba", "torch"))
    assert torch.equal(longer.kept, slow.kept)
    assert torch.equal(longer.count, slow.count)
    assert bool((longer.gain >= short.gain - 1e-12).all())
    gained = loss(weight, hessian, kept) - loss(weight, hessian, longer.kept)
    torch.testing.assert_close(longer.gain, gained, rtol=1e-8, atol=1e-12)


def test_a_limit_of_exchanges() -> None:
    weight, hessian = problem(1, 60, 2)
    kept = (torch.arange(60) < 20)[None]
    for backend in ("numba", "torch"):
        assert int(swap(weight, hessian, kept, most=3, backend=backend).count) == 3


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_an_indefinite_matrix_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="damping"):
        swap(torch.ones(1, 2).double(), -torch.eye(2).double(), torch.tensor([[True, False]]), backend=backend)


def test_bad_input_is_refused() -> None:
    weight, hessian = problem(2, 4, 0)
    kept = weight > 0
    for change, error in (
        ({"tolerance": 0.0}, ValueError),
        ({"kept": kept[:1]}, ValueError),
        ({"allowed": kept[:1]}, ValueError),
        ({"target": weight.float()}, TypeError),
    ):
        with pytest.raises(error):
            swap(**{"target": weight, "hessian": hessian, "kept": kept, **change})


def test_swaps_reach_the_optimum_on_rows_of_a_trained_network() -> None:
    """Sub-columns of the second layer of a small digit classifier, as in layers of LeNet-300-100: d = 12, 6 or 9 go."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16).float(), torch.tensor(labels)
    network = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    network = train(initialise(network, seed=0), inputs, targets, epochs=15, batch_size=64, lr=3e-3).module
    hidden = network[1](network[0](inputs)).double()
    gram = hidden.T @ hidden / len(hidden)
    alive = (gram.diagonal() > 1e-3).nonzero()[:, 0]
    assert len(alive) >= 100
    generator = torch.Generator().manual_seed(0)
    best, greedy_best, trials = 0, 0, 0
    for count in (3, 6):
        subsets = torch.tensor([[j in s for j in range(12)] for s in itertools.combinations(range(12), count)])
        for _ in range(100):
            columns = alive[torch.randperm(len(alive), generator=generator)[:12]]
            row = torch.randint(0, 100, (), generator=generator)
            weight, hessian = network[2].weight[row, columns][None].double(), gram[columns][:, columns]
            hessian = hessian + 1e-4 * hessian.diagonal().mean() * torch.eye(12)
            optimum = float(loss(weight.expand(len(subsets), 12), hessian, subsets).min())
            greedy = remove_in_order(weight, torch.linalg.inv(hessian)).kept(torch.tensor([12 - count]), 12)
            swapped = swap(weight, hessian, greedy).kept
            before, after = (float(loss(weight, hessian, kept)) for kept in (greedy, swapped))
            assert optimum * (1 - 1e-9) <= after <= before * (1 + 1e-9)
            best += after <= optimum * (1 + 1e-9)
            greedy_best += before <= optimum * (1 + 1e-9)
            trials += 1
    assert best >= 0.95 * trials
    assert greedy_best < best
