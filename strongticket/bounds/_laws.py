"""Laws of one subset-sum item: all that the bounds and predictions need to know, one final class for each law.

Every law is symmetric about 0 and has a second moment. An item is *dead* where the law makes it zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, sici

__all__ = ["LAWS", "Hyperbolic", "ItemLaw", "Law", "LawName", "get_law"]

LawName = Literal["uniform", "product", "half_product", "normal", "hyperbolic"]
Array = npt.NDArray[np.float64]


class ItemLaw(ABC):
    """What is known about the law of one item X.

    Attributes:
        name: key of the law.
        text: the law in words.
        variance: variance of one live item, E[X] being 0.
        alive: probability that an item is not identically zero.
        best_range: the half range c at which `mixture(c)` is largest; 1/2 if it is zero for every c.
        uniforms: how many uniform numbers `magnitude` turns into one |X|.
    """

    name: ClassVar[LawName]
    alive: ClassVar[float] = 1.0
    best_range: ClassVar[float] = 0.5
    uniforms: ClassVar[int] = 1

    @property
    @abstractmethod
    def text(self) -> str:
        """The law in words."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """Variance of one live item."""

    @abstractmethod
    def mixture(self, c: float) -> float:
        """Return q = 2 c f0, where f0 is the least density of X on [-2c, 2c]; 0 where there is none.

        >>> LAWS["uniform"].mixture(0.5)
        0.5
        """

    @abstractmethod
    def magnitude_cdf(self, x: Array) -> Array:
        """Return P(|X| <= x) of a live item, for x >= 0."""

    @abstractmethod
    def magnitude(self, uniform: Array) -> Array:  # [uniforms, ...] -> [...]
        """Turn numbers uniform in (0, 1) into magnitudes of live items."""

    @abstractmethod
    def characteristic(self, t: Array) -> Array:
        """Return E cos(t X) of a live item, for t > 0."""


def _half_range(c: float) -> float:
    if not 0.0 < c <= 0.5:
        raise ValueError(f"the half range must satisfy 0 < c <= 1/2, got c = {c}: split targets into groups")
    return c


@final
@dataclass(frozen=True)
class Uniform(ItemLaw):
    """X ~ U(-1, 1)."""

    name: ClassVar[LawName] = "uniform"
    text: ClassVar[str] = "X ~ U(-1, 1)"
    variance: ClassVar[float] = 1.0 / 3.0

    def mixture(self, c: float) -> float:
        """Density 1/2 on [-1, 1]."""
        return _half_range(c)

    def magnitude_cdf(self, x: Array) -> Array:
        """x, at most 1."""
        return np.minimum(x, 1.0)

    def magnitude(self, uniform: Array) -> Array:
        """The uniform number itself."""
        return np.asarray(uniform[0])

    def characteristic(self, t: Array) -> Array:
        """sin(t) / t."""
        return np.asarray(np.sin(t) / t)


@dataclass(frozen=True)
class _Products(ItemLaw):
    """What the two laws of products share: given that it is alive, X = u v with u ~ U(0, 1), v ~ U(-1, 1)."""

    variance: ClassVar[float] = 1.0 / 9.0
    best_range: ClassVar[float] = 1.0 / (2.0 * math.e)
    uniforms: ClassVar[int] = 2

    def mixture(self, c: float) -> float:
        """The density of uv is ln(1/|x|) / 2, least at the end 2c of the window."""
        return self.alive * _half_range(c) * math.log(1.0 / (2.0 * c))

    def magnitude_cdf(self, x: Array) -> Array:
        """x (1 - ln x), at most 1."""
        x = np.minimum(x, 1.0)
        return np.asarray(x * (1.0 - np.log(np.where(x > 0, x, 1.0))))

    def magnitude(self, uniform: Array) -> Array:
        """The product of two."""
        return np.asarray(uniform[0] * uniform[1])

    def characteristic(self, t: Array) -> Array:
        """Si(t) / t, the mean of sin(tu) / (tu)."""
        return np.asarray(sici(t)[0] / t)


@final
@dataclass(frozen=True)
class Product(_Products):
    """The product of two uniform numbers."""

    name: ClassVar[LawName] = "product"
    text: ClassVar[str] = "X = u v, u ~ U(0, 1), v ~ U(-1, 1)"


@final
@dataclass(frozen=True)
class HalfProduct(_Products):
    """A product that a ReLU kills half of the time."""

    name: ClassVar[LawName] = "half_product"
    text: ClassVar[str] = "X = max(u, 0) v, u, v ~ U(-1, 1): half of the items are dead"
    alive: ClassVar[float] = 0.5


@final
@dataclass(frozen=True)
class Normal(ItemLaw):
    """X ~ N(0, 1): not bounded, so only its values up to the target's magnitude enter a floor."""

    name: ClassVar[LawName] = "normal"
    text: ClassVar[str] = "X ~ N(0, 1)"
    variance: ClassVar[float] = 1.0

    def mixture(self, c: float) -> float:
        """2 c phi(2 c), largest at c = 1/2; unlike the others, every c > 0 is allowed."""
        if not 0.0 < c < math.inf:
            raise ValueError(f"the half range must be positive and finite, got c = {c}")
        return 2.0 * c * math.exp(-2.0 * c * c) / math.sqrt(2.0 * math.pi)

    def magnitude_cdf(self, x: Array) -> Array:
        """erf(x / sqrt(2))."""
        from scipy.special import erf

        return np.asarray(erf(x / math.sqrt(2.0)))

    def magnitude(self, uniform: Array) -> Array:
        """The upper quantile, accurate far out."""
        return np.asarray(-ndtri(uniform[0] / 2.0))

    def characteristic(self, t: Array) -> Array:
        """exp(-t^2 / 2)."""
        return np.asarray(np.exp(-np.square(np.minimum(t, 60.0)) / 2.0))


