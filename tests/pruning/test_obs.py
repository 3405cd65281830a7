"""Dense OBS: its formulas against least squares, its paths against the literal algorithm, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from experiments._small_nets import Shape, Task, descend
from experiments.small_obs import least_saliencies
from strongticket.mask import Mask
from strongticket.pruning import Problem
from strongticket.pruning.obd import OBD
from strongticket.pruning.obs import OBS
from strongticket.pruning.quadratic import (
    SingularCurvature,
    inverse_by_cholesky,
    inverse_by_recursion,
    joint_increase,
    joint_update,
    obd_saliencies,
    obs_delete,
    obs_order,
    obs_saliencies,
)
from strongticket.pruning.rows.solve import remove_in_order


def quadratic(seed: int, n: int, condition: float, units: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return (A, H = A'A, w): H of this condition number, times units of the weights up to 10^units apart."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    basis, other = (torch.linalg.qr(normal(n, n))[0] for _ in range(2))
    values = torch.logspace(0, torch.tensor(condition).log10().item() / 2, n, dtype=torch.float64)
    scale = 10 ** (units * torch.rand(n, generator=generator, dtype=torch.float64) - units / 2)
    factor = (basis * values) @ other.T * scale
    return factor, factor.T @ factor, normal(n) / scale


def least_squares(factor: Tensor, weights: Tensor, removed: list[int]) -> tuple[Tensor, float]:
    """The cheapest change that makes weights 0, from the factor A of H: of condition number sqrt(cond H)."""
    gone = torch.zeros(len(weights), dtype=torch.bool)
    gone[removed] = True
    change = torch.where(gone, -weights, 0.0)
    if not bool(gone.all()):
        size = factor[:, ~gone].norm(dim=0)  # units of the weights do not matter
        found = torch.linalg.lstsq(factor[:, ~gone] / size, -factor @ change, driver="gelsd").solution
        change[~gone] = found / size
    return change, float((factor @ change).square().sum() / 2)


def off(found: Tensor, true: Tensor, hessian: Tensor) -> float:
    """Largest error of a change relative to the largest change, in units that make the diagonal of H 1."""
    units = hessian.diagonal().sqrt()
    return float(((found - true) * units).abs().max() / (true * units).abs().max())


HESSIANS = st.tuples(
    st.integers(0, 2**32), st.integers(1, 24), st.sampled_from([1.0, 1e2, 1e4, 1e6]), st.sampled_from([0.0, 6.0])
)


@given(HESSIANS, st.integers(0, 23))
def test_one_deletion_is_the_constrained_minimum(setting: tuple[int, int, float, float], q: int) -> None:
    factor, hessian, weights = quadratic(*setting)
    q %= len(weights)
    inverse = inverse_by_cholesky(hessian)
    change, cost = least_squares(factor, weights, [q])
    moved, left = obs_delete(weights, inverse, q)
    assert float(obs_saliencies(weights, inverse)[q]) == pytest.approx(cost, rel=1e-8)
    assert off(moved - weights, change, hessian) < 1e-8
    assert float(moved[q]) == 0.0
    kept = torch.arange(len(weights)) != q
    if bool(kept.any()):
        true = inverse_by_cholesky(hessian[kept][:, kept])
        size = true.diagonal().sqrt()
        assert float(((left[kept][:, kept] - true) / torch.outer(size, size)).abs().max()) < 1e-8
    # OBD's saliency is the cost when no other weight moves, never less
    alone = obd_saliencies(weights, hessian.diagonal())[q]
    assert float(alone) == pytest.approx(float(weights[q] ** 2 * hessian[q, q] / 2), rel=1e-14)
    assert float(alone) >= cost * (1 - 1e-8)


@given(HESSIANS)
def test_greedy_losses_add_up_to_the_joint_loss(setting: tuple[int, int, float, float]) -> None:
    factor, hessian, weights = quadratic(*setting)
    inverse, n = inverse_by_cholesky(hessian), len(weights)
    order, losses = obs_order(weights, inverse, n)
    assert sorted(order.tolist()) == list(range(n))
    for count in {1, n // 2, n} - {0}:
        removed = order[:count].tolist()
        change, cost = least_squares(factor, weights, removed)
        assert float(losses[:count].sum()) == pytest.approx(cost, rel=1e-8)
        assert joint_increase(weights, inverse, removed) == pytest.approx(cost, rel=1e-8)
        assert off(joint_update(weights, inverse, removed) - weights, change, hessian) < 1e-8
    assert float(losses.sum()) == pytest.approx(float(weights @ hessian @ weights / 2), rel=1e-8)


def test_the_order_of_deletion_does_not_matter_for_a_set() -> None:
    _, hessian, weights = quadratic(3, 5, 1e3)
    inverse = inverse_by_cholesky(hessian)
    for order in permutations((0, 2, 3)):
        moved, left, cost = weights, inverse, 0.0
        for q in order:
            cost += float(obs_saliencies(moved, left)[q])
            moved, left = obs_delete(moved, left, q)
        assert cost == pytest.approx(joint_increase(weights, inverse, [0, 2, 3]), rel=1e-10)
        torch.testing.assert_close(moved, joint_update(weights, inverse, [0, 2, 3]), rtol=1e-10, atol=1e-10)


@given(st.integers(0, 2**32), st.integers(2, 20))
def test_the_joint_update_is_not_the_sum_of_single_ones(seed: int, n: int) -> None:
    _, hessian, weights = quadratic(seed, n, 1e3)
    inverse = inverse_by_cholesky(hessian)
    removed = list(range(n // 2 or 1))
    singles = sum((obs_delete(weights, inverse, q)[0] - weights for q in removed), torch.zeros(n, dtype=torch.float64))
    summed = weights + singles
    summed[removed] = 0
    change = summed - weights
    assert joint_increase(weights, inverse, removed) <= float(change @ hessian @ change / 2) * (1 + 1e-10)


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 30), st.sampled_from([1.0, 1e-2, 1e-4]))
def test_the_recursion_is_the_inverse(seed: int, n: int, count: int, damping: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randn(count, n, generator=generator, dtype=torch.float64)
    direct = inverse_by_cholesky(columns.T @ columns / count + damping * torch.eye(n, dtype=torch.float64))
    found = inverse_by_recursion(columns, damping)
    assert float((found - direct).abs().max() / direct.abs().max()) < 1e-10


@given(st.integers(0, 2**32), st.integers(1, 24))
def test_the_kernel_deletes_in_the_literal_order(seed: int, n: int) -> None:
    _, hessian, weights = quadratic(seed, n, 1e3)
    inverse = inverse_by_cholesky(hessian)
    order, losses = obs_order(weights, inverse, n)
    removal = remove_in_order(weights[None], inverse, n)
    assert removal.order[0].tolist() == order.tolist()
    torch.testing.assert_close(removal.losses[0], losses, rtol=1e-9, atol=1e-12)


def test_quadratics_that_make_no_sense_are_refused() -> None:
    _, hessian, weights = quadratic(0, 3, 10.0)
    inverse = inverse_by_cholesky(hessian)
    with pytest.raises(ValueError, match="expected weights"):
        obs_saliencies(weights[:2], inverse)
    with pytest.raises(ValueError, match="not positive definite"):
        obs_saliencies(weights, -inverse)
    with pytest.raises(ValueError, match="cannot be deleted"):
        obs_delete(*obs_delete(weights, inverse, 1), 1)
    with pytest.raises(ValueError, match="different indices"):
        joint_increase(weights, inverse, [1, 1])
    with pytest.raises(ValueError, match="as many"):
        obd_saliencies(weights, hessian)
    with pytest.raises(ValueError, match="NaN"):
        inverse_by_cholesky(hessian * torch.nan)
    with pytest.raises(ValueError, match="above 0"):
        inverse_by_recursion(hessian, 0.0)
    assert joint_increase(weights, inverse, []) == 0.0
    assert bool(torch.isinf(obs_saliencies(*obs_delete(weights, inverse, 0))[0]))


@pytest.mark.parametrize(("spectrum", "least"), [([-0.5, 1.0, 2.0], -0.5), ([0.0, 1.0, 2.0], 0.0)])
def test_singular_and_indefinite_matrices_are_refused_with_advice(spectrum: list[float], least: float) -> None:
    basis = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    matrix = (basis * torch.tensor(spectrum, dtype=torch.float64)) @ basis.T
    matrix = (matrix + matrix.T) / 2
    with pytest.raises(SingularCurvature, match="damping") as caught:
        inverse_by_cholesky(matrix)
    assert caught.value.least == pytest.approx(least, abs=1e-12)
    inverse_by_cholesky(matrix + 0.51 * torch.eye(3, dtype=torch.float64))  # units that differ are no reason
    inverse_by_cholesky(torch.diag(torch.tensor([1e-12, 1.0, 1e12], dtype=torch.float64)))


@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([1e-3, 1.0, 1e3, 1e6, 1e9]), st.booleans())
def test_the_damping_advised_is_enough(seed: int, n: int, size: float, single: bool) -> None:
    """Of singular and of indefinite matrices, in both precisions."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, max(1, n // 2), generator=generator, dtype=torch.float64)
    matrix = size * (factor @ factor.T if seed % 2 and n > 1 else -factor @ factor.T)
    matrix = (matrix + matrix.T) / 2
    matrix = matrix.float() if single else matrix
    with pytest.raises(SingularCurvature) as caught:
        inverse_by_cholesky(matrix)
    advised = float(str(caught.value).split("take a damping of ")[1].split(" or more")[0])
    inverse_by_cholesky(matrix + advised * torch.eye(n, dtype=matrix.dtype))
    if float(matrix.diagonal().min()) < 0:  # with some damping on the diagonal already, the advice is about the whole
        with pytest.raises(SingularCurvature) as again:
            inverse_by_cholesky(matrix + advised / 2 * torch.eye(n, dtype=matrix.dtype), damping=advised / 2)
        total = float(str(again.value).split("take a damping of ")[1].split(" or more")[0])
        inverse_by_cholesky(matrix + total * torch.eye(n, dtype=matrix.dtype))


