"""What a step of mask search costs beside a dense step: `python -m experiments.benchmarks.mask_search`.

A step is zero_grad, forward, cross-entropy, backward and update of one batch of random inputs. In each round every
method runs on the same network, in an order that rotates, after one step that is not measured; figures are the median
over rounds of method / dense within the round. One thread is timed by its CPU time, several by the clock. "sorting" is
the way of the released code of edge-popup: every layer's scores are sorted and the mask is written by index, in every
forward pass, also at evaluation. With `--device cuda` the search runs in flat buffers by Triton kernels, and by plain
torch operations on the same buffers; steps that are replayed as one CUDA graph are compared with a dense step that is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks._machine import load_average
from experiments.benchmarks._report import deliver
from strongticket.models import architecture
from strongticket.runs import environment
from strongticket.search import (
    AbstractMethod,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    ScoreOptimiser,
    Searcher,
    SignedSupermask,
    random_source,
)
from strongticket.search.graphed import GraphedStep
from strongticket.search.updates.choice import Update, update_of
from strongticket.search.updates.segmented import SegmentedTopK
from strongticket.selection import kept_count, largest
from strongticket.ticket import Source

__all__ = ["MaskSearchBenchmark", "main", "run"]

_GRAPH = ", one graph"
_INPUTS = {"lenet-300-100": (1, 28, 28)}


@dataclass(frozen=True)
class MaskSearchBenchmark:
    """Time steps of mask search as multiples of dense steps of the same network."""

    networks: tuple[str, ...] = ("lenet-300-100", "conv4", "resnet18-cifar")
    """Architectures by name."""
    batch: int = 128
    """Examples per step."""
    density: float = 0.5
    """Fraction kept."""
    rounds: tuple[int, ...] = (21, 7, 4)
    """Rounds per network."""
    steps: tuple[int, ...] = (10, 1, 1)
    """Steps per round and network."""
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    """Numbers of scores at which the selection alone is timed."""
    threads: int = 1
    """Threads of torch."""
    device: str = "cpu"
    """Where to run; a GPU is waited for at the beginning and the end of a round."""
    family: bool = False
    """Time the other methods of the family as well."""
    out: Path | None = None
    """JSON file to write."""


class _Sorted(torch.autograd.Function):
    """A mask by sorting, with the gradient passed straight through."""

    @staticmethod
    def forward(ctx: Any, ranks: Tensor, density: float) -> Tensor:
        """Ones for the largest scores."""
        mask = ranks.clone()
        order = ranks.flatten().sort().indices
        dropped = ranks.numel() - kept_count(density, ranks.numel())
        flat = mask.flatten()
        flat[order[:dropped]] = 0
        flat[order[dropped:]] = 1
        return flat.view(ranks.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient on."""
        return gradients[0], None


class _SortedMask(nn.Module):
    """Parametrization of a weight by its scores."""

    weight: Tensor

    def __init__(self, weight: Tensor, density: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.density = density

    def forward(self, score: Tensor) -> Tensor:
        """The masked weight."""
        mask: Tensor = _Sorted.apply(score.abs(), self.density)  # type: ignore[no-untyped-call]
        return self.weight * mask


def _optimiser(module: nn.Module, lr: float) -> torch.optim.Optimizer:
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=0.9, weight_decay=1e-4)


def _step(module: nn.Module, data: tuple[Tensor, Tensor], zero: Callable[[], Any], move: Callable[[], Any]) -> None:
    loss = nn.functional.cross_entropy(module(data[0]), data[1])
    zero()
    loss.backward()  # type: ignore[no-untyped-call]
    move()


