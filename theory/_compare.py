"""All results on one target: what each theorem asks for, what suffices, what is kept, and the limit of information."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from strongticket.bounds import pensia2020optimal
from strongticket.bounds.natale2024sparsity import mask_bits, needed_bits
from strongticket.models import Target
from theory._contenders import Contender, Setting, contenders
from theory._crossings import Crossing, crossings
from theory._malach_claims import inside_paper
from theory._targets import draw_layers
from theory._tickets import layer_sizes, to_target

__all__ = ["Comparison", "Row", "compare", "make_setting"]

NAMED = {"lenet": "784-300-100-10", "lenet-300-100": "784-300-100-10", "lenet-500": "784-500-10"}
MOST_WORK = 4e10
"""Products of two random weights that one run may look at."""
_DOWN, _UP = 1.08, 1.25
_FINE = 0.03

Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """One result on the target; a number that is None is explained in `notes`.

    Attributes:
        key: of the paper.
        variant: of the result.
        asked_weights: weights of the source that the theorem asks for.
        asked_items: candidates per weight, the most of any layer.
        measured_weights: weights of the smallest source found to contain the target.
        measured_items: candidates per weight there.
        source_density: kept weights over weights of that source.
        kept: weights of the ticket there.
        mask_bits: bits that name a mask of that size in that source.
        proved: error of the ticket's outputs, proved on the unit ball.
        seconds: of the run that made it.
        runs: constructions that were run.
        notes: how the numbers were got, or why there are none, by name of the cell.
    """

    key: str
    variant: str
    asked_weights: int | None = None
    asked_items: int | None = None
    measured_weights: int | None = None
    measured_items: int | None = None
    source_density: float | None = None
    kept: int | None = None
    mask_bits: float | None = None
    proved: float | None = None
    seconds: float | None = None
    runs: int = 0
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Key and variant."""
        return f"{self.key}, {self.variant}" if self.variant else self.key

    def why(self, cell: str) -> str:
        """What is said of a cell."""
        return dict(self.notes).get(cell, "")