def test_the_recursion_refuses_what_it_cannot_invert_and_takes_columns_in_parts() -> None:
    columns = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        inverse_by_recursion(iter(torch.split(columns, 2)), 0.1, 9), inverse_by_recursion(columns, 0.1)
    )
    for scale, damping in ((1e4, 1e-8), (1e3, 1e-12)):
        with pytest.raises(SingularCurvature, match="take a damping of"):
            inverse_by_recursion(columns[:3] * scale, damping)
    uneven = columns * torch.tensor([1e6, 1, 1, 1, 1, 1], dtype=torch.float64)  # condition numbers forgive this, not it
    with pytest.raises(SingularCurvature):
        inverse_by_recursion(uneven, 1e-8)
    for bad in (columns.long(), columns * torch.nan, columns[0]):
        with pytest.raises(ValueError, match="finite floating-point columns"):
            inverse_by_recursion(bad, 0.1)
    with pytest.raises(ValueError, match="whole number"):
        inverse_by_recursion(columns, 0.1, 0)
    with pytest.raises(ValueError, match="count of examples"):
        inverse_by_recursion([columns], 0.1)


def test_sets_are_indices_or_flags() -> None:
    _, hessian, weights = quadratic(1, 5, 10.0)
    inverse = inverse_by_cholesky(hessian)
    flags = torch.tensor([False, True, False, True, True])
    for given_set in (flags, flags.tolist(), flags.numpy()):
        assert joint_increase(weights, inverse, given_set) == joint_increase(weights, inverse, [1, 3, 4])
        assert torch.equal(joint_update(weights, inverse, given_set), joint_update(weights, inverse, [1, 3, 4]))
    with pytest.raises(ValueError, match="flags"):
        joint_update(weights, inverse, flags[:4])
    with pytest.raises(ValueError, match="whole numbers"):
        joint_update(weights, inverse, torch.tensor([0.7]))


