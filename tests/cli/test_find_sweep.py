"""`strongticket find --seeds 0-4 --densities .1 .5`: a ticket of each, as single searches find it, and named so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strongticket.cli import main
from strongticket.search import find
from strongticket.ticketfile import load
from strongticket.training import TrainingError

DIGITS = ("find", "--data", "digits", "--model", "mlp-64-32-10", "--epochs", "3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    value = json.loads(captured.out)
    assert isinstance(value, dict)
    return value


def test_every_seed_and_density_gets_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, *DIGITS, "--seeds", "0-1", "7", "--densities", ".1", ".5", "--log", "log.jsonl")["searches"]
    assert [(one["seed"], one["file"]) for one in found] == [
        (seed, f"ticket-seed{seed}-{density}.slt") for seed in (0, 1, 7) for density in ("0.1", "0.5")
    ]
    for one in found:
        ticket = load(folder / one["file"])
        assert (ticket.digest, ticket.source.seed) == (one["ticket_digest"], one["seed"])
        assert one["strict_check"]
        assert one["test_accuracy"] > one["random_mask_accuracy"]
        log = folder / one["file"].replace("ticket", "log").replace(".slt", ".jsonl")
        assert len(log.read_text().splitlines()) == 3
    assert [round(one["density"], 1) for one in found[:2]] == [0.1, 0.5]
    # the same split of the data, so the same first epoch as a single search has, up to rounding
    single = as_json(capsys, *DIGITS, "--density", "0.5", "--out", "single.slt")
    assert single["validation_accuracy"] == pytest.approx(found[1]["validation_accuracy"], abs=0.02)
    assert single["file"] == "single.slt"


def test_what_is_not_searched_at_once_is_searched_in_turn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, *DIGITS, "--seeds", "1", "0", "--method", "bernoulli", "--checkpoint", "state")["searches"]
    assert [one["file"] for one in found] == ["ticket-seed1.slt", "ticket-seed0.slt"]
    assert {path.name for path in (folder / "state").iterdir()} == {"search-seed0", "search-seed1"}
    assert [one["lr"] for one in found] == [200.0, 200.0]
    single = as_json(capsys, *DIGITS, "--seed", "0", "--method", "bernoulli", "--out", "single.slt")
    assert single["ticket_digest"] == found[1]["ticket_digest"]


def test_bernoulli_masks_are_searched_as_they_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With the recipe's own learning rate and weight decay they stay near a random mask."""
    good = as_json(capsys, *DIGITS, "--method", "bernoulli")
    bad = as_json(capsys, *DIGITS, "--method", "bernoulli", "--lr", "0.3")
    assert good["validation_accuracy"] > bad["validation_accuracy"] + 0.3


def test_an_interrupted_sweep_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from strongticket.search._rows import FusedRows, PlainRows

    sweep = [*DIGITS, "--seeds", "0-1", "--checkpoint", "state"]
    whole = as_json(capsys, *sweep[:-2])["searches"]
    left = [40]
    for kind in (FusedRows, PlainRows):

        def stopping(self: Any, *arguments: Any, step: Any = kind.step) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            step(self, *arguments)

        monkeypatch.setattr(kind, "step", stopping)
    assert main(sweep) == 130
    assert "goes on from state" in capsys.readouterr().err
    left[0] = 1000
    assert [one["ticket_digest"] for one in as_json(capsys, *sweep)["searches"]] == [
        one["ticket_digest"] for one in whole
    ]


