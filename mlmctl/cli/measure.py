"""Commands that measure: curve."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .app import app
from .call import Call

_PANEL = "Measure"


@options.command(app, "curve", panel=_PANEL, flags=("threads", "device"))
def curve(
    call: Call,
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="sentiment, classify, tags or qa.")
    ] = "sentiment",
    data: Annotated[
        str | None, typer.Option("--data", metavar="FILE", help="Labelled data to learn from.")
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", metavar="FILE", help="Labelled data to measure on.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="DIR", help="The encoder (default: the run folder's).")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", metavar="DIR", help="A further encoder to compare with.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="At most 2,048 labels, two seeds: minutes.")] = False,
) -> None:
    """Is pretraining worth it, and worth how many labels? Scores over numbers of labels."""
    from ..commands import curve
    from ..pipeline import encoder_folder, inputs
    from ..pipeline.execute import hash_cache

    recipe = call.resolved.recipe
    asked = {"task": task, **({"data": data} if data else {})}
    config = type(recipe.finetune)(**(recipe.finetune.model_dump(exclude_unset=True) | asked))
    cache, emit = hash_cache(call.run), call.console.emit
    train = inputs.labelled(call.run, "finetune", config.task, config.data, cache, emit)
    judged = inputs.labelled(call.run, "evaluate", config.task, test or recipe.evaluate.data, cache, emit)
    config = config.model_copy(update={"data": str(train.path)})
    encoder = encoder_folder(call.run, model or config.model)
    folder = call.run / "curve" / f"{task}-{train.stem}{'-quick' if quick else ''}"
    others = [encoder_folder(call.run, each) for each in against or ()]
    found = curve.run(folder, encoder, config, judged.path, others, quick, recipe.runtime, emit)
    if not call.json:
        counts = [row["labels"] for row in next(iter(found["table"].values()))]
        rows = []
        for number, count in enumerate(counts):
            cells = [_cell(of_start[number]) for of_start in found["table"].values()]
            rows.append((f"{count:,}", *cells))
        call.console.table(("labels", *found["table"]), rows)
        call.console.line("")
        call.console.line(found["verdict"])
        call.console.line(f"{folder / 'curve.svg'}")
    call.done({"run": str(call.run), "folder": str(folder), **found})


def _cell(row: dict[str, float]) -> str:
    spread = f" ± {row['deviation']:.3f}" if row["deviation"] is not None else ""
    return f"{row['mean']:.3f}{spread}"
