"""Target networks inside the hypotheses of the theorems, ordinary and adversarial: layers of norm 1, or of integers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from theory._draws import Draws

__all__ = ["INTEGER_KINDS", "KINDS", "Integers", "draw_integer_layers", "draw_layers"]

Matrix = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
INTEGER_KINDS = ("spread", "zero", "extreme", "one", "odd")


def _zero(shape: tuple[int, int], draws: Draws) -> Matrix:
    return np.zeros(shape)


def _extreme(shape: tuple[int, int], draws: Draws) -> Matrix:
    """Entries as large as they can be: one +1 or -1 in each row and column, as far as they go."""
    matrix = np.zeros(shape)
    count = min(shape)
    signs = 2.0 * draws.below("signs", 2, count) - 1.0
    matrix[draws.order("rows", shape[0])[:count], draws.order("columns", shape[1])[:count]] = signs
    return matrix


def _dominant_row(shape: tuple[int, int], draws: Draws) -> Matrix:
    matrix = 0.01 * draws.normal("rest", shape)
    matrix[draws.below("place", shape[0])[0]] = draws.normal("row", shape[1])
    return matrix


def _gaussian(shape: tuple[int, int], draws: Draws) -> Matrix:
    return draws.normal("entries", shape)


def _rank_one(shape: tuple[int, int], draws: Draws) -> Matrix:
    return np.outer(draws.normal("left", shape[0]), draws.normal("right", shape[1]))


def _alternating(shape: tuple[int, int], draws: Draws) -> Matrix:
    return np.asarray((-1.0) ** np.add.outer(np.arange(shape[0]), np.arange(shape[1])))


def _sparse(shape: tuple[int, int], draws: Draws) -> Matrix:
    return np.where(draws.uniform("which", shape, low=0.0) < 0.25, draws.normal("entries", shape), 0.0)


_MAKERS: dict[str, Callable[[tuple[int, int], Draws], Matrix]] = {
    "zero": _zero,
    "extreme": _extreme,
    "dominant_row": _dominant_row,
    "gaussian": _gaussian,
    "rank_one": _rank_one,
    "alternating": _alternating,
    "sparse": _sparse,
}
KINDS: tuple[str, ...] = tuple(_MAKERS)


def draw_layers(kind: str, sizes: tuple[int, ...], seed: int) -> list[Matrix]:
    """Draw the layer matrices of a target network, each scaled to spectral norm 1 (a zero matrix stays zero).

    Args:
        kind: one of `KINDS`.
        sizes: numbers of neurons, inputs first.
        seed: of the trial.

    Returns:
        Matrices of shape [sizes[i + 1], sizes[i]], of norm at most 1 and at least 1 - 1e-9 unless zero.

    >>> [layer.shape for layer in draw_layers("rank_one", (4, 3, 2), seed=0)]
    [(3, 4), (2, 3)]
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, got {kind!r}")
    layers = []
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        matrix = _MAKERS[kind]((d_out, d_in), Draws(seed).inside(f"layer {i}"))
        norm = float(np.linalg.norm(matrix, 2))
        # a hair below 1, so that rounding cannot break the hypothesis
        layers.append(matrix / norm * (1.0 - 1e-10) if norm > 0 else matrix)
    return layers


def draw_integer_layers(kind: str, sizes: tuple[int, ...], most: int, seed: int) -> list[Integers]:
    """Draw the layers of a quantised target, in its units.

    Args:
        kind: one of `INTEGER_KINDS`; "odd" makes the hardest residues.
        sizes: numbers of neurons, inputs first.
        most: the largest magnitude, >= 1.
        seed: of the trial.

    >>> [layer.tolist() for layer in draw_integer_layers("one", (2, 1), 8, seed=0)]
    [[[1, 1]]]
    """
    layers = []
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        layer = Draws(seed).below(f"layer {i}", 2 * most + 1, d_in * d_out).reshape(d_out, d_in) - most
        if kind == "zero":
            layer = np.zeros_like(layer)
        elif kind == "extreme":
            layer = np.where(layer < 0, -most, most)
        elif kind == "one":
            layer = np.ones_like(layer)
        elif kind == "odd":
            layer = np.clip(layer | 1, 1 - most, most - 1)
        layers.append(layer)
    return layers
