"""What constructions refuse before they start: parameters out of range, and targets that no source reaches."""

from __future__ import annotations

from typing import Final

import numpy as np

from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain
from strongticket.constructions._grid import PRODUCTS
from strongticket.models import Target

__all__ = ["REACH", "check_budget", "check_domain", "check_items", "check_one_of", "check_reach", "check_target"]

REACH: Final = 1.0  # largest |weight| of a target: entries of a matrix of norm <= 1


def check_budget(weight_eps: float | None, network_eps: float | None, delta: float) -> None:
    """Refuse all but one tolerance and a delta, each in (0, 1); a tolerance per weight that the grid can tell."""
    if (weight_eps is None) == (network_eps is None):
        raise ValueError("give exactly one of weight_eps (per weight) and network_eps (whole network, unit ball)")
    for name, value in (("weight_eps", weight_eps), ("network_eps", network_eps), ("delta", delta)):
        if value is not None and not (isinstance(value, int | float) and 0 < value < 1):
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
    if weight_eps is not None:
        PRODUCTS.check_tolerance(weight_eps)


def check_items(items: int | str, names: tuple[str, str], most: int) -> None:
    """Refuse a number of items that is neither one of the names nor a whole number in 1..most."""
    first, second = names
    if isinstance(items, str):
        if items not in names:
            raise ValueError(f"items is a number, {first!r} or {second!r}, got {items!r}")
    elif isinstance(items, bool) or not isinstance(items, int):
        raise TypeError(f"items is a whole number, {first!r} or {second!r}, got {items!r}")
    elif not 1 <= items <= most:
        raise ValueError(f"items must be at least 1 and at most {most}, got {items}")


def check_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those known."""
    if value not in known:
        *others, last = map(repr, known)
        raise ValueError(f"{name} is {', '.join(others)} or {last}, got {value!r}")


def check_domain(domain: Domain) -> None:
    """Refuse what is no domain."""
    if not isinstance(domain, Domain):
        raise TypeError(f"the domain is a strongticket.Domain, such as Domain.box(0, 1), got {domain!r}")


def check_target(target: Target) -> None:
    """Refuse what is no target, and one whose hidden layers have another activation than ReLU."""
    if not isinstance(target, Target):
        raise TypeError(f"a target is a strongticket.Target, got {type(target).__name__}: use Target.from_module")
    if not target.architecture.rectified:
        raise HypothesisError(
            f"the theorem speaks of ReLU networks, and the target is {target.architecture.id}; Burkholz2022Most takes "
            "targets with other activations"
        )


def check_reach(target: Target) -> None:
    """Refuse a target with a weight beyond 1."""
    for name, value in target.weights.items():
        largest = float(value.abs().max())
        if largest > REACH:
            place = tuple(np.argwhere(value.abs().numpy() == largest)[0].tolist())
            raise HypothesisError(
                f"{name}{list(place)} of the target is {float(value[place])!r}; the construction reaches weights in "
                f"[-{REACH:g}, {REACH:g}]. Rescale the target: a ReLU layer divided by c > 0 and the next one "
                "multiplied by c are the same network"
            )
