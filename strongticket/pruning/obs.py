"""Optimal brain surgeon (hassibi1992second): delete the weight that all others can best make up for, and move them.

Everything is dense: the inverse of the whole curvature matrix in float64, for networks of a few thousand weights. What
scales further lives in `exact_obs` (layer by layer) and `network_obs` (the low-rank Fisher).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, final, get_args

import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning._checks import check_whole
from strongticket.pruning._flat import flat_start
from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.hessian import check_dense, fisher_matrix, ggn_matrix, hessian_matrix
from strongticket.pruning.curvature.outputs import loss_slopes, output_factor
from strongticket.pruning.curvature.products import gather, gradient, scatter
from strongticket.pruning.curvature.tape import sample_rows
from strongticket.pruning.gradient import mean_loss
from strongticket.pruning.problem import Problem
from strongticket.pruning.quadratic import inverse_by_cholesky, inverse_by_recursion
from strongticket.pruning.rows.solve import remove_in_order

__all__ = ["CURVATURES", "OBS", "Curvature"]

Curvature = Literal["outer-product", "ggn", "hessian"]
CURVATURES: Final[tuple[Curvature, ...]] = get_args(Curvature)
"""What may stand for the Hessian, see `OBS`."""


@final
@dataclass(frozen=True)
class OBS(AbstractPruner):
    """Delete one weight after the other by w_q^2 / (2 [H^-1]_qq), exactly, and set the survivors to the new minimum.

    The loss is taken for the quadratic w -> E + (w - w0)' H (w - w0) / 2. One run gives the whole path: the sets of
    survivors are nested, and at each density the survivors stand at the minimum of the quadratic on them.

    Args:
        curvature: H of the mean loss, without the damping. "outer-product": of the derivatives of the outputs, for the
            squared error; of the losses' gradients (the empirical Fisher matrix) for others. "ggn": the generalised
            Gauss-Newton matrix (for the squared error the same). "hessian": the Hessian itself, which may be
            indefinite.
        damping: alpha, added to the diagonal of H; 0 or above. The paper: 1e-8 to 1e-4.
        inverse: "cholesky", or "recursion": the paper's, one output of one example after the other (not for "hessian").
        newton: start from the quadratic's own minimum, w - H^-1 g, instead of taking the gradient g for 0. Far from a
            minimum that is a long way to go by a quadratic, whose predictions are then worth nothing: a step that
            raises the loss of the examples is refused, and a larger damping shortens it.
        recompute: deletions after which curvature (and gradient) are computed afresh, at the pruned weights; None:
            never. The predicted increase then adds up what the models say.
        chunk: examples at a time; None: what keeps within memory.

    At most 5,000 weights; the work is of order n^3, the memory about 40 n^2 bytes. Network and loss are evaluated in
    float64, so a loss of your own must take outputs of that dtype. The same problem gives the same bits again on one
    machine and number of threads; between numbers of threads the last bits of predictions differ.

    Raises:
        ValueError: settings out of range or that do not go together.

    >>> import torch
    >>> from strongticket.pruning import Problem
    >>> module = torch.nn.Linear(2, 1, bias=False).double()
    >>> _ = module.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> inputs = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    >>> problem = Problem.of(module, (inputs, module(inputs).detach()), loss="squared-error")
    >>> pruned = OBS(damping=0.0).prune(problem, 0.5)
    >>> pruned.weights["weight"].round(decimals=6), round(pruned.predicted_increase, 6)
    (tensor([[0., 3.]], dtype=torch.float64), 0.166667)
    """

    key: ClassVar[str] = "obs"

    curvature: Curvature = "outer-product"
    damping: float = 1e-6
    inverse: Literal["cholesky", "recursion"] = "cholesky"
    newton: bool = False
    recompute: int | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.curvature not in CURVATURES or self.inverse not in ("cholesky", "recursion"):
            raise ValueError(
                f"expected a curvature among {', '.join(CURVATURES)} and an inverse by 'cholesky' or 'recursion', got "
                f"{self.curvature!r} and {self.inverse!r}"
            )
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"expected a damping of 0 or above, got {self.damping}")
        if self.inverse == "recursion" and (self.curvature == "hessian" or self.damping == 0):
            raise ValueError(
                "the recursion adds up outer products, to a damping above 0: take the inverse by 'cholesky' for the "
                "Hessian, or without damping"
            )
        check_whole(recompute=self.recompute, chunk=self.chunk)

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density: one run to the lowest one, the others on the way.

        The `stats` hold `deleted`, flat positions over the parameters in their order, first deleted first; `losses`,
        the increase predicted at each deletion; `newton`, what the Newton steps changed; and `recomputed`.

        Raises:
            ValueError: a density outside [0, 1], more than 5,000 weights, a loss that is not finite, or a Newton step
                that raises it.
            SingularCurvature: H is not positive definite; the message names the least eigenvalue.
        """
        counts = target_counts(problem, densities)
        found: dict[int, Pruned] = {}
        stop = min(counts, default=problem.start.count)
        stage = self._stage(problem, _Past(), stop)
        while True:
            for count in set(counts) - set(found):
                if stage.least <= count <= stage.most:
                    found[count] = stage.pruned(problem, count)
            if stage.least <= stop:
                return tuple(found[count] for count in counts)
            stage = self._stage(*stage.end(), stop)

    def refit(self, problem: Problem, mask: Mask) -> Pruned:
        """Remove a given set of weights at once, and set the survivors to the minimum of the quadratic on them.

        Args:
            problem: what is pruned.
            mask: what is left, over the problem's parameters; what the problem's start lacks must not be in it.

        Raises:
            ValueError: a mask that does not fit, or as for `path`.

        >>> import torch
        >>> from strongticket import Mask
        >>> from strongticket.pruning import Problem
        >>> module, inputs = torch.nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
        >>> _ = module.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
        >>> problem = Problem.of(module, (inputs, torch.tensor([[3.0], [1.0]])), loss="squared-error")
        >>> OBS(damping=0.0).refit(problem, Mask({"weight": torch.tensor([[True, False]])})).weights
        {'weight': tensor([[2., 0.]])}
        """
        if mask.shapes != problem.start.shapes or (mask & problem.start).count != mask.count:
            raise ValueError(
                f"expected a mask over {problem.start.shapes} within what is left, got one over {mask.shapes} that "
                f"keeps {mask.count}"
            )
        exact = _in_float64(problem)
        gone = gather(exact, {name: ~mask[name] for name in problem.names}).nonzero()[:, 0]
        gone = gone.to(exact.weights[problem.names[0]].device)
        model = self._model(exact) if len(gone) or (self.newton and mask.count) else None
        return _Stage(exact, model, gone, torch.zeros(0), _Past()).pruned(problem, mask.count)

    def _stage(self, problem: Problem, past: _Past, stop: int) -> _Stage:
        """Compute curvature and the order of deletion from here to the next recomputation, or to the end."""
        exact = _in_float64(problem)
        steps = problem.start.count - stop
        steps = steps if self.recompute is None else min(steps, self.recompute)
        if not steps and not (self.newton and stop):
            nothing = torch.zeros(0, dtype=torch.int64)
            return _Stage(exact, None, nothing, nothing.double(), past)
        model = self._model(exact)
        removal = remove_in_order(model.weights[None], model.inverse, steps)
        return _Stage(exact, model, removal.order[0], removal.losses[0], past)

    def _model(self, problem: Problem) -> _Model:
        """The quadratic that the loss is taken for, at the weights that are left.

        Raises:
            ValueError: too many weights, a loss that is not finite, or a Newton step that raises it.
            SingularCurvature: H is not positive definite.
        """
        check_dense(problem)
        fisher = self.curvature == "outer-product" and problem.loss != "squared-error"
        make = hessian_matrix if self.curvature == "hessian" else fisher_matrix if fisher else ggn_matrix
        hessian = make(problem, chunk=self.chunk)
        hessian.diagonal().add_(self.damping)
        if self.inverse == "recursion":
            columns = _columns(problem, fisher, 256 if self.chunk is None else self.chunk)
            inverse = inverse_by_recursion(columns, self.damping, len(problem.data[0]))
        else:
            what = f"the curvature ({self.curvature}, damping {self.damping:g})"
            inverse = inverse_by_cholesky(hessian, what, damping=self.damping)
        weights = gather(problem, problem.weights)
        if not self.newton:
            return _Model(hessian, inverse, weights, 0.0)
        slope = gradient(problem, chunk=256 if self.chunk is None else self.chunk)
        step = inverse @ slope
        self._check_step(problem, weights - step)
        return _Model(hessian, inverse, weights - step, float(-slope @ step / 2))

    def _check_step(self, problem: Problem, weights: Tensor) -> None:
        """Refuse to go on from where the loss is higher than where the Newton step began."""
        before, after = mean_loss(problem), mean_loss(problem, scatter(problem, weights))
        if after > before + 1e-9 * abs(before) + 1e-12:
            raise ValueError(
                f"the Newton step raises the mean loss from {before:.4g} to {after:.4g}, so that the quadratic model "
                f"does not hold as far as its minimum: raise the damping, {self.damping:g}, or leave newton out"
            )


