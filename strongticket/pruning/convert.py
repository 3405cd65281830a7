"""Hand a pruned network on: to torch's own pruning, to sparse tensors, and back from weights with zeros."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from strongticket.mask import Mask

__all__ = ["Layout", "mask_of", "to_sparse", "to_torch_prune"]

Layout = Literal["coo", "csr", "semi-structured"]
"""coo and csr: torch's general sparse layouts (csr for matrices only). semi-structured: 2 of 4, which torch multiplies
with on CUDA devices of compute capability 8 and above."""


def mask_of(weights: nn.Module | Mapping[str, Tensor], names: Sequence[str] | None = None) -> Mask:
    """Return what is not 0, to take up a network that was pruned elsewhere.

    A weight that was kept and is exactly 0 counts as pruned: nobody can tell. Where `torch.nn.utils.prune` has left a
    buffer `NAME_mask`, that is the mask of NAME.

    Args:
        weights: a network or a state dict.
        names: parameters to look at; None: matrices and kernels (all floating-point tensors of two or more dimensions).

    Raises:
        KeyError: a name that is not there.

    >>> mask_of({"w": torch.tensor([[0.0, 1.5]]), "b": torch.tensor([0.0])})["w"]
    tensor([[False,  True]])
    """
    if isinstance(weights, nn.Module):
        parameters, buffers = dict(weights.named_parameters()), dict(weights.named_buffers())
        weights = parameters | {mark: buffers[mark] for mark in _marks(parameters).values() if mark in buffers}
    weights = _as_they_act(weights)
    if names is None:
        names = [name for name, value in weights.items() if value.ndim >= 2 and value.is_floating_point()]
    unknown = [name for name in names if name not in weights]
    if unknown:
        raise KeyError(f"there are no weights {unknown}, expected names among {list(weights)}")
    return Mask({name: weights[name] != 0 for name in names})


def _marks(names: Iterable[str]) -> dict[str, str]:
    """Where torch's own pruning keeps the masks: {NAME_orig: NAME_mask}."""
    return {name: f"{name.removesuffix('_orig')}_mask" for name in names if name.endswith("_orig")}


def _as_they_act(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under NAME the mask that torch's own pruning multiplies NAME_orig with; all else as it is."""
    marks = {name: mark for name, mark in _marks(weights).items() if mark in weights}
    return {
        name.removesuffix("_orig") if name in marks else name: weights[marks.get(name, name)].detach()
        for name in weights
        if name not in marks.values()
    }


def to_torch_prune(module: nn.Module, mask: Mask) -> nn.Module:
    """Return a copy of a network with the mask in the form of `torch.nn.utils.prune`.

    Each parameter of the mask becomes `NAME_orig` with a buffer `NAME_mask`, multiplied at every forward pass;
    `torch.nn.utils.prune.remove(layer, NAME)` makes the zeros permanent.

    Raises:
        AttributeError: a parameter of the mask is not in the network.
        ValueError: shapes differ.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> pruned = to_torch_prune(layer, Mask({"weight": torch.tensor([[True, False]])}))
    >>> sorted(pruned.state_dict()), pruned.weight[0, 1].item() == 0
    (['weight_mask', 'weight_orig'], True)
    """
    module = copy.deepcopy(module)
    for name, shape in mask.shapes.items():
        parameter = module.get_parameter(name)
        if tuple(parameter.shape) != shape:
            raise ValueError(f"the mask of {name} has shape {shape}, the parameter {tuple(parameter.shape)}")
        owner, _, attribute = name.rpartition(".")
        kept = mask[name].to(parameter)  # torch wants numbers
        torch_prune.custom_from_mask(module.get_submodule(owner), attribute, kept)  # type: ignore[no-untyped-call]
    return module


def to_sparse(weight: Tensor, layout: Layout = "csr") -> Tensor:
    """Return the entries of a weight that are not 0 as a sparse tensor.

    Args:
        weight: real numbers, with zeros; a kernel for "coo", a matrix for every layout.
        layout: see `Layout`.

    Raises:
        ValueError: an unknown layout, or a weight that the layout cannot hold, saying why.

    >>> int(to_sparse(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).values().numel())
    1
    """
    weight = weight.detach()
    if layout == "coo":
        return weight.to_sparse().coalesce()
    if layout not in ("csr", "semi-structured"):
        raise ValueError(f"expected the layout 'coo', 'csr' or 'semi-structured', got {layout!r}")
    if weight.ndim != 2:
        raise ValueError(f"{layout} holds matrices, got shape {tuple(weight.shape)}: flatten kernels, or use 'coo'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls both layouts beta
        return weight.to_sparse_csr() if layout == "csr" else _semi_structured(weight)


def _semi_structured(weight: Tensor) -> Tensor:
    rows, inputs = weight.shape
    if inputs % 4 or bool(((weight != 0).view(rows, -1, 4).sum(2) > 2).any()):
        raise ValueError("semi-structured needs at most 2 entries that are not 0 in each 4: prune with NofM(2, 4)")
    if weight.device.type != "cuda":
        raise ValueError(
            f"torch multiplies semi-structured weights on CUDA devices only, this one is on the {weight.device.type}: "
            "move it there, or use 'csr'"
        )
    if weight.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"semi-structured weights are float16 or bfloat16, got {weight.dtype}: convert first")
    try:
        return torch.sparse.to_sparse_semi_structured(weight)
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(f"torch cannot hold {rows}x{inputs} as 2 of 4 on this device: {error}") from error