def test_matrices_and_steps_that_make_no_sense_are_refused() -> None:
    _, hessian, weights = quadratic(0, 3, 10.0)
    inverse = inverse_by_cholesky(hessian)
    with pytest.raises(ValueError, match=r"matrix \[n, n\]"):
        inverse_by_cholesky(hessian[:2])
    with pytest.raises(ValueError, match="symmetric"):
        inverse_by_cholesky(torch.tensor([[2.0, 5.0], [0.0, 2.0]]))
    with pytest.raises(ValueError, match="weights hold NaN"):
        obs_order(weights * torch.tensor([1.0, torch.nan, 1.0]), inverse, 1)
    with pytest.raises(ValueError, match="at most 3 steps"):
        obs_order(weights, inverse, 4)
    with pytest.raises(ValueError, match="whole number"):
        obs_order(weights, inverse, -1)


# ---------------------------------------------------------------- networks


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def classified(dtype: torch.dtype = torch.float64, **options: Any) -> Problem:
    module = network(dtype)
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(40, 4, generator=generator, dtype=torch.float64).to(dtype)
    return Problem.of(module, (inputs, torch.randint(0, 3, (40,), generator=generator)), **options)


def regression(rows: int = 30, biased: bool = False, at_minimum: bool = True) -> tuple[Problem, Callable[[Any], float]]:
    """A linear network, whose loss is exactly quadratic; and its mean loss at given weights."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    inputs[:, 3] = inputs[:, 0] + 0.1 * inputs[:, 3]
    targets = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    module = nn.Linear(6, 2, bias=biased).double()
    if at_minimum:
        module.weight.data.copy_(torch.linalg.lstsq(inputs, targets).solution.T)
    else:
        module.weight.data.copy_(torch.randn(2, 6, generator=generator, dtype=torch.float64))

    def loss(module: Any) -> float:
        return float(0.5 * (module(inputs) - targets).square().sum(1).mean())

    return Problem.of(module, (inputs, targets), loss="squared-error"), loss


def literal(problem: Problem, hessian: Tensor, slope: Tensor | None, count: int) -> tuple[Tensor, list[int]]:
    """The paper, one weight after the other, on whole matrices."""
    weights = torch.cat([weight.reshape(-1) for weight in problem.weights.values()])
    inverse = torch.linalg.inv(hessian)
    if slope is not None:
        weights = weights - inverse @ slope
    order, _ = obs_order(weights, inverse, count)
    return joint_update(weights, inverse, order), order.tolist()


def whole(problem: Problem, weights: Tensor) -> Tensor:
    """Outputs at a vector of weights."""
    parts = torch.split(weights, [weight.numel() for weight in problem.weights.values()])
    named = {name: part.view(problem.shapes[name]) for name, part in zip(problem.names, parts, strict=True)}
    outputs: Tensor = torch.func.functional_call(problem.module, named, (problem.data[0],))
    return outputs


@pytest.mark.parametrize("curvature", ["outer-product", "ggn", "hessian"])
@pytest.mark.parametrize("newton", [False, True])
def test_paths_are_the_literal_algorithm_on_the_literal_matrices(curvature: Any, newton: bool) -> None:
    problem, damping = classified(), 0.5 if curvature == "hessian" else 1e-2
    labels, weights = problem.data[1], torch.cat([w.reshape(-1) for w in problem.weights.values()])

    def losses(vector: Tensor) -> Tensor:
        return nn.functional.cross_entropy(whole(problem, vector), labels, reduction="none")

    if curvature == "hessian":
        slope_of = torch.func.jacrev(lambda vector: losses(vector).mean())
        matrix = torch.func.jacrev(slope_of)(weights)
    elif curvature == "outer-product":
        slopes = torch.func.jacrev(losses)(weights)
        matrix = slopes.T @ slopes / len(labels)
    else:
        slopes, p = (
            torch.func.jacrev(lambda vector: whole(problem, vector))(weights),
            whole(problem, weights).softmax(1),
        )
        bend = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        matrix = torch.einsum("nki,nkl,nlj->ij", slopes, bend, slopes) / len(labels)
    matrix = matrix + damping * torch.eye(len(weights), dtype=torch.float64)
    slope = torch.func.grad(lambda vector: losses(vector).mean())(weights) if newton else None
    path = OBS(curvature=curvature, damping=damping, newton=newton).path(problem, [0.9, 0.0, 0.4, 0.2])
    for pruned in path:
        expected, order = literal(problem, matrix, slope, problem.size - pruned.mask.count)
        found = torch.cat([pruned.weights[name].reshape(-1) for name in problem.names])
        assert pruned.stats["deleted"] == order
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
        change = expected - weights
        model = float(change @ matrix @ change / 2) + (0.0 if slope is None else float(slope @ change))
        assert pruned.predicted_increase == pytest.approx(model, rel=1e-8, abs=1e-12)
        assert sum(pruned.stats["losses"]) + pruned.stats["newton"] == pytest.approx(model, rel=1e-8, abs=1e-12)
    counts = [pruned.mask.count for pruned in path]
    assert counts == [32, 0, 14, 7]
    assert (path[3].mask & path[2].mask) == path[3].mask  # one path: nested


@pytest.mark.parametrize("curvature", ["outer-product", "ggn"])
@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
def test_the_recursion_prunes_as_the_cholesky_factor_does(curvature: Any, loss: Any) -> None:
    if loss == "squared-error":
        problem, _ = regression()
    else:
        problem = classified()
    ours, theirs = (
        OBS(curvature=curvature, damping=1e-3, inverse=inverse).path(problem, [0.5, 0.1])
        for inverse in ("cholesky", "recursion")
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a.stats["deleted"] == b.stats["deleted"]
        assert a.predicted_increase == pytest.approx(b.predicted_increase, rel=1e-9)


@pytest.mark.parametrize("at_minimum", [True, False])
@pytest.mark.parametrize("recompute", [None, 1, 5])
def test_a_quadratic_loss_grows_exactly_as_predicted(at_minimum: bool, recompute: int | None) -> None:
    """From the minimum, and from elsewhere by way of the Newton step; recomputing changes nothing."""
    problem, loss = regression(at_minimum=at_minimum)
    path = OBS(damping=0.0, newton=not at_minimum, recompute=recompute).path(problem, [1.0, 0.75, 0.5, 0.25, 0.0])
    before = loss(problem.module)
    for pruned in path:
        after = loss(pruned.module())
        assert after - before == pytest.approx(pruned.predicted_increase, rel=1e-8, abs=1e-12)
    increases = [float(pruned.predicted_increase or 0.0) for pruned in path]
    assert increases == sorted(increases)
    if recompute:
        once = OBS(damping=0.0, newton=not at_minimum).path(problem, [0.5])[0]
        assert once.mask == path[2].mask
        assert path[2].stats["recomputed"] == (6 - 1) // recompute


def test_densities_do_not_depend_on_each_other() -> None:
    problem, surgeon = classified(), OBS(damping=0.1, recompute=7, newton=True)
    path = surgeon.path(problem, [0.3, 0.8, 0.3])
    for density, pruned in zip([0.3, 0.8, 0.3], path, strict=True):
        alone = surgeon.prune(problem, density)
        assert alone.mask == pruned.mask
        assert alone.predicted_increase == pruned.predicted_increase
    assert surgeon.path(problem, []) == ()


def test_a_given_set_goes_at_once() -> None:
    problem, surgeon = classified(), OBS(damping=1e-2)
    path = surgeon.prune(problem, 0.4)
    again = surgeon.refit(problem, path.mask)
    assert again.mask == path.mask
    assert again.predicted_increase == pytest.approx(path.predicted_increase, rel=1e-12)
    for name in problem.names:
        torch.testing.assert_close(again.weights[name], path.weights[name], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="within what is left"):
        surgeon.refit(classified(start=path.mask), problem.start)
    everything = surgeon.refit(problem, problem.start)
    assert everything.predicted_increase == 0.0
    assert all(bool((everything.weights[name] == problem.weights[name]).all()) for name in problem.names)


def test_pruned_weights_stay_out_and_others_stay_as_they_are() -> None:
    module = network(torch.float32)
    kept = Mask({"0.weight": torch.rand(5, 4) < 0.6, "2.weight": torch.rand(3, 5) < 0.6})
    problem = classified(torch.float32, start=kept)
    for pruned in OBS(damping=1e-3).path(problem, [1.0, 0.3, 0.0]):
        assert (pruned.mask & kept) == pruned.mask
        for name, weight in pruned.weights.items():
            assert weight.dtype == torch.float32
            assert bool((weight[~pruned.mask[name]] == 0).all())
        changed = pruned.module().get_parameter("0.bias")
        assert bool((changed == module.get_parameter("0.bias")).all())
    assert OBS().prune(problem, 1.0).mask == kept
    assert OBS(damping=1e-3).prune(problem, 0.3).mask.count == 11  # of all 35, pruned before or not


def test_dead_inputs_and_fewer_examples_than_weights() -> None:
    problem, _ = regression(rows=4)
    inputs = problem.data[0].clone()
    inputs[:, 2] = 0
    dead = Problem.of(problem.module, (inputs, problem.data[1]), loss="squared-error")
    with pytest.raises(SingularCurvature, match=r"eigenvalues from .* damping"):
        OBS(damping=0.0).prune(dead, 0.5)
    pruned = OBS(damping=1e-6).prune(dead, 10 / 12)
    assert bool((pruned.weights["weight"][:, 2] == 0).all()) or float(pruned.predicted_increase or 0) < 1e-4
    assert pruned.mask.count == 10


def test_layers_of_one_weight_and_biases_by_name() -> None:
    module = nn.Linear(1, 1).double()
    data = torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    problem = Problem.of(module, data, loss="squared-error", names=["weight", "bias"])
    path = OBS().path(problem, [1.0, 0.5, 0.0])
    assert [pruned.mask.count for pruned in path] == [2, 1, 0]
    weights = torch.cat([module.weight.detach().reshape(-1), module.bias.detach()])
    hessian = torch.tensor([[2.5, 1.5], [1.5, 1.0]], dtype=torch.float64) + 1e-6 * torch.eye(2, dtype=torch.float64)
    assert path[2].predicted_increase == pytest.approx(float(weights @ hessian @ weights / 2), rel=1e-9)


def test_what_cannot_be_pruned_is_refused() -> None:
    problem = classified()
    with pytest.raises(SingularCurvature, match="eigenvalues from -"):
        OBS(curvature="hessian", damping=0.0).prune(problem, 0.5)
    with pytest.raises(ValueError, match="nan"):
        OBS().prune(classified(loss=lambda outputs, _: (outputs * torch.nan).mean()), 0.5)
    with pytest.raises(ValueError, match="density"):
        OBS().prune(problem, 1.5)
    with pytest.raises(ValueError, match="data"):
        OBS().prune(Problem.of(network()), 0.5)
    wide = nn.Linear(100, 51)
    with pytest.raises(ValueError, match="at most 5,000 weights"):
        OBS().prune(Problem.of(wide, (torch.randn(3, 100), torch.randn(3, 51)), loss="squared-error"), 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curvature": "diagonal"}, "curvature among"),
        ({"inverse": "lu"}, "cholesky"),
        ({"damping": -1.0}, "damping"),
        ({"damping": float("nan")}, "damping"),
        ({"inverse": "recursion", "damping": 0.0}, "recursion"),
        ({"inverse": "recursion", "curvature": "hessian"}, "recursion"),
        ({"recompute": 0}, "at least 1"),
        ({"recompute": 1.5}, "whole number"),
        ({"chunk": 0}, "whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OBS(**options)


@pytest.mark.parametrize("recompute", [None, 5])
def test_a_newton_step_that_raises_the_loss_is_refused(recompute: int | None) -> None:
    problem = classified()
    with pytest.raises(ValueError, match=r"Newton step raises the mean loss from .* raise the damping, 1e-05"):
        OBS(damping=1e-5, newton=True, recompute=recompute).prune(problem, 0.5)
    OBS(damping=0.1, newton=True, recompute=recompute).prune(problem, 0.5)


@pytest.mark.parametrize("curvature", ["outer-product", "ggn", "hessian"])
def test_chunks_do_not_matter(curvature: Any) -> None:
    problem = classified()
    for inverse in ("cholesky", "recursion") if curvature != "hessian" else ("cholesky",):
        one, other = (OBS(curvature, 0.5, inverse, chunk=chunk).prune(problem, 0.3) for chunk in (None, 7))  # type: ignore[arg-type]
        assert one.stats["deleted"] == other.stats["deleted"]
        assert one.predicted_increase == pytest.approx(other.predicted_increase, rel=1e-9)


def test_the_advice_for_an_indefinite_hessian_is_a_damping_that_works() -> None:
    problem = classified()
    with pytest.raises(SingularCurvature) as caught:
        OBS(curvature="hessian", damping=1e-3).prune(problem, 0.5)
    advised = float(str(caught.value).split("take a damping of ")[1].split(" or more")[0])
    OBS(curvature="hessian", damping=advised).prune(problem, 0.5)


class Xor(nn.Module):
    """A trained 2-2-1 network, its weights in the order of `experiments._small_nets`."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        first, bias, second, last = Shape(2, 2).parts(weights)
        self.first, self.bias = nn.Parameter(first.clone()), nn.Parameter(bias.clone())
        self.second, self.last = nn.Parameter(second.clone()), nn.Parameter(last.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(inputs @ self.first.T + self.bias)
        return torch.sigmoid(hidden @ self.second + self.last).unsqueeze(1)


def test_only_obs_deletes_a_weight_that_xor_can_do_without() -> None:
    """The claim of hassibi1992second, by the library's own OBS and OBD; the experiment has more networks."""
    inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    task = Task(Shape(2, 2), inputs, np.array([0.1, 0.9, 0.9, 0.1]))
    starts = torch.randn(80, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    weights, errors = descend(task, starts, rate=2.0, steps=20_000, goal=5e-4)
    trained = weights[errors < 5e-4]
    assert len(trained) >= 40
    data = torch.from_numpy(inputs), torch.from_numpy(task.targets).unsqueeze(1)
    right = {"obs": 0, "obd": 0}
    for net in trained:
        module = Xor(torch.from_numpy(net))
        problem = Problem.of(module, data, loss="squared-error", names=[name for name, _ in module.named_parameters()])
        pruned = OBS(damping=1e-5).prune(problem, 8 / 9)
        kept = np.ones(9, dtype=bool)
        assert pruned.stats["deleted"] == least_saliencies("obs", task, net, kept, 1e-5, 1)
        saliencies = torch.cat([value.reshape(-1) for value in OBD().score(problem).values()])
        without = torch.from_numpy(net).clone()
        without[saliencies.argmin()] = 0
        for method, one in (("obs", pruned.module()), ("obd", Xor(without))):
            right[method] += bool(((one(data[0]) > 0.5) == (data[1] > 0.5)).all())
    assert right["obs"] >= 0.9 * len(trained)
    assert right["obd"] <= 0.2 * len(trained)
