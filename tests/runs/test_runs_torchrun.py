"""Runs that several processes share: one record, the same mask, and none of it lost with a process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from torch import distributed

from strongticket.runs import Spec, Store, Torchrun, execute

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this torch has no torch.distributed")


@pytest.fixture(autouse=True)
def _functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def test_same_mask_on_one_and_two_ranks_though_one_is_killed(tmp_path: Path) -> None:
    spec = Spec("search", 1, {"seed": 0, "kill": str(tmp_path / "killed")})
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    function = "shared_functions:exact_search"
    assert execute([spec], function, one).complete
    summary = execute([spec], function, two, backend=Torchrun(2, tmp_path / "checkpoints"))
    assert summary.complete, summary.failures
    alone, together = one.read(spec), two.read(spec)
    assert together.environment["processes"] == 2
    assert (tmp_path / "killed").read_text() == "0"
    assert together.result["measured"] == {"began": 6}  # it went on where it was, not from the start
    assert alone.claim == together.claim
    assert len(alone.result["kept"]) >= 6
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [spec.key]


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [("unequal", "RanksDisagree", "ranks [1]"), ("hopeless", "ValueError", "no such luck")],
)
def test_errors_are_failures_not_restarts(tmp_path: Path, function: str, error: str, text: str) -> None:
    summary = execute([Spec("a", 1, {})], f"shared_functions:{function}", Store(tmp_path), backend=Torchrun(2))
    (failure,) = summary.failures
    assert (failure.error, failure.attempts) == (error, 1)
    assert text in failure.message


def test_a_job_that_is_stuck_is_ended_and_nobody_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongticket.runs._torchrun.ATTEMPTS", 1)
    backend = Torchrun(2, patience_s=6.0)
    summary = execute([Spec("stuck", 1, {"folder": str(tmp_path)})], "shared_functions:stuck", Store(tmp_path / "s"),
                      backend=backend)  # fmt: skip
    (failure,) = summary.failures
    assert (failure.error, failure.attempts) == ("WorkerDied", 1)
    assert "ended after 6 s without a new checkpoint" in failure.message
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.05)


@pytest.mark.parametrize("processes", [0, True, 1.5])
def test_bad_settings_are_refused(processes: int) -> None:
    with pytest.raises(ValueError, match="processes"):
        Torchrun(processes)
