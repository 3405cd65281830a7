from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.testing import masks
from strongticket.ticket import Mask

SHAPES = {"a": (3, 5), "b": (130,), "c": (2, 2, 3), "d": (), "e": (0, 4)}

Oracle = dict[str, set[int]]


def oracle(mask: Mask) -> Oracle:
    """The mask as sets of flat indices, read from its boolean tensors."""
    return {name: {i for i, kept in enumerate(mask[name].reshape(-1).tolist()) if kept} for name in mask}


def whole(shapes: dict[str, tuple[int, ...]]) -> Oracle:
    return {name: set(range(math.prod(shape))) for name, shape in shapes.items()}


@given(masks(SHAPES), masks(SHAPES))
def test_algebra_is_that_of_sets(a: Mask, b: Mask) -> None:
    x, y = oracle(a), oracle(b)
    assert oracle(a & b) == {name: x[name] & y[name] for name in x}
    assert oracle(a | b) == {name: x[name] | y[name] for name in x}
    assert oracle(~a) == {name: whole(SHAPES)[name] - x[name] for name in x}
    assert oracle(a) == x  # nothing was mutated
    union = sum(len(x[name] | y[name]) for name in x)
    assert a.iou(b) == (sum(len(x[name] & y[name]) for name in x) / union if union else 1.0)
    assert (a == b) == (x == y) == (a.digest == b.digest)
    assert hash(a) == hash(~~a)


@given(masks())
def test_counts_and_densities_are_exact(mask: Mask) -> None:
    sets = oracle(mask)
    assert mask.counts == {name: len(kept) for name, kept in sets.items()}
    assert mask.count == sum(map(len, sets.values()))
    assert mask.size == sum(math.prod(shape) for shape in mask.shapes.values())
    assert mask.density == (mask.count / mask.size if mask.size else 0.0)
    assert mask.sparsity == 1 - mask.density
    assert len(mask) == len(list(mask)) == len(sets)
    assert f"{mask.count:,} of" in repr(mask)


@given(masks())
def test_every_way_to_make_a_mask_gives_the_same_value(mask: Mask) -> None:
    shapes = mask.shapes
    others = [
        Mask({name: mask[name] for name in mask}),
        Mask({name: mask[name].numpy() for name in mask}),
        Mask.from_indices(shapes, {name: mask.indices(name)[::-1].copy() for name in mask}),
        Mask.from_indices(shapes, {name: torch.from_numpy(mask.indices(name)) for name in mask if mask.counts[name]}),
        Mask.from_packed(shapes, {name: mask.packed(name) for name in mask}),
        Mask.merge(*(Mask({name: mask[name]}) for name in mask)),
        Mask(dict(reversed([(name, mask[name]) for name in mask]))),
    ]
    for other in others:
        assert other == mask
        assert oracle(other) == oracle(mask)


@given(masks())
def test_packed_bits_are_those_of_numpy_and_indices_those_of_flatnonzero(mask: Mask) -> None:
    for name in mask:
        flat = mask[name].numpy().reshape(-1)
        literal = bytearray(-(-flat.size // 8))
        for i in range(flat.size):
            literal[i // 8] |= int(flat[i]) << i % 8
        assert mask.packed(name).tobytes() == bytes(literal)
        assert mask.indices(name).tolist() == np.flatnonzero(flat).tolist()


@given(masks({"a": (4, 70)}), st.integers(0, 279))
def test_one_changed_entry_changes_the_digest(mask: Mask, place: int) -> None:
    kept = mask["a"].clone()
    kept.view(-1)[place] ^= True
    assert Mask({"a": kept}) != mask
    assert Mask({"a": mask["a"].reshape(70, 4)}) != mask
    assert Mask({"b": mask["a"]}) != mask


def test_what_is_given_out_and_taken_in_is_not_shared() -> None:
    given_in = torch.ones(6, dtype=torch.bool)
    index = np.array([1, 3])
    a, b = Mask({"w": given_in}), Mask.from_indices({"w": (600,)}, {"w": index})
    before = (a.digest, b.digest)
    given_in[0] = False
    index[0] = 5
    for mask in (a, b):
        mask["w"][:] = False
        mask.indices("w")[:] = 0
        mask.packed("w")[:] = 0
    bits = a.packed("w")
    c = Mask.from_packed({"w": (6,)}, {"w": bits})
    bits[:] = 0
    assert (Mask.merge(a).digest, Mask.merge(b).digest) == before
    assert (oracle(a), oracle(b)["w"], oracle(c)) == ({"w": set(range(6))}, {1, 3}, {"w": set(range(6))})


def test_full_keeps_everything_or_nothing() -> None:
    assert oracle(Mask.full(SHAPES)) == whole(SHAPES)
    assert oracle(Mask.full(SHAPES, kept=False)) == {name: set() for name in SHAPES}
    assert Mask({}).density == 0.0
    assert Mask({}).iou(Mask({})) == 1.0


def test_a_thin_mask_of_a_huge_parameter_costs_what_it_keeps() -> None:
    shape = (10**9, 10**9)
    mask = Mask.from_indices({"w": shape}, {"w": np.array([10**18 - 1, 0, 5])})
    assert mask.counts == {"w": 3}
    assert mask.indices("w").tolist() == [0, 5, 10**18 - 1]
    assert mask.size == 10**18


def test_wrong_masks_are_refused() -> None:
    with pytest.raises(TypeError, match="float32"):
        Mask({"w": torch.ones(3)})
    with pytest.raises(TypeError, match="int"):
        Mask({"w": np.ones(3, dtype=np.int64)})
    for index in ([-1], [6], [0, 6], [6, 0]):
        with pytest.raises(IndexError, match=r"0\.\.5"):
            Mask.from_indices({"w": (2, 3)}, {"w": np.array(index)})
    with pytest.raises(ValueError, match="twice"):
        Mask.from_indices({"w": (6,)}, {"w": np.array([3, 1, 3])})
    with pytest.raises(KeyError, match="v"):
        Mask.from_indices({"w": (6,)}, {"v": np.array([1])})
    with pytest.raises(KeyError):
        Mask.from_packed({"w": (6,)}, {})
    for bits in (np.zeros(2, np.uint8), np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros((1, 1), np.uint8)):
        with pytest.raises(ValueError, match="packed bytes"):
            Mask.from_packed({"w": (6,)}, {"w": bits})
    with pytest.raises(ValueError, match="spare bits"):
        Mask.from_packed({"w": (6,)}, {"w": np.array([0b1000000], np.uint8)})
    with pytest.raises(ValueError, match="two masks"):
        Mask.merge(Mask.full({"w": (1,)}), Mask.full({"w": (1,)}))
    with pytest.raises(ValueError, match="different networks"):
        Mask.full({"w": (2, 3)}) & Mask.full({"w": (3, 2)})
    with pytest.raises(KeyError):
        Mask({})["w"]
    assert Mask({}) != "mask"
