"""Tickets of convolutional, equivariant and residual networks: strict, certified, symmetric, refused where due."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from strongticket import Domain
from strongticket.bounds import HypothesisError
from strongticket.bounds import get as get_bound
from strongticket.certificate import Rigor
from strongticket.certify import attack, certify, sample
from strongticket.constructions import (
    Burkholz2022Convolutional,
    Construction,
    DaCunha2022Proving,
    Ferbach2023General,
    Pensia2020Optimal,
    burkholz2022convolutional,
    dacunha2022proving,
    ferbach2023general,
)
from strongticket.constructions._gadget import HalfInputs, LayerPair, assign_column_aware, neurons_needed, windows
from strongticket.constructions._graph_layers import constant_element, layer_norm, network_error
from strongticket.models import MLP, Target
from strongticket.models.bases import Circulant, Convolution, GroupConvolution, MatrixBasis, Pointwise, Sets, dihedral
from strongticket.models.graph import Add, Affine, AveragePool, Flatten, Graph, MaxPool, Pad, Rectify
from strongticket.models.targets import GraphTarget
from strongticket.ticket import Source
from strongticket.ticketfile import dumps, loads

SIGNED, PIXELS = Domain.box(-1, 1), Domain.box(0, 1)

GRAPHS = {
    "padded": Graph(
        (1, 4, 4),
        (
            Affine(Convolution(3, 1, 1, (4, 4)), 1, 2, bias=True),
            Rectify(),
            MaxPool((2, 2)),
            Flatten(),
            Affine(Pointwise(), 8, 3, bias=True),
        ),
    ),
    "strided": Graph(
        (2, 5), (Affine(Convolution(2, 2, 1, (5,)), 2, 2), Rectify(), Affine(Convolution(2, 1, 0, (3,), 2), 2, 1))
    ),
    "grouped": Graph(
        (4, 3),
        (
            Affine(Convolution(3, 1, 1, (3,)), 4, 6, groups=2, bias=True),
            Rectify(),
            AveragePool((3,)),
            Affine(Pointwise((1,)), 6, 3, groups=3, bias=True),
        ),
    ),
    "circulant": Graph((1, 4), (Affine(Circulant(4), 1, 2, bias=True), Rectify(), Affine(Circulant(4), 2, 1))),
    "group": Graph((1, 6), (Affine(GroupConvolution(dihedral(3)), 1, 2), Rectify(), Affine(Pointwise((6,)), 2, 1))),
    "sets": Graph((2, 3), (Affine(Sets(3), 2, 2, bias=True), Rectify(), Affine(Sets(3), 2, 1, bias=True))),
    "own": Graph((2, 2), (Affine(MatrixBasis([[[1, 0], [0, -1]], [[0.5, 0.5], [0, 1]]]), 2, 2, bias=True), Rectify())),
    "identity": Graph(
        (1, 4),
        (
            Affine(Convolution(3, 1, 1, (4,)), 1, 1, bias=True),
            Rectify(),
            Affine(Convolution(3, 1, 1, (4,)), 1, 1),
            Add((3, 0)),
            Affine(Pointwise((4,)), 1, 2),
        ),
    ),
    "projection": Graph(
        (1, 4),
        (
            Affine(Convolution(3, 2, 1, (4,)), 1, 2, bias=True),
            Rectify(),
            Affine(Convolution(1, 2, 0, (4,)), 1, 2, reads=0),
            Add((2, 3)),
            Pad(1, 0, 1),
            Flatten(),
            Affine(Pointwise(), 6, 2),
        ),
    ),
}
CHAINS = [name for name, graph in GRAPHS.items() if not any(isinstance(step, Add) for step in graph.steps)]


def drawn(name: str, seed: int, scale: float = 0.7) -> GraphTarget:
    graph = GRAPHS[name]
    return GraphTarget(graph, {key: scale * value for key, value in Source(graph, seed).weights().items()})


def method_of(name: str) -> type[Ferbach2023General] | type[Burkholz2022Convolutional]:
    return Ferbach2023General if name in CHAINS else Burkholz2022Convolutional


def literal_rows(construction: Construction, target: GraphTarget, domain: Domain) -> dict[tuple[int, ...], float]:
    """Slow: the effective coefficient of each half-input and of the bias, by one loop over the masked weights.

    {(layer, output channel, basis element, input channel or number of them for the bias, half): coefficient}
    """
    source, found = construction.best.source.architecture, {}
    assert isinstance(source, Graph)
    weights = construction.best.weights()
    for index, (first, second) in enumerate(zip(source.affine[::2], source.affine[1::2], strict=True)):
        one, two = source.layer(first), source.layer(second)
        signed = not source.nonnegative(one.sources[0], domain.nonnegative)
        u, v = (weights[Graph.weight_name(k)].double().numpy() for k in (first, second))
        bias = weights[Graph.bias_name(first)].double().numpy() if one.bias else np.zeros(len(u))
        assert not two.bias or not weights[Graph.bias_name(second)].any()
        inputs, outputs, hidden = (n // one.groups for n in (one.channels_in, two.channels_out, one.channels_out))
        for o, h, k in zip(*np.nonzero(v), strict=True):
            group = o // outputs
            channel = group * hidden + h
            kept = np.flatnonzero(u[channel, :, 0])
            assert len(kept) + (bias[channel] != 0) == 1, "a hidden channel keeps one weight"
            if len(kept):
                place, sign = group * inputs + int(kept[0]), int(np.sign(u[channel, kept[0], 0]))
                value = float(u[channel, kept[0], 0])
                assert sign == 1 or signed, "no channel serves a half that is never there"
            else:
                place, sign, value = one.channels_in, 1, float(bias[channel])
                assert value > 0
            at = (index, int(o), int(k), place, sign)
            found[at] = found.get(at, 0.0) + abs(value) * float(v[o, h, k]) * sign
    return found


def wanted_rows(target: GraphTarget, domain: Domain) -> dict[tuple[int, ...], float]:
    graph, found = target.architecture, {}
    for index, (step, numbers) in enumerate(zip(graph.affine, target.layers, strict=True)):
        layer = graph.layer(step)
        inputs, outputs = layer.channels_in // layer.groups, layer.channels_out // layer.groups
        signs = (1,) if graph.nonnegative(layer.sources[0], domain.nonnegative) else (1, -1)
        for (o, i, k), value in np.ndenumerate(numbers.weight):
            for sign in signs:
                found[(index, o, k, o // outputs * inputs + i, sign)] = float(value)
        if numbers.bias is not None:
            for o, value in enumerate(numbers.bias.tolist()):
                found[(index, o, constant_element(layer.basis), layer.channels_in, 1)] = value
    return found


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("domain", [SIGNED, PIXELS], ids=["signed", "pixels"])
def test_the_ticket_is_strict_and_each_coefficient_is_met(name: str, domain: Domain) -> None:
    target = drawn(name, seed=3)
    construction = method_of(name)(weight_eps=0.01, domain=domain, seed=7).construct(target)
    ticket = construction.ticket
    assert ticket is not None
    again = Source(ticket.source.architecture, 7).weights()
    for key, value in ticket.weights().items():
        assert torch.equal(value, again[key] * ticket.mask[key]), key
    assert loads(dumps(ticket)) == ticket
    have, want = literal_rows(construction, target, domain), wanted_rows(target, domain)
    assert set(have) <= set(want)
    errors = {at: abs(have.get(at, 0.0) - value) for at, value in want.items()}
    assert max(errors.values()) <= 0.01
    assert max(errors.values()) <= construction.largest_error <= max(errors.values()) + 2.0**-44
    assert sum(layer.problems for layer in construction.layers) == len(want)


@settings(max_examples=25)
@given(
    name=st.sampled_from(list(GRAPHS)),
    seed=st.integers(0, 2**32),
    domain=st.sampled_from([SIGNED, PIXELS, Domain.ball(1)]),
    eps=st.sampled_from([0.3, 0.03, 0.003]),
    objective=st.sampled_from(["sparsest", "min_error"]),
    assignment=st.sampled_from(["column-aware", "fixed"]),
)
def test_certificates_lie_above_what_is_found(
    name: str, seed: int, domain: Domain, eps: float, objective: str, assignment: str
) -> None:
    target = drawn(name, seed)
    method = method_of(name)(
        weight_eps=eps,
        objective=objective,  # type: ignore[arg-type]
        assignment=assignment,  # type: ignore[arg-type]
        domain=domain,
        seed=seed,
        items=16 if objective == "min_error" else "information-limit",
    )
    best = method.construct(target).best
    proved = certify(best, target, domain)
    assert proved.rigor is Rigor.PROVED
    assert proved.error >= sample(best, target, domain, trials=10_000, seed=1, ascent_steps=5).error
    assert proved.error >= attack(best, target, domain, restarts=2, steps=10).error


@settings(max_examples=20)
@given(name=st.sampled_from(list(GRAPHS)), seed=st.integers(0, 2**32), eps=st.sampled_from([0.5, 0.1, 0.01]))
def test_network_eps_is_kept_on_the_domain(name: str, seed: int, eps: float) -> None:
    graph, weights = GRAPHS[name], dict(drawn(name, seed).weights)
    for step in graph.affine:  # to norm 1 at most
        key = Graph.weight_name(step)
        weights[key] = weights[key] / max(1.0, layer_norm(graph.layer(step), weights[key].double().numpy())) * 0.999
    target = GraphTarget(graph, weights)
    construction = method_of(name)(network_eps=eps, seed=seed).construct(target)
    each = construction.plan.weight_eps[0]
    assert each == 0.5 or network_error(target, each, 1.0) <= eps <= network_error(target, each * 1.001, 1.0)
    if construction.ticket is not None:
        assert certify(construction.ticket, target, SIGNED).error <= eps * (1 + 1e-9)


def test_network_error_bounds_what_errors_of_coefficients_do() -> None:
    for name in GRAPHS:
        target = drawn(name, seed=1)
        moved = GraphTarget(
            target.architecture,
            {
                key: value.double() + 0.05 * torch.sign(torch.randn(value.shape))
                for key, value in target.weights.items()
            },
        )
        x = torch.rand(400, *target.architecture.inputs, dtype=torch.float64) * 2 - 1
        gap = (moved.module()(x) - target.module().double()(x)).abs().max()
        assert float(gap) <= network_error(target, 0.05, 1.0)


def test_unreached_coefficients_are_listed_in_the_numbers_of_the_layer() -> None:
    target = drawn("grouped", seed=3)
    construction = Ferbach2023General(weight_eps=1e-6, items=3, domain=SIGNED, seed=1).construct(target)
    assert construction.ticket is None
    want = wanted_rows(target, SIGNED)
    have = literal_rows(construction, target, SIGNED)
    sizes = [target.architecture.layer(step).basis.size for step in target.architecture.affine]
    listed = {}
    for u in construction.unreached:
        output, element = divmod(int(u["row"]), sizes[u["layer"]])
        listed[(int(u["layer"]), output, element, int(u["input"]), int(u["sign"]))] = float(u["error"])
        assert want[(int(u["layer"]), output, element, int(u["input"]), int(u["sign"]))] == u["target"]
    off = {at: abs(have.get(at, 0.0) - value) for at, value in want.items()}
    assert set(listed) == {at for at, error in off.items() if error > 1e-6}
    assert all(off[at] <= error <= off[at] + 2.0**-44 for at, error in listed.items())


def test_an_mlp_as_a_graph_has_the_ticket_of_an_mlp() -> None:
    """The same counts and tolerances as the construction for MLPs, whose source draws other numbers by name."""
    target = Target.from_module(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    options = {"weight_eps": 0.01, "domain": SIGNED, "seed": 2}
    dense = Pensia2020Optimal(**options).construct(target)  # type: ignore[arg-type]
    graph = dacunha2022proving.construct(target, **options)
    assert graph.plan.items == dense.plan.items
    assert graph.plan.problems == dense.plan.problems
    assert [layer.width for layer in graph.layers] == [layer.width for layer in dense.layers]
    assert certify(graph.best, GraphTarget.from_target(target), SIGNED).error <= 0.5


@pytest.mark.parametrize(
    ("basis", "moved"),
    [
        (Circulant(6), [5, 0, 1, 2, 3, 4]),
        (GroupConvolution(dihedral(3)), [dihedral(3)[4][g] for g in range(6)]),
        (Sets(6), [2, 0, 1, 3, 5, 4]),
    ],
    ids=["circulant", "group", "sets"],
)
def test_the_ticket_of_an_equivariant_network_is_equivariant(
    basis: Circulant | GroupConvolution | Sets, moved: list[int]
) -> None:
    graph = Graph((2, 6), (Affine(basis, 2, 3, bias=True), Rectify(), Affine(basis, 3, 2)))
    target = GraphTarget(graph, {key: 0.5 * value for key, value in Source(graph, 0).weights().items()})
    ticket = Ferbach2023General(weight_eps=0.2, items=4, seed=0).construct(target).best.module().double()
    x = torch.randn(20, 2, 6, dtype=torch.float64)
    torch.testing.assert_close(ticket(x[..., moved]), ticket(x)[..., moved], rtol=0, atol=1e-12)
    assert float((ticket(x) - ticket(x.flip(1))).abs().max()) > 1e-3  # channels are no positions


def test_modules_are_read_and_normalisation_is_folded() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)
    ).eval()
    construction = dacunha2022proving.construct(net, (1, 4, 4), weight_eps=1e-3, domain=PIXELS)
    x = torch.rand(64, 1, 4, 4)
    assert construction.ticket is not None
    torch.testing.assert_close(construction.ticket.module()(x), net(x), rtol=0, atol=0.1)


def test_what_a_paper_does_not_speak_of_is_refused() -> None:
    with pytest.raises(HypothesisError, match="adds values"):
        dacunha2022proving.construct(drawn("identity", 0), weight_eps=0.1)
    with pytest.raises(HypothesisError, match="adds values"):
        ferbach2023general.construct(drawn("projection", 0), weight_eps=0.1)
    with pytest.raises(HypothesisError, match="basis circulant4"):
        DaCunha2022Proving(weight_eps=0.1).plan(drawn("circulant", 0))
    with pytest.raises(TypeError, match="GraphTarget"):
        Ferbach2023General(weight_eps=0.1).plan(object())  # type: ignore[arg-type]
    assert burkholz2022convolutional.construct(drawn("strided", 0), weight_eps=0.1).ticket is not None


def test_targets_outside_the_hypotheses_are_refused() -> None:
    with pytest.raises(HypothesisError, match=r"norm .* between"):
        Ferbach2023General(network_eps=0.1).plan(drawn("sets", 0, scale=3.0))
    with pytest.raises(HypothesisError, match=r"steps.0.weight.*Rescale"):
        Ferbach2023General(weight_eps=0.1).plan(drawn("sets", 0, scale=40.0))
    even = Graph((1, 4), (Affine(Convolution(2, 1, 1, (4,)), 1, 1, bias=True),))
    target = GraphTarget(even, {"steps.0.weight": torch.ones(1, 1, 2), "steps.0.bias": torch.ones(1)})
    with pytest.raises(HypothesisError, match="no element of its basis"):
        Ferbach2023General(weight_eps=0.1).plan(target)
    for wrong in ({}, {"weight_eps": 0.1, "network_eps": 0.1}, {"weight_eps": 2.0}, {"weight_eps": 0.1, "items": 0}):
        with pytest.raises(ValueError, match=r"."):
            DaCunha2022Proving(**wrong)  # type: ignore[arg-type]


def slow_windows(pair: LayerPair, items: int, window: int) -> list[NDArray[np.int64]]:
    """Each window alone: its own columns, and its own neurons counted from 0."""
    found, halves = [], pair.halves
    start = 0
    for low in range(0, len(halves), window):
        columns = range(low, min(low + window, len(halves)))
        open_places = dict.fromkeys(columns, items)
        count = neurons_needed(len(columns), items, None)
        offers = pair.incoming(start, start + count)
        taken: dict[int, list[int]] = {column: [] for column in columns}
        for neuron in range(count):
            if not open_places:
                break
            best = max(open_places, key=lambda column: (int(offers[neuron, column]), -column))
            if offers[neuron, best] >= 2**22:
                taken[best].append(start + neuron)
                open_places[best] -= 1
                if not open_places[best]:
                    del open_places[best]
        found += [np.array(taken[column], dtype=np.int64) for column in columns]
        start += count
    return found


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_windows_share_out_the_neurons(signed: bool, bias: bool) -> None:
    halves = HalfInputs.of(10, signed=signed, bias=bias)
    width = neurons_needed(len(halves), 3, 4)
    assert width == windows(len(halves), 3, 0, 4)[-1][1].stop
    pair = LayerPair(Source(MLP((10, width, 2), bias), seed=4), 0, halves)
    pool = assign_column_aware(pair, 3, 4)
    for column, neurons in enumerate(slow_windows(pair, 3, 4)):
        assert pool.neurons[column][pool.u[column] != 0].tolist() == neurons.tolist()
        offered = pair.incoming(0, width)[neurons, column] * halves.signs[column]
        assert pool.u[column][pool.u[column] != 0].tolist() == offered.tolist()


def test_what_is_given_beside_a_target_must_fit_and_other_targets_are_named() -> None:
    mlp = Target(MLP((2, 1)), {"layers.0.weight": torch.tensor([[0.5, -0.25]])})
    with pytest.raises(ValueError, match=r"reads inputs of shape \(2,\), got \(1, 2\)"):
        dacunha2022proving.construct(mlp, (1, 2), weight_eps=0.1)
    assert dacunha2022proving.construct(mlp, (2,), weight_eps=0.1).largest_error <= 0.1
    with pytest.raises(TypeError, match=r"got Target.*GraphTarget\.from_target for a Target"):
        DaCunha2022Proving(weight_eps=0.1).construct(mlp)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0.0, 1.0, 4.0])
def test_the_networks_tolerance_pays_for_biases_and_the_bound_without_them_does_not(size: float) -> None:
    """Two layers of norm 1 with a bias between them, every number off by the tolerance, upward."""
    steps = (Affine(Pointwise(), 1, 1, bias=True), Rectify(), Affine(Pointwise(), 1, 1))
    weights = {"steps.0.weight": 1.0, "steps.0.bias": size, "steps.2.weight": 1.0}
    shapes = Graph((1,), steps).shapes
    target = GraphTarget(
        Graph((1,), steps), {name: torch.full(shapes[name], x, dtype=torch.float64) for name, x in weights.items()}
    )

    def off(eps: float) -> float:
        return (1 + eps + size + eps) * (1 + eps) - (1 + size)

    assert off(DaCunha2022Proving(network_eps=0.1).plan(target).weight_eps[0]) <= 0.1
    plain = get_bound("ferbach2023general.coefficient_eps")(eps=0.1, L=2, n_in=1, basis_norm=1)
    assert (off(plain) <= 0.1) == (size == 0)
