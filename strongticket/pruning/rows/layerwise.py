"""What layer-wise methods share: rows with a quadratic model of their layer's error, and results made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning.abstract import Pruned
from strongticket.pruning.curvature.gram import LinearMap, layer_grams, linear_maps
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.refit import refit

__all__ = ["Block", "assemble", "blocks_of", "check_damping"]


def check_damping(damping: float) -> None:
    """Refuse a damping that is not a finite number of at least 0.

    Raises:
        ValueError: see above.
    """
    if not 0 <= damping < float("inf"):
        raise ValueError(f"expected a finite damping of at least 0, a multiple of the mean diagonal, got {damping}")


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one layer that see the same inputs, and the model (w - target) H (w - target)^T / 2 of a row's loss.

    Attributes:
        target: rows of least loss [rows, d] float64, where all weights of the start may be used; 0 at dead inputs.
        hessian: H with damping [d, d]; dead inputs stand alone.
        gram: H without damping.
        original: the trained rows [rows, d] float64.
        start: what is not pruned yet [rows, d].
        dead: inputs that are always 0 [d]; their weights cost nothing.
    """

    target: Tensor
    hessian: Tensor
    gram: Tensor
    original: Tensor
    start: Tensor
    dead: Tensor

    @classmethod
    def of(cls, original: Tensor, gram: Tensor, start: Tensor, damping: float, target: Tensor | None = None) -> Block:
        """Make the model of rows.

        Args:
            original: the trained rows [rows, d].
            gram: second moments of the inputs [d, d] float64.
            start: what is not pruned yet.
            damping: added to the diagonal, as a multiple of its mean over live inputs.
            target: rows of least loss over all weights; None: the trained rows.
        """
        diagonal = gram.diagonal()
        dead = diagonal <= 0
        mean = diagonal[~dead].mean() if bool((~dead).any()) else diagonal.new_ones(())
        hessian = gram * ~dead * ~dead[:, None] + torch.diag(torch.where(dead, mean, damping * mean))
        original = original.to(gram) * start
        block = cls(original * ~dead, hessian, gram, original, start, dead)
        if target is None:
            return block
        target = target * ~dead
        if not bool(start.all()):
            target = refit(target, hessian, start)
        return cls(target, hessian, gram, original, start, dead)

    @cached_property
    def inverse(self) -> Tensor:
        """The inverse of H [d, d].

        Raises:
            ValueError: H is singular.
        """
        factor, failed = torch.linalg.cholesky_ex(self.hessian)
        inverse = torch.cholesky_inverse(factor) if not bool(failed) else self.hessian
        if bool(failed) or not bool(torch.isfinite(inverse).all()):
            raise ValueError("the second moments of a layer's inputs are singular: use damping, or more examples")
        return inverse

    def best(self, kept: Tensor) -> Tensor:  # [rows, d] bool -> [rows, d] float64
        """Return the rows of least loss on their supports; weights of dead inputs stay what they were."""
        return torch.where(self.dead & kept, self.original, refit(self.target, self.hessian, kept & ~self.dead))

    def fixed(self, kept: Tensor) -> Tensor:
        """Return the trained rows without what is not kept."""
        return self.original * kept


def blocks_of(problem: Problem, damping: float) -> dict[LinearMap, list[Block]]:
    """Return the blocks of every layer: one, or one per group of a convolution.

    Raises:
        ValueError: see `layer_grams`, or a damping below 0.
    """
    check_damping(damping)
    grams = layer_grams(problem)
    return {
        own: [
            Block.of(rows, gram, start.to(rows.device), damping)
            for rows, gram, start in zip(
                own.rows(problem.weights[own.name]), grams[own.name], own.rows(problem.start[own.name]), strict=True
            )
        ]
        for own in linear_maps(problem)
    }


def assemble(
    problem: Problem,
    method: str,
    kept: Mapping[LinearMap, Sequence[Tensor]],  # [rows, d] bool per block
    values: Mapping[LinearMap, Sequence[Tensor]],  # [rows, d] per block
    losses: Mapping[LinearMap, float],
    *,
    updated: bool,
    others: Mapping[str, Tensor] | None = None,
    stats: Mapping[str, Any] | None = None,
) -> Pruned:
    """Return a pruned network made of rows.

    Args:
        problem: what was pruned.
        method: key of the method.
        kept: what is kept of each block of each layer.
        values: the rows.
        losses: of each layer, half the mean squared change of its outputs, summed over them.
        updated: whether survivors moved.
        others: parameters beside the pruned ones that moved.
        stats: what else is worth knowing.
    """
    weights = problem.weights
    mask = Mask({own.name: torch.stack(list(kept[own])).view(own.shape) for own in kept})
    moved = {
        own.name: (torch.stack(list(values[own])).view(own.shape) * mask[own.name].to(values[own][0].device)).to(
            weights[own.name]
        )
        for own in kept
    }
    per_layer = {own.name: loss for own, loss in losses.items()}
    facts = {"layer_losses": per_layer, "layer_loss": sum(per_layer.values()), **(stats or {})}
    return Pruned(
        Mask({name: mask[name] for name in problem.names}),
        {**{name: moved[name] for name in problem.names}, **(others or {})},
        problem.module,
        None,
        updated,
        method,
        facts,
    )
