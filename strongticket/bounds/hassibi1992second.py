"""Hassibi & Stork 1992, "Second order derivatives for network pruning: Optimal Brain Surgeon".

Around a minimum the loss is (w - w0)' H (w - w0) / 2, H positive definite. Here is what it costs to set weight q to 0
when all others are free to move; the move itself, and sets of weights, are in `strongticket.pruning.quadratic`.
"""

from __future__ import annotations

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = ["BOUNDS"]


def _saliency() -> Formula:
    import sympy

    w, v = sympy.symbols("w v", real=True)
    positive = Hypothesis("v > 0", v > 0, "the diagonal entry of the inverse Hessian; it is positive definite")
    return Formula(w**2 / (2 * v), (positive,))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "hassibi1992second.saliency",
        "least increase of a quadratic loss when a weight of value w becomes 0 and all others may move; "
        "v is that weight's entry on the diagonal of the inverse Hessian",
        Relation.TIGHT,
        _saliency,
        "the paper's saliency L_q",
    ),
)
