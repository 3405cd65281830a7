"""What decides how fast SGD interpolates: the spectrum of a kernel, of a network's tangents too (ma2018power).

A least-squares problem with n examples and a kernel, or a network near some weights, whose tangents make the kernel,
goes by three numbers: beta, the largest |x_i|^2; lambda_1 and lambda_k, the largest and the least eigenvalue above 0 of
the mean of x_i x_i'. `strongticket.bounds.ma2018power` says how fast; `descend` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket.bounds import ma2018power as bounds
from strongticket.random import ORDER, words

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["KernelRun", "Spectrum", "batches", "descend", "spectrum", "tangent_kernel", "tangents"]

Floats = NDArray[np.float64]
Outcome = Literal["reached", "diverged", "out of steps"]
_COLUMNS: Final = 1 << 12
"""Parameters whose tangents are turned to float64 at once."""
_DIVERGED: Final = 1e6
"""A loss that has grown by this factor comes back no more."""


@final
@dataclass(frozen=True)
class Spectrum:
    """The three numbers of a least-squares problem, and what follows from them.

    Attributes:
        beta: largest squared norm of an example; with several outputs, largest eigenvalue of its block.
        largest: lambda_1 of the mean.
        least: lambda_k, the least eigenvalue of the mean that counts as above 0.
        rank: eigenvalues above 0.
        trace: their sum.
    """

    beta: float
    largest: float
    least: float
    rank: int
    trace: float

    @property
    def critical_batch(self) -> float:
        """m* = beta/lambda_1 + 1."""
        return bounds.critical_batch(self.beta, self.largest)

    def safe_step(self, batch: int) -> float:
        """Return m / (beta + (m - 1) lambda_1)."""
        return bounds.safe_step(batch, self.beta, self.largest)

    def best_step(self, batch: int) -> float:
        """Return the step size of the least worst contraction."""
        return bounds.best_step(batch, self.beta, self.largest, self.least)

    def best_rate(self, batch: int) -> float:
        """Return that contraction of the expected squared error, per step."""
        return bounds.best_rate(batch, self.beta, self.largest, self.least)


def spectrum(kernel: Floats, outputs: int = 1, *, tolerance: float = 0.0) -> Spectrum:
    """Return beta, lambda_1 and lambda_k of a kernel matrix.

    Args:
        kernel: [n * outputs, n * outputs], symmetric, positive semi-definite; all outputs of an example together.
        outputs: rows that belong to one example.
        tolerance: eigenvalues up to this share of the largest count as 0, and in any case up to the rounding of
            float64; the tangents of a float32 network are worth about 1e-6.

    Raises:
        ValueError: not a symmetric matrix of whole examples, or 0 or NaN everywhere.

    >>> found = spectrum(np.diag([1.0, 1.0, 0.5]))
    >>> round(found.largest, 3), round(found.least, 3), found.beta, found.rank
    (0.333, 0.167, 1.0, 3)
    """
    from scipy import linalg

    k = np.asarray(kernel, dtype=np.float64)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or not len(k) or outputs < 1 or len(k) % outputs:
        raise ValueError(f"expected a square matrix of whole examples of {outputs} outputs, got shape {k.shape}")
    if not np.isfinite(k).all() or not np.allclose(k, k.T, rtol=1e-6, atol=1e-9 * float(np.abs(k).max())):
        raise ValueError("a kernel is finite and symmetric: this matrix is not; (k + k.T) / 2 mends rounding")
    examples = len(k) // outputs
    values = linalg.eigvalsh((k + k.T) / 2.0, check_finite=False) / examples
    floor = max(tolerance, float(np.finfo(np.float64).eps) * len(k)) * max(float(values[-1]), 0.0)
    kept = values[values > floor]
    if not len(kept) or values[-1] <= 0.0:
        raise ValueError("this kernel has no eigenvalue above 0: nothing can be learnt with it")
    blocks = k.reshape(examples, outputs, examples, outputs)[np.arange(examples), :, np.arange(examples)]
    beta = float(np.linalg.eigvalsh(blocks)[:, -1].max())
    # rounding must not bring lambda_1 above beta, which it never exceeds
    return Spectrum(max(beta, float(kept[-1])), float(kept[-1]), float(kept[0]), len(kept), float(kept.sum()))


def batches(seed: int, steps: int, batch: int, examples: int) -> NDArray[np.int64]:  # [steps, batch]
    """Draw examples with replacement, as the theory does; the first steps do not depend on how many are drawn.

    >>> batches(0, 2, 3, 10).tolist() == batches(0, 5, 3, 10)[:2].tolist()
    True
    """
    drawn = words(seed, f"with replacement, {batch} of {examples}", 0, steps * batch, purpose=ORDER)
    return (drawn.astype(np.uint64) * np.uint64(examples) >> np.uint64(32)).astype(np.int64).reshape(steps, batch)


@final
@dataclass(frozen=True)
class KernelRun:
    """How SGD with a kernel went.

    Attributes:
        outcome: "reached" the goal, "diverged" (the loss grew by 10^6), or "out of steps".
        steps: steps done.
        loss: mean over examples of the squared error summed over outputs, at the end.
        curve: (step, loss) at each look.
    """

    outcome: Outcome
    steps: int
    loss: float
    curve: tuple[tuple[int, float], ...]


def descend(
    kernel: Floats,  # [n * outputs, n * outputs]
    misses: Floats,  # [n, outputs]
    *,
    batch: int,
    step: float,
    seed: int,
    most: int,
    goal: float = 0.0,
    look_every: int = 1,
) -> KernelRun:
    """Run SGD on half the mean squared error in the space of a kernel, from given misses, in terms of the misses alone.

    A step on the examples B changes the misses r by -(step/m) sum over i in B of K[:, i] r_i. A kernel [n, n] serves
    all outputs alike; one of [n outputs, n outputs] couples them.

    Args:
        kernel: of the examples.
        misses: outputs minus what is wanted, at the start.
        batch: m, examples of a step, with replacement.
        step: step size.
        seed: of the batches.
        most: most steps.
        goal: stop when the loss is at most this.
        look_every: steps between two looks at the loss.

    Raises:
        ValueError: shapes that do not fit, or numbers out of range.
    """
    r = np.array(misses, dtype=np.float64)
    shared = r.ndim == 2 and kernel.shape == (len(r), len(r))
    if r.ndim != 2 or (not shared and kernel.shape != (r.size, r.size)):
        raise ValueError(f"a kernel of shape {kernel.shape} does not fit misses of shape {r.shape}")
    if batch < 1 or most < 1 or look_every < 1 or not 0.0 < step < math.inf:
        raise ValueError(f"batch, most and look_every are >= 1, step > 0; got {batch}, {most}, {look_every}, {step}")
    n, outputs = r.shape
    rows = kernel if shared else kernel.reshape(n, outputs, n * outputs)
    start = loss = float((r**2).sum() / n)
    curve = [(0, loss)]
    chunk = max(1, min(most, (1 << 20) // batch))  # steps whose batches are drawn at once
    done = 0
    while done < most:
        for chosen in batches(seed, min(most, done + chunk), batch, n)[done:]:
            if shared:
                r -= (step / batch) * (rows[chosen].T @ r[chosen])
            else:
                pulled = np.tensordot(r[chosen], rows[chosen], axes=([0, 1], [0, 1]))
                r -= (step / batch) * pulled.reshape(n, outputs)
            done += 1
            if done % look_every and done != most:
                continue
            loss = float((r**2).sum() / n)
            curve.append((done, loss))
            if loss <= goal:
                return KernelRun("reached", done, loss, tuple(curve))
            if not loss <= _DIVERGED * start:
                return KernelRun("diverged", done, loss, tuple(curve))
    return KernelRun("out of steps", done, loss, tuple(curve))


def tangents(
    module: nn.Module,
    inputs: Tensor,  # [n, ...]
    masks: Mapping[str, Tensor] | None = None,
    *,
    chunk: int = 10,
) -> Tensor:  # [n, outputs, kept parameters]
    """Return the derivatives of every output of every example in the parameters: of those that are kept.

    Args:
        module: a network without random layers.
        inputs: the examples.
        masks: which entries of which parameters move; parameters without a mask move as a whole. None: all.
        chunk: examples at once.

    Raises:
        ValueError: a mask of no parameter, or of another shape.

    >>> import torch
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> tangents(net, torch.tensor([[3.0, 4.0]]), {"weight": torch.tensor([[True, False]])}).tolist()
    [[[3.0]]]
    """
    import torch
    from torch.func import functional_call, jacrev, vmap

    parameters = {name: value.detach() for name, value in module.named_parameters()}
    places = {name: torch.arange(value.numel(), device=value.device) for name, value in parameters.items()}
    for name, mask in (masks or {}).items():
        if name not in parameters or parameters[name].shape != mask.shape:
            there = tuple(parameters[name].shape) if name in parameters else "no such parameter"
            raise ValueError(f"the mask of {name} has shape {tuple(mask.shape)}, the network has {there}")
        places[name] = torch.nonzero(mask.to(parameters[name].device).reshape(-1)).squeeze(1)

    def output(values: dict[str, Tensor], one: Tensor) -> Tensor:
        outputs: Tensor = functional_call(module, values, (one[None],))
        return outputs[0]

    slopes = vmap(jacrev(output), in_dims=(None, 0))
    found = []
    for first in range(0, len(inputs), chunk):
        every = slopes(parameters, inputs[first : first + chunk])
        found.append(torch.cat([every[name].flatten(2)[:, :, place] for name, place in places.items()], dim=2))
    return torch.cat(found)


def tangent_kernel(
    module: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None = None, *, chunk: int = 10
) -> Floats:  # [n * outputs, n * outputs]
    """Return the inner products of the tangents of all outputs of all examples, summed in float64.

    See `tangents` for the arguments.

    >>> import torch
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> tangent_kernel(net, torch.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rows = tangents(module, inputs, masks, chunk=chunk).flatten(0, 1)
    total = np.zeros((len(rows), len(rows)))
    for first in range(0, rows.shape[1], _COLUMNS):
        part = rows[:, first : first + _COLUMNS].double().cpu().numpy()
        total += part @ part.T
    return total
