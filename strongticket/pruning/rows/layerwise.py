"""What layer-wise methods share: rows with a quadratic model of their layer's error, and results made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning.abstract import Pruned
from strongticket.pruning.curvature.gram import LinearMap, layer_grams, linear_maps
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.refit import refit

__all__ = ["Block", "assemble", "blocks_of", "check_damping"]

_TOLERANCE: Final = 1e-3


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

    @property
    def inverse(self) -> Tensor:
        """The inverse of H [d, d], made anew whenever it is asked for: the blocks of a network need not hold theirs.

        Raises:
            ValueError: H is singular, or so close to it that the inverse is none.
        """
        factor, failed = torch.linalg.cholesky_ex(self.hessian)
        if bool(failed):
            raise ValueError("the second moments of a layer's inputs are singular: use damping, or more examples")
        inverse = torch.cholesky_inverse(factor)
        probe = torch.cos(torch.arange(len(inverse), dtype=inverse.dtype, device=inverse.device))
        error = (self.hessian @ (inverse @ probe) - probe).abs().amax() if len(probe) else probe.sum()
        if not bool(error <= _TOLERANCE):  # NaN as well
            raise ValueError(
                f"the second moments of a layer's inputs are singular to working precision (H H^-1 is off by "
                f"{float(error):.1g}): use more damping, or more examples"
            )
        return inverse

    def best(self, kept: Tensor) -> Tensor:  # [rows, d] bool -> [rows, d] float64
        """Return the rows of least loss on their supports; weights of dead inputs stay what they were."""
        return torch.where(self.dead & kept, self.original, refit(self.target, self.hessian, kept & ~self.dead))

    def fixed(self, kept: Tensor) -> Tensor:
        """Return the trained rows without what is not kept."""
        return self.original * kept


def blocks_of(problem: Problem, damping: float) -> Iterator[tuple[LinearMap, list[Block]]]:
    """Yield the blocks of one layer after the other: one, or one per group of a convolution.

    Second moments are made in one pass and let go with the blocks: those who are done with a layer should drop it.

    Raises:
        ValueError: see `layer_grams`, or a damping below 0.
    """
    check_damping(damping)
    grams = layer_grams(problem)
    for own in linear_maps(problem):
        gram, weight = grams.pop(own.name), own.rows(problem.weights[own.name])
        start = own.rows(problem.start[own.name]).to(gram.device)
        yield own, [Block.of(*given, damping) for given in zip(weight, gram, start, strict=True)]
        del gram


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
