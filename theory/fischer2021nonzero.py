"""Fischer, Gadhikar & Burkholz 2021: what nonzero biases of a random network are for, and how they must be scaled."""

from __future__ import annotations

import itertools

import sympy

from theory._option_claims import GainsClaim, NoBiasClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS"]


def _check_homogeneous() -> bool:
    """relu(g a x + g c b) = g relu(a x + c b) for g > 0, so gains and products of gains come out in front."""
    g, c, x = (sympy.Symbol(name, positive=True) for name in ("g", "c", "x"))
    for slope, offset in itertools.product((2, -3), (1, -5)):
        plain = sympy.Max(0, slope * x + offset)
        scaled = sympy.Max(0, sympy.expand(g * slope * c * x + g * c * offset))
        if any(sympy.simplify((scaled - g * c * plain).subs({x: at})) != 0 for at in (sympy.Rational(1, 3), 1, 4)):
            return False
    return True


def _check_induction() -> bool:
    """If h' = G h goes in, gains g on the weights and g G on the biases give g G (W h + b)."""
    g, product, w, h, b = sympy.symbols("g G w h b", real=True)
    return bool(sympy.expand(g * w * (product * h) + g * product * b - g * product * (w * h + b)) == 0)


def _check_looks_linear() -> bool:
    u, x = sympy.Symbol("u", positive=True), sympy.Symbol("x", real=True)
    identity = sympy.Max(0, u * x) - sympy.Max(0, -u * x) - u * x
    return all(sympy.simplify(identity.subs(x, at)) == 0 for at in (-3, sympy.Rational(-1, 2), 0, 2))


def _check_zero() -> bool:
    values: list[int] = [0, 0]
    for matrix in ([[2, -1], [3, 5]], [[-4, 1], [1, 1]]):
        values = [max(0, sum(w * v for w, v in zip(row, values, strict=True))) for row in matrix]
    return values == [0, 0]


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="fischer2021nonzero.gains",
        title="tickets carry over to sources of any scale, if biases are scaled by the product of the gains",
        statement="Multiply the weights of layer l of a ReLU network by g_l > 0 and its biases by g_1 g_2 ... g_l. "
        "Then the subnetwork of every mask is multiplied by g_1 ... g_L. So what is proved for weights and biases "
        "U(-1, 1) holds, up to that factor, for layers drawn from U(-g_l, g_l) with biases from U(-g_1...g_l, "
        "g_1...g_l).",
        hypotheses=("g_l > 0", "ReLU, or another positively homogeneous activation"),
        bound_keys=("fischer2021nonzero.bias_scale", "fischer2021nonzero.output_scale"),
        status="The paper scales its nonzero biases in this way (read in its code's summary). An identity; the claim "
        "holds it to outputs bit for bit, with gains that are powers of two (so that nothing is rounded), for random "
        "masks; its twin scales biases by less and is caught at once. `constructions.fischer2021nonzero.with_gains` "
        "turns a ticket into the scaled one. The paper's 'looks-linear' sources come in pairs u, -u: half of a fixed "
        "block serves each half of an input for certain. Such sources are not built: the column-aware assignment "
        "chooses neurons by their sign and wastes none.",
        steps=(
            ProofStep("induction", "g w (G h) + g G b = g G (w h + b) (sympy)", _check_induction),
            ProofStep(
                "homogeneity",
                "relu(g y) = g relu(y) for g > 0 (sympy, 4 affine functions at 3 places)",
                _check_homogeneous,
                general=False,
            ),
            ProofStep(
                "looks-linear",
                "relu(u x) - relu(-u x) = u x (sympy, 4 inputs)",
                _check_looks_linear,
                general=False,
            ),
        ),
        assumptions=(Assumption("the initialisations of the paper", "Fischer, Gadhikar and Burkholz 2021"),),
        claim=GainsClaim(),
    ),
    Theorem(
        key="fischer2021nonzero.zero_biases",
        title="without biases in the source, no ticket is near a target with f(0) != 0",
        statement="Every subnetwork of a network without biases maps 0 to 0. So if the inputs may be 0, the error of "
        "any ticket for a target f is at least max_j |f_j(0)|.",
        hypotheses=("the source has no biases", "the activation maps 0 to 0", "0 is among the inputs"),
        bound_keys=("fischer2021nonzero.zero_bias_floor",),
        status="Ours, elementary; it is why the paper's sources have nonzero biases. All constructions here give "
        "biases of a target constant neurons, which keep a random bias alone.",
        steps=(
            ProofStep("zero", "a ReLU network without biases maps 0 to 0 (two layers)", _check_zero, general=False),
        ),
        claim=NoBiasClaim(),
    ),
)
