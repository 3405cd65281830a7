"""Row-wise OBS beside the reference method, in time and in loss: `python -m experiments.benchmarks.row_obs`.

Two layers of LeNet-300-100 trained here on MNIST, with 4,096 images, and two made of random numbers. The reference is
the released code of ExactOBS (Frantar 2022), typed anew: 32 rows at a time, an inverse for each, every step updates 32
matrices [d, d] in float32 and writes the weights into traces. All methods go from the same H to order and losses, and
are timed in one process by its CPU time, the reference on 32 rows; a round times each once, the least round counts.
Ratios are to the reference in float32, which is how it is released, and in the dtype of the method.

Losses are those of layers under the damped H, relative to the reference's budget (all single-step losses sorted).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks._machine import load_average, machine
from experiments.benchmarks._report import deliver
from strongticket.data import load
from strongticket.models import architecture
from strongticket.pruning.curvature.gram import layer_grams
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.budget import share_out, urgency
from strongticket.pruning.rows.layerwise import Block
from strongticket.pruning.rows.refit import refit, row_losses
from strongticket.pruning.rows.solve import Backend, Removal, remove_in_order
from strongticket.pruning.rows.swaps import swap
from strongticket.pruning.sparsegpt import SparseGPT
from strongticket.selection import kept_count, largest
from strongticket.training import train

__all__ = ["RowObsBenchmark", "main", "reference", "run"]

REFERENCE_ROWS = 32


@dataclass(frozen=True)
class RowObsBenchmark:
    """Time exact row-wise OBS as multiples of the reference method, and compare layer losses."""

    layers: tuple[str, ...] = ("100x300", "64x576", "300x784", "512x1024")
    """Layers by rows and columns: 100x300 and 300x784 are of LeNet-300-100, others are made of random numbers."""
    densities: tuple[float, ...] = (0.5, 0.3, 0.1, 0.05, 0.02)
    """Fractions kept at which losses are compared."""
    rounds: int = 3
    """Rounds of the timing."""
    reference: bool = True
    """Time the reference too; it takes nearly all of the time."""
    images: int = 4096
    """Examples behind H."""
    epochs: int = 10
    """Epochs of training of LeNet-300-100."""
    damping: float = 0.01
    """Added to the diagonal of H, as a multiple of its mean."""
    patience: int = 8
    """Exchanges uphill of the longer search."""
    out: Path | None = None
    """JSON file to write."""


def reference(weight: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor]:  # [rows, d], [d, d] -> [rows, d] twice
    """Prune up to 32 rows to nothing as the released code does; returns losses and columns, both by step.

    As there, each row inverts H without the columns of its zero weights, and traces [d + 1, rows, d] are written.
    """
    rows, d = weight.shape
    weight = weight.clone()
    matrices = torch.empty(rows, d, d, dtype=weight.dtype)
    mask = torch.zeros(rows, d, dtype=torch.bool)
    zeros = weight == 0
    first = int(zeros.sum(1).min())
    losses = torch.zeros(rows, d, dtype=weight.dtype)
    order = torch.zeros(rows, d, dtype=torch.int64)
    for i in range(rows):
        own = hessian.clone()
        own[zeros[i], :] = 0
        own[:, zeros[i]] = 0
        own[zeros[i], zeros[i]] = 1
        matrices[i] = torch.cholesky_inverse(torch.linalg.cholesky(own))
        order[i, :first] = zeros[i].nonzero()[:first, 0]
        mask[i, order[i, :first]] = True
    traces = torch.zeros(d + 1, rows, d, dtype=weight.dtype)
    traces[: first + 1] = weight
    each = torch.arange(rows)
    for step in range(first, d):
        diagonal = torch.diagonal(matrices, dim1=1, dim2=2)
        scores = weight**2 / diagonal
        scores[mask] = torch.inf
        pivot = torch.argmin(scores, 1)
        losses[:, step], order[:, step] = scores[each, pivot], pivot
        row = matrices[each, pivot]
        value = diagonal[each, pivot]
        weight -= row * (weight[each, pivot] / value).unsqueeze(1)
        mask[each, pivot] = True
        weight[mask] = 0
        traces[step + 1] = weight
        if step + 1 < d:
            row /= torch.sqrt(value).unsqueeze(1)
            matrices -= torch.bmm(row.unsqueeze(2), row.unsqueeze(1))
    return losses / 2, order


def _trained(benchmark: RowObsBenchmark) -> dict[str, Block]:
    """The first two layers of LeNet-300-100."""
    data = load("mnist")
    pixels = (data.train.inputs.flatten(1) - 0.1307) / 0.3081
    network = architecture("lenet-300-100+bias")
    trained = train(network, pixels, data.train.labels, epochs=benchmark.epochs, batch_size=128, lr=1.2e-3, seed=0)
    some = (pixels[: benchmark.images], data.train.labels[: benchmark.images])
    problem = Problem.of(trained.module, some)
    grams = layer_grams(problem)
    blocks = {}
    for name, weight in problem.weights.items():
        start = torch.ones_like(weight, dtype=torch.bool)
        blocks[f"{weight.shape[0]}x{weight.shape[1]}"] = Block.of(weight, grams[name][0], start, benchmark.damping)
    return blocks


def _drawn(rows: int, d: int, benchmark: RowObsBenchmark) -> Block:
    """Gaussian weights; inputs are rectified mixtures of d / 4 Gaussian factors with some noise."""
    generator = torch.Generator().manual_seed(rows * d)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mixed = normal(benchmark.images, d // 4) @ normal(d // 4, d) / (d / 4) ** 0.5
    inputs = torch.relu(mixed + 0.3 * normal(benchmark.images, d))
    weight = normal(rows, d) / d**0.5
    gram = inputs.T @ inputs / benchmark.images
    return Block.of(weight, gram, torch.ones(rows, d, dtype=torch.bool), benchmark.damping)


def _blocks(benchmark: RowObsBenchmark) -> Iterator[tuple[str, Block]]:
    trained: dict[str, Block] | None = None
    for name in benchmark.layers:
        if name in ("100x300", "300x784", "10x100"):
            trained = _trained(benchmark) if trained is None else trained
            yield name, trained[name]
        else:
            rows, d = map(int, name.split("x"))
            yield name, _drawn(rows, d, benchmark)


def _methods(block: Block, with_reference: bool) -> dict[str, tuple[Callable[[], Any], float]]:
    """What is timed, and by what its time is multiplied."""
    rows = len(block.target)

    def ours(backend: Backend, dtype: torch.dtype) -> Callable[[], Any]:
        def call() -> None:
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(block.hessian))
            remove_in_order(block.target.to(dtype), inverse.to(dtype), backend=backend)

        return call

    methods: dict[str, tuple[Callable[[], Any], float]] = {
        f"{backend} {str(dtype)[6:]}": (ours(backend, dtype), 1.0)
        for backend in ("numba", "torch")
        for dtype in (torch.float64, torch.float32)
    }
    if with_reference:

        def theirs(dtype: torch.dtype) -> Callable[[], Any]:
            weight, hessian = block.target[:REFERENCE_ROWS].to(dtype), block.hessian.to(dtype)
            return lambda: reference(weight, hessian)

        for dtype in (torch.float64, torch.float32):
            methods[f"reference {str(dtype)[6:]}"] = theirs(dtype), rows / min(rows, REFERENCE_ROWS)
    return methods


def _times(name: str, block: Block, benchmark: RowObsBenchmark) -> list[dict[str, Any]]:
    methods = _methods(block, benchmark.reference)
    for backend in ("numba", "torch"):
        for dtype in (torch.float64, torch.float32):  # compile
            remove_in_order(block.target[:1].to(dtype), block.inverse.to(dtype), backend=backend)
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(benchmark.rounds):
        for method, (call, factor) in methods.items():
            start = time.process_time()
            call()
            seconds[method].append(factor * (time.process_time() - start))
    best = {method: min(values) for method, values in seconds.items()}
    return [
        {
            "layer": name,
            "method": method,
            "cpu_s": value,
            "ratio": best["reference float32"] / value if benchmark.reference else None,
            "ratio_same_dtype": best[f"reference {method.split()[1]}"] / value if benchmark.reference else None,
        }
        for method, value in best.items()
    ]


def _agreement(name: str, block: Block, benchmark: RowObsBenchmark) -> dict[str, Any]:
    """The reference in float64 on its first rows, beside the compiled kernel: are orders and masks the same?"""
    weight = block.target[:REFERENCE_ROWS]
    losses, order = reference(weight, block.hessian)
    removal = remove_in_order(weight, block.inverse)
    size = weight.numel()
    differences = {}
    for density in benchmark.densities:
        masks = [
            given.kept(share_out([urgency(given.losses, "sort")], size - kept_count(density, size))[0], weight.shape[1])
            for given in (Removal(order, losses), removal)
        ]
        differences[str(density)] = int((masks[0] != masks[1]).sum())
    return {
        "layer": name,
        "rows": len(weight),
        "equal_order": bool(torch.equal(order, removal.order)),
        "mask_differences": differences,
        "loss_difference": float(((losses - removal.losses).abs() / removal.losses.clamp(min=1e-300)).max()),
    }


def _loss_rows(name: str, block: Block, benchmark: RowObsBenchmark) -> list[dict[str, Any]]:
    removal = remove_in_order(block.target, block.inverse)
    rows: list[dict[str, Any]] = []
    size, d = block.target.numel(), block.target.shape[1]
    for density in benchmark.densities:
        count = kept_count(density, size)
        found: dict[str, tuple[Tensor, float]] = {}

        def note(method: str, kept: Tensor, seconds: float, into: dict[str, tuple[Tensor, float]] = found) -> None:
            into[method] = kept, seconds

        for rule in ("sort", "heap", "hull", "uniform"):
            start = time.process_time()
            steps = share_out([urgency(removal.losses, rule)], size - count)[0]
            note(rule, removal.kept(steps, d), time.process_time() - start)
        for method, patience in (("hull + swap", 0), ("hull + longer swap", benchmark.patience)):
            start = time.process_time()
            swapped = swap(block.target, block.hessian, found["hull"][0], patience=patience)
            note(method, swapped.kept, time.process_time() - start)
        start = time.process_time()
        note("magnitude", largest(block.target.abs(), count), time.process_time() - start)
        losses = {method: _loss(block, refit(block.target, block.hessian, kept)) for method, (kept, _) in found.items()}
        losses["magnitude, no update"] = _loss(block, block.target * found["magnitude"][0])
        losses |= _sparsegpt(block, density, benchmark.damping)
        rows += [
            {
                "layer": name,
                "density": density,
                "method": method,
                "loss": loss,
                "ratio": loss / losses["sort"],
                "cpu_s": found[method][1] if method in found else None,
            }
            for method, loss in losses.items()
        ]
    return rows


def _loss(block: Block, weight: Tensor) -> float:
    return float(row_losses(weight, block.target, block.hessian).sum())


def _sparsegpt(block: Block, density: float, damping: float) -> dict[str, float]:
    """SparseGPT's masks on a layer with these second moments: inputs that have them stand in for the images."""
    layer = nn.Linear(block.target.shape[1], len(block.target), bias=False, dtype=torch.float64)
    layer.weight.data.copy_(block.original)
    values, vectors = torch.linalg.eigh(block.gram)
    inputs = (vectors * (values.clamp(min=0) * len(values)).sqrt()).T
    problem = Problem.of(layer, (inputs, torch.zeros(len(inputs), dtype=torch.int64)))
    losses = {}
    for method, fit in (("sparsegpt", False), ("sparsegpt, refit", True)):
        pruned = SparseGPT(damping=damping, refit=fit).prune(problem, density)
        losses[method] = _loss(block, pruned.weights["weight"] * ~block.dead)
    return losses


