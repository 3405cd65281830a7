"""Read a network of torch as a graph: follow its forward pass and write down every step, or refuse it by name.

Batch normalisation is folded in float64, at the statistics of evaluation; dropout and identities are passed through.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from strongticket.models.graph._builder import Builder, Value
from strongticket.models.graph.network import Graph, GraphLayer, GraphModule
from strongticket.models.graph.steps import AveragePool, MaxPool

__all__ = ["read_module"]

_CONVS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MAX_POOLS: Final = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS: Final = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE: Final[Mapping[type[nn.Module], type[MaxPool | AveragePool]]] = {
    nn.AdaptiveAvgPool1d: AveragePool,
    nn.AdaptiveAvgPool2d: AveragePool,
    nn.AdaptiveAvgPool3d: AveragePool,
    nn.AdaptiveMaxPool1d: MaxPool,
    nn.AdaptiveMaxPool2d: MaxPool,
    nn.AdaptiveMaxPool3d: MaxPool,
}
_NOTHING: Final = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class _Batch:
    """Stand for the size of the batch, which is not known."""

    def __repr__(self) -> str:
        return "batch"


_BATCH: Final = _Batch()


def read_module(module: nn.Module, inputs: Sequence[int] | None = None) -> tuple[Graph, dict[str, Tensor]]:
    """Return a network as a graph and its weights, which compute what it does in evaluation mode.

    Args:
        module: a network whose forward pass takes one tensor and decides nothing by its values.
        inputs: shape of one input, without the batch; needed unless the first layer is Linear.

    Returns:
        The graph, and its weights; in float64 where batch normalisation was folded.

    Raises:
        TypeError: an operation that a graph does not have, named with its place.
        ValueError: inputs that the network does not take, or none where they are needed.
    """
    for place, layer in module.named_modules():
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise TypeError(
                f"{place or 'the module'} has forward hooks, which may change what it computes: remove them first"
            )
    if isinstance(module, GraphModule) and all(isinstance(layer, GraphLayer) for layer in module.steps.values()):
        return module.architecture, {name: value.detach() for name, value in module.state_dict().items()}
    try:
        still = copy.deepcopy(module).eval()  # so that dropout is traced as what it is when the network is used
        traced = fx.Tracer().trace(still)
    except Exception as error:  # whatever a stranger's forward does with values that are not there
        raise TypeError(
            f"{type(module).__name__} cannot be followed by torch.fx ({type(error).__name__}: {error}): its forward "
            "pass must take one tensor and decide nothing by its values; or describe it as a "
            "strongticket.models.Graph"
        ) from error
    return _Reader(still, traced, inputs).read()


class _Reader:
    """Walk along a traced network."""

    def __init__(self, module: nn.Module, traced: fx.Graph, inputs: Sequence[int] | None) -> None:
        self.module = module
        self.nodes = list(traced.nodes)
        self.made: dict[fx.Node, Any] = {}
        shape = self._input_shape() if inputs is None else tuple(int(side) for side in inputs)
        self.builder = Builder(shape, self._alone)
        self.functions, self.methods = _calls(self)

    def read(self) -> tuple[Graph, dict[str, Tensor]]:
        """Return the graph and its numbers."""
        output: Any = None
        with torch.no_grad():
            for node in self.nodes:
                self.builder.place = self._place(node)
                arguments, options = fx.node.map_arg((node.args, node.kwargs), lambda other: self.made[other])
                if node.op == "output":
                    output = arguments[0]
                else:
                    self.made[node] = self._follow(node, tuple(arguments), dict(options))
        if not isinstance(output, Value):
            raise TypeError(f"the network returns a {type(output).__name__}; a graph returns one tensor")
        return self.builder.result(output)

    def _alone(self, value: Value) -> bool:
        return all(len(node.users) == 1 for node, held in self.made.items() if held == value)

    def _layer(self, node: fx.Node) -> nn.Module:
        return self.module.get_submodule(str(node.target))

    def _place(self, node: fx.Node) -> str:
        """Where the network is, in words."""
        if node.op == "call_module":
            return f"the layer at {node.target} ({type(self._layer(node)).__name__})"
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)
        stack = node.meta.get("nn_module_stack") or {}
        inside = next((place for place, _ in reversed(stack.values()) if place), "the network itself")
        return f"the operation {node.name if name in ('boolean_dispatch', 'fn') else name} in {inside}"

    def _input_shape(self) -> tuple[int, ...]:
        for node in self.nodes:
            layer = self._layer(node) if node.op == "call_module" else None
            if isinstance(layer, nn.Linear):
                return (layer.in_features,)
            passed = node.op in ("placeholder", "get_attr") or isinstance(layer, (*_NOTHING, nn.Flatten))
            if not passed and node.target not in ("flatten", torch.flatten):
                break
        raise ValueError("the shape of an input cannot be seen from the network: give inputs=, such as (3, 32, 32)")

    def _follow(self, node: fx.Node, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if node.op == "placeholder":
            if not any(isinstance(held, Value) for held in self.made.values()):
                return Value(0)
            if arguments:
                return arguments[0]  # its default
            raise TypeError(f"the network takes {node.target} besides its input; a graph takes one tensor")
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.module)
        if node.op == "call_module":
            if len(arguments) != 1 or not isinstance(arguments[0], Value) or options:
                self.builder.refuse("takes more than one value; a graph's layers take one")
            layer = self._layer(node)
            made = self._apply(layer, arguments[0])
            overwrites = isinstance(layer, nn.ReLU) and layer.inplace
            return self._overwrite(node, arguments[0], made) if overwrites else made
        if not _mentions(arguments) and not _mentions(options):  # numbers alone: weights times a mask, say
            if node.op == "call_method":
                return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
            assert callable(node.target)
            return node.target(*arguments, **options)
        known = self.methods.get(str(node.target)) if node.op == "call_method" else self.functions.get(node.target)
        if known is None:
            self.builder.refuse()
        made = known(*arguments, **options)
        overwrites = str(node.target).endswith("_") or node.target in _OVERWRITING or options.get("inplace", False)
        overwrites |= node.target is functional.relu and len(arguments) > 1 and arguments[1]
        return self._overwrite(node, arguments[0] if arguments else options["input"], made) if overwrites else made

    def _overwrite(self, node: fx.Node, old: Value, new: Value) -> Value:
        """Let everyone who holds a value that was overwritten hold the new one."""
        memory = self.builder.memory
        later = set(self.nodes[self.nodes.index(node) + 1 :])
        for other, held in self.made.items():
            if not isinstance(held, Value) or memory[held.number] != memory[old.number]:
                continue
            if held == old:
                self.made[other] = new
            elif later & set(other.users):
                self.builder.refuse(f"overwrites numbers that {other.name} sees too: let it make new ones")
        return new

    def _apply(self, layer: nn.Module, x: Value) -> Value:
        """One of torch's own layers; classes made from them may do anything, so they are refused."""
        builder, kind = self.builder, type(layer)
        given: Any = layer
        rest: tuple[Any, ...]
        if kind in _NOTHING:
            return x
        if kind is nn.ReLU:
            return builder.relu(x)
        if kind is nn.Linear:
            return builder.linear(x, given.weight, given.bias)
        if kind in _CONVS:
            if given.padding_mode != "zeros":
                builder.refuse(f"pads by {given.padding_mode!r}; a graph pads by zeros")
            rest = (given.stride, given.padding, given.dilation, given.groups)
            return builder.conv(x, given.weight, given.bias, *rest)
        if kind in _NORMS:
            return builder.norm(x, given.running_mean, given.running_var, given.weight, given.bias, given.eps)
        if kind in _MAX_POOLS:
            rest = (given.kernel_size, given.stride, given.padding, given.dilation, given.ceil_mode)
            return builder.max_pool(x, *rest, given.return_indices)
        if kind in _AVERAGE_POOLS:
            rest = (given.kernel_size, given.stride, given.padding, given.ceil_mode)
            return builder.average_pool(x, *rest, given.count_include_pad, getattr(given, "divisor_override", None))
        if kind in _ADAPTIVE:
            return builder.adaptive(_ADAPTIVE[kind], x, given.output_size, getattr(given, "return_indices", False))
        if kind is nn.Flatten:
            return builder.flatten(x, given.start_dim, given.end_dim)
        builder.refuse()

    # what only a trace has: shapes with an unknown batch, parts of values, dropout as a function

    def reshape(self, x: Value, *shape: Any) -> Value:
        """A reshape that flattens, or changes nothing."""
        sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        own = self.builder.shapes[x.number]
        total = math.prod(own)
        batch, rest = sizes[0], list(sizes[1:])
        if isinstance(batch, _Batch) or (batch == -1 and -1 not in rest):
            known = math.prod(side for side in rest if isinstance(side, int) and side != -1)
            rest = [total // max(1, known) if side == -1 else side for side in rest]
            if tuple(rest) == own:
                return x
            if rest == [total]:
                return self.builder.flatten(x, 1)
        self.builder.refuse(f"reshapes values of shape {own} to {sizes}; a graph flattens all but the batch")

    def item(self, x: Any, index: Any) -> Any:
        """A part of a shape, or every stride-th position of a value."""
        if isinstance(x, tuple):
            return x[index]
        parts = list(index) if isinstance(index, tuple) else [index]
        sizes = (None, *self.builder.shapes[x.number])
        whole = len(parts) <= len(sizes) and all(
            isinstance(part, slice) and part.start in (None, 0) and part.stop in (None, size)
            for part, size in zip(parts, sizes, strict=False)
        )
        strides = [part.step or 1 for part in parts] + [1] * (len(sizes) - len(parts)) if whole else []
        if strides[:2] != [1, 1] or len(set(strides[2:])) > 1 or min(strides) < 1:
            self.builder.refuse("picks parts of a value; a graph picks every s-th position only, s alike everywhere")
        return self.builder.every(x, strides[-1])

    def dropout(self, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
        """Nothing, when the network is used."""
        if training and p:
            self.builder.refuse("drops values at random whenever it is run; pass training=self.training")
        return x

    def size(self, x: Value, dim: int | None = None) -> Any:
        """The shape of a value."""
        sizes = (_BATCH, *self.builder.shapes[x.number])
        return sizes if dim is None else sizes[dim]

    def attribute(self, x: Value, name: str) -> Any:
        """The shape of a value."""
        return self.size(x) if name == "shape" else self.builder.refuse(f"asks for {name}; only the shape is known")


def _mentions(value: Any) -> bool:
    """Whether a value of the network, or the size of its batch, is in it."""
    if isinstance(value, (tuple, list)):
        return any(map(_mentions, value))
    if isinstance(value, dict):
        return any(map(_mentions, value.values()))
    return isinstance(value, (Value, _Batch))


_OVERWRITING: Final = (operator.iadd, torch.relu_, functional.relu_)


Called = Callable[..., Any]


def _calls(reader: _Reader) -> tuple[dict[Any, Called], dict[str, Called]]:
    """What is done at a call of functions and of tensors' methods; the parameters are torch's.

    torch has most operations two or three times, in `torch`, in `torch.nn.functional` and as methods: one row each in
    the table below.
    """
    builder = reader.builder

    def relu(input: Value, inplace: bool = False) -> Value:
        return builder.relu(input)

    def plus(input: Any, other: Any, *, alpha: Any = 1) -> Value:
        return builder.plus(input, other, alpha)

    def max_pool(input: Value, kernel_size: Any, *rest: Any, **options: Any) -> Value:
        return builder.max_pool(input, kernel_size, *rest, **options)

    def average_pool(input: Value, kernel_size: Any, *rest: Any, **options: Any) -> Value:
        return builder.average_pool(input, kernel_size, *rest, **options)

    def conv(input: Value, weight: Any, *rest: Any, **options: Any) -> Value:
        return builder.conv(input, weight, *rest, **options)

    def linear(input: Value, weight: Any, bias: Any = None) -> Value:
        return builder.linear(input, weight, bias)

    def native_norm(
        input: Value, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, _: bool
    ) -> Value:
        return builder.norm(input, None if training else mean, var, weight, bias, eps)

    def norm(
        input: Value,
        running_mean: Any,
        running_var: Any,
        weight: Any = None,
        bias: Any = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Value:
        return builder.norm(input, None if training else running_mean, running_var, weight, bias, eps)

    def adaptive_average(input: Value, output_size: Any) -> Value:
        return builder.adaptive(AveragePool, input, output_size)

    def adaptive_max(input: Value, output_size: Any, return_indices: bool = False) -> Value:
        return builder.adaptive(MaxPool, input, output_size, return_indices)

    def flatten(input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
        return builder.flatten(input, start_dim, end_dim)

    def mean(input: Value, dim: Any = None, keepdim: bool = False, **rest: Any) -> Value:
        return builder.mean(input, dim, keepdim, **rest)

    def pad(input: Value, pad: Any, mode: str = "constant", value: float | None = None) -> Value:
        return builder.pad(input, pad, mode, value)

    def native_pad(input: Value, pad: Any, value: float = 0) -> Value:
        return builder.pad(input, pad, "constant", value)

    def dropout(input: Value, *rest: Any, **options: Any) -> Value:
        return reader.dropout(input, *rest, **options)

    def native_dropout(input: Value, p: float, train: bool) -> Value:
        return reader.dropout(input, p, train)

    def reshape(input: Value, shape: Any) -> Value:
        return reader.reshape(input, *shape)

    f, t = functional, torch
    table: tuple[tuple[Called, tuple[Any, ...], tuple[str, ...]], ...] = (
        (relu, (f.relu, f.relu_, t.relu, t.relu_), ("relu", "relu_")),
        (linear, (f.linear,), ()),
        (conv, (f.conv1d, f.conv2d, f.conv3d, t.conv1d, t.conv2d, t.conv3d), ()),
        (norm, (f.batch_norm,), ()),
        (native_norm, (t.batch_norm,), ()),
        (max_pool, (f.max_pool1d, f.max_pool2d, f.max_pool3d, t.max_pool1d, t.max_pool2d, t.max_pool3d), ()),
        (average_pool, (f.avg_pool1d, f.avg_pool2d, f.avg_pool3d, t.avg_pool1d), ()),
        (adaptive_average, (f.adaptive_avg_pool1d, f.adaptive_avg_pool2d, f.adaptive_avg_pool3d), ()),
        (adaptive_average, (t.adaptive_avg_pool1d,), ()),
        (adaptive_max, (f.adaptive_max_pool1d, f.adaptive_max_pool2d, f.adaptive_max_pool3d), ()),
        (flatten, (t.flatten,), ("flatten",)),
        (reshape, (t.reshape,), ()),
        (reader.reshape, (), ("reshape", "view")),
        (mean, (t.mean,), ("mean",)),
        (plus, (t.add, operator.add, operator.iadd), ("add", "add_")),
        (pad, (f.pad,), ()),
        (native_pad, (t.constant_pad_nd,), ()),
        (dropout, (f.dropout, f.dropout1d, f.dropout2d, f.dropout3d, f.alpha_dropout, f.feature_alpha_dropout), ()),
        (native_dropout, (t.dropout, t.feature_dropout, t.alpha_dropout, t.feature_alpha_dropout), ()),
        (reader.item, (operator.getitem,), ()),
        (reader.attribute, (getattr,), ()),
        (reader.size, (), ("size",)),
        (lambda x: x, (), ("contiguous",)),
    )
    functions = {function: known for known, names, _ in table for function in names}
    return functions, {name: known for known, _, names in table for name in names}
