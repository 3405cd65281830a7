"""Otsuka et al. 2025: strong lottery tickets in multi-head attention and transformers (arXiv 2511.04217).

- `lemma4_width`, `theorem3_key_width`, `theorem3_value_width`, `theorem11_*`: published widths; C is left open.
- `lemma5_softmax`, `lemma12_inputs`: how the paper carries errors through the softmax and through attention.
- `softmax_change`, `head_error`: sharper forms of the two. **Derived by strongticket.**
- `matrix_plan`, `items_for_matrices`: an explicit and rigorous number of items per entry of a linear product of two
  random matrices, of which both signs of the first factor are usable. **Derived by strongticket.**
- `network_error`, `weight_eps`: errors of whole networks, and the tolerance per entry that they leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._laws import get_law
from strongticket.bounds._propagation import propagate_error, weight_budget
from strongticket.bounds._split import ways_to_split
from strongticket.bounds.lueker1998exponentially import ExplicitItems
from strongticket.bounds.pensia2020optimal import ItemPlan, cheapest_plan

__all__ = [
    "BOUNDS",
    "Assignment",
    "BlockNorms",
    "items_for_matrices",
    "matrix_plan",
    "network_error",
    "softmax_change",
    "weight_eps",
]

Assignment = Literal["fixed", "column-aware"]


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _counts(*symbols: Any) -> tuple[Hypothesis, ...]:
    import sympy

    def whole(x: Any) -> Any:
        return sympy.And(x >= 1, sympy.Eq(sympy.floor(x), x))

    return tuple(Hypothesis(f"{x.name} integer >= 1", whole(x), "a count") for x in symbols)


def _setting(eps: Any, alpha: Any, d_1: Any, d_2: Any | None = None) -> tuple[Hypothesis, ...]:
    import sympy

    C, norm = _symbols("C norm")
    dims = (d_1,) if d_2 is None else (d_1, d_2)
    return (
        Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "error of each token's output, and failure probability"),
        Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
        Hypothesis("norm <= 1", norm <= 1, "largest spectral norm of the target's projections"),
        *(
            Hypothesis(f"alpha >= sqrt({d.name})", sympy.And(alpha >= 0, alpha**2 >= d), "bound of the tokens' norms")
            for d in dims
        ),
    )


def _lemma4_width() -> Formula:
    import sympy

    C, d_1, d_2, eps = _symbols("C d_1 d_2 eps")
    return Formula(
        d_1 * C * sympy.log(d_1 * d_2 / eps),
        (
            Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "d_1 d_2 times the error per entry"),
            Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
            *_counts(d_1, d_2),
        ),
        frozenset({"C"}),
    )


def _key_width() -> Formula:
    import sympy

    C, H, alpha, d_1, eps = _symbols("C H alpha d_1 eps")
    return Formula(
        d_1 * C * sympy.log(8 * H * alpha**3 * d_1 ** sympy.Rational(3, 2) / eps),
        (*_setting(eps, alpha, d_1), *_counts(H, d_1)),
        frozenset({"C"}),
    )


def _value_width() -> Formula:
    import sympy

    C, H, alpha, d_1, d_2, eps = _symbols("C H alpha d_1 d_2 eps")
    return Formula(
        d_1 * C * sympy.log(2 * H * alpha * d_1 * sympy.sqrt(d_2) / eps),
        (*_setting(eps, alpha, d_1, d_2), *_counts(H, d_1, d_2)),
        frozenset({"C"}),
    )


def _block_attention_width() -> Formula:
    import sympy

    C, H, alpha, d_1, eps = _symbols("C H alpha d_1 eps")
    return Formula(
        d_1 * C * sympy.log(32 * alpha**3 * H * d_1 ** sympy.Rational(3, 2) / eps),
        (*_setting(eps, alpha, d_1), *_counts(H, d_1)),
        frozenset({"C"}),
    )


def _block_feed_width() -> Formula:
    import sympy

    C, H, L, alpha, d_1, eps = _symbols("C H L alpha d_1 eps")
    return Formula(
        d_1 * C * sympy.log(24 * alpha * L * H * d_1 ** sympy.Rational(5, 2) / eps),
        (*_setting(eps, alpha, d_1), *_counts(H, L, d_1)),
        frozenset({"C"}),
    )


def _lemma5() -> Formula:
    import sympy

    d_1, alpha, eta = _symbols("d_1 alpha eta")
    return Formula(
        sympy.sqrt(d_1) * alpha * (sympy.exp(2 * eta) - 1),
        (
            Hypothesis("0 <= eta <= 1/2", sympy.And(eta >= 0, 2 * eta <= 1), "largest change of a logit"),
            Hypothesis("alpha >= 0", alpha >= 0, "bound of the tokens' norms"),
            *_counts(d_1),
        ),
    )


def _lemma12() -> Formula:
    import sympy

    H, d_1, alpha, tau = _symbols("H d_1 alpha tau")
    return Formula(
        H * sympy.sqrt(d_1) * (alpha * (sympy.exp(4 * alpha * tau) - 1) + tau),
        (
            Hypothesis("tau >= 0", tau >= 0, "largest change of a token's norm"),
            Hypothesis("alpha >= 0", alpha >= 0, "bound of the tokens' norms"),
            *_counts(H, d_1),
        ),
    )


def _softmax_change() -> Formula:
    import sympy

    (eta,) = _symbols("eta")
    return Formula(
        2 * sympy.tanh(eta / 2), (Hypothesis("eta >= 0", eta >= 0, "largest change of a logit, in absolute value"),)
    )


def _head_error() -> Formula:
    import sympy

    e_qk, e_vo, w_vo, alpha, R = _symbols("e_qk e_vo w_vo alpha R")
    names = {e_qk: "norm of the error of W_QK", e_vo: "norm of the error of W_VO", w_vo: "norm of W_VO"}
    return Formula(
        2 * sympy.tanh(alpha * R * e_qk / 2) * R * w_vo + alpha * e_vo,
        (
            *(Hypothesis(f"{x.name} >= 0", x >= 0, text) for x, text in names.items()),
            Hypothesis("R >= 0", R >= 0, "radius of a ball that holds all tokens"),
            Hypothesis("alpha >= 0", alpha >= 0, "bound of the tokens' norms"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "otsuka2025attention.lemma4_width",
        "inner width at which masks of two random matrices meet every entry of a d_2 x d_1 matrix with entries in "
        "[-1, 1] within eps/(d_1 d_2), with probability 1 - eps",
        Relation.UPPER,
        _lemma4_width,
        "Lemma 4 (7 in the appendix); the constant C is universal and not given",
    ),
    Bound(
        "otsuka2025attention.theorem3_key_width",
        "n_K of attention with H heads within eps at each token, any number of tokens, with probability 1 - eps",
        Relation.UPPER,
        _key_width,
        "Theorem 3; the constant C is universal and not given",
    ),
    Bound(
        "otsuka2025attention.theorem3_value_width",
        "n_V of attention with H heads within eps at each token, any number of tokens, with probability 1 - eps",
        Relation.UPPER,
        _value_width,
        "Theorem 3; the constant C is universal and not given",
    ),
    Bound(
        "otsuka2025attention.theorem11_attention_width",
        "n_K and n_V of a block of attention and feed-forward network within eps, with probability 1 - eps",
        Relation.UPPER,
        _block_attention_width,
        "Theorem 11; the constant C is universal and not given",
    ),
    Bound(
        "otsuka2025attention.theorem11_feed_width",
        "width of the feed-forward network's source layers in a block within eps, with probability 1 - eps",
        Relation.UPPER,
        _block_feed_width,
        "Theorem 11; the constant C is universal and not given",
    ),
    Bound(
        "otsuka2025attention.lemma5_softmax",
        "change of softmax-weighted tokens in the Euclidean norm when no logit changes by more than eta",
        Relation.UPPER,
        _lemma5,
        "Lemma 5 (8 in the appendix)",
    ),
    Bound(
        "otsuka2025attention.lemma12_inputs",
        "change of attention's output when no token changes by more than tau",
        Relation.UPPER,
        _lemma12,
        "Lemma 12",
    ),
    Bound(
        "otsuka2025attention.softmax_change",
        "l1 change of the softmax's weights when no logit changes by more than eta; two equal logits attain it",
        Relation.TIGHT,
        _softmax_change,
        "strongticket: the odds of any set of tokens change by a factor of at most exp(2 eta)",
    ),
    Bound(
        "otsuka2025attention.head_error",
        "error of one head's output at each token, any number of tokens",
        Relation.UPPER,
        _head_error,
        "strongticket: softmax_change, tokens counted from the centre of a ball",
    ),
)


def softmax_change(eta: float) -> float:
    """Return 2 tanh(eta / 2): no softmax moves further in l1 when no logit moves by more than eta.

    >>> round(softmax_change(0.1), 6)
    0.099917
    """
    if not eta >= 0.0:
        raise ValueError(f"the change of a logit is a number >= 0, got {eta}")
    return 2.0 * math.tanh(eta / 2.0)


@dataclass(frozen=True)
class BlockNorms:
    """Spectral norms of one block of a target.

    Attributes:
        logits: of each head's W_QK.
        values: of each head's W_VO.
        feed: (d_out, d_in) and norm of each feed-forward layer.
    """

    logits: tuple[float, ...]
    values: tuple[float, ...]
    feed: tuple[tuple[tuple[int, int], float], ...] = ()


def network_error(
    blocks: Sequence[BlockNorms],
    head: Sequence[tuple[tuple[int, int], float]],
    *,
    dim: int,
    radius: float,
    error: float,
) -> float:
    """Bound the output error of a network whose merged matrices have no entry off by more than `error`; for sizing.

    A matrix of d x d' such entries has norm <= error sqrt(d d'). With |x| <= B for all tokens of the target and
    |x' - x| <= tau, a head's logits change by at most eta = e B'^2 + a tau (B + B'), B' = B + tau, and its output by at
    most 2 tanh(eta/2) B w + w tau + e B', a and w the norms of W_QK and W_VO. Ours; plain floating point.

    Args:
        blocks: of the target.
        head: (d_out, d_in) and norm of each layer of the classifier.
        dim: coordinates of a token.
        radius: largest norm of an embedded token.
        error: largest error of an entry, >= 0.

    >>> one = BlockNorms((1.0,), (1.0,))
    >>> round(network_error([one], [((2, 4), 1.0)], dim=4, radius=1.0, error=1e-3), 6)
    0.013679
    """
    size, off, e = float(radius), 0.0, error * dim
    for block in blocks:
        moved = off
        reach = size + off
        for a, w in zip(block.logits, block.values, strict=True):
            eta = e * reach * reach + a * off * (size + reach)
            moved += softmax_change(eta) * size * w + w * off + e * reach
        size, off = size * (1.0 + sum(block.values)), moved
        if block.feed:
            inner, gone = size, off
            for (d_out, d_in), a in block.feed:
                gone = a * gone + error * math.sqrt(d_out * d_in) * (inner + gone)
                inner *= a
            size, off = size + inner, off + gone
    tail = propagate_error([a for _, a in head], [error * math.sqrt(m * n) for (m, n), _ in head], radius=size + off)
    return tail + off * math.prod(a for _, a in head)


def weight_eps(
    blocks: Sequence[BlockNorms],
    head: Sequence[tuple[tuple[int, int], float]],
    network_eps: float,
    *,
    dim: int,
    radius: float,
) -> float:
    """Return the largest common error per entry that `network_error` keeps within network_eps.

    >>> one = BlockNorms((1.0,), (1.0,))
    >>> round(weight_eps([one], [((2, 4), 1.0)], 0.1, dim=4, radius=1.0), 6)
    0.007236
    """
    return weight_budget(
        lambda error: network_error(blocks, head, dim=dim, radius=radius, error=error), network_eps
    )  # fmt: skip


def matrix_plan(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.5,
) -> ItemPlan:
    """Find the cheapest rigorous number of items per entry of linear products of two random matrices.

    No ReLU stands between the two matrices, so items u v with u of either sign are alive: density ln(1/|z|)/2. With
    column-aware units |u| >= u_min, and the density is at least 1/2 on [-u_min, u_min]. An entry is split into g equal
    parts, each a subset sum of its own group, as in pensia2020optimal.explicit_items.

    Args:
        num_problems: number of entries.
        weight_eps: error allowed per entry, in (0, 1).
        delta: failure probability for all of them together, in (0, 1).
        max_target: largest magnitude of an entry.
        assignment: "fixed" (units reserved in advance) or "column-aware" (see above).
        u_min: least |u| of a column-aware unit, in (0, 1].

    >>> matrix_plan(512, 0.01, 0.01, max_target=0.18).groups
    1
    """
    if isinstance(num_problems, bool) or not isinstance(num_problems, int) or num_problems < 1:
        raise ValueError(f"num_problems must be an integer >= 1, got {num_problems!r}")
    if not (0.0 < weight_eps < 1.0 and 0.0 < delta < 1.0 and 0.0 < u_min <= 1.0):
        raise ValueError(f"weight_eps, delta, u_min must lie in (0, 1), got {weight_eps}, {delta}, {u_min}")
    if not 0.0 <= max_target < math.inf:
        raise ValueError(f"max_target must be a magnitude >= 0 and finite, got {max_target}")
    if max_target <= weight_eps:  # the empty subset serves every entry
        return ItemPlan(0, 1, ExplicitItems(0, 0, 0, {}), {})
    law = get_law("product")
    ways = ways_to_split(max_target, law, u_min if assignment == "column-aware" else None, 16)
    return cheapest_plan(ways, num_problems, weight_eps, delta, max_target)


def items_for_matrices(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.5,
) -> int:
    """Return how many items meet every entry of linear products within weight_eps, with probability 1 - delta; proved.

    See `matrix_plan`.

    >>> items_for_matrices(512, 0.01, 0.01, max_target=0.18), items_for_matrices(512, 0.01, 0.01, max_target=1.0)
    (390, 1989)
    """
    plan = matrix_plan(num_problems, weight_eps, delta, max_target=max_target, assignment=assignment, u_min=u_min)
    return plan.items
