"""Formulas on layers in a basis: points, refusals, and what they say against literal norms and recursions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import Unspecified
from strongticket.bounds.pensia2020optimal import propagate_error

KEYS = ("dacunha2022proving", "ferbach2023general", "burkholz2022convolutional")
INSIDE: dict[str, dict[str, float]] = {
    "ferbach2023general.theorem1_width": {
        "n_in": 3, "n_out": 4, "elements": 9, "basis_norm": 9, "L": 2, "eps": 0.1, "delta": 0.05, "C": 1.0
    },
    "ferbach2023general.layer_error": {"n_in": 3, "basis_norm": 9.0, "weight_eps": 0.01},
    "ferbach2023general.coefficient_eps": {"n_in": 3, "basis_norm": 9.0, "L": 2, "eps": 0.1},
    "ferbach2023general.source_parameters": {"m": 30, "n_in": 3, "n_out": 4, "elements": 9},
    "dacunha2022proving.theorem_parameters": {"k": 2572, "L": 2, "eps": 0.1, "delta": 0.05, "C": 1.0},
    "dacunha2022proving.coefficient_eps": {"c_in": 3, "d": 3, "L": 2, "eps": 0.1},
    "dacunha2022proving.source_parameters": {"m": 30, "c_in": 3, "c_out": 4, "d": 3},
    "burkholz2022convolutional.residual_error": {"R": 3, "D": 2, "M": 2, "e": 0.01, "alpha": 1.0, "projected": 1},
    "burkholz2022convolutional.residual_coefficient_eps": {
        "R": 3, "D": 2, "M": 2, "eps": 0.1, "n_in": 8, "basis_norm": 9.0
    },
}  # fmt: skip


def test_every_formula_has_a_point_here() -> None:
    assert {bound.key for bound in bounds.all() if bound.reference in KEYS} == set(INSIDE)


@pytest.mark.parametrize("key", sorted(INSIDE))
def test_calls_and_refusals(key: str) -> None:
    bound, values = bounds.get(key), INSIDE[key]
    assert set(bound.symbols) == set(values)
    assert 0 < bound(**values) < 1e7
    assert bound.latex()
    given_too = {**dict.fromkeys(bound.conditions, 1.0), **values}
    assert bound.failed_hypotheses(**given_too) == ()
    for hypothesis in bound.hypotheses:
        names = sorted(symbol.name for symbol in hypothesis.relation.free_symbols)
        changed = ({**given_too, n: bad} for n in names for bad in (-1.0, 0.0, 0.3, 2.0, 1e9))
        assert any(hypothesis in bound.failed_hypotheses(**point) for point in changed), hypothesis.name
    for constant in bound.unspecified:
        with pytest.raises(Unspecified, match=constant):
            bound(**{n: v for n, v in values.items() if n != constant})


def test_sizes_are_those_of_the_shapes() -> None:
    m, n_in, n_out, size = 7, 3, 4, 9
    counted = np.empty((m * n_in, n_in, 1)).size + np.empty((n_out, m * n_in, size)).size
    assert bounds.get("ferbach2023general.source_parameters")(m=m, n_in=n_in, n_out=n_out, elements=size) == counted
    assert bounds.get("dacunha2022proving.source_parameters")(m=m, c_in=n_in, c_out=n_out, d=3) == counted


@given(
    blocks=st.integers(1, 4),
    depth=st.integers(1, 4),
    outside=st.integers(1, 3),
    e=st.floats(0, 0.5),
    projected=st.booleans(),
    data=st.data(),
)
def test_residual_error_is_above_every_recursion(
    blocks: int, depth: int, outside: int, e: float, projected: bool, data: st.DataObject
) -> None:
    """With norms drawn in [0, 1], and exactly the recursion at norms of 1."""
    formula = bounds.get("burkholz2022convolutional.residual_error")(
        R=blocks, D=depth, M=outside, e=e, alpha=1.0, projected=int(projected)
    )
    for largest in (True, False):
        norm = (lambda: 1.0) if largest else (lambda: data.draw(st.floats(0, 1)))

        def layer(value: tuple[float, float], off: float, a: float) -> tuple[float, float]:
            error, size = value
            return a * error + off * (size + error), a * size

        value = (0.0, 1.0)
        for _ in range(outside):
            value = layer(value, e, norm())
        for _ in range(blocks):
            branch, short = value, layer(value, e, norm()) if projected else value
            for _ in range(depth):
                branch = layer(branch, e, norm())
            value = (branch[0] + short[0], branch[1] + short[1])
        assert value[0] <= formula * (1 + 1e-12) + 1e-15
        if largest:
            assert value[0] == pytest.approx(formula, rel=1e-9, abs=1e-12)


@given(eps=st.floats(0.001, 0.999), layers=st.integers(1, 8), n_in=st.integers(1, 64), norm=st.floats(0.5, 50))
def test_budgets_keep_the_network_within_eps(eps: float, layers: int, n_in: int, norm: float) -> None:
    each = bounds.get("ferbach2023general.coefficient_eps")(eps=eps, L=layers, n_in=n_in, basis_norm=norm)
    error = bounds.get("ferbach2023general.layer_error")(n_in=n_in, basis_norm=norm, weight_eps=each)
    assert propagate_error([1.0] * layers, [error] * layers) <= eps * (1 + 1e-12)


def test_residual_budgets_keep_the_network_within_eps() -> None:
    each, total = (bounds.get(f"burkholz2022convolutional.residual_{n}") for n in ("coefficient_eps", "error"))
    for blocks, depth, outside, eps, projected in itertools.product(
        (1, 3, 9), (1, 2), (1, 2), (0.01, 0.5, 0.99), (0, 1)
    ):
        e = 72.0 * each(R=blocks, D=depth, M=outside, eps=eps, n_in=8, basis_norm=9.0)
        assert total(R=blocks, D=depth, M=outside, e=e, alpha=1.0, projected=projected) <= eps
