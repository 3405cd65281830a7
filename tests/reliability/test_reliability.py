"""The studies of reliability in small, each in a process of its own; and that they notice what is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.reliability._faults import Fault
from experiments.reliability._fuzz import chunk, one, reader
from experiments.reliability._hostile import FILES, read_within
from experiments.reliability._kill import aims
from experiments.reliability._report import STUDIES, figures, renewed
from strongticket import runs, ticketfile

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are watched through /proc and pidfd")


def program(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def study(tmp_path: Path, *words: str) -> dict[str, Any]:
    out = tmp_path / "out.json"
    done = program("-m", "experiments.reliability", *words, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_kills_change_nothing(tmp_path: Path) -> None:
    found = study(tmp_path, "kill", "--jobs", "tickets", "store", "--random", "2", "--chosen", "3")
    assert (found["kills"], found["wrong"], found["workers_that_outlived_their_parent"]) == (10, 0, 0)
    assert found["environment"]["cpu"]
    assert {row["job"] for row in found["jobs"]} == {"tickets", "store"}


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("in_place", "cannot be read"),
        ("not_again", "a.txt is not what it is undisturbed"),
        ("untidy", "left behind"),
        ("timed", "b.txt is not what it is undisturbed"),
        ("stubborn", "KeyError"),
        ("twice", "b.txt is not what it is undisturbed"),
    ],
)
def test_what_is_wrong_is_noticed(tmp_path: Path, job: str, said: str) -> None:
    done = program(str(Path(__file__).with_name("careless_jobs.py")), job, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(said, "\n".join(json.loads(done.stdout)["what"])), done.stdout


def test_workers_left_alone_are_counted() -> None:
    done = program(str(Path(__file__).with_name("careless_jobs.py")), "left_alone")
    assert json.loads(done.stdout)["workers_that_outlived_their_parent"] > 0


def test_every_failing_call_leaves_old_or_new() -> None:
    code = (
        "import json; from experiments.reliability._disk import failing_job, doors, DOORS;"
        "from experiments.reliability._jobs import JOBS, warm; warm(['tickets', 'construction']);"
        "print(json.dumps([failing_job(JOBS['tickets'], 'tickets', 8), *doors(DOORS[:1])]))"
    )
    done = program("-c", code)
    assert done.returncode == 0, done.stderr
    job, *doors = json.loads(done.stdout.splitlines()[-1])
    assert (job["wrong"], job["failed_calls"]) == (0, 16)
    assert job["ended"]["refused"] >= 8
    assert sum(row["wrong"] for row in doors) == 0, doors
    assert "File too large: " in doors[0]["says"]


def test_two_at_once_write_one_whole_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from experiments.reliability import _kill, _twice;"
        "from experiments.reliability._jobs import JOBS, warm; warm(['tickets']); place = Path(sys.argv[1]);"
        "whole = _kill.Undisturbed.of(JOBS['tickets'], place / 'whole');"
        "print(_twice.twice_of(JOBS['tickets'], whole, place, 0.0, watch=True))"
    )
    done = program("-c", code, str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_bad_usage() -> None:
    assert program("-m", "experiments.reliability", "kill", "--jobs", "nothing").returncode == 2
    with pytest.raises(ValueError, match="call >= 0"):
        Fault(-1)


def test_aims_cover_each_kind_of_call_and_then_spread() -> None:
    calls = ["open", "write", "fsync"] * 30
    chosen = aims(calls, 20)
    assert len(chosen) == len(set(chosen)) == 20
    everywhere = {(call, moment) for call in set(calls) for moment in ("before", "after")} | {("write", "half")}
    assert {(calls[call - 1], moment) for call, moment in chosen} == everywhere
    assert len(aims(calls[:2], 20)) == 5


def test_the_page_has_the_figures_that_were_measured() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert renewed(page, ROOT / "results" / "benchmarks") == page, "python -m experiments.reliability page"
    with pytest.raises(ValueError, match="both marks"):
        renewed("nothing", ROOT)


def test_a_study_that_was_not_run_is_said_to_be_missing(tmp_path: Path) -> None:
    assert figures(tmp_path).count("is missing") == len(STUDIES)


# -- files of strangers


@pytest.mark.parametrize(("kind", "count"), [("tickets", 1500), ("results", 500), ("stages", 150)])
def test_damaged_and_lying_files(kind: Any, count: int) -> None:
    found = chunk(kind, 0, count)
    assert found["wrong"] == []
    assert found["counts"]["refused"] > count // 2
    assert found["counts"]["accepted"] > 0  # so that the check of what is accepted does check something


def test_seeds_are_files() -> None:
    assert [one("tickets", seed) for seed in range(20)] == [one("tickets", seed) for seed in range(20)]
    assert len({one("tickets", seed)[0] for seed in range(20)}) > 15


def test_a_reader_that_believes_everything_is_found_out() -> None:
    how = reader("tickets")
    broken = bytearray(how.samples[1])
    broken[-1] ^= 1
    found = how.read(how.samples[1])
    assert how.right(found, how.samples[1], how.samples[1], True)
    assert not how.right(found, bytes(broken), how.samples[1], True)
    assert not how.right(found, how.samples[1], how.samples[1], False)  # a damaged file is never accepted


NAMES = [(kind, name) for kind, files in FILES.items() for name in files]
LARGE = ("million", "MB")


@pytest.mark.parametrize(("kind", "name"), [each for each in NAMES if not any(size in each[1] for size in LARGE)])
def test_hostile_files(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(FILES[kind][name]())
    with pytest.raises((ticketfile.TicketFileError, runs.DamagedRun)):
        _ = ticketfile.load(path) if kind == "ticket" else runs._store._read_record(path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_memory_on_hostile_files(tmp_path: Path, kind: str, name: str) -> None:
    assert read_within(kind, name, tmp_path / "file")["wrong"] == 0


def test_errors_of_full_disks_are_the_ones_that_are_tried() -> None:
    from experiments.reliability._disk import ERRORS

    assert set(ERRORS) == {errno.ENOSPC, errno.EIO}
