"""Optimal brain surgeon, weight by weight, over all the weights of a network: the work behind `NetworkObs`.

With Z = L^-1 G as in `LowRankFisher`, S = I - Z' Z is damping times the inverse Fisher matrix, and deleting the weights
R turns it into the Schur complement S - S_:R S_RR^-1 S_R:, which is I - Z' M^-1 Z for M = I - Z_R Z_R' without the
columns of R. So N x N matrices carry all that a deletion changes, and no S is ever made.
"""

from __future__ import annotations

import math
from typing import Final, final

import torch
from torch import Tensor

from strongticket.pruning.curvature.fisher import LowRankFisher
from strongticket.pruning.rows.solve import remove_in_order
from strongticket.selection.largest import largest_unchecked

__all__ = ["GreedyFisher"]

_PANEL: Final = 128
_CANDIDATES: Final = 4
_SPARE: Final = 64
"""Weights that compete for a panel's deletions: so many per deletion, or more than those to go. Others are checked."""
_STALE: Final = 0.85
"""Share of live columns below which all is made anew: work on the others is for nothing, and rounding adds up."""
_CHUNK: Final = 4096


@final
class GreedyFisher:
    """Delete weights in the order of least increase of (w - w0)' F (w - w0) / 2, the others moving to its minimum.

    The order is that of deleting one weight at a time with all weights competing, up to rounding: a panel of deletions
    is found among the weights of least increase, then it is checked that no other weight would have gone first, and the
    panel is cut where one would.

    Args:
        fisher: F on the weights to prune.
        weights: w0, the minimum [n] float64.
        dtype: of the large matrix Z and products with it.
        panel: deletions per panel.
    """

    def __init__(
        self, fisher: LowRankFisher, weights: Tensor, *, dtype: torch.dtype = torch.float64, panel: int = _PANEL
    ) -> None:
        self._base = weights.double()
        self._index = torch.arange(fisher.size, device=weights.device)
        self._residual = torch.zeros(fisher.rows, dtype=torch.float64, device=weights.device)  # G_P w0_P, P deleted
        self._kernel = fisher.factor @ fisher.factor.T
        self._dtype, self._panel = dtype, panel
        self.loss = 0.0
        self.panels = self.cut = 0
        self._build(fisher)

    @property
    def count(self) -> int:
        """Weights that are left."""
        return int(self._alive.sum())

    @property
    def rows(self) -> int:
        """Rows of the gradients."""
        return self._fisher.rows

    def run(self, count: int) -> None:
        """Delete weights until `count` are left."""
        left = self.count
        if not 0 <= count <= left:
            raise ValueError(f"expected a count from 0 to the {left} weights that are left, got {count}")
        while left > count:
            left -= self._delete(min(self._panel, left - count), left)
            if left < _STALE * len(self._alive):
                self._rebuild()

    def settle(self) -> tuple[Tensor, Tensor]:
        """Return (indices, weights) of what is left [k] float64, the weights free of the rounding of the path."""
        self._rebuild()
        return self._index, self._weights

    def _build(self, fisher: LowRankFisher) -> None:
        """Make S of the weights that are left afresh, and move them to the minimum."""
        self._fisher = fisher
        size = fisher.size
        self._z = torch.empty(fisher.rows, size, dtype=self._dtype, device=self._base.device)
        self._q = torch.empty(size, dtype=torch.float64, device=self._base.device)
        for begin in range(0, size, _CHUNK):
            part = slice(begin, min(begin + _CHUNK, size))
            z = fisher.whitened(part)
            self._z[:, part] = z
            self._q[part] = 1.0 - z.square_().sum(0)
        self._floor = fisher.damping / fisher.diagonal()  # S_qq >= damping / F_qq
        self._q = torch.maximum(self._q, self._floor)
        self._inner = torch.eye(fisher.rows, dtype=torch.float64, device=self._base.device)
        pulled = fisher.solve(fisher.transposed(self._residual / fisher.rows))
        self._weights = self._base + pulled
        self._alive = torch.ones(size, dtype=torch.bool, device=self._base.device)

    def _rebuild(self) -> None:
        gone = (~self._alive).nonzero()[:, 0]
        if not len(gone):
            return
        kept = self._alive.nonzero()[:, 0]
        lost = self._fisher.gradients[:, gone].double()
        self._residual = self._residual + lost @ self._base[gone]
        self._kernel.addmm_(lost, lost.T, alpha=-1)
        self._base, self._index = self._base[kept], self._index[kept]
        damping, rows = self._fisher.damping, self._fisher.rows
        gradients = self._fisher.gradients[:, kept]
        eye = torch.eye(rows, dtype=torch.float64, device=kept.device)
        self._build(LowRankFisher(gradients, damping, gram=self._kernel - rows * damping * eye))

    def _delete(self, steps: int, left: int) -> int:
        """Delete up to `steps` weights; return how many."""
        score = (self._weights.square() / self._q).masked_fill_(~self._alive, math.inf)
        compete = min(left, max(_CANDIDATES * steps, steps + _SPARE))
        candidate = ~largest_unchecked(score, len(score) - compete)
        index = candidate.nonzero()[:, 0]
        z = self._z[:, index].double()
        v = self._inner @ z
        s = torch.mm(z.T, v).neg_()
        s.diagonal().add_(1.0)
        s = (s + s.T) / 2
        s.diagonal().clamp_(min=self._floor[index])
        try:
            order = remove_in_order(self._weights[index][None], s, steps).order[0]
        except ValueError as error:
            raise ValueError(
                f"the Fisher matrix is singular to working precision at a damping of {self._fisher.damping:.3g}: raise "
                "the damping, or ask for float64 (precise=True)"
            ) from error
        factor, broken = torch.linalg.cholesky_ex(s[order][:, order])
        if int(broken):  # the weights from there on are not told apart from the others in this precision
            order = order[: max(1, int(broken) - 1)]
            factor = factor[: len(order), : len(order)]
        c = _solve(factor, self._weights[index[order]])
        basis = torch.linalg.solve_triangular(factor, v[:, order].T, upper=False)  # [deletions, N]
        moved = basis.to(self._dtype) @ self._z  # minus the scaled rows of S at each deletion [deletions, columns]
        done = self._first_wrong(moved, c, candidate, self._q, self._weights)
        self.panels, self.cut = self.panels + 1, self.cut + (done < steps)
        moved, c, basis = moved[:done], c[:done], basis[:done]
        self._weights = self._weights + (c.to(self._dtype) @ moved).double()
        self._q = torch.maximum(self._q - moved.square().sum(0).double(), self._floor)
        self._inner.addmm_(basis.T, basis)
        self._alive[index[order[:done]]] = False
        self.loss += self._fisher.damping * float(c.square().sum()) / 2
        return done

    def _first_wrong(self, moved: Tensor, c: Tensor, candidate: Tensor, q: Tensor, weights: Tensor) -> int:
        """Return at which deletion a weight that did not compete would have gone first; their number if at none."""
        steps = len(c)
        # |w| loses at most |moved column| |c| on the way (Cauchy-Schwarz), and q only shrinks
        lost = moved.square().sum(0).double()
        least = (weights.abs() - lost.sqrt() * c.norm()).clamp_(min=0.0).square_()
        suspect = ((least < float(c.square().max()) * q) & self._alive & ~candidate).nonzero()[:, 0]
        if not len(suspect):
            return steps
        rows = moved[:, suspect].double()
        zero = rows.new_zeros(1, len(suspect))
        path = weights[suspect] + torch.cat([zero, (rows * c[:, None]).cumsum(0)[:-1]])
        room = q[suspect] - torch.cat([zero, rows.square().cumsum(0)[:-1]])
        wrong = (path.square() < c.square()[:, None] * room).any(1).nonzero()[:, 0]
        return max(1, int(wrong[0])) if len(wrong) else steps


def _solve(factor: Tensor, x: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(factor, x.unsqueeze(1), upper=False).squeeze(1)
    return solved
