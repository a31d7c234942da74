"""Commands that look: doctor, status."""

from __future__ import annotations

from typing import Annotated

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
