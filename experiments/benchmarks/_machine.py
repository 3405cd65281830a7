"""What a benchmark was measured on, and how long a fresh process needs to its first result."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from strongticket.runs import environment

__all__ = ["load_average", "machine", "start_up"]

_PACKAGES: Final = ("numba", "llvmlite", "triton", "ortools")


def machine(*packages: str) -> dict[str, Any]:
    """Return the environment of a run, with what speed depends on: versions, core count and vector width.

    Args:
        packages: more of them whose versions matter.

    >>> machine()["vector_bits"] in (None, 128, 256, 512)
    True
    """
    versions = {name: _version(name) for name in (*_PACKAGES, *packages)}
    return {**environment(), **versions, "cores": os.cpu_count(), "vector_bits": _vector_bits()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_average() -> list[float] | None:
    """Mean number of busy processes over the last 1, 5 and 15 minutes; None where the system does not tell."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def _vector_bits() -> int | None:
    """The width of a vector register as LLVM sees this processor, else as the system lists it; None if neither says."""
    try:
        features = importlib.import_module("llvmlite.binding").get_host_cpu_features()
        flags = {name for name, there in features.items() if there}
    except (ImportError, RuntimeError):
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:
            return None
        flags = set(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
    for bits, needed in ((512, {"avx512f"}), (256, {"avx2"}), (128, {"sse2", "neon", "asimd"})):
        if flags & needed:
            return bits
    return None


_START: Final = """
import json, sys, time
began, used = time.perf_counter(), time.process_time()
import numpy, torch
torch.set_num_threads(1)
import strongticket.subsetsum as s
imported = time.perf_counter()
from experiments.benchmarks._cases import Instances
kind, objective, backend = sys.argv[1:]
given = Instances(kind, 21, 0).first(64)
options = dict(objective=objective, eps=0.01 if objective == "sparsest" else None, backend=backend, threads=1)
options |= dict(exponent={"uniform": -23, "product": -46}[kind])
start, cpu = time.perf_counter(), time.process_time()
s.solve(*given, **options)
first, first_cpu = time.perf_counter() - start, time.process_time() - cpu
start = time.perf_counter()
s.solve(*given, **options)
second = time.perf_counter() - start
print(json.dumps(dict(import_s=imported - began, first_s=first, first_cpu_s=first_cpu, second_s=second)))
"""


def start_up(cases: Sequence[tuple[str, str, str]], *, cached: bool) -> list[dict[str, Any]]:
    """Time the first call of fresh processes: 64 instances, n = 21.

    Args:
        cases: (kind, objective, backend).
        cached: whether the kernels that this process compiled are found, or an empty cache.

    Returns:
        For each the wall seconds of the imports (torch among them), of the first call and of the second one.
    """
    rows = []
    for case in cases:
        with TemporaryDirectory() as empty:
            place = os.environ if cached else {**os.environ, "NUMBA_CACHE_DIR": empty}
            done = subprocess.run(
                [sys.executable, "-c", _START, *case], env=place, capture_output=True, text=True, check=False
            )
        row: dict[str, Any] = dict(zip(("kind", "objective", "method"), case, strict=True))
        row["cache"] = "warm" if cached else "empty"
        if done.returncode == 0:
            row |= json.loads(done.stdout.splitlines()[-1])
        else:
            row["skipped"] = (done.stderr.strip().splitlines() or ["failed"])[-1]
        rows.append(row)
    return rows
