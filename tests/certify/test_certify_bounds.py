"""Certificates against an exact oracle: both networks evaluated literally, in rationals, from the dense source."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.certify import (
    DifferenceIntervals,
    Hybrid,
    OperatorNorms,
    certify,
    collapse,
    differences,
    examine,
    margins,
    sample,
)
from strongticket.certify._difference import Difference, Gap, Inputs
from strongticket.certify._matrix import Matrix
from strongticket.certify.report import compare, report
from strongticket.certify.sampled import difference_at
from strongticket.models import MLP, Target
from strongticket.ticket import Init, Mask, Source, Ticket

METHODS = ("intervals", "norms", "hybrid")
DOMAINS = {
    "unit box": Domain.box(0, 1),
    "signed box": Domain.box(-1, 0.5),
    "ball": Domain.ball(1.5),
    "box and ball": Domain(0, 1, 0.9),
    "shifted box": Domain.box(0.25, 2),
    "negative box": Domain.box(-2, -0.5),
}

# ---- the oracle ------------------------------------------------------------------------------------------------------


def exact_layers(weights: dict[str, torch.Tensor], depth: int) -> list[tuple[list[list[Fraction]], list[Fraction]]]:
    layers = []
    for i in range(depth):
        matrix = [[Fraction(w) for w in row] for row in weights[f"layers.{i}.weight"].double().tolist()]
        bias = weights.get(f"layers.{i}.bias")
        layers.append((matrix, [Fraction(0)] * len(matrix) if bias is None else [Fraction(b) for b in bias.tolist()]))
    return layers


def exact_output(layers: list[tuple[list[list[Fraction]], list[Fraction]]], point: np.ndarray) -> list[Fraction]:
    hidden = [Fraction(float(x)) for x in point]
    for i, (matrix, bias) in enumerate(layers):
        if i:
            hidden = [max(h, Fraction(0)) for h in hidden]
        last = hidden
        hidden = [sum((w * h for w, h in zip(row, last, strict=True)), b) for row, b in zip(matrix, bias, strict=True)]
    return hidden


def exact_difference(ticket: Ticket, target: Target, points: np.ndarray) -> Iterator[list[Fraction]]:
    mine = exact_layers(ticket.weights(), ticket.source.architecture.depth)
    theirs = exact_layers(dict(target.weights), target.architecture.depth)
    for point in points:
        yield [a - b for a, b in zip(exact_output(mine, point), exact_output(theirs, point), strict=True)]


# ---- tickets without a construction ----------------------------------------------------------------------------------


def random_ticket(rng: np.random.Generator, sizes: tuple[int, ...], bias: bool, init: Init | None = None) -> Ticket:
    """A mask that obeys the gadget's structure and is random otherwise."""
    source_sizes = [sizes[0]]
    for d_in, d_out in itertools.pairwise(sizes):
        source_sizes += [int(rng.integers(2, 5)) * (d_in + bias), d_out]
    source = Source(MLP(tuple(source_sizes), bias), int(rng.integers(2**63)), init or Init())
    kept: dict[str, np.ndarray] = {}
    for i in range(source.architecture.depth):
        shape = source.shapes[MLP.weight_name(i)]
        if i % 2:
            kept[MLP.weight_name(i)] = rng.random(shape) < 0.7
            if bias:
                kept[MLP.bias_name(i)] = rng.random(shape[0]) < 0.5
            continue
        mask, own = np.zeros(shape, dtype=bool), np.zeros(shape[0], dtype=bool)
        for k in range(shape[0]):
            choice = int(rng.integers(-1, shape[1] + bias))
            if choice == shape[1]:
                own[k] = True
            elif choice >= 0:
                mask[k, choice] = True
        kept[MLP.weight_name(i)] = mask
        if bias:
            kept[MLP.bias_name(i)] = own
    return Ticket(source, Mask(kept))


def near_target(
    rng: np.random.Generator, ticket: Ticket, noise: float, use: str = "positive", power: int = 1
) -> Target:
    """The network that the ticket computes on one sign of its inputs, plus noise; a high power makes a few spikes."""
    collapsed = collapse(ticket)
    architecture = MLP(collapsed.sizes, ticket.source.architecture.bias)
    weights = {}
    for i, layer in enumerate(collapsed.layers):
        matrix = layer.positive if use == "positive" or i else layer.negative
        assert matrix is not None
        weights[MLP.weight_name(i)] = torch.tensor(
            matrix.value + noise * rng.standard_normal(matrix.value.shape) ** power
        )
        if architecture.bias:
            bias = layer.bias.value + noise * rng.standard_normal(len(layer.bias.value))
            weights[MLP.bias_name(i)] = torch.tensor(bias)
    return Target(architecture, weights)


