"""Every construction of ReLU networks, against what its theorem says: one test for all, in the form to copy.

The hypotheses are strategies of `strongticket.testing`, the conclusions its checks. A construction of your own needs
one `Case`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from strongticket import constructions
from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain
from strongticket.certify import Report, examine_copies
from strongticket.constructions import (
    AbstractConstruction,
    Burkholz2022Most,
    Construction,
    Kumar2025Quantized,
    Malach2020Proving,
    Natale2024Sparsity,
    Orseau2020Logarithmic,
    Pensia2020Optimal,
)
from strongticket.models import Target
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
    seeds,
    targets,
    targets_beyond,
    tolerances,
)
from strongticket.ticket import Ticket

BALL = Domain.ball(1)
SMALL: dict[str, Any] = {"max_depth": 2, "max_width": 3}


@dataclass(frozen=True)
class Case:
    """How one construction is tried.

    Args:
        make: the construction; parameters of the class left out take the class's own values.
        inside: targets that it takes.
        outside: targets that break a hypothesis in one place.
        least: finest tolerance that small tests can afford.
        few: options that leave it too little to choose from, in every source.
        network: whether it takes a tolerance of the whole network.
        norms: whether that needs layers of norm at most 1.
        copies: whether its certificates need to be told which neuron stands for which.
    """

    make: Callable[..., AbstractConstruction]
    inside: st.SearchStrategy[Target]
    outside: st.SearchStrategy[Target] | None
    least: float
    few: dict[str, Any]
    network: bool = True
    norms: bool = True
    copies: bool = False

    def check(self, method: Any, target: Target, **options: Any) -> Construction:
        """Check every promise, with the certificates that this construction's tickets have."""
        if not self.copies:
            return check_construction(method, target, **options)

        def certify(ticket: Ticket, target: Target, domain: Domain) -> Report:
            return examine_copies(ticket, target, domain, method.copies(target))

        return check_construction(method, target, certify=certify, **options)

    def tolerant(self, eps: float, **options: Any) -> AbstractConstruction:
        """The construction with a tolerance of each weight, where it has one."""
        return self.make(**({"weight_eps": eps} if self.network else {}), **options)


CASES = {
    "pensia2020optimal": Case(
        Pensia2020Optimal, targets(**SMALL), targets_beyond(**SMALL), least=1e-5, few={"items": 2}
    ),
    "malach2020proving": Case(
        Malach2020Proving, targets(**SMALL), targets_beyond(**SMALL), least=0.03, few={"items": 2}
    ),
    "natale2024sparsity": Case(
        Natale2024Sparsity, targets(**SMALL), targets_beyond(**SMALL), least=0.02, few={"items": 3}
    ),
    "orseau2020logarithmic": Case(
        Orseau2020Logarithmic, targets(largest=3.0, **SMALL), None, least=0.01, few={"items": 2}, norms=False
    ),
    "burkholz2022most": Case(
        Burkholz2022Most, targets(**SMALL), None, least=0.02, few={"items": 2}, norms=False, copies=True
    ),
    "kumar2025quantized": Case(
        Kumar2025Quantized,
        quantised_targets(8, **SMALL),
        off_grid_targets(8, **SMALL),
        least=0.5,
        few={"items": 2},
        network=False,
    ),
}  # fmt: skip
ELSEWHERE = {"otsuka2025attention", "sreenivasan2022finding", "diffenderfer2021multiprize"}
"""Targets or certificates of another kind: tested beside their files."""
NETWORKS = sorted(key for key, case in CASES.items() if case.network)
quick = settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
brief = settings(quick, max_examples=6)


def test_every_construction_of_relu_networks_has_a_case() -> None:
    """Constructions of other networks (attention, convolutions) are tested beside their files."""
    found = [getattr(constructions, name) for name in constructions.__all__]
    classes = [one for one in found if isinstance(one, type) and issubclass(one, AbstractConstruction)]
    assert {one.key for one in classes if hasattr(one, "key")} - ELSEWHERE == set(CASES)


@pytest.mark.parametrize("key", CASES)
@quick
@given(data=st.data())
def test_every_promise_on_targets_inside(key: str, data: st.DataObject) -> None:
    """Strict, reproducible, within the tolerance if a ticket came out, and below its certificate wherever one looks."""
    case = CASES[key]
    target, domain, seed = data.draw(case.inside), data.draw(domains()), data.draw(seeds())
    eps = data.draw(tolerances(least=case.least))
    case.check(case.tolerant(eps, domain=domain, seed=seed), target, trials=10_000)


@pytest.mark.parametrize("key", CASES)
@brief
@given(data=st.data())
def test_every_promise_where_hardly_anything_is_reached(key: str, data: st.DataObject) -> None:
    """Too few candidates, in the worst of several sources: what is not reached is listed, and the best is certified."""
    case, target = CASES[key], data.draw(CASES[key].inside)

    def method(seed: int) -> AbstractConstruction:
        return case.tolerant(case.least, domain=BALL, seed=seed, **case.few)

    seed = data.draw(hard_seeds(lambda seed: len(method(seed).construct(target).unreached), tries=4))
    result = case.check(method(seed), target, trials=200)
    note(f"{len(result.unreached)} weights are unreached")
    assert result.ticket is None or target.largest <= case.least or result.best.mask.count


