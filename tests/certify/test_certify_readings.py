"""Certificates of redrawn weights; of tickets whose kept weights are not a draw of the source's they are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strongticket.certificate import Domain
from strongticket.certify import certify, collapse, examine, sample
from strongticket.certify.collapse import StructureError
from strongticket.models import MLP, Target
from strongticket.ticket import Init, Mask, Reading, Source, Ticket

NET = MLP((2, 6, 2))
NAME = "layers.0.weight"


def gadgets(reading: Reading) -> Ticket:
    """A ticket whose first layer keeps one weight per neuron and whose second keeps all."""
    source = Source(NET, 3)
    mask = Mask.from_indices(source.shapes, {NAME: np.arange(6) * 2 + np.arange(6) % 2, "layers.1.weight": range(12)})
    return Ticket(source, mask, reading=reading)


TARGET = Target(MLP((2, 2)), {NAME: torch.eye(2, dtype=torch.float64)})
READINGS = {
    "binary": Reading({NAME: "binary"}),
    "rescaled": Reading({NAME: "rescaled"}),
    "signed": Reading(factors={NAME: [1, -1, 1, 1, -1, 1]}),
    "multicoated": Reading(factors={NAME: [1, 3, 2, 1, 1, 1]}),
    "redrawn": Reading(redraws={NAME: [0, 0, 0, 0, 0, 1]}),
    "in the last layer alone": Reading({"layers.1.weight": "binary"}),
}


@pytest.mark.parametrize("kind", [kind for kind in READINGS if kind != "redrawn"])
def test_tickets_that_are_not_plain_get_no_certificate(kind: str) -> None:
    ticket, domain = gadgets(READINGS[kind]), Domain.box(0, 1)
    assert not ticket.plain
    attempts = (
        lambda: collapse(ticket),
        lambda: certify(ticket, TARGET, domain),
        lambda: examine(ticket, TARGET, domain),
        lambda: sample(ticket, TARGET, domain, trials=2, seed=0),
    )
    for attempt in attempts:
        with pytest.raises(StructureError, match=r"source's own.*ticket.module\(\)"):
            attempt()


@pytest.mark.parametrize("law", ["uniform23", "normal-tab1"])
def test_redrawn_weights_are_read_from_their_own_draws(law: str) -> None:
    """Recomputed from the ticket's dense weights; and the numbers are not those of the plain ticket."""
    source = Source(NET, 3, Init(law))
    mask = Mask.from_indices(source.shapes, {NAME: np.arange(6) * 2 + np.arange(6) % 2, "layers.1.weight": range(12)})
    redraws = {NAME: [0, 2, 0, 0, 0, 1], "layers.1.weight": [0, 1, 0, 3, 0, 0, 7, 0, 0, 0, 0, 1]}
    plain, ticket = Ticket(source, mask), Ticket(source, mask, reading=Reading(redraws=redraws))
    u, v = (ticket.weight(name).double().numpy() for name in (NAME, "layers.1.weight"))
    read = collapse(ticket).layers[0]
    assert read.negative is not None
    np.testing.assert_allclose(read.positive.value, v @ np.maximum(u, 0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(read.negative.value, v @ np.minimum(u, 0), rtol=1e-12, atol=1e-15)
    assert (read.positive.slack is None) == (law == "uniform23")
    assert not np.allclose(collapse(plain).layers[0].positive.value, read.positive.value)
    proved = certify(ticket, TARGET, Domain.box(0, 1)).error
    x = torch.rand(500, 2)
    found = (ticket.module()(x) - TARGET.module()(x.double())).abs().max()
    assert 0.5 * proved < float(found) <= proved * (1 + 1e-5) + 1e-5


def test_the_same_ticket_read_plainly_gets_one_and_another_reading_cannot_take_it() -> None:
    plain = gadgets(Reading())
    certificate = certify(plain, TARGET, Domain.box(0, 1))
    assert plain.with_certificates(certificate).certificates == (certificate,)
    for reading in READINGS.values():
        other = gadgets(reading)
        assert other.digest != plain.digest
        with pytest.raises(ValueError, match="a certificate of ticket"):
            other.with_certificates(certificate)
    assert certify(gadgets(Reading({NAME: "plain"}, factors={NAME: [1] * 6})), TARGET, Domain.box(0, 1)) == certificate
