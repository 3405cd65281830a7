from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from strongticket.pruning.rows.budget import BUDGETS, share_out, urgency

tables = st.integers(0, 10**6).map(
    lambda seed: torch.from_numpy(np.random.default_rng(seed).integers(1, 30, size=(3, 4)).astype(float) ** 2)
)


def total(losses: Tensor, steps: Tensor) -> float:
    return sum(float(row[:count].sum()) for row, count in zip(losses, steps.tolist(), strict=True))


def by_heap(losses: Tensor, count: int) -> list[int]:
    heap = [(float(row[0]), i, 0) for i, row in enumerate(losses)]
    heapq.heapify(heap)
    steps = [0] * len(losses)
    for _ in range(count):
        _, i, t = heapq.heappop(heap)
        steps[i] += 1
        if t + 1 < losses.shape[1]:
            heapq.heappush(heap, (float(losses[i, t + 1]), i, t + 1))
    return steps


def hull_slopes(losses: Tensor) -> list[float]:
    """Slope of the lower hull of 0, c_1, ..., c_n over each step, by trying all chords."""
    heights = [0.0, *losses.cumsum(0).tolist()]
    slopes, at = [], 0
    while at < len(losses):
        slope, end = min(((heights[b] - heights[at]) / (b - at), -b) for b in range(at + 1, len(heights)))
        slopes += [slope] * (-end - at)
        at = -end
    return slopes


@given(tables, st.integers(0, 12), st.sampled_from(BUDGETS))
def test_the_total_is_exact(losses: Tensor, count: int, rule: str) -> None:
    (steps,) = share_out([urgency(losses, rule)], count)
    assert int(steps.sum()) == count
    assert bool(((steps >= 0) & (steps <= 4)).all())


@given(tables, st.integers(0, 12))
def test_heap_is_the_literal_heap(losses: Tensor, count: int) -> None:
    (steps,) = share_out([urgency(losses, "heap")], count)
    assert total(losses, steps) == pytest.approx(total(losses, torch.tensor(by_heap(losses, count))))


@given(tables, st.integers(0, 12))
def test_sort_counts_the_cheapest_single_steps(losses: Tensor, count: int) -> None:
    (steps,) = share_out([urgency(losses, "sort")], count)
    order = np.argsort(losses.numpy().reshape(-1), kind="stable")[:count]
    assert steps.tolist() == np.bincount(order // 4, minlength=3).tolist()


@given(tables)
def test_keys_are_slopes_of_the_lower_hull(losses: Tensor) -> None:
    for row, keys in zip(losses, urgency(losses), strict=True):
        assert keys.tolist() == pytest.approx(hull_slopes(row))


@settings(max_examples=150)
@given(tables, st.integers(0, 12))
def test_whole_segments_are_the_best_of_all_prefixes(losses: Tensor, count: int) -> None:
    keys = urgency(losses)
    (steps,) = share_out([keys], count)
    best = min(total(losses, torch.tensor(s)) for s in itertools.product(range(5), repeat=3) if sum(s) == count)
    cut = any(0 < s < 4 and keys[i, s - 1] == keys[i, s] for i, s in enumerate(steps.tolist()))
    if not cut:
        assert total(losses, steps) == pytest.approx(best)
    else:
        assert total(losses, steps) >= best - 1e-9


def test_uniform_rows_differ_by_one_at_most() -> None:
    (steps,) = share_out([urgency(torch.rand(5, 7), "uniform")], 18)
    assert sorted(steps.tolist()) == [3, 3, 4, 4, 4]


def test_forced_steps_and_rows_of_several_lengths() -> None:
    keys = [urgency(torch.tensor([[5.0, 1.0], [1.0, 1.0]])), urgency(torch.tensor([[2.0, 2.0, 9.0]]))]
    steps = share_out(keys, 4, [torch.tensor([0, 0]), torch.tensor([2])])
    assert [step.tolist() for step in steps] == [[0, 2], [2]]
    with pytest.raises(ValueError, match="2 to 7 steps"):
        share_out(keys, 1, [torch.tensor([0, 0]), torch.tensor([2])])


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="hull"):
        urgency(torch.ones(1, 1), "convex")  # type: ignore[arg-type]
