"""Structures and allocations: exact counts, nested masks, groups that go whole, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strongticket import Mask
from strongticket.pruning import AbstractStructure, Channels, Neurons, NofM, Unstructured
from strongticket.pruning.shares import ALLOCATIONS, layer_counts
from strongticket.selection import Allocation, allocate, kept_count

FIXED: tuple[Allocation, ...] = ("layer", "erdos-renyi", "erdos-renyi-kernel")
sides = st.tuples(st.integers(1, 6), st.integers(1, 6))
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


def literal_counts(shapes: dict[str, tuple[int, ...]], left: dict[str, int], count: int, rule: str) -> dict[str, int]:
    """One seat at a time to whoever reaches it at the smallest t: round(t * share) is k from t = (k - 1/2) / share."""
    shares = {}
    for name, shape in shapes.items():
        size = math.prod(shape)
        if rule == "layer" or len(shape) < 2:
            relative = 1.0 if rule == "layer" else 1 / size
        else:
            relevant = shape if rule == "erdos-renyi-kernel" else shape[:2]
            relative = sum(relevant) / math.prod(relevant)
        shares[name] = size * relative
    counts = dict.fromkeys(shapes, 0)
    for _ in range(count):
        open_ = [name for name in shapes if counts[name] < left[name]]
        counts[min(open_, key=lambda name: (counts[name] + 0.5) / shares[name])] += 1
    return counts


@given(
    shapes=st.lists(st.one_of(sides, kernels), min_size=1, max_size=4),
    rule=st.sampled_from(FIXED),
    data=st.data(),
)
def test_shares_are_those_of_one_seat_at_a_time(
    shapes: list[tuple[int, ...]], rule: Allocation, data: st.DataObject
) -> None:
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    left = {name: data.draw(st.integers(0, math.prod(shape))) for name, shape in named.items()}
    count = data.draw(st.integers(0, sum(left.values())))
    found = layer_counts(named, count, rule, left=left)
    assert found == literal_counts(named, left, count, rule)
    assert sum(found.values()) == count


@given(shapes=st.lists(sides, min_size=1, max_size=4), density=st.floats(0, 1), rule=st.sampled_from(FIXED))
def test_shares_are_the_houses_allocation_but_for_roundings(
    shapes: list[tuple[int, ...]], density: float, rule: Allocation
) -> None:
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    theirs = allocate(named, density, rule)
    total = sum(theirs.values())
    ours = layer_counts(named, total, rule)
    if rule == "layer":
        assert ours == theirs
    else:
        assert sum(abs(ours[name] - theirs[name]) for name in named) <= 2 * len(named)


def test_large_layers_are_shared_out_without_counting_one_by_one() -> None:
    shapes = {"a": (30_000, 30_000), "b": (10, 30_000), "c": (7, 3)}
    counts = layer_counts(shapes, 300_000_007)
    assert sum(counts.values()) == 300_000_007
    assert all(abs(counts[name] / math.prod(shape) - 1 / 3) < 0.03 for name, shape in shapes.items())


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="count from 0"):
        layer_counts({"a": (2, 2)}, 5)
    with pytest.raises(ValueError, match="fix counts"):
        layer_counts({"a": (2, 2)}, 1, "global")


def scores_of(shapes: dict[str, tuple[int, ...]], seed: int, levels: int = 1000) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(levels, shape, generator=generator).float() for name, shape in shapes.items()}


@given(
    shapes=st.lists(st.one_of(sides, kernels), min_size=1, max_size=3),
    densities=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    allocation=st.sampled_from(ALLOCATIONS),
    seed=st.integers(0, 99),
    levels=st.sampled_from([1, 3, 1000]),
)
def test_single_weights_are_counted_exactly_and_masks_of_falling_densities_are_nested(
    shapes: list[tuple[int, ...]], densities: list[float], allocation: Allocation, seed: int, levels: int
) -> None:
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    scores = scores_of(named, seed, levels)
    left = Mask({name: score % 5 != 0 for name, score in scores_of(named, seed + 1).items()})
    high, low = (Unstructured().select(scores, left, d, allocation) for d in sorted(densities, reverse=True))
    size = sum(map(math.prod, named.values()))
    assert high.count == min(left.count, kept_count(max(densities), size))
    assert low.count == min(left.count, kept_count(min(densities), size))
    assert (high & left) == high
    assert (low & high) == low
    for name in named if allocation != "global" else ():  # within a layer the largest stay
        kept, gone = scores[name][high[name]], scores[name][left[name] & ~high[name]]
        assert not len(kept) or not len(gone) or kept.min() >= gone.max()


@given(
    rows=st.integers(1, 5),
    groups=st.integers(1, 4),
    n=st.integers(0, 4),
    levels=st.sampled_from([2, 1000]),
    seed=st.integers(0, 99),
)
def test_n_of_m_keeps_the_n_largest_of_each_m_consecutive_inputs(
    rows: int, groups: int, n: int, levels: int, seed: int
) -> None:
    shape = (rows, 4 * groups)
    scores = scores_of({"w": shape}, seed, levels)
    mask = NofM(n, 4).select(scores, Mask.full({"w": shape}), n / 4, "global")["w"]
    assert bool((mask.view(rows, groups, 4).sum(2) == n).all())
    for row in range(rows):
        for group in range(groups):
            block = scores["w"][row, 4 * group : 4 * group + 4].tolist()
            best = sorted(range(4), key=lambda i: (block[i], i))[4 - n :]
            assert set(mask[row, 4 * group : 4 * group + 4].nonzero()[:, 0].tolist()) == set(best)


def test_n_of_m_of_kernels_runs_along_their_memory_and_respects_what_is_gone() -> None:
    scores = scores_of({"w": (2, 3, 2, 2)}, 0)
    left = Mask({"w": scores["w"] > 400})
    mask = NofM(2, 4).select(scores, left, 0.5, "layer")
    alive, kept = left["w"].view(2, 3, 4).sum(2), mask["w"].view(2, 3, 4).sum(2)
    assert torch.equal(kept, alive.clamp(max=2))
    assert (mask & left) == mask


def test_n_of_m_refuses_what_does_not_divide_and_other_densities() -> None:
    with pytest.raises(ValueError, match="6 inputs"):
        NofM(2, 4).select({"w": torch.ones(3, 6)}, Mask.full({"w": (3, 6)}), 0.5, "global")
    with pytest.raises(ValueError, match=r"density 0\.5 only"):
        NofM(2, 4).select({"w": torch.ones(3, 8)}, Mask.full({"w": (3, 8)}), 0.4, "global")
    with pytest.raises(ValueError, match="n <= m"):
        NofM(5, 4)
    third = NofM(1, 3).select({"w": torch.ones(3, 6)}, Mask.full({"w": (3, 6)}), 1 / 3, "global")
    assert third.count == 6


@pytest.mark.parametrize("structure", [Neurons(), Neurons("mean"), Channels(), Channels("mean")])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_groups_go_whole_in_exact_numbers(structure: AbstractStructure, allocation: Allocation, density: float) -> None:
    tail = (3, 3) if isinstance(structure, Channels) else ()
    shapes = {"a": (7, 3, *tail), "b": (5, 8, *tail)}
    scores = scores_of(shapes, 3)
    left = Mask({"a": torch.ones(shapes["a"], dtype=torch.bool), "b": scores["b"] > 300})
    mask = structure.select(scores, left, density, allocation)
    rows = {name: mask[name].flatten(1).any(1) for name in shapes}
    assert sum(int(row.sum()) for row in rows.values()) == min(12, kept_count(density, 12))
    for name, row in rows.items():
        assert torch.equal(mask[name][row], left[name][row])  # nothing of a kept group goes
    mean = getattr(structure, "rank_by") == "mean"  # noqa: B009
    if allocation == "global" and density == 0.5:
        totals = []
        for name in shapes:
            total = (scores[name] * left[name]).flatten(1).sum(1)
            totals += list((total / math.prod(shapes[name][1:]) if mean else total).tolist())
        best = sorted(range(12), key=lambda i: (totals[i], i))[6:]
        assert set(torch.cat([rows["a"], rows["b"]]).nonzero()[:, 0].tolist()) == set(best)


def test_structures_refuse_parameters_of_another_kind() -> None:
    kernel, matrix = {"w": torch.ones(2, 2, 3, 3)}, {"w": torch.ones(2, 2)}
    with pytest.raises(ValueError, match="use Channels"):
        Neurons().select(kernel, Mask.full({"w": (2, 2, 3, 3)}), 0.5, "global")
    with pytest.raises(ValueError, match="use Neurons"):
        Channels().select(matrix, Mask.full({"w": (2, 2)}), 0.5, "global")
