"""What the commands do: read, call the library, print a table or JSON, write."""

from __future__ import annotations

from typing import Any

from strongticket import Domain, Target, architecture, load, save
from strongticket._files import check_writable
from strongticket.cli import _options as options
from strongticket.cli.output import emit, progress_bar
from strongticket.ticketfile import describe

__all__ = ["run"]

MOST_TRIALS = 1_000_000


def run(command: options.Command) -> int:
    """Carry out one parsed command and return its exit status."""
    match command:
        case options.Construct():
            return _construct(command)
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


def _construct(command: options.Construct) -> int:
    from strongticket.certify import certify
    from strongticket.constructions import Pensia2020Optimal

    check_writable(command.out)
    if command.out.resolve() == command.target.resolve():
        raise ValueError(f"--out {command.out} is the target itself; give another file")
    target, domain = Target.load(command.target), _domain(command.domain)
    neither = command.weight_eps is None and command.network_eps is None
    method = Pensia2020Optimal(
        weight_eps=0.01 if neither else command.weight_eps,
        network_eps=command.network_eps,
        delta=command.delta,
        items=command.items,
        assignment=command.assignment,
        objective="min_error" if command.objective == "min-error" else "sparsest",
        domain=domain,
        seed=command.seed,
    )
    plan = method.plan(target)
    planned: list[tuple[str, object]] = [
        ("target", f"{target.architecture.id}, {target.architecture.size:,} weights"),
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
        value = {"source": plan.source.to_json(), **sizes}
        emit(command.json, value, "would construct", planned)
        return 0
    with progress_bar() as progress:
        result = method.construct(target, progress=progress)
    done: dict[str, Any] = result.to_json()
    if result.ticket is None:
        rows = [
            *planned,
            ("not reached", f"{len(result.unreached):,} weights, the worst by {result.unreached['error'].max():.3g}"),
        ]
        emit(command.json, done, "no ticket within the tolerance: give more --items or a larger --weight-eps", rows)
        return 1
    certificate = certify(result.ticket, target, domain)
    ticket = result.ticket.with_certificates(certificate)
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


def _certify(command: options.Certify) -> int:
    from strongticket.certify import certify, sample

    if not 1 <= command.trials <= MOST_TRIALS:
        raise ValueError(f"--trials must be at least 1 and at most {MOST_TRIALS}, got {command.trials}")
    ticket, target, domain = load(command.ticket), Target.load(command.target), _domain(command.domain)
    proved = certify(ticket, target, domain)
    found = sample(ticket, target, domain, trials=command.trials, seed=command.seed)
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
    with progress_bar() as progress:
        total = command.epochs or recipe.epochs
        trained = train(
            architecture(name),
            data.train.inputs,
            data.train.labels,
            recipe,
            seed=command.seed,
            validation=(data.validation.inputs, data.validation.labels),
            progress=None if progress is None else lambda epoch: progress("epochs", epoch.number, total),
            epochs=command.epochs,
        )
    target = Target.from_module(trained.module)
    target.save(command.out)
    score = accuracy(trained.module, data.test.inputs, data.test.labels)
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
