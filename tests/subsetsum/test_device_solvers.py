"""The torch and Triton solvers: against all subsets, against each other, in Triton's interpreter and compiled ahead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from strongticket.subsetsum import AbstractSubsetSumSolver, Outcome, TorchSolver, pareto, solve
from strongticket.subsetsum.fused import TritonSolver, _runs, launch_shape
from strongticket.subsetsum.portable import key_bits, minimum

Cases = dict[str, tuple[np.ndarray, np.ndarray]]

_NARROW = [(n, kind) for n in (8, 9) for kind in ("uniform", "ties", "sparse rows", "edges")] + [(11, "edges")]


def nasty(n: int, batch: int = 24, bits: int = 20) -> Cases:
    """Instances that break solvers, by name; `bits` says how large the largest are."""
    rng = np.random.default_rng(n)
    big = 1 << bits
    uniform = rng.integers(-big, big, (batch, n))
    targets = rng.integers(-2 * big, 2 * big, batch)
    sparse = np.where(rng.random((batch, n)) < 0.5, 0, uniform)
    sparse[:3] = 0
    huge = rng.integers(-20, 21, (batch, n))
    huge[np.arange(batch), rng.integers(0, n, batch)] = big
    rows = [[big] * n, [-big] * n, [1] * (n - 1) + [big], [big] + [0] * (n - 1), [big, -big] * (n // 2) + [1] * (n % 2)]
    edges = [
        (row, z)
        for row in rows
        for low, high in [(sum(v for v in row if v < 0), sum(v for v in row if v > 0))]
        for z in (low, high, low - 1, high + 1, 0, 1, -1, 1 << 61, -(1 << 61))
    ]
    return {
        "uniform": (uniform, targets),
        "ties": (rng.integers(-3, 4, (batch, n)), rng.integers(-12, 13, batch)),
        "equal": (np.repeat(uniform[:, :1], n, 1), targets),
        "negative": (-np.abs(uniform), -np.abs(targets)),
        "sparse rows": (sparse, targets),
        "one huge": (huge, rng.integers(-40, 41, batch) + big * rng.integers(0, 2, batch)),
        "edges": (np.array([row for row, _ in edges]), np.array([z for _, z in edges])),
        "out of reach": (uniform, targets * (1 << (59 - bits))),
    }


def agrees(solver: AbstractSubsetSumSolver, items: np.ndarray, targets: np.ndarray, **goal: Any) -> None:
    """The same outcomes and errors as all subsets give, the same sizes where asked for, and no zero item chosen."""
    truth = solve(items, targets, backend="brute", **goal)
    result = solver.solve(items, targets, **goal)
    np.testing.assert_array_equal(result.outcome, truth.outcome)
    chosen = result.chosen(items.shape[1])
    there = truth.found if goal.get("objective") == "fixed_size" else slice(None)
    np.testing.assert_array_equal(np.abs(result.error)[there], np.abs(truth.error)[there])
    if "objective" in goal:
        np.testing.assert_array_equal(result.size[truth.found], truth.size[truth.found])
    assert not (chosen & (items == 0))[there].any()


def goals(n: int, eps: int) -> Iterator[dict[str, Any]]:
    yield {}
    yield {"eps": eps}
    yield {"objective": "sparsest", "eps": 0}
    yield {"objective": "sparsest", "eps": eps}
    for size in (0, 1, n // 2, n):
        yield {"objective": "fixed_size", "size": size}


@pytest.mark.parametrize("keys", ["auto", "int64"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 12])
def test_torch_against_all_subsets(n: int, keys: Any) -> None:
    for bits in (20, 56 - n.bit_length()):
        for items, targets in nasty(n, bits=bits).values():
            for goal in goals(n, 1 << (bits - 4)):
                agrees(TorchSolver(keys=keys), items, targets, **goal)


@pytest.mark.parametrize("n", [5, 10])
def test_torch_fronts_against_all_subsets(n: int) -> None:
    for items, targets in nasty(n, batch=12).values():
        np.testing.assert_array_equal(
            np.abs(pareto(items, targets, backend="torch").error), np.abs(pareto(items, targets, backend="brute").error)
        )


@pytest.mark.parametrize("n", [14, 17, 21, 26])
def test_torch_keys_agree(n: int) -> None:
    rng = np.random.default_rng(n)
    bits = 30 - n.bit_length() - 2
    items, targets = rng.integers(-(1 << bits), 1 << bits, (40, n)), rng.integers(-(1 << bits), 1 << bits, 40)
    assert key_bits(items, "auto") == 32
    narrow, wide = (TorchSolver(keys=keys).solve(items, targets) for keys in ("int32", "int64"))
    np.testing.assert_array_equal(np.abs(narrow.error), np.abs(wide.error))
    assert narrow.found.all()


@pytest.mark.parametrize("n", [8, 9, 11])
def test_int32_keys_at_their_budget(n: int) -> None:
    most = (1 << 28) - 1  # 4 sum |items| + 1 < 2^30
    rows, targets = [], []
    for count in range(1, n + 1):
        for sign in (-1, 1):
            row = [sign * (most // count)] * count + [0] * (n - count)
            row[0] += sign * most - sum(row)
            for target in (0, sum(row), sum(row) + 1, sum(row) - 1, -1, 1, 1 << 61, -(1 << 61), sum(row) // 2):
                rows.append(row if target % 2 else row[::-1])
                targets.append(target)
    items = np.array(rows)
    assert key_bits(items, "auto") == 32
    assert key_bits(items * 2, "auto") == 64
    agrees(TorchSolver(keys="int32"), items, np.array(targets))
    with pytest.raises(ValueError, match=r"int32 keys, got sum \|items\| = 536870910"):
        TorchSolver(keys="int32").solve(items * 2, targets)


def pooled(n: int, batch: int, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch)
    items = rng.integers(-(1 << bits), 1 << bits, (5, n))
    items[3, ::2] = 0
    return items, rng.integers(-(1 << bits), 1 << bits, batch), np.sort(rng.choice([0, 1, 3, 4], batch))


@pytest.mark.parametrize("n", [1, 9, 14, 21])
@pytest.mark.parametrize("bits", [20, 46])
@pytest.mark.parametrize("batch", [1, 40])
def test_torch_shared_pools_equal_own_items(n: int, bits: int, batch: int) -> None:
    items, targets, pool = pooled(n, batch, bits)
    for goal in ({}, {"objective": "sparsest", "eps": 1 << (bits - 6)}, {"objective": "fixed_size", "size": n // 2}):
        shared = TorchSolver().solve(items, targets, pool=pool, **goal)
        own = TorchSolver().solve(items[pool], targets, **goal)
        np.testing.assert_array_equal(shared.mask, own.mask)
        np.testing.assert_array_equal(shared.outcome, own.outcome)
    assert TorchSolver().solve(items[0], targets).error.shape == (batch,)


@pytest.mark.parametrize("pooled_rows", [False, True])
@pytest.mark.parametrize("key", [torch.int32, torch.int64])
@pytest.mark.parametrize("n", [1, 8, 13])
def test_minimum_never_looks_at_its_data(n: int, key: torch.dtype, pooled_rows: bool) -> None:
    # tensors without data: reading a value, or counting, raises; and nothing is made on another device
    x, z = (torch.empty(shape, dtype=torch.int64, device="meta") for shape in ((6, n), (6,)))
    masks = minimum(x, z, z if pooled_rows else None, key)
    assert masks.shape == (6,)
    assert masks.dtype == torch.int64


def test_torch_solver_refuses() -> None:
    with pytest.raises(ValueError, match="'auto', 'int32' or 'int64'"):
        TorchSolver(keys="int16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 44 items"):
        TorchSolver().solve(np.zeros((1, 45), int), [0])


def test_unreachable_by_torch() -> None:
    items, _ = nasty(21, bits=46)["uniform"]
    high = np.maximum(items, 0).sum(1)
    result = TorchSolver().solve(items, high + 7, eps=6)
    np.testing.assert_array_equal(result.error, 7)
    assert result.count(Outcome.NONE_EXISTS) == len(items)


# Triton ---------------------------------------------------------------------------------------------------------


def test_runs_cover_all_targets_once() -> None:
    pool = np.repeat([3, 4, 9], [1, 70, 32])
    rows, starts, counts = _runs(pool, 32)
    assert rows.tolist() == [3, 4, 4, 4, 9]
    assert starts.tolist() == [0, 1, 33, 65, 71]
    assert counts.tolist() == [1, 32, 32, 6, 32]


def test_missing_triton_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "strongticket.subsetsum._triton_kernels", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ImportError, match=r"strongticket\[triton\]"):
        TritonSolver()


def test_importing_the_solver_does_not_import_triton() -> None:
    code = "import sys, strongticket.subsetsum.fused; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_gpu_or_interpreter_it_says_what_to_do() -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET"):
        pytest.skip("there is something to run on")
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET=1"):
        TritonSolver()


_IN_INTERPRETER = """
import sys
import numpy as np
from strongticket.subsetsum.fused import TritonSolver
given = np.load(sys.argv[1])
masks = {}
for name in {key.split("/")[0] for key in given}:
    pool = given[f"{name}/pool"] if f"{name}/pool" in given else None
    solver = TritonSolver(keys=name.split()[0])
    assert solver.interpreted and solver.device.type == "cpu"
    result = solver.solve(given[f"{name}/items"], given[f"{name}/targets"], pool=pool)
    masks[name] = result.mask
