"""Where each number comes from: experiment, preset, version, runs, machine, revision, and the command that makes it."""

from __future__ import annotations

from collections.abc import Sequence

from paper_figs.report._html import Markup, el
from paper_figs.report._results import Study

__all__ = ["provenance_section"]


def provenance_section(studies: Sequence[Study]) -> Markup:
    """Return the provenance of all studies, each once."""
    by_anchor: dict[str, Study] = {}
    for study in sorted(studies, key=lambda one: len(one.records)):  # where a figure draws some of a preset, all of it
        by_anchor[study.anchor] = study
    return Markup("".join(_study(by_anchor[key]) for key in sorted(by_anchor)))


def _study(study: Study) -> Markup:
    records = study.records
    seconds = sum(record.seconds for record in records)
    machines = [
        el("li", f"{count} {'run' if count == 1 else 'runs'}: {words}; revision ", el("code", revision))
        for revision, words, count in study.environments()
    ]
    notes = study.notes()
    title = f"{study.name}, preset {study.preset}"
    return el(
        "section",
        el("h3", title, id=study.anchor),
        el(
            "dl",
            *(
                el("div", el("dt", name), el("dd", value))
                for name, value in (
                    ("Experiment", el("code", f"experiments/{study.name}.py")),
                    ("Version", str(study.experiment.version)),
                    ("Runs", f"{study.counted.removesuffix(' runs').removesuffix(' run')}, {seconds:,.0f} s in all"),
                    ("Made by", el("code", study.command)),
                    ("Data", "; ".join(notes) if notes else None),
                )
                if value
            ),
            class_="facts",
        ),
        el("ul", *machines),
        el(
            "details",
            el("summary", f"Keys of the {len(records)} runs of {title}"),
            el("ul", *(el("li", el("code", record.spec.key)) for record in records)),
            class_="keys",
        ),
    )
