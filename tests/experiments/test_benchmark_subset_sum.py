from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import MissingRuns
from experiments.benchmarks import _machine, _peers, subset_sum
from experiments.benchmarks._cases import EXPONENT, Instances, Kind, Method, Question, engine
from experiments.benchmarks._measure import Agreement, Effort, measure
from experiments.benchmarks._plan import EPS, groups
from experiments.benchmarks._report import deliver, ratios, tables
from experiments.benchmarks.subset_sum import SubsetSumBenchmark, run
from paper_figs import fig05_speed
from strongticket._files import canonical_json
from strongticket.runs import Store

N = 9


def literal(items: list[int], target: int, limit: int) -> tuple[int, int]:
    """Least error of all subsets, and least size within the limit or -1."""
    subsets = [[x for i, x in enumerate(items) if mask >> i & 1] for mask in range(1 << len(items))]
    within = [len(chosen) for chosen in subsets if abs(target - sum(chosen)) <= limit]
    return min(abs(target - sum(chosen)) for chosen in subsets), min(within, default=-1)


@pytest.fixture(scope="module")
def truth() -> np.ndarray[Any, np.dtype[np.int64]]:
    items, targets = Instances("uniform", N, 3).first(6)
    limit = int(Fraction(EPS) * 2**23)
    return np.array([literal(row, z, limit) for row, z in zip(items.tolist(), targets.tolist(), strict=True)])


@pytest.mark.parametrize("kind", ["uniform", "product"])
def test_instances_lie_on_their_grids_and_do_not_depend_on_how_many_are_asked_for(kind: Kind) -> None:
    items, targets = Instances(kind, 12, 1).first(300)
    top = 1 << -EXPONENT[kind]
    assert items.shape == (300, 12)
    assert (items % 2 == 1).all()
    assert max(abs(items).max(), abs(targets).max()) <= top
    assert abs(items).max() > 0.9 * top
    fewer = Instances(kind, 12, 1).first(7)
    assert (fewer[0] == items[:7]).all()
    assert (fewer[1] == targets[:7]).all()
    assert (Instances(kind, 12, 2).first(300)[0] != items).any()


@pytest.mark.parametrize("method", _peers.plain_methods(), ids=lambda method: method.name)
@pytest.mark.parametrize("kind", ["uniform", "product"])
def test_plain_peers_find_the_minimum(method: Method, kind: Kind) -> None:
    items, targets = Instances(kind, N, 3).first(6)
    least = [literal(row, z, 0)[0] for row, z in zip(items.tolist(), targets.tolist(), strict=True)]
    if method.name.startswith("merge"):
        pytest.importorskip("numba")
    assert method.facts(method.call(items, targets))[:, 0].tolist() == least


@pytest.mark.parametrize("peer", _peers.GENERAL, ids=lambda peer: peer.name)
def test_general_solvers_answer_the_question_asked(
    peer: _peers.AbstractGeneralSolver, truth: np.ndarray[Any, np.dtype[np.int64]]
) -> None:
    if not _peers.installed(peer):
        pytest.skip(f"{peer.package} is not installed")
    instances = Instances("uniform", N, 3)
    assert (truth[:, 1] >= 0).any()
    for task in peer.tasks:
        row = _peers.compare(peer, task, instances, EPS, truth, 60.0)
        assert (row["instances"], row["missed"], row["unproved"]) == (6, 0, 0)
        assert 0 < row["median_s"] <= row["max_s"]
        if task == "minimum":
            assert 0 <= row["excess_max"] <= (2e-6 if peer.name == "HiGHS" else 0)
        elif peer.name == "CP-SAT":
            assert row["beyond_eps"] == 0
        if task == "sparsest within eps":
            assert row["excess_size_max"] == 0


