"""Sreenivasan et al. 2022, "Finding nearly everything within random binary networks": +-1 sources, logarithmic width.

- `theorem_depth`, `theorem_width`: the published orders, L log(dL/eps) and d log^2(dL/eps); constants are left open.
- `copies_failure`, `copies_needed`: copies of each number that our doubling network needs, rigorous; `depth`: its
  layers. **Derived by strongticket**: the gadget is ours, see `strongticket.constructions.sreenivasan2022finding`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS", "copies_needed"]


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any, text: str, least: int = 1) -> Hypothesis:
    import sympy

    relation = sympy.And(symbol >= least, sympy.Eq(sympy.floor(symbol), symbol))
    return Hypothesis(f"{symbol} integer >= {least}", relation, text)


def _published(power: int, factor: str) -> Any:
    def build() -> Formula:
        import sympy

        C, d, L, eps = _symbols("C d L eps")
        return Formula(
            C * (L if factor == "L" else d) * sympy.log(d * L / eps) ** power,
            (
                Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "error on the unit ball"),
                _count(d, "width of the target"),
                _count(L, "layers of the target"),
                Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
            ),
            frozenset({"C"}),
        )

    return build


def _copies_failure() -> Formula:
    R, doublings, picks = _symbols("R doublings picks")
    return Formula(
        R * 2 ** (-R) * ((R + 1) * doublings + picks),
        (
            _count(R, "copies of each number"),
            _count(doublings, "numbers that are doubled, one for each channel and bit", 0),
            _count(picks, "numbers that are taken over from the layer before, set bits included", 0),
        ),
    )


def _depth() -> Formula:
    L, bits = _symbols("L bits")
    return Formula(
        L * (bits + 1) + 1,
        (_count(L, "layers of the target"), _count(bits, "bits of the largest |weight| in units of the grid")),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "sreenivasan2022finding.theorem_depth",
        "layers of the random binary network",
        Relation.UPPER,
        _published(1, "L"),
        "main theorem, as an order; the constant is not given",
    ),
    Bound(
        "sreenivasan2022finding.theorem_width",
        "width of the random binary network",
        Relation.UPPER,
        _published(2, "d"),
        "main theorem, as an order; the constant is not given",
    ),
    Bound(
        "sreenivasan2022finding.copies_failure",
        "probability that some copy of some number cannot be built from R copies of the numbers before, with random "
        "signs: a doubling needs two edges +1 among R, anything else one edge of the right sign",
        Relation.UPPER,
        _copies_failure,
        "strongticket: union bound over our doubling network; without the first layer",
    ),
    Bound(
        "sreenivasan2022finding.depth",
        "layers of our doubling network, of which one picks the inputs and each target layer has one for each bit and "
        "one for its outputs",
        Relation.TIGHT,
        _depth,
        "strongticket: our doubling network, if all layers have so many bits",
    ),
)


@lru_cache(maxsize=1024)
def copies_needed(doublings: int, picks: int, delta: float) -> int:
    """Return the least R >= 3 at which `copies_failure` is at most delta: O(log((doublings + picks)/delta)).

    Args:
        doublings: numbers that are doubled, >= 0.
        picks: numbers that are taken over, >= 0.
        delta: in (0, 1).

    Raises:
        ValueError: an argument outside its range.

    >>> copies_needed(15, 40, 0.03), copies_needed(10**6, 10**7, 1e-6)
    (18, 52)
    """
    if doublings < 0 or picks < 0 or not 0.0 < delta < 1.0:
        raise ValueError(f"expected counts >= 0 and delta in (0, 1), got {doublings}, {picks} and {delta}")
    R = 3  # from here on the failure falls with R
    while R * ((R + 1) * doublings + picks) > delta * 2.0**R:
        R += 1
    return R
