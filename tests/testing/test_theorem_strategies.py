"""The strategies describe what they say, and every check of `strongticket.testing.theorems` fails when it must."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from strongticket.bounds import HypothesisError
from strongticket.certificate import Certificate, Domain
from strongticket.certify import examine as examine_truly
from strongticket.constructions import Construction, Pensia2020Optimal
from strongticket.models import MLP, Target
from strongticket.testing import (
    check_construction,
    check_frequency,
    check_monotone,
    check_refused,
    domains,
    hard_seeds,
    normed_targets,
    not_probabilities,
    off_grid_targets,
    quantised_targets,
    targets_beyond,
    theorems,
    tolerances,
)
from strongticket.ticket import Mask, Ticket

quick = settings(max_examples=60)
TARGET = Target(MLP((3, 2)), {"layers.0.weight": torch.tensor([[0.5, -0.25, 0.125], [0.0, 0.3, -0.6]]).double()})


def norms(target: Target) -> list[float]:
    return [float(np.linalg.norm(layer.weight, 2)) for layer in target.layers]


@quick
@given(value=tolerances(least=1e-4, most=0.3))
def test_tolerances_lie_in_their_range(value: float) -> None:
    assert 1e-4 <= value <= 0.3


def test_tolerances_reach_their_ends_and_all_decades() -> None:
    for wanted in (1e-6, 1e-5, 1e-3, 0.1, 0.5):
        assert find(tolerances(), wanted.__eq__) == wanted
    with pytest.raises(ValueError, match="least"):
        tolerances(least=0.2, most=0.1)


@quick
@given(value=not_probabilities())
def test_no_probability_is_one(value: float) -> None:
    assert not 0.0 < value < 1.0


@quick
@given(domain=domains(inside_ball=True))
def test_domains_inside_the_ball(domain: Domain) -> None:
    assert domain.radius_in(3) <= 1.0


@quick
@given(data=st.data(), largest=st.sampled_from([1.0, 0.5, 3.0]))
def test_normed_targets_keep_the_hypothesis_or_break_it_once(data: st.DataObject, largest: float) -> None:
    inside = data.draw(normed_targets(largest=largest, bias=None))
    assert max(norms(inside)) <= largest
    beyond = data.draw(normed_targets(largest=largest, beyond=True))
    assert sorted(norm > largest * (1 + 0.9e-5) for norm in norms(beyond))[-1]
    assert sum(norm > largest * (1 + 1e-9) for norm in norms(beyond)) == 1


def test_normed_targets_come_up_to_the_edge() -> None:
    found = find(normed_targets(max_depth=1, max_width=2), lambda t: min(norms(t)) > 1 - 1e-9)
    assert min(norms(found)) > 1 - 1e-9


@quick
@given(target=targets_beyond(largest=0.5))
def test_targets_beyond_break_it_in_one_place(target: Target) -> None:
    assert sum(int((value.abs() > 0.5).sum()) for value in target.weights.values()) == 1


@quick
@given(data=st.data(), bits=st.integers(1, 12))
def test_quantised_targets_lie_on_the_grid_and_off_grid_ones_do_not_in_one_place(
    data: st.DataObject, bits: int
) -> None:
    def off(target: Target) -> int:
        return sum(int(((w * 2**bits) % 1 != 0).sum()) for w in target.weights.values())

    assert off(data.draw(quantised_targets(bits))) == 0
    assert off(data.draw(off_grid_targets(bits))) == 1


def test_hard_seeds_are_the_worst_of_several() -> None:
    assert find(hard_seeds(lambda seed: float(seed % 97), tries=6), lambda seed: True) is not None
    seen: list[int] = []

    @settings(max_examples=5, database=None)
    @given(seed=hard_seeds(lambda seed: seen.append(seed) or float(seed), tries=4))  # type: ignore[func-returns-value]
    def draws(seed: int) -> None:
        assert seed == max(seen[-4:])

    draws()


def test_a_true_frequency_passes_and_a_false_one_does_not() -> None:
    check_frequency(0, 1, 0.0)
    check_frequency(10, 1000, 0.01)
    for failures, trials, delta in ((1, 5, 0.0), (40, 100, 0.05), (100, 100, 0.5)):
        with pytest.raises(AssertionError, match="failures in"):
            check_frequency(failures, trials, delta)
    with pytest.raises(ValueError, match="are needed"):
        check_frequency(3, 2, 0.5)


def test_the_tail_is_exact() -> None:
    exactly = math.comb(20, 19) * 0.5**20 + 0.5**20
    check_frequency(19, 20, 0.5, alpha=exactly * 0.999)
    with pytest.raises(AssertionError):
        check_frequency(19, 20, 0.5, alpha=exactly * 1.001)


def test_monotone_functions_pass_and_others_do_not() -> None:
    check_monotone(lambda x: 1.0, [1, 2], rising=True)
    check_monotone(lambda x: 1.0, [1], rising=False, strictly=True)
    for function, rising, strictly in ((lambda x: -x, True, False), (lambda x: 1.0, True, True), (abs, False, False)):
        with pytest.raises(AssertionError, match="at 2"):
            check_monotone(function, [1, 2, 3], rising=rising, strictly=strictly)


def test_refusals_of_another_kind_or_text_do_not_pass() -> None:
    def refuse(error: Exception) -> None:
        raise error

    check_refused(lambda: refuse(HypothesisError("x = 3 is beyond 2")), "x = 3")
    with pytest.raises(AssertionError, match="not refused"):
        check_refused(lambda: None)
    with pytest.raises(AssertionError, match="does not mention 4"):
        check_refused(lambda: refuse(HypothesisError("x = 3")), "4")
    with pytest.raises(KeyError):
        check_refused(lambda: refuse(KeyError("x")), error=ValueError)


METHOD = Pensia2020Optimal(weight_eps=0.05, items=16, seed=2, domain=Domain.box(-1, 1))


def changed(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Make the construction return something else."""
    real = Pensia2020Optimal.construct
    monkeypatch.setattr(Pensia2020Optimal, "construct", lambda self, target, **more: change(real(self, target, **more)))


