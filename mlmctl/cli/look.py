"""Commands that look: doctor, status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, UsageError
from . import options
from .app import app
from .call import Call

if TYPE_CHECKING:
    from ..commands.doctor import Finding

_PANEL = "Look"


@options.command(app, "status", panel=_PANEL)
def status(call: Call) -> None:
    """What is in the run folder, and whether the parts fit together."""
    from ..commands import status

    rows = status.run(call.run)
    if not call.json:
        call.console.table(("artifact", "state", "facts"), [(r.name, r.state, r.facts) for r in rows])
    call.done({"run": str(call.run), "artifacts": [r.to_json() for r in rows]})


@options.command(
    app,
    "doctor",
    panel=_PANEL,
    flags=options.DOCTOR,
    tables={"epochs": "pretrain", "task": "finetune", "data": "finetune"},
)
def doctor(
    call: Call,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CORPUS]...", help="The text to look at; none: the machine."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 if there is any warning.")] = False,
) -> None:
    """The plain facts about this machine, a corpus and labelled data, before anything is trained."""
    from ..commands import doctor

    recipe = call.adopted()
    if {"finetune.task", "evaluate.data"} & call.flags.keys() and not recipe.finetune.data:
        raise UsageError("usage.no-data", "no labelled data is named", hint="--data FILE")
    sections = doctor.run(corpus or recipe.corpus.paths, recipe, call.run, call.console.emit)
    findings = [finding for section in sections for finding in section.findings]
    if not call.json:
        for section in sections:
            call.console.line(f"{section.name}:")
            call.console.facts((f"  {name}", value) for name, value in section.rows)
        call.console.line("findings:" if findings else "findings: none")
        for finding in sorted(findings, key=lambda each: each.level != "warning"):
            call.console.coloured(_finding(finding))
    result: dict[str, Any] = {section.name: section.facts for section in sections}
    result["findings"] = [finding.to_json() for finding in findings]
    warnings = [finding.code for finding in findings if finding.level == "warning"]
    if strict and warnings:
        message = f"{len(warnings)} warnings: {', '.join(dict.fromkeys(warnings))}"
        call.fail(DataError("doctor.findings", message), **result)
    call.done(result)


def _finding(finding: Finding) -> list[tuple[str, str]]:
    style = "yellow" if finding.level == "warning" else "dim"
    place = f"{finding.where}: " if finding.where else ""
    hint = f" ({finding.hint})" if finding.hint else ""
    return [(f"  {finding.level}  ", style), (f"{place}{finding.message}{hint} [{finding.code}]", "")]
