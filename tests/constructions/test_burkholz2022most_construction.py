"""Tickets of depth L + 1: strict, certified, for four activations, and honest where something is not met."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain, Rigor
from strongticket.certify import examine_copies
from strongticket.constructions import Burkholz2022Most, Construction
from strongticket.constructions._copies import traits_of
from strongticket.models import MLP, Target
from strongticket.models.activations import PERCEPTRON_ACTIVATIONS, PerceptronActivation

BOX = Domain.box(-1, 1)


def draw(
    sizes: tuple[int, ...], kind: PerceptronActivation, *, bias: bool = True, scale: float = 0.7, seed: int = 0
) -> Target:
    mlp = MLP(sizes, bias, kind if len(sizes) > 2 else "relu")
    generator = torch.Generator().manual_seed(seed)
    return Target(mlp, {name: scale * torch.randn(shape, generator=generator) for name, shape in mlp.shapes.items()})


def outputs(network: Target | Construction, x: torch.Tensor) -> torch.Tensor:
    module = network.module() if isinstance(network, Target) else network.best.module()
    with torch.no_grad():
        found: torch.Tensor = module.double()(x)
        return found


def points(domain: Domain, dimension: int, count: int = 1000) -> torch.Tensor:
    x = torch.rand(count, dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x * (domain.high - domain.low) + domain.low
    x[: count // 4] = torch.where(x[: count // 4] < (domain.low + domain.high) / 2, domain.low, domain.high)
    return x * torch.clamp(domain.radius / x.norm(dim=1, keepdim=True).clamp(min=1e-9), max=1.0) * (1 - 1e-12)


@pytest.mark.parametrize("kind", PERCEPTRON_ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("domain", [BOX, Domain.box(0, 1), Domain.ball(1)], ids=str)
def test_tickets_are_strict_and_certified(kind: PerceptronActivation, bias: bool, domain: Domain) -> None:
    target = draw((6, 5, 4, 3), kind, bias=bias)
    method = Burkholz2022Most(weight_eps=0.003, domain=domain)
    found = method.construct(target)
    source = found.best.source.architecture
    assert isinstance(source, MLP)
    assert source.depth == target.architecture.depth + 1
    assert source.activation == kind
    assert found.ticket is not None
    assert found.largest_error <= 0.003
    assert found.best.matches(found.best.module())
    x = points(domain, 6)
    off = (outputs(target, x) - outputs(found, x)).abs().max().item()
    report = examine_copies(found.best, target, domain, method.copies(target))
    assert report.maximum.rigor is Rigor.PROVED
    assert 0 < off <= report.maximum.error < 60 * off
    assert report.layers[0].largest_error <= 0.003 * (1 + 1e-2 if traits_of(kind).cubic == 0 else 1.3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple),
    kind=st.sampled_from(PERCEPTRON_ACTIVATIONS),
    bias=st.booleans(),
    scale=st.sampled_from([0.0, 1e-3, 0.3, 1.0, 7.0]),
    seed=st.integers(0, 2**20),
    nonnegative=st.booleans(),
)
def test_certificates_lie_above_whatever_is_sampled(
    sizes: tuple[int, ...], kind: PerceptronActivation, bias: bool, scale: float, seed: int, nonnegative: bool
) -> None:  # fmt: skip
    target = draw(sizes, kind, bias=bias, scale=scale, seed=seed)
    domain = Domain.box(0, 1) if nonnegative else BOX
    method = Burkholz2022Most(weight_eps=0.02, items=12, domain=domain, seed=seed)
    found = method.construct(target)
    x = points(domain, sizes[0])
    off = (outputs(target, x) - outputs(found, x)).abs().max().item()
    report = examine_copies(found.best, target, domain, method.copies(target))
    assert off <= report.maximum.error * (1 + 1e-9) + 1e-9 * max(1.0, scale) ** len(sizes)
    biases = [name for name in found.best.mask if name.endswith("bias") and name != MLP.bias_name(0)]
    kept = sum(layer.kept for layer in found.layers) + sum(found.best.mask.counts[name] for name in biases)
    assert found.best.mask.count == kept


def effective(found: Construction, layer: int) -> NDArray[np.float64]:
    """What the first pair does on positive inputs, or a later layer, from the ticket's dense weights."""
    u, v, own = (found.best.weight(MLP.weight_name(i)).double().numpy() for i in (0, 1, layer + 1))
    return np.asarray(own if layer else v @ np.maximum(u, 0))


