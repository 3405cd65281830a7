"""Read a basis from its id: the inverse of what each basis writes of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from strongticket.models.bases.abstract import AbstractBasis
from strongticket.models.bases.circulant import Circulant
from strongticket.models.bases.convolution import Convolution
from strongticket.models.bases.group import GroupConvolution
from strongticket.models.bases.matrix import MatrixBasis
from strongticket.models.bases.pointwise import Pointwise
from strongticket.models.bases.sets import Sets

__all__ = ["basis"]


def basis(text: str) -> AbstractBasis:
    """Read a basis from its id.

    Raises:
        ValueError: no basis is written so.

    >>> basis("conv5x5-p2-on28x28").outputs
    (28, 28)
    """
    kind = next((kind for kind in _READERS if text.startswith(kind)), None)
    if kind is None:
        raise ValueError(f"no basis is written {text[:60]!r}; it begins with {', '.join(_READERS)}")
    made = _READERS[kind](text)
    if made.id != text:
        raise ValueError(f"the basis {text[:60]!r} is written {made.id[:60]!r}")
    return made


_NUMBER = r"(?:0|[1-9]\d{0,6})"
_LIST = rf"{_NUMBER}(?:x{_NUMBER}){{0,2}}"
_CONV = re.compile(rf"conv({_LIST})(?:-s({_LIST}))?(?:-p({_LIST}))?(?:-d({_LIST}))?-on({_LIST})", re.ASCII)
_ONE = re.compile(rf"(circulant|sets)({_NUMBER})", re.ASCII)
_POINT = re.compile(rf"point({_NUMBER}(?:x{_NUMBER}){{0,7}})", re.ASCII)


def _read_conv(text: str) -> AbstractBasis:
    match = _CONV.fullmatch(text)
    if match is None:
        raise ValueError(f"a convolution is written like conv3x3-s2-p1-on32x32, got {text[:60]!r}")
    kernel, stride, padding, dilation, positions = (None if part is None else _numbers(part) for part in match.groups())
    assert kernel is not None
    assert positions is not None
    return Convolution(kernel, _all(stride, 1), _all(padding, 0), positions, _all(dilation, 1))


def _read_point(text: str) -> AbstractBasis:
    match = _POINT.fullmatch(text)
    if match is None:
        raise ValueError(f"a pointwise basis is written like point28x28, got {text[:60]!r}")
    return Pointwise(_numbers(match[1]))


def _read_one(text: str) -> AbstractBasis:
    match = _ONE.fullmatch(text)
    if match is None:
        raise ValueError(f"a basis of one number is written like circulant8 or sets10, got {text[:60]!r}")
    return Circulant(int(match[2])) if match[1] == "circulant" else Sets(int(match[2]))


def _all(numbers: tuple[int, ...] | None, usual: int) -> tuple[int, ...] | int:
    return usual if numbers is None else numbers[0] if len(numbers) == 1 else numbers


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


_READERS: Final[dict[str, Callable[[str], AbstractBasis]]] = {
    "dense": lambda _: Pointwise(),
    "point": _read_point,
    "conv": _read_conv,
    "circulant": _read_one,
    "sets": _read_one,
    "group": GroupConvolution.read,
    "matrices": MatrixBasis.read,
}
