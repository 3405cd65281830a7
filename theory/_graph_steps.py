"""Proof steps on layers in a basis: gadget, norms, constants, symmetry, budgets; exact integers, fractions or sympy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import sympy

from strongticket import bounds
from strongticket.models.bases import (
    AbstractBasis,
    Circulant,
    Convolution,
    GroupConvolution,
    Pointwise,
    Sets,
    dihedral,
    symmetric,
)
from theory._draws import Draws
from theory._theorem import ProofStep
from theory.pensia2020optimal import STEPS as DENSE_STEPS

__all__ = ["BASIS_STEPS", "CONVOLUTION_STEPS", "RESIDUAL_STEPS"]

Whole = npt.NDArray[np.int64]

_CONVOLUTIONS = tuple(
    Convolution(kernel, stride, padding, positions, dilation)
    for positions in ((5,), (4, 3))
    for kernel, stride, padding, dilation in itertools.product((1, 2, 3), (1, 2), (0, 1), (1, 2))
    if min(positions) + 2 * padding >= dilation * (kernel - 1) + 1
)
_OTHERS: tuple[tuple[AbstractBasis, int], ...] = (
    (Pointwise(), 1),
    (Pointwise((3,)), 1),
    (Circulant(4), 4),
    (GroupConvolution(dihedral(3)), 6),
    (GroupConvolution(symmetric(3)), 6),
    (Sets(4), 5),
)
"""Bases with the norm that the formulas state for them."""


def _whole(basis: AbstractBasis) -> Whole:
    """The maps as integers, [K, P_out, P_in]."""
    maps = np.stack([matrix.toarray() for matrix in basis.matrices()])
    assert (maps == np.rint(maps)).all()
    return maps.astype(np.int64)


def _check_gadget() -> bool:
    # a hidden channel is v relu(u x) at every position; B takes it as u v times the half of x that u serves
    u, v = sympy.symbols("u v", positive=True)
    entries = sympy.symbols("b:6", real=True)
    for signs in itertools.product((1, -1), repeat=3):
        x = [sign * sympy.Symbol(f"x{i}", positive=True) for i, sign in enumerate(signs)]
        for own in (1, -1):
            hidden = [sympy.Max(0, own * u * value) for value in x]
            half = [value if sign == own else sympy.Integer(0) for value, sign in zip(x, signs, strict=True)]
            for row in (entries[:3], entries[3:]):
                got = v * sum(b * h for b, h in zip(row, hidden, strict=True))
                wanted = own * u * v * sum(b * h for b, h in zip(row, half, strict=True))
                if sympy.expand(got - wanted) != 0:
                    return False
    return True


def _check_row_norm() -> bool:
    # the norm of a row between maximum norms is its l1 norm: attained at the signs, by enumeration
    for case in range(20):
        row = [Fraction(int(k) - 32, 16) for k in Draws(2023).below(f"row {case}", 65, 5)]
        best = max(
            sum(a * s for a, s in zip(row, signs, strict=True)) for signs in itertools.product((1, -1), repeat=5)
        )
        if best != sum(abs(a) for a in row):
            return False
    return True


def _largest_rows(basis: AbstractBasis) -> int:
    return int(np.abs(_whole(basis)).sum(axis=(0, 2)).max())


def _check_basis_norms() -> bool:
    """The norm that the text states; and coefficients +-w never make a layer of larger norm than n_in norm w."""
    for basis, norm in (*_OTHERS, *((conv, conv.terms) for conv in _CONVOLUTIONS)):
        if _largest_rows(basis) != norm or (isinstance(basis, Convolution) and norm > basis.size):
            return False
        maps, attained = _whole(basis), 0
        for case in range(8):
            count = 2 * 2 * basis.size
            signs = np.ones(count, np.int64) if not case else 2 * Draws(case).below("signs", 2, count) - 1
            layer = np.einsum("oik,kpq->opiq", signs.reshape(2, 2, -1), maps)  # [O, P_out, I, P_in]
            attained = max(attained, int(np.abs(layer).sum(axis=(2, 3)).max()))
        if attained != 2 * norm:  # reached by equal signs, never exceeded
            return False
    return True


def _check_constants() -> bool:
    # a convolution lets a constant pass exactly when some place of the kernel never lies beyond the border
    for conv in _CONVOLUTIONS:
        passing = bool((_whole(conv).sum(axis=2) == 1).all(axis=1).any())
        steps = [_reads(conv, d) for d in range(len(conv.positions))]
        inside = all(
            any(all(0 <= at < size for at in place) for place in reads)
            for reads, size in zip(steps, conv.positions, strict=True)
        )
        if passing != inside:
            return False
    return all((_whole(basis).sum(axis=2) == 1).all(axis=1).any() for basis, _ in _OTHERS)


def _reads(conv: Convolution, d: int) -> list[list[int]]:
    """Where each place of the kernel reads, for each output, in one dimension."""
    kernel, stride, padding, dilation = (
        getattr(conv, name)[d] for name in ("kernel", "stride", "padding", "dilation")
    )  # fmt: skip
    return [[p * stride - padding + k * dilation for p in range(conv.outputs[d])] for k in range(kernel)]


def _symmetries(basis: AbstractBasis) -> Iterator[Whole]:
    """Permutations of the positions that every layer in the basis commutes with."""
    n = basis.inputs[0]
    if isinstance(basis, Circulant):
        yield np.eye(n, dtype=np.int64)[[(p - 1) % n for p in range(n)]]
    elif isinstance(basis, GroupConvolution):
        for g in range(n):
            yield np.eye(n, dtype=np.int64)[list(basis.table[g])]
    else:
        for order in ([1, 0, *range(2, n)], [*range(1, n), 0]):
            yield np.eye(n, dtype=np.int64)[order]


def _check_symmetry() -> bool:
    for basis in (Circulant(5), GroupConvolution(dihedral(3)), GroupConvolution(symmetric(3)), Sets(4)):
        maps = _whole(basis)
        if any((maps @ moved != moved @ maps).any() for moved in _symmetries(basis)):
            return False
    # told apart from maps that do not commute
    crooked = np.diag(np.arange(5))
    return any((crooked @ moved != moved @ crooked).any() for moved in _symmetries(Circulant(5)))


def _formula(key: str) -> sympy.Expr:
    return bounds.get(key).expression


def _check_budget() -> bool:
    eps, layers = sympy.symbols("eps L", real=True)
    each = _formula("ferbach2023general.coefficient_eps")
    layer = _formula("ferbach2023general.layer_error").xreplace({sympy.Symbol("weight_eps", real=True): each})
    return bool(sympy.simplify(layer - eps / (2 * layers)) == 0)


def _check_pair_is_convolution() -> bool:
    """A 1x1 layer of one weight per channel, ReLU, and a kernel are the convolution with kernel sum_h u_h v_h."""
    for case, conv in enumerate(_CONVOLUTIONS):
        draws, maps = Draws(case), _whole(conv)
        channels, hidden, outputs = 2, 5, 2
        serves = draws.below("serves", channels, hidden)
        u = 1 + draws.below("u", 9, hidden)
        v = draws.below("v", 19, outputs * hidden * conv.size).reshape(outputs, hidden, -1) - 9
        x = draws.below("x", 9, channels * maps.shape[2]).reshape(channels, -1)
        middle = np.maximum(u[:, None] * x[serves], 0)
        pair = np.einsum("ohk,kpq,hq->op", v, maps, middle)
        kernel = np.stack([(u * v.swapaxes(1, 2) * (serves == i)).sum(axis=2) for i in range(channels)], axis=1)
        if (pair != np.einsum("oik,kpq,iq->op", kernel, maps, x)).any():
            return False
    return True


def _check_kernel_norm() -> bool:
    """The norm between maximum norms is at most the l1 norm of an output channel's kernel, and equal inside."""
    for case, conv in enumerate(_CONVOLUTIONS):
        maps = _whole(conv)
        kernel = Draws(case).below("kernel", 19, 3 * 2 * conv.size).reshape(3, 2, -1) - 9
        rows = np.abs(np.einsum("oik,kpq->opiq", kernel, maps)).sum(axis=(2, 3))
        l1 = np.abs(kernel).sum(axis=(1, 2))
        inside = (maps.sum(axis=2) == 1).all(axis=0)  # positions where the whole kernel lies inside
        if (rows > l1[:, None]).any() or (rows[:, inside] != l1[:, None]).any():
            return False
    return True


