"""Waiting times against the definition and against the exact probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from experiments.malach2020proving import Malach2020Proving, hit_rate
from strongticket import random


@pytest.mark.parametrize("event", ["product", "pair"])
def test_waits_are_those_of_the_definition(event: Any) -> None:
    run = Malach2020Proving(event=event, eps=(0.2, 0.1), trials=5, seed=3)
    found = run.run()["neurons"]
    for eps, waits in zip(run.eps, found, strict=True):
        for trial, wait in enumerate(waits):
            u, v = (
                random.law("uniform23").values(
                    3, f"malach2020proving {trial} {name}", 0, 20_000, purpose="slt-trial/1"
                ).astype(float)
                for name in "uv"
            )  # fmt: skip
            each = eps / 1.25
            hits = [
                k
                for k in range(20_000)
                if (
                    u[k] > 0 and abs(u[k] * v[k] - 0.25) <= eps
                    if event == "product"
                    else abs(u[k] - 0.25) <= each and abs(v[k] - 1) <= each
                )
            ]
            assert wait == hits[0] + 1
    assert run.run()["neurons"] == found


@pytest.mark.parametrize(("event", "exponent"), [("product", -1.0), ("pair", -2.0)])
def test_the_product_waits_for_one_over_eps_and_the_pair_for_its_square(event: Any, exponent: float) -> None:
    run = Malach2020Proving(event=event, eps=(0.1, 0.02), trials=300)
    result = run.run()
    for eps, waits in zip(run.eps, result["neurons"], strict=True):
        p = hit_rate(event, run.target, eps)
        # the wait is geometric: mean 1/p, deviation a bit below 1/p
        assert np.mean(waits) == pytest.approx(1 / p, rel=4.5 / math.sqrt(run.trials))
    (row,) = Malach2020Proving.table([(run, result)])
    assert row["exponent of eps"] == pytest.approx(exponent, abs=0.2)


def test_presets_are_runs() -> None:
    for name in ("quick", "default"):
        runs = Malach2020Proving.preset(name)
        assert len({run.spec.key for run in runs}) == len(runs)
