"""Tickets of attention: strict, within tolerance, and with nothing swept under the carpet."""

from __future__ import annotations

from itertools import product as all_choices

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import Domain, random
from strongticket.bounds import HypothesisError
from strongticket.certify import certify_attention, examine_attention
from strongticket.constructions import Construction, Otsuka2025Attention
from strongticket.constructions.otsuka2025attention import construct
from strongticket.models import MLP, Attention, AttentionTarget, Target
from strongticket.ticketfile import dumps, loads

NETS = (
    Attention(1, 3, 1, 2, 2, patch=2, classes=2),
    Attention(1, 4, 2, 2, 3, (5,), patch=3, length=3, classes=2),
    Attention(2, 3, 2, 3, 2, (3, 2), (3,), patch=2, classes=1),
    Attention(1, 4, 2, 2, 2, (3,), vocabulary=5, length=4, classes=2),
)


def draw_target(net: Attention, seed: int, size: float = 0.4) -> AttentionTarget:
    weights = {}
    for name, shape in net.shapes.items():
        values = random.UNIFORM23.values(seed, name, 0, int(np.prod(shape)), purpose=random.TRIAL).reshape(shape)
        weights[name] = torch.from_numpy(values * np.float32(size))
    return AttentionTarget(net, weights | net.initial_state())


def merged(built: Construction) -> list[list[np.ndarray]]:
    """The ticket's merged matrices from its regenerated weights, in plan order: one for each sign it can see."""
    own = built.plan.source.architecture
    assert isinstance(own, Attention)
    w = {name: value.double().numpy() for name, value in built.best.weights().items()}
    found = []

    def rectified(names: list[str]) -> None:
        for i in range(0, len(names), 2):
            u, v = w[names[i]], w[names[i + 1]]
            halves = [v @ np.maximum(u, 0)] + ([v @ np.minimum(u, 0)] if i == 0 else [])
            found.append(halves)

    for b in range(own.layers):
        for h in range(own.heads):
            keys, values = slice(h * own.key, (h + 1) * own.key), slice(h * own.value, (h + 1) * own.value)
            q, k = w[own.name(b, "query")][keys], w[own.name(b, "key")][keys]
            found.append([k.T @ q / np.sqrt(own.key)])
            found.append([w[own.name(b, "out")][:, values] @ w[own.name(b, "value")][values]])
        if own.hidden:
            rectified([own.name(b, f"feed.{i}") for i in range(len(own.hidden) + 1)])
    rectified([f"head.{i}.weight" for i in range(len(own.head) + 1)])
    return found


def wanted(target: AttentionTarget) -> list[np.ndarray]:
    own, found = target.architecture, []
    for b, heads in enumerate(target.heads):
        for head in heads:
            found += [head.logits, head.values]
        if own.hidden:
            found += [target.exact[own.name(b, f"feed.{i}")] for i in range(len(own.hidden) + 1)]
    return found + [target.exact[f"head.{i}.weight"] for i in range(len(own.head) + 1)]


@settings(max_examples=15, deadline=None)
@given(
    net=st.sampled_from(NETS),
    seed=st.integers(0, 2**64 - 1),
    items=st.integers(1, 9),
    assignment=st.sampled_from(["fixed", "column-aware"]),
    objective=st.sampled_from(["sparsest", "min_error"]),
)
def test_every_entry_is_within_tolerance_or_listed(
    net: Attention, seed: int, items: int, assignment: str, objective: str
) -> None:
    target = draw_target(net, seed)
    method = Otsuka2025Attention(
        weight_eps=0.05, items=items, assignment=assignment, objective=objective, seed=seed, backend="brute"
    )  # type: ignore[arg-type]
    built = method.construct(target)
    assert built.best.matches(built.best.module())
    assert loads(dumps(built.best)) == built.best
    regenerated = built.plan.source.weights()
    for name, weight in built.best.weights().items():
        if name in regenerated:
            assert torch.equal(weight, regenerated[name] * built.best.mask[name])
        else:
            assert torch.equal(weight, target.weights[name])
    listed = {(int(u["layer"]), int(u["row"]), int(u["input"])) for u in built.unreached}
    off = set()
    for i, (halves, matrix) in enumerate(zip(merged(built), wanted(target), strict=True)):
        largest = max(float(np.abs(half - matrix).max()) for half in halves)
        assert largest <= built.layers[i].largest_error <= largest + 1e-12
        for half in halves:
            off |= {(i, int(r), int(c)) for r, c in np.argwhere(np.abs(half - matrix) > 0.05)}
    assert off == listed
    assert (built.ticket is None) == bool(listed)
    assert sum(layer.kept for layer in built.layers) == built.best.mask.count
    first = ("query", "value", "feed.0", "feed.2", "head.0", "head.2")
    for name in built.best.mask:
        if any(part in name for part in first):
            assert int(built.best.mask[name].sum(dim=1).max()) <= 1