np.savez(sys.argv[2], **masks)
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, np.ndarray]], Any]:
    """Instances by name, and the masks that the kernel gave in Triton's interpreter.

    The interpreter is chosen where triton is first imported, hence a process of its own, one for all instances.
    """
    pytest.importorskip("triton")
    cases: dict[str, dict[str, np.ndarray]] = {}
    for n, kind in _NARROW:
        items, targets = nasty(n, batch=16)[kind]
        for keys in ("int32", "int64"):
            cases[f"{keys} {n} {kind}"] = {"items": items, "targets": targets}
    for n in (1, 10, 13):
        items, targets = nasty(n, batch=5, bits=46)["uniform"]
        cases[f"auto {n} wide"] = {"items": items, "targets": targets}
    for n in (8, 9):
        items, targets, pool = pooled(n, 12, 46)
        cases[f"auto {n} pools"] = {"items": items, "targets": targets, "pool": pool}
    given, found = (tmp_path_factory.mktemp("interpreter") / name for name in ("given.npz", "found.npz"))
    np.savez(given, **{f"{name}/{key}": value for name, case in cases.items() for key, value in case.items()})
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", _IN_INTERPRETER, str(given), str(found)]
    subprocess.run(command, env=environment, check=True, timeout=300, cwd=Path(__file__).parents[2])
    return cases, np.load(found)


