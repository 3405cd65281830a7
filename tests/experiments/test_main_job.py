"""The main job end to end: on the embedded digits everywhere, on MNIST where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import find
from experiments.demo import Demo, main
from experiments.strict_tickets import StrictTickets
from strongticket.models import Target
from strongticket.ticketfile import load


def test_the_demo_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main(Demo(model="mlp-64-16-10", items=20, trials=50, out=tmp_path, json=True)) == 0
    value = json.loads(capsys.readouterr().out)
    assert value == json.loads((tmp_path / "result.json").read_text())
    ticket, target = load(tmp_path / "ticket.slt"), Target.load(tmp_path / "target.safetensors")
    assert ticket.digest == value["construction"]["ticket_digest"]
    assert target.digest == value["target_digest"]
    assert value["strict_check"]
    assert value["falsification"]["verdict"] == "HOLDS_SO_FAR"
    assert value["proved_error_box"] >= value["sampled_error_box"]
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_says_no_where_the_answer_is_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main(Demo(model="mlp-64-16-10", items=6, eps=1e-4, trials=0, out=tmp_path)) == 1
    assert "weights beyond the tolerance" in capsys.readouterr().out
    assert not (tmp_path / "ticket.slt").exists()
    assert len(load(tmp_path / "out-of-tolerance.slt").certificates) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "strictly between 0 and 1"),
        ({"items": 0}, "items must be at least 1"),
        ({"model": "resnet"}, "no architecture is named"),
        ({"data": "mnist", "folder": Path("/nowhere")}, "/nowhere"),
    ],
)
def test_bad_options_are_refused_before_work(
    options: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(Demo(out=tmp_path / "out", **options)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "training" not in captured.err


def test_experiments_are_found_and_their_presets_are_distinct() -> None:
    for name in ("strict_tickets", "scaling", "looseness"):
        for runs in find(name).presets().values():
            assert len({run.spec.key for run in runs}) == len(runs)


@pytest.mark.data
@pytest.mark.usefixtures("real_data")
def test_mnist_784_500_10_is_a_strict_ticket() -> None:
    result = StrictTickets(seed=1).run()
    assert result["target_accuracy"] >= 0.972
    assert abs(result["ticket_accuracy"] - result["target_accuracy"]) <= 0.0015
    assert result["equal_predictions"] >= 0.995
    assert result["construction"]["unreached"] == 0
    assert result["construction"]["largest_weight_error"] <= 0.01
    assert result["strict_check"]
    assert result["proved_over_logit_range"] < 0.01
    assert 1 <= result["proved_over_sampled"] < 100
    assert result["measured"]["peak_memory_bytes"] < 3e9
