"""Our explicit bound, the coverage floor and the predictions, against the published table and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from strongticket import bounds
from strongticket.bounds import lueker1998exponentially as lueker

TABLE = [
    # law, c, q, eps, items at delta = .1, .01, 1e-6
    ("uniform", None, None, 0.1, (48, 66, 136)),
    ("uniform", None, None, 0.01, (75, 95, 170)),
    ("uniform", None, None, 0.001, (101, 122, 200)),
    ("uniform", None, None, 1e-4, (125, 148, 229)),
    ("product", None, None, 0.1, (81, 126, 307)),
    ("product", None, None, 0.01, (184, 243, 458)),
    ("product", None, None, 0.001, (259, 322, 550)),
    ("product", None, None, 1e-4, (331, 397, 635)),
    ("half_product", None, None, 0.01, (375, 494, 936)),
    ("half_product", None, None, 0.001, (526, 655, 1122)),
    ("half_product", 0.25, math.log(2) / 8, 0.01, (420, 549, 1023)),
    ("half_product", 0.25, math.log(2) / 8, 0.005, (469, 602, 1083)),
]


def literal_bound(eps: float, delta: float, c: float, q: float) -> int:
    """The two conditions, literally: the least n1 and n2 by counting up, on a small grid."""
    best = 10**9
    for theta in np.arange(5, 96, 15) / 100:
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            v0, e = min(1.0, eps / (2 * c)), eps / (4 * c)
            n2 = 0
            while (1 - theta) * (1 - q * theta) ** n2 / e > (1 - share) * delta:
                n2 += 1
            for s in (0.5, 1.0, 1.5, 2.0, 3.0, 5.0):
                n1 = 0
                rho = 1 - q * (1 - theta) * (1 - 2**-s)
                while v0 < theta and (theta / v0) ** s * rho**n1 > share * delta:
                    n1 += 1
                best = min(best, n1 + n2)
    return best


@pytest.mark.parametrize(("law", "c", "q", "eps", "expected"), TABLE)
def test_table_is_reproduced(law: str, c: float | None, q: float | None, eps: float, expected: tuple[int, ...]) -> None:
    deltas = (0.1, 0.01, 1e-6)
    found = tuple(lueker.items_needed(eps, d, law=law, c=c, q=q, search="table") for d in deltas)  # type: ignore[arg-type]
    assert found == expected
    for delta, table in zip(deltas, found, strict=True):
        assert lueker.items_needed(eps, delta, law=law, c=c, q=q) <= table  # type: ignore[arg-type]


@pytest.mark.parametrize("delta", [0.1, 1e-3, 1e-9])
@pytest.mark.parametrize("eps", [0.2, 0.03, 0.001])
def test_search_beats_the_literal_conditions_by_little(eps: float, delta: float) -> None:
    literal = literal_bound(eps, delta, 0.5, 0.5)
    assert 0.85 * literal <= lueker.items_needed(eps, delta) <= literal


@given(
    eps=st.floats(-5, -0.5).map(lambda x: 10**x),
    delta=st.floats(-12, -0.5).map(lambda x: 10**x),
    law=st.sampled_from(["uniform", "product", "half_product"]),
)
def test_witness_evaluates_to_the_same_number(eps: float, delta: float, law: str) -> None:
    found = lueker.explicit_items(eps, delta, law=law)  # type: ignore[arg-type]
    if found.items == 0:
        assert eps >= lueker.LAWS[law].best_range
        return
    assert bounds.get("lueker1998exponentially.explicit_items")(**found.values) in (found.items, found.items - 1)
    assert found.first + found.second == found.items


@given(st.floats(-4, -1), st.floats(-9, -1), st.floats(0, 0.5), st.floats(0, 2))
def test_monotone_in_eps_and_delta(log_eps: float, log_delta: float, more_eps: float, more_delta: float) -> None:
    eps, delta = 10**log_eps, 10**log_delta
    tight = lueker.items_needed(eps, delta)
    assert lueker.items_needed(eps * 10**more_eps, delta) <= tight
    assert lueker.items_needed(eps, min(0.9, delta * 10**more_delta)) <= tight
    assert tight >= math.log2(0.5 / eps)


def test_many_weights() -> None:
    assert lueker.items_needed(0.01, 0.01 / 397_000) == 198
    assert lueker.items_needed(0.001, 0.01 / 397_000) == 230
    assert lueker.items_needed(0.01, 1e-300) < 6000


def test_refusals() -> None:
    for eps, delta in [(0.0, 0.1), (1.0, 0.1), (0.1, 0.0), (0.1, 1.0), (math.nan, 0.1)]:
        with pytest.raises(ValueError, match="in \\(0, 1\\)"):
            lueker.items_needed(eps, delta)
    with pytest.raises(ValueError, match="give c too"):
        lueker.items_needed(0.1, 0.1, q=0.3)
    with pytest.raises(KeyError, match="no law"):
        lueker.items_needed(0.1, 0.1, law="cauchy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="half range"):
        lueker.items_needed(0.1, 0.1, law="product", c=0.7)


def test_floor_is_laguerre() -> None:
    expected = {8: 0.140, 12: 0.0272, 16: 0.00452, 20: 6.8e-4, 24: 9.4e-5, 28: 1.23e-5, 32: 1.53e-6}
    bound = bounds.get("lueker1998exponentially.coverage_floor")
    for n, value in expected.items():
        found = lueker.coverage_floor(n, 1e-9)
        assert found == pytest.approx(value, rel=0.01)
        assert found == pytest.approx(bound(n=n, z=1.0, eps=1e-9), rel=3e-9)
        assert found <= bound(n=n, z=1.0, eps=1e-9)  # what rounding may have added is taken off


@pytest.mark.parametrize("law", ["uniform", "product", "half_product"])
def test_floor_by_simulation(law: str) -> None:
    rng, draws, n, z, eps = np.random.default_rng(1), 200_000, 8, 0.9, 0.05
    u, v = rng.uniform(-1, 1, (draws, n)), rng.uniform(-1, 1, (draws, n))
    items = {"uniform": v, "product": np.abs(u) * v, "half_product": np.maximum(u, 0) * v}[law]
    simulated = float((np.maximum(items, 0).sum(1) < z - eps).mean())
    floor = lueker.coverage_floor(n, eps, law=law, target=z)  # type: ignore[arg-type]
    sigma = math.sqrt(floor * (1 - floor) / draws)
    assert floor <= simulated + 4 * sigma
    # exact for uniform items; rounding the products up to the lattice costs little
    assert floor >= simulated - 4 * sigma - (0.0 if law == "uniform" else 0.01 * simulated)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (8, 6), (12, 12)])
def test_fixed_size_floor_is_its_bound(n: int, k: int) -> None:
    from strongticket.bounds.random_subset_sums import fixed_size_floor

    bound = bounds.get("lueker1998exponentially.fixed_size_floor")
    for z, eps in [(1.0, 0.01), (0.3, 0.1), (0.0, 0.05)]:
        assert bound(n=n, k=k, z=z, eps=eps) == pytest.approx(fixed_size_floor(n, k, eps, target=z), rel=1e-12)


def test_items_counted_by_counting() -> None:
    for eps, reach in [(0.01, 1.0), (0.25, 1.0), (0.3, 0.2), (1e-9, 3.0)]:
        n = lueker.items_counted(eps, reach)
        assert 2**n * eps >= reach
        assert n == 0 or 2 ** (n - 1) * eps < reach
    with pytest.raises(ValueError, match="positive"):
        lueker.items_counted(0.0, 1.0)


def test_floor_scale_and_average() -> None:
    assert lueker.coverage_floor(10, 0.1, target=0.5, scale=0.5) == pytest.approx(
        lueker.coverage_floor(10, 0.2, target=1.0)
    )
    assert lueker.coverage_floor(10, 0.2, target=0.1) == 0.0
    exact = quad(lambda z: lueker.coverage_floor(12, 0.01, target=z), 0.01, 1)[0]
    assert lueker.coverage_floor(12, 0.01, averaged=True) == pytest.approx(exact, rel=2e-3)


def test_quenched_prediction_values() -> None:
    published = {8: (0.289, 0.048), 10: (0.0753, 0.0195), 12: (0.0205, 0.0077), 16: (0.0015, 0.0011)}
    for n, (quenched, floor) in published.items():
        assert lueker.quenched_failure(n, 0.01, averaged=True) == pytest.approx(quenched, rel=0.03)
        assert lueker.coverage_floor(n, 0.01, averaged=True) == pytest.approx(floor, rel=0.03)
    assert lueker.quenched_failure(20, 0.01, target=1.0) == pytest.approx(3.04e-4, rel=0.01)
    tail = bounds.get("lueker1998exponentially.quenched_tail")(n=20, z=1.0, eps=0.01, v=1 / 3)
    assert tail == pytest.approx(2.80e-4, rel=0.01)
    assert lueker.quenched_failure(30, 0.01, target=0.0101) > 0
    assert lueker.quenched_failure(30, 0.01, target=0.01) == 0.0  # the empty subset


def test_quenched_against_scipy_quadrature() -> None:
    n, eps, z = 14, 0.01, 0.4
    s = math.sqrt(n / 12)
    rate = 2 * eps * 2**n / (s * math.sqrt(2 * math.pi))
    slow = quad(
        lambda g: math.exp(-g * g / 2 - rate * math.exp(-((g - z / s) ** 2) / 2)) / math.sqrt(2 * math.pi),
        -12,
        12,
        limit=200,
    )[0]
    assert lueker.quenched_failure(n, eps, target=z) == pytest.approx(slow, rel=1e-6)


def test_prediction_brackets_a_simulation() -> None:
    rng, draws, n, eps = np.random.default_rng(2), 4000, 10, 0.01
    items, targets = rng.uniform(-1, 1, (draws, n)), rng.uniform(-1, 1, draws)
    sums = np.zeros((draws, 1))
    for k in range(n):
        sums = np.concatenate([sums, sums + items[:, k : k + 1]], axis=1)
    failed = float((np.abs(sums - targets[:, None]).min(1) > eps).mean())
    sigma = math.sqrt(0.08 / draws)
    low = lueker.failure_predicted(n, eps, averaged=True, combine="max")
    high = lueker.failure_predicted(n, eps, averaged=True)
    assert low - 4 * sigma <= failed <= high + 4 * sigma


@pytest.mark.parametrize(
    ("eps", "delta", "measured"), [(0.1, 1e-2, 11), (0.01, 1e-2, 14), (0.01, 1e-4, 22), (1e-3, 1e-3, 21)]
)
def test_items_predicted_is_near_the_measured_threshold(eps: float, delta: float, measured: int) -> None:
    predicted = lueker.items_predicted(eps, delta, averaged=True)
    assert abs(predicted - measured) <= 1
    assert lueker.failure_predicted(predicted, eps, averaged=True) <= delta
    assert lueker.failure_predicted(predicted - 1, eps, averaged=True) > delta


def test_prediction_lies_between_counting_and_theorem() -> None:
    for eps, delta in [(0.1, 0.1), (0.01, 1e-3), (1e-3, 1e-9)]:
        counting = bounds.get("lueker1998exponentially.counting_floor")(c=0.5, eps=eps)
        assert counting <= lueker.items_predicted(eps, delta, target=0.5) <= lueker.items_needed(eps, delta)
    assert lueker.items_predicted(0.2, 0.1, target=0.1) == 0
    with pytest.raises(ValueError, match="scale the targets down"):
        lueker.items_predicted(1e-3, 1e-9, target=1.0, scale=1e-4)
