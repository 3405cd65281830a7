"""The experiment on the density of tickets: the ladder, the counting, every construction that there is, the figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import MissingRuns, find
from experiments.ticket_sparsity import TicketSparsity, constructions, layer_bits, tolerance
from strongticket.bounds.natale2024sparsity import kept_needed, mask_bits
from strongticket.runs import Store, execute
from strongticket.storage import covering_bits

SMALL = TicketSparsity(model="mlp-64-6-10", target="uniform", sizes=(0, 2, 3), weight_eps=0.05, growth=1.3)


def test_the_ladder_ends_at_the_first_ticket() -> None:
    result = SMALL.run()
    assert {**SMALL.run(), "measured": None} == {**result, "measured": None}
    assert [ticket["size"] for ticket in result["tickets"]] == [0, 2, 3]
    for ticket in result["tickets"]:
        items, unreached = zip(*ticket["tried"], strict=True)
        assert list(items) == sorted(set(items))
        assert all(unreached[:-1])
        assert unreached[-1] == ticket["unreached"] == 0
        assert ticket["items"] == items[-1]
        assert ticket["largest_error"] <= 0.05
        assert ticket["density"] == ticket["kept"] / ticket["parameters"]
        assert ticket["mask_bits"] == mask_bits(ticket["parameters"], ticket["kept"])
    _, two, three = result["tickets"]
    weights = result["target_weights"]
    assert 2 * weights < two["kept"] <= 4 * weights
    assert three["items"] <= two["items"]  # denser, and not larger
    assert three["density"] > two["density"]


def test_tickets_hold_more_bits_than_counting_asks_for() -> None:
    result = SMALL.run()
    needed = layer_bits(result["layers"], SMALL.weight_eps)
    for ticket in result["tickets"]:
        least = kept_needed(ticket["parameters"], needed)
        assert least is not None
        assert least < ticket["kept"]
        assert ticket["mask_bits"] > needed


def test_bits_of_layers_by_hand() -> None:
    # entries in [-1/2, 1/2], tolerance 1/10: five values that are more than 1/5 apart, such as +-0.5, +-0.25, 0
    assert layer_bits([[2, 3, 0.5]], 0.1) == pytest.approx(6 * math.log2(5) - 1)
    assert layer_bits([[2, 3, 0.5], [1, 1, 0.05]], 0.1) == pytest.approx(6 * math.log2(5) - 1)  # 0 serves the second


def test_bits_of_layers_are_those_of_the_fewest_networks_that_cover_them() -> None:
    layers = [[3, 4, 0.5], [2, 5, 0.3], [1, 7, 0.031], [2, 2, 1.0], [4, 1, 0.0]]
    for eps in (0.1, 0.03, 0.01, 2.0**-9):
        covering = sum(covering_bits(rows * columns, top, eps) for rows, columns, top in layers)
        assert layer_bits(layers, eps) == pytest.approx(covering - 1.0, rel=1e-12)


def test_every_construction_makes_a_ticket_or_says_why_not() -> None:
    assert {"Natale2024Sparsity", "Pensia2020Optimal"} <= set(constructions())
    for name in ("Natale2024Sparsity", "Pensia2020Optimal"):
        (ticket,) = replace(SMALL, construction=name, sizes=()).run()["tickets"]
        assert not ticket["rounded"]
        assert ticket["mask_bits"] > 0
    (ticket,) = replace(SMALL, construction="Nobody2000Nothing", sizes=()).run()["tickets"]
    assert "Nobody2000Nothing" in ticket["refused"]
    assert TicketSparsity.table([(replace(SMALL, sizes=()), {"tickets": [ticket], "layers": []})])[0]["refused"]


def test_constructions_that_take_no_tolerance_get_rounded_targets() -> None:
    if "Kumar2025Quantized" not in constructions():
        pytest.skip("no construction of quantised targets")
    run = replace(SMALL, construction="Kumar2025Quantized", sizes=())
    (ticket,) = run.run()["tickets"]
    assert ticket["rounded"]
    assert tolerance(run, ticket) == 2.0**-9
    assert (ticket["proved_error_box"] == 0.0) == (ticket["unreached"] == 0)


def test_parameters_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="growth"):
        replace(SMALL, growth=1.0)
    with pytest.raises(ValueError, match="sizes are for Natale2024Sparsity"):
        replace(SMALL, construction="Pensia2020Optimal")


def test_it_is_found_and_its_presets_name_every_construction() -> None:
    assert find("ticket_sparsity") is TicketSparsity
    presets = TicketSparsity.presets()
    assert {run.construction for run in presets["constructions"]} == set(constructions())
    seeds: dict[tuple[str, str], set[int]] = {}
    for run in presets["default"]:
        seeds.setdefault((run.data, run.target), set()).add(run.seed)
    assert all(len(found) >= 5 for found in seeds.values())


def test_the_figure_is_drawn_from_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from paper_figs import fig11_sparsity

    def presets(cls: type[TicketSparsity]) -> Mapping[str, Sequence[TicketSparsity]]:
        one = replace(SMALL, construction="Pensia2020Optimal", sizes=())
        absent = replace(SMALL, construction="Absent2000Thing", sizes=())
        return {"quick": [SMALL, replace(SMALL, seed=1)], "constructions": [one, absent], "default": [absent]}

    monkeypatch.setattr(TicketSparsity, "presets", classmethod(presets))
    store = Store(tmp_path / "results")
    with pytest.raises(MissingRuns, match="preset default"):
        fig11_sparsity.draw(store, tmp_path)
    assert execute([run.spec for run in TicketSparsity.preset("quick")], TicketSparsity.function(), store).complete
    with pytest.raises(MissingRuns, match="preset constructions"):
        fig11_sparsity.draw(store, tmp_path)
    (one, _) = TicketSparsity.preset("constructions")
    assert execute([one.spec], TicketSparsity.function(), store).complete
    first, second = (fig11_sparsity.draw(store, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["fig11_sparsity.pdf", "fig11_sparsity.png", "fig11_sparsity.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