def points_in(rng: np.random.Generator, domain: Domain, dimension: int, count: int) -> np.ndarray:
    """Random points and corners; where a ball cuts the box, drawn toward 0 until they are surely in it."""
    share = rng.random((count, dimension))
    share[::2] = np.round(share[::2])
    points = domain.low + share * (domain.high - domain.low)
    if math.isfinite(domain.radius):
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        points = points * np.minimum(1.0, domain.radius * (1 - 1e-14) / np.maximum(norms, 1e-300))
    for point in points:
        assert all(domain.low <= x <= domain.high for x in point)
        if math.isfinite(domain.radius):
            assert sum(Fraction(float(x)) ** 2 for x in point) <= Fraction(domain.radius) ** 2
    return points


@st.composite
def cases(draw: st.DrawFn) -> tuple[Ticket, Target, Domain, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    depth = draw(st.integers(1, 3))
    sizes = tuple(int(s) for s in rng.integers(1, 7, size=depth + 1))
    domain = DOMAINS[draw(st.sampled_from(sorted(DOMAINS)))]
    init = draw(st.sampled_from([Init(), Init("uniform23", 2.0), Init("sign", 0.5), Init("normal-tab1", 0.375)]))
    ticket = random_ticket(rng, sizes, draw(st.booleans()), init)
    noise = draw(st.sampled_from([0.0, 2.0**-40, 1e-6, 1e-2, 1.0]))
    target = near_target(
        rng, ticket, noise, draw(st.sampled_from(["positive", "negative"])), draw(st.sampled_from([1, 9]))
    )
    return ticket, target, domain, points_in(rng, domain, sizes[0], 6)


def violated(comparison: Difference, domain: Domain, exact: list[list[Fraction]], method: object) -> bool:
    """Whether a certifier's numbers are below the exact difference somewhere."""
    found = report(comparison, domain, method)  # type: ignore[arg-type]
    for change in exact:
        if any(abs(c) > Fraction(b) for c, b in zip(change, found.per_output, strict=True)):
            return True
        if max(map(abs, change)) > Fraction(found.maximum.error):
            return True
        if sum(c * c for c in change) > Fraction(found.euclidean.error) ** 2:
            return True
    return False


# ---- the property, and that it can fail ------------------------------------------------------------------------------


@settings(max_examples=150)
@given(cases())
def test_no_input_differs_by_more_than_the_certificate(case: tuple[Ticket, Target, Domain, np.ndarray]) -> None:
    ticket, target, domain, points = case
    comparison = compare(ticket, target, domain)
    exact = list(exact_difference(ticket, target, points))
    for method in (DifferenceIntervals(), OperatorNorms(), OperatorNorms(reach=1), Hybrid()):
        assert not violated(comparison, domain, exact, method), method


@settings(max_examples=60)
@given(cases())
def test_plain_differences_are_right(case: tuple[Ticket, Target, Domain, np.ndarray]) -> None:
    ticket, target, domain, points = case
    exact = np.array([[float(c) for c in change] for change in exact_difference(ticket, target, points)])
    found = differences(compare(ticket, target, domain), points)
    assert np.allclose(found, exact, rtol=1e-9, atol=1e-12 * (1 + np.abs(exact).max()))


@settings(max_examples=60)
@given(cases())
def test_hybrid_is_never_worse_than_intervals_or_norms(case: tuple[Ticket, Target, Domain, np.ndarray]) -> None:
    ticket, target, domain, _ = case
    intervals, norms, hybrid = (certify(ticket, target, domain, method=m).error for m in METHODS)
    assert hybrid <= min(intervals, norms) * (1 + 1e-12)


@settings(max_examples=60)
@given(cases())
def test_sampled_difference_is_real_and_below_the_certificate(case: tuple[Ticket, Target, Domain, np.ndarray]) -> None:
    ticket, target, domain, points = case
    comparison = compare(ticket, target, domain)
    # the largest number that a forward pass can meet on the way
    scale = 1.0 + np.abs(points).max()
    for gap in comparison.layers:
        largest = np.abs(gap.weight.value).sum(axis=1).max() + np.abs(gap.error.value).sum(axis=1).max()
        scale = 1.0 + scale * largest + np.abs(gap.bias).max() + np.abs(gap.offset.value).max()
    for point, exact in zip(points, exact_difference(ticket, target, points), strict=True):
        low, high = difference_at(comparison, point)
        assert all(Fraction(a) <= c <= Fraction(b) for a, c, b in zip(low, exact, high, strict=True))
        assert np.all(high - low <= 1e-11 * scale)
    lower = sample(ticket, target, domain, trials=8, seed=1, ascent_steps=3, inputs=points)
    assert lower.rigor is Rigor.SAMPLED
    assert lower.error <= certify(ticket, target, domain).error


def broken(comparison: Difference, how: str) -> Difference:
    def without(matrix: Matrix) -> Matrix:
        return Matrix(np.zeros_like(matrix.value))

    layers = list(comparison.layers)
    if how == "first error dropped":
        layers[0] = dataclasses.replace(layers[0], error=without(layers[0].error))
    elif how == "last error dropped":
        layers[-1] = dataclasses.replace(layers[-1], error=without(layers[-1].error))
    elif how == "offset dropped":
        layers = [dataclasses.replace(layer, offset=without(layer.offset)) for layer in layers]
    elif how == "negative half dropped":
        value = layers[0].error.value.copy()
        value[:, comparison.inputs :] = 0
        layers[0] = dataclasses.replace(layers[0], error=Matrix(value))
    elif how == "halved":
        layers = [dataclasses.replace(layer, error=Matrix(layer.error.value / 2)) for layer in layers]
    return dataclasses.replace(comparison, layers=tuple(layers))


@pytest.mark.parametrize(
    "how", ["first error dropped", "last error dropped", "offset dropped", "negative half dropped", "halved"]
)
@pytest.mark.parametrize("method", [DifferenceIntervals(), OperatorNorms(), Hybrid()], ids=lambda m: type(m).__name__)
def test_the_property_catches_broken_certifiers(how: str, method: object) -> None:
    domain = Domain.box(-1, 0) if how == "negative half dropped" else Domain.box(-1, 1)
    caught = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ticket = random_ticket(rng, (2, 2, 2), bias=True)
        target = near_target(rng, ticket, 0.0 if how == "negative half dropped" else 0.2)
        points = points_in(rng, domain, 2, 12)
        comparison = broken(compare(ticket, target, domain), how)
        caught += violated(comparison, domain, list(exact_difference(ticket, target, points)), method)
    assert caught >= 1


def spiky(seed: int) -> tuple[Ticket, Target]:
    rng = np.random.default_rng(seed)
    ticket = random_ticket(rng, (8, 8, 3), bias=False)
    target = near_target(rng, ticket, 1e-6)
    weights = {name: value.clone() for name, value in target.weights.items()}
    weights[MLP.weight_name(0)][3, 5] += 0.01
    weights[MLP.weight_name(1)][1, 2] -= 0.02
    return ticket, Target(target.architecture, weights)


def test_spikes_are_taken_apart_and_help() -> None:
    ticket, target = spiky(0)
    comparison = compare(ticket, target, Domain.box(0, 1))
    assert [tuple(int(v) for v in np.concatenate(layer.spikes)) for layer in comparison.layers] == [(3, 5), (1, 2)]
    whole = Difference(
        tuple(_unsplit(layer) for layer in comparison.layers), comparison.ticket_digest, comparison.target_digest
    )
    together = report(whole, Domain.box(0, 1), OperatorNorms()).maximum.error
    assert report(comparison, Domain.box(0, 1), OperatorNorms()).maximum.error < 0.8 * together


def _unsplit(layer: Gap) -> Gap:
    copy = dataclasses.replace(layer)
    copy.__dict__["_cut"] = (np.zeros(0, dtype=np.int64), layer.error)
    return copy


def test_the_property_catches_dropped_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    domain, caught = Domain.box(0, 1), 0
    for seed in range(6):
        ticket, target = spiky(seed)
        points = points_in(np.random.default_rng(seed), domain, 8, 12)
        exact = list(exact_difference(ticket, target, points))
        assert not violated(compare(ticket, target, domain), domain, exact, OperatorNorms())
        with monkeypatch.context() as patch:
            patch.setattr(Gap, "spikes", (nothing, nothing))
            caught += violated(compare(ticket, target, domain), domain, exact, OperatorNorms())
    assert caught >= 1


# ---- known answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_exact_ticket_has_error_zero_and_a_planted_error_is_found(method: str) -> None:
    rng = np.random.default_rng(5)
    ticket = random_ticket(rng, (3, 2, 2), bias=True)
    domain = Domain.box(0, 1)
    exact = near_target(rng, ticket, 0.0)
    assert certify(ticket, exact, domain, method=method).error == 0.0  # type: ignore[arg-type]
    assert sample(ticket, exact, domain, trials=16).error == 0.0
    weights = dict(exact.weights)
    name = MLP.weight_name(1)
    weights[name] = weights[name] + 2.0**-23 * torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    planted = Target(exact.architecture, weights)
    reported = examine(ticket, planted, domain, method=method)  # type: ignore[arg-type]
    assert reported.layers[1].largest_error == pytest.approx(2.0**-23, rel=1e-9)
    lower = sample(ticket, planted, domain, trials=16).error
    assert 0 < lower <= reported.maximum.error <= 40 * lower
    assert reported.per_output[1] == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_one_layer_one_planted_error_is_certified_to_the_last_digits(method: str) -> None:
    rng = np.random.default_rng(2)
    ticket = random_ticket(rng, (3, 2), bias=False)
    exact = near_target(rng, ticket, 0.0)
    name = MLP.weight_name(0)
    planted = Target(exact.architecture, {name: exact.weights[name] + 2.0**-23 * torch.eye(2, 3)})
    error = certify(ticket, planted, Domain.ball(1), method=method).error  # type: ignore[arg-type]
    difference = compare(ticket, planted, Domain.box(0, 1)).layers[0].error.value
    assert np.array_equal(difference, -(2.0**-23) * np.eye(2, 3))
    assert error >= 2.0**-23
    box = certify(ticket, planted, Domain.box(0, 1), method="intervals").error
    assert 2.0**-23 <= box <= 2.0**-23 * (1 + 1e-12)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.floats(0.1, 1.0), st.floats(0.0, 0.5))
