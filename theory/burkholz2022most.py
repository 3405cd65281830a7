"""Burkholz 2022: one layer more than the target is enough, and most activations will do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import sympy

from strongticket import bounds
from strongticket.bounds.burkholz2022most import amplification, items_for_layer, layer_tolerance
from strongticket.bounds.lueker1998exponentially import explicit_items
from theory._burkholz_claims import CopiesClaim
from theory._theorem import Assumption, ProofStep, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS

__all__ = ["THEOREMS"]


def _check_two_halves() -> bool:
    # a sum A of products with u > 0 and a sum B with u < 0 act as A + s B on x > 0 and as s A + B on x < 0
    a, b, w, s = sympy.symbols("a b w s", real=True)
    found = sympy.solve([a + s * b - w, s * a + b - w], [a, b], dict=True)
    even = len(found) == 1 and all(sympy.simplify(found[0][x] - w / (1 + s)) == 0 for x in (a, b))
    # errors of at most e/(1 + s) in both sums make an error of at most e in both slopes, 0 <= s
    e = sympy.Symbol("e", nonnegative=True)
    return bool(even and sympy.simplify(e / (1 + s) + s * e / (1 + s) - e) == 0)


def _copying(own: Sequence[int], neurons: int) -> sympy.Matrix:
    """Return the matrix that puts value own[r] of a vector in row r."""
    return sympy.Matrix([[int(i == j) for j in range(neurons)] for i in own])


def _check_copies() -> bool:
    """B P = P' W for B = M - (M P - P' W) Q with Q P = 1: symbols for all entries, several numbers of copies."""
    for copies, rows in itertools.product(((1, 1), (2, 1), (2, 3)), ((0, 1), (0, 0, 1))):
        own = [i for i, count in enumerate(copies) for _ in range(count)]
        p = _copying(own, len(copies))
        q = sympy.diag(*(sympy.Rational(1, count) for count in copies)) * p.T
        m = sympy.Matrix(len(rows), len(own), sympy.symbols(f"m0:{len(rows) * len(own)}"))
        w = sympy.Matrix(2, len(copies), sympy.symbols(f"w0:{2 * len(copies)}"))
        above = _copying(rows, 2)
        b = m - (m * p - above * w) * q
        if q * p != sympy.eye(len(copies)) or sympy.expand(b * p - above * w) != sympy.zeros(len(rows), len(copies)):
            return False
    return True


def _check_budget() -> bool:
    """Layers whose tolerances are eps/(L d B G) add up to eps at the output: symbols, 1 to 5 layers."""
    eps = sympy.Symbol("eps", positive=True)
    for depth in range(1, 6):
        d, big, grow = (sympy.symbols(f"{x}1:{depth + 1}", positive=True) for x in "dBa")
        error: sympy.Expr = sympy.Integer(0)
        for i in range(depth):
            gain = sympy.prod(grow[i + 1 :])
            tolerance = eps / (depth * d[i] * big[i] * gain)
            # |sum_i (w'_i - w_i) h_i| <= d tolerance B, and the copies' errors are amplified
            error = grow[i] * error + d[i] * tolerance * big[i]
        if sympy.simplify(error - eps) != 0:
            return False
    exact = Fraction(layer_tolerance(0.25, 2, 4, 2.0, 8.0)) == Fraction(1, 4) / (2 * 4 * 2 * 8)
    formula = bounds.get("burkholz2022most.layer_tolerance")(eps=0.25, L=2, d=4, B=2.0, G=8.0)
    return bool(exact and formula == layer_tolerance(0.25, 2, 4, 2.0, 8.0))


def _check_amplification() -> bool:
    """All sums of chosen numbers +-1/2, +-1 over two inputs with two copies each and errors +-1: at most d rho s."""
    numbers = [Fraction(x, 2) for x in (-2, -1, 1, 2)]
    worst = Fraction(0)
    for weights in itertools.product(numbers, repeat=4):
        for kept in itertools.product((0, 1), repeat=4):
            worst = max(worst, sum((abs(w) * k for w, k in zip(weights, kept, strict=True)), Fraction(0)))
    return worst == Fraction(amplification(2, 2, 1.0))


def _check_curvature() -> bool:
    t = sympy.Symbol("t", real=True)
    # t^3/3 - (t - tanh t) is 0 at 0 and has the slope t^2 - tanh(t)^2 >= 0, as |tanh t| <= |t|
    rest = t**3 / 3 - t + sympy.tanh(t)
    rising = sympy.simplify(sympy.diff(rest, t) - (t**2 - sympy.tanh(t) ** 2)) == 0 and rest.subs(t, 0) == 0
    below = sympy.simplify(sympy.diff(t - sympy.tanh(t), t) - sympy.tanh(t) ** 2) == 0  # t - tanh t rises too
    # the sigmoid is 1/2 + tanh(t/2)/2, so its remainder is half of tanh's at t/2: (t/2)^3/6 = t^3/48
    sigmoid = 1 / (1 + sympy.exp(-t))
    half = sympy.simplify((sigmoid - (sympy.Rational(1, 2) + sympy.tanh(t / 2) / 2)).rewrite(sympy.exp)) == 0
    factor = sympy.expand((t / 2) ** 3 / 3 / 2 - t**3 / 48) == 0
    least = [bounds.get(f"burkholz2022most.{name}_curvature")(t=-1.5) for name in ("tanh", "sigmoid")]
    return bool(rising and below and half and factor and least == [1.5**3 / 3, 1.5**3 / 48])


def _check_counts() -> bool:
    """The formula of the copies at the values that the search finds is what the construction is sized with."""
    for problems, eps in ((10, 0.1), (1000, 0.01), (400_000, 1e-4)):
        found = explicit_items(eps, 0.01 / problems)
        values = {key: found.values[key] for key in ("theta", "s", "delta_1")}
        again = bounds.get("burkholz2022most.explicit_copies")(
            weight_eps=eps,
            delta=0.01,
            delta_1=values["delta_1"] * problems,
            N=problems,
            theta=values["theta"],
            t=values["s"],
        )
        if not items_for_layer(problems, eps, 0.01, 0.5) <= found.items == round(again):
            return False
    return True


STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "two halves",
        "neurons leaky(u x) with subset sums w/(1 + s) of the products over u > 0 and over u < 0 act as w x for x of "
        "both signs, s the slope below 0 (0 for ReLU); errors e/(1 + s) in both make an error of at most e (sympy)",
        _check_two_halves,
    ),
    ProofStep(
        "copies",
        "B = M - (M P - P' W) Q has B P = P' W where Q takes means over copies: the network of the B computes the "
        "target (symbols for all entries; up to three copies of two neurons)",
        _check_copies,
        general=False,
    ),
    ProofStep(
        "amplification",
        "a sum of chosen numbers |w| <= s over d inputs of rho copies, each copy off by e, is off by at most d rho s e "
        "(all choices of 4 numbers among 4)",
        _check_amplification,
        general=False,
    ),
    ProofStep(
        "budget",
        "with tolerances eps/(L d B G), G the product of the amplifications above, the errors of all layers add up to "
        "eps (symbols; 1 to 5 layers)",
        _check_budget,
        general=False,
    ),
    ProofStep(
        "counts",
        "the copies are those of the explicit subset-sum bound with delta/N for each of N weights (three cases)",
        _check_counts,
        general=False,
    ),
)

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="burkholz2022most.depth",
        title="one layer more than the target is enough: copies of every neuron, with explicit numbers (strongticket)",
        statement="Let f be a network of depth L with ReLU or leaky ReLU and without biases. Let the source have depth "
        "L + 1, uniform weights on [-s_i, s_i], s_i the power of two at or above the largest weight of layer i, "
        "candidates n for each weight of the first layer and rho_l copies of each neuron of hidden layer l, counted "
        "from the last layer to the first: rho_(L-1) such that all weights of layer L are met within eps_L with "
        "probability 1 - delta/L, and so on, each layer with as many rows as the next one has copies; eps_l = eps/(L "
        "d_(l-1) B_(l-1) G_l), B a bound of the target's hidden values, G_l the product of the amplifications d rho s "
        "of all layers after l. Then with probability at least 1 - delta the source contains a subnetwork within eps "
        "of f on all |x_i| <= 1.",
        hypotheses=(
            "0 < eps, delta < 1",
            "ReLU or leaky ReLU, no biases (the construction takes tanh, sigmoid and biases too; then the certificate "
            "alone speaks)",
            "weights of the source independent and uniform",
            "the target is chosen before the source is drawn",
        ),
        bound_keys=(
            "burkholz2022most.explicit_copies",
            "burkholz2022most.layer_tolerance",
            "burkholz2022most.amplification",
            "burkholz2022most.source_parameters",
        ),
        status="That depth L + 1 and a logarithmic factor in width suffice, for a large class of activations, is the "
        "paper's theorem. The constants here, and the way errors of copies are counted, are strongticket's: a subset "
        "sum w = sum w_r over copies passes on sum |w_r| times the copies' largest error, not |w| times it. It costs "
        "log2(d rho) bits per layer, so that the width here grows with L log(d/eps). The paper's own constants are not "
        "quoted. The claim runs the construction and proves each ticket.",
        steps=STEPS,
        lemmas=tuple(theorem for theorem in SUBSET_SUM_THEOREMS if theorem.key == "lueker1998exponentially.explicit"),
        assumptions=(
            Assumption(
                "leaky ReLU and ReLU are 1-Lipschitz, and |s(z)| <= |z|",
                "any textbook",
            ),
            Assumption(
                "candidates of different weights are different random numbers, or share a first factor u that is "
                "given: the union bound over all weights of all rows",
                "argued here; the same step as in Pensia et al. 2020",
            ),
            Assumption(
                "a first-layer candidate v u with u >= 1/2 given has a density >= 1/2 on [-u, u]",
                "checked with pensia2020optimal.theorem1",
            ),
            Assumption(
                "every half-input of the first pair gets as many neurons as it has items: spare neurons make misses "
                "rare, but their chance is not in delta; `LayerReport.fewest_items` tells of one",
                "simulated in constructions._gadget.spare_neurons",
            ),
        ),
        claim=CopiesClaim(),
    ),
    Theorem(
        key="burkholz2022most.curvature",
        title="how far tanh and the sigmoid are from straight lines near 0 (strongticket)",
        statement="|tanh(t) - t| <= |t|^3/3 and |sigmoid(t) - 1/2 - t/4| <= |t|^3/48 for all t. So first-layer weights "
        "|u| <= c make v tanh(u x) differ from v u x by at most (c |x|)^2/3 of |v u x|, and a sigmoid by (c |x|)^2/12 "
        "of |v u x|/4, once its value 1/2 at 0 is cancelled by a constant.",
        hypotheses=("t real",),
        bound_keys=("burkholz2022most.tanh_curvature", "burkholz2022most.sigmoid_curvature"),
        status="The paper asks of an activation that it is close to linear on each side of 0 (or near it), which these "
        "two inequalities make explicit. Nothing to try: they are proved.",
        steps=(
            ProofStep(
                "curvature",
                "t^3/3 - (t - tanh t) and t - tanh t rise from 0, and the sigmoid's remainder is half of tanh's at t/2 "
                "(sympy: derivatives)",
                _check_curvature,
            ),
        ),
        assumptions=(Assumption("|tanh t| <= |t|: its slope is 1 - tanh^2 <= 1", "any textbook"),),
    ),
)
