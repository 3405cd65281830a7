"""LeCun, Denker & Solla 1989: optimal brain damage, its saliency, and the back-propagation of second derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import sympy
import torch

from strongticket.bounds import get
from theory._claim import AbstractClaim, Outcome, Trial, check_whole
from theory._draws import Draws
from theory._quadratic_claims import DamageClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS", "HiddenCurvatureClaim", "recursion_of_two_layers"]

Array = npt.NDArray[np.float64]


def recursion_of_two_layers(
    first: Array,  # [hidden, inputs]
    second: Array,  # [outputs, hidden]
    x: Array,  # [inputs]
    target: Array,  # [outputs]
    bend: float = 1.0,
) -> tuple[Array, Array]:
    """Return the diagonal of the Hessian by the paper's recursion, for tanh units and the squared error of one example.

    Args:
        first: weights from the inputs.
        second: weights to the outputs, which are tanh units too.
        x: the example.
        target: what the outputs should be; the error is the sum of squares.
        bend: what the terms with the activation's second derivative are multiplied by; 1 is the theorem.

    Returns:
        Second derivatives in the shapes of the two layers' weights.
    """
    hidden = np.tanh(first @ x)
    outputs = np.tanh(second @ hidden)
    slope, slope_out = 1 - hidden**2, 1 - outputs**2
    curve, curve_out = -2 * hidden * slope, -2 * outputs * slope_out
    pull_out = -2 * (target - outputs)  # derivative of the error in an output
    above = 2 * slope_out**2 + bend * curve_out * pull_out  # second derivatives in the outputs' inputs
    pull = second.T @ (slope_out * pull_out)  # derivative of the error in a hidden unit's output
    here = slope**2 * ((second**2).T @ above) + bend * curve * pull
    return np.outer(here, x**2), np.outer(above, hidden**2)


@final
class HiddenCurvatureClaim(AbstractClaim):
    """On two layers, and outputs that do not mix, the recursion is the diagonal of the Hessian.

    A trial draws a tanh network, an example and its target, and compares with the Hessian by automatic differentiation.

    Parameters: inputs, hidden, outputs, tolerance (relative to the largest second derivative of a layer), factor (of
    the terms with the activation's second derivative; at -1 they have the other sign).
    """

    text = "draw a tanh network of two layers; the back-propagated second derivatives are the Hessian's diagonal"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"inputs": 3, "hidden": 4, "outputs": 2, "tolerance": 1e-8, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        for name in ("inputs", "hidden", "outputs"):
            check_whole(p, name, 1, 50)
        if not p["tolerance"] > 0.0:
            raise ValueError(f"tolerance must be positive, got {p['tolerance']}")
        return p

    def failure_probability(self, **params: Any) -> float:
        """None: it is an identity."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw and compare."""
        p = self.resolve(**params)
        draws = Draws(seed)
        first = draws.normal("first", (p["hidden"], p["inputs"]))
        second = draws.normal("second", (p["outputs"], p["hidden"]))
        x, target = draws.normal("x", p["inputs"]), draws.uniform("target", p["outputs"])
        found = recursion_of_two_layers(first, second, x, target, p["factor"])
        error = max(
            float(np.abs(ours - true).max() / np.abs(true).max())
            for ours, true in zip(found, _hessian_diagonal(first, second, x, target), strict=True)
        )
        outcome = Outcome.SUCCESS if error <= p["tolerance"] else Outcome.FAILURE
        return Trial(outcome, f"relative error {error:.2g}")


def _hessian_diagonal(first: Array, second: Array, x: Array, target: Array) -> tuple[Array, Array]:
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(target)

    def error(weights: torch.Tensor) -> torch.Tensor:
        one, two = weights[: first.size].view(first.shape), weights[first.size :].view(second.shape)
        return (wanted - torch.tanh(two @ torch.tanh(one @ inputs))).square().sum()

    flat = torch.from_numpy(np.concatenate([first.reshape(-1), second.reshape(-1)]))
    diagonal = torch.func.jacrev(torch.func.jacrev(error))(flat).diagonal().numpy()
    return diagonal[: first.size].reshape(first.shape), diagonal[first.size :].reshape(second.shape)


# ---------------------------------------------------------------- proof steps


def _formula(name: str, **symbols: Any) -> Any:
    """The formula of a bound, with these in place of its symbols."""
    expression = get(f"lecun1989optimal.{name}").expression
    return expression.xreplace({symbol: symbols[symbol.name] for symbol in expression.free_symbols})


def _check_alone() -> bool:
    n = sympy.Symbol("n", integer=True, positive=True)
    H, e = sympy.MatrixSymbol("H", n, n), sympy.MatrixSymbol("e", n, 1)
    w, h = sympy.symbols("w h", real=True)
    cost = ((-w * e.T) * H * (-w * e) / 2).doit()
    return bool(cost == (w**2 / 2 * (e.T * H * e)).doit() and _formula("saliency", w=w, h=h) == w**2 / 2 * h)


def _check_schur() -> bool:
    """1/[H^-1]_kk = h_kk - b'C^-1 b, C the Hessian of the other weights, b its row k; generic symmetric matrices."""
    for n in (2, 3):
        H = sympy.Matrix(n, n, lambda i, j: sympy.Symbol(f"h{min(i, j)}{max(i, j)}"))
        inverse = H.inv()
        for k in range(n):
            others = [i for i in range(n) if i != k]
            b, C = H.extract(others, [k]), H.extract(others, others)
            if sympy.simplify(1 / inverse[k, k] - (H[k, k] - (b.T * C.inv() * b)[0])) != 0:
                return False
    return True


def _check_at_least() -> bool:
    """With s = b'C^-1 b >= 0 and h > s: OBD over OBS is h/(h - s) = 1 + s/(h - s)."""
    w = sympy.Symbol("w", real=True)
    s, rest = sympy.Symbol("s", nonnegative=True), sympy.Symbol("rest", positive=True)  # h = s + rest
    obd = _formula("saliency", w=w, h=s + rest)
    expression = get("hassibi1992second.saliency").expression
    names = {symbol.name: symbol for symbol in expression.free_symbols}
    obs = expression.xreplace({names["w"]: w, names["v"]: 1 / rest})
    gap = sympy.simplify(obd - obs)
    return bool(gap.is_nonnegative and sympy.simplify(gap.subs(s, 0)) == 0)


def _check_kantorovich() -> bool:
    least, (spread, t) = sympy.Symbol("least", positive=True), sympy.symbols("spread t", nonnegative=True)
    M = least + spread
    x = least + spread * t / (1 + t)  # any eigenvalue between them
    # 1/x lies below its chord
    chord = sympy.simplify((least + M - x) / (least * M) - 1 / x)
    if not sympy.factor(chord).is_nonnegative:
        return False
    # h (least + M - h)/(least M) is largest at the middle
    h, kappa = sympy.symbols("h kappa", positive=True)
    product = h * (least + M - h) / (least * M)
    largest = (least + M) ** 2 / (4 * least * M)
    if sympy.simplify(largest - product - (h - (least + M) / 2) ** 2 / (least * M)) != 0:
        return False
    claimed = _formula("overestimate", kappa=kappa)
    return bool(sympy.simplify(largest.subs(spread, least * (kappa - 1)) - claimed) == 0)


def _check_attained() -> bool:
    """A weight that leans to both extreme eigenvectors equally: h and [H^-1]_kk are plain means."""
    m, M, kappa = sympy.symbols("m M kappa", positive=True)
    ratio = (m + M) / 2 * (1 / m + 1 / M) / 2
    return bool(sympy.simplify(ratio.subs(M, m * kappa) - _formula("overestimate", kappa=kappa)) == 0)


def _check_diagonal() -> bool:
    entries = sympy.symbols("h:4", positive=True)
    inverse = sympy.diag(*entries).inv()
    return all(sympy.simplify(h * inverse[k, k] - 1) == 0 for k, h in enumerate(entries))


def _check_hidden() -> bool:
    """Chain rule, twice, through three units above.

    A second derivative sees of the loss above its value, slopes and second derivatives there, so it is enough to try
    quadratics with any coefficients; the mixed ones are what the recursion leaves out.
    """
    a, f = sympy.Symbol("a", real=True), sympy.Function("f")(sympy.Symbol("a", real=True))
    weights, at, slopes = sympy.symbols("w:3"), sympy.symbols("r:3"), sympy.symbols("g:3")
    second = sympy.Matrix(3, 3, lambda i, j: sympy.Symbol(f"h{min(i, j)}{max(i, j)}"))
    above = sympy.symbols("y:3")
    loss = sum(g * y for g, y in zip(slopes, above, strict=True))
    loss += (sympy.Matrix(above).T * second * sympy.Matrix(above))[0] / 2
    place = {y: r + w * f for y, r, w in zip(above, at, weights, strict=True)}
    exact = sympy.diff(loss.subs(place), a, 2)
    slope, bend = sympy.diff(f, a), sympy.diff(f, a, 2)
    curves = sum(w**2 * second[i, i] for i, w in enumerate(weights))
    pull = sum(w * sympy.diff(loss, y).subs(place) for w, y in zip(weights, above, strict=True))
    mixed = sum(weights[i] * weights[j] * second[i, j] for i in range(3) for j in range(3) if i != j)
    recursion = _formula("hidden_curvature", slope=slope, bend=bend, above=curves, pull=pull)
    return bool(sympy.expand(exact - recursion - slope**2 * mixed) == 0)


def _check_weight() -> bool:
    w, x, rest = sympy.symbols("w x rest", real=True)
    G, a = sympy.Function("G"), sympy.Symbol("a", real=True)
    exact = sympy.diff(G(rest + w * x), w, 2).doit()
    return bool(sympy.simplify(exact - x**2 * sympy.diff(G(a), a, 2).subs(a, rest + w * x).doit()) == 0)


def _check_squared_output() -> bool:
    a, d = sympy.symbols("a d", real=True)
    f = sympy.Function("f")
    exact = sympy.diff((d - f(a)) ** 2, a, 2)
    slope, bend = sympy.diff(f(a), a), sympy.diff(f(a), a, 2)
    return bool(sympy.expand(exact - (2 * slope**2 - 2 * (d - f(a)) * bend)) == 0)


def _check_softmax_output() -> bool:
    inputs = sympy.symbols("a:3", real=True)
    whole = sum(sympy.exp(a) for a in inputs)
    for label in range(3):
        loss = sympy.log(whole) - inputs[label]
        for a in inputs:
            p = sympy.exp(a) / whole
            if sympy.simplify(sympy.diff(loss, a, 2) - p * (1 - p)) != 0:
                return False
    return True


def _check_not_exact() -> bool:
    """G(y, z) = (y + z)^2 / 2 above a linear unit: exactly (u + v)^2, by the recursion u^2 + v^2."""
    a, u, v = sympy.symbols("a u v", real=True)
    exact = sympy.diff((u * a + v * a) ** 2 / 2, a, 2)
    recursion = _formula("hidden_curvature", slope=1, bend=0, above=u**2 + v**2, pull=(u + v) ** 2 * a)
    gap = sympy.expand(exact - recursion)
    return bool(gap == 2 * u * v)


_ALONE = ProofStep(
    "no other weight moves",
    "(-w e)'H(-w e)/2 = w^2 e'He/2, the saliency (sympy, matrices of any size)",
    _check_alone,
)
_SCHUR = ProofStep(
    "what the others can save",
    "1/[H^-1]_kk = h_kk - b'C^-1 b, C and b what the other weights have of H (sympy, generic symmetric H of 2 and 3 "
    "weights)",
    _check_schur,
    general=False,
)
_AT_LEAST = ProofStep(
    "not below OBS",
    "h w^2/2 - w^2/(2v) = s w^2/2 for s = h - 1/v = b'C^-1 b >= 0; equal for s = 0 (sympy)",
    _check_at_least,
)
_DIAGONAL = ProofStep(
    "diagonal Hessian",
    "h_kk [H^-1]_kk = 1: then OBD is OBS (sympy, 4 weights, any entries)",
    _check_diagonal,
    general=False,
)
_KANTOROVICH = ProofStep(
    "not too far above",
    "1/x lies below its chord on [m, M], so h [H^-1]_kk <= h (m + M - h)/(mM) <= (m + M)^2/(4mM) for a mean h of "
    "eigenvalues (sympy)",
    _check_kantorovich,
)
_ATTAINED = ProofStep(
    "attained", "by a weight that leans to the two extreme eigenvectors equally (sympy)", _check_attained
)
_HIDDEN = ProofStep(
    "hidden unit",
    "d2E/da2 = f'(a)^2 sum_l w_l^2 d2E/da_l^2 + f''(a) dE/dx + f'(a)^2 sum_{l != m} w_l w_m d2E/da_l da_m: the term of "
    "f'' has a plus sign, the last one is left out (sympy, three units above, any smooth functions)",
    _check_hidden,
    general=False,
)
_WEIGHT = ProofStep("weight", "d2E/dw^2 = x^2 d2E/da^2 for a = w x + ... (sympy)", _check_weight)
_SQUARED = ProofStep(
    "squared error", "the output's d2/da2 (d - f)^2 = 2 f'^2 - 2 (d - f) f'' (sympy)", _check_squared_output
)
_SOFTMAX = ProofStep(
    "softmax", "the output's second derivative is p (1 - p) (sympy, 3 classes)", _check_softmax_output, general=False
)
_NOT_EXACT = ProofStep(
    "not the exact diagonal",
    "a linear unit below (y + z)^2/2 has (u + v)^2, the recursion gives u^2 + v^2 (sympy)",
    _check_not_exact,
    general=False,
)

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="lecun1989optimal.saliency",
        title="what a weight costs if no other moves, and how far above the least possible that is",
        statement="A quadratic loss grows by h_kk w_k^2 / 2 when weight k alone becomes 0. That is at least the OBS "
        "saliency w_k^2 / (2 [H^-1]_kk), with equality if weight k has no mixed second derivatives: OBD is exact for a "
        "diagonal H. It is at most (1 + kappa)^2/(4 kappa) times that, kappa the condition number of H (strongticket).",
        hypotheses=(
            "the loss is (w - w0)'H(w - w0)/2 above its value at w0, H symmetric positive definite",
            "w = w0: the network stands at the minimum",
        ),
        bound_keys=("lecun1989optimal.saliency", "lecun1989optimal.overestimate"),
        status="Proved; the comparison with OBS is ours, by Kantorovich's inequality. The claim computes saliencies in "
        "float64 and the least possible costs in exact arithmetic; one of its kinds of quadratics attains the ratio, "
        "so that any better one is falsified.",
        steps=(_ALONE, _SCHUR, _AT_LEAST, _DIAGONAL, _KANTOROVICH, _ATTAINED),
        assumptions=(
            Assumption(
                "that a network's loss is a quadratic with a diagonal Hessian, and the network at its minimum",
                "lecun1989optimal's three approximations",
            ),
            Assumption(
                "h_kk and [H^-1]_kk are means of the eigenvalues and of their inverses with the same shares",
                "spectral theorem",
            ),
        ),
        claim=DamageClaim(),
    ),
    Theorem(
        key="lecun1989optimal.recursion",
        title="second derivatives by back-propagation: exact if the units above do not mix",
        statement="For a hidden unit x = f(a): d2E/da2 = f'(a)^2 sum_l w_l^2 d2E/da_l^2 + f''(a) dE/dx, if E has no "
        "mixed second derivatives in the inputs a_l of the units above; and d2E/dw_ij^2 = x_j^2 d2E/da_i^2. So the "
        "recursion is exact in the last layer and, if the outputs do not mix (squared error of units, not softmax), in "
        "the layer before it. Elsewhere it leaves terms out and is not the diagonal of the Hessian.",
        hypotheses=("f is smooth", "E has no mixed second derivatives in the inputs of the units above"),
        bound_keys=("lecun1989optimal.hidden_curvature",),
        status="Derived here, the sign of the term with f'' included. The claim compares a literal transcription with "
        "the Hessian by automatic differentiation, on tanh networks of two layers; its factor multiplies the terms "
        "with f'', so that -1 tries the other sign.",
        steps=(_HIDDEN, _WEIGHT, _SQUARED, _SOFTMAX, _NOT_EXACT),
        assumptions=(Assumption("other numbers of units above: the same sums, with more terms", "argued here"),),
        claim=HiddenCurvatureClaim(),
    ),
)
