"""Targets beyond MLPs: what is read computes what the network did, and what cannot be read is named."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from strongticket.models import MLP, Affine, Graph, GraphTarget, Pad, Pointwise, Target, architecture, load_target
from strongticket.models.grammar import AbstractImageArchitecture
from strongticket.testing import targets


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and evaluation mode, every number of it drawn afresh."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                drawn = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(drawn + 0.3 if "var" in name else drawn - 0.4)
    return module


def same(module: nn.Module, inputs: tuple[int, ...], target: GraphTarget | None = None) -> GraphTarget:
    """Read the module and compare what it computes with what its graph computes."""
    found = GraphTarget.from_module(module, inputs) if target is None else target
    x = torch.randn(3, *inputs, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    wanted = module(x).detach()
    difference = float((found.module()(x) - wanted).abs().max())
    assert difference <= 1e-12 * max(1.0, float(wanted.abs().max()))
    assert float(wanted.abs().max()) > 0
    assert architecture(found.architecture.id) == found.architecture
    return found


@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "lenet5+bias",
        "conv2x0.25+bias",
        "conv4x0.25+1x28x28",
        "conv6x0.125",
        "resnet8",
        "resnet8x0.5+pad",
        "resnet20x0.5+affine+bias",
        "resnet20x0.5+affine+pad",
        "resnet18-cifarx0.125",
        "resnet50-cifarx0.0625",
        "vgg11x0.125",
        "vgg-smallx0.0625+affine",
        "resnet18x0.0625+affine+bias+3x64x64",
    ],
)
def test_named_networks_are_read(name: str) -> None:
    net = architecture(name)
    assert isinstance(net, AbstractImageArchitecture)
    zeros = {parameter: torch.zeros(shape) for parameter, shape in net.shapes.items()}
    module = randomised(net.module(zeros | net.initial_state()))
    target = same(module, net.inputs)
    again = GraphTarget.from_state(name, module.state_dict())
    assert again.digest == target.digest
    if "+pad" in name:
        assert sum(isinstance(step, Pad) for step in target.architecture.steps) == 2  # a slice and a pad are one step


class Tutorial(nn.Module):
    """A network as tutorials write it: functions, and a view with a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 20), nn.Linear(20, 10)
        self.drop = nn.Dropout2d()

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = self.drop(F.max_pool2d(torch.relu(self.conv2(x)), 2))
        x = x.view(-1, 16 * 5 * 5)
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        return self.fc2(x)


class Block(nn.Module):
    """A block of torchvision's networks, with ReLU and sum in place, and everything else that may be said twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(8, 8, 3, padding="same", dilation=2)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(4, 8, 1, stride=2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn3(x))  # normalisation with no layer before it
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.down(x)
        out = self.relu(out)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(out, (1, 1)), 1))


class Overwriting(nn.Module):
    """ReLU in place changes what the sum adds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        g = self.b(F.relu_(h))
        return g + h


class OverwritingAgain(Overwriting):
    """The same said three other ways."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        g = self.b(F.relu(h, True))
        h += g
        k = self.b(h.relu_())
        k.add_(F.relu(h, inplace=True))
        return k + h


class Shared(nn.Module):
    """A layer used twice, normalisation whose input is read twice, weights times a mask, a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 3, 3, padding=1), nn.BatchNorm1d(3)
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.register_buffer("mask", torch.ones(4, 3))
        self.pool = nn.AvgPool1d(2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        h = self.conv(torch.relu(h + self.norm(h)))
        h = self.pool(h).relu()
        return F.linear(h.mean(dim=-1), self.weight * self.mask)


def dense(*sizes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *[nn.Linear(a, b) for a, b in pairwise(sizes)])


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (Tutorial(), (3, 32, 32)),
        (Block(), (4, 9, 7)),
        (Overwriting(), (5,)),
        (OverwritingAgain(), (5,)),
        (Shared(), (3, 9)),
        (dense(12, 5, 2), (3, 2, 2)),
        (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2)), (4,)),
        (nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.AdaptiveMaxPool3d((1, 3, None))), (2, 3, 4, 2)),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.Identity(), nn.BatchNorm2d(2, affine=False), nn.AvgPool2d(2)), (2, 7, 6)),
    ],
)  # fmt: skip
def test_networks_of_ones_own_are_read(module: nn.Module, inputs: tuple[int, ...]) -> None:
    same(randomised(module), inputs)


