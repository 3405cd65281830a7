from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments import AbstractExperiment, MissingRuns, command, find, finished, latest, names
from experiments.__main__ import main
from experiments.bounds import Bounds
from strongticket.runs import Spec, Store, execute

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets of `bounds` that take no time."""

    def presets(cls: type[Bounds]) -> Mapping[str, Sequence[Bounds]]:
        quick = [cls("uniform", "edge", (0.2, 0.1), 50, 10, seed) for seed in range(3)]
        return {"quick": quick, "default": [*quick, cls("uniform", "spread", (0.2, 0.1), 50, 10, 0)]}

    monkeypatch.setattr(Bounds, "presets", classmethod(presets))


def test_every_experiment_keeps_the_contract() -> None:
    for name in names():
        experiment = find(name)
        assert experiment.__module__ == f"experiments.{name}"
        assert isinstance(experiment.version, int)
        presets = experiment.presets()
        assert "quick" in presets
        for runs in presets.values():
            specs = [run.spec for run in runs]
            assert len({spec.key for spec in specs}) == len(specs) > 0
            for run, spec in zip(runs, specs, strict=True):
                assert (spec.name, spec.version) == (name, experiment.version)
                # what a worker gets is what was declared
                rebuilt = type(run)(**{key: getattr(run, key) for key in spec.params})
                assert rebuilt == run
                assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_run_list_and_resume(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "bounds", "--preset", "quick", "--jobs", "1", "--results", str(tmp_path)]
    assert main([*run, "--json"]) == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert (value["total"], value["done"], value["reused"]) == (3, 3, 0)
    assert value["keys"] == [one.spec.key for one in Bounds.preset("quick")]
    assert {row["eps"] for row in value["table"]} == {0.2, 0.1}
    assert "3 runs: 3 done" in err
    assert main(run) == 0
    out, err = capsys.readouterr()
    assert "measured" in out
    assert "3 were in" in err
    assert main(["list", "--results", str(tmp_path), "--json"]) == 0
    rows = {row["preset"]: row for row in json.loads(capsys.readouterr().out) if row["name"] == "bounds"}
    assert (rows["quick"]["done"], rows["quick"]["runs"]) == (3, 3)
    assert (rows["default"]["done"], rows["default"]["runs"]) == (3, 4)
    assert main(["list", "--results", str(tmp_path)]) == 0
    assert "bounds" in capsys.readouterr().out


def test_failed_runs_are_reported(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Bounds) -> dict[str, Any]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(Bounds, "run", broken)
    assert main(["run", "bounds", "--preset", "quick", "--jobs", "1", "--results", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "RuntimeError: no luck" in err
    assert "3 failed: the same command tries them again" in err
    assert len(Store(tmp_path).failures()) == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "boundz"], "perhaps you meant 'bounds'"),
        (["run", "bounds", "--preset", "huge"], "it has quick, default"),
        (["run", "bounds", "--jobs", "0"], "jobs: expected an int >= 1"),
    ],
)
def test_bad_usage_is_explained(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:  # fmt: skip
    assert main([*arguments, "--results", str(tmp_path)]) == 2
    assert text in capsys.readouterr().err


def test_misspelt_options_exit_with_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "bounds", "--jbos", "2"])
    assert stop.value.code == 2


def test_an_interrupt_says_how_to_go_on(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Bounds) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bounds, "run", interrupted)
    assert main(["run", "bounds", "--preset", "quick", "--jobs", "1", "--results", str(tmp_path)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_missing_runs_name_the_command_that_makes_them(small: None, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    with pytest.raises(MissingRuns, match=r"python -m experiments run bounds --preset default --results .*results"):
        latest(Bounds, store)
    execute([run.spec for run in Bounds.preset("quick")], Bounds.function(), store)
    assert latest(Bounds, store)[0] == "quick"
    with pytest.raises(MissingRuns, match="1 of 4 runs of 'bounds'"):
        finished(Bounds, "default", store)
    execute([run.spec for run in Bounds.preset("default")], Bounds.function(), store)
    preset, runs = latest(Bounds, store)
    assert preset == "default"
    assert [run for run, _ in runs] == Bounds.preset("default")
    assert command(Bounds, "quick", store).startswith("python -m experiments run bounds")


def test_workers_give_the_same_bytes(small: None, tmp_path: Path) -> None:
    specs = [run.spec for run in Bounds.preset("default")]
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    assert execute(specs, Bounds.function(), here).complete
    assert execute(specs, Bounds.function(), there, jobs=2).complete
    assert [here.read(spec).content for spec in specs] == [there.read(spec).content for spec in specs]


def test_results_of_another_version_do_not_count(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    execute([run.spec for run in Bounds.preset("default")], Bounds.function(), store)
    monkeypatch.setattr(Bounds, "version", Bounds.version + 1)
    with pytest.raises(MissingRuns, match=f"version {Bounds.version}"):
        latest(Bounds, store)


def test_find_refuses_files_that_are_no_experiments() -> None:
    assert "demo" not in names()
    assert issubclass(find("bounds"), AbstractExperiment)
    with pytest.raises(ValueError, match="there are"):
        find("demo")


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("list", "run", "status", "collect", "clean", "report"))]
)
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom experiments.__main__ import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = set('torch numpy scipy sympy matplotlib numba distributed pyarrow'.split()) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m experiments" in done.stdout


def test_a_study_runs_on_a_cluster_by_its_address_alone(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    from experiments.benchmarks._cluster import cluster
    from strongticket.runs._worker import _versions

    _versions.cache_clear()  # the revision of now, as the workers will see it
    run = ["run", "bounds", "--preset", "quick", "--json"]
    with cluster(2, [ROOT]) as started:
        assert main([*run, "--scheduler", started.address, "--results", str(tmp_path / "there")]) == 0
    there = json.loads(capsys.readouterr().out)
    assert main([*run, "--jobs", "1", "--results", str(tmp_path / "here")]) == 0
    here = json.loads(capsys.readouterr().out)
    assert (there["done"], there["keys"]) == (3, here["keys"])
    specs = [one.spec for one in Bounds.preset("quick")]
    stores = [Store(tmp_path / name) for name in ("here", "there")]
    assert len({tuple(store.read(spec).claim for spec in specs) for store in stores}) == 1