def test_kernel_in_the_interpreter_against_all_subsets(interpreted: Any) -> None:
    cases, found = interpreted
    assert len(cases) == 2 * len(_NARROW) + 5
    for name, case in cases.items():
        items, targets, mask = case["items"], case["targets"], found[name]
        truth = solve(items, targets, pool=case.get("pool"), backend="brute")
        rows = items[case["pool"]] if "pool" in case else items
        bits = (mask[:, None] >> np.arange(items.shape[1])) & 1
        np.testing.assert_array_equal(np.abs(targets - (bits * rows).sum(1)), np.abs(truth.error), err_msg=name)
        assert not (bits & (rows == 0)).any(), name
        if "wide" in name or "pools" in name:  # large random items: the optimum is unique
            unique = np.count_nonzero(rows, 1) == rows.shape[1]
            np.testing.assert_array_equal(mask[unique], truth.mask[unique], err_msg=name)


def test_kernel_gives_the_masks_of_torch_where_they_are_unique(interpreted: Any) -> None:
    cases, found = interpreted
    for name in ("auto 10 wide", "auto 13 wide", "auto 1 wide"):
        items, targets = cases[name]["items"], cases[name]["targets"]
        np.testing.assert_array_equal(found[name], TorchSolver().solve(items, targets).mask)


@pytest.mark.parametrize(("n", "bits", "shared"), [(8, 32, False), (9, 64, True), (12, 32, False)])
def test_kernel_compiles_for_sm_90(
    n: int, bits: int, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET"):
        pytest.skip("the interpreter does not compile")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from strongticket.subsetsum import _triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    group, warps = launch_shape(n, bits)
    key = triton.language.int32 if bits == 32 else triton.language.int64
    pointers = ("items", "targets", "row_of", "start_of", "count_of", "masks")
    constants = {"n": n, "GROUP": group, "SHARED": shared, "KEY": key, "PEAK": 1 << (bits - 2)}
    signature = dict.fromkeys(pointers, "*i64") | {"runs": "i32"} | dict.fromkeys(constants, "constexpr")
    start = time.perf_counter()
    compiled = triton.compile(
        ASTSource(_triton_kernels.minimum, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": warps, "num_stages": 1, "enable_fp_fusion": False},
    )
    assert time.perf_counter() - start < 60
    assert compiled.asm["cubin"]
    assert ".target sm_90" in compiled.asm["ptx"]
    assert compiled.metadata.shared <= 48 << 10  # no more than any CUDA device gives without asking
    assert "st.local" not in compiled.asm["ptx"]  # no table indexed at run time


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["triton", "torch:cuda"])
@pytest.mark.parametrize("n", [3, 8, 9, 12])
def test_on_the_device_against_all_subsets(backend: str, n: int) -> None:
    from strongticket.subsetsum import solver

    for bits in (20, 50):
        for items, targets in nasty(n, batch=300, bits=bits).values():
            for goal in goals(n, 1 << (bits - 4)):
                agrees(solver(backend), items, targets, **goal)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["triton", "torch:cuda"])
@pytest.mark.parametrize("n", [8, 9, 16, 20, 21, 24, 26, 28])
def test_on_the_device_against_the_processor(backend: str, n: int) -> None:
    rng = np.random.default_rng(n)
    for bits in (22, 46):
        items, targets = rng.integers(-(1 << bits), 1 << bits, (300, n)), rng.integers(-(1 << bits), 1 << bits, 300)
        near, far = (solve(items, targets, backend=b) for b in ("torch", backend))
        np.testing.assert_array_equal(np.abs(near.error), np.abs(far.error))
        pool = np.sort(rng.integers(0, 7, 300))
        near, far = (solve(items[:7], targets, pool=pool, backend=b) for b in ("torch", backend))
        np.testing.assert_array_equal(np.abs(near.error), np.abs(far.error))
