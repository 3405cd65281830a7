"""Orseau et al. 2020: hyperbolic weights and greedy sums; a logarithm is enough, without solver and norm condition."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import sympy

from strongticket.bounds import orseau2020logarithmic as bounds
from strongticket.bounds._propagation import propagate_error
from strongticket.constructions._greedy import Bins, golden_power
from strongticket.random.hyperbolic import CELLS, HYPERBOLIC8, HYPERBOLIC16, AbstractHyperbolic, thresholds
from theory._orseau_claims import GreedyClaim, GreedyTicketClaim, greedy
from theory._theorem import Assumption, ProofStep, Theorem
from theory.pensia2020optimal import STEPS as PENSIA_STEPS

__all__ = ["THEOREMS"]

_PHI = sympy.GoldenRatio


def _check_induction() -> bool:
    # r = b^-(i-1) - s before bin i, v = (b - 1) b^-i + t its number, s, t >= 0
    b, i = sympy.Symbol("b", positive=True), sympy.Symbol("i", positive=True)
    s, t = sympy.symbols("s t", nonnegative=True)
    left = (b ** (1 - i) - s) - ((b - 1) * b**-i + t)
    taken = sympy.simplify(left - (b**-i - s - t)) == 0
    # the bin is not empty, so that "not taken" means r < v <= b^-i, exactly for b <= 2
    room = sympy.factor(b**-i - (b - 1) * b**-i)
    no_empty_bin = sympy.simplify(room - (2 - b) * b**-i) == 0
    # the same with any falling ends: h_(i-1) - s - (h_(i-1) - h_i + t) = h_i - s - t
    before, after = sympy.symbols("before after", real=True)
    whole = sympy.expand((before - s) - (before - after + t) - (after - s - t)) == 0
    return bool(taken and no_empty_bin and whole)


def _check_golden() -> bool:
    b = sympy.Symbol("b", positive=True)
    # the lower end of bin i is the upper end of bin i + 1 for one base only
    (base,) = sympy.solve(b - 1 - 1 / b, b)
    return bool(sympy.simplify(base - (1 + sympy.sqrt(5)) / 2) == 0 and 1 < base < 2)


def _check_ends() -> bool:
    """All 2^6 ways of putting six numbers at the ends of their bins, 8 bases, 130 weights each, in exact fractions."""
    k = 6
    for numerator in range(1, 9):
        base = 1 + Fraction(numerator, 8)
        tight = False
        for ends in itertools.product((0, 1), repeat=k):
            numbers = [((base - 1) if end == 0 else Fraction(1)) * base**-i for i, end in enumerate(ends, 1)]
            for weight in [Fraction(j, 128) for j in range(129)] + [min(Fraction(1), sum(numbers, Fraction(0)))]:
                left = greedy(weight, numbers)
                if not 0 <= left <= base**-k:
                    return False
                tight |= left == base**-k
        if not tight:  # w = 1 with every number at its lower end
            return False
    return True


def _golden_floor(whole: int, i: int) -> int:
    return int(sympy.floor(whole * sympy.expand((_PHI.rewrite(sympy.sqrt) - 1) ** i)))


def _check_whole_bins() -> bool:
    for whole, i in itertools.product((1, 2, 1000, 2**30 + 7, 2**47 - 1), (1, 2, 3, 8, 19)):
        if golden_power(whole, i) != _golden_floor(whole, i):
            return False
    for largest, ratio in itertools.product((2**24, 2**40 + 1), (1.5, 10, 500, 16000)):
        bins = Bins.golden(largest, int(largest / ratio), 0)
        if bins.count != math.ceil(math.log(ratio) / math.log(bounds.GOLDEN)):
            return False
        for i in range(1, bins.count + 1):
            enough = bins.least(i) >= bins.ends[i - 1] - bins.ends[i]
            apart = i == bins.count or bins.least(i) > bins.ends[i + 1]
            if not (enough and apart and bins.least(i) <= bins.ends[i]):
                return False
    return True


def _check_normalisation() -> bool:
    x, a, b, r, u = sympy.symbols("x alpha beta r u", positive=True)
    mass = sympy.integrate(1 / x, (x, a, b))
    normed = sympy.simplify(sympy.expand_log(mass - (sympy.log(b) - sympy.log(a)))) == 0
    share = sympy.expand_log(sympy.integrate(1 / x, (x, a, r * a)), force=True)
    alike = sympy.simplify(share - sympy.log(r)) == 0  # whatever a is
    # y = u x has density f(y/u)/u = 1/y up to the same constant: hyperbolic again
    scaled = sympy.simplify((1 / x).subs(x, x / u) / u - 1 / x) == 0
    return bool(normed and alike and scaled)


def _chances(law: AbstractHyperbolic) -> tuple[np.ndarray, np.ndarray]:
    """Every magnitude of the law as a whole number, rising, and 2^31 times the probability of all below, exactly."""
    bits = 31 - law.octave_bits
    cells = np.diff(np.array(thresholds(bits), dtype=np.int64))
    values = np.concatenate([(CELLS + np.arange(CELLS, dtype=np.int64)) << j for j in range(law.octaves)])
    return values, np.concatenate([[0], np.cumsum(np.tile(cells, law.octaves))])


_RATIOS = {8: (1.7, 7.0, 30.0, 45.0), 16: (40.0, 300.0, 3000.0, 10000.0)}


def _check_masses() -> bool:
    """For every u in [1/2, 1) of the law, count the v with a product in the bin, for the bins of 16 plans."""
    plans = 0
    for law in (HYPERBOLIC8, HYPERBOLIC16):
        values, below = _chances(law)
        if below[-1] != 2**31 or law.octaves << (31 - law.octave_bits) != 2**31:
            return False
        half = 1 << (law.octaves + 7)
        u = values[values >= half]
        if len(u) != CELLS or below[-1] - below[np.searchsorted(values, half)] != 2**31 // law.octaves:
            return False
        one = 1 << (2 * (8 + law.octaves))
        for ratio, reach in itertools.product(_RATIOS[law.octaves], (0.41, 0.8090)):
            largest = int(one * reach)  # just under phi/2 is the most that |u| >= 1/2 reaches; half of it the least
            bins = Bins.golden(largest, int(largest / ratio), 0)
            if bins.least(bins.count) < one >> law.octaves:
                continue  # finer than the law; the construction refuses it
            plans += 1
            for i in range(1, bins.count + 1):
                first = np.searchsorted(values, -(-bins.least(i) // u), side="left")
                last = np.searchsorted(values, bins.ends[i] // u, side="right")
                hit = (below[last] - below[first]).min()
                # the sign of v halves it
                if not Fraction(int(hit), 2**32) >= Fraction(str(bounds.SHARE)) / law.octaves:
                    return False
    return plans >= 12


def _check_share() -> bool:
    # the mass of [a, phi a] in octaves, less one cell at its lower end, halved by the sign
    exact = (sympy.log(_PHI) - sympy.log(sympy.Rational(257, 256))) / (2 * sympy.log(2))
    # whole numbers: bins end at 2^20/phi or more, and are one unit too short at either end; the frozen table is within
    # 2^-27 of an octave at either end
    ends = sympy.Rational(101, 100) * (1 + _PHI) * _PHI / (2 * sympy.log(2)) / 2**20 + sympy.Rational(1, 2**26)
    room = exact - ends - sympy.Rational(str(bounds.SHARE))
    return bool(room > 0 and room < sympy.Rational(1, 10**4))


def _check_uniform() -> bool:
    """Odd k with |k| < 2^23 in [low, high], low and high whole or not: at least (high - low)/2 - 1/2 of 2^23."""
    for low, width, shift in itertools.product((1, 2, 1000, 2**20), (0, 1, 2, 77, 4096), range(3)):
        start, end = low + Fraction(shift, 3), low + Fraction(shift, 3) + width
        first, last = -(-start.numerator // start.denominator), end.numerator // end.denominator
        count = (last + 1) // 2 - first // 2  # odd numbers in first..last
        if Fraction(count) < (end - start) / 2 - 1:
            return False
        mass = Fraction(count, 2**23)
        bound = bounds.uniform_mass(float((end - start) / 2**23), 1.0)
        if mass < Fraction(bound):
            return False
    return True


_UNIONS = tuple(itertools.product((1, 40, 10**6), (16, 8), (0.1, 1e-6)))


def _check_union() -> bool:
    for needs, octaves, delta in _UNIONS:
        mass = bounds.hyperbolic_mass(octaves)
        count = bounds.items_for_bins([needs, 2 * needs], [mass, mass], delta)
        miss = 1 - sympy.Rational(str(bounds.SHARE)) / octaves
        if not 3 * needs * miss**count <= sympy.Rational(str(delta)) * (1 + sympy.Rational(1, 10**12)):
            return False
        if count > 1 and not 3 * needs * miss ** (count - 1) > sympy.Rational(str(delta)):
            return False
    return True


def _too_slow(columns: int, items: int, usable: float, neurons: int) -> float:
    """P[a sum of the proof's geometric numbers is above `neurons`], by the chain of how many places are filled."""
    chance = np.array([1 - (1 - usable) ** math.ceil((columns * items - k) / items) for k in range(columns * items)])
    filled = np.zeros(columns * items + 1)
    filled[0] = 1.0
    for _ in range(neurons):
        moved = filled[:-1] * chance
        filled[:-1] -= moved
        filled[1:] += moved
    return float(1.0 - filled[-1])


def _check_batch() -> bool:
    p, q, z = sympy.symbols("p q z", positive=True)
    # two halves of one input: 1 - 2p <= (1 - p)^2
    halves = sympy.expand((1 - p) ** 2 - (1 - 2 * p)) == p**2
    # E z^G = q z + (1 - q) z E z^G for a geometric G
    moment = q * z / (1 - (1 - q) * z)
    geometric = sympy.simplify(q * z + (1 - q) * z * moment - moment) == 0
    for columns, items, usable, delta in itertools.product((1, 2, 7), (1, 5, 30), (0.25, 1 / 32), (0.1, 1e-4)):
        neurons = bounds.neurons_for_batch(columns, items, usable, delta)
        if _too_slow(columns, items, usable, neurons) > delta * (1 + 1e-6) + 1e-12:
            return False
    return bool(halves and geometric)


def _check_lipschitz() -> bool:
    a, e, alpha, lam = sympy.symbols("a e alpha lipschitz", real=True)
    for depth in range(1, 6):
        error, size = sympy.Integer(0), alpha
        for i in range(depth):
            grow = lam if i < depth - 1 else 1
            error, size = grow * (a * error + e * (size + error)), grow * a * size
        if sympy.expand(error - alpha * lam ** (depth - 1) * ((a + e) ** depth - a**depth)) != 0:
            return False
    # the code at numbers that floats hold exactly: norms beyond 1, Lipschitz constant 2
    code = propagate_error([2.0 * 3.0, 5.0], [2.0 * 0.5, 0.25], radius=1.0)
    return bool(code == 2.0 * (3.5 * 5.25 - 15.0) and bounds.weight_eps([(1, 1)], 0.25, norms=[100.0]) <= 0.25)


def _shared(name: str) -> ProofStep:
    return next(step for step in PENSIA_STEPS if step.name == name)


GREEDY_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "induction",
        "from at most b^-(i-1), a number taken from bin i leaves at most b^-i; not taken, less than it was left; bins "
        "are not empty for b <= 2; the same for any falling ends (sympy)",
        _check_induction,
    ),
    ProofStep("golden ratio", "the bins tile the line for one base only, b - 1 = 1/b (sympy)", _check_golden),
    ProofStep(
        "both ends",
        "8 bases in (1, 2], six numbers at the ends of their bins in all 64 ways, 130 weights: at most b^-6 is left, "
        "and exactly that for some (exact fractions)",
        _check_ends,
        general=False,
    ),
    ProofStep(
        "whole numbers",
        "the construction's ends are floor(w phi^-i) (25 cases against sympy), as many as the formula says, and its "
        "bins are disjoint and inside those of the lemma (8 plans)",
        _check_whole_bins,
        general=False,
    ),
)

