"""Pruned networks handed on: torch's own pruning, sparse tensors, masks read off weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from strongticket import Mask
from strongticket.pruning import Magnitude, NofM, Problem, ScorePruner, mask_of, to_sparse, to_torch_prune


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


def test_torch_computes_the_same_and_masks_survive() -> None:
    pruned = ScorePruner(Magnitude()).prune(Problem.of(net()), 0.3)
    ours, inputs = pruned.module(), torch.randn(5, 1, 6, 6)
    theirs = to_torch_prune(pruned.original, pruned.mask)
    assert torch_prune.is_pruned(theirs)
    torch.testing.assert_close(theirs(inputs), ours(inputs))
    for name in pruned.mask:
        layer = theirs.get_submodule(name.rpartition(".")[0])
        assert torch.equal(layer.get_buffer("weight_mask").bool(), pruned.mask[name])
        torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    assert mask_of(theirs) == pruned.mask
    assert mask_of(ours) == pruned.mask
    assert mask_of(ours.state_dict()) == pruned.mask
    assert not hasattr(pruned.original[0], "weight_mask")  # type: ignore[index]
    assert list(mask_of(ours, ["4.weight"])) == ["4.weight"]


def test_sparse_tensors_hold_what_is_not_zero() -> None:
    pruned = ScorePruner(Magnitude()).prune(Problem.of(net()), 0.3)
    for weight in pruned.weights.values():
        coo = to_sparse(weight, "coo")
        assert torch.equal(coo.to_dense(), weight)
        assert coo.values().numel() == int(weight.count_nonzero())
    matrix = pruned.weights["2.weight"]
    csr = to_sparse(matrix)
    assert csr.layout == torch.sparse_csr
    assert torch.equal(csr.to_dense(), matrix)
    inputs = torch.randn(64, 2)
    torch.testing.assert_close(csr @ inputs, matrix @ inputs)


def test_layouts_that_cannot_hold_a_weight_say_why() -> None:
    with pytest.raises(ValueError, match="matrices"):
        to_sparse(torch.ones(2, 2, 3, 3))
    with pytest.raises(ValueError, match="expected the layout"):
        to_sparse(torch.ones(2, 2), "bsr")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"NofM\(2, 4\)"):
        to_sparse(torch.ones(8, 64), "semi-structured")
    two_of_four = ScorePruner(Magnitude(), structure=NofM(2, 4)).prune(Problem.of(nn.Linear(64, 32)), 0.5)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CUDA devices only"):
            to_sparse(two_of_four.weights["weight"].half(), "semi-structured")


@pytest.mark.gpu
def test_two_of_four_multiplies_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pruned = ScorePruner(Magnitude(), structure=NofM(2, 4)).prune(Problem.of(nn.Linear(128, 64)), 0.5)
    weight = pruned.weights["weight"].half().cuda()
    inputs = torch.randn(128, 64, device="cuda").half()
    torch.testing.assert_close(to_sparse(weight, "semi-structured") @ inputs, weight @ inputs, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="float16"):
        to_sparse(weight.double(), "semi-structured")


def test_things_that_are_not_there_are_refused() -> None:
    with pytest.raises(KeyError, match="there are no weights"):
        mask_of({"w": torch.ones(2, 2)}, ["v"])
    with pytest.raises(ValueError, match="shape"):
        to_torch_prune(nn.Linear(2, 2), Mask({"weight": torch.ones(3, 3, dtype=torch.bool)}))
