"""Claims about random subset sums: measured failures against proved floors, and against predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from strongticket.bounds import random_subset_sums as bounds
from strongticket.subsetsum import solve
from theory._agreement import AbstractAgreementClaim, chance_range
from theory._claim import AbstractClaim, Outcome, Tally, Trial, check_whole
from theory._draws import Draws

__all__ = ["ACCURACY", "FloorClaim", "PredictionClaim", "draw_law", "misses"]

ACCURACY: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        **{("saddlepoint", law): (0.88, 1.14) for law in ("uniform", "product", "normal", "half_product")},
        ("saddlepoint", "hyperbolic"): (0.88, 1.65),
        ("combined", "uniform"): (0.56, 1.4),
        ("combined", "product"): (0.62, 2.5),
        ("combined", "normal"): (0.65, 1.2),
        ("combined", "half_product"): (0.56, 1.05),
        ("combined", "hyperbolic"): (0.53, 1.4),
    }
)
"""Least and largest ratio of a measured frequency of failure to the predicted one, as far as was seen.

In the shipped table: 6 to 28 items (products 32), eps = 1e-1..1e-6, z = 1 and z ~ U(-1, 1), 1,000 failures or more.
"""


def draw_law(law: str, shape: tuple[int, int], seed: int, eps: float) -> npt.NDArray[np.float64]:
    """Draw items of any law, by its definition; hyperbolic items are at least eps."""
    draws = Draws(seed)
    if law == "normal":
        return draws.normal("x", shape)
    v = draws.uniform("v", shape)
    if law == "uniform":
        return v
    u = draws.uniform("u", shape)
    if law == "product":
        return u * v
    if law == "half_product":
        return np.asarray(np.maximum(u, 0.0) * v)
    if law == "hyperbolic":
        return np.asarray(np.copysign(np.exp(math.log(eps) * np.abs(v)), u))
    raise ValueError(f"law is one of {', '.join(bounds.LAWS)}, hyperbolic, got {law!r}")


def misses(count: int, seed: int, p: Mapping[str, Any]) -> npt.NDArray[np.bool_]:  # [count]
    """Draw so many problems and solve them exactly: is no subset sum within eps of the target?"""
    items = draw_law(p["law"], (count, p["items"]), seed, p["eps"])
    targets = np.full(count, float(p["target"]))
    if p["averaged"]:
        targets *= Draws(seed).uniform("z", count)
    if p["size"] is None:
        errors = solve(items, targets, objective="min_error", threads=1).errors()
    else:
        errors = solve(items, targets, objective="fixed_size", size=p["size"], threads=1).errors()
    return np.asarray(np.abs(errors) > p["eps"])


_SETTING = {"law": "uniform", "items": 10, "eps": 0.1, "target": 1.0, "averaged": False, "size": None}


def _checked(p: dict[str, Any]) -> dict[str, Any]:
    check_whole(p, "items", 1, 32)
    if p["law"] not in (*bounds.LAWS, "hyperbolic"):
        raise ValueError(f"law is one of {', '.join(bounds.LAWS)}, hyperbolic, got {p['law']!r}")
    if p["size"] is not None and not 1 <= p["size"] <= p["items"]:
        raise ValueError(f"size must lie in 1..items, got {p['size']!r}")
    return p


@final
class FloorClaim(AbstractClaim):
    """A floor is below the frequency of misses; so hits are at most as frequent as one minus the floor.

    Parameters: law, items, eps, target, averaged, size (None: all subsets; else uniform items), factor (the floor is
    multiplied by it).
    """

    text = "draw n items and a target; no subset sum lies within eps of it, at least as often as the floor says"

    def __init__(self, **setting: Any) -> None:
        self.defaults: Mapping[str, Any] = MappingProxyType({**_SETTING, "factor": 1.0, **setting})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the floor."""
        p = _checked(super().resolve(**params))
        setting = {name: p[name] for name in ("target", "averaged")}
        if p["size"] is None:
            floor = bounds.coverage_floor(p["items"], p["eps"], law=p["law"], **setting)
        elif p["law"] == "uniform":
            floor = bounds.fixed_size_floor(p["items"], p["size"], p["eps"], **setting)
        else:
            raise ValueError(f"the floor of a fixed size is that of uniform items, got law {p['law']!r}")
        floor *= p["factor"]
        if not 0.0 < floor < 1.0:
            raise ValueError(f"the floor is {floor:.3g}: nothing to falsify")
        return {**p, "floor": floor}

    def failure_probability(self, **params: Any) -> float:
        """How often a subset sum may be near the target."""
        return 1.0 - float(self.resolve(**params)["floor"])

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw and solve one problem."""
        return self._solved(seed, self.resolve(**params))

    def run(self, seeds: Sequence[int], **params: Any) -> Tally:
        """Draw and solve one problem for each seed; the floor is computed once."""
        p = self.resolve(**params)
        return Tally.of((seed, self._solved(seed, p)) for seed in seeds)

    def _solved(self, seed: int, p: Mapping[str, Any]) -> Trial:
        (missed,) = misses(1, seed, p).tolist()
        return Trial(Outcome.SUCCESS if missed else Outcome.FAILURE, "no subset sum" if missed else "a subset sum")


@final
class PredictionClaim(AbstractAgreementClaim):
    """A predicted probability of failure is as accurate as `ACCURACY` says.

    Parameters: law, items, eps, target, averaged, size, method ("saddlepoint", "combined"), tolerance (None: by the
    table; else both ways), batch, factor.
    """

    text = "draw a batch of problems; they fail as often as is predicted, within the tolerance and chance"
    defaults: Mapping[str, Any] = MappingProxyType(
        {**_SETTING, "eps": 0.01, "method": "saddlepoint", "tolerance": None, "batch": 2000, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the predicted probability and its tolerance."""
        p = _checked(super().resolve(**params))
        if (p["method"], p["law"]) not in ACCURACY:
            raise ValueError(f"method is 'saddlepoint' or 'combined', got {p['method']!r}")
        setting = {name: p[name] for name in ("law", "target", "averaged", "size")}
        off = p["tolerance"]
        least, most = ACCURACY[p["method"], p["law"]] if off is None else (1.0 - off, 1.0 + off)
        if p["method"] == "saddlepoint":
            found = bounds.saddlepoint_failure(p["items"], p["eps"], **setting)
            predicted = found.value
            noise = 3.0 * found.standard_error / max(predicted, 1e-300)
            least, most = least - noise, most + noise
        else:
            predicted = bounds.failure_predicted(p["items"], p["eps"], method=p["method"], **setting)
        return {**p, "predicted": predicted * p["factor"], "ratios": (least, most)}

    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Numbers of failures in a batch."""
        least, most = (params["predicted"] * ratio for ratio in params["ratios"])
        return chance_range(params["batch"], least, most)

    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Count the failures."""
        return float(np.count_nonzero(misses(params["batch"], seed, params)))