def test_the_least_error_is_that_of_all_subsets() -> None:
    target = draw_target(NETS[1], 7)
    method = Otsuka2025Attention(weight_eps=0.01, items=5, assignment="fixed", objective="min_error", seed=2)
    built = method.construct(target)
    own, source = built.plan.source.architecture, built.plan.source
    assert isinstance(own, Attention)
    q = source.weight("blocks.0.query.weight").double().numpy()[own.key :]
    k = source.weight("blocks.0.key.weight").double().numpy()[own.key :]
    matrix, found = target.heads[0][1].logits, merged(built)[2][0]  # of the second head
    for a, b in np.ndindex(matrix.shape):
        block = slice(b * 5, (b + 1) * 5)  # the paper's blocks: units reserved for input b
        items = q[block, b] * k[block, a] / np.sqrt(own.key)
        best = min(abs(matrix[a, b] - np.dot(bits, items)) for bits in all_choices((0, 1), repeat=5))
        assert abs(found[a, b] - matrix[a, b]) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("items", [1, 3, 20])
def test_the_source_s_laws_cancel_the_root_of_the_key(items: int) -> None:
    plan = Otsuka2025Attention(weight_eps=0.1, items=items, assignment="fixed").plan(draw_target(NETS[0], 0))
    own = plan.source.architecture
    assert isinstance(own, Attention)
    scales = [plan.source.init.of(f"blocks.0.{part}.weight")[1] for part in ("query", "key", "value", "out")]
    assert scales[0] * scales[1] == np.sqrt(own.key)
    assert scales[2:] == [1.0, 1.0]
    assert own.key >= 3 * items > own.key // 4
    assert np.log2(own.key) % 2 == 0
    assert all(np.log2(scale).is_integer() for scale in scales)


def test_plans_are_kept_and_progress_is_told() -> None:
    target, steps = draw_target(NETS[2], 0), []
    method = Otsuka2025Attention(weight_eps=0.1, items=6)
    built = method.construct(target, progress=lambda stage, done, total: steps.append((stage, done, total)))
    assert built.plan == method.plan(target)
    assert len(built.layers) == len(wanted(target)) == len(steps)
    assert steps[-1] == ("weights", sum(built.plan.problems), sum(built.plan.problems))
    assert method.construct(target).best == built.best
    assert built.to_json()["construction"] == "otsuka2025attention"


@settings(max_examples=6, deadline=None)
@given(net=st.sampled_from(NETS), seed=st.integers(0, 2**32), eps=st.floats(0.01, 0.5))
def test_the_tolerance_of_the_network_is_proved_on_the_ticket(net: Attention, seed: int, eps: float) -> None:
    target, domain = draw_target(net, seed, 0.25), Domain.box(0, 1)
    built = Otsuka2025Attention(network_eps=eps, delta=0.01, domain=domain, seed=seed).construct(target)
    if built.ticket is not None:
        report = examine_attention(built.ticket, target, domain if net.patch else None)
        assert report.euclidean.error <= eps * (1 + 1e-9)


def test_counted_items_meet_every_entry() -> None:
    target = draw_target(NETS[0], 3)
    predicted = Otsuka2025Attention(weight_eps=0.05, seed=1)
    counted = Otsuka2025Attention(weight_eps=0.05, items="theorem", delta=0.1, seed=1)
    assert min(counted.plan(target).items) > max(predicted.plan(target).items)
    assert counted.construct(target).ticket is not None
    assert predicted.construct(target).ticket is not None


def test_the_front_door_reads_modules() -> None:
    target = draw_target(NETS[0], 3)
    built = construct(target.module(), weight_eps=0.01, items=14, objective="min_error")
    assert built.ticket is not None
    assert certify_attention(built.ticket, target, Domain.box(0, 1)).error < 0.2


def test_what_cannot_be_reached_is_refused() -> None:
    method = Otsuka2025Attention(weight_eps=0.1)
    with pytest.raises(HypothesisError, match="block 0 head 0 logits has an entry"):
        method.plan(draw_target(NETS[0], 0, size=4.0))
    with pytest.raises(TypeError, match="AttentionTarget"):
        method.plan(Target(MLP((1, 1)), {"layers.0.weight": torch.zeros(1, 1)}))  # type: ignore[arg-type]
    for bad in ({}, {"weight_eps": 0.1, "network_eps": 0.1}, {"weight_eps": 0.1, "assignment": "best"}):
        with pytest.raises(ValueError):
            Otsuka2025Attention(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="items"):
        Otsuka2025Attention(weight_eps=0.1, items=0)