def test_intervals_are_monotone_in_the_box_and_norms_in_the_ball(seed: int, share: float, low: float) -> None:
    rng = np.random.default_rng(seed)
    ticket = random_ticket(rng, (3, 3, 2), bias=True)
    target = near_target(rng, ticket, 1e-3)
    inner, outer = Domain.box(low, low + share * (1 - low)), Domain.box(0, 1)
    small = certify(ticket, target, inner, method="intervals").error
    assert small <= certify(ticket, target, outer, method="intervals").error * (1 + 1e-12)
    for method in METHODS[1:]:
        small, large = (certify(ticket, target, Domain.ball(r), method=method).error for r in (share, 1))  # type: ignore[arg-type]
        assert small <= large * (1 + 1e-12)


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(sorted(DOMAINS)))
def test_balls_about_the_centers_hold_the_domain(seed: int, dimension: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    domain = DOMAINS[name]
    inputs = Inputs.of(domain, dimension)
    for point in points_in(rng, domain, dimension, 8):
        for center, radius in zip(inputs.centers, inputs.radii, strict=True):
            assert sum((Fraction(float(x)) - Fraction(center)) ** 2 for x in point) <= Fraction(radius) ** 2


def test_certificates_say_what_they_are_about() -> None:
    rng = np.random.default_rng(0)
    ticket = random_ticket(rng, (2, 3), bias=False)
    target = near_target(rng, ticket, 0.1)
    found = examine(ticket, target, Domain.box(0, 1))
    assert (found.maximum.norm, found.euclidean.norm) == ("max", "l2")
    assert found.maximum.ticket_digest == ticket.digest
    assert found.maximum.target_digest == target.digest
    assert found.maximum.rigor is Rigor.PROVED
    assert found.maximum.error <= found.euclidean.error
    assert Certificate.from_json(found.maximum.to_json()) == found.maximum
    assert ticket.with_certificates(found.maximum, found.euclidean).digest == ticket.digest
    assert "layer 1" in str(found)


def test_certify_refuses_what_it_cannot_do() -> None:
    rng = np.random.default_rng(0)
    ticket = random_ticket(rng, (2, 3), bias=False)
    target = near_target(rng, ticket, 0.1)
    with pytest.raises(ValueError, match=r"one of.*'telepathy'"):
        certify(ticket, target, Domain.box(0, 1), method="telepathy")  # type: ignore[arg-type]
    other = Target(MLP((3, 3)), {"layers.0.weight": torch.zeros(3, 3)})
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 3\)"):
        certify(ticket, other, Domain.box(0, 1))
    huge = Target(MLP((2, 3)), {"layers.0.weight": torch.full((3, 2), 1e308, dtype=torch.float64)})
    with pytest.raises(ValueError, match="overflows"):
        certify(ticket, huge, Domain.box(0, 1e10))
    with pytest.raises(ValueError, match="at least one trial"):
        sample(ticket, target, Domain.box(0, 1), trials=0)
    with pytest.raises(ValueError, match="empty for 2 coordinates"):
        sample(ticket, target, Domain(1, 2, 1.1), trials=4)


