"""The greedy construction against a literal twin, its own promises, and the strict check."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strongticket.certificate import Domain, Rigor
from strongticket.certify import certify, examine, sample
from strongticket.constructions import Orseau2020Logarithmic
from strongticket.constructions._gadget import HalfInputs, LayerPair, assign_column_aware, assign_fixed
from strongticket.constructions._greedy import Bins, golden_power, take_what_fits
from strongticket.constructions.orseau2020logarithmic import construct
from strongticket.models import MLP, Target
from strongticket.testing import check_ticket, targets, unreached_weights, weight_errors

BOX, BALL = Domain.box(0, 1), Domain.ball(1)


def target_of(*sizes: int, bias: bool = False, scale: float = 0.5, seed: int = 0) -> Target:
    generator = torch.Generator().manual_seed(seed)
    mlp = MLP(sizes, bias)
    return Target(mlp, {n: (torch.rand(s, generator=generator) * 2 - 1) * scale for n, s in mlp.shapes.items()})


def literal_take(items: list[int], target: int, bins: Bins, tolerance: int) -> tuple[set[int], int, int]:
    """The rule in words: bin after bin, the first item of the bin, if it fits and something is left to do."""
    sign = -1 if target < 0 else 1
    left, chosen, filled = abs(target), set(), 0
    for i in range(1, bins.count + 1):
        inside = [k for k, item in enumerate(items) if bins.least(i) <= sign * item <= bins.ends[i]]
        if inside:
            filled |= 1 << (i - 1)
            if left > tolerance and sign * items[inside[0]] <= left:
                chosen.add(inside[0])
                left -= sign * items[inside[0]]
    return chosen, sign * left, filled


@given(
    items=st.lists(st.lists(st.integers(-1200, 1200), min_size=12, max_size=12), min_size=1, max_size=4),
    tolerance=st.integers(3, 1100),
    data=st.data(),
)
def test_the_fast_rule_equals_its_literal_twin(items: list[list[int]], tolerance: int, data: st.DataObject) -> None:
    bins = Bins.golden(1000, tolerance, 0)
    wanted = data.draw(st.lists(st.integers(-1000, 1000), min_size=len(items), max_size=len(items)))
    chosen, left, filled = take_what_fits(np.array(items), np.array(wanted), bins, tolerance)
    first = bins.first(np.abs(np.array(wanted)))
    for row, target in enumerate(wanted):
        kept, error, bits = literal_take(items[row], target, bins, tolerance)
        assert set(np.flatnonzero(chosen[row])) == kept
        assert (left[row], filled[row]) == (error, bits)
        assert target - sum(items[row][k] for k in kept) == error
        assert first[row] == sum(end >= abs(target) for end in bins.ends[1:])
        if bits >> int(first[row]) == (1 << (bins.count - int(first[row]))) - 1:
            assert abs(error) <= tolerance  # the lemma


@given(whole=st.integers(0, 2**48), i=st.integers(1, 40))
def test_golden_powers_are_floors(whole: int, i: int) -> None:
    # y = floor(whole phi^-i) by sign tests alone: 2 y phi^i <= 2 whole, with 2 phi^i = L_i + F_i sqrt 5
    f, lucas = 0, 2
    g, m = 1, 1
    for _ in range(i):
        f, g, lucas, m = g, f + g, m, lucas + m

    def at_most(y: int) -> bool:
        rest = 2 * whole - y * lucas
        return rest >= 0 and 5 * (y * f) ** 2 <= rest**2

    y = golden_power(whole, i)
    assert at_most(y)
    assert not at_most(y + 1)


@given(target=targets(max_depth=3, max_width=4, largest=1.0), data=st.data())
@settings(max_examples=60)
def test_every_promise_on_any_target(target: Target, data: st.DataObject) -> None:
    """Any target, any number of items, also far too few: what is reported is true, and the strict check passes."""
    domain = data.draw(st.sampled_from([BOX, BALL, Domain.box(-2, 3)]))
    eps = data.draw(st.sampled_from([0.3, 0.05, 0.01]))
    assume(target.largest > 1e-3 or target.largest == 0)
    method = Orseau2020Logarithmic(
        weight_eps=eps,
        items=data.draw(st.integers(1, 120)),
        weights=data.draw(st.sampled_from(["hyperbolic", "uniform"])),
        assignment=data.draw(st.sampled_from(["batch", "fixed"])),
        domain=domain,
        seed=data.draw(st.integers(0, 2**64 - 1)),
    )
    result = method.construct(target)
    check_ticket(result.best)
    assert result.best.matches(result.best.module())
    errors = weight_errors(result.best, target, nonnegative=domain.nonnegative)
    late = {place for place, error in errors.items() if error > eps}
    for (i, row, column, sign), error in errors.items():
        if column == target.layers[i].weight.shape[1]:
            half = -1
        else:
            assert error <= Fraction(result.layers[i].largest_error)
            half = column if i or domain.nonnegative else 2 * column + (sign < 0)
        assert error <= Fraction(float(result.bins[i].promised[row, half]))
    listed = unreached_weights(result).keys()
    assert late <= listed
    assert (result.ticket is None) == bool(listed)
    assert all(not (c.complete & (c.promised > eps * (1 + 1e-9))).any() for c in result.bins)
    assert result.plan == method.plan(target)


@pytest.mark.parametrize("assignment", ["batch", "fixed"])
@pytest.mark.parametrize("weights", ["hyperbolic", "uniform"])
@pytest.mark.parametrize("bias", [False, True])
def test_masks_are_those_of_the_literal_construction(assignment: str, weights: str, bias: bool) -> None:
    target = target_of(3, 2, 2, bias=bias, scale=1.7)
    result = construct(target, weight_eps=0.1, items=40, assignment=assignment, weights=weights, domain=BOX, seed=5)
    source = result.plan.source
    expected = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
    for i, layer in enumerate(target.layers):
        halves = HalfInputs.of(layer.weight.shape[1], signed=False, bias=bias)
        pool = (assign_column_aware if assignment == "batch" else assign_fixed)(LayerPair(source, i, halves), 40)
        v = source.integers(MLP.weight_name(2 * i + 1)).astype(int)
        bins = result.bins[i].bins
        tolerance = math.floor(0.1 / 2.0**bins.exponent) - 1
        for row, column in np.ndindex(len(v), len(halves)):
            wanted = layer.bias[row] if column == layer.weight.shape[1] else layer.weight[row, column]
            items = [int(u) * int(v[row, k]) for u, k in zip(pool.u[column], pool.neurons[column], strict=True)]
            kept, _, filled = literal_take(items, round(wanted / 2.0**bins.exponent), bins, tolerance)
            assert result.bins[i].filled[row, column] == filled
            for k in pool.neurons[column, sorted(kept)]:
                expected[MLP.weight_name(2 * i + 1)][row, k] = True
                if column == layer.weight.shape[1]:
                    expected[MLP.bias_name(2 * i)][k] = True
                else:
                    expected[MLP.weight_name(2 * i)][k, column] = True
    for name, mask in expected.items():
        assert np.array_equal(result.best.mask[name].numpy(), mask), name


@pytest.mark.parametrize("items", ["target", "theorem"])
@pytest.mark.parametrize("weights", ["hyperbolic", "uniform"])
def test_the_bounds_items_fill_every_bin(items: str, weights: str) -> None:
    target = target_of(5, 4, 3, bias=True, scale=2.5)
    for seed in range(4):
        result = construct(target, weight_eps=0.2, items=items, weights=weights, domain=BALL, seed=seed)
        assert result.ticket is not None
        assert all(certificate.complete.all() for certificate in result.bins)
        assert result.layers[0].fewest_items == result.plan.items[0]
        assert result.layers[0].weakest_item >= 0.5


def test_all_targets_of_this_size_are_reached_by_the_theorems_items() -> None:
    target = target_of(4, 3)
    plan = Orseau2020Logarithmic(weight_eps=0.05, items="theorem", domain=BOX).plan(target)
    fewer = Orseau2020Logarithmic(weight_eps=0.05, items="target", domain=BOX).plan(target)
    assert plan.items[0] > fewer.items[0]
    result = construct(target, weight_eps=0.05, items="theorem", domain=BOX, seed=3)
    for certificate in result.bins:
        assert (certificate.filled == (1 << certificate.bins.count) - 1).all()


@pytest.mark.parametrize("norm", [0.3, 5.0, 40.0])
def test_the_theorem_holds_for_any_norm(norm: float) -> None:
    target = target_of(3, 3, 2, bias=True, scale=norm)
    # an error worth having beside outputs of this size
    eps = 0.3 * max(1.0, norm) ** 2
    result = construct(target, network_eps=eps, seed=1)
    assert result.ticket is not None
    proved = examine(result.ticket, target, BALL).euclidean
    assert proved.rigor is Rigor.PROVED
    assert proved.error <= eps


@given(target=targets(max_depth=3, max_width=5, largest=2.0, kinds=("any", "extreme", "grid")), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_certificates_lie_above_a_thousand_sampled_errors(target: Target, seed: int) -> None:
    result = construct(target, weight_eps=0.1, items=100, seed=seed, domain=BALL)
    proved = certify(result.best, target, BALL)
    assert proved.rigor is Rigor.PROVED
    assert sample(result.best, target, BALL, trials=1000, seed=seed).error <= proved.error


def test_hyperbolic_weights_need_fewer_items_than_uniform_ones() -> None:
    target = target_of(6, 4, scale=0.9)
    options = {"weight_eps": 0.01, "domain": BOX}
    hyperbolic = Orseau2020Logarithmic(**options).plan(target).items[0]
    uniform = Orseau2020Logarithmic(weights="uniform", **options).plan(target).items[0]
    assert uniform > 5 * hyperbolic


@pytest.mark.parametrize(("eps", "law"), [(0.05, "hyperbolic8"), (0.005, "hyperbolic16"), (0.0002, "hyperbolic16")])
def test_the_narrowest_law_that_is_enough_is_taken(eps: float, law: str) -> None:
    plan = Orseau2020Logarithmic(weight_eps=eps, domain=BOX).plan(target_of(2, 2, scale=0.9))
    assert plan.source.init.law == law
    assert plan.source.init.of(MLP.weight_name(0)) == (law, 1.0)


def test_layers_may_have_laws_and_scales_of_their_own() -> None:
    weights = {"layers.0.weight": torch.tensor([[3.0]]), "layers.1.weight": torch.tensor([[0.4]])}
    target = Target(MLP((1, 1, 1)), weights)
    result = construct(target, weight_eps=0.02, domain=BOX, seed=2)
    init = result.plan.source.init
    assert init.of(MLP.weight_name(1)) == ("hyperbolic16", 4.0)
    assert init.of(MLP.weight_name(2))[0] == init.of(MLP.weight_name(3))[0] == "hyperbolic8"
    assert result.ticket is not None
    assert certify(result.ticket, target, BOX).rigor is Rigor.PROVED


def test_a_tolerance_beyond_every_weight_keeps_nothing() -> None:
    result = construct(target_of(3, 2), weight_eps=0.9, seed=1)
    assert result.ticket is not None
    assert result.ticket.mask.count == 0
    zero = Target(MLP((2, 2)), {"layers.0.weight": torch.zeros(2, 2)})
    assert construct(zero, weight_eps=0.1).ticket is not None


def test_nothing_is_redrawn_and_gaps_are_listed() -> None:
    target = target_of(4, 3, seed=1)
    result = construct(target, weight_eps=0.01, items=20, domain=BOX, seed=9)
    assert result.ticket is None
    assert len(result.unreached)
    assert result.best.source == result.plan.source
    report = result.to_json()["bins"][0]
    assert report["incomplete"] == int((~result.bins[0].complete).sum()) > 0
    assert max(report["empty"]) > 0
    worst = result.unreached[0]
    assert target.layers[0].weight[worst["row"], worst["input"]] == worst["target"]
    assert not result.bins[0].complete[worst["row"], worst["input"]]


def test_results_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(5, 30, 4, bias=True)
    options = {"weight_eps": 0.05, "items": 60, "seed": 6}
    whole = construct(target, **options)
    monkeypatch.setattr("strongticket.constructions._gadget.BLOCK_BYTES", 1)
    parts = construct(target, **options)
    assert parts.best == whole.best
    assert all((a.filled == b.filled).all() for a, b in zip(parts.bins, whole.bins, strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "exactly one of weight_eps"),
        ({"weight_eps": 0.1, "network_eps": 0.1}, ValueError, "exactly one of weight_eps"),
        ({"weight_eps": 0.0}, ValueError, "weight_eps must be positive and finite, got 0.0"),
        ({"weight_eps": math.nan}, ValueError, "weight_eps must be positive and finite"),
        ({"network_eps": math.inf}, ValueError, "network_eps must be positive and finite"),
        ({"weight_eps": 0.1, "delta": 1.0}, ValueError, "delta must lie strictly between 0 and 1, got 1.0"),
        ({"weight_eps": 0.1, "items": 0}, ValueError, "items must be at least 1"),
        ({"weight_eps": 0.1, "items": "many"}, ValueError, "got 'many'"),
        ({"weight_eps": 0.1, "items": 2.5}, TypeError, "whole number"),
        ({"weight_eps": 0.1, "weights": "normal"}, ValueError, "got 'normal'"),
        ({"weight_eps": 0.1, "assignment": "random"}, ValueError, "got 'random'"),
        ({"weight_eps": 0.1, "domain": (0, 1)}, TypeError, "Domain.box"),
        ({"weight_eps": 0.1, "seed": -1}, ValueError, "seed"),
        ({"weight_eps": 1e-7}, ValueError, "finer than what the hyperbolic law reaches"),
        ({"weight_eps": 1e-7, "weights": "uniform"}, ValueError, "use a larger tolerance|finer than"),
        ({"weight_eps": 1e-4, "weights": "uniform"}, ValueError, "use a larger tolerance, or hyperbolic"),
    ],
)
def test_bad_parameters_are_refused_before_work(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        construct(target_of(2, 2), **options)
    with pytest.raises(TypeError, match=r"Target\.from_module"):
        construct(None, weight_eps=0.1)  # type: ignore[arg-type]


def test_bins_too_fine_for_whole_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="by a factor of 2 at most, got 3 and 1"):
        Bins.golden(1000, 1, 0)
