"""Nothing is proved of tickets whose kept weights are not the source's own: certificates of these are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strongticket.certificate import Domain
from strongticket.certify import certify, collapse, examine, sample
from strongticket.certify.collapse import StructureError
from strongticket.models import MLP, Target
from strongticket.ticket import Mask, Reading, Source, Ticket

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


@pytest.mark.parametrize("kind", READINGS)
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
