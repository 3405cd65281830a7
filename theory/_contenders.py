"""Who takes part in `python -m theory compare`: every result with a construction, with its variants, and its formula.

A new construction takes part by itself: its class is found by the paper's key, and the parameter `items` says which
counts it knows. To add variants, or a formula whose crossings are looked for, give the theorem's file a tuple
`CONTENDERS`.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import sympy

from strongticket.certificate import Domain
from strongticket.models import Target
from theory._tickets import signed_problems

__all__ = ["EPS", "Contender", "NotApplicable", "Setting", "contenders", "known_counts"]

EPS = sympy.Symbol("eps", real=True)
"""Tolerance of the whole network, in the formulas of sizes."""
THEOREMS = ("paper", "theorem", "target")
"""Counts of candidates that are proved to be enough, the paper's own first."""
PRACTICE = ("information-limit", "prediction", "target", "theorem")
"""Counts with which to begin measuring, the smallest first."""


class NotApplicable(ValueError):
    """A result says nothing here; the message says why."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What is asked of every result.

    Args:
        name: of the target, for the reader.
        target: a ReLU network without biases.
        eps: tolerance of its outputs on the unit ball, in (0, 1).
        delta: failure probability, in (0, 1).
        seed: of the sources.
        seconds: CPU time for each result's measurements.
        runs: most constructions to run for each result.
    """

    name: str
    target: Target
    eps: float
    delta: float
    seed: int = 0
    seconds: float = 60.0
    runs: int = 16

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(d_out, d_in) of each layer."""
        return tuple((x.weight.shape[0], x.weight.shape[1]) for x in self.target.layers)

    @property
    def problems(self) -> int:
        """Weights, those of the first layer twice: inputs of the ball have both signs."""
        return signed_problems(self.target.architecture.sizes)

    @property
    def largest(self) -> float:
        """Largest |weight| of the target."""
        return float(self.target.largest)


Prepare = Callable[[Setting], tuple[Any, dict[str, Any]]]
Size = Callable[[Setting], sympy.Expr]


def _as_it_is(setting: Setting) -> tuple[Target, dict[str, Any]]:
    return setting.target, {}


@dataclass(frozen=True, eq=False)
class Contender:
    """One result, in one variant.

    Args:
        key: of the paper.
        variant: what distinguishes it from the paper's other variants; may be empty.
        make: the class of the construction, or None where there is none.
        options: parameters of every use.
        asked: the count that the theorem asks for, one of `THEOREMS`; None: the first that the class knows.
        prepare: target and further parameters for a setting; raises NotApplicable.
        size: the theorem's number of source weights as a formula in `EPS`; raises NotApplicable.
        why: says why there is nothing to run, where there is no class.
    """

    key: str
    variant: str = ""
    make: Any = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    asked: str | None = None
    prepare: Prepare = _as_it_is
    size: Size | None = None
    why: str = ""

    @property
    def label(self) -> str:
        """Key and variant."""
        return f"{self.key}, {self.variant}" if self.variant else self.key

    def counts(self) -> tuple[str | None, str | None]:
        """Return the names of the theorem's count and of the one to begin measuring with."""
        known = known_counts(self.make)
        asked = self.asked or next((name for name in THEOREMS if name in known), None)
        return asked, next((name for name in PRACTICE if name in known), None)

    def method(self, setting: Setting, items: int | str) -> tuple[Any, Any]:
        """Return the construction and the target for it.

        Raises:
            NotApplicable: the result says nothing about this target.
        """
        if self.make is None:
            raise NotApplicable(self.why)
        target, more = self.prepare(setting)
        takes = {one.name for one in fields(self.make)}
        given = {"network_eps": setting.eps, "delta": setting.delta, "seed": setting.seed, "domain": Domain.ball(1)}
        chosen = {name: value for name, value in given.items() if name in takes}
        return self.make(**{**chosen, _count(self.make): items, **self.options, **more}), target


def _count(make: Any) -> str:
    """The name of the parameter that says how many candidates there are."""
    return "copies" if "items" not in {one.name for one in fields(make)} else "items"