def _in_float64(problem: Problem) -> Problem:
    """The same problem in float64: curvature is worth little more than the digits that it is computed with."""

    def wide(tensor: Tensor | None) -> Tensor | None:
        return tensor.double() if tensor is not None and tensor.is_floating_point() else tensor

    module = copy.deepcopy(problem.module).double()
    return replace(problem, module=module, inputs=wide(problem.inputs), labels=wide(problem.labels))


def _columns(problem: Problem, fisher: bool, chunk: int) -> Iterator[Tensor]:  # [m, live] each
    """What the curvature is the sum of outer products of: derivatives of the losses, or of the outputs by a factor."""
    for inputs, labels in problem.batches(chunk):
        outputs = problem.module(inputs)
        if fisher:
            factor = loss_slopes(problem.loss, outputs, labels)[..., None]
        else:
            factor = output_factor(problem.loss, outputs, labels)
        for _, made in sample_rows(problem, problem.names, inputs, factor):
            live = [made[name].flatten(0, 1)[:, problem.start[name].to(inputs.device)] for name in problem.names]
            yield torch.cat(live, 1)


@dataclass(frozen=True, eq=False)
class _Model:
    """A quadratic: its matrix and the inverse of it, where it has its minimum, and that against the loss before."""

    hessian: Tensor  # [n, n]
    inverse: Tensor  # [n, n]
    weights: Tensor  # [n]
    gain: float


