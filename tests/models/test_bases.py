"""Bases of linear layers against their matrices, the matrices against the definitions, and the symmetries they have."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.models.bases import (
    AbstractBasis,
    Circulant,
    Convolution,
    GroupConvolution,
    MatrixBasis,
    Pointwise,
    Sets,
    basis,
    dihedral,
    symmetric,
)

KLEIN = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))


def convolutions() -> st.SearchStrategy[Convolution]:
    def of(dimensions: int) -> st.SearchStrategy[Convolution | None]:
        def numbers(least: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
            return st.tuples(*[st.integers(least, most)] * dimensions)

        largest = {1: 12, 2: 7, 3: 4}[dimensions]
        return st.builds(_conv, numbers(1, 4), numbers(1, 3), numbers(0, 3), numbers(1, largest), numbers(1, 3))

    return st.integers(1, 3).flatmap(of).filter(lambda made: made is not None)  # type: ignore[arg-type,return-value]


def _conv(*sizes: tuple[int, ...]) -> Convolution | None:
    try:
        return Convolution(*sizes)
    except ValueError:
        return None


def matrix_bases() -> st.SearchStrategy[MatrixBasis]:
    def of(shape: tuple[int, int, int]) -> st.SearchStrategy[MatrixBasis]:
        entries = st.lists(st.integers(-4, 4), min_size=math.prod(shape), max_size=math.prod(shape))
        return entries.map(lambda found: MatrixBasis(np.array(found).reshape(shape) / 4.0))

    return st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)).flatmap(of)


def bases() -> st.SearchStrategy[AbstractBasis]:
    tables = st.sampled_from([dihedral(3), dihedral(4), symmetric(3), KLEIN])
    return st.one_of(
        convolutions(),
        st.lists(st.integers(1, 4), max_size=3).map(lambda sizes: Pointwise(tuple(sizes))),
        st.builds(Circulant, st.integers(1, 7)),
        st.builds(Sets, st.integers(1, 6)),
        st.builds(GroupConvolution, tables),
        matrix_bases(),
    )


def integers(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float64))


def oracle(made: AbstractBasis, weight: torch.Tensor, x: torch.Tensor, groups: int) -> np.ndarray:
    """y[o] = sum over i, k of w[o, i, k] B_k x[i], literally."""
    maps = [matrix.toarray() for matrix in made.matrices()]
    flat = x.flatten(2).numpy() if x.ndim > 2 else x.numpy()[:, :, None]
    outputs, own, _ = weight.shape
    y = np.zeros((len(x), outputs, math.prod(made.outputs)))
    for b, o, i, k in product(range(len(x)), range(outputs), range(own), range(made.size)):
        channel = (o // (outputs // groups)) * own + i
        y[b, o] += float(weight[o, i, k]) * (maps[k] @ flat[b, channel])
    return y.reshape(len(x), outputs, *made.outputs)


@given(
    made=bases(), groups=st.integers(1, 3), own=st.integers(1, 2), outputs=st.integers(1, 2), seed=st.integers(0, 99)
)
def test_layers_are_their_matrices(made: AbstractBasis, groups: int, own: int, outputs: int, seed: int) -> None:
    weight = integers(seed, groups * outputs, own, made.size)
    x = integers(seed + 100, 2, groups * own, *made.inputs)
    wanted = oracle(made, weight, x, groups)  # exact: sums of small multiples of 1/4
    assert np.array_equal(made.apply(weight, x, groups).numpy(), wanted)
    assert np.array_equal(made.apply(weight.float(), x.float(), groups).numpy(), wanted.astype(np.float32))


@given(made=bases())
def test_ids_are_read_back(made: AbstractBasis) -> None:
    again = basis(made.id)
    assert again == made
    assert hash(again) == hash(made)
    assert again.id == made.id
    assert not set(made.id) & set("_@:,; ")  # what separates the parts of a graph's id


@given(made=bases())
def test_terms_row_sums_and_absolute_values_are_those_of_the_matrices(made: AbstractBasis) -> None:
    maps = np.stack([matrix.toarray() for matrix in made.matrices()])
    assert maps.shape == (made.size, math.prod(made.outputs), math.prod(made.inputs))
    assert made.terms == (maps != 0).sum(axis=(0, 2)).max(initial=0)
    assert np.array_equal(made.row_sums, maps.sum(axis=2))
    assert made.nonnegative == bool((maps >= 0).all())
    absolute = np.stack([matrix.toarray() for matrix in made.absolute().matrices()])
    assert np.array_equal(absolute, np.abs(maps))
    assert (made.absolute().inputs, made.absolute().outputs) == (made.inputs, made.outputs)


@given(made=convolutions())
def test_convolutions_are_as_defined(made: Convolution) -> None:
    kernel, stride, padding, dilation = made.kernel, made.stride, made.padding, made.dilation
    for matrix, place in zip(made.matrices(), np.ndindex(*kernel), strict=True):  # type: ignore[misc]
        dense = matrix.toarray().reshape(*made.outputs, *made.inputs)
        wanted = np.zeros_like(dense)
        for at in np.ndindex(*made.outputs):
            read = tuple(
                p * s - pad + k * d
                for p, s, pad, k, d in zip(at, stride, padding, place, dilation, strict=True)  # type: ignore[arg-type]
            )
            if all(0 <= q < n for q, n in zip(read, made.positions, strict=True)):
                wanted[(*at, *read)] = 1.0
        assert np.array_equal(dense, wanted)


def test_convolutions_are_torchs() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 3), groups=2, bias=False)
    made = Convolution((3, 2), (2, 1), (1, 2), (9, 8), (1, 3))
    x = torch.randn(3, 4, 9, 8)
    assert torch.equal(made.apply(layer.weight.reshape(6, 2, 6), x, 2), layer(x))


@given(n=st.integers(1, 7), shift=st.integers(0, 6), seed=st.integers(0, 99))
def test_circulant_layers_commute_with_shifts(n: int, shift: int, seed: int) -> None:
    made, weight, x = Circulant(n), integers(seed, 2, 3, n), integers(seed + 1, 2, 3, n)
    shifted = made.apply(weight, torch.roll(x, shift, -1))
    assert torch.equal(shifted, torch.roll(made.apply(weight, x), shift, -1))


@given(table=st.sampled_from([dihedral(3), dihedral(5), symmetric(4), KLEIN]), data=st.data())
def test_group_layers_commute_with_the_group(table: tuple[tuple[int, ...], ...], data: st.DataObject) -> None:
    n, seed = len(table), data.draw(st.integers(0, 99))
    made, weight, x = GroupConvolution(table), integers(seed, 2, 2, n), integers(seed + 1, 2, 2, n)
    acted = list(table[data.draw(st.integers(0, n - 1))])  # g -> a g
    assert torch.equal(made.apply(weight, x)[..., acted], made.apply(weight, x[..., acted]))


def test_a_cyclic_group_is_a_circle() -> None:
    n = 6
    table = tuple(tuple((g + h) % n for h in range(n)) for g in range(n))
    weight, x = integers(0, 2, 3, n), integers(1, 2, 3, n)
    assert torch.equal(GroupConvolution(table).apply(weight, x), Circulant(n).apply(weight, x))


@given(n=st.integers(1, 6), seed=st.integers(0, 99))
def test_layers_of_sets_commute_with_permutations(n: int, seed: int) -> None:
    made, weight, x = Sets(n), integers(seed, 2, 3, 2), integers(seed + 1, 2, 3, n)
    order = np.random.default_rng(seed).permutation(n)
    assert torch.equal(made.apply(weight, x)[..., order], made.apply(weight, x[..., order]))


def test_a_layer_that_is_not_equivariant_fails_these_tests() -> None:
    made, weight, x = Convolution(3, 1, 1, (6,)), integers(0, 2, 3, 3), integers(1, 2, 3, 6)
    assert not torch.equal(made.apply(weight, torch.roll(x, 1, -1)), torch.roll(made.apply(weight, x), 1, -1))


def test_tables_of_no_group_are_refused() -> None:
    loop = ((0, 1, 2, 3, 4), (1, 0, 3, 4, 2), (2, 4, 0, 1, 3), (3, 2, 4, 0, 1), (4, 3, 1, 2, 0))  # Latin, with a unit
    with pytest.raises(ValueError, match="not associative"):
        GroupConvolution(loop)
    with pytest.raises(ValueError, match=r"each of 0\.\.1 once"):
        GroupConvolution(((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="square"):
        GroupConvolution(((0, 1),))
    with pytest.raises(ValueError, match=r"each of 0\.\.1 once"):
        GroupConvolution(((0, 7), (7, 0)))


@pytest.mark.parametrize("entry", [1 / 3, math.nan, math.inf, 1e300])
def test_matrices_that_float32_does_not_hold_are_refused(entry: float) -> None:
    with pytest.raises(ValueError, match="float32 does not hold"):
        MatrixBasis([[[1.0, entry]]])


def test_matrices_keep_their_entries_whatever_they_are() -> None:
    entries = np.float32([[[1 / 3, -0.0, 2.0**-140], [3e38, -1.5, 0.0]]]).astype(np.float64)
    made = MatrixBasis(entries, inputs=(3, 1), outputs=(1, 2))
    again = basis(made.id)
    assert isinstance(again, MatrixBasis)
    assert np.array_equal(again.arrays, entries)
    assert (again.inputs, again.outputs) == ((3, 1), (1, 2))
    assert made != MatrixBasis(entries)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "conv",
        "conv3x3-on8",
        "conv3-s1-on8",  # the stride 1 is left out
        "conv3-p01-on8",
        "conv3x3-s2x2-on8x8",  # written s2
        "conv9-on8",
        "conv3-on0",
        "circulant0",
        "circulant-3",
        "sets٣",
        "point",
        "dense3",
        "group2-0001",
        "group2-00010000",
        "group8-" + "00" * 64,
        "group-dihedral2",  # Klein's group is not among those with names
        "group-dihedral300",
        "group-symmetric9",
        "matrices1-2-1~0x1.0p+0~AA==",
        "matrices1-2-1~0x1p+0~0x1p+1~!!==",
        "matrices1-9999999-9999999~0x1p+0~AA==",
        "matrices1-2-1~0x0p+0~0x1p+0~0x1.8p+0~8A==",  # code 3 of 3 values
    ],
)
def test_texts_of_no_basis_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        basis(text)


@pytest.mark.parametrize(
    "sizes",
    [
        (0, 1, 0, (8,)),
        (3, 0, 0, (8,)),
        (3, 1, -1, (8,)),
        (9, 1, 0, (8,)),
        (3, 1, 0, ()),
        ((3, 3), 1, 0, (8,)),
        (True, 1, 0, (8,)),
    ],
)
def test_convolutions_of_no_size_are_refused(sizes: tuple[object, ...]) -> None:
    with pytest.raises(ValueError):
        Convolution(*sizes)  # type: ignore[arg-type]
