"""The forms of the inverse Fisher matrix are one matrix."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from strongticket.pruning.curvature.fisher import (
    LowRankFisher,
    block_diagonal_inverses,
    cholesky_inverse,
    fisher_inverse,
    recursion_inverse,
)

DAMPINGS = st.sampled_from([1e-5, 1e-3, 0.1, 2.0])


def gradients_of(rows: int, n: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, n, generator=generator, dtype=torch.float64)


def dense(gradients: Tensor, damping: float) -> Tensor:
    return gradients.T @ gradients / len(gradients) + damping * torch.eye(gradients.shape[1], dtype=torch.float64)


def close(found: Tensor, expected: Tensor, rtol: float = 1e-10) -> None:
    assert found.dtype == torch.float64
    assert float((found - expected).abs().max()) <= rtol * float(expected.abs().max())


@given(rows=st.integers(1, 12), n=st.integers(1, 20), seed=st.integers(0, 99), damping=DAMPINGS)
@settings(max_examples=60, deadline=None)
def test_all_forms_agree(rows: int, n: int, seed: int, damping: float) -> None:
    gradients = gradients_of(rows, n, seed)
    expected = recursion_inverse(gradients, damping)
    fisher = LowRankFisher(gradients, damping)
    everything = torch.arange(n)
    close(cholesky_inverse(gradients, damping), expected)
    close(fisher_inverse(gradients, damping), expected)
    close(fisher.block(everything), expected)
    close(fisher.diagonal_of_inverse(), expected.diagonal())
    close(fisher.solve(torch.eye(n)), expected)
    x = gradients_of(1, n, seed + 1)[0]
    close(fisher.solve(x), expected @ x, 1e-9)
    close(fisher.multiply(x), dense(gradients, damping) @ x)
    close(fisher.diagonal(), dense(gradients, damping).diagonal())
    assert fisher.quadratic(x) == pytest.approx(float(x @ dense(gradients, damping) @ x) / 2, rel=1e-12)
    part = everything[:: 2 if n > 1 else 1]
    close(fisher.block(part), expected[part][:, part])


def test_the_inverse_is_that_of_the_matrix() -> None:
    gradients = gradients_of(7, 5, 0)
    close(recursion_inverse(gradients, 0.01) @ dense(gradients, 0.01), torch.eye(5, dtype=torch.float64), 1e-12)


def test_float32_gradients_lose_nothing_but_their_own_rounding() -> None:
    gradients = gradients_of(30, 9000, 3).float()  # several chunks
    damping = 1e-5
    fisher = LowRankFisher(gradients, damping)
    expected = LowRankFisher(gradients.double(), damping).diagonal_of_inverse()
    close(fisher.diagonal_of_inverse(), expected, 1e-12)
    close(
        LowRankFisher(gradients, damping, gram=gradients.double() @ gradients.double().T).diagonal_of_inverse(),
        expected,
    )


def test_the_diagonal_is_positive_where_rounding_would_make_it_none() -> None:
    gradients = gradients_of(4, 3, 0, scale=1e6)
    diagonal = LowRankFisher(gradients, 1e-12).diagonal_of_inverse()
    assert bool((diagonal > 0).all())


@pytest.mark.parametrize(("rows", "n", "block"), [(6, 23, 4), (3, 23, 5), (6, 4, 10), (5, 20, 5), (2, 3, 1)])
def test_blocks_are_inverted_each_by_itself(rows: int, n: int, block: int) -> None:
    gradients = gradients_of(rows, n, 1)
    covered: list[int] = []
    for part, inverse in block_diagonal_inverses(gradients, 0.01, block):
        covered += range(n)[part]
        assert len(inverse) == min(block, n - part.start)
        close(inverse, recursion_inverse(gradients[:, part], 0.01))
    assert covered == list(range(n))


def test_bad_input_is_refused() -> None:
    good = gradients_of(3, 4, 0)
    for gradients, damping, message in [
        (good, 0.0, "above 0"),
        (good, float("nan"), "above 0"),
        (good[:0], 1.0, "N >= 1"),
        (good[0], 1.0, r"\[N, n\]"),
        (good.half(), 1.0, "float32 or float64"),
        (good * torch.inf, 1.0, "NaN or infinite"),
    ]:
        with pytest.raises(ValueError, match=message):
            LowRankFisher(gradients, damping)
    with pytest.raises(ValueError, match="Gram"):
        LowRankFisher(good, 1.0, gram=torch.eye(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least one"):
        list(block_diagonal_inverses(good, 1.0, 0))


PROGRAM = """
import resource, sys, torch
torch.set_num_threads(1)
from strongticket.pruning.curvature.fisher import LowRankFisher
gradients = torch.randn(int(sys.argv[1]), 266_200, generator=torch.Generator().manual_seed(0))
before = resource.getrusage(resource.RUSAGE_SELF)
diagonal = LowRankFisher(gradients, 1e-5).diagonal_of_inverse()
assert bool((diagonal > 0).all())
after = resource.getrusage(resource.RUSAGE_SELF)
print(before.ru_maxrss, after.ru_maxrss, after.ru_utime - before.ru_utime)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
@pytest.mark.parametrize("rows", [32, pytest.param(500, marks=pytest.mark.slow)])
def test_a_network_of_266_200_weights_takes_little_memory_beside_its_gradients(rows: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(rows)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    before, after, _ = (float(part) for part in done.stdout.split())
    assert after < 3_000_000  # the dense inverse would take 567 GB
    assert after - before < 500_000
