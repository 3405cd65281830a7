"""One pair per weight against the definition word for word, its promises, and the strict check; pruned neurons."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from strongticket import bounds
from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain, Rigor
from strongticket.certify import certify
from strongticket.constructions import Construction, Malach2020Proving
from strongticket.constructions._malach2020proving_neurons import RandomFeatures
from strongticket.constructions.malach2020proving import construct
from strongticket.models import MLP, Target
from strongticket.testing import check_ticket, targets, unreached_weights, weight_errors

BOX, BALL = Domain.box(0, 1), Domain.ball(1)
CHOICES = ["nearest", "first", "nearest-pair"]


def target_of(*sizes: int, bias: bool = False, scale: float = 0.5, seed: int = 0) -> Target:
    generator = torch.Generator().manual_seed(seed)
    mlp = MLP(sizes, bias)
    return Target(mlp, {n: (torch.rand(s, generator=generator) * 2 - 1) * scale for n, s in mlp.shapes.items()})


def literal(target: Target, result: Construction, choose: str, blocks: str, *, signed: bool) -> dict[str, np.ndarray]:
    """The proof, word for word: for each output, input and sign, walk through the block and take one neuron."""
    source = result.plan.source
    weights = {name: value.double().numpy() for name, value in source.weights().items()}
    masks = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
    for i, layer in enumerate(target.layers):
        u, v = weights[MLP.weight_name(2 * i)], weights[MLP.weight_name(2 * i + 1)]
        matrix = layer.weight if layer.bias is None else np.column_stack([layer.weight, layer.bias])
        items, eps, d_in = result.plan.items[i], result.plan.weight_eps[i], layer.weight.shape[1]
        for (row, column), w in np.ndenumerate(matrix):
            constant = column == d_in
            incoming = weights[MLP.bias_name(2 * i)] if constant else u[:, column]
            for sign in (1, -1) if signed and i == 0 and not constant else (1,):
                block = [k * matrix.shape[1] + column for k in range(items)]
                if blocks == "own":
                    block = [row * items * matrix.shape[1] + k for k in block]
                usable = [k for k in block if sign * incoming[k] > 0]
                if not usable or (choose != "nearest" and abs(w) <= eps):
                    continue
                error = {k: abs(incoming[k] * v[row, k] - w) for k in usable}
                if choose == "first":
                    chosen = next((k for k in usable if error[k] <= eps), None)
                elif choose == "nearest":
                    chosen = min(usable, key=error.__getitem__)
                else:
                    chosen = min(
                        usable,
                        key=lambda k: max(
                            abs(abs(incoming[k]) - abs(w)), abs(1 - v[row, k] * math.copysign(1, w) * sign)
                        ),
                    )
                if chosen is None or error[chosen] >= abs(w):
                    continue
                masks[MLP.weight_name(2 * i + 1)][row, chosen] = True
                if constant:
                    masks[MLP.bias_name(2 * i)][chosen] = True
                else:
                    masks[MLP.weight_name(2 * i)][chosen, column] = True
    return masks


@pytest.mark.parametrize("choose", CHOICES)
@pytest.mark.parametrize("blocks", ["shared", "own"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("domain", [BOX, BALL])
def test_masks_are_the_proofs(choose: Any, blocks: Any, bias: bool, domain: Domain) -> None:
    target = target_of(3, 2, 2, bias=bias)
    result = construct(target, weight_eps=0.1, items=40, choose=choose, blocks=blocks, domain=domain, seed=5)
    expected = literal(target, result, choose, blocks, signed=not domain.nonnegative)
    for name, mask in expected.items():
        assert np.array_equal(result.best.mask[name].numpy(), mask), name
    assert result.best.mask.count > 0


@given(target=targets(max_depth=3, max_width=4, largest=1.0), data=st.data())
@settings(max_examples=40)
def test_every_promise_on_any_target(target: Target, data: st.DataObject) -> None:
    domain = data.draw(st.sampled_from([BOX, BALL, Domain.box(-2, 3)]))
    eps = data.draw(st.sampled_from([0.3, 0.1, 0.03]))
    method = Malach2020Proving(
        weight_eps=eps,
        items=data.draw(st.integers(1, 200)),
        choose=data.draw(st.sampled_from(CHOICES)),
        blocks=data.draw(st.sampled_from(["shared", "own"])),
        domain=domain,
        seed=data.draw(st.integers(0, 2**64 - 1)),
    )
    result = method.construct(target)
    check_ticket(result.best)
    assert result.best.matches(result.best.module())
    errors = weight_errors(result.best, target, nonnegative=domain.nonnegative)
    assert all(error <= Fraction(result.layers[place[0]].largest_error) for place, error in errors.items())
    late = {place for place, error in errors.items() if error > eps}
    # one outgoing weight for each problem, and at most one incoming weight for each of those
    outgoing = sum(result.best.mask.counts[MLP.weight_name(2 * i + 1)] for i in range(len(target.layers)))
    assert outgoing <= sum(result.plan.problems)
    assert result.best.mask.count <= 2 * outgoing
    listed = unreached_weights(result).keys()
    assert late <= listed
    assert all(float(u["error"]) > eps * (1 - 1e-9) for u in result.unreached)
    assert (result.ticket is None) == bool(listed)
    assert result.plan == method.plan(target)


@given(target=targets(max_depth=3, max_width=5, largest=1.0), seed=st.integers(0, 2**32), box=st.booleans())
@settings(max_examples=25)
def test_certificates_lie_above_a_thousand_sampled_errors(target: Target, seed: int, box: bool) -> None:
    domain = BOX if box else BALL
    result = construct(target, weight_eps=0.1, items=100, domain=domain, seed=seed)
    certificate = certify(result.best, target, domain)
    assert certificate.rigor is Rigor.PROVED
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (1000, target.architecture.sizes[0]))
    if not box:
        x = rng.normal(size=x.shape)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[: len(x[0])] = np.eye(len(x[0]))[: len(x)]
    masked = {name: value.double().numpy() for name, value in result.best.weights().items()}
    plain = {name: value.double().numpy() for name, value in target.weights.items()}
    off = np.abs(forward(masked, x) - forward(plain, x)).max()
    assert off <= certificate.error + 1e-12


def forward(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    depth = sum(name.endswith("weight") for name in weights)
    for i in range(depth):
        x = x @ weights[MLP.weight_name(i)].T + weights.get(MLP.bias_name(i), 0.0)
        x = np.maximum(x, 0.0) if i + 1 < depth else x
    return x


@pytest.mark.parametrize("choose", CHOICES)
@pytest.mark.parametrize("blocks", ["shared", "own"])
def test_results_do_not_depend_on_how_the_candidates_are_read(
    choose: Any, blocks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(4, 5, 3, bias=True)
    options = {"weight_eps": 0.05, "items": 90, "choose": choose, "blocks": blocks, "seed": 6}
    whole = construct(target, **options)
    search = "strongticket.constructions._malach2020proving_search"
    for chunk, gathered, sparse in ((1, 1, 0.0), (64, 100, 1.1), (99, 1 << 20, 0.5)):
        monkeypatch.setattr(f"{search}.CHUNK", chunk)
        monkeypatch.setattr(f"{search}.GATHERED", gathered)
        monkeypatch.setattr(f"{search}.SPARSE", sparse)
        parts = construct(target, **options)
        assert parts.best == whole.best
        assert np.array_equal(parts.unreached, whole.unreached)


@pytest.mark.parametrize("choose", CHOICES)
def test_the_theorems_items_are_enough(choose: Any) -> None:
    target = target_of(6, 5, 3)
    missed = [construct(target, weight_eps=0.1, delta=0.01, choose=choose, seed=s).ticket is None for s in range(40)]
    assert sum(missed) <= 4  # of 40 with probability <= 1/100 each: five happen once in 10,000 times
    few = Malach2020Proving(weight_eps=0.1, delta=0.01, choose=choose).plan(target).items
    starved = [
        construct(target, weight_eps=0.1, items=max(1, min(few) // 20), choose=choose, seed=s).ticket is None
        for s in range(10)
    ]
    assert sum(starved) >= 5


def test_first_is_within_the_tolerance_and_nearest_is_nearer() -> None:
    target = target_of(10, 8, 4)
    options = {"weight_eps": 0.02, "domain": BOX, "seed": 3}
    first, nearest = (construct(target, choose=choose, **options) for choose in ("first", "nearest"))
    assert first.ticket is not None
    assert nearest.ticket is not None
    assert first.plan.source == nearest.plan.source
    assert nearest.layers[0].rms_error < 0.3 * first.layers[0].rms_error


def test_the_papers_count_on_the_unit_ball() -> None:
    weights = {
        "layers.0.weight": torch.tensor([[0.5, -0.5], [0.3, 0.1]]),
        "layers.1.weight": torch.tensor([[0.7, -0.5]]),
    }
    target = Target(MLP((2, 2, 1)), weights)
    method = Malach2020Proving(network_eps=0.5, delta=0.1, items="paper", choose="nearest-pair", blocks="own", seed=4)
    plan = method.plan(target)
    assert plan.weight_eps == pytest.approx((0.5 / (4 * 2 * math.sqrt(2)), 0.5 / (4 * 2)))
    count = bounds.get("malach2020proving.paper_items")
    assert plan.items == tuple(int(count(weight_eps=e, N=6, delta=0.1)) for e in plan.weight_eps)
    assert plan.source.architecture.sizes[1] == 2 * 2 * plan.items[0]
    result = method.construct(target)
    assert result.ticket is not None
    assert certify(result.ticket, target, BALL).error <= 0.5


def test_nothing_is_redrawn_and_failures_are_listed() -> None:
    target = target_of(4, 3, seed=1)
    result = construct(target, weight_eps=1e-3, items=6, domain=BOX, seed=9)
    assert result.ticket is None
    assert result.best.source == result.plan.source
    worst = result.unreached[0]
    assert target.layers[worst["layer"]].weight[worst["row"], worst["input"]] == worst["target"]
    assert result.to_json()["unreached"] == len(result.unreached) > 0
    assert result.to_json()["construction"] == "malach2020proving"


@pytest.mark.parametrize("choose", CHOICES)
def test_progress_ends_with_all_problems(choose: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    method = Malach2020Proving(weight_eps=0.1, items=20, choose=choose)
    method.construct(target_of(3, 2, 2), progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1] == ("weights", 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of weight_eps"),
        ({"weight_eps": 0.1, "network_eps": 0.1}, "exactly one of weight_eps"),
        ({"weight_eps": 0.0}, "weight_eps must lie strictly between 0 and 1"),
        ({"weight_eps": math.nan}, "weight_eps must lie strictly between 0 and 1"),
        ({"weight_eps": 0.1, "delta": 1.0}, "delta must lie strictly between 0 and 1"),
        ({"weight_eps": 0.1, "items": 0}, "items must be at least 1"),
        ({"weight_eps": 0.1, "items": "many"}, "got 'many'"),
        ({"weight_eps": 0.1, "choose": "last"}, "choose is 'nearest', 'first' or 'nearest-pair', got 'last'"),
        ({"weight_eps": 0.1, "blocks": "none"}, "blocks is 'shared' or 'own', got 'none'"),
        ({"weight_eps": 1e-7}, "too fine for the count of items"),
        ({"weight_eps": 0.1, "seed": -1}, "seed"),
    ],
)
def test_bad_parameters_are_refused_before_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        construct(target_of(2, 2), **options)


def test_wrong_types_are_refused() -> None:
    for options, message in (({"items": 2.5}, "whole number"), ({"domain": (0, 1)}, "Domain.box")):
        with pytest.raises(TypeError, match=message):
            construct(target_of(2, 2), weight_eps=0.1, **options)
    with pytest.raises(TypeError, match=r"use Target\.from_module"):
        construct(None, weight_eps=0.1)  # type: ignore[arg-type]


def test_targets_outside_the_hypotheses_are_refused_with_the_value() -> None:
    with pytest.raises(HypothesisError, match=r"layers.0.weight\[1, 0\] of the target is -1.5"):
        construct(Target(MLP((1, 2)), {"layers.0.weight": torch.tensor([[0.5], [-1.5]])}), weight_eps=0.1)
    heavy = Target(MLP((2, 2)), {"layers.0.weight": torch.tensor([[0.9, 0.0], [0.0, 0.1]])})
    with pytest.raises(
        HypothesisError, match=r"magnitude 0.9; the paper speaks of weights of at most 1/sqrt\(fan-in\)"
    ):
        construct(heavy, network_eps=0.5, items="paper")
    assert Malach2020Proving(network_eps=0.5).plan(heavy).items
    with pytest.raises(HypothesisError, match="without biases"):
        construct(target_of(2, 2, bias=True, scale=0.2), network_eps=0.5, items="paper")
    with pytest.raises(HypothesisError, match="spectral norm"):
        construct(Target(MLP((2, 2)), {"layers.0.weight": torch.full((2, 2), 0.9)}), network_eps=0.1)


@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans(), st.sampled_from([0.3, 1.0, 5.0]))
@settings(max_examples=25)
def test_kept_neurons_are_the_rule(seed: int, dimension: int, bias: bool, bound: float) -> None:
    features = RandomFeatures(dimension, 50, bound, seed, bias)
    a = np.random.default_rng(seed).uniform(-bound, bound, 50)
    a[:5] = 0.0
    ticket = features.prune(a)
    check_ticket(ticket)
    u = ticket.source.weight(MLP.weight_name(1)).double().numpy()[0]
    first, second = ticket.mask[MLP.weight_name(0)].numpy(), ticket.mask[MLP.weight_name(1)].numpy()[0]
    for j in range(50):
        keep = a[j] * u[j] > 0 and abs(u[j]) * 50 / (4 * bound) <= math.sqrt(abs(a[j]) / bound)
        assert second[j] == keep
        assert first[j].tolist() == [keep] * dimension
    x = np.random.default_rng(seed).normal(size=(7, dimension))
    exact = features.outputs(ticket, x)
    assert ticket.module()(torch.from_numpy(x).float()).double().numpy()[:, 0] == pytest.approx(exact, abs=1e-5)
    # the converse: what was kept is itself a predictor with coefficients of at most 4 C
    kept = 50 * u * second
    assert np.abs(kept).max() <= 4 * bound * (1 + 1e-6)
    assert features.predict(kept, x) == pytest.approx(exact, abs=1e-9)


def test_pruned_neurons_are_an_unbiased_copy_with_the_promised_spread() -> None:
    x = np.array([[0.5, 0.5], [1.0, 0.0], [-0.3, 0.7]])
    runs, k = 400, 100
    error = bounds.get("malach2020proving.random_features_error")(k=k, C=2.0, B=1.0)
    gaps = []
    for seed in range(runs):
        features = RandomFeatures(2, k, 2.0, seed)
        a = 2.0 * np.cos(np.arange(k))
        gaps.append(features.outputs(features.prune(a), x) - features.predict(a, x))
    spread = np.std(gaps, axis=0)
    assert (np.abs(np.mean(gaps, axis=0)) < 4.5 * spread / math.sqrt(runs)).all()
    assert math.sqrt(np.mean(np.square(gaps))) <= error
    assert math.sqrt(np.mean(np.square(gaps))) >= 0.05 * error


def test_fit_finds_the_best_bounded_predictor() -> None:
    features = RandomFeatures(3, 30, 1.0, 2)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 3)), 0.5 * rng.normal(size=12)
    found = features.fit(x, y, steps=3000)
    best = lsq_linear(features(x) / 30, y, (-1.0, 1.0))
    assert np.abs(found).max() <= 1.0
    assert np.sum((features.predict(found, x) - y) ** 2) <= 2 * best.cost * (1 + 1e-3) + 1e-9


def test_random_features_refuse_nonsense() -> None:
    for bad in ({"dimension": 0, "width": 5}, {"dimension": 2, "width": 0}, {"dimension": 2, "width": 5, "bound": 0.0}):
        with pytest.raises(ValueError):
            RandomFeatures(**bad)
    features = RandomFeatures(2, 5)
    for coefficients in (np.zeros(4), np.full(5, 1.1), np.full(5, math.nan)):
        with pytest.raises(ValueError, match="5 coefficients of magnitude <= 1"):
            features.prune(coefficients)
