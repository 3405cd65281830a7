from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket.runs import Spec, from_json, to_json


@dataclass(frozen=True)
class Inner:
    rate: float = 1


@dataclass(frozen=True)
class Params:
    eps: float
    n: int
    law: Literal["uniform", "product"] = "uniform"
    sizes: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2)
    radius: float | None = None
    flag: bool = False
    inner: Inner = Inner()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
params = st.builds(
    Params,
    eps=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-100, 100),
    n=st.integers(),
    law=st.sampled_from(["uniform", "product"]),
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    radius=st.none() | st.floats(-1, 1),
    flag=st.booleans(),
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_key_is_sha256_of_canonical_json_and_survives_every_journey(values: dict[str, Any]) -> None:
    spec = Spec("name", 3, values)
    literal = json.dumps({"name": "name", "version": 3, "params": spec.to_json()["params"]}, sort_keys=True)
    assert json.loads(literal)["params"] == values
    compact = json.dumps(json.loads(literal), sort_keys=True, separators=(",", ":"))
    assert spec.key == hashlib.sha256(compact.encode()).hexdigest()
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert pickle.loads(pickle.dumps(spec)).key == spec.key
    assert hash(Spec("name", 3, dict(reversed(values.items())))) == hash(spec)


def test_any_difference_is_another_key() -> None:
    specs = [
        Spec("a", 1, {"x": 1}),
        Spec("b", 1, {"x": 1}),
        Spec("a", 2, {"x": 1}),
        Spec("a", 1, {"x": 1.0}),
        Spec("a", 1, {"x": True}),
        Spec("a", 1, {"x": None}),
        Spec("a", 1, {"x": [1]}),
        Spec("a", 1, {}),
    ]
    assert len({spec.key for spec in specs}) == len(specs)


def test_a_spec_cannot_be_changed_from_outside() -> None:
    sizes = [1, 2]
    given_params = {"sizes": sizes, "deep": {"x": 1}}
    spec = Spec("a", 1, given_params)
    key = Spec("a", 1, {"sizes": [1, 2], "deep": {"x": 1}}).key
    sizes.append(3)
    given_params["deep"]["x"] = 2  # type: ignore[index]
    spec.to_json()["params"]["sizes"].append(4)
    with pytest.raises(TypeError):
        spec.params["deep"]["x"] = 5
    assert spec.key == key


@given(params)
def test_dataclasses_travel_through_json(value: Params) -> None:
    there = to_json(value)
    assert from_json(Params, json.loads(json.dumps(there))) == value
    assert to_json(from_json(Params, there)) == there


def test_types_of_fields_decide_not_what_was_typed() -> None:
    assert Spec.of("a", 1, Params(eps=1, n=2)) == Spec.of("a", 1, Params(eps=1.0, n=2, pair=(1, 2.0), inner=Inner(1.0)))
    assert Spec.of("a", 1, Params(eps=-0.0, n=2)) == Spec.of("a", 1, Params(eps=0.0, n=2))
    assert Spec("a", 1, {"x": -0.0}) == Spec("a", 1, {"x": 0.0})


@pytest.mark.parametrize(
    "change",
    [
        {"n": 2.0},
        {"n": True},
        {"eps": "1"},
        {"eps": True},
        {"law": "normal"},
        {"sizes": 3},
        {"pair": (1,)},
        {"flag": 1},
    ],
)
def test_values_of_another_type_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(change))):
        to_json(Params(**{"eps": 0.5, "n": 1, **change}))
    with pytest.raises(TypeError, match=next(iter(change))):
        from_json(Params, {**to_json(Params(eps=0.5, n=1)), **change})


def test_misspelt_and_missing_parameters_are_refused() -> None:
    whole = to_json(Params(eps=0.5, n=1))
    with pytest.raises(ValueError, match=r"unknown \['epz'\]"):
        from_json(Params, {**whole, "epz": 1})
    with pytest.raises(ValueError, match=r"missing \['eps'\]"):
        from_json(Params, {name: value for name, value in whole.items() if name != "eps"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Spec("a", 1, {"x": [value]})
    with pytest.raises(ValueError, match="finite"):
        to_json(Params(eps=value, n=1))


@pytest.mark.parametrize("value", [np.float64(1), np.int64(1), {1: 2}, {1, 2}, b"x", object()])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="params"):
        Spec("a", 1, {"x": value})


@pytest.mark.parametrize(("name", "version"), [("", 1), ("../x", 1), ("a/b", 1), (".a", 1), ("a", 0), ("a", True)])
def test_bad_names_and_versions_are_refused(name: str, version: int) -> None:
    with pytest.raises(ValueError, match="spec"):
        Spec(name, version, {})
