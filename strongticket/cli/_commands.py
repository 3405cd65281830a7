"""What the commands do: read, call the library, print a table or JSON, write."""

from __future__ import annotations

import torch
from torch import nn

from strongticket import Certificate, Domain, Target, Ticket, architecture, load, save
from strongticket._files import check_writable
from strongticket.cli import _options as options
from strongticket.cli.output import emit, progress_bar
from strongticket.models import MLP, AttentionTarget, GraphTarget, load_target
from strongticket.models.grammar import AbstractImageArchitecture
from strongticket.ticket import AbstractArchitecture
from strongticket.ticketfile import describe

__all__ = ["run"]

MOST_TRIALS = 1_000_000


def run(command: options.Command) -> int:
    """Carry out one parsed command and return its exit status."""
    match command:
        case options.Construct():
            from strongticket.cli._construct import construct_ticket

            return construct_ticket(command, _domain(command.domain))
        case options.Certify():
            return _certify(command)
        case options.Show():
            return _show(command)
        case options.Bound():
            from strongticket.cli import _bound

            return _bound.run(command)
        case options.Train():
            return _train(command)
        case options.Find():
            from strongticket.cli._find import find_ticket

            return find_ticket(command)
        case options.Prune():
            from strongticket.cli._prune import prune_target

            return prune_target(command)


def _domain(chosen: options.DomainOptions) -> Domain:
    if chosen.radius is None:
        return Domain.box(chosen.low, chosen.high)
    return Domain(chosen.low, chosen.high, chosen.radius)


def _certify(command: options.Certify) -> int:
    if not 1 <= command.trials <= MOST_TRIALS:
        raise ValueError(f"--trials must be at least 1 and at most {MOST_TRIALS}, got {command.trials}")
    ticket, target, domain = load(command.ticket), load_target(command.target), _domain(command.domain)
    proved, found = _evidence(ticket, target, domain, command.trials, command.seed)
    ratio = proved.error / found.error if found.error else None
    if command.write:
        new = [certificate for certificate in (proved, found) if certificate not in ticket.certificates]
        save(command.ticket, ticket.with_certificates(*new), provenance=describe(command.ticket)["provenance"])
    value = {"proved": proved.to_json(), "sampled": found.to_json(), "ratio": ratio}
    rows: list[tuple[str, object]] = [
        ("domain", str(domain)),
        ("proved", f"sup |target - ticket| <= {proved.error:.6g}"),
        ("found by looking", f"sup |target - ticket| >= {found.error:.6g}"),
        ("ratio", "no difference was found" if ratio is None else f"{ratio:.3g}"),
        ("method", proved.method),
    ]
    emit(command.json, value, f"certificate of {command.ticket}", rows)
    return 0


def _evidence(
    ticket: Ticket, target: Target | GraphTarget | AttentionTarget, domain: Domain, trials: int, seed: int
) -> tuple[Certificate, Certificate]:
    """Return what is proved of the difference, and the largest one that was found."""
    from strongticket.certify import certify, examine_attention, sample, sample_attention

    if isinstance(target, AttentionTarget):  # a vocabulary is a domain of its own
        report = examine_attention(ticket, target, None if target.architecture.vocabulary else domain)
        return report.maximum, sample_attention(report, trials=trials, seed=seed)
    return certify(ticket, target, domain), sample(ticket, target, domain, trials=trials, seed=seed)


def _show(command: options.Show) -> int:
    value = describe(command.ticket)
    ticket = load(command.ticket, verify=not command.quick)
    source, mask = ticket.source, ticket.mask
    rows: list[tuple[str, object]] = [
        ("source", f"{source.architecture.id}, {source.architecture.size:,} weights"),
        ("random weights", f"{source.init.law}, scale {source.init.scale:g}, seed {source.seed}"),
        ("kept", f"{mask.count:,} of {mask.size:,}, density {mask.density:.4g}"),
        *(
            (f"  {name}", f"{count:,} of {'x'.join(map(str, mask.shapes[name]))}")
            for name, count in mask.counts.items()
        ),
        ("digest", ticket.digest),
        *(("certificate", str(certificate)) for certificate in ticket.certificates),
        ("checked", "mask and file" if command.quick else "mask, file and regenerated weights"),
    ]
    emit(command.json, value, str(command.ticket), rows)
    return 0


def _train(command: options.Train) -> int:
    from strongticket.data import load as load_data
    from strongticket.training import accuracy, suggestion, train

    check_writable(command.out)
    data = load_data(command.data, folder=command.folder, seed=command.seed)
    suggested, recipe = suggestion(command.data)
    name = command.model or suggested
    made = architecture(name)
    _as_target(made.module({n: torch.zeros(s) for n, s in made.shapes.items()} | made.initial_state()), made)
    images = isinstance(made, AbstractImageArchitecture)
    learn, choose, test = (
        (data.images(part) if images else getattr(data, part).inputs, getattr(data, part).labels)
        for part in ("train", "validation", "test")
    )
    with progress_bar() as progress:
        total = command.epochs or recipe.epochs
        trained = train(
            made,
            *learn,
            recipe,
            seed=command.seed,
            validation=choose,
            progress=None if progress is None else lambda epoch: progress("epochs", epoch.number, total),
            epochs=command.epochs,
        )
    target = _as_target(trained.module, made)
    target.save(command.out)
    score = accuracy(target.module(), *test)  # with batch normalisation folded: of what is written
    value = {
        "model": name,
        "data": data.name,
        "note": data.note,
        "test_accuracy": score,
        "target_digest": target.digest,
    }
    rows: list[tuple[str, object]] = [
        ("model", f"{name}, {target.architecture.size:,} weights"),
        ("data", f"{data.name}{': ' + data.note if data.note else ''}"),
        ("test accuracy", f"{100 * score:.2f} %"),
        ("largest weight", f"{target.largest:.3g}"),
        ("written", str(command.out)),
    ]
    emit(command.json, value, "a trained target", rows)
    return 0


def _as_target(module: nn.Module, made: AbstractArchitecture) -> Target | GraphTarget:
    """Read a network of an architecture; before training this refuses, at once, what no target can be."""
    if isinstance(made, MLP):
        return Target.from_module(module)
    inputs = made.inputs if isinstance(made, AbstractImageArchitecture) else None
    return GraphTarget.from_module(module, inputs)
