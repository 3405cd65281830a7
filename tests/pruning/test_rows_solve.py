from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from strongticket.pruning.rows import solve
from strongticket.pruning.rows.refit import refit, row_losses
from strongticket.pruning.rows.solve import remove_in_order, steps_to_n_of_m

BACKENDS = ["numba", "torch"]


def problem(rows: int, d: int, seed: int, condition: float = 100.0) -> tuple[Tensor, Tensor]:
    """Weights and a positive definite H with eigenvalues from 1 down to 1 / condition."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    values = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), d, dtype=torch.float64)
    hessian = (basis * values) @ basis.T
    return torch.randn(rows, d, generator=generator, dtype=torch.float64), 0.5 * (hessian + hessian.T)


def inverse_of(hessian: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(hessian))


def naive(
    weight: Tensor, inverse: Tensor, start: Tensor | None = None, n_of_m: tuple[int, int] | None = None
) -> tuple[list[int], list[float]]:
    """The papers' loop on one row: full updates of weights and inverse at every step."""
    w, a, d = weight.clone(), inverse.clone(), len(weight)
    alive = list(range(d))
    order, losses = [], []
    if start is not None:
        w[~start] = 0
    while alive:
        forced = [p for p in alive if start is not None and not start[p]]
        free = alive
        if n_of_m is not None:
            keep, group = n_of_m
            open_groups = [p for p in alive if sum(q // group == p // group for q in alive) > keep]
            free = open_groups or alive
        score = {p: float(w[p] ** 2 / a[p, p]) for p in alive}
        pool = forced or free
        p = pool[0] if forced or (n_of_m and pool is alive) else min(pool, key=lambda q: (score[q], q))
        order.append(p)
        losses.append(score[p] / 2)
        w = w - a[:, p] * w[p] / a[p, p]
        a = a - torch.outer(a[:, p], a[p, :]) / a[p, p]
        alive.remove(p)
        gone = torch.tensor([q not in alive for q in range(d)])
        w[gone] = 0
    return order, losses


@settings(max_examples=60)
@given(st.integers(1, 14), st.integers(0, 10**6), st.sampled_from(BACKENDS))
def test_order_and_losses_are_those_of_the_literal_loop(d: int, seed: int, backend: str) -> None:
    weight, hessian = problem(2, d, seed)
    inverse = inverse_of(hessian)
    removal = remove_in_order(weight, inverse, backend=backend)
    for row in range(2):
        order, losses = naive(weight[row], inverse)
        assert removal.order[row].tolist() == order
        torch.testing.assert_close(
            removal.losses[row], torch.tensor(losses, dtype=torch.float64), rtol=1e-9, atol=1e-14
        )


@pytest.mark.parametrize(("d", "seed"), [(31, 0), (32, 1), (33, 2), (64, 3), (97, 4), (230, 5)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_panels(d: int, seed: int, backend: str) -> None:
    weight, hessian = problem(2, d, seed)
    inverse = inverse_of(hessian)
    removal = remove_in_order(weight, inverse, backend=backend)
    order, losses = naive(weight[1], inverse)
    assert removal.order[1].tolist() == order
    torch.testing.assert_close(removal.losses[1], torch.tensor(losses, dtype=torch.float64), rtol=1e-9, atol=1e-14)
    some = remove_in_order(weight, inverse, d // 2, backend=backend)
    assert torch.equal(some.order, removal.order[:, : d // 2])
    torch.testing.assert_close(some.losses, removal.losses[:, : d // 2], rtol=1e-12, atol=0)


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(0, 10**6), st.sampled_from([1.0, 1e3, 1e8]), st.sampled_from(BACKENDS))
def test_losses_of_steps_add_up_to_the_joint_optimum(d: int, seed: int, condition: float, backend: str) -> None:
    weight, hessian = problem(3, d, seed, condition)
    inverse = inverse_of(hessian)
    removal = remove_in_order(weight, inverse, backend=backend)
    whole = row_losses(torch.zeros_like(weight), weight, hessian)
    precise = 1e-8 * condition**0.5
    torch.testing.assert_close(removal.losses.sum(1), whole, rtol=precise, atol=0)
    count = max(1, d // 2)
    for row in range(3):
        gone = removal.order[row, :count]
        joint = 0.5 * weight[row, gone] @ torch.linalg.solve(inverse[gone][:, gone], weight[row, gone])
        assert float(removal.losses[row, :count].sum()) == pytest.approx(float(joint), rel=precise)
    kept = removal.kept(torch.full((3,), count), d)
    assert kept.sum(1).tolist() == [d - count] * 3
    refitted = row_losses(refit(weight, hessian, kept), weight, hessian)
    torch.testing.assert_close(removal.losses[:, :count].sum(1), refitted, rtol=precise, atol=1e-13)


@settings(max_examples=40)
@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from(BACKENDS))
def test_what_is_pruned_already_restricts_h(d: int, seed: int, backend: str) -> None:
    weight, hessian = problem(3, d, seed)
    start = torch.rand(3, d, generator=torch.Generator().manual_seed(seed)) < 0.6
    removal = remove_in_order(weight, inverse_of(hessian), start=start, backend=backend)
    for row in range(3):
        left = start[row].nonzero()[:, 0]
        before = d - len(left)
        assert removal.order[row, :before].tolist() == (~start[row]).nonzero()[:, 0].tolist()
        assert not removal.losses[row, :before].any()
        if len(left):
            order, losses = naive(weight[row, left], inverse_of(hessian[left][:, left]))
            assert removal.order[row, before:].tolist() == left[order].tolist()
            torch.testing.assert_close(
                removal.losses[row, before:], torch.tensor(losses, dtype=torch.float64), rtol=1e-8, atol=0
            )


@settings(max_examples=40)
@given(st.integers(1, 13), st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 3), st.sampled_from(BACKENDS))
def test_n_of_m(d: int, seed: int, n: int, more: int, backend: str) -> None:
    weight, hessian = problem(2, d, seed)
    start = torch.rand(2, d, generator=torch.Generator().manual_seed(seed)) < 0.8
    inverse = inverse_of(hessian)
    removal = remove_in_order(weight, inverse, start=start, n_of_m=(n, n + more), backend=backend)
    steps = steps_to_n_of_m(start, (n, n + more))
    for row in range(2):
        order, _ = naive(weight[row], inverse, start[row], (n, n + more))
        assert removal.order[row, : steps[row]].tolist() == order[: steps[row]]
    kept = removal.kept(steps, d)
    assert bool((kept <= start).all())
    for columns in torch.split(torch.arange(d), n + more):
        assert kept[:, columns].sum(1).tolist() == start[:, columns].sum(1).clamp(max=n).tolist()


def test_one_inverse_for_each_row() -> None:
    problems = [problem(1, 9, seed) for seed in range(3)]
    weight = torch.cat([w for w, _ in problems])
    inverses = torch.stack([inverse_of(h) for _, h in problems])
    for backend in BACKENDS:
        together = remove_in_order(weight, inverses, backend=backend)
        for row in range(3):
            assert together.order[row].tolist() == naive(weight[row], inverses[row])[0]


def test_results_are_bitwise_equal_at_one_and_more_threads() -> None:
    weight, hessian = problem(7, 80, 0)
    inverse = inverse_of(hessian)
    one = remove_in_order(weight, inverse, backend="numba", threads=1)
    for threads in (2, 3, 16):
        more = remove_in_order(weight, inverse, backend="numba", threads=threads)
        assert torch.equal(one.order, more.order)
        assert torch.equal(one.losses, more.losses)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_loses_digits_not_quality(backend: str) -> None:
    weight, hessian = problem(5, 120, 1)
    inverse = inverse_of(hessian)
    exact = remove_in_order(weight, inverse, backend=backend)
    short = remove_in_order(weight.float(), inverse.float(), backend=backend)
    for count in (20, 60, 100):
        kept = short.kept(torch.full((5,), count), 120)
        losses = row_losses(refit(weight, hessian, kept), weight, hessian).sum()
        assert float(losses) == pytest.approx(float(exact.losses[:, :count].sum()), rel=1e-2)


def test_ties_go_to_the_lowest_column() -> None:
    for backend in BACKENDS:
        removal = remove_in_order(torch.ones(1, 100), torch.eye(100), backend=backend)
        assert removal.order[0].tolist() == list(range(100))


@pytest.mark.parametrize("backend", BACKENDS)
def test_greedy_is_no_better_than_the_optimum(backend: str) -> None:
    for seed in range(20):
        weight, hessian = problem(1, 8, seed)
        removal = remove_in_order(weight, inverse_of(hessian), backend=backend)
        subsets = torch.tensor([[j in s for j in range(8)] for s in itertools.combinations(range(8), 4)])
        every = row_losses(refit(weight.expand(len(subsets), 8), hessian, subsets), weight, hessian)
        assert float(removal.losses[0, :4].sum()) >= float(every.min()) * (1 - 1e-10)


def test_memory_does_not_grow_with_the_rows() -> None:
    weight, hessian = problem(200, 96, 0)
    inverse = inverse_of(hessian)
    remove_in_order(weight[:1], inverse, backend="numba")
    tracemalloc.start()
    try:
        remove_in_order(weight, inverse, backend="numba")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    matrix, results = 96 * 96 * 8, 200 * 96 * 16
    assert peak < 3 * matrix + 2 * results  # a matrix for each row would be 200 of them


def test_torch_holds_few_inverses_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from strongticket.pruning.rows import _row_torch

    weight, hessian = problem(10, 40, 0)
    inverse = inverse_of(hessian)
    whole = remove_in_order(weight, inverse, backend="torch")
    monkeypatch.setattr(_row_torch, "_SCRATCH", 3 * 40 * 40 * 8)
    sizes = []
    run = _row_torch._Chunk.run
    monkeypatch.setattr(
        _row_torch._Chunk, "run", lambda self, *out: (sizes.append(len(self.inverse)), run(self, *out))[1]
    )
    parts = remove_in_order(weight, inverse, backend="torch")
    assert sizes == [3, 3, 3, 1]
    assert torch.equal(whole.order, parts.order)


def test_empty_shapes() -> None:
    assert remove_in_order(torch.zeros(0, 3), torch.eye(3)).order.shape == (0, 3)
    assert remove_in_order(torch.zeros(2, 3), torch.eye(3), 0).losses.shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"inverse": torch.eye(2)}, ValueError, "expected weights"),
        ({"steps": 4}, ValueError, "0 to 3 steps"),
        ({"inverse": torch.eye(3).double()}, TypeError, "float32 or float64"),
        ({"inverse": -torch.eye(3)}, ValueError, "positive definite"),
        ({"weight": torch.full((1, 3), torch.nan)}, ValueError, "NaN"),
        ({"start": torch.ones(3, dtype=torch.bool)}, ValueError, "start"),
        ({"n_of_m": (3, 2)}, ValueError, "n_of_m"),
        ({"backend": "cuda"}, ValueError, "backend"),
        ({"threads": 0}, ValueError, "thread"),
    ],
)
def test_bad_input_is_refused(change: dict, error: type[Exception], message: str) -> None:
    arguments = {"weight": torch.ones(1, 3), "inverse": torch.eye(3), **change}
    with pytest.raises(error, match=message):
        remove_in_order(**arguments)


def test_kernels_know_what_is_compiled_into_them() -> None:
    folder = Path(solve.__file__).parent
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12] for name in ("_tiles.py", "_row_kernels.py")
    }
    for name, users in (
        ("_tiles.py", ["_row_kernels.py", "_swap_kernels.py"]),
        ("_row_kernels.py", ["_swap_kernels.py"]),
    ):
        constant = f'{name[:-3].upper()}_DIGEST = "{digests[name]}"'
        for user in users:
            assert constant in (folder / user).read_text(), f"set {constant} in {user}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shared", [True, False])
def test_the_lower_triangle_is_all_that_is_read(backend: str, shared: bool) -> None:
    weight, hessian = problem(3, 40, 0)
    inverse = inverse_of(hessian)
    spoilt = inverse.tril() + torch.full_like(inverse, 1e3).triu(1)
    if not shared:
        inverse, spoilt = (matrix.repeat(3, 1, 1) for matrix in (inverse, spoilt))
    if backend == "numba":
        pytest.importorskip("numba")
    ours, theirs = (remove_in_order(weight, given, backend=backend) for given in (spoilt, inverse.tril()))  # type: ignore[arg-type]
    expected = remove_in_order(weight, inverse, backend=backend)  # type: ignore[arg-type]
    for removal in (ours, theirs):
        assert torch.equal(removal.order, expected.order)
        torch.testing.assert_close(removal.losses, expected.losses)
