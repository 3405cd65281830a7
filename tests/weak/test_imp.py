"""Trunks, levels and branches: exact counts, exact rewinding, stages that are made once; controls and criteria."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strongticket import Mask
from strongticket.runs import Spec
from strongticket.selection import largest_global
from strongticket.ticketfile import load
from strongticket.training.data import Examples
from strongticket.weak import (
    CONTROLS,
    CRITERIA,
    SCOPES,
    Control,
    Descent,
    Imp,
    Level,
    Stage,
    Stages,
    StepRecipe,
    Trunk,
    WeakData,
    beginning,
    descend,
    level_counts,
    level_totals,
)
from strongticket.weak.criteria import PLATEAUS, scores, untied
from strongticket.weak.imp import masked

SGD = StepRecipe(40, 16, 0.05, optimiser="sgd", momentum=0.0, evaluate_every=10)
MLP = Imp("mlp-10-16-12-4+bias", StepRecipe(40, 16, 0.01, evaluate_every=10), seed=5)
RESNET = Imp("resnet8x0.25-4+affine+1x8x8", SGD, "lth-global", rewind=15, seed=5)


def data(images: bool = False) -> WeakData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 1, 8, 8, generator=generator) if images else torch.randn(120, 10, generator=generator)
    flat = x.flatten(1)
    y = (flat[:, 0] > 0).long() + 2 * (flat[:, 1] > 0).long()
    return WeakData((x[60:], y[60:]), (x[:30], y[:30]), (x[30:60], y[30:60]), "made up")


def same(a: Level, b: Level) -> bool:
    equal = all(torch.equal(a.final[name], b.final[name]) for name in b.final)
    names = ("mask", "early_stop", "test_at_stop", "test_at_end", "curve")
    return equal and a.mask == b.mask and all(a.record[name] == b.record[name] for name in names)


def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Tensor], int]]:
    """What every descent from now on begins with: state dict under its mask, and step."""
    seen: list[tuple[dict[str, Tensor], int]] = []
    made = Descent.__init__

    def watched(self: Descent, *arguments: Any, **keywords: Any) -> None:
        made(self, *arguments, **keywords)
        seen.append(({name: value.clone() for name, value in self.network.state_dict().items()}, self.step))

    monkeypatch.setattr(Descent, "__init__", watched)
    return seen


def test_the_trunk_is_the_algorithm_written_out() -> None:
    trunk, parts = Trunk(MLP, data()), data()
    values = beginning(trunk.source)
    assert not any(values[name].any() for name in values if name.endswith("bias"))
    kept = {name: torch.ones_like(values[name], dtype=torch.bool) for name in values if name.endswith("weight")}
    for number in range(4):
        module = trunk.network.module({name: value.clone() for name, value in values.items()})
        examples = Examples(*parts.train, parts.validation)
        final = descend(module, Mask(kept), examples, MLP.recipe, seed=5).final
        level = trunk.level(number)
        assert level.mask == Mask(kept)
        assert all(torch.equal(level.final[name], final[name]) for name in final)
        for name in kept:  # the smallest go, one by one
            share = 10 if name.startswith("layers.2") else 5
            left = int(kept[name].sum())
            for _ in range(round(left / share)):
                alive = torch.where(kept[name], final[name].abs(), torch.inf).reshape(-1)
                kept[name].view(-1)[int(alive.argmin())] = False


def test_levels_have_the_exact_counts_and_are_nested() -> None:
    trunk = Trunk(MLP, data())
    table = level_counts(trunk.shapes, SCOPES["lth-lenet"], 6)
    masks = [trunk.level(number).mask for number in range(7)]
    assert [mask.counts for mask in masks] == table
    assert all((a & b) == b for a, b in pairwise(masks))
    level = trunk.level(6)
    assert level.density == level.record["density"] == sum(table[6].values()) / 400
    for name in level.mask:
        assert bool((level.final[name][~level.mask[name]] == 0).all())


def test_layers_that_compete_have_the_exact_total_and_the_rest_stays() -> None:
    trunk = Trunk(RESNET, data(images=True))
    levels = [trunk.level(number) for number in range(4)]
    assert [level.mask.count for level in levels] == list(level_totals(trunk.shapes, SCOPES["lth-global"], 3))
    kept = levels[3].mask
    outside = [name for name in kept if "downsample" in name or name == "fc.weight"]
    assert len(outside) == 3
    assert all(bool(kept[name].all()) for name in outside)
    inside = torch.cat([levels[2].final[name][levels[2].mask[name]].abs() for name in trunk.pruned])
    survivors = torch.cat([levels[2].final[name][kept[name]].abs() for name in trunk.pruned])
    assert survivors.min() >= inside.sort().values[len(inside) - len(survivors)]


def test_every_level_begins_from_the_rewound_state_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = Trunk(RESNET, data(images=True))
    rewound = trunk.rewound()
    assert any("running_mean" in name and rewound[name].any() for name in rewound)
    seen = starts(monkeypatch)
    trunk.level(2)
    assert [step for _, step in seen] == [15, 15, 15]
    for number, (state, _) in enumerate(seen):
        expected = masked(rewound, trunk.mask(number))
        assert state.keys() == expected.keys()
        for name, value in state.items():
            assert torch.equal(value, expected[name]), name
            assert not bool(torch.signbit(value[value == 0]).any()) if value.is_floating_point() else True


def test_rewinding_goes_on_where_an_uninterrupted_run_was() -> None:
    """Plain SGD has no state of its own, so the dense level from step r must end where training from 0 ends."""
    trunk, parts = Trunk(RESNET, data(images=True)), data(images=True)
    module = trunk.network.module(beginning(trunk.source))
    whole = descend(module, None, Examples(*parts.train, parts.validation), SGD, seed=5).final
    level = trunk.level(0)
    assert all(torch.equal(level.final[name], whole[name]) for name in whole)
    assert [look.step for look in level.looks] == [20, 30, 40]


def test_rewinding_to_the_first_step_is_no_rewinding() -> None:
    network = beginning(Trunk(MLP, data()).source)
    rewound = Trunk(MLP, data()).rewound()
    assert all(torch.equal(rewound[name], network[name]) for name in network)


def test_one_shot_with_one_round_is_iterative_pruning() -> None:
    trunk = Trunk(MLP, data())
    once, many = trunk.level(1, "one-shot"), trunk.level(1)
    assert once.mask == many.mask
    assert all(torch.equal(once.final[name], many.final[name]) for name in many.final)
    assert trunk.level(3, "one-shot").mask.counts == trunk.level(3).mask.counts
    assert trunk.level(3, "one-shot").mask != trunk.level(3).mask


def test_going_on_without_a_reset_is_another_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    imp = Imp(MLP.model, MLP.recipe, strategy="continue", seed=5)
    trunk = Trunk(imp, data())
    first = trunk.level(0)
    seen = starts(monkeypatch)
    second = trunk.level(1)
    expected = masked(first.final, second.mask)
    assert all(torch.equal(seen[0][0][name], expected[name]) for name in expected)
    ticket = trunk.branch(1, Control())
    expected = masked(trunk.rewound(), second.mask)
    assert all(torch.equal(seen[1][0][name], expected[name]) for name in expected)
    assert ticket.mask == second.mask
    plain = Trunk(MLP, data())
    assert plain.branch(1, Control()).record is plain.level(1).record or same(
        plain.branch(1, Control()), plain.level(1)
    )


def test_stages_are_made_once_and_a_finished_trunk_takes_new_branches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Trunk(MLP, data(), tmp_path).level(3)
    files = sorted(tmp_path.rglob("*.pt"))
    assert len(files) == 4
    seen = starts(monkeypatch)
    again = Trunk(MLP, data(), tmp_path)
    assert same(again.level(3), first)
    assert seen == []
    again.branch(3, Control("reinit"))
    again.level(4)
    assert len(seen) == 2
    assert not list(tmp_path.rglob("*.unfinished"))
    other = Trunk(Imp(MLP.model, MLP.recipe, seed=6), data(), tmp_path)
    other.level(0)
    assert len(seen) == 3, "another seed is another trunk"


def test_a_trunk_that_was_stopped_in_a_level_goes_on_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trunk(MLP, data()).level(2)
    go, stops = Descent._one, {"left": 95}

    def stopped(self: Descent) -> None:
        stops["left"] -= 1
        if stops["left"] < 0:
            raise KeyboardInterrupt
        go(self)

    with monkeypatch.context() as patch:
        patch.setattr(Descent, "_one", stopped)
        with pytest.raises(KeyboardInterrupt):
            Trunk(MLP, data(), tmp_path, checkpoint_s=0.0).level(2)
    assert len(list(tmp_path.rglob("*.unfinished"))) == 1
    steps = {"done": 0}

    def counted(self: Descent) -> None:
        steps["done"] += 1
        go(self)

    monkeypatch.setattr(Descent, "_one", counted)
    assert same(Trunk(MLP, data(), tmp_path).level(2), whole)
    assert steps["done"] == 3 * 40 - 95
    assert not list(tmp_path.rglob("*.unfinished"))


@pytest.mark.parametrize("damage", ["cut", "text", "bit", "other"])
def test_damaged_stages_are_set_aside_and_made_again(damage: str, tmp_path: Path) -> None:
    trunk = Trunk(MLP, data(), tmp_path)
    first = trunk.level(0)
    (path,) = tmp_path.rglob("*.pt")
    content = path.read_bytes()
    if damage == "other":
        Trunk(Imp(MLP.model, MLP.recipe, seed=6), data(), tmp_path / "b").level(0)
        content = next((tmp_path / "b").rglob("*.pt")).read_bytes()
    if damage == "bit":
        kept = torch.load(path, weights_only=True)
        kept["tensors"]["layers.0.bias"][0] += 1
        torch.save(kept, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"x", "other": content}[damage])
    assert same(Trunk(MLP, data(), tmp_path).level(0), first)
    assert path.with_suffix(".damaged").exists()


def test_a_stage_that_another_process_sets_aside_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, spec = Stages(tmp_path), Spec("demo", 1, {"seed": 0})
    stages.made(spec, lambda: Stage({"x": 1}, {}))

    def gone(*_: Any, **__: Any) -> None:
        stages.path(spec).unlink()
        raise ValueError("damaged, as the other one saw too")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", gone)
        assert stages.read(spec) is None
    assert stages.made(spec, lambda: Stage({"x": 2}, {})).record["x"] == 2


def test_a_stage_that_cannot_be_read_now_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, spec = Stages(tmp_path), Spec("weak-level", 1, {"n": 1})
    stages.made(spec, lambda: Stage({"x": 1}, {"w": torch.ones(2)}))

    def broken(self: Path) -> bytes:
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", broken)
        with pytest.raises(OSError, match="input/output error"):
            stages.read(spec)
    found = stages.read(spec)
    assert found is not None
    assert found.record == {"x": 1}


def test_branches_of_the_whole_network_are_one_whatever_the_family() -> None:
    own = Trunk(MLP, data())
    first = own.branch(0, Control("reinit"))
    second = own.branch(0, Control("reinit"), "one-shot")
    assert second.record is first.record


def test_of_two_that_want_a_stage_one_makes_it(tmp_path: Path) -> None:
    spec, made = Spec("demo", 1, {"seed": 0}), []

    def make() -> Stage:
        made.append(1)
        time.sleep(0.1)
        return Stage({"x": len(made)}, {"w": torch.ones(2)})

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Stages(tmp_path).made(spec, make), range(4)))
    assert len(made) == 1
    assert [stage.record["x"] for stage in found] == [1] * 4
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".pt"]


def test_the_exported_ticket_is_strict_and_its_weights_lie_beside_it(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    trunk = Trunk(MLP, data())
    file, weights = trunk.export(2, tmp_path)
    ticket, rewound = load(file), load_file(weights)
    assert ticket.plain
    assert ticket.source == trunk.source
    assert ticket == trunk.ticket(2)
    expected = masked(trunk.rewound(), trunk.level(2).mask)
    assert all(torch.equal(rewound[name], expected[name]) for name in expected)
    state = ticket.module().state_dict()
    assert all(torch.equal(state[name] == 0, expected[name] == 0) for name in expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected), "nothing was rewound"


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "ticket"])
def test_controls_change_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = Trunk(MLP, data())
    level = trunk.level(3)
    control, rewound = CONTROLS[name], trunk.rewound()
    seen = starts(monkeypatch)
    branch = trunk.branch(3, control)
    state, mask = seen[0][0], branch.mask
    assert branch.mask.count == level.mask.count
    assert (branch.mask == level.mask) == (control.mask == "ticket")
    assert (branch.mask.counts == level.mask.counts) == (control.mask != "global-shuffle")
    for layer in mask:
        kept = mask[layer]
        old, new = rewound[layer][kept], state[layer][kept]
        assert not bool(state[layer][~kept].any())
        changed = float((old != new).float().mean())
        assert changed == 0 if control.weights == "ticket" else changed > 0.5
        if control.weights in ("same-sign", "constant-sign"):
            assert torch.equal(old.sign(), new.sign())
        if control.weights == "constant-sign":
            fan = sum(trunk.shapes[layer])
            torch.testing.assert_close(new.abs(), torch.full_like(new, math.sqrt(2 / fan)))
        if control.weights == "resampled":
            assert torch.equal(old.sort().values, new.sort().values)
        if control.weights == "reinit":
            assert not torch.equal(old.sign(), new.sign())
    if control != Control(control.weights, control.mask, 1):
        other = trunk.branch(3, Control(control.weights, control.mask, 1))
        same_start = all(torch.equal(seen[1][0][layer], state[layer]) for layer in mask)
        assert same_start == (name == "constant-sign")
        assert other.mask.count == mask.count


def test_a_branch_that_rewinds_nothing_but_weights_keeps_the_rest() -> None:
    """A fresh draw also has fresh normalisation: statistics of the old weights are none of its own."""
    trunk = Trunk(RESNET, data(images=True))
    branch = trunk.branch(1, Control("reinit"))
    assert branch.mask == trunk.level(1).mask
    assert [look.step for look in branch.looks] == [20, 30, 40]


def test_the_winning_ticket_is_defined_without_strict_inequalities() -> None:
    level = Trunk(MLP, data()).level(0)
    assert level.wins(level)


LITERAL = {
    "large-final": lambda i, f: abs(f),
    "small-final": lambda i, f: -abs(f),
    "large-init": lambda i, f: abs(i),
    "small-init": lambda i, f: -abs(i),
    "magnitude-increase": lambda i, f: abs(f) - abs(i),
    "movement": lambda i, f: abs(f - i),
    "large-final-same-sign": lambda i, f: max(0.0, f * ((i > 0) - (i < 0))),
    "large-final-different-sign": lambda i, f: max(0.0, -f * ((i > 0) - (i < 0))),
}


@given(st.lists(st.tuples(*[st.floats(-9, 9, width=32)] * 2), min_size=1, max_size=20))
def test_criteria_are_their_formulas(pairs: list[tuple[float, float]]) -> None:
    initial, final = (torch.tensor([pair[k] for pair in pairs]) for k in (0, 1))
    everything = {"w": torch.ones(len(pairs), dtype=torch.bool)}
    for name, formula in LITERAL.items():
        found = scores(name, {"w": initial}, {"w": final}, everything, together=False)["w"].tolist()
        assert found == [formula(i, f) for i, f in pairs]
    assert set(CRITERIA) - set(LITERAL) == {"large-init-large-final", "small-init-small-final"}


def test_criteria_of_both_ends_keep_what_both_percentiles_allow() -> None:
    generator = torch.Generator().manual_seed(3)
    initial, final = torch.randn(400, generator=generator), 5 * torch.randn(400, generator=generator)
    everything = {"w": torch.ones(400, dtype=torch.bool)}
    found = scores("large-init-large-final", {"w": initial}, {"w": final}, everything, together=False)["w"]
    for threshold in (100, 300):
        kept = found >= threshold
        literal = (initial.abs() >= initial.abs().sort().values[threshold]) & (
            final.abs() >= final.abs().sort().values[threshold]
        )
        assert torch.equal(kept, literal)
    small = scores("small-init-small-final", {"w": initial}, {"w": final}, everything, together=False)["w"]
    literal = (initial.abs() <= initial.abs().sort().values[150]) & (final.abs() <= final.abs().sort().values[150])
    assert torch.equal(small >= -150, literal)


@pytest.mark.parametrize("rule", ["lth-lenet", "openlth"])
@pytest.mark.parametrize("criterion", sorted(PLATEAUS))
def test_where_a_criterion_says_nothing_chance_decides_and_not_the_place(criterion: str, rule: str) -> None:
    """Few weights change their sign, so that nearly all scores of "different-sign" are 0."""
    model = "mlp-10-60-50-4+bias"
    trunk = Trunk(Imp(model, MLP.recipe, rule, criterion=criterion, seed=5), data())
    final, together = trunk.level(0).final, rule == "openlth"
    everything = {name: torch.ones(shape, dtype=torch.bool) for name, shape in trunk.shapes.items()}
    found = scores(criterion, trunk.rewound(), final, everything, together=together)
    masks = [trunk.mask(number, "one-shot") for number in (1, 3, 5)]
    assert all((a & b) == b for a, b in pairwise(masks))
    assert [mask.count for mask in masks] == [list(level_totals(trunk.shapes, SCOPES[rule], 5))[n] for n in (1, 3, 5)]
    for mask in masks:
        for name in everything if not together else ():
            kept, gone = found[name][mask[name]], found[name][~mask[name]]
            assert kept.min() >= gone.max()
            tied = (found[name] == kept.min()) & (found[name] == 0)
            if int(tied.sum()) > 40:  # the survivors of a plateau lie in both halves of its places
                marks = mask[name][tied]
                halves = [float(half.float().mean()) for half in marks.chunk(2)]
                assert abs(halves[0] - halves[1]) < 5 * math.sqrt(1 / len(marks)), (name, halves)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        again = Trunk(Imp(model, MLP.recipe, rule, criterion=criterion, seed=5), data())
        assert again.mask(5, "one-shot") == masks[2]
    assert any(bool((found[name] == 0).any()) for name in found)


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, -math.inf]), min_size=1, max_size=30), st.integers(0, 9))
def test_untied_scores_keep_the_order_and_are_all_different(values: list[float], seed: int) -> None:
    half = len(values) // 2
    found = {"a": torch.tensor(values[:half], dtype=torch.float64), "b": torch.tensor(values[half:]).double()}
    ranks = torch.cat(list(untied(found, seed).values())).tolist()
    assert sorted(ranks) == list(range(len(values)))
    assert all(ranks[i] < ranks[j] for i, a in enumerate(values) for j, b in enumerate(values) if a < b)


def test_scores_that_are_no_numbers_are_refused_among_tied_ones_too() -> None:
    ranks = untied({"a": torch.tensor([0.0, math.nan, -math.inf]), "b": torch.tensor([1.0])}, 0)
    assert ranks["a"].isnan().tolist() == [False, True, False]
    with pytest.raises(ValueError, match="NaN cannot be ranked"):
        largest_global(ranks, 2)


def test_level_0_is_one_for_all_criteria_and_strategies_and_no_other_level_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Trunk(MLP, data(), tmp_path)
    dense, fresh = first.level(0), first.branch(0, Control("reinit"))
    seen = starts(monkeypatch)
    changes: list[dict[str, Any]] = [{"criterion": name} for name in CRITERIA if name != MLP.criterion]
    for change in [*changes, {"strategy": "continue"}]:
        other = Trunk(Imp(MLP.model, MLP.recipe, seed=5, **change), data(), tmp_path)
        assert same(other.level(0), dense)
        assert same(other.level(0, "one-shot"), dense)
        assert same(other.branch(0, Control("reinit")), fresh)
        assert len({trunk._spec("level", level=1, family="iterative").key for trunk in (other, first)}) == 2
    assert seen == []
    scoped = Trunk(Imp(MLP.model, MLP.recipe, "openlth", seed=5), data(), tmp_path)
    assert same(scoped.level(0), dense)
    assert len(seen) == 1, "another scope shares nothing"


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_every_criterion_runs(criterion: str) -> None:
    trunk = Trunk(Imp(MLP.model, StepRecipe(10, 16, 0.01), criterion=criterion, seed=5), data())
    assert trunk.level(2).mask.counts == level_counts(trunk.shapes, SCOPES["lth-lenet"], 2)[2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"scope": "lenet"}, "unknown scope"),
        ({"criterion": "best"}, "unknown criterion"),
        ({"strategy": "none"}, "strategy"),
        ({"rewind": 40}, "rewind"),
        ({"rewind": -1}, "rewind"),
    ],
)
def test_trunks_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Imp(MLP.model, MLP.recipe, **wrong)
    with pytest.raises(ValueError, match="prunes no layer"):
        Trunk(Imp(MLP.model, MLP.recipe, "lth-global"), data())
    with pytest.raises(ValueError, match="level"):
        Trunk(MLP, data()).level(-1)


def test_the_names_of_stages_are_pinned() -> None:
    """A name that changes makes trained stages unfindable; one that does not change when it should mixes them up."""
    x, y = torch.eye(10), torch.arange(10) % 4
    spec = Trunk(MLP, WeakData((x, y), (x, y), (x, y)))._spec("level", level=1, family="iterative")
    params = spec.to_json()["params"]
    assert set(params) == {
        *("model", "recipe", "scope", "rewind", "criterion", "strategy", "law", "seed"),
        *("data", "device", "threads", "level", "family"),
    }
    assert set(params["recipe"]) == {
        *("steps", "batch_size", "lr", "optimiser", "momentum", "weight_decay", "milestones", "drop", "warmup"),
        *("dropout", "augmentation", "evaluate_every"),
    }
    assert spec.key == PINNED


PINNED = "70c2f33fc21603e8746825a67c4f926a370191aedf895b5ea78c8c3fa034bb9a"