def _methods(
    name: str, density: float, data: tuple[Tensor, Tensor], device: str, family: bool
) -> tuple[dict[str, tuple[nn.Module, Any]], dict[str, Searcher]]:
    """Each method's module and one step of it, and the searchers among them."""
    network = architecture(name)
    source = random_source(network, seed=0)
    made: dict[str, tuple[nn.Module, Any]] = {}

    def fresh() -> nn.Module:
        return network.module({**source.weights(), **network.initial_state()}).to(device)

    dense = fresh().requires_grad_(True)
    optimiser = _optimiser(dense, 0.01)
    made["dense"] = dense, lambda: _step(dense, data, optimiser.zero_grad, optimiser.step)
    kinds = ["search", "search, plain torch"] + (["search, flat torch", "search" + _GRAPH] if device != "cpu" else [])
    searchers = {label: _searcher(source, EdgePopup(density), fresh(), label) for label in kinds}
    if family:
        searchers |= {method.key: _searcher(source, method, fresh(), method.key) for method in _family(density)}
    for label, searcher in searchers.items():
        made[label] = (
            searcher.module,
            lambda s=searcher: _step(s.module, data, s.zero_grad, lambda: s.step(0.1, progress=0.0)),
        )
    if device != "cpu":
        graphed = GraphedStep(searchers["search" + _GRAPH], _loss_of(searchers["search" + _GRAPH].module), *data)
        made["search" + _GRAPH] = made["search" + _GRAPH][0], lambda: graphed(*data, 0.1)
        module = fresh().requires_grad_(True)
        made["dense" + _GRAPH] = module, _dense_graph(module, data)
    sorting = fresh()
    scores = searchers["search"].scores
    for layer in searchers["search"].layers:
        owner = sorting.get_submodule(layer.name.rpartition(".")[0])
        weight = source.weight(layer.name).to(device)
        owner.weight = nn.Parameter(scores[layer.name].clone())
        nn.utils.parametrize.register_parametrization(owner, "weight", _SortedMask(weight, density), unsafe=True)
    again = _optimiser(sorting, 0.1)
    made["sorting"] = sorting, lambda: _step(sorting, data, again.zero_grad, again.step)
    return made, searchers


def _family(density: float) -> list[AbstractMethod]:
    return [
        Biprop(density), IteRand(density), GemMiner(density), SignedSupermask(),
        Multicoated((density, density / 4, density / 10)),
    ]  # fmt: skip


def _searcher(source: Source, method: AbstractMethod, module: nn.Module, label: str) -> Searcher:
    """A search with the update that the label names; the fastest one if it names none."""
    how = ScoreOptimiser(weight_decay=1e-4)
    searcher = Searcher(source, method, module=module, optimiser=how)
    if label.endswith(" torch"):
        scores = [score.reshape(-1).clone() for score in searcher.scores.values()]
        plain: Update = update_of(searcher.layers, scores, searcher.weights, method, searcher.state, how, fused=False)
        if label == "search, flat torch":
            assert isinstance(method, EdgePopup)
            plain = SegmentedTopK(
                searcher.layers, scores, searcher.weights, method, searcher.state,
                momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay, engine="torch",
            )  # fmt: skip
        searcher._update = plain
        searcher.refresh()
    return searcher


