"""The one door to the constructions: which proof each kind of target goes to, and what is refused before any work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import strongticket as st
from strongticket.constructions import DaCunha2022Proving, Otsuka2025Attention, Pensia2020Optimal
from strongticket.models import Attention, AttentionTarget, GraphTarget
from strongticket.subsetsum import AbstractSubsetSumSolver, BruteForceSolver, Choice

SMALL: dict[str, Any] = {"weight_eps": 0.2, "seed": 1}


class Own(nn.Module):
    """A forward pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, bias=False)
        self.out = nn.Linear(2, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1))
        return found


def quiet(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    return module


def attention() -> nn.Module:
    net = Attention(1, 4, 1, 4, 4, (6,), patch=4, classes=2)
    weights = {
        name: torch.linspace(-0.4, 0.5, int(np.prod(shape))).reshape(shape) for name, shape in net.shapes.items()
    }
    return net.module(weights | net.initial_state())


def test_each_kind_of_target_goes_to_the_proof_that_takes_it() -> None:
    mlp, own, attending = quiet(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))), quiet(Own()), attention()
    graph = GraphTarget.from_module(own, (1, 4, 4))
    cases: list[tuple[Any, dict[str, Any], Any, Any]] = [
        (mlp, {}, Pensia2020Optimal, st.Target.from_module(mlp)),
        (st.Target.from_module(mlp), {}, Pensia2020Optimal, st.Target.from_module(mlp)),
        (mlp, {"inputs": (3,)}, Pensia2020Optimal, st.Target.from_module(mlp)),
        (own, {"inputs": [1, 4, 4]}, DaCunha2022Proving, graph),
        (graph, {}, DaCunha2022Proving, graph),
        (graph.module(), {}, DaCunha2022Proving, graph),
        (attending, {}, Otsuka2025Attention, AttentionTarget.from_module(attending)),
    ]
    for given, words, method, target in cases:
        made = st.construct(given, **words, **SMALL)
        assert made.key == method.key
        assert made.best == method(**SMALL).construct(target).best


def test_what_cannot_be_read_says_which_word_is_missing() -> None:
    with pytest.raises(TypeError, match=r"GraphTarget\.from_module\(module, inputs="):
        st.construct(Own(), **SMALL)
    with pytest.raises(TypeError, match="Tanh"):  # traced, and still no graph
        st.construct(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Tanh()), inputs=(1, 4, 4), **SMALL)


def test_inputs_are_of_modules_and_fit_them() -> None:
    mlp = quiet(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    assert st.construct(mlp, inputs=(1, 2, 2), **SMALL).key == "pensia2020optimal"
    with pytest.raises(ValueError, match=r"reads 4 numbers, got inputs=\(5,\)"):
        st.construct(mlp, inputs=(5,), **SMALL)
    for known in (st.Target.from_module(mlp), attention()):
        with pytest.raises(ValueError, match="leave it out"):
            st.construct(known, inputs=(4,), **SMALL)
    for strange in ("net.pt", {"0.weight": torch.zeros(2, 2)}, Own):
        with pytest.raises(TypeError, match="expected a torch module or one of Target, GraphTarget, AttentionTarget"):
            st.construct(strange, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sparsity"):
        st.construct(mlp, sparsity=0.5)


class Counting(AbstractSubsetSumSolver):
    """Counts what it is asked, and answers as enumeration does."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0

    def chunk_size(self, n: int, goal: Any, sharing: float = 1.0) -> int:
        return BruteForceSolver().chunk_size(n, goal, sharing)

    def choose(self, batch: Any, goal: Any) -> Choice:
        self.asked += len(batch)
        return BruteForceSolver().choose(batch, goal)


def test_a_solver_of_ones_own_stands_for_a_backends_name() -> None:
    solver, mlp = Counting(), quiet(nn.Sequential(nn.Linear(3, 2, bias=False)))
    made = st.construct(mlp, weight_eps=0.2, items=6, seed=1, backend=solver)
    assert solver.asked > 0
    assert made.best == st.construct(mlp, weight_eps=0.2, items=6, seed=1, backend="brute").best
