"""Elastic tickets: plans and their text, one map of names for weights, buffers and masks, densities, refusals."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import Mask
from strongticket.models import architecture
from strongticket.source import AbstractArchitecture
from strongticket.weak import Control, Imp, StepRecipe, Trunk, WeakData, beginning, random_source
from strongticket.weak.blocks import Blocks, block_counts
from strongticket.weak.elastic import BlockPlan, elastic, planned_densities, stage_densities
from strongticket.weak.scope import Scope, counted
from strongticket.weak.weak_ticket import AtStart, WeakTicket, at_start, controlled, refilled, train_ticket

STAGES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def ticket_of(name: str, seed: int = 0) -> WeakTicket:
    """A ticket whose every value, statistics too, is another number."""
    network = architecture(name)
    values = beginning(random_source(network, seed, "kaiming-normal"))
    generator = torch.Generator().manual_seed(seed)
    for key, value in values.items():
        if value.is_floating_point():
            values[key] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            values[key] = torch.randint(1, 1_000_000, value.shape, generator=generator)
    mask = Mask({name: torch.rand(shape, generator=generator) < 0.3 for name, shape in counted(network.shapes).items()})
    return WeakTicket(network, values, mask, tuple(mask))


def same(a: WeakTicket, b: WeakTicket) -> bool:
    equal = all(torch.equal(a.values[name], b.values[name]) for name in a.values)
    return equal and a.values.keys() == b.values.keys() and a.mask == b.mask and a.pruned == b.pruned


def literal_append(a: int, b: int) -> list[int]:
    blocks = list(range(a))
    while len(blocks) < b:
        blocks += list(range(1, a))[: b - len(blocks)]
    return blocks


@pytest.mark.parametrize(
    ("a", "b", "order", "expected"),
    [
        (2, 3, "append", "0 1 1"),
        (3, 5, "append", "0 1 2 1 2"),
        (3, 5, "interpolate", "0 1 1 2 2"),
        (3, 4, "append", "0 1 2 1"),
        (3, 4, "interpolate", "0 1 1 2"),
        (2, 5, "append", "0 1 1 1 1"),
        (9, 5, "append", "0 1 2 3 4"),
        (9, 5, "interpolate", "0 1 3 5 7"),
        (4, 4, "append", "0 1 2 3"),
        (6, 1, "append", "0"),
    ],
)
def test_the_plans_of_the_paper(a: int, b: int, order: str, expected: str) -> None:
    plan = BlockPlan.between([a], [b], order)  # type: ignore[arg-type]
    assert plan == BlockPlan.parse(expected)
    assert plan.is_identity == (expected == " ".join(map(str, range(b))))


@given(st.integers(2, 12), st.integers(0, 30))
def test_appending_is_the_list_again_and_again(a: int, more: int) -> None:
    plan = BlockPlan.stretch([a], [a + more])
    assert list(plan.stages[0]) == literal_append(a, a + more)
    between = BlockPlan.stretch([a], [a + more], "interpolate")
    assert sorted(plan.stages[0]) == list(between.stages[0])


def test_the_linear_layers_of_vgg_are_copied_from_the_first_on_where_shapes_allow_it() -> None:
    """VGG-13-k has k - 1 linear layers of one shape; a hidden layer of another shape than its input has no copies."""
    ends = {k: architecture(f"vgg13fc{k}x0.0625+affine") for k in (2, 3, 5)}
    lengths = {k: Blocks.of(ends[k]).lengths for k in ends}
    assert lengths == {k: (2, 2, 2, 2, 2, k - 1) for k in ends}
    expected = {(2, 3): (0, 0), (2, 5): (0, 0, 0, 0), (3, 5): (0, 1, 1, 1), (5, 2): (0,), (5, 3): (0, 1)}
    for (a, b), stage in expected.items():
        plan = BlockPlan.between(lengths[a], lengths[b])
        assert plan.stages[-1] == stage
        names = plan.names(ends[a], ends[b])
        for j, i in enumerate(stage, 1):
            assert names[f"linear{j}.weight"] == f"linear{i + 1}.weight"
        assert names[f"linear{b}.weight"] == f"linear{a}.weight"
    with pytest.raises(ValueError, match="copy blocks between places of the same shape"):
        BlockPlan.stretch([1, 1], [2, 1]).names(architecture("mlp-8-4-3-2"), architecture("mlp-8-4-4-3-2"))


@given(STAGES, st.data(), st.sampled_from(["append", "interpolate"]))
def test_squeezing_undoes_stretching(source: list[int], data: st.DataObject, order: str) -> None:
    target = [data.draw(st.integers(n, 4 * n)) for n in source]
    stretch = BlockPlan.stretch(source, target, order)  # type: ignore[arg-type]
    assert stretch.lengths == tuple(target)
    back = BlockPlan.squeeze(target, source, order)  # type: ignore[arg-type]
    assert stretch.then(back).stages == tuple(tuple(range(n)) for n in source)


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=4))
def test_the_text_of_a_plan_is_read_back(rows: list[list[int]]) -> None:
    plan = BlockPlan(tuple((0, *row) for row in rows))
    assert BlockPlan.parse(plan.text) == plan
    assert BlockPlan.parse(" | ".join(" ".join(map(str, stage)) for stage in plan.stages)) == plan


def test_the_text_of_the_released_code_is_read() -> None:
    assert BlockPlan.parse("0:0;1:1,2;2:3,4").stages == ((0, 1, 1, 2, 2),)
    assert BlockPlan.parse("0:0;2:1|0:0;3:1|0:0;5:1|0:0;2:1").stages == ((0, 2), (0, 3), (0, 5), (0, 2))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not source:target"),
        ("0:0;1", "is not source:target"),
        ("0:0;1:2", "nothing to block 1"),
        ("0:0;1:1;2:1", "two blocks to block 1"),
        ("1:0;0:1", "copy of block 0"),
        ("1 0", "copy of block 0"),
        ("0:0|", "is not source:target"),
        ("0:-1", "is not source:target"),
        ("0:0;1:9999999", "is not source:target"),
    ],
)
def test_bad_texts_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BlockPlan.parse(text)


def test_bad_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="stages cannot become"):
        BlockPlan.stretch([2, 2], [3])
    with pytest.raises(ValueError, match="see `squeeze`"):
        BlockPlan.stretch([3], [2])
    with pytest.raises(ValueError, match="see `stretch`"):
        BlockPlan.squeeze([2], [3])
    with pytest.raises(ValueError, match="may be copied"):
        BlockPlan.stretch([1], [2], only=[])
    with pytest.raises(ValueError, match="may be copied"):
        BlockPlan.stretch([3], [4], only=[0])
    with pytest.raises(ValueError, match="order"):
        BlockPlan.stretch([3], [4], "prepend")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes block 4"):
        BlockPlan.parse("0 1").then(BlockPlan.parse("0 4"))
    with pytest.raises(ValueError, match="at least one stage"):
        BlockPlan(())


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("resnet14x0.25+affine", "resnet20x0.25+affine"),
        ("resnet20x0.25", "resnet14x0.25"),
        ("resnet20x0.25+affine", "resnet32x0.25+affine"),
        ("vgg13x0.05+affine", "vgg16x0.05+affine"),
        ("vgg19x0.05+bias", "vgg13x0.05+bias"),
        ("mlp-8-5-5-4-3+bias", "mlp-8-5-5-5-5-4-3+bias"),
        ("resnet18x0.03", "resnet34x0.03"),
    ],
)
@pytest.mark.parametrize("order", ["append", "interpolate"])
def test_there_and_back_is_the_same_ticket(source: str, target: str, order: str) -> None:
    ticket = ticket_of(source)
    there = elastic(ticket, architecture(target), order=order)  # type: ignore[arg-type]
    assert there.network.id == target
    lengths = Blocks.of(ticket.network).lengths, Blocks.of(there.network).lengths
    if lengths[0] < lengths[1]:  # what is dropped does not come back
        assert same(elastic(there, ticket.network, order=order), ticket)  # type: ignore[arg-type]
    plan = BlockPlan.between(*lengths, order)  # type: ignore[arg-type]
    assert stage_densities(there) == pytest.approx(planned_densities(ticket, plan), abs=1e-12)
    kept = block_counts(there.mask, there.network)
    rows = zip(block_counts(ticket.mask, ticket.network), plan.stages, kept, strict=True)
    assert all([row[i] for i in indices] == list(made) for row, indices, made in rows)


def literal_resnet(name: str, indices: list[int]) -> str:
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name)
    return name if match is None else f"layer{match[1]}.{indices[int(match[2])]}.{match[3]}"


def literal_vgg(name: str) -> str:
    """VGG-13 -> VGG-16: a third convolution in each of the last three groups, a copy of the second."""
    origin = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 6, 8: 7, 9: 8, 10: 8, 11: 9, 12: 10, 13: 10}
    match = re.fullmatch(r"(conv|norm)(\d+)\.(.*)", name)
    return name if match is None else f"{match[1]}{origin[int(match[2])]}.{match[3]}"


def literal_mlp(name: str) -> str:
    """MLP-2 -> MLP-3."""
    kind, number, leaf = name.split(".")
    return f"{kind}.{ {0: 0, 1: 1, 2: 1, 3: 2, 4: 3}[int(number)] }.{leaf}"


@pytest.mark.parametrize(
    ("source", "target", "literal"),
    [
        ("resnet14x0.25+affine", "resnet20x0.25+affine", lambda name: literal_resnet(name, [0, 1, 1])),
        ("vgg13x0.05+affine", "vgg16x0.05+affine", literal_vgg),
        ("mlp-8-5-5-4-3+bias", "mlp-8-5-5-5-4-3+bias", literal_mlp),
    ],
)
def test_weights_buffers_and_masks_go_by_the_literal_map(source: str, target: str, literal: object) -> None:
    assert callable(literal)
    ticket, network = ticket_of(source), architecture(target)
    deeper = elastic(ticket, network)
    assert set(deeper.values) == {*network.shapes, *network.state}
    assert set(deeper.mask) == set(counted(network.shapes))
    for name in deeper.values:
        assert torch.equal(deeper.values[name], ticket.values[literal(name)]), name
        if name in deeper.mask:
            assert torch.equal(deeper.mask[name], ticket.mask[literal(name)]), name
    copies = [value.data_ptr() for value in deeper.values.values()]
    assert len(set(copies)) == len(copies), "two blocks share no memory"


def test_the_identity_is_a_no_op_of_training_too() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 1, 8, 8, generator=generator)
    y = (x.flatten(1)[:, 0] > 0).long()
    data = WeakData((x[:64], y[:64]), (x[64:80], y[64:80]), (x[80:], y[80:]))
    recipe = StepRecipe(6, 16, 0.05, optimiser="sgd", evaluate_every=3)
    trunk = Trunk(Imp("resnet8x0.25-2+affine+1x8x8", recipe, "openlth", 2, law="kaiming-normal"), data)
    ticket = WeakTicket.of(trunk, 1)
    assert any(ticket.values[name].any() for name in ticket.values if "running_mean" in name)
    made = elastic(ticket, trunk.network)
    assert same(made, ticket)
    level, again = trunk.level(1), train_ticket(trunk, made)
    assert all(torch.equal(level.final[name], again.final[name]) for name in level.final)
    assert level.record["curve"] == again.record["curve"]
    target = Trunk(Imp("resnet14x0.25-2+affine+1x8x8", recipe, "openlth", 2, law="kaiming-normal"), data)
    # what is trained first and stretched then still runs in evaluation mode, by the statistics of its blocks
    dense = target.level(0)
    trained = WeakTicket(target.network, dense.final, dense.mask, tuple(target.pruned))
    deeper = elastic(trained, architecture("resnet20x0.25-2+affine+1x8x8"))
    assert all(deeper.values[f"layer2.{i}.bn1.num_batches_tracked"] == recipe.steps for i in range(3))
    outputs = deeper.network.module(dict(deeper.values)).eval()(x[:4])
    assert bool(torch.isfinite(outputs).all())


@settings(max_examples=25)
@given(st.data())
def test_any_plan_that_fits_is_carried_out(data: st.DataObject) -> None:
    a, b = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    first = (
        [0] if a == 1 or b == 1 else [0, *data.draw(st.lists(st.integers(1, a - 1), min_size=b - 1, max_size=b - 1))]
    )
    ticket = ticket_of("mlp-" + "-".join(["6", *["4"] * a, "3"]))
    target = architecture("mlp-" + "-".join(["6", *["4"] * len(first), "3"]))
    made = elastic(ticket, target, BlockPlan((tuple(first),)))
    for j, i in enumerate(first):
        assert torch.equal(made.values[f"layers.{j}.weight"], ticket.values[f"layers.{i}.weight"])
        assert torch.equal(made.mask[f"layers.{j}.weight"], ticket.mask[f"layers.{i}.weight"])
    assert torch.equal(made.values[f"layers.{len(first)}.weight"], ticket.values[f"layers.{a}.weight"])


def refused(source: str, target: str, plan: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        elastic(ticket_of(source), architecture(target), plan)


def test_what_does_not_fit_is_refused() -> None:
    refused("resnet14x0.25", "resnet20x0.25", "0 1", "makes .* blocks, not")
    refused("resnet14x0.25", "resnet20x0.25", "0 1 2", "takes block 2 of stage 0")
    refused("resnet14x0.25", "resnet20x0.25", "0 1 1|0 1 1", "has 2 stages")
    refused("resnet14x0.25", "resnet20x0.25", "0 0 0", "same shape")
    refused("resnet14x0.25", "resnet20x0.5", "0 1 1", "same shape")
    refused("resnet14x0.25", "resnet20x0.25+affine", "0 1 1", "no like in block")
    refused("resnet14x0.25+affine", "resnet20x0.25", "0 1 1", "have no like")
    refused("resnet14x0.25", "resnet18-cifarx0.25", "0 1", "stages cannot become")
    refused("vgg11x0.05", "vgg13x0.05", "0 0|0 0|0 1|0 1|0 1", "same shape")
    refused("mlp-8-5-5-4-3", "mlp-8-5-5-5-4-3", "0 1 1 2", "makes .* blocks, not")
    refused("mlp-8-5-5-3", "resnet14x0.25", "0 1", "stages cannot become")
    with pytest.raises(ValueError, match="no blocks are known"):
        Blocks.of(architecture("conv2"))


def test_the_first_block_of_a_stage_of_one_width_may_be_copied_by_an_explicit_plan() -> None:
    """The rule forbids it in the automatic plans; where shapes agree an explicit plan may."""
    made = elastic(ticket_of("mlp-5-5-5-3"), architecture("mlp-5-5-5-5-3"), "0 0 1")
    assert torch.equal(made.values["layers.0.weight"], made.values["layers.1.weight"])


def test_copies_are_what_came_out_before() -> None:
    ticket, target = ticket_of("resnet20x0.25+affine"), architecture("resnet32x0.25+affine")
    for order, places in (("append", (3, 4)), ("interpolate", (2, 4))):
        plan = BlockPlan.stretch([3, 3, 3], [5, 5, 5], order)  # type: ignore[arg-type]
        wanted = {f"layer{s}.{i}.conv{c}.weight" for s in (1, 2, 3) for i in places for c in (1, 2)}
        assert set(plan.copies(target)) == wanted
    assert BlockPlan.squeeze([3] * 3, [2] * 3).copies(architecture("resnet14")) == ()
    with pytest.raises(ValueError, match="blocks, and resnet14"):
        BlockPlan.parse("0 1 1").copies(architecture("resnet14"))
    made, part = elastic(ticket, target), (torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))
    trunk = Trunk(
        Imp(target.id, StepRecipe(2, 2, 0.1), "openlth"),
        WeakData(part, part, part),
    )
    only = dataclasses.replace(made, pruned=BlockPlan.stretch([3] * 3, [5] * 3).copies(target))
    moved = controlled(only, Control(mask="layer-shuffle"), trunk)
    changed = {name for name in made.mask if not torch.equal(moved.mask[name], made.mask[name])}
    assert changed == set(only.pruned)


def test_new_blocks_have_the_weights_of_the_target_and_a_mask_of_their_own() -> None:
    """By the slow way: the loss by differences in gates on the new blocks' weights, the old blocks masked."""
    source, target = ticket_of("mlp-6-5-5-4"), architecture("mlp-6-5-5-5-4")
    generator = torch.Generator().manual_seed(7)
    part = torch.randn(40, 6, generator=generator), torch.randint(4, (40,), generator=generator)
    data = WeakData(part, part, part)
    trunk, plan = Trunk(Imp(target.id, StepRecipe(2, 40, 0.1), "lth-lenet"), data), BlockPlan.parse("0 1 1")
    made = elastic(source, target, plan)
    fresh = refilled(made, plan.copies(target, whole=True), trunk, data)
    name, start = "layers.2.weight", trunk.rewound()
    assert plan.copies(target, whole=True) == plan.copies(target) == (name,)
    assert fresh.mask.counts == made.mask.counts
    for other in fresh.mask:
        assert torch.equal(fresh.values[other], (start if other == name else made.values)[other])
        assert torch.equal(fresh.mask[other], made.mask[other]) or other == name
    stem = {other: (made.values[other] * made.mask[other]).double() for other in made.mask}
    slopes = torch.zeros(25, dtype=torch.float64)
    for i in range(25):
        ends = []
        for gate in (1 + 1e-5, 1 - 1e-5):
            weights = {**stem, name: start[name].double().clone()}
            weights[name].view(-1)[i] *= gate
            hidden = part[0].double()
            for layer in range(4):
                hidden = hidden @ weights[f"layers.{layer}.weight"].T
                hidden = hidden.relu() if layer < 3 else hidden
            ends.append(float(torch.nn.functional.cross_entropy(hidden, part[1])))
        slopes[i] = abs(ends[0] - ends[1])
    keep = made.mask.counts[name]
    assert torch.equal(fresh.mask[name].view(-1).nonzero()[:, 0], slopes.topk(keep).indices.sort().values)
    with pytest.raises(ValueError, match="none of the parts"):
        refilled(made, (), trunk, data)
    with pytest.raises(ValueError, match="unknown method"):
        refilled(made, plan.copies(target), trunk, data, "obd")  # type: ignore[arg-type]
    whole = BlockPlan.stretch([3] * 3, [5] * 3).copies(architecture("resnet32+affine"), whole=True)
    assert "layer2.4.bn1.running_var" in whole
    assert "layer2.2.bn1.running_var" not in whole


