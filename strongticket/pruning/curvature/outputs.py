"""What a loss looks like in the outputs of the network: the factors that Gauss-Newton and Fisher diagonals start from.

The generalised Gauss-Newton matrix of the mean loss is the mean over examples of J^T H J, with J the Jacobian of the
outputs in the weights and H the Hessian of the example's loss in its outputs. With H = S S^T its diagonal is a sum of
squares, one per column of S: S^T J is what a backward pass started at the columns of S computes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from strongticket import random
from strongticket.pruning.problem import Loss, Problem, loss_function

__all__ = ["check_examples", "checked_loss", "loss_slopes", "output_factor", "output_hessian", "sampled_factor"]

STREAM = "pruning/monte-carlo-diagonal"


def check_examples(problem: Problem) -> None:
    """Refuse networks that do not give each example outputs of its own: curvature adds up over examples.

    The first example is run by itself and beside the last one. Sums over batches would else be wrong, not just
    different: of a network that normalises by its batch, every chunk is another function.

    Raises:
        TypeError: the network returns something else than a tensor.
        ValueError: no row of outputs per example, outputs that are not finite or that depend on the other examples.
    """
    inputs = problem.data[0]
    module = problem.live() if problem.mode == "train" else problem.module
    with torch.no_grad():
        pair = module(inputs[[0, -1]])
        try:
            single = module(inputs[:1])
        except (ValueError, RuntimeError) as error:  # batch normalisation wants more than one example
            told = f"the network takes two examples, but not one by itself ({error})"
            raise ValueError(f"{told}: {_STATISTICS}") from error
    for outputs in (single, pair):
        if not isinstance(outputs, Tensor):
            raise TypeError(f"expected a network that returns one tensor, got a {type(outputs).__name__}: wrap it")
    if single.ndim == 0 or pair.ndim == 0 or (len(single), len(pair)) != (1, 2):
        raise ValueError(f"expected a row of outputs per example, got {tuple(pair.shape)} for two examples")
    scale = float(single.abs().max()) if single.numel() else 0.0
    if not math.isfinite(scale):
        raise ValueError("the network's outputs are NaN or infinite: look at its inputs and weights")
    near = max(1e-3, 8 * torch.finfo(single.dtype).eps)
    if not torch.allclose(single[0], pair[0], rtol=near, atol=near * scale):
        raise ValueError(
            f"the network's outputs for an example depend on the others, so the loss is no mean over examples: "
            f"{_STATISTICS}"
        )


_STATISTICS = "give normalisation layers running statistics"


def checked_loss(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:  # outputs: [n, ...] -> []
    """Return the mean loss of a batch, refusing what no curvature can be taken of.

    Raises:
        ValueError: outputs without a row per example, labels that do not fit, outputs or a loss that are not finite,
            or a loss that is no single number, or not the mean of its examples' losses.
    """
    if outputs.ndim == 0 or len(outputs) != len(labels):
        raise ValueError(f"expected a row of outputs per example, {len(labels)} in all, got {tuple(outputs.shape)}")
    if not bool(torch.isfinite(outputs).all()):
        raise ValueError("the network's outputs are NaN or infinite: there is no curvature; look at weights and inputs")
    if loss == "cross-entropy":
        _check_classes(outputs, labels)
    elif loss == "squared-error" and labels.shape != outputs.shape:
        raise ValueError(f"expected targets of shape {tuple(outputs.shape)}, got {tuple(labels.shape)}")
    value = loss_function(loss)(outputs, labels)
    if value.ndim != 0:
        raise ValueError(f"expected a loss that averages over the batch to one number, got shape {tuple(value.shape)}")
    if not bool(torch.isfinite(value)):
        told = f"the loss is {float(value.detach())}, NaN or infinite"
        raise ValueError(f"{told}: there is no curvature; look at the labels and the network")
    if callable(loss):
        _check_decomposes(loss, outputs.detach(), labels)
    return value


def _check_classes(outputs: Tensor, labels: Tensor) -> None:
    if outputs.ndim != 2:
        raise ValueError(f"cross-entropy here is of logits [n, classes], got {tuple(outputs.shape)}; give a function")
    if labels.is_floating_point():  # probabilities
        sums = labels.sum(1) if labels.shape == outputs.shape else torch.full((1,), torch.nan)
        if not bool(((sums - 1).abs() < 1e-3).all()):
            raise ValueError(f"expected label probabilities {tuple(outputs.shape)} whose rows sum to 1")
    elif labels.ndim != 1 or int(labels.min()) < 0 or int(labels.max()) >= outputs.shape[1]:
        raise ValueError(
            f"expected labels [n] in 0..{outputs.shape[1] - 1}, got shape {tuple(labels.shape)} in "
            f"{labels.min().item()}..{labels.max().item()}; leave examples without a label out"
        )


def output_factor(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:  # outputs: [n, ...] -> [n, outputs, K]
    """Return S of each example with S S^T = the Hessian of its loss in its outputs, in closed form where there is one.

    For softmax cross-entropy that Hessian, diag p - p p^T, has rank one less than there are classes, so its Cholesky
    factor has a column less: with r_j the sum of p_i over i >= j,
    S_jj = sqrt(p_j r_{j+1} / r_j) and S_ij = -S_jj p_i / r_{j+1} below. Nothing cancels in it.

    Raises:
        ValueError: a loss that is not convex in the outputs.

    >>> factor = output_factor("cross-entropy", torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    >>> factor.shape, (factor @ factor.mT)[0].tolist()
    (torch.Size([1, 2, 1]), [[0.25, -0.25], [-0.25, 0.25]])
    """
    flat = outputs.flatten(1)
    if loss == "cross-entropy":
        return _softmax_factor(flat.softmax(1))
    if loss == "squared-error":
        return output_hessian(loss, outputs, labels)  # the identity
    values, vectors = torch.linalg.eigh(output_hessian(loss, outputs, labels))
    floor = -1e-4 if flat.dtype == torch.float32 else -1e-9
    if bool((values < floor * values.abs().amax(1, keepdim=True)).any()):
        raise ValueError(
            f"the loss is not convex in the outputs (an eigenvalue of {float(values.min()):.3g}), so its Gauss-Newton "
            "matrix is no sum of squares: use the Hessian or the empirical Fisher matrix"
        )
    factor: Tensor = vectors * values.clamp_min(0).sqrt()[:, None]
    return factor


def _softmax_factor(p: Tensor) -> Tensor:  # p: [n, classes] -> [n, classes, classes - 1]
    tail = p.flip(1).cumsum(1).flip(1)
    here, after = tail[:, :-1], tail[:, 1:]
    corner = torch.where(here > 0, p[:, :-1] * after / here, 0).sqrt()  # [n, classes - 1]
    below = torch.where(after > 0, -corner / after, 0)
    factor = (p[:, :, None] * below[:, None]).tril(-1)
    factor.diagonal(dim1=1, dim2=2).copy_(corner)
    return factor


def output_hessian(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:  # outputs: [n, ...] -> [n, outputs, outputs]
    """Return the Hessian of each example's loss in its outputs.

    Args:
        loss: one that `checked_loss` has let pass.
        outputs: of a batch.
        labels: of the batch.

    Raises:
        ValueError: a Hessian that is not finite.
    """
    flat = outputs.detach().flatten(1)
    if loss == "cross-entropy":
        p = flat.softmax(1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None]
    if loss == "squared-error":
        return torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device).expand(len(flat), -1, -1)
    with torch.enable_grad():  # examples do not meet in the loss, so that one pass gives a row of all their Hessians
        leaf = outputs.detach().requires_grad_(True)
        total = loss_function(loss)(leaf, labels) * len(outputs)
        (slopes,) = torch.autograd.grad(total, leaf, create_graph=True, materialize_grads=True)
        found = flat.new_zeros(*flat.shape, flat.shape[1])
        for row in range(flat.shape[1] if slopes.requires_grad else 0):
            one = slopes.flatten(1)[:, row].sum()
            (made,) = torch.autograd.grad(one, leaf, retain_graph=True, materialize_grads=True)
            found[:, row] = made.flatten(1)
    if not bool(torch.isfinite(found).all()):
        raise ValueError("the Hessian of the loss in the outputs is NaN or infinite: look at the loss and the labels")
    return found


def _check_decomposes(loss: Loss, outputs: Tensor, labels: Tensor) -> None:
    function = loss_function(loss)
    whole = function(outputs, labels).detach()
    parts = torch.stack([function(outputs[i : i + 1], labels[i : i + 1]) for i in range(len(outputs))])
    if not torch.allclose(whole, parts.mean(), rtol=1e-3, atol=1e-6 * float(parts.abs().max())):
        raise ValueError(
            f"the loss of a batch, {float(whole):.6g}, is not the mean of its examples' losses, "
            f"{float(parts.mean()):.6g}: give a function of (outputs, labels) that averages over the batch"
        )


def loss_slopes(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:  # outputs: [n, ...] -> [n, outputs]
    """Return the gradient of each example's loss, one that `checked_loss` has let pass, in its outputs."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_(True)
        (slopes,) = torch.autograd.grad(loss_function(loss)(leaf, labels), leaf)
    return slopes.flatten(1) * len(outputs)


def sampled_factor(
    loss: Loss,
    outputs: Tensor,  # [n, ...]
    labels: Tensor,
    *,
    first: int,
    draws: int,
    seed: int,
) -> Tensor:  # [n, outputs, draws]
    """Return random columns whose products S S^T average to the Hessian of each example's loss in its outputs.

    For cross-entropy these are p - e_y with labels y drawn from p, else sums of the factor's columns with random signs;
    divided by the square root of `draws`. The draws of an example depend on its position alone, not on batches.

    Args:
        loss: see `strongticket.pruning.Loss`.
        outputs: of a batch.
        labels: of the batch.
        first: position of its first example.
        draws: columns per example, at least 1.
        seed: 0 to 2^64 - 1.
    """
    flat = outputs.flatten(1)
    if loss == "cross-entropy":
        words = random.words(seed, STREAM, first * draws, (first + len(flat)) * draws, purpose=random.SCORES)
        # 2^-32 per word, in the middle of its cell: never 0 and never 1
        uniform = (torch.from_numpy(words.astype("float64")).to(flat.device) + 0.5) * 2.0**-32
        p = flat.softmax(1)
        edges = p.double().cumsum(1)
        drawn = torch.searchsorted(edges, uniform.view(-1, draws) * edges[:, -1:], right=True)
        chosen = functional.one_hot(drawn.clamp_max(flat.shape[1] - 1), flat.shape[1]).to(p.dtype)
        return (p[:, :, None] - chosen.mT) / math.sqrt(draws)
    factor = output_factor(loss, outputs, labels)
    each = factor.shape[2] * draws
    values = random.SIGN.values(seed, STREAM, first * each, (first + len(flat)) * each, purpose=random.SCORES)
    signs = torch.from_numpy(values).to(flat).view(len(flat), factor.shape[2], draws)
    return factor @ signs / math.sqrt(draws)
