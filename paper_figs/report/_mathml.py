"""Formulas as MathML, which browsers draw and screen readers read by themselves, from the expressions of `Bound`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from paper_figs.report._html import Markup, el
from paper_figs.report._prose import LETTERS

if TYPE_CHECKING:
    import sympy

    from strongticket.bounds import Bound

__all__ = ["formula", "framed", "symbol"]

_OWN: Final = {"weight_eps": ("ε", "w"), "lk": ("l", "k"), "l1": ("l", "1")}
_SUM, _PRODUCT, _POWER, _ATOM = range(4)  # how tightly something holds together


def formula(expression: sympy.Basic, *, alt: str = "", block: bool = False) -> Markup:
    """Return `<math>` of an expression, with LaTeX as its alternative text.

    >>> from sympy import Symbol
    >>> formula(Symbol("eps", real=True) / 2)
    '<math><mfrac><mi>ε</mi><mn>2</mn></mfrac></math>'

    Raises:
        ValueError: nobody has said how to set a function; it is named.
    """
    return el("math", _print(expression)[0], display="block" if block else None, alttext=alt or None)


def framed(bound: Bound) -> Markup:
    """Return a bound's formula in a frame of its own, which scrolls where it is too wide."""
    return el("div", formula(bound.expression, alt=bound.latex(), block=True), class_="formula", role="group",
              aria_label=f"formula of {bound.key}", tabindex="0")  # fmt: skip


def symbol(name: str) -> Markup:
    """Return a symbol as MathML: Greek by name, one letter with what follows "_" below it, words as words.

    >>> symbol("d_in"), symbol("max_target")
    ('<msub><mi>d</mi><mtext>in</mtext></msub>', '<mtext>max target</mtext>')
    """
    if name == "s2":
        return el("msup", el("mi", "s"), el("mn", "2"))
    base, _, below = name.partition("_")
    base, below = _OWN.get(name, (LETTERS.get(base, base), below))
    if len(base) > 1:
        return el("mtext", name.replace("_", " "))
    shown = el("mi", base)
    if not below:
        return shown
    return el("msub", shown, el("mn" if below.isdigit() else "mi" if len(below) == 1 else "mtext", below))


def _fenced(content: str, left: str = "(", right: str = ")") -> Markup:
    return el("mrow", el("mo", left, fence="true"), Markup(content), el("mo", right, fence="true"))


def _at_least(e: Any, level: int) -> Markup:
    shown, own = _print(e)
    return shown if own >= level else _fenced(shown)


def _print(e: Any) -> tuple[Markup, int]:
    """The MathML of an expression, and how tightly it holds together."""
    import sympy

    if isinstance(e, sympy.Symbol):
        return symbol(e.name), _ATOM
    if e == sympy.pi:
        return el("mi", "π"), _ATOM
    if isinstance(e, type(sympy.GoldenRatio)):
        return el("mi", "φ"), _ATOM
    if isinstance(e, sympy.Integer | sympy.Float):
        return _number(e)
    if isinstance(e, sympy.Add):
        return _add(e), _SUM
    if isinstance(e, sympy.Mul | sympy.Rational):
        return _mul(e)
    if isinstance(e, sympy.Pow):
        return _pow(e)
    if isinstance(e, sympy.exp):
        return el("msup", el("mi", "e"), _small(e.args[0])), _POWER
    if isinstance(e, sympy.Piecewise):
        return _cases(e), _SUM
    if isinstance(e, sympy.Sum):
        return _sum(e), _PRODUCT
    return _function(e), _ATOM


def _number(e: Any) -> tuple[Markup, int]:
    shown = str(e) if e.is_Integer else repr(float(e))
    if shown.startswith("-"):
        return el("mrow", el("mo", "−"), el("mn", shown[1:])), _SUM
    return el("mn", shown), _ATOM