def _loss_of(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda inputs, labels: nn.functional.cross_entropy(module(inputs), labels)


def _dense_graph(module: nn.Module, data: tuple[Tensor, Tensor]) -> Callable[[], None]:
    """A dense step as one CUDA graph."""
    optimiser = _optimiser(module, 0.01)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            _step(module, data, optimiser.zero_grad, optimiser.step)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _step(module, data, optimiser.zero_grad, optimiser.step)
    return graph.replay


def _clock(threads: int, device: str) -> Callable[[], float]:
    if device != "cpu":

        def waited() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return waited
    return time.thread_time if threads == 1 else time.perf_counter


def _rounds(
    steps: dict[str, Callable[[], None]], rounds: int, count: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds per step of each method, by round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            steps[name]()
            start = clock()
            for _ in range(count):
                steps[name]()
            seconds[name].append((clock() - start) / count)
    return seconds


def _base(method: str) -> str:
    """What a method is compared with."""
    return "dense" + _GRAPH if method.endswith(_GRAPH) else "dense"


def _rows(kind: str, network: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "kind": kind,
            "network": network,
            "method": name,
            "ms": 1e3 * min(values),
            "ratio": statistics.median(a / b for a, b in zip(values, seconds[_base(name)], strict=True)),
        }
        for name, values in seconds.items()
    ]


def _network_rows(benchmark: MaskSearchBenchmark, place: int) -> list[dict[str, Any]]:
    name = benchmark.networks[place]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(benchmark.batch, *_INPUTS.get(name, (3, 32, 32)), generator=generator).to(benchmark.device)
    labels = torch.randint(0, 10, (benchmark.batch,), generator=generator).to(benchmark.device)
    methods, searchers = _methods(name, benchmark.density, (inputs, labels), benchmark.device, benchmark.family)
    clock = _clock(benchmark.threads, benchmark.device)
    rounds, count = benchmark.rounds[place], benchmark.steps[place]
    trained = _rounds({label: step for label, (_, step) in methods.items()}, rounds, count, clock)
    rows = _rows("step", name, trained)
    for row in rows:
        update = searchers[row["method"]]._update if row["method"] in searchers else None
        row["misses"] = sum(update.misses) if update is not None and hasattr(update, "misses") else None

    def evaluate(module: nn.Module) -> Callable[[], None]:
        def forward() -> None:
            with torch.no_grad():
                module(inputs)

        return forward

    for module, _ in methods.values():
        module.eval()
    some = {label: evaluate(methods[label][0]) for label in ("dense", "search", "sorting")}
    evaluated = _rounds(some, rounds, count, clock)
    return rows + _rows("evaluation", name, evaluated)


def _selection_rows(benchmark: MaskSearchBenchmark) -> list[dict[str, Any]]:
    """The mask of one flat layer from its scores, warm, as the search makes it, beside sorting."""
    from strongticket.search.layers import Layer
    from strongticket.search.methods import MethodState
    from strongticket.search.updates.fused import FusedTopK

    rows = []
    for size in benchmark.sizes:
        generator = torch.Generator().manual_seed(size)
        score, weight = (torch.randn(size, generator=generator) for _ in range(2))
        update = FusedTopK(
            [Layer("w", (size, 1))], [score], [weight], EdgePopup(benchmark.density), MethodState(),
            momentum=0.9, nesterov=False, weight_decay=0.0,
        )  # fmt: skip
        update.choose()
        expected = weight * largest(score.abs(), kept_count(benchmark.density, size))
        if not torch.equal(update.effective[0] + 0.0, expected + 0.0):
            raise AssertionError(f"the mask of {size} scores is wrong")
        repeats = max(1, 3_000_000 // size)

        def warm(update: FusedTopK = update) -> None:
            update.choose()

        def sort(score: Tensor = score, weight: Tensor = weight) -> None:
            _ = weight * _Sorted.apply(score.abs(), benchmark.density)  # type: ignore[no-untyped-call]

        clock = _clock(benchmark.threads, benchmark.device)
        seconds = _rounds({"search": warm, "sorting": sort}, 5, repeats, clock)
        best = {name: min(values) for name, values in seconds.items()}
        rows += [{"scores": size, "method": name, "ns": 1e9 * value / size} for name, value in best.items()]
    return rows


def run(benchmark: MaskSearchBenchmark) -> dict[str, Any]:
    """Time everything, and return the rows with what they were measured on."""
    if not len(benchmark.networks) == len(benchmark.rounds) == len(benchmark.steps):
        raise ValueError("expected one number of rounds and one of steps for each network")
    torch.set_num_threads(benchmark.threads)
    rows = [row for place in range(len(benchmark.networks)) for row in _network_rows(benchmark, place)]
    selection = _selection_rows(benchmark) if benchmark.device == "cpu" else []
    parameters = {key: value for key, value in asdict(benchmark).items() if key != "out"}
    device = "cpu" if benchmark.device == "cpu" else torch.cuda.get_device_name(benchmark.device)
    return {
        "name": "mask_search",
        "parameters": parameters,
        "rows": rows,
        "selection": selection,
        "environment": {**environment(), "device": device, "load_average": load_average()},
    }


def table(result: dict[str, Any]) -> str:
    """The rows as text."""
    lines = [f"{'':>12} {'network':>16} {'method':>20} {'ms':>9} {'x dense':>8} {'misses':>7}"]
    lines += [
        f"{row['kind']:>12} {row['network']:>16} {row['method']:>20} {row['ms']:>9.3f} {row['ratio']:>8.3f}"
        f" {'' if row.get('misses') is None else row['misses']:>7}"
        for row in result["rows"]
    ]
    lines += [f"{row['scores']:>12} scores, {row['method']:>8}: {row['ns']:.2f} ns" for row in result["selection"]]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from a terminal."""
    import tyro

    benchmark = tyro.cli(MaskSearchBenchmark, prog="python -m experiments.benchmarks.mask_search")
    deliver(lambda: run(benchmark), table, benchmark.out)


if __name__ == "__main__":
    main()
