"""Otsuka et al. 2025: strong lottery tickets in multi-head attention, and in transformers without normalisation."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import sympy

from strongticket.bounds.otsuka2025attention import BlockNorms as Norms
from strongticket.bounds.otsuka2025attention import matrix_plan, network_error
from theory._otsuka_claims import AttentionClaim, SoftmaxClaim
from theory._theorem import Assumption, ProofStep, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS

__all__ = ["THEOREMS"]


def _check_product_density() -> bool:
    # |u| and |v| are U(0, 1) and the sign is fair, so uv has the density of pensia's XY: ln(1/|z|)/2
    x, z = sympy.Symbol("x", positive=True), sympy.Symbol("z", positive=True)
    magnitude = sympy.integrate(1 / x, (x, z, 1))  # density of |u||v| at z
    signed = magnitude / 2
    mass = 2 * sympy.integrate(sympy.log(1 / z) / 2, (z, 0, 1)) == 1
    return bool(mass and sympy.simplify(signed - sympy.log(1 / z) / 2) == 0)


def _check_law() -> bool:
    # (2^a u)(2^b v) / sqrt(4^j) = u v for a + b = j, and the paper's n^(1/4) u n^(1/4) v / sqrt(n) = u v
    n = sympy.Symbol("n", positive=True)
    u, v = sympy.symbols("u v", real=True)
    root = sympy.Rational(1, 4)
    paper = sympy.simplify(n**root * u * n**root * v / sympy.sqrt(n) - u * v) == 0
    ours = all(
        Fraction(2) ** (j - j // 2) * Fraction(2) ** (j // 2) == Fraction(math.isqrt(4**j))
        and math.isqrt(4**j) ** 2 == 4**j
        for j in range(32)
    )
    return bool(paper and ours)


def _check_odds() -> bool:
    # a probability p whose odds grow by K becomes K p / (1 - p + K p); it grows most at p = 1/(1 + sqrt K)
    p, k = sympy.Symbol("p", positive=True), sympy.Symbol("k", positive=True)  # K = k^2
    growth = k**2 * p / (1 - p + k**2 * p) - p
    best = 1 / (1 + k)
    slope = sympy.simplify(sympy.diff(growth, p).subs(p, best)) == 0
    value = sympy.simplify(growth.subs(p, best) - (k - 1) / (k + 1)) == 0
    # (k - 1)/(k + 1) - growth is (1 - (k + 1) p)^2 over a positive number: no p does better
    gap = sympy.simplify((k - 1) / (k + 1) - growth - (k - 1) * (1 - (k + 1) * p) ** 2 / ((k + 1) * (1 - p + k**2 * p)))
    # k = sqrt K = e^eta: (e^eta - 1)/(e^eta + 1) = tanh(eta/2)
    eta = sympy.Symbol("eta", real=True)
    half = (sympy.exp(eta) - 1) / (sympy.exp(eta) + 1) - sympy.tanh(eta / 2)
    return bool(slope and value and gap == 0 and sympy.simplify(half.rewrite(sympy.exp)) == 0)


def _check_attained() -> bool:
    # two tokens whose logits differ by -eta move to +eta: the weights move by 2 (s(eta) - s(-eta)), s the logistic
    eta = sympy.Symbol("eta", real=True)
    moved = 2 * (1 / (1 + sympy.exp(-eta)) - 1 / (1 + sympy.exp(eta)))
    return bool(sympy.simplify((moved - 2 * sympy.tanh(eta / 2)).rewrite(sympy.exp)) == 0)


def _check_below_paper() -> bool:
    # 2 tanh(eta/2) <= eta: the difference is 0 at 0 and its slope is tanh(eta/2)^2; eta <= e^(2 eta) - 1 likewise
    eta = sympy.Symbol("eta", nonnegative=True)
    first = sympy.simplify(sympy.diff(eta - 2 * sympy.tanh(eta / 2), eta) - sympy.tanh(eta / 2) ** 2) == 0
    slope = sympy.diff(sympy.exp(2 * eta) - 1 - eta, eta)  # 2 e^(2 eta) - 1 >= 1
    second = sympy.simplify(slope - 1 - 2 * (sympy.exp(2 * eta) - 1)) == 0
    # Lemma 5's own closing step: e^t - 1 <= 2 t for 0 <= t <= 1, by convexity from the ends
    t = sympy.Symbol("t", real=True)
    gap = sympy.exp(t) - 1 - 2 * t
    convex = sympy.diff(gap, t, 2).is_positive is True
    return bool(first and second and convex and gap.subs(t, 0) == 0 and (gap.subs(t, 1) < 0) == True)  # noqa: E712


def _check_logits() -> bool:
    # x'_j (W + E) x'_i - x_j W x_i, with x' = x + d, for all 2 x 2 matrices and centres c, c'
    names = [sympy.Matrix(2, 1, sympy.symbols(f"{name}:2")) for name in ("x", "y", "d", "g", "c", "e")]
    answering, asking, d_answering, d_asking, centre, ticket_centre = names
    w, error = (sympy.Matrix(2, 2, sympy.symbols(f"{name}:4")) for name in ("w", "o"))
    new_answering, new_asking = answering + d_answering, asking + d_asking
    change = new_answering.T * (w + error) * new_asking - answering.T * w * asking
    parts = (new_answering - ticket_centre).T * error * new_asking + d_answering.T * w * new_asking
    parts += (answering - centre).T * w * d_asking
    alone = ticket_centre.T * error * new_asking + centre.T * w * d_asking  # depends on the asking token alone
    return bool((change - parts - alone).expand() == sympy.zeros(1, 1))


def _check_theorem3() -> bool:
    # Lemma 4 with eps' gives entries within eps'/d_1^2; the published log arguments are d_1 d_2 / eps' for these eps'
    eps, heads, alpha, d_1, d_2 = sympy.symbols("eps H alpha d_1 d_2", positive=True)
    key = d_1**2 / (8 * heads * alpha**3 * d_1 ** sympy.Rational(3, 2) / eps)  # eps' of Q and K
    eta = alpha**2 * (d_1 * key / d_1**2)  # |E| <= d_1 max|E|
    softmax = 4 * sympy.sqrt(d_1) * alpha * eta  # Lemma 5, |W_VO| <= 1
    value = d_1 * d_2 / (2 * heads * alpha * d_1 * sympy.sqrt(d_2) / eps)  # eps' of V and O
    carried = alpha * sympy.sqrt(d_1 * d_2) * value / (d_1 * d_2)
    halves = sympy.simplify(heads * softmax - eps / 2) == 0
    rest = sympy.simplify(heads * carried - eps / (2 * sympy.sqrt(d_1))) == 0  # <= eps/2, as d_1 >= 1
    # eta = eps/(8 H alpha sqrt(d_1)) <= 1/2 as Lemma 5 asks, since alpha >= 1 and eps < 1
    small = sympy.simplify(eta - eps / (8 * heads * alpha * sympy.sqrt(d_1))) == 0
    return bool(halves and rest and small)


_PLANS = tuple(itertools.product((1, 10_000), (0.1, 1e-3), (0.1, 1e-6), (0.05, 1.0)))


def _check_plans() -> bool:
    """For the numbers that matrix_plan really gives, add up what can go wrong."""
    for problems, eps, delta, largest in _PLANS:
        for assignment in ("fixed", "column-aware"):
            plan = matrix_plan(problems, eps, delta, max_target=largest, assignment=assignment, u_min=0.5)
            v = {name: sympy.Float(x, 40) for name, x in plan.values.items()}
            if not v:
                if largest > eps:
                    return False
                continue
            g, c, q, theta, s = plan.groups, v["c"], v["q"], v["theta"], v["s"]
            if Fraction(plan.values["c"]) * g < Fraction(largest) or plan.items != g * plan.per_group.items:
                return False
            density = sympy.log(1 / (2 * c)) / 2 if assignment == "fixed" else sympy.Rational(1, 2)
            if q > 2 * c * density * (1 + sympy.Float("1e-12", 40)):
                return False
            part = v["weight_eps"] / g
            start = part / (2 * c)
            rho = 1 - q * (1 - theta) * (1 - 2 ** (-s))
            first = 0 if start >= theta else (theta / start) ** s * rho**plan.per_group.first
            second = (1 - theta) * (1 - q * theta) ** plan.per_group.second * 4 * c / part
            if not g * problems * (first + second) <= v["delta"]:
                return False
    return True


def _check_recursion() -> bool:
    # the code's recursion over two blocks with one feed-forward layer each, by hand, in 30 digits
    for a, w, f, e, dim in itertools.product((0.5, 2.0), (0.5, 1.0), (0.7,), (1e-3, 0.05), (2, 5)):
        block = Norms((a,), (w,), (((dim, dim), f),))
        found = network_error([block, block], [((1, dim), 1.5)], dim=dim, radius=2.0, error=e)
        logits, values, layer, entry = (sympy.Rational(x) for x in (a, w, f, e))
        size, gone, error = sympy.Integer(2), sympy.Integer(0), sympy.Rational(e) * dim
        for _ in range(2):
            shift = error * (size + gone) ** 2 + logits * gone * (2 * size + gone)
            gone += 2 * sympy.tanh(shift / 2) * size * values + values * gone + error * (size + gone)
            size *= 1 + values
            gone += layer * gone + error * (size + gone)
            size *= 1 + layer
        outcome = entry * sympy.sqrt(dim) * (size + gone) + sympy.Rational(3, 2) * gone
        if abs(sympy.N(outcome, 30) - sympy.Float(found, 30)) > 1e-12 * found:
            return False
    return True


def _check_lemma12() -> bool:
    # with |W_QK|, |W_VO| <= 1 and no errors, tokens off by tau move a head by at most 2 tanh(eta/2) alpha + tau,
    # eta = tau (2 alpha + tau); for tau <= 2 alpha that is <= alpha (e^(4 alpha tau) - 1) + tau, Lemma 12's at d_1 = 1
    alpha, tau, t = sympy.symbols("alpha tau t", nonnegative=True)
    eta = tau * (2 * alpha + tau)
    room = sympy.expand(4 * alpha * tau - eta - tau * (2 * alpha - tau)) == 0
    slope = sympy.diff(sympy.exp(t) - 1 - t, t)  # e^t - 1 >= 0: e^t - 1 >= t
    above = sympy.simplify(slope - (sympy.exp(t) - 1)) == 0
    code = network_error([Norms((1.0,), (1.0,))], [((1, 1), 1.0)], dim=1, radius=1.0, error=0.0) == 0.0
    return bool(room and above and code)


SOFTMAX_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "largest growth",
        "a probability whose odds grow by K grows by at most (sqrt K - 1)/(sqrt K + 1), which is tanh(eta/2) for "
        "K = e^(2 eta) (sympy: the gap is a square over a positive number)",
        _check_odds,
    ),
    ProofStep(
        "attained", "two tokens with logits apart by -eta, then +eta, move by 2 tanh(eta/2) (sympy)", _check_attained
    ),
    ProofStep(
        "below the paper's",
        "2 tanh(eta/2) <= eta <= e^(2 eta) - 1 by their slopes, and e^t - 1 <= 2 t on [0, 1] by convexity (sympy)",
        _check_below_paper,
    ),
)

STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "products",
        "u v with u, v ~ U(-1, 1) has density ln(1/|z|)/2 on [-1, 1]: no candidate is dead (sympy)",
        _check_product_density,
    ),
    ProofStep(
        "the source's law",
        "with scales 2^a and 2^b, a + b = j, for Q and K and width 4^j, products over the root of the width are u v, "
        "as with the paper's n^(1/4) for both (sympy; exact fractions for j < 32)",
        _check_law,
    ),
    ProofStep(
        "logits",
        "the change of a logit is the sum of three terms that vanish with the errors, and of one that the asking token "
        "alone decides, which the softmax does not see (sympy, 2 coordinates)",
        _check_logits,
        general=False,
    ),
    ProofStep(
        "Theorem 3's constants",
        "from Lemmas 4 and 5 the published arguments of the logarithms follow: each half of the budget is met (sympy)",
        _check_theorem3,
    ),
    ProofStep(
        "plans",
        f"for {2 * len(_PLANS)} plans: the density used is that of the items, a group reaches largest/g, and the "
        "failures of both phases of all groups and entries add up to at most delta (40 digits)",
        _check_plans,
        general=False,
    ),
    ProofStep(
        "recursion",
        "the code's error of two blocks with a feed-forward layer and a head is the recursion's (16 cases, 30 digits)",
        _check_recursion,
        general=False,
    ),
)

SOFTMAX = Theorem(
    key="otsuka2025attention.softmax",
    title="no softmax moves by more than 2 tanh(eta/2) in l1 when no logit moves by more than eta",
    statement="Let p and p' be the softmax of logits s and s' with |s'_j - s_j - r| <= eta for all j and some r. Then "
    "|p' - p|_1 <= 2 tanh(eta/2) <= eta, with equality for two tokens. So a mixture of vectors that lie in a ball of "
    "radius R moves by at most 2 R tanh(eta/2), and any coordinate by at most tanh(eta/2) times its range. The paper's "
    "Lemma 5 has sqrt(d_1) alpha (e^(2 eta) - 1) for eta <= 1/2, alpha the largest norm of d_1-dimensional tokens.",
    hypotheses=("eta >= 0",),
    bound_keys=("otsuka2025attention.softmax_change", "otsuka2025attention.lemma5_softmax"),
    status="Ours, sharper than the paper's Lemma 5 by a factor of at least 2 sqrt(d_1). The steps below are checked by "
    "sympy; that the odds of any set of tokens change by a factor of at most e^(2 eta) is argued in words. The claim "
    "tries random logits and the two-sided ones that attain the bound.",
    steps=SOFTMAX_STEPS,
    assumptions=(
        Assumption(
            "odds: the weight of any set of tokens against the others is a ratio of sums of e^(s_j), whose numerator "
            "and denominator each change by a factor in [e^(r - eta), e^(r + eta)]",
            "argued here",
        ),
        Assumption(
            "|p' - p|_1 is twice the largest growth of the weight of a set (of those tokens whose weight grows); as "
            "p' - p sums to 0, vectors may be counted from any centre",
            "any textbook of probability",
        ),
    ),
    claim=SoftmaxClaim(),
)

_ARGUED = (
    Assumption("Lemma 4's width with an unspecified constant C (not needed for our numbers)", "Otsuka et al. 2025"),
    Assumption(
        "merging: a head sees Q and K only through K'Q/sqrt(n_K), and V and O only through O V; a unit that keeps one "
        "weight u of Q (or V) and some weights v of K (or O) adds u v to one column of the merged matrix",
        "argued here; regenerated and checked on every ticket by strongticket.certify",
    ),
    Assumption(
        "an output of attention is a mixture of tokens, so bounds for all kinds of tokens hold for every number of "
        "them, and for any mask of attention that leaves each token some other",
        "argued here",
    ),
    Assumption("|E| <= sqrt(d d') max|E_ij|; relu is 1-Lipschitz with relu(0) = 0", "any textbook of analysis"),
    Assumption("union bound over entries and groups of items", "any textbook of probability"),
)

_LEMMAS = (SOFTMAX, *(t for t in SUBSET_SUM_THEOREMS if t.key == "lueker1998exponentially.explicit"))

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="otsuka2025attention.theorem3",
        title="random multi-head attention contains every multi-head attention of norm <= 1",
        statement="Let a target have H heads with projections of norm <= 1, and let tokens have norm <= alpha, "
        "alpha >= max(sqrt d_1, sqrt d_2). Let Q and K of the source be drawn from U(-n_K^(1/4), n_K^(1/4)), V and O "
        "from U(-1, 1). If n_K >= d_1 C log(8 H alpha^3 d_1^(3/2)/eps) and n_V >= d_1 C log(2 H alpha d_1 sqrt(d_2)/"
        "eps) then with probability at least 1 - eps there are masks with which the source's output is within eps of "
        "the target's at every token, for any number of tokens and any attention mask.",
        hypotheses=(
            "0 < eps < 1",
            "the target's projections have spectral norm <= 1 (for ours: entries of merged matrices in [-1, 1])",
            "tokens have Euclidean norm <= alpha",
            "weights of the source are independent uniforms as stated; no normalisation, no biases",
        ),
        bound_keys=(
            "otsuka2025attention.theorem3_key_width",
            "otsuka2025attention.theorem3_value_width",
            "otsuka2025attention.lemma4_width",
            "otsuka2025attention.head_error",
            "pensia2020optimal.explicit_items",
        ),
        status="The paper leaves C open; its other constants follow from its Lemmas 4 and 5, which sympy checks. With "
        "our explicit count of items (no candidate is dead: both signs of the first factor are usable) and our softmax "
        "lemma the steps below are checked by machine, some on cases only; the rest is in words. The claim runs the "
        "real construction at that count on attention with a residual connection and a linear head on the mean of the "
        "tokens (which is pruned from a random pair as well), and asks for a certificate that outputs are within eps "
        "for every number of tokens. That the search group by group finds what exists is measured, not proved.",
        steps=STEPS,
        lemmas=_LEMMAS,
        assumptions=_ARGUED,
        claim=AttentionClaim(feed=False),
    ),
    Theorem(
        key="otsuka2025attention.theorem11",
        title="a random transformer without normalisation contains every small one",
        statement="For one block of attention and a feed-forward network of L layers, with residual connections, "
        "n_MHA >= d_1 C log(32 alpha^3 H d_1^(3/2)/eps) and n_FC >= d_1 C log(24 alpha L H d_1^(5/2)/eps) suffice for "
        "eps at every token with probability at least 1 - eps. For B blocks (Theorem 14) alpha grows with the block as "
        "alpha (4 H sqrt d_1)^(b-1), and the logarithms are quadratic in B.",
        hypotheses=(
            "0 < eps < 1",
            "the target's projections and layers have spectral norm <= 1 (for ours: entries in [-1, 1])",
            "tokens have Euclidean norm <= alpha",
            "no normalisation, no biases",
        ),
        bound_keys=(
            "otsuka2025attention.theorem11_attention_width",
            "otsuka2025attention.theorem11_feed_width",
            "otsuka2025attention.lemma12_inputs",
            "pensia2020optimal.explicit_items",
        ),
        status="The published widths are stated as in the paper and were not derived again here; its Lemma 12 follows "
        "from our recursion. Our own route: tolerance per entry by our recursion over blocks (network_error: softmax "
        "lemma, residuals, feed-forward layers, head; any number of blocks and any norms), explicit items, the real "
        "construction, and a certificate. "
        "`check --set layers=2` tries two blocks.",
        steps=(
            ProofStep(
                "Lemma 12",
                "for tau <= 2 alpha (as for any tokens of norm <= alpha) our bound of what moved tokens do to a head "
                "is at most the paper's: e^t - 1 >= t and 4 alpha tau >= tau (2 alpha + tau) (sympy)",
                _check_lemma12,
            ),
        ),
        lemmas=_LEMMAS,
        assumptions=(
            *_ARGUED,
            Assumption("the widths of Theorems 11 and 14 (not needed for our numbers)", "Otsuka et al. 2025"),
        ),
        claim=AttentionClaim(feed=True),
    ),
    SOFTMAX,
)
