"""What all targets share: numbers that are finite and exact, a digest of them, and the file that holds them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from strongticket._files import canonical_json, sha256, write_atomically
from strongticket.ticket import AbstractArchitecture

__all__ = [
    "check_undamaged",
    "checked",
    "exact",
    "fitting",
    "largest",
    "numbers_digest",
    "read_numbers",
    "write_numbers",
]

_FORMAT = "strongticket-target/1"


def fitting(architecture: AbstractArchitecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of a target's weights, float32 or float64 and finite, in the architecture's order.

    Raises:
        ValueError: shapes that do not fit, or a NaN or infinite weight, named with its place.
    """
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if given != dict(architecture.shapes):
        raise ValueError(f"the weights {given} do not fit {architecture.id}: {dict(architecture.shapes)}")
    return {name: checked(name, weights[name]) for name in architecture.shapes}


def checked(name: str, value: Tensor) -> Tensor:
    """Return a copy of a target's numbers, float32 or float64 and finite.

    Raises:
        ValueError: they are not, named with the first place.
    """
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


def exact(value: Tensor) -> NDArray[np.float64]:
    """Return numbers in float64, which is exact, as an array that cannot be written to."""
    array: NDArray[np.float64] = value.numpy().astype(np.float64)
    array.setflags(write=False)
    return array


def largest(weights: Mapping[str, Tensor]) -> float:
    """Return the largest absolute number."""
    return max((float(value.abs().max()) for value in weights.values() if value.numel()), default=0.0)


def numbers_digest(architecture: AbstractArchitecture, weights: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the architecture and of every number with its type."""
    parts = [architecture.id.encode()]
    for name, value in weights.items():
        parts += [f"\0{name}\0{value.dtype}\0".encode(), np.ascontiguousarray(value.numpy()).tobytes()]
    return sha256(*parts)


def write_numbers(
    path: str | os.PathLike[str], architecture: AbstractArchitecture, weights: Mapping[str, Tensor], digest: str
) -> Path:
    """Write a target as a safetensors file, whole or not at all."""
    tensors = {name: value.contiguous() for name, value in weights.items()}
    note = {"format": _FORMAT, "architecture": architecture.id, "order": list(tensors), "digest": digest}
    return write_atomically(path, save_safetensors(tensors, {"strongticket": canonical_json(note)}))


def read_numbers(path: str | os.PathLike[str], what: str, named: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors of a target file or of a state dict, and what our own files say of themselves.

    Args:
        path: a .pt or .pth state dict, a .npz file, or else a safetensors file.
        what: the network that the file should hold, for the message where it does not.
        named: what the names of such architectures begin with.

    Returns:
        The tensors in the order of their layers, and the note; empty for files of others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read, or is our own file of another kind of network.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no target file {path}: give a .safetensors, .pt or .npz file of {what}")
    data, note = path.read_bytes(), dict[str, Any]()
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
    own = str(note.get("architecture", named))
    if not own.startswith(named):
        raise ValueError(f"{path} holds {own[:40]}, not {what}: read it with strongticket.models.load_target")
    return state, note


def check_undamaged(path: str | os.PathLike[str], note: Mapping[str, Any], architecture: str, digest: str) -> None:
    """Refuse a target that is not the one that its file speaks of; files of others speak of none.

    Raises:
        ValueError: it is another.
    """
    if note and (architecture, digest) != (note.get("architecture"), note.get("digest")):
        raise ValueError(f"{path} is damaged: its numbers are not those that its digest speaks of; get the file again")


def _note(data: bytes) -> dict[str, Any]:
    """What our own target files say of themselves; empty for files of others."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    note = json.loads(header.get("__metadata__", {}).get("strongticket", "{}"))
    if not isinstance(note, dict) or note.get("format", _FORMAT) != _FORMAT:
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
