"""Diagonals of curvature against dense Hessians and per-example loops, on layers of every kind."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from strongticket.models import MLP, Conv, LeNet5, TokenTransformer
from strongticket.pruning import Loss, Problem, loss_function
from strongticket.pruning.curvature.diagonal import (
    fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    monte_carlo_diagonal,
)
from strongticket.pruning.curvature.hessian import hessian_matrix
from strongticket.pruning.curvature.outputs import output_factor, output_hessian, sampled_factor
from strongticket.pruning.curvature.products import scatter
from strongticket.pruning.curvature.tape import BUDGET, Tape

with warnings.catch_warnings():  # torch loads its forward mode at first use, by a function that it calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.func.hessian(lambda one: one.square().sum())(torch.ones(1))


def problem_of(module: nn.Module, shape: tuple[int, ...], *, n: int = 6, loss: Loss = "cross-entropy") -> Problem:
    """All parameters of a network in float64, with random data of this shape."""
    inputs = torch.randn(n, *shape, dtype=torch.float64)
    module = module.double().eval()
    outputs = module(inputs).detach()  # shapes those layers that wait for it
    for parameter in module.parameters():  # no zeros, which count as pruned
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    if loss == "squared-error":
        labels = torch.randn_like(outputs)
    else:
        labels = torch.randint(outputs.shape[1], (n,))
    names = [name for name, _ in module.named_parameters()]
    return Problem.of(module, (inputs, labels), names=names, loss=loss)


def slow_hessian_diagonal(problem: Problem) -> dict[str, Tensor]:
    """The diagonal of torch.func.hessian of the mean loss, one parameter at a time."""
    inputs, labels = problem.data
    found = {}
    for name, weight in problem.weights.items():

        def loss(value: Tensor, name: str = name) -> Tensor:
            outputs = torch.func.functional_call(problem.module, {name: value}, (inputs,))
            return loss_function(problem.loss)(outputs, labels)

        dense = torch.func.hessian(loss)(weight).reshape(weight.numel(), weight.numel())
        found[name] = dense.diagonal().reshape(weight.shape)
    return found


def slow_ggn_diagonal(problem: Problem) -> dict[str, Tensor]:
    """J^T H J example by example, from the literal Jacobian and the literal softmax Hessian."""
    total = {name: torch.zeros_like(weight) for name, weight in problem.weights.items()}
    for example, label in zip(*problem.data, strict=True):

        def outputs(values: dict[str, Tensor], example: Tensor = example) -> Tensor:
            module = copy.deepcopy(problem.module)  # functional_call leaves layers of two names changed
            return torch.func.functional_call(module, values, (example[None],))[0]

        logits = outputs(problem.weights)

        def loss(at: Tensor, label: Tensor = label) -> Tensor:
            return loss_function(problem.loss)(at[None], label[None])

        curved = torch.func.hessian(loss)(logits)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            jacobians = torch.func.jacrev(outputs)(problem.weights)
        for name, jacobian in jacobians.items():
            flat = jacobian.reshape(len(logits), -1)
            total[name] += torch.einsum("ci,cd,di->i", flat, curved, flat).reshape(total[name].shape)
    return {name: one / len(problem.data[0]) for name, one in total.items()}


def slow_fisher_diagonal(problem: Problem) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(weight) for name, weight in problem.weights.items()}
    for example, label in zip(*problem.data, strict=True):
        module = problem.live()
        loss_function(problem.loss)(module(example[None]), label[None]).backward()
        for name, one in total.items():
            gradient = module.get_parameter(name).grad
            one += 0 if gradient is None else gradient.square()
    return {name: one / len(problem.data[0]) for name, one in total.items()}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    assert list(found) == list(wanted)
    scale = max(float(one.abs().max()) for one in wanted.values())
    assert scale > 0
    for name, one in found.items():
        assert one.dtype == torch.float64
        assert one.shape == wanted[name].shape
        assert float((one - wanted[name]).abs().max()) <= tolerance * scale, name


class Twice(nn.Module):
    """One layer, used two times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.shared(torch.relu(self.shared(torch.relu(self.first(inputs)))))))


