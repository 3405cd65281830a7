"""Prune layer by layer, each row by exact greedy OBS: the strongest of the layer-wise methods (ExactOBS, Frantar 2022).

The layer loss (w' - w) H (w' - w)^T / 2 is quadratic, with H the second moments of the layer's inputs. Rows lose their
weights one by one, the others always moving to where the loss is least; a budget then decides how far each row goes.
Better than the published rule, and cheap: the budget by convex hulls, and a search that swaps kept for pruned weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, final

import torch
from torch import Tensor

from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.gram import LinearMap, calling_order, cross_gram, linear_maps
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.budget import BUDGETS, Budget, share_out, urgency
from strongticket.pruning.rows.fit import Fit
from strongticket.pruning.rows.layerwise import Block, assemble, blocks_of, check_damping
from strongticket.pruning.rows.refit import row_losses
from strongticket.pruning.rows.solve import BACKENDS, Backend, Removal, remove_in_order, steps_to_n_of_m
from strongticket.pruning.rows.swaps import swap
from strongticket.pruning.shares import check_allocation, layer_counts
from strongticket.pruning.structures import NofM
from strongticket.selection import Allocation
from strongticket.training.loop import thread_count

__all__ = ["ExactOBS"]

_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, eq=False)
class _Eliminated:
    """A block of rows with the order of their weights.

    Attributes:
        block: the rows and their model.
        removal: in which order they lose their weights.
        keys: which steps are made first [rows, d].
        least: how many steps each row goes in any case: what was pruned before [rows].
    """

    block: Block
    removal: Removal
    keys: Tensor
    least: Tensor


@dataclass(eq=False)
class _Draft:
    """What becomes of the layers at one density, while they are made."""

    kept: dict[LinearMap, list[Tensor]] = field(default_factory=dict)
    values: dict[LinearMap, list[Tensor]] = field(default_factory=dict)
    losses: dict[LinearMap, float] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    swapped: int = 0


@final
@dataclass(frozen=True)
class ExactOBS(AbstractPruner):
    """Remove weights row by row in the exact greedy order, and let the survivors make up for it.

    A path of densities needs one elimination per layer; with `sequential` one per layer and density. Results on a CPU
    are the same whatever number of threads torch has: torch runs on one here.

    Args:
        damping: added to the diagonal of H, as a multiple of its mean.
        budget: how the rows of a layer share its count; see `Budget`. "sort" is the published rule.
        swaps: whether to exchange kept for pruned weights afterwards, within rows, as long as the loss falls.
        patience: exchanges that each row then goes uphill in search of a better support; see `rows.swaps.swap`.
        refit: whether survivors move to where the loss of their layer is least; otherwise only the mask is made.
        sequential: fit each layer, in the order of the network, to the outputs of the dense network from the inputs
            that the pruned one gives it. Biases then move as well; they are in `Pruned.weights` by their names.
        allocation: how layers share the count; "global": they compete by losses over the loss of an empty layer, on
            the inputs that the dense network gives them.
        n_of_m: (n, m): keep n of each m weights side by side in a row, by the rules of `NofM`: the density is n / m,
            and groups of which fewer are left keep these.
        dtype: of the elimination; all else is float64. In float32 near ties are settled differently.
        backend: see `remove_in_order`.
        threads: of the numba backend; results do not depend on it.

    >>> inputs = torch.eye(3).repeat(2, 1)
    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -2.0, 1.0]]))
    >>> pruned = ExactOBS().prune(Problem.of(layer, (inputs, None)), 1 / 3)
    >>> [round(value, 4) for value in pruned.weights["weight"].tolist()[0]]
    [0.0, -2.0, 0.0]
    """

    damping: float = 1e-2
    budget: Budget = "hull"
    swaps: bool = False
    patience: int = 8
    refit: bool = True
    sequential: bool = False
    allocation: Allocation = "layer"
    n_of_m: tuple[int, int] | None = None
    dtype: Literal["float64", "float32"] = "float64"
    backend: Backend = "auto"
    threads: int = 1
    key: ClassVar[str] = "exact-obs"

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_allocation(self.allocation)
        for name, value, choices in (
            ("budget", self.budget, BUDGETS),
            ("dtype", self.dtype, ("float64", "float32")),
            ("backend", self.backend, BACKENDS),
        ):
            if value not in choices:
                raise ValueError(f"expected {name} in {choices}, got {value!r}")
        if self.allocation == "global" and (self.budget == "uniform" or self.n_of_m):
            raise ValueError(
                "allocation 'global' compares the losses of rows in all layers: it needs budget 'hull', 'heap' or "
                "'sort', and no n_of_m"
            )
        if self.n_of_m is not None and (not 1 <= self.n_of_m[0] <= self.n_of_m[1] or self.swaps):
            raise ValueError(f"expected n_of_m = (n, m) with 1 <= n <= m, and no swaps, got {self.n_of_m}")
        if self.patience < 0 or self.threads < 1:
            raise ValueError(
                f"expected a patience of at least 0 and at least one thread, got {self.patience} and {self.threads}"
            )
        if self.sequential and not self.refit:
            raise ValueError("sequential pruning fits the survivors to the dense network: it needs refit=True")

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density.

        Raises:
            ValueError: a density outside [0, 1] or not that of `n_of_m`, no data, parameters that are no weights of
                linear or convolutional layers, or second moments that are singular without damping.
        """
        counts = target_counts(problem, densities)
        if self.n_of_m is not None:
            for density in densities:
                NofM(*self.n_of_m).check(problem.shapes, density)
        with thread_count(1):  # sums of several threads round in an order of their own
            drafts = [_Draft() for _ in counts]
            if self.allocation == "global":
                layers = {own: [self._eliminate(b) for b in blocks] for own, blocks in blocks_of(problem, self.damping)}
                shares = [_kept_of_all(layers, problem.size - count) for count in counts]
                if self.sequential:  # layers compete on the dense network's inputs, then meet those that they get
                    plans = [{own.name: sum(int(k.sum()) for k in kept) for own, kept in s.items()} for s in shares]
                    return tuple(self._in_sequence(problem, plan) for plan in plans)
                for draft, share in zip(drafts, shares, strict=True):
                    for own, kept in share.items():
                        self._cut(draft, own, layers[own], kept)
            else:
                plans = [self._plan(problem, count) for count in counts]
                if self.sequential:
                    return tuple(self._in_sequence(problem, plan) for plan in plans)
                for own, blocks in blocks_of(problem, self.damping):
                    parts = [self._eliminate(block) for block in blocks]
                    for draft, plan in zip(drafts, plans, strict=True):
                        self._cut(draft, own, parts, _kept_of_layer(own, parts, plan[own.name]))
                    del blocks, parts  # before the next layer is made
            return tuple(self._assembled(problem, draft, updated=self.refit) for draft in drafts)

    def _plan(self, problem: Problem, count: int) -> dict[str, int]:
        """How many weights each layer keeps."""
        if self.n_of_m is not None:
            return {own.name: self._kept_by_n_of_m(problem, own) for own in linear_maps(problem)}
        return layer_counts(problem.shapes, count, self.allocation, left=problem.start.counts)

    def _kept_by_n_of_m(self, problem: Problem, own: LinearMap) -> int:
        assert self.n_of_m is not None
        start = own.rows(problem.start[own.name]).flatten(0, 1)
        return start.numel() - int(steps_to_n_of_m(start, self.n_of_m).sum())

    def _eliminate(self, block: Block) -> _Eliminated:
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        removal = remove_in_order(
            block.target.to(dtype), block.inverse.to(dtype), start=block.start, n_of_m=self.n_of_m,
            backend=self.backend, threads=self.threads,
        )  # fmt: skip
        _check_total(block, removal)
        if self.n_of_m is not None:
            steps = steps_to_n_of_m(block.start, self.n_of_m)
            late = torch.arange(block.start.shape[1], device=steps.device) >= steps[:, None]
            return _Eliminated(block, removal, late.double(), steps)
        return _Eliminated(block, removal, urgency(removal.losses, self.budget), (~block.start).sum(1))

    def _cut(self, draft: _Draft, own: LinearMap, parts: Sequence[_Eliminated], kept: list[Tensor]) -> None:
        """Give a layer the supports that it was found, and the weights that go with them."""
        if self.swaps:
            for i, part in enumerate(parts):
                kept[i], number = self._swap(part.block, kept[i])
                draft.swapped += number
        make = [part.block.best if self.refit else part.block.fixed for part in parts]
        draft.kept[own] = kept
        draft.values[own] = [best(chosen) for best, chosen in zip(make, kept, strict=True)]
        draft.losses[own] = sum(
            float(row_losses(rows, part.block.original, part.block.gram).sum())
            for rows, part in zip(draft.values[own], parts, strict=True)
        )

    def _assembled(self, problem: Problem, draft: _Draft, *, updated: bool) -> Pruned:
        stats = {"swaps": draft.swapped} if self.swaps else {}
        return assemble(
            problem, self.key, draft.kept, draft.values, draft.losses, updated=updated, others=draft.biases, stats=stats
        )

    def _swap(self, block: Block, kept: Tensor) -> tuple[Tensor, int]:
        """Exchange weights of live inputs; returns what is kept and how often something was exchanged."""
        free = block.start & ~block.dead
        swapped = swap(
            block.target, block.hessian, kept & free, allowed=free, patience=self.patience,
            backend=self.backend, threads=self.threads,
        )  # fmt: skip
        return swapped.kept | (kept & block.dead), int(swapped.count.sum())

    def _in_sequence(self, problem: Problem, plan: dict[str, int]) -> Pruned:
        """Prune to one density, each layer with the inputs that the layers pruned before give it."""
        network, draft = copy.deepcopy(problem.module), _Draft()
        maps = linear_maps(problem)
        for own in calling_order(problem, maps):
            moments = cross_gram(network, problem.module, own, problem)
            fits = [Fit.of(problem, own, group, moments, self.damping) for group in range(own.groups)]
            parts = [self._eliminate(fit.block) for fit in fits]
            self._cut(draft, own, parts, _kept_of_layer(own, parts, plan[own.name]))
            values = draft.values[own]
            draft.losses[own] = sum(fit.loss(rows) for fit, rows in zip(fits, values, strict=True))
            layer = network.get_submodule(own.layer)
            assert isinstance(layer.weight, Tensor)
            layer.weight.data.copy_(torch.stack(values).view(own.shape))
            bias = torch.cat([fit.bias(rows) for fit, rows in zip(fits, values, strict=True)])
            if layer.bias is not None:
                assert isinstance(layer.bias, Tensor)
                layer.bias.data.copy_(bias)
                draft.biases[f"{own.layer}.bias" if own.layer else "bias"] = layer.bias.data.clone()
        missing = [own.name for own in maps if own not in draft.kept]
        if missing:
            raise ValueError(f"the network never called the layers of {missing}: do not prune them")
        return self._assembled(problem, draft, updated=True)