LAW_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "hyperbolic law",
        "1/x on [alpha, beta] has mass ln(beta/alpha); [x, r x] has mass ln r wherever it lies; u x is hyperbolic for "
        "any factor u (sympy)",
        _check_normalisation,
    ),
    ProofStep(
        "share of a bin",
        "SHARE = .3443 is below (log2 phi - log2(1 + 2^-8))/2, with room for ends in whole numbers and the rounding of "
        "the frozen table (sympy)",
        _check_share,
    ),
    ProofStep(
        "bins of the laws on the grid",
        "every product u v, u any of the 256 values in [1/2, 1), hits a bin with one sign with probability at least "
        "SHARE/E: exact counts over all v, for the bins of up to 16 plans, 8 and 16 octaves",
        _check_masses,
        general=False,
    ),
)

COMMON_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "union bound",
        f"sum of needs (1 - p)^n <= delta at the number of items given, not at one less ({len(_UNIONS)} cases, exact "
        "fractions, delta to 12 digits)",
        _check_union,
        general=False,
    ),
    ProofStep(
        "batch assignment",
        "1 - 2p <= (1 - p)^2 and the moments of geometric numbers (sympy); the number of neurons fills all places with "
        "probability 1 - delta in 36 cases (the chain of places, floating point)",
        _check_batch,
        general=False,
    ),
    ProofStep(
        "layer errors",
        "the recursion with a Lipschitz constant has the closed form alpha lambda^(L-1) ((a + e)^L - a^L), for any "
        "norm a (sympy, 1 to 5 layers)",
        _check_lipschitz,
        general=False,
    ),
    _shared("gadget"),
    _shared("entries to norm"),
)

