"""Tickets that leave their trunk: what is carried over, what stands beside it, masks found at the start, halves."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strongticket import Mask
from strongticket.models import architecture
from strongticket.pruning import Problem, score
from strongticket.training.data import Examples
from strongticket.weak import Control, Descent, Imp, Level, StepRecipe, Trunk, WeakData, descend, level_totals
from strongticket.weak.transfer import TRANSFER_ARMS, TransferArm, carried, class_halves, head_of, transfer
from strongticket.weak.weak_ticket import AT_START, AtStart, WeakTicket, at_start, controlled, train_ticket

ADAM = StepRecipe(30, 16, 0.01, evaluate_every=10)
SGD = StepRecipe(30, 16, 0.05, optimiser="sgd", evaluate_every=10)
MLP = Imp("mlp-10-16-12-4+bias", ADAM, seed=5)
RESNET = Imp("resnet8x0.25-4+affine+1x8x8", SGD, "openlth", 8, law="kaiming-normal", seed=3)


def data(seed: int = 0, *, classes: int = 4, images: bool = False) -> WeakData:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(120, 1, 8, 8, generator=generator) if images else torch.randn(120, 10, generator=generator)
    flat = x.flatten(1)
    y = ((flat[:, 0] > 0).long() + 2 * (flat[:, 1] > 0).long()) % classes
    return WeakData((x[60:], y[60:]), (x[:30], y[:30]), (x[30:60], y[30:60]), "made up")


def same(a: Level, b: Level) -> bool:
    return all(torch.equal(a.final[name], b.final[name]) for name in b.final) and a.record["curve"] == b.record["curve"]


def test_to_itself_a_ticket_is_the_level() -> None:
    for imp, images in ((MLP, False), (RESNET, True)):
        trunk = Trunk(imp, data(images=images))
        assert same(transfer(trunk, trunk, 2), trunk.level(2))
        for name, control in (("reinit", Control("reinit")), ("random-layer", Control("reinit", "layer-shuffle"))):
            arm: TransferArm = name  # type: ignore[assignment]
            assert same(transfer(trunk, trunk, 2, arm), trunk.branch(2, control))
        assert same(transfer(trunk, trunk, 2, "target"), trunk.level(2))


def test_the_ticket_is_trained_as_the_target_trains() -> None:
    """The literal procedure: the source's mask and rewound values, the target's data, optimiser and counters."""
    source = Trunk(RESNET, data(images=True))
    recipe = dataclasses.replace(SGD, lr=0.02, milestones=(20,))
    target = Trunk(dataclasses.replace(RESNET, recipe=recipe, rewind=4, seed=8), data(1, images=True))
    level = transfer(source, target, 2)
    module = source.network.module({name: value.clone() for name, value in source.rewound().items()})
    parts = data(1, images=True)
    examples = Examples(*parts.train, parts.validation)
    expected = descend(module, source.mask(2), examples, recipe, seed=8, begin=4)
    assert all(torch.equal(level.final[name], expected.final[name]) for name in expected.final)
    assert level.mask == source.mask(2)
    assert level.density == level.record["density"] == source.level(2).density


def test_an_output_layer_for_other_classes_is_new_and_whole() -> None:
    source = Trunk(MLP, data())
    target = Trunk(dataclasses.replace(MLP, model="mlp-10-16-12-2+bias", seed=6), data(1, classes=2))
    ticket = WeakTicket.of(source, 3)
    there = carried(ticket, target)
    rewound = target.rewound()
    assert torch.equal(there.values["layers.2.weight"], rewound["layers.2.weight"])
    assert bool(there.mask["layers.2.weight"].all())
    for name in ("layers.0.weight", "layers.1.weight", "layers.0.bias"):
        assert torch.equal(there.values[name], ticket.values[name])
        assert not torch.equal(there.values[name], rewound[name]) or name.endswith("bias")
    assert [there.mask.counts[name] for name in there.pruned] == [ticket.mask.counts[name] for name in there.pruned]
    assert "layers.2.weight" not in there.pruned
    counts = {arm: transfer(source, target, 3, arm).mask.counts for arm in TRANSFER_ARMS if arm != "target"}
    assert counts["random-layer"] == counts["reinit"] == counts["transferred"] == there.mask.counts
    assert sum(counts["random-global"].values()) == there.mask.count
    assert counts["random-global"] != counts["transferred"]
    assert counts["random-global"]["layers.2.weight"] == 24, "the new layer stays whole"


def test_a_new_output_layer_on_demand() -> None:
    source, target = Trunk(MLP, data()), Trunk(dataclasses.replace(MLP, seed=6), data(1))
    ticket = WeakTicket.of(source, 1)
    kept, new = (carried(ticket, target, head=head) for head in ("ticket", "new"))
    assert torch.equal(kept.values["layers.2.weight"], ticket.values["layers.2.weight"])
    assert torch.equal(new.values["layers.2.weight"], target.rewound()["layers.2.weight"])
    assert kept.mask == ticket.mask == carried(ticket, target).mask != new.mask


def test_random_tickets_have_new_weights_and_other_places() -> None:
    source, target = Trunk(MLP, data()), Trunk(dataclasses.replace(MLP, seed=6), data(1))
    ticket = carried(WeakTicket.of(source, 3), target)
    layer = controlled(ticket, Control("reinit", "layer-shuffle"), target)
    network = controlled(ticket, Control("reinit", "global-shuffle"), target)
    again = controlled(ticket, Control("reinit", "layer-shuffle", 1), target)
    assert layer.mask.counts == ticket.mask.counts
    assert network.mask.count == ticket.mask.count
    spreads = []
    for one in (network, ticket):
        densities = [float(one.mask[name].float().mean()) for name in one.pruned]
        spreads.append(max(densities) - min(densities))
    assert spreads[0] < spreads[1], "densities of layers are levelled out"
    assert layer.mask != ticket.mask != again.mask != layer.mask
    for name in ticket.mask:
        for one in (layer, network, again):
            assert not torch.equal(one.values[name], ticket.values[name])
        assert not torch.equal(layer.values[name], again.values[name])


def test_what_cannot_be_carried_over_is_refused() -> None:
    ticket = WeakTicket.of(Trunk(MLP, data()), 1)
    wide = Trunk(dataclasses.replace(MLP, model="mlp-10-17-12-4+bias"), data())
    with pytest.raises(ValueError, match="more than the output layer"):
        carried(ticket, wide)
    deep = Trunk(dataclasses.replace(MLP, model="mlp-10-16-12-12-4+bias"), data())
    with pytest.raises(ValueError, match="more than the output layer"):
        carried(ticket, deep)
    two = Trunk(dataclasses.replace(MLP, model="mlp-10-16-12-2+bias"), data(classes=2))
    with pytest.raises(ValueError, match="give head='new'"):
        carried(ticket, two, head="ticket")
    with pytest.raises(ValueError, match="expected head"):
        carried(ticket, two, head="old")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown arm"):
        transfer(two, two, 1, "dense")  # type: ignore[arg-type]
    for refuse in (lambda: train_ticket(two, ticket), lambda: controlled(ticket, Control("reinit"), two)):
        with pytest.raises(ValueError, match="carry it over"):
            refuse()
    with pytest.raises(ValueError, match="no output layer"):
        head_of({"a": (3, 3, 3, 3)})


def test_a_ticket_fits_its_network() -> None:
    ticket = WeakTicket.of(Trunk(MLP, data()), 1)
    with pytest.raises(ValueError, match="values of layers"):
        dataclasses.replace(ticket, network=architecture("mlp-10-16-11-4+bias"))
    with pytest.raises(ValueError, match=r"values of layers\.0\.bias"):
        dataclasses.replace(ticket, values={k: v for k, v in ticket.values.items() if k != "layers.0.bias"})
    with pytest.raises(ValueError, match=r"mask of layers\.1"):
        dataclasses.replace(ticket, mask=Mask({"layers.0.weight": ticket.mask["layers.0.weight"]}))
    with pytest.raises(ValueError, match="cannot be pruned"):
        dataclasses.replace(ticket, pruned=("layers.0.bias",))


def test_a_ticket_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = Trunk(MLP, data()), Trunk(dataclasses.replace(MLP, seed=6), data(1))
    first = transfer(source, target, 2)
    made: list[object] = []
    begun = Descent.__init__

    def watched(self: Descent, *arguments: object, **keywords: object) -> None:
        made.append(self)
        begun(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Descent, "__init__", watched)
    assert same(transfer(source, target, 2), first)
    assert not made
    ticket = carried(WeakTicket.of(source, 2), target)
    hidden = {name: torch.where(ticket.mask[name], value, 7.0) if name in ticket.mask else value
              for name, value in ticket.values.items()}  # fmt: skip
    assert dataclasses.replace(ticket, values=hidden).digest == ticket.digest, "what is pruned decides nothing"
    moved = {**ticket.values, "layers.0.bias": ticket.values["layers.0.bias"] + 1}
    assert dataclasses.replace(ticket, values=moved).digest != ticket.digest


@pytest.mark.parametrize("method", list(AT_START))
@pytest.mark.parametrize("imp", [MLP, dataclasses.replace(RESNET, scope="lth-global")], ids=["mlp", "resnet"])
def test_masks_found_at_the_start_have_the_counts_of_the_level(method: AtStart, imp: Imp) -> None:
    parts = data(images=imp is not MLP)
    trunk = Trunk(imp, parts)
    ticket = at_start(trunk, 4, method, parts, per_class=3)
    assert ticket.mask.count == level_totals(trunk.shapes, imp.rule, 4)[4] < ticket.mask.size
    rewound = trunk.rewound()
    assert all(torch.equal(ticket.values[name], rewound[name]) for name in rewound)
    outside = [name for name in ticket.mask if name not in trunk.pruned]
    assert all(bool(ticket.mask[name].all()) for name in outside)
    assert bool(outside) == (imp is not MLP)


def test_masks_found_at_the_start_are_those_of_the_scores() -> None:
    trunk, parts = Trunk(MLP, data()), data()
    module = trunk.network.module(trunk.rewound())
    for method in ("magnitude", "grasp", "grasp-abs", "snip"):
        found = score(module, parts.train, method, start=Mask.full(trunk.shapes))
        every = torch.cat([value.reshape(-1) for value in found.values()]).sort(descending=True).values
        ticket = at_start(trunk, 3, method, parts)
        least = min(float(found[name][ticket.mask[name]].min()) for name in found)
        assert least == every[ticket.mask.count - 1]


def test_normalisation_at_the_start_is_as_asked_for() -> None:
    trunk, parts = Trunk(RESNET, data(images=True)), data(images=True)
    masks = {mode: at_start(trunk, 4, "snip", parts, mode=mode).mask for mode in ("train", "eval")}
    assert masks["train"] != masks["eval"]
    problem = Problem.of(trunk.network.module(trunk.rewound()), parts.train)
    assert problem.size == masks["eval"].size
    with pytest.raises(ValueError, match="unknown method"):
        at_start(trunk, 1, "obs", parts)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 3))
def test_halves_are_disjoint_complete_and_balanced(labels: list[int], seed: int) -> None:
    values: Tensor = torch.tensor(labels)
    a, b = class_halves(values, seed)
    assert sorted([*a.tolist(), *b.tolist()]) == list(range(len(labels)))
    assert a.tolist() == sorted(a.tolist())
    for label in set(labels):
        in_a, in_b = (int((values[half] == label).sum()) for half in (a, b))
        assert in_a - in_b in (0, 1)


def test_halves_depend_on_the_seed_alone() -> None:
    labels = torch.arange(60) % 3
    assert torch.equal(class_halves(labels, 1)[0], class_halves(labels, 1)[0])
    assert not torch.equal(class_halves(labels, 1)[0], class_halves(labels, 2)[0])
    with pytest.raises(ValueError, match="int64"):
        class_halves(labels.float(), 0)
