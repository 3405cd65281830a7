"""JavaScript functions from sympy expressions, so that the page's explorer computes what `strongticket.bounds` does.

The functions compute in numbers of two doubles (`double.js`), not in doubles as `sympy.jscode` prints them: bounds
cancel and end in ceilings, and the page must show the same number as Python, which computes in 34 digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy

    from strongticket.bounds import Bound

__all__ = ["UnsupportedFunctionError", "javascript", "javascript_bound"]


class UnsupportedFunctionError(ValueError):
    """An expression holds a function that the page cannot compute; the message names it."""


def javascript(expression: sympy.Basic) -> str:
    """Return the body of an arrow function of `v`, the values by symbol name, each a number of two doubles.

    >>> from sympy import Symbol, log
    >>> javascript(2 * log(Symbol("eps", real=True)))
    'D.mul([2,0],D.log(v["eps"]))'

    Raises:
        UnsupportedFunctionError: the page cannot compute it; the function is named.
    """
    return _print(expression, frozenset())


def javascript_bound(bound: Bound) -> str:
    """Return a bound as a JavaScript object: `value(v)`, and `checks`, one function of v for each hypothesis.

    Raises:
        UnsupportedFunctionError: the page cannot compute the bound; bound and function are named.
    """
    try:
        value = javascript(bound.expression)
        checks = ",\n".join(f"v=>{javascript(hypothesis.relation)}" for hypothesis in bound.hypotheses)
    except UnsupportedFunctionError as error:
        raise UnsupportedFunctionError(f"{bound.key}: {error}") from None
    return f"{json.dumps(bound.key)}:{{value:v=>{value},\nchecks:[{checks}]}}"


def _print(e: sympy.Basic, local: frozenset[sympy.Symbol]) -> str:
    import sympy

    if isinstance(e, sympy.Symbol):
        return f"s_{e.name}" if e in local else f"v[{json.dumps(e.name)}]"
    if isinstance(e, sympy.Integer | sympy.Float | sympy.NumberSymbol):
        return _constant(e)
    if isinstance(e, sympy.Rational):
        return f"D.over({_constant(sympy.Integer(e.p))},{_constant(sympy.Integer(e.q))})"
    if isinstance(e, sympy.Sum):
        return _sum(e, local)
    if isinstance(e, sympy.Piecewise):
        found = "[NaN,0]"
        for value, condition in reversed(e.args):
            found = f"({_print(condition, local)}?{_print(value, local)}:{found})"
        return found
    named = _functions().get(e.func)
    if named is None:
        raise UnsupportedFunctionError(
            f"the page cannot compute {e.func.__name__} in {e}: add it to _javascript.py and to double.js"
        )
    return named([_print(argument, local) for argument in e.args], e)


def _constant(e: Any) -> str:
    """A constant to two doubles."""
    import sympy

    high = float(e)
    low = float(sympy.N(e - sympy.Rational(high), 34)) if e != sympy.Rational(high) else 0.0
    return f"[{high:.17g},{low:.17g}]" if low or high != int(high) else f"[{int(high)},0]"


def _sum(e: Any, local: frozenset[sympy.Symbol]) -> str:
    if len(e.limits) != 1:
        raise UnsupportedFunctionError(f"the page cannot compute Sum over several variables: {e}")
    variable, start, stop = e.limits[0]
    term = _print(e.function, local | {variable})
    return f"D.sum({_print(start, local)},{_print(stop, local)},s_{variable.name}=>{term})"


def _call(name: str) -> Callable[[list[str], Any], str]:
    return lambda arguments, _: f"D.{name}({','.join(arguments)})"


def _swapped(name: str) -> Callable[[list[str], Any], str]:
    return lambda arguments, _: f"D.{name}({arguments[1]},{arguments[0]})"


def _joined(sign: str) -> Callable[[list[str], Any], str]:
    return lambda arguments, _: f"({sign.join(arguments)})"


def _power(arguments: list[str], e: Any) -> str:
    import sympy

    base, exponent = arguments
    if e.exp == sympy.S.Half:
        return f"D.sqrt({base})"
    if e.exp == sympy.S.NegativeOne:
        return f"D.over([1,0],{base})"
    if e.exp == -sympy.S.Half:
        return f"D.over([1,0],D.sqrt({base}))"
    return f"D.pow({base},{exponent})"


@cache
def _functions() -> Mapping[Any, Callable[[list[str], Any], str]]:
    """What can be computed; made at first use, since sympy is loaded late."""
    import sympy
    from sympy.logic.boolalg import BooleanFalse, BooleanTrue

    names = {
        sympy.Add: "add",
        sympy.Mul: "mul",
        sympy.exp: "exp",
        sympy.log: "log",
        sympy.tanh: "tanh",
        sympy.cosh: "cosh",
        sympy.Abs: "abs",
        sympy.Max: "max",
        sympy.Min: "min",
        sympy.floor: "floor",
        sympy.ceiling: "ceil",
        sympy.factorial: "factorial",
        sympy.laguerre: "laguerre",
        sympy.StrictLessThan: "less",
        sympy.LessThan: "atMost",
        sympy.Equality: "equal",
    }
    return {function: _call(name) for function, name in names.items()} | {
        sympy.StrictGreaterThan: _swapped("less"),
        sympy.GreaterThan: _swapped("atMost"),
        sympy.And: _joined("&&"),
        sympy.Or: _joined("||"),
        sympy.Pow: _power,
        BooleanTrue: lambda arguments, e: "true",
        BooleanFalse: lambda arguments, e: "false",
    }