@dataclass(frozen=True)
class _Past:
    """What was done: which weights went, at which increase each, and in all; what Newton steps changed of that."""

    deleted: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    increase: float = 0.0
    newton: float = 0.0
    recomputed: int = 0


@dataclass(frozen=True, eq=False)
class _Stage:
    """Deletions under one model; model None where nothing is deleted and nothing moves."""

    problem: Problem  # in float64, at the weights that the stage begins with
    model: _Model | None
    order: Tensor  # [steps], among the weights that are left
    losses: Tensor  # [steps], or empty where a set is removed at once
    past: _Past

    @property
    def most(self) -> int:
        return self.problem.start.count

    @property
    def least(self) -> int:
        return self.most - len(self.order)

    def at(self, count: int) -> tuple[Tensor, Tensor, float]:  # [n] bool, [n], []
        """Return (kept, weights, increase) with so many weights left: the exact minimum of the model on them.

        By the Hessian of the survivors, not by the updates of single deletions, whose rounding errors would add up.
        """
        kept = torch.ones(self.most, dtype=torch.bool, device=self.order.device)
        kept[self.order[: self.most - count]] = False
        if self.model is None:
            return kept, gather(self.problem, self.problem.weights), 0.0
        hessian, weights = self.model.hessian, self.model.weights
        change = torch.where(kept, 0.0, -weights)
        if 0 < count < self.most:
            pull = hessian[kept][:, ~kept] @ weights[~kept]
            factor = torch.linalg.cholesky(hessian[kept][:, kept])
            change[kept] = torch.cholesky_solve(pull[:, None], factor)[:, 0]
        increase = float(change @ (hessian @ change)) / 2
        return kept, torch.where(kept, weights + change, 0.0), increase + self.model.gain

    def reach(self, count: int) -> tuple[Mask, dict[str, Tensor], _Past]:
        """Return mask, weights and history with so many weights left."""
        kept, weights, increase = self.at(count)
        marks = scatter(self.problem, kept.double())
        steps, past = self.most - count, self.past
        after = _Past(
            past.deleted + tuple(flat_start(self.problem)[self.order[:steps]].tolist()),
            past.losses + tuple(self.losses[:steps].tolist()),
            past.increase + increase,
            past.newton + (0.0 if self.model is None else self.model.gain),
            past.recomputed,
        )
        return Mask({name: mark > 0 for name, mark in marks.items()}), scatter(self.problem, weights), after

    def pruned(self, problem: Problem, count: int) -> Pruned:
        """Return the record of the network with so many weights left."""
        mask, weights, past = self.reach(count)
        stats: dict[str, Any] = {"deleted": list(past.deleted), "losses": list(past.losses)}
        return Pruned(
            mask,
            {name: weights[name].to(original) for name, original in problem.weights.items()},
            problem.module,
            past.increase,
            updated=True,
            method=OBS.key,
            stats={**stats, "newton": past.newton, "recomputed": past.recomputed},
        )

    def end(self) -> tuple[Problem, _Past]:
        """Return the problem at the weights of the stage's end, and what has been done by then."""
        mask, weights, past = self.reach(self.least)
        return self.problem.at(weights, mask), replace(past, recomputed=past.recomputed + 1)
