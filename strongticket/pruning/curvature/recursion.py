"""Back-propagate second derivatives through feed-forward networks, as optimal brain damage did it (lecun1989optimal).

With a the inputs of an activation x = f(a), E the loss of an example, and only the diagonals of Hessians kept:

    d2E/da_i^2 = f'(a_i)^2 sum_l w_li^2 d2E/da_l^2 + f''(a_i) dE/dx_i,    d2E/dw_ij^2 = d2E/da_i^2 x_j^2.

Plus f'': differentiate dE/da = f'(a) dE/dx once more. Shared weights get the sum over their uses. What is dropped on
the way, second derivatives in two different activations, makes the result approximate before the last linear layer
(before the last but one under squared error, whose Hessian in the outputs is diagonal), and in convolutions everywhere.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from strongticket.pruning._checks import check_whole
from strongticket.pruning.curvature.outputs import check_examples, checked_loss, loss_slopes, output_hessian
from strongticket.pruning.problem import Loss, Problem

__all__ = ["recursion_diagonal"]

_LINEAR: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_AVERAGES: Final = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE: Final = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_POINTWISE: Final[frozenset[Any]] = frozenset(
    {nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign}
    | {nn.Tanh, nn.Hardtanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Tanhshrink, nn.Softshrink}
    | {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}  # in evaluation: a line per channel
    | {torch.relu, torch.tanh, torch.sigmoid, functional.relu, functional.tanh, functional.sigmoid, functional.gelu}
    | {functional.silu, functional.elu, functional.leaky_relu, functional.softplus, functional.relu6}
    | {"relu", "tanh", "sigmoid", "relu_", "tanh_", "sigmoid_"}
)
_ROUTES: Final[frozenset[Any]] = frozenset(  # every output is a copy of one input, or a constant
    {nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d}
    | {nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d}
    | {torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, torch.permute, torch.transpose, operator.getitem}
    | {functional.pad, functional.dropout, functional.max_pool1d, functional.max_pool2d, functional.max_pool3d}
    | {"flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "contiguous"}
)
_SUMS: Final[frozenset[Any]] = frozenset({operator.add, operator.iadd, torch.add, "add", "add_"})


_Derivatives = tuple[Tensor, Tensor | None]
"""Second and, where they are wanted, first derivatives of the examples' losses in some activations."""


def recursion_diagonal(problem: Problem, *, second: bool = True, chunk: int | None = None) -> dict[str, Tensor]:
    """Return the 1990 paper's diagonal of the Hessian of the mean loss: one forward and about one backward pass.

    It is not the exact diagonal (see the module's head); `ggn_diagonal` is, for ReLU networks.

    Args:
        problem: a network whose computation does not depend on its values, of Linear and Conv layers, element-wise
            activations, pooling, flattening, sums and batch normalisation in evaluation mode.
        second: whether the term of the activation's second derivative counts; without it this is the
            Levenberg-Marquardt form, never negative for losses that are convex in the outputs.
        chunk: examples at a time; None: 256.

    Returns:
        {name: float64 of the parameter's shape}; 0 outside `problem.start`.

    Raises:
        ValueError: no data, a loss that is not finite, examples that depend on each other, or a network made of
            anything else, naming it.

    >>> module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh())
    >>> _ = module[0].weight.data.fill_(1.0)
    >>> problem = Problem.of(module, (torch.ones(1, 1), torch.zeros(1, 1)), loss="squared-error")
    >>> [round(recursion_diagonal(problem, second=second)["0.weight"].item(), 4) for second in (True, False)]
    [-0.3108, 0.1764]
    """
    check_whole(chunk=chunk)
    check_examples(problem)
    flow = _Flow(problem)
    for inputs, labels in problem.batches(256 if chunk is None else chunk):
        flow.add(inputs, labels, problem.loss, second)
    totals = flow.totals
    for name, total in totals.items():
        total.mul_(problem.start[name].to(total.device)).div_(len(problem.data[0]))
        if not bool(torch.isfinite(total).all()):
            raise ValueError(f"the curvature of {name} is not finite: its derivatives overflow; use float64")
    return totals


