"""`python -m theory compare`: who takes part, what is measured, where formulas cross, what is said and written."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from strongticket import constructions
from strongticket.certificate import Domain
from strongticket.certify import certify
from strongticket.constructions import Pensia2020Optimal
from strongticket.models import MLP, Target
from theory import _contenders
from theory.__main__ import main
from theory._compare import compare, make_setting
from theory._contenders import EPS, Contender, Setting, contenders, known_counts
from theory._crossings import crossings, roots

SMALL = make_setting("5-4-2", 0.3, 0.05, seconds=30.0)


def test_every_paper_takes_part_and_every_construction_is_asked() -> None:
    keys = {one.key for one in contenders()}
    assert keys == set(theory.papers())
    asked = {one.make for one in contenders()}
    for one in (getattr(constructions, name) for name in constructions.__all__):
        if isinstance(one, type) and one.__module__.rpartition(".")[2] in keys and hasattr(one, "plan"):
            assert one in asked
    assert all(one.why for one in contenders() if one.make is None)


@dataclass(frozen=True)
class OfSomeone:
    """A construction with a count of its own."""

    network_eps: float
    seed: int
    items: int | str = "theorem"


def test_a_new_construction_appears_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class in the file of a paper that had none."""
    home = ModuleType("strongticket.constructions.lueker1998exponentially")
    vars(home).update(vars(sys.modules[Pensia2020Optimal.__module__]) | {"__name__": home.__name__})
    monkeypatch.setitem(sys.modules, home.__name__, home)
    monkeypatch.setattr(Pensia2020Optimal, "__module__", home.__name__)
    found = [one for one in contenders() if one.key == "lueker1998exponentially"]
    assert [one.make for one in found] == [Pensia2020Optimal]
    assert found[0].counts() == ("theorem", "information-limit")


def test_counts_are_read_from_the_class() -> None:
    assert known_counts(OfSomeone) == ()
    for one in contenders():
        if one.make is not None:
            asked, practice = one.counts()
            assert asked in known_counts(one.make)
            assert practice in known_counts(one.make)


def test_the_drawn_target_is_inside_all_hypotheses() -> None:
    for layer in SMALL.target.layers:
        assert np.linalg.norm(layer.weight, 2) <= 1.0
        assert np.abs(layer.weight).max() <= 1.0 / np.sqrt(layer.weight.shape[1])


def test_what_suffices_was_reached_and_fewer_were_not() -> None:
    found = compare(SMALL, only=("pensia2020optimal", "malach2020proving", "lueker1998exponentially"))
    rows = {row.label: row for row in found.rows}
    row = rows["pensia2020optimal, column-aware"]
    least, below = int(row.measured_items or 0), int(row.why("measured").split("not with ")[1].split()[0])
    for items, reached in ((least, True), (below, False)):
        made = Pensia2020Optimal(network_eps=0.3, delta=0.05, items=items, domain=Domain.ball(1)).construct(
            SMALL.target
        )
        assert (made.ticket is not None) == reached
        if made.ticket is not None:
            assert made.ticket.mask.count == row.kept
            assert made.plan.source.architecture.size == row.measured_weights
    assert row.proved is not None
    assert row.proved <= 0.3
    papers = rows["malach2020proving, as in the paper"].asked_weights
    assert (row.measured_weights or 0) < (row.asked_weights or 0) < (papers or 0)
    assert (row.mask_bits or 0) > found.limit_bits > 0
    empty = rows["lueker1998exponentially"]
    assert empty.asked_weights is empty.measured_weights is None
    assert "no construction" in empty.why("asked")


def test_a_quantised_target_stays_within_eps() -> None:
    (one,) = [one for one in contenders() if one.key == "kumar2025quantized"]
    method, target = one.method(SMALL, "theorem")
    ticket = method.construct(target).ticket
    assert ticket is not None
    assert certify(ticket, target, Domain.ball(1)).error == 0.0
    assert 0.0 < certify(ticket, SMALL.target, Domain.ball(1)).error <= 0.3


def test_what_takes_too_long_says_so() -> None:
    fine = replace(make_setting("40-30-10", 0.001, 0.01), seconds=1e-3)
    (row, _) = compare(fine, only=("pensia2020optimal",)).rows
    assert row.asked_weights is not None
    assert row.measured_weights is None
    assert "stopped after" in row.why("measured")
    huge = compare(make_setting("lenet", 0.01, 0.01), only=("malach2020proving",)).rows[0]
    assert huge.asked_weights is not None
    assert "not run" in huge.why("measured")


