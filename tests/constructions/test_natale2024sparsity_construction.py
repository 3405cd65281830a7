"""Exactly k products per weight: against enumeration, the strict check, certificates against sampled errors."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain, Rigor
from strongticket.certify import certify, sample
from strongticket.constructions import Natale2024Sparsity
from strongticket.constructions._fixed_size import NOTHING, FixedSize
from strongticket.constructions.natale2024sparsity import construct, proved_items
from strongticket.models import MLP, Target
from strongticket.testing import check_ticket, targets, unreached_weights, weight_errors

BOX, BALL = Domain.box(0, 1), Domain.ball(1)


def target_of(*sizes: int, bias: bool = False, scale: float = 0.5, seed: int = 0) -> Target:
    generator = torch.Generator().manual_seed(seed)
    mlp = MLP(sizes, bias)
    return Target(mlp, {n: (torch.rand(s, generator=generator) * 2 - 1) * scale for n, s in mlp.shapes.items()})


# ------------------------------------------------------------------ the search


def literal_choice(items: list[int], target: int, size: int) -> int | None:
    """Least |target - sum| over all subsets of exactly `size` items that are not zero."""
    alive = [x for x in items if x]
    return min((abs(target - sum(some)) for some in itertools.combinations(alive, size)), default=None)


@given(
    st.lists(st.lists(st.integers(-50, 50), min_size=9, max_size=9), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(-60, 60),
    st.booleans(),
)
def test_one_problem_is_solved_exactly(rows: list[list[int]], size: int, wanted: int, at_most: bool) -> None:
    rule = FixedSize(size, 3, at_most, "auto")
    chosen, error = rule.choose(np.array(rows), np.full(len(rows), wanted))
    for row, places, off in zip(rows, chosen.tolist(), error.tolist(), strict=True):
        if at_most and abs(wanted) <= 3:
            assert places == [-1] * size
            assert off == wanted
            continue
        best = literal_choice(row, wanted, size)
        if best is None:
            assert places == [-1] * size
            assert off == NOTHING
            continue
        assert len(set(places)) == size
        assert off == wanted - sum(row[place] for place in places)
        assert abs(off) == best
        assert all(row[place] for place in places)


@pytest.mark.parametrize("size", [1, 2])
def test_one_or_two_of_many_are_found_whole(size: int) -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(-(10**6), 10**6, (20, 70))
    items[:, ::7] = 0
    wanted = rng.integers(-(10**5), 10**5, 20)
    chosen, error = FixedSize(size, 0, False, "auto").choose(items, wanted)
    for row, places, target, off in zip(items, chosen, wanted, error, strict=True):
        assert abs(int(off)) == literal_choice(row.tolist(), int(target), size)
        assert off == target - row[places].sum()


def test_groups_are_tried_in_turn() -> None:
    rng = np.random.default_rng(1)
    items, wanted = rng.integers(-(10**6), 10**6, (30, 100)), rng.integers(-(10**5), 10**5, 30)
    tolerance = 300
    chosen, error = FixedSize(3, tolerance, False, "auto").choose(items, wanted)
    groups = [range(0, 40), range(40, 80), range(80, 100)]
    for row, places, target, off in zip(items, chosen, wanted, error, strict=True):
        best = [literal_choice(row[list(group)].tolist(), int(target), 3) for group in groups]
        first = next((b for b in best if b is not None and b <= tolerance), None)
        assert abs(int(off)) == (first if first is not None else min(b for b in best if b is not None))
        assert off == target - row[places].sum()


# ------------------------------------------------------------------ the construction


@given(target=targets(max_depth=3, max_width=4, largest=1.0), data=st.data())
@settings(max_examples=40)
def test_every_promise_on_any_target(target: Target, data: st.DataObject) -> None:
    domain, eps = data.draw(st.sampled_from([BOX, BALL, Domain.box(-2, 3)])), data.draw(st.sampled_from([0.3, 0.02]))
    size, at_most = data.draw(st.integers(1, 4)), data.draw(st.booleans())
    assignment = data.draw(st.sampled_from(["column-aware", "fixed"]))
    method = Natale2024Sparsity(
        size=size,
        weight_eps=eps,
        items=size + data.draw(st.integers(0, 14)),
        assignment=assignment,
        at_most=at_most,
        domain=domain,
        seed=data.draw(st.integers(0, 2**64 - 1)),
    )
    result = method.construct(target)
    check_ticket(result.best)
    assert result.best.matches(result.best.module())
    errors = weight_errors(result.best, target, nonnegative=domain.nonnegative)
    biases = {place for place in errors if place[2] == target.layers[place[0]].weight.shape[1]}
    reported = {i: Fraction(layer.largest_error) for i, layer in enumerate(result.layers)}
    assert all(error <= reported[place[0]] for place, error in errors.items() if place not in biases)
    late = {place for place, error in errors.items() if error > eps} - biases
    for i in range(len(target.layers)):
        kept = result.best.mask[MLP.weight_name(2 * i + 1)].numpy().sum(axis=1)
        columns = result.plan.problems[i] // len(kept)
        assert (kept <= size * columns).all()
        failed = {int(u["row"]) for u in result.unreached if u["layer"] == i}
        if not at_most and not failed:
            assert (kept == size * columns).all()
    listed = unreached_weights(result).keys()
    assert late <= listed - biases
    assert (result.ticket is None) == bool(listed)
    assert result.plan == method.plan(target)


@given(target=targets(max_depth=3, max_width=3, largest=1.0), seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_certificates_lie_above_sampled_errors(target: Target, seed: int) -> None:
    result = construct(target, size=2, weight_eps=0.3, items=24, domain=BOX, seed=seed)
    proved = certify(result.best, target, BOX)
    assert proved.rigor is Rigor.PROVED
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(1000, target.architecture.sizes[0], generator=generator, dtype=torch.float64)
    found = sample(result.best, target, BOX, trials=8, seed=seed, inputs=inputs.numpy())
    assert found.error <= proved.error


def test_the_theorems_count_of_items_finds_the_ticket() -> None:
    target = target_of(4, 4, 3)
    for size in (1, 2, 3, 8):
        result = construct(target, size=size, weight_eps=0.05, items="theorem", domain=BOX, seed=size)
        assert result.ticket is not None
        assert result.plan.items[0] >= proved_items(size, 0.05, 0.01, 28, max_target=0.3)
        second = result.ticket.mask["layers.1.weight"]
        assert second.sum(dim=1).tolist() == [size * 4] * 4


@pytest.mark.parametrize("size", [1, 2, 4])
def test_predicted_items_are_enough_but_not_many_more(size: int) -> None:
    target = target_of(30, 20, 10)
    common = {"size": size, "weight_eps": 0.03, "domain": BOX}
    predicted = Natale2024Sparsity(delta=0.1, **common).plan(target).items
    failures = [
        len(construct(target, items=max(predicted), seed=s, **common).unreached) for s in range(5)
    ]  # fmt: skip
    assert sum(failures) <= 4
    fewer = [len(construct(target, items=max(size, min(predicted) // 2), seed=s, **common).unreached) for s in range(2)]
    assert sum(fewer) > 5


def test_more_products_per_weight_are_closer_and_denser() -> None:
    target = target_of(12, 10, 4)
    found = [construct(target, size=k, weight_eps=0.05, items=24, domain=BOX, seed=3) for k in (1, 2, 4)]
    errors, kept = [r.layers[0].rms_error for r in found], [r.best.mask.count for r in found]
    assert errors == sorted(errors, reverse=True)
    assert kept == sorted(kept)


def test_at_most_keeps_nothing_for_small_weights() -> None:
    target = target_of(12, 10, 4, scale=0.04)
    exactly, at_most = (
        construct(target, size=2, weight_eps=0.02, items=40, domain=BOX, seed=3, at_most=flag) for flag in (False, True)
    )
    assert exactly.best.mask["layers.1.weight"].sum() == 2 * 120
    small = sum(int((np.abs(layer.weight) <= 0.02 - 1e-9).sum()) for layer in target.layers)
    kept = sum(int(at_most.best.mask[name].sum()) for name in ("layers.1.weight", "layers.3.weight"))
    assert kept == 2 * (160 - small)
    assert at_most.ticket is not None


def test_dead_candidates_leave_weights_unreached_and_say_so() -> None:
    target = target_of(3, 3)
    result = construct(target, size=5, weight_eps=0.01, items=5, assignment="fixed", domain=BOX, seed=0)
    assert result.ticket is None
    hopeless = result.unreached[result.unreached["error"] > 1e4]
    assert len(hopeless) > 0
    kept = result.best.mask["layers.1.weight"].sum(dim=1)
    assert (kept % 5 == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_eps": 0.1, "size": 0}, r"1\.\.20, got 0"),
        ({"weight_eps": 0.1, "size": 21}, r"1\.\.20, got 21"),
        ({"weight_eps": 0.1, "size": 3, "items": 2}, "at least size = 3, got 2"),
        ({"weight_eps": 0.1, "items": "theorem", "assignment": "fixed"}, "column-aware"),
        ({}, "exactly one of weight_eps"),
        ({"weight_eps": 2.0}, "strictly between 0 and 1"),
        ({"weight_eps": 1e-6, "items": "theorem", "size": 20}, "finer than the grid"),
    ],
)
def test_bad_parameters_are_refused_before_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        construct(target_of(2, 2), **options)


@pytest.mark.parametrize("options", [{"size": 2.0}, {"size": True}, {"at_most": 1}])
def test_parameters_of_a_wrong_type_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="got"):
        construct(target_of(2, 2), weight_eps=0.1, **options)


def test_targets_outside_the_hypotheses_are_refused() -> None:
    with pytest.raises(HypothesisError, match="spectral norm"):
        construct(Target(MLP((2, 2)), {"layers.0.weight": torch.full((2, 2), 0.9)}), network_eps=0.1)
    with pytest.raises(HypothesisError, match="reaches weights"):
        construct(Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[1.5]])}), weight_eps=0.1)
    with pytest.raises(TypeError, match=r"Target\.from_module"):
        construct(None, weight_eps=0.1)  # type: ignore[arg-type]
