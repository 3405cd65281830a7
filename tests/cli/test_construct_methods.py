"""`strongticket construct --method`: every construction as users type it; what is refused, and before which work."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import pytest
import torch

from strongticket import Domain, Target, load
from strongticket.certify import certify, certify_copies
from strongticket.cli import main
from strongticket.cli._construct import GRAPHS, METHODS, QUANTISED
from strongticket.cli._options import Construct
from strongticket.constructions import Burkholz2022Most
from strongticket.models import MLP
from strongticket.models.targets import GraphTarget
from strongticket.testing import check_ticket

OPTIONS = {
    "pensia": ["--eps", "0.02", "--items", "16", "--objective", "min-error"],
    "malach": ["--eps", "0.1", "--choose", "first"],
    "orseau": ["--eps", "0.1", "--weights", "hyperbolic"],
    "natale": ["--eps", "0.05", "--size", "2", "--items", "40"],
    "burkholz": ["--eps", "0.05"],
    "diffenderfer": ["--bits", "3", "--quantise", "rounded.safetensors"],
    "dacunha": ["--eps", "0.05"],
    "ferbach": ["--eps", "0.05", "--assignment", "fixed"],
    "burkholz-residual": ["--eps", "0.05", "--objective", "min-error"],
    "kumar": ["--source-bits", "3", "--items", "26", "--quantise", "rounded.safetensors"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = torch.Generator().manual_seed(1)
    mlp = MLP((5, 4, 2))
    target = Target(mlp, {n: 0.8 * torch.rand(s, generator=generator) - 0.4 for n, s in mlp.shapes.items()})
    target.save(tmp_path / "target.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, typing.Any]:
    assert main(["construct", "target.safetensors", *arguments, "--json"]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return dict(json.loads(captured.out))


def test_the_command_line_knows_these_methods_and_there_are_options_for_each() -> None:
    (names,) = [typing.get_args(typing.get_type_hints(Construct)["method"])]
    assert set(names) == set(METHODS) == set(OPTIONS)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_writes_a_strict_certified_ticket(
    method: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = as_json(capsys, "--method", method, *OPTIONS[method], "--seed", "3")
    ticket = load(folder / "ticket.slt")
    check_ticket(ticket)
    assert ticket.source.seed == 3
    target = Target.load(folder / ("rounded.safetensors" if method in QUANTISED else "target.safetensors"))
    whole = GraphTarget.from_target(target) if method in GRAPHS else target
    if method == "burkholz":
        copies = Burkholz2022Most(weight_eps=0.05, seed=3, domain=Domain.box(0, 1)).copies(target)
        assert certify_copies(ticket, target, Domain.box(0, 1), copies).to_json() == built["certificate"]
    else:
        assert certify(ticket, whole, Domain.box(0, 1)).to_json() == built["certificate"]
    assert built["certificate"]["error"] < 0.5
    if method in QUANTISED:
        assert built["certificate"]["error"] == built["largest_weight_error"] == 0.0
        for name, weight in Target.load(folder / "target.safetensors").weights.items():
            assert torch.equal(target.weights[name].sign() * weight.sign(), target.weights[name].abs().sign())
    assert main(["construct", "target.safetensors", "--method", method, *OPTIONS[method], "--seed", "3"]) == 0
    text = capsys.readouterr().out
    assert "PROVED" in text
    assert method in text


@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_writes_nothing(method: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = as_json(capsys, "--method", method, *OPTIONS[method], "--dry-run")
    assert planned["method"] == method
    assert planned["problems"] == [20, 8] or method == "burkholz"  # which solves for every copy
    assert [path.name for path in folder.iterdir()] == ["target.safetensors"]


def test_a_weight_that_is_not_reached_is_exit_status_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method, options in (("orseau", ["--items", "2"]), ("natale", ["--items", "3"])):
        built = as_json(capsys, "--method", method, "--eps", "0.001", *options, status=1)
        assert built["unreached"]
    assert not (folder / "ticket.slt").exists()
    assert main(["construct", "target.safetensors", "--method", "kumar", "--items", "1", "--quantise", "r.npz"]) == 1
    assert "a coarser target" in capsys.readouterr().out
    assert not (folder / "r.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--method malach --size 2", "--size belongs to --method natale; malach does not use it"),
        ("--size 2", "--size belongs to --method natale; pensia does not use it"),
        ("--method kumar --eps 0.1", "--weight-eps belongs to --method pensia, malach, orseau, natale, burkholz"),
        ("--method malach --objective first-hit", "--objective belongs to --method pensia, kumar"),
        ("--method orseau --at-most", "--at-most belongs to --method natale"),
        ("--method pensia --quantise q.npz", "--quantise belongs to --method kumar, diffenderfer; pensia"),
        ("--method dacunha --draws 2", "--draws belongs to --method pensia; dacunha does not use it"),
        ("--method diffenderfer", "quantise"),
        ("--method pensia --items paper", "'theorem' or 'information-limit', got 'paper'"),
        ("--method pensia --assignment odd", "assignment is 'column-aware' or 'fixed', got 'odd'"),
        ("--method orseau --delta 2", "delta must lie strictly between 0 and 1"),
        ("--method kumar --source-bits 12", "source_bits must be in 1..11"),
        ("--method kumar --items theorem", "proved for assignment='digits'"),
        ("--method kumar", "quantise the target"),
        ("--method kumar --quantise target.safetensors", "is the target itself"),
        ("--method kumar --quantise ticket.slt", "--out and --quantise both name"),
        ("--method natale --size 30", "size must lie in 1..20"),
        ("--method natale --network-eps 0.1 --high 9", "norm"),
    ],
)
def test_what_a_method_does_not_do_is_refused_in_one_line(
    arguments: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--high" in arguments:
        mlp = MLP((2, 2))
        Target(mlp, {n: torch.full(s, 0.75) for n, s in mlp.shapes.items()}).save(folder / "target.safetensors")
    assert main(["construct", "target.safetensors", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("strongticket: ")
    assert captured.err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["target.safetensors"]


def test_options_are_refused_before_the_target_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--size", "2"], ["--eps", "2"], ["--method", "kumar", "--source-bits", "99"]):
        assert main(["construct", "no-such-file.npz", *wrong]) == 2
        assert "no-such-file" not in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--edges", "0.5"], ["--locked", "0.1"], ["--draws", "4"]])
def test_relatives_of_pensia_are_options(option: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = as_json(capsys, "--eps", "0.05", "--items", "30", *option)
    ticket = load(folder / "ticket.slt")
    check_ticket(ticket)
    target = Target.load(folder / "target.safetensors")
    assert certify(ticket, target, Domain.box(0, 1)).to_json() == built["certificate"]


def test_a_network_of_steps_is_read_from_its_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 2))
    GraphTarget.from_module(net, (1, 4, 4)).save(folder / "target.safetensors")
    built = as_json(capsys, "--method", "dacunha", "--eps", "0.05")
    assert built["construction"] == "dacunha2022proving"
    assert main(["construct", "target.safetensors", "--method", "pensia"]) == 2
    assert "strongticket: " in capsys.readouterr().err
