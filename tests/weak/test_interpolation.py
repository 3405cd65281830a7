"""Spectra, SGD in the space of a kernel, tangents: against literal computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strongticket.bounds import ma2018power as bounds
from strongticket.weak.features import FourierFeatures, one_hot
from strongticket.weak.interpolation import batches, descend, spectrum, tangent_kernel, tangents


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32))
def test_the_spectrum_is_that_of_the_mean(n: int, d: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, d))
    found = spectrum(x @ x.T)
    values = np.linalg.eigvalsh(x.T @ x / n)
    assert found.beta == pytest.approx(float((x**2).sum(axis=1).max()), rel=1e-9)
    assert found.largest == pytest.approx(float(values[-1]), rel=1e-9)
    assert found.rank == min(n, d)
    assert found.least == pytest.approx(float(values[max(0, d - n)]), rel=1e-6)
    assert found.trace == pytest.approx(float(np.trace(x @ x.T)) / n, rel=1e-9)
    assert found.critical_batch == bounds.critical_batch(found.beta, found.largest)
    assert found.best_rate(3) == bounds.best_rate(3, found.beta, found.largest, found.least)


def test_blocks_of_outputs_and_tolerance() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 5))  # 3 examples of 2 outputs
    found = spectrum(rows @ rows.T, 2)
    betas = [np.linalg.eigvalsh(rows[i : i + 2] @ rows[i : i + 2].T)[-1] for i in (0, 2, 4)]
    assert found.beta == pytest.approx(max(betas))
    assert found.rank == 5
    assert spectrum(np.diag([1.0, 1e-5]), tolerance=1e-4).rank == 1
    with pytest.raises(ValueError, match="whole examples of 4"):
        spectrum(rows @ rows.T, 4)
    with pytest.raises(ValueError, match="symmetric"):
        spectrum(np.array([[1.0, 2.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="no eigenvalue above 0"):
        spectrum(np.zeros((2, 2)))


def test_batches_are_drawn_with_replacement_and_evenly() -> None:
    drawn = batches(4, 3000, 2, 7)
    counts = np.bincount(drawn.ravel(), minlength=7)
    assert drawn.shape == (3000, 2)
    assert counts.min() > 6000 / 7 - 5 * (6000 / 7) ** 0.5
    assert bool((drawn[:, 0] == drawn[:, 1]).any())
    assert not np.array_equal(drawn[:10], batches(5, 10, 2, 7))


@pytest.mark.parametrize("batch", [1, 3])
def test_descent_in_the_space_of_the_kernel_is_that_of_the_weights(batch: int) -> None:
    generator = np.random.default_rng(1)
    x, wanted = generator.normal(size=(6, 9)), generator.normal(size=(6, 2))
    weights, step, steps = np.zeros((9, 2)), 0.05, 40
    for chosen in batches(8, steps, batch, 6):
        weights = weights - step / batch * x[chosen].T @ (x[chosen] @ weights - wanted[chosen])
    expected = float((((x @ weights) - wanted) ** 2).sum() / 6)
    done = descend(x @ x.T, -wanted, batch=batch, step=step, seed=8, most=steps)
    assert done.loss == pytest.approx(expected, rel=1e-9)
    assert (done.steps, done.outcome, len(done.curve)) == (steps, "out of steps", steps + 1)
    # the same kernel, written out for every output
    coupled = descend(np.kron(x @ x.T, np.eye(2)), -wanted, batch=batch, step=step, seed=8, most=steps)
    assert coupled.loss == pytest.approx(expected, rel=1e-9)


def test_outcomes() -> None:
    x = np.random.default_rng(2).uniform(size=(30, 4))
    kernel, misses = FourierFeatures(4, 1.0).kernel(x, x), -one_hot(np.arange(30) % 3, 3)
    found = spectrum(kernel)
    good = descend(kernel, misses, batch=4, step=found.safe_step(4), seed=0, most=20_000, goal=0.3, look_every=7)
    assert good.outcome == "reached"
    assert good.loss <= 0.3 < good.curve[-2][1]
    assert good.steps % 7 == 0
    # the full gradient is the limit of large batches: there the bound is sharp
    full = {"batch": 4000, "seed": 0, "most": 400}
    assert descend(kernel, misses, step=2.4 * found.safe_step(4000), **full).outcome == "diverged"
    assert descend(kernel, misses, step=1.6 * found.safe_step(4000), **full).outcome == "out of steps"
    with pytest.raises(ValueError, match="does not fit"):
        descend(kernel, misses[:5], batch=1, step=0.1, seed=0, most=1)
    with pytest.raises(ValueError, match="step > 0"):
        descend(kernel, misses, batch=1, step=0.0, seed=0, most=1)


def test_two_regimes_on_both_sides_of_the_critical_batch() -> None:
    """Examples to a small loss hardly grow below m*, and nearly in proportion to m well above it."""
    from strongticket.data import load

    data = load("digits", seed=0).train.take(150)
    x = data.inputs.double().numpy()
    kernel, misses = FourierFeatures(64, 2.0).kernel(x, x), -one_hot(data.labels.numpy(), 10)
    found = spectrum(kernel)
    assert 3.0 < found.critical_batch < 5.5
    seen = {}
    for m in (1, 4, 16, 64):
        done = descend(kernel, misses, batch=m, step=found.safe_step(m), seed=1, most=20_000, goal=0.03)
        assert done.outcome == "reached"
        seen[m] = m * done.steps
    assert seen[4] / seen[1] < 1.8
    assert seen[64] / seen[16] > 2.5


def test_tangents_are_the_jacobian_of_what_is_kept() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)).double()
    generator = np.random.default_rng(6)
    x = torch.from_numpy(generator.normal(size=(5, 3)))
    mask = torch.from_numpy(generator.uniform(size=(4, 3)) < 0.5)
    found = tangents(net, x, {"0.weight": mask}, chunk=2)
    assert found.shape == (5, 2, int(mask.sum()) + 4 + 8)
    for i in range(5):
        for k in range(2):
            net.zero_grad()
            net(x[i : i + 1])[0, k].backward()
            parts = [parameter.grad.reshape(-1) for parameter in net.parameters() if parameter.grad is not None]
            parts[0] = parts[0][mask.reshape(-1)]
            torch.testing.assert_close(found[i, k], torch.cat(parts))
    rows = found.flatten(0, 1).numpy()
    np.testing.assert_allclose(tangent_kernel(net, x, {"0.weight": mask}), rows @ rows.T, rtol=1e-12)
    with pytest.raises(ValueError, match="no such parameter"):
        tangents(net, x, {"7.weight": mask})
    with pytest.raises(ValueError, match="has shape"):
        tangents(net, x, {"0.weight": mask.T})
