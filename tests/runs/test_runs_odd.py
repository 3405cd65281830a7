"""Runs, files and workers that are unlike others: one of them must not end a study, nor cost what is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from strongticket.runs import DamagedRun, Failure, Record, Spec, Store, _read, execute

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.mark.parametrize("jobs", [1, 2])
def test_strange_errors_end_their_run_alone(tmp_path: Path, jobs: int) -> None:
    kinds = ("wordless", "cancelled", "long", "none")
    specs = [Spec("strange", 1, {"kind": kind, "x": x}) for x, kind in enumerate(kinds)]
    store = Store(tmp_path)
    summary = execute(specs, "run_functions:strange", store, jobs=jobs)
    assert summary.done == 1
    said = {failure.error: failure.message for failure in summary.failures}
    assert said["Wordless"] == "(its text cannot be had: RuntimeError)"
    assert said["CancelledError"] == "enough"
    assert len(said["ValueError"]) < 1 << 17
    assert len(store.failures()) == 3  # all notes can be read


@pytest.mark.parametrize(("size", "depth"), [(3000, 0), (1900, 0), (0, 63), (0, 62)])
def test_what_could_not_be_read_back_is_a_failure_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, depth: int
) -> None:
    monkeypatch.setattr(_read, "MAX_BYTES", 2000)  # 1900 fit alone, and not together with where they come from
    spec, store = Spec("large", 1, {"bytes": size, "depth": depth}), Store(tmp_path)
    summary = execute([spec], "run_functions:large", store)
    assert [failure.error for failure in summary.failures] == ([] if depth == 62 else ["ValueError"])
    again = execute([spec], "run_functions:large", store)
    assert (again.damaged, again.reused) == ((), int(depth == 62))


def test_foreign_files_are_never_swept(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), Spec("study", 1, {"x": 1})
    folder = store.write(Record(spec, {}, {}, 0.1)).parent
    (tmp_path / "failures").mkdir()
    key = spec.key
    kept = [folder / name for name in (".notes.json.old.part", f".{key}.json.mine.part", f"{key}.json.part", "x.part")]
    kept += [tmp_path / "failures" / ".x.json.0123456789abcdef.part"]
    ours = folder / f".{key}.json.0123456789abcdef.part"
    for path in (*kept, ours):
        path.write_text("mine")
        os.utime(path, (time.time() - 7200,) * 2)
    assert store.leftovers() == (ours,)
    assert store.sweep() == 1
    assert all(path.exists() for path in kept)


def test_what_is_no_file_is_damage_not_an_end(tmp_path: Path) -> None:
    store, folder, pipe = Store(tmp_path), Spec("study", 1, {"x": 1}), Spec("study", 1, {"x": 2})
    store.path(folder).mkdir(parents=True)
    os.mkfifo(store.path(pipe))
    for spec in (folder, pipe):
        with pytest.raises(DamagedRun, match="is no file"):
            store.read(spec)
    assert len(store.records("study").damaged) == 2


def test_what_goes_away_while_it_is_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, spec = Store(tmp_path), Spec("study", 1, {"x": 1})
    store.write(Record(spec, {}, {}, 0.1))
    store.write_failure(Failure(spec, "E", "", "", 1, {}))
    from strongticket.runs import _store

    paths = _store._paths

    def going(folder: Path, suffix: str = ".json") -> list[Path]:
        return [*paths(folder, suffix), folder / f"{'0' * 64}{suffix}"]  # listed, and gone when it is opened

    monkeypatch.setattr(_store, "_paths", going)
    assert len(store.failures()) == len(store.records("study").records) == 1


def test_two_who_find_the_same_damage_both_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, spec = Store(tmp_path), Spec("mixed", 1, {"x": 1, "pair": (1, 2)})
    path = store.write(Record(spec, {}, {}, 0.1))
    path.write_text("torn")
    aside = Store.set_aside

    def second(self: Store, spec: Spec) -> Path:
        aside(self, spec)  # the other one was quicker
        return aside(self, spec)

    monkeypatch.setattr(Store, "set_aside", second)
    assert execute([spec], "run_functions:mixed", store).complete


def test_workers_that_cannot_start_are_said_so_at_once(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from strongticket.runs import Spec, Store, execute\n"
        "specs = [Spec('a', 1, {'x': x}) for x in range(1000)]\n"
        f"execute(specs, 'strongticket.runs.examples:square', Store({str(tmp_path / 'store')!r}), jobs=2)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert "ChildProcessError: worker processes end as soon as they start" in done.stderr.splitlines()[-1]
    assert "if __name__ == '__main__'" in done.stderr
    assert not Store(tmp_path / "store").failures()  # no run is to blame
