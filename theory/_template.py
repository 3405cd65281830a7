"""How to add a theorem: a complete, tiny, true one, to be copied.

The theorem: among n random numbers one is near z. It is the lemma behind "one random pair per weight", and its proof
fits on a line, so that the form can be seen. To add a theorem of your own, copy this file and its test
(tests/theory/test_template_theory.py), and go through the six parts; all of them are here, in order.

1. **The formula** is a `strongticket.bounds.Bound`: a sympy expression with its hypotheses, which refuses values
   outside of them. Symbols are `Symbol(name, real=True)` and nothing more, or sympy simplifies hypotheses away. In this
   package formulas live in strongticket/bounds/KEY.py and a theorem names them by `bound_keys`; elsewhere they go into
   `formulas`, as here. KEY is the paper's key in references.bib.
2. **The proof steps** are functions that return True by a computation that could come out False: an identity by sympy,
   an inequality in exact fractions. Say `general=False` where a step checks cases only.
3. **What no machine checks** is an `Assumption`, with its citation.
4. **The claim** is an experiment that can contradict the theorem. A trial draws everything from its seed (by `Draws`,
   never by a global generator), targets inside the hypotheses, the hard ones too, and ends in SUCCESS only where the
   conclusion was checked, in FAILURE only where it is false for certain, else MISSED or UNDECIDED. Parameters that the
   bound gives are None by default and named in `by_bound`; the parameter `factor` makes the optimistic twin, whose
   bound is better by that factor. Claims about tickets derive from `theory.AbstractTicketClaim` instead, which
   asks for `construct` and `not_met` and does the rest.
5. **The theorem** ties them together, and says in `status` what was checked, how, and what is whose.
6. **The test** takes hypotheses as strategies and conclusions as checks from `strongticket.testing`, and breaks every
   part once, to see it noticed.

>>> report = THEOREMS[0].falsify(trials=200)
>>> report.verdict.name, THEOREMS[0].looseness(trials=200).falsified_at
('HOLDS_SO_FAR', 2.0)

A file in theory/ whose name does not begin with an underscore is listed by `python -m theory list`; this one is not.
A file anywhere else is seen with `python -m theory check KEY --load MODULE`, and in Python after
`theory.register(*THEOREMS)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from types import MappingProxyType
from typing import Any, final

import numpy as np
import sympy

from strongticket.bounds import Bound, Formula, Hypothesis, Relation
from theory import (
    AbstractClaim,
    Assumption,
    Draws,
    Outcome,
    ProofStep,
    Theorem,
    Trial,
    check_choice,
    check_factor,
    check_whole,
    fewer,
    in_turn,
)

__all__ = ["ITEMS", "PLACES", "THEOREMS", "NearestItemClaim"]

# --- 1. the formula --------------------------------------------------------------------------------------------------


def _items() -> Formula:
    eps, delta = sympy.Symbol("eps", real=True), sympy.Symbol("delta", real=True)
    return Formula(
        sympy.log(1 / delta) / sympy.log(1 / (1 - eps)),
        (
            Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "how near an item must be"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "probability of failure"),
        ),
    )


ITEMS = Bound(
    key="template2026one.items",
    quantity="items U(-1, 1) that are enough for one of them to be within eps of z",
    relation=Relation.TIGHT,
    build=_items,
    place="strongticket",
)

# --- 2. the proof steps ----------------------------------------------------------------------------------------------


def _check_hit() -> bool:
    x, z, eps = sympy.symbols("x z eps", real=True)
    density = sympy.Rational(1, 2)  # of U(-1, 1)
    return bool(sympy.simplify(sympy.integrate(density, (x, z - eps, z + eps)) - eps) == 0)


_CASES = tuple(product((Fraction(1, 2), Fraction(1, 10), Fraction(1, 300)), (Fraction(1, 2), Fraction(1, 1000))))


def _check_items() -> bool:
    for eps, delta in _CASES:
        n = math.ceil(ITEMS(eps=float(eps), delta=float(delta)) - 1e-9)
        if not (1 - eps) ** n <= delta < (1 - eps) ** (n - 1):
            return False
    return True


STEPS = (
    ProofStep("one item", "an item is within eps of z, |z| <= 1 - eps, with probability eps (sympy)", _check_hit),
    ProofStep(
        "all items",
        f"the least whole n at or above the formula is the least with (1 - eps)^n <= delta (exact fractions, "
        f"{len(_CASES)} cases)",
        _check_items,
        general=False,
    ),
)

# --- 4. the claim ----------------------------------------------------------------------------------------------------

PLACES = {"middle": 0.0, "edge": 1.0}


@final
class NearestItemClaim(AbstractClaim):
    """One of the items that the bound asks for is within eps of z.

    Parameters: eps, delta, place of z ("edge": z = 1 - eps, "middle": 0; "mixed": each in turn), items (None: by the
    bound), factor (the bound's items are divided by it).
    """

    text = "draw n items U(-1, 1); one of them is within eps of z"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"eps": 0.1, "delta": 0.01, "place": "mixed", "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked, with the number of items."""
        p = super().resolve(**params)  # refuses unknown names, NaN, eps and delta outside (0, 1)
        check_choice(p, "place", ("mixed", *PLACES))
        check_factor(p)
        p["items"] = fewer(math.ceil(ITEMS(eps=p["eps"], delta=p["delta"])), p)
        check_whole(p, "items", 1, 1_000_000)
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the items and look."""
        p = self.resolve(**params)
        place = in_turn(p["place"], tuple(PLACES), seed)
        z = PLACES[place] * (1.0 - p["eps"])
        error = float(np.abs(Draws(seed).uniform("items", p["items"]) - z).min())
        outcome = Outcome.SUCCESS if error <= p["eps"] else Outcome.FAILURE
        return Trial(outcome, f"{place}: the nearest item is off by {error:.3g}")


# --- 3. and 5. the theorem, with what no machine checks --------------------------------------------------------------

THEOREMS = (
    Theorem(
        key="template2026one.nearest",
        title="among enough random numbers one is near",
        statement="Let |z| <= 1 - eps and let X_1, ..., X_n be independent, uniform on [-1, 1]. If n >= ln(1/delta) / "
        "ln(1/(1 - eps)), then with probability at least 1 - delta some X_i is within eps of z; with fewer items, the "
        "probability is smaller.",
        hypotheses=("0 < eps < 1, 0 < delta < 1", "|z| <= 1 - eps", "items are independent U(-1, 1)"),
        bound_keys=(),
        formulas=(ITEMS,),
        status="Both steps are checked by machine, the second on cases; the number is exact, so that half of it is "
        "falsified. A textbook lemma, here as an example of the form.",
        steps=STEPS,
        assumptions=(Assumption("independent events multiply", "any textbook of probability"),),
        claim=NearestItemClaim(),
    ),
)
