"""The target network: what a ticket shall compute. Read from any module or file, held as exact numbers."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from strongticket._files import canonical_json, sha256, write_atomically
from strongticket.models.mlp import MLP, MLPModule, linear

__all__ = ["Layer", "Target"]

_TRANSPARENT = (nn.Identity, nn.Dropout, nn.AlphaDropout)


@dataclass(frozen=True)
class Layer:
    """One affine layer of a target in float64, exact: the stored numbers are float32 or float64."""

    weight: NDArray[np.float64]  # [outputs, inputs]
    bias: NDArray[np.float64] | None  # [outputs]


@dataclass(frozen=True, eq=False)
class Target:
    """Hold a trained ReLU network as numbers: an architecture and a finite float32 or float64 value per weight.

    Args:
        architecture: an `MLP`.
        weights: {parameter name: tensor} with the architecture's shapes; float16 and bfloat16 become float32, exactly.

    Raises:
        ValueError: shapes that do not fit, or a NaN or infinite weight, named with its place.

    >>> module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> Target.from_module(module).architecture.id
    'mlp-4-3-2+bias'
    """

    architecture: MLP
    weights: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        given = {name: tuple(value.shape) for name, value in self.weights.items()}
        if given != dict(self.architecture.shapes):
            raise ValueError(f"the weights {given} do not fit {self.architecture.id}: {dict(self.architecture.shapes)}")
        object.__setattr__(self, "weights", {name: _checked(name, self.weights[name]) for name in given})

    @classmethod
    def from_module(cls, module: nn.Module) -> Target:
        """Read a network made of Linear and ReLU layers (Flatten, Identity and Dropout are passed through).

        Raises:
            TypeError: a layer that an MLP does not have, named with its place and type.
            ValueError: layers that do not alternate Linear, ReLU, ..., Linear.
        """
        linears = _linears(module)
        if not linears:
            raise ValueError(
                f"{type(module).__name__} has no Linear layer; a target is an MLP: Linear, ReLU, ..., Linear"
            )
        for first, second in pairwise(linears):
            if first.out_features != second.in_features:
                raise ValueError(
                    f"a layer has {first.out_features} outputs and the next one {second.in_features} inputs"
                )
        bias = any(layer.bias is not None for layer in linears)
        weights: dict[str, Tensor] = {}
        for i, layer in enumerate(linears):
            weights[MLP.weight_name(i)] = layer.weight
            if bias:
                zeros = torch.zeros(layer.out_features, dtype=layer.weight.dtype)
                weights[MLP.bias_name(i)] = zeros if layer.bias is None else layer.bias
        sizes = (linears[0].in_features, *(layer.out_features for layer in linears))
        return cls(MLP(sizes, bias), weights)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Target:
        """Read an MLP from a state dict: its matrices in their order are the layers, each with the bias beside it.

        A state dict does not say which activations are between the layers: ReLU is taken for granted.
        """
        matrices = [name for name, value in state.items() if name.endswith("weight") and value.dim() == 2]
        biases = {name: name.removesuffix("weight") + "bias" for name in matrices}
        strange = sorted(set(state) - set(matrices) - set(biases.values()))
        if not matrices or strange:
            raise ValueError(
                "a target file holds 2-d weights (and biases) of Linear layers only, in their order; "
                f"got {strange or 'no weights'}: save the state dict of an MLP, or use Target.from_module"
            )
        return cls.from_module(MLPModule([linear(state[name], state.get(biases[name])) for name in matrices]))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Target:
        """Read a target file: one that `save` wrote, or a state dict in .safetensors, .pt/.pth or .npz format.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a readable network of Linear layers.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"no target file {path}: give a .safetensors, .pt or .npz file of an MLP")
        data, note = path.read_bytes(), {}
        try:
            if path.suffix in (".pt", ".pth"):
                state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
                if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
                    raise ValueError("it holds no plain state dict")
            elif path.suffix == ".npz":
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            else:
                note = _note(data)
                state = _in_layer_order(load_safetensors(data), note)
        except (SafetensorError, ValueError, EOFError, OSError, RuntimeError, KeyError) as error:
            raise ValueError(
                f"{path} is not a readable target file (.safetensors, .pt state dict, .npz): {error}"
            ) from error
        except Exception as error:  # torch.load raises pickle.UnpicklingError and others on foreign files
            raise ValueError(f"{path} is not a readable target file: {type(error).__name__}: {error}") from error
        target = cls.from_state(state)
        if note and (target.architecture.id, target.digest) != (note.get("architecture"), note.get("digest")):
            raise ValueError(
                f"{path} is damaged: its numbers are not those that its digest speaks of; get the file again"
            )
        return target

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the target as a safetensors file, whole or not at all."""
        tensors = {name: value.contiguous() for name, value in self.weights.items()}
        note = canonical_json(
            {
                "format": "strongticket-target/1",
                "architecture": self.architecture.id,
                "order": list(tensors),
                "digest": self.digest,
            }
        )
        return write_atomically(path, save_safetensors(tensors, {"strongticket": note}))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The affine layers in float64, exact, first to last."""

        def array(name: str) -> NDArray[np.float64]:
            value: NDArray[np.float64] = self.weights[name].numpy().astype(np.float64)
            value.setflags(write=False)
            return value

        mlp = self.architecture
        return tuple(
            Layer(array(MLP.weight_name(i)), array(MLP.bias_name(i)) if mlp.bias else None) for i in range(mlp.depth)
        )

    def module(self) -> nn.Module:
        """Return the target as a network."""
        return self.architecture.module(self.weights)

    @cached_property
    def digest(self) -> str:
        """sha256 of the architecture and of every number with its type."""
        parts = [self.architecture.id.encode()]
        for name, value in self.weights.items():
            parts += [f"\0{name}\0{value.dtype}\0".encode(), np.ascontiguousarray(value.numpy()).tobytes()]
        return sha256(*parts)

    @property
    def largest(self) -> float:
        """The largest absolute weight or bias."""
        return max((float(value.abs().max()) for value in self.weights.values() if value.numel()), default=0.0)


