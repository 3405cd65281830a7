"""The command `construct`: one of the papers' constructions on a trained network, certified and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from strongticket import Certificate, Target, Ticket, save
from strongticket._files import check_writable
from strongticket.certificate import Domain
from strongticket.cli import _options as options
from strongticket.cli.output import emit, progress_bar
from strongticket.constructions import AbstractConstruction

__all__ = ["METHODS", "construct_ticket", "construction"]

METHODS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "pensia": ("pensia2020optimal", "Pensia2020Optimal"),
        "malach": ("malach2020proving", "Malach2020Proving"),
        "orseau": ("orseau2020logarithmic", "Orseau2020Logarithmic"),
        "natale": ("natale2024sparsity", "Natale2024Sparsity"),
        "kumar": ("kumar2025quantized", "Kumar2025Quantized"),
        "burkholz": ("burkholz2022most", "Burkholz2022Most"),
        "diffenderfer": ("diffenderfer2021multiprize", "Diffenderfer2021Multiprize"),
        "dacunha": ("dacunha2022proving", "DaCunha2022Proving"),
        "ferbach": ("ferbach2023general", "Ferbach2023General"),
        "burkholz-residual": ("burkholz2022convolutional", "Burkholz2022Convolutional"),
    }
)
"""Names of the constructions on the command line: their papers' files in `strongticket.constructions`, and classes."""

GRAPHS: Final = ("dacunha", "ferbach", "burkholz-residual")
"""Those whose targets are networks of steps: convolutions, bases, sums."""
QUANTISED: Final = ("kumar", "diffenderfer")
"""Those whose targets are rounded first."""

_OURS = ("target", "out", "method", "domain", "quantise", "dry_run", "json")  # not passed on to the construction
_DEFAULT_EPS = 0.01


def _class(method: str) -> Any:
    key, name = METHODS[method]
    return getattr(import_module(f"strongticket.constructions.{key}"), name)


def _takes(method: str) -> set[str]:
    return {field.name for field in fields(_class(method))}


def construction(command: options.Construct, domain: Domain) -> AbstractConstruction:
    """Return the construction that the options describe.

    Raises:
        ValueError: an option that this method does not use, naming those that do; or a value out of its range.
    """
    takes = _takes(command.method)
    given = {
        field.name: value.replace("-", "_") if field.name == "objective" and value is not None else value
        for field in fields(command)
        if field.name not in _OURS
        for value in [getattr(command, field.name)]
    }
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    for name in given:
        if name not in takes:
            users = ", ".join(method for method in METHODS if name in _takes(method))
            raise ValueError(
                f"--{name.replace('_', '-')} belongs to --method {users}; {command.method} does not use it"
            )
    if "weight_eps" in takes and "weight_eps" not in given and "network_eps" not in given:
        given["weight_eps"] = _DEFAULT_EPS
    if command.quantise is not None and command.method not in QUANTISED:
        users = ", ".join(QUANTISED)
        raise ValueError(f"--quantise belongs to --method {users}; {command.method} does not use it")
    made: AbstractConstruction = _class(command.method)(domain=domain, **given)
    return made


def construct_ticket(command: options.Construct, domain: Domain) -> int:
    """Carry out the command and return its exit status."""
    files = [command.out, *([command.quantise] if command.quantise is not None else [])]
    for path in files:
        check_writable(path)
        if path.resolve() == command.target.resolve():
            raise ValueError(f"{path} is the target itself; give another file to write")
    if len({path.resolve() for path in files}) < len(files):
        raise ValueError(f"--out and --quantise both name {command.out}; give two files")
    method = construction(command, domain)
    target = _load(command)
    rounded: list[tuple[str, object]] = []
    if command.quantise is not None:
        target, rounded = _quantise(target, method)
    plan = method.plan(target)
    planned: list[tuple[str, object]] = [
        ("method", command.method),
        ("target", f"{target.architecture.id}, {target.architecture.size:,} weights"),
        *rounded,
        (
            "source",
            f"{plan.source.architecture.id}, {plan.source.architecture.size:,} random weights, seed {plan.source.seed}",
        ),
        ("candidates per weight", ", ".join(map(str, plan.items))),
        ("tolerance per weight", f"{max(plan.weight_eps):.3g}"),
        ("subset-sum problems", f"{sum(plan.problems):,}"),
    ]
    if command.dry_run:
        sizes = {"items": plan.items, "problems": plan.problems, "weight_eps": plan.weight_eps}
        value = {"method": command.method, "source": plan.source.to_json(), **sizes}
        emit(command.json, value, "would construct", planned)
        return 0
    with progress_bar() as progress:
        result = method.construct(target, progress=progress)
    done: dict[str, Any] = result.to_json()
    if result.ticket is None:
        worst = result.unreached["error"].max()
        rows = [*planned, ("not reached", f"{len(result.unreached):,} weights, the worst by {worst:.3g}")]
        looser = "a larger --weight-eps" if "weight_eps" in _takes(command.method) else "a coarser target"
        emit(command.json, done, f"no ticket within the tolerance: give more --items or {looser}", rows)
        return 1
    certificate = _certify(result.ticket, target, method, domain)
    ticket = result.ticket.with_certificates(certificate)
    if command.quantise is not None:
        target.save(command.quantise)
    save(command.out, ticket, provenance={"construction": result.key, "target": target.digest})
    done |= {
        "certificate": certificate.to_json(),
        "file": str(command.out),
        "bytes": command.out.stat().st_size,
    }
    rows = [
        *planned,
        ("kept", f"{ticket.mask.count:,} weights, {result.kept_per_weight:.3g} per target weight"),
        ("largest error of a weight", f"{result.largest_error:.3g}"),
        ("certificate", str(certificate)),
        ("written", f"{command.out}, {command.out.stat().st_size:,} bytes"),
    ]
    emit(command.json, done, "a strong lottery ticket", rows)
    return 0


def _load(command: options.Construct) -> Any:
    if command.method not in GRAPHS:
        return Target.load(command.target)
    from strongticket.models.targets import GraphTarget

    try:
        return GraphTarget.load(command.target)
    except ValueError as error:
        try:
            return GraphTarget.from_target(Target.load(command.target))
        except (ValueError, TypeError):
            raise error from None


def _certify(ticket: Ticket, target: Any, method: Any, domain: Domain) -> Certificate:
    from strongticket.certify import certify, certify_copies

    if hasattr(method, "copies"):
        return certify_copies(ticket, target, domain, method.copies(target))
    return certify(ticket, target, domain)


def _quantise(target: Target, method: Any) -> tuple[Target, list[tuple[str, object]]]:
    """Return the rounded target that stands for this one, and rows that say what was rounded."""
    from strongticket.models.quantized import quantise

    bits = 2 * method.source_bits if hasattr(method, "source_bits") else method.bits
    made = quantise(target, bits, reach=0.5 if hasattr(method, "source_bits") and method.items == "theorem" else 1.0)
    change = f"multiples of 2^-{bits}, the largest change {made.largest_change:.3g}"
    scale = ", ".join(f"{factor:g}" for factor in made.factors)
    return made.target, [("rounded to", f"{change}; layers multiplied by {scale} before")]