def known_counts(make: Any) -> tuple[str, ...]:
    """Return the names of counts that a class's parameter `items` (or `copies`) takes.

    >>> from strongticket.constructions import Pensia2020Optimal
    >>> known_counts(Pensia2020Optimal)
    ('theorem', 'information-limit')
    """
    hints = get_type_hints(make)
    found: list[str] = []

    def walk(kind: Any) -> None:
        for part in get_args(kind):
            if isinstance(part, str):
                found.append(part)
            else:
                walk(part)

    walk(hints.get("items", hints.get("copies")))
    return tuple(found)


def _class_of(paper: str) -> Any:
    """The class of a paper's construction, which lives in the file of its key."""
    from strongticket import constructions

    found = [getattr(constructions, name) for name in constructions.__all__]
    return next(
        (
            one
            for one in found
            if inspect.isclass(one) and one.__module__.endswith(f".{paper}") and hasattr(one, "plan")
        ),
        None,
    )


def _as_graph(setting: Setting) -> tuple[Any, dict[str, Any]]:
    """The target as a network of steps."""
    from strongticket.models.targets import GraphTarget

    return GraphTarget.from_target(setting.target), {}


def _prepare_for(make: Any) -> Prepare:
    wanted = inspect.signature(make.plan).parameters["target"].annotation
    return _as_graph if "GraphTarget" in str(wanted) else _as_it_is


def contenders() -> tuple[Contender, ...]:
    """Return all results of all papers, in the order of their keys."""
    import theory

    found: list[Contender] = []
    for paper in theory.papers():
        module = importlib.import_module(f"theory.{paper}")
        make = _class_of(paper)
        if hasattr(module, "CONTENDERS"):
            found += module.CONTENDERS
        elif paper in _OWN and make is not None:
            found += _OWN[paper](make)
        elif make is None:
            found.append(Contender(paper, why=f"no construction to run; it shows that {module.THEOREMS[0].title}"))
        elif not known_counts(make):
            found.append(Contender(paper, why="its construction has no count of candidates to compare"))
        else:
            found.append(Contender(paper, make=make, prepare=_prepare_for(make)))
    return tuple(found)


# --- formulas: numbers of source weights, without rounding up, for tolerances per weight by the closed form -----------


def _weight_eps(setting: Setting) -> sympy.Expr:
    """The tolerance per weight eps / (2 L sqrt(d d')): (1 + eps/(2L))^L - 1 <= eps, and |E| <= sqrt(d d') max|E_ij|."""
    largest = max(a * b for a, b in setting.shapes)
    return EPS / (2 * len(setting.shapes) * sympy.sqrt(largest))


def _columns(setting: Setting) -> int:
    """Source weights per candidate: half-inputs times the weights of a neuron, over the layers."""
    return sum((2 if i == 0 else 1) * b * (a + b) for i, (a, b) in enumerate(setting.shapes))


def _smooth(expression: sympy.Expr) -> sympy.Expr:
    return expression.replace(sympy.ceiling, lambda inner: inner)


def _put(key: str, **values: Any) -> sympy.Expr:
    from strongticket.bounds import get

    symbols = {sympy.Symbol(name, real=True): sympy.sympify(value) for name, value in values.items()}
    return _smooth(get(key).expression.xreplace(symbols))


def _pensia_size(assignment: str) -> Size:
    def size(setting: Setting) -> sympy.Expr:
        from strongticket.bounds.pensia2020optimal import item_plan

        u_min = 0.5
        plan = item_plan(
            setting.problems,
            float(_weight_eps(setting).subs(EPS, setting.eps)),
            setting.delta,
            max_target=setting.largest,
            assignment=assignment,  # type: ignore[arg-type]
            u_min=u_min,
        )
        if not plan.values:
            raise NotApplicable("no candidate is needed: every weight is within the tolerance of 0")
        values = {name: value for name, value in plan.values.items() if name not in ("weight_eps", "eps")}
        items = _put("pensia2020optimal.explicit_items", **values, weight_eps=_weight_eps(setting))
        return _columns(setting) * items

    return size


