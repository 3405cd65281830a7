"""Run large, thinly kept tickets without their zeros: one kept weight per row should not cost a dense row."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

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
    """Return an MLP ticket as a network whose thin layers are stored sparse: same function, memory of what is kept.

    Layers of density above 0.05 stay dense, which is faster for them.

    Raises:
        TypeError: the ticket is not one of an MLP.
    """
    architecture = ticket.source.architecture
    if not isinstance(architecture, MLP):
        raise TypeError(f"sparse_module runs MLP tickets, got {architecture.id}; use ticket.module()")
    layers: list[nn.Module] = []
    for i in range(architecture.depth):
        name = MLP.weight_name(i)
        rows, columns = architecture.shapes[name]
        bias = ticket.weight(MLP.bias_name(i)) if architecture.bias else None
        if name in ticket.dense or ticket.mask.counts[name] > DENSE_ABOVE * rows * columns:
            layers.append(linear(ticket.weight(name), bias))
            continue
        index = ticket.mask.indices(name)
        starts = np.searchsorted(index, np.arange(rows + 1, dtype=np.int64) * columns)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            weight = torch.sparse_csr_tensor(
                torch.from_numpy(starts),
                torch.from_numpy(index % columns),
                ticket.kept_weights(name),
                size=(rows, columns),
                check_invariants=True,
            )
        layers.append(SparseLinear(weight, bias))
    return MLPModule(layers)
