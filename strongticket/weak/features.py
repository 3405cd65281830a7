"""Random features and their least-squares predictors: what double descent is about (belkin2019reconciling).

A predictor h(x) = sum_k a_k phi_k(x) has random features phi_k and learned coefficients a_k. With n examples and N
features the coefficients are those of least squares; where several fit equally well (always for N > n) they are the
ones of minimum Euclidean norm. Features are nested: the first N of a draw are the features of the smaller model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket.random import NORMAL_TAB1, check_seed

__all__ = [
    "AbstractFeatures",
    "Fit",
    "FourierFeatures",
    "Judged",
    "ReluFeatures",
    "fit",
    "judge",
    "one_hot",
    "ridge_path",
]

Floats = NDArray[np.float64]
Route = Literal["qr", "eigen"]


class AbstractFeatures(ABC):
    """Random features of vectors: frozen, named by a seed, nested."""

    dimension: int
    seed: int

    @abstractmethod
    def __call__(self, inputs: Floats, count: int) -> Floats:  # [points, dimension] -> [points, count]
        """Return the first `count` features of every input, in float64."""

    @abstractmethod
    def scale(self, count: int) -> float:
        """Return what a model of `count` features multiplies each of them by, so that norms compare across models."""

    @abstractmethod
    def kernel(self, first: Floats, second: Floats) -> Floats:  # [a, dimension], [b, dimension] -> [a, b]
        """Return the inner products that scaled features tend to, as their number grows."""

    def _directions(self, name: str, count: int) -> Floats:  # [count, dimension]
        drawn = NORMAL_TAB1.values(self.seed, name, 0, count * self.dimension, dtype="float64")
        return np.asarray(drawn, dtype=np.float64).reshape(count, self.dimension)

    def _check(self, inputs: Floats, count: int, step: int = 1) -> Floats:
        x = np.asarray(inputs, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise ValueError(f"expected inputs of shape [points, {self.dimension}], got {x.shape}")
        if isinstance(count, bool) or not isinstance(count, int) or count < step or count % step:
            kind = "an even number >= 2 (a cosine and a sine each)" if step == 2 else "an integer >= 1"
            raise ValueError(f"count must be {kind}, got {count!r}")
        return x


@final
@dataclass(frozen=True)
class FourierFeatures(AbstractFeatures):
    """Random Fourier features: cos <v_k, x> and sin <v_k, x> in turn, v_k ~ N(0, I / bandwidth^2).

    Scaled by sqrt(2/N), N of them have inner products that tend to the Gaussian kernel exp(-|x - y|^2 / (2
    bandwidth^2)). A complex feature of the paper is one pair of these.

    Args:
        dimension: numbers in an input.
        bandwidth: of the Gaussian kernel, > 0.
        seed: names the draw.

    Raises:
        ValueError: a parameter outside its range.

    >>> features = FourierFeatures(3, bandwidth=2.0, seed=1)
    >>> x = np.array([[0.1, 0.2, 0.3], [0.5, -0.5, 0.0]])
    >>> phi = features(x, 4000) * features.scale(4000)
    >>> bool(abs(phi[0] @ phi[1] - np.exp(-((x[0] - x[1]) ** 2).sum() / 8)) < 0.05)
    True
    """

    dimension: int
    bandwidth: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.dimension < 1 or not 0.0 < self.bandwidth < math.inf:
            raise ValueError(f"expected a dimension >= 1 and a bandwidth above 0, got {self}")

    def __call__(self, inputs: Floats, count: int) -> Floats:  # [points, dimension] -> [points, count]
        """Return the first `count` features, an even number; see the class."""
        x = self._check(inputs, count, 2)
        phases = x @ (self._directions("fourier directions", count // 2).T / self.bandwidth)
        return np.stack([np.cos(phases), np.sin(phases)], axis=2).reshape(len(x), count)

    def scale(self, count: int) -> float:
        """Return sqrt(2/count): then each input has norm 1 in the space of features."""
        return math.sqrt(2.0 / count)

    def kernel(self, first: Floats, second: Floats) -> Floats:  # [a, dimension], [b, dimension] -> [a, b]
        """Return the Gaussian kernel of the bandwidth."""
        x, y = self._check(first, 2), self._check(second, 2)
        squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2.0 * (x @ y.T)
        return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2.0 * self.bandwidth**2)))


@final
@dataclass(frozen=True)
class ReluFeatures(AbstractFeatures):
    """Random ReLU features: max(<v_k, x>, 0), v_k uniform on the unit sphere: a random first layer.

    Args:
        dimension: numbers in an input.
        seed: names the draw.

    >>> ReluFeatures(2, seed=3)(np.array([[0.0, 0.0], [1.0, 0.0]]), 5).shape
    (2, 5)
    """

    dimension: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.dimension < 1:
            raise ValueError(f"expected a dimension >= 1, got {self.dimension}")

    def __call__(self, inputs: Floats, count: int) -> Floats:  # [points, dimension] -> [points, count]
        """Return the first `count` features; see the class."""
        x = self._check(inputs, count)
        directions = self._directions("relu directions", count)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(np.maximum(x @ directions.T, 0.0))

    def scale(self, count: int) -> float:
        """Return 1/sqrt(count): inner products then tend to a kernel."""
        return 1.0 / math.sqrt(count)

    def kernel(self, first: Floats, second: Floats) -> Floats:  # [a, dimension], [b, dimension] -> [a, b]
        """Return |x| |y| (sin t + (pi - t) cos t)/(2 pi dimension), t the angle: the arc-cosine kernel of degree 1."""
        x, y = self._check(first, 1), self._check(second, 1)
        sizes = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None, :]
        cosine = np.clip(x @ y.T / np.where(sizes > 0.0, sizes, 1.0), -1.0, 1.0)
        angle = np.arccos(cosine)
        return np.asarray(sizes * (np.sin(angle) + (math.pi - angle) * cosine) / (2.0 * math.pi * self.dimension))


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares predictor.

    Attributes:
        coefficients: [features, outputs]; of minimum norm among those that fit best.
        rank: numerical rank of the features on the training inputs; interpolation needs rank = points.
        norm: Euclidean norm of the coefficients, all outputs together.
        train_loss: squared error on the training inputs, summed over outputs, mean over points.
    """

    coefficients: Floats
    rank: int
    norm: float
    train_loss: float

    def __call__(self, features: Floats) -> Floats:  # [points, features] -> [points, outputs]
        """Return the predictions."""
        return np.asarray(features @ self.coefficients)