def _malach_size(setting: Setting) -> sympy.Expr:
    depth = len(setting.shapes)
    s, w = max(b for _, b in setting.shapes), max(a for a, _ in setting.shapes)
    width = _put("malach2020proving.theorem2_1_width", s=s, w=w, L=depth, eps=EPS, delta=setting.delta)
    return width * sum(a + b for a, b in setting.shapes)


def _malach_own_size(setting: Setting) -> sympy.Expr:
    """Blocks that both signs of an input share."""
    each = _weight_eps(setting)
    items = _put(
        "malach2020proving.product_items",
        N=setting.problems, delta=setting.delta, max_target=setting.largest, weight_eps=each,
    )  # fmt: skip
    return items * sum(b * (a + b) for a, b in setting.shapes)


def _orseau_size(weights: str) -> Size:
    """A neuron serves a half-input for which |u| >= 1/2: with probability 1/(2E), or 1/4 for uniform weights."""
    octaves = 16

    def size(setting: Setting) -> sympy.Expr:
        each = _weight_eps(setting)
        bins = setting.problems * sympy.log(setting.largest / each) / sympy.log(sympy.GoldenRatio)
        if weights == "hyperbolic":
            items = _put("orseau2020logarithmic.hyperbolic_items", B=bins, E=octaves, delta=setting.delta)
            idle = 1.0 - 0.5 / octaves
        else:
            items = _put("orseau2020logarithmic.uniform_items", B=bins, eps=each, scale=1, delta=setting.delta)
            idle = 0.75
        layers = [((2 if i == 0 else 1) * b, a + b) for i, (a, b) in enumerate(setting.shapes)]
        return items * sympy.Float(sum(columns * each / (1.0 - idle**columns) for columns, each in layers))

    return size


def _quantised(setting: Setting) -> tuple[Target, dict[str, Any]]:
    """Round the target so finely that it stays within eps, and give the source the bits that this takes."""
    from strongticket.models.quantized import quantise

    each = float(_weight_eps(setting).subs(EPS, setting.eps))
    bits = max(1, math.ceil((math.log2(1.0 / each) - 1.0) / 2.0))
    if bits > 11:
        raise NotApplicable(f"weights would have to be rounded to 2^-{2 * bits}; source weights have at most 11 bits")
    if setting.largest > 0.5:
        raise NotApplicable(f"the largest weight is {setting.largest:.3g}; the theorem speaks of |w| <= 1/2")
    return quantise(setting.target, 2 * bits, rescale=False, reach=0.5).target, {"source_bits": bits}


def _kumar(make: Any) -> list[Contender]:
    return [
        Contender("kumar2025quantized", "digits, rounded target", make, {"assignment": "digits"}, prepare=_quantised)
    ]


def _malach(make: Any) -> list[Contender]:
    return [
        Contender("malach2020proving", "as in the paper", make, {"blocks": "own"}, asked="paper", size=_malach_size),
        Contender("malach2020proving", "our count", make, {"choose": "first"}, asked="theorem", size=_malach_own_size),
    ]


def _orseau(make: Any) -> list[Contender]:
    return [
        Contender(
            "orseau2020logarithmic", f"{weights} weights", make, {"weights": weights}, asked="theorem",
            size=_orseau_size(weights),
        )
        for weights in ("hyperbolic", "uniform")
    ]  # fmt: skip


def _pensia(make: Any) -> list[Contender]:
    variants = (("column-aware", "column-aware"), ("the paper's blocks", "fixed"))
    return [
        Contender("pensia2020optimal", name, make, {"assignment": assignment}, size=_pensia_size(assignment))
        for name, assignment in variants
    ]


def _natale(make: Any) -> list[Contender]:
    return [Contender("natale2024sparsity", f"{size} products per weight", make, {"size": size}) for size in (3, 5)]


_OWN: Mapping[str, Callable[[Any], list[Contender]]] = MappingProxyType(
    {
        "kumar2025quantized": _kumar,
        "malach2020proving": _malach,
        "natale2024sparsity": _natale,
        "orseau2020logarithmic": _orseau,
        "pensia2020optimal": _pensia,
    }
)
