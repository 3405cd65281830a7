"""Tickets of random signs that equal quantised targets: proved from seed and mask, against slow twins, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain
from strongticket.certify.collapse import StructureError
from strongticket.certify.telescope import telescopes
from strongticket.constructions import _doubling as doubling
from strongticket.constructions.sreenivasan2022finding import Sreenivasan2022Finding, construct
from strongticket.models import MLP, Target
from strongticket.models.quantized import integer_layers, integer_outputs
from strongticket.testing import check_ticket, check_ticket_file_roundtrip
from strongticket.ticket import Mask, Ticket

BOX, SIGNED = Domain.box(0, 1), Domain.box(-1, 1)


def target_of(*sizes: int, bits: int, bias: bool = False, seed: int = 0, most: int | None = None) -> Target:
    """Whole numbers from -most to most, most = 2^bits if not given, in units of 2^-bits."""
    generator, mlp = torch.Generator().manual_seed(seed), MLP(sizes, bias)
    high = 2**bits if most is None else most
    weights = {n: torch.randint(-high, high + 1, s, generator=generator) / 2.0**bits for n, s in mlp.shapes.items()}
    return Target(mlp, weights)


def unequal(ticket: Ticket, target: Target, bits: int, low: int) -> int:
    """Outputs that differ, in integers; target and ticket carry different powers of two."""
    inputs = np.random.default_rng(0).integers(low, 256, (300, target.architecture.sizes[0]))
    found, unit = integer_outputs(integer_layers(ticket), inputs, 255)
    wanted, other = integer_outputs(integer_layers(target), inputs, 255)
    assert unit % 255 == 0
    assert unit == 255 << bits * len(target.layers)
    ratio, rest = divmod(unit, other)
    assert rest == 0
    return int(np.count_nonzero(found != wanted * ratio))


@given(st.data())
@settings(max_examples=50)
def test_every_promise_on_any_target(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    bits, bias = data.draw(st.integers(0, 4)), data.draw(st.booleans())
    seed, most = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 20))
    target = target_of(*sizes, bits=bits, bias=bias, seed=seed, most=most)
    domain = data.draw(st.sampled_from([BOX, SIGNED]))
    copies: Any = data.draw(st.one_of(st.just("theorem"), st.integers(2, 12)))
    method = Sreenivasan2022Finding(bits=bits, items=copies, domain=domain, seed=data.draw(st.integers(0, 2**64 - 1)))
    result = method.construct(target)
    check_ticket(result.best)
    assert result.best.matches(result.best.module())
    assert result.plan == method.plan(target)
    depth = result.plan.source.architecture.depth  # type: ignore[attr-defined]
    assert method.ends(target)[-1] == depth
    weights = {abs(float(w)) for n, t in result.best.source.weights().items() for w in t.reshape(-1)[:9]}
    assert weights <= {1.0, 2.0 ** -(bits * len(target.layers))}
    equal = telescopes(result.best, target, method.ends(target), bits=bits, nonnegative=domain.nonnegative)
    wrong = unequal(result.best, target, bits, 0 if domain.nonnegative else -255)
    if result.ticket is not None:
        assert equal
        assert wrong == 0
        assert result.largest_error == 0.0
    else:
        assert not equal or wrong == 0  # what is missing may be needed by nothing
        # a network that lacks weights lacks them as it says
        listed = {(u["layer"], u["row"]) for u in result.unreached}
        assert all(0 <= layer < len(target.layers) for layer, _ in listed)
        assert result.largest_error == max(float(u["error"]) for u in result.unreached)


def test_the_ticket_is_the_target_on_floats() -> None:
    target = target_of(6, 5, 4, bits=5, bias=True)
    result = construct(target, bits=5, domain=SIGNED)
    assert result.ticket is not None
    x = torch.randint(-64, 65, (500, 6)) / 64  # short numbers, on which float32 is exact
    assert torch.equal(result.ticket.module()(x), target.module()(x))
    loose = construct(target, bits=5, domain=SIGNED, scaled=False)
    assert loose.ticket is not None
    assert loose.ticket.source.init.overrides == ()
    assert torch.equal(loose.ticket.module()(x), target.module()(x) * 2.0**10)
    ends = Sreenivasan2022Finding(bits=5, domain=SIGNED).ends(target)
    assert telescopes(loose.ticket, target, ends, bits=5, scaled=False)
    assert not telescopes(loose.ticket, target, ends, bits=5)
    check_ticket_file_roundtrip(result.ticket)


def test_one_layer_is_the_gadget_word_for_word() -> None:
    """All states recomputed neuron by neuron on an input: 2^t x and partial sums, or nothing."""
    target = target_of(5, 3, bits=0, most=15, seed=2)
    result = construct(target, bits=0, items=16)
    assert result.ticket is not None
    x = np.random.default_rng(1).integers(0, 99, 5)
    w = target.layers[0].weight.astype(np.int64)
    state = x
    layers = integer_layers(result.ticket)
    allowed: list[set[int]] = [set(x.tolist())]
    for t in range(1, 5):
        part = [np.maximum(s * w, 0) & (2**t - 1) for s in (1, -1)]
        allowed.append({int(v) << t for v in x} | {int(v) for p in part for v in p @ x})
    for t, layer in enumerate(layers[:-1]):
        state = layer.weight @ state
        assert (state >= 0).all()
        assert set(state.tolist()) <= allowed[t] | {0}
    assert (layers[-1].weight @ state == w @ x).all()


def test_the_theorems_copies_are_enough_and_few_are_not() -> None:
    target = target_of(5, 3, bits=0, most=15, seed=2)
    assert all(construct(target, bits=0, seed=s).ticket is not None for s in range(30))
    plan = Sreenivasan2022Finding(bits=0).plan(target)
    few = [construct(target, bits=0, items=4, seed=s).ticket is None for s in range(30)]
    assert sum(few) > 10
    assert plan.items[0] > 16


def test_nothing_depends_on_how_many_signs_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(4, 3, 2, bits=3, bias=True)
    whole = construct(target, bits=3, items=6)
    monkeypatch.setattr(doubling, "_AT_ONCE", 1)
    assert construct(target, bits=3, items=6).best == whole.best


def test_a_changed_ticket_does_not_telescope() -> None:
    target = target_of(4, 3, 2, bits=3)
    method = Sreenivasan2022Finding(bits=3)
    result = method.construct(target)
    assert result.ticket is not None
    ends = method.ends(target)
    assert telescopes(result.ticket, target, ends, bits=3, nonnegative=True)
    assert not telescopes(result.ticket, target_of(4, 3, 2, bits=3, seed=1), ends, bits=3, nonnegative=True)
    for name in result.ticket.mask:
        kept = result.ticket.mask.indices(name)
        mask = Mask.merge(
            Mask({n: result.ticket.mask[n] for n in result.ticket.mask if n != name}),
            Mask.from_indices({name: result.ticket.mask.shapes[name]}, {name: kept[1:]}),
        )
        damaged = Ticket(result.ticket.source, mask)
        assert not telescopes(damaged, target, ends, bits=3, nonnegative=True)
        assert unequal(damaged, target, 3, 0) > 0
    full = Mask.full(result.ticket.source.shapes)
    with pytest.raises(StructureError, match="keeps several inputs"):
        telescopes(Ticket(result.ticket.source, full), target, ends, bits=3)
    mixed = Mask({n: result.ticket.mask[n] if n == "layers.0.weight" else full[n] for n in full})
    with pytest.raises(StructureError, match="may be negative inside"):
        telescopes(Ticket(result.ticket.source, mixed), target, ends, bits=3)
    with pytest.raises(StructureError, match="increasing ends"):
        telescopes(result.ticket, target, ends[:1], bits=3)


def test_equal_and_dead_neurons_of_the_target_are_no_obstacle() -> None:
    first = torch.tensor([[1.0, -2.0], [1.0, -2.0], [0.0, 0.0]])
    target = Target(MLP((2, 3, 1)), {"layers.0.weight": first, "layers.1.weight": torch.tensor([[1.0, 2.0, 3.0]])})
    method = Sreenivasan2022Finding(bits=0, domain=SIGNED)
    result = method.construct(target)
    assert result.ticket is not None
    assert telescopes(result.ticket, target, method.ends(target), bits=0)


def test_unreached_rows_are_listed_with_their_weights() -> None:
    target = target_of(4, 3, 2, bits=3, bias=True, seed=1)
    for seed in range(20):
        result = construct(target, bits=3, items=3, seed=seed, domain=SIGNED)
        for u in result.unreached:
            layer = target.layers[u["layer"]]
            if u["row"] < len(layer.weight):  # the row behind carries the constant
                assert layer.bias is not None
                assert u["target"] == np.column_stack([layer.weight, layer.bias])[u["row"], u["input"]]
            assert u["error"] == abs(u["target"])
    assert len(result.unreached)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bits": -1}, ValueError, r"bits must be in 0\.\.20"),
        ({"bits": 2.0}, TypeError, "bits is a whole number"),
        ({"items": 1}, ValueError, "items must be at least 2"),
        ({"items": "many"}, ValueError, "items is a number"),
        ({"delta": 0.0}, ValueError, "delta must lie strictly"),
        ({"domain": (0, 1)}, TypeError, "domain is a strongticket.Domain"),
        ({"bits": 1}, HypothesisError, r"layers.0.weight\[0, 0\] of the target is 0.25, no multiple of 2\^-1"),
    ],
)
def test_refusals(options: dict[str, Any], error: type[Exception], message: str) -> None:
    target = Target(MLP((2, 1)), {"layers.0.weight": torch.tensor([[0.25, -0.75]])})
    with pytest.raises(error, match=message):
        construct(target, **options)


def test_numbers_that_are_too_large_are_refused_for_that() -> None:
    target = Target(MLP((1, 1)), {"layers.0.weight": torch.ones(1, 1)})
    with pytest.raises(HypothesisError, match=r"not below 2\^20 units of 2\^-20: take fewer bits"):
        construct(target, bits=20)


def test_scales_that_float_cannot_hold_are_refused() -> None:
    target = target_of(1, 1, 1, 1, 1, bits=16, most=1)
    with pytest.raises(HypothesisError, match=r"need the scale 2\^-64"):
        construct(target, bits=16)