@pytest.mark.parametrize("key", NETWORKS)
@quick
@given(data=st.data())
def test_a_tolerance_of_the_network_is_kept_whenever_a_ticket_comes_out(key: str, data: st.DataObject) -> None:
    """The theorem's conclusion: proved on the whole domain, for targets up to the edge of the hypotheses."""
    case = CASES[key]
    target = data.draw(normed_targets(largest=1.0 if case.norms else 2.0, **SMALL))
    eps = data.draw(tolerances(least=0.1))
    domain = data.draw(domains(inside_ball=True))
    method = case.make(network_eps=eps, domain=domain, seed=data.draw(seeds()))
    case.check(method, target, network_eps=eps, trials=500)


@pytest.mark.parametrize("key", sorted(key for key in NETWORKS if CASES[key].norms))
@quick
@given(data=st.data())
def test_a_norm_just_beyond_the_hypothesis_is_refused(key: str, data: st.DataObject) -> None:
    target = data.draw(normed_targets(beyond=True, **SMALL))
    method = CASES[key].make(network_eps=0.1)
    check_refused(lambda: method.plan(target), "Rescale")
    check_refused(lambda: method.construct(target), "Rescale")


@pytest.mark.parametrize("key", sorted(key for key, case in CASES.items() if case.outside is not None))
@quick
@given(data=st.data())
def test_a_weight_just_outside_the_hypotheses_is_refused_before_work(key: str, data: st.DataObject) -> None:
    case = CASES[key]
    assert case.outside is not None
    target = data.draw(case.outside)
    check_refused(lambda: case.tolerant(0.3).plan(target), "layers.", "of the target is")
    check_refused(lambda: case.tolerant(0.3).construct(target), "layers.", "of the target is")


@pytest.mark.parametrize("key", CASES)
@quick
@given(wrong=not_probabilities())
@example(wrong=0.0)
@example(wrong=1.0)
def test_what_is_no_probability_is_refused(key: str, wrong: float) -> None:
    case = CASES[key]
    check_refused(lambda: case.tolerant(0.3, delta=wrong), "delta", f"got {wrong}", error=ValueError)
    if case.network and case.norms:
        for name in ("weight_eps", "network_eps"):
            check_refused(partial(case.make, **{name: wrong}), name, f"got {wrong}", error=ValueError)


@pytest.mark.parametrize("key", CASES)
def test_planned_sources_grow_as_eps_and_delta_shrink(key: str) -> None:
    case = CASES[key]
    target = Target.from_state({"0.weight": _ramp(3, 4), "1.weight": _ramp(2, 3)})

    def size(**options: Any) -> float:
        return float(case.make(domain=BALL, **options).plan(target).source.architecture.size)

    rule = {"items": "theorem"}
    if key == "kumar2025quantized":
        rule |= {"assignment": "digits"}
        check_monotone(lambda bits: size(source_bits=bits, **rule), [4, 5, 7, 9], rising=True, strictly=True)
    else:
        for name in ("weight_eps", "network_eps"):
            places = [{name: eps} for eps in (1e-4, 1e-3, 1e-2, 0.1, 0.4)]
            check_monotone(lambda options: size(**options, **rule), places, rising=False)
    eps = {"weight_eps": 0.05} if case.network else {}
    check_monotone(lambda d: size(delta=d, **eps, **rule), [1e-8, 1e-4, 1e-2, 0.1, 0.5], rising=False)
    assert size(delta=1e-8, **eps, **rule) > size(delta=0.5, **eps, **rule)


@pytest.mark.parametrize("key", CASES)
def test_errors_do_not_grow_and_failures_get_rarer_with_more_candidates(key: str) -> None:
    """Failures over the same seeds, at a fixed tolerance: they fall from always to hardly ever."""
    case = CASES[key]
    target = Target.from_state({"0.weight": _ramp(2, 2)})
    eps = {"weight_eps": 4 * case.least} if case.network else {"source_bits": 4}
    items = [3, 6, 12, 24, 48, 96, 400] if key != "malach2020proving" else [3, 30, 300, 3000]

    def failures(count: int) -> float:
        made = [case.make(items=count, seed=seed, domain=BALL, **eps) for seed in range(24)]
        return float(sum(one.construct(target).ticket is None for one in made))

    counts = [failures(count) for count in items]
    assert counts[0] >= 12
    assert counts[-1] <= 2
    check_monotone(lambda i: counts[i] - 4.0 * i, range(len(items)), rising=False)  # the same sources do not nest


@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("delta", [0.3, 0.02])
def test_failures_are_not_more_frequent_than_delta_allows(key: str, delta: float) -> None:
    """The rigorous count of candidates, in independent sources; by the exact binomial tail."""
    case = CASES[key]
    target = Target.from_state({"0.weight": _ramp(2, 2)})
    rule: dict[str, Any] = {"items": "theorem"}
    if case.network:
        rule["weight_eps"] = 10 * case.least
    else:
        rule |= {"assignment": "digits", "source_bits": 4}
    made = [case.make(delta=delta, seed=seed, domain=BALL, **rule) for seed in range(60)]
    check_frequency(sum(one.construct(target).ticket is None for one in made), len(made), delta)


def _ramp(rows: int, columns: int) -> Any:
    """Multiples of 1/256 in [-1/2, 1/2], of norm below 1."""
    import torch

    count = rows * columns
    return (torch.arange(count, dtype=torch.float64) * 97 % 129 - 64).reshape(rows, columns) / 256


def test_refusals_are_hypothesis_errors() -> None:
    """What `check_refused` takes for granted: a HypothesisError is a ValueError, so both kinds can be asked for."""
    assert issubclass(HypothesisError, ValueError)