def fit(features: Floats, wanted: Floats, *, route: Route = "qr") -> Fit:
    """Return the least-squares coefficients, of minimum norm where several are best.

    The threshold is exact: N <= n solves the overdetermined system, N > n the minimum-norm one; a matrix without full
    rank (singular values below 2^-52 max(n, N) of the largest count as 0) gets the pseudo-inverse.

    Args:
        features: [points, features].
        wanted: [points, outputs] or [points].
        route: "qr" (Householder QR of the features, whose conditioning it keeps) or "eigen" (eigenvalues of the smaller
            Gram matrix: several times faster where one side is much the longer, at the square of the condition number,
            so that eigenvalues below 2^-52 max(n, N) of the largest count as 0).

    Raises:
        ValueError: shapes that do not fit, no points or features, or numbers that are not finite.

    >>> phi = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    >>> found = fit(phi, np.array([3.0, 3.0]))
    >>> found.coefficients.ravel().round(12).tolist(), found.rank
    ([1.0, 1.0, 2.0], 2)
    """
    phi, y = _checked(features, wanted)
    if route not in ("qr", "eigen"):
        raise ValueError(f"route is 'qr' or 'eigen', got {route!r}")
    coefficients, rank = _by_eigen(phi, y) if route == "eigen" else _by_qr(phi, y)
    return _fit(phi, y, coefficients, rank)