class Tied(nn.Module):
    """Two layers of one weight, each with a bias of its own, and a layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        one, other = nn.Linear(3, 3), nn.Linear(3, 3)
        other.weight = one.weight
        self.layers = nn.Sequential(one, nn.ReLU(), other, nn.ReLU(), one)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


class Besides(nn.Module):
    """A layer called once whose weight is used outside of it too, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)
        self.own = nn.Parameter(torch.randn(2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return (
            functional.linear(torch.relu(self.layer(inputs)), self.layer.weight) @ self.own.T + self.idle.weight[0, 0]
        )


class Positions(nn.Module):
    """Linear layers over extra dimensions; the second one sees positions first, examples second."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.first(inputs)).transpose(0, 1)
        return self.last(torch.relu(self.second(hidden)).transpose(0, 1).mean(1))


class Branches(nn.Module):
    """A network that looks at its numbers, which vmap cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.shared(inputs)
        return self.shared(torch.relu(hidden)) if float(hidden.detach().sum()) > -1e9 else hidden


PIECEWISE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)),
        (5,),
    ),
    "stride": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, 2, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(27, 3)),
        (2, 6, 6),
    ),
    "groups": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2),
            nn.ReLU(),
            nn.Conv2d(6, 6, 2, groups=6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        (4, 5, 5),
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, bias=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 2, 2),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(2, 4),
        ),
        (1, 8, 8),
    ),
    "dilation": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, (3, 2), (1, 2), (2, 1), dilation=(2, 1)), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
        ),
        (2, 6, 5),
    ),
    "same": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 3, 3, padding="same", dilation=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
        ),
        (2, 5),
    ),
    "circular": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        ),
        (1, 4, 4),
    ),
    "reflect": (
        lambda: nn.Sequential(
            nn.Conv1d(1, 2, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
        ),
        (1, 6),
    ),
    "3d": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 2, (1, 2, 2), stride=(2, 1, 1), groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
        ),
        (2, 3, 3, 3),
    ),
    "normalised": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)),
        (1, 4, 4),
    ),
    "positions": (Positions, (4, 3)),
    "one weight": (lambda: nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 2)), (1,)),
}


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("kind", PIECEWISE)
def test_the_gauss_newton_diagonal_is_the_hessian_s_where_networks_are_piecewise_linear(kind: str, loss: Loss) -> None:
    make, shape = PIECEWISE[kind]
    problem = problem_of(make(), shape, loss=loss)
    assert_equal(ggn_diagonal(problem), slow_hessian_diagonal(problem))


@pytest.mark.parametrize(
    "architecture",
    [
        MLP((12, 5, 4), bias=True),
        LeNet5(width=0.34, inputs=(1, 12, 12), classes=3),
        Conv("conv2", width=0.05, inputs=(1, 4, 4), classes=3),
    ],
)
def test_named_networks(architecture: MLP | LeNet5 | Conv) -> None:
    module = architecture.module(
        {name: torch.randn(shape) / shape[-1] ** 0.5 for name, shape in architecture.shapes.items()}
    )
    shape = (12,) if isinstance(architecture, MLP) else architecture.inputs
    problem = problem_of(module, shape, n=3)
    names = [name for name in problem.names if problem.module.get_parameter(name).numel() < 700]
    small = Problem.of(problem.module, problem.data, names=names)
    assert len(names) >= 2
    assert Tape(small).rest == ()
    assert_equal(ggn_diagonal(small), slow_hessian_diagonal(small))


@pytest.mark.parametrize("make", [Twice, Tied, Besides, Branches])
@pytest.mark.parametrize("which", ["ggn", "fisher"])
def test_shared_weights_are_summed_before_they_are_squared(make: Callable[[], nn.Module], which: str) -> None:
    problem = problem_of(make(), (3,))
    found = ggn_diagonal(problem) if which == "ggn" else fisher_diagonal(problem)
    assert_equal(found, slow_ggn_diagonal(problem) if which == "ggn" else slow_fisher_diagonal(problem))
    if which == "ggn" and make is not Branches:
        assert Tape(problem).rest != ()


