"""Widths, budgets per weight, groups, and the counting lower bound of Pensia et al. 2020."""

from __future__ import annotations

import math
from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import HypothesisError
from strongticket.bounds import pensia2020optimal as pensia

NORMS = st.lists(st.floats(0.0, 3.0), min_size=1, max_size=6)


def test_theorem1_width() -> None:
    bound = bounds.get("pensia2020optimal.theorem1_width")
    assert bound(C=2, L=2, d_in=784, d_out=500, eps=0.01, delta=0.1) == pytest.approx(
        2 * math.log(2 * 2 * 784 * 500 / 0.01)
    )


@given(NORMS, st.data())
def test_closed_form_is_the_recursion(norms: list[float], data: st.DataObject) -> None:
    errors = data.draw(st.lists(st.floats(0.0, 1.0), min_size=len(norms), max_size=len(norms)))
    slow = pensia.propagate_error(norms, errors, radius=2.0)
    assert pensia.closed_form_error(norms, errors, radius=2.0) == pytest.approx(slow, rel=1e-9, abs=1e-9)


@given(st.integers(0, 10**6))
def test_recursion_bounds_random_networks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, size=rng.integers(2, 5))
    w = [rng.normal(size=(b, a)) for a, b in pairwise(sizes)]
    b = [rng.normal(size=len(x)) for x in w]
    e = [0.1 * rng.normal(size=x.shape) for x in w]
    f = [0.1 * rng.normal(size=len(x)) for x in w]
    x = rng.normal(size=sizes[0])
    y, z = x, x
    for i, (layer, error) in enumerate(zip(w, e, strict=True)):
        y, z = layer @ y + b[i], (layer + error) @ z + b[i] + f[i]
        if i + 1 < len(w):
            y, z = np.maximum(y, 0), np.maximum(z, 0)
    limit = pensia.propagate_error(
        [np.linalg.norm(m, 2) for m in w],
        [np.linalg.norm(m, 2) for m in e],
        radius=float(np.linalg.norm(x)),
        bias_norms=[float(np.linalg.norm(v)) for v in b],
        bias_errors=[float(np.linalg.norm(v)) for v in f],
    )
    assert np.linalg.norm(y - z) <= limit * (1 + 1e-9)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5), st.floats(0.001, 0.9), st.booleans())
def test_weight_budget_fits_and_is_not_wasteful(sizes: list[int], eps: float, bias: bool) -> None:
    shapes = [(b, a) for a, b in pairwise(sizes)]
    norms = [1.0] * len(shapes)
    budget = pensia.weight_eps(shapes, eps, bias_norms=[0.5] * len(shapes) if bias else None)

    def error(e: float) -> float:
        roots = [e * math.sqrt(a * b) for a, b in shapes]
        biases = [e * math.sqrt(d_out) if bias else 0.0 for d_out, _ in shapes]
        return pensia.propagate_error(
            norms, roots, bias_norms=[0.5] * len(shapes) if bias else None, bias_errors=biases
        )

    assert error(budget) <= eps <= error(budget * (1 + 1e-9))
    if not bias:
        assert budget >= min(pensia.paper_weight_eps(eps, len(shapes), a, b) for b, a in shapes)


def test_weight_budget_refusals() -> None:
    with pytest.raises(ValueError, match="shapes"):
        pensia.weight_eps([], 0.1)
    with pytest.raises(ValueError, match="network_eps"):
        pensia.weight_eps([(2, 2)], 0.0)
    with pytest.raises(ValueError, match=r"norms\[1\]"):
        pensia.propagate_error([1.0, math.nan], [0.1, 0.1])
    with pytest.raises(ValueError, match="one value per layer"):
        pensia.propagate_error([1.0], [0.1, 0.1])


