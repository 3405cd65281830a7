"""Double descent: random features, a hidden layer with and without reuse, pruning under label noise, and tickets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import double_descent_nets as nets
from experiments import latest
from experiments import neurons_and_features as neurons
from experiments import sparse_double_descent as sparse
from experiments._search import TITLES
from experiments.double_descent import DoubleDescent, by_setting, mean_curve
from paper_figs._drawing import PAGE, save, style

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["NEEDS", "draw"]

NEEDS: Final = (
    DoubleDescent.name,
    nets.DoubleDescentNets.name,
    sparse.SparseDoubleDescent.name,
    neurons.NeuronsAndFeatures.name,
)
NAME: Final = "fig14_double_descent"
_LEGENDS: Final = ("upper right", "lower right", "upper right", "lower left", "upper right", "upper right")
_GUIDE: Final = {"color": "0.45", "lw": 0.8, "ls": ":"}


def draw(store: Store, out: Path) -> list[Path]:
    """Read the most expensive complete preset of each experiment and write OUT/fig14_double_descent.pdf and .png.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    features = by_setting(latest(DoubleDescent, store)[1])
    hidden = nets.by_setting(latest(nets.DoubleDescentNets, store)[1])
    pruned = sparse.by_setting(latest(sparse.SparseDoubleDescent, store)[1])
    copied = neurons.by_setting(latest(neurons.NeuronsAndFeatures, store)[1])
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 4.9))
        top, bottom = figure.subplots(2, 3)
        _features(top[0], features, "fourier", "a   Fourier features")
        _norms(top[1], features)
        _features(top[2], features, "relu", "c   ReLU features")
        _hidden(bottom[0], hidden)
        _pruned(bottom[1], pruned)
        _copied(bottom[2], copied)
        for ax, place in zip((*top, *bottom), _LEGENDS, strict=True):
            ax.legend(fontsize=5.3, handlelength=1.6, labelspacing=0.25, borderaxespad=0.2, loc=place)
        return save(figure, out, NAME)


def _band(ax: Any, x: Any, values: Any, **look: Any) -> None:
    """The mean over the seeds, and their range."""
    ax.plot(x, values.mean(axis=0), **look)
    ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15, lw=0)


def _features(ax: Any, settings: Mapping[DoubleDescent, Sequence[dict[str, Any]]], kind: str, title: str) -> None:
    """Test errors against N/n: least squares of minimum norm, and with a tuned penalty."""
    chosen = {setting: results for setting, results in settings.items() if setting.kind == kind}
    for i, (setting, results) in enumerate(chosen.items()):
        x = np.array(setting.counts) / setting.train
        noise = f"{100 * setting.noise:g} % wrong" if setting.noise else "right labels"
        mean, low, high = mean_curve(results, "test_error")
        ax.plot(x, 100 * mean, "o-", ms=2, color=f"C{i}", label=f"least norm, {noise}", lw=1.0)
        ax.fill_between(x, 100 * low, 100 * high, color=f"C{i}", alpha=0.15, lw=0)
        ax.plot(
            x, 100 * mean_curve(results, "test_error", of="ridge")[0], "--", lw=0.9, color=f"C{i}", label="tuned ridge"
        )
        kernel = 100 * float(np.mean([result["kernel"]["test_error"] for result in results]))
        ax.plot([x[-1] * 1.25], [kernel], marker="<", ms=4, color=f"C{i}", ls="none", label="kernel (infinite N)")
    setting = next(iter(chosen))
    ax.axvline(1.0, **_GUIDE, label="N = n: published peak")
    ax.set(xscale="log", xlabel="N / n", ylabel="test error (%)", ylim=(0, 155), yticks=range(0, 101, 20))
    ax.set_title(f"{title} ({TITLES[setting.data]}, n = {setting.train:,})", fontsize=6)