def test_sampling_is_a_function_of_its_seed_and_climbs() -> None:
    rng = np.random.default_rng(3)
    ticket = random_ticket(rng, (6, 5, 4), bias=True)
    target = near_target(rng, ticket, 1e-3)
    domain = Domain.box(-1, 1)
    once = sample(ticket, target, domain, trials=20, seed=4)
    assert once == sample(ticket, target, domain, trials=20, seed=4)
    still = sample(ticket, target, domain, trials=20, seed=4, ascent_steps=0)
    assert once.error > still.error


# ---- margins ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(cases(), st.integers(0, 2**32))
def test_predictions_proved_unchanged_are_unchanged(case: tuple[Ticket, Target, Domain, np.ndarray], seed: int) -> None:
    ticket, target, domain, points = case
    if target.architecture.sizes[-1] < 2:
        return
    found = examine(ticket, target, domain)
    told = margins(found, target, points, np.zeros(len(points), dtype=np.int64))
    exact = list(exact_difference(ticket, target, points))
    theirs = exact_layers(dict(target.weights), target.architecture.depth)
    right = 0
    for n, (point, change) in enumerate(zip(points, exact, strict=True)):
        logits = exact_output(theirs, point)
        moved = [a + b for a, b in zip(logits, change, strict=True)]
        assert max(map(abs, change)) <= (Fraction(told.bound[n]) if np.isfinite(told.bound[n]) else 10**300)
        if told.unchanged[n] or told.unchanged_globally[n]:
            top = int(told.predictions[n])
            assert all(moved[top] > other for j, other in enumerate(moved) if j != top)
            assert all(logits[top] > other for j, other in enumerate(logits) if j != top)
        right += max(range(len(moved)), key=lambda j: moved[j]) == 0
    low, high = told.accuracy or (0.0, 1.0)
    assert low <= right / len(points) <= high