def test_the_table_has_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DIGITS, "--densities", "0.2", "0.4"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "seed 0, density 0.2" in text
    assert "ticket-0.4.slt" in text
    assert text.count("random mask") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "4-1"], "names no seeds"),
        (["--seeds", "0-3", "2"], "a seed twice"),
        (["--seeds", "one"], "ranges such as 0-4, got 'one'"),
        (["--seeds", "-1"], ""),
        (["--seeds", "0-5000"], "more than 1000"),
        (["--densities", "0.1", "0.1"], "a number twice"),
        (["--densities", "0.1", "1.5"], "1.5"),
        (["--densities", "0.1", "0.5", "--method", "bernoulli"], "no single density"),
        (["--seeds", "0-1", "--log", "ticket.slt"], "--out and --log are both ticket-seed0.slt"),
        (["--seeds", "0-1", "--out", "t.slt", "--log", "sub/../t.slt"], "--out and --log are both"),
        (["--densities", "0.5", "0"], "in (0, 1], got 0.0"),
        (["--seeds", "0-1", "--log", "other.jsonl"], "other-seed1.jsonl is no log of epochs"),
        (["--seeds", "0-1", "--log", "other.jsonl", "--method", "bernoulli"], "other-seed1.jsonl is no log of epochs"),
        (["--seeds", "0-1", "--log", "binary.jsonl"], "binary-seed0.jsonl is no log of epochs"),
        (["--seeds", "0-1", "--tensorboard", "events"], "search-seed1 is a file"),
        (["--seeds", "0-1", "--checkpoint", "events", "--method", "bernoulli"], "search-seed1 is a file"),
        (["--seeds", "0-1", "--checkpoint", "taken"], "taken is a file"),
    ],
)
def test_bad_sweeps_are_refused_before_work(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    (folder / "taken").write_text("")
    (folder / "sub").mkdir()
    (folder / "other-seed1.jsonl").write_text("my notes\nof last year\n")
    (folder / "binary-seed0.jsonl").write_bytes(bytes(range(256)))
    (folder / "events").mkdir()
    (folder / "events" / "search-seed1").write_text("")
    monkeypatch.setattr("strongticket.cli._sweep.images_of", lambda command: pytest.fail("this is work"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=None))  # as if installed
    try:
        status = main([*DIGITS, *arguments])
    except SystemExit as refused:  # by the parser
        status = int(str(refused.code))
    assert status == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not list(folder.glob("*.slt"))
    assert (folder / "other-seed1.jsonl").read_text() == "my notes\nof last year\n"


def test_missing_tensorboard_is_noticed_before_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("strongticket.cli._sweep.images_of", lambda command: pytest.fail("this is work"))
    assert main([*DIGITS, "--seeds", "0-1", "--tensorboard", "events"]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), TrainingError("the loss became nan")])
def test_what_was_found_before_a_search_went_wrong_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    from strongticket.cli import _sweep

    def failing(*arguments: Any, seed: int, **options: Any) -> Any:
        if seed == 7:
            raise stop
        return find(*arguments, seed=seed, **options)

    monkeypatch.setattr(_sweep, "find", failing)
    sweep = [*DIGITS, "--seeds", "0", "7", "1", "--method", "bernoulli", "--log", "log.jsonl"]
    if isinstance(stop, KeyboardInterrupt):
        assert main(sweep) == 130
        assert "interrupted; ticket-seed0.slt is written\n" in capsys.readouterr().err
        assert main([*sweep, "--checkpoint", "state"]) == 130
        assert "is written; the same command goes on from state" in capsys.readouterr().err
    else:
        assert main(sweep) == 2
    assert [path.name for path in folder.glob("*.slt")] == ["ticket-seed0.slt"]
    assert load(folder / "ticket-seed0.slt").source.seed == 0
    assert len((folder / "log-seed0.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("method", ["edge-popup", "signed-top-k"])  # all at once, and in turn
def test_tickets_come_before_histories(folder: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    from strongticket.cli import _sweep

    def full(*arguments: object) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr(_sweep, "_write_history", full)
    assert main([*DIGITS, "--seeds", "0-1", "--method", method, "--log", "log.jsonl"]) == 2
    assert len(list(folder.glob("*.slt"))) == (2 if method == "edge-popup" else 1)


def test_near_densities_have_files_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, *DIGITS, "--densities", "0.3", "0.30000000000000004")["searches"]
    assert [one["file"] for one in found] == ["ticket-0.3.slt", "ticket-0.30000000000000004.slt"]


def test_processes_share_one_search_not_several(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*DIGITS, "--seeds", "0-1"]) == 2
    assert "torchrun shares the batches of one search" in capsys.readouterr().err