def _check_total(block: Block, removal: Removal) -> None:
    """Refuse an order that was lost in rounding: a row without weights has its loss at 0, by whatever way.

    Raises:
        ValueError: it was.
    """
    lost, total = removal.losses.sum(1), row_losses(torch.zeros_like(block.target), block.target, block.hessian)
    if bool(((lost - total).abs() > _TOLERANCE * total + 1e-9 * total.sum()).any()):
        raise ValueError(
            "the second moments of a layer's inputs are so close to singular that the losses of single steps do not "
            "add up: use more damping, more examples, or dtype='float64'"
        )


def _kept_of_all(layers: dict[LinearMap, list[_Eliminated]], removed: int) -> dict[LinearMap, list[Tensor]]:
    """What is kept of each block where layers compete, by losses over the loss of an empty layer."""
    scales = {own: sum(float(part.removal.losses.sum()) for part in parts) or 1.0 for own, parts in layers.items()}
    every = [(own, part) for own, parts in layers.items() for part in parts]
    steps = share_out([part.keys / scales[own] for own, part in every], removed, [part.least for _, part in every])
    kept: dict[LinearMap, list[Tensor]] = {own: [] for own in layers}
    for (own, part), number in zip(every, steps, strict=True):
        kept[own].append(_left(part, number))
    return kept


def _left(part: _Eliminated, removed: Tensor) -> Tensor:
    return part.removal.kept(removed, part.block.start.shape[1])


def _kept_of_layer(own: LinearMap, parts: Sequence[_Eliminated], count: int) -> list[Tensor]:
    """What is kept of each block of a layer that keeps `count` weights."""
    size = sum(part.keys.numel() for part in parts)
    steps = share_out([part.keys for part in parts], size - count, [part.least for part in parts])
    return [_left(part, removed) for part, removed in zip(parts, steps, strict=True)]
