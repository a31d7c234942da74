"""Commands that look: doctor, status, verify."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options
from .app import app
from .call import Call
from .stages import shown

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


@options.command(app, "doctor", panel=_PANEL, flags=options.PRETRAIN)
def doctor(
    call: Call,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CORPUS]...", help="The text to look at; none: the machine."),
    ] = None,
) -> None:
    """The plain facts about this machine and a corpus, before anything is trained."""
    from ..commands import doctor

    recipe = call.resolved.recipe
    facts = doctor.run(corpus or recipe.corpus.paths, recipe, call.run, call.console.emit)
    if not call.json:
        for group, rows in facts.items():
            call.console.line(f"{group}:")
            call.console.facts((f"  {name}", shown(value)) for name, value in rows.items() if value != [])
    call.done(facts)