def test_which_parameters_have_closed_forms() -> None:
    assert Tape(problem_of(Positions(), (4, 3))).rest == ("second.weight", "second.bias")
    assert Tape(problem_of(Twice(), (3,))).rest == ("shared.weight", "shared.bias")
    assert Tape(problem_of(Besides(), (3,))).rest == ("own", "layer.weight", "layer.bias", "idle.weight", "idle.bias")
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    assert Tape(problem_of(plain, (3,))).rest == ()
    plain[0].register_forward_hook(lambda layer, args, outputs: 2 * outputs)
    problem = problem_of(plain, (3,))
    assert Tape(problem).rest == ("0.weight", "0.bias")
    assert_equal(ggn_diagonal(problem), slow_hessian_diagonal(problem))


def test_smooth_networks_have_the_gauss_newton_diagonal_and_another_hessian() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3))
    problem = problem_of(module, (4,))
    assert_equal(ggn_diagonal(problem), slow_ggn_diagonal(problem))
    exact = slow_hessian_diagonal(problem)["0.weight"]
    assert float((ggn_diagonal(problem)["0.weight"] - exact).abs().max()) > 1e-3 * float(exact.abs().max())


def test_a_transformer_with_embeddings_and_attention() -> None:
    architecture = TokenTransformer(1, 4, 2, vocabulary=5, length=3, classes=3, bias=True, affine=True)
    values = {
        name: torch.randn(shape) / 2 for name, shape in architecture.shapes.items()
    } | architecture.initial_state()
    module = architecture.module(values).double()
    for parameter in module.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    data = torch.randint(5, (4, 3)), torch.randint(3, (4,))
    problem = Problem.of(module, data, names=[name for name, _ in module.named_parameters()])
    assert "embedding.weight" in Tape(problem).rest
    assert "blocks.0.linear1.weight" not in Tape(problem).rest
    assert_equal(ggn_diagonal(problem), slow_ggn_diagonal(problem))
    assert_equal(fisher_diagonal(problem), slow_fisher_diagonal(problem))


def test_squaring_before_summing_positions_would_be_seen() -> None:
    """The published mistake for convolutions, on the network that the closed form is exact for."""
    problem = problem_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)), (1, 6, 6))
    inputs, labels = problem.data
    module = problem.live()
    hidden = module[0](inputs)
    factor = output_factor("cross-entropy", module[1:](hidden), labels)
    patches = functional.unfold(inputs, 3)  # [n, 9, positions]
    wrong, right = (torch.zeros(2, 9, dtype=torch.float64) for _ in range(2))
    for column in range(factor.shape[2]):
        (slope,) = torch.autograd.grad(module[1:](hidden), hidden, factor[..., column].detach(), retain_graph=True)
        each = torch.einsum("nop,nip->noip", slope.flatten(2), patches)
        wrong += each.square().sum((0, 3))
        right += each.sum(3).square().sum(0)
    found = ggn_diagonal(problem)["0.weight"].reshape(2, 9)
    assert torch.allclose(found, right / len(inputs), rtol=1e-10)
    assert float((found - wrong / len(inputs)).abs().max()) > 0.1 * float(found.max())


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
def test_the_fisher_diagonal_is_the_mean_of_squared_gradients(loss: Loss) -> None:
    problem = problem_of(PIECEWISE["pooling"][0](), (1, 8, 8), loss=loss)
    assert_equal(fisher_diagonal(problem), slow_fisher_diagonal(problem))