def test_normalisation_costs_a_layer_only_where_it_cannot_be_folded() -> None:
    graph = GraphTarget.from_module(randomised(Block()), (4, 9, 7)).architecture
    assert [graph.layer(k).groups for k in graph.affine] == [4, 2, 1, 1, 1]  # what normalises the input scales it
    graph = GraphTarget.from_module(randomised(Shared()), (3, 9)).architecture
    assert [graph.layer(k).groups for k in graph.affine] == [1, 3, 1, 1]  # the sum reads the layer before, too


def test_training_mode_does_not_change_what_is_read() -> None:
    module = randomised(Block())
    wanted = GraphTarget.from_module(module, (4, 9, 7)).digest
    assert GraphTarget.from_module(module.train(), (4, 9, 7)).digest == wanted
    assert module.training  # the network given is left as it was
    assert module.bn1.training


def test_numbers_without_normalisation_are_kept_bit_for_bit() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    target = GraphTarget.from_module(module, (2, 4, 4))
    assert torch.equal(target.weights["steps.0.weight"], module[0].weight.reshape(3, 2, 9))
    assert torch.equal(target.weights["steps.3.bias"], module[3].bias)
    assert target.layers[0].weight.dtype == "float64"
    x = torch.randn(2, 2, 4, 4)
    assert torch.allclose(target.module()(x), module(x), rtol=1e-5, atol=1e-6)


def test_folded_numbers_are_float64() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    target = GraphTarget.from_module(module, (1, 4, 4))
    assert {value.dtype for value in target.weights.values()} == {torch.float64}
    x = torch.randn(2, 1, 4, 4)
    assert torch.allclose(target.module()(x).float(), module(x), rtol=1e-4, atol=1e-5)


@given(target=targets(), seed=st.integers(0, 9))
def test_perceptrons_are_graphs_of_dense_layers(target: Target, seed: int) -> None:
    graph = GraphTarget.from_target(target)
    x = torch.randn(3, target.architecture.sizes[0], generator=torch.Generator().manual_seed(seed)).double()
    for own, layer in zip(graph.layers, target.layers, strict=True):
        assert (own.weight[:, :, 0] == layer.weight).all()
    wanted = target.architecture.module({name: value.double() for name, value in target.weights.items()})(x)
    found = graph.architecture.module({name: value.double() for name, value in graph.weights.items()})(x)
    assert torch.equal(found, wanted)
    traced = GraphTarget.from_module(target.module())
    assert traced.digest == graph.digest
    assert GraphTarget.from_module(graph.architecture.module(graph.weights)).digest == graph.digest


def test_other_activations_are_no_graph() -> None:
    mlp = MLP((2, 3, 1), activation="tanh")
    target = Target(mlp, {name: torch.ones(shape) for name, shape in mlp.shapes.items()})
    with pytest.raises(ValueError, match="tanh"):
        GraphTarget.from_target(target)
    with pytest.raises(TypeError, match=r"tanh|Tanh"):
        GraphTarget.from_module(target.module())


