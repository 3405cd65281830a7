"""The `Bound` machinery: refusals, symbols, curves, registry."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import sympy

from strongticket import bounds
from strongticket.bounds import Bound, Formula, Hypothesis, HypothesisError, Relation, Unspecified, pensia2020optimal

INSIDE = {
    "lueker1998exponentially.theorem": {"C": 3.0, "eps": 0.01},
    "lueker1998exponentially.explicit_items": {
        "eps": 0.01,
        "delta": 0.01,
        "delta_1": 0.005,
        "c": 0.5,
        "q": 0.5,
        "theta": 0.4,
        "s": 2.0,
    },
    "lueker1998exponentially.coverage_floor": {"n": 12, "z": 1.0, "eps": 0.01},
    "lueker1998exponentially.counting_floor": {"c": 0.5, "eps": 0.01},
    "lueker1998exponentially.quenched_tail": {"n": 20, "z": 0.5, "eps": 0.01, "v": 1 / 3},
    "pensia2020optimal.theorem1_width": {"C": 3.0, "L": 2, "d_in": 784, "d_out": 500, "eps": 0.01, "delta": 0.01},
    "pensia2020optimal.paper_weight_eps": {"L": 2, "d_in": 784, "d_out": 500, "eps": 0.01},
    "pensia2020optimal.source_parameters": {"m": 21, "d_in": 784, "d_out": 500},
    "pensia2020optimal.explicit_items": {
        "weight_eps": 0.01,
        "delta": 0.01,
        "delta_1": 1e-9,
        "c": 0.25,
        "q": 0.25,
        "theta": 0.4,
        "s": 2.0,
        "g": 2,
        "N": 1000,
    },
    "pensia2020optimal.network_error": {"L": 3, "e": 0.01, "alpha": 1.0},
    "pensia2020optimal.theorem2_parameters": {"d": 10, "eps": 0.01},
}


def test_every_bound_has_a_point_here() -> None:
    assert {bound.key for bound in bounds.all()} >= set(INSIDE)
    assert len({bound.key for bound in bounds.all()}) == len(bounds.all())


@pytest.mark.parametrize("key", sorted(INSIDE))
def test_call_and_curve_and_latex_agree(key: str) -> None:
    bound, values = bounds.get(key), INSIDE[key]
    assert set(bound.symbols) == set(values)
    assert bound.failed_hypotheses(**values) == ()
    number = bound(**values)
    assert math.isfinite(number)
    # the curve is float64 and the call 34 digits: compare over an axis of length 3
    first = next(iter(values))
    curve = bound.curve(**{**values, first: np.full(3, values[first])})
    np.testing.assert_allclose(curve, number, rtol=1e-9)
    assert bound.latex()
    assert bound.reference == key.split(".")[0]


@pytest.mark.parametrize("key", sorted(INSIDE))
def test_every_hypothesis_can_fail_and_names_itself(key: str) -> None:
    """A hypothesis that sympy simplified away could never fail: look for a point outside each of them."""
    bound = bounds.get(key)
    values = {**INSIDE[key], **dict.fromkeys(bound.conditions, 0.5)}
    for hypothesis in bound.hypotheses:
        names = sorted(symbol.name for symbol in hypothesis.relation.free_symbols)
        broken = [
            {**values, name: bad}
            for name in names
            for bad in (-1.0, 0.0, 0.3, 2.0, 1e9)
            if hypothesis in bound.failed_hypotheses(**{**values, name: bad})
        ]
        assert broken, hypothesis.name
        with pytest.raises(HypothesisError, match="says nothing here") as caught:
            bound(**broken[0])
        assert hypothesis in caught.value.failed
        assert hypothesis.name in str(caught.value)


def test_refusals_name_the_value() -> None:
    bound = bounds.get("lueker1998exponentially.theorem")
    with pytest.raises(HypothesisError, match=r"0 < eps < 1.*eps = 1\.5"):
        bound(C=3, eps=1.5)
    with pytest.raises(ValueError, match="eps must be finite"):
        bound(C=3, eps=math.nan)
    with pytest.raises(ValueError, match="eps must be finite"):
        bound(C=3, eps=math.inf)
    with pytest.raises(Unspecified, match="leaves the constant C"):
        bound(eps=0.1)
    with pytest.raises(TypeError, match="also needs eps"):
        bound(C=3)
    with pytest.raises(TypeError, match="no symbol epsilon"):
        bound(C=3, epsilon=0.1)
    with pytest.raises(TypeError, match="real number"):
        bound(C=3, eps="0.1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="real number"):
        bound(C=True, eps=0.1)


def test_values_are_taken_exactly() -> None:
    bound = bounds.get("lueker1998exponentially.theorem")
    assert bound(C=3, eps=0.01) == pytest.approx(3 * math.log(100), rel=1e-15)
    assert bound(C=Fraction(3), eps=np.float64(0.01)) == bound(C=np.int64(3), eps=0.01)
    assert bound(C=1, eps=1e-300) == pytest.approx(300 * math.log(10), rel=1e-15)


def test_a_condition_that_only_hypotheses_mention_is_checked_when_given() -> None:
    bound = bounds.get("pensia2020optimal.theorem1_width")
    values = INSIDE["pensia2020optimal.theorem1_width"]
    assert bound.conditions == ("norm",)
    assert bound(**values, norm=1.0) == bound(**values)
    with pytest.raises(HypothesisError, match=r"norm = 1\.2"):
        bound(**values, norm=1.2)


def test_integer_hypotheses() -> None:
    bound = bounds.get("pensia2020optimal.theorem2_parameters")
    with pytest.raises(HypothesisError, match=r"d = 2\.5"):
        bound(d=2.5, eps=0.01)


def test_curve_refuses_and_names_the_first_bad_point() -> None:
    bound = bounds.get("lueker1998exponentially.theorem")
    curve = bound.curve(C=[[1.0], [2.0]], eps=np.array([0.1, 0.01, 0.001]))
    assert curve.shape == (2, 3)
    np.testing.assert_allclose(curve[1], 2 * np.log([10, 100, 1000]))
    with pytest.raises(HypothesisError, match=r"eps = 1\.5"):
        bound.curve(C=3, eps=[0.1, 1.5])
    with pytest.raises(ValueError, match="NaN"):
        bound.curve(C=3, eps=[0.1, math.nan])


def test_sympy_traps_are_refused() -> None:
    eps = sympy.Symbol("eps", positive=True)
    with pytest.raises(ValueError, match="real=True"):
        Formula(1 / eps)
    x = sympy.Symbol("x", real=True)
    with pytest.raises(ValueError, match="whatever the values are"):
        Formula(x, (Hypothesis("x^2 >= 0", x**2 >= 0, "always"),))


def test_a_result_that_is_not_real_is_refused() -> None:
    x = sympy.Symbol("x", real=True)
    bound = Bound("nobody2000.root", "a root", Relation.UPPER, lambda: Formula(sympy.sqrt(x)), "nowhere")
    assert bound(x=4) == 2.0
    with pytest.raises(ValueError, match="no finite real value"):
        bound(x=-1)


def test_registry() -> None:
    with pytest.raises(KeyError, match="no paper"):
        bounds.get("nobody2000.root")
    with pytest.raises(KeyError, match="theorem1_width"):
        bounds.get("pensia2020optimal.nothing")
    with pytest.raises(ValueError, match="<paper>"):
        Bound("nobody2000", "a number", Relation.UPPER, lambda: Formula(sympy.Integer(1)), "nowhere")


def test_predictions_are_never_called_bounds() -> None:
    assert bounds.get("lueker1998exponentially.quenched_tail").relation is Relation.PREDICTION


def test_a_tolerance_that_suffices_is_called_a_budget() -> None:
    """The paper's tolerance per weight is enough, and a larger one can be: it is no lower bound of anything needed."""
    bound = bounds.get("pensia2020optimal.paper_weight_eps")
    assert bound.relation is Relation.BUDGET
    assert pensia2020optimal.weight_eps([(5, 5), (5, 5)], 0.1) > bound(eps=0.1, L=2, d_in=5, d_out=5)


def test_importing_and_listing_loads_no_sympy() -> None:
    code = (
        "import sys; from strongticket import bounds; bounds.all(); "
        "from strongticket.bounds.pensia2020optimal import items_for_network; "
        "items_for_network(100, .01, .1, mode='theorem'); assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
