"""Certificates of attention: above every error that is found, and refused where a ticket is not made of products."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import Domain, random
from strongticket.bounds.otsuka2025attention import softmax_change
from strongticket.certificate import Rigor
from strongticket.certify import (
    StructureError,
    attention_differences,
    attention_margins,
    certify_attention,
    examine_attention,
    sample_attention,
)
from strongticket.certify._attention_reading import collapse_attention, compare_attention
from strongticket.certify._attention_walk import embedded, embedded_input, walk
from strongticket.certify._matrix import Matrix
from strongticket.constructions import Otsuka2025Attention
from strongticket.models import Attention, AttentionTarget
from strongticket.reading import Reading
from strongticket.ticket import Init, Mask, Source, Ticket

NETS = (
    Attention(1, 3, 1, 2, 2, patch=2, classes=2),
    Attention(1, 3, 2, 2, 3, (4,), patch=3, length=3, classes=2),
    Attention(2, 3, 1, 3, 2, (3, 2), (3,), patch=2, length=2, classes=1),
    Attention(1, 4, 2, 2, 2, (3,), vocabulary=5, length=4, classes=2),
    Attention(1, 3, 1, 1, 1, (), (2,), vocabulary=4, classes=2),
)


def draw_target(net: Attention, seed: int, size: float = 0.4) -> AttentionTarget:
    weights = {}
    for name, shape in net.shapes.items():
        values = random.UNIFORM23.values(seed, name, 0, int(np.prod(shape)), purpose=random.TRIAL).reshape(shape)
        weights[name] = torch.from_numpy(values * np.float32(size))
    return AttentionTarget(net, weights | net.initial_state())


def build(net: Attention, seed: int, items: int, size: float = 0.4) -> tuple[Ticket, AttentionTarget]:
    target = draw_target(net, seed, size)
    method = Otsuka2025Attention(weight_eps=0.5, items=items, objective="min_error", seed=seed, backend="brute")
    return method.construct(target).best, target


@settings(max_examples=12, deadline=None)
@given(
    net=st.sampled_from(NETS),
    seed=st.integers(0, 2**32),
    items=st.sampled_from([1, 3, 6, 9]),
    domain=st.sampled_from([Domain.box(0, 1), Domain.box(-1, 0.5), Domain.ball(1.5)]),
)
def test_certificates_lie_above_sampled_and_attacked_errors(
    net: Attention, seed: int, items: int, domain: Domain
) -> None:
    ticket, target = build(net, seed, items)
    report = examine_attention(ticket, target, domain if net.patch else None)
    assert report.maximum.rigor is Rigor.PROVED
    assert report.euclidean.error >= report.maximum.error
    for tokens in (1, net.length or 5):
        found = sample_attention(report, tokens=tokens, trials=1000, ascent_steps=8, seed=seed)
        assert found.rigor is Rigor.SAMPLED
        assert 0 < found.error <= report.maximum.error + 1e-12


@settings(max_examples=8, deadline=None)
@given(net=st.sampled_from(NETS), seed=st.integers(0, 2**32), items=st.sampled_from([2, 6]))
def test_bounds_at_an_input_lie_above_its_error_and_below_the_domain_s(net: Attention, seed: int, items: int) -> None:
    ticket, target = build(net, seed, items)
    report = examine_attention(ticket, target, Domain.box(0, 1) if net.patch else None)
    tokens = net.length or 4
    if net.patch:
        x = random.words(seed, "x", 0, 20 * tokens * net.patch).reshape(20, tokens, net.patch) * 2.0**-32
    else:
        x = random.words(seed, "x", 0, 20 * tokens).reshape(20, tokens).astype(np.int64) % net.vocabulary
    margins, errors = attention_margins(report, x), attention_differences(report.comparison, x)
    assert (np.abs(errors).max(axis=1) <= margins.bound + 1e-12).all()
    assert (margins.bound <= report.maximum.error * (1 + 1e-9)).all()
    kind = torch.float64 if net.patch else torch.int64
    double = AttentionTarget(net, {n: v.double() for n, v in target.weights.items()})
    state = {n: v.double() for n, v in double.weights.items()}
    wanted = net.module(state)(torch.from_numpy(x).to(kind)).numpy()
    assert (wanted.argmax(1) == (wanted + errors).argmax(1))[margins.proved].all()


def test_differences_are_those_of_the_two_networks() -> None:
    ticket, target = build(NETS[2], seed=5, items=3)
    report = examine_attention(ticket, target, Domain.box(0, 1))
    x = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(3, 2, 2)
    own, wide = target.architecture, ticket.source.architecture
    one = own.module({n: v.double() for n, v in target.weights.items()})(x)
    other = wide.module({n: v.double() for n, v in ticket.weights().items()})(x)
    found = attention_differences(report.comparison, x.numpy())
    np.testing.assert_allclose(found, (other - one).numpy(), atol=1e-12)
    assert np.abs(found).max() > 1e-3  # 3 candidates per entry leave errors that show


def test_merged_matrices_are_the_exact_sums_of_products() -> None:
    ticket, _ = build(NETS[1], seed=2, items=4)
    own = ticket.source.architecture
    assert isinstance(own, Attention)
    w = {name: ticket.weight(name).numpy().astype(np.float64) for name in own.shapes}
    merged = collapse_attention(ticket).heads[0][1]
    keys, values = slice(own.key, 2 * own.key), slice(own.value, 2 * own.value)
    q, k = w["blocks.0.query.weight"][keys], w["blocks.0.key.weight"][keys]
    v, o = w["blocks.0.value.weight"][values], w["blocks.0.out.weight"][:, values]
    root = Fraction(int(own.key**0.5))
    assert root**2 == own.key
    for a in range(own.dim):
        for b in range(own.dim):
            logit = sum((Fraction(x) * Fraction(y) for x, y in zip(k[:, a], q[:, b], strict=True)), Fraction(0)) / root
            value = sum((Fraction(x) * Fraction(y) for x, y in zip(o[a], v[:, b], strict=True)), Fraction(0))
            assert Fraction(float(merged.logits.value[a, b])) == logit
            assert Fraction(float(merged.values.value[a, b])) == value


def test_keys_that_are_no_power_of_4_are_certified_with_their_rounding() -> None:
    net = NETS[0]
    wide = Attention(1, 3, 1, 12, 9, (), (12,), patch=2, classes=2)
    target, source = draw_target(net, 1), Source(wide, 1)
    kept = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
    for unit in range(12):
        kept["blocks.0.query.weight"][unit, unit % 3] = True
    kept["blocks.0.key.weight"][:] = True
    ticket = Ticket(source, Mask(kept), net.initial_state())
    logits = collapse_attention(ticket).heads[0][0].logits
    q, k = (ticket.weight(f"blocks.0.{part}.weight").numpy().astype(float) for part in ("query", "key"))
    assert logits.slack is not None
    assert (np.abs(logits.value - k.T @ q / np.sqrt(12)) <= logits.slack + 1e-15).all()
    report = examine_attention(ticket, target, Domain.box(0, 1))
    assert sample_attention(report, trials=200, ascent_steps=3).error <= report.maximum.error


def _kept(ticket: Ticket) -> dict[str, np.ndarray]:
    return {name: ticket.mask[name].numpy() for name in ticket.mask}


@pytest.mark.parametrize("name", ["blocks.0.query.weight", "blocks.0.value.weight", "blocks.0.feed.0.weight"])
def test_a_unit_with_two_incoming_weights_is_refused(name: str) -> None:
    ticket, target = build(NETS[1], seed=0, items=4)
    kept = _kept(ticket)
    unit = int(np.argmax(kept[name].any(axis=1)))
    kept[name][unit] = True
    broken = Ticket(ticket.source, Mask(kept), ticket.dense)
    with pytest.raises(StructureError, match=f"{name}: unit {unit} keeps"):
        certify_attention(broken, target, Domain.box(0, 1))


def test_what_is_no_ticket_of_products_is_refused() -> None:
    ticket, target = build(NETS[0], seed=0, items=4)
    given, box = dict(ticket.dense), Domain.box(0, 1)
    head = {"head.0.weight": ticket.weight("head.0.weight")}
    trained = Ticket(ticket.source, Mask({n: v for n, v in _kept(ticket).items() if n not in head}), given | head)
    with pytest.raises(StructureError, match="dense"):
        certify_attention(trained, target, box)
    with pytest.raises(StructureError, match=r"reading|Reading"):
        certify_attention(
            Ticket(ticket.source, ticket.mask, given, reading=Reading({"head.0.weight": "binary"})), target, box
        )
    normal, plain = Source(ticket.source.architecture, 0, Init("normal-tab1")), Source(NETS[0], 0)
    with pytest.raises(StructureError, match="grid"):
        certify_attention(Ticket(normal, ticket.mask, given), target, box)
    with pytest.raises(StructureError, match="pairs of layers"):
        certify_attention(Ticket(plain, Mask.full(plain.shapes), given), target, box)
    with pytest.raises(ValueError, match="embedding is not the target's"):
        certify_attention(Ticket(ticket.source, ticket.mask, {"embedding": given["embedding"] * 2}), target, box)
    with pytest.raises(ValueError, match="classes"):
        certify_attention(ticket, draw_target(Attention(1, 3, 1, 2, 2, patch=2, classes=3), 0), box)
    with pytest.raises(ValueError, match="numbers of each token"):
        certify_attention(ticket, target)


def test_a_vocabulary_needs_no_domain() -> None:
    ticket, target = build(NETS[4], seed=0, items=6)
    assert certify_attention(ticket, target).domain == Domain.box(0, 3)
    with pytest.raises(ValueError, match="need no domain"):
        certify_attention(ticket, target, Domain.box(0, 1))


def test_another_mask_has_another_certificate() -> None:
    ticket, target = build(NETS[1], seed=4, items=9)
    before = examine_attention(ticket, target, Domain.box(0, 1))
    kept = _kept(ticket)
    row, unit = np.argwhere(kept["blocks.0.out.weight"])[0]
    kept["blocks.0.out.weight"][row, unit] = False
    after = examine_attention(Ticket(ticket.source, Mask(kept), ticket.dense), target, Domain.box(0, 1))
    assert after.maximum.ticket_digest != before.maximum.ticket_digest
    assert after.layers[0].largest_error > before.layers[0].largest_error


@settings(max_examples=200, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(-20, 20), st.floats(-1, 1)), min_size=1, max_size=6),
    eta=st.floats(1e-6, 5),
    constant=st.floats(-5, 5),
)
def test_the_softmax_moves_by_at_most_twice_the_hyperbolic_tangent(
    pairs: list[tuple[float, float]], eta: float, constant: float
) -> None:
    logits, moves = np.array(pairs).T

    def softmax(x: np.ndarray) -> np.ndarray:
        share = np.exp(x - x.max())
        return share / share.sum()

    change = np.abs(softmax(logits + eta * moves + constant) - softmax(logits)).sum()
    assert change <= softmax_change(eta) + 1e-12


@pytest.mark.parametrize("eta", [1e-3, 0.3, 4.0])
def test_two_tokens_attain_it(eta: float) -> None:
    share = [1 / (1 + np.exp(-side)) for side in (-eta, eta)]
    assert 2 * (share[1] - share[0]) == pytest.approx(softmax_change(eta), rel=1e-9)


@pytest.mark.parametrize("wrong", ["logits", "values", "feed", "head"])
@pytest.mark.parametrize("seed", range(3))
def test_each_part_of_the_bound_is_needed_and_not_far_off(wrong: str, seed: int) -> None:
    # with errors in one kind of matrix alone, a bound that forgot it would be 0
    ticket, target = build(NETS[1], seed, items=3)
    difference = compare_attention(ticket, target)
    rng = np.random.default_rng(seed)

    def off(gap: Matrix, kind: str) -> Matrix:
        return Matrix(1e-3 * rng.uniform(-1, 1, gap.value.shape) * (kind == wrong))

    heads = tuple(
        tuple(
            replace(h, logits_error=off(h.logits_error, "logits"), values_error=off(h.values_error, "values"))
            for h in block
        )
        for block in difference.heads
    )
    feeds = tuple(tuple(replace(x, error=off(x.error, "feed")) for x in feed) for feed in difference.feeds)
    head = tuple(replace(x, error=off(x.error, "head")) for x in difference.head)
    altered = replace(difference, heads=heads, feeds=feeds, head=head)
    bounds, _ = walk(altered, embedded(altered, Domain.box(0, 1)))
    x = rng.uniform(0, 1, (400, 3, 3)).round()
    found = np.abs(attention_differences(altered, x)).max(axis=0)
    assert (found > 0).all()
    assert (found <= bounds.per_output).all()
    assert bounds.per_output.max() <= (300 if wrong == "logits" else 30) * found.max()
    for one in x[:10]:
        at, (low, high) = walk(altered, embedded_input(altered, one), whole=True)
        change = np.abs(attention_differences(altered, one[None]))[0]
        assert (change <= at.per_output + 1e-12).all()
        assert at.per_output.max() <= bounds.per_output.max() * (1 + 1e-9)
        assert (high - low <= 1e-9).all()
        assert (low <= high).all()


@pytest.mark.parametrize("domain", [Domain.box(0, 0), Domain.box(1e-310, 2e-310), Domain.ball(1e-200)])
@pytest.mark.parametrize("size", [0.0, 1e-30, 0.4])
def test_subnormal_domains_and_weights_have_certificates(domain: Domain, size: float) -> None:
    net = Attention(2, 2, 2, 1, 2, (1,), (1,), patch=3, length=2, classes=2)
    ticket, target = build(net, seed=0, items=3, size=size)
    report = examine_attention(ticket, target, domain)
    found = sample_attention(report, trials=50, ascent_steps=3)
    assert found.error <= report.maximum.error * (1 + 1e-9) + 1e-15


def test_margins_of_inputs_beyond_float64_prove_nothing_and_do_not_warn() -> None:
    ticket, target = build(NETS[0], seed=0, items=4)
    report = examine_attention(ticket, target, Domain.box(0, 1))
    margins = attention_margins(report, np.full((1, 2, 2), 1e160))
    assert np.isinf(margins.bound).all()
    assert not margins.proved.any()


def test_margins_of_no_inputs_are_empty_and_misfits_are_named() -> None:
    ticket, target = build(NETS[0], seed=0, items=4)
    report = examine_attention(ticket, target, Domain.box(0, 1))
    assert attention_margins(report, np.zeros((0, 3, 2))).fraction == 1.0
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        attention_margins(report, np.zeros(4))
    with pytest.raises(ValueError, match="cut into tokens of 2"):
        attention_margins(report, np.zeros((1, 0, 2)))
    ticket, target = build(NETS[4], seed=0, items=4)
    words = examine_attention(ticket, target)
    assert len(attention_margins(words, np.zeros((0, 3), dtype=np.int64)).bound) == 0
    with pytest.raises(ValueError, match="T >= 1"):
        attention_margins(words, np.zeros((1, 0), dtype=np.int64))
    with pytest.raises(ValueError, match=r"words are 0\.\.3, got 0\.\.4"):
        attention_margins(words, np.array([[0, 4]]))
    with pytest.raises(ValueError, match="1 or more tokens"):
        sample_attention(words, tokens=-1)


@pytest.mark.parametrize("size", [1e160, 1e300])
def test_weights_whose_products_overflow_are_refused(size: float) -> None:
    ticket, target = build(NETS[0], seed=0, items=4)
    weights = {name: target.weights[name].double() for name in target.architecture.shapes}
    large = AttentionTarget(NETS[0], {**target.weights, **{name: value * size for name, value in weights.items()}})
    with pytest.raises(ValueError, match="overflows float64"):
        certify_attention(ticket, large, Domain.box(0, 1))
