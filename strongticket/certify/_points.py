"""Points of a domain: read them, move them into it, and say for sure whether they lie in it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from strongticket.certificate import Domain
from strongticket.certify._rounding import Floats, above, raised

__all__ = ["as_inputs", "inside", "into", "norms_above"]


def as_inputs(inputs: ArrayLike | torch.Tensor, dimension: int) -> Floats:  # [batch, ...] -> [batch, dimension]
    """Read a batch of inputs as float64 rows.

    Raises:
        ValueError: rows of another size, or a value that is not finite.
    """
    array = inputs.detach().cpu().numpy() if isinstance(inputs, torch.Tensor) else np.asarray(inputs)
    if array.ndim < 2 or math.prod(array.shape[1:]) != dimension:
        raise ValueError(f"inputs are a batch [n, ...] of {dimension} numbers each, got shape {array.shape}")
    rows = array.reshape(len(array), dimension).astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("inputs must be finite; one is NaN or infinite")
    return rows


def norms_above(points: Floats) -> Floats:  # [batch]
    """Return upper bounds of the rows' Euclidean norms."""
    size = raised(points)
    squares: Floats = np.einsum("ij,ij->i", size, size)
    return above(np.sqrt(squares), points.shape[1])


def inside(points: Floats, domain: Domain) -> NDArray[np.bool_]:  # [batch]
    """Say of each row whether it surely lies in the domain."""
    box: NDArray[np.bool_] = np.all((points >= domain.low) & (points <= domain.high), axis=1)
    if math.isinf(domain.radius):
        return box
    ball: NDArray[np.bool_] = norms_above(points) <= domain.radius
    return np.logical_and(box, ball)


def into(points: Floats, domain: Domain) -> Floats:
    """Move rows into the domain: clip to the box, then go toward its point nearest to 0 until the ball is reached.

    Raises:
        ValueError: the domain is empty in this dimension.
    """
    clipped: Floats = np.clip(points, domain.low, domain.high)
    if math.isinf(domain.radius):
        return clipped
    radius = domain.radius * (1.0 - 1e-12)
    near = min(max(0.0, domain.low), domain.high)
    dimension = points.shape[1]
    if math.sqrt(dimension) * abs(near) > radius:
        raise ValueError(f"the domain {domain} is empty for {dimension} coordinates: the box lies outside the ball")
    away = clipped - near
    a = np.maximum(np.einsum("ij,ij->i", away, away), 1e-300)
    b = near * away.sum(axis=1)
    c = dimension * near * near - radius * radius
    share = np.clip((-b + np.sqrt(np.maximum(b * b - a * c, 0.0))) / a, 0.0, 1.0)
    moved: Floats = np.clip(near + share[:, None] * away, domain.low, domain.high)
    return moved
