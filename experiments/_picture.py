"""The demo's picture: every weight beside its subset sum, every test logit beside its double, and what is proved."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from experiments._study import Study
from strongticket._files import write_atomically
from strongticket.certify import collapse

__all__ = ["draw"]

INK, GREY, RED = "#1f4e79", "#8a8a8a", "#b5402a"


def draw(study: Study, path: Path) -> Path:
    """Draw three panels and write them as a PNG: errors of the weights, logits, and the ladder of errors."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 160}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 3.1), layout="constrained")
        weights, outputs, ladder = figure.subplots(1, 3)
        _weights(weights, study)
        _outputs(outputs, study)
        _ladder(ladder, study)
        model = study.trained.target.architecture.id
        figure.suptitle(
            f"{model} on {study.trained.data.name}: {study.construction.best.mask.count:,} kept of "
            f"{study.construction.plan.source.architecture.size:,} frozen random weights",
            fontsize=9,
        )
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return write_atomically(path, stream.getvalue())


def _weights(axes: object, study: Study) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    effective = collapse(study.ticket, nonnegative=True)
    errors = np.concatenate(
        [
            np.abs(layer.positive.value - target.weight).reshape(-1)
            for layer, target in zip(effective.layers, study.trained.target.layers, strict=True)
        ]
    )
    floor = 1e-12
    axes.hist(np.log10(np.maximum(errors, floor)), bins=60, color=INK)
    axes.set_yscale("log")
    eps = max(study.construction.plan.weight_eps)
    axes.axvline(np.log10(eps), color=RED, lw=1)
    axes.annotate(f"tolerance {eps:g}", (np.log10(eps), 0.97), xycoords=("data", "axes fraction"), xytext=(-3, 0),
                  textcoords="offset points", ha="right", va="top", rotation=90, color=RED, fontsize=7)  # fmt: skip
    axes.set(xlabel="log10 |error of a weight|", ylabel="weights", title="each weight is a subset sum")


def _outputs(axes: object, study: Study) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    target, ticket = study.trained.logits.numpy().reshape(-1), study.logits.numpy().reshape(-1)
    axes.scatter(target[:20000], ticket[:20000], s=2, lw=0, alpha=0.3, color=INK, rasterized=True)
    low, high = float(target.min()), float(target.max())
    axes.plot([low, high], [low, high], color=GREY, lw=0.6, zorder=0)
    axes.text(0.04, 0.96, f"target {100 * study.trained.accuracy:.2f} %\n"
              f"ticket {100 * study.accuracy:.2f} %\n"
              f"equal {100 * study.equal_predictions:.2f} %", transform=axes.transAxes, va="top")  # fmt: skip
    axes.set(xlabel="logit of the target", ylabel="logit of the ticket", title="test set")


def _ladder(axes: object, study: Study) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    steps = [
        ("largest change on the test set", study.test_change, INK),
        ("largest change found anywhere", study.sampled.error, INK),
        ("PROVED, inputs no longer than test inputs", study.ball.maximum.error, RED),
        ("PROVED on the whole box", study.box.maximum.error, RED),
        ("1 % of the logit range", 0.01 * study.logit_range, GREY),
        ("logit range", study.logit_range, GREY),
    ]
    shown = [(name, size, colour) for name, size, colour in steps if size > 0]
    for row, (name, size, colour) in enumerate(shown):
        axes.plot(size, row, "o", color=colour, ms=5)
        axes.annotate(f"{name}  {size:.2g}", (size, row), xytext=(0, 6), textcoords="offset points", ha="center",
                      fontsize=7, color=colour)  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.6, y=0.15)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set(xlabel="output difference", title="how close, and how sure")
