"""Formulas of Otsuka et al. 2025: published widths, our explicit count, and how errors travel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import bounds
from strongticket.bounds import HypothesisError, Unspecified
from strongticket.bounds.otsuka2025attention import BlockNorms, items_for_matrices, network_error, weight_eps

KEY = "otsuka2025attention."


def test_published_widths_leave_their_constant_open() -> None:
    width = bounds.get(KEY + "theorem3_key_width")
    values = {"H": 2, "alpha": 4, "d_1": 16, "eps": 0.1}
    with pytest.raises(Unspecified, match="C"):
        width(**values)
    assert width(C=1, **values) == pytest.approx(16 * math.log(8 * 2 * 64 * 64 / 0.1))
    with pytest.raises(HypothesisError, match=r"alpha >= sqrt\(d_1\)"):
        width(C=1, **values | {"alpha": 3.9})
    with pytest.raises(HypothesisError, match="norm <= 1"):
        width(C=1, norm=1.5, **values)


@pytest.mark.parametrize("eta", [0.0, 1e-6, 0.1, 0.5])
def test_our_softmax_bound_is_below_the_paper_s(eta: float) -> None:
    ours, paper = bounds.get(KEY + "softmax_change"), bounds.get(KEY + "lemma5_softmax")
    assert ours(eta=eta) <= eta
    assert ours(eta=eta) * 3.0 <= paper(eta=eta, d_1=4, alpha=3.0)  # R = alpha
    with pytest.raises(HypothesisError):
        paper(eta=0.6, d_1=4, alpha=3.0)


def test_one_head_is_the_network_error_of_one_block() -> None:
    head = bounds.get(KEY + "head_error")
    found = network_error([BlockNorms((2.0,), (0.5,))], [((3, 3), 1.0)], dim=3, radius=1.5, error=0.0)
    assert found == 0.0
    for e in (1e-6, 1e-3, 0.1):
        got = network_error([BlockNorms((2.0,), (0.5,))], [((1, 1), 1.0)], dim=3, radius=1.5, error=e)
        alone = head(e_qk=3 * e, e_vo=3 * e, w_vo=0.5, alpha=1.5, R=1.5)
        assert got == pytest.approx(alone + e * (1.5 * 1.5 + alone), rel=1e-12)  # a 1 x 1 head behind it


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), error=st.floats(1e-4, 0.1), feed=st.booleans())
def test_network_error_lies_above_what_errors_do(seed: int, error: float, feed: bool) -> None:
    rng = np.random.default_rng(seed)
    d, tokens = 3, rng.uniform(-1, 1, (4, 3))

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-0.8, 0.8, shape)

    blocks = [([draw(d, d), draw(d, d)], [draw(2, d), draw(d, 2)] if feed else []) for _ in range(2)]
    head = draw(2, d)

    def run(off: float) -> np.ndarray:
        rng_off = np.random.default_rng(seed + 1)

        def wrong(m: np.ndarray) -> np.ndarray:
            return m + off * rng_off.choice([-1, 1], m.shape)

        x = tokens
        for (logits, values), layers in blocks:
            s = x @ wrong(logits).T @ x.T
            p = np.exp(s - s.max(axis=1, keepdims=True))
            x = x + p / p.sum(axis=1, keepdims=True) @ x @ wrong(values).T
            if layers:
                x = x + np.maximum(x @ wrong(layers[0]).T, 0) @ wrong(layers[1]).T
        return x.mean(axis=0) @ wrong(head).T

    def norm(m: np.ndarray) -> float:
        return float(np.linalg.norm(m, 2))

    norms = [BlockNorms((norm(a),), (norm(v),), tuple((m.shape, norm(m)) for m in layers)) for (a, v), layers in blocks]
    bound = network_error(
        norms, [(head.shape, norm(head))], dim=d, radius=float(np.linalg.norm(tokens, axis=1).max()), error=error
    )
    assert 0 < np.linalg.norm(run(error) - run(0.0)) <= bound


def test_the_budget_is_what_the_error_leaves() -> None:
    blocks = [BlockNorms((1.0, 0.5), (0.3, 0.2), (((8, 4), 1.0), ((4, 8), 1.0)))]
    head = [((2, 4), 1.0)]
    eps = weight_eps(blocks, head, 0.1, dim=4, radius=2.0)
    assert network_error(blocks, head, dim=4, radius=2.0, error=eps) <= 0.1
    assert network_error(blocks, head, dim=4, radius=2.0, error=1.01 * eps) > 0.1


@pytest.mark.parametrize("assignment", ["fixed", "column-aware"])
def test_items_grow_with_what_is_asked(assignment: str) -> None:
    def count(problems: int = 64, eps: float = 0.05, delta: float = 0.05, largest: float = 0.5) -> int:
        return items_for_matrices(problems, eps, delta, max_target=largest, assignment=assignment)  # type: ignore[arg-type]

    assert count() < count(problems=640)
    assert count() < count(eps=0.01)
    assert count() < count(delta=1e-6)
    assert count() < count(largest=1.0)
    assert count(largest=0.01) == 0


def test_both_signs_need_fewer_items_than_gadgets() -> None:
    from strongticket.bounds.pensia2020optimal import item_plan

    assert items_for_matrices(64, 0.05, 0.05, max_target=0.18) < item_plan(64, 0.05, 0.05, max_target=0.18).items


@pytest.mark.parametrize("bad", [{"num_problems": 0}, {"weight_eps": 1.0}, {"delta": 0.0}, {"max_target": -1.0}])
def test_items_refuse_what_is_out_of_range(bad: dict[str, float]) -> None:
    given = {"num_problems": 4, "weight_eps": 0.1, "delta": 0.1} | bad
    with pytest.raises(ValueError):
        items_for_matrices(**given)  # type: ignore[arg-type]