def test_a_wrong_answer_of_a_general_solver_shows(truth: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    class Lazy(_peers.AbstractGeneralSolver):
        name, package, module, tolerances = "lazy", "numpy", "numpy", "none"
        tasks = ("minimum", "within eps")

        def ask(self, task: Any, items: list[int], target: int, eps: int, unit: float) -> _peers.Answer:
            return _peers.Answer(0, False)

    _, targets = Instances("uniform", N, 3).first(6)
    row = _peers.compare(Lazy(), "minimum", Instances("uniform", N, 3), 0.01, truth, 1.0)
    assert row["unproved"] == 6
    assert row["excess_max"] == max(abs(targets) - truth[:, 0]) * 2.0**-23
    row = _peers.compare(Lazy(), "within eps", Instances("uniform", N, 3), 0.01, truth, 1.0)
    assert row["beyond_eps"] == np.count_nonzero(abs(targets) > 0.01 * 2**23)


def test_measure_times_whole_pools_and_stops_growing() -> None:
    seen = []

    def call(items: Any, targets: Any) -> Any:
        seen.append((len(items), len(targets)))
        return targets

    method = Method("idle", call, lambda result: result[:, None])
    timing = measure(method, Question("min_error", None, 10), Instances("uniform", 3, 0), Effort(0.002, 2, 50))
    assert all(10 * pools == targets for pools, targets in seen)
    assert timing.batch == 50
    assert len(timing.facts) == 50
    assert timing.calls > 1
    assert timing.us > 0


def test_disagreement_is_an_error_and_agreement_is_counted() -> None:
    method = engine("brute", "uniform", Question("min_error"), N)
    items, targets = Instances("uniform", N, 3).first(20)
    facts = method.facts(method.call(items, targets))
    agreement = Agreement("minimum")
    agreement.add("a", facts)
    agreement.add("b", facts[:5])
    assert agreement.verified == {"a": 5, "b": 5}
    wrong = facts.copy()
    wrong[3] += 1
    with pytest.raises(AssertionError, match=r"minimum: a finds .* for instance 3 and c finds"):
        agreement.add("c", wrong)


def test_ratios_compare_like_with_like() -> None:
    head: dict[str, Any] = {"kind": "uniform", "n": 21, "targets_per_pool": None, "eps": None}
    rows = [
        {**head, "objective": "min_error", "method": "torch", "us": 9.0},
        {**head, "objective": "min_error", "method": "numba:int32", "us": 1.0},
        {**head, "objective": "min_error", "method": "numba:int32", "us": 0.1, "targets_per_pool": 784},
        {**head, "objective": "min_error", "method": "numba-plain", "skipped": "not there"},
        {**head, "objective": "first_hit", "eps": 0.01, "method": "numba", "us": 0.5},
        {**head, "objective": "first_hit", "eps": 0.001, "method": "numba", "us": 0.7},
    ]
    peers: list[dict[str, Any]] = [
        {"peer": "HiGHS", "task": "minimum", "n": 21, "eps": None, "median_s": 2.0},
        {"peer": "HiGHS", "task": "within eps", "n": 21, "eps": 0.01, "median_s": 0.001},
        {"peer": "HiGHS", "task": "within eps", "n": 24, "eps": 0.01, "median_s": 0.001},
        {"peer": "CP-SAT", "status": "not installed"},
    ]
    found = {(row["peer"], row["task"]): row["ratio"] for row in ratios(rows, peers)}
    assert found == {("HiGHS", "minimum"): pytest.approx(2e6), ("HiGHS", "within eps"): pytest.approx(2e3)}
    faster = {**head, "objective": "sparsest", "eps": 0.01, "method": "numba", "us": 0.25}  # answers the question too
    found = {(row["peer"], row["task"]): row["ratio"] for row in ratios([*rows, faster], peers)}
    assert found["HiGHS", "within eps"] == pytest.approx(4e3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"items": (0,)}, "items"),
        ({"items": ()}, "items"),
        ({"seconds": 0.0}, "seconds"),
        ({"repetitions": 0}, "repet"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SubsetSumBenchmark(**options)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    """The whole benchmark at its smallest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subset_sum, "groups", lambda items: groups(items)[:1])
        patch.setattr(_machine, "start_up", lambda cases, cached: [])  # seconds of imports in fresh processes
        return run(SubsetSumBenchmark(items=(8,), seconds=0.002, repetitions=1, network=0))


def test_the_whole_benchmark_runs_and_verifies(tiny: dict[str, Any]) -> None:
    timed = [row for row in tiny["rows"] if "us" in row]
    assert {"torch", "brute", "numpy brute force"} <= {row["method"] for row in timed}
    assert all(row["verified"] > 0 for row in timed)
    assert tiny["environment"]["vector_bits"] in (None, 128, 256, 512)
    assert {row["peer"] for row in tiny["peers"]} == {"HiGHS", "CP-SAT"}  # named though not asked
    assert json.loads(canonical_json(tiny)) == tiny
    text = tables(tiny)
    assert "exact minimum [uniform]" in text
    assert "not asked: give --peers" in text


def test_a_result_is_shown_and_written_and_a_bad_place_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def measured() -> dict[str, Any]:
        ran.append(1)
        return {"name": "demo", "sizes": (1, 2)}

    with pytest.raises(OSError, match="folder"):
        deliver(measured, str, tmp_path)
    assert ran == []
    deliver(measured, lambda result: f"a table of {result['name']}", None)
    assert capsys.readouterr().out == "a table of demo\n"
    out = tmp_path / "new" / "demo.json"
    deliver(measured, lambda result: "a table", out)
    assert capsys.readouterr().out == f"a table\nwritten to {out}\n"
    assert json.loads(out.read_text()) == {"name": "demo", "sizes": [1, 2]}


def test_the_figure_is_drawn_from_the_file(tiny: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(MissingRuns, match=r"python -m experiments\.benchmarks\.subset_sum --peers --out .*json"):
        fig05_speed.draw(store, tmp_path / "figures")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / fig05_speed.RESULT).write_text(canonical_json(tiny))
    written = fig05_speed.draw(store, tmp_path / "figures")
    assert [path.name for path in written] == ["fig05_speed.pdf", "fig05_speed.png", "fig05_speed.svg"]
    assert all(path.stat().st_size > 1000 for path in written)