@pytest.mark.parametrize("scale", [0.05, 0.7, 3.0])
def test_every_weight_is_a_subset_sum_within_the_tolerance(scale: float) -> None:
    target = draw((5, 4, 3, 2), "relu", bias=False, scale=scale)
    eps = 0.002 * max(scale, 0.1)
    method = Burkholz2022Most(weight_eps=eps, domain=Domain.box(0, 1), seed=5)
    found = method.construct(target)
    assert found.ticket is not None
    copies = method.copies(target)
    layers = [layer.weight for layer in target.layers]
    rows = [*copies, np.arange(2)]
    for i, layer in enumerate(layers):
        matrix = effective(found, i)
        if i:
            onto = np.zeros((len(copies[i - 1]), layer.shape[1]))
            onto[np.arange(len(onto)), copies[i - 1]] = 1.0
            matrix = matrix @ onto
        built = np.ones(len(matrix), dtype=bool)
        if i < len(copies):  # copies that nothing uses are not built
            built = (found.best.weight(MLP.weight_name(i + 2)) != 0).any(dim=0).numpy()
            assert not found.best.weight(MLP.weight_name(i + 1))[torch.from_numpy(~built)].any()
        assert np.abs(matrix - layer[rows[i]])[built].max() <= eps * (1 + 1e-9)


def test_the_solver_behind_it_is_exact() -> None:
    target = draw((3, 3, 2), "relu", bias=False, scale=0.4)
    method = Burkholz2022Most(weight_eps=0.05, items=8, objective="min_error", domain=Domain.box(0, 1), seed=2)
    found = method.construct(target)
    weights = found.best.source.weight(MLP.weight_name(2)).double().numpy()
    for row, wanted in enumerate(target.layers[1].weight):
        for neuron in range(3):
            items = weights[row, 8 * neuron : 8 * neuron + 8]
            sums = np.array([0.0])
            for item in items:
                sums = np.concatenate([sums, sums + item])
            kept = found.best.weight(MLP.weight_name(2)).double().numpy()[row, 8 * neuron : 8 * neuron + 8].sum()
            assert abs(kept - wanted[neuron]) == pytest.approx(np.abs(sums - wanted[neuron]).min(), abs=1e-12)


@pytest.mark.parametrize("kind", PERCEPTRON_ACTIVATIONS)
def test_too_few_candidates_are_said(kind: PerceptronActivation) -> None:
    target = draw((4, 3, 2), kind)
    method = Burkholz2022Most(weight_eps=1e-3, items=3, domain=BOX)
    found = method.construct(target)
    assert found.ticket is None
    assert len(found.unreached) == sum(layer.unreached for layer in found.layers) > 0
    assert (found.unreached["error"] > 1e-3).all()
    assert found.largest_error >= found.unreached["error"].max() * (1 - 1e-12)
    off = (outputs(target, points(BOX, 4)) - outputs(found, points(BOX, 4))).abs().max().item()
    assert off <= examine_copies(found.best, target, BOX, method.copies(target)).maximum.error


def test_plans_say_what_is_done_and_sources_have_the_targets_scale() -> None:
    target = draw((4, 3, 2), "tanh", scale=5.0)
    method = Burkholz2022Most(weight_eps=0.01, items=(20, 17), domain=BOX)
    plan = method.plan(target)
    assert plan.items == (20, 17)
    assert plan.problems == (3 * 17 * 5, 2 * 4)
    init = plan.source.init
    for i in range(2):
        largest = max(float(value.abs().max()) for name, value in target.weights.items() if f".{i}." in name)
        scale = init.of(MLP.weight_name(i + 1))[1] * (init.of(MLP.weight_name(0))[1] if i == 0 else 1.0)
        assert scale / 2 < largest <= scale
    seen: list[tuple[str, int, int]] = []
    found = method.construct(target, progress=lambda *args: seen.append(args))
    assert found.plan == plan
    assert seen[-1] == ("weights", sum(plan.problems), sum(plan.problems))
    assert all(a[1] <= b[1] for a, b in pairwise(seen))
    assert found.to_json()["construction"] == "burkholz2022most"


