"""Claims about networks of random signs: their tickets equal quantised targets, decided in integers.

And how such a network takes part in comparisons: with the target rounded so finely that it stays within the tolerance.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket.bounds import diffenderfer2021multiprize, sreenivasan2022finding
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._contenders import NotApplicable, Setting
from theory._draws import Draws
from theory._targets import INTEGER_KINDS, draw_integer_layers
from theory._tickets import fewer, layer_sizes, signed_problems, to_target

if TYPE_CHECKING:
    from strongticket.constructions import Construction
    from strongticket.models import Target

__all__ = ["AbstractBinaryClaim", "CountingSignsClaim", "DoublingClaim", "rounded"]


class AbstractBinaryClaim(AbstractClaim):
    """A claim that a network of random signs contains a ticket equal to a quantised target, by the real construction.

    A trial draws a target whose weights are multiples of 2^-bits in [-1, 1] and the source that the bound sizes, and
    runs the construction. It succeeds only when a ticket came out, `equal` proves, in integers and from seed and mask
    alone, that it equals the target for all inputs, and no output tried differs. A ticket that differs is a failure; a
    weight that is not reached makes the trial missed.

    Parameters: bits, sizes, kind of target ("mixed": each in turn), delta, what the bound gives, and factor (that is
    divided by it).
    """

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked, with `sizes` as a tuple and the number of `problems`."""
        p = super().resolve(**params)
        check_whole(p, "bits", 0, 8)
        p["sizes"] = layer_sizes(p["sizes"])
        check_choice(p, "kind", ("mixed", *INTEGER_KINDS))
        check_factor(p)
        p["problems"] = signed_problems(p["sizes"])
        return p

    @abstractmethod
    def construct(self, target: Target, p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the source that the bound sizes."""

    @abstractmethod
    def equal(self, result: Construction, target: Target, p: Mapping[str, Any]) -> bool:
        """Prove that the ticket equals the target for all inputs, or find that it does not."""

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and compare in integers."""
        from strongticket.models.quantized import integer_layers, integer_outputs

        p = self.resolve(**params)
        kind, bits = in_turn(p["kind"], INTEGER_KINDS, seed), p["bits"]
        layers = draw_integer_layers(kind, p["sizes"], 1 << bits, seed)  # in units of 2^-bits
        target = to_target([np.ldexp(layer.astype(np.float64), -bits) for layer in layers])
        result = self.construct(target, p, seed)
        if result.ticket is None:
            return Trial(Outcome.MISSED, f"{kind} target: {len(result.unreached)} weights were not reached")
        if not self.equal(result, target, p):
            return Trial(Outcome.FAILURE, f"{kind} target: the ticket's matrices differ")
        inputs = Draws(seed).below("inputs", 511, 32 * p["sizes"][0]).reshape(32, -1) - 255
        found, unit = integer_outputs(integer_layers(result.ticket), inputs, 255)
        wanted, own = integer_outputs(integer_layers(target), inputs, 255)
        wrong = int(np.count_nonzero(found * own != wanted * unit))
        if wrong:
            return Trial(Outcome.FAILURE, f"{kind} target: {wrong} outputs differ")
        return Trial(Outcome.SUCCESS, f"{kind} target: proved equal, and all outputs are")


@final
class DoublingClaim(AbstractBinaryClaim):
    """The doubling network with our number of copies contains the target; see `AbstractBinaryClaim`."""

    text = "draw a quantised target and a deep network of random signs; the construction finds a ticket that equals it"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"bits": 3, "sizes": "2-2-2", "kind": "mixed", "delta": 0.01, "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of copies: for targets of any weights with this many bits."""
        p = super().resolve(**params)
        if p["items"] is None:
            doublings = picks = 0
            for i, (d_in, d_out) in enumerate(pairwise(p["sizes"])):
                channels, bits = d_in * (2 if i == 0 else 1), p["bits"] + 1
                doublings += (bits - 1) * channels
                picks += bits * channels * d_out + 2 * bits * d_out
            needed = sreenivasan2022finding.copies_needed(doublings, picks, p["delta"] / 2)
            p["items"] = fewer(needed, p, least=2)
        return p

    def construct(self, target: Target, p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction; half of delta pays for its first layer."""
        from strongticket.certificate import Domain
        from strongticket.constructions.sreenivasan2022finding import Sreenivasan2022Finding

        return Sreenivasan2022Finding(
            bits=p["bits"], items=p["items"], delta=p["delta"], domain=Domain.box(-1, 1), seed=seed
        ).construct(target)

    def equal(self, result: Construction, target: Target, p: Mapping[str, Any]) -> bool:
        """Multiply the layers of each block out."""
        from strongticket.certificate import Domain
        from strongticket.certify.telescope import telescopes
        from strongticket.constructions.sreenivasan2022finding import Sreenivasan2022Finding

        ends = Sreenivasan2022Finding(bits=p["bits"], items=p["items"], domain=Domain.box(-1, 1)).ends(target)
        return telescopes(result.best, target, ends, bits=p["bits"])


@final
class CountingSignsClaim(AbstractBinaryClaim):
    """Signs with one scale, at our count, contain the target; see `AbstractBinaryClaim`."""

    text = "draw a quantised target and a network of random signs; the construction finds a ticket that equals it"
    by_bound = ("items",)
    defaults: Mapping[str, Any] = MappingProxyType(
        {"bits": 3, "sizes": "2-2-2", "kind": "mixed", "delta": 0.01, "items": None, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the number of signs per weight."""
        p = super().resolve(**params)
        if p["items"] is None:
            needed = diffenderfer2021multiprize.items_exact(1 << p["bits"], p["problems"], p["delta"] / 2)
            p["items"] = fewer(needed, p)
        return p

    def construct(self, target: Target, p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction; half of delta pays for missing neurons."""
        from strongticket.certificate import Domain
        from strongticket.constructions.diffenderfer2021multiprize import Diffenderfer2021Multiprize

        return Diffenderfer2021Multiprize(
            bits=p["bits"], items=p["items"], delta=p["delta"], domain=Domain.box(-1, 1), seed=seed
        ).construct(target)

    def equal(self, result: Construction, target: Target, p: Mapping[str, Any]) -> bool:
        """The certificate, exact on this grid, is 0."""
        from strongticket.certificate import Domain, Rigor
        from strongticket.certify import certify

        proved = certify(result.best, target, Domain.box(-1, 1))
        return proved.rigor is Rigor.PROVED and proved.error == 0.0


def rounded(most: int) -> Callable[[Setting], tuple[Target, dict[str, Any]]]:
    """Return what rounds the target of a setting within half of its tolerance, and says the bits that this takes.

    Args:
        most: bits beyond which the construction would be too large.
    """

    def prepare(setting: Setting) -> tuple[Target, dict[str, Any]]:
        from strongticket.bounds.pensia2020optimal import weight_eps
        from strongticket.models.quantized import quantise

        each = weight_eps(setting.shapes, setting.eps)
        bits = max(1, math.ceil(math.log2(1.0 / each) - 1.0))
        if bits > most:
            raise NotApplicable(
                f"weights would have to be rounded to 2^-{bits}; tried are sources of at most {most} bits"
            )
        return quantise(setting.target, bits, rescale=False).target, {"bits": bits}

    return prepare
