"""Cost of the construction against the size of the target: time and memory from 10^4 to 10^7 weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

from experiments._experiment import AbstractExperiment

__all__ = ["Scaling"]


@final
@dataclass(frozen=True)
class Scaling(AbstractExperiment):
    """Construct the ticket of a one-layer linear target with Gaussian weights and measure what it costs.

    The construction runs in a process of its own, so that the peak memory is its own.

    Args:
        side: the target is side x side.
        items: candidates per weight.
        objective: exact minimum error, or the sparsest subset within the tolerance.
        weight_eps: tolerance per weight.
        spread: standard deviation of the target's weights, cut at 1.
        seed: of the target and of the random network.
    """

    name: ClassVar[str] = "scaling"
    version: ClassVar[int] = 1

    side: int = 100
    items: int = 21
    objective: Literal["sparsest", "min_error"] = "sparsest"
    weight_eps: float = 0.01
    spread: float = 0.05
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Construct in a fresh process and return time, memory and sizes."""
        program = f"from experiments.scaling import measure; measure(**{asdict(self)!r})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the construction failed:\n{done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: up to 10^5 weights; default: 10^4 to 10^7 in both objectives, 5 seeds (run it with --jobs 1)."""
        sides = (100, 178, 316, 562, 1000, 1778, 3162)
        sparse = [cls(side=side, seed=seed) for seed in range(5) for side in sides]
        exact = [replace(run, objective="min_error") for run in sparse]
        return {"quick": sparse[:3], "default": [*sparse, *exact]}

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Time and memory per weight."""
        return [
            {
                "weights": run.side**2,
                "objective": run.objective,
                "seed": run.seed,
                "source weights": result["source_weights"],
                "seconds": result["measured"]["seconds"],
                "us/weight": 1e6 * result["measured"]["seconds"] / run.side**2,
                "MB above start": (result["measured"]["peak_bytes"] - result["measured"]["start_bytes"]) / 1e6,
                "kept": result["kept"],
                "unreached": result["unreached"],
            }
            for run, result in finished
        ]


def measure(
    *, side: int, items: int, objective: Literal["sparsest", "min_error"], weight_eps: float, spread: float, seed: int
) -> None:
    """Construct once and print what it cost, as JSON; the work of the fresh process."""
    import time

    import torch

    from experiments._study import peak_memory
    from strongticket import MLP, Domain, Target
    from strongticket.constructions import Pensia2020Optimal

    def target(size: int) -> Target:
        generator = torch.Generator().manual_seed(seed)
        weight = (torch.randn(size, size, generator=generator) * spread).clamp(-1, 1)
        return Target(MLP((size, size)), {MLP.weight_name(0): weight})

    method = Pensia2020Optimal(
        weight_eps=weight_eps, items=items, objective=objective, domain=Domain.box(0, 1), seed=seed
    )
    method.construct(target(64))  # loads and warms the compiled kernels
    network = target(side)
    start = peak_memory()
    clock = time.perf_counter()
    result = method.construct(network)
    seconds = time.perf_counter() - clock
    stages: dict[str, float] = dict(result.layers[0].seconds)
    print(
        json.dumps(
            {
                "measured": {
                    "seconds": seconds,
                    "stages": stages,
                    "start_bytes": start,
                    "peak_bytes": peak_memory(),
                },
                "source_weights": result.plan.source.architecture.size,
                "kept": result.best.mask.count,
                "unreached": len(result.unreached),
            }
        )
    )