def _function(e: Any) -> Markup:
    import sympy

    argument = _print(e.args[0])[0] if e.args else Markup("")
    if isinstance(e, sympy.ceiling):
        return _fenced(argument, "⌈", "⌉")
    if isinstance(e, sympy.floor):
        return _fenced(argument, "⌊", "⌋")
    if isinstance(e, sympy.Abs):
        return _fenced(argument, "|", "|")
    if isinstance(e, sympy.factorial):
        return el("mrow", _at_least(e.args[0], _ATOM), el("mo", "!"))
    if isinstance(e, sympy.laguerre):
        return el("mrow", el("msub", el("mi", "L"), argument), _fenced(_print(e.args[1])[0]))
    if isinstance(e, sympy.Max | sympy.Min):
        inner = el("mo", ",").join(_print(one)[0] for one in sorted(e.args, key=lambda one: not one.is_number))
        return el("mrow", el("mi", "max" if isinstance(e, sympy.Max) else "min"), _fenced(inner))
    if isinstance(e, sympy.log | sympy.tanh | sympy.cosh):
        return _applied(el("mi", "ln" if isinstance(e, sympy.log) else e.func.__name__), e.args[0])
    raise ValueError(f"nobody has said how to set {e.func.__name__} in {e}: add it to paper_figs/report/_mathml.py")


def _applied(name: Markup, argument: Any) -> Markup:
    """A function's name and its argument, in parentheses unless that is one symbol or number."""
    shown, level = _flat(argument)
    simple = level == _ATOM and (argument.is_Symbol or argument.is_number)
    gap = el("mspace", width="0.17em") if simple else Markup("")
    return el("mrow", name, el("mo", "\u2061"), gap, shown if simple else _fenced(shown))


def _add(e: Any) -> Markup:
    import sympy

    # positive terms first, cases last: neither then needs parentheses
    terms = sorted(e.as_ordered_terms(), key=lambda term: (term.has(sympy.Piecewise), term.could_extract_minus_sign()))
    parts: list[Markup] = []
    for term in terms:
        negative = term.could_extract_minus_sign()
        bare = isinstance(term, sympy.Piecewise)
        shown = _print(term)[0] if bare else _at_least(-term if negative else term, _PRODUCT)
        if negative or parts:
            parts.append(el("mo", "−" if negative else "+"))
        parts.append(shown)
    return el("mrow", *parts)


def _mul(e: Any) -> tuple[Markup, int]:
    if e.could_extract_minus_sign():
        return el("mrow", el("mo", "−"), _at_least(-e, _PRODUCT)), _SUM
    top, bottom = _binary_logs(*_parts(e))
    if not bottom:
        return _product(top), _PRODUCT
    return el("mfrac", _whole(top), _whole(bottom)), _PRODUCT


def _whole(factors: list[Any]) -> Markup:
    """Factors that stand alone above or below a line: a single one needs no parentheses."""
    if len(factors) == 1 and not isinstance(factors[0], Markup):
        return _print(factors[0])[0]
    return _product(factors)


def _flat(e: Any) -> tuple[Markup, int]:
    """An expression for a place where a fraction would be tall or tiny: a/b on one line, if both are products."""
    import sympy

    if isinstance(e, sympy.Add) and any(isinstance(term, sympy.Mul | sympy.Rational) for term in e.args):
        return _print(e)
    negative = e.could_extract_minus_sign()
    e = -e if negative else e
    if not isinstance(e, sympy.Mul | sympy.Pow | sympy.Rational) or isinstance(e, sympy.Integer):
        return _print(-e if negative else e)
    top, bottom = _binary_logs(*_parts(e))
    if not bottom or any(one.has(sympy.Add) and not _is_applied(one) for one in bottom if not isinstance(one, Markup)):
        return _print(-e if negative else e)
    below = _product(bottom)
    if len(bottom) > 1 or (not isinstance(bottom[0], Markup) and _print(bottom[0])[1] < _POWER):
        below = _fenced(_whole(bottom))
    sign = el("mo", "−") if negative else Markup("")
    return el("mrow", sign, _product(top), el("mo", "/"), below), _SUM if negative else _PRODUCT


def _parts(e: Any) -> tuple[list[Any], list[Any]]:
    """Factors above and below the line."""
    import sympy

    top: list[Any] = []
    bottom: list[Any] = []
    for factor in sympy.Mul.make_args(e):
        if isinstance(factor, sympy.Rational):
            if factor.p != 1:
                top.append(sympy.Integer(factor.p))
            if factor.q != 1:
                bottom.append(sympy.Integer(factor.q))
        elif isinstance(factor, sympy.Pow) and factor.exp.could_extract_minus_sign():
            bottom.append(sympy.Pow(factor.base, -factor.exp, evaluate=False) if factor.exp != -1 else factor.base)
        else:
            top.append(factor)
    plain = [factor for factor in top if not _is_applied(factor)]
    return [*plain, *(factor for factor in top if _is_applied(factor))], bottom


