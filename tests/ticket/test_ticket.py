from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given

from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.models import MLP
from strongticket.testing import check_ticket, check_ticket_file_roundtrip, tickets
from strongticket.ticket import Init, Mask, Source, Ticket

SOURCE = Source(MLP((4, 6, 3), bias=True), 11)
SHAPES = dict(SOURCE.shapes)


def example(seed: int = 0) -> Ticket:
    generator = np.random.default_rng(seed)
    return Ticket(SOURCE, Mask({name: generator.random(shape) < 0.5 for name, shape in SHAPES.items()}))


def claim(ticket: Ticket) -> Certificate:
    return Certificate("max", Domain.box(0, 1), 0.5, Rigor.FLOAT, "guess", ticket.digest, "2" * 64)


@given(tickets())
def test_any_ticket_is_what_it_claims(ticket: Ticket) -> None:
    check_ticket(ticket)


def test_the_strict_check_accepts_exactly_the_ticket() -> None:
    ticket = example()
    module = ticket.module()
    assert ticket.matches(module)
    for name, kept in ((name, ticket.mask[name].view(-1)) for name in SHAPES):
        for wanted, change in ((True, "dropped"), (True, "moved"), (False, "kept")):
            place = int(torch.nonzero(kept == wanted)[0])
            state = {key: value.clone() for key, value in module.state_dict().items()}
            flat = state[name].view(-1)
            value = flat[place].clone()
            moved = torch.nextafter(value, torch.tensor(9.0))
            flat[place] = {"dropped": torch.tensor(0.0), "moved": moved, "kept": SOURCE.weight(name).view(-1)[place]}[
                change
            ]
            assert not ticket.matches(SOURCE.architecture.module(state)), f"{change} {name}[{place}] is not seen"
    assert not ticket.matches(module.double())
    assert not ticket.matches(torch.nn.Linear(4, 3))
    assert not example(1).matches(example(0).module())


def test_the_strict_check_takes_the_zeros_of_weight_times_mask() -> None:
    ticket = example()
    product = {name: SOURCE.weight(name) * ticket.mask[name] for name in SHAPES}  # has -0.0 where one was dropped
    assert any(bool(((value == 0) & torch.signbit(value)).any()) for value in product.values())
    assert ticket.matches(SOURCE.architecture.module(product))


def test_a_redrawn_or_borrowed_weight_is_refused() -> None:
    ticket = example()
    other = dataclasses.replace(ticket, source=Source(SOURCE.architecture, 12))
    assert not ticket.matches(other.module())
    state = ticket.weights()
    state["layers.0.weight"] = state["layers.0.weight"].flip(0)
    assert not ticket.matches(SOURCE.architecture.module(state))


def test_outputs_are_those_of_the_dense_network() -> None:
    ticket = example()
    inputs = torch.randn(7, 4)
    w = {name: (SOURCE.weight(name) * ticket.mask[name]).double() for name in SHAPES}
    hidden = torch.relu(inputs.double() @ w["layers.0.weight"].T + w["layers.0.bias"])
    expected = hidden @ w["layers.1.weight"].T + w["layers.1.bias"]
    assert torch.allclose(ticket.module()(inputs).double(), expected, atol=1e-6)


def test_digests_name_what_a_ticket_is() -> None:
    ticket = example()
    dense = {"layers.0.bias": torch.zeros(6)}
    rest = Mask({name: ticket.mask[name] for name in SHAPES if name not in dense})
    several = [
        ticket,
        example(1),
        dataclasses.replace(ticket, source=Source(SOURCE.architecture, 12)),
        dataclasses.replace(ticket, source=Source(SOURCE.architecture, 11, Init("sign"))),
        Ticket(SOURCE, rest, dense),
        Ticket(SOURCE, rest, {"layers.0.bias": torch.ones(6)}),
        Ticket(SOURCE, rest, {"layers.0.bias": torch.zeros(6, dtype=torch.float64)}),
    ]
    assert len({t.digest for t in several}) == len(set(several)) == len(several)
    assert example() == ticket
    assert hash(example()) == hash(ticket)
    assert ticket.with_certificates(claim(ticket)) == ticket
    assert ticket != "ticket"


@pytest.mark.parametrize(
    "value",
    [torch.ones(()).expand(6), torch.arange(48.0)[::8], torch.ones(6, requires_grad=True), torch.ones(1, 6)[0]],
    ids=["stride 0", "stride 8", "with gradient", "view"],
)
def test_dense_values_of_any_stride_have_a_digest_and_a_file(value: torch.Tensor) -> None:
    rest = Mask.full({name: shape for name, shape in SHAPES.items() if name != "layers.0.bias"})
    ticket = Ticket(SOURCE, rest, {"layers.0.bias": value})
    assert ticket == Ticket(SOURCE, rest, {"layers.0.bias": value.detach().clone()})
    check_ticket_file_roundtrip(ticket)


def test_a_dense_value_of_one_element_and_odd_stride_has_a_digest_and_a_file() -> None:
    source = Source(MLP((2, 1), bias=True), 1)
    ticket = Ticket(source, Mask.full({"layers.0.weight": (1, 2)}), {"layers.0.bias": torch.arange(8.0)[::8]})
    check_ticket_file_roundtrip(ticket)


def test_masks_that_do_not_fit_are_refused() -> None:
    full = Mask.full(SHAPES)
    with pytest.raises(ValueError, match="do not fit"):
        Ticket(SOURCE, Mask.full({"layers.0.weight": (6, 4)}))
    with pytest.raises(ValueError, match="do not fit"):
        Ticket(SOURCE, Mask.full({**SHAPES, "layers.0.weight": (4, 6)}))
    with pytest.raises(ValueError, match="do not fit"):
        Ticket(SOURCE, Mask.full({**SHAPES, "layers.9.weight": (4, 6)}))
    with pytest.raises(ValueError, match="both masked and dense"):
        Ticket(SOURCE, full, {"layers.0.bias": torch.zeros(6)})
    rest = Mask.full({name: shape for name, shape in SHAPES.items() if name != "layers.0.bias"})
    with pytest.raises(ValueError, match="do not fit"):
        Ticket(SOURCE, rest, {"layers.0.bias": torch.zeros(5)})


def test_certificates_are_of_this_ticket() -> None:
    ticket = example()
    assert ticket.with_certificates(claim(ticket)).certificates == (claim(ticket),)
    assert ticket.certificates == ()
    with pytest.raises(ValueError, match="this one is"):
        ticket.with_certificates(claim(example(1)))


def test_the_checks_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that sees nothing is worth nothing: break the library and look."""
    original = Source.weight

    def wrong(self: Source, name: str, index: object = None) -> torch.Tensor:
        weights = original(self, name, index).clone()  # type: ignore[arg-type]
        weights.reshape(-1)[:1] += 1  # the first of whatever is asked for
        return weights

    for owner, attribute, broken in (
        (Source, "weight", wrong),
        (Ticket, "matches", lambda *_: True),
        (Ticket, "matches", lambda *_: False),
        (Ticket, "weight", lambda self, name: original(self.source, name)),
        (Mask, "counts", dict.fromkeys(SHAPES, 1)),
    ):
        ticket = example()
        with monkeypatch.context() as patch:
            patch.setattr(owner, attribute, broken)
            with pytest.raises(AssertionError):
                check_ticket(ticket)
    check_ticket(example())