def _check_convolution_budget() -> bool:
    d, c_in = sympy.symbols("d c_in", real=True)
    names = {sympy.Symbol("basis_norm", real=True): d**2, sympy.Symbol("n_in", real=True): c_in}
    same = sympy.simplify(
        _formula("ferbach2023general.coefficient_eps").xreplace(names) - _formula("dacunha2022proving.coefficient_eps")
    )
    return bool(same == 0 and all(conv.terms <= conv.size for conv in _CONVOLUTIONS))


def _check_blocks() -> bool:
    """One block takes err + B to ((1 + p e) + (1 + e)^D)(err + B), and B to 2 B; so does the formula say."""
    e, p, err, size, alpha = sympy.symbols("e projected err B alpha", real=True)

    def layer(value: tuple[sympy.Expr, sympy.Expr], off: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
        return value[0] + off * (value[1] + value[0]), value[1]  # a = 1: the largest that the hypothesis allows

    for depth in (1, 2, 3):
        branch, short = (err, size), layer((err, size), p * e)
        for _ in range(depth):
            branch = layer(branch, e)
        total = branch[0] + short[0] + branch[1] + short[1]
        if sympy.expand(total - ((1 + p * e) + (1 + e) ** depth) * (err + size)) != 0:
            return False
        if sympy.expand(branch[1] + short[1] - 2 * size) != 0:
            return False
    formula = _formula("burkholz2022convolutional.residual_error")
    for blocks, depth, outside in itertools.product((1, 2), (1, 2), (1, 2)):
        value: tuple[sympy.Expr, sympy.Expr] = (sympy.Integer(0), alpha)
        for _ in range(outside):
            value = layer(value, e)
        for _ in range(blocks):
            branch, short = value, layer(value, p * e)
            for _ in range(depth):
                branch = layer(branch, e)
            value = (branch[0] + short[0], branch[1] + short[1])
        counts = dict(zip(sympy.symbols("R D M", real=True), (blocks, depth, outside), strict=True))
        if sympy.expand(value[0] - formula.xreplace(counts)) != 0:
            return False
    return True


def _check_residual_budget() -> bool:
    # with a layer error of t/(2 N), t = eps 2^-R and N = M + R D, the block's factor is at most 2 (1 + e)^D
    e, n = sympy.Symbol("e", nonnegative=True), sympy.Symbol("n", nonnegative=True)
    more = sympy.expand(2 * (1 + e) * (1 + n * e) - ((1 + e) + (1 + e) * (1 + n * e)))  # Bernoulli's lower bound
    R, D, M, eps, n_in, norm = sympy.symbols("R D M eps n_in basis_norm", real=True)
    each = n_in * norm * _formula("burkholz2022convolutional.residual_coefficient_eps")
    right = sympy.simplify(each - eps / (2**R * 2 * (M + R * D))) == 0
    # numbers: the formula at that error, in exact fractions, for many sizes
    for blocks, depth, outside, top in itertools.product((1, 3), (1, 2), (1, 2), (Fraction(1, 100), Fraction(99, 100))):
        off = top / (2 ** (blocks + 1) * (outside + blocks * depth))
        grown = (1 + off) ** outside * ((1 + off) + (1 + off) ** depth) ** blocks - 2**blocks
        if not 0 < grown <= top:
            return False
    return bool(right and all(term.is_nonnegative for term in sympy.Add.make_args(more)))


_PENSIA = {step.name: step for step in DENSE_STEPS}
_SHARED = tuple(_PENSIA[name] for name in ("product density", "plans", "layer errors", "closing"))

BASIS_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "gadget at positions",
        "B(v relu(u x)) = u v B(half of x that u serves), for a map B of 3 positions to 2 and all signs of x (sympy)",
        _check_gadget,
        general=False,
    ),
    ProofStep(
        "rows",
        "between maximum norms, the norm of a row is its l1 norm (20 rows of 5 fractions, all signs)",
        _check_row_norm,
        general=False,
    ),
    ProofStep(
        "norm of a basis",
        f"coefficients of magnitude w make a layer of norm n_in norm(B) w at most, and equal ones attain it, for "
        f"{len(_OTHERS) + len(_CONVOLUTIONS)} bases: dense 1, circulant n, groups their order, sets n + 1, "
        "convolutions the most taps that lie inside (exact integers, drawn signs)",
        _check_basis_norms,
        general=False,
    ),
    ProofStep(
        "budget of a layer",
        "n_in norm(B) times coefficient_eps is eps/(2L) (sympy)",
        _check_budget,
    ),
    ProofStep(
        "constants",
        "a bias is served through a basis element of row sums 1; convolutions have one exactly when some place of the "
        f"kernel never reads the padding ({len(_CONVOLUTIONS)} convolutions), other bases have one (exact integers)",
        _check_constants,
        general=False,
    ),
    ProofStep(
        "symmetry",
        "every basis element commutes with the group's action, so a ticket is equivariant whatever is kept: cyclic "
        "shifts, left translations of two groups, permutations of a set (exact integers)",
        _check_symmetry,
        general=False,
    ),
    *_SHARED,
)

