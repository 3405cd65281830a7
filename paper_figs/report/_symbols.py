"""The numbers that move bounds in the explorer: where they start, how far they go, and which bounds share one.

Papers use the same letter for other things, so a letter is shared only where it means the same; elsewhere each paper
has a control of its own. A start is a place to begin at, no claim: hypotheses are checked wherever the reader goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from strongticket.bounds import Bound

__all__ = ["DEPTH", "WIDTH", "Control", "control", "controls"]

Scale = Literal["log", "linear"]
DEPTH: Final = "depth"
WIDTH: Final = "width"


@dataclass(frozen=True)
class Control:
    """One number that the reader moves.

    Attributes:
        id: what bounds that share it have in common: a symbol, or "<paper>.<symbol>".
        symbol: as the bound writes it.
        start: where it begins.
        low, high: ends of the slider; the number field goes further.
        whole: whether it is a whole number.
        scale: of slider and axis.
        role: "depth" or "width" of the target, or "".
    """

    id: str
    symbol: str
    start: float
    low: float
    high: float
    whole: bool = False
    scale: Scale = "log"
    role: str = ""


_Range = tuple[float, float, float, bool, Scale]


def _count(start: float, high: float, low: float = 1) -> _Range:
    return start, low, high, True, "log" if high > 60 else "linear"


def _log(start: float, low: float, high: float) -> _Range:
    return start, low, high, False, "log"


def _line(start: float, low: float, high: float) -> _Range:
    return start, low, high, False, "linear"


# symbols that mean the same in every paper listed under them, or in all papers that have them (())
_SHARED: Final[Mapping[str, tuple[_Range, tuple[str, ...]]]] = {
    "eps": (_log(0.01, 1e-6, 0.9), ()),
    "delta": (_log(0.01, 1e-9, 0.9), ()),
    "weight_eps": (_log(1e-3, 1e-6, 0.4), ()),
    "delta_1": (_log(1e-6, 1e-14, 0.5), ()),
    "max_target": (_line(0.5, 0.01, 1.0), ()),
    "theta": (_line(0.5, 0.01, 0.99), ()),
    "norm": (_line(1.0, 0.0, 2.0), ()),
    "spacing": (_log(2.0**-4, 2.0**-12, 0.5), ()),
    "N": (_count(1000, 1e7), ()),
    "q": (_line(0.08, 0.01, 0.5), ()),
    "s": (
        _line(0.5, 0.05, 4.0),
        ("gadhikar2023random", "kumar2025quantized", "lueker1998exponentially", "pensia2020optimal"),
    ),
    "c": (_log(0.25, 0.01, 4.0), ("gadhikar2023random", "lueker1998exponentially", "pensia2020optimal")),
    "gamma": (_log(0.1, 1e-3, 0.5), ()),
}

# the target's depth and width, by the letters under which theorems have them
_ROLES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "L": (
        DEPTH,
        (
            "burkholz2022most",
            "dacunha2022proving",
            "diffenderfer2021multiprize",
            "ferbach2023general",
            "malach2020proving",
            "natale2024sparsity",
            "orseau2020logarithmic",
            "otsuka2025attention",
            "pensia2020optimal",
            "sreenivasan2022finding",
        ),
    ),
    "d": (
        WIDTH,
        (
            "diffenderfer2021multiprize",
            "kumar2025quantized",
            "natale2024sparsity",
            "pensia2020optimal",
            "sreenivasan2022finding",
        ),
    ),
    "d_in": (WIDTH, ("natale2024sparsity", "pensia2020optimal")),
    "d_out": (WIDTH, ("natale2024sparsity", "pensia2020optimal")),
    "w": (WIDTH, ("malach2020proving",)),
    "s": (WIDTH, ("malach2020proving",)),
    "d_1": (WIDTH, ("otsuka2025attention",)),
    "d_2": (WIDTH, ("otsuka2025attention",)),
}
_ROLE_RANGE: Final[Mapping[str, _Range]] = {DEPTH: _count(2, 50), WIDTH: _count(100, 10_000)}

# whatever is not above: by symbol, and by paper where that symbol needs another range there
_OWN: Final[Mapping[str, _Range]] = {
    "A": _log(1.0, 0.1, 1e3),
    "B": _log(1.0, 0.1, 1e3),
    "C": _log(1.0, 0.1, 100.0),
    "D": _count(2, 10),
    "E": _log(10.0, 1.0, 40.0),
    "G": _log(1.0, 0.1, 100.0),
    "H": _count(8, 128),
    "K": _count(10, 100),
    "M": _count(4, 40),
    "R": _count(4, 40),
    "a": _line(1.0, 0.0, 4.0),
    "above": _line(1.0, -4.0, 4.0),
    "alpha": _log(1.0, 0.01, 100.0),
    "b": _line(1.618, 1.01, 2.0),
    "basis_norm": _log(1.0, 0.1, 100.0),
    "bend": _line(0.5, -2.0, 2.0),
    "beta": _log(1.0, 0.01, 100.0),
    "bits": _count(4, 16),
    "c_amp": _log(1.0, 0.1, 100.0),
    "c_hyp": _log(1.0, 1.0, 100.0),
    "c_in": _count(16, 512),
    "c_l": _log(0.15, 0.01, 1.0),
    "c_out": _count(16, 512),
    "c_u": _log(0.71, 0.01, 2.0),
    "copies": _count(4, 200),
    "d": _count(10, 1000),
    "d_in": _count(10, 1000),
    "d_out": _count(10, 1000),
    "doublings": _count(10, 1000, 0),
    "e": _log(0.01, 1e-6, 1.0),
    "e_qk": _log(0.01, 1e-6, 1.0),
    "e_vo": _log(0.01, 1e-6, 1.0),
    "elements": _count(9, 100),
    "eta": _log(0.05, 1e-4, 2.0),
    "g": _count(2, 20),
    "group": _count(20, 200),
    "h": _log(1.0, 0.01, 100.0),
    "inside": _line(1.0, 0.0, 4.0),
    "items": _count(30, 1000),
    "k": _count(8, 1000),
    "kappa": _log(10.0, 1.0, 1e4),
    "l": _log(0.1, 1e-3, 1.0),
    "l1": _log(0.5, 1e-3, 1.0),
    "largest": _log(0.05, 1e-3, 1.0),
    "lipschitz": _line(1.0, 0.0, 2.0),
    "lk": _log(0.05, 1e-4, 1.0),
    "locked": _line(0.2, 0.0, 0.9),
    "m": _count(30, 1000),
    "mean": _line(0.25, 0.01, 1.0),
    "n": _count(40, 200),
    "n_in": _count(16, 512),
    "n_out": _count(16, 512),
    "norm": _log(1.0, 0.01, 100.0),
    "offset": _line(0.1, 0.0, 4.0),
    "outside": _line(0.5, 0.0, 4.0),
    "p": _line(0.5, 0.01, 0.99),
    "picks": _count(100, 1000, 0),
    "projected": _count(1, 1, 0),
    "pruned": _line(0.2, 0.0, 0.9),
    "pull": _line(0.5, -4.0, 4.0),
    "r": _line(0.2, 0.0, 1.0),
    "s": _log(1.0, 0.01, 10.0),
    "s2": _line(0.1, 0.0, 2.0),
    "scale": _log(1.0, 0.1, 10.0),
    "sigma": _log(1.5, 0.1, 4.0),
    "slope": _line(0.5, 0.0, 1.0),
    "t": _line(0.5, 0.05, 4.0),
    "target": _log(1.0, 0.01, 100.0),
    "tau": _log(0.01, 1e-4, 1.0),
    "v": _line(0.3333, 0.05, 1.0),
    "w": _line(0.5, -2.0, 2.0),
    "w_max": _log(1.0, 0.1, 10.0),
    "w_vo": _log(1.0, 0.1, 10.0),
    "z": _line(0.5, 0.0, 4.0),
}
_BY_PAPER: Final[Mapping[tuple[str, str], _Range]] = {
    ("belkin2019reconciling", "H"): _count(100, 100_000),
    ("belkin2019reconciling", "d"): _count(784, 10_000),
    ("belkin2019reconciling", "n"): _count(1000, 100_000, 2),
    ("belkin2019reconciling", "norm"): _log(1.0, 0.01, 100.0),
    ("belkin2020two", "n"): _count(40, 400),
    ("belkin2020two", "p"): _count(20, 400),
    ("borgs2001phase", "A"): _count(1_000_000, 1e12),
    ("borgs2001phase", "n"): _count(20, 200, 2),
    ("burkholz2022most", "L"): _count(2, 20),
    ("dacunha2022proving", "d"): _count(3, 11),
    ("dacunha2022proving", "k"): _count(1000, 1e7),
    ("fischer2021nonzero", "L"): _count(4, 40),
    ("fischer2021nonzero", "l"): _count(2, 40),
    ("kumar2025quantized", "M"): _count(16, 4096),
    ("kumar2025quantized", "c"): _count(8, 2048),
    ("kumar2025quantized", "n"): _count(20, 200, 2),
    ("kumar2025quantized", "p"): _line(0.5, 0.01, 1.0),
    ("lueker1998exponentially", "k"): _count(6, 12),
    ("lueker1998exponentially", "n"): _count(12, 40),
    ("malach2020proving", "target"): _line(0.5, 0.01, 1.0),
    ("malach2020proving", "B"): _log(1.0, 0.1, 10.0),
    ("orseau2020logarithmic", "B"): _count(1000, 1e8),
    ("orseau2020logarithmic", "k"): _count(10, 60),
    ("sreenivasan2022finding", "R"): _count(20, 60),
    ("chijiwa2021pruning", "p"): _log(0.01, 1e-4, 0.9),
    ("xiong2022perturbation", "n"): _count(8, 40, 0),
    ("xiong2022perturbation", "k"): _count(4, 40, 0),
    ("xiong2022perturbation", "c"): _log(1.0, 0.1, 10.0),
    ("ma2018power", "alpha"): _log(0.1, 1e-3, 1.0),
    ("otsuka2025attention", "alpha"): _log(10.0, 1.0, 100.0),
    ("otsuka2025attention", "R"): _log(1.0, 0.1, 10.0),
}


def control(bound: Bound, symbol: str) -> Control:
    """Return the control that moves a symbol of a bound.

    >>> from strongticket import bounds
    >>> control(bounds.get("pensia2020optimal.theorem1_width"), "d_in").role
    'width'

    Raises:
        KeyError: nobody has said where this symbol starts; add it to `_OWN`.
    """
    paper = bound.reference
    role, papers = _ROLES.get(symbol, ("", ()))
    if paper in papers:
        return Control(symbol if symbol != "s" else f"{paper}.s", symbol, *_ROLE_RANGE[role], role=role)
    if (paper, symbol) in _BY_PAPER:
        return Control(f"{paper}.{symbol}", symbol, *_BY_PAPER[paper, symbol])
    if symbol in _SHARED:
        value, papers = _SHARED[symbol]
        if not papers or paper in papers:
            return Control(symbol, symbol, *value)
    if symbol not in _OWN:
        raise KeyError(f"{bound.key} has the symbol {symbol!r}: say in paper_figs/report/_symbols.py where it starts")
    return Control(f"{paper}.{symbol}", symbol, *_OWN[symbol])


def controls(found: Iterable[Bound]) -> tuple[Control, ...]:
    """Return every control of these bounds once, sorted by id."""
    all_of_them = {one.id: one for bound in found for one in (control(bound, s) for s in _symbols(bound))}
    return tuple(all_of_them[key] for key in sorted(all_of_them))


def _symbols(bound: Bound) -> tuple[str, ...]:
    return (*bound.symbols, *bound.conditions)
