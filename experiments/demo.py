"""The main job as a show: a trained network becomes a mask on one frozen random network, with proof, in one command."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Demo", "main"]


@dataclass(frozen=True)
class Demo:
    """Train a small network, find it inside a frozen random one, certify how close, and try to break the theorem.

    Writes OUT/ticket.slt (seed + mask + certificates), OUT/target.safetensors, OUT/result.json and OUT/demo.png.
    """

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"] = "digits"
    """data set; all but the embedded 8x8 digits are read from --folder or STRONGTICKET_DATA"""
    model: str | None = None
    """architecture of the target, such as mlp-784-500-10 or lenet-300-100; one that fits the data if left out"""
    items: int | Literal["theorem", "information-limit"] = 28
    """candidates per weight"""
    objective: Literal["sparsest", "min-error"] = "min-error"
    """exact minimum error, or fewest kept weights within the tolerance"""
    eps: float = 0.01
    """largest error of any single weight, in (0, 1)"""
    trials: int = 2000
    """trials of the falsification run; 0 skips it"""
    seed: int = 0
    """of training, of the random network and of the trials"""
    folder: Path | None = None
    """folder of the data sets"""
    out: Path = Path("out")
    """folder of the results"""
    json: bool = False
    """print the result as JSON instead of a table"""


def main(options: Demo) -> int:
    """Do the main job; 0 if the ticket is complete, strict, proved and the theorem stands, 1 if not, 2 on bad input."""
    try:
        return _main(options)
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; nothing half-written is left", file=sys.stderr)
        return 130


def _main(options: Demo) -> int:
    import theory
    from experiments._picture import draw
    from experiments._study import prepare, study, train_target
    from strongticket import Domain
    from strongticket._files import check_writable, write_atomically
    from strongticket.cli.output import progress_bar, table
    from strongticket.constructions import Pensia2020Optimal
    from strongticket.training import suggestion

    clock = time.perf_counter()
    method = Pensia2020Optimal(
        weight_eps=options.eps,
        items=options.items,
        objective="min_error" if options.objective == "min-error" else "sparsest",
        domain=Domain.box(0, 1),
        seed=options.seed,
    )
    folder = None if options.folder is None else str(options.folder)
    model = options.model or suggestion(options.data)[0]
    loaded, mlp = prepare(options.data, model, seed=options.seed, folder=folder)
    if options.trials < 0:
        raise ValueError(f"--trials must be at least 0, got {options.trials}")
    check_writable(options.out / "result.json")
    _say(f"training {model} on {options.data} ...")
    trained = train_target(loaded, mlp, seed=options.seed)
    _say(f"finding its {trained.target.architecture.size:,} weights in a frozen random network ...")
    with progress_bar() as progress:
        result = study(trained, method, progress=progress)
    value = result.to_json()
    theorem = theory.get("pensia2020optimal.theorem1")
    report = None
    if options.trials:
        _say(f"trying to falsify {theorem.key} ...")
        report = theorem.falsify(trials=options.trials, seed=options.seed)
        value["falsification"] = report.to_json()
    value["measured"]["seconds"]["everything"] = time.perf_counter() - clock
    complete = result.construction.ticket is not None
    written = [MISSED if name == TICKET and not complete else name for name in WRITTEN]
    write_atomically(options.out / written[0], result.file)
    trained.target.save(options.out / "target.safetensors")
    draw(result, options.out / "demo.png")
    write_atomically(options.out / "result.json", json.dumps(value, indent=2, allow_nan=False) + "\n")
    if options.json:
        print(json.dumps(value, indent=2, allow_nan=False))
    else:
        table("a trained network as a mask on one frozen random network", _rows(value, report))
        print(f"written: {', '.join(str(options.out / name) for name in written)}")
    falsified = report is not None and report.verdict.name == "FALSIFIED"
    return 0 if result.strict and complete and not falsified else 1


TICKET, MISSED = "ticket.slt", "out-of-tolerance.slt"  # a ticket that misses its tolerance does not take the name
WRITTEN = (TICKET, "target.safetensors", "result.json", "demo.png")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _rows(value: dict[str, Any], report: Any) -> list[tuple[str, object]]:
    built = value["construction"]
    widest = value["proved_error_box"]
    ratio = value["proved_over_sampled"]
    rows: list[tuple[str, object]] = [
        ("data", f"{value['data']}, {value['tests']:,} test inputs" + (f"; {value['note']}" if value["note"] else "")),
        ("target", f"{value['model']}, {value['target_weights']:,} trained weights"),
        ("source", f"{built['source']['architecture']}, {built['source_weights']:,} random weights, never trained"),
        (
            "ticket",
            f"seed {built['source']['seed']} + mask: {built['kept']:,} kept, {built['kept_per_weight']:.2f} a weight",
        ),
        ("file", f"{value['file_bytes']:,} bytes"),
        ("strict check", "passed: seed x mask, bit for bit" if value["strict_check"] else "FAILED"),
        ("weights beyond the tolerance", f"{built['unreached']:,} of {built['problems']:,}"),
        ("largest error of a weight", f"{built['largest_weight_error']:.2e}"),
        ("accuracy", f"target {100 * value['target_accuracy']:.2f} %, ticket {100 * value['ticket_accuracy']:.2f} %"),
        (
            "equal predictions",
            f"{100 * value['equal_predictions']:.2f} %, proved for {100 * value['proved_equal_predictions']:.2f} %",
        ),
        (
            "PROVED largest output error",
            f"{widest:.3g} on [0, 1]^d = {100 * value['proved_over_logit_range']:.2g} % of the logit range",
        ),
        (
            "largest output error found",
            f"{value['sampled_error_box']:.3g}" + (f" (proved / found = {ratio:.1f})" if ratio else ""),
        ),
    ]
    if report is not None:
        rows.append(("falsification", report.text()))
    rows.append(("seconds", ", ".join(f"{stage} {taken:.1f}" for stage, taken in value["measured"]["seconds"].items())))
    return rows
