"""The grammar of architecture names: what may follow a family's own part, and how it is written.

A name is ``<kind>[x<width factor>][-<classes>][+<option>]...``, as in ``conv4x0.25-100+1x28x28+bias``. Parts that have
their default value are left out of an id; reading takes them, and takes options in any order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final

from strongticket.models.activations import ACTIVATIONS, Activation
from strongticket.models.modules import AbstractModuleArchitecture
from strongticket.ticket import AbstractArchitecture

__all__ = [
    "MAX_CLASSES",
    "AbstractImageArchitecture",
    "Family",
    "check_inputs",
    "check_whole",
    "image_family",
    "read_suffix",
    "scaled",
    "write_suffix",
]

MAX_WIDTH: Final = 64
MAX_CLASSES: Final = 1_000_000
MAX_SIDE: Final = 1024

_SUFFIX = re.compile(r"(?:x(\d{1,4}(?:\.\d{1,6})?))?(?:-([1-9]\d{0,6}))?((?:\+[a-z0-9]+)*)", re.ASCII)
_INPUTS = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})x([1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True)
class Family:
    """Some named networks: which names are theirs, how to read one, and what to show to who mistypes it.

    Attributes:
        claims: what every name of the family begins with; nobody else may register such a name.
        read: returns the architecture of a name that it claims, or raises ValueError with what is wrong with it.
        examples: names.
    """

    claims: re.Pattern[str]
    read: Callable[[str], AbstractArchitecture]
    examples: tuple[str, ...]


def read_suffix(text: str, flags: Collection[str]) -> dict[str, Any]:
    """Return what the end of a name says, only what it says: width, classes, inputs, and True for each flag.

    >>> read_suffix("x0.25-100+bias", {"bias"})
    {'width': 0.25, 'classes': 100, 'bias': True}

    Raises:
        ValueError: it does not follow the grammar, or has an option that is not among the flags.
    """
    match = _SUFFIX.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not [x<width factor>][-<classes>][+<option>]..., such as x0.25-100+bias")
    found: dict[str, Any] = {}
    if match[1] is not None:
        found["width"] = float(match[1])
    if match[2] is not None:
        found["classes"] = int(match[2])
    for option in match[3].split("+")[1:]:
        inputs = _INPUTS.fullmatch(option)
        key, value = ("inputs", tuple(map(int, inputs.groups()))) if inputs else (option, True)
        if inputs is None and option not in flags:
            known = ", ".join(f"+{flag}" for flag in flags)
            raise ValueError(f"it has no option +{option}; options are {known} and +CxHxW for inputs of that shape")
        if key in found:
            raise ValueError(f"+{option} is one option too many: {key} is given twice")
        found[key] = value
    return found


def write_suffix(
    *,
    width: float = 1.0,
    classes: int | None = None,
    inputs: tuple[int, ...] | None = None,
    flags: Mapping[str, bool] | None = None,
) -> str:
    """Return the end of a name; None for what has its default value.

    >>> write_suffix(width=0.25, inputs=(1, 28, 28), flags={"bias": True, "affine": False})
    'x0.25+1x28x28+bias'
    """
    parts = [] if width == 1.0 else [f"x{_decimal(width).normalize():f}"]
    parts += [] if classes is None else [f"-{classes}"]
    parts += [] if inputs is None else ["+" + "x".join(map(str, inputs))]
    return "".join(parts + [f"+{flag}" for flag, on in (flags or {}).items() if on])


def scaled(channels: int, width: float) -> int:
    """Return channels times the width factor, to the nearest whole number (halves up), at least 1.

    >>> scaled(64, 0.25), scaled(16, 0.03)
    (16, 1)
    """
    return max(1, int((channels * _decimal(width)).to_integral_value(ROUND_HALF_UP)))


def _decimal(width: float) -> Decimal:
    return Decimal(repr(width))  # what the name says, not its nearest binary fraction


def check_width(width: float) -> float:
    """Return a width factor that a name can say: above 0, at most 64, at most six decimals."""
    number = math.nan if isinstance(width, bool) else float(width)
    if not (0 < number <= MAX_WIDTH and int(_decimal(number).as_tuple().exponent) >= -6):
        raise ValueError(f"a width factor is above 0, at most {MAX_WIDTH} and has at most six decimals, got {width!r}")
    return number


def check_whole(what: str, value: int, limit: int) -> int:
    """Return a whole number in 1..limit."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ValueError(f"{what} must be a whole number in 1..{limit}, got {value!r}")
    return value


