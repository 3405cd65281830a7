"""`strongticket find` as users type it: the ticket, its file, its accuracy beside a random mask, what is refused."""

from __future__ import annotations

import gzip
import json
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import torch

from strongticket.cli import main
from strongticket.cli._options import Method
from strongticket.search import (
    AbstractMethod,
    Biprop,
    CubicRamp,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    SignedTopK,
    Threshold,
    search_recipe,
)
from strongticket.ticketfile import describe, load

DIGITS = ("find", "--data", "digits", "--model", "mlp-64-128-10")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, typing.Any]:
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no terminal, no progress
    value = json.loads(captured.out)
    assert isinstance(value, dict)
    return value


def test_it_finds_a_strict_ticket_far_above_a_random_mask(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import strongticket.data
    from strongticket.training import accuracy

    found = as_json(capsys, *DIGITS, "--epochs", "20", "--log", "log.jsonl", "--seed", "3")
    assert found["test_accuracy"] >= 0.85
    assert found["random_mask_accuracy"] <= 0.3
    assert found["strict_check"]
    ticket = load(folder / "ticket.slt")
    assert ticket.digest == found["ticket_digest"]
    assert (ticket.source.seed, ticket.mask.counts) == (3, found["kept"])
    data = strongticket.data.load("digits", seed=3)
    assert accuracy(ticket.module(), data.test.inputs, data.test.labels) == found["test_accuracy"]
    told = describe(folder / "ticket.slt")["provenance"]
    assert told["recipe"] == "digits"
    assert told["inputs"] == {"kind": "raw"}
    assert len((folder / "log.jsonl").read_text().splitlines()) == 20
    assert found["bytes"] == (folder / "ticket.slt").stat().st_size
    assert main(["show", "ticket.slt"]) == 0


@pytest.mark.parametrize("method", typing.get_args(Method))
def test_every_method_writes_what_it_found(method: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, *DIGITS, "--method", method, "--epochs", "2", "--inputs", "standardised")
    assert found["method"] == method
    assert found["strict_check"]
    assert load(folder / "ticket.slt").digest == found["ticket_digest"]
    assert found["inputs"]["kind"] == "standardised"
    assert (len(found["inputs"]["mean"]), found["inputs"]["std"][0] > 0) == (1, True)


def test_methods_and_inits_are_those_of_the_library() -> None:
    from strongticket.cli._find import METHODS
    from strongticket.cli._options import Find
    from strongticket.search import WEIGHT_INITS, AbstractMethod
    from strongticket.search import methods as library

    classes = [kind for kind in vars(library).values() if isinstance(kind, type) and issubclass(kind, AbstractMethod)]
    assert set(METHODS) == {kind.key for kind in classes if hasattr(kind, "key")} == set(typing.get_args(Method))
    inits = typing.get_args(typing.get_type_hints(Find)["init"])[0]
    assert typing.get_args(inits) == WEIGHT_INITS


def test_a_table_says_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DIGITS, "--epochs", "1", "--density", "0.25", "--recipe", "ramanujan2020-fc"]) == 0
    text = capsys.readouterr().out
    assert "density 0.25" in text
    assert "ramanujan2020whats" in text
    assert "not as published" in text
    assert "of a random mask" in text
    assert text.count("\ntest accuracy") == 1


