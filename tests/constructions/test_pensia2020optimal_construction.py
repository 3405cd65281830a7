"""The construction against the paper's definition, its own promises, and the strict check."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strongticket.bounds import HypothesisError
from strongticket.bounds import pensia2020optimal as bounds
from strongticket.certificate import Domain
from strongticket.certify import certify, collapse
from strongticket.constructions import Pensia2020Optimal
from strongticket.constructions._gadget import HalfInputs, LayerPair, assign_column_aware
from strongticket.constructions.pensia2020optimal import construct
from strongticket.models import MLP, Target, sparse_module
from strongticket.testing import brute_force, check_ticket, targets, unreached_weights, weight_errors
from strongticket.ticket import Source

BOX, BALL = Domain.box(0, 1), Domain.ball(1)


def target_of(*sizes: int, bias: bool = False, scale: float = 0.5, seed: int = 0) -> Target:
    generator = torch.Generator().manual_seed(seed)
    mlp = MLP(sizes, bias)
    return Target(mlp, {n: (torch.rand(s, generator=generator) * 2 - 1) * scale for n, s in mlp.shapes.items()})


def literal_gadget(target: Target, source: Source, items: int, *, signed: bool) -> dict[str, np.ndarray]:
    """Pensia's Lemmas 1-3, word for word: consecutive blocks, one subset sum after the other, by enumeration."""
    weights = {name: value.double().numpy() for name, value in source.weights().items()}
    masks = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
    for i, layer in enumerate(target.layers):
        u, v = weights[MLP.weight_name(2 * i)], weights[MLP.weight_name(2 * i + 1)]
        halves = [(j, s) for j in range(layer.weight.shape[1]) for s in ((1, -1) if signed and i == 0 else (1,))]
        if layer.bias is not None:
            halves.append((layer.weight.shape[1], 1))
        for c, (j, sign) in enumerate(halves):
            constant = j == layer.weight.shape[1]
            first = weights[MLP.bias_name(2 * i)] if constant else u[:, j]
            block = [k for k in range(c * items, (c + 1) * items) if sign * first[k] > 0]
            for row in range(layer.weight.shape[0]):
                wanted = layer.bias[row] if constant and layer.bias is not None else layer.weight[row, j]
                products = [int(first[k] * v[row, k] * 2**46) for k in block]
                (best,) = brute_force([products], [round(wanted * 2**46)])
                for bit, k in enumerate(block):
                    if best.mask >> bit & 1:
                        masks[MLP.weight_name(2 * i + 1)][row, k] = True
                        if constant:
                            masks[MLP.bias_name(2 * i)][k] = True
                        else:
                            masks[MLP.weight_name(2 * i)][k, j] = True
    return masks


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("domain", [BOX, BALL])
def test_fixed_blocks_with_exact_minimum_are_the_papers_masks(bias: bool, domain: Domain) -> None:
    target = target_of(3, 2, 2, bias=bias)
    result = construct(
        target, weight_eps=0.5, items=9, assignment="fixed", objective="min_error", domain=domain, seed=5
    )
    expected = literal_gadget(target, result.plan.source, 9, signed=not domain.nonnegative)
    for name, mask in expected.items():
        assert np.array_equal(result.best.mask[name].numpy(), mask), name


@given(target=targets(max_depth=3, max_width=4, largest=1.0), data=st.data())
@settings(max_examples=60)
def test_every_promise_on_any_target(target: Target, data: st.DataObject) -> None:
    domain = data.draw(st.sampled_from([BOX, BALL, Domain.box(-2, 3)]))
    eps = data.draw(st.sampled_from([0.3, 0.05, 0.01]))
    method = Pensia2020Optimal(
        weight_eps=eps,
        items=data.draw(st.integers(1, 14)),
        assignment=data.draw(st.sampled_from(["column-aware", "fixed"])),
        objective=data.draw(st.sampled_from(["sparsest", "min_error"])),
        domain=domain,
        seed=data.draw(st.integers(0, 2**64 - 1)),
    )
    result = method.construct(target)
    check_ticket(result.best)
    assert result.best.matches(result.best.module())
    # the weights that the ticket really has, by code that shares nothing with the construction
    errors = weight_errors(result.best, target, nonnegative=domain.nonnegative)
    assert all(error <= Fraction(result.layers[place[0]].largest_error) for place, error in errors.items())
    late = {place for place, error in errors.items() if error > eps}
    listed = unreached_weights(result).keys()
    # a weight within the rounding of the tolerance may be listed, never left out
    assert late <= listed
    assert all(float(u["error"]) > eps * (1 - 1e-9) for u in result.unreached)
    assert (result.ticket is None) == bool(len(listed))
    assert result.plan == method.plan(target)


