"""The 1990 back-propagation of second derivatives against its own closed form, and where it is exact and where not."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from strongticket.models import MLP, CifarResNet, LeNet5, TokenTransformer, Vgg
from strongticket.pruning import Loss, Problem, loss_function
from strongticket.pruning.curvature.diagonal import ggn_diagonal
from strongticket.pruning.curvature.recursion import recursion_diagonal

with warnings.catch_warnings():  # torch loads its forward mode at first use, by a function that it calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.func.hessian(lambda one: one.square().sum())(torch.ones(1))


def problem_of(module: nn.Module, shape: tuple[int, ...], loss: Loss = "cross-entropy", *, n: int = 5) -> Problem:
    inputs = torch.randn(n, *shape, dtype=torch.float64)
    module = module.double().eval()
    outputs = module(inputs).detach()
    labels = torch.randn_like(outputs) if loss == "squared-error" else torch.randint(outputs.shape[1], (n,))
    names = [
        f"{name}.{leaf}"
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        for leaf, _ in layer.named_parameters()
    ]
    return Problem.of(module, (inputs, labels), names=names, loss=loss)


def hessian_diagonal(problem: Problem, name: str) -> Tensor:
    inputs, labels = problem.data
    weight = problem.weights[name]

    def loss(value: Tensor) -> Tensor:
        outputs = torch.func.functional_call(problem.module, {name: value}, (inputs,))
        return loss_function(problem.loss)(outputs, labels)

    dense = torch.func.hessian(loss)(weight).reshape(weight.numel(), weight.numel())
    return dense.diagonal().reshape(weight.shape)


def literal(problem: Problem, second: bool) -> list[list[list[float]]]:
    """The paper's recursion, number by number, for Linear layers 0, 2, 4, ... with tanh between them and bias."""
    layers = [layer for layer in problem.module if isinstance(layer, nn.Linear)]
    weights = [layer.weight.tolist() for layer in layers]
    total = [[[0.0] * len(row) for row in weight] for weight in weights]
    for example, label in zip(*problem.data, strict=True):
        states = [example.tolist()]
        for depth, layer in enumerate(layers):
            sums = [
                sum(w * x for w, x in zip(row, states[-1], strict=True)) + float(layer.bias[i])
                for i, row in enumerate(weights[depth])
            ]
            states.append(sums if depth == len(layers) - 1 else [math.tanh(one) for one in sums])
        if problem.loss == "cross-entropy":
            top = sum(math.exp(one) for one in states[-1])
            p = [math.exp(one) / top for one in states[-1]]
            curves, slopes = [one * (1 - one) for one in p], [one - (i == int(label)) for i, one in enumerate(p)]
        else:
            curves = [1.0] * len(states[-1])
            slopes = [one - float(target) for one, target in zip(states[-1], label, strict=True)]
        for depth in reversed(range(len(layers))):
            for i, row in enumerate(total[depth]):
                for j in range(len(row)):
                    row[j] += curves[i] * states[depth][j] ** 2 / len(problem.data[0])
            before, found = [], []
            for j, x in enumerate(states[depth]):
                first, bend = 1 - x * x, -2 * x * (1 - x * x)  # of tanh, in its own outputs
                back = sum(weights[depth][i][j] * slopes[i] for i in range(len(slopes)))
                curved = sum(weights[depth][i][j] ** 2 * curves[i] for i in range(len(curves)))
                found.append(first**2 * curved + (bend * back if second else 0.0))
                before.append(first * back)
            curves, slopes = found, before
    return total


def tanh_net(*sizes: int) -> nn.Sequential:
    module = nn.Sequential()
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if i:
            module.append(nn.Tanh())
        module.append(nn.Linear(inputs, outputs))
    return module


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("sizes", [(3, 4, 2), (2, 3, 4, 3)])
def test_it_is_the_recursion_of_the_paper(sizes: tuple[int, ...], loss: Loss, second: bool) -> None:
    problem = problem_of(tanh_net(*sizes), sizes[:1], loss)
    found = recursion_diagonal(problem, second=second, chunk=2)
    for i, wanted in enumerate(literal(problem, second)):
        assert torch.allclose(found[f"{2 * i}.weight"], torch.tensor(wanted, dtype=torch.float64), rtol=1e-11)


