from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.selection import allocate, kept_count, largest, largest_global


def stable_sort_oracle(values: torch.Tensor, count: int) -> torch.Tensor:
    flat = values.detach().contiguous().reshape(-1)
    order = torch.sort(flat, stable=True).indices
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[order[flat.numel() - count :]] = True
    return mask.view(values.shape)


def test_count_is_the_nearest_whole_number_for_all_small_sizes() -> None:
    for size in range(201):
        for density in (0.0, 0.005, 0.1, 0.3, 0.5, 0.8, 0.9, 0.95, 1.0):
            count = kept_count(density, size)
            assert 0 <= count <= size
            assert abs(count - density * size) <= 0.5 + 1e-9
            if density * size == int(density * size) + 0.5:
                assert count == int(density * size) + 1


@pytest.mark.parametrize("density", [-0.1, 1.1, math.nan])
def test_a_density_outside_0_1_is_refused(density: float) -> None:
    with pytest.raises(ValueError, match="fraction that is kept"):
        kept_count(density, 10)
    with pytest.raises(ValueError, match="fraction that is kept"):
        allocate({"a": (2, 2)}, density)


@given(st.lists(st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0, math.inf, -math.inf]), max_size=40), st.data())
def test_largest_is_the_tail_of_a_stable_sort(values: list[float], data: st.DataObject) -> None:
    tensor = torch.tensor(values)
    count = data.draw(st.integers(0, len(values)))
    assert torch.equal(largest(tensor, count), stable_sort_oracle(tensor, count))


@pytest.mark.parametrize("kind", ["random", "bf16", "zeros", "equal", "integers"])
def test_largest_with_many_ties(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(7, 3000, generator=generator).abs()
    if kind == "bf16":
        values = values.bfloat16().float()
    elif kind == "zeros":
        values = values * (torch.rand(values.shape, generator=generator) < 0.3)
    elif kind == "equal":
        values = torch.ones_like(values)
    elif kind == "integers":
        values = (values * 4).floor()
    for count in (0, 1, 2999, 10_500, 14_700, 20_999, 21_000):
        mask = largest(values, count)
        assert int(mask.sum()) == count
        assert torch.equal(mask, stable_sort_oracle(values, count))


def test_memory_format_does_not_change_the_choice() -> None:
    values = torch.randint(0, 3, (4, 5, 3, 3), generator=torch.Generator().manual_seed(1)).float()
    last = values.to(memory_format=torch.channels_last)
    assert torch.equal(largest(values, 60), largest(last, 60))


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="value 1"):
        largest(torch.tensor([0.0, math.nan]), 1)
    with pytest.raises(ValueError, match="count from 0 to 2"):
        largest(torch.zeros(2), 3)


def test_global_selection_is_selection_from_one_list() -> None:
    rng = np.random.default_rng(0)
    parts = {name: torch.from_numpy(rng.integers(0, 9, size)) for name, size in (("a", 7), ("b", 11), ("c", 3))}
    together = torch.cat(list(parts.values()))
    for count in range(22):
        masks = largest_global(parts, count)
        assert torch.equal(torch.cat(list(masks.values())), stable_sort_oracle(together, count))


SHAPES = {"conv1": (64, 3, 3, 3), "conv2": (64, 64, 3, 3), "fc": (256, 4096), "last": (10, 256), "bias": (10,)}


@pytest.mark.parametrize("allocation", ["erdos-renyi", "erdos-renyi-kernel"])
@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_erdos_renyi_counts_add_up_and_follow_the_law(allocation: str, density: float) -> None:
    counts = allocate(SHAPES, density, allocation)
    sizes = {name: math.prod(shape) for name, shape in SHAPES.items()}
    assert sum(counts.values()) == kept_count(density, sum(sizes.values()))
    factors = []
    for name, shape in SHAPES.items():
        assert 0 <= counts[name] <= sizes[name]
        if len(shape) > 1 and 0 < counts[name] < sizes[name]:
            sides = shape if allocation == "erdos-renyi-kernel" else shape[:2]
            law = sum(sides) / math.prod(sides)
            factors.append((counts[name] / sizes[name] / law, 1.5 / sizes[name] / law))
    for value, slack in factors:
        assert abs(value - factors[-1][0]) <= slack + factors[-1][1]


def test_layer_allocation_keeps_each_layer_at_the_density() -> None:
    assert allocate({"a": (10, 10), "b": (3,)}, 0.5) == {"a": 50, "b": 2}
    with pytest.raises(ValueError, match="fixed counts"):
        allocate(SHAPES, 0.5, "global")
