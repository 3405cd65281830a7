"""Tickets of networks with a state: normalisation statistics and whatever else is not random."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strongticket.models import MLP, architecture
from strongticket.testing import check_ticket, check_ticket_file_roundtrip, sources, tickets
from strongticket.ticket import AbstractArchitecture, Init, Mask, Source, Ticket

SMALL = ["resnet8x0.1+3x8x8", "vgg-smallx0.02+affine", "vit-l1-d4-h2-p4+1x8x8+affine", "conv2x0.02+bias"]
NAME = "resnet8x0.25+3x8x8"


def example(seed: int = 7) -> Ticket:
    source = Source(architecture(NAME), seed, Init("sign", 0.25))
    mask = Mask.from_indices(source.shapes, {name: torch.arange(0, 24, 2) for name in source.shapes})
    state = source.architecture.initial_state()
    for value in state.values():
        value += torch.arange(value.numel()) / 8 if value.is_floating_point() else 12
    return Ticket(source, mask, state)


@settings(max_examples=25)
@given(tickets(sources(st.sampled_from(SMALL).map(architecture))))
def test_any_ticket_with_a_state_is_what_it_claims_and_comes_back_from_its_file(ticket: Ticket) -> None:
    check_ticket(ticket)
    check_ticket_file_roundtrip(ticket)


def test_a_source_draws_what_is_random_and_nothing_else() -> None:
    source = Source(architecture(NAME), 1)
    assert list(source.weights()) == list(source.shapes)
    assert not any("bn" in name for name in source.shapes)
    for request in (source.weight, source.integers):
        with pytest.raises(KeyError, match=r"'bn1\.running_var' .* is not random \(float32 of shape .*initial_state"):
            request("bn1.running_var")
    with pytest.raises(KeyError, match=r"has no parameter 'bn9\.weight'"):
        source.weight("bn9.weight")
    with pytest.raises(ValueError, match="does not have as random parameters"):
        Source(architecture(NAME), 1, Init(overrides=(("bn1.running_var", "sign", 0.5),)))


def test_every_bit_of_the_state_counts() -> None:
    ticket = example()
    for name in ("bn1.running_mean", "bn1.num_batches_tracked", "layer2.0.downsample.1.running_var"):
        module = ticket.module()
        assert ticket.matches(module)
        module.state_dict()[name].view(-1)[-1:].view(torch.uint8)[0] ^= 1
        assert not ticket.matches(module), name
    module = ticket.module()
    module.bn1.running_mean = -torch.zeros(4)
    zero = Ticket(ticket.source, ticket.mask, {**ticket.dense, "bn1.running_mean": torch.zeros(4)})
    assert not zero.matches(module)  # -0.0 is another number where nothing was masked
    for more in (nn.Module(), nn.BatchNorm2d(4), architecture(NAME + "+bias")):
        if isinstance(more, AbstractArchitecture):
            more = more.module({name: torch.zeros(shape) for name, shape in more.shapes.items()} | more.initial_state())
        assert not ticket.matches(more)


def test_the_module_owns_its_state() -> None:
    ticket = example()
    digest = ticket.digest
    module = ticket.module()
    assert not module.training
    module.train()(torch.randn(4, 3, 8, 8))
    assert not ticket.matches(module)
    again = Ticket(ticket.source, ticket.mask, ticket.dense)
    assert again.digest == digest
    assert ticket.matches(ticket.module())
    assert sorted(ticket.weights()) == sorted(module.state_dict())


def test_digests_depend_on_the_state_and_not_on_its_order() -> None:
    ticket = example()
    assert Ticket(ticket.source, ticket.mask, dict(reversed(ticket.dense.items()))) == ticket
    changed = {name: value.clone() for name, value in ticket.dense.items()}
    changed["bn1.num_batches_tracked"] += 1
    assert Ticket(ticket.source, ticket.mask, changed) != ticket


def test_the_digest_is_the_same_for_ever() -> None:
    assert example().digest == "d33357794af5ee498d552f87a0c3aa1ded78bc1e448049d4e3f5c9802bb71c2c"


def test_a_random_parameter_may_be_given_beside_the_state() -> None:
    ticket = example()
    dense = {**ticket.dense, "fc.weight": torch.ones(10, 16, dtype=torch.float64)}
    rest = Mask.from_indices(
        {name: shape for name, shape in ticket.mask.shapes.items() if name != "fc.weight"},
        {name: ticket.mask.indices(name) for name in ticket.mask if name != "fc.weight"},
    )
    other = Ticket(ticket.source, rest, dense)
    check_ticket(other)
    check_ticket_file_roundtrip(other)


def test_mask_and_dense_cover_everything_exactly() -> None:
    ticket = example()
    source, mask, dense = ticket.source, ticket.mask, dict(ticket.dense)

    def without(name: str) -> dict[str, torch.Tensor]:
        return {key: value for key, value in dense.items() if key != name}

    refused = [
        (mask, {}, r"neither masked nor dense are bn1\.num_batches_tracked, .* and \d+ more; .*initial_state"),
        (mask, without("bn1.running_mean"), r"neither masked nor dense are bn1\.running_mean; .*initial_state"),
        (mask, {**dense, "bn1.weight": torch.ones(4)}, r"unknown are bn1\.weight$"),
        (mask, {**dense, "fc.weight": torch.zeros(10, 16)}, r"both masked and dense: fc\.weight"),
        (
            mask,
            {**dense, "bn1.running_mean": torch.ones(5)},
            r"other shapes have bn1\.running_mean \(5,\) instead of \(4,\)",
        ),
        (
            mask,
            {**dense, "bn1.running_mean": torch.ones(4).double()},
            r"other types have bn1\.running_mean torch\.float64 instead of float32",
        ),
        (
            mask,
            {**dense, "bn1.num_batches_tracked": torch.tensor(1.0)},
            r"bn1\.num_batches_tracked torch\.float32 instead of int64",
        ),
        (Mask({}), dense, r"neither masked nor dense are conv1\.weight"),
        (
            Mask.merge(mask, Mask.full({"bn1.running_mean": (4,)})),
            without("bn1.running_mean"),
            r"masked, but not random in resnet8x0\.25.*: bn1\.running_mean",
        ),
    ]
    for given_mask, given_dense, says in refused:
        with pytest.raises(ValueError, match=says):
            Ticket(source, given_mask, given_dense)


def test_tickets_without_a_state_have_the_digests_they_always_had() -> None:
    source = Source(MLP((4, 3), bias=True), 5)
    ticket = Ticket(source, Mask.full({"layers.0.weight": (3, 4)}), {"layers.0.bias": torch.arange(3.0)})
    assert ticket.digest == "d0d52a20fd47d85dc37b5b9eb41aa130c146b0eee53fcf1344d1f6a1bd136df3"


def test_an_architecture_of_ones_own_says_how_its_state_starts() -> None:
    class Own(AbstractArchitecture):
        id = "own"
        shapes = {"w": (2, 2)}  # noqa: RUF012
        state = {"b": ((2,), "float32")}  # noqa: RUF012

        def module(self, weights: object) -> nn.Module:
            raise NotImplementedError

    with pytest.raises(NotImplementedError, match=r"has the state \['b'\].*define its initial_state"):
        Own().initial_state()