UNIFORM_STEPS: tuple[ProofStep, ...] = (
    ProofStep(
        "uniform bins",
        "a bin of width w has, with one sign, probability at least w/2 - 2^-22 on the grid of uniform weights (exact "
        "fractions, 60 cases)",
        _check_uniform,
        general=False,
    ),
)

_ASSUMPTIONS = (
    Assumption(
        "given the first layer and the assignment made from it alone, second-layer weights are independent and have "
        "their law; a bin of one weight stays empty with probability (1 - p)^n at most; union bound",
        "any textbook of probability; argued here",
    ),
    Assumption(
        "a neuron finds an open column with probability at least 1 - (1 - p)^s, whatever happened before, as its "
        "weights are fresh; so the number of neurons is stochastically at most a sum of independent geometric numbers, "
        "and Chernoff's inequality bounds that",
        "argued here",
    ),
    Assumption("|A x| <= |A| |x|; relu is 1-Lipschitz with relu(0) = 0", "any textbook of analysis"),
)

GREEDY = Theorem(
    key="orseau2020logarithmic.greedy",
    title="one number in each geometric bin is enough: the golden-ratio decomposition",
    statement="Let 1 < b <= 2 and let v_i lie in [(b - 1) b^-i, b^-i], i = 1..k. For every w in [0, 1], the rule "
    "'r = w; for i = 1..k: if v_i <= r, take it, r = r - v_i' ends with 0 <= r <= b^-k. For b = phi, the golden ratio, "
    "the bins are (phi^-(i+1), phi^-i] and tile the line: k = ceil(log_phi(1/eps)) of them are enough for eps.",
    hypotheses=("1 < b <= 2", "one number in each of the k bins", "0 <= w <= 1"),
    bound_keys=("orseau2020logarithmic.greedy_error", "orseau2020logarithmic.bins"),
    status="The golden-ratio decomposition is the paper's; statement for any base, whole numbers and proof are derived "
    "here, and checked by machine. The bound is attained, so any better one is falsified at once.",
    steps=GREEDY_STEPS,
    claim=GreedyClaim(),
)

