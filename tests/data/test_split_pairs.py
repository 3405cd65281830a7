"""A split stands wherever (inputs, labels) does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strongticket.certificate import Domain
from strongticket.certify import examine, margins
from strongticket.constructions import construct
from strongticket.data import Split
from strongticket.models import Target
from strongticket.pruning import measured_increase, prune, retrain, score
from strongticket.search import find, find_many
from strongticket.training import accuracy, initialise, train


def parts() -> tuple[Split, Split]:
    x = torch.eye(4).repeat(5, 1)
    y = x.argmax(1) % 2
    return Split(x[:16], y[:16]), Split(x[16:], y[16:])


def test_a_split_unpacks_as_inputs_and_labels_and_counts_examples() -> None:
    train_part, _ = parts()
    inputs, labels = train_part
    assert inputs is train_part.inputs
    assert labels is train_part.labels
    assert len(train_part) == 16
    assert tuple(train_part) == train_part.pair == (inputs, labels)
    assert train_part  # a filled one is true, an empty one is not
    assert not train_part.take(0)


def test_training_pruning_retraining_and_judging_take_splits() -> None:
    data, validation = parts()
    net = initialise(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), seed=0)
    trained = train(net, *data, epochs=20, batch_size=4, lr=0.05).module
    assert accuracy(trained, *data) == accuracy(trained, data.inputs, data.labels)
    pruned, same = (prune(trained, given, "obd", 0.5) for given in (data, data.pair))
    assert pruned.mask == same.mask
    assert measured_increase(pruned, data) == measured_increase(pruned, data.pair)
    assert torch.equal(score(trained, data, "snip")["0.weight"], score(trained, data.pair, "snip")["0.weight"])
    after, again = (
        retrain(pruned, *data, epochs=2, batch_size=4, lr=0.01, validation=given)
        for given in (validation, validation.pair)
    )
    assert torch.equal(after.module[0].weight, again.module[0].weight)  # type: ignore[index, arg-type]
    assert after.history[-1].accuracy == accuracy(after.module, *validation) or after.best_epoch < 2


@pytest.mark.parametrize("empty", [False, True])
def test_searches_choose_by_a_split(empty: bool) -> None:
    data, validation = parts()
    validation = validation.take(0) if empty else validation
    words = {"density": 0.5, "epochs": 2, "batch_size": 4}
    one, other = (
        find("mlp-4-8-2", *data, "digits", **words, validation=given)  # type: ignore[arg-type]
        for given in (validation, validation.pair)
    )
    assert one.ticket == other.ticket
    assert one.best_epoch == other.best_epoch
    (many,) = find_many("mlp-4-8-2", *data, "digits", seeds=[0], densities=[0.5], epochs=2, validation=validation)
    assert many.ticket.mask.density == 0.5


def test_margins_take_a_split() -> None:
    data, _ = parts()
    net = nn.Sequential(nn.Linear(4, 2, bias=False))
    net[0].weight.data = torch.linspace(-0.4, 0.5, 8).reshape(2, 4)
    target, domain = Target.from_module(net), Domain.box(0, 1)
    report = examine(construct(target, weight_eps=0.1, domain=domain).best, target, domain)
    assert margins(report, target, *data).accuracy == margins(report, target, data.inputs, data.labels).accuracy


def test_pruning_still_refuses_what_is_no_pair() -> None:
    with pytest.raises(TypeError, match=r"two tensors, got Tensor"):
        prune(nn.Linear(4, 2), parts()[0].inputs, "snip", 0.5)  # type: ignore[arg-type]
