"""Say which predictions of a target its ticket cannot change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from strongticket.certify._chains import Chains
from strongticket.certify._difference import Difference
from strongticket.certify._graph_difference import GraphDifference
from strongticket.certify._graph_points import at_points, batches
from strongticket.certify._points import as_inputs, inside, norms_above
from strongticket.certify._rounding import UNIT, Floats, gamma, lifted, norm_above, raised
from strongticket.certify.certifier import affordable_reach
from strongticket.certify.report import Report
from strongticket.models import Target
from strongticket.models.targets import GraphTarget

__all__ = ["Margins", "margins"]

_BATCH = 2048
_SLOP = 1.0 + 64.0 * UNIT


@final
@dataclass(frozen=True, eq=False)
class Margins:
    """Which predictions are proved to be the same for target and ticket.

    Args:
        predictions: the target's class of each input.
        margin: its largest output minus the second largest.
        bound: what the certificate of each input says of the largest output difference there.
        unchanged: whether the certificate of that input proves the prediction.
        unchanged_globally: whether the report's bound, one for the whole domain, proves it.
        correct: whether the target's prediction is the label; None without labels.
    """

    predictions: NDArray[np.int64]  # [inputs]
    margin: Floats  # [inputs]
    bound: Floats  # [inputs]
    unchanged: NDArray[np.bool_]  # [inputs]
    unchanged_globally: NDArray[np.bool_]  # [inputs]
    correct: NDArray[np.bool_] | None = None

    @property
    def total(self) -> int:
        """Number of inputs."""
        return len(self.predictions)

    @property
    def proved_unchanged(self) -> int:
        """Number of inputs whose prediction is proved unchanged, by either certificate."""
        return int(np.count_nonzero(self.unchanged | self.unchanged_globally))

    @property
    def fraction(self) -> float:
        """Fraction proved unchanged; 0 for no inputs."""
        return self.proved_unchanged / self.total if self.total else 0.0

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Range in which the ticket's accuracy on these inputs is proved to lie; None without labels."""
        if self.correct is None or not self.total:
            return None
        proved = self.unchanged | self.unchanged_globally
        right, wrong = (int(np.count_nonzero(proved & kind)) for kind in (self.correct, ~self.correct))
        return right / self.total, (self.total - wrong) / self.total

    def __str__(self) -> str:
        text = f"{self.proved_unchanged:,} of {self.total:,} predictions ({self.fraction:.2%}) cannot change"
        return text + f"; {int(np.count_nonzero(self.unchanged_globally)):,} by the bound over the whole domain alone"


def margins(
    report: Report, target: Target | GraphTarget, inputs: ArrayLike, labels: ArrayLike | None = None
) -> Margins:
    """Prove for single inputs that target and ticket predict the same class, without running the ticket.

    The difference at x obeys |change_j| <= sum over layers i of T_ij (|E_i h_(i-1)(x) + offset_i| + |E_i| D_(i-1)(x)),
    T_ij a bound of what reaches output j from layer i, h the target's own values at x and D the same sum for the layers
    below. The prediction is proved where the margin to every other class exceeds what the two outputs can move.

    For a ticket in a graph the change at x is computed beside the target's values in float64, with a bound of all that
    was rounded, which leaves almost nothing open.

    Args:
        report: from `examine`; its bound over the domain is the second certificate, for inputs inside the domain.
        target: the target of the report.
        inputs: [batch, ...] points.
        labels: [batch] true classes, for `Margins.accuracy`.

    Raises:
        ValueError: another target, inputs or labels that do not fit, or a network with a single output.

    >>> import torch
    >>> from strongticket.certificate import Domain
    >>> from strongticket.certify import examine
    >>> from strongticket.models import MLP
    >>> from strongticket.ticket import Mask, Source, Ticket
    >>> source = Source(MLP((1, 2, 2)), seed=0)
    >>> empty = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0
    >>> target = Target(MLP((1, 2)), {"layers.0.weight": torch.tensor([[0.25], [-0.5]])})
    >>> report = examine(empty, target, Domain.box(0, 1))
    >>> print(margins(report, target, [[0.5], [1.0]]))
    0 of 2 predictions (0.00%) cannot change; 0 by the bound over the whole domain alone
    """
    comparison = report.comparison
    if isinstance(comparison, GraphDifference) and isinstance(target, Target):
        target = GraphTarget.from_target(target)  # as `examine` reads it
    if target.digest != comparison.target_digest:
        raise ValueError(f"the report is of target {comparison.target_digest}, got {target.digest}")
    if isinstance(comparison, Difference):
        comparison.check_rectified("margins")
    if comparison.outputs < 2:
        raise ValueError("margins are between classes; a network with one output has none")
    points = as_inputs(inputs, comparison.inputs)
    correct: NDArray[np.int64] | None = None
    if labels is not None:
        correct = np.asarray(labels)
        if correct.shape != (len(points),) or correct.dtype.kind not in "iu":
            raise ValueError(f"labels are {len(points)} integers, got shape {correct.shape}, dtype {correct.dtype}")
    if isinstance(comparison, GraphDifference):
        parts = [_graph_batch(report, comparison, part) for part in batches(comparison, points)]
    else:
        chains = Chains(comparison, affordable_reach(comparison))
        starts = range(0, max(len(points), 1), _BATCH)
        parts = [_batch(report, comparison, chains, points[k : k + _BATCH]) for k in starts]
    predictions, margin, bound, unchanged, globally = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = None if correct is None else predictions == correct
    return Margins(predictions, margin, bound, unchanged, globally, known)


