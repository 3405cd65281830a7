"""Options of Pensia's construction: absent edges, locked edges, several draws; gains; perturbed subset sums."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import random
from strongticket.certificate import Domain
from strongticket.certify import certify, differences, examine
from strongticket.constructions import _variants as variants
from strongticket.constructions.chijiwa2021pruning import RedrawnRows
from strongticket.constructions.fischer2021nonzero import with_gains
from strongticket.constructions.otsuka2025partially import locked_edges, respects_locks
from strongticket.constructions.pensia2020optimal import Pensia2020Optimal, construct
from strongticket.constructions.xiong2022perturbation import perturbed_sums
from strongticket.models import MLP, Target
from strongticket.testing import (
    brute_force,
    check_ticket,
    check_ticket_file_roundtrip,
    targets,
    unreached_weights,
    weight_errors,
)
from strongticket.ticket import Init, Mask, Source, Ticket

BOX, BALL = Domain.box(0, 1), Domain.ball(1)


def target_of(*sizes: int, bias: bool = False, scale: float = 0.5, seed: int = 0) -> Target:
    generator, mlp = torch.Generator().manual_seed(seed), MLP(sizes, bias)
    return Target(mlp, {n: (torch.rand(s, generator=generator) * 2 - 1) * scale for n, s in mlp.shapes.items()})


@given(target=targets(max_depth=2, max_width=4, largest=1.0), data=st.data())
@settings(max_examples=60)
def test_every_promise_of_every_option(target: Target, data: st.DataObject) -> None:
    domain, eps = data.draw(st.sampled_from([BOX, BALL])), data.draw(st.sampled_from([0.3, 0.05, 0.01]))
    option: dict[str, Any] = data.draw(
        st.one_of(
            st.sampled_from([{"edges": k / 512} for k in (64, 256, 500)]),
            st.sampled_from([{"locked": r} for r in (0.1, 0.5)]),
            st.just({"locked": 0.25, "edges": 0.5}),
            st.sampled_from([{"draws": r} for r in (2, 5)]),
        )
    )
    method = Pensia2020Optimal(
        weight_eps=eps,
        items=data.draw(st.integers(1, 12 if "draws" in option else 50)),
        assignment=data.draw(st.sampled_from(["column-aware", "fixed"])),
        objective=data.draw(st.sampled_from(["sparsest", "min_error"])),
        domain=domain,
        seed=data.draw(st.integers(0, 2**64 - 1)),
        **option,
    )
    result = method.construct(target)
    check_ticket(result.best)
    assert result.best.matches(result.best.module())
    assert result.plan == method.plan(target)
    assert result.best.plain or "draws" in option
    for i in range(len(target.layers)):
        assert respects_locks(result.best, f"layers.{2 * i + 1}.weight", option.get("locked", 0.0))
    # kept edges exist
    weights = result.best.source.weights()
    assert all((weights[n][result.best.mask[n]] != 0).all() for n in result.best.mask)
    errors = weight_errors(result.best, target, nonnegative=domain.nonnegative)
    assert all(error <= Fraction(result.layers[place[0]].largest_error) for place, error in errors.items())
    late = {place for place, error in errors.items() if error > eps}
    listed = unreached_weights(result).keys()
    assert late <= listed
    assert all(float(u["error"]) > eps * (1 - 1e-9) for u in result.unreached)
    inputs = np.random.default_rng(0).random((1000, target.architecture.sizes[0])) / 4
    found = np.abs(differences(examine(result.best, target, domain).comparison, inputs)).max()
    assert found <= certify(result.best, target, domain).error * (1 + 1e-12)


def literal(target: Target, source: Source, items: int, locked: float, draws: int, eps: float) -> set[tuple[int, int]]:
    """One layer, fixed blocks, word for word: the weights that no subset of a block meets in any draw."""
    u = source.weight("layers.0.weight").double().numpy()
    name = "layers.1.weight"
    width, missing = u.shape[0], set()
    fixed = locked_edges(source, name, locked).reshape(-1, width)
    for (row, column), wanted in np.ndenumerate(target.layers[0].weight):
        block = np.arange(column * items, (column + 1) * items)
        hit = False
        for event in range(draws):
            v = source.redrawn(name, row * width + block, event).double().numpy()
            candidates = np.where(u[block, column] > 0, u[block, column], 0.0) * v
            must = candidates[fixed[row, block]].sum()
            free = candidates[~fixed[row, block]]
            hit |= any(
                abs(must + sum(x for x, take in zip(free, some, strict=True) if take) - wanted) <= eps
                for some in product((0, 1), repeat=len(free))
            )
        if not hit:
            missing.add((row, column))
    return missing


@pytest.mark.parametrize("option", [{"edges": 0.75}, {"locked": 0.25}, {"draws": 3}, {"edges": 0.5, "locked": 0.25}])
def test_weights_fail_exactly_where_no_subset_exists(option: dict[str, Any]) -> None:
    target, seen = target_of(3, 4, scale=0.8), 0
    for seed in range(6):
        method = Pensia2020Optimal(weight_eps=0.05, items=9, assignment="fixed", domain=BOX, seed=seed, **option)
        result = method.construct(target)
        locked, draws = option.get("locked", 0.0), option.get("draws", 1)
        missing = literal(target, result.plan.source, 9, locked, draws, 0.05)
        assert {(int(u["row"]), int(u["input"])) for u in result.unreached} == missing
        seen += len(missing)
    assert 0 < seen < 72


def test_without_options_nothing_is_changed_and_json_says_what_was_asked() -> None:
    target = target_of(3, 2)
    plain = construct(target, weight_eps=0.05, items=12)
    assert construct(target, weight_eps=0.05, items=12, edges=1, locked=0, draws=1).best == plain.best
    assert plain.plan.source.init == Init("uniform23")
    assert not {"locked", "draws"} & set(plain.to_json())
    assert construct(target, weight_eps=0.05, items=12, locked=0.5).to_json()["locked"] == 0.5
    assert construct(target, weight_eps=0.05, items=12, draws=2).to_json()["draws"] == 2


def test_a_sparse_source_is_the_dense_one_with_fewer_edges() -> None:
    """So a ticket of the sparse source is one of the dense source of the same size, and of denser ones."""
    result = construct(target_of(5, 4), weight_eps=0.02, edges=0.5, domain=BOX, seed=4)
    dense = Ticket(Source(result.plan.source.architecture, 4), result.best.mask)
    for name, weight in result.best.weights().items():
        assert torch.equal(weight, dense.weight(name))


@pytest.mark.parametrize(
    ("option", "most"),
    [({"edges": 0.5}, 4), ({"locked": 0.25}, 5), ({"draws": 8}, 4), ({"edges": 0.5, "assignment": "fixed"}, 4)],
)
def test_predicted_items_are_enough_but_not_many_more(option: dict[str, Any], most: int) -> None:
    target, eps = target_of(20, 10), 0.1 if "assignment" in option else 0.02
    predicted = max(Pensia2020Optimal(weight_eps=eps, delta=0.1, domain=BOX, **option).plan(target).items)

    def failures(items: int) -> int:
        found = (construct(target, weight_eps=eps, items=items, domain=BOX, seed=s, **option) for s in range(8))
        return sum(len(result.unreached) for result in found)

    assert failures(predicted) <= most
    assert failures(max(1, predicted // 2)) > 10


def test_fewer_items_do_with_more_draws_and_more_are_needed_with_fewer_edges() -> None:
    target = target_of(20, 10)

    def items(**option: Any) -> int:
        return max(Pensia2020Optimal(weight_eps=0.02, domain=BOX, **option).plan(target).items)

    assert items(draws=16) < items(draws=4) < items() < items(edges=0.5) < items(edges=0.25)
    assert items() < items(locked=0.1) < items(locked=0.25)


@pytest.mark.parametrize("scale", [0.0, 0.005])
def test_small_weights_need_candidates_where_edges_are_locked(scale: float) -> None:
    """The empty subset leaves the locked sum, so that weights within the tolerance are no easier than others."""
    target = target_of(6, 5, scale=scale)
    for locked in (0.1, 0.25):
        options: dict[str, Any] = {"weight_eps": 0.02, "delta": 0.1, "locked": locked, "domain": BOX}
        assert Pensia2020Optimal(**options).plan(target).items[0] > 8
        assert sum(len(construct(target, seed=s, **options).unreached) for s in range(10)) <= 4
    assert Pensia2020Optimal(weight_eps=0.02, domain=BOX).plan(target).items == (1,)


def test_theorem_counts_with_options() -> None:
    target = target_of(2, 2)
    for option in ({"edges": 0.5}, {"locked": 0.25}, {"edges": 0.5, "locked": 0.1}):
        tickets = [
            construct(target, weight_eps=0.1, items="theorem", domain=BOX, seed=s, **option).ticket for s in range(4)
        ]
        assert None not in tickets
    with pytest.raises(ValueError, match="at most 40 candidates"):
        construct(target, weight_eps=0.01, items="theorem", draws=2, domain=BOX)


def test_locked_edges_are_a_function_of_seed_name_and_index() -> None:
    source, name = Source(MLP((9, 300, 40)), 3), "layers.1.weight"
    whole = locked_edges(source, name, 0.25)
    assert (locked_edges(source, name, 0.25, 1000, 1500) == whole[1000:1500]).all()
    words = random.words(3, f"{name} locked", 0, whole.size)
    assert (whole == (words < 2**30)).all()
    assert abs(whole.mean() - 0.25) < 0.02
    assert (locked_edges(source, name, 0.5) >= whole).all()
    sparse = Source(MLP((9, 300, 40)), 3, Init("sparse128"))
    assert (locked_edges(sparse, name, 0.25) == (whole & (sparse.integers(name).reshape(-1) != 0))).all()
    full = Mask.full(source.shapes)
    assert respects_locks(Ticket(source, full), name, 0.9)
    assert not respects_locks(Ticket(source, ~full), name, 0.1)


def test_redrawn_tickets_travel_in_files_and_take_late_draws() -> None:
    result = construct(target_of(5, 6, 3, bias=True), weight_eps=0.01, items=8, draws=12, domain=BOX)
    redraws = result.best.reading.redraws
    assert set(redraws) == {"layers.1.weight", "layers.3.weight"}
    assert max(int(events.max()) for events in redraws.values()) > 2
    check_ticket_file_roundtrip(result.best)


def test_results_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(5, 30, 4, bias=True)
    for option in ({"edges": 0.5, "items": 60}, {"locked": 0.25, "items": 30}, {"draws": 4, "items": 10}):
        whole = construct(target, weight_eps=0.01, seed=6, **option)
        with monkeypatch.context() as patch:
            patch.setattr("strongticket.constructions._gadget.BLOCK_BYTES", 1)
            parts = construct(target, weight_eps=0.01, seed=6, **option)
        assert parts.best == whole.best
        assert np.array_equal(parts.unreached, whole.unreached)


@given(st.data())
@settings(max_examples=50)
def test_live_candidates_are_solved_like_their_slow_twin(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    rows = data.draw(st.lists(st.lists(st.integers(-40, 40), min_size=n, max_size=n), min_size=1, max_size=4))
    wanted = data.draw(st.lists(st.integers(-60, 60), min_size=len(rows), max_size=len(rows)))

    def choose(items: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        best = brute_force(items.tolist(), goals.tolist())
        sums = [sum(x for i, x in enumerate(r) if b.mask >> i & 1) for r, b in zip(items.tolist(), best, strict=True)]
        return np.array([b.mask for b in best]), goals - np.array(sums)

    candidates = np.array(rows, dtype=np.int64)[:, None, :]
    found = variants.solve_live(candidates, np.array(wanted)[:, None], 0, choose)
    for i, (row, goal) in enumerate(zip(rows, wanted, strict=True)):
        sums = [sum(x for x, t in zip(row, take, strict=True) if t) for take in product((0, 1), repeat=n)]
        assert abs(found.error[i, 0]) == min(abs(goal - s) for s in sums)
        picked = found.picked[i, 0]
        assert goal - (candidates[i, 0] * picked).sum() == found.error[i, 0]
        assert (candidates[i, 0][picked] != 0).all()


def test_refilling_reaches_what_no_group_does() -> None:
    rng = np.random.default_rng(0)
    one = 1 << 46
    candidates = rng.integers(-one, one, (1, 5, 130))
    wanted = np.full((1, 5), 22 * one)

    def choose(items: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from strongticket.subsetsum import solve

        sums = solve(items, goals, objective="sparsest", eps=one // 100)
        return sums.mask, sums.error

    near = variants.solve_live(candidates, wanted, one // 100, choose, refill=True)
    assert (np.abs(near.error) <= one // 100).all()
    assert ((candidates * near.picked).sum(axis=2) + near.error == wanted).all()
    far = variants.solve_live(candidates, wanted, one // 100, choose)
    assert (np.abs(far.error) > one).all()


def test_gains_multiply_the_outputs_and_keep_the_mask() -> None:
    target = target_of(4, 3, 2, bias=True)
    result = construct(target, weight_eps=0.05, items=14, domain=BOX)
    gains = (0.5, 4.0, 0.125, 2.0)
    ticket = with_gains(result.best, gains)
    check_ticket(ticket)
    assert ticket.mask is result.best.mask
    assert ticket.matches(ticket.module())
    x = torch.randn(100, 4)
    assert torch.equal(ticket.module()(x), result.best.module()(x) * 0.5)
    # without scaled biases it would not be so
    wrong = with_gains(Ticket(result.best.source, result.best.mask), (1, 1, 1, 1))
    init = Init(overrides=tuple((n, law, 4.0) for n, law, _ in wrong.source.init.overrides if n.endswith("weight")))
    unscaled = Ticket(Source(wrong.source.architecture, wrong.source.seed, init), result.best.mask)
    assert not torch.allclose(unscaled.module()(x), result.best.module()(x) * 4.0**4)
    with pytest.raises(TypeError, match="gains are numbers"):
        with_gains(result.best, ("2", 1, 1, 1))  # type: ignore[arg-type]
    for bad in ((1.0,), (3.0, 1, 1, 1), (-2.0, 1, 1, 1), (0.0, 1, 1, 1)):
        with pytest.raises(ValueError, match="positive powers of two"):
            with_gains(result.best, bad)


@given(st.data())
@settings(max_examples=40)
def test_perturbed_sums_are_the_fewest(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 7))
    items = data.draw(st.lists(st.integers(-64, 64), min_size=n, max_size=n))
    goal, eta = data.draw(st.integers(-99, 99)), data.draw(st.integers(0, 8))
    eps = data.draw(st.integers(0, 4))
    found = perturbed_sums(np.array([items]) / 64, np.array([goal / 64]), eps / 64, eta / 64, backend="brute")
    by_size: dict[int, int] = {}
    for take in product((0, 1), repeat=n):
        chosen = [x for x, t in zip(items, take, strict=True) if t and x]
        if len(chosen) == sum(t and bool(x) for x, t in zip(items, take, strict=True)):
            left = max(0, abs(goal - sum(chosen)) - eta * len(chosen))
            by_size[len(chosen)] = min(left, by_size.get(len(chosen), 10**9))
    within = [size for size, left in by_size.items() if left <= eps]
    assert bool(found.found[0]) == bool(within)
    if within:
        assert found.size[0] == min(within)
    else:
        assert found.error[0] * 64 == min(by_size.values())
    chosen = [x / 64 for i, x in enumerate(items) if int(found.mask[0]) >> i & 1]
    assert abs(found.move[0]) <= eta / 64
    assert abs(goal / 64 - sum(x + found.move[0] for x in chosen)) == pytest.approx(found.error[0], abs=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"edges": 0.1}, ValueError, "multiple of 1/512"),
        ({"edges": 0.0}, ValueError, r"lies in \(0, 1\]"),
        ({"locked": 1.0}, ValueError, r"locked is a share of edges in \[0, 1\)"),
        ({"locked": "half"}, ValueError, "locked is a share"),
        ({"draws": 0}, ValueError, r"draws must be in 1\.\."),
        ({"draws": 2.0}, TypeError, "draws is a whole number"),
        ({"draws": 2, "locked": 0.5}, ValueError, "give one option"),
        ({"draws": 2, "items": "theorem", "assignment": "fixed"}, ValueError, "column-aware"),
        ({"draws": 2, "items": 41}, ValueError, "at most 40 candidates"),
    ],
)
def test_refusals(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        construct(target_of(2, 2), weight_eps=0.1, **options)
    with pytest.raises(ValueError, match="eta must be finite"):
        perturbed_sums([[0.5]], [0.25], 0.1, -1.0)
    assert RedrawnRows.__doc__
