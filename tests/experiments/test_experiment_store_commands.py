"""What the commands say about a store, make of it, and take away from it."""

from __future__ import annotations

import csv
import importlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import find
from experiments.__main__ import main
from experiments._commands_clean import leftovers
from experiments._commands_collect import _uniform, flat, rows_of
from experiments._commands_estimate import estimate, grouped
from experiments._commands_status import pace
from experiments.bounds import Bounds
from strongticket.runs import Failure, Record, Spec, Store

ENVIRONMENT = {"python": "3.11", "torch": "2.0"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def presets(cls: type[Bounds]) -> Mapping[str, Sequence[Bounds]]:
        return {"quick": [cls("uniform", "edge", (0.2, 0.1), 50, 10, seed) for seed in range(4)]}

    monkeypatch.setattr(Bounds, "presets", classmethod(presets))


def specs() -> list[Spec]:
    return [run.spec for run in Bounds.preset("quick")]


def record(spec: Spec, seconds: float = 2.0, **result: Any) -> Record:
    return Record(spec, result or {"value": spec.params.get("seed")}, ENVIRONMENT, seconds)


def failure(spec: Spec, message: str = "no luck") -> Failure:
    return Failure(spec, "RuntimeError", message, "Traceback", 1, ENVIRONMENT)


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# -- status


def test_status_counts_what_is_there(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, (a, b, c, d) = Store(tmp_path), specs()
    store.write(record(a))
    store.write(record(b)).write_text("torn")
    store.write_failure(failure(c, "first line\nsecond"))
    words = ["status", "--results", str(tmp_path), "--json"]
    assert main(words) == 0
    (row,) = said(capsys)
    counts = {key: row[key] for key in ("name", "preset", "runs", "done", "missing", "failed", "damaged", "last error")}
    assert counts == {
        "name": "bounds", "preset": "quick", "runs": 4, "done": 1, "missing": 3, "failed": 1, "damaged": 1,
        "last error": "RuntimeError: first line",
    }  # fmt: skip
    assert main([*words, "--unread"]) == 0
    assert [(row["done"], row["damaged"]) for row in said(capsys)] == [(2, 0)]
    store.write_failure(failure(d, "later"))
    os.utime(store.failure_path(c), (0, 0))
    assert main(["status", "bounds", "--results", str(tmp_path), "--json"]) == 0
    assert said(capsys)[0]["last error"] == "RuntimeError: later"


def test_status_of_nothing_and_of_one(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--results", str(tmp_path)]) == 0
    assert "nothing has been begun" in capsys.readouterr().err
    assert main(["status", "bounds", "--results", str(tmp_path), "--json"]) == 0
    assert said(capsys)[0]["missing"] == 4
    assert main(["status", "boundz", "--results", str(tmp_path)]) == 2
    assert not (tmp_path / "runs").exists()


def test_status_tells_rate_and_time_left_of_what_is_going_on(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, now = Store(tmp_path), time.time()
    for spec, age in zip(specs()[:3], (40.0, 30.0, 20.0), strict=True):
        os.utime(store.write(record(spec)), (now - age, now - age))
    assert main(["status", "--results", str(tmp_path), "--json"]) == 0
    (row,) = said(capsys)
    assert (row["rate"], row["left"]) == ("6.0/min", "10 s")
    store.write(record(specs()[3]))  # nothing is left
    assert main(["status", "--results", str(tmp_path), "--json"]) == 0
    assert (said(capsys)[0]["rate"]) is None


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=120), st.floats(0, 1e5))
def test_pace_is_that_of_a_stretch_of_the_newest_files(written: list[float], later: float) -> None:
    now = max(written) + later
    found = pace(written, now)
    assert found is not None
    assert found.last_s == pytest.approx(later, abs=1e-6)
    newest = sorted(written)[-100:]
    rates = [(len(newest) - i - 1) / (newest[-1] - newest[i]) for i in range(len(newest) - 1) if newest[-1] > newest[i]]
    assert found.per_second is None or any(found.per_second == pytest.approx(rate) for rate in rates)
    assert not (found.going and found.per_second is None)


# -- collect


def test_collect_writes_the_same_table_in_every_format(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    store = Store(tmp_path / "store")
    for i, spec in enumerate(specs()):
        store.write(record(spec, best=0.5 + i, note='x, "y"\né', list=[1, {"a": None}], whole=i, nothing=None))
    store.write(record(Spec("bounds", Bounds.version + 1, {"other": 1})))
    for suffix in ("parquet", "csv", "jsonl"):
        out = tmp_path / f"table.{suffix}"
        words = ["collect", "bounds", "--preset", "quick", "--results", str(store.folder), "--out", str(out)]
        assert main(words) == 0
        before = out.read_bytes()
        assert main(words) == 0
        assert out.read_bytes() == before
    assert "4 runs, 4 rows" in capsys.readouterr().err
    rows = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert [row["key"] for row in rows] == [spec.key for spec in specs()]
    assert [row["result.best"] for row in rows] == [0.5, 1.5, 2.5, 3.5]
    assert [row["params.seed"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["params.eps"] == "[0.2,0.1]"
    assert {row["result.note"] for row in rows} == {'x, "y"\né'}
    assert {row["result.list"] for row in rows} == {'[1,{"a":null}]'}
    assert json.loads(rows[0]["environment"]) == ENVIRONMENT
    assert {(row["name"], row["version"], row["seconds"]) for row in rows} == {("bounds", Bounds.version, 2.0)}
    with (tmp_path / "table.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0]) == list(rows[0])
    assert [line["result.best"] for line in lines] == ["0.5", "1.5", "2.5", "3.5"]
    assert lines[0]["result.note"] == 'x, "y"\né'
    assert lines[0]["result.nothing"] == ""
    texts = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    assert texts[0]["result.list"] == [1, {"a": None}]
    assert [text["result.whole"] for text in texts] == [0, 1, 2, 3]


def test_collect_says_what_is_missing_and_writes_the_rest(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, (a, b, *_) = Store(tmp_path), specs()
    store.write(record(a))
    store.write(record(b)).write_text("torn")
    out = tmp_path / "table.csv"
    words = ["collect", "bounds", "--results", str(tmp_path), "--out", str(out)]
    assert main([*words, "--preset", "quick"]) == 1
    err = capsys.readouterr().err
    assert "3 runs of the preset are missing: python -m experiments run bounds --preset quick" in err
    assert "damaged, left out" in err
    assert len(out.read_text().splitlines()) == 2
    assert main(words) == 1  # no preset: nothing is missing, but one is damaged
    store.path(b).unlink()
    assert main(words) == 0


def test_collect_takes_versions_and_names_that_no_file_declares(small: None, tmp_path: Path) -> None:
    store, out = Store(tmp_path), tmp_path / "table.jsonl"
    store.write(record(specs()[0]))
    store.write(record(Spec("bounds", Bounds.version + 7, {"seed": 1})))
    store.write(record(Spec("own", 3, {"n": 2}), rows=[{"x": 1}, {"y": 2}]))

    def lines(*words: str) -> list[dict[str, Any]]:
        assert main(["collect", *words, "--results", str(tmp_path), "--out", str(out)]) == 0
        return [json.loads(line) for line in out.read_text().splitlines()]

    assert len(lines("bounds")) == 1
    assert sorted(line["version"] for line in lines("bounds", "--old-versions")) == [1, Bounds.version + 7]
    rows = lines("own")
    assert [(row["row.number"], row.get("row.x"), row.get("row.y")) for row in rows] == [(0, 1, None), (1, None, 2)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["collect", "bounds", "--out", "table.txt"], ".parquet, .csv, .jsonl"),
        (["collect", "boundz", "--out", "table.csv"], "perhaps you meant 'bounds'"),
        (["collect", "bounds", "--preset", "huge", "--out", "table.csv"], "has no preset 'huge'"),
    ],
)
def test_collect_refuses_what_it_cannot_do(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--results", "store"]) == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("a.\\", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.text("a.\\", max_size=3), json_values, max_size=4))
def test_flat_loses_nothing_and_mixes_nothing_up(value: dict[str, Any]) -> None:
    def leaves(inner: Any) -> int:
        return sum(map(leaves, inner.values())) if isinstance(inner, dict) and inner else 1

    found = flat(value, "p")
    assert len(found) == (leaves(value) if value else 0)  # equal names would have swallowed one another


@given(st.lists(json_values, max_size=5))
def test_columns_have_one_type_that_arrow_takes(values: list[Any]) -> None:
    arrow = pytest.importorskip("pyarrow")
    column = _uniform(values)
    assert [one is None for one in column] == [one is None for one in values]
    assert arrow.array(column).to_pylist() == column


def test_rows_of_a_result_without_rows_is_one() -> None:
    for rows in ([], [1, 2], "text", {"a": 1}):
        assert len(rows_of(record(Spec("a", 1, {}), rows=rows))) == 1


# -- clean


def filled(store: Store) -> dict[str, Path]:
    """A store with one of everything, by what it is."""
    a, b, c, d = specs()
    old = Spec("bounds", 1, {"seed": 0})
    foreign = Spec("unknown", 1, {"seed": 0})
    paths = {"result": store.write(record(a)), "old": store.write(record(old)), "foreign": store.write(record(foreign))}
    paths["newer"] = store.write(record(Spec("bounds", Bounds.version + 1, {"seed": 0})))
    store.write(record(b)).write_text("torn")
    paths["damaged"] = store.set_aside(b)
    paths["torn"] = store.write(record(c))
    paths["torn"].write_text("torn")
    paths["failure"] = store.write_failure(failure(d))
    paths["failure of a torn run"] = store.write_failure(failure(c))
    paths["finished failure"] = store.write_failure(failure(a))
    paths["old failure"] = store.write_failure(failure(Spec("bounds", 1, {"seed": 1})))
    for name, age in (("part", 7200), ("young part", 0)):
        paths[name] = paths["result"].with_name(f".{paths['result'].name}.{age:016x}.part")
        paths[name].write_text("half")
        os.utime(paths[name], (time.time() - age,) * 2)
    for name, spec in (("checkpoints", a), ("checkpoints needed", d)):
        paths[name] = store.folder / "checkpoints" / spec.key
        paths[name].mkdir(parents=True)
        (paths[name] / "checkpoint.pt").write_text("state")
    for name in ("note.json", "note.txt"):
        paths[name] = store.folder / "damaged" / name
        paths[name].write_text("mine")
    return paths


DEAD = {"damaged", "finished failure", "part", "checkpoints"}
OLD = {"old", "old failure"}


@pytest.mark.parametrize("old_versions", [False, True])
def test_clean_lists_first_and_deletes_only_what_is_dead(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, old_versions: bool
) -> None:
    monkeypatch.setattr(Bounds, "version", 2)
    store = Store(tmp_path)
    paths = filled(store)
    dead = DEAD | (OLD if old_versions else set())
    words = ["clean", "--results", str(tmp_path), "--json", *(["--old-versions"] if old_versions else [])]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert {row["path"] for row in json.loads(out)} == {str(paths[name].relative_to(tmp_path)) for name in dead}
    assert "nothing was deleted: --yes does it" in err
    assert all(path.exists() for path in paths.values())
    assert main([*words, "--yes"]) == 0
    capsys.readouterr()
    assert {name for name, path in paths.items() if not path.exists()} == dead
    assert leftovers(store, old_versions=old_versions) == []
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_clean_leaves_links_alone(small: None, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    kept = tmp_path / "mine"
    kept.mkdir()
    (store.folder / "checkpoints").mkdir(parents=True)
    (store.folder / "checkpoints" / specs()[0].key).symlink_to(kept)
    store.write(record(specs()[0]))
    assert leftovers(store) == []


# -- run --dry-run


def test_a_dry_run_judges_by_similar_runs_and_runs_nothing(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (a, b, *_) = Store(tmp_path), specs()
    words = ["run", "bounds", "--preset", "quick", "--dry-run", "--jobs", "2", "--results", str(tmp_path)]
    assert main(words) == 0
    assert "unknown" in capsys.readouterr().err
    store.write(record(a, seconds=10.0))
    before = sorted(tmp_path.rglob("*"))
    assert main([*words, "--json"]) == 0
    value = said(capsys)
    assert (value["total"], value["done"], value["to_run"], value["unknown"]) == (4, 1, 3, 0)
    assert (value["compute_seconds"], value["wall_seconds"]) == (30.0, 15.0)
    assert value["runs"][0] == {"key": b.key, "seconds": 10.0, "differs": []}
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "3 runs" in out
    assert "1..3" in out
    assert "about 15 s with 2 at once" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_most_similar_runs_are_asked() -> None:
    def spec(**params: Any) -> Spec:
        return Spec("a", 1, params)

    records = [
        record(spec(n=1, k=1, law="x", seed=0), 1.0),
        record(spec(n=1, k=1, law="x", seed=1), 3.0),
        record(spec(n=2, k=1, law="x", seed=0), 50.0),
        record(spec(n=9, k=9, law="z", seed=0), 900.0),
    ]
    asked = [spec(n=1, k=1, law="x", seed=7), spec(n=2, k=5, law="x", seed=0), spec(n=7, k=7, law="q", seed=0)]
    exact, near, far = estimate(asked, records)
    assert (exact.seconds, exact.differs) == (2.0, ())
    assert (near.seconds, near.differs) == (50.0, ("k",))
    assert far.seconds is None
    assert [one.seconds for one in estimate(asked, [])] == [None] * 3


def test_a_dry_run_shows_what_distinguishes_runs_and_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def presets(cls: type[Bounds]) -> Mapping[str, Sequence[Bounds]]:
        laws = ("uniform", "half_product")
        return {
            "quick": [
                cls(law, "edge", (0.2, 0.1), 50, most, s) for law in laws for most in (10, 20) for s in (0, 1, 5)
            ],
            "wide": [cls("uniform", "edge", tuple(0.9 * 2.0**-k for k in range(n)), 50, 10, n) for n in (3, 40)],
        }

    monkeypatch.setattr(Bounds, "presets", classmethod(presets))
    runs = [run.spec for run in Bounds.preset("quick")]
    shared, rows = grouped(estimate(runs, [record(runs[0], seconds=4.0)]))
    assert shared == {"target": '"edge"', "eps": "[0.2,0.1]", "trials": "50"}
    assert [(row["law"], row["max_items"], row["seed"]) for row in rows] == [
        (law, most, "0, 1, 5") for law in ("uniform", "half_product") for most in ("10", "20")
    ]
    assert [(row["run"], row["takes"]) for row in rows] == [("3 runs", "12 s")] * 4
    assert [row["judged by another"] for row in rows] == ["seed", "max_items", "law", "law, max_items"]
    for preset in ("quick", "wide"):
        assert main(["run", "bounds", "--preset", preset, "--dry-run", "--results", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 100
        assert "…" not in out
        assert "all with" in out
    assert Bounds.preset("wide")[0].spec.key[:12] in out


# -- run --torchrun, --scheduler


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["bounds", "--torchrun", "2"], "does not share a run between processes"),
        (["bounds", "--torchrun", "2"], "can be spread: shared_search"),
        (["shared_search", "--torchrun", "0"], "expected a number of processes >= 1"),
        (["shared_search", "--torchrun", "2", "--scheduler", "tcp://127.0.0.1:9"], "--torchrun or --scheduler"),
        (["bounds", "--scheduler", "here"], "dask scheduler"),
        (["bounds", "--jobs", "0", "--dry-run"], "jobs: expected an int >= 1"),
    ],
)
def test_what_cannot_be_launched_is_explained(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, "--preset", "quick", "--results", str(tmp_path)]) == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_runs_of_several_processes_are_runs_of_their_own() -> None:
    from experiments._commands_run import spread

    shared = find("shared_search")
    runs = shared.preset("quick")
    two = spread(shared, runs, 2)
    assert [run.spec.params["processes"] for run in two] == [2] * len(runs)
    assert not {run.spec.key for run in two} & {run.spec.key for run in runs}
    assert spread(shared, runs, None) == runs
    with pytest.raises(ValueError, match="do them with --torchrun 2"):
        spread(shared, two, None)
    with pytest.raises(RuntimeError, match="shared by 2 processes, and there are 1"):
        two[0].run()


@pytest.mark.slow  # its halves are tested by themselves: torchrun's runs in tests/runs, shared searches in tests/search
def test_a_shared_search_finds_a_ticket_of_the_same_size(tmp_path: Path) -> None:
    from experiments._commands_run import make, spread

    store, shared = Store(tmp_path), find("shared_search")
    short = [replace(shared.preset("quick")[0], epochs=1)]  # type: ignore[type-var]
    results = []
    for processes in (1, 2):
        (run,) = spread(shared, short, processes)
        assert make("shared_search", "short", [run], store, torchrun=processes if processes > 1 else None).complete
        results.append(store.read(run.spec))
    alone, together = results
    assert together.environment["processes"] == 2
    assert alone.result["kept"] == together.result["kept"]
    assert alone.result["strict"]
    assert together.result["strict"]
    assert (store.folder / "checkpoints" / together.spec.key / "checkpoint.pt").exists()
    assert [one.path.name for one in leftovers(store)] == [together.spec.key]


# -- report


def test_report_makes_what_is_missing_and_has_the_page_written(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[Path, Path, str]] = []

    def build(store: Store, out: Path, *, preset: str = "quick") -> Path:
        built.append((store.folder, out, preset))
        out.write_text(f"{len(store.records('bounds').records)} runs")
        return out

    fake = SimpleNamespace(needs=lambda preset: (("bounds", preset),), build=build)
    load = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name, *rest: fake if name == "paper_figs.report" else load(name, *rest)
    )
    out = tmp_path / "page" / "report.html"
    words = ["report", "--out", str(out), "--jobs", "1", "--results", str(tmp_path)]
    assert main(words) == 0
    assert built == [(tmp_path, out, "quick")]
    assert out.read_text() == "4 runs"
    assert f"report -> {out}" in capsys.readouterr().err

    def broken(self: Bounds) -> dict[str, Any]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(Bounds, "run", broken)
    Store(tmp_path).path(specs()[0]).unlink()
    assert main(words) == 1  # the page is written all the same, and says what is missing
    assert out.read_text() == "3 runs"
    assert main([*words, "--preset", "huge"]) == 2