@pytest.mark.parametrize("method", ["magnitude", "snip", "grasp", "synflow"])
def test_a_method_turned_round_keeps_what_it_would_have_cut_first(method: AtStart) -> None:
    generator = torch.Generator().manual_seed(7)
    part = torch.randn(40, 6, generator=generator), torch.randint(4, (40,), generator=generator)
    data = WeakData(part, part, part)
    trunk = Trunk(
        Imp("mlp-6-9-8-4", StepRecipe(2, 40, 0.1), Scope((("linear", Fraction(1, 2)),), competing=True)), data
    )
    first = at_start(trunk, 1, method, data)
    second = at_start(trunk, 1, method, data, backwards=True)
    assert first.mask.counts["layers.2.weight"] == second.mask.counts["layers.2.weight"] == 32
    assert first.mask.count == second.mask.count
    if method == "synflow":  # rounds look anew each time: what is left of the flow tells them apart

        def flow(mask: Mask) -> float:
            whole = torch.ones(6)
            for name in mask:
                whole = (first.values[name].abs() * mask[name]) @ whole
            return float(whole.sum())

        assert flow(second.mask) < flow(first.mask) / 10
    else:
        assert all(
            not bool((first.mask[f"layers.{i}.weight"] & second.mask[f"layers.{i}.weight"]).any()) for i in (0, 1)
        )


