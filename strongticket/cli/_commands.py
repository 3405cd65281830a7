"""What the commands do: read, call the library, print a table or JSON, write."""

from __future__ import annotations

import json
from typing import Any

from strongticket import Domain, Target, architecture, bounds, load, save
from strongticket._files import check_writable
from strongticket.cli import _options as options
from strongticket.cli.output import progress_bar, table
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
            return _bound(command)
        case options.Train():
            return _train(command)


def _domain(chosen: options.DomainOptions) -> Domain:
    if chosen.radius is None:
        return Domain.box(chosen.low, chosen.high)
    return Domain(chosen.low, chosen.high, chosen.radius)


def _emit(as_json: bool, value: dict[str, Any], title: str, rows: list[tuple[str, object]]) -> None:
    if as_json:
        print(json.dumps(value, indent=2, allow_nan=False))
    else:
        table(title, rows)


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
        _emit(command.json, value, "would construct", planned)
        return 0
    with progress_bar() as progress:
        result = method.construct(target, progress=progress)
    done: dict[str, Any] = result.to_json()
    if result.ticket is None:
        rows = [
            *planned,
            ("not reached", f"{len(result.unreached):,} weights, the worst by {result.unreached['error'].max():.3g}"),
        ]
        _emit(command.json, done, "no ticket within the tolerance: give more --items or a larger --weight-eps", rows)
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
    _emit(command.json, done, "a strong lottery ticket", rows)
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
    _emit(command.json, value, f"certificate of {command.ticket}", rows)
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
    _emit(command.json, value, str(command.ticket), rows)
    return 0


def _bound(command: options.Bound) -> int:
    if command.key == "items":
        return _items(command)
    if command.key == "list":
        found = bounds.all()
        listed = {bound.key: {"quantity": bound.quantity, "relation": bound.relation.name} for bound in found}
        _emit(command.json, listed, "bounds", [(bound.key, bound.quantity) for bound in found])
        return 0
    try:
        bound = bounds.get(command.key)
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    values: dict[str, float] = {}
    for pair in command.set:
        name, _, number = pair.partition("=")
        if name in values:
            raise ValueError(f"--set gives {name} twice")
        try:
            values[name] = float(number)
        except ValueError:
            raise ValueError(f"--set takes name=number, got {pair!r}") from None
    rows: list[tuple[str, object]] = [
        ("quantity", bound.quantity),
        ("relation", bound.relation.value),
        ("reference", bound.reference),
        *(("hypothesis", hypothesis.name) for hypothesis in bound.hypotheses),
        ("formula", str(bound.expression)),
    ]
    value: dict[str, Any] = {
        "key": bound.key,
        "quantity": bound.quantity,
        "relation": bound.relation.name,
        "formula": str(bound.expression),
    }
    if values:
        value["value"] = bound(**values)
        rows.append(("value", f"{value['value']:.6g}"))
    else:
        rows.append(("value", "give its symbols: --set " + " ".join(f"{symbol}=..." for symbol in bound.symbols)))
    _emit(command.json, value, bound.key, rows)
    return 0


def _items(command: options.Bound) -> int:
    from strongticket.bounds import random_subset_sums as sums

    eps, law, size, reach = command.eps, command.law, command.size, command.target
    if command.weights < 1:
        raise ValueError(f"--weights must be at least 1, got {command.weights}")
    if not 0.0 < reach < float("inf"):
        raise ValueError(f"--target must be positive and finite, got {reach}")
    if size is not None and size < 1:
        raise ValueError(f"--size must be at least 1, got {size}")
    if not 0.0 < command.delta < 1.0:
        raise ValueError(f"--delta must lie in (0, 1), got {command.delta}")
    delta = command.delta / command.weights
    setting: dict[str, Any] = {"target": reach, "averaged": command.averaged, "size": size}
    found = sums.measured_items(eps, delta, law, **setting)
    methods = ("combined", "saddlepoint", "annealed") if size else ("combined", "saddlepoint", "quenched", "annealed")
    predicted = {method: sums.items_predicted(eps, delta, law, method=method, **setting) for method in methods}
    tells = _tells(predicted["saddlepoint"], eps, law, setting)
    value: dict[str, Any] = {
        "eps": eps,
        "delta": command.delta,
        "weights": command.weights,
        "delta_per_target": delta,
        "law": law,
        **setting,
        "counting_floor": bounds.get("lueker1998exponentially.counting_floor")(c=reach, eps=eps)
        if reach >= eps
        else 0.0,
        "floor": sums.floor_items(eps, delta, law, **setting),
        "measured": {"items": found.items, "low": found.low, "high": found.high, "most": found.most}
        | {"trials": found.trials, "note": found.note},
        "predicted": predicted["combined"],
        "saddlepoint": predicted["saddlepoint"] if tells else None,
        "annealed": predicted["annealed"],
        "first_moment": None if size else sums.first_moment_items(eps, delta, law=law),
        "proved": None if size or law == "hyperbolic" else sums.items_for_range(eps, delta, reach, law=law),
    }
    if not size:
        value["quenched"] = predicted["quenched"]
    _emit(command.json, value, _items_title(command), _items_rows(value))
    return 0


def _tells(items: int, eps: float, law: Any, setting: dict[str, Any]) -> bool:
    """Whether the draws of the saddlepoint prediction can tell on both sides of its answer."""
    from strongticket.bounds import random_subset_sums as sums

    around = (max(items - 1, 0), items)
    return all(sums.saddlepoint_failure(n, eps, law=law, **setting).tells for n in around)


def _items_title(command: options.Bound) -> str:
    targets = f"z ~ U(-{command.target:g}, {command.target:g})" if command.averaged else f"|z| = {command.target:g}"
    subsets = "" if command.size is None else f"subsets of exactly {command.size} of the "
    title = f"{subsets}{command.law} items per target, {targets} within {command.eps:g}, failing at most "
    if command.weights == 1:
        return f"{title}{command.delta:g}"
    return f"{title}{command.delta:g} for all {command.weights:,} targets together"


def _items_rows(value: dict[str, Any]) -> list[tuple[str, object]]:
    saddlepoint = value["saddlepoint"]
    rows: list[tuple[str, object]] = [
        ("measured, with exact solutions", value["measured"]["note"]),
        ("necessary: the items must reach", f"{value['floor']} (proved, whatever the method)"),
        ("necessary for every |z| up to it", f"{value['counting_floor']:.2f} (proved, by counting)"),
        ("predicted", f"{value['predicted']} (no proof)"),
        ("predicted, saddlepoint", saddlepoint if saddlepoint is not None else "too rare for its draws: see the floor"),
    ]
    if "quenched" in value:
        rows.append(("predicted, quenched", f"{value['quenched']} (takes the reach for granted)"))
    rows.append(("predicted, annealed", f"{value['annealed']} (first moment: too few where failures are rare)"))
    if value["first_moment"] is not None:
        rows.append(("first-moment rule", f"{value['first_moment']:.1f} (at the densest target)"))
    if value["proved"] is not None:
        enough = f"{value['proved']} (our explicit constants, all |z| up to it at once)"
    else:
        enough = "the theorem does not apply: " + (
            "it chooses the size" if value["size"] is not None else "no item is nearer to 0 than eps"
        )
    rows.append(("proved to suffice", enough))
    return rows


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
    _emit(command.json, value, "a trained target", rows)
    return 0