class _Flow:
    """The network as a list of steps, and the sums of second derivatives of its weights so far."""

    def __init__(self, problem: Problem) -> None:
        self.module = nn.Sequential(problem.module)  # so that a network of one layer is traced as a layer, too
        try:
            self.graph = fx.symbolic_trace(self.module).graph
        except Exception as error:  # whatever a network does that depends on its values
            raise _refusal(f"cannot trace this network ({error})") from error
        self.layers = dict(self.module.named_modules())
        self.names = {id(problem.module.get_parameter(name)): name for name in problem.names}
        self.totals = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in problem.weights.items()}
        self.checked = False
        owners = (layer for layer in self.layers.values() if type(layer) in _LINEAR)
        known = {id(parameter) for layer in owners for parameter in layer.parameters()}
        others = [name for key, name in self.names.items() if key not in known]
        if others:
            raise _refusal(f"has no rule for {', '.join(others)}, of no Linear or Conv layer")

    def add(self, inputs: Tensor, labels: Tensor, loss: Loss, second: bool) -> None:
        """Add a batch's second derivatives, summed over its examples."""
        values, outputs = self._forward(inputs)
        result = values[outputs]
        checked_loss(loss, result, labels)
        if not self.checked and not torch.allclose(result, self.module(inputs), rtol=1e-3, atol=1e-6, equal_nan=True):
            raise _refusal("computes something else than this network, whose layers overwrite values that others read")
        self.checked = True
        curved = output_hessian(loss, result, labels).diagonal(dim1=1, dim2=2).reshape(result.shape)
        slopes = loss_slopes(loss, result, labels).reshape(result.shape) if second else None
        reached: dict[fx.Node, _Derivatives] = {outputs: (curved, slopes)}
        for node in reversed(self.graph.nodes):
            if node in reached and node.op != "placeholder":
                for source, made in self._back(node, values, *reached.pop(node)):
                    reached[source] = _added(reached[source], made) if source in reached else made

    def _forward(self, inputs: Tensor) -> tuple[dict[fx.Node, Any], fx.Node]:
        values: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder":
                if values:
                    raise _refusal("takes one input, and this network more")
                values[node] = inputs
            elif node.op == "output":
                result = node.args[0]
                if isinstance(result, fx.Node) and isinstance(values[result], Tensor):
                    return values, result
                raise _refusal("takes one tensor of outputs, and this network makes something else")
            elif node.op == "get_attr":
                raise _refusal(f"has no rule for {node.target} outside of a layer")
            else:
                values[node] = self._run(node, values)
        raise _refusal("takes one tensor of outputs, and this network makes none")

    def _run(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """Compute a step, of copies where it might work in place."""
        copies = self._kind(node) in _POINTWISE | _SUMS

        def value(source: fx.Node) -> Any:
            found = values[source]
            return found.clone() if copies and isinstance(found, Tensor) else found

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), value)
        if node.op == "call_module":
            return self.layers[str(node.target)](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _kind(self, node: fx.Node) -> Any:
        """Return what tells a step's kind: the type of a layer, a function, or the name of a method."""
        return type(self.layers[str(node.target)]) if node.op == "call_module" else node.target

    def _title(self, node: fx.Node) -> str:
        """Return a step's name for messages."""
        kind = self._kind(node)
        name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        return f"{name} ({str(node.target).partition('.')[2]})" if node.op == "call_module" else name

    def _back(
        self, node: fx.Node, values: dict[fx.Node, Any], curve: Tensor, slope: Tensor | None
    ) -> list[tuple[fx.Node, _Derivatives]]:
        """Return the second and first derivatives in what a step reads, given those in what it makes."""
        kind, sources = self._kind(node), [s for s in node.all_input_nodes if isinstance(values[s], Tensor)]
        if kind in _SUMS and set(node.kwargs) <= {"input", "other"} and self._alike(sources, values, curve):
            summands = (*node.args, *node.kwargs.values())
            times = {source: sum(argument is source for argument in summands) for source in sources}
            return [(one, (curve * times[one] ** 2, None if slope is None else slope * times[one])) for one in sources]
        if len(sources) != 1:
            raise _refusal(f"has no rule for {self._title(node)} of {len(sources)} tensors")
        (source,) = sources

        def step(value: Tensor) -> Tensor:
            made: Tensor = self._run(node, {**values, source: value})
            return made

        inputs: Tensor = values[source]
        if kind in _LINEAR:
            layer = self.layers[str(node.target)]
            self._take(layer, inputs, curve)
            # nobody asks for derivatives in the network's inputs
            return [] if source.op == "placeholder" else [(source, _through(layer, inputs, curve, slope))]
        if kind in _POINTWISE:
            return [(source, _pointwise(step, inputs, curve, slope))]
        if kind in _ROUTES:
            return [(source, (_pull(step, inputs, curve), None if slope is None else _pull(step, inputs, slope)))]
        if kind in _AVERAGES + _ADAPTIVE:
            size = _window(self.layers[str(node.target)], inputs, curve)
            return [
                (source, (_pull(step, inputs, curve / size), None if slope is None else _pull(step, inputs, slope)))
            ]
        raise _refusal(f"has no rule for {self._title(node)}")

    @staticmethod
    def _alike(sources: list[fx.Node], values: dict[fx.Node, Any], curve: Tensor) -> bool:
        return all(values[source].shape == curve.shape for source in sources)

    def _take(self, layer: nn.Module, inputs: Tensor, curve: Tensor) -> None:
        """Add the second derivatives of a layer's weights: those in its outputs times its inputs squared, over uses."""
        squares = inputs.square()
        for leaf, parameter in layer.named_parameters():
            if (name := self.names.get(id(parameter))) is None:
                continue
            if leaf == "bias":
                outputs = curve.ndim - 1 if isinstance(layer, nn.Linear) else 1
                self.totals[name] += curve.sum([axis for axis in range(curve.ndim) if axis != outputs])
            elif isinstance(layer, nn.Linear):
                self.totals[name] += curve.flatten(0, -2).T @ squares.flatten(0, -2)
            else:
                at = functools.partial(_with, layer, squares)
                self.totals[name] += _pull(at, parameter.detach(), curve)


def _added(one: _Derivatives, other: _Derivatives) -> _Derivatives:
    return one[0] + other[0], None if one[1] is None or other[1] is None else one[1] + other[1]


def _through(layer: nn.Module, inputs: Tensor, curve: Tensor, slope: Tensor | None) -> _Derivatives:
    """Go on to a layer's inputs: every coefficient squared."""
    weight = layer.get_parameter("weight").detach()
    if isinstance(layer, nn.Linear):
        return curve @ weight.square(), None if slope is None else slope @ weight

    def back(value: Tensor, outputs: Tensor) -> Tensor:
        return _pull(lambda x: _with(layer, x, value), inputs, outputs)

    return back(weight.square(), curve), None if slope is None else back(weight, slope)


def _with(layer: nn.Module, inputs: Tensor, weight: Tensor) -> Tensor:
    """Run a layer with another weight."""
    made: Tensor = torch.func.functional_call(layer, {"weight": weight}, (inputs,))
    return made


def _pull(step: Callable[[Tensor], Tensor], inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the transposed Jacobian of a step times what is in its outputs' shape."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_(True)
        (found,) = torch.autograd.grad(step(leaf), leaf, weights)
    return found


def _pointwise(step: Callable[[Tensor], Tensor], inputs: Tensor, curve: Tensor, slope: Tensor | None) -> _Derivatives:
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_(True)
        (first,) = torch.autograd.grad(step(leaf).sum(), leaf, create_graph=slope is not None)
        bend = None
        if first.requires_grad:
            (bend,) = torch.autograd.grad(first.sum(), leaf, allow_unused=True)
    first = first.detach()
    passed = first.square() * curve
    if slope is None:
        return passed, None
    return passed if bend is None else passed + bend * slope, first * slope


def _window(layer: nn.Module, inputs: Tensor, curve: Tensor) -> int:
    """Return of how many inputs each output is the mean: a square of a mean's coefficients is that many times less."""
    places = inputs.ndim - 2
    if isinstance(layer, _ADAPTIVE):
        if any(one % other for one, other in zip(inputs.shape[2:], curve.shape[2:], strict=True)):
            raise _refusal(f"has no rule for {layer}, which makes means of different sizes from {tuple(inputs.shape)}")
        return inputs.shape[2:].numel() // curve.shape[2:].numel()
    assert isinstance(layer, _AVERAGES)
    sizes, padding, override = layer.kernel_size, layer.padding, getattr(layer, "divisor_override", None)
    padded = any(padding) if isinstance(padding, tuple) else bool(padding)
    if layer.ceil_mode or override is not None or (padded and not layer.count_include_pad):
        raise _refusal(f"has no rule for {layer}, which makes means of different sizes")
    return math.prod(sizes) if isinstance(sizes, tuple) else sizes**places


def _refusal(why: str) -> ValueError:
    return ValueError(
        f"the recursion of second derivatives knows feed-forward networks of common layers; it {why}: use the "
        "Gauss-Newton diagonal, which takes any network"
    )
