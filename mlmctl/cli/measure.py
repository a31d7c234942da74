"""Commands that measure: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .app import app
from .call import Call
from .stages import Corpus, from_corpus

_PANEL = "Measure"


@options.command(app, "bench", panel=_PANEL, flags=(*options.TOKENIZER, "block-length", "preset", "threads"))
def bench(
    call: Call,
    corpus: Corpus = None,
    sides: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Our loop and the Trainer's: a BERT, fp32; b in bf16; c ModernBERT, bf16; d all it offers.",
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
    chosen = bench.Options(bench.parse_sides(sides), tokens_per_step, repetitions, burst, race, learning_rate)
    bench.check(recipe, chosen)
    from_corpus(call, corpus, "mask")
    result = bench.run(call.run, recipe, chosen, output or call.run / "bench", call.console.emit)
    if not call.json:
        call.console.table(bench.measured.COLUMNS, bench.measured.rows(result["sides"]))
        call.console.facts(bench.facts(result))
        if "race" in result:
            call.console.table(bench.race.COLUMNS, bench.race.rows(result["race"]))
    call.done(result)
