"""Codes for the weights of a network, to hold tickets against: quantised, entropy coded, sparse; at any number of bits.

Each returns the very weights that a decoder would make of the message, so what is measured is what was paid for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, final, get_args

import numpy as np
import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.models import Target
from strongticket.selection import largest_global
from strongticket.storage._levels import Floats, best_step, lloyd, nearest, with_step
from strongticket.storage.bits import FLOAT, Bits, mask_bits, name_bits, subset_bits, word_bits
from strongticket.ticket import AbstractArchitecture

__all__ = [
    "CODES",
    "Approximation",
    "Code",
    "at_budget",
    "entropy_coded",
    "kmeans_quantised",
    "sparse_float",
    "sparse_quantised",
    "uniform_quantised",
]

Code = Literal["uniform", "k-means", "entropy-coded", "sparse", "sparse-quantised"]
"""Weights of a few values at equal distances; of a few values anywhere; at equal distances, frequent ones cheaper; the
largest ones as floats; the largest ones of a few values."""
CODES: Final[tuple[Code, ...]] = get_args(Code)
MOST_LEVELS: Final = 1 << 16
_LARGEST: Final = float(np.finfo(np.float32).max)
_MOST_INDEX: Final = (1 << 31) - 1  # 32 bits are paid for the least and for the largest multiple
Weights = Mapping[str, Tensor] | Target


@final
@dataclass(frozen=True, eq=False)
class Approximation:
    """Weights as a code gives them back, and what it took.

    Attributes:
        code: which one.
        weights: by name, float32.
        bits: the message.
        error: sum of the squared changes of the weights.
        size: number of weights.
        details: what the code chose: levels, step, kept.
    """

    code: Code
    weights: Mapping[str, Tensor] = field(repr=False)
    bits: Bits
    error: float
    size: int
    details: Mapping[str, float]

    @property
    def mse(self) -> float:
        """Mean squared change of a weight."""
        return self.error / max(1, self.size)


def uniform_quantised(weights: Weights, levels: int) -> Approximation:
    """Give every weight one of `levels` values at equal distances around 0, each parameter with a distance of its own.

    A weight is (i - (levels - 1)/2) step, 0 <= i < levels: log2(levels) bits each, and 32 for the step, which is the
    best of some hundred. One level is a network of zeros.

    Args:
        weights: by name, or a target.
        levels: 1..65536.

    >>> made = uniform_quantised({"w": torch.tensor([-1.0, 1.0, 0.9, -0.9])}, 2)
    >>> [round(value, 2) for value in made.weights["w"].tolist()], made.bits.values
    ([-0.95, 0.95, 0.95, -0.95], 36.0)
    """
    given, architecture = _given(weights)
    _check_levels(levels)
    found = {name: with_step(value, best_step(value, levels), levels) for name, value in given.items()}
    size = sum(value.size for value in given.values())
    bits = Bits(recipe=name_bits(architecture), values=_indexed(size, levels, len(given)))
    return _made("uniform", given, found, bits, {"levels": levels})


def kmeans_quantised(weights: Weights, levels: int) -> Approximation:
    """Give every weight one of `levels` values, the best ones that Lloyd's iteration finds for each parameter.

    log2(levels) bits each, and 32 for each value: worth it for few levels. The iteration begins at the values of
    `uniform_quantised` and at quantiles, and the better end is taken.

    Args:
        weights: by name, or a target.
        levels: 1..65536.

    >>> made = kmeans_quantised({"w": torch.tensor([0.0, 0.0, 0.25, 1.0])}, 3)
    >>> made.error, made.bits.values == 4 * math.log2(3) + 96
    (0.0, True)
    """
    given, architecture = _given(weights)
    _check_levels(levels)
    found = {name: nearest(value, lloyd(value, levels)) for name, value in given.items()}
    size = sum(value.size for value in given.values())
    bits = Bits(recipe=name_bits(architecture), values=_indexed(size, levels, levels * len(given)))
    return _made("k-means", given, found, bits, {"levels": levels})


def entropy_coded(weights: Weights, step: float) -> Approximation:
    """Round every weight to a multiple of one step; multiples are written by how often they occur.

    The scalar code that is hard to beat: at many bits a weight costs a quarter of a bit, log2(2 pi e/12)/2, more than
    any code needs, at few bits less. 32 bits for the step, 64 for each parameter's least and largest multiple, and
    `symbol_bits` of the multiples.

    Args:
        weights: by name, or a target.
        step: above 0, and so large that no multiple is beyond 32 bits.

    Raises:
        ValueError: such a step, or weights that float32 cannot hold.

    >>> made = entropy_coded({"w": torch.tensor([0.1, 0.0, 0.9, 0.0])}, 1.0)
    >>> made.weights["w"].tolist(), round(made.bits.values - 96, 3)  # one of 4 * 5 words
    ([0.0, 0.0, 1.0, 0.0], 4.322)
    """
    given, architecture = _given(weights)
    step = float(np.float32(step))
    if not (0.0 < step < math.inf):
        raise ValueError(f"expected a step above 0, got {step}")
    if not _counts(step, largest := _magnitude(given)):
        least = largest / _MOST_INDEX
        raise ValueError(f"expected a step of at least {least:.3g}, so that multiples fit in 32 bits, got {step:.3g}")
    found: dict[str, Floats] = {}
    bits = FLOAT
    for name, value in given.items():
        index = np.rint(value / step).astype(np.int64)
        low = int(index.min(initial=0))
        bits += 2 * FLOAT + word_bits(index.reshape(-1) - low)
        found[name] = np.asarray(index * step, dtype=np.float64)
    return _made("entropy-coded", given, found, Bits(recipe=name_bits(architecture), values=bits), {"step": step})


def sparse_float(weights: Weights, kept: int) -> Approximation:
    """Keep the largest weights of all parameters together, as floats: positions and 32 bits each.

    Args:
        weights: by name, or a target.
        kept: how many.

    >>> made = sparse_float({"w": torch.tensor([0.1, -2.0, 0.9])}, 1)
    >>> made.weights["w"].tolist(), made.bits.values
    ([0.0, -2.0, 0.0], 32.0)
    """
    given, architecture = _given(weights)
    mask = _largest(given, kept)
    found = {name: np.where(mask[name].numpy(), value, 0.0) for name, value in given.items()}
    bits = Bits(recipe=name_bits(architecture), positions=mask_bits(mask), values=FLOAT * kept)
    return _made("sparse", given, found, bits, {"kept": kept})


def sparse_quantised(weights: Weights, kept: int, levels: int) -> Approximation:
    """Keep the largest weights, each with one of a few values: positions, indices and the values of each parameter.

    Args:
        weights: by name, or a target.
        kept: how many.
        levels: 1..65536 values for the kept weights of a parameter.
    """
    given, architecture = _given(weights)
    _check_levels(levels)
    mask = _largest(given, kept)
    found = {}
    for name, value in given.items():
        chosen = mask[name].numpy()
        found[name] = np.zeros_like(value)
        if chosen.any():
            found[name][chosen] = nearest(value[chosen], lloyd(value[chosen], levels))
    values = _indexed(kept, levels, levels * len(given))
    bits = Bits(recipe=name_bits(architecture), positions=mask_bits(mask), values=values)
    return _made("sparse-quantised", given, found, bits, {"kept": kept, "levels": levels})


def at_budget(code: Code, weights: Weights, bits: float) -> Approximation | None:
    """Return the best approximation that a code makes with at most so many bits in all, or None if it has none.

    For "uniform" and "k-means" that is the largest number of levels, for "sparse" the largest number kept, for
    "entropy-coded" the smallest step (to some digits), for "sparse-quantised" the best of 2, 4, ..., 64 levels with the
    largest number kept each.

    Args:
        code: one of `CODES`.
        weights: by name, or a target.
        bits: the budget.

    Raises:
        ValueError: an unknown code.

    >>> made = at_budget("uniform", {"w": torch.linspace(-1, 1, 64)}, 32 + 64 * 2)
    >>> made.details, made.bits.total
    ({'levels': 4}, 160.0)
    """
    given, architecture = _given(weights)
    size, parts = sum(value.size for value in given.values()), len(given)
    left = bits - name_bits(architecture)
    match code:
        case "uniform":
            levels = _whole(lambda n: _indexed(size, n, parts) <= left, MOST_LEVELS)
            return uniform_quantised(weights, levels) if levels else None
        case "k-means":
            levels = _whole(lambda n: _indexed(size, n, n * parts) <= left, MOST_LEVELS)
            return kmeans_quantised(weights, levels) if levels else None
        case "sparse":
            kept = _Order(given).most(FLOAT, left)
            return None if kept < 0 else sparse_float(weights, kept)
        case "sparse-quantised":
            return _best_sparse(weights, given, left)
        case "entropy-coded":
            return _finest(weights, given, bits)
    raise ValueError(f"expected one of {', '.join(CODES)}, got {code!r}")


def _best_sparse(weights: Weights, given: Mapping[str, Floats], left: float) -> Approximation | None:
    order, made = _Order(given), []
    for levels in (2, 4, 8, 16, 32, 64):
        kept = order.most(math.log2(levels), left - FLOAT * levels * len(given))
        if kept >= 0:
            made.append(sparse_quantised(weights, kept, levels))
    return min(made, key=lambda one: one.error, default=None)


def _finest(weights: Weights, given: Mapping[str, Floats], bits: float) -> Approximation | None:
    """The smallest step, among multiples of a fine scale, whose message fits; bits do not quite fall with the step."""
    largest = _magnitude(given)
    coarse = entropy_coded(weights, 4.0 * largest or 1.0)  # all zeros
    if coarse.bits.total > bits:
        return None
    low, high = -40.0, 2.0  # the logarithm of the step over the largest weight
    best = coarse
    for _ in range(26):
        middle = (low + high) / 2.0
        if largest and not _counts(float(np.float32(largest * 2.0**middle)), largest):
            low = middle
            continue
        made = entropy_coded(weights, largest * 2.0**middle) if largest else coarse
        if made.bits.total <= bits:
            best, high = min((best, made), key=lambda one: one.error), middle
        else:
            low = middle
    return best


def _magnitude(given: Mapping[str, Floats]) -> float:
    return max((float(np.abs(value).max(initial=0.0)) for value in given.values()), default=0.0)


def _counts(step: float, largest: float) -> bool:
    """Whether every weight is a multiple of the step that 32 bits hold."""
    return step > 0.0 and bool(np.rint(largest / step) <= _MOST_INDEX)


@final
class _Order:
    """How many of the n largest weights each parameter has, for every n."""

    def __init__(self, given: Mapping[str, Floats]) -> None:
        names = list(given)
        flat = np.concatenate([np.zeros(0), *(np.abs(given[name]).reshape(-1) for name in names)])
        owner = np.repeat(np.arange(len(names), dtype=np.int32), [given[name].size for name in names])
        self._owner = owner[np.argsort(flat, kind="stable")[::-1]]  # of equal ones the last, as `largest_global`
        self._sizes = [given[name].size for name in names]

    def bits(self, kept: int) -> float:
        """Return the bits of the positions."""
        counts = np.bincount(self._owner[:kept], minlength=len(self._sizes))
        return math.fsum(subset_bits(n, int(k)) for n, k in zip(self._sizes, counts, strict=True))

    def most(self, each: float, left: float) -> int:
        """Return how many fit into so many bits at `each` for a value, see `_whole`; -1 if not even none does."""
        return _whole(lambda n: self.bits(n) + each * n <= left, len(self._owner), 0)


def _whole(fits: Callable[[int], bool], most: int, least: int = 1) -> int:
    """Return a number in least..most that fits and whose successor does not, or least - 1 if `least` does not fit.

    That is the largest one that fits but where positions become cheaper again, beyond one half, by more than the value
    of one more weight costs.
    """
    low, high = least - 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _given(weights: Weights) -> tuple[dict[str, Floats], AbstractArchitecture | None]:
    tensors, architecture = (weights.weights, weights.architecture) if isinstance(weights, Target) else (weights, None)
    given = {name: value.detach().cpu().double().numpy() for name, value in tensors.items()}
    for name, value in given.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{name} has a NaN or infinite weight: no code has a value for it")
        if float(np.abs(value).max(initial=0.0)) > _LARGEST:
            raise ValueError(f"{name} has a weight beyond float32's largest, {_LARGEST:.4g}: codes give back float32")
    return given, architecture


def _check_levels(levels: int) -> None:
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= MOST_LEVELS:
        raise ValueError(f"levels: expected a whole number in 1..{MOST_LEVELS}, got {levels!r}")


def _indexed(count: int, levels: int, floats: int) -> float:
    """Bits of so many numbers of one of `levels` values, and of the floats that name these values."""
    return count * math.log2(levels) + FLOAT * floats


def _made(
    code: Code, given: Mapping[str, Floats], found: Mapping[str, Floats], bits: Bits, details: Mapping[str, float]
) -> Approximation:
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in found.items()}
    error = math.fsum(float(np.square(tensors[name].double().numpy() - value).sum()) for name, value in given.items())
    return Approximation(code, tensors, bits, error, sum(value.size for value in given.values()), details)


def _largest(given: Mapping[str, Floats], kept: int) -> Mask:
    marks = largest_global({name: torch.from_numpy(np.abs(value)) for name, value in given.items()}, kept)
    return Mask({name: marks[name] for name in given})