def _checked(name: str, value: Tensor) -> Tensor:
    if value.dtype in (torch.float16, torch.bfloat16):
        value = value.float()
    if value.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} of the target has dtype {value.dtype}; expected a floating-point type")
    value = value.detach().cpu().clone()
    bad = (~torch.isfinite(value)).nonzero()
    if len(bad):
        place = tuple(bad[0].tolist())
        raise ValueError(f"{name}{list(place)} of the target is {float(value[place])}; every weight must be finite")
    return value


def _walk(module: nn.Module, place: str) -> Iterator[tuple[str, nn.Module]]:
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    if any(hooks):
        raise TypeError(
            f"{place or 'the module'} has forward hooks, which may change what it computes: remove them first"
        )
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module._modules.items():  # named_children() would leave out a module used twice
            assert child is not None
            yield from _walk(child, f"{place}.{name}" if place else name)
    elif isinstance(module, MLPModule):
        for i, layer in enumerate(module.layers):
            if i:
                yield place, nn.ReLU()
            yield f"{place}layers.{i}", layer
    else:
        yield place or "the module itself", module


def _linears(module: nn.Module) -> list[nn.Linear]:
    linears: list[nn.Linear] = []
    relu_between = True
    for place, layer in _walk(module, ""):
        if type(layer) is nn.Linear:
            if not relu_between:
                raise ValueError(f"the Linear at {place} follows another without a ReLU between them: merge the two")
            linears.append(layer)
            relu_between = False
        elif type(layer) is nn.ReLU:
            if relu_between:
                raise ValueError(f"the ReLU at {place} does not follow a Linear layer")
            relu_between = True
        elif type(layer) not in _TRANSPARENT and not _flattens(layer):
            raise TypeError(
                f"the layer at {place} is {type(layer).__name__}; a target here is an MLP of Linear and ReLU layers "
                "(nn.Sequential, or Target.from_state for a state dict)"
            )
    if linears and relu_between:
        raise ValueError("the network ends with a ReLU; a target ends with a Linear layer")
    return linears


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)


def _note(data: bytes) -> dict[str, Any]:
    """What our own target files say of themselves; empty for files of others."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    note = json.loads(header.get("__metadata__", {}).get("strongticket", "{}"))
    if not isinstance(note, dict) or note.get("format", "strongticket-target/1") != "strongticket-target/1":
        raise ValueError("its metadata is of an unknown format")
    return note


def _in_layer_order(state: dict[str, Tensor], note: dict[str, Any]) -> dict[str, Tensor]:
    # safetensors sorts names; our own files remember the order, foreign ones are put in natural order (fc2 before fc10)
    if note:
        order = note.get("order")
        if not isinstance(order, list) or sorted(map(str, order)) != sorted(state):
            raise ValueError("its metadata does not name the tensors it holds")
        return {name: state[name] for name in order}

    def natural(name: str) -> list[tuple[int, int, str]]:
        digits = "".join(c if c.isdigit() else f" {c} " for c in name).split()
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in digits]

    return {name: state[name] for name in sorted(state, key=natural)}
