"""The experiment with pruning before training, small: methods, checks, counts, table, presets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments import find
from experiments._weak import STAGES
from experiments.pruning_at_start import CHECKS, METHODS, PruningAtStart
from strongticket.models import architecture
from strongticket.weak import SCOPES, Scope, kinds, level_totals

SMALL = PruningAtStart(
    "digits",
    "mlp-64-24-16-10+bias",
    "digits-adam",
    30,
    15,
    "lth-lenet",
    0,
    "glorot-normal",
    "snip",
    "none",
    (2, 6),
    5,
    0,
)


@pytest.fixture(autouse=True)
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv(STAGES, str(tmp_path / "stages"))


def test_every_method_and_check_runs_at_the_counts_of_iterative_pruning() -> None:
    runs = [
        dataclasses.replace(SMALL, method=run.method, check=run.check)
        for run in PruningAtStart.presets()["quick"]
        if run.seed == 0
    ]
    results = {(run.method, run.check): run.run() for run in runs}
    totals = level_totals(architecture(SMALL.model).shapes, SCOPES["lth-lenet"], 6)
    for result in results.values():
        assert [sum(row["kept"].values()) for row in result["rows"]] == [totals[2], totals[6]]
    for method in METHODS:
        plain = results[method, "none"]["rows"]
        for check in ("shuffle", "reinit"):
            if (method, check) in results:
                assert [row["kept"] for row in results[method, check]["rows"]] == [row["kept"] for row in plain]
        if (method, "invert") in results:
            assert results[method, "invert"]["rows"][1]["kept"] != plain[1]["kept"]
    layers = list(results["random-layer", "none"]["rows"][1]["kept"].values())
    assert max(
        abs(kept / size - totals[6] / totals[0]) for kept, size in zip(layers, (1536, 384, 160), strict=True)
    ) < (0.01)
    rows = PruningAtStart.table([(run, results[run.method, run.check]) for run in runs])
    assert [(row["level"], row["method"]) for row in rows] == [(n, method) for n in (2, 6) for method in METHODS]
    worse = [f"better than {what} by" for check, what in CHECKS.items() if check != "none"]
    for row in rows:
        there = {"imp": worse[:2], "random": [], "random-layer": []}.get(row["method"], worse)
        assert [name for name in worse if name in row] == there


def test_the_presets_can_be_run() -> None:
    assert find("pruning_at_start") is PruningAtStart
    presets = PruningAtStart.presets()
    assert list(presets) == ["quick", "digits", "mnist", "paper"]
    assert set(presets["quick"]) < set(presets["digits"])
    for runs in presets.values():
        assert len({run.spec.key for run in runs}) == len(runs)
        for run in runs:
            scope: Scope = SCOPES[run.scope]
            assert scope.pruned(kinds(architecture(run.model).shapes))
    paper = presets["paper"][0]
    totals = level_totals(architecture(paper.model).shapes, SCOPES[paper.scope], 13)
    assert [round(totals[n] / totals[0], 3) for n in paper.levels] == [0.262, 0.107, 0.055]
    with pytest.raises(ValueError, match="no scores"):
        dataclasses.replace(SMALL, method="imp", check="invert")
    with pytest.raises(ValueError, match="expected a method"):
        dataclasses.replace(SMALL, method="obd")  # type: ignore[arg-type]
