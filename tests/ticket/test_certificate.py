from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket._files import canonical_json
from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.models import MLP
from strongticket.testing import certificates
from strongticket.ticket import Mask, Source, Ticket

TICKET = Ticket(Source(MLP((2, 2)), 1), Mask.full({"layers.0.weight": (2, 2)}))


@given(certificates(TICKET))
def test_a_certificate_survives_json(certificate: Certificate) -> None:
    value = json.loads(canonical_json(certificate.to_json()))
    assert Certificate.from_json(value) == certificate
    assert certificate.rigor.name in str(certificate)


@given(st.floats(-9, 9), st.floats(0, 9), st.floats(0, 20, exclude_min=True), st.integers(1, 50), st.randoms())
def test_no_point_of_a_domain_is_longer_than_its_radius(
    low: float, width: float, radius: float, dimension: int, random: Any
) -> None:
    try:
        domain = Domain(low, low + width, radius)
    except ValueError:
        assert max(low, -(low + width)) > radius
        return
    bound = domain.radius_in(dimension)
    assert bound <= radius
    corner = np.array([random.choice([domain.low, domain.high]) for _ in range(dimension)])
    inside = math.fsum(corner**2) <= radius**2
    assert not inside or math.sqrt(math.fsum(corner**2)) <= math.nextafter(bound, math.inf)
    assert domain.nonnegative == (low >= 0)
    assert Domain.from_json(json.loads(canonical_json(domain.to_json()))) == domain


@pytest.mark.parametrize(
    "arguments",
    [
        (1, 0),
        (math.nan, 1),
        (0, math.nan),
        (-math.inf, 0),
        (0, math.inf),
        (0, 1, 0),
        (0, 1, -1),
        (0, 1, math.nan),
        (2, 3, 1),
        (-3, -2, 1),
    ],
)
def test_empty_and_unbounded_domains_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        Domain(*arguments)


def test_domains_describe_themselves() -> None:
    assert str(Domain.box(0, 1)) == "[0, 1]^d"
    assert str(Domain.ball(2)) == "the ball |x| <= 2"
    assert str(Domain(0, 1, 0.5)) == "[0, 1]^d with |x| <= 0.5"
    assert Domain.box(0, 1).to_json()["radius"] is None


@pytest.mark.parametrize("error", [-1.0, math.nan, math.inf, 1, "1", None])
def test_a_certificate_needs_a_finite_error(error: Any) -> None:
    with pytest.raises(ValueError, match="error"):
        Certificate("max", Domain.box(0, 1), error, Rigor.PROVED, "by hand", "1" * 64, "2" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "l7"},
        {"rigor": "SURE"},
        {"error": "0"},
        {"method": None},
        {"per_output": [True]},
        {"domain": {}},
        {"x": 1},
    ],
)
def test_what_to_json_did_not_write_is_refused(change: dict[str, Any]) -> None:
    good = Certificate("l2", Domain.ball(1), 0.5, Rigor.SAMPLED, "looking", "1" * 64, "2" * 64, None, (0.1, 0.5))
    assert Certificate.from_json(good.to_json()) == good
    assert ">= 0.5 on" in str(good)
    with pytest.raises(ValueError):
        Certificate.from_json({**good.to_json(), **change})
    for wrong in (None, [], {}, "text"):
        with pytest.raises(ValueError):
            Certificate.from_json(wrong)  # type: ignore[arg-type]