def test_targets_outside_a_theorem_say_why(tmp_path: Path) -> None:
    mlp = MLP((3, 2))
    path = tmp_path / "t.safetensors"
    Target(mlp, {"layers.0.weight": torch.full((2, 3), 0.75)}).save(path)
    rows = compare(make_setting(str(path), 0.3, 0.1)).rows
    (pensia,) = [row for row in rows if row.label == "pensia2020optimal, column-aware"]
    assert "norm" in pensia.why("asked")
    assert "norm" in pensia.why("measured")
    normalised = make_setting(str(path), 0.3, 0.1, normalise=True)
    assert np.linalg.norm(normalised.target.layers[0].weight, 2) <= 1.0
    assert compare(normalised, only=("pensia2020optimal",)).rows[0].measured_weights is not None


@pytest.mark.parametrize("target", ["6-5-3", "64-10", "lenet"])
def test_formulas_are_near_what_the_constructions_plan(target: str) -> None:
    """The formulas take the closed tolerance per weight and the largest weight for all, and do not round up."""
    setting = make_setting(target, 0.02, 0.01)
    for one in contenders():
        if one.size is None:
            continue
        formula = float(one.size(setting).xreplace({EPS: sympy.Float(setting.eps)}))
        asked, _ = one.counts()
        try:
            method, given = one.method(setting, str(asked))
            planned = method.plan(given).source.architecture.size
        except ValueError:
            continue
        assert planned / 3 < formula < 12 * planned, one.label


@settings(max_examples=20, deadline=None)
@given(exponent=st.floats(-9, -0.5), power=st.integers(1, 3))
def test_roots_are_where_they_were_put(exponent: float, power: int) -> None:
    place = 10.0**exponent
    found = roots(EPS**-power * sympy.Float(place) ** power, sympy.Integer(1))
    assert found == pytest.approx([place], rel=1e-12)
    (near,) = roots(sympy.log(1 / EPS), -sympy.log(sympy.Float(place)) * sympy.Integer(1))
    assert near == pytest.approx(place, rel=1e-9)


def test_crossings_say_who_asks_for_less_where() -> None:
    def one(name: str, size: Any) -> Contender:
        return Contender(name, make=Pensia2020Optimal, size=lambda setting: size)

    pair = [one("power", 1 / EPS), one("log", 100 * sympy.log(1 / EPS)), Contender("none", why="no formula")]
    found, without = crossings(pair, SMALL)
    assert without == (("none", "no formula"),)
    (crossing,) = found
    assert 1 / crossing.eps == pytest.approx(100 * np.log(1 / crossing.eps)) == pytest.approx(crossing.weights)
    assert crossing.smaller_below == "log"
    assert crossing.planned is not None
    assert crossing.planned[0] == crossing.planned[1]


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.json"
    options = ["--eps", "0.3", "--delta", "0.1", "--target", "4-3-2", "--seconds", "2", "--json", str(file)]
    assert main(["compare", *options]) == 0
    text = capsys.readouterr().out
    assert "limit of information" in text
    assert "not applicable: lueker1998exponentially" in text
    value = json.loads(file.read_text())
    assert {row["key"] for row in value["rows"]} == set(theory.papers())
    assert "seconds" not in value["rows"][0]
    assert value["sizes"] == [4, 3, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eps", "0"], "eps must lie in (0, 1)"),
        (["--delta", "1"], "delta must lie in (0, 1)"),
        (["--eps", "nan"], "eps must lie in (0, 1)"),
        (["--target", "no-such-file"], "no-such-file"),
        (["--target", "7"], "sizes needs"),
        (["--seconds", "0"], "seconds must be positive"),
        (["--target", "3-2", "--papers", "nobody2000coins"], "no paper nobody2000coins"),
        (["--json", "."], "folder"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err


def test_a_setting_that_is_not_asked_raises_no_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a construction is not taken for a hypothesis."""

    def broken(self: Setting) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(_contenders.Contender, "method", lambda *_: broken(SMALL))
    with pytest.raises(ZeroDivisionError):
        compare(SMALL, only=("pensia2020optimal",))