def test_test_data_are_read_once_by_the_ticket_and_once_by_its_control(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import strongticket.data
    from strongticket.cli import _searching

    test, seen = strongticket.data.load("digits").test.labels, []

    def watching(module: object, inputs: object, labels: torch.Tensor) -> float:
        seen.append(torch.equal(labels, test))
        return 0.5

    monkeypatch.setattr(_searching, "accuracy", watching)
    assert as_json(capsys, *DIGITS, "--epochs", "2")["test_accuracy"] == 0.5
    assert seen == [True, True]


def test_an_interrupted_search_goes_on_to_the_same_ticket(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from strongticket.search import Searcher

    whole = as_json(capsys, *DIGITS, "--epochs", "3", "--out", "whole.slt")
    step, left = Searcher.step, [45]

    def stopping(self: Searcher, lr: float, *, progress: float = 0.0) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        step(self, lr, progress=progress)

    monkeypatch.setattr(Searcher, "step", stopping)
    arguments = [*DIGITS, "--epochs", "3", "--checkpoint", "state"]
    assert main(arguments) == 130
    assert "goes on from state" in capsys.readouterr().err
    assert not (folder / "ticket.slt").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert any((folder / "state").iterdir())
    assert as_json(capsys, *arguments)["ticket_digest"] == whole["ticket_digest"]
    assert main([*arguments, "--lr", "0.1"]) == 2
    assert "recipe" in capsys.readouterr().err


def test_a_ticket_of_lenet_300_100_is_a_small_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On 28x28 images of noise: the size of the file is what matters."""
    draw = np.random.default_rng(0)
    (folder / "mnist").mkdir()
    for part, n in (("train", 300), ("t10k", 50)):
        images, labels = draw.integers(0, 256, (n, 28, 28), np.uint8), draw.integers(0, 10, n, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            content = gzip.compress(header + array.tobytes())
            (folder / "mnist" / f"{part}-{kind}-ubyte.gz").write_bytes(content)
    found = as_json(capsys, "find", "--data", "mnist", "--folder", ".", "--epochs", "1", "--batch-size", "64")
    assert found["model"] == "mlp-784-300-100-10"  # which is LeNet-300-100
    assert found["density"] == 0.5
    assert found["bytes"] <= 40_000
    assert found["inputs"]["kind"] == "standardised"
    assert load(folder / "ticket.slt").mask.size == 266_200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "fast"], "unknown recipe 'fast'"),
        (["--model", "resnet"], "resnet"),
        (["--model", "lenet-300-100"], "does not take inputs"),
        (["--model", "conv2"], "does not take inputs"),
        (["--density", "1.5"], "1.5"),
        (["--density", "0"], "in (0, 1], got 0.0"),
        (["--density", "nan"], "in (0, 1], got nan"),
        (["--density", "0.1", "--method", "bernoulli"], "no single density"),
        (["--epochs", "0"], "epochs"),
        (["--lr", "nan"], "lr must be"),
        (["--batch-size", "0"], "batch_size"),
        (["--threads", "0"], "threads must be at least 1"),
        (["--seed", "-1"], "-1"),
        (["--device", "quantum"], "--device quantum"),
        (["--device", "meta"], "--device meta"),
        (["--out", "."], "is a folder"),
        (["--log", "ticket.slt"], "--out and --log"),
        (["--log", "binary"], "is no log of epochs"),
        (["--tensorboard", "taken"], "taken is a file"),
        (["--checkpoint", "taken"], "taken is a file"),
        (["--data", "mnist", "--folder", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_refused_before_work(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (folder / "taken").write_text("")
    (folder / "binary").write_bytes(bytes(range(256)))
    assert main(["find", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("strongticket: ")
    assert captured.err.count("\n") == 1
    assert not (folder / "ticket.slt").exists()


@pytest.mark.parametrize(
    ("key", "recipe", "method", "lost"),
    [
        ("signed-top-k", "digits", SignedTopK(0.5), ""),
        ("iterand", "diffenderfer2021-conv4-global", IteRand(0.1, "global", annealing=CubicRamp()), ""),
        ("multicoated", "wortsman2020-cifar100", Multicoated(allocation="supsup"), ""),
        ("biprop", "fischer2022-resnet18", Biprop(0.5, levels=10, biases=True), ""),
        ("gem-miner", "fischer2022-resnet18", GemMiner(0.5), "gem-miner has no levels=10, biases=True, as edge-popup"),
        ("threshold", "wortsman2020-cifar100", Threshold(), "threshold has no allocation='supsup', as edge-popup"),
        ("edge-popup", "zhou2019-fc", EdgePopup(), ""),
    ],
)
def test_another_method_takes_over_what_the_recipe_says(
    key: str, recipe: str, method: AbstractMethod, lost: str
) -> None:
    from strongticket.cli._find import _plan
    from strongticket.cli._options import Find

    plan = _plan(Find(recipe=recipe, method=key))  # type: ignore[arg-type]
    assert plan.recipe.method == method
    assert plan.recipe.deviations.startswith(lost)
    assert plan.recipe.deviations.endswith(search_recipe(recipe).deviations)
    assert bool(lost) == (plan.recipe.deviations != search_recipe(recipe).deviations)


@pytest.mark.parametrize("key", ["bernoulli", "gem-miner", "threshold"])
def test_methods_without_weight_decay_are_searched_without(key: str) -> None:
    from strongticket.cli._find import _plan
    from strongticket.cli._options import Find

    assert search_recipe("digits").optimiser.weight_decay > 0
    assert _plan(Find(method=key)).recipe.optimiser.weight_decay == 0  # type: ignore[arg-type]
    assert _plan(Find(method="biprop")).recipe.optimiser.weight_decay > 0


def test_it_is_said_how_the_epoch_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    from strongticket.cli._searching import _choice

    digits = search_recipe("digits").changed(epochs=10)
    for method, said in (
        (EdgePopup(0.5), "the best on validation data"),
        (EdgePopup(0.5, levels=5), "the best on validation data of those from 8 on, where the density is reached"),
        (GemMiner(0.5, stages=4, unflag=True), "the last, where the method comes to its mask"),
    ):
        assert _choice(digits.changed(method=method)) == said
    assert _choice(digits.changed(keep_best=False)) == "the last"
    assert main([*DIGITS, "--epochs", "1"]) == 0
    assert "1 of 1, the best on validation data" in capsys.readouterr().out


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["find"]) == 2
    assert "strongticket[digits]" in capsys.readouterr().err


def test_progress_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from strongticket.cli.output import epoch_text
    from strongticket.training import Epoch

    epoch = Epoch(2, 0.1, 0.5, 0.9, None, 0.875, {"flips": 1234})
    assert epoch_text(epoch) == "accuracy 90.00 %, validation 87.50 %, 1,234 of the mask flipped"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert main([*DIGITS, "--epochs", "2"]) == 0
    assert capsys.readouterr().err.count("of the mask flipped\n") == 2
    monkeypatch.undo()
