from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest

from experiments import MissingRuns
from experiments import names as experiments
from experiments.bounds import LAWS, Bounds
from experiments.small_obs import PUBLISHED
from paper_figs import fig01_items, figure, names
from paper_figs.__main__ import main
from paper_figs._presets import first_complete
from strongticket.bounds import lueker1998exponentially
from strongticket.runs import Store, execute

FILES = ["fig01_items.pdf", "fig01_items.png", "fig01_items.svg"]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A small study of `bounds`."""

    def presets(cls: type[Bounds]) -> Mapping[str, Sequence[Bounds]]:
        return {"quick": [cls(law, "edge", (0.3, 0.1), 400, 60, seed) for law in LAWS for seed in range(3)]}

    monkeypatch.setattr(Bounds, "presets", classmethod(presets))
    store = Store(tmp_path / "results")
    assert execute([run.spec for run in Bounds.preset("quick")], Bounds.function(), store).complete
    return store


def test_every_figure_keeps_the_contract() -> None:
    assert "fig01_items" in names()
    for name in names():
        module = figure(name)
        assert set(module.NEEDS) <= set(experiments())
        assert callable(module.draw)
        assert callable(module.compose)
        assert (module.__doc__ or "").splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", names())
def test_every_figure_says_what_it_shows(name: str) -> None:
    module = figure(name)
    for said in (module.CAPTION, module.ALT):
        assert 80 < len(said) < 800
        assert said.endswith(".")
        assert "  " not in said
    assert module.ALT != module.CAPTION
    assert not re.search(
        r"\d", module.ALT
    )  # numbers change with the results, and words to be heard would then be wrong
    known = (Path(__file__).parents[2] / "references.bib").read_text()
    keys = re.findall(r"\b[a-z]+(?:19|20)\d\d[a-z]+\b", module.CAPTION)
    assert [key for key in keys if f"{{{key}," not in known] == []


def test_published_weights_of_monks_problems_are_those_of_the_abstract() -> None:
    removed = {"monks-1": 76, "monks-2": 62, "monks-3": 90}  # percent; "90%, a 76%, and a 62%", not in problem order
    for problem, (before, after) in PUBLISHED.items():
        assert [n for n in range(before + 1) if round(100 * (1 - n / before)) == removed[problem]] == [after]


@pytest.mark.parametrize("name", ["fig01", "fig01_items"])
def test_figures_are_found_by_name(name: str) -> None:
    assert figure(name).NEEDS == ("bounds",)


@pytest.mark.parametrize("name", ["fig", "fig0", "fig99", "bounds"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="fig01_items"):
        figure(name)


def test_the_same_results_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    first = fig01_items.draw(store, tmp_path / "a")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9}):  # a user's own style must not matter
        second = fig01_items.draw(store, tmp_path / "b")
    assert [path.name for path in first] == FILES
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    pdf, png, svg = (path.read_bytes() for path in first)
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf  # TrueType: text stays text
    assert png.startswith(b"\x89PNG")
    assert fig01_items.ALT.encode() in png
    assert f"<title>{fig01_items.ALT}</title>".encode() in svg
    assert b"<dc:date>" not in svg
    assert b'href="http' not in svg  # no network
    (alone,) = fig01_items.draw(store, tmp_path / "c", ("svg",))
    assert alone.read_bytes() == svg
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["fig01_items.svg"]


def test_a_corrected_formula_redraws_the_figure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    before = [path.read_bytes() for path in fig01_items.draw(store, tmp_path)]
    right = lueker1998exponentially.items_needed
    monkeypatch.setattr(lueker1998exponentially, "items_needed", lambda *a, **k: 2 * right(*a, **k))
    after = [path.read_bytes() for path in fig01_items.draw(store, tmp_path)]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_what_is_missing_is_named_with_the_command(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    with pytest.raises(MissingRuns, match="python -m experiments run bounds"):
        fig01_items.draw(Store(tmp_path / "empty"), tmp_path)
    out = str(tmp_path / "figures")
    assert main(["fig01", "--results", str(tmp_path / "empty"), "--out", out]) == 1
    assert "fig01: not drawn: 6 of 6 runs" in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()
    assert main(["fig01", "--results", str(store.folder), "--out", out]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == FILES
    assert main(["fig01", "--results", str(store.folder), "--out", out, "--format", "png"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == ["fig01_items.png"]


def test_the_first_complete_preset_is_drawn_and_the_cheapest_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    quick = Bounds.preset("quick")
    presets = {"quick": quick, "more": [*quick, replace(quick[0], seed=99)], "small": quick[:1]}
    monkeypatch.setattr(Bounds, "presets", classmethod(lambda cls: presets))
    assert [run for run, _ in first_complete(Bounds, ("more", "small", "quick"), store)] == quick[:1]
    with pytest.raises(MissingRuns, match="preset 'more'"):
        first_complete(Bounds, ("more",), store)
    empty = Store(store.folder / "empty")
    with pytest.raises(MissingRuns, match="preset 'quick'"):
        first_complete(Bounds, ("more", "quick"), empty)
    with pytest.raises(MissingRuns, match="preset 'more'"):
        first_complete(Bounds, ("more", "quick"), empty, named="more")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fig77"]) == 2
    assert "no figure 'fig77'" in capsys.readouterr().err
    assert main(["--list"]) == 0
    assert "fig01_items: " in capsys.readouterr().out
