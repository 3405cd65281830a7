"""Graphs: their ids, shapes and signs, the wide networks that tickets of them live in, and what is refused."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.models import (
    Add,
    Affine,
    AveragePool,
    Circulant,
    Convolution,
    Flatten,
    Graph,
    GraphLayer,
    GraphTarget,
    GroupConvolution,
    MatrixBasis,
    MaxPool,
    Pad,
    Pointwise,
    Rectify,
    Sets,
    architecture,
    sparse_module,
)
from strongticket.models.bases import AbstractBasis, dihedral
from strongticket.models.graph.steps import AbstractStep
from strongticket.ticket import Mask, Source, Ticket
from strongticket.ticketfile import dumps, loads


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Small graphs of every kind of step, whose last value is read by nobody and all others by somebody."""
    inputs = draw(st.sampled_from([(3,), (2, 6), (2, 5, 4), (4, 6, 6), (1, 2, 3, 4)]))
    steps: list[AbstractStep] = []
    shapes: list[tuple[int, ...]] = [inputs]
    for _ in range(draw(st.integers(1, 7))):
        value = draw(st.integers(max(0, len(steps) - 1), len(steps)))
        step = draw(_step(shapes, value))
        try:
            shapes.append(step.shape(*(shapes[source] for source in step.sources)))
        except ValueError:
            continue
        steps.append(step)
    if not any(isinstance(step, Affine) for step in steps):
        value = len(steps)
        steps.append(Affine(Pointwise(shapes[value][1:]), shapes[value][0], 2, reads=value))
    return _live(inputs, steps)


def _live(inputs: tuple[int, ...], steps: list[AbstractStep]) -> Graph:
    """The part of a graph that its last value needs, which may be all of it."""
    needed = {len(steps)}
    for value in range(len(steps), 0, -1):
        needed |= set(steps[value - 1].sources) if value in needed else set()
    moved, kept = {0: 0}, []
    for value in sorted(needed - {0}):
        kept.append(steps[value - 1].reading(*(moved[source] for source in steps[value - 1].sources)))
        moved[value] = len(kept)
    if not any(isinstance(step, Affine) for step in kept):
        shape = Graph(inputs, tuple(kept)).shape_of(-1)
        kept.append(Affine(Pointwise(shape[1:]), shape[0], 1))
    return Graph(inputs, tuple(kept))