@final
@dataclass(frozen=True)
class Hyperbolic(ItemLaw):
    """|X| log-uniform on [low, 1] with a random sign: each magnitude, from low to 1, is equally well served.

    Attributes:
        low: least magnitude, in (0, 1); where a law is named "hyperbolic", it is the tolerance.
    """

    low: float
    name: ClassVar[LawName] = "hyperbolic"

    def __post_init__(self) -> None:
        if not 0.0 < self.low < 1.0:
            raise ValueError(f"hyperbolic items need a least magnitude in (0, 1), got {self.low}")

    @property
    def text(self) -> str:
        """The law in words."""
        return f"|X| log-uniform on [{self.low:g}, 1], with a random sign"

    @property
    def variance(self) -> float:
        """(1 - low^2) / (2 ln(1/low))."""
        return -math.expm1(2.0 * math.log(self.low)) / (-2.0 * math.log(self.low))

    def mixture(self, c: float) -> float:
        """Zero: no item is nearer to 0 than low, so the theorem does not apply."""
        _half_range(c)
        return 0.0

    def magnitude_cdf(self, x: Array) -> Array:
        """1 - ln x / ln low."""
        return np.asarray(1.0 - np.log(np.clip(x, self.low, 1.0)) / math.log(self.low))

    def magnitude(self, uniform: Array) -> Array:
        """low^u."""
        return np.asarray(np.exp(math.log(self.low) * uniform[0]))

    def characteristic(self, t: Array) -> Array:
        """(Ci(t) - Ci(low t)) / ln(1/low)."""
        return np.asarray((sici(t)[1] - sici(self.low * t)[1]) / -math.log(self.low))


Law = LawName | ItemLaw

LAWS: dict[str, ItemLaw] = {law.name: law for law in (Uniform(), Product(), HalfProduct(), Normal())}
"""The laws without a parameter; "hyperbolic" makes one for each tolerance, or use `Hyperbolic(low)`."""


def get_law(law: str | ItemLaw, low: float | None = None) -> ItemLaw:
    """Return the law with this name; a law is returned as it is.

    Args:
        law: a name, or a law.
        low: least magnitude of "hyperbolic" items: the tolerance, in the unit of the items.

    Raises:
        KeyError: there is none with this name; the message lists those that exist.
        ValueError: "hyperbolic" without a least magnitude in (0, 1).

    >>> get_law("hyperbolic", 0.01)
    Hyperbolic(low=0.01)
    """
    if isinstance(law, ItemLaw):
        return law
    if law == Hyperbolic.name:
        if low is None:
            raise ValueError("hyperbolic items need a least magnitude: give Hyperbolic(low), or a tolerance")
        return Hyperbolic(low)
    if law not in LAWS:
        raise KeyError(f"no law {law!r}; there are {', '.join((*LAWS, Hyperbolic.name))}")
    return LAWS[law]
