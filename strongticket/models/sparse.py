"""Run large, thinly kept tickets without their zeros: one kept weight per row should not cost a dense row."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from strongticket.models.bases import Pointwise
from strongticket.models.graph import Graph, GraphLayer, GraphModule
from strongticket.models.mlp import MLP, MLPModule, linear
from strongticket.ticket import Ticket

__all__ = ["sparse_module"]

DENSE_ABOVE = 0.05  # density from which the dense product is as fast as the compressed one on a CPU


class SparseLinear(nn.Module):
    """Multiply by a matrix of which few entries are kept, stored as compressed sparse rows."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:  # inputs: [batch, d_in] -> [batch, d_out]
        """Return inputs @ weight.T + bias."""
        product: Tensor = torch.sparse.mm(self.weight, inputs.t().contiguous()).t()
        return product if self.bias is None else product + self.bias


def sparse_module(ticket: Ticket) -> nn.Module:
    """Return a ticket as a network whose thin layers are stored sparse: same function, memory of what is kept.

    Dense and pointwise layers of density above 0.05 stay dense, which is faster for them. Other layers of a graph are
    dense on the input channels of which they keep a weight.

    Raises:
        TypeError: the ticket is not one of an MLP or a graph.
    """
    architecture = ticket.source.architecture
    if isinstance(architecture, Graph):
        return GraphModule(architecture, {k: _graph_layer(ticket, architecture, k) for k in architecture.affine})
    if not isinstance(architecture, MLP):
        raise TypeError(f"sparse_module runs tickets of MLPs and graphs, got {architecture.id}; use ticket.module()")
    layers: list[nn.Module] = []
    for i in range(architecture.depth):
        name = MLP.weight_name(i)
        rows, columns = architecture.shapes[name]
        bias = ticket.weight(MLP.bias_name(i)) if architecture.bias else None
        if name in ticket.dense or ticket.mask.counts[name] > DENSE_ABOVE * rows * columns:
            layers.append(linear(ticket.weight(name), bias))
            continue
        layers.append(SparseLinear(_compressed(ticket, name, rows, columns), bias))
    return MLPModule(layers, architecture.activation)


def _compressed(ticket: Ticket, name: str, rows: int, columns: int, groups: int = 1) -> Tensor:
    """The kept weights of a matrix of this shape, [rows, groups * columns]; each group has columns of its own."""
    index = ticket.mask.indices(name)
    starts = np.searchsorted(index, np.arange(rows + 1, dtype=np.int64) * columns)
    group = index // (columns * (rows // groups))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(index % columns + group * columns),
            ticket.kept_weights(name),
            size=(rows, groups * columns),
            check_invariants=True,
        )


class _Chosen(nn.Module):
    """Run a layer on those of its input channels that it keeps a weight of; all others add nothing."""

    def __init__(self, layer: GraphLayer, channels: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("channels", channels, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the step's value."""
        outputs: Tensor = self.layer(inputs.index_select(1, self.get_buffer("channels")))
        return outputs


class _SparsePoints(nn.Module):
    """Run a thin pointwise layer."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, I, *positions] -> [batch, O, *positions]
        """Return the step's value."""
        columns = inputs.movedim(1, 0)  # [I, batch, *positions]
        product = torch.sparse.mm(self.weight, columns.reshape(len(columns), -1))
        outputs: Tensor = product.reshape(-1, *columns.shape[1:]).movedim(0, 1)
        return outputs if self.bias is None else outputs + self.bias.reshape(-1, *(1,) * (inputs.ndim - 2))


def _graph_layer(ticket: Ticket, graph: Graph, k: int) -> nn.Module:
    """One step of a ticket in a graph: sparse where it is thin and pointwise, else on the channels it uses."""
    step, name = graph.layer(k), Graph.weight_name(k)
    bias = ticket.weight(Graph.bias_name(k)) if step.bias else None
    outputs, each, size = step.weight_shape
    if name in ticket.dense or (step.groups > 1 and size > 1):
        return GraphLayer(step, ticket.weight(name), bias)
    if size == 1 and isinstance(step.basis, Pointwise) and ticket.mask.counts[name] <= DENSE_ABOVE * outputs * each:
        return _SparsePoints(_compressed(ticket, name, outputs, each, step.groups), bias)
    if step.groups > 1:
        return GraphLayer(step, ticket.weight(name), bias)
    index = ticket.mask.indices(name)
    used, place = np.unique(index // size % each, return_inverse=True)
    if not used.size:
        used, place = np.zeros(1, dtype=np.int64), np.zeros(index.size, dtype=np.int64)
    flat = (index // (each * size) * used.size + place) * size + index % size
    weight = torch.zeros(outputs, used.size, size)
    weight.view(-1)[torch.from_numpy(flat)] = ticket.kept_weights(name)
    own = GraphLayer(replace(step, channels_in=int(used.size)), weight, bias)
    return own if used.size == each else _Chosen(own, torch.from_numpy(used))