def test_blocks_of_ones_own() -> None:
    own = Blocks((((("layers.0.",), ("layers.1.",))),), ("layers.2.",))
    network = architecture("mlp-5-4-4-3")
    assert own == Blocks.of(network)
    other = Blocks(((("layers.0.",),),), ("layers.2.",))
    with pytest.raises(ValueError, match="should be in one block"):
        other.owners(network)
    with pytest.raises(ValueError, match="nothing named"):
        Blocks(own.stages, ("layers.2.", "head.")).owners(network)
    with pytest.raises(ValueError, match="at least one stage"):
        Blocks((), ())


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("resnet56", (9, 9, 9)),
        ("resnet34", (3, 4, 6, 3)),
        ("vgg19", (2, 2, 4, 4, 4)),
        ("vgg-small", (2, 2, 2)),
        ("mlp-784-300-300-300-100-10+bias", (3, 1)),
    ],
)
def test_stages_of_the_families(name: str, lengths: tuple[int, ...]) -> None:
    network: AbstractArchitecture = architecture(name)
    blocks = Blocks.of(network)
    assert blocks.lengths == lengths
    assert set(blocks.owners(network)) == {*network.shapes, *network.state}


@pytest.mark.parametrize(("layers", "size"), [(2, 356_200), (3, 446_200), (4, 536_200)])
def test_sizes_of_the_papers_perceptrons(layers: int, size: int) -> None:
    assert architecture("-".join(["mlp-784", *["300"] * layers, "100-10"])).size == size