def test_the_theorems_tolerances_keep_the_network_within_eps() -> None:
    target = Target.from_state(
        {"0.weight": torch.tensor([[0.6, -0.3], [0.1, 0.7]]), "1.weight": torch.tensor([[0.5, -0.8]])}, "leaky"
    )
    method = Burkholz2022Most(network_eps=0.05, items="theorem", domain=BOX)
    plan = method.plan(target)
    assert plan.weight_eps[0] < plan.weight_eps[1] <= 0.05 / 3.6 * (1 + 1e-6)  # two layers, two inputs of at most 0.9
    found = method.construct(target)
    assert found.ticket is not None
    assert examine_copies(found.best, target, BOX, method.copies(target)).maximum.error <= 0.05


def test_bad_input_is_refused() -> None:
    target = draw((3, 2, 1), "tanh", bias=False)
    with pytest.raises(HypothesisError, match="without biases"):
        Burkholz2022Most(network_eps=0.1).plan(target)
    with pytest.raises(HypothesisError, match="finer than sums"):
        Burkholz2022Most(weight_eps=1e-8).plan(draw((3, 2, 1), "relu", scale=1.0))
    with pytest.raises(ValueError, match="has 3 numbers for the 2 layers"):
        Burkholz2022Most(weight_eps=0.1, items=(3, 3, 3)).plan(target)
    with pytest.raises(ValueError, match="exactly one of"):
        Burkholz2022Most()
    with pytest.raises(TypeError, match="a target is"):
        Burkholz2022Most(weight_eps=0.1).plan("lenet")  # type: ignore[arg-type]


def test_leaky_halves_share_the_tolerance_in_the_theorem_s_count() -> None:
    """Each half has only eps/(1 + slope), so its candidates are those of that tolerance."""
    leaky, relu = (draw((2, 2, 1), kind, bias=False) for kind in ("leaky", "relu"))
    fold, signed, unsigned = 1.01, [], []
    for eps in np.linspace(0.01, 0.2, 12):
        method = Burkholz2022Most(weight_eps=float(eps), items="theorem", domain=BOX)
        # the second layer's count, which sets the rows of the first, has the same tolerance in both
        assert method.plan(leaky).items[1] == method.plan(relu).items[1]
        signed.append(method.plan(leaky).items[0] - method.plan(relu).items[0])
        positive = Burkholz2022Most(weight_eps=float(eps), items="theorem", domain=Domain.box(0, 1))
        unsigned.append(positive.plan(leaky).items[0] - positive.plan(relu).items[0])
    assert traits_of("leaky").fold == fold
    assert min(signed) >= 0
    assert max(signed) > 0
    assert set(unsigned) == {0}


def test_items_of_each_layer_are_numbers() -> None:
    with pytest.raises(TypeError, match="whole number each"):
        Burkholz2022Most(weight_eps=0.1, items=("theorem", 3))  # type: ignore[arg-type]


def test_a_sigmoid_whose_intercept_cannot_be_cancelled_finely_enough_is_refused_by_the_plan() -> None:
    target = draw((2, 2, 1), "sigmoid")
    with pytest.raises(HypothesisError, match="cancels the sigmoid at 0"):
        Burkholz2022Most(weight_eps=2e-5, items=6, domain=BOX).plan(target)
    for eps in (1e-3, 3e-4, 1e-4, 5e-5):  # what the plan takes is built
        method = Burkholz2022Most(weight_eps=eps, items=6, domain=BOX)
        try:
            method.plan(target)
        except HypothesisError:
            assert eps < 3e-4
            continue
        found = method.construct(target)
        assert found.best.matches(found.best.module())


@pytest.mark.parametrize("kind", ["tanh", "sigmoid"])
def test_inputs_too_large_for_a_curved_activation_are_refused_by_the_plan(kind: PerceptronActivation) -> None:
    method = Burkholz2022Most(weight_eps=0.1, items=6, domain=Domain.box(-1e30, 1e30))
    with pytest.raises(HypothesisError, match="scale the inputs down"):
        method.plan(draw((2, 2, 1), kind))
