"""Certificates of graph tickets against both networks run literally, in rationals, from the dense masked source."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.certify import (
    CollapsedLayer,
    DifferenceIntervals,
    Hybrid,
    OperatorNorms,
    StructureError,
    _graph_points,
    _graph_walk,
    attack,
    certify,
    collapse_graph,
    differences,
    examine,
    margins,
    sample,
)
from strongticket.certify._difference import Difference, Gap
from strongticket.certify._graph_difference import GraphDifference, GraphGap
from strongticket.certify._matrix import Matrix
from strongticket.certify.report import compare, report
from strongticket.certify.sampled import difference_at, forward
from strongticket.models import MLP, Target
from strongticket.models.bases import (
    AbstractBasis,
    Circulant,
    Convolution,
    GroupConvolution,
    MatrixBasis,
    Pointwise,
    Sets,
    dihedral,
)
from strongticket.models.graph import AbstractStep, Add, Affine, AveragePool, Flatten, Graph, MaxPool, Pad, Rectify
from strongticket.models.targets import GraphTarget
from strongticket.ticket import Init, Mask, Source, Ticket

METHODS = (DifferenceIntervals(), OperatorNorms(), Hybrid())
DOMAINS = {
    "unit box": Domain.box(0, 1),
    "signed box": Domain.box(-1, 0.5),
    "ball": Domain.ball(1.5),
    "box and ball": Domain(0, 1, 0.9),
    "negative box": Domain.box(-2, -0.5),
}
EXACT = np.frompyfunc(Fraction, 1, 1)

# ---- the oracle: every step by its definition, in rationals ----------------------------------------------------------


def exact_run(graph: Graph, weights: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network on one input; weights and x are arrays of rationals."""
    values = [x.reshape(graph.inputs)]
    for k, step in enumerate(graph.steps):
        values.append(exact_step(k, step, weights, [values[source] for source in step.sources]))
    return values[-1].reshape(-1)


def exact_step(k: int, step: AbstractStep, weights: Mapping[str, np.ndarray], read: Sequence[np.ndarray]) -> np.ndarray:
    x = read[0]
    if isinstance(step, Affine):
        return exact_affine(step, weights[f"steps.{k}.weight"], weights.get(f"steps.{k}.bias"), x)
    if isinstance(step, Rectify):
        return np.maximum(x, Fraction(0))
    if isinstance(step, Flatten):
        return x.reshape(-1)
    if isinstance(step, Add):
        return sum(read[1:], x)
    if isinstance(step, Pad):
        kept = x[(slice(None), *[slice(None, None, step.stride)] * (x.ndim - 1))]
        zeros = [np.full((count, *kept.shape[1:]), Fraction(0)) for count in (step.before, step.after)]
        return np.concatenate([zeros[0], kept, zeros[1]])
    assert isinstance(step, MaxPool | AveragePool)
    shape = step.shape(x.shape)
    made = np.full(shape, Fraction(0))
    for place in np.ndindex(*shape):
        window = []
        for offset in np.ndindex(*step.kernel):
            at = [p * s - pad + d for p, s, pad, d in zip(place[1:], step.stride, step.padding, offset, strict=True)]
            if all(0 <= a < n for a, n in zip(at, x.shape[1:], strict=True)):
                window.append(x[(place[0], *at)])
        made[place] = max(window) if isinstance(step, MaxPool) else sum(window, Fraction(0)) / math.prod(step.kernel)
    return made