def huber(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.smooth_l1_loss(outputs, functional.one_hot(labels, outputs.shape[1]).to(outputs))


def smoothed(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, labels, label_smoothing=0.1)


@pytest.mark.parametrize("loss", [huber, smoothed])
def test_losses_of_one_s_own(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    plain = problem_of(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), (4,))
    problem = Problem.of(plain.module, plain.data, names=plain.names, loss=loss)
    assert_equal(ggn_diagonal(problem), slow_hessian_diagonal(problem))
    assert_equal(fisher_diagonal(problem), slow_fisher_diagonal(problem))


def test_losses_that_have_no_gauss_newton_matrix_are_refused() -> None:
    plain = problem_of(nn.Linear(4, 3), (4,))
    for loss, words in (
        (lambda outputs, labels: -outputs.square().mean(), "not convex"),
        (lambda outputs, labels: outputs.square().sum(), "not the mean"),
        (lambda outputs, labels: outputs.square().mean(1), "one number"),
        (lambda outputs, labels: outputs.square().mean() * torch.nan, "nan"),
    ):
        with pytest.raises(ValueError, match=words):
            ggn_diagonal(Problem.of(plain.module, plain.data, loss=loss))


@given(st.integers(1, 6), st.floats(0, 300), st.integers(0, 1000), st.booleans())
@settings(max_examples=60)
def test_the_factor_of_softmax_is_a_factor_at_any_confidence(
    classes: int, size: float, seed: int, single: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    dtype, tolerance = (torch.float32, 1e-6) if single else (torch.float64, 1e-15)
    logits = (torch.randn(4, classes, generator=generator, dtype=torch.float64) * size).to(dtype)
    factor = output_factor("cross-entropy", logits, torch.zeros(4, dtype=torch.int64))
    p = logits.double().softmax(1)
    assert factor.shape == (4, classes, classes - 1)
    assert bool(torch.isfinite(factor).all())
    wanted = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    assert float((factor.double() @ factor.double().mT - wanted).abs().max()) <= tolerance
    assert torch.allclose(output_hessian("cross-entropy", logits, torch.zeros(4)).double(), wanted, atol=1e-6)


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error", smoothed])
def test_sampled_factors_average_to_the_hessian(loss: Loss) -> None:
    outputs = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.5, 0.1]], dtype=torch.float64)
    labels = torch.randn(2, 3, dtype=torch.float64) if loss == "squared-error" else torch.tensor([0, 2])
    draws = 40_000
    factor = sampled_factor(loss, outputs, labels, first=0, draws=draws, seed=1)
    assert factor.shape == (2, 3, draws)
    products = factor[:, :, None] * factor[:, None] * draws  # [2, 3, 3, draws]
    error = (products.mean(3) - output_hessian(loss, outputs, labels)).abs()
    assert bool((error <= 5 * products.std(3) / draws**0.5 + 1e-12).all())


def test_monte_carlo_averages_to_the_exact_diagonal() -> None:
    problem = problem_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), (1, 4, 4), n=8)
    exact, parts = ggn_diagonal(problem), []
    for seed in range(40):
        seeded = Problem.of(problem.module, problem.data, names=problem.names, seed=seed)
        parts.append(monte_carlo_diagonal(seeded, draws=5))
    for name, one in exact.items():
        made = torch.stack([part[name] for part in parts])
        score = (made.mean(0) - one) / (made.std(0) / 40**0.5).clamp_min(1e-12)
        assert float(score.abs().max()) < 4.5, name
        assert float(made.std(0).max()) > 0  # it is a random thing
    one, other = (monte_carlo_diagonal(problem, draws=draws) for draws in (2, 200))
    errors = [sum(float((found[name] - exact[name]).square().sum()) for name in exact) for found in (one, other)]
    assert errors[1] < errors[0]


def test_hutchinson_is_within_its_known_spread_of_the_hessian() -> None:
    problem = problem_of(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)), (4,))
    dense = hessian_matrix(problem)
    draws = 300
    spread = scatter(problem, ((dense.square().sum(1) - dense.diagonal().square()) / draws).sqrt())
    exact = slow_hessian_diagonal(problem)
    found = hutchinson_diagonal(problem, draws=draws)
    scores = torch.cat([((found[name] - exact[name]) / spread[name]).flatten() for name in exact])
    assert float(scores.abs().max()) < 3
    assert 0.6 < float(scores.square().mean().sqrt()) < 1.4  # and not closer than it can be


@pytest.mark.parametrize("estimate", [ggn_diagonal, fisher_diagonal, monte_carlo_diagonal, hutchinson_diagonal])
def test_chunks_do_not_matter(estimate: Callable[..., dict[str, Tensor]]) -> None:
    problem = problem_of(PIECEWISE["groups"][0](), (4, 5, 5), n=7)
    whole = estimate(problem)
    for chunk in (1, 3, 7, 100):
        assert_equal(estimate(problem, chunk=chunk), whole, 1e-12)


def test_chunks_of_the_general_path_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(Twice(), (3,), n=8)
    whole = ggn_diagonal(problem)
    monkeypatch.setattr("strongticket.pruning.curvature.tape.BUDGET", 50)
    monkeypatch.setattr("strongticket.pruning.curvature.diagonal.BUDGET", 50)
    assert Tape(problem).chunk < 8
    assert_equal(ggn_diagonal(problem), whole, 1e-12)


