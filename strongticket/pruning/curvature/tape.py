"""Per-example gradients without a pass per example: what layers saw, and how their outputs must move.

Linear and convolutional layers that are used once have closed forms: the gradient of an example in the weights is a
product of the layer's inputs and the gradient in its outputs. Which parameters these forms cover is found out by
looking, not assumed: a layer counts only if it keeps examples apart along its first dimension, if all uses of its
parameters in the autograd graph are its own calls, and if nobody rewrites its outputs. The others go through
`torch.func`, an example at a time inside of vmap.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from strongticket.pruning._checks import check_whole
from strongticket.pruning.curvature.outputs import check_examples
from strongticket.pruning.problem import Problem

__all__ = ["BUDGET", "Tape", "Use", "check_unchanged", "parameter_uses", "places", "sample_rows"]

_CLOSED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
BUDGET = 1 << 25
"""Numbers that one array of per-example values may hold: chunks of examples are cut to it."""


@dataclass(frozen=True, eq=False)
class Use:
    """One call of a layer.

    Attributes:
        layer: the layer.
        inputs: what it was called with, and the version of it, which changes if somebody writes into it.
        edge: where the gradient in its outputs comes by; None if none does.
        shape: of its outputs.
    """

    layer: nn.Module
    inputs: Tensor
    version: int
    edge: GradientEdge | None
    shape: torch.Size


class Tape:
    """Run a problem's network and keep what its layers saw.

    Attributes:
        module: a copy of the network of which the parameters named require gradients.
        closed: {layer: {attribute: parameter name}} where closed forms hold.
        rest: names of the other parameters.
        chunk: examples at a time that keep within memory.
    """

    def __init__(self, problem: Problem, chunk: int | None = None) -> None:
        check_whole(chunk=chunk)
        self.module = problem.live()
        named = {id(self.module.get_parameter(name)): name for name in problem.names}
        self.closed: dict[nn.Module, dict[str, str]] = {}
        for layer in self.module.modules():
            own = {leaf: named[id(p)] for leaf, p in layer._parameters.items() if p is not None and id(p) in named}
            if own and type(layer) in _CLOSED and not (layer._forward_hooks or layer._forward_pre_hooks):
                self.closed[layer] = own
        check_examples(problem)
        outputs, uses = self._probe(problem)
        covered = {name for own in self.closed.values() for name in own.values()}
        self.rest = tuple(name for name in problem.names if name not in covered)
        # a factor of the Hessian in the outputs is a square of them
        self.chunk = chunk or max(1, min(256, BUDGET // max([1, outputs**2, *map(_cost, uses)])))

    def run(self, inputs: Tensor) -> tuple[Tensor, list[Use]]:  # [n, ...] -> [n, ...]
        """Return the outputs, with their graph, and the calls of the layers with closed forms, in order.

        Raises:
            ValueError: a layer's inputs were overwritten after its call.
        """
        uses: list[Use] = []

        def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Tensor) -> None:
            seen: Tensor = args[0] if args else kwargs["input"]
            # the edge is taken now: an activation that works in place will move the tensor to its own outputs
            edge = get_gradient_edge(outputs) if outputs.requires_grad else None
            uses.append(Use(layer, seen.detach(), seen._version, edge, outputs.shape))

        hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in self.closed]
        try:
            with torch.enable_grad():
                outputs = self.module(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        for use in uses:
            check_unchanged(use.layer, use.inputs, use.version)
        return outputs, uses

    def _probe(self, problem: Problem) -> tuple[int, list[Use]]:
        """Drop layers without closed forms, by running one example and two; return the outputs and calls of one."""
        one = problem.data[0][:1]
        two = problem.data[0][:2] if len(problem.data[0]) > 1 else one.expand(2, *one.shape[1:])
        (single, alone), (_, both) = self.run(one), self.run(two)
        edges, calls = parameter_uses(single), Counter(use.layer for use in alone)
        mixed = {use.layer for use in alone if not len(use.inputs) == use.shape[0] == 1}
        mixed |= {use.layer for use in both if not len(use.inputs) == use.shape[0] == 2}
        for layer, own in list(self.closed.items()):
            counts = {edges[id(layer.get_parameter(leaf))] for leaf in own}
            if layer in mixed or calls[layer] > 1 or counts != {calls[layer]}:
                del self.closed[layer]
        return single.numel(), [use for use in alone if use.layer in self.closed]


def check_unchanged(layer: nn.Module, inputs: Tensor, version: int) -> None:
    """Refuse inputs that were written into after the call of a layer, when they had another version.

    Raises:
        ValueError: naming the layer.
    """
    if inputs._version != version:
        raise ValueError(f"the inputs of {layer} are overwritten after its call: compute them out of place")


def parameter_uses(outputs: Tensor) -> Counter[int]:
    """Return how often each parameter, by its id, is used in the graph that made the outputs."""
    found: Counter[int] = Counter()
    seen: set[Any] = set()
    stack = [] if outputs.grad_fn is None else [outputs.grad_fn]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is None:
                continue
            if hasattr(node, "variable"):
                found[id(node.variable)] += 1
            elif node not in seen:
                seen.add(node)
                stack.append(node)
    return found


def _cost(use: Use) -> int:
    """Return how many numbers an example costs at a call: inputs, outputs, patches, its gradient."""
    outputs = use.shape[1:].numel()
    size, weight = use.inputs[0].numel() + outputs, use.layer.get_parameter("weight")
    if isinstance(use.layer, nn.Linear) and use.inputs.ndim == 2:
        return size
    # a convolution's kernel lies on weight[0].numel() inputs at each position, in every group
    groups = use.layer.groups if isinstance(use.layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) else 0
    return size + weight.numel() + groups * weight[0].numel() * (outputs // max(1, len(weight)))


def sample_rows(
    problem: Problem,
    names: tuple[str, ...],
    inputs: Tensor,  # [n, ...]
    columns: Tensor,  # [n, outputs, K]
) -> Iterator[tuple[int, dict[str, Tensor]]]:  # (first example, {name: [m, K', shape]})
    """Yield S^T J for a few examples and columns at a time: gradients of an example's outputs weighted by its columns.

    Works for parameters of any layers, used in any way.
    """
    sizes = sum(problem.module.get_parameter(name).numel() for name in names)
    wide = max(1, min(columns.shape[2], BUDGET // max(1, sizes)))
    step = max(1, BUDGET // max(1, wide * sizes))
    for first in range(0, len(inputs), step):
        part = slice(first, first + step)
        for column in range(0, columns.shape[2], wide):
            yield first, _rows(problem, names, inputs[part], columns[part, :, column : column + wide].mT)


def _rows(problem: Problem, names: tuple[str, ...], inputs: Tensor, weights: Tensor) -> dict[str, Tensor]:
    module = problem.module
    values = {name: module.get_parameter(name).detach() for name in names}
    found_at = places(module, names)

    def pull(example: Tensor, rows: Tensor) -> dict[str, Tensor]:
        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            everywhere = {place: parameters[name] for place, name in found_at.items()}
            made: Tensor = torch.func.functional_call(module, everywhere, (example[None],), tie_weights=False)
            return made.reshape(-1)

        back = torch.func.vjp(outputs, values)[1]
        made: dict[str, Tensor] = torch.func.vmap(lambda row: back(row)[0])(rows)
        return made

    try:
        with warnings.catch_warnings():  # operations without a rule are looped over, which is slower and right
            warnings.filterwarnings("ignore", message="There is a performance drop")
            found: dict[str, Tensor] = torch.func.vmap(pull)(inputs, weights)
        return found
    except (RuntimeError, NotImplementedError):  # an operation that vmap has no rule for
        return _rows_one_by_one(problem, names, inputs, weights)


def places(module: nn.Module, names: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters' names at every layer that holds them, each layer once, with the name they are known by.

    (Left to itself, `functional_call` writes a layer of two names twice, and puts the wrong value back.)
    """
    named = {id(module.get_parameter(name)): name for name in names}
    return {
        f"{prefix}.{leaf}" if prefix else leaf: named[id(parameter)]
        for prefix, layer in module.named_modules()
        for leaf, parameter in layer._parameters.items()
        if id(parameter) in named
    }


def _rows_one_by_one(problem: Problem, names: tuple[str, ...], inputs: Tensor, weights: Tensor) -> dict[str, Tensor]:
    module = problem.live()
    parameters = [module.get_parameter(name) for name in names]
    found: list[list[Tensor]] = []
    for example, rows in zip(inputs, weights, strict=True):
        with torch.enable_grad():
            outputs = module(example[None]).reshape(-1)
        for row in rows:
            made = torch.autograd.grad(outputs, parameters, row, retain_graph=True, materialize_grads=True)
            found.append(list(made))
    n, k = weights.shape[:2]
    stacked = [torch.stack(one) for one in zip(*found, strict=True)]
    return {name: one.view(n, k, *one.shape[1:]) for name, one in zip(names, stacked, strict=True)}
