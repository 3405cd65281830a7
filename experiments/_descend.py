"""SGD on the kept weights of a ticket, and what its surroundings look like: kernel, frozen twin, quasi-convexity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from strongticket.bounds import get
from strongticket.random import INIT, NORMAL_TAB1, TRIAL
from strongticket.weak.interpolation import batches, descend, spectrum, tangent_kernel

if TYPE_CHECKING:
    from strongticket import MLP, Target, Ticket
    from strongticket.data import Dataset

__all__ = ["Landscape", "regressed"]

Path = list[tuple[int, Tensor]]
_FLOAT32: Final = 1e-6
"""Eigenvalues below this share of the largest are the rounding of float32 tangents."""
_AROUND: Final = 8
"""Random points on the sphere around the end of a descent."""
_INSIDE: Final = 7
"""Points looked at inside a segment."""
_LOOKS: Final = 12
"""Points kept of a descent."""


class Landscape:
    """The squared error of a ticket's network as a function of its kept weights, one flat vector.

    Args:
        ticket: the start.
        inputs: the examples, [n, features].
        labels: their classes.
        classes: how many there are.
    """

    def __init__(self, ticket: Ticket, inputs: Tensor, labels: Tensor, classes: int) -> None:
        self._module = ticket.module()
        self._names = [name for name, _ in self._module.named_parameters()]
        self._masks = {name: ticket.mask[name] for name in self._names}
        self._places = {name: torch.nonzero(self._masks[name].reshape(-1)).squeeze(1) for name in self._names}
        self._inputs = inputs
        self._wanted = nn.functional.one_hot(labels, classes).float()
        with torch.no_grad():
            square = float(self._module(inputs).double().square().mean())
        if not square > 0.0:
            raise ValueError("this network's outputs are 0 on all examples: nothing can be learnt from there")
        self.scale = math.sqrt(1.0 / classes / square)
        values = dict(self._module.named_parameters())
        self.start = torch.cat(
            [values[name].detach().reshape(-1)[place] for name, place in self._places.items()]
        ).clone()

    def outputs(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return the scaled outputs with other kept weights."""
        result: Tensor = functional_call(self._module, self._full(weights), (inputs,))
        return self.scale * result

    def loss(self, weights: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return half the squared error summed over outputs, mean over all examples or over some rows."""
        inputs, wanted = (self._inputs, self._wanted) if rows is None else (self._inputs[rows], self._wanted[rows])
        return (self.outputs(weights, inputs) - wanted).square().sum(1).mean() / 2

    def error(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> float:
        """Return the share of wrong classes."""
        with torch.no_grad():
            return float((self.outputs(weights, inputs).argmax(1) != labels).double().mean())

    def kernel(self, weights: Tensor) -> Any:  # [n * classes, n * classes]
        """Return the tangent kernel of the scaled outputs in the kept weights."""
        network = _With(self._module, {name: value.detach() for name, value in self._full(weights).items()})
        masks = {name.replace(".", "_"): mask for name, mask in self._masks.items()}
        return self.scale**2 * tangent_kernel(network, self._inputs, masks)

    def descend(self, batch: int, steps: int, seed: int) -> tuple[dict[str, Any], Path]:
        """Run SGD and its frozen twin, and look around; return the numbers, and some points of the path.

        Args:
            batch: examples of a step, with replacement.
            steps: how many.
            seed: of batches and of the points that are looked at.
        """
        before = self.kernel(self.start)
        outputs = self._wanted.shape[1]
        first = spectrum(before, outputs, tolerance=_FLOAT32)
        step = first.safe_step(batch)
        with torch.no_grad():
            misses = (self.outputs(self.start, self._inputs) - self._wanted).double().numpy()
        path, curve, outcome = self._walk(batch, step, steps, seed)
        done = curve[-1][0]
        frozen = descend(before, misses, batch=batch, step=step, seed=seed, most=max(1, done), look_every=1)
        after = self.kernel(path[-1][1])
        guaranteed = get("ma2018power.step_contraction")(l=first.least, m=batch, eta=step, beta=first.beta)
        kept = {at for at, _ in curve}
        twin = [(at, loss / 2) for at, loss in frozen.curve if at in kept]
        return {
            "outcome": outcome,
            "step": step,
            "spectrum": _numbers(first),
            "spectrum_after": _numbers(spectrum(after, outputs, tolerance=_FLOAT32)),
            "kernel_change": float(np.linalg.norm(after - before) / np.linalg.norm(before)),
            "moved": float((path[-1][1] - self.start).norm() / self.start.norm()),
            "curve": curve,
            "frozen": twin,
            "rate": _rate(curve),
            "frozen_rate": _rate(twin),
            "guaranteed_rate": guaranteed,
            **self._look_around(path, seed),
        }, path

    def _walk(self, batch: int, step: float, steps: int, seed: int) -> tuple[Path, list[tuple[int, float]], str]:
        looks = {0, steps, *(int(at) for at in np.unique(np.geomspace(1, steps, _LOOKS).round()))}
        weights = self.start.clone()
        path: Path = [(0, weights.clone())]
        curve = [(0, float(self.loss(weights)))]
        for at, rows in enumerate(torch.from_numpy(batches(seed, steps, batch, len(self._inputs))), 1):
            weights.requires_grad_(True)
            (slope,) = torch.autograd.grad(self.loss(weights, rows), weights)
            weights = weights.detach() - step * slope
            if at in looks:
                with torch.no_grad():
                    loss = float(self.loss(weights))
                if not loss < 1e6 * curve[0][1]:
                    return path, curve, "diverged"
                path.append((at, weights.clone()))
                curve.append((at, loss))
        return path, curve, "done"

    def _look_around(self, path: Path, seed: int) -> dict[str, Any]:
        """Test quasi-convexity along the path, on a sphere around its end, and on segments between these points."""
        end = path[-1][1]
        radius = float((path[0][1] - end).norm())
        around = [end + radius * direction for direction in self._directions(seed)]
        least = float(self._slope(end)[0])
        along = [self._quasar(weights, end, least) for _, weights in path[:-1]]
        outside = [self._quasar(weights, end, least) for weights in around]
        known = [value for value in along if value is not None]
        out = [value for value in outside if value is not None]
        points = [weights for _, weights in path[:: max(1, len(path) // 5)]] + around[:3]
        humps, tried, highest = self._segments(points)
        return {
            "path": {
                "least_quasar": min(known, default=None),
                "quasar": along,
                "quasi_convex": bool(known) and all(value > 0.0 for value in known),
            },
            "around": {
                "radius": radius,
                "quasar": outside,
                "uphill": sum(value > 0.0 for value in out),
                "of": len(out),
            },
            "segments": {"humps": humps, "tried": tried, "highest": highest},
            "pl": [self._pl(weights) for _, weights in path],
        }

    def _segments(self, points: Sequence[Tensor]) -> tuple[int, int, float]:
        """Count segments whose inside is higher than both ends, by more than rounding; the highest hump, relative."""
        humps = tried = 0
        highest = 0.0
        with torch.no_grad():
            for one, two in itertools.combinations(points, 2):
                ends = max(float(self.loss(one)), float(self.loss(two)))
                shares = [(k + 1) / (_INSIDE + 1) for k in range(_INSIDE)]
                inside = max(float(self.loss(torch.lerp(one, two, share))) for share in shares)
                tried += 1
                humps += inside > ends * (1.0 + 1e-4)
                highest = max(highest, inside / ends - 1.0)
        return humps, tried, highest

    def _slope(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        at = weights.detach().clone().requires_grad_(True)
        loss = self.loss(at)
        (slope,) = torch.autograd.grad(loss, at)
        return loss.detach(), slope

    def _quasar(self, weights: Tensor, end: Tensor, least: float) -> float | None:
        """<gradient, w - end> / (loss - end's loss): 2 on a quadratic, >= 1 if convex; None where that is 0."""
        loss, slope = self._slope(weights)
        if not float(loss) > 1.001 * least:
            return None
        return float(slope.double() @ (weights - end).double()) / (float(loss) - least)

    def _pl(self, weights: Tensor) -> float:
        loss, slope = self._slope(weights)
        return float(slope.double().square().sum() / (2.0 * loss.double().clamp_min(1e-300)))

    def _directions(self, seed: int) -> list[Tensor]:
        size = self.start.numel()
        drawn = NORMAL_TAB1.values(seed, "directions", 0, _AROUND * size, dtype="float32", purpose=TRIAL)
        rows = torch.from_numpy(np.asarray(drawn, dtype=np.float32)).view(_AROUND, size)
        return [row / row.norm() for row in rows]

    def _full(self, weights: Tensor) -> dict[str, Tensor]:
        full = {}
        parts = torch.split(weights, [len(place) for place in self._places.values()])
        for (name, place), part in zip(self._places.items(), parts, strict=True):
            shape = self._masks[name].shape
            full[name] = torch.zeros(shape.numel()).index_put((place,), part).view(shape)
        return full


class _With(nn.Module):
    """A network with other weights."""

    def __init__(self, module: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._network = [module]  # in a list: its own parameters are not this module's
        self._names = {name.replace(".", "_"): name for name in weights}
        for name, value in weights.items():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(value))

    def forward(self, inputs: Tensor) -> Tensor:
        weights: dict[str, Tensor] = {self._names[own]: value for own, value in self.named_parameters()}
        result: Tensor = functional_call(self._network[0], weights, (inputs,))
        return result


def regressed(network: MLP, data: Dataset, seed: int, *, steps: int = 500, rate: float = 0.01) -> Target:
    """Train an MLP on the squared error to one-hot labels, its weights within [-1, 1], and return it as a target.

    Full-batch Adam from N(0, 2/fan-in).
    """
    from strongticket import Target

    weights = {}
    for name, shape in network.shapes.items():
        drawn = NORMAL_TAB1.values(seed, name, 0, math.prod(shape), dtype="float32", purpose=INIT)
        scaled = torch.from_numpy(np.asarray(drawn, dtype=np.float32)).view(shape) * math.sqrt(2.0 / shape[-1])
        weights[name] = scaled.clamp(-1.0, 1.0)
    module = network.module(weights).requires_grad_(True)
    wanted = nn.functional.one_hot(data.train.labels, data.classes).float()
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        (module(data.train.inputs) - wanted).square().sum(1).mean().backward()
        optimiser.step()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.clamp_(-1.0, 1.0)
    return Target.from_module(module)


def _numbers(found: Any) -> dict[str, float]:
    return {
        "beta": found.beta,
        "lambda_1": found.largest,
        "lambda_k": found.least,
        "rank": found.rank,
        "trace": found.trace,
        "critical_batch": found.critical_batch,
    }


def _rate(curve: Sequence[tuple[int, float]]) -> float:
    """Geometric mean of the loss's factor per step."""
    (_, first), (steps, last) = curve[0], curve[-1]
    return float((max(last, 1e-300) / first) ** (1.0 / max(1, steps)))
