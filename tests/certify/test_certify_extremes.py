"""Certificates where float64 runs out of small or of large numbers, and of deep networks, against exact numbers."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.certificate import Domain
from strongticket.certify import certify, examine, margins
from strongticket.certify._chains import SPAN, Chains, Push
from strongticket.certify._difference import Difference, Gap, Inputs
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import FLOOR, columns_above, norm_above
from strongticket.models import MLP, Target
from strongticket.ticket import Init, Mask, Source, Ticket

METHODS = ("intervals", "norms", "hybrid")


def literal(weights: dict[str, torch.Tensor], depth: int, point: list[float]) -> list[Fraction]:
    hidden = [Fraction(x) for x in point]
    for i in range(depth):
        if i:
            hidden = [max(h, Fraction(0)) for h in hidden]
        rows = weights[MLP.weight_name(i)].double().tolist()
        hidden = [sum((Fraction(w) * h for w, h in zip(row, hidden, strict=True)), Fraction(0)) for row in rows]
    return hidden


def changes(ticket: Ticket, target: Target, point: list[float]) -> list[Fraction]:
    mine = literal(ticket.weights(), ticket.source.architecture.depth, point)
    theirs = literal(dict(target.weights), target.architecture.depth, point)
    return [a - b for a, b in zip(mine, theirs, strict=True)]


def assert_covered(ticket: Ticket, target: Target, domain: Domain, points: list[list[float]]) -> None:
    for method in METHODS:
        found = examine(ticket, target, domain, method=method)  # type: ignore[arg-type]
        for point in points:
            change = changes(ticket, target, point)
            assert all(abs(c) <= Fraction(b) for c, b in zip(change, found.per_output, strict=True)), (method, point)
            assert max(map(abs, change)) <= Fraction(found.maximum.error)
            assert sum(c * c for c in change) <= Fraction(found.euclidean.error) ** 2
    if len(found.per_output) > 1:
        told = margins(found, target, points)
        for point, bound in zip(points, told.bound.tolist(), strict=True):
            if np.isfinite(bound):
                assert max(map(abs, changes(ticket, target, point))) <= Fraction(bound)


def empty(sizes: tuple[int, ...]) -> Ticket:
    source = Source(MLP(tuple(size for pair in itertools.pairwise(sizes) for size in (pair[0], 2)) + sizes[-1:]), 0)
    return Ticket(source, Mask.full(source.shapes, kept=False))


def ends(domain: Domain) -> list[float]:
    return [domain.low, domain.high, 0.5 * domain.low + 0.5 * domain.high]


# ---- small numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", [Domain.box(-1e-200, 1e-200), Domain.ball(1e-200), Domain.box(0, 1e-200)], ids=str)
def test_a_layer_that_shrinks_and_one_that_grows_do_not_hide_a_difference(domain: Domain) -> None:
    init = Init("sign", 1.0, tuple((MLP.weight_name(i), "sign", 2.0**64) for i in (2, 3)))
    architecture = MLP((1, 1, 1, 1, 1))
    sources = (Source(architecture, seed, init) for seed in range(100))
    source = next(s for s in sources if all(float(s.weight(MLP.weight_name(i))) > 0 for i in (2, 3)))
    mask = {MLP.weight_name(i): np.full((1, 1), i >= 2) for i in range(4)}
    weights = {MLP.weight_name(0): [[1e-130]], MLP.weight_name(1): [[2.0**128]]}
    target = Target(MLP((1, 1, 1)), {k: torch.tensor(v, dtype=torch.float64) for k, v in weights.items()})
    ticket = Ticket(source, Mask(mask))
    assert max(abs(changes(ticket, target, [domain.high])[0]), Fraction(0)) > Fraction(1e-292)
    assert_covered(ticket, target, domain, [[x] for x in ends(domain)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "domain", [Domain.box(-5e-324, 5e-324), Domain.box(0, 5e-324), Domain.box(-5e-324, 0), Domain.ball(5e-324)], ids=str
)
def test_many_terms_that_underflow_add_up(domain: Domain, method: str) -> None:
    target = Target(MLP((1000, 1)), {MLP.weight_name(0): torch.full((1, 1000), 0.4, dtype=torch.float64)})
    point = [domain.high or domain.low] * (1 if domain.radius < 1 else 1000)
    exact = Fraction(0.4) * abs(sum(map(Fraction, point)))
    assert Fraction(certify(empty((1000, 1)), target, domain, method=method).error) >= exact > 0  # type: ignore[arg-type]


@settings(max_examples=80)
@given(
    st.integers(0, 2**32), st.integers(1, 3), st.integers(-324, 150), st.sampled_from(["box", "signed", "ball", "far"])
)
def test_differences_of_any_size_are_covered(seed: int, depth: int, power: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    end = max(float(f"1e{power}"), 5e-324)
    domain = {
        "box": Domain.box(0, end),
        "signed": Domain.box(-end, end / 2),
        "ball": Domain.ball(end),
        "far": Domain.box(end / 2, end),
    }[kind]
    sizes = tuple(int(s) for s in rng.integers(1, 4, size=depth + 1))
    weights = {}
    for i, (d_in, d_out) in enumerate(itertools.pairwise(sizes)):
        powers = rng.choice([0, -30, 30, rng.integers(-320, 40)], size=(d_out, d_in))
        weights[MLP.weight_name(i)] = torch.tensor(rng.standard_normal((d_out, d_in)) * 10.0**powers)
    target = Target(MLP(sizes), weights)
    points = [[x] * sizes[0] for x in ends(domain)] if kind != "ball" else [[0.0] * sizes[0]]
    if kind in ("ball", "signed"):
        points += [[x if i == j else 0.0 for i in range(sizes[0])] for j in range(sizes[0]) for x in ends(domain)]
    assert_covered(empty(sizes), target, domain, points)


def test_norms_and_enclosures_of_subnormal_numbers() -> None:
    value = np.full((3, 3), 5e-324)
    matrix = Matrix(value, value)
    assert min(matrix.norm, matrix.rows.min(), norm_above(value), columns_above(value).min()) >= FLOOR
    low, high = matrix.enclose(np.full(3, 5e-324), np.full(3, 5e-324))
    assert np.all(high > 0)
    assert np.all(low < 0)
    for domain in (Domain.box(-5e-324, 5e-324), Domain(0, 1e-300, 1e-310), Domain(-1e-200, 3e-200, 2.5e-200)):
        inputs = Inputs.of(domain, 2)
        for center, radius in zip(inputs.centers, inputs.radii, strict=True):
            for x in (domain.low, domain.high):
                if abs(x) <= domain.radius:
                    assert (Fraction(x) - Fraction(center)) ** 2 + Fraction(center) ** 2 <= Fraction(radius) ** 2


# ---- large numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("domain", [Domain.box(0, 1e160), Domain.box(-1e160, 1e150), Domain(1, 1e200, 1e180)], ids=str)
def test_large_domains_are_covered(domain: Domain, method: str) -> None:
    target = Target(MLP((2, 1)), {MLP.weight_name(0): torch.tensor([[0.5, 0.25]])})
    found = certify(empty((2, 1)), target, domain, method=method)  # type: ignore[arg-type]
    x = max(-domain.low, min(domain.high, domain.radius / 2))
    assert 0.75 * x <= found.error <= 2.1 * domain.radius_in(2)


def test_what_overflows_is_refused_clearly() -> None:
    target = Target(MLP((2, 1)), {MLP.weight_name(0): torch.tensor([[0.5, 0.25]])})
    for domain in (Domain.box(0, 1e302), Domain.box(-1.7e308, 1.7e308), Domain.ball(1.7e308)):
        with pytest.raises(ValueError, match="overflows"):
            certify(empty((2, 1)), target, domain)
    huge = Target(MLP((2, 1)), {MLP.weight_name(0): torch.full((1, 2), 1e300, dtype=torch.float64)})
    for method in METHODS:
        with pytest.raises(ValueError, match="overflows"):
            certify(empty((2, 1)), huge, Domain.box(0, 1e160), method=method)  # type: ignore[arg-type]


# ---- depth -----------------------------------------------------------------------------------------------------------


def deep(depth: int, width: int) -> tuple[Ticket, Target]:
    rng = np.random.default_rng(depth)
    source = Source(MLP((width, 2 * width) * depth + (width,)), 1)
    kept = {}
    for i in range(2 * depth):
        d_out, d_in = source.shapes[MLP.weight_name(i)]
        every = np.ones((d_out, d_in), dtype=bool)
        kept[MLP.weight_name(i)] = every if i % 2 else np.arange(d_out)[:, None] % d_in == np.arange(d_in)
    weights = {
        MLP.weight_name(i): torch.tensor(np.abs(rng.standard_normal((width, width))) / width) for i in range(depth)
    }
    return Ticket(source, Mask(kept)), Target(MLP((width,) * (depth + 1)), weights)


@pytest.mark.parametrize("width", [1, 3])
def test_deep_networks_are_certified_in_seconds(width: int) -> None:
    ticket, target = deep(60, width)
    start = time.process_time()
    found = examine(ticket, target, Domain.box(0, 1))
    assert time.process_time() - start < 8
    for point in ([1.0] * width, [0.5] * width):
        change = changes(ticket, target, point)
        assert max(map(abs, change)) > 0
        assert all(abs(c) <= Fraction(b) for c, b in zip(change, found.per_output, strict=True))


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_chains_longer_than_a_span_are_above_every_choice_of_slopes(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    depth = 2 * SPAN + 5
    gaps = []
    for _ in range(depth):
        weight, error = rng.standard_normal((2, width, width))
        gaps.append(Gap(Matrix(weight), np.zeros(width), Matrix(error), Matrix(np.zeros((width, 1)))))
    chains = Chains(Difference(tuple(gaps), "", ""), 3)
    low = rng.standard_normal((width, 2))
    high = low + rng.choice([0.0, 0.1], size=(width, 2))
    push = Push(chains, low, high, 2)
    inside = low + (high - low) * 0.5
    moved = [inside.copy() for _ in range(6)]
    for error in (0, 1, 7, SPAN + 3, depth):
        product = float(np.prod([(g.error if i == error else g.weight).norm for i, g in enumerate(gaps, 1)]))
        assert chains.theta(1, depth, error) <= product * (1 + 1e-6)
    totals = [[gaps[0].rest.value if error == 1 else gaps[0].weight.value for error in (0, 1, 20)] for _ in range(6)]
    for k in range(2, depth + 1):
        push.step()
        for trial in range(6):
            slopes = rng.random(width) if trial % 2 else rng.choice([0.0, 1.0], p=[0.1, 0.9], size=width)
            moved[trial] = gaps[k - 1].weight.value @ (slopes[:, None] * moved[trial])
            assert np.all(np.abs(moved[trial]) <= push.rows * (1 + 1e-12))
            assert np.all(np.linalg.norm(moved[trial], axis=0) <= push.lengths * (1 + 1e-12))
            for place, error in enumerate((0, 1, 20)):
                matrix = (gaps[k - 1].rest if k == error else gaps[k - 1].weight).value
                total = totals[trial][place] = matrix @ (slopes[:, None] * totals[trial][place])
                assert np.linalg.norm(total, 2) <= chains.theta(1, k, error) * (1 + 1e-12)
                assert np.all(np.linalg.norm(total, axis=1) <= chains.theta_rows(1, k, error) * (1 + 1e-12))