def test_the_second_derivative_of_the_activation_comes_with_a_plus() -> None:
    """With one output each first weight reaches the loss through one path, so the recursion is the whole truth."""
    for activation in (nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.GELU()):
        module = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 1))
        problem = problem_of(module, (3,), "squared-error")
        found, without = recursion_diagonal(problem), recursion_diagonal(problem, second=False)
        for name in problem.names:
            exact = hessian_diagonal(problem, name)
            assert torch.allclose(found[name], exact, rtol=1e-10, atol=1e-13), (activation, name)
        exact = hessian_diagonal(problem, "0.weight")
        wrong = 2 * without["0.weight"] - found["0.weight"]  # the same with a minus
        assert float((wrong - exact).abs().max()) > 0.01 * float(exact.abs().max())


def test_an_activation_at_the_output() -> None:
    problem = problem_of(nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()), (3,), "squared-error")
    assert torch.allclose(recursion_diagonal(problem)["0.weight"], hessian_diagonal(problem, "0.weight"), rtol=1e-10)


@pytest.mark.parametrize("second", [True, False])
def test_it_is_exact_in_the_last_layer_and_not_before_it(second: bool) -> None:
    for activation in (nn.ReLU(), nn.Tanh()):
        module = nn.Sequential(nn.Linear(4, 5), activation, nn.Linear(5, 5), activation, nn.Linear(5, 3))
        problem = problem_of(module, (4,), n=20)
        found, exact = recursion_diagonal(problem, second=second), ggn_diagonal(problem)
        for leaf in ("weight", "bias"):
            assert torch.allclose(found[f"4.{leaf}"], exact[f"4.{leaf}"], rtol=1e-11)
            assert torch.allclose(found[f"4.{leaf}"], hessian_diagonal(problem, f"4.{leaf}"), rtol=1e-10)
        for name in ("0.weight", "2.weight"):
            error = (found[name] - hessian_diagonal(problem, name)).abs().max()
            assert float(error) > 0.01 * float(exact[name].max())


def test_under_squared_error_the_layer_before_the_last_is_exact_too() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    problem = problem_of(module, (4,), "squared-error", n=10)
    found = recursion_diagonal(problem)
    for name in ("2.weight", "4.weight"):
        assert torch.allclose(found[name], hessian_diagonal(problem, name), rtol=1e-10, atol=1e-13)
    assert not torch.allclose(found["0.weight"], hessian_diagonal(problem, "0.weight"), rtol=1e-2)


def test_the_levenberg_marquardt_form_is_never_negative_and_the_other_may_be() -> None:
    problem = problem_of(tanh_net(3, 6, 2), (3,), "squared-error")
    assert bool((recursion_diagonal(problem, second=False)["0.weight"] >= 0).all())
    assert bool((recursion_diagonal(problem)["0.weight"] < 0).any())


