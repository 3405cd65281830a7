"""Prune layer by layer by one-shot OBS saliencies of the layer's output error (L-OBS, Dong 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.gram import LinearMap
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.layerwise import Block, assemble, blocks_of, check_damping
from strongticket.pruning.rows.refit import row_losses
from strongticket.pruning.shares import layer_counts
from strongticket.selection import largest
from strongticket.training.loop import thread_count

__all__ = ["LayerObs"]

_SCRATCH = 1 << 27  # bytes of matrices that are held at a time


@final
@dataclass(frozen=True)
class LayerObs(AbstractPruner):
    """Rank all weights by w_q^2 / (2 [H^-1]_qq) in their layer, remove the least at once, and fit the rest exactly.

    Layers compete by saliencies over the loss of an empty layer, since errors of early layers are of other units than
    those of late ones. The published method instead removes the weights one after the other with an inverse that never
    learns what is gone, and cuts at the end, which is the joint optimum for one weight per row only.

    Args:
        damping: added to the diagonal of H, as a multiple of its mean.
        allocation: "global": layers compete; "layer": each keeps the same density.
        published: update the survivors as published, not jointly.

    >>> inputs = torch.eye(3).repeat(2, 1)
    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -2.0, 1.0]]))
    >>> pruned = LayerObs().prune(Problem.of(layer, (inputs, None)), 1 / 3)
    >>> [round(value, 4) for value in pruned.weights["weight"].tolist()[0]]
    [0.0, -2.0, 0.0]
    """

    damping: float = 1e-4
    allocation: Literal["global", "layer"] = "global"
    published: bool = False
    key: ClassVar[str] = "layer-obs"

    def __post_init__(self) -> None:
        check_damping(self.damping)
        if self.allocation not in ("global", "layer"):
            raise ValueError(f"expected allocation 'global' or 'layer', got {self.allocation!r}")

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density.

        Raises:
            ValueError: see `ExactOBS.path`.
        """
        counts = target_counts(problem, densities)
        with thread_count(1):  # sums of several threads round in an order of their own
            layers = dict(blocks_of(problem, self.damping))
            scores = {own: [_saliency(block) for block in blocks] for own, blocks in layers.items()}
            return tuple(self._prune(problem, layers, scores, count) for count in counts)

    def _prune(
        self,
        problem: Problem,
        layers: dict[LinearMap, list[Block]],
        scores: dict[LinearMap, list[Tensor]],
        count: int,
    ) -> Pruned:
        kept = self._choose(problem, layers, scores, count)
        make = _one_by_one if self.published else _jointly
        values = {
            own: [make(*given) for given in zip(blocks, scores[own], kept[own], strict=True)]
            for own, blocks in layers.items()
        }
        losses = {
            own: sum(
                float(row_losses(rows, block.original, block.gram).sum())
                for rows, block in zip(values[own], layers[own], strict=True)
            )
            for own in kept
        }
        return assemble(problem, self.key, kept, values, losses, updated=True)

    def _choose(
        self,
        problem: Problem,
        layers: dict[LinearMap, list[Block]],
        scores: dict[LinearMap, list[Tensor]],
        count: int,
    ) -> dict[LinearMap, list[Tensor]]:
        if self.allocation == "global":
            relative = [
                part / (sum(float(_emptied(block)) for block in blocks) or 1.0)
                for own, blocks in layers.items()
                for part in scores[own]
            ]
            chosen = largest(torch.cat([part.reshape(-1) for part in relative]), count)
            parts = iter(torch.split(chosen, [part.numel() for part in relative]))
            return {own: [next(parts).view(part.shape) for part in scores[own]] for own in layers}
        plan = layer_counts(problem.shapes, count, left=problem.start.counts)
        return {own: list(largest(torch.stack(scores[own]), plan[own.name])) for own in layers}


def _emptied(block: Block) -> Tensor:
    """The loss of a block without weights."""
    return row_losses(torch.zeros_like(block.target), block.target, block.hessian).sum()


def _saliency(block: Block) -> Tensor:  # [rows, d]
    """Return w^2 / (2 [H^-1]_qq) with H restricted to what each row has left; -1 for what is pruned already."""
    if bool(block.start.all()):
        return 0.5 * block.target.square() / block.inverse.diagonal()
    d = len(block.hessian)
    chunk = max(1, _SCRATCH // (block.hessian.element_size() * d * d))
    parts = []
    for start in torch.split(block.start, chunk):
        both = start[:, :, None] & start[:, None, :]
        restricted = torch.where(both, block.hessian, torch.eye(d).to(block.hessian))
        factor, failed = torch.linalg.cholesky_ex(restricted)
        if bool(failed.any()):
            raise ValueError("the second moments of a layer's inputs are singular: use damping, or more examples")
        parts.append(torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2))
    return torch.where(block.start, 0.5 * block.target.square() / torch.cat(parts), -1.0)


def _jointly(block: Block, score: Tensor, kept: Tensor) -> Tensor:
    return block.best(kept)


def _one_by_one(block: Block, score: Tensor, kept: Tensor) -> Tensor:
    """Remove weights in the order of their saliencies, each as if it were the first, and cut at the end."""
    rows, inverse = block.target.clone(), block.inverse
    order = score.masked_fill(kept, torch.inf).argsort(dim=1, stable=True)
    for step in range(int((~kept).sum(1).max()) if len(kept) else 0):
        column = order[:, step : step + 1]
        share = rows.gather(1, column) / inverse.diagonal()[column]
        share = share.masked_fill(kept.gather(1, column), 0.0)  # rows that are through
        rows -= share * inverse[column[:, 0]]
    return torch.where(block.dead & kept, block.original, rows * kept)
