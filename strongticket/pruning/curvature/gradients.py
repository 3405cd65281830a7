"""Gradients of single examples, or means over small groups of them: the rows that the empirical Fisher is made of.

Linear and convolutional layers have closed forms: the gradient of an example is the outer product of what comes into
the layer and the derivative by what leaves it, summed over positions. One backward pass through a batch gives both for
all of its examples. Other uses of a parameter are differentiated example by example (`torch.func`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from strongticket.pruning._checks import check_whole
from strongticket.pruning.curvature.outputs import check_examples, checked_loss
from strongticket.pruning.curvature.tape import check_unchanged, parameter_uses, places
from strongticket.pruning.problem import Problem, loss_function
from strongticket.random import permutation

__all__ = ["sample_gradients", "sample_index"]

_CHUNK_BYTES = 1 << 26
_AGREE = 1e-3
"""Relative difference of gradients up to which closed forms count as right: rounding stays far below, a use of a
weight that they do not see far above."""


def sample_index(problem: Problem, *, count: int | None = None, group: int = 1, draw: int = 0) -> Tensor:
    """Return which examples make up each row: drawn without replacement, a function of (problem.seed, draw).

    Args:
        problem: holds the examples.
        count: rows; None, or more than there are: as many as the examples give.
        group: examples per row, at least 1.
        draw: which draw; others are other permutations of all examples.

    Returns:
        Indices [count, group] int64, on the CPU.

    Raises:
        ValueError: fewer examples than one group, or counts that are not whole numbers of at least 1.
    """
    n = len(problem.data[1])
    check_whole(count=count, group=group)
    if group > n:
        raise ValueError(
            f"a row is the mean over {group} examples, but there are {n}: give more data or a smaller group"
        )
    count = n // group if count is None else min(count, n // group)
    order = permutation(problem.seed, f"pruning/gradients/{draw}", n)
    return torch.from_numpy(order[: count * group]).view(count, group)


def sample_gradients(
    problem: Problem,
    *,
    count: int | None = None,
    group: int = 1,
    draw: int = 0,
    columns: Tensor | None = None,
    chunk: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return gradients of the loss of single examples (or of groups), by the parameters to prune, a row each.

    Args:
        problem: network, loss and examples; the loss must average over the batch.
        count: rows; None, or more than there are: as many as the examples give.
        group: examples per row, which is the gradient of their mean loss.
        draw: which examples: see `sample_index`.
        columns: flat indices [m] into `problem.names` one after the other, for a part of the weights; None: all.
        chunk: rows per backward pass; None: what fits 64 MiB.
        dtype: of the result; None: of the weights.

    Returns:
        Gradients [rows, n], n = problem.size (or [rows, m]), on the device of the weights. Entries of weights that are
        pruned already are derivatives too, not 0.

    Raises:
        ValueError: no examples, labels that do not fit, a loss that is NaN or infinite or not the mean of its examples'
            losses, examples that depend on each other, or settings out of range.
        TypeError: a dtype that is not floating-point.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> data = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 1)
    >>> gradients = sample_gradients(Problem.of(net, data, loss="squared-error"))
    >>> gradients.shape
    torch.Size([2, 2])
    """
    check_whole(chunk=chunk)
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(f"gradients are floating-point numbers, got dtype={dtype}")
    index = sample_index(problem, count=count, group=group, draw=draw)
    check_examples(problem)
    first = next(iter(problem.weights.values()))
    columns = None if columns is None else columns.to(first.device)
    out = torch.empty(
        len(index), problem.size if columns is None else len(columns), dtype=dtype or first.dtype, device=first.device
    )
    if chunk is None:
        chunk = _chunk(problem, group)
    closed = _ClosedForm.of(problem)
    for begin in range(0, len(index), chunk):
        rows = index[begin : begin + chunk]
        found = None if closed is None else closed.gradients(rows, check=begin == 0)
        if found is None:
            closed = None
            found = _by_example(problem, rows)
        out[begin : begin + len(rows)] = found if columns is None else found[:, columns]
        del found
    return out