def test_margins_prove_most_predictions_of_a_close_ticket_and_none_outside() -> None:
    rng = np.random.default_rng(11)
    ticket = random_ticket(rng, (4, 12, 3), bias=True)
    target = near_target(rng, ticket, 1e-7)
    found = examine(ticket, target, Domain.box(0, 1))
    points = rng.random((400, 4))
    told = margins(found, target, torch.from_numpy(points))
    assert told.fraction > 0.95
    assert told.proved_unchanged == int((told.unchanged | told.unchanged_globally).sum())
    outside = margins(found, target, -points)
    assert outside.proved_unchanged == 0
    far = near_target(rng, ticket, 1.0)
    assert margins(examine(ticket, far, Domain.box(0, 1)), far, points).fraction < 0.9
    assert margins(found, target, points[:0]).fraction == 0.0


def test_margins_refuse_what_does_not_fit() -> None:
    rng = np.random.default_rng(11)
    ticket = random_ticket(rng, (4, 3), bias=False)
    target, other = near_target(rng, ticket, 1e-7), near_target(rng, ticket, 1e-3)
    found = examine(ticket, target, Domain.box(0, 1))
    with pytest.raises(ValueError, match="report is of target"):
        margins(found, other, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="4 numbers"):
        margins(found, target, np.zeros((2, 5)))
    with pytest.raises(ValueError, match="NaN"):
        margins(found, target, np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match="2 integers"):
        margins(found, target, np.zeros((2, 4)), [0.5, 1.0])