@st.composite
def _step(draw: st.DrawFn, shapes: list[tuple[int, ...]], value: int) -> AbstractStep:
    channels, *positions = shapes[value]
    alike = [v for v, shape in enumerate(shapes) if shape == shapes[value]]
    kinds = ["affine", "affine", "relu", "relu", "flatten", "pad"] + ["pool"] * bool(positions)
    kind = draw(st.sampled_from(kinds + ["add"] * (len(alike) > 1)))
    if kind == "relu":
        return Rectify(value)
    if kind == "flatten":
        return Flatten(value)
    if kind == "add":
        return Add((value, *draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2))))
    if kind == "pad":
        return Pad(draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2)), value)
    if kind == "pool":
        pool = draw(st.sampled_from([MaxPool, AveragePool]))
        sizes = st.tuples(*[st.integers(1, 3)] * len(positions))
        kernel = draw(sizes)
        padding = draw(st.sampled_from([(), tuple(size // 2 for size in kernel)]))
        return pool(kernel, draw(st.one_of(st.just(()), sizes)), padding, value)
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    made = groups * draw(st.integers(1, 2))
    return Affine(draw(_basis(tuple(positions))), channels, made, groups, draw(st.booleans()), value)


@st.composite
def _basis(draw: st.DrawFn, positions: tuple[int, ...]) -> AbstractBasis:
    found: list[AbstractBasis] = [Pointwise(positions)]
    if positions:
        sizes = st.tuples(*[st.integers(1, 3)] * len(positions))
        with suppress(ValueError):
            found += [Convolution(draw(sizes), draw(sizes), draw(st.integers(0, 2)), positions, draw(sizes))] * 3
    if len(positions) == 1:
        n = positions[0]
        found += [Circulant(n), Sets(n), MatrixBasis(np.eye(n)[None] - 0.5)]
        found += [GroupConvolution(dihedral(3))] if n == 6 else []
    return draw(st.sampled_from(found))


def whole_numbers(graph: Graph, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.integers(-2, 3, shape).astype(np.float64)) for name, shape in graph.shapes.items()
    }


def inputs_of(graph: Graph, seed: int = 1, least: int = -3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(least, 4, (3, *graph.inputs)).astype(np.float64))


@given(graph=graphs())
def test_ids_are_read_back(graph: Graph) -> None:
    again = architecture(graph.id)
    assert again == graph
    assert again.id == graph.id
    assert again.shapes == graph.shapes


@given(graph=graphs(), signed=st.booleans())
def test_values_have_the_shapes_and_signs_that_are_said_of_them(graph: Graph, signed: bool) -> None:
    module = graph.module(whole_numbers(graph))
    x = inputs_of(graph, least=-3 if signed else 0)
    values = module.values(x)
    assert len(values) == len(graph.steps) + 1
    for v, value in enumerate(values):
        assert tuple(value.shape) == (3, *graph.shape_of(v))
        if graph.nonnegative(v, input_nonnegative=not signed):
            assert bool((value >= 0).all())
    assert torch.equal(module(x), values[-1])
    assert torch.equal(module(x.flatten(1)), values[-1])
    assert tuple(module(x[:0]).shape) == (0, *graph.shape_of(-1))
    assert not graph.nonnegative(0)


def test_what_is_never_negative_is_known() -> None:
    pool, relu = AveragePool((2,)), Rectify()
    graph = Graph((1, 4), (Pad(1, 0), relu, pool, Pad(0, 1), Add((4, 4)), Affine(Pointwise((2,)), 3, 1), Flatten()))
    assert [graph.nonnegative(v) for v in range(8)] == [False, False, True, True, True, True, False, False]
    assert [graph.nonnegative(v, input_nonnegative=True) for v in range(3)] == [True, True, True]


@given(graph=graphs(), seed=st.integers(0, 9))
def test_the_wide_network_can_be_the_narrow_one(graph: Graph, seed: int) -> None:
    """x = relu(x) - relu(-x): with two hidden channels for each that is read the pair is the layer, exactly."""
    wide, pairs = graph.widened({k: 2 * graph.layer(k).channels_in // graph.layer(k).groups for k in graph.affine})
    weights, own = {}, whole_numbers(graph, seed)
    for k, (first, second) in pairs.items():
        layer = graph.layer(k)
        each = layer.channels_in // layer.groups
        eye = torch.eye(each, dtype=torch.float64)
        weights[Graph.weight_name(first)] = torch.cat([eye, -eye]).repeat(layer.groups, 1)[:, :, None]
        w = own[Graph.weight_name(k)]
        weights[Graph.weight_name(second)] = torch.cat([w, -w], dim=1)
        if layer.bias:
            weights[Graph.bias_name(first)] = torch.zeros(2 * layer.channels_in, dtype=torch.float64)
            weights[Graph.bias_name(second)] = own[Graph.bias_name(k)]
    x = inputs_of(graph, seed)
    assert torch.allclose(wide.module(weights)(x), graph.module(own)(x), rtol=1e-12, atol=1e-12)
    assert len(wide.affine) == 2 * len(graph.affine)
    assert [step for pair in pairs.values() for step in pair] == list(wide.affine)


@given(graph=graphs())
def test_tickets_of_graphs_are_read_back_from_files(graph: Graph) -> None:
    source = Source(graph, seed=5)
    mask = Mask({name: source.weight(name) > 0 for name in source.shapes})
    ticket = Ticket(source, mask)
    again = loads(dumps(ticket))
    assert again == ticket
    assert again.source.architecture == graph
    assert again.matches(ticket.module())
    broken = ticket.module()
    with torch.no_grad():
        next(broken.parameters()).add_(0.25)
    assert not again.matches(broken)


def test_a_lenet_has_the_size_that_its_name_says() -> None:
    graph = architecture(
        "graph-1x28x28_conv5x5-p2-on28x28:1:6_relu_max2x2_conv5x5-on14x14:6:16_relu_max2x2_flatten_dense:400:120_relu_"
        "dense:120:84_relu_dense:84:10"
    )
    assert graph.size == architecture("lenet5").size


def relu_net(*steps: AbstractStep) -> Graph:
    return Graph((2, 4, 4), steps)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: relu_net(), "1 to 4096 steps"),
        (lambda: Graph((), (Rectify(),)), "at least its channels"),
        (lambda: Graph((0, 3), (Rectify(),)), "whole numbers in 1"),
        (lambda: relu_net(Rectify(1)), r"reads one of the values 0..0, or -1, got 1"),
        (lambda: relu_net(Rectify(-2)), "got -2"),
        (lambda: relu_net(Rectify(), Rectify(0)), r"what step 0 \(relu\) makes is never read"),
        (lambda: relu_net(Affine(Pointwise(), 2, 1)), r"step 0 .*reads values of shape \(2,\), got \(2, 4, 4\)"),
        (lambda: relu_net(Affine(Pointwise((4, 4)), 3, 1)), "step 0"),
        (lambda: relu_net(MaxPool((5, 5))), "larger than the positions"),
        (lambda: relu_net(MaxPool((2,))), "does not fit positions"),
        (lambda: relu_net(Flatten(), Add((0, 1))), "adds values of one shape"),
        (lambda: Affine(Pointwise(), 4, 3, groups=2), "2 groups must divide"),
        (lambda: Affine(Pointwise(), 0, 3), "whole numbers in 1"),
        (lambda: Add((0,)), "at least two values"),
        (lambda: AveragePool((2, 2), padding=(2, 0)), "at most half its kernel"),
        (lambda: Pad(-1, 0), "whole numbers in 0"),
        (lambda: relu_net(Rectify()).widened({0: 3}), r"each of the steps \(\)"),
        (lambda: Graph((2,), (Affine(Pointwise(), 2, 2),)).widened({0: 0}), "hidden channels"),
        (lambda: relu_net(Rectify()).layer(0), "step 0 has no weights"),
    ],
)
def test_graphs_that_cannot_be_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    "name",
    [
        "graph-4",
        "graph-4_",
        "graph-4_relu@0",  # the value before is left out
        "graph-4_relu@1",
        "graph-4_relu@00",
        "graph-4_relu_add@0",
        "graph-4_relu_add",
        "graph-4_dense:4:2:g1",
        "graph-4_dense:4:2:b:b",
        "graph-4_dense:5:2",
        "graph-4_sigmoid",
        "graph-0_relu",
        "graph-4x_relu",
        "graph-1x4x4_max2x2-s2",
        "graph-1x4x4_max2x2-p0",
        "graph-1x4x4_pad0+0-s1",
        "graph-4_relu_relu@0",
    ],
)
def test_names_of_no_graph_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no architecture is named"):
        architecture(name)


def test_the_weights_of_a_graph_are_checked() -> None:
    graph = Graph((4,), (Affine(Pointwise(), 4, 2, bias=True),))
    with pytest.raises(ValueError, match=r"steps.0.bias is missing"):
        graph.module({"steps.0.weight": torch.zeros(2, 4, 1)})
    module = graph.module({"steps.0.weight": torch.zeros(2, 4, 1), "steps.0.bias": torch.ones(2)})
    assert list(module.state_dict()) == list(graph.shapes)
    assert math.prod(module(torch.zeros(3, 4)).shape) == 6


def test_values_that_are_no_longer_read_are_let_go() -> None:
    graph = Graph((2,), (Rectify(), Rectify(0), Add((1, 2)), Add((3, 0))))
    x = torch.tensor([[-1.0, 2.0]])
    assert torch.equal(graph.module({})(x), torch.tensor([[-1.0, 6.0]]))


@given(graph=graphs(), density=st.sampled_from([0.0, 0.02, 0.3, 1.0]), seed=st.integers(0, 99))
def test_tickets_run_without_their_zeros(graph: Graph, density: float, seed: int) -> None:
    source = Source(graph, seed=seed)
    rng = np.random.default_rng(seed)
    mask = Mask({name: torch.from_numpy(rng.random(shape) < density) for name, shape in graph.shapes.items()})
    ticket = Ticket(source, mask)
    x = torch.from_numpy(rng.random((3, *graph.inputs))).float()
    wanted = ticket.module()(x)
    thin = sparse_module(ticket)
    assert torch.allclose(thin(x), wanted, rtol=1e-4, atol=1e-4 * max(1.0, float(wanted.abs().max())))
    if any(not isinstance(layer, GraphLayer) for layer in thin.steps.values()):  # type: ignore[union-attr]
        with pytest.raises(TypeError):
            GraphTarget.from_module(thin)  # it holds no plain numbers


def test_thin_layers_take_the_memory_of_what_they_keep() -> None:
    graph = Graph((1000,), (Affine(Pointwise(), 1000, 10**6), Rectify(), Affine(Pointwise(), 10**6, 2)))
    source = Source(graph, seed=1)
    index = {"steps.0.weight": np.array([7, 5000, 10**8]), "steps.2.weight": np.array([0, 5, 10**6 + 10**5])}
    ticket = Ticket(source, Mask.from_indices(graph.shapes, index))
    x = torch.rand(2, 1000)
    first, second = (source.weight(name, at) for name, at in index.items())
    wanted = torch.stack(
        [torch.relu(x[:, 7] * first[0]) * second[0] + torch.relu(x[:, 0] * first[1]) * second[1],
         torch.relu(x[:, 0] * first[2]) * second[2]], dim=1,
    )  # fmt: skip
    assert torch.allclose(sparse_module(ticket)(x), wanted)


def test_shapes_of_more_sizes_than_an_id_can_say_are_refused() -> None:
    """What is made can be saved, and what is saved must be read again."""
    made = Graph((1,) * 8, (Affine(Pointwise((1,) * 7), 1, 1),))
    assert architecture(made.id) == made
    for make in (
        lambda: Graph((1,) * 9, (Rectify(),)),
        lambda: Pointwise((1,) * 9),
        lambda: MatrixBasis(np.ones((1, 1, 1)), inputs=(1,) * 9),
    ):
        with pytest.raises(ValueError, match="at most 8 numbers, got 9"):
            make()
