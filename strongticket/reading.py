"""How a ticket reads its kept weights, where it is more than a 0/1 mask: one magnitude, a scale, factors, redraws.

Most tickets are *plain*: a kept weight is the source's weight. Some searches find other subnetworks, which are as much
a function of the seed and a few bits per kept weight; a `Reading` names those bits, and the functions here say to the
last bit what becomes of a weight. The arithmetic is float64 or exact, and gives the same on every machine and device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, final, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from strongticket._files import canonical_json, sha256

__all__ = [
    "KINDS",
    "LARGEST_FACTOR",
    "LARGEST_REDRAW",
    "LARGEST_RESCALE",
    "Kind",
    "Reading",
    "binary",
    "mean_magnitude",
    "rescaled",
]

Kind = Literal["plain", "binary", "rescaled"]
"""What becomes of a weight w before its factor: plain w; binary alpha sign(w), see `binary`; rescaled w size / kept,
see `rescaled`."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LARGEST_FACTOR: Final = 127
LARGEST_REDRAW: Final = 2**31 - 1
LARGEST_RESCALE: Final = 2**52  # size / kept up to which no weight of any source overflows float32

_BLOCK, _LARGE_BLOCK = 1 << 15, 1 << 24  # weights summed together: on a CPU within one core's cache, elsewhere
_LIMB = 30  # bits; three limbs hold every weight that a source can have, exactly
_Number = TypeVar("_Number", np.int8, np.int32)


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """Say how kept weights are read, parameter by parameter; what is not mentioned is plain.

    A kept weight is the source's, or the one drawn at a redraw event; then its parameter's kind is applied, then its
    factor, each rounded once to float32. What says nothing (the kind plain, factors that are all 1, redraws that are
    all 0) is dropped, so that equal readings have equal digests.

    Args:
        kinds: {parameter: "plain", "binary" or "rescaled"}.
        factors: {parameter: whole number -127..127, not 0, per kept weight in the order of flat indices}: -1 and 1 for
            signed masks, 1..C for C coats.
        redraws: {parameter: whole number 0..2^31 - 1 per kept weight}: 0 is the source's own weight, e >= 1 the one
            drawn at redraw event e, see `Source.redrawn`.

    Raises:
        TypeError: factors or redraws that are not whole numbers in one dimension.
        ValueError: an unknown kind, or a number out of range.

    >>> Reading({"w": "binary", "b": "plain"}, factors={"w": [1, 1, 1]}).to_json()
    {'factors': {}, 'kinds': {'w': 'binary'}, 'redraws': {}}
    >>> Reading(factors={"w": [1, -1]}).plain, Reading().plain
    (False, True)
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    factors: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    redraws: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            if kind not in KINDS:
                raise ValueError(f"the kind of {name} must be in {KINDS}, got {kind!r}")
        factors = {name: _numbers(name, "factors", v, -LARGEST_FACTOR, np.int8) for name, v in self.factors.items()}
        redraws = {name: _numbers(name, "redraws", v, 0, np.int32) for name, v in self.redraws.items()}
        for name, values in factors.items():
            if not values.all():
                raise ValueError(f"a factor of {name} is 0: drop the weight from the mask instead")
        object.__setattr__(self, "kinds", {name: k for name, k in sorted(self.kinds.items()) if k != "plain"})
        object.__setattr__(self, "factors", {name: v for name, v in sorted(factors.items()) if (v != 1).any()})
        object.__setattr__(self, "redraws", {name: v for name, v in sorted(redraws.items()) if v.any()})

    @property
    def plain(self) -> bool:
        """Whether every kept weight is the source's own."""
        return not (self.kinds or self.factors or self.redraws)

    @property
    def names(self) -> set[str]:
        """Parameters that are read in some other way than plainly."""
        return {*self.kinds, *self.factors, *self.redraws}

    def kind(self, name: str) -> Kind:
        """Return what becomes of a parameter's weights before their factors."""
        return self.kinds.get(name, "plain")

    def read(
        self,
        name: str,
        drawn: Tensor,  # [n] float32
        *,
        start: int,
        size: int,
        kept: int,
        alpha: Tensor | None,
    ) -> Tensor:  # [n] float32
        """Return some of a parameter's kept weights as they are read.

        Args:
            name: of the parameter.
            drawn: the weights start..start + n - 1 of those kept, as the source or a redraw event gives them.
            start: see drawn.
            size: of the parameter.
            kept: how many of its weights are kept.
            alpha: `mean_magnitude` of all its kept weights as drawn; needed for the kind binary alone.
        """
        kind = self.kind(name)
        if kind == "binary":
            assert alpha is not None
            drawn = binary(drawn, alpha)
        elif kind == "rescaled":
            drawn = rescaled(drawn, size, kept)
        if name not in self.factors:
            return drawn
        return drawn * torch.from_numpy(self.factors[name][start : start + drawn.numel()].astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; numbers are represented by their sha256, as bytes (int8, and int32 little-endian)."""
        return {
            "factors": {name: sha256(values.tobytes()) for name, values in self.factors.items()},
            "kinds": dict(self.kinds),
            "redraws": {name: sha256(values.astype("<i4").tobytes()) for name, values in self.redraws.items()},
        }

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Reading) else NotImplemented

    def __hash__(self) -> int:
        return hash(canonical_json(self.to_json()))

    def __repr__(self) -> str:
        parts = {"kinds": self.kinds, "factors": self.factors, "redraws": self.redraws}
        said = (f"{what} of {', '.join(_of(values))}" for what, values in parts.items() if values)
        return f"Reading({'; '.join(said) or 'plain'})"


def _of(values: Mapping[str, Any]) -> Iterable[str]:
    return (f"{name} ({value})" if isinstance(value, str) else name for name, value in values.items())


def _numbers(name: str, what: str, values: ArrayLike | Tensor, lowest: int, dtype: type[_Number]) -> NDArray[_Number]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if not array.size:
        array = array.astype(dtype)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(
            f"the {what} of {name} must be whole numbers, one per kept weight, got {array.dtype} of shape {array.shape}"
        )
    highest = int(np.iinfo(dtype).max)
    if array.size and not (lowest <= int(array.min()) and int(array.max()) <= highest):
        raise ValueError(f"the {what} of {name} must lie in {lowest}..{highest}, got {array.min()}..{array.max()}")
    own = array.astype(dtype)
    own.flags.writeable = False
    return own


def binary(weights: Tensor, alpha: Tensor) -> Tensor:
    """Return alpha sign(w), and 0 where w is 0.

    >>> binary(torch.tensor([0.25, -3.0, 0.0]), torch.tensor(2.0))
    tensor([ 2., -2.,  0.])
    """
    return torch.where(weights == 0, torch.zeros_like(weights), torch.copysign(alpha, weights))


def rescaled(weights: Tensor, size: int, kept: int | Tensor) -> Tensor:
    """Return w size / kept as float32: multiplied, then divided in float64, then rounded; as it is if kept is 0.

    >>> rescaled(torch.tensor([0.5]), 12, 9)
    tensor([0.6667])
    """
    divisor = kept.clamp(min=1) if isinstance(kept, Tensor) else max(kept, 1)
    return (weights.double() * float(size) / divisor).float()


def mean_magnitude(weights: Tensor, count: int | Tensor | None = None) -> Tensor:  # [n] -> []
    """Return mean |w|, the magnitude of binary weights; 0 if there are none.

    It is the exact sum rounded to float64, divided by the number in float64, and rounded to float32. An exact sum does
    not depend on its order: one value comes out on every machine and device, and nothing waits for the device.

    Args:
        weights: float32, of a source: all within 90 bits below the largest (a source's span 82).
        count: number of weights if those that do not count were set to 0; None: all.

    Raises:
        TypeError: not float32.

    >>> mean_magnitude(torch.tensor([1.0, -2.0, 0.0, 4.0]), 3)
    tensor(2.3333)
    """
    if weights.dtype != torch.float32:
        raise TypeError(f"expected float32 weights, got {weights.dtype}")
    if not weights.numel():
        return torch.zeros((), device=weights.device)
    number = weights.numel() if count is None else count
    divisor = number.clamp(min=1) if isinstance(number, Tensor) else max(number, 1)
    return (_exact_sum(weights.detach().abs().reshape(-1)) / divisor).float()


def _exact_sum(values: Tensor) -> Tensor:  # [n] float32 >= 0 -> [] float64
    """Return the sum as if it were made exactly and then rounded once, to the nearest, ties to even."""
    exponent = torch.frexp(values.max().double()).exponent.long()  # every value is below 2^exponent
    limbs = [torch.zeros((), dtype=torch.int64, device=values.device) for _ in range(3)]
    scale = _power_of_two(_LIMB - exponent)
    for block in torch.split(values, _BLOCK if values.device.type == "cpu" else _LARGE_BLOCK):
        rest = block.double() * scale
        for i in range(3):
            whole = rest.floor()
            limbs[i] = limbs[i] + whole.long().sum()
            rest = (rest - whole) * 2.0**_LIMB
    below = (1 << _LIMB) - 1
    high, middle, low = limbs
    middle = middle + (low >> _LIMB)
    high = high + (middle >> _LIMB)
    tail = ((middle & below) << _LIMB) | (low & below)  # the sum is high * 2^60 + tail, in units of the last limb
    # 62 leading bits, the last of them set if anything is lost behind it: float64 rounds this as it would the whole
    shift = (62 - torch.frexp(high.double()).exponent.long()).clamp(max=2 * _LIMB)
    one = torch.ones_like(shift)
    lost = (tail & ((one << (2 * _LIMB - shift)) - 1)) != 0
    leading = (high << shift) | (tail >> (2 * _LIMB - shift)) | lost.long()
    return leading.double() * _power_of_two(exponent - _LIMB - shift)


def _power_of_two(exponent: Tensor) -> Tensor:  # int64 in -1022..1023 -> float64, exact
    return ((exponent + 1023) << 52).view(torch.float64)
