"""Commands that measure: bench, curve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options
from .app import app
from .call import Call
from .stages import Corpus, from_corpus

_PANEL = "Measure"


@options.command(app, "bench", panel=_PANEL, flags=(*options.TOKENIZER, "block-length", "preset"))
def bench(
    call: Call,
    corpus: Corpus = None,
    sides: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="ours; the Trainer's: a BERT in fp32, b in bf16, c ModernBERT in bf16, d all it offers.",
        ),
    ] = "ours,a,b,c,d",
    tokens_per_step: Annotated[int, typer.Option(min=1, metavar="N", help="Of every side.")] = 8192,
    repetitions: Annotated[int, typer.Option(min=1, metavar="N", help="Bursts of every side.")] = 5,
    burst: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="About what a burst takes.")
    ] = 6.0,
    race: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="MINUTES", help="Also train every side so long; the loss against time."
        ),
    ] = None,
    race_ours: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="MINUTES", help="Of our run in a race (default: all of it, and an eighth)."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Of c and d in a race (default: the best of three, tried for a third of it)."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For bench.json and plots (default: DIR/bench).")
    ] = None,
) -> None:
    """Our training loop beside the Hugging Face Trainer's, on this text and machine."""
    from ..commands import bench

    recipe = call.resolved.recipe
    names = bench.parse_sides(sides)
    chosen = bench.Options(names, tokens_per_step, repetitions, burst, race, race_ours, learning_rate)
    bench.check(recipe, chosen)
    from_corpus(call, corpus, "mask")
    result = bench.run(call.run, recipe, chosen, output or call.run / "bench", call.console.emit)
    if not call.json:
        call.console.table(bench.measured.COLUMNS, bench.measured.rows(result["sides"]))
        call.console.facts(bench.facts(result))
        if "race" in result:
            call.console.table(bench.race.COLUMNS, bench.race.rows(result["race"]))
    call.done(result)


@options.command(app, "curve", panel=_PANEL, flags=("threads", "device"), divided=True)
def curve(
    call: Call,
    task: Annotated[
        Literal["sentiment", "classify", "tags", "qa"] | None,
        typer.Option("--task", metavar="NAME", help="sentiment (default), classify, tags or qa."),
    ] = None,
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
    from ..commands.curve.points import judging
    from ..pipeline import encoder_folder, hash_cache, inputs

    recipe = call.resolved.recipe
    asked = {name: value for name, value in (("task", task), ("data", data)) if value}
    config = type(recipe.finetune)(**(recipe.finetune.model_dump(exclude_unset=True) | asked))
    cache, emit = hash_cache(call.run), call.console.emit
    train = inputs.labelled(call.run, "finetune", config.task, config.data, cache, emit)
    tested = inputs.labelled(call.run, "evaluate", config.task, test or recipe.evaluate.data, cache, emit)
    judged = judging(config, tested.path, recipe.evaluate.model_dump(exclude_unset=True))
    config = config.model_copy(update={"data": str(train.path)})
    encoder = encoder_folder(call.run, model or config.model)
    folder = call.run / "curve" / f"{config.task}-{train.stem}{'-quick' if quick else ''}"
    others = [encoder_folder(call.run, each) for each in against or ()]
    found = curve.run(folder, encoder, config, judged, others, quick, recipe.runtime, emit, call.team)
    if not call.json:
        counts = [row["labels"] for row in next(iter(found["table"].values()))]
        rows = []
        for number, count in enumerate(counts):
            cells = [curve.cell(of_start[number]) for of_start in found["table"].values()]
            rows.append((f"{count:,}", *cells))
        call.console.table(("labels", *found["table"]), rows)
        call.console.line("")
        call.console.line(found["verdict"])
        call.console.line(f"{folder / 'curve.svg'}")
    call.done({"run": str(call.run), "folder": str(folder), **found})