@dataclass(frozen=True)
class Comparison:
    """All results on one target.

    Attributes:
        target: its name and sizes.
        eps, delta, seed: what was asked.
        weights: of the target.
        weight_eps: tolerance per weight that the whole network's leaves, by the closed form of the layers' norms.
        limit_bits: bits that masks must hold so that some mask meets all weights up to the largest of their layer
            within that tolerance (Pensia et al. 2020, Theorem 2, in the max norm).
        rows: the results.
        crossings: tolerances at which two theorems ask for sources of the same size.
        uncrossed: why a result has no formula to be crossed with.
    """

    target: str
    sizes: tuple[int, ...]
    eps: float
    delta: float
    seed: int
    weights: int
    weight_eps: float
    limit_bits: float
    rows: tuple[Row, ...]
    crossings: tuple[Crossing, ...]
    uncrossed: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; what depends on the machine stands under "measured"."""
        value = asdict(self)
        for row in value["rows"]:
            row |= {"notes": dict(row["notes"]), "measured": {"seconds": row.pop("seconds")}}
        return {**value, "crossings": [one.to_json() for one in self.crossings], "uncrossed": dict(self.uncrossed)}


def make_setting(
    target: str, eps: float, delta: float, *, seed: int = 0, seconds: float = 60.0, normalise: bool = False
) -> Setting:
    """Read or draw the target and check the numbers.

    Args:
        target: lenet (784-300-100-10), other sizes such as 784-500-10, or a file as `strongticket train` writes it.
            Of sizes, a gaussian network is drawn inside the hypotheses of all results: layers of norm at most 1,
            without weights beyond 1/sqrt(fan-in).
        eps: tolerance of the outputs on the unit ball.
        delta: failure probability.
        seed: of the target that is drawn, and of the sources.
        seconds: time for each result's measurements.
        normalise: divide each layer of a file's network by its norm where that exceeds 1.

    Raises:
        ValueError: eps or delta outside (0, 1), or no such target.
    """
    for name, value in (("eps", eps), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    if not seconds > 0.0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    sizes = NAMED.get(target, target)
    if not all(part.isdigit() for part in sizes.split("-")):
        read = Target.load(target)
        return Setting(target, _normalised(read) if normalise else read, eps, delta, seed, seconds)
    drawn = to_target(inside_paper(draw_layers("gaussian", layer_sizes(sizes), seed)))
    name = f"{sizes}, gaussian layers of norm <= 1 without weights beyond 1/sqrt(fan-in)"
    return Setting(name, drawn, eps, delta, seed, seconds)


def _normalised(target: Target) -> Target:
    if target.architecture.bias:
        raise ValueError("a network with biases cannot be normalised layer by layer: give one without")
    layers = [layer.weight for layer in target.layers]
    return to_target([w / max(1.0, float(np.linalg.norm(w, 2)) * (1.0 + 1e-9)) for w in layers])


class _OutOfTimeError(Exception):
    """Raised from a progress callback; holds the share of the work that was done."""


def compare(setting: Setting, *, only: tuple[str, ...] = (), say: Say | None = None) -> Comparison:
    """Ask every result for its source on this target, and measure what suffices.

    What suffices is measured by the construction itself, in the source that the seed names: from the predicted number
    of candidates on (where the construction has one, else from what the theorem asks for), with more until every weight
    is reached or fewer until one is not, in growing steps, and then halving the gap, as long as the time allows.

    Args:
        setting: what is asked.
        only: papers to ask; all of them if empty.
        say: called with (label, done, total) now and then.
    """
    chosen = [one for one in contenders() if not only or one.key in only]
    unknown = sorted(set(only) - {one.key for one in chosen})
    if unknown:
        raise ValueError(f"no paper {', '.join(unknown)}; there are {', '.join(sorted({c.key for c in contenders()}))}")
    rows = tuple(_row(one, setting, say) for one in chosen)
    each = pensia2020optimal.weight_eps(setting.shapes, setting.eps)
    layers = setting.target.layers
    limit = sum(needed_bits(x.weight.size, each, float(np.abs(x.weight).max(initial=0.0))) + 1.0 for x in layers) - 1.0
    crossed, uncrossed = crossings(chosen, setting)
    return Comparison(
        target=setting.name,
        sizes=setting.target.architecture.sizes,
        eps=setting.eps,
        delta=setting.delta,
        seed=setting.seed,
        weights=sum(a * b for a, b in setting.shapes),
        weight_eps=each,
        limit_bits=max(0.0, limit),
        rows=rows,
        crossings=crossed,
        uncrossed=uncrossed,
    )


def _row(one: Contender, setting: Setting, say: Say | None) -> Row:
    if one.make is None:
        return Row(one.key, one.variant, notes=(("asked", one.why), ("measured", one.why)))
    asked, practice = one.counts()
    notes: dict[str, str] = {}
    weights = items = None
    try:
        if asked is None:
            raise ValueError("it has no count that is proved to be enough")
        method, target = one.method(setting, asked)
        plan = method.plan(target)
        weights, items = int(plan.source.architecture.size), max(plan.items)
        notes["asked"] = f"items='{asked}'"
    except _REFUSALS as error:
        notes["asked"] = _reason(error)
    row = Row(one.key, one.variant, weights, items)
    try:
        found = _measure(one, setting, practice, items, say)
        notes["measured"] = found.pop("how")
        row = replace(row, **found)
    except _REFUSALS as error:
        notes["measured"] = _reason(error)
    return replace(row, notes=tuple(notes.items()))


_REFUSALS = (ValueError, TypeError, _OutOfTimeError)


def _reason(error: Exception) -> str:
    """The first line of a refusal: the reader sees why a cell is empty."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _measure(one: Contender, setting: Setting, practice: str | None, asked: int | None, say: Say | None) -> Any:
    """Run the construction with more and fewer candidates; return the best row's values."""
    if practice is None and asked is None:
        raise ValueError("there is no number of candidates to begin with")
    method, target = one.method(setting, practice if practice is not None else int(asked or 1))
    first = method.plan(target)
    work = sum(n * p for n, p in zip(first.items, first.problems, strict=True))
    if work > MOST_WORK:
        raise ValueError(
            f"not run: {max(first.items):.3g} candidates for each of {sum(first.problems):,} weights are {work:.2g} "
            f"products to look at, more than {MOST_WORK:.0e}; take a larger eps or a smaller target"
        )
    started, runs, best, failed, step = time.process_time(), 0, None, 0, 1.0
    count: int | None = max(first.items)
    proved: float | None = None
    while count is not None and runs < setting.runs:
        if runs and (time.process_time() - started) * (1.0 + 1.0 / runs) > setting.seconds:
            break
        clock = time.perf_counter()
        method, target = one.method(setting, count)
        result = method.construct(target, progress=_watch(one.label, started, setting.seconds, best is None, say))
        runs += 1
        if result.ticket is None:
            failed = max(failed, count)
        else:
            best = (count, result, time.perf_counter() - clock)
            proved = _proved(method, result.ticket, target, setting)
        count, step = _next(count, failed, best[0] if best is not None else None, step)
    if best is None:
        raise ValueError(
            f"with {failed} candidates and fewer some weight was not reached; {_times(runs)}, then time was up"
        )
    count, result, seconds = best
    ticket = result.ticket
    size = int(ticket.source.architecture.size)
    least = f"not with {failed}" if failed else "fewer were not tried"
    return {
        "measured_weights": size,
        "measured_items": count,
        "source_density": ticket.mask.count / size,
        "kept": ticket.mask.count,
        "mask_bits": mask_bits(size, ticket.mask.count),
        "proved": proved,
        "seconds": seconds,
        "runs": runs,
        "how": f"all weights reached in the source of seed {setting.seed}; {least} ({_times(runs)} of it)",
    }


