"""Certificates of copies: exact against fractions, true for any hint, and broken by any change of the ticket."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from strongticket import certify
from strongticket.certificate import Domain, Rigor
from strongticket.certify import StructureError, certify_copies, compare_copies, examine_copies
from strongticket.certify.copies import activate, slopes
from strongticket.constructions import Burkholz2022Most
from strongticket.models import MLP, Target
from strongticket.models.activations import PERCEPTRON_ACTIVATIONS, PerceptronActivation, activation
from strongticket.ticket import Mask, Source, Ticket

BOX = Domain.box(-1, 1)


def draw(sizes: tuple[int, ...], kind: PerceptronActivation, *, bias: bool = False, seed: int = 0) -> Target:
    mlp = MLP(sizes, bias, kind)
    generator = torch.Generator().manual_seed(seed)
    return Target(mlp, {name: 0.6 * torch.randn(shape, generator=generator) for name, shape in mlp.shapes.items()})


def off(ticket: Ticket, target: Target, *, low: float = -1.0) -> float:
    x = torch.rand(2000, target.architecture.sizes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = low + (1 - low) * x
    with torch.no_grad():
        return float((ticket.module().double()(x) - target.module().double()(x)).abs().max())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(PERCEPTRON_ACTIVATIONS),
    share=st.sampled_from([0.1, 0.5, 1.0]),
    hint=st.integers(0, 10**6),
    bias=st.booleans(),
)
def test_any_mask_and_any_hint_give_a_true_bound(
    seed: int, kind: PerceptronActivation, share: float, hint: int, bias: bool
) -> None:  # fmt: skip
    target = draw((3, 2, 3, 2), kind, bias=bias, seed=seed)
    source = Source(MLP((3, 8, 6, 7, 2), bias, kind), seed)
    generator = np.random.default_rng(hint)
    kept = {name: generator.random(shape) < share for name, shape in source.shapes.items()}
    first = np.zeros((8, 3), dtype=bool)  # neurons of the first layer see one input, or none
    first[np.arange(6), generator.integers(0, 3, 6)] = True
    kept["layers.0.weight"] = first
    if bias:
        kept["layers.0.bias"] = np.asarray(~first.any(axis=1))
    copies = [np.concatenate([np.arange(n), generator.integers(0, n, m - n)]) for n, m in ((2, 6), (3, 7))]
    ticket = Ticket(source, Mask(kept))
    found = examine_copies(ticket, target, BOX, [generator.permutation(c) for c in copies])
    assert found.maximum.rigor is Rigor.PROVED
    assert off(ticket, target) <= found.maximum.error
    assert found.maximum.error <= found.euclidean.error or len(found.per_output) == 2


def test_the_expanded_network_computes_the_target_and_the_ticket_exactly() -> None:
    """B P = P W and B + E = M in fractions, up to the slack that is stated."""
    target = draw((3, 3, 2), "relu", seed=4)
    method = Burkholz2022Most(weight_eps=0.01, items=9, domain=Domain.box(0, 1))
    ticket = method.construct(target).best
    (copies,) = method.copies(target)
    gap = compare_copies(ticket, target, Domain.box(0, 1), [copies]).layers[1]
    whole = ticket.weight(MLP.weight_name(2)).double().numpy()
    used = np.flatnonzero((whole != 0).any(axis=0))
    assert set(copies[used].tolist()) == {0, 1, 2}
    for j, wanted in enumerate(target.layers[1].weight):
        for i in range(3):
            mine = [k for k in used if copies[k] == i]
            total = sum((Fraction(whole[j, k]) for k in mine), Fraction(0))
            error = (total - Fraction(wanted[i])) / len(mine)
            for k in mine:
                place = int(np.flatnonzero(used == k)[0])
                for matrix, true in ((gap.error, error), (gap.weight, Fraction(whole[j, k]) - error)):
                    assert matrix.slack is not None
                    value, slack = matrix.value[j, place], matrix.slack[j, place]
                    room = Fraction(abs(value)) / 2**53 + Fraction(slack)
                    assert abs(Fraction(value) - true) <= room


@pytest.mark.parametrize("kind", PERCEPTRON_ACTIVATIONS)
def test_a_changed_ticket_has_another_certificate(kind: PerceptronActivation) -> None:
    target = draw((3, 3, 2), kind, seed=2)
    method = Burkholz2022Most(weight_eps=0.002, domain=BOX)
    best, copies = method.construct(target).best, method.copies(target)
    proved = certify_copies(best, target, BOX, copies)
    name = MLP.weight_name(2)
    weights = best.weight(name).abs()
    index = int(weights.argmax())
    mask = {key: best.mask[key] for key in best.mask}
    mask[name].view(-1)[index] = False  # the largest weight is dropped
    broken = Ticket(best.source, Mask(mask))
    again = certify_copies(broken, target, BOX, copies)
    assert again.ticket_digest != proved.ticket_digest
    assert again.error > proved.error
    assert off(best, target) <= proved.error < off(broken, target) <= again.error


def test_the_report_serves_margins_with_relu() -> None:
    target = draw((4, 3, 3), "relu", bias=True, seed=1)
    domain = Domain.box(0, 1)
    method = Burkholz2022Most(weight_eps=0.001, domain=domain)
    found = method.construct(target)
    report = examine_copies(found.best, target, domain, method.copies(target))
    x = torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
    margins = certify.margins(report, target, x.numpy())
    with torch.no_grad():
        wanted, mine = (m.double()(x.double()).argmax(1).numpy() for m in (target.module(), found.best.module()))
    assert np.array_equal(margins.predictions, wanted)
    proved = margins.unchanged | margins.unchanged_globally
    assert proved.mean() > 0.5
    assert np.array_equal(wanted[proved], mine[proved])


@pytest.mark.parametrize("kind", PERCEPTRON_ACTIVATIONS)
def test_enclosures_of_activations_hold_against_many_digits(kind: PerceptronActivation) -> None:
    import mpmath

    def exact(t: float) -> mpmath.mpf:
        x = mpmath.mpf(t)
        if kind in ("relu", "leaky"):
            return x if x >= 0 else x * (mpmath.mpf(0.01) if kind == "leaky" else 0)
        return mpmath.tanh(x) if kind == "tanh" else 1 / (1 + mpmath.exp(-x))

    ends: NDArray[np.float64] = np.sort(
        np.concatenate([[-800.0, -1e-30, 0.0, 1e-9, 700.0], np.random.default_rng(0).normal(0, 3, 60)])
    )
    with mpmath.workdps(50):
        low, high = activate(kind, (ends, ends))
        values = [exact(t) for t in ends]
        for least, value, most in zip(low, values, high, strict=True):
            assert mpmath.mpf(float(least)) <= value <= mpmath.mpf(float(most))
        assert float((high - low).max()) < 1e-12 * 800
        least, most = slopes(kind, (ends[:-1], ends[1:]))
        for i, (a, b) in enumerate(pairwise(values)):
            slope = (b - a) / (mpmath.mpf(float(ends[i + 1])) - mpmath.mpf(float(ends[i])))
            assert (
                mpmath.mpf(float(least[i])) - mpmath.mpf(1e-40)
                <= slope
                <= mpmath.mpf(float(most[i])) + mpmath.mpf(1e-40)
            )
    with torch.no_grad():
        assert np.allclose(activation(kind)(torch.from_numpy(ends)).numpy(), low, rtol=1e-9, atol=1e-12)


def test_what_is_not_of_this_kind_is_refused() -> None:
    target = draw((3, 2, 1), "tanh")
    source = Source(MLP((3, 4, 4, 1), activation="tanh"), 0)
    empty = Ticket(source, Mask.full(source.shapes, kept=False))
    copies = [np.array([0, 0, 1, 1])]
    assert certify_copies(empty, target, BOX, copies).error > 0
    full = Ticket(source, Mask.full(source.shapes))
    with pytest.raises(StructureError, match="keeps 3 incoming weights"):
        certify_copies(full, target, BOX, copies)
    kept = {name: torch.ones(shape, dtype=torch.bool) for name, shape in source.shapes.items()}
    kept["layers.0.weight"] = torch.eye(4, 3, dtype=torch.bool)
    one = Ticket(source, Mask(kept))
    with pytest.raises(StructureError, match="stands for nothing"):
        certify_copies(one, target, BOX, [np.array([0, 1, 1, -1])])
    for wrong, message in (
        ([], "1 hidden layers, got 0"),
        ([np.array([0, 1])], "4 whole numbers"),
        ([np.array([0, 1, 2, 0])], r"in -1\.\.1"),
        ([np.array([0, 0, 0, -1])], "stands for neuron 1"),
    ):
        with pytest.raises(ValueError, match=message):
            certify_copies(empty, target, BOX, wrong)
    relu = Source(MLP((3, 4, 4, 1)), 0)
    with pytest.raises(ValueError, match="activation is relu"):
        certify_copies(Ticket(relu, Mask.full(relu.shapes, kept=False)), target, BOX, copies)
    with pytest.raises(ValueError, match="one layer more"):
        certify_copies(empty, draw((3, 1, 2, 1), "tanh"), BOX, copies)
