"""Kumar & Natale 2025: random networks of few bits contain quantised networks, exactly, and what that takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import sympy

from strongticket import bounds
from strongticket.bounds.kumar2025quantized import (
    exact_items,
    expected_solutions,
    failure_predicted,
    neurons_to_fill,
    phase_one,
    phase_two,
    transition_items,
)
from theory._kumar_claims import (
    CountingClaim,
    ExactTicketClaim,
    FirstMomentClaim,
    IntegersClaim,
    SolvableClaim,
    subset_sums,
)
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS"]


def _check_growth() -> bool:
    """E |(C + {0, X}) in [-c, c]| >= |C| (1 + q (1 - |C|/(2c + 1))) and <= 2 |C|, for all sets C, exactly."""
    for largest in range(2, 10):
        c = largest // 2
        share = Fraction(2 * c + 1, 2 * largest)  # q
        places = range(-c, c + 1)
        steps = [x for x in range(-largest, largest + 1) if x]
        for size in range(1, 2 * c + 2):
            for chosen in itertools.combinations(places, size):
                covered = set(chosen)
                grown = [len(covered | {y + x for y in covered if abs(y + x) <= c}) for x in steps]
                v = Fraction(size, 2 * c + 1)
                if Fraction(sum(grown), len(steps)) < size * (1 + share * (1 - v)) or max(grown) > 2 * size:
                    return False
    return True


def _check_convexity() -> bool:
    r, s = sympy.symbols("r s", positive=True)
    chord = 1 - (r - 1) * (1 - 2 ** (-s))
    ends = sympy.simplify(r ** (-s) - chord).subs(r, 1) == 0 and sympy.simplify((r ** (-s) - chord).subs(r, 2)) == 0
    convex = sympy.simplify(sympy.diff(r ** (-s), r, 2) - s * (s + 1) * r ** (-s - 2)) == 0
    return bool(ends and convex)


_PLANS = tuple(itertools.product((2, 3, 8, 16, 127, 1024, 2**20), (0.5, 1e-2, 1e-9)))


def _check_plans() -> bool:
    """For the numbers that exact_items really gives, add up what can go wrong, in 40 digits."""
    formula = bounds.get("kumar2025quantized.explicit_items")
    for largest, delta in _PLANS:
        plan = exact_items(largest, delta)
        v = {name: sympy.Float(value, 40) for name, value in plan.values.items()}
        c, theta, s = v["c"], v["theta"], v["s"]
        q, size = (2 * c + 1) / (2 * v["M"]), 2 * c + 1
        if formula(**plan.values) != plan.items or 2 * c > v["M"]:
            return False
        first = sympy.ceiling(sympy.Max(0, phase_one(sympy.log, c, q, v["delta_1"], theta, s)))
        second = plan.items
        lost = sympy.Float(0)
        if theta * size > 1:
            second = plan.items - first
            lost = (theta * size) ** s * (1 - q * (1 - theta) * (1 - 2 ** (-s))) ** first
        # Markov: the mean number of integers left over is at least the probability that one is
        lost += size * (1 - theta) * (1 - q * theta) ** second
        if not lost <= v["delta"] * (1 + sympy.Float("1e-12")) or phase_two(sympy.log, c, q, delta, theta) > second:
            return False
    return True


def _check_digits() -> bool:
    for largest in (2, 4, 8, 16, 32):
        half = largest // 2
        sums = {largest * a + b for a in range(-half, half + 1) for b in range(-half, half + 1)}
        if not set(range(-(largest**2) // 2, largest**2 // 2 + 1)) <= sums:
            return False
    return True


def _check_gadget() -> bool:
    integers = [x for x in range(-4, 5) if x]
    for u, v, x in itertools.product(integers, integers, range(-3, 4)):
        served = (u > 0) == (x > 0)
        if v * max(0, u * x) != (u * v * x if served else 0):
            return False
    return True


def _check_reset() -> bool:
    """Equal reals, as integers of different units, are cut to equal multiples of gamma."""
    for x, unit, factor, gamma in itertools.product(range(-40, 41), (3, 5, 8), (1, 2, 16), (0, 1, 3)):
        cut = [math.floor(Fraction(x * f, unit * f) * 2**gamma) for f in (1, factor)]
        parts = [((y // u) << gamma) + (((y % u) << gamma) // u) for y, u in ((x, unit), (x * factor, unit * factor))]
        if cut != parts or parts[0] != parts[1]:
            return False
    return True


def _check_filling() -> bool:
    h, t, k = sympy.symbols("h t k", positive=True)
    ratio = (1 - h) * sympy.exp(t)
    # sum_{k >= 1} h (1 - h)^(k - 1) e^(t k) = h e^t / (1 - ratio), by (1 - ratio) sum ratio^(k - 1) = 1
    partial = (1 - ratio**k) / (1 - ratio)
    telescopes = sympy.simplify(partial.subs(k, k + 1) - partial - ratio**k) == 0
    # P(T > W) <= E e^(t T) / e^(t W) <= delta at the width returned, for some t of the grid, from the formula itself
    for inputs, places, chance, delta in ((1, 4, 0.25, 1e-3), (7, 3, 1 / 16, 1e-6), (64, 20, 1 / 32, 0.01)):
        width = neurons_to_fill(inputs, places, chance, delta)
        hits = [1 - (1 - chance) ** j for j in range(1, inputs + 1)]
        tails = []
        for i in range(1, 400):
            e = (1 / (1 - chance)) ** (i / 400)
            log_moment = places * sum(math.log(hit * e / (1 - (1 - hit) * e)) for hit in hits)
            tails.append(log_moment - width * math.log(e))
        if min(tails) > math.log(delta) + 0.05:  # another grid of t than the function's
            return False
    return bool(telescopes)


def _check_hoeffding() -> bool:
    n, largest = sympy.symbols("n M", positive=True)
    limit = sympy.sqrt(sympy.Rational(2, 7)) * largest * sympy.sqrt(n * sympy.log(n))
    exponent = -2 * limit**2 / (n * (2 * largest) ** 2)
    term = bounds.get("kumar2025quantized.lemma4_term").expression.subs(sympy.Symbol("n", real=True), n)
    least = sympy.simplify(exponent + sympy.log(n) / 7) == 0
    return bool(least and sympy.simplify(sympy.log(term / 2) + sympy.log(n) / 7) == 0)


def _check_useless() -> bool:
    n, many = sympy.symbols("n N", positive=True)
    return bool(sympy.solve(sympy.Eq(many * 2 * n ** sympy.Rational(-1, 7), 1), n) == [128 * many**7])


def _check_primes() -> bool:
    for largest in (2, 4, 8, 16, 32, 64):
        products = {i * j for i in range(1, largest + 1) for j in range(1, largest + 1)}
        primes = list(sympy.primerange(largest + 1, largest**2 + 1))
        if not primes or products & set(primes) or len(products) >= largest**2:
            return False
    return True


def _check_parity() -> bool:
    for largest in (2, 4, 8, 16):
        pairs = [(i, j) for i in range(1, largest + 1) for j in range(1, largest + 1)]
        even = sum(i * j % 2 == 0 for i, j in pairs)
        odd_first = [i * j % 2 for i, j in pairs if i % 2]
        if Fraction(even, len(pairs)) != Fraction(3, 4) or 2 * sum(odd_first) != len(odd_first):
            return False
    return True


def _check_first_moment() -> bool:
    for n, largest in itertools.product((1, 2, 3), (1, 2, 3)):
        numbers = [x for x in range(-largest, largest + 1) if x]
        for target in range(-n * largest - 1, n * largest + 2):
            found = 0
            for items in itertools.product(numbers, repeat=n):
                picks = itertools.product((0, 1), repeat=n)
                found += sum(sum(p * x for p, x in zip(pick, items, strict=True)) == target for pick in picks)
            if Fraction(found, len(numbers) ** n) != expected_solutions(n, target, largest):
                return False
    return True


def _check_mean_square() -> bool:
    largest, x = sympy.Symbol("M", positive=True), sympy.Symbol("x", integer=True, positive=True)
    mean = 2 * sympy.summation(x**2, (x, 1, largest)) / (2 * largest)
    return bool(sympy.simplify(mean - (largest + 1) * (2 * largest + 1) / 6) == 0)


def _check_transition() -> bool:
    n, bits = sympy.Symbol("n", positive=True), sympy.Symbol("bits", real=True)
    real = sympy.Symbol("n", real=True)
    critical = bounds.get("kumar2025quantized.transition_bits").expression.subs(real, n)
    log_rate = n - sympy.log(2 * sympy.pi * n / 12, 2) / 2 - bits  # s^2 = n v / 4, v = M^2 / 3, M = 2^bits
    same = sympy.simplify(sympy.expand_log(log_rate.subs(bits, critical), force=True)) == 0
    rate = bounds.get("kumar2025quantized.solutions_predicted")
    kappa = bounds.get("borgs2001phase.transition").expression.subs(real, n) * n
    partition = sympy.simplify(sympy.expand_log(kappa - critical, force=True)) == 0
    near = all(abs(rate(n=round(transition_items(m)), M=m) - 1) < 0.5 for m in (127, 2047, 2**20))
    return bool(same and partition and near and failure_predicted(12, 0, 127) == 0)


def _check_counting() -> bool:
    needed = bounds.get("kumar2025quantized.theorem3_parameters")
    for bits, d in itertools.product((1, 2, 4, 8), (1, 2, 3)):
        values = (2 * 2**bits + 1) ** (d * d)
        least = math.ceil(needed(d=d, spacing=2.0**-bits, p=1))
        if not 2 ** (least - 1) < values <= 2**least:
            return False
    return True


def _check_members() -> bool:
    """Each subset has one sum, so subsets of m items serve 2^m targets at most; powers of two serve just as many."""
    for items in itertools.product((-3, -1, 1, 2, 3), repeat=3):
        if subset_sums(items)[0].bit_count() > 8:
            return False
    return subset_sums([1, 2, 4, 8])[0].bit_count() == 16


def _step(name: str, statement: str, check: object, *, general: bool = True) -> ProofStep:
    assert callable(check)
    return ProofStep(name, statement, check, general)


INTEGER_STEPS: Sequence[ProofStep] = (
    _step(
        "growth",
        "with X uniform on -M..M without 0 and 2c <= M, a set C of covered integers in [-c, c] grows to at least "
        "|C| (1 + q (1 - v)) in the mean, q = (2c + 1)/(2M), v = |C|/(2c + 1), and at most doubles (all sets, M <= 9, "
        "exact fractions)",
        _check_growth,
        general=False,
    ),
    _step("convexity", "r^-s <= 1 - (r - 1)(1 - 2^-s) on [1, 2]: a convex function and its chord", _check_convexity),
    _step(
        "plans",
        "the numbers that exact_items gives (21 cases, 40 digits): what phase one and phase two leave over is at most "
        "delta, and the bound's formula gives the same number",
        _check_plans,
        general=False,
    ),
)

TICKET_STEPS: Sequence[ProofStep] = (
    _step(
        "gadget",
        "v relu(u x) = u v x where u and x have one sign, else 0 (integers up to 4)",
        _check_gadget,
        general=False,
    ),
    _step(
        "digits",
        "every integer |t| <= M^2/2 is M a + b with |a|, |b| <= M/2 (M = 2, 4, ..., 32)",
        _check_digits,
        general=False,
    ),
    _step(
        "filling",
        "the moment of a geometric number (telescoping, sympy); at the widths of neurons_to_fill Chernoff's bound is "
        "at most delta (3 cases)",
        _check_filling,
        general=False,
    ),
    _step(
        "reset",
        "cutting to multiples of 2^-g by integer division maps equal numbers, in different units, to equal numbers "
        "(2,187 cases, exact fractions)",
        _check_reset,
        general=False,
    ),
    _step(
        "caveat: primes",
        "products of two integers up to M are never a prime above M, and fewer than M^2 numbers are products: they do "
        "not contain a uniform law on the multiples of delta^2 (M = 2, 4, ..., 64)",
        _check_primes,
        general=False,
    ),
    _step(
        "caveat: parity",
        "for even M, i j is even with probability 3/4, and with 1/2 where i is odd (M = 2, 4, 8, 16): all n live "
        "candidates of a block are even with probability (3/4)^n, and then no odd multiple of delta^2 is met",
        _check_parity,
        general=False,
    ),
)

LEMMA_STEPS: Sequence[ProofStep] = (
    _step(
        "caveat: Hoeffding",
        "for n independent items in [-M, M], P(|sum| >= sqrt(2/7) M sqrt(n ln n)) <= 2 n^(-1/7) by Hoeffding's "
        "inequality (sympy)",
        _check_hoeffding,
    ),
    _step("caveat: union", "N 2 n^(-1/7) = 1 at n = (2N)^7 (sympy)", _check_useless),
    _step("mean square", "E[x^2] = (M + 1)(2M + 1)/6 on -M..M without 0 (sympy)", _check_mean_square),
    _step(
        "transition",
        "the mean number of subsets 2^n / (s sqrt(2 pi)) is 1 at log2 M = n - log2(pi n/6)/2, for v = M^2/3 (sympy); "
        "that is kappa_c n of the partition problem",
        _check_transition,
    ),
)

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="kumar2025quantized.integers",
        title="some n items make every integer up to M/2, with an explicit n",
        statement="Let X_1, ..., X_n be independent and uniform on -M..M without 0, and 2c <= M. With n = n_1 + n_2 of "
        "kumar2025quantized.explicit_items, with probability at least 1 - delta every integer |t| <= c is exactly a "
        "subset sum.",
        hypotheses=("M >= 2, 2c <= M", "0 < delta < 1", "items independent, uniform on -M..M without 0"),
        bound_keys=("kumar2025quantized.explicit_items",),
        status="Derived by strongticket; an explicit form of the paper's Lemma 4 for |t| <= M/2, with a failure "
        "probability that falls exponentially in n, so that a union bound over the weights of a network says "
        "something. The two phases are those of lueker1998exponentially.explicit, for integers; all steps are checked, "
        "two of them on cases. The claim computes all subset sums: nothing is left undecided.",
        steps=tuple(INTEGER_STEPS),
        assumptions=(
            Assumption(
                "growth in general: for an uncovered z in [-c, c] and a covered y, z - y is a possible item, as it is "
                "not 0 and |z - y| <= 2c <= M; so P(z becomes covered) is at least |C|/(2M). Sum over z",
                "argued here",
            ),
            Assumption("Markov's inequality and conditional expectation", "any textbook of probability"),
        ),
        claim=IntegersClaim(),
    ),
    Theorem(
        key="kumar2025quantized.theorem1",
        title="a random network of few bits contains a ticket that equals each quantised network",
        statement="Targets: networks of L layers with weights on a grid of spacing delta_t in [-1, 1]. Source: 2L "
        "layers with weights uniform on a grid of spacing delta_in, delta_in^2 <= delta^2 <= delta_t. Reduced to "
        "precision delta, and with the outputs of each layer (each second one of the source) reset to a precision "
        "gamma, a source of width O(d log2(1/delta)) contains, with high probability, a mask whose network equals the "
        "target exactly. Theorem 2: L + 1 layers, at the price of another factor log2(1/delta).",
        hypotheses=(
            "weights of the target are multiples of delta_t in [-1, 1]; for our count, in [-1/2, 1/2]",
            "weights of the source are independent and uniform on the nonzero multiples of delta in [-1, 1]",
            "delta^2 <= delta_t",
            "for our count: delta = 2^-k",
        ),
        bound_keys=(
            "kumar2025quantized.theorem1_items",
            "kumar2025quantized.theorem2_items",
            "kumar2025quantized.explicit_items",
        ),
        status="As published (read in later summaries, not in the proof's details) the theorem has two gaps, which the "
        "steps here show. (a) Lemma 4's proof leaves a failure term 2 n^(-1/7) for each weight, so that a union bound "
        "over N weights is empty unless n > (2N)^7: see kumar2025quantized.lemma4. (b) Products of two numbers of the "
        "grid are taken to contain the uniform law on the multiples of delta^2; in units of delta^2 they are i j with "
        "|i|, |j| <= 1/delta, so a prime above 1/delta never occurs, and the step does not hold literally. (We add: "
        "for even 1/delta all n are even with probability (3/4)^n, so odd targets fail at least as often, far above "
        "the prediction; the construction's default takes odd i.) What is "
        "built is therefore our own route to the same conclusion, and the claim tries that: half of the candidates of "
        "a weight have the incoming weight 1 and half delta, w = delta a + delta^2 b, two sums of *uniform* integers, "
        "each by kumar2025quantized.integers; the mask chooses which neuron serves which input, and neurons_to_fill "
        "counts how many are needed. The candidates per weight are O(log2(1/delta) + log(N/failure probability)); the "
        "neurons are that many for each input, and O((1/delta) log(1/delta)) times as many where inputs are fewer than "
        "1/delta. "
        "Drawing the source at precision delta makes its reduction needless (it would change frozen weights), and "
        "no output has to be reset, as both networks hold equal integers; with a reset they stay equal (step "
        "'reset', and the claim tries both). Theorem 2 (L + 1 layers) is quoted, not built.",
        steps=tuple(TICKET_STEPS),
        assumptions=(
            Assumption("the width O(d log2(1/delta)) with an open constant", "Kumar and Natale 2025, Theorems 1 and 2"),
            Assumption(
                "union bound: each weight fails with at most the sum of its two digits' probabilities, and given the "
                "first layer the second layer's weights are independent and uniform",
                "argued here",
            ),
            Assumption(
                "filling: at r open places at least ceil(r / places) inputs are open, so the number of neurons read is "
                "at most a sum of independent geometric numbers; halves of one input exclude each other, which only "
                "helps",
                "argued here",
            ),
        ),
        claim=ExactTicketClaim(),
    ),
    Theorem(
        key="kumar2025quantized.lemma4",
        title="the threshold of exact solvability is n = log2 M + log2(n)/2, up to a constant",
        statement="n integers uniform on -M..M without 0, a target t = O(M). If lim log2(M)/n < 1, some subset has "
        "exactly the sum t with probability tending to 1. Sharper, and without proof: the probability that none has is "
        "E exp(-lambda exp(-(G - t/s)^2/2)), G standard normal, lambda = 2^n/(s sqrt(2 pi)), "
        "s^2 = n (M + 1)(2M + 1)/24; lambda = 1 at n = log2 M + log2(pi n/6)/2 for large M.",
        hypotheses=("items independent, uniform on -M..M without 0", "t = O(M)"),
        bound_keys=(
            "kumar2025quantized.transition_bits",
            "kumar2025quantized.solutions_predicted",
            "kumar2025quantized.lemma4_term",
        ),
        status="The limit is the paper's, after Borgs et al. 2001; its proof requires |sum| < sqrt(2/7) M "
        "sqrt(n log n), which by Hoeffding's inequality fails with probability at most 2 n^(-1/7) (checked here): "
        "right in the limit, empty for the many weights of a network. The formula is a prediction by strongticket, "
        "measured within 5 % from one item below the transition to three above it, for M >= 127 and |t| <= M/2; that "
        "is what the claim holds it to. Far above the transition failures are rarer than predicted near t = 0, and "
        "more frequent near |t| = M. (experiments/quantized_threshold.py.)",
        steps=tuple(LEMMA_STEPS),
        assumptions=(
            Assumption("the limit", "Kumar and Natale 2025, Lemma 4; Borgs, Chayes and Pittel 2001"),
            Assumption("given the items, the number of hits is Poisson and their sums are Gaussian", "not proved"),
        ),
        claim=SolvableClaim(),
    ),
    Theorem(
        key="kumar2025quantized.first_moment",
        title="below the threshold targets are unsolvable: a bound without prediction",
        statement="P(some subset of n integers uniform on -M..M without 0 sums to t) is at most the mean number of "
        "such subsets, the coefficient of z^t in ((2M + sum_{0 < |x| <= M} z^x) / (2M))^n.",
        hypotheses=("items independent, uniform on -M..M without 0", "t is not 0: the empty subset has the sum 0"),
        bound_keys=("kumar2025quantized.solutions_predicted",),
        status="Derived by strongticket: Markov's inequality, with the exact mean (expected_solutions).",
        steps=(
            _step(
                "mean number",
                "the coefficient is the mean number of subsets (all items and subsets, n <= 3, M <= 3)",
                _check_first_moment,
                general=False,
            ),
        ),
        assumptions=(Assumption("Markov's inequality", "any textbook of probability"),),
        claim=FirstMomentClaim(),
    ),
    Theorem(
        key="kumar2025quantized.theorem3",
        title="a logarithmic factor in the precision is necessary",
        statement="If a random source (any architecture, any law) contains, for each d x d matrix with entries on a "
        "grid of spacing delta in [-1, 1], with probability at least p a subnetwork equal to it, then it has at least "
        "d^2 log2(2/delta + 1) + log2 p parameters; with two layers, a width of at least 1/(2d) of that.",
        hypotheses=(
            "1/delta is an integer",
            "all matrices on the grid are targets",
            "each is met with probability >= p",
        ),
        bound_keys=("kumar2025quantized.theorem3_parameters", "kumar2025quantized.theorem3_width"),
        status="The paper states the order, Omega(d^2 log2(1/delta)) parameters and width Omega(d log2(1/delta)); the "
        "exact form is ours. The claim tries the counting argument with fewer parameters; powers of two attain it, so "
        "the bound is tight up to the range.",
        steps=(
            _step(
                "counting",
                "the least whole m at p = 1 is the least with 2^m >= (2/delta + 1)^(d^2) (12 cases, exact integers)",
                _check_counting,
                general=False,
            ),
            _step(
                "members",
                "subsets of m items have at most 2^m sums, and powers of two as many (125 and 1 cases)",
                _check_members,
                general=False,
            ),
        ),
        assumptions=(
            Assumption(
                "a subnetwork equals one matrix at most, so the probabilities of all matrices add up to at most the "
                "number 2^m of subnetworks",
                "the paper's proof; argued here",
            ),
        ),
        claim=CountingClaim(),
    ),
)