def test_the_ticket_computes_the_target() -> None:
    target = target_of(20, 16, 12, 5, bias=True, scale=0.3)
    result = construct(target, weight_eps=0.01, items=18, objective="min_error", domain=BALL, seed=2)
    assert result.ticket is not None
    inputs = torch.randn(200, 20)
    inputs /= inputs.norm(dim=1, keepdim=True)
    difference = float((result.ticket.module()(inputs) - target.module()(inputs)).abs().max())
    assert difference <= certify(result.ticket, target, BALL).error + 1e-5
    assert difference < 0.02
    assert torch.allclose(sparse_module(result.ticket)(inputs), result.ticket.module()(inputs), atol=1e-6)


def test_sparsest_keeps_less_and_min_error_errs_less() -> None:
    target = target_of(10, 8, 4)
    options = {"weight_eps": 0.01, "items": 20, "domain": BOX, "seed": 3}
    sparsest = construct(target, objective="sparsest", **options)
    exact = construct(target, objective="min_error", **options)
    assert sparsest.best.mask.count < 0.4 * exact.best.mask.count
    assert exact.layers[0].rms_error < 0.1 * sparsest.layers[0].rms_error
    assert sparsest.ticket is not None
    assert exact.ticket is not None


def test_the_theorem_on_the_unit_ball() -> None:
    target = target_of(4, 4, 3)
    weights = {n: w / (1.001 * torch.linalg.matrix_norm(w.double(), 2)).float() for n, w in target.weights.items()}
    target = Target(target.architecture, weights)
    result = construct(target, network_eps=0.1, delta=0.01, items="theorem", assignment="fixed", seed=1)
    assert result.ticket is not None
    assert certify(result.ticket, target, BALL).error <= 0.1
    budget = bounds.weight_eps([(4, 4), (3, 4)], 0.1)
    assert result.plan.weight_eps == (budget, budget)


def test_more_than_forty_candidates_are_searched_in_groups() -> None:
    target = target_of(3, 3)
    result = construct(target, weight_eps=1e-3, items=130, assignment="fixed", objective="sparsest", seed=1)
    assert result.ticket is not None
    check_ticket(result.ticket)


@pytest.mark.parametrize("eps", [1e-6, 1e-8, 1e-9])
def test_the_theorems_sizes_are_enough_for_the_search_by_groups(eps: float) -> None:
    target = target_of(2, 2)
    tickets = [construct(target, weight_eps=eps, items="theorem", domain=BOX, seed=seed).ticket for seed in range(5)]
    assert None not in tickets


@pytest.mark.parametrize("options", [{"weight_eps": 1e-15}, {"network_eps": 1e-15}])
def test_tolerances_below_the_grid_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finer than the products of two random weights"):
        construct(Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[5e-15]])}), items=4, **options)


def test_at_the_finest_tolerance_a_ticket_keeps_it_exactly() -> None:
    target = target_of(2, 2)
    finest = 2.0**-45
    result = construct(target, weight_eps=finest, items=40, domain=BOX, seed=1)
    for i, layer in enumerate(collapse(result.best, nonnegative=True).layers):
        missed = {(int(u["row"]), int(u["input"])) for u in result.unreached if u["layer"] == i}
        for place, value in np.ndenumerate(target.layers[i].weight):
            exact = abs(Fraction(float(layer.positive.value[place])) - Fraction(float(value)))
            assert exact <= Fraction(finest) or place in missed


def test_nothing_is_redrawn_and_failures_are_listed() -> None:
    target = target_of(4, 3, seed=1)
    result = construct(target, weight_eps=1e-4, items=6, domain=BOX, seed=9)
    assert result.ticket is None
    assert len(result.unreached) > 0
    assert result.plan.source.seed == 9
    assert result.best.source == result.plan.source
    worst = result.unreached[0]
    assert target.layers[worst["layer"]].weight[worst["row"], worst["input"]] == worst["target"]
    assert result.to_json()["unreached"] == len(result.unreached)


def slow_greedy(pair: LayerPair, items: int) -> dict[int, list[int]]:
    """The column-aware rule in words: each neuron in order serves the open half-input where its weight is largest."""
    served: dict[int, list[int]] = {column: [] for column in range(len(pair.halves))}
    for neuron in range(pair.width):
        offers = pair.incoming(neuron, neuron + 1)[0]
        still_open = [c for c, neurons in served.items() if len(neurons) < items]
        if not still_open:
            break
        column = max(still_open, key=lambda c: (offers[c], -c))
        if offers[column] * 2.0**-23 >= 0.5:
            served[column].append(neuron)
    return served


