"""The command as users type it: in process for what it does, in a fresh process for how it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from strongticket.cli import main
from strongticket.models import MLP, Target
from strongticket.ticketfile import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = torch.Generator().manual_seed(1)
    mlp = MLP((6, 5, 3))
    target = Target(mlp, {n: torch.rand(s, generator=generator) - 0.5 for n, s in mlp.shapes.items()})
    target.save(tmp_path / "target.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, object]:
    assert main([*arguments, "--json"]) == status
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def test_construct_certify_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = as_json(capsys, "construct", "target.safetensors", "--out", "t.slt", "--eps", "0.02", "--items", "16")
    ticket = load(folder / "t.slt")
    assert built["ticket_digest"] == ticket.digest
    assert built["bytes"] == (folder / "t.slt").stat().st_size
    checked = as_json(capsys, "certify", "t.slt", "target.safetensors", "--trials", "20", "--write")
    assert checked["ratio"] >= 1
    assert checked["proved"] == built["certificate"]
    assert len(load(folder / "t.slt").certificates) == 2  # the proved one was there
    shown = as_json(capsys, "show", "t.slt")
    assert shown["kept"] == ticket.mask.count
    assert main(["show", "t.slt"]) == 0
    text = capsys.readouterr().out
    assert "PROVED" in text
    assert ticket.digest in text


def test_a_ticket_out_of_reach_is_exit_status_1_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = as_json(
        capsys, "construct", "target.safetensors", "--out", "t.slt", "--eps", "1e-6", "--items", "4", status=1
    )
    assert built["unreached"]
    assert not (folder / "t.slt").exists()
    assert main(["construct", "target.safetensors", "--eps", "1e-6", "--items", "4"]) == 1
    assert "not reached" in capsys.readouterr().out


def test_dry_run_only_says_what_would_be_built(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = as_json(capsys, "construct", "target.safetensors", "--dry-run")
    assert planned["problems"] == [30, 15]
    assert sorted(path.name for path in folder.iterdir()) == ["target.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["construct", "nothing.safetensors"], "nothing.safetensors"),
        (["construct", "target.safetensors", "--eps", "0"], "strictly between 0 and 1, got 0.0"),
        (["construct", "target.safetensors", "--delta", "1"], "strictly between 0 and 1, got 1.0"),
        (["construct", "target.safetensors", "--network-eps", "0.1", "--eps", "0.1"], "exactly one of"),
        (["construct", "target.safetensors", "--low", "2", "--high", "1"], "finite low <= high"),
        (["construct", "target.safetensors", "--out", "."], "is a folder"),
        (["construct", "target.safetensors", "--out", "target.safetensors"], "is the target itself"),
        (["construct", "target.safetensors", "--items", "1000000000"], "at most 1048576"),
        (["construct", "target.safetensors", "--eps", "1e-15"], "finer than the products"),
        (["certify", "t.slt", "target.safetensors", "--trials", "100000000000"], "at most 1000000"),
        (["train", "--data", "digits", "--model", "mlp-784-10"], "64"),
        (["construct", "text.safetensors"], "not a readable target file"),
        (["construct", "conv.pt"], "2-d weights"),
        (["construct", "nan.npz"], "is nan; every weight must be finite"),
        (["show", "target.safetensors"], "target.safetensors"),
        (["certify", "target.safetensors", "target.safetensors"], "target.safetensors"),
        (["bound", "nobody2020nothing.theorem"], "nobody2020nothing"),
        (["bound", "pensia2020optimal.theorem2_parameters", "--set", "d=ten"], "name=number, got 'd=ten'"),
        (["bound", "pensia2020optimal.theorem2_parameters", "--set", "d=10", "eps=0.7"], "eps"),
        (["bound", "pensia2020optimal.theorem2_parameters", "--set", "d=10", "d=0.7"], "gives d twice"),
        (["bound", "items", "--eps", "0"], "0"),
        (["bound", "items", "--eps", "nan"], "eps and delta must lie in (0, 1)"),
        (["bound", "items", "--delta", "1"], "--delta must lie in (0, 1), got 1.0"),
        (["bound", "items", "--delta", "nan"], "--delta must lie in (0, 1), got nan"),
        (["bound", "items", "--target", "inf"], "--target must be positive and finite"),
        (["bound", "items", "--size", "0"], "--size must be at least 1"),
        (["bound", "items", "--weights", "0"], "--weights must be at least 1"),
        (["bound", "items", "--weights", "1" + 400 * "0"], "a number of 401 digits"),
        (["bound", "items", "--scale", "0"], "--scale must be positive"),
        (["bound", "items", "--eps", "1e-40"], "eps >= 1e-30"),
        (["bound", "items", "--size", "1000000"], "at most 64 items"),
        (["bound", "items", "--set", "eps=0.1"], "--set belongs to a bound"),
        (["bound", "list", "--eps", "nan"], "--eps belongs to 'bound items'"),
        (["bound", "pensia2020optimal.theorem2_parameters", "--law", "normal"], "--law belongs to 'bound items'"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (folder / "text.safetensors").write_text("no tensors at all")
    torch.save({"conv.weight": torch.zeros(2, 2, 3, 3)}, folder / "conv.pt")
    np.savez(folder / "nan.npz", **{"fc.weight": np.array([[np.nan, 0.0]], dtype=np.float32)})
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("strongticket: ")
    assert captured.err.count("\n") == 1


def test_bounds_are_listed_and_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    listed = as_json(capsys, "bound", "list")
    assert "pensia2020optimal.theorem1_width" in listed
    value = as_json(capsys, "bound", "pensia2020optimal.theorem2_parameters", "--set", "d=10", "eps=0.01")
    assert value["value"] == pytest.approx(563.3856)
    assert main(["bound", "pensia2020optimal.theorem2_parameters"]) == 0
    assert "--set d=... eps=..." in capsys.readouterr().out
    items = as_json(capsys, "bound", "items", "--eps", "1e-2", "--delta", "1e-6")
    assert items["counting_floor"] < items["predicted"] < items["proved"]


@pytest.mark.parametrize("law", ["uniform", "product", "half_product", "normal", "hyperbolic"])
def test_items_of_every_law(capsys: pytest.CaptureFixture[str], law: str) -> None:
    arguments = ("bound", "items", "--eps", "1e-2", "--delta", "1e-2", "--law", law, "--averaged")
    found = as_json(capsys, *arguments)
    assert found["annealed"] <= found["quenched"] <= found["predicted"]  # type: ignore[operator]
    assert found["floor"] <= found["predicted"]  # type: ignore[operator]
    assert abs(found["saddlepoint"] - found["predicted"]) <= 2  # type: ignore[operator]
    assert (found["proved"] is None) == (law == "hyperbolic")
    measured = found["measured"]
    assert isinstance(measured, dict)
    if measured["items"] is not None:
        assert abs(measured["items"] - found["saddlepoint"]) <= 1  # type: ignore[operator]
    assert main([*arguments]) == 0
    text = capsys.readouterr().out
    assert "no proof" in text
    assert measured["note"] in " ".join(text.split())
    assert ("the theorem does not apply" in text) == (law == "hyperbolic")


def test_items_of_a_size_and_for_many_weights(capsys: pytest.CaptureFixture[str]) -> None:
    sized = as_json(capsys, "bound", "items", "--eps", "0.02", "--delta", "0.1", "--averaged", "--size", "3")
    free = as_json(capsys, "bound", "items", "--eps", "0.02", "--delta", "0.1", "--averaged")
    assert sized["predicted"] >= free["predicted"]  # type: ignore[operator]
    assert sized["proved"] is None
    assert "quenched" not in sized
    many = as_json(capsys, "bound", "items", "--delta", "0.1", "--weights", "397000", "--averaged")
    alone = as_json(capsys, "bound", "items", "--delta", str(0.1 / 397_000), "--averaged")
    assert many["predicted"] == alone["predicted"] == 33
    assert many["saddlepoint"] is None
    # independent targets: needed is less than the union bound asks for, and is exact
    assert many["delta_per_target"] == 0.1 / 397_000
    assert 1 - (1 - many["delta_necessary"]) ** 397_000 == pytest.approx(0.1)  # type: ignore[operator]
    assert many["floor"] <= alone["floor"]  # type: ignore[operator]
    assert main(["bound", "items", "--delta", "0.1", "--weights", "397000", "--averaged"]) == 0
    text = capsys.readouterr().out
    assert "397,000 targets together" in text
    assert "too rare to be drawn; at least" in text
    reach = as_json(capsys, "bound", "items", "--max-target", "0.5")
    assert reach["target"] == 0.5
    assert reach["proved"] == 95


def test_items_say_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    rare = as_json(capsys, "bound", "items", "--delta", "1e-9", "--averaged", "--law", "product", "--size", "8")
    assert rare["predicted"] is None
    assert rare["measured"]["items"] is None  # type: ignore[index, call-overload]
    assert main(["bound", "items", "--delta", "1e-12", "--averaged"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "trials cannot tell; at least" in text
    assert main(["bound", "items", "--target", "100"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "predicted not available: the floor" in text
    scaled = as_json(capsys, "bound", "items", "--scale", "2", "--target", "2", "--eps", "0.02")
    plain = as_json(capsys, "bound", "items")
    for name in ("floor", "counting_floor", "measured", "predicted", "saddlepoint", "quenched", "annealed", "proved"):
        assert scaled[name] == plain[name]
    assert as_json(capsys, "bound", "items", "--target", "0.005")["predicted"] == 0


def test_bound_loads_no_torch() -> None:
    code = "import sys; from strongticket.cli import main; main(['bound', 'items']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_train_writes_a_target_that_construct_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    trained = as_json(
        capsys, "train", "--data", "digits", "--model", "mlp-64-16-10", "--epochs", "20", "--out", "d.safetensors"
    )
    assert trained["test_accuracy"] > 0.8
    assert Target.load(folder / "d.safetensors").digest == trained["target_digest"]


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; sys.argv = ['strongticket', '--help']\ntry:\n import strongticket.cli; strongticket.cli.main()\n"
    )
    program += "except SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "construct" in done.stdout