def dense_recursion(module: nn.Sequential, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The same rule for any Sequential, by the literal Jacobian of each step, squared entry by entry."""
    found: dict[str, Tensor] = {}
    for example, label in zip(inputs, labels, strict=True):
        states = [example[None]]
        for layer in module:
            states.append(layer(states[-1]).detach())
        p = states[-1].softmax(1)
        curve, slope = p * (1 - p), p - functional.one_hot(label, p.shape[1])
        for i, layer in reversed(list(enumerate(module))):
            at = states[i]
            for leaf, value in dict(layer.named_parameters()).items():
                # every use of the weight apart: a weight's Jacobian at inputs x squared, were no position shared
                uses = torch.func.jacrev(
                    lambda v, layer=layer, leaf=leaf, at=at: torch.func.functional_call(layer, {leaf: v}, (at,))
                )(value)
                made = torch.einsum("oi,o->i", uses.reshape(curve.numel(), -1).square(), curve.flatten())
                found[f"{i}.{leaf}"] = found.get(f"{i}.{leaf}", 0) + made.reshape(value.shape) / len(inputs)
            jacobian = torch.func.jacrev(layer)(at).reshape(curve.numel(), at.numel())
            new = (jacobian.square().T @ curve.flatten()).reshape(at.shape)
            if isinstance(layer, nn.Tanh):
                x = states[i + 1]
                new = new - 2 * x * (1 - x * x) * slope
            curve, slope = new, (jacobian.T @ slope.flatten()).reshape(at.shape)
    return found


def pools() -> nn.Sequential:
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2, groups=2))
    return module.extend([nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(8, 3)])


def adaptive() -> nn.Sequential:
    norm = nn.BatchNorm2d(3)
    norm.running_var.uniform_(0.5, 2)
    norm.running_mean.normal_()
    module = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), norm, nn.Tanh(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())
    return module.extend([nn.Dropout(), nn.Linear(6, 3)])


def line() -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.AvgPool1d(3, padding=1), nn.Flatten(), nn.Linear(6, 2))


@pytest.mark.parametrize(("make", "shape"), [(pools, (1, 8, 6)), (adaptive, (2, 9, 9)), (line, (2, 6))])
def test_layers_of_every_kind_square_their_coefficients(
    make: Callable[[], nn.Sequential], shape: tuple[int, ...]
) -> None:
    problem = problem_of(make(), shape)
    found, wanted = recursion_diagonal(problem), dense_recursion(problem.module, *problem.data)
    for name, one in found.items():
        assert torch.allclose(one, wanted[name], rtol=1e-10, atol=1e-14), name


class Forked(nn.Module):
    """A residual network with in-place activations, sizes that are asked for, and a value added to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.first(inputs.view(inputs.size(0), -1)))
        hidden = hidden + self.second(hidden)
        hidden += hidden
        return self.last(functional.relu(hidden))


def test_residual_networks_add_what_comes_back() -> None:
    problem = problem_of(Forked(), (2, 2))
    found = recursion_diagonal(problem)
    module, inputs = problem.module, problem.data[0]
    first = torch.relu(module.first(inputs.flatten(1)))
    middle = 2 * (first + module.second(first))
    p = module.last(torch.relu(middle)).softmax(1)
    at_middle = 4 * (p * (1 - p)) @ module.last.weight.square() * (middle > 0)
    at_first = (at_middle + at_middle @ module.second.weight.square()) * (first > 0)
    assert torch.allclose(found["second.weight"], at_middle.T @ first.square() / len(inputs), rtol=1e-10)
    assert torch.allclose(found["first.weight"], at_first.T @ inputs.flatten(1).square() / len(inputs), rtol=1e-10)
    assert torch.allclose(found["first.bias"], at_first.mean(0), rtol=1e-10)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        (MLP((12, 5, 4), bias=True), (3, 4)),
        (LeNet5(width=0.5, inputs=(1, 12, 12), classes=3), (1, 12, 12)),
        (Vgg("vgg11", width=0.05, classes=3), (3, 32, 32)),
        (CifarResNet("resnet8", width=0.2, classes=3), (3, 8, 8)),
        (CifarResNet("resnet8", width=0.2, classes=3, pad=True), (3, 8, 8)),
    ],
    ids=lambda one: getattr(one, "id", ""),
)
def test_named_networks(architecture: MLP | LeNet5 | Vgg | CifarResNet, shape: tuple[int, ...]) -> None:
    values = {name: torch.randn(size) / math.prod(size[1:]) ** 0.5 for name, size in architecture.shapes.items()}
    module = architecture.module(values | architecture.initial_state() if architecture.state else values)
    problem = problem_of(module, shape, n=2)
    found, exact = recursion_diagonal(problem, second=False), ggn_diagonal(problem)
    last = next(name for name in reversed(problem.names) if name.endswith("weight"))
    assert torch.allclose(found[last], exact[last], rtol=1e-9)
    assert all(bool((one >= 0).all()) and float(one.max()) > 0 for one in found.values())


