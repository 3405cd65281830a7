"""Binary tickets with one scale: they equal quantised targets; what is missing is listed; refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.bounds import HypothesisError
from strongticket.bounds import diffenderfer2021multiprize as bounds
from strongticket.certificate import Domain, Rigor
from strongticket.certify import certify
from strongticket.constructions.diffenderfer2021multiprize import Diffenderfer2021Multiprize, construct
from strongticket.models import MLP, Target
from strongticket.models.quantized import quantise, unequal_outputs
from strongticket.testing import check_ticket, targets, unreached_weights, weight_errors
from strongticket.ticket import Source

BOX, SIGNED = Domain.box(0, 1), Domain.box(-1, 1)


@given(target=targets(max_depth=3, max_width=4, largest=1.0), data=st.data())
@settings(max_examples=40)
def test_every_promise_on_any_target(target: Target, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 4))
    quantised = quantise(target, bits).target
    domain = data.draw(st.sampled_from([BOX, SIGNED]))
    items: Any = data.draw(st.one_of(st.just("theorem"), st.integers(1, 40)))
    method = Diffenderfer2021Multiprize(
        bits=bits, items=items, domain=domain, seed=data.draw(st.integers(0, 2**64 - 1))
    )
    result = method.construct(quantised)
    check_ticket(result.best)
    assert result.plan == method.plan(quantised)
    errors = weight_errors(result.best, quantised, nonnegative=domain.nonnegative)
    wrong = {place: error for place, error in errors.items() if error}
    assert unreached_weights(result) == wrong
    if not wrong:
        proved = certify(result.best, quantised, domain)
        assert (proved.rigor, proved.error) == (Rigor.PROVED, 0.0)
        low = 0 if domain.nonnegative else -255
        inputs = np.random.default_rng(0).integers(low, 256, (100, quantised.architecture.sizes[0]))
        assert unequal_outputs(quantised, result.best, inputs, 255) == 0


def literal(target: Target, source: Source, items: int) -> bool:
    """Whether each weight of one layer has enough equal signs among its own neurons, one after the other."""
    u, v = (source.integers(MLP.weight_name(i)).astype(int) for i in (0, 1))
    left = dict.fromkeys(range(u.shape[1]), items)
    served: dict[int, list[int]] = {i: [] for i in left}
    for k in range(len(u)):
        for i in left:
            if u[k, i] == 1 and left[i]:
                left[i] -= 1
                served[i].append(k)
                break
    units = np.rint(target.layers[0].weight * 4).astype(int)
    return all(
        sum(v[j, k] == np.sign(units[j, i]) for k in served[i]) >= abs(units[j, i]) for j, i in np.ndindex(*units.shape)
    )


def test_it_succeeds_exactly_where_there_are_enough_signs() -> None:
    weight = torch.tensor([[1.0, -0.75, 0.5], [-1.0, 0.25, 0.0]])
    target = Target(MLP((3, 2)), {"layers.0.weight": weight})
    seen = set()
    for seed in range(60):
        result = construct(target, bits=2, items=9, seed=seed)
        assert (result.ticket is not None) == literal(target, result.plan.source, 9)
        seen.add(result.ticket is not None)
    assert seen == {True, False}


def test_the_theorems_items_are_enough_and_half_of_them_are_not() -> None:
    target = quantise(Target(MLP((4, 3)), {"layers.0.weight": torch.linspace(-1, 1, 12).reshape(3, 4)}), 4).target
    items = Diffenderfer2021Multiprize(bits=4).plan(target).items[0]
    assert items == bounds.items_exact(16, 12, 0.005)
    assert all(construct(target, bits=4, seed=s).ticket is not None for s in range(50))
    assert sum(construct(target, bits=4, items=items // 2, seed=s).ticket is None for s in range(50)) > 10


def test_two_numbers_and_no_other() -> None:
    target = quantise(
        Target(MLP((4, 3), bias=True), {"layers.0.weight": torch.eye(3, 4), "layers.0.bias": torch.ones(3)}), 3
    )
    source = construct(target.target, bits=3).plan.source
    values = [set(w.abs().reshape(-1).tolist()) for w in source.weights().values()]
    assert values == [{1.0}, {1.0}, {0.125}, {0.125}]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bits": 17}, ValueError, r"bits must be in 0\.\.16"),
        ({"bits": True}, TypeError, "bits is a whole number"),
        ({"items": 0}, ValueError, "items must be at least 1"),
        ({"items": "few"}, ValueError, "items is a number"),
        ({"delta": 1.0}, ValueError, "delta must lie strictly"),
        ({"domain": 1}, TypeError, "domain is a strongticket.Domain"),
        ({"bits": 1}, HypothesisError, r"layers.0.weight\[0, 0\] of the target is 0.25, no multiple of 2\^-1"),
    ],
)
def test_refusals(options: dict[str, Any], error: type[Exception], message: str) -> None:
    target = Target(MLP((2, 1)), {"layers.0.weight": torch.tensor([[0.25, -0.75]])})
    with pytest.raises(error, match=message):
        construct(target, **options)