def _times(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"


def _next(count: int, failed: int, reached: int | None, step: float) -> tuple[int | None, float]:
    """Return the next number of candidates to try, and the growing step; None where the gap is small enough.

    >>> _next(100, 0, 100, 1.0)[0], _next(100, 100, None, 1.0)[0], _next(92, 92, 100, 1.1664)[0]
    (92, 125, 96)
    """
    if reached is None:
        step = _UP * step * step if step > 1.0 else _UP
        return max(count + 1, round(count * step)), step
    if failed:
        gap = reached - failed
        return (None if gap <= max(1.0, _FINE * reached) else failed + gap // 2), step
    step = step * step if step > 1.0 else _DOWN
    down = min(reached - 1, int(reached / step))
    return (down if down >= 1 else None), step


def _proved(method: Any, ticket: Any, target: Any, setting: Setting) -> float | None:
    """The ticket's proved error on the unit ball, against the network that was asked for where that can be proved."""
    from strongticket.certificate import Domain
    from strongticket.certify import StructureError, examine, examine_copies

    ball = Domain.ball(1)
    if hasattr(method, "copies"):
        return examine_copies(ticket, setting.target, ball, method.copies(target)).euclidean.error
    try:
        whose = setting.target if isinstance(target, Target) else target
        return examine(ticket, whose, ball).euclidean.error
    except (StructureError, ValueError, TypeError):
        return None


def _watch(label: str, started: float, seconds: float, first: bool, say: Say | None) -> Say:
    """Report progress, and stop a construction that takes too long; a first run may take twice the time."""

    def watch(stage: str, done: int, total: int) -> None:
        if say is not None:
            say(label, done, total)
        used = time.process_time() - started
        if used > (2.0 if first else 1.5) * seconds and done < total:
            raise _OutOfTimeError(
                f"stopped after {used:.0f} s of CPU time with {100 * done / max(1, total):.0f} % of the weights done"
            )

    return watch
