"""How sparse tickets are in how large a network, and the bits in their masks: measured, proved, and demanded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import MissingRuns, command
from experiments.ticket_sparsity import TicketSparsity, layer_bits, tolerance
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._presets import first_complete
from strongticket import bounds
from strongticket.bounds import natale2024sparsity as natale

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (TicketSparsity.name,)
NAME: Final = "fig11_sparsity"
CAPTION: Final = (
    "a: density of tickets whose weights are sums of exactly k products, against the size of the random network, "
    "beside what counting demands, what is proved, and the published theorem (inset, natale2024sparsity). Points are "
    "medians, dots seeds. b: bits of the mask over the bits needed, as each construction sizes itself; marks are "
    "medians, bars the range of the seeds."
)
ALT: Final = (
    "Left, on logarithmic axes, curves of measured density fall as the random network grows, above a dashed line that "
    "counting sets and left of the proved curve; an inset shows that the published theorem lies further right by "
    "several orders of magnitude. Right, a row for each construction with the bits of its mask as multiples of the "
    "limit."
)
DELTA: Final = 0.01
NETWORK_EPS: Final = 0.1  # of the published theorem, which speaks of the network's error
_ASIDE: Final = {1: (0, -8, "center"), 2: (7, 6, "left"), 12: (8, 0, "left")}
"""Where k is written, in points from its mark: where no line and no other mark is; for the others at the left."""
_LOOKS: Final = {"trained": ("o", "C0"), "uniform": ("s", "C1")}
_TITLES: Final = {"digits": "digits", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}


def compose(store: Store) -> Any:
    """Read `ticket_sparsity`.

    The curves are of the preset "default", or "quick" where that is not complete; of "constructions" all runs that
    are there are drawn.

    Raises:
        MissingRuns: no preset is complete, or no construction was run; the message names the command.
    """
    runs = first_complete(TicketSparsity, ("default", "quick"), store, named="default")
    rows = _rows(store)
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 3.2))
        left, right = figure.subplots(1, 2, width_ratios=(1.75, 1.0))
        _densities(left, runs)
        _bits(right, rows)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def _rows(store: Store) -> list[tuple[TicketSparsity, dict[str, Any]]]:
    """The runs of all constructions that are in the store and made a ticket."""
    rows = []
    for run in TicketSparsity.preset("constructions"):
        found = store.collect([run.spec])
        if not found.missing:
            result = found.records[0].result
            if "refused" not in result["tickets"][0]:
                rows.append((run, result))
    if not rows:
        raise MissingRuns(
            f"no run of a construction is in {store.folder}; make them with\n"
            f"  {command(TicketSparsity, 'constructions', store)}"
        )
    return rows


def _densities(ax: Any, runs: list[tuple[TicketSparsity, dict[str, Any]]]) -> None:
    kinds = list(dict.fromkeys((run.data, run.model, run.target) for run, _ in runs))
    shapes, eps = runs[0][1]["layers"], runs[0][0].weight_eps
    whole = ax.inset_axes((0.075, 0.07, 0.35, 0.34))  # where counting leaves nothing to draw
    for kind in kinds:
        results = [result for run, result in runs if (run.data, run.model, run.target) == kind]
        data, model, target = kind
        mark, colour = ("D", "C2") if data != "digits" else _LOOKS[target]
        sizes = model.removeprefix("mlp-").removesuffix("+bias")
        name = {"lenet-300-100": "LeNet-300-100"}.get(sizes, sizes)
        _curve(ax, results, mark, colour, f"{_TITLES[data]} {name}, {target}", named=kind == kinds[0])
        _curve(whole, results, "", colour, "", named=False)
    ax.plot([], [], "*", color="0.4", ms=7, mec="white", label="as few as each weight needs")
    for place in (ax, whole):
        _theory(place, shapes, eps)
        place.set(xscale="log", yscale="log")
    text = f"inset, right:\nTheorem 3\n$c_{{amp}}$ = {_c_amp():.0f} (ours)\nnetwork $\\varepsilon$ = {NETWORK_EPS:g}"
    published = [point for share in np.geomspace(0.5, 3e-5, 40) if (point := _published(shapes, float(share)))]
    whole.plot(*zip(*published, strict=True), color="C5", lw=1)
    ax.text(0.45, 0.04, text, transform=ax.transAxes, va="bottom", size=6, color="0.25")
    whole.set_xticks([1e2, 1e5, 1e8])
    whole.set_yticks([1e-4, 1e-2])
    whole.minorticks_off()
    whole.tick_params(labelsize=5, pad=1.5, length=2)
    ax.set(
        xlim=(15, 1.2e4),
        ylim=(3e-5, 0.4),
        xlabel="weights of the random network per weight of the target",
        ylabel="density of the ticket",
        title=f"a   exactly $k$ products, each weight within {eps:g}; {len({run.seed for run, _ in runs})} seeds",
    )


def _curve(ax: Any, results: list[dict[str, Any]], mark: str, colour: str, label: str, *, named: bool) -> None:
    """One point per k: the median, and each seed."""
    sizes = [ticket["size"] for ticket in results[0]["tickets"]]
    centres = []
    for place, size in enumerate(sizes):
        tickets = [(r, r["tickets"][place]) for r in results if "refused" not in r["tickets"][place]]
        if not tickets:
            continue
        x = np.array([ticket["parameters"] / r["target_weights"] for r, ticket in tickets])
        y = np.array([ticket["density"] for _, ticket in tickets])
        middle = (np.median(x), np.median(y))
        if size == 0:
            if mark:
                ax.plot(*middle, "*", color=colour, ms=7, mec="white", mew=0.4, zorder=4)
            continue
        centres.append(middle)
        if mark:
            ax.plot(x, y, ".", color=colour, ms=2, alpha=0.5)
        if named and size in (1, 2, 4, 6, 12):
            text = f"$k$ = {size}" if size <= 2 else f"{size}"
            *aside, ha = _ASIDE.get(size, (-7, 0, "right"))
            ax.annotate(text, middle, xytext=aside, textcoords="offset points", va="center", ha=ha, size=6)
    look = {"marker": mark, "ms": 3} if mark else {}
    ax.plot(*zip(*centres, strict=True), color=colour, lw=0.8, label=label, **look)


def _theory(ax: Any, layers: list[list[float]], eps: float) -> None:
    weights = sum(int(rows * columns) for rows, columns, _ in layers)
    needed = layer_bits(layers, eps)
    # what counting demands: no ticket of all targets' lies below
    over = np.geomspace(10.0, 2e4, 60)
    least = [natale.kept_needed(round(m * weights), needed) for m in over]
    known = [(m, kept / (m * weights)) for m, kept in zip(over, least, strict=True) if kept is not None]
    ax.plot(*zip(*known, strict=True), color="0.35", lw=1, ls=(0, (4, 2)), label="counting: above, or not all targets")
    # our explicit numbers of items, by the construction's own plan
    ours = [_proved(layers, size, eps) for size in (1, 2, 3, 4, 6)]
    ax.plot(*zip(*ours, strict=True), "x-", color="C3", lw=0.8, ms=3, label=f"proved, $\\delta$ = {DELTA:g} (ours)")


def _proved(layers: list[list[float]], size: int, eps: float) -> tuple[float, float]:
    """Size and density of the random network that `Natale2024Sparsity(items="theorem")` takes, inputs nonnegative."""
    from strongticket.constructions.natale2024sparsity import proved_items

    problems = sum(int(rows * columns) for rows, columns, _ in layers)
    parameters = kept = 0.0
    for rows, columns, largest in layers:
        items = proved_items(size, eps, DELTA, problems, max_target=largest)
        parameters += columns * items * (rows + columns)
        kept += rows * columns * size + min(rows * size, items) * columns
    return parameters / problems, kept / parameters


def _c_amp() -> float:
    return 8.0 / bounds.get("natale2024sparsity.theorem2_probability")(c_l=natale.SUM_LOWER, c_u=natale.SUM_UPPER)


def _published(layers: list[list[float]], share: float) -> tuple[float, float] | None:
    """The paper's widths and its bound of the kept weights at gamma' = share; None where k would be below 1."""
    sizes, kept_weights = (
        bounds.get("natale2024sparsity.theorem3_parameters"),
        bounds.get("natale2024sparsity.theorem3_kept"),
    )
    parameters = kept = 0.0
    for rows, columns, _ in layers:
        shape = {"d_in": int(columns), "d_out": int(rows)}
        items = math.ceil(natale.theorem3_items(share, len(layers), eps=NETWORK_EPS, c_amp=_c_amp(), **shape))
        if share * items < 1.0:
            return None
        parameters += sizes(n=items, **shape)
        kept += kept_weights(k=math.ceil(share * items), **shape)
    return parameters / sum(rows * columns for rows, columns, _ in layers), kept / parameters


def _bits(ax: Any, rows: list[tuple[TicketSparsity, dict[str, Any]]]) -> None:
    names = list(dict.fromkeys(run.construction for run, _ in rows))
    for row, name in enumerate(names):
        for shift, (target, (mark, colour)) in zip((-0.14, 0.14), _LOOKS.items(), strict=True):
            found = [(run, r) for run, r in rows if (run.construction, run.target) == (name, target)]
            if not found:
                continue
            share = np.array(
                [
                    r["tickets"][0]["mask_bits"] / layer_bits(r["layers"], tolerance(run, r["tickets"][0]))
                    for run, r in found
                ]
            )
            ax.plot([share.min(), share.max()], [row + shift] * 2, color=colour, lw=2.5, alpha=0.35)
            ax.plot(np.median(share), row + shift, mark, color=colour, ms=4)
    ax.axvline(1.0, color="0.35", lw=1, ls=(0, (4, 2)))
    ax.set_yticks(range(len(names)), [_paper(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(left=0.0)
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="bits of the mask / bits needed", title="b   each as it sizes itself (digits)")


def _paper(name: str) -> str:
    """ "Pensia2020Optimal" as "Pensia 2020"; two of one author and year differ by their last word."""
    digits = next(i for i, letter in enumerate(name) if letter.isdigit())
    return f"{name[:digits]} {name[digits : digits + 4]}\n{name[digits + 4 :].lower()}"


draw: Final = Drawing(NAME, compose, ALT)