class Calls(nn.Module):
    """Call one function between two layers."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 2, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))  # type: ignore[operator]


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def hooked(module: nn.Module) -> nn.Module:
    module[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    return module


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sigmoid()), TypeError, r"the layer at 1 \(Sigmoid\) is not known"),
        (nn.Sequential(nn.Sequential(nn.GroupNorm(1, 2))), TypeError, r"the layer at 0.0 \(GroupNorm\) is not known"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")), TypeError, "pads by 'circular'"),
        (nn.Sequential(nn.Conv2d(2, 2, 2, padding="same")), TypeError, "use odd kernels"),
        (nn.Sequential(nn.Conv2d(2, 2, 9)), ValueError, r"the layer at 0 \(Conv2d\) does not fit"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), ValueError, r"the layer at 0 \(Conv2d\) does not fit"),
        (nn.Sequential(nn.Conv1d(2, 2, 3)), TypeError, "has a kernel of"),
        (nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)), TypeError, "no running statistics"),
        (nn.Sequential(nn.Identity(), nn.MaxPool2d(2, ceil_mode=True)), TypeError, "at 1 .*ceil_mode"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), TypeError, "dilated"),
        (nn.Sequential(nn.AvgPool2d(2, padding=1, count_include_pad=False)), TypeError, "size of its kernel"),
        (nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), TypeError, "size of its kernel"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(4)), TypeError, "4, 4.* equal parts"),
        (nn.Sequential(nn.Linear(6, 2)), TypeError, "flatten them first"),
        (nn.Sequential(nn.Flatten(2)), TypeError, "flattens dimensions 2 to -1"),
        (nn.Sequential(nn.MaxPool2d((2, 1), ceil_mode=True), nn.ReLU()), ValueError, "has no weights"),
        (Calls(lambda x: x * 2), TypeError, "the operation mul .*is not known"),
        (Calls(lambda x: x.sigmoid()), TypeError, "the operation sigmoid"),
        (Calls(torch.tanh), TypeError, "the operation tanh"),
        (Calls(lambda x: torch.cat([x, x], 1)), TypeError, "the operation cat"),
        (Calls(lambda x: x + 1.0), TypeError, "no value of the network"),
        (Calls(lambda x: torch.add(x, x, alpha=2)), TypeError, "or scales it"),
        (Calls(lambda x: x + x[:, :, ::2, ::2]), TypeError, "which differ"),
        (Calls(lambda x: x[:, :1]), TypeError, "picks parts"),
        (Calls(lambda x: x[:, :, ::2]), TypeError, "picks parts"),
        (Calls(lambda x: x[0]), TypeError, "picks parts"),
        (Calls(lambda x: F.pad(x, (1, 1))), TypeError, "pads positions"),
        (Calls(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1), value=1.0)), TypeError, "pads positions"),
        (Calls(lambda x: F.pad(x, (0, 0, 0, 0, -1, 1))), TypeError, "the operation pad .*cuts channels off"),
        (Calls(F.dropout), TypeError, "at random whenever"),
        (Calls(lambda x: x.mean(1)), TypeError, "mean over all positions"),
        (Calls(lambda x: x.view(2, -1)), TypeError, "flattens all but the batch"),
        (Calls(lambda x: x.view(x.size(0), 36, 2)), TypeError, "flattens all but the batch"),
        (Calls(lambda x: (x.flatten(1).relu_(), x)[1]), TypeError, "overwrites numbers"),
        (Calls(lambda x: (x, x)), TypeError, "returns a tuple"),
        (Calls(lambda x: x.dtype), TypeError, "asks for dtype"),
        (TwoInputs(), TypeError, "takes y besides its input"),
        (Deciding(), TypeError, "cannot be followed by torch.fx"),
        (hooked(nn.Sequential(nn.Conv2d(2, 2, 3))), TypeError, "0 has forward hooks"),
    ],
)  # fmt: skip
def test_networks_that_are_no_graph_are_refused(module: nn.Module, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GraphTarget.from_module(module, (2, 6, 7))


def test_the_shape_of_inputs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="give inputs="):
        GraphTarget.from_module(nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    assert GraphTarget.from_module(dense(4, 2)).architecture.inputs == (4,)


def small() -> GraphTarget:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 2))
    return GraphTarget.from_module(randomised(module), (1, 4, 4))


def test_files_keep_every_bit(tmp_path: Path) -> None:
    target = small()
    path = target.save(tmp_path / "t.safetensors")
    for again in (GraphTarget.load(path), load_target(path)):
        assert isinstance(again, GraphTarget)
        assert again.architecture == target.architecture
        assert again.digest == target.digest
    mlp = Target.from_module(dense(4, 3)[1])
    found = load_target(mlp.save(tmp_path / "m.safetensors"))
    assert isinstance(found, Target)
    assert found.digest == mlp.digest


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    target = small()
    path = target.save(tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match=r"holds graph-.*load_target"):
        Target.load(path)
    with pytest.raises(ValueError, match=r"holds mlp-.*load_target"):
        GraphTarget.load(Target.from_module(dense(4, 3)[1]).save(tmp_path / "m.safetensors"))
    torch.save(dict(target.weights), tmp_path / "s.pt")
    with pytest.raises(ValueError, match=r"GraphTarget.from_state"):
        GraphTarget.load(tmp_path / "s.pt")
    with pytest.raises(FileNotFoundError, match="no target file"):
        load_target(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="not a readable target file"):
        GraphTarget.load(tmp_path / "junk.safetensors")


@pytest.mark.parametrize("fault", ["number", "architecture", "no architecture", "shape"])
def test_damaged_files_are_refused(tmp_path: Path, fault: str) -> None:
    target = small()
    path = target.save(tmp_path / "t.safetensors")
    tensors = load_file(path)
    note = {"format": "strongticket-target/1", "architecture": target.architecture.id, "order": list(target.weights)}
    note["digest"] = target.digest
    if fault == "number":
        tensors["steps.0.bias"] += 1
    elif fault == "architecture":
        note["architecture"] = target.architecture.id.replace("_relu_dense:2", "_dense:2").replace("steps.5", "steps.4")
    elif fault == "no architecture":
        note["architecture"] = "graph-1"
    else:
        tensors["steps.0.bias"] = torch.zeros(3, dtype=torch.float64)
    save_file(tensors, path, {"strongticket": json.dumps(note)})
    with pytest.raises(ValueError, match=r"damaged|no architecture is named"):
        GraphTarget.load(path)


def test_bad_numbers_are_refused() -> None:
    target = small()
    weights = dict(target.weights)
    weights["steps.0.weight"] = weights["steps.0.weight"].clone()
    weights["steps.0.weight"][1, 0, 4] = float("nan")
    with pytest.raises(ValueError, match=r"steps.0.weight\[1, 0, 4\] of the target is nan"):
        GraphTarget(target.architecture, weights)
    with pytest.raises(ValueError, match="do not fit"):
        GraphTarget(target.architecture, {})
    with pytest.raises(TypeError, match="an MLP has a Target"):
        GraphTarget(MLP((2, 2)), {})  # type: ignore[arg-type]


def test_numbers_of_two_types_run_in_the_larger() -> None:
    target = small()
    weights = {name: value.float() if "bias" in name else value for name, value in target.weights.items()}
    mixed = GraphTarget(target.architecture, weights)
    assert mixed.module()(torch.zeros(1, 1, 4, 4)).dtype == torch.float64
    assert isinstance(mixed.architecture, Graph)
    assert mixed.largest == max(float(value.abs().max()) for value in weights.values())


def test_one_network_has_one_digest_in_whatever_order_its_numbers_come() -> None:
    graph = Graph((2,), (Affine(Pointwise(), 2, 2, bias=True),))
    weights = {"steps.0.weight": torch.ones(2, 2, 1), "steps.0.bias": torch.zeros(2)}
    one, other = (GraphTarget(graph, dict(sorted(weights.items(), reverse=back))) for back in (False, True))
    assert list(one.weights) == list(other.weights) == list(graph.shapes)
    assert one.digest == other.digest
