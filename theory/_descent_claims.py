"""The claims on double descent: what is certain of nested features, and the exact risk of Gaussian ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from strongticket.bounds import belkin2020two
from theory._agreement import AbstractAgreementClaim
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._draws import Draws

__all__ = ["FEATURES", "NestedClaim", "RiskClaim"]

Array = npt.NDArray[np.float64]

FEATURES = ("fourier", "relu", "gaussian", "repeated")
"""Random features of random inputs: Fourier, ReLU, Gaussian numbers, and Gaussian numbers each of which comes twice."""


def _features(kind: str, n: int, count: int, seed: int) -> Array:  # [n, count]
    from strongticket.weak.features import FourierFeatures, ReluFeatures

    draws = Draws(seed)
    inputs = draws.normal("inputs", (n, 3))
    if kind == "fourier":
        return FourierFeatures(3, 1.0, seed)(inputs, count + count % 2)[:, :count]
    if kind == "relu":
        return ReluFeatures(3, seed)(inputs, count)
    rows = draws.normal("features", (n, count))
    return rows if kind == "gaussian" else np.asarray(np.repeat(rows, 2, axis=1)[:, :count])


@final
class NestedClaim(AbstractClaim):
    """More of the same features never fit worse, and once they fit, never need a larger norm.

    A trial fits random values with growing numbers of features of one draw. The training loss must never grow, must be
    0 exactly where the rank is n, and from there on the norm of the coefficients must never grow.

    Parameters: n (examples), kind of features ("mixed": each in turn), tolerance (relative rounding), factor (what the
    norm is at most is divided by it: at 1 the theorem).
    """

    text = "draw features and values; with more features the training loss never grows, nor the norm once it is 0"
    defaults: Mapping[str, Any] = MappingProxyType({"n": 8, "kind": "mixed", "tolerance": 1e-6, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        check_whole(p, "n", 2, 200)
        check_choice(p, "kind", ("mixed", *FEATURES))
        check_factor(p)
        return p

    def failure_probability(self, **params: Any) -> float:
        """None: it holds for all features."""
        return 0.0

    def trial(self, seed: int, **params: Any) -> Trial:
        """Fit with 1 to 4 n features."""
        from strongticket.weak.features import fit

        p = self.resolve(**params)
        n, kind = p["n"], in_turn(p["kind"], FEATURES, seed)
        values = Draws(seed).normal("values", n)
        phi = _features(kind, n, 4 * n, seed)
        loss, norm = np.inf, np.inf
        for count in (*range(1, 2 * n + 1), 3 * n, 4 * n):
            found = fit(phi[:, :count], values)
            scale = float(values @ values) / n
            if found.train_loss > loss + p["tolerance"] * scale:
                return Trial(
                    Outcome.FAILURE, f"{kind}: loss {found.train_loss:.6g} at {count} features, {loss:.6g} before"
                )
            loss = found.train_loss
            if found.rank < n:
                continue
            if loss > p["tolerance"] * scale:
                # near the threshold float64 may be too short for features that hardly differ
                return Trial(Outcome.UNDECIDED, f"{kind}: rank n, but loss {loss:.3g} at {count} features")
            if found.norm > norm / p["factor"] * (1.0 + p["tolerance"]):
                return Trial(Outcome.FAILURE, f"{kind}: norm {found.norm:.6g} at {count} features, {norm:.6g} before")
            norm = found.norm
        return Trial(Outcome.SUCCESS, f"{kind}: norm {norm:.6g} at the end")


@final
class RiskClaim(AbstractAgreementClaim):
    """The risk of Gaussian features is what the formula says, on either side of the threshold.

    A trial is a batch of fits, each on new data; what is compared is the mean of their exact risks given the fitted
    coefficients, relative to the formula.

    Parameters: n, p (features seen, at most n - 6 or at least n + 6, so that the risk's fourth moment exists), of (all
    features), noise (variance), batch (fits), tolerance (relative; more than four standard errors of a batch at the
    defaults), factor.
    """

    text = "draw Gaussian data; the mean risk of least squares, or of the minimum-norm fit, is the formula's"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"n": 20, "p": 30, "of": 40, "noise": 0.25, "batch": 200, "tolerance": 0.15, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        for name in ("n", "p", "of"):
            check_whole(p, name, 1, 500)
        if abs(p["p"] - p["n"]) < 6 or p["of"] < p["p"]:
            raise ValueError(f"p must differ from n by 6 at least and not exceed `of`, got {p}")
        if not p["noise"] >= 0.0 or p["tolerance"] is None:
            raise ValueError(f"noise must be >= 0 and tolerance a number, got {p}")
        return p

    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Return the range of the ratio of measured to predicted risk."""
        return params["factor"] * (1.0 - params["tolerance"]), params["factor"] * (1.0 + params["tolerance"])

    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Fit many times."""
        from strongticket.weak.features import fit

        n, p, of, noise = (params[name] for name in ("n", "p", "of", "noise"))
        draws = Draws(seed)
        truth = draws.normal("truth", of)
        truth /= np.linalg.norm(truth)
        outside = float(truth[p:] @ truth[p:])
        total = 0.0
        for i in range(params["batch"]):
            own = draws.inside(f"fit {i}")
            x = own.normal("x", (n, of))
            y = x @ truth + np.sqrt(noise) * own.normal("noise", n)
            miss = fit(x[:, :p], y).coefficients[:, 0] - truth[:p]
            total += float(miss @ miss) + outside + noise
        return float(total / params["batch"] / belkin2020two.risk(n, p, 1.0 - outside, outside, noise))