def _is_applied(factor: Any) -> bool:
    import sympy

    base = factor.base if isinstance(factor, sympy.Pow) else factor
    return isinstance(base, sympy.log | sympy.Add)


def _binary_logs(top: list[Any], bottom: list[Any]) -> tuple[list[Any], list[Any]]:
    """Write ln(x)/ln(2) as log2(x), where as many logarithms stand above as ln(2) below."""
    import sympy

    for power in (1, 2):
        two = sympy.log(2) if power == 1 else sympy.Pow(sympy.log(2), power, evaluate=False)
        logs = [f for f in top if isinstance(f.base if power > 1 and isinstance(f, sympy.Pow) else f, sympy.log)
                and (power == 1 or (isinstance(f, sympy.Pow) and f.exp == power))]  # fmt: skip
        if two in bottom and len(logs) == 1:
            inner = logs[0].args[0] if power == 1 else logs[0].base.args[0]
            log = el("mi", "log")
            name = el("msub", log, el("mn", "2")) if power == 1 else el("msubsup", log, el("mn", "2"), el("mn", "2"))
            return (
                [_applied(name, inner) if factor is logs[0] else factor for factor in top],
                [factor for factor in bottom if factor != two],
            )
    return top, bottom


def _product(factors: list[Any]) -> Markup:
    if not factors:
        return el("mn", "1")
    shown = [one if isinstance(one, Markup) else _at_least(one, _PRODUCT) for one in factors]
    parts: list[Markup] = []
    for one in shown:
        if parts:
            digits = _needs_dot(parts[-1], one)
            parts.append(el("mo", "·" if digits else "\u2062"))
            if not digits:
                parts.append(el("mspace", width="0.12em"))
        parts.append(one)
    return el("mrow", *parts) if len(parts) > 1 else parts[0]


def _needs_dot(before: Markup, after: Markup) -> bool:
    """Whether two factors side by side would read as one number or one word."""
    opened = re.sub("^(<m(row|sup|frac|sub)>)*", "", after)
    return opened.startswith(("<mn>", "<mtext>")) or before.endswith("</mtext>")


def _pow(e: Any) -> tuple[Markup, int]:
    import sympy

    base, exponent = e.base, e.exp
    if exponent == sympy.S.Half:
        return el("msqrt", _print(base)[0]), _ATOM
    if exponent.could_extract_minus_sign() and not (base.is_Integer and not exponent.is_number):
        return _mul(e)
    if isinstance(base, sympy.log):  # ln^2(x), not (ln(x))^2 with two pairs of parentheses
        return _applied(el("msup", el("mi", "ln"), _print(exponent)[0]), base.args[0]), _ATOM
    return el("msup", _at_least(base, _ATOM), _small(exponent)), _POWER


def _small(exponent: Any) -> Markup:
    """An exponent on one line: 3/2, not a fraction in small print."""
    return _flat(exponent)[0]


def _cases(e: Any) -> Markup:
    import sympy

    rows = []
    for value, condition in e.args:
        when = (
            el("mtext", "otherwise")
            if condition == sympy.true
            else el("mrow", el("mtext", "if\u00a0"), _relation(condition))
        )
        rows.append(el("mtr", el("mtd", _print(value)[0]), el("mtd", when)))
    return el("mtable", *rows, class_="cases")


def _relation(condition: Any) -> Markup:
    """Return one relation between two sides, as MathML without `<math>`."""
    import sympy

    signs = {sympy.LessThan: "≤", sympy.GreaterThan: "≥", sympy.StrictLessThan: "<", sympy.StrictGreaterThan: ">"}
    sign = signs.get(type(condition))
    if sign is None:
        raise ValueError(f"nobody has said how to set {type(condition).__name__} in {condition}")
    return el("mrow", _print(condition.lhs)[0], el("mo", sign), _print(condition.rhs)[0])


def _sum(e: Any) -> Markup:
    variable, start, stop = e.limits[0]
    under = el("mrow", _print(variable)[0], el("mo", "="), _print(start)[0])
    return el("mrow", el("munderover", el("mo", "∑"), under, _print(stop)[0]), _at_least(e.function, _PRODUCT))