def _batch(report: Report, comparison: Difference, chains: Chains, points: Floats) -> tuple[NDArray[np.generic], ...]:
    logits, lost, per_output, total = _at(comparison, chains, points)
    top, gap, margin = _ranked(logits)
    mine = _separated(gap, lost, per_output, total, top)
    whole = _by_report(report, points, gap, lost, top)
    covered = (points >= 0).all(axis=1) | comparison.layers[0].split
    bound = np.minimum(per_output.max(axis=1), total)
    return top, margin, np.where(covered, bound, np.inf), mine & covered, whole


def _graph_batch(report: Report, comparison: GraphDifference, points: Floats) -> tuple[NDArray[np.generic], ...]:
    at = at_points(comparison, points)
    top, gap, margin = _ranked(at.outputs)
    rows = np.arange(len(points))
    moved = gap + (at.change[rows, top][:, None] - at.change)  # by how much the ticket's output leads
    lost = 2.0 * at.lost[:, None] + 8.0 * UNIT * gap
    off = 2.0 * at.change_lost[:, None] + 8.0 * UNIT * (np.abs(at.change[rows, top])[:, None] + np.abs(at.change))
    safe = (gap > lost * _SLOP) & (moved > (lost + off) * _SLOP)
    safe[rows, top] = True
    mine = np.logical_and.reduce(safe, axis=1)
    covered = (points >= 0).all(axis=1) | comparison.signed_ready
    bound = (np.abs(at.change).max(axis=1) + at.change_lost) * _SLOP
    whole = _by_report(report, points, gap, at.lost, top)
    return top, margin, np.where(covered, bound, np.inf), mine & covered, whole


def _ranked(logits: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return each row's largest output, how far it leads every other one, and the second."""
    order = np.argsort(-logits, axis=1, kind="stable")
    rows = np.arange(len(logits))
    top = order[:, 0]
    gap = logits[rows, top][:, None] - logits  # [batch, outputs]
    return top, gap, gap[rows, order[:, 1]]


def _by_report(report: Report, points: Floats, gap: Floats, lost: Floats, top: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say where the report's bound for the whole domain separates the outputs."""
    bounds = np.broadcast_to(np.array(report.per_output), gap.shape)
    whole = _separated(gap, lost, bounds, np.full(len(points), report.euclidean.error), top)
    return np.logical_and(whole, inside(points, report.domain))


def _separated(
    gap: Floats, lost: Floats, per_output: Floats, total: Floats, top: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say where no other output can overtake: outputs a and j move by at most min(b_a + b_j, sqrt(2) total) apart."""
    rows = np.arange(len(gap))
    apart = np.minimum(per_output[rows, top][:, None] + per_output, (np.sqrt(2.0) * _SLOP) * total[:, None])
    safe = gap * (1.0 - 8.0 * UNIT) > (apart + 2.0 * lost[:, None]) * _SLOP
    safe[rows, top] = True
    result: NDArray[np.bool_] = safe.all(axis=1)
    return result


def _at(comparison: Difference, chains: Chains, points: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the target's outputs, their rounding error in l2, and the bounds of the change: each output's, and in l2.

    `lost` bounds |computed h - true h| for the inputs of the layer at hand. Every factor of a bound is raised.
    """
    depth = len(comparison.layers)
    hidden, lost = points, np.zeros(len(points))
    sources: list[Floats] = []  # |E_i h + offset_i| + |E_i| D_(i-1), the change that layer i adds
    drift = np.zeros(len(points))
    own = np.zeros((len(points), comparison.outputs))
    for i, gap in enumerate(comparison.layers, 1):
        seen = hidden
        if i == 1 and gap.split:
            seen = np.concatenate([np.maximum(points, 0.0), np.minimum(points, 0.0)], axis=1)
        size = norms_above(seen)
        rough = gamma(seen.shape[1] + 8)
        departure = seen @ gap.error.value.T + gap.offset.value[:, 0]
        off = (
            rough * (gap.error.frobenius * size + gap.offset.frobenius)
            + lifted(gap.error.error) * size
            + gap.offset.error
        )
        off = raised((off + lifted(gap.error.norm) * lost) * _SLOP)
        added = raised((norms_above(departure) + off + lifted(gap.error.norm) * drift) * _SLOP)
        if i == depth:
            own = (np.abs(departure) + off[:, None] + raised(gap.error.rows) * drift[:, None]) * _SLOP
        sources.append(added)
        drift = _sum([chains.theta(k + 1, i) * source for k, source in enumerate(sources, 1)])
        plain = hidden @ gap.weight.value.T + gap.bias
        rounding = rough * (gap.weight.frobenius * size + norm_above(gap.bias))
        lost = raised((lifted(gap.weight.norm) * lost + rounding) * _SLOP)
        hidden = plain if i == depth else np.maximum(plain, 0.0)
    for k, source in enumerate(sources[:-1], 1):
        own = (own + chains.theta_rows(k + 1, depth) * source[:, None]) * _SLOP
    return hidden, lost, own, drift


def _sum(terms: list[Floats]) -> Floats:
    total = terms[0] * _SLOP
    for term in terms[1:]:
        total = (total + term) * _SLOP
    return raised(total)