def run(benchmark: RowObsBenchmark) -> dict[str, Any]:
    """Time and compare everything, and return the rows with what they were measured on."""
    torch.set_num_threads(1)
    times, agreement, losses = [], [], []
    for name, block in _blocks(benchmark):
        times += _times(name, block, benchmark)
        agreement += [_agreement(name, block, benchmark)] if benchmark.reference else []
        losses += _loss_rows(name, block, benchmark)
    parameters = {key: value for key, value in asdict(benchmark).items() if key != "out"}
    return {
        "name": "row_obs",
        "parameters": parameters,
        "times": times,
        "agreement": agreement,
        "losses": losses,
        "environment": {**machine(), "load_average": load_average()},
    }


def table(result: dict[str, Any]) -> str:
    """The rows as text."""
    lines = [f"{'layer':>10} {'method':>18} {'CPU s':>10} {'x float32':>10} {'x same dtype':>13}"]
    for row in result["times"]:
        ratios = ["-" if row[key] is None else f"{row[key]:.1f}" for key in ("ratio", "ratio_same_dtype")]
        lines.append(f"{row['layer']:>10} {row['method']:>18} {row['cpu_s']:>10.4f} {ratios[0]:>10} {ratios[1]:>13}")
    lines += [
        f"{row['layer']}: {row['rows']} rows in float64: equal order {row['equal_order']}, different masks "
        f"{row['mask_differences']}, losses within {row['loss_difference']:.1e}"
        for row in result["agreement"]
    ]
    found = {(row["layer"], row["method"], row["density"]): row["ratio"] for row in result["losses"]}
    densities = list(dict.fromkeys(density for _, _, density in found))
    lines += [f"{'layer':>10} {'loss / sort':>20} " + " ".join(f"{density:>8}" for density in densities)]
    for layer, method in dict.fromkeys((layer, method) for layer, method, _ in found):
        values = " ".join(f"{found[layer, method, density]:>8.4f}" for density in densities)
        lines.append(f"{layer:>10} {method:>20} {values}")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from a terminal."""
    import tyro

    benchmark = tyro.cli(RowObsBenchmark, prog="python -m experiments.benchmarks.row_obs")
    deliver(lambda: run(benchmark), table, benchmark.out)


if __name__ == "__main__":
    main()
