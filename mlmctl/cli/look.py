"""Commands that look: doctor, status, verify, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, UsageError
from ..quantities import number
from . import options
from .app import app
from .call import Call

if TYPE_CHECKING:
    from ..commands.compare import Comparison, Metric
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


@options.command(app, "verify", panel=_PANEL)
def verify(call: Call) -> None:
    """Every byte of the run folder against its manifests, and the chain from corpus to evaluation."""
    from ..commands import verify
    from ..errors import ArtifactError

    findings = verify.run(call.run, call.console.emit)
    if not call.json:
        rows = [(f.name, f.state, f"{f.num_files:,}" if f.num_files else "", f.found) for f in findings]
        call.console.table(("artifact < what it was made from", "state", "files", "found"), rows)
    result: dict[str, Any] = {"run": str(call.run), "findings": [finding.to_json() for finding in findings]}
    faults = [finding for finding in findings if finding.is_fault]
    if faults:
        more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
        message = f"{faults[0].state}: {faults[0].found}{more}"
        call.fail(ArtifactError("verify.failed", message, where=faults[0].name), **result)
    call.done(result)


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


@options.command(app, "compare", panel=_PANEL)
def compare(
    call: Call,
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first is compared with.")
    ],
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw their losses: .svg, .png or .pdf.")
    ] = None,
) -> None:
    """Runs side by side: what differs in how they were made, and their metrics with intervals."""
    from ..commands import compare, curves

    if plot is not None:
        curves.check(plot)
    found = compare.run(runs, call.console.emit)
    drawn = {}
    if plot is not None:
        curves.draw([curves.read(folder, name) for folder, name in zip(runs, found.runs, strict=True)], plot)
        drawn["plot"] = str(plot)
    if not call.json:
        _show_comparison(call, found)
    call.done(found.to_json() | drawn)


def _show_comparison(call: Call, found: Comparison) -> None:
    if found.settings:
        rows = [
            (s.artifact, s.name, *("" if v is None else str(v) for v in s.values)) for s in found.settings
        ]
        call.console.table(("artifact", "setting", *found.runs), rows)
        call.console.line("")
    columns = ("artifact", "metric", *found.runs)
    call.console.table(columns, [(m.artifact, m.name, *_cells(m)) for m in found.metrics])


def _cells(metric: Metric) -> list[str]:
    """Of each run the number, its interval, and the p-value of its difference from the first."""
    cells = []
    for value, ends, change in zip(metric.values, metric.intervals, metric.differences, strict=True):
        told = [] if value is None else [number(value)]
        told += [f"({number(ends['low'])} to {number(ends['high'])})"] if ends else []
        told += [f"p {change['p_value']:.2g}"] if change else []
        cells.append(" ".join(told))
    return cells


@options.command(app, "report", panel=_PANEL, flags=("threads", "device"))
def report(
    call: Call,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="The file (default: DIR/report.html).")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave out every text of the data.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is no report of mlmctl.")
    ] = False,
) -> None:
    """The run folder as one offline HTML file: how it was made, what it learned, how good it is."""
    from ..commands import report

    runtime = call.resolved.recipe.runtime
    written = report.run(call.run, output, not no_text, force, runtime, call.console.emit)
    if not call.json:
        call.console.line(written["output"])
    call.done({"run": str(call.run), **written})
