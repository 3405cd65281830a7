"""The claims of Kumar & Natale 2025 as experiments, all decided in integers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from strongticket.bounds import get
from strongticket.bounds import kumar2025quantized as bounds
from strongticket.subsetsum import solve
from theory._agreement import AbstractAgreementClaim, chance_range
from theory._claim import AbstractClaim, Outcome, Tally, Trial, check_choice, check_factor, check_whole, in_turn
from theory._draws import Draws
from theory._targets import INTEGER_KINDS, Integers, draw_integer_layers
from theory._tickets import fewer, layer_sizes, signed_problems, to_target

__all__ = [
    "CountingClaim",
    "ExactTicketClaim",
    "FirstMomentClaim",
    "IntegersClaim",
    "SolvableClaim",
    "draw_integers",
    "subset_sums",
]

ACCURACY = 0.05
"""Relative error of the predicted failure probability that SolvableClaim allows."""


def draw_integers(largest: int, shape: int | tuple[int, ...], seed: int, name: str = "items") -> Integers:
    """Draw integers uniform on -M..M without 0: the law "quantized<k>" in units of 2^-k, for any M.

    >>> sorted(set(draw_integers(2, 100, 0).tolist()))
    [-2, -1, 1, 2]
    """
    drawn = Draws(seed).below(name, 2 * largest, math.prod(np.atleast_1d(shape)))
    return np.asarray(np.where(drawn < largest, drawn - largest, drawn - largest + 1)).reshape(shape)


def subset_sums(items: Sequence[int]) -> tuple[int, int]:
    """Return all subset sums of integers as the bits of one integer, and the bit of the sum 0.

    >>> sums, zero = subset_sums([2, -3])
    >>> [bit - zero for bit in range(sums.bit_length()) if sums >> bit & 1]
    [-3, -1, 0, 2]
    """
    zero = sum(-x for x in items if x < 0)
    sums = 1 << zero
    for x in items:
        sums |= sums << x if x > 0 else sums >> -x
    return sums, zero


@final
class IntegersClaim(AbstractClaim):
    """Our count of items makes every integer |t| <= M/2 a subset sum, exactly.

    A trial draws the items and computes all their subset sums: nothing is left undecided. Parameters: largest (M),
    delta, items (None: by the bound), factor (the bound's items are divided by it).
    """

    text = "draw integers uniform on -M..M without 0; every integer |t| <= M/2 is the sum of some of them"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType({"largest": 128, "delta": 0.01, "items": None, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of items."""
        p = super().resolve(**params)
        largest = check_whole(p, "largest", 2, 1 << 14)
        check_factor(p)
        if p["items"] is None:
            p["items"] = fewer(bounds.exact_items(largest, p["delta"]).items, p)
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the items, compute all sums, look for a gap."""
        p = self.resolve(**params)
        c = p["largest"] // 2
        sums, zero = subset_sums(draw_integers(p["largest"], p["items"], seed).tolist())
        reached = ((sums << c >> zero) & ((1 << 2 * c + 1) - 1)).bit_count()
        missing = 2 * c + 1 - reached
        outcome = Outcome.FAILURE if missing else Outcome.SUCCESS
        return Trial(outcome, f"{missing} of {2 * c + 1} integers are no subset sum")


@final
class ExactTicketClaim(AbstractClaim):
    """Theorem 1 with our constants, by the real construction: the ticket equals the quantised target.

    A trial draws a target whose weights are multiples of 2^-2k in [-1/2, 1/2] and the source that our bound sizes
    (assignment "digits"), and runs the construction. It succeeds only when a ticket came out that, in integer
    arithmetic and from seed and mask alone, has the target's weights and, on random inputs of both signs, the target's
    outputs, with and without reset of the layer outputs. A ticket that differs is a failure; a weight that the
    construction did not reach makes the trial missed: some other mask might do.

    Parameters: source_bits (k), sizes, kind of target ("mixed": each in turn), delta, items (per weight; None: by the
    bound), factor (the bound's items are divided by it).
    """

    text = (
        "draw a quantised target and a random source; the construction finds a ticket that equals it, output for output"
    )
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"source_bits": 3, "sizes": "2-2-2", "kind": "mixed", "delta": 0.01, "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `sizes` as a tuple and `items` as a number."""
        p = super().resolve(**params)
        bits = check_whole(p, "source_bits", 1, 8)
        p["sizes"] = layer_sizes(p["sizes"])
        check_choice(p, "kind", ("mixed", *INTEGER_KINDS))
        p["problems"] = signed_problems(p["sizes"])
        check_factor(p)
        if p["items"] is None:
            p["items"] = fewer(2 * bounds.exact_items(1 << bits, p["delta"] / (4 * p["problems"])).items, p)
        return p

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and compare in integers."""
        from strongticket.certificate import Domain
        from strongticket.constructions import Kumar2025Quantized
        from strongticket.models.quantized import unequal_outputs

        p = self.resolve(**params)
        kind = in_turn(p["kind"], INTEGER_KINDS, seed)
        # in units of 2^-2k, up to 1/2
        layers = draw_integer_layers(kind, p["sizes"], 1 << 2 * p["source_bits"] - 1, seed)
        target = to_target([np.ldexp(layer.astype(np.float64), -2 * p["source_bits"]) for layer in layers])
        result = Kumar2025Quantized(
            source_bits=p["source_bits"],
            items=p["items"],
            assignment="digits",
            delta=p["delta"],
            domain=Domain.box(-1, 1),
            seed=seed,
        ).construct(target)
        if result.ticket is None:
            return Trial(Outcome.MISSED, f"{kind} target: {len(result.unreached)} weights were not reached")
        wrong = _wrong_weights(result.ticket, layers)
        inputs = draw_integers(255, (32, p["sizes"][0]), seed, "inputs")
        wrong += unequal_outputs(target, result.ticket, inputs, 255)
        wrong += unequal_outputs(target, result.ticket, inputs, 255, reset=6)
        if wrong:
            return Trial(Outcome.FAILURE, f"{kind} target: {wrong} weights or outputs of the ticket differ")
        return Trial(Outcome.SUCCESS, f"{kind} target: all weights and outputs are equal")


def _wrong_weights(ticket: Any, layers: list[Integers]) -> int:
    """How many weights, of either half of an input, the ticket does not have; from its seed and mask."""
    from strongticket.models.quantized import integer_layers

    matrices = [layer.weight.toarray() for layer in integer_layers(ticket)]
    wrong = 0
    for i, layer in enumerate(layers):
        first, second = matrices[2 * i], matrices[2 * i + 1]
        wrong += int(np.count_nonzero(second @ np.maximum(first, 0) != layer))
        if i == 0:  # later layers see nonnegative inputs only
            wrong += int(np.count_nonzero(second @ np.minimum(first, 0) != layer))
    return wrong


def solvable(items: Integers, targets: Integers) -> npt.NDArray[np.bool_]:  # [batch, n], [batch] -> [batch]
    """Decide for each row whether some of its integers add up to the target, exactly."""
    return np.asarray(solve(items, targets, objective="first_hit", eps=0, threads=1).error == 0)


@final
class FirstMomentClaim(AbstractClaim):
    """Markov's inequality: a target is exactly solvable at most with the expected number of its subsets.

    The expected number is computed exactly, no prediction is involved. Parameters: items, largest (M), target, factor
    (the expected number is divided by it).
    """

    text = "draw n integers uniform on -M..M without 0; no subset has exactly the target's sum"
    defaults: Mapping[str, Any] = MappingProxyType({"items": 6, "largest": 127, "target": 63, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the expected number of subsets."""
        p = super().resolve(**params)
        check_factor(p)
        items, largest = check_whole(p, "items", 1, 40), check_whole(p, "largest", 1, 256)
        check_whole(p, "target", 1, items * largest)
        p["allowed"] = float(bounds.expected_solutions(items, p["target"], largest)) / p["factor"]
        if not 0.0 < p["allowed"] < 1.0:
            raise ValueError(
                f"{p['allowed']:.3g} subsets are expected, so the claim allows any outcome: take fewer items"
            )
        return p

    def failure_probability(self, **params: Any) -> float:
        """The expected number of subsets, divided by the factor."""
        return float(self.resolve(**params)["allowed"])

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the items and decide."""
        return self._solved([seed], **params)[0]

    def run(self, seeds: Sequence[int], **params: Any) -> Tally:
        """Decide all trials in one batch."""
        return Tally.of(zip(seeds, self._solved(seeds, **params), strict=True))

    def _solved(self, seeds: Sequence[int], **params: Any) -> list[Trial]:
        p = self.resolve(**params)
        items = np.array([draw_integers(p["largest"], p["items"], seed) for seed in seeds])
        hits = solvable(items, np.full(len(seeds), p["target"], dtype=np.int64))
        return [
            Trial(Outcome.FAILURE, "a subset") if hit else Trial(Outcome.SUCCESS, "no subset") for hit in hits.tolist()
        ]


@final
class SolvableClaim(AbstractAgreementClaim):
    """The predicted probability that no subset hits the target is right within 5 %, for M >= 127 near the threshold.

    Two-sided: a trial is a batch of instances, solved exactly. Near: from one item below the transition to three above
    it, |t| <= M/2. (Farther above, failures are up to 30 % rarer near t = 0 and more frequent near |t| = M.)

    Parameters: items (None: the transition, rounded up), largest, target (None: M // 2), batch, tolerance, factor.
    """

    text = "draw n integers uniform on -M..M without 0 many times; as often as predicted no subset has the target's sum"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"items": None, "largest": 127, "target": None, "batch": 1000, "tolerance": ACCURACY, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the predicted probability."""
        p = super().resolve(**params)
        largest = check_whole(p, "largest", 127, 1 << 20)
        transition = bounds.transition_items(largest)
        p["items"] = math.ceil(transition) if p["items"] is None else check_whole(p, "items", 1, 40)
        p["target"] = largest // 2 if p["target"] is None else check_whole(p, "target", 1, largest // 2)
        if not transition - 1 <= p["items"] <= transition + 3:
            raise ValueError(
                f"items: the claim is about {transition - 1:.1f} to {transition + 3:.1f}, got {p['items']}"
            )
        return {**p, "predicted": bounds.failure_predicted(p["items"], p["target"], largest) * p["factor"]}

    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Numbers of unsolvable instances."""
        predicted, off = params["predicted"], params["tolerance"]
        return chance_range(params["batch"], predicted * (1.0 - off), predicted * (1.0 + off))

    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Count the unsolvable instances."""
        items = draw_integers(params["largest"], (params["batch"], params["items"]), seed)
        return float(np.count_nonzero(~solvable(items, np.full(len(items), params["target"], dtype=np.int64))))


@final
class CountingClaim(AbstractClaim):
    """Theorem 3 as an experiment: few parameters equal few of the matrices on the grid.

    A trial draws a source of m parameters and a random d x d matrix with entries in -M..M; it "fails" when some
    subnetwork equals the matrix, which by counting has probability at most 2^m / (2M + 1)^(d^2), whatever the law of
    the parameters is. The optimistic twin says that `factor` times as many parameters would be needed.

    Parameters: bits (k, M = 2^k), d, fewer (how many parameters per entry below k), law ("binary": the best there is;
    "quantized": uniform), factor.
    """

    text = "draw a source of m parameters and a matrix on the grid; a subnetwork equals it (this must be rare)"
    defaults: Mapping[str, Any] = MappingProxyType({"bits": 8, "d": 1, "fewer": 2, "law": "binary", "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters with the number m of parameters and the probability that counting allows."""
        p = super().resolve(**params)
        bits, d = check_whole(p, "bits", 1, 16), check_whole(p, "d", 1, 8)
        each = bits - check_whole(p, "fewer", 0, bits - 1)
        check_factor(p)
        if p["law"] not in ("binary", "quantized"):
            raise ValueError(f"law is 'binary' or 'quantized', got {p['law']!r}")
        needed = get("kumar2025quantized.theorem3_parameters")
        p["allowed"] = 2.0 ** (d * d * each / p["factor"] - needed(d=d, spacing=2.0**-bits, p=1.0))
        return {**p, "each": each, "parameters": d * d * each}

    def failure_probability(self, **params: Any) -> float:
        """What counting allows."""
        return min(1.0, float(self.resolve(**params)["allowed"]))

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw source and matrix; report a failure when some subset of each entry's parameters equals it."""
        p = self.resolve(**params)
        largest = 1 << p["bits"]
        wanted = Draws(seed).below("matrix", 2 * largest + 1, p["d"] ** 2) - largest
        for entry, t in enumerate(wanted.tolist()):
            # powers of two: every sum is another entry on the grid
            items = [1 << i for i in range(p["each"])]
            if p["law"] == "quantized":
                items = draw_integers(largest, p["each"], seed, f"entry {entry}").tolist()
            sums, zero = subset_sums(items)
            if zero + t < 0 or not sums >> (zero + t) & 1:
                return Trial(Outcome.SUCCESS, "no subnetwork equals this matrix")
        return Trial(Outcome.FAILURE, "a subnetwork equals this matrix")