def test_chunks_keep_what_many_outputs_need_within_memory() -> None:
    data = torch.randn(3, 2), torch.zeros(3).long()
    assert Tape(Problem.of(nn.Linear(2, 3), data)).chunk == 256
    assert Tape(Problem.of(nn.Linear(2, 3000), data)).chunk == BUDGET // 3000**2
    assert Tape(Problem.of(nn.Linear(2, 3000), data), 7).chunk == 7


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)
    )
    module.append(nn.Flatten()).append(nn.Linear(576, 100)).append(nn.ReLU()).append(nn.Linear(100, 10))
    data = torch.randn(64, 1, 28, 28, dtype=dtype), torch.randint(10, (64,))
    problem = Problem.of(module.to(dtype), data)
    found = []
    for count in (1, 2):
        with threads(count):
            found.append((ggn_diagonal(problem), fisher_diagonal(problem)))
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_dead_inputs_have_no_curvature_and_neither_has_what_is_pruned() -> None:
    inputs = torch.randn(6, 4)
    inputs[:, 2] = 0
    problem = Problem.of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (inputs, torch.zeros(6).long()))
    mask = {name: torch.rand(shape) < 0.7 for name, shape in problem.shapes.items()}
    pruned = problem.at({}, type(problem.start)(mask))
    for estimate in (ggn_diagonal, fisher_diagonal, monte_carlo_diagonal, hutchinson_diagonal):
        assert bool((estimate(problem)["0.weight"][:, 2] == 0).all())
        for name, one in estimate(pruned).items():
            assert bool((one[~mask[name]] == 0).all())
            assert bool((one[mask[name]] != 0).any())


def test_what_has_no_curvature_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    inputs, labels = torch.randn(5, 3), torch.zeros(5).long()
    overflow = copy.deepcopy(module)
    overflow[2].weight.data.fill_(1e38)
    cases: list[tuple[nn.Module, Tensor, Tensor, Loss, str]] = [
        (overflow, inputs * 1e20, labels, "cross-entropy", "NaN or infinite"),
        (module, inputs, labels + 2, "cross-entropy", r"labels \[n\] in 0..1"),
        (module, inputs, labels - 100, "cross-entropy", "leave examples without a label out"),
        (module, inputs, labels, "squared-error", "targets of shape"),
        (module, inputs, torch.ones(5, 2), "cross-entropy", "sum to 1"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Conv1d(3, 2, 1), nn.Flatten()),
         torch.randn(5, 3, 2), labels, "cross-entropy", "depend on the others"),
        (nn.Flatten(0), inputs, labels, "cross-entropy", "row of outputs"),
    ]  # fmt: skip
    for network, examples, targets, loss, words in cases:
        network = nn.Sequential(nn.Identity(), network, nn.Identity())
        if not any(True for _ in network.parameters()):
            network[0] = nn.Linear(3, 3)
        problem = replace(Problem.of(network), inputs=examples, labels=targets, loss=loss)  # past the checks of `of`
        for estimate in (ggn_diagonal, fisher_diagonal, monte_carlo_diagonal):
            with pytest.raises(ValueError, match=words):
                estimate(problem)
    with pytest.raises(ValueError, match="give it data"):
        ggn_diagonal(Problem.of(module))
    problem = Problem.of(module, (inputs, labels))
    with pytest.raises(ValueError, match="chunk as a whole number of at least 1"):
        ggn_diagonal(problem, chunk=0)
    for estimate in (monte_carlo_diagonal, hutchinson_diagonal):
        with pytest.raises(ValueError, match="at least one draw"):
            estimate(problem, draws=0)


@pytest.mark.parametrize("make", [Twice, Tied, Besides])
def test_the_problem_stays_as_it_was(make: Callable[[], nn.Module]) -> None:
    problem = problem_of(make(), (3,))
    before = copy.deepcopy(problem.module.state_dict())
    for estimate in (ggn_diagonal, fisher_diagonal, monte_carlo_diagonal, hutchinson_diagonal):
        estimate(problem)
    assert all(torch.equal(value, before[name]) for name, value in problem.module.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in problem.module.parameters())
    assert not any(layer._forward_hooks for layer in problem.module.modules())
