"""Kumar & Natale 2025, "Quantization vs pruning: insights from the strong lottery ticket hypothesis".

Weights on a grid of spacing 1/M, M = 2^k: a ticket can *equal* its target. In units of the grid everything is integer:
items are uniform on -M..M without 0, and a target is met exactly or not at all.

- `theorem1_items`, `theorem2_items`: the published orders; the constants are left open by the paper.
- `theorem3_parameters`, `theorem3_width`: the counting lower bound, in the exact form. **Derived by strongticket.**
- `lemma4_term`: the failure probability that the paper's Hoeffding step leaves over; derived from the step.
- `explicit_items`: an explicit number of items such that *all* integers |t| <= c are subset sums. **Ours.**
- `neurons_to_fill`: how wide a random layer must be so that each input gets its neurons. **Ours.**
- `transition_bits`, `failure_predicted`: the sharp threshold, predictions without proof. **Ours.**
- `expected_solutions`: the exact mean number of subsets with a sum; by Markov a floor under every failure. **Ours.**
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = [
    "BOUNDS",
    "ExactItems",
    "exact_items",
    "expected_solutions",
    "failure_predicted",
    "items_predicted",
    "neurons_to_fill",
    "transition_items",
]

_MOST_ITEMS = 1 << 20
_GAUSS = np.linspace(-14.0, 14.0, 5601)  # as in the other predictions: the trapezoid rule is exact to rounding


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any, text: str = "a count", least: int = 1) -> Hypothesis:
    import sympy

    name = f"{symbol.name} integer >= {least}"
    return Hypothesis(name, sympy.And(symbol >= least, sympy.Eq(sympy.floor(symbol), symbol)), text)


def _spacing(symbol: Any) -> Hypothesis:
    import sympy

    return Hypothesis("0 < spacing <= 1/2", sympy.And(symbol > 0, 2 * symbol <= 1), "distance of neighbouring weights")


def phase_one(log: Callable[[Any], Any], c: Any, q: Any, delta_1: Any, theta: Any, s: Any) -> Any:
    """Items after which a share theta of all |t| <= c is met, but for a probability delta_1 (a real)."""
    growth = 1 - q * (1 - theta) * (1 - 2 ** (-s))
    return (log(1 / delta_1) + s * log(theta * (2 * c + 1))) / -log(growth)


def phase_two(log: Callable[[Any], Any], c: Any, q: Any, delta_2: Any, theta: Any) -> Any:
    """Further items after which no integer is left, but for a probability delta_2 (a real)."""
    return (log(1 / delta_2) + log((1 - theta) * (2 * c + 1))) / -log(1 - q * theta)


def _theorem_items(power: int) -> Callable[[], Formula]:
    def build() -> Formula:
        import sympy

        C, spacing = _symbols("C spacing")
        return Formula(
            C * (sympy.log(1 / spacing) / sympy.log(2)) ** power,
            (_spacing(spacing), Hypothesis("C > 0", C > 0, "universal constant, not given by the paper")),
            frozenset({"C"}),
        )

    return build


def _theorem3_parameters() -> Formula:
    import sympy

    d, spacing, p = _symbols("d spacing p")
    return Formula(
        (d**2 * sympy.log(2 / spacing + 1) + sympy.log(p)) / sympy.log(2),
        (
            _count(d, "the targets are all d x d matrices on the grid, entries in [-1, 1]"),
            _spacing(spacing),
            Hypothesis("0 < p <= 1", sympy.And(p > 0, p <= 1), "probability with which each target is met"),
        ),
    )


def _theorem3_width() -> Formula:
    parameters = _theorem3_parameters()
    (d,) = _symbols("d")
    return Formula(parameters.expression / (2 * d), parameters.hypotheses)


def _lemma4_term() -> Formula:
    import sympy

    (n,) = _symbols("n")
    return Formula(2 * n ** sympy.Rational(-1, 7), (_count(n, "number of items", 2),))


def _explicit_items() -> Formula:
    import sympy

    M, c, delta, delta_1, theta, s = _symbols("M c delta delta_1 theta s")
    q = (2 * c + 1) / (2 * M)
    first = sympy.ceiling(sympy.Max(0, phase_one(sympy.log, c, q, delta_1, theta, s)))
    second = sympy.ceiling(sympy.Max(0, phase_two(sympy.log, c, q, delta - delta_1, theta)))
    return Formula(
        sympy.Piecewise((0, theta * (2 * c + 1) <= 1), (first, True)) + second,
        (
            _count(M, "items are uniform on -M..M without 0"),
            _count(c, "all integers |t| <= c are to be met"),
            Hypothesis("2 c <= M", 2 * c <= M, "differences of two targets must be possible items"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
            Hypothesis("0 < delta_1 < delta", sympy.And(delta_1 > 0, delta_1 < delta), "share of the first phase"),
            Hypothesis("0 < theta < 1", sympy.And(theta > 0, theta < 1), "free: where the phases meet"),
            Hypothesis("s > 0", s > 0, "free: exponent of the supermartingale"),
        ),
    )


def _log_rate(n: Any, M: Any) -> Any:
    """log2 of the mean number of subsets with a sum near the middle of all sums: 2^n / sqrt(2 pi n v / 4)."""
    import sympy

    return n - sympy.log(2 * sympy.pi * n * (M + 1) * (2 * M + 1) / 24) / (2 * sympy.log(2))


def _transition_bits() -> Formula:
    import sympy

    (n,) = _symbols("n")
    return Formula(n - sympy.log(sympy.pi * n / 6) / (2 * sympy.log(2)), (_count(n, "number of items", 2),))


def _rate() -> Formula:
    n, M = _symbols("n M")
    hypotheses = (_count(n, "number of items", 2), _count(M, "items are uniform on -M..M without 0"))
    return Formula(2 ** _log_rate(n, M), hypotheses)


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "kumar2025quantized.theorem1_items",
        "items per weight in the source of 2L layers, so width d times as many, whose tickets equal the targets on a "
        "grid of this spacing",
        Relation.UPPER,
        _theorem_items(1),
        "Theorem 1; the constant is not given. Its proof has a gap, see theory/kumar2025quantized.py",
    ),
    Bound(
        "kumar2025quantized.theorem2_items",
        "items per weight in the source of L + 1 layers, so width d times as many, whose tickets equal the targets on "
        "a grid of this spacing",
        Relation.UPPER,
        _theorem_items(2),
        "Theorem 2: an extra factor log2(1/spacing); the constant is not given",
    ),
    Bound(
        "kumar2025quantized.theorem3_parameters",
        "parameters of any source that contains, for each d x d matrix on the grid, a ticket equal to it with "
        "probability p",
        Relation.LOWER,
        _theorem3_parameters,
        "strongticket: the counting of Theorem 3 in exact form, 2^parameters >= p (2/spacing + 1)^(d^2); the paper "
        "states its order",
    ),
    Bound(
        "kumar2025quantized.theorem3_width",
        "hidden neurons of a two-layer source with d inputs and d outputs that contains, for each d x d matrix on the "
        "grid, a ticket equal to it with probability p",
        Relation.LOWER,
        _theorem3_width,
        "strongticket: theorem3_parameters, as such a source of width w has 2 d w parameters",
    ),
    Bound(
        "kumar2025quantized.lemma4_term",
        "probability, as Hoeffding's inequality bounds it, that the sum of the n items breaks the condition "
        "|sum| < sqrt(2/7) M sqrt(n ln n) of Lemma 4",
        Relation.UPPER,
        _lemma4_term,
        "strongticket: computed from the condition in the proof of Lemma 4. As a failure probability per weight it is "
        "of no use: N weights would need n > (2N)^7",
    ),
    Bound(
        "kumar2025quantized.explicit_items",
        "number of items uniform on -M..M without 0 such that all integers |t| <= c are subset sums, exactly, with "
        "probability 1 - delta; any admissible theta, s and delta_1 give a valid number, exact_items() minimises",
        Relation.UPPER,
        _explicit_items,
        "strongticket: the two phases of lueker1998exponentially.explicit_items for integers; a share of integers "
        "below 1/(2c + 1) is none",
    ),
    Bound(
        "kumar2025quantized.transition_bits",
        "log2 M at which n items uniform on -M..M are expected to have one subset with a sum near the middle: the "
        "transition n = log2 M + log2(pi n / 6)/2",
        Relation.PREDICTION,
        _transition_bits,
        "strongticket: first moment with Gaussian sums, M large; kappa_c n of borgs2001phase",
    ),
    Bound(
        "kumar2025quantized.solutions_predicted",
        "mean number of subsets of n items uniform on -M..M without 0 whose sum is the middle of all sums",
        Relation.PREDICTION,
        _rate,
        "strongticket: 2^n / (s sqrt(2 pi)), s^2 = n v / 4, v = (M + 1)(2M + 1)/6; no parity effect, as subset sums "
        "of both parities occur",
    ),
)


@dataclass(frozen=True)
class ExactItems:
    """A number of items that provably suffices, with the parameters at which `explicit_items` gives it.

    Attributes:
        items: the number.
        values: arguments for the bound `kumar2025quantized.explicit_items`; empty when no item is needed.
    """

    items: int
    values: dict[str, float]


@lru_cache(maxsize=1024)
def exact_items(largest: int, delta: float, *, reach: int | None = None) -> ExactItems:
    """Find the free parameters at which our rigorous bound asks for the fewest items.

    Args:
        largest: M: items are uniform on -M..M without 0; >= 2.
        delta: probability that some integer |t| <= reach is no subset sum, in (0, 1).
        reach: c <= M/2; M // 2 if not given. 0 needs no item.

    Raises:
        ValueError: an argument outside its range.

    >>> exact_items(16, 0.01).items, exact_items(128, 0.01).items
    (65, 95)
    """
    c = largest // 2 if reach is None else reach
    if largest < 2 or not 0 <= 2 * c <= largest:
        raise ValueError(f"expected M >= 2 and 0 <= 2 c <= M, got M = {largest}, c = {c}")
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    if c == 0:
        return ExactItems(0, {})
    q = (2 * c + 1) / (2 * largest)
    theta = np.append(np.arange(1, 100) / 100.0, (1.0 - 1e-6) / (2 * c + 1))[:, None, None]
    s = np.geomspace(0.05, 80.0, 160)[None, :, None]
    share = np.concatenate([np.geomspace(1e-6, 0.5, 20), 1.0 - np.geomspace(1e-6, 0.4, 20)])[None, None, :]
    first = phase_one(np.log, c, q, share * delta, theta, s)
    second = phase_two(np.log, c, q, delta - share * delta, theta)
    # round up with room for the rounding of the logarithms
    first, second = (np.ceil(np.maximum(x, 0.0) * (1.0 + 1e-12) + 1e-9) for x in (first, second))
    first = np.where(theta * (2 * c + 1) <= 1.0 - 1e-9, 0.0, first)
    total = first + second
    i, j, k = np.unravel_index(int(np.argmin(total)), total.shape)
    values = {
        "M": largest,
        "c": c,
        "delta": delta,
        "delta_1": float(share[0, 0, k] * delta),
        "theta": float(theta[i, 0, 0]),
        "s": float(s[0, j, 0]),
    }
    found = ExactItems(int(total[i, j, k]), values)
    if c == largest // 2:
        return found
    # what serves the whole range serves this one, and the larger q may be worth more
    return min(found, exact_items(largest, delta), key=lambda plan: plan.items)


@lru_cache(maxsize=1024)
def neurons_to_fill(inputs: int, places: int, chance: float, delta: float) -> int:
    """Return a width at which each input gets its neurons, with probability 1 - delta: proved, by Chernoff's bound.

    Neurons are read in order, and each is given to some input that still lacks one, if its incoming weight from there
    is of the wanted kind, an event of probability `chance` for each input, independently. While r places are open, at
    least ceil(r / places) inputs are, so the next neuron fills one with probability 1 - (1 - chance)^ceil(r / places)
    or more, and the number of neurons read is at most a sum of independent geometric numbers.

    Args:
        inputs: number of inputs (half-inputs) that want neurons, >= 1.
        places: neurons for each of them, >= 0.
        chance: that an incoming weight is of a wanted kind, in (0, 1], whatever kinds are still wanted.
        delta: probability that the neurons do not suffice, in (0, 1).

    Raises:
        ValueError: an argument outside its range.

    >>> neurons_to_fill(784, 30, 1 / 16, 1e-3)
    25529
    """
    if inputs < 1 or places < 0 or not 0.0 < chance <= 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(
            f"expected inputs >= 1, places >= 0, chance in (0, 1], delta in (0, 1); got {inputs}, {places}, {chance}, "
            f"{delta}"
        )
    if not places:
        return 0
    miss = np.exp(np.arange(1, inputs + 1) * math.log1p(-chance)) if chance < 1.0 else np.zeros(inputs)
    hit = 1.0 - miss
    best = math.inf
    for share in np.geomspace(1e-4, 0.999, 200):  # of the largest exponent for which the moment exists
        t = -share * math.log(float(miss[0])) if miss[0] else 50.0 * share
        # log E exp(t G) = t + log hit - log(1 - miss e^t)
        moment = places * float(np.sum(t + np.log(hit) - np.log1p(-miss * math.exp(t))))
        best = min(best, (moment - math.log(delta)) / t)
    return max(inputs * places, math.ceil(best * (1.0 + 1e-12) + 1e-9))


def transition_items(largest: int) -> float:
    """Return the real n at which one subset with a given sum near the middle is expected: log2 M + log2(pi n/6)/2.

    By the variance (M + 1)(2M + 1)/6 of the items, so for small M too.

    >>> round(transition_items(127), 2), round(transition_items(2047), 2)
    (8.03, 12.35)
    """
    if largest < 1:
        raise ValueError(f"M must be at least 1, got {largest}")
    n = 1.0
    for _ in range(200):  # a contraction for n >= 1
        n = max(1.0, math.log2(2.0 * math.pi * n * (largest + 1) * (2 * largest + 1) / 24.0) / 2.0)
    return n


def failure_predicted(items: int, target: int, largest: int, *, square: float | None = None) -> float:
    """Predict P(no subset of the items sums exactly to the target); no proof.

    Items are Gaussian as a crowd: given them, subset sums have mean s G, G standard normal, and deviation s,
    s^2 = n v / 4, and the number of hits is Poisson with mean 2^n / (s sqrt(2 pi)) exp(-(G - t/s)^2 / 2).

    Args:
        items: n >= 0.
        target: t, an integer in units of the grid.
        largest: M >= 1: items are uniform on -M..M without 0.
        square: mean square of an item where it is not uniform; for products i j, that of i times that of j.

    >>> round(failure_predicted(9, 63, 127), 3), round(failure_predicted(15, 63, 127), 4)
    (0.356, 0.0054)
    """
    if target == 0:
        return 0.0  # the empty subset
    if items < 1:
        return 1.0
    v = (largest + 1) * (2 * largest + 1) / 6.0 if square is None else square
    s = math.sqrt(items * v) / 2.0
    log_rate = items * math.log(2.0) - math.log(s * math.sqrt(2.0 * math.pi))
    hits = np.exp(np.minimum(log_rate - (_GAUSS - target / s) ** 2 / 2.0, 700.0))
    density = np.exp(-(_GAUSS**2) / 2.0) / math.sqrt(2.0 * math.pi)
    return float(min(1.0, np.sum(np.exp(-hits) * density) * (_GAUSS[1] - _GAUSS[0])))


def items_predicted(targets: Sequence[tuple[int, int]], failures: float, square: float, odd: float = 0.5) -> int:
    """Return the fewest items at which so many failures are predicted in all; no proof.

    Added to `failure_predicted` is the probability that all items are even, where no odd target can be met; all targets
    are taken for odd.

    Args:
        targets: (t, how many weights have it).
        failures: expected number of weights that are not met, > 0.
        square: mean square of an item.
        odd: probability that an item is odd, in (0, 1].

    Raises:
        ValueError: an argument outside its range, or no number up to 2^12 is enough.

    >>> items_predicted([(60, 1000)], 0.01, 5000.0), items_predicted([(60, 1000)], 0.01, 5000.0, odd=0.25)
    (25, 41)
    """
    if not failures > 0 or not 0.0 < odd <= 1.0:
        raise ValueError(f"the failures must be positive and odd lie in (0, 1], got {failures} and {odd}")
    wanted = [(abs(t), count) for t, count in targets if t and count]
    if not wanted:
        return 1

    def lacking(n: int) -> float:
        even = (1.0 - odd) ** n
        return math.fsum(count * (even + failure_predicted(n, t, 1, square=square)) for t, count in wanted)

    low, high = 0, 8
    while lacking(high) > failures:
        low, high = high, 2 * high
        if high > 1 << 12:
            raise ValueError(f"more than {low} items would be needed: expect more failures, or take a finer source")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if lacking(middle) > failures else (low, middle)
    return high


def expected_solutions(items: int, target: int, largest: int) -> Fraction:
    """Return the mean number of subsets of n items with exactly this sum, exactly; P(solvable) is at most that.

    Args:
        items: n, 0..64.
        target: t.
        largest: M, 1..256: items are uniform on -M..M without 0.

    >>> expected_solutions(1, 3, 4), float(expected_solutions(9, 63, 127)) < 3
    (Fraction(1, 8), True)
    """
    if not 0 <= items <= 64 or not 1 <= largest <= 256:
        raise ValueError(f"expected 0..64 items of at most 256, got n = {items}, M = {largest}")
    middle = items * largest
    if abs(target) > middle:
        return Fraction(0)
    # the power of a polynomial whose coefficients stand side by side in one integer; an item is left out as often as
    # it can be drawn
    width = items * (4 * largest).bit_length() + 1
    step = sum((2 * largest if x == 0 else 1) << width * (largest + x) for x in range(-largest, largest + 1))
    hits = step**items >> width * (middle + target) & ((1 << width) - 1)
    return Fraction(hits, (2 * largest) ** items)