def _chunk(problem: Problem, group: int) -> int:
    """Rows of which the gradients fit in 64 MiB, and not so many examples that a convolution's patches take more."""
    weights = list(problem.weights.values())
    examples = 32 if any(weight.ndim > 2 for weight in weights) else 4096
    return max(1, min(_CHUNK_BYTES // (problem.size * weights[0].element_size()), examples // group))


@dataclass(eq=False)
class _ClosedForm:
    """Linear and Conv layers that hold the parameters named; nothing else does."""

    problem: Problem
    module: nn.Module
    layers: list[nn.Module]  # per name

    @classmethod
    def of(cls, problem: Problem) -> _ClosedForm | None:
        module = problem.live()
        layers: list[nn.Module] = []
        for name in problem.names:
            parameter = module.get_parameter(name)
            owners = [part for part in module.modules() if any(own is parameter for own in part._parameters.values())]
            if len(owners) != 1 or owners[0]._parameters.get("weight") is not parameter:
                return None
            if type(owners[0]) not in (nn.Linear, nn.Conv1d, nn.Conv2d) or not _plain(owners[0]):
                return None
            layers.append(owners[0])
        return cls(problem, module, layers)

    def gradients(self, rows: Tensor, *, check: bool) -> Tensor | None:  # [chunk, group] -> [chunk, n]
        uses = self.uses(rows, check=check)
        if uses is None:
            return None
        weights = self.problem.weights.values()
        out = next(iter(weights)).new_zeros(len(rows), self.problem.size)
        at = 0
        for weight, found in zip(weights, uses, strict=True):
            part = out[:, at : at + weight.numel()]
            for delta, entered in found:
                _add_products(part, delta, entered, len(rows))
            at += weight.numel()
        return out.div_(rows.shape[1]) if rows.shape[1] > 1 else out

    def uses(self, rows: Tensor, *, check: bool) -> list[list[tuple[Tensor, Tensor]]] | None:
        """Return, per name and per call of its layer, derivatives [batch, t, o] and inputs [batch, t, i].

        None if the gradients that they give are not those of autograd: the weights are used elsewhere too.
        """
        inputs, labels = (part[rows.reshape(-1).to(part.device)] for part in self.problem.data)
        with _recorded(self.module, self.layers) as records, torch.enable_grad():
            loss = checked_loss(self.problem.loss, self.module(inputs), labels)
            found_calls = [(layer, call) for layer, calls in records.items() for call in calls]
            for layer, call in found_calls:
                check_unchanged(layer, call.entered, call.version)
            calls = [(layer, call) for layer, call in found_calls if call.left.requires_grad]
            parameters = [self.module.get_parameter(name) for name in self.problem.names] if check else []
            wanted = [*(call.left for _, call in calls), *parameters]
            held = parameter_uses(loss)
            # the loss is a mean: its sum over the batch is what each example's own gradient adds up to
            found: Sequence[Tensor | None] = (
                torch.autograd.grad(loss * len(labels), wanted, allow_unused=True)
                if loss.requires_grad
                else [None] * len(wanted)
            )
        reached = Counter(layer for (layer, _), delta in zip(calls, found, strict=False) if delta is not None)
        named = zip(self.problem.names, self.layers, strict=True)
        if any(held[id(self.module.get_parameter(name))] != reached[layer] for name, layer in named):
            return None
        uses: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in self.layers}
        for (layer, call), delta in zip(calls, found, strict=False):
            if delta is None:
                continue
            pair = _positions(layer, call.entered, delta, len(labels))
            if pair is None:
                return None
            uses[layer].append(pair)
        each = [uses[layer] for layer in self.layers]
        if check and not self._agree(each, found[len(calls) :]):
            return None
        return each

    def _agree(self, uses: list[list[tuple[Tensor, Tensor]]], truth: Sequence[Tensor | None]) -> bool:
        for found, weight, true in zip(uses, self.problem.weights.values(), truth, strict=True):
            true = torch.zeros_like(weight) if true is None else true
            total = weight.new_zeros(1, weight.numel())
            size = weight.new_zeros(())
            for delta, entered in found:
                _add_products(total, delta, entered, 1)
                size = size + delta.abs().amax((0, 1)).sum() * entered.abs().amax((0, 1)).sum()
            if not bool((total.view_as(true) - true).norm() <= _AGREE * (true.norm() + 1e-3 * size)):
                return False
        return True


def _plain(layer: nn.Module) -> bool:
    """Whether a convolution is one that unfolding describes: padding with zeros, by numbers; one group."""
    if isinstance(layer, nn.Linear):
        return True
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and layer.groups == 1


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a layer: what entered it, the version of that, and what left it."""

    entered: Tensor
    version: int
    left: Tensor


@contextmanager
def _recorded(module: nn.Module, layers: list[nn.Module]) -> Iterator[dict[nn.Module, list[_Call]]]:
    """Record what enters and what leaves layers."""
    records: dict[nn.Module, list[_Call]] = {}

    def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], left: Tensor) -> Tensor:
        entered: Tensor = args[0] if args else kwargs["input"]
        records.setdefault(layer, []).append(_Call(entered.detach(), entered._version, left))
        return left.clone()  # an activation that works in place would change what was recorded

    handles = [layer.register_forward_hook(record, with_kwargs=True) for layer in dict.fromkeys(layers)]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


def _positions(layer: nn.Module, entered: Tensor, delta: Tensor, batch: int) -> tuple[Tensor, Tensor] | None:
    """Return derivatives [batch, t, o] and inputs [batch, t, i]: t counts the positions at which the layer is used."""
    if len(entered) != batch or len(delta) != batch:
        return None
    if isinstance(layer, nn.Linear):
        if entered.ndim < 2:
            return None
        return delta.reshape(batch, -1, delta.shape[-1]), entered.reshape(batch, -1, entered.shape[-1])
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    if entered.ndim != delta.ndim or entered.ndim != layer.weight.ndim:
        return None
    # without batch and channels: one side (Conv1d) or two; unfold wants two
    sides = [tuple(map(int, side)) for side in (layer.kernel_size, layer.dilation, layer.padding, layer.stride)]
    if isinstance(layer, nn.Conv1d):
        entered = entered.unsqueeze(2)
        sides = [(one, *side) for one, side in zip((1, 1, 0, 1), sides, strict=True)]
    kernel, dilation, padding, stride = sides
    patches = nn.functional.unfold(entered, kernel, dilation, padding, stride)
    return delta.flatten(2).transpose(1, 2), patches.transpose(1, 2)


def _add_products(out: Tensor, delta: Tensor, entered: Tensor, rows: int) -> None:
    """Add to each row of out [rows, o * i] the sum over its examples and positions of delta entered'."""
    delta = delta.reshape(rows, -1, delta.shape[-1])
    entered = entered.reshape(rows, -1, entered.shape[-1])
    view = out.view(rows, delta.shape[2], entered.shape[2])
    if delta.shape[1] == 1:
        view.addcmul_(delta.transpose(1, 2), entered)
    else:
        view += torch.bmm(delta.transpose(1, 2), entered)


def _by_example(problem: Problem, rows: Tensor) -> Tensor:  # [chunk, group] -> [chunk, n]
    """Differentiate the loss of each group by itself."""
    module, loss = problem.module, loss_function(problem.loss)
    inputs, labels = (part[rows.to(part.device)] for part in problem.data)
    with torch.no_grad():
        checked_loss(problem.loss, module(inputs.flatten(0, 1)), labels.flatten(0, 1))
    found_at = places(module, problem.names)

    def mean_loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        everywhere = {place: weights[name] for place, name in found_at.items()}
        value: Tensor = loss(torch.func.functional_call(module, everywhere, (x,), tie_weights=False), y)
        return value

    step = max(1, min(len(rows), 64))
    parts: list[Tensor] = []
    for begin, end in pairwise([*range(0, len(rows), step), len(rows)]):
        each = torch.func.vmap(torch.func.grad(mean_loss), in_dims=(None, 0, 0))(
            problem.weights, inputs[begin:end], labels[begin:end]
        )
        parts.append(torch.cat([each[name].flatten(1) for name in problem.names], 1))
    return torch.cat(parts)