THEOREMS: tuple[Theorem, ...] = (
    GREEDY,
    Theorem(
        key="orseau2020logarithmic.hyperbolic",
        title="a random network of hyperbolic weights contains every network, of any norms, by greedy sums",
        statement="Let f be a ReLU network of L layers with weights and biases |w| <= w_max, its norms being any. Let "
        "g be a random ReLU network of 2L layers whose weights are hyperbolic: magnitudes of density 1/x on "
        "[2^-E, 1), random sign, those of even layers times a power of two between 1.24 w_max and 2.48 w_max. If each "
        "layer pair has as many neurons as give every half-input n of its own with |u| >= 1/2 "
        "(`bounds.neurons_for_batch`), n = ceil(ln(B/delta) / -ln(1 - .3443/E)), B the bins to fill over all weights, "
        "at most k = ceil(log_phi(w_max/eps_w)) each, then with probability at least 1 - delta (and that of the "
        "assignment) every weight of f is a sum of at most k products u v within eps_w, found by the greedy rule. So "
        "n = O(log(k N/delta) log(w_max/eps_w)) neurons per input, N the weights, without a solver. If eps_w solves "
        "the layer recursion for eps, the ticket is within eps of f on the domain.",
        hypotheses=(
            "eps > 0, 0 < delta < 1; no condition on the norms of f",
            "E octaves with 2^-E w_max 2.48 <= eps_w / phi, about: E = 8 to w_max/eps_w = 40, E = 16 to 10^4",
            "inputs inside the domain of the recursion: the unit ball, or a larger one",
            "weights of the source are independent, of one hyperbolic law up to scale",
        ),
        bound_keys=(
            "orseau2020logarithmic.hyperbolic_items",
            "orseau2020logarithmic.bins",
            "orseau2020logarithmic.network_error",
        ),
        status="The paper's ingredients (1/|w| sampling, golden-ratio bins, shared random neurons among which masks "
        "choose) with constants of our own: its number of intermediate neurons and its error per weight are not "
        "used. Differences, all ours: a hidden neuron serves one input for all outputs at once, where the paper's "
        "serve single weights; u is known when v is drawn, so that v alone must hit the bin and no base other than phi "
        "is needed for products; the law is on a grid of 9 significant bits, whose bins are counted exactly. Built and "
        "certified for ReLU; the recursion takes any Lipschitz activation with value 0 at 0. The claim runs the real "
        "construction for the target at hand, and counts a trial as a success only if the ticket's regenerated weights "
        "meet the target's and a certificate proves its outputs within eps.",
        steps=LAW_STEPS + COMMON_STEPS,
        lemmas=(GREEDY,),
        assumptions=(
            *_ASSUMPTIONS,
            Assumption(
                "bins beyond the plans counted: the values v with lo <= u v <= hi are a run of cells that covers "
                "[lo/u, hi/u] but for less than one cell at its lower end, of log2(1 + 2^-8) octaves at most",
                "argued here; cell probabilities are those of the frozen table",
            ),
            Assumption(
                "the theorem for activations other than ReLU in the target: the layers before them are linear maps, "
                "as here, and errors grow by the Lipschitz constant",
                "Orseau et al. 2020; only the recursion is checked here",
            ),
        ),
        claim=GreedyTicketClaim(),
    ),
    Theorem(
        key="orseau2020logarithmic.uniform",
        title="the same with uniform weights, at a cost of about 1/eps",
        statement="With weights U(-1, 1) instead (even layers times the same power of two s), bin i has, with one sign "
        "and any |u| <= 1, probability at least width_i/(2 s): the least one eps_w / (2 phi^3 s). So "
        "n = ceil(ln(B/delta) 2 phi^3 s / eps_w), to leading order, products per input are enough: about "
        "phi^3 s log2(phi) / (E eps_w) times as many as hyperbolic weights need.",
        hypotheses=("as for hyperbolic weights", "eps_w > 2^-18 s"),
        bound_keys=("orseau2020logarithmic.uniform_items", "orseau2020logarithmic.uniform_cost"),
        status="A corollary derived by strongticket; that uniform weights are possible at some cost is also said "
        "by the paper. The construction adds up the probabilities of all bins instead of using the least for each.",
        steps=UNIFORM_STEPS + COMMON_STEPS,
        lemmas=(GREEDY,),
        assumptions=_ASSUMPTIONS,
        claim=GreedyTicketClaim(weights="uniform", sizes="2-2-1", norm=1.0),
    ),
)
