"""Name the distributions that random weights are drawn from, so that a file can say which one and mean every bit.

A law turns the words of a stream into numbers by exact integer steps (and, for `NORMAL_TAB1`, float64 products and
sums), hence seed + stream name + law + position fix a weight on every device, library version and thread count. All
laws but that one live on a dyadic grid: their values are integers times 2^grid_exponent, so that sums of weights and of
products of weights are exact in float64 and errors of subset sums are known exactly, not estimated. What a law promises
is in `abstract`; the laws themselves are in `standard`, `hyperbolic`, `quantized` and `sparse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from strongticket.random import quantized, sparse
from strongticket.random.abstract import AbstractLaw
from strongticket.random.hyperbolic import HYPERBOLIC8, HYPERBOLIC16
from strongticket.random.standard import NORMAL_TAB1, SIGN, UNIFORM23, NormalTab1, Sign, Uniform23

__all__ = ["LAWS", "NORMAL_TAB1", "SIGN", "UNIFORM23", "AbstractLaw", "NormalTab1", "Sign", "Uniform23", "law"]

LAWS: Final[Mapping[str, AbstractLaw]] = MappingProxyType(
    {each.name: each for each in (UNIFORM23, SIGN, NORMAL_TAB1, HYPERBOLIC16, HYPERBOLIC8)}
)
"""Every law without a parameter, by name; `law` knows the families in `quantized` and `sparse` too."""


def law(name: str) -> AbstractLaw:
    """Return the law that a file or an option names.

    >>> law("uniform23").grid_exponent
    -23

    Raises:
        ValueError: no such law.
    """
    if name not in LAWS and (member := quantized.family(name) or sparse.family(name)) is not None:
        return member
    if name not in LAWS:
        raise ValueError(f"law: expected one of {', '.join(LAWS)}, quantized<bits>, sparse<k of 512>, got {name!r}")
    return LAWS[name]