def check_inputs(inputs: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of an input, (channels, height, width), each in 1..1024."""
    if len(inputs) != 3:
        raise ValueError(f"inputs are given as (channels, height, width), got {inputs!r}")
    channels, height, width = (check_whole("a size of the inputs", side, MAX_SIDE) for side in inputs)
    return channels, height, width


@dataclass(frozen=True)
class AbstractImageArchitecture(AbstractModuleArchitecture):
    """Describe a network of images: what all families share.

    Args:
        kind: which of the family, one of `KINDS`.
        width: width factor: every hidden channel and unit times this, to the nearest whole number.
        classes: number of outputs.
        inputs: (channels, height, width) of an image.
        bias: whether linear layers, and convolutions that no normalisation follows, have (random) biases.
        activation: between the layers; "elu" and "sign" are options of a name, as in ``conv4+elu``.

    Raises:
        ValueError: a value out of range.
    """

    KINDS: ClassVar[Mapping[str, Any]] = {}
    FLAGS: ClassVar[tuple[str, ...]] = ("bias",)

    kind: str
    _: KW_ONLY
    width: float = 1.0
    classes: int = 10
    inputs: tuple[int, int, int] = (3, 32, 32)
    bias: bool = False
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if self.kind not in self.KINDS:
            raise ValueError(f"{type(self).__name__} has no {self.kind!r}; it has {', '.join(self.KINDS)}")
        object.__setattr__(self, "width", check_width(self.width))
        object.__setattr__(self, "inputs", check_inputs(self.inputs))
        check_whole("the number of classes", self.classes, MAX_CLASSES)
        for flag in self.FLAGS:
            if not isinstance(getattr(self, flag), bool):
                raise TypeError(f"{flag} is True or False, got {getattr(self, flag)!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"an activation is one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")

    @property
    def id(self) -> str:
        """The canonical name: the kind, and what differs from its defaults."""
        usual = {field.name: field.default for field in fields(self)}
        return self.kind + write_suffix(
            width=self.width,
            classes=None if self.classes == usual["classes"] else self.classes,
            inputs=None if self.inputs == usual["inputs"] else self.inputs,
            flags={flag: getattr(self, flag) for flag in self.FLAGS} | {self.activation: self.activation != "relu"},
        )

    def scaled(self, channels: int) -> int:
        """Return a number of channels or units times the width factor."""
        return scaled(channels, self.width)


def image_family(claims: str, *members: type[AbstractImageArchitecture]) -> Family:
    """Return the family whose names begin with a kind of one of these classes."""
    kinds = {kind: member for member in members for kind in member.KINDS}

    def read(name: str) -> AbstractArchitecture:
        kind = max((kind for kind in kinds if name.startswith(kind)), key=len, default=None)
        if kind is None:
            raise ValueError(f"kinds are {', '.join(kinds)}")
        member = kinds[kind]
        found = read_suffix(name[len(kind) :], (*member.FLAGS, *ACTIVATIONS[1:]))
        chosen = [option for option in ACTIVATIONS if found.pop(option, False)]
        if len(chosen) > 1:
            raise ValueError(f"+{' and +'.join(chosen)} are two activations; choose one")
        return member(kind, **found | ({"activation": chosen[0]} if chosen else {}))

    return Family(re.compile(claims), read, tuple(kinds))
