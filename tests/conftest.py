"""Shared set-up of the tests: reproducible Hypothesis profiles, one torch thread, and the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import HealthCheck, settings

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if "STRONGTICKET_DATA" not in os.environ and (_BESIDE / "mnist").is_dir():
    os.environ["STRONGTICKET_DATA"] = str(_BESIDE)  # data sets that lie beside the checkout

matplotlib.use("agg")
torch.set_num_threads(1)

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile(
    "ci", deadline=None, print_blob=True, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", deadline=None, print_blob=True, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that STRONGTICKET_DATA names, with MNIST, Fashion-MNIST or CIFAR-10 in their official formats."""
    folder = os.environ.get("STRONGTICKET_DATA")
    if not folder:
        pytest.skip("STRONGTICKET_DATA is not set and no shared/data lies beside the checkout: no real data to read")
    return Path(folder)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed torch before every test, so that no outcome depends on which tests ran before."""
    torch.manual_seed(0)