@pytest.mark.parametrize(("signed", "bias"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_column_aware_assignment_equals_its_slow_twin(signed: bool, bias: bool, dimension: int) -> None:
    halves = HalfInputs.of(dimension, signed=signed, bias=bias)
    pair = LayerPair(Source(MLP((dimension, 6 * len(halves) + 40, 3), bias), seed=4), 0, halves)
    pool = assign_column_aware(pair, 5)
    expected = slow_greedy(pair, 5)
    for column, neurons in expected.items():
        assert pool.neurons[column, pool.u[column] != 0].tolist() == neurons
    used = pool.neurons[pool.u != 0]
    assert len(set(used.tolist())) == used.size
    assert (np.sign(pool.u)[pool.u != 0] == np.broadcast_to(halves.signs[:, None], pool.u.shape)[pool.u != 0]).all()


@pytest.mark.parametrize("dimension", [1, 2, 3, 64])
def test_the_spare_neurons_fill_every_place(dimension: int) -> None:
    for seed in range(20):
        target = target_of(dimension, 1)
        result = construct(target, weight_eps=0.5, items=8, domain=BOX, seed=seed)
        assert result.layers[0].fewest_items == 8
        assert result.layers[0].weakest_item >= 0.5


def test_information_limit_items_are_enough_but_not_many_more() -> None:
    target = target_of(30, 20, 10)
    predicted = Pensia2020Optimal(weight_eps=0.01, delta=0.1, domain=BOX).plan(target).items
    failures = [
        len(construct(target, weight_eps=0.01, items=max(predicted), domain=BOX, seed=s).unreached) for s in range(10)
    ]
    assert sum(failures) <= 5
    fewer = [
        len(construct(target, weight_eps=0.01, items=min(predicted) - 8, domain=BOX, seed=s).unreached)
        for s in range(10)
    ]
    assert sum(fewer) > sum(failures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of weight_eps"),
        ({"weight_eps": 0.1, "network_eps": 0.1}, "exactly one of weight_eps"),
        ({"weight_eps": 0.0}, "weight_eps must lie strictly between 0 and 1, got 0.0"),
        ({"weight_eps": math.nan}, "weight_eps must lie strictly between 0 and 1, got nan"),
        ({"network_eps": 1.0}, "network_eps must lie strictly between 0 and 1"),
        ({"weight_eps": 0.1, "delta": 1.0}, "delta must lie strictly between 0 and 1, got 1.0"),
        ({"weight_eps": 0.1, "items": 0}, "items must be at least 1 and at most 1048576, got 0"),
        ({"weight_eps": 0.1, "items": 10**30}, "at most 1048576"),
        ({"weight_eps": "a"}, "weight_eps must lie strictly between 0 and 1, got a"),
        ({"weight_eps": 0.1, "items": "many"}, "got 'many'"),
        ({"weight_eps": 0.1, "assignment": "random"}, "got 'random'"),
        ({"weight_eps": 0.1, "objective": "best"}, "got 'best'"),
        ({"weight_eps": 0.1, "seed": -1}, "seed"),
        ({"weight_eps": 0.1, "backend": "abacus"}, "abacus"),
    ],
)
def test_bad_parameters_are_refused_before_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        construct(target_of(2, 2), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"items": 2.5}, "whole number"), ({"items": math.nan}, "whole number"), ({"domain": (0, 1)}, "Domain.box")],
)
def test_parameters_of_a_wrong_type_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        construct(target_of(2, 2), weight_eps=0.1, **options)


def test_modules_are_read_and_everything_else_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    same = construct(Target.from_module(module), weight_eps=0.1, items=8)
    assert construct(module, weight_eps=0.1, items=8).best == same.best
    with pytest.raises(TypeError, match=r"use Target\.from_module"):
        construct(None, weight_eps=0.1)  # type: ignore[arg-type]


def test_targets_outside_the_hypotheses_are_refused_with_the_value() -> None:
    with pytest.raises(HypothesisError, match=r"layers.0.weight\[1, 0\] of the target is -1.5; .*Rescale"):
        construct(Target(MLP((1, 2)), {"layers.0.weight": torch.tensor([[0.5], [-1.5]])}), weight_eps=0.1)
    wide = Target(MLP((2, 2)), {"layers.0.weight": torch.full((2, 2), 0.9)})
    with pytest.raises(HypothesisError, match=r"spectral norm 1.8"):
        construct(wide, network_eps=0.1)
    assert construct(wide, weight_eps=0.1, items=12).best.mask.count


def test_networks_that_are_no_mlp_are_refused() -> None:
    with pytest.raises(TypeError, match="Conv2d"):
        Target.from_module(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)))
    for value in (math.nan, math.inf):
        module = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            module.weight[1, 0] = value
        with pytest.raises(ValueError, match=rf"layers.0.weight\[1, 0\] of the target is {value}"):
            Target.from_module(module)


def test_results_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(5, 30, 4, bias=True)
    options = {"weight_eps": 0.01, "items": 12, "seed": 6}
    whole = construct(target, **options)
    monkeypatch.setattr("strongticket.constructions._gadget.BLOCK_BYTES", 1)
    parts = construct(target, **options)
    assert parts.best == whole.best
    assert np.array_equal(parts.unreached, whole.unreached)


def test_plans_are_values() -> None:
    plan = Pensia2020Optimal(weight_eps=0.1, items=8).plan(target_of(3, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.items = (1,)  # type: ignore[misc]