def exact_affine(step: Affine, weight: np.ndarray, bias: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    maps = [m.tocoo() for m in step.basis.matrices()]
    flat = x.reshape(step.channels_in, -1)
    made = np.full((step.channels_out, maps[0].shape[0]), Fraction(0))
    outputs, inputs = step.channels_out // step.groups, step.channels_in // step.groups
    for o, i, k in np.ndindex(*weight.shape):
        if weight[o, i, k]:
            one, seen = maps[k], flat[o // outputs * inputs + i]
            for p, q, entry in zip(one.row, one.col, one.data, strict=True):
                made[o, p] += weight[o, i, k] * (seen[q] if entry == 1 else Fraction(float(entry)) * seen[q])
    if bias is not None:
        made += bias[:, None]
    return made.reshape(step.channels_out, *step.basis.outputs)


def exact_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: EXACT(value.double().numpy()) for name, value in weights.items()}


def exact_difference(ticket: Ticket, target: GraphTarget, points: np.ndarray) -> list[list[Fraction]]:
    mine, theirs = exact_weights(ticket.weights()), exact_weights(target.weights)
    wide, narrow = ticket.source.architecture, target.architecture
    assert isinstance(wide, Graph)
    return [list(exact_run(wide, mine, EXACT(x)) - exact_run(narrow, theirs, EXACT(x))) for x in points]


# ---- random graphs and tickets without a construction ----------------------------------------------------------------


def random_layer(rng: np.random.Generator, shape: tuple[int, ...], bias: bool) -> Affine:
    channels, positions = shape[0], shape[1:]
    made = int(rng.integers(1, 4))
    basis: AbstractBasis = Pointwise(positions)
    if len(positions) == 2 and min(positions) >= 3:
        stride, padding, dilation = int(rng.integers(1, 3)), int(rng.integers(0, 2)), 1 + int(rng.random() < 0.2)
        kernel = int(rng.integers(1, 4 if dilation == 1 else 2 + (min(positions) >= 3)))
        basis = Convolution(kernel, stride, padding, positions, dilation)
    elif len(positions) == 1 and positions[0] <= 6:
        n = positions[0]
        own = MatrixBasis(rng.integers(-2, 3, (2, n, n)) / 2.0)
        choices: list[AbstractBasis] = [Circulant(n), Sets(n), Convolution(3, 1, 1, (n,)), own]
        if n == 6:
            choices.append(GroupConvolution(dihedral(3)))
        basis = choices[int(rng.integers(len(choices)))]
    groups = 2 if channels % 2 == 0 and rng.random() < 0.4 else 1
    return Affine(basis, channels, made * groups, groups, bias)


def random_graph(rng: np.random.Generator) -> Graph:
    inputs = [(3,), (2, 5), (1, 6), (1, 4, 4), (2, 3, 3), (2, 4, 3)][int(rng.integers(6))]
    bias = bool(rng.random() < 0.6)
    shapes: list[tuple[int, ...]] = [inputs]
    steps: list[AbstractStep] = []

    def add(step: AbstractStep) -> None:
        steps.append(step)
        shapes.append(step.shape(*(shapes[-1] if source == -1 else shapes[source] for source in step.sources)))

    for _ in range(int(rng.integers(1, 3))):
        add(random_layer(rng, shapes[-1], bias))
        others = [k for k, shape in enumerate(shapes[:-1]) if shape == shapes[-1]]
        if others and rng.random() < 0.7:
            add(Add((len(steps), others[int(rng.integers(len(others)))])))
        if rng.random() < 0.7:
            add(Rectify())
        positions = shapes[-1][1:]
        if positions and min(positions) >= 2 and rng.random() < 0.5:
            pool = [MaxPool, AveragePool][int(rng.integers(2))]
            kernel = int(rng.integers(2, min(3, *positions) + 1))
            padding = int(rng.integers(0, 2))
            add(
                pool(
                    (kernel,) * len(positions), (int(rng.integers(1, 3)),) * len(positions), (padding,) * len(positions)
                )
            )
        if rng.random() < 0.2:
            add(Pad(1, 0, 2))
    if rng.random() < 0.5 and len(shapes[-1]) > 1:
        add(Flatten())
    add(random_layer(rng, shapes[-1], bias))
    return Graph(inputs, tuple(steps))


def random_ticket(rng: np.random.Generator, graph: Graph, init: Init | None = None) -> Ticket:
    """A mask that obeys the gadget's structure and is random otherwise."""
    hidden = {k: int(rng.integers(3, 6)) * (graph.layer(k).weight_shape[1] + graph.layer(k).bias) for k in graph.affine}
    wide, pairs = graph.widened(hidden)
    source = Source(wide, int(rng.integers(2**63)), init or Init())
    kept = {}
    for first, second in pairs.values():
        channels, inputs, _ = wide.layer(first).weight_shape
        bias = wide.layer(first).bias
        chosen = rng.integers(-1, inputs + bias, size=channels)
        kept[Graph.weight_name(first)] = (chosen[:, None] == np.arange(inputs))[:, :, None]
        kept[Graph.weight_name(second)] = rng.random(wide.layer(second).weight_shape) < 0.7
        if bias:
            kept[Graph.bias_name(first)] = chosen == inputs
            kept[Graph.bias_name(second)] = rng.random(wide.layer(second).channels_out) < 0.5
    return Ticket(source, Mask({name: kept[name] for name in source.shapes}))


def near_target(
    rng: np.random.Generator, ticket: Ticket, noise: float, negative: bool = False, only: str = ""
) -> GraphTarget:
    """The network that the ticket computes on one sign of its inputs, plus noise in what has `only` in its name."""
    collapsed = collapse_graph(ticket)
    weights = {}
    for k, layer in collapsed.layers.items():
        chosen = layer.negative if negative and layer.negative is not None else layer.positive
        weights[Graph.weight_name(k)] = chosen.value
        if collapsed.architecture.layer(k).bias:
            weights[Graph.bias_name(k)] = layer.bias.value
    for name in weights:
        if only in name:
            power = 9 if rng.random() < 0.3 else 1  # a high power makes a few spikes
            weights[name] = weights[name] + noise * rng.standard_normal(weights[name].shape) ** power
    return GraphTarget(collapsed.architecture, {name: torch.tensor(value) for name, value in weights.items()})


def points_in(rng: np.random.Generator, domain: Domain, dimension: int, count: int) -> np.ndarray:
    share = rng.random((count, dimension))
    share[::2] = np.round(share[::2])
    points = domain.low + share * (domain.high - domain.low)
    if math.isfinite(domain.radius):
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        points = points * np.minimum(1.0, domain.radius * (1 - 1e-14) / np.maximum(norms, 1e-300))
    return points


Case = tuple[Ticket, GraphTarget, Domain, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    domain = DOMAINS[draw(st.sampled_from(sorted(DOMAINS)))]
    init = draw(st.sampled_from([Init(), Init("uniform23", 2.0), Init("normal-tab1", 0.375)]))
    ticket = random_ticket(rng, random_graph(rng), init)
    noise = draw(st.sampled_from([0.0, 2.0**-40, 1e-6, 1e-2]))
    target = near_target(rng, ticket, noise, draw(st.booleans()))
    return ticket, target, domain, points_in(rng, domain, math.prod(target.architecture.inputs), 3)


def violated(comparison: GraphDifference, domain: Domain, exact: list[list[Fraction]], method: object) -> bool:
    """Whether a certifier's numbers are below the exact difference somewhere."""
    found = report(comparison, domain, method)
    for change in exact:
        if any(abs(c) > Fraction(b) for c, b in zip(change, found.per_output, strict=True)):
            return True
        if max(map(abs, change)) > Fraction(found.maximum.error):
            return True
        if sum(c * c for c in change) > Fraction(found.euclidean.error) ** 2:
            return True
    return False


def compared(ticket: Ticket, target: GraphTarget, domain: Domain) -> GraphDifference:
    comparison = compare(ticket, target, domain)
    assert isinstance(comparison, GraphDifference)
    return comparison


# ---- what a graph ticket computes ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([Init(), Init("uniform23", 4.0), Init("sign")]))
def test_collapsed_graph_is_the_ticket(seed: int, nonnegative: bool, init: Init) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    ticket = random_ticket(rng, graph, init)
    collapsed = collapse_graph(ticket, nonnegative=nonnegative)
    assert collapsed.architecture == graph
    assert collapsed.exact
    assert sum(layer.kept for layer in collapsed.layers.values()) == ticket.mask.count
    x = rng.standard_normal(math.prod(graph.inputs))
    x = EXACT(np.abs(x) if nonnegative else x)
    values = [x.reshape(graph.inputs)]
    for k, step in enumerate(graph.steps):
        read = [values[source] for source in step.sources]
        if isinstance(step, Affine):
            values.append(exact_collapsed(step, collapsed.layers[k], read[0]))
        else:
            values.append(exact_step(k, step, {}, read))
    wide = ticket.source.architecture
    assert isinstance(wide, Graph)
    assert list(values[-1].reshape(-1)) == list(exact_run(wide, exact_weights(ticket.weights()), x))


def exact_collapsed(step: Affine, layer: CollapsedLayer, x: np.ndarray) -> np.ndarray:
    made = exact_affine(step, EXACT(layer.positive.value), EXACT(layer.bias.value), np.maximum(x, Fraction(0)))
    if layer.negative is not None:
        made = made + exact_affine(step, EXACT(layer.negative.value), None, np.minimum(x, Fraction(0)))
    else:
        assert (x >= 0).all()
    if layer.constants is not None:
        one = Affine(step.basis, 1, step.channels_out)
        ones = np.full((1, *step.basis.inputs), Fraction(1))
        made = made + exact_affine(one, EXACT(layer.constants.value)[:, None, :], None, ones)
    return made


def test_constants_become_a_bias_where_the_maps_keep_ones_and_are_uneven_elsewhere() -> None:
    for basis, even in ((Circulant(4), True), (Convolution(3, 1, 1, (4,)), False), (Convolution(3, 1, 0, (4,)), True)):
        graph = Graph((1, 4), (Affine(basis, 1, 2, bias=True),))
        wide, _ = graph.widened({0: 8})
        source = Source(wide, 1)
        kept = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
        kept["steps.0.bias"][:] = True
        kept["steps.2.weight"][:] = True
        layer = collapse_graph(Ticket(source, Mask(kept))).layers[0]
        assert (layer.constants is None) == even
        assert layer.bias.value.any() == even


def test_a_dense_graph_gives_the_collapse_and_the_certificate_of_the_mlp() -> None:
    rng = np.random.default_rng(3)
    graph = Graph((3,), (Affine(Pointwise(), 3, 4, bias=True), Rectify(), Affine(Pointwise(), 4, 2, bias=True)))
    ticket = random_ticket(rng, graph)
    target = near_target(rng, ticket, 1e-3)
    layers = collapse_graph(ticket).layers
    dense = {name: value.double().numpy() for name, value in ticket.weights().items()}
    for k, (first, second) in {0: (0, 2), 2: (4, 6)}.items():
        u, v = dense[f"steps.{first}.weight"][:, :, 0], dense[f"steps.{second}.weight"][:, :, 0]
        assert np.array_equal(layers[k].positive.value[:, :, 0], v @ np.maximum(u, 0))
        own = v @ np.maximum(dense[f"steps.{first}.bias"], 0) + dense[f"steps.{second}.bias"]
        assert np.array_equal(layers[k].bias.value, own)
    for domain in DOMAINS.values():
        comparison = compared(ticket, target, domain)
        literal = unrolled(comparison)
        mine, theirs = (report(c, domain, DifferenceIntervals()).per_output for c in (comparison, literal))
        assert np.allclose(mine, theirs, rtol=1e-12)
    weights = {f"layers.{i}.{kind}": target.weights[f"steps.{2 * i}.{kind}"].squeeze() for i in (0, 1) for kind in
               ("weight", "bias")}  # fmt: skip
    plain = Target(MLP((3, 4, 2), True), weights)
    assert certify(ticket, plain, Domain.box(0, 1)).error == certify(ticket, target, Domain.box(0, 1)).error


def unrolled(comparison: GraphDifference) -> Difference:
    """A chain of layers and ReLUs as an MLP's comparison, each layer a matrix over channels and positions."""
    gaps = []
    for gap in comparison.gaps.values():
        basis, groups = gap.weight.basis, gap.weight.groups
        maps = np.stack([m.toarray() for m in basis.matrices()])

        def whole(weight: np.ndarray, maps: np.ndarray = maps, groups: int = groups) -> np.ndarray:
            outputs, inputs, _ = weight.shape
            made = np.zeros((outputs, maps.shape[1], groups * inputs, maps.shape[2]))
            for o, i in itertools.product(range(outputs), range(inputs)):
                made[o, :, o // (outputs // groups) * inputs + i] = np.tensordot(weight[o, i], maps, 1)
            return made.reshape(outputs * maps.shape[1], -1)

        error = gap.error.coefficients
        inputs = gap.weight.coefficients.value.shape[1]
        parts = [error.value[:, k : k + inputs] for k in range(0, error.value.shape[1], inputs)]
        low = gap.offset_map[0]
        assert gap.constants is None
        gaps.append(
            Gap(
                Matrix(whole(gap.weight.coefficients.value)),
                np.broadcast_to(gap.column, low.shape).reshape(-1),
                Matrix(np.hstack([whole(part) for part in parts])),
                Matrix(np.broadcast_to(gap.offset.value.reshape(gap.column.shape), low.shape).reshape(-1, 1)),
            )
        )
        assert error.slack is None
    return Difference(tuple(gaps), comparison.ticket_digest, comparison.target_digest)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(sorted(DOMAINS)), st.sampled_from([1e-6, 1e-2]))
def test_chains_have_the_intervals_of_their_matrices(seed: int, name: str, noise: float) -> None:
    rng = np.random.default_rng(seed)
    shape = [(2, 3, 3), (1, 5)][seed % 2]
    basis = Convolution(int(rng.integers(1, 4)), int(rng.integers(1, 3)), 1, shape[1:])
    first = Affine(basis, shape[0], 2, shape[0] if rng.random() < 0.5 else 1)
    steps = (first, Rectify(), Affine(Pointwise(basis.outputs), 2, 2), Rectify(), Flatten())
    graph = Graph(shape, (*steps, Affine(Pointwise(), 2 * math.prod(basis.outputs), 2)))
    ticket = random_ticket(rng, graph)
    target = near_target(rng, ticket, noise)
    comparison = compared(ticket, target, DOMAINS[name])
    literal = unrolled(comparison)
    mine, theirs = (report(c, DOMAINS[name], DifferenceIntervals()) for c in (comparison, literal))
    assert np.allclose(mine.per_output, theirs.per_output, rtol=1e-9, atol=1e-15)
    points = rng.standard_normal((3, comparison.inputs))
    points = np.abs(points) if DOMAINS[name].nonnegative else points
    goal = rng.standard_normal((3, comparison.outputs))
    for a, b in zip(forward(comparison, points, goal), forward(literal, points, goal), strict=True):
        assert np.allclose(a, b, rtol=1e-9, atol=1e-15)


# ---- the property, and that it can fail ------------------------------------------------------------------------------


@settings(max_examples=70)
@given(cases())
def test_no_input_differs_by_more_than_the_certificate(case: Case) -> None:
    ticket, target, domain, points = case
    comparison = compared(ticket, target, domain)
    exact = exact_difference(ticket, target, points)
    for method in METHODS:
        assert not violated(comparison, domain, exact, method), method
    found = differences(comparison, points)
    largest = max(1.0, *(abs(float(c)) for change in exact for c in change))
    assert np.allclose(found, np.array(exact, dtype=float), rtol=1e-9, atol=1e-11 * largest)
    for point, change in zip(points, exact, strict=True):
        low, high = difference_at(comparison, point)
        assert all(Fraction(a) <= c <= Fraction(b) for a, c, b in zip(low, change, high, strict=True))
        assert np.all(high - low <= 1e-9 * largest)


@settings(max_examples=30)
@given(cases())
def test_hybrid_is_never_worse_and_what_is_found_is_below_it(case: Case) -> None:
    ticket, target, domain, points = case
    comparison = compared(ticket, target, domain)
    intervals, norms, hybrid = (report(comparison, domain, method).maximum.error for method in METHODS)
    assert hybrid <= min(intervals, norms) * (1 + 1e-9)
    sampled = sample(ticket, target, domain, trials=8, seed=1, ascent_steps=3, inputs=points)
    attacked = attack(ticket, target, domain, restarts=1, steps=5, seed=1, inputs=points)
    assert sampled.rigor is attacked.rigor is Rigor.SAMPLED
    assert max(sampled.error, attacked.error) <= hybrid


def small(rng: np.random.Generator, noise: float, only: str = "", bias: bool = True) -> tuple[Ticket, GraphTarget]:
    """A residual net with every kind of step, whose pools overlap and whose hidden constants see a border."""
    steps = [
        Affine(Convolution(3, 1, 1, (3, 3)), 1, 2, bias=bias),
        Rectify(),
        Affine(Convolution(3, 1, 1, (3, 3)), 2, 2, groups=2, bias=bias),
        Add((3, 2)),
        Rectify(),
        MaxPool((2, 2), (1, 1)),
        AveragePool((2, 2)),
        Flatten(),
        Affine(Pointwise(), 2, 2, bias=bias),
    ]
    ticket = random_ticket(rng, Graph((1, 3, 3), tuple(steps)))
    return ticket, near_target(rng, ticket, noise, only=only)


def zeroed(gap: GraphGap, what: str) -> GraphGap:
    def without(matrix: Matrix) -> Matrix:
        return Matrix(np.zeros_like(matrix.value))

    if what == "offset":
        return dataclasses.replace(gap, offset=without(gap.offset))
    if what == "constants":
        return dataclasses.replace(gap, constants=None)
    value = gap.error.coefficients.value.copy()
    if what == "negative half":
        value[:, value.shape[1] // 2 :] = 0
    else:
        value = value / 2 if what == "halved" else np.zeros_like(value)
    return dataclasses.replace(gap, error=dataclasses.replace(gap.error, coefficients=Matrix(value)))


BROKEN = {  # what is dropped: (at which step, where the target differs, biases, domain)
    "first error": (0, "0.weight", False, Domain.box(0, 1)),
    "middle error": (2, "2.weight", False, Domain.box(0, 1)),
    "last error": (8, "8.weight", False, Domain.box(0, 1)),
    "offset": (2, "2.bias", True, Domain.box(0, 1)),
    "constants": (2, "nowhere", True, Domain.box(0, 1)),
    "negative half": (0, "nowhere", False, Domain.box(-1, 0)),
}


@pytest.mark.parametrize("how", list(BROKEN))
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_the_property_catches_broken_comparisons(how: str, method: object) -> None:
    step, only, bias, domain = BROKEN[how]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ticket, target = small(rng, 0.2, only, bias)
        comparison = compared(ticket, target, domain)
        gaps = {k: zeroed(gap, how) if k == step else gap for k, gap in comparison.gaps.items()}
        points = points_in(rng, domain, 9, 4)
        exact = exact_difference(ticket, target, points)
        assert not violated(comparison, domain, exact, method)
        if violated(dataclasses.replace(comparison, gaps=gaps), domain, exact, method):
            return
    pytest.fail("no ticket of twelve shows it")


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_the_property_catches_a_factor_of_two(method: object) -> None:
    """With one input the bound is tight."""
    ticket = random_ticket(np.random.default_rng(0), Graph((1,), (Affine(Pointwise(), 1, 2),)))
    target = near_target(np.random.default_rng(0), ticket, 0.2)
    comparison, exact = compared(ticket, target, Domain.box(0, 1)), exact_difference(ticket, target, np.ones((1, 1)))
    assert not violated(comparison, Domain.box(0, 1), exact, method)
    halved = dataclasses.replace(comparison, gaps={0: zeroed(comparison.gaps[0], "halved")})
    assert violated(halved, Domain.box(0, 1), exact, method)


def test_a_weight_changed_after_the_certificate_breaks_it() -> None:
    rng = np.random.default_rng(0)
    ticket, target = small(rng, 1e-9, bias=False)
    domain = Domain.box(0, 1)
    found = examine(ticket, target, domain)
    weights = {name: value.clone() for name, value in target.weights.items()}
    weights["steps.0.weight"] += 0.5
    changed = GraphTarget(target.architecture, weights)
    assert attack(ticket, target, domain, restarts=1, steps=5).error <= found.maximum.error
    assert attack(ticket, changed, domain, restarts=1, steps=20).error > 100 * found.maximum.error
    with pytest.raises(ValueError, match="report is of target"):
        margins(found, changed, np.zeros((2, 9)))


@pytest.mark.parametrize("pool", [MaxPool((3,), (1,), (1,)), AveragePool((3,), (1,), (1,))])
def test_overlapping_windows_are_counted(pool: AbstractStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry shows in all windows that it is in."""
    graph = Graph((1, 6), (Affine(Pointwise((6,)), 1, 1), pool, Flatten()))
    wide, _ = graph.widened({0: 1})
    source = Source(wide, 0)
    empty = Ticket(source, Mask.full(source.shapes, kept=False))
    target = GraphTarget(graph, {"steps.0.weight": torch.ones(1, 1, 1, dtype=torch.float64)})
    domain = Domain.ball(1)
    point = np.eye(6)[2:3] if isinstance(pool, MaxPool) else np.full((1, 6), 0.4)
    exact = exact_difference(empty, target, point)
    comparison = compared(empty, target, domain)
    assert not violated(comparison, domain, exact, OperatorNorms())
    if isinstance(pool, MaxPool):
        monkeypatch.setattr(_graph_walk, "windows", lambda step: 1)
        norm = report(comparison, domain, OperatorNorms()).euclidean.error
        assert norm < math.sqrt(sum(float(c) ** 2 for c in exact[0]))


# ---- known answers and refusals --------------------------------------------------------------------------------------


def test_exact_tickets_have_error_zero_and_a_planted_error_is_found() -> None:
    rng = np.random.default_rng(1)
    steps = (Affine(Convolution(3, 1, 1, (4, 4)), 1, 2), Rectify(), MaxPool((2, 2)), Flatten())
    graph = Graph((1, 4, 4), (*steps, Affine(Pointwise(), 8, 2, bias=True)))
    ticket = random_ticket(rng, graph)
    exact = near_target(rng, ticket, 0.0)
    domain = Domain.box(0, 1)
    for method in METHODS:
        assert report(compare(ticket, exact, domain), domain, method).maximum.error == 0.0
    weights = {name: value.clone() for name, value in exact.weights.items()}
    weights["steps.4.weight"][1] += 2.0**-23
    planted = GraphTarget(graph, weights)
    found = examine(ticket, planted, domain)
    assert found.per_output[0] == 0.0
    assert found.layers[1].largest_error == pytest.approx(2.0**-23, rel=1e-9)
    attacked = attack(ticket, planted, domain, restarts=2, steps=30)
    assert 0 < attacked.error <= found.maximum.error <= 8 * attacked.error
    assert "layer 2" in str(found)
    assert ticket.with_certificates(found.maximum, attacked).digest == ticket.digest


def test_attacks_are_functions_of_their_seed_and_dig_deeper_than_random_points() -> None:
    rng = np.random.default_rng(2)
    ticket, target = small(rng, 1e-2)
    for domain in (Domain.box(-1, 1), Domain.ball(1)):
        once = attack(ticket, target, domain, restarts=2, steps=30, seed=4)
        assert once == attack(ticket, target, domain, restarts=2, steps=30, seed=4)
        still = sample(ticket, target, domain, trials=200, ascent_steps=0)
        assert still.error < once.error <= certify(ticket, target, domain).error
        assert sample(ticket, target, domain, trials=10_000).error <= certify(ticket, target, domain).error
    with pytest.raises(ValueError, match="at least one restart"):
        attack(ticket, target, Domain.ball(1), restarts=0)


@settings(max_examples=40)
@given(cases())
def test_predictions_proved_unchanged_are_unchanged(case: Case) -> None:
    ticket, target, domain, points = case
    if math.prod(target.architecture.shape_of(-1)) < 2:
        return
    told = margins(examine(ticket, target, domain), target, points)
    theirs = exact_weights(target.weights)
    for n, (x, change) in enumerate(zip(points, exact_difference(ticket, target, points), strict=True)):
        outputs = list(exact_run(target.architecture, theirs, EXACT(x)))
        moved = [a + b for a, b in zip(outputs, change, strict=True)]
        assert max(map(abs, change)) <= Fraction(told.bound[n])
        scale = float(max(1, *map(abs, outputs), *map(abs, change)))
        assert told.bound[n] <= float(max(map(abs, change))) + 1e-8 * scale
        top = int(told.predictions[n])
        leads = [min(v[top] - other for j, other in enumerate(v) if j != top) for v in (outputs, moved)]
        if told.unchanged[n] or told.unchanged_globally[n]:
            assert min(leads) > 0
        elif min(leads) > 1e-8 * scale:
            pytest.fail("the prediction does not change, by far, and is not proved")


def test_margins_see_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the errors' bounds a tie that float64 breaks would count as proved."""
    rng = np.random.default_rng(8)
    weight = torch.tensor(rng.standard_normal((2, 30, 1)))
    weight[1] = weight[0].flip(0)  # with equal inputs the same sum, in another order
    graph = Graph((30,), (Affine(Pointwise(), 30, 2),))
    wide, _ = graph.widened({0: 1})
    source = Source(wide, 0)
    empty = Ticket(source, Mask.full(source.shapes, kept=False))
    target = GraphTarget(graph, {"steps.0.weight": weight})
    points = np.repeat(rng.random((400, 1)), 30, axis=1)
    found = examine(empty, target, Domain.box(0, 1))
    comparison = found.comparison
    assert isinstance(comparison, GraphDifference)
    at = _graph_points.at_points(comparison, points)
    exact = [exact_run(graph, exact_weights(target.weights), EXACT(x)) for x in points[:50]]
    for mine, lost, wanted in zip(at.outputs, at.lost, exact, strict=False):
        assert sum((Fraction(a) - b) ** 2 for a, b in zip(mine, wanted, strict=True)) <= Fraction(lost) ** 2
    assert not margins(found, target, points).unchanged.any()


def refused(graph: Graph, **kept: np.ndarray) -> Ticket:
    source = Source(graph, 0)
    masks = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
    return Ticket(source, Mask(masks | {name.replace("_", "."): value for name, value in kept.items()}))


DENSE, POINT = Pointwise(), Pointwise((4,))
CONV = Convolution(3, 1, 1, (4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: refused(Graph((2,), (Affine(DENSE, 2, 2),))), "1 layers"),
        (lambda: refused(Graph((2,), (Affine(DENSE, 2, 2), Affine(DENSE, 2, 2)))), "must read ReLU"),
        (
            lambda: refused(Graph((1, 4), (Affine(CONV, 1, 2), Rectify(), Affine(POINT, 2, 1)))),
            "first must be pointwise",
        ),
        (
            lambda: refused(Graph((2, 4), (Affine(POINT, 2, 2, 2), Rectify(), Affine(CONV, 2, 1)))),
            "2 and 1 groups",
        ),
        (
            lambda: refused(Graph((2,), (Affine(DENSE, 2, 2), Rectify(), Affine(DENSE, 2, 2), Add((3, 2))))),
            "value 2 between",
        ),
        (
            lambda: refused(
                Graph((2,), (Affine(DENSE, 2, 3), Rectify(), Affine(DENSE, 3, 1))),
                steps_0_weight=np.array([[1, 0], [1, 1], [0, 0]])[:, :, None] > 0,
            ),
            "neuron 1 keeps 2",
        ),
        (lambda: refused(MLP((2, 2, 2))), "live in a Graph"),
    ],
)
def test_what_is_no_gadget_graph_is_refused(make: Callable[[], Ticket], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        collapse_graph(make())


def test_other_targets_are_refused() -> None:
    rng = np.random.default_rng(0)
    ticket, target = small(rng, 0.1)
    steps = list(target.architecture.steps)
    steps[6] = MaxPool((2, 2), reads=6)
    other = GraphTarget(Graph((1, 3, 3), tuple(steps)), target.weights)
    with pytest.raises(ValueError, match=r"from step 6 on: average2x2 .* instead of max2x2"):
        certify(ticket, other, Domain.box(0, 1))


def test_what_is_no_target_is_refused() -> None:
    ticket, _ = small(np.random.default_rng(0), 0.1)
    with pytest.raises(TypeError, match=r"got Linear: read a module with Target.from_module"):
        certify(ticket, torch.nn.Linear(2, 1), Domain.box(0, 1))  # type: ignore[arg-type]


def test_margins_take_the_mlp_target_that_the_report_was_asked_about() -> None:
    mlp = Target(MLP((3, 2)), {"layers.0.weight": torch.tensor([[0.25, 0.0, 1.0], [-0.5, 1.0, 0.0]])})
    wide, _ = GraphTarget.from_target(mlp).architecture.widened({0: 4})
    source = Source(wide, 0)
    empty = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0
    found = examine(empty, mlp, Domain.box(0, 1))
    told = margins(found, mlp, np.zeros((1, 3)))
    assert told.bound.tolist() == [0.0]
    other = Target(MLP((3, 2)), {"layers.0.weight": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="report is of target"):
        margins(found, other, np.zeros((1, 3)))


@pytest.mark.parametrize("look", [sample, attack])
def test_a_point_is_looked_at_and_a_domain_beyond_float64_is_refused(look: Callable[..., Certificate]) -> None:
    ticket, target = small(np.random.default_rng(0), 0.1)
    for point in (Domain(0.5, 0.5), Domain(0.5, 0.5, 3.0), Domain(0.0, 0.0, 3.0)):
        found = look(ticket, target, point).error
        exact = exact_difference(ticket, target, np.full((1, 9), point.low))[0]
        assert found == pytest.approx(float(max(map(abs, exact))), rel=1e-9)
        assert found > 0
    with pytest.raises(ValueError, match=r"below 2\^1000"):
        look(ticket, target, Domain.box(-1.7e308, 1.7e308))


def test_attacks_see_at_every_scale_what_they_see_at_one() -> None:
    graph = Graph((4,), (Affine(Pointwise(), 4, 3), Rectify(), Affine(Pointwise(), 3, 2)))
    target = GraphTarget(
        graph, {name: torch.linspace(-1, 2, math.prod(shape)).reshape(shape) for name, shape in graph.shapes.items()}
    )
    source = Source(graph.widened({0: 1, 2: 1})[0], 0)
    empty = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0, so the difference scales
    found = [attack(empty, target, Domain.ball(r), restarts=1, steps=20).error / r for r in (1.0, 1e-50, 1e45)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)