@pytest.mark.parametrize("assignment", ["fixed", "column-aware"])
@pytest.mark.parametrize("max_target", [0.0, 0.1, 0.184, 0.3, 0.5, 1.0, 2.7])
def test_plan_satisfies_the_bound(assignment: pensia.Assignment, max_target: float) -> None:
    plan = pensia.item_plan(1000, 0.01, 0.05, max_target=max_target, assignment=assignment)
    bound = bounds.get("pensia2020optimal.explicit_items")
    assert bound(**plan.values) in (plan.items, plan.items - plan.groups)
    assert plan.groups * plan.values["c"] >= max_target
    assert (
        pensia.items_for_network(1000, 0.01, 0.05, mode="theorem", max_target=max_target, assignment=assignment)
        == plan.items
    )


def test_targets_beyond_the_range_need_groups() -> None:
    plan = pensia.item_plan(1000, 0.01, 0.05, max_target=0.4, assignment="column-aware", u_min=0.9)
    assert plan.groups == 1
    bound = bounds.get("pensia2020optimal.explicit_items")
    with pytest.raises(HypothesisError, match="max_target"):
        bound(**{**plan.values, "max_target": 0.5})


def test_information_limit_is_far_below_the_theorem() -> None:
    for assignment in ("fixed", "column-aware"):
        options = {"max_target": 0.5, "assignment": assignment}
        predicted = pensia.items_for_network(397_000, 0.01, 0.1, mode="information_limit", **options)  # type: ignore[arg-type]
        proved = pensia.items_for_network(397_000, 0.01, 0.1, mode="theorem", **options)  # type: ignore[arg-type]
        assert math.log2(0.5 / 0.01) < predicted < proved / 5


def test_items_refusals() -> None:
    with pytest.raises(ValueError, match="num_problems"):
        pensia.items_for_network(0, 0.01, 0.1, mode="theorem")
    with pytest.raises(ValueError, match="weight_eps and delta"):
        pensia.items_for_network(10, 0.0, 0.1, mode="theorem")
    with pytest.raises(ValueError, match="mode"):
        pensia.items_for_network(10, 0.1, 0.1, mode="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="assignment"):
        pensia.items_for_network(10, 0.1, 0.1, mode="theorem", assignment="random")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_target"):
        pensia.items_for_network(10, 0.1, 0.1, mode="theorem", max_target=math.inf)


def test_neurons_for_picks_by_maximum_matching() -> None:
    """At the width the bound gives, a matching exists in every one of 60 draws; far below it does not."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    d_in, picks, u_min = 6, 4, 0.5
    neurons = pensia.neurons_for_picks(d_in, picks, u_min, 0.01)
    rng = np.random.default_rng(3)

    def matched(width: int) -> float:
        full = 0
        for _ in range(60):
            good = np.repeat(rng.uniform(-1, 1, (width, d_in)) >= u_min, picks, axis=1)
            match = maximum_bipartite_matching(csr_array(good.T.astype(int)), perm_type="column")
            full += int((match >= 0).all())
        return full / 60

    assert neurons >= d_in * picks
    assert matched(neurons) == 1.0
    assert matched(neurons // 2) < 0.9


@given(st.integers(0, 60), st.integers(1, 3), st.floats(0.01, 0.4))
def test_kept_by_exact_integers(parameters: int, d: int, eps: float) -> None:
    needed = 0.5 * (1 / (2 * eps)) ** (d * d)
    total, least = 0, None
    for k in range(parameters + 1):
        total += comb(parameters, k)
        if total >= needed:
            least = k
            break
    found = pensia.theorem2_kept(parameters, d, eps)
    assert found == least
    enough = bounds.get("pensia2020optimal.theorem2_parameters")(d=d, eps=eps) <= parameters
    assert (found is not None) == enough


def test_network_error_closes_below_251() -> None:
    bound = bounds.get("pensia2020optimal.network_error")
    for depth in (1, 2, 7, 50):
        for eps in (0.01, 0.5, 1.0, 2.51):
            assert bound(L=depth, e=eps / (2 * depth), alpha=1.0) <= eps
