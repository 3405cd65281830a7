"""LeCun, Denker & Solla 1989, "Optimal Brain Damage": what a weight costs if no other weight moves.

The saliency is the paper's. How far it can be above what is possible when the others do move (the saliency of
hassibi1992second) is **derived by strongticket** from Kantorovich's inequality. The curvature of a hidden unit is the
paper's recursion, with the sign that differentiation gives it.
"""

from __future__ import annotations

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = ["BOUNDS"]


def _saliency() -> Formula:
    import sympy

    w, h = sympy.symbols("w h", real=True)
    never_negative = Hypothesis("h >= 0", h >= 0, "the second derivative of the loss in the weight, at a minimum")
    return Formula(h * w**2 / 2, (never_negative,))


def _overestimate() -> Formula:
    import sympy

    kappa = sympy.Symbol("kappa", real=True)
    condition = Hypothesis("kappa >= 1", kappa >= 1, "largest over least eigenvalue of the Hessian")
    return Formula((1 + kappa) ** 2 / (4 * kappa), (condition,))


def _hidden_curvature() -> Formula:
    import sympy

    slope, bend, above, pull = sympy.symbols("slope bend above pull", real=True)
    return Formula(slope**2 * above + bend * pull)


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "lecun1989optimal.saliency",
        "increase of a quadratic loss when a weight of value w becomes 0 and no other moves; so at most this much is "
        "lost when the others may move; h is the loss's second derivative in the weight",
        Relation.UPPER,
        _saliency,
        "the paper's saliency s_k",
    ),
    Bound(
        "lecun1989optimal.overestimate",
        "ratio of the saliency h w^2 / 2 to the least increase that is possible when the other weights move, for a "
        "Hessian of condition number kappa",
        Relation.UPPER,
        _overestimate,
        "strongticket: Kantorovich's inequality; attained",
    ),
    Bound(
        "lecun1989optimal.hidden_curvature",
        "second derivative of the loss in the input a of a hidden unit x = f(a), if the loss has no mixed second "
        "derivatives in the inputs of the units above: slope f'(a), bend f''(a), above = sum of w^2 times the second "
        "derivatives above, pull = the loss's derivative in x",
        Relation.TIGHT,
        _hidden_curvature,
        "the paper's recursion; the sign of its last term is derived in theory",
    ),
)
