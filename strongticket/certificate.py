"""Evidence that a ticket is close to its target: how close, where, in which norm, and how sure that is.

A certificate knows nothing of how the ticket was found; rooms that find tickets and the room that certifies them
share this record and no code.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Literal

__all__ = ["Certificate", "Domain", "Rigor"]


class Rigor(Enum):
    """How much a certificate's number can be trusted; the value of each member is its meaning."""

    PROVED = "an upper bound on the supremum, proved: exact or outward-rounded arithmetic throughout"
    FLOAT = "an upper bound on the supremum up to the rounding of plain floating point"
    SAMPLED = "a lower bound on the supremum: the largest difference found by looking"


@dataclass(frozen=True)
class Domain:
    """Name the inputs that a claim speaks of: {x : low <= x_i <= high for every i, and |x|_2 <= radius}.

    Args:
        low: smallest value of every coordinate.
        high: largest value of every coordinate.
        radius: largest Euclidean norm; infinite if the box alone bounds it.

    Raises:
        ValueError: the set is empty or unbounded, or a number is NaN.

    >>> Domain.box(0, 1).radius_in(784)
    28.0
    >>> Domain.ball(1).nonnegative
    False
    """

    low: float
    high: float
    radius: float = math.inf

    def __post_init__(self) -> None:
        for field in ("low", "high", "radius"):
            object.__setattr__(self, field, float(getattr(self, field)))
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(
                f"a domain needs finite low <= high, got low={self.low}, high={self.high}; "
                "an unbounded domain has no error bound: give the range that the inputs really have"
            )
        if not self.radius > 0:
            raise ValueError(f"the radius of a domain must be positive, got {self.radius}")
        if max(self.low, -self.high, 0.0) > self.radius:
            raise ValueError(f"the domain is empty: coordinates in [{self.low}, {self.high}], norm <= {self.radius}")

    @classmethod
    def box(cls, low: float, high: float) -> Domain:
        """Return the box low <= x_i <= high, for inputs with a known range (pixels: ``Domain.box(0, 1)``)."""
        return cls(low, high)

    @classmethod
    def ball(cls, radius: float) -> Domain:
        """Return the ball |x|_2 <= radius, the domain of most theorems."""
        if not (math.isfinite(radius) and radius > 0):
            raise ValueError(f"the radius of a ball must be positive and finite, got {radius}")
        return cls(-radius, radius, radius)

    @property
    def nonnegative(self) -> bool:
        """Whether no coordinate can be negative, so that the positive half of a gadget suffices."""
        return self.low >= 0

    def radius_in(self, dimension: int) -> float:
        """Return a number that no input of `dimension` coordinates exceeds in Euclidean norm, rounded upward."""
        corner = max(abs(self.low), abs(self.high))
        square = math.sqrt(dimension) * corner
        exact = float(math.isqrt(dimension)) ** 2 == dimension and corner.is_integer() and square < 2**26
        return min(self.radius, square if exact else math.nextafter(math.nextafter(square, math.inf), math.inf))

    def __str__(self) -> str:
        box = f"[{self.low:g}, {self.high:g}]^d"
        if math.isinf(self.radius):
            return box
        if self.low <= -self.radius and self.high >= self.radius:
            return f"the ball |x| <= {self.radius:g}"
        return f"{box} with |x| <= {self.radius:g}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; an infinite radius is null."""
        return {"low": self.low, "high": self.high, "radius": None if math.isinf(self.radius) else self.radius}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Domain:
        """Read what `to_json` wrote; anything else raises ValueError."""
        if not isinstance(value, dict) or set(value) != {"low", "high", "radius"}:
            raise ValueError(f"a domain has the keys low, high and radius, got {value!r}")
        radius = value["radius"]
        return cls(_number(value["low"]), _number(value["high"]), math.inf if radius is None else _number(radius))


@dataclass(frozen=True)
class Certificate:
    """State how far a ticket can be from its target: sup over `domain` of |target(x) - ticket(x)| in `norm`.

    Both networks are functions of real numbers here: the rounding of one forward pass in float32 is not part of it.

    Args:
        norm: "max" (largest output difference) or "l2" (Euclidean norm of the difference).
        domain: the inputs it speaks of.
        error: the bound, in units of the output; an upper bound, except with Rigor.SAMPLED where it is a lower one.
        rigor: how sure the number is.
        method: how it was computed, in words.
        ticket_digest: which ticket.
        target_digest: which target.
        bound: key of the theorem whose promise it is held against, if any.
        per_output: the bound for each output alone, if known.
    """

    norm: Literal["max", "l2"]
    domain: Domain
    error: float
    rigor: Rigor
    method: str
    ticket_digest: str
    target_digest: str
    bound: str | None = None
    per_output: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.norm not in ("max", "l2"):
            raise ValueError(f"the norm of a certificate is 'max' or 'l2', got {self.norm!r}")
        if not (isinstance(self.error, float) and self.error >= 0 and math.isfinite(self.error)):
            raise ValueError(f"the error of a certificate is a finite number >= 0, got {self.error!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, for ticket files and records."""
        value = asdict(self)
        value["domain"] = self.domain.to_json()
        value["rigor"] = self.rigor.name
        value["per_output"] = None if self.per_output is None else list(self.per_output)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Certificate:
        """Read what `to_json` wrote; anything else raises ValueError."""
        fields = dict(value) if isinstance(value, dict) else {}
        if set(fields) != set(cls.__dataclass_fields__):
            raise ValueError(f"a certificate has the keys {sorted(cls.__dataclass_fields__)}, got {sorted(fields)}")
        for key in ("method", "ticket_digest", "target_digest", "norm", "rigor"):
            if not isinstance(fields[key], str):
                raise ValueError(f"the {key} of a certificate is a text, got {fields[key]!r}")
        if fields["rigor"] not in Rigor.__members__:
            raise ValueError(f"the rigor of a certificate is one of {list(Rigor.__members__)}, got {fields['rigor']!r}")
        if not (fields["bound"] is None or isinstance(fields["bound"], str)):
            raise ValueError(f"the bound of a certificate is a key or null, got {fields['bound']!r}")
        outputs = fields["per_output"]
        if not (outputs is None or isinstance(outputs, list)):
            raise ValueError(f"per_output is a list of numbers or null, got {outputs!r}")
        fields["per_output"] = None if outputs is None else tuple(_number(x) for x in outputs)
        fields["error"] = _number(fields["error"])
        fields["rigor"] = Rigor[fields["rigor"]]
        fields["domain"] = Domain.from_json(fields["domain"])
        return cls(**fields)

    def __str__(self) -> str:
        sign = ">=" if self.rigor is Rigor.SAMPLED else "<="
        difference = f"sup |target - ticket|_{self.norm} {sign} {self.error:.4g}"
        return f"{self.rigor.name}: {difference} on {self.domain} ({self.method})"


def _number(value: Any) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"expected a finite number, got {str(value)[:40]}")
