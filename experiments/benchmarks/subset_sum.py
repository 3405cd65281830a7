"""How fast the subset-sum solvers are, beside three plain ones: `python -m experiments.benchmarks.subset_sum`.

Figures are process-CPU microseconds per instance of the whole call (checks, masks, exact errors), one thread, best of
some repetitions, after a first call that compiles. Every batch that is timed is checked: all solvers must report the
same errors on the part that they share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from strongticket._files import canonical_json, write_atomically
from strongticket.runs import environment
from strongticket.subsetsum import AbstractSubsetSumSolver, NumbaSolver, TorchSolver, solver

__all__ = ["SubsetSumBenchmark", "main"]

Ints = npt.NDArray[np.int64]
Method = Callable[[Ints, Ints], Ints]  # items, targets -> absolute errors

_EXPONENT = -46
_BRUTE_LIMIT = 16


@dataclass(frozen=True)
class SubsetSumBenchmark:
    """Time the subset-sum solvers on products of two uniform numbers, targets uniform on [-1, 1)."""

    items: tuple[int, ...] = (8, 10, 12, 14, 16, 18, 20, 21, 22, 24)
    """Numbers of items to time."""
    eps: float = 0.01
    """Tolerance of the objective "sparsest"."""
    seconds: float = 0.3
    """Time to spend on each figure, roughly, per repetition."""
    repetitions: int = 3
    """Repetitions, of which the fastest counts."""
    seed: int = 0
    """Seed of the instances."""
    out: Path | None = None
    """JSON file to write."""


def _instances(batch: int, n: int, seed: int) -> tuple[Ints, Ints]:
    rng = np.random.default_rng([seed, n])
    u, v = (2 * rng.integers(-(1 << 22), 1 << 22, (batch, n)) + 1 for _ in range(2))
    return u * v, rng.integers(-(1 << 46), 1 << 46, batch)


def _whole_call(chosen: AbstractSubsetSumSolver, items: Ints, targets: Ints, **options: Any) -> Ints:
    return np.abs(chosen.solve(items, targets, exponent=_EXPONENT, threads=1, **options).error)


def _numpy_brute(items: Ints, targets: Ints) -> Ints:
    """All 2^n sums of some instances at a time; errors only."""
    best = []
    step = max(1, (1 << 21) >> items.shape[1])
    for start in range(0, len(items), step):
        sums = np.zeros((len(items[start : start + step]), 1), np.int64)
        for i in range(items.shape[1]):
            sums = np.concatenate([sums, sums + items[start : start + step, i : i + 1]], axis=1)
        best.append(np.abs(targets[start : start + step, None] - sums).min(1))
    return np.concatenate(best)


def _torch_sort_search(items: Ints, targets: Ints) -> Ints:
    """Sort the sums of one half, binary search from the other; errors only."""
    best = []
    h = items.shape[1] // 2
    step = max(1, (1 << 17) >> h)
    for start in range(0, len(items), step):
        x, z = torch.from_numpy(items[start : start + step]), torch.from_numpy(targets[start : start + step])
        sides = []
        for part in (x[:, :h], x[:, h:]):
            sums = torch.zeros_like(part[:, :1])
            for i in range(part.shape[1]):
                sums = torch.cat([sums, sums + part[:, i : i + 1]], 1)
            sides.append(sums)
        a, rest = sides[0].sort(1).values, z[:, None] - sides[1]
        above = torch.searchsorted(a, rest).clamp(max=a.shape[1] - 1)
        near = torch.minimum((a.gather(1, above) - rest).abs(), (a.gather(1, (above - 1).clamp(min=0)) - rest).abs())
        best.append(near.min(1).values.numpy())
    return np.concatenate(best)


def _two_pointers(items: Ints, targets: Ints) -> Ints:
    """Merge-built sorted halves and two pointers, compiled, masks included."""
    from strongticket.subsetsum import _search_kernels

    n = items.shape[1]
    masks = np.zeros(len(items), np.int64)
    _search_kernels.two_pointers(items, targets, masks, np.empty(4 << ((n + 1) // 2), np.int64))
    bits = (masks[:, None] >> np.arange(n)) & 1
    errors: Ints = np.abs(targets - (bits * items).sum(1))
    return errors


def _methods(eps: float) -> dict[str, Method]:
    minimum: dict[str, Method] = {
        "numba": partial(_whole_call, NumbaSolver()),
        "torch": partial(_whole_call, TorchSolver()),
        "numpy brute": _numpy_brute,
        "torch sort+search": _torch_sort_search,
        "two pointers": _two_pointers,
    }
    sparsest = {
        f"{name} sparsest": partial(_whole_call, solver(name), objective="sparsest", eps=eps)
        for name in ("numba", "torch")
    }
    return {**minimum, **sparsest}


def _time(method: Method, n: int, benchmark: SubsetSumBenchmark) -> tuple[float, int, Ints]:
    """CPU microseconds per instance, batch size, and the errors of the first instances."""
    batch = 8
    while True:  # grow the batch until one call takes long enough; the first rounds compile and warm up
        items, targets = _instances(batch, n, benchmark.seed)
        start = time.process_time()
        errors = method(items, targets)
        spent = time.process_time() - start
        if spent >= benchmark.seconds / 4 or batch >= 1 << 20:
            break
        batch *= 4
    batch = min(1 << 20, max(8, int(batch * benchmark.seconds / max(spent, 1e-9))))
    items, targets = _instances(batch, n, benchmark.seed)
    best = float("inf")
    for _ in range(benchmark.repetitions):
        start = time.process_time()
        errors = method(items, targets)
        best = min(best, (time.process_time() - start) / batch)
    return 1e6 * best, batch, errors


def _check(name: str, method: Method, reference: Method, n: int, seed: int) -> None:
    items, targets = _instances(64, n, seed)
    if not np.array_equal(method(items, targets), reference(items, targets)):
        raise AssertionError(f"{name} and numba report different errors at n = {n}: do not trust either")


def run(benchmark: SubsetSumBenchmark) -> dict[str, Any]:
    """Time every method at every n, and return the rows with what they were measured on."""
    methods = _methods(benchmark.eps)
    rows = []
    for n in benchmark.items:
        for name, method in methods.items():
            if name == "numpy brute" and n > _BRUTE_LIMIT:
                continue
            _check(name, method, methods["numba sparsest" if "sparsest" in name else "numba"], n, benchmark.seed)
            microseconds, batch, _ = _time(method, n, benchmark)
            rows.append({"n": n, "method": name, "us": microseconds, "per_second": 1e6 / microseconds, "batch": batch})
    parameters = {k: v for k, v in asdict(benchmark).items() if k != "out"}
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "name": "subset_sum",
        "parameters": {**parameters, "items": list(benchmark.items)},
        "rows": rows,
        "environment": {**environment(), "numba": version("numba"), "load_average": load and list(load)},
    }


def table(result: dict[str, Any]) -> str:
    """Microseconds per instance, and in brackets how many times slower than numba at the same objective."""
    names = list(dict.fromkeys(row["method"] for row in result["rows"]))
    us = {(row["n"], row["method"]): row["us"] for row in result["rows"]}
    lines = ["  n " + "".join(f"{name:>22}" for name in names)]
    for n in dict.fromkeys(row["n"] for row in result["rows"]):
        cells = []
        for name in names:
            base = us[n, "numba sparsest" if "sparsest" in name else "numba"]
            cells.append(f"{us[n, name]:.3g} ({us[n, name] / base:.3g}x)" if (n, name) in us else "-")
        lines.append(f"{n:>3} " + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from a terminal."""
    import tyro

    benchmark = tyro.cli(SubsetSumBenchmark, prog="python -m experiments.benchmarks.subset_sum")
    torch.set_num_threads(1)
    result = run(benchmark)
    print("CPU microseconds per instance, one thread (times as slow as numba)")
    print(table(result))
    if benchmark.out is not None:
        write_atomically(benchmark.out, canonical_json(result).encode())
        print(f"written to {benchmark.out}")


if __name__ == "__main__":
    main()