def ridge_path(features: Floats, wanted: Floats, penalties: Sequence[float]) -> tuple[Fit, ...]:
    """Return, for each penalty, the coefficients that minimise mean squared error + penalty |a|^2.

    Tuned by validation, the penalty takes the peak away: it is one of fits without a penalty.

    Args:
        features: [points, features].
        wanted: [points, outputs] or [points].
        penalties: each > 0.

    Raises:
        ValueError: see `fit`; or a penalty that is not positive and finite.

    >>> [round(float(found.coefficients[0, 0]), 3) for found in ridge_path(np.ones((2, 1)), np.ones(2), (1.0, 1e-6))]
    [0.5, 1.0]
    """
    phi, y = _checked(features, wanted)
    if not all(0.0 < penalty < math.inf for penalty in penalties):
        raise ValueError(f"penalties must be positive and finite, got {list(penalties)}; without one, use fit")
    points, count = phi.shape
    wide = count > points
    values, vectors = _spectrum(phi)
    right = vectors.T @ (y if wide else phi.T @ y)
    found = []
    for penalty in penalties:
        solved = vectors @ (right / (np.maximum(values, 0.0) + points * penalty)[:, None])
        found.append(_fit(phi, y, np.asarray(phi.T @ solved if wide else solved), min(points, count)))
    return tuple(found)


@final
@dataclass(frozen=True)
class Judged:
    """How well outputs fit labels: `error`, the share of wrong classes; `loss`, squared error summed over outputs."""

    error: float
    loss: float


def judge(outputs: Floats, labels: NDArray[np.int64], wanted: Floats) -> Judged:
    """Compare outputs [points, classes] with labels (the largest output wins) and with what was wanted of them."""
    error = float((outputs.argmax(axis=1) != labels).mean())
    return Judged(error, float(((outputs - wanted) ** 2).sum(axis=1).mean()))


def one_hot(labels: NDArray[np.int64], classes: int) -> Floats:  # [points] -> [points, classes]
    """Return 1.0 at each label's place and 0.0 elsewhere.

    >>> one_hot(np.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return np.asarray(np.eye(classes, dtype=np.float64)[labels])


def _checked(features: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    phi, y = np.asarray(features, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if phi.ndim != 2 or y.ndim != 2 or len(phi) != len(y) or 0 in phi.shape:
        raise ValueError(
            f"expected features [points, features] and values [points, outputs] for the same points, at least one of "
            f"each, got {np.shape(features)} and {np.shape(wanted)}"
        )
    if not (np.isfinite(phi).all() and np.isfinite(y).all()):
        raise ValueError("features or values hold NaN or an infinity: no least-squares fit exists")
    return phi, y


def _fit(phi: Floats, y: Floats, coefficients: Floats, rank: int) -> Fit:
    misses = phi @ coefficients - y
    return Fit(coefficients, rank, float(np.linalg.norm(coefficients)), float((misses**2).sum(axis=1).mean()))


def _by_qr(phi: Floats, y: Floats) -> tuple[Floats, int]:
    from scipy import linalg

    points, count = phi.shape
    smaller = min(points, count)
    q, r = linalg.qr(phi if count <= points else phi.T, mode="economic", check_finite=False)
    floor = np.finfo(np.float64).eps * max(phi.shape)
    # the diagonal of R alone can hide a missing rank: its reciprocal condition cannot
    if not linalg.lapack.dtrcon(r, norm="1")[0] > 4.0 * floor:
        coefficients, _, rank, _ = linalg.lstsq(phi, y, cond=floor, lapack_driver="gelsd", check_finite=False)
        return np.asarray(coefficients), int(rank)
    if count <= points:
        return np.asarray(linalg.solve_triangular(r, q.T @ y, check_finite=False)), smaller
    return np.asarray(q @ linalg.solve_triangular(r, y, trans="T", check_finite=False)), smaller


def _spectrum(phi: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues, increasing, and eigenvectors of the smaller Gram matrix."""
    from scipy import linalg

    values, vectors = linalg.eigh(phi @ phi.T if phi.shape[1] > len(phi) else phi.T @ phi, check_finite=False)
    return np.asarray(values), np.asarray(vectors)


def _by_eigen(phi: Floats, y: Floats) -> tuple[Floats, int]:
    wide = phi.shape[1] > len(phi)
    values, vectors = _spectrum(phi)
    kept = values > np.finfo(np.float64).eps * max(phi.shape) * max(float(values[-1]), 0.0)
    basis = vectors[:, kept]
    solved = basis @ ((basis.T @ (y if wide else phi.T @ y)) / values[kept, None])
    return np.asarray(phi.T @ solved if wide else solved), int(kept.sum())
