"""Double descent: random features, a hidden layer with and without reuse, pruning under label noise, and tickets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import double_descent_nets as nets
from experiments import latest
from experiments import neurons_and_features as neurons
from experiments import sparse_double_descent as sparse
from experiments._search import TITLES
from experiments.double_descent import DoubleDescent, by_setting, mean_curve
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import band

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (
    DoubleDescent.name,
    nets.DoubleDescentNets.name,
    sparse.SparseDoubleDescent.name,
    neurons.NeuronsAndFeatures.name,
)
NAME: Final = "fig14_double_descent"
CAPTION: Final = (
    "Double descent. a, c: test error of random features against their number over that of the examples, of least "
    "norm and with a tuned penalty; b: norm and losses; d: a hidden layer, trained below the threshold as published "
    "(from the smaller network, the rate falling, to the first fit) and as above it; e: iterative pruning with right "
    "and wrong labels; f: tickets of neurons beside the predictor that they copy. Means over the seeds, bands "
    "from the least to the greatest; the dotted line is where belkin2019reconciling puts the peak."
)
ALT: Final = (
    "Six panels. Test errors peak where there are as many features as examples and fall again beyond, less so with "
    "right labels, and not at all with a tuned penalty; norms peak at the same place. With wrong labels pruning first "
    "lowers the test error and then raises it. Tickets of neurons approach the predictor that they copy as the width "
    "grows."
)
_MARKS: Final = ("o", "s", "v")
_LEAST_LOSS: Final = 1e-6  # below it a training loss is drawn at the edge
_BAND: Final[Mapping[str, Any]] = {"ms": 2.8, "lw": 1.0, "shade": 0.15}
_GUIDE: Final = {"color": "0.45", "lw": 0.8, "ls": ":"}


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of each experiment.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    features = by_setting(latest(DoubleDescent, store)[1])
    hidden = nets.by_setting(latest(nets.DoubleDescentNets, store)[1])
    pruned = sparse.by_setting(latest(sparse.SparseDoubleDescent, store)[1])
    copied = neurons.by_setting(latest(neurons.NeuronsAndFeatures, store)[1])
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 7.0))
        panels = list(figure.subplots(3, 2).flat)
        _features(panels[0], features, "fourier", "a   Fourier features")
        _norms(panels[1], features)
        _features(panels[2], features, "relu", "c   ReLU features")
        _hidden(panels[3], hidden)
        _pruned(panels[4], pruned)
        _copied(panels[5], copied)
        return figure


def _key(ax: Any, noises: Sequence[float], looks: Mapping[str, Mapping[str, Any]], **where: Any) -> None:
    """A legend of colours (the labels of the examples) beside one of lines (what is measured)."""
    from matplotlib.lines import Line2D

    colours = [Line2D([], [], color=f"C{i}", marker=_MARKS[i], mfc="white", ms=3) for i in range(len(noises))]
    lines = [Line2D([], [], **{"color": "0.3", **look}) for look in looks.values()]
    labels = [*map(_labels, noises), *looks]
    ax.legend([*colours, *lines], labels, **{"fontsize": 6.5, "labelspacing": 0.3, "columnspacing": 1.0, **where})


def _labels(noise: float) -> str:
    return f"{100 * noise:g} % of labels wrong" if noise else "right labels"


def _features(ax: Any, settings: Mapping[DoubleDescent, Sequence[dict[str, Any]]], kind: str, title: str) -> None:
    """Test errors against N/n: least squares of minimum norm, and with a tuned penalty."""
    chosen = {setting: results for setting, results in settings.items() if setting.kind == kind}
    for i, (setting, results) in enumerate(chosen.items()):
        x = np.array(setting.counts) / setting.train
        mean, low, high = mean_curve(results, "test_error")
        ax.plot(x, 100 * mean, f"{_MARKS[i]}-", ms=2.8, mfc="white", color=f"C{i}", lw=1.0)
        ax.fill_between(x, 100 * low, 100 * high, color=f"C{i}", alpha=0.15, lw=0)
        ax.plot(x, 100 * mean_curve(results, "test_error", of="ridge")[0], "--", lw=0.9, color=f"C{i}")
        kernel = 100 * float(np.mean([result["kernel"]["test_error"] for result in results]))
        ax.plot([x[-1] * 1.25], [kernel], marker="<", ms=4, color=f"C{i}", ls="none")
    setting = next(iter(chosen))
    ax.axvline(1.0, **_GUIDE)
    ax.set(xscale="log", xlabel="N / n", ylabel="test error (%)", ylim=(0, 142), yticks=range(0, 101, 20))
    ax.set_title(f"{title} ({TITLES[setting.data]}, n = {setting.train:,})")
    looks: dict[str, Mapping[str, Any]] = {
        "least norm": {"marker": "."},
        "tuned ridge": {"ls": "--", "lw": 0.9},
        "kernel (infinite N)": {"ls": "", "marker": "<", "ms": 4},
        "N = n: published peak": _GUIDE,
    }
    _key(ax, [setting.noise for setting in chosen], looks, ncols=2, loc="upper center")


def _norms(ax: Any, settings: Mapping[DoubleDescent, Sequence[dict[str, Any]]]) -> None:
    """Norms and training losses of Fourier features."""
    chosen = {setting: results for setting, results in settings.items() if setting.kind == "fourier"}
    looks: dict[str, dict[str, Any]] = {
        "norm": {"lw": 1.4},
        "test loss": {"lw": 0.8},
        "training loss": {"lw": 0.8, "ls": "--"},
    }
    for i, (setting, results) in enumerate(chosen.items()):
        x = np.array(setting.counts) / setting.train
        for name, look in zip(("norm", "test_loss", "train_loss"), looks.values(), strict=True):
            mean, low, high = mean_curve(results, name)
            mark = {"marker": _MARKS[i], "ms": 2.8, "mfc": "white"} if name == "norm" else {}
            ax.plot(x, np.maximum(mean, _LEAST_LOSS), color=f"C{i}", **look, **mark)
            if name == "norm":
                ax.fill_between(x, low, high, color=f"C{i}", alpha=0.15, lw=0)
    ax.axvline(1.0, **_GUIDE)
    ax.set(xscale="log", yscale="log", xlabel="N / n", ylabel="norm, losses", ylim=(_LEAST_LOSS, None))
    ax.set_title("b   the same: norm and losses")
    _key(ax, [setting.noise for setting in chosen], looks, loc="lower left", handlelength=1.5, borderaxespad=0.2)


def _hidden(ax: Any, settings: Mapping[nets.DoubleDescentNets, Sequence[dict[str, Any]]]) -> None:
    """Test losses of one hidden layer, with and without reuse."""
    noises = sorted({setting.noise for setting in settings})
    for setting, results in settings.items():
        x = np.array([row["parameters"] for row in results[0]["rows"]]) / _equations(setting, results)
        colour = f"C{noises.index(setting.noise)}"
        mark = _MARKS[noises.index(setting.noise)]
        values = np.array([[row["test_loss"] for row in result["rows"]] for result in results])
        band(ax, x, values.T, colour, mark, ls="-" if setting.arm == "reuse" else "--", **_BAND)
    ax.axvline(1.0, **_GUIDE)
    setting = next(iter(settings))
    ax.set(
        xscale="log",
        xlabel="parameters / (n K)",
        ylabel="test loss (squared error)",
        ylim=(-0.35, None),
        yticks=(0, 0.2, 0.4, 0.6, 0.8, 1),
    )
    ax.set_title(f"d   hidden layer ({TITLES[setting.data]}, n = {setting.train:,})")
    looks: dict[str, Mapping[str, Any]] = {
        "weights reused": {"lw": 1.0},
        "fresh": {"lw": 1.0, "ls": "--"},
        "threshold: reuse ends": _GUIDE,
    }
    _key(ax, noises, looks, ncols=2, loc="lower left")


def _equations(setting: nets.DoubleDescentNets, results: Sequence[Mapping[str, Any]]) -> float:
    """n K, from the line through parameters and widths: parameters(threshold width) is n K."""
    (first, *_, last) = results[0]["rows"]
    slope = (last["parameters"] - first["parameters"]) / (last["width"] - first["width"])
    return float(first["parameters"] + slope * (results[0]["threshold"] - first["width"]))


def _pruned(ax: Any, settings: Mapping[sparse.SparseDoubleDescent, Sequence[dict[str, Any]]]) -> None:
    """Test errors against density, under label noise."""
    for i, results in enumerate(settings.values()):
        x = 100 * np.array([row["density"] for row in results[0]["rows"]])
        values = 100 * np.array([[row["test_error"] for row in result["rows"]] for result in results])
        band(ax, x, values.T, f"C{i}", _MARKS[i], **_BAND)
    setting = next(iter(settings))
    ax.set(xscale="log", xlabel="weights kept (%)", ylabel="test error (%)", ylim=(0, None))
    ax.invert_xaxis()
    ax.set_title(f"e   iterative pruning ({TITLES[setting.data]})")
    _key(ax, [one.noise for one in settings], {}, loc="upper right")


def _copied(ax: Any, settings: Mapping[neurons.NeuronsAndFeatures, Sequence[dict[str, Any]]]) -> None:
    """Test errors of predictors and of the tickets that copy them, on the same features."""
    for setting, results in settings.items():
        x = np.array(setting.counts) / setting.train
        for i, (name, label) in enumerate(
            (("predictor_error", "minimum norm"), ("ticket_error", "neurons kept, no training"))
        ):
            values = 100 * np.array([[row[name] for row in result["rows"]] for result in results])
            band(ax, x, values.T, f"C{i}", _MARKS[i], label=label, **_BAND)
    setting = next(iter(settings))
    ax.axvline(1.0, **_GUIDE)
    ax.axhline(50.0, color="0.7", lw=0.6)
    ax.set(xscale="log", xlabel="N / n", ylabel="test error, two classes (%)", ylim=(0, 80))
    ax.set_title(f"f   tickets of neurons ({TITLES[setting.data]}, n = {setting.train:,})")
    ax.legend(fontsize=6.5, loc="upper right")


draw: Final = Drawing(NAME, compose, ALT)
