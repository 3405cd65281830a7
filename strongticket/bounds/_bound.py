"""`Bound`: a formula that refuses to be used outside its hypotheses."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import sympy

__all__ = ["Bound", "Formula", "Hypothesis", "HypothesisError", "Relation", "Unspecified"]

# Working precision of one evaluation, in decimal digits: formulas may cancel, results are rounded to float once.
_DIGITS = 34
_GREEK = {"eps": r"\varepsilon", "weight_eps": r"\varepsilon_w", "delta_1": r"\delta_1"}


class Relation(Enum):
    """What a bound's number says about the quantity it names; the text is the help."""

    UPPER = "sufficient: this much is always enough, or the quantity is never larger"
    LOWER = "necessary: nothing smaller can do"
    BUDGET = "sufficient: a tolerance of this size is always enough, a larger one may be enough too"
    TIGHT = "exact: both sufficient and necessary"
    PREDICTION = "a prediction without proof: compare it with measurements, never rely on it"


class HypothesisError(ValueError):
    """A value lies outside what the theorem assumes; `failed` holds the hypotheses, `values` what was given.

    Constructions raise it too, with the message alone, when a target breaks a hypothesis.
    """

    def __init__(
        self, message: str, failed: tuple[Hypothesis, ...] = (), values: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(message)
        self.failed = failed
        self.values = dict(values or {})


class Unspecified(ValueError):
    """A constant that the paper leaves open was not given, so the formula has no value."""


@dataclass(frozen=True)
class Hypothesis:
    """One named condition of a theorem.

    Attributes:
        name: short name, as error messages quote it.
        relation: the condition as a sympy relation or And/Or of relations.
        text: the condition in words, with the reason or the unit.
    """

    name: str
    relation: sympy.logic.boolalg.Boolean
    text: str


@dataclass(frozen=True)
class Formula:
    """The sympy side of a bound: what is computed, under which conditions, with which constants left open.

    All symbols must be made with `Symbol(name, real=True)` and no further assumption: sympy would simplify the
    hypothesis `eps > 0` away for a symbol declared positive.

    Attributes:
        expression: the formula.
        hypotheses: conditions on its symbols, or on further symbols (checked when they are given).
        unspecified: names of the symbols whose value the paper leaves open.
    """

    expression: sympy.Expr
    hypotheses: tuple[Hypothesis, ...] = ()
    unspecified: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        import sympy

        for symbol in self.expression.free_symbols.union(*(h.relation.free_symbols for h in self.hypotheses)):
            if symbol != sympy.Symbol(symbol.name, real=True):
                raise ValueError(f"symbol {symbol.name!r} must be Symbol({symbol.name!r}, real=True) and nothing more")
        for hypothesis in self.hypotheses:
            if hypothesis.relation in (sympy.true, sympy.false):
                raise ValueError(f"hypothesis {hypothesis.name!r} is {hypothesis.relation} whatever the values are")


@dataclass(frozen=True)
class Bound:
    """A formula of a paper, callable, with its hypotheses and what it says.

    Attributes:
        key: `"<paper>.<name>"`; the paper's key is also its entry in references.bib.
        quantity: in words, what the number is and its unit.
        relation: what the number says about that quantity.
        build: makes the formula; called once, at first use, so that listing bounds does not load sympy.
        place: where the formula stands, or "strongticket" when the derivation is ours.
    """

    key: str
    quantity: str
    relation: Relation
    build: Callable[[], Formula]
    place: str

    def __post_init__(self) -> None:
        paper, _, name = self.key.partition(".")
        if not paper or not name:
            raise ValueError(f"a bound's key is '<paper>.<name>', got {self.key!r}")

    @property
    def reference(self) -> str:
        """The paper's key, which is its key in references.bib and the name of its files."""
        return self.key.partition(".")[0]

    @cached_property
    def formula(self) -> Formula:
        """The sympy side, made at first use."""
        return self.build()

    @property
    def expression(self) -> sympy.Expr:
        """The formula as a sympy expression."""
        return self.formula.expression

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """The conditions under which the formula says something."""
        return self.formula.hypotheses

    @property
    def unspecified(self) -> frozenset[str]:
        """Names of the constants that the paper leaves open."""
        return self.formula.unspecified

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Names that a call must give, sorted."""
        return tuple(sorted(symbol.name for symbol in self.expression.free_symbols))

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """Names that only hypotheses mention, sorted: a call may give them, and then they are checked."""
        mentioned = {symbol.name for h in self.hypotheses for symbol in h.relation.free_symbols}
        return tuple(sorted(mentioned - set(self.symbols)))

    def failed_hypotheses(self, **values: float) -> tuple[Hypothesis, ...]:
        """Return the hypotheses that the values break; those that mention a value not given are passed over.

        Raises:
            TypeError: a value is not a real number, or its name is unknown.
            ValueError: a value is NaN or infinite.
        """
        exact = self._exact(values)
        failed = []
        for hypothesis in self.hypotheses:
            names = hypothesis.relation.free_symbols
            if all(symbol in exact for symbol in names) and not _holds(hypothesis, exact):
                failed.append(hypothesis)
        return tuple(failed)

    def __call__(self, **values: float) -> float:
        """Evaluate at one point, in 34 digits, rounded once.

        Args:
            **values: one number for each of `symbols`, and any of `conditions`.

        Raises:
            HypothesisError: a hypothesis fails; it is named, with the value.
            Unspecified: a constant that the paper leaves open is missing.
            TypeError: another symbol is missing or unknown, or a value is not a real number.
            ValueError: a value is NaN or infinite, or the result is not a finite real number.
        """
        self._require(values)
        failed = self.failed_hypotheses(**values)
        if failed:
            raise HypothesisError(self._refusal(failed, values), failed, values)
        # sums are written out: sympy's numerical summation is wrong where terms cancel or vanish
        result = self.expression.xreplace(self._exact(values)).doit()
        try:
            number = float(result)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{self.key} has no finite real value at {values}: {result}") from error
        if not math.isfinite(number):
            raise ValueError(f"{self.key} has no finite real value at {values}: {number}")
        return number

    def curve(self, **values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Evaluate over arrays that broadcast against each other, in float64: what figures draw.

        Raises:
            HypothesisError: a hypothesis fails somewhere; the first such point is named.
            Unspecified, TypeError, ValueError: as for a call.
        """
        import sympy

        self._require(values)
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or an infinity; {self.key} needs finite numbers")
        spread = dict(zip(arrays, np.broadcast_arrays(*arrays.values()), strict=True)) if arrays else {}
        for hypothesis in self.hypotheses:
            names = sorted(symbol.name for symbol in hypothesis.relation.free_symbols)
            if not all(name in spread for name in names):
                continue
            symbols = [sympy.Symbol(name, real=True) for name in names]
            holds = sympy.lambdify(symbols, hypothesis.relation, "numpy")(*(spread[name] for name in names))
            if not np.all(holds):
                where = np.unravel_index(int(np.argmin(holds)), np.shape(holds))
                point = {name: float(spread[name][where]) for name in spread}
                raise HypothesisError(self._refusal((hypothesis,), point), (hypothesis,), point)
        shape = np.broadcast_shapes(*(array.shape for array in spread.values())) if spread else ()
        if self.expression.has(sympy.Sum):  # float64 loses the digits in which their terms cancel
            points = [{name: float(spread[name][where]) for name in spread} for where in np.ndindex(shape)]
            return np.array([self(**point) for point in points], dtype=np.float64).reshape(shape)
        symbols = [sympy.Symbol(name, real=True) for name in self.symbols]
        result = sympy.lambdify(symbols, self.expression, ["scipy", "numpy"])(*(spread[name] for name in self.symbols))
        curve = np.broadcast_to(np.asarray(result, dtype=np.float64), shape).copy()
        if not np.isfinite(curve).all():
            raise ValueError(f"{self.key} has no finite real value somewhere on this curve")
        return curve

    def latex(self) -> str:
        """Return the formula as LaTeX, without dollar signs."""
        import sympy

        names = {sympy.Symbol(name, real=True): text for name, text in _GREEK.items()}
        return str(sympy.latex(self.expression, symbol_names=names))

    def _require(self, values: Mapping[str, Any]) -> None:
        missing = [name for name in self.symbols if name not in values]
        open_constants = [name for name in missing if name in self.unspecified]
        unknown = sorted(set(values) - set(self.symbols) - set(self.conditions))
        if unknown:
            accepted = ", ".join((*self.symbols, *self.conditions))
            raise TypeError(f"{self.key} has no symbol {', '.join(unknown)}; it takes {accepted}")
        if open_constants:
            raise Unspecified(
                f"the paper leaves the constant {', '.join(open_constants)} of {self.key} open; give a value, "
                f"for example {open_constants[0]}=3, and say with the result that you chose it"
            )
        if missing:
            raise TypeError(f"{self.key} also needs {', '.join(missing)}")

    def _exact(self, values: Mapping[str, float]) -> dict[sympy.Symbol, sympy.Expr]:
        """Sympy numbers for the values, keyed by Symbol: substituting by name does nothing, silently."""
        import sympy

        known = {*self.symbols, *self.conditions}
        exact: dict[sympy.Symbol, sympy.Expr] = {}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"{self.key} has no symbol {name}; it takes {', '.join(sorted(known))}")
            exact[sympy.Symbol(name, real=True)] = _number(name, value)
        return exact

    def _refusal(self, failed: tuple[Hypothesis, ...], values: Mapping[str, float]) -> str:
        parts = []
        for hypothesis in failed:
            names = sorted(symbol.name for symbol in hypothesis.relation.free_symbols)
            given = ", ".join(f"{name} = {values[name]}" for name in names)
            parts.append(f"'{hypothesis.name}' fails at {given} ({hypothesis.text})")
        return f"{self.key} says nothing here: hypothesis {'; '.join(parts)}"


def _number(name: str, value: Any) -> sympy.Expr:
    import sympy

    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    if not isinstance(value, numbers.Integral) and not math.isfinite(float(value)):
        raise ValueError(f"{name} must be finite, got {name} = {value}")
    whole = math.floor(value)
    if value == whole:  # 3.0 is 3: limits of sums and exponents must be integers to be handled exactly
        return sympy.Integer(whole)
    if isinstance(value, numbers.Rational):
        return sympy.Rational(value.numerator, value.denominator)
    return sympy.Float(float(value), _DIGITS)


def _holds(hypothesis: Hypothesis, exact: Mapping[sympy.Symbol, sympy.Expr]) -> bool:
    try:
        return bool(hypothesis.relation.xreplace(exact))
    except TypeError:
        return False  # a side is not a real number at this point, so the relation cannot hold
