"""Laws of one subset-sum item, as the bounds need them: density near zero, variance, law of the positive part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["LAWS", "ItemLaw", "LawName", "get_law", "positive_sum_cdf"]

LawName = Literal["uniform", "product", "half_product"]

# Lattice on which sums of positive products are convolved, and how many of them are followed; both only weaken the
# lower bound that is made from them.
_CELLS = 4000
_MOST_POSITIVE = 64


@dataclass(frozen=True)
class ItemLaw:
    """What the bounds need to know about the law of one item X.

    Attributes:
        name: key of the law.
        text: the law in words.
        variance: variance of one live item, E[X] being 0.
        alive: probability that an item is not identically zero.
        best_range: the half range c at which `mixture(c)` is largest.
    """

    name: LawName
    text: str
    variance: float
    alive: float
    best_range: float

    def mixture(self, c: float) -> float:
        """Return q = 2 c f0, where f0 is the least density of X on [-2c, 2c], for a half range 0 < c <= 1/2.

        >>> LAWS["uniform"].mixture(0.5)
        0.5
        """
        if not 0.0 < c <= 0.5:
            raise ValueError(f"the half range must satisfy 0 < c <= 1/2, got c = {c}: split targets into groups")
        if self.name == "uniform":
            return c  # density 1/2 on [-1, 1]
        # uv with u ~ U(0, 1), v ~ U(-1, 1) has density ln(1/|x|) / 2, least at the end 2c of the window
        return self.alive * c * math.log(1.0 / (2.0 * c))


LAWS: dict[str, ItemLaw] = {
    "uniform": ItemLaw("uniform", "X ~ U(-1, 1)", 1.0 / 3.0, 1.0, 0.5),
    "product": ItemLaw("product", "X = u v, u ~ U(0, 1), v ~ U(-1, 1)", 1.0 / 9.0, 1.0, 1.0 / (2.0 * math.e)),
    "half_product": ItemLaw(
        "half_product",
        "X = max(u, 0) v, u, v ~ U(-1, 1): half of the items are dead",
        1.0 / 9.0,
        0.5,
        1.0 / (2.0 * math.e),
    ),
}


def get_law(name: str) -> ItemLaw:
    """Return the law with this name.

    Raises:
        KeyError: there is none; the message lists those that exist.
    """
    if name not in LAWS:
        raise KeyError(f"no law {name!r}; there are {', '.join(LAWS)}")
    return LAWS[name]


@lru_cache(maxsize=1)
def _product_tables() -> npt.NDArray[np.float64]:
    """Distribution functions of sums of k = 0.. positive products on the lattice j / 4000, from below.

    Each product is rounded *up* to the lattice, so every entry is at most the true probability.
    """
    edges = np.arange(_CELLS + 1) / _CELLS
    with np.errstate(divide="ignore", invalid="ignore"):
        cdf = np.where(edges > 0, edges * (1.0 - np.log(edges)), 0.0)
    cells = np.concatenate([[0.0], np.diff(cdf)])
    mass = np.zeros(_CELLS + 1)
    mass[0] = 1.0
    tables = [np.cumsum(mass)]
    for _ in range(_MOST_POSITIVE):
        # direct convolution, not FFT: entries far below 1e-16 of the largest still count
        mass = np.convolve(mass, cells)[: _CELLS + 1]
        tables.append(np.cumsum(mass))
    return np.array(tables)


def positive_sum_cdf(law: ItemLaw, counts: int, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return P(sum of k positive parts <= t) for k = 0..counts, exactly (uniform) or from below (products).

    Args:
        law: the law of the items.
        counts: largest number of positive items.
        levels: thresholds t in [0, 1]; shape [t].

    Returns:
        Probabilities of shape [k, t]; rows beyond what is followed are zero, which is a valid lower bound.
    """
    if law.name == "uniform":
        order = np.arange(counts + 1)[:, None]
        log_factorial = np.cumsum(np.log(np.maximum(order, 1)), axis=0)
        with np.errstate(divide="ignore"):
            log_level = np.where(levels > 0, np.log(levels), -np.inf)
        power = np.where(order == 0, 0.0, np.maximum(order, 1) * log_level)
        return np.asarray(np.exp(power - log_factorial))
    tables = _product_tables()
    column = np.floor(np.asarray(levels) * _CELLS + 1e-9).astype(int)
    rows = np.zeros((counts + 1, len(levels)))
    known = min(counts, _MOST_POSITIVE) + 1
    rows[:known] = tables[:known][:, column]
    return rows