def test_shared_layers_sum_over_their_uses() -> None:
    shared = nn.Linear(3, 3)
    problem = problem_of(nn.Sequential(shared, nn.ReLU(), shared), (3,))
    separate = Problem.of(
        nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).double(),
        problem.data,
        names=("0.weight", "2.weight"),
    )
    weights = problem.module[0].state_dict()
    for i in (0, 2):
        separate.module[i].load_state_dict(weights)
    parts = recursion_diagonal(separate)
    assert torch.allclose(recursion_diagonal(problem)["0.weight"], parts["0.weight"] + parts["2.weight"], rtol=1e-12)


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) * inputs


class Overwritten(Product):
    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.layer(inputs)
        return hidden.relu_() + hidden


class Choosing(Product):
    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) if inputs.sum() > 0 else inputs


def test_other_networks_are_refused_by_name() -> None:
    data = torch.randn(4, 3), torch.zeros(4).long()
    for module, words in (
        (Product(), "no rule for mul of 2 tensors"),
        (Choosing(), "cannot trace"),
        (Overwritten(), "overwrite values that others read"),
        (nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), r"no rule for Softmax \(1\)"),
        (
            nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (1, 4)), nn.AdaptiveAvgPool1d(3), nn.Flatten()),
            "different sizes",
        ),
        (
            nn.Sequential(nn.Linear(3, 5), nn.Unflatten(1, (1, 5)), nn.AvgPool1d(2, ceil_mode=True), nn.Flatten()),
            "different sizes",
        ),
    ):
        with pytest.raises(ValueError, match=words) as refusal:
            recursion_diagonal(Problem.of(module, data))
        assert "use the Gauss-Newton diagonal" in str(refusal.value)
    embedding = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(4, 2))
    tokens = torch.zeros(4, 2).long(), torch.zeros(4).long()
    with pytest.raises(ValueError, match=r"no rule for 0.weight, of no Linear"):
        recursion_diagonal(Problem.of(embedding, tokens))
    only = Problem.of(embedding, tokens, names=["2.weight"])
    with pytest.raises(ValueError, match=r"no rule for Embedding \(0\)"):
        recursion_diagonal(only)
    transformer = TokenTransformer(1, 4, 2, vocabulary=5, length=3, classes=3)
    values = {name: torch.ones(size) for name, size in transformer.shapes.items()} | transformer.initial_state()
    with pytest.raises(ValueError, match="use the Gauss-Newton diagonal"):
        recursion_diagonal(Problem.of(transformer.module(values), (torch.zeros(4, 3).long(), data[1])))


def test_bad_data_is_refused_and_pruned_weights_have_none() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    data = torch.randn(4, 3), torch.zeros(4).long()
    with pytest.raises(ValueError, match="labels"):
        recursion_diagonal(Problem.of(module, (data[0], data[1] + 5)))
    with pytest.raises(ValueError, match="give it data"):
        recursion_diagonal(Problem.of(module))
    with pytest.raises(ValueError, match="chunk as a whole number of at least 1"):
        recursion_diagonal(Problem.of(module, data), chunk=0)
    mask = {"0.weight": torch.eye(3).bool(), "2.weight": torch.zeros(2, 3).bool()}
    problem = Problem.of(module, data)
    found = recursion_diagonal(problem.at({}, type(problem.start)(mask)))
    assert not bool(found["0.weight"][~mask["0.weight"]].any())
    assert not bool(found["2.weight"].any())


class Summed(nn.Module):
    """Two branches that `torch.add` sums, by position or by keyword."""

    def __init__(self, keyword: bool) -> None:
        super().__init__()
        self.keyword = keyword
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.a(x), other=self.b(x)) if self.keyword else self.a(x) + self.b(x)


def test_a_sum_by_keyword_is_the_same_sum() -> None:
    positional, keyword = Summed(False), Summed(True)
    keyword.load_state_dict(positional.state_dict())
    data = torch.randn(6, 4), torch.arange(6) % 3
    ours, theirs = (recursion_diagonal(Problem.of(module, data)) for module in (keyword, positional))
    assert float(theirs["b.weight"].min()) > 0
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)
