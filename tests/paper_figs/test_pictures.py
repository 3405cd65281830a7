"""Pictures hold still: made-up results are drawn, and held against committed pictures and committed numbers.

After a change that is wanted, look at what it did and renew both with

    RENEW_PICTURES=1 python -m pytest tests/paper_figs/test_pictures.py
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from numpy.typing import NDArray
from PIL import Image

from experiments import AbstractExperiment
from experiments.elastic import ARMS as ELASTIC_ARMS
from experiments.elastic import Elastic
from experiments.falsification import Falsification
from experiments.grand_comparison import GrandComparison
from experiments.imp import Arm as ImpArm
from experiments.imp import Imp
from experiments.mask_criteria import KEEPS, UNTRAINED, MaskCriteria
from experiments.one_ticket import ARMS as CARRIED_ARMS
from experiments.one_ticket import OneTicket
from experiments.pruning_at_start import CHECKS, METHODS, PruningAtStart
from paper_figs import figure
from paper_figs._artists import contents, legend_over_data, overlaps
from paper_figs._drawing import style
from strongticket.runs import Record, Store

BASELINE: Final = Path(__file__).with_name("baseline")
DPI: Final = 100
TOLERANCE: Final = 12.0
"""Largest root mean square difference of a tile, of 255: other versions of a font stay below, a moved mark does not."""

Picture = NDArray[Any]
Runs = Sequence[tuple[AbstractExperiment, dict[str, Any]]]


def picture(drawn: Any) -> Picture:
    """A figure as grey pixels, 0 to 255."""
    content = io.BytesIO()
    FigureCanvasAgg(drawn).print_figure(content, format="png", dpi=DPI)
    content.seek(0)
    return grey(imread(content))


def canvas(drawn: Any) -> Any:
    return FigureCanvasAgg(drawn)


def grey(pixels: Any) -> Picture:
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels[..., None]
    seen: Picture = np.round(255.0 * np.asarray(colours, dtype=np.float64).mean(axis=2))
    return seen


def difference(one: Picture, other: Picture, *, shrink: int = 3, tile: int = 8) -> float:
    """The largest root mean square of the differences in a tile of two pictures, made smaller by averaging.

    A mean over the whole picture would not see that one mark is gone.
    """
    if one.shape != other.shape:
        return 255.0
    rows, columns = (size // (shrink * tile) for size in one.shape)
    apart = (one - other)[: rows * tile * shrink, : columns * tile * shrink]
    small = apart.reshape(rows * tile, shrink, columns * tile, shrink).mean(axis=(1, 3))
    tiles = small.reshape(rows, tile, columns, tile)
    return float(np.sqrt((tiles**2).mean(axis=(1, 3))).max())


def imp_results() -> Runs:
    """A trunk and two controls: tickets get better, then worse; fresh weights only worse."""
    runs: list[tuple[AbstractExperiment, dict[str, Any]]] = []
    arms: Mapping[ImpArm, tuple[int, ...]] = {
        "ticket": (0, 3, 7, 9, 12, 15), "reinit": (3, 7, 9, 15), "one-shot": (7, 12),
    }  # fmt: skip
    for arm, levels in arms.items():
        for seed in range(3):
            run = Imp(
                "mnist", "lenet-300-100+bias", "lth-lenet", 400, 100, "lth-lenet", 0, "large-final",
                arm, 0, levels, seed,
            )  # fmt: skip
            runs.append((run, {"rows": [_imp_row(arm, level, seed) for level in levels]}))
    return runs


def _imp_row(arm: str, level: int, seed: int) -> dict[str, Any]:
    worse = {"ticket": abs(level - 8), "one-shot": 4 + level, "reinit": 8 + level}[arm] / 1024 + seed / 2048
    curve = {"step": [100, 200, 300, 400], "accuracy": [15 / 16 - worse + k / 128 for k in range(4)]}
    kept = {0: 1.0, 3: 0.5128, 7: 0.2107, 9: 0.1352, 12: 0.0695, 15: 0.0358}[level]
    stop = 100 * (1 + (level // 4 if arm == "ticket" else level // 2)) + 10 * seed
    return {
        "level": level, "density": kept, "early_stop": stop, "test_at_stop": 63 / 64 - worse, "curve": curve,
    }  # fmt: skip


def elastic_results() -> Runs:
    """The square of perceptrons on MNIST, all arms of one pair, and small residual networks."""
    shared: dict[str, Any] = {
        "data": "mnist", "recipe": "open-lth", "steps": 1, "evaluate_every": 1, "scope": "s", "rewind": 0,
        "law": "kaiming-normal", "order": "append", "per_class": 1, "path_points": 0, "levels": (10,),
    }  # fmt: skip
    names = {n: "-".join(["mlp-784", *["300"] * n, "100-10+bias"]) for n in (2, 3, 4)}
    pairs = [(a, b, "imp" if a == b else "elastic") for a in names for b in names]
    pairs += [(2 if arm.startswith("elastic") else 3, 3, arm) for arm in ELASTIC_ARMS if arm not in ("imp", "elastic")]
    runs: list[tuple[AbstractExperiment, dict[str, Any]]] = []
    for place, (a, b, arm) in enumerate(pairs):
        for seed in range(3):
            run = Elastic(**shared, source=names[a], target=names[b], arm=arm, seed=seed)  # type: ignore[arg-type]
            worse = 0 if arm in ("imp", "elastic") else place
            runs.append((run, {"rows": [_elastic_row(10, 0.1074, 0.98 - (8 * abs(a - b) + worse + seed) / 2048)]}))
    residual = {**shared, "data": "fashion-mnist-14", "levels": (5, 8)}
    ends = ("resnet14x0.5+affine+1x14x14", "resnet20x0.5+affine+1x14x14")
    for place, arm in enumerate(("imp", "elastic", "reinit", "snip")):
        for seed in range(3):
            source = ends[0] if arm == "elastic" else ends[1]
            run = Elastic(**residual, source=source, target=ends[1], arm=arm, seed=seed)  # type: ignore[arg-type]
            rows = [_elastic_row(level, 0.8**level, 0.875 - (place * 8 + level + seed) / 1024) for level in run.levels]
            runs.append((run, {"rows": rows}))
    return runs


def _elastic_row(level: int, density: float, accuracy: float) -> dict[str, Any]:
    return {"level": level, "density": density, "test_at_end": accuracy}


def grand_results() -> Runs:
    """A few methods of each family at a few settings."""
    kinds = {
        "constructed": ("strict", (2.0, 4.0), 8.0), "found": ("strict", (0.25, 0.5), 2.0),
        "pruned": ("trained", (0.25, 0.5), 32.0), "iterative": ("trained", (0.25, 0.5), 32.0),
        "control": ("strict", (0.25, 0.5), 2.0), "dense": ("approximated", (1.0,), 4.0),
    }  # fmt: skip
    runs: list[tuple[AbstractExperiment, dict[str, Any]]] = []
    for seed in range(2):
        for place, (family, (state, kept, bits)) in enumerate(kinds.items()):
            run = GrandComparison("digits", "mlp-64-64-10", family, (0.5,), "", 0, 0, seed)
            rows = [
                _grand_row(family, state, k, bits * k, 0.96 - (16 * place + seed) / 256 * (1.25 - k / 8)) for k in kept
            ]
            runs.append((run, {"target": {"accuracy": 0.97}, "rows": rows}))
    return runs


def _grand_row(family: str, state: str, kept: float, bits: float, accuracy: float) -> dict[str, Any]:
    known = family in ("constructed", "dense")
    return {
        "family": family, "method": family, "state": state, "setting": {"density": kept}, "kept_per_weight": kept,
        "accuracy": accuracy, "mse": 4.0**-bits if known else None, "bits": {"per_weight": bits},
        "limit": {"empirical": bits - 1.0, "gaussian": 1.05 * (bits - 1.0)} if known else None,
    }  # fmt: skip


def carried_results() -> Runs:
    """Two ways: other halves of the data, and another optimiser."""
    shared: dict[str, Any] = {
        "source_model": "m", "target_model": "m", "steps": 1, "evaluate_every": 1, "scope": "s", "rewind": 0,
        "law": "glorot-normal", "draw": 0, "levels": (0, 4, 8),
    }  # fmt: skip
    halves = {"source_data": "digits-a", "target_data": "digits-b"}
    whole = {"source_data": "digits", "target_data": "digits"}
    ways = [
        {**halves, "source_recipe": "digits-adam", "target_recipe": "digits-adam"},
        {**whole, "source_recipe": "digits-adam", "target_recipe": "digits-sgd"},
    ]
    runs: list[tuple[AbstractExperiment, dict[str, Any]]] = []
    for number, way in enumerate(ways):
        for place, arm in enumerate(CARRIED_ARMS):
            for seed in range(3):
                run = OneTicket(**shared, **way, arm=arm, seed=seed)  # type: ignore[arg-type]
                rows = [
                    {**_elastic_row(level, 0.8**level, 0.97 - (place * level * (1 + 3 * number) + seed) / 512)}
                    for level in run.levels
                ]
                runs.append((run, {"rows": rows}))
    return runs


def verdict_results() -> Runs:
    """Four claims, one of them with far too many failures."""
    counts = {
        "lueker1998exponentially.explicit": 0, "lueker1998exponentially.coverage_floor": 140, "ma2018power.step": 0,
        "borgs2001phase.first_moment": 120,
    }  # fmt: skip
    return [
        (Falsification(key, (), 0, 200, 0), {"failures": failures, "missed": 0, "undecided": 0, "examples": []})
        for key, failures in counts.items()
    ]


def criteria_results() -> Runs:
    """Accuracies that fall from the first criterion to the last, and from the first level to the last."""
    runs: list[tuple[AbstractExperiment, dict[str, Any]]] = []
    for place, criterion in enumerate(KEEPS):
        for seed in range(2):
            run = MaskCriteria("mnist", "m", "r", 1, 1, "s", criterion, "one-shot", (2, 4, 6), (4, 6), seed)
            rows = []
            for level in run.levels:
                right = 0.9 - (place * level + seed) / 128
                row: dict[str, Any] = {"level": level, "density": 0.8**level, "kept": {}, "empty": []}
                row["untrained"] = {weights: right - 0.125 * n for n, weights in enumerate(UNTRAINED)}
                rows.append(row | ({"test_at_end": right} if level in run.trained else {}))
            runs.append((run, {"rows": rows}))
    return runs


def at_start_results() -> Runs:
    """Two levels; checks are a little worse than what is found, inverted scores much."""
    shared: dict[str, Any] = {
        "data": "digits", "model": "m", "recipe": "digits-adam", "steps": 1, "evaluate_every": 1, "scope": "s",
        "rewind": 0, "law": "glorot-normal", "levels": (4, 8), "per_class": 1,
    }  # fmt: skip
    runs: list[tuple[AbstractExperiment, dict[str, Any]]] = []
    for place, method in enumerate(METHODS):
        checks = [check for check in CHECKS if (method, check) != ("imp", "invert")]
        for number, check in enumerate(checks):
            for seed in range(3):
                run = PruningAtStart(**shared, method=method, check=check, seed=seed)
                right = 0.97 - (place + 2 * seed) / 512 - (0.4 if check == "invert" else number / 128)
                rows = [_elastic_row(level, 0.8**level, right - level / 256) for level in run.levels]
                runs.append((run, {"rows": rows}))
    return runs


MADE_UP: Final[Mapping[str, Callable[[], Runs]]] = {
    "fig17_frankle": imp_results,
    "fig18_elastic": elastic_results,
    "fig19_grand_comparison": grand_results,
    "fig20_verdicts": verdict_results,
    "fig21_one_ticket": carried_results,
    "fig22_mask_criteria": criteria_results,
    "fig23_pruning_at_start": at_start_results,
}


def presets_of(name: str, runs: Runs) -> dict[str, list[AbstractExperiment]]:
    """All runs under the name of a preset that the figure reads; fig18 reads two."""
    if name == "fig18_elastic":
        flat = [run for run, _ in runs if run.data == "mnist"]  # type: ignore[attr-defined]
        return {"mlp": flat, "mlp-arms": flat, "fashion": [run for run, _ in runs if run not in flat]}
    return {"default": [run for run, _ in runs]}


def composed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs | None = None) -> Any:
    """The figure of made-up results that lie in a store of their own."""
    runs = MADE_UP[name]() if runs is None else runs
    store, presets = Store(folder), presets_of(name, runs)
    for run, result in runs:
        store.write(Record(run.spec, result, {}, 0.0))
    monkeypatch.setattr(type(runs[0][0]), "presets", classmethod(lambda cls: presets))
    monkeypatch.setattr(
        type(runs[0][0]), "preset", classmethod(lambda cls, preset: presets.get(preset) or _none(preset))
    )
    return figure(name).compose(store)


def _none(preset: str) -> list[Any]:
    from experiments import MissingRuns

    raise MissingRuns(f"no preset {preset}")


@pytest.fixture(autouse=True)
def _in_style() -> Iterator[None]:
    with style():
        yield


@pytest.mark.parametrize("name", MADE_UP)
def test_pictures_and_numbers_are_those_that_were_looked_at(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = composed(name, tmp_path, monkeypatch)
    seen, numbers = picture(drawn), contents(drawn)
    at = BASELINE / name
    if os.environ.get("RENEW_PICTURES"):
        BASELINE.mkdir(exist_ok=True)
        Image.fromarray(seen.astype(np.uint8)).save(at.with_suffix(".png"), optimize=True)
        at.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    assert numbers == json.loads(at.with_suffix(".json").read_text())
    apart = difference(seen, grey(imread(at.with_suffix(".png"))))
    assert apart <= TOLERANCE, f"{name} looks different (by {apart:.1f}); see the top of this file"
    assert overlaps(drawn) == []
    assert legend_over_data(drawn) == []


def _thicker(drawn: Any) -> None:
    drawn.axes[1].lines[0].set_linewidth(3.0)


def _without_legend(drawn: Any) -> None:
    drawn.axes[0].get_legend().remove()


def _moved(drawn: Any) -> None:
    line = drawn.axes[1].lines[0]
    line.set_ydata([*line.get_ydata()[:-1], 1.25 * line.get_ydata()[-1]])


def _renamed(drawn: Any) -> None:
    drawn.axes[3].set_ylabel("stops how many times sooner")


@pytest.mark.parametrize("change", [_thicker, _without_legend, _moved, _renamed])
def test_a_change_that_can_be_seen_is_seen(
    change: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = composed("fig17_frankle", tmp_path, monkeypatch)
    before, numbers = picture(drawn), contents(drawn)
    change(drawn)
    assert difference(picture(drawn), before) > TOLERANCE
    if change is not _thicker:  # how thick a line is, is no number of the results
        assert contents(drawn) != numbers


def test_another_result_is_seen_in_picture_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = imp_results()
    before = composed("fig17_frankle", tmp_path / "a", monkeypatch, runs)
    changed = json.loads(json.dumps(runs[0][1]))
    changed["rows"][2]["test_at_stop"] -= 1 / 128  # of one seed of five, at one level
    after = composed("fig17_frankle", tmp_path / "b", monkeypatch, [(runs[0][0], changed), *runs[1:]])
    assert contents(after) != contents(before)
    assert difference(picture(after), picture(before)) > TOLERANCE


def test_what_nobody_can_see_is_let_pass() -> None:
    rng = np.random.default_rng(0)
    one = 255.0 * (rng.random((200, 300)) > 0.9)
    assert difference(one, one) == 0.0
    assert difference(one, np.clip(one + rng.normal(0, 4, one.shape), 0, 255)) < TOLERANCE
    assert difference(one, np.roll(one, 3, axis=1)) > TOLERANCE
    assert difference(one, one[:-1]) == 255.0
    gone = one.copy()
    gone[90:100, 90:100] = 255.0 - gone[90:100, 90:100]  # a mark
    assert difference(one, gone) > TOLERANCE


def test_overlaps_are_found() -> None:
    from matplotlib.figure import Figure

    figure_class: Any = Figure
    drawn = figure_class(figsize=(3, 2), layout="none")
    ax = drawn.subplots()
    ax.plot([0, 1], [0, 1], "o", label="data")
    ax.text(0.5, 0.5, "one text")
    ax.legend(loc="lower left")
    canvas(drawn).draw()
    assert overlaps(drawn) == []
    assert legend_over_data(drawn) == ["'': legend over 'data'"]
    ax.text(0.55, 0.5, "another")
    ax.text(1.2, 0.2, "far away to the right")
    canvas(drawn).draw()
    assert sorted(overlaps(drawn)) == ["'another' and 'one text' overlap", "'far away to the right' leaves the figure"]