def test_a_right_construction_passes() -> None:
    result = check_construction(METHOD, TARGET, trials=100)
    assert result.ticket is not None
    check_construction(Pensia2020Optimal(network_eps=0.2, seed=1), TARGET, network_eps=0.2, trials=50, restarts=0)


def test_what_is_not_promised_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(result: Construction) -> Construction:
        mask = Mask.full(result.best.source.shapes, kept=False)
        return dataclasses.replace(result, best=Ticket(result.best.source, mask))

    def listed(result: Construction) -> Construction:
        layers = tuple(dataclasses.replace(layer, largest_error=0.06) for layer in result.layers)
        return dataclasses.replace(result, layers=layers)

    count = iter(range(100))

    def fickle(result: Construction) -> Construction:
        return empty(result) if next(count) % 2 else result

    for change, message in ((listed, "a weight is off by 0.06"), (fickle, "made twice")):
        with monkeypatch.context() as patch:
            changed(patch, change)
            with pytest.raises(AssertionError, match=message):
                check_construction(METHOD, TARGET, trials=50)
    with monkeypatch.context() as patch:
        changed(patch, empty)
        with pytest.raises(AssertionError, match=r"the tolerance is 0\.2"):  # certified rightly, and far off
            check_construction(Pensia2020Optimal(network_eps=0.2), TARGET, network_eps=0.2, trials=50)


def test_certificates_that_promise_too_much_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def bold(share_max: float, share_l2: float) -> Any:
        def examine(*given: Any) -> Any:
            found = examine_truly(*given)

            def less(one: Certificate, share: float) -> Certificate:
                return dataclasses.replace(one, error=one.error * share)

            return dataclasses.replace(
                found, maximum=less(found.maximum, share_max), euclidean=less(found.euclidean, share_l2)
            )

        return examine

    for shares, message in (((0.3, 1.0), "is more than"), ((1.0, 0.3), "outputs are off by over")):
        monkeypatch.setattr(theorems, "examine", bold(*shares))
        with pytest.raises(AssertionError, match=message):
            check_construction(METHOD, TARGET, trials=200)
