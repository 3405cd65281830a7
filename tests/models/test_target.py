"""Targets from modules and files: every number exact, everything else refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from safetensors.torch import save_file
from torch import nn

from strongticket.models import MLP, Target
from strongticket.testing import targets


class Residual(nn.Sequential):
    """Looks like a Sequential, computes something else."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs + super().forward(inputs)


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda _module, _inputs, output: output * 2)
    return module


def test_a_module_used_twice_counts_twice() -> None:
    shared, relu = nn.Linear(3, 3), nn.ReLU()
    module = nn.Sequential(nn.Flatten(), shared, relu, shared, relu, nn.Linear(3, 2))
    target = Target.from_module(module)
    assert target.architecture == MLP((3, 3, 3, 2), bias=True)
    inputs = torch.randn(5, 3)
    assert torch.equal(target.module()(inputs), module(inputs))


@given(target=targets())
def test_files_keep_every_bit(target: Target, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = target.save(tmp_path_factory.mktemp("target") / "t.safetensors")
    again = Target.load(path)
    assert again.digest == target.digest
    assert again.architecture == target.architecture
    for name, value in target.weights.items():
        assert torch.equal(again.weights[name], value)
    assert Target.from_module(target.module()).digest == target.digest


def test_layers_are_exact_in_float64() -> None:
    module = nn.Linear(3, 2)
    (layer,) = Target.from_module(module).layers
    assert layer.bias is not None
    assert np.array_equal(layer.weight.astype(np.float32), module.weight.detach().numpy())
    assert np.array_equal(layer.bias.astype(np.float32), module.bias.detach().numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_kept_exactly(dtype: torch.dtype) -> None:
    module = nn.Linear(3, 2).to(dtype)
    (layer,) = Target.from_module(module).layers
    assert np.array_equal(layer.weight, module.weight.detach().double().numpy())


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_state_dicts_of_others_are_read_in_layer_order(tmp_path: Path, suffix: str) -> None:
    names = [f"fc{i}" for i in range(1, 12)]  # fc10 comes after fc9
    sizes = [*range(2, 14)]
    state = {}
    for name, inputs, outputs in zip(names, sizes, sizes[1:], strict=False):
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(outputs, inputs), torch.randn(outputs)
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    elif suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        save_file(state, path)
    target = Target.load(path)
    assert target.architecture == MLP(tuple(sizes), bias=True)
    assert torch.equal(target.weights["layers.10.bias"], state["fc11.bias"])


def test_a_layer_without_bias_among_others_gets_zeros() -> None:
    target = Target.from_module(nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)))
    assert target.architecture.bias
    assert torch.equal(target.weights["layers.0.bias"], torch.zeros(2))


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (nn.Conv2d(1, 1, 3), TypeError, "Conv2d"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softsign(), nn.Linear(2, 2)), TypeError, "at 1 is Softsign"),
        (nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.2), nn.Linear(2, 2)), TypeError, "at 1 has slope 0.2"),
        (nn.Sequential(nn.Linear(2, 3), nn.Tanh()), ValueError, "ends with a Tanh"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)),
            ValueError,
            "tanh at 1 and relu at 3; the hidden layers of a target share one",
        ),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 2)), TypeError, "BatchNorm1d"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), ValueError, "without a ReLU between"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), ValueError, "ends with a ReLU"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 3)), ValueError, "does not follow a Linear"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(2, 3)), ValueError, "3 outputs and the next one 2 inputs"),
        (nn.Sequential(nn.Flatten()), ValueError, "no Linear layer"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(2, 2)), TypeError, "at 0 is Flatten"),
        (Residual(nn.Linear(2, 2)), TypeError, "Residual"),
        (hooked(nn.Linear(2, 2)), TypeError, "forward hooks"),
    ],
)
def test_networks_that_are_no_mlp_are_refused(module: nn.Module, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Target.from_module(module)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 64, b"PK\x03\x04 no zip"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz", ".pth", ""])
def test_files_that_are_no_target_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable target file"):
        Target.load(path)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"fc.weight": Trap()}, tmp_path / "t.pt")
    with pytest.raises(ValueError, match="not a readable target file"):
        Target.load(tmp_path / "t.pt")
    assert not (tmp_path / "ran").exists()


def test_one_network_has_one_digest_in_whatever_order_its_numbers_come() -> None:
    target = Target.from_module(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    backwards = Target(target.architecture, dict(reversed(list(target.weights.items()))))
    assert backwards.digest == target.digest
    assert list(backwards.weights) == list(target.architecture.shapes)
