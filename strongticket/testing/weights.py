"""What a gadget ticket's weights really are beside its target's: a slow, exact oracle for tests of constructions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from strongticket.certify import collapse
from strongticket.constructions import Construction
from strongticket.models import Target
from strongticket.ticket import Ticket

__all__ = ["Place", "unreached_weights", "weight_errors"]

Place = tuple[int, int, int, int]
"""(layer, row, input, sign of the half-input); the number of inputs stands for the bias, as in `UNREACHED`."""


def weight_errors(ticket: Ticket, target: Target, *, nonnegative: bool = False) -> dict[Place, Fraction]:
    """Return how far each effective weight of a ticket is from its target's, by code that no construction shares.

    Args:
        ticket: made of product gadgets.
        target: what it stands for.
        nonnegative: the network's inputs cannot be negative, so that the first layer has one half of each.

    >>> import torch
    >>> from strongticket.models import MLP
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 2, 1)), seed=0)
    >>> target = Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[0.25]])})
    >>> weight_errors(Ticket(source, Mask.full(source.shapes, kept=False)), target, nonnegative=True)
    {(0, 0, 0, 1): Fraction(1, 4)}
    """
    errors: dict[Place, Fraction] = {}
    effective = collapse(ticket, nonnegative=nonnegative)
    for i, (layer, wanted) in enumerate(zip(effective.layers, target.layers, strict=True)):
        for sign, sums in ((1, layer.positive), (-1, layer.negative)):
            if sums is None:
                continue
            for (row, column), value in np.ndenumerate(wanted.weight):
                found = Fraction(float(sums.value[row, column]))
                errors[i, row, column, sign] = abs(found - Fraction(float(value)))
        for row, value in enumerate([] if wanted.bias is None else wanted.bias.tolist()):
            errors[i, row, wanted.weight.shape[1], 1] = abs(Fraction(float(layer.bias.value[row])) - Fraction(value))
    return errors


def unreached_weights(construction: Construction) -> dict[Place, Fraction]:
    """Return the weights that a construction lists as not reached, with the errors that it reports."""
    rows = construction.unreached
    places = zip(*(rows[name].tolist() for name in ("layer", "row", "input", "sign")), strict=True)
    return dict(zip(places, map(Fraction, rows["error"].tolist()), strict=True))