CONVOLUTION_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "a pair is a convolution",
        "1x1 channels of one weight u, ReLU and a kernel v act on nonnegative inputs as the kernel sum u v, for "
        f"{len(_CONVOLUTIONS)} kernels, strides, paddings and dilations in one and two dimensions (exact integers)",
        _check_pair_is_convolution,
        general=False,
    ),
    ProofStep(
        "norm of a kernel",
        "between maximum norms, a convolution has at most the largest l1 norm of an output channel's kernel, and "
        "exactly that where some position sees the whole kernel (exact integers)",
        _check_kernel_norm,
        general=False,
    ),
    ProofStep(
        "budget of a convolution",
        "a position sees at most d^2 entries of a channel: the general budget with norm(B) = d^2 (sympy)",
        _check_convolution_budget,
    ),
    *_SHARED,
)

RESIDUAL_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "blocks",
        "a block x -> s(x) + f(x), f of D layers, multiplies error + size by (1 + p e) + (1 + e)^D and size by 2; "
        "residual_error is the literal recursion (sympy, D to 3, R, M to 2)",
        _check_blocks,
        general=False,
    ),
    ProofStep(
        "budget of a residual network",
        "n_in norm(B) times residual_coefficient_eps is t/(2N), t = eps 2^-R, N = M + R D (sympy); a block's factor is "
        "at most 2 (1 + e)^D; with it residual_error <= eps (exact fractions, 16 sizes)",
        _check_residual_budget,
        general=False,
    ),
    *_SHARED,
)
