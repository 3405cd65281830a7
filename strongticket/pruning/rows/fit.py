"""Rows fitted to the outputs of the dense network, from the inputs in the pruned one, with a bias that stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strongticket.pruning.curvature.gram import CrossGram, LinearMap
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.layerwise import Block

__all__ = ["Fit"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A block of rows [w, b] with the loss |Z [w, b] - Zd [wd, bd]|^2 / 2 per example, plus damping.

    With H = Z^T Z / n + lam I the free optimum is H^-1 (Z^T Zd / n + lam I) [wd, bd]. A bias that always makes the best
    of the weights leaves them the Schur complement H_xx - H_xb H_bx / H_bb.

    Attributes:
        block: the model of the weights alone.
        moments: see `CrossGram`; of this block [d + 1, d + 1] each.
        dense: rows of the dense network with their biases [rows, d + 1].
        free: rows of least loss with their biases [rows, d + 1].
        pull: by how much the bias falls per weight [d]; 0 where there is no bias.
    """

    block: Block
    moments: CrossGram
    dense: Tensor
    free: Tensor
    pull: Tensor

    @classmethod
    def of(cls, problem: Problem, own: LinearMap, group: int, moments: CrossGram, damping: float) -> Fit:
        """Make the model of one group of a layer.

        Raises:
            ValueError: H is singular.
        """
        layer = problem.module.get_submodule(own.layer)
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        moments = CrossGram(moments.own[group], moments.cross[group], moments.dense[group])
        weight = own.rows(problem.weights[own.name])[group].double()
        start = own.rows(problem.start[own.name])[group].to(weight.device)
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.double().view(own.groups, -1)[group]
        dense = torch.cat([weight, bias[:, None]], 1)
        d = weight.shape[1]
        width = d if layer.bias is None else d + 1
        diagonal = moments.own.diagonal()
        live = diagonal[:d] > 0
        mean = diagonal[:d][live].mean() if bool(live.any()) else diagonal.new_ones(())
        hessian = moments.own + torch.diag(torch.where(diagonal > 0, damping * mean, mean))
        factor, failed = torch.linalg.cholesky_ex(hessian[:width, :width])
        if bool(failed):
            raise ValueError("the second moments of a layer's inputs are singular: use damping, or more examples")
        right = dense @ moments.cross.T + damping * mean * dense  # [rows, d + 1]
        free = torch.zeros_like(right)
        free[:, :width] = torch.cholesky_solve(right[:, :width].T, factor).T
        pull = hessian[:d, d] / hessian[d, d] if width > d else diagonal.new_zeros(d)
        schur = hessian[:d, :d] - torch.outer(pull, hessian[:d, d])
        block = Block.of(weight, schur * live * live[:, None], start, 0.0, free[:, :d])
        return cls(block, moments, dense, free, pull)

    def bias(self, rows: Tensor) -> Tensor:  # [rows, d] -> [rows]
        """Return the best biases of these rows."""
        live = ~self.block.dead
        return self.free[:, -1] - ((rows - self.free[:, :-1]) * live) @ self.pull

    def loss(self, rows: Tensor) -> float:  # [rows, d]
        """Return half the mean squared distance to the outputs of the dense network, without damping."""
        new = torch.cat([rows, self.bias(rows)[:, None]], 1)
        own = ((new @ self.moments.own) * new).sum()
        both = ((new @ self.moments.cross) * self.dense).sum()
        return 0.5 * float(own - 2 * both + ((self.dense @ self.moments.dense) * self.dense).sum())