def _norms(ax: Any, settings: Mapping[DoubleDescent, Sequence[dict[str, Any]]]) -> None:
    """Norms and training losses of Fourier features."""
    for i, (setting, results) in enumerate(item for item in settings.items() if item[0].kind == "fourier"):
        x = np.array(setting.counts) / setting.train
        noise = f"{100 * setting.noise:g} % wrong" if setting.noise else "right labels"
        for name, mark, label in (
            ("norm", "o-", "norm"),
            ("train_loss", "--", "training loss"),
            ("test_loss", "-", "test loss"),
        ):
            mean, low, high = mean_curve(results, name)
            look = {"lw": 0.7} if name != "norm" else {"ms": 2}
            ax.plot(x, np.maximum(mean, 1e-6), mark, color=f"C{i}", label=f"{label}, {noise}", **look)
            if name == "norm":
                ax.fill_between(x, low, high, color=f"C{i}", alpha=0.15, lw=0)
    ax.axvline(1.0, **_GUIDE)
    ax.set(xscale="log", yscale="log", xlabel="N / n", ylabel="norm, losses", ylim=(1e-6, None))
    ax.set_title("b   the same: norm and losses", fontsize=6)


def _hidden(ax: Any, settings: Mapping[nets.DoubleDescentNets, Sequence[dict[str, Any]]]) -> None:
    """Test losses of one hidden layer, with and without reuse."""
    noises = sorted({setting.noise for setting in settings})
    for setting, results in settings.items():
        x = np.array([row["parameters"] for row in results[0]["rows"]]) / _equations(setting, results)
        colour = f"C{noises.index(setting.noise)}"
        values = np.array([[row["test_loss"] for row in result["rows"]] for result in results])
        label = f"{setting.arm}, {f'{100 * setting.noise:g} % wrong' if setting.noise else 'right labels'}"
        _band(ax, x, values, color=colour, ls="-" if setting.arm == "reuse" else "--", label=label, lw=1.0)
    ax.axvline(1.0, **_GUIDE, label="threshold: reuse ends")
    setting = next(iter(settings))
    ax.set(
        xscale="log",
        xlabel="parameters / (n K)",
        ylabel="test loss (squared error)",
        ylim=(-0.2, None),
        yticks=(0, 0.2, 0.4, 0.6, 0.8, 1),
    )
    ax.set_title(f"d   hidden layer ({TITLES[setting.data]}, n = {setting.train:,})", fontsize=6)


def _equations(setting: nets.DoubleDescentNets, results: Sequence[Mapping[str, Any]]) -> float:
    """n K, from the line through parameters and widths: parameters(threshold width) is n K."""
    (first, *_, last) = results[0]["rows"]
    slope = (last["parameters"] - first["parameters"]) / (last["width"] - first["width"])
    return float(first["parameters"] + slope * (results[0]["threshold"] - first["width"]))


def _pruned(ax: Any, settings: Mapping[sparse.SparseDoubleDescent, Sequence[dict[str, Any]]]) -> None:
    """Test errors against density, under label noise."""
    for i, (setting, results) in enumerate(settings.items()):
        x = 100 * np.array([row["density"] for row in results[0]["rows"]])
        values = 100 * np.array([[row["test_error"] for row in result["rows"]] for result in results])
        label = f"{100 * setting.noise:g} % of labels wrong" if setting.noise else "right labels"
        _band(ax, x, values, color=f"C{i}", label=label)
    setting = next(iter(settings))
    ax.set(xscale="log", xlabel="weights kept (%)", ylabel="test error (%)", ylim=(0, None))
    ax.invert_xaxis()
    ax.set_title(f"e   iterative pruning ({TITLES[setting.data]})", fontsize=6)


def _copied(ax: Any, settings: Mapping[neurons.NeuronsAndFeatures, Sequence[dict[str, Any]]]) -> None:
    """Test errors of predictors and of the tickets that copy them, on the same features."""
    for setting, results in settings.items():
        x = np.array(setting.counts) / setting.train
        for i, (name, label) in enumerate(
            (("predictor_error", "minimum norm"), ("ticket_error", "neurons kept, no training"))
        ):
            values = 100 * np.array([[row[name] for row in result["rows"]] for result in results])
            _band(ax, x, values, color=f"C{i}", label=label, marker="o", ms=2)
    setting = next(iter(settings))
    ax.axvline(1.0, **_GUIDE)
    ax.axhline(50.0, color="0.7", lw=0.6)
    ax.set(xscale="log", xlabel="N / n", ylabel="test error, two classes (%)", ylim=(0, 80))
    ax.set_title(f"f   tickets of neurons ({TITLES[setting.data]}, n = {setting.train:,})", fontsize=6)
