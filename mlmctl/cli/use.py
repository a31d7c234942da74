"""Commands that use a model: fill, predict, embed, score."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import DataError
from . import options
from .app import app
from .call import SCHEMA_VERSION, Call

_PANEL = "Use"
Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="A model folder, its name, or hf:OWNER/NAME.")
]


@options.command(app, "fill", panel=_PANEL, flags=("threads", "device"))
def fill(
    call: Call,
    text: Annotated[
        list[str] | None, typer.Argument(help="Sentences with [MASK]; none: standard input.")
    ] = None,
    model: Model = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=1000, help="Fillings for each mask.")] = 5,
) -> None:
    """What the encoder would put in place of [MASK]."""
    from ..commands import fill
    from ..pipeline import encoder_folder

    folder = encoder_folder(call.run, model)
    for row in fill.run(folder, text or _lines(), top_k, call.resolved.recipe.runtime):
        if call.json:
            call.console.json({"schema_version": SCHEMA_VERSION, **row})
            continue
        call.console.line(row["text"])
        for number, fillings in enumerate(row["masks"], start=1):
            words = "  ".join(f"{f['token']} {f['probability']:.3f}" for f in fillings)
            call.console.line(f"  [MASK] {number}:  {words}")


@options.command(app, "predict", panel=_PANEL, flags=("threads", "device"))
def predict(
    call: Call,
    model: Model = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts a batch.")] = 64,
) -> None:
    """Answers of a fine-tuned model: one line in, one line out (plain text, or JSON lines)."""
    from ..commands import predict
    from ..pipeline import model_folder

    folder = model_folder(call.run, model or "sentiment")
    for row in predict.run(folder, _lines(), batch_size, call.resolved.recipe.runtime):
        if call.json:
            call.console.json({"schema_version": SCHEMA_VERSION, **row})
        else:
            call.console.cells(_columns(row.values()))


@options.command(app, "embed", panel=_PANEL, flags=("threads", "device"))
def embed(
    call: Call,
    model: Model = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE.npy", help="Write one float32 array.")
    ] = None,
    pooling: Annotated[
        Literal["mean", "cls"], typer.Option("--pooling", help="Mean of all tokens, or the first.")
    ] = "mean",
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=0, metavar="N", help="After N layers (default: all); 0: the embeddings."),
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each to length 1.")] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts a batch.")] = 512,
) -> None:
    """Texts as vectors: one line in, one out (plain text, or JSON lines), or a .npy file."""
    from ..commands import embed
    from ..pipeline import encoder_folder

    if output is not None:
        embed.check_output(output)
    folder = encoder_folder(call.run, model)
    machine = call.resolved.recipe.runtime
    found = embed.run(folder, _lines(), pooling, layer, normalize, batch_size, machine)
    if output is not None:
        num_texts = embed.save(found, output, call.console.emit)
        facts = {"num_texts": num_texts, "hidden_size": found.hidden_size, "output": str(output)}
        if not call.json:
            call.console.facts((name, str(value)) for name, value in facts.items())
        call.done(facts)
        return
    for piece in found.pieces:
        for row in piece.astype(str).tolist():
            # A float32 in its own shortest digits: the number that a .npy file would hold.
            if call.json:
                call.console.json(
                    {"schema_version": SCHEMA_VERSION, "embedding": [float(value) for value in row]}
                )
            else:
                call.console.cells(row)


@options.command(app, "score", panel=_PANEL, flags=("method", "threads", "device"))
def score(
    call: Call,
    model: Model = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts a batch.")] = 64,
) -> None:
    """How likely each text is: pseudo-log-likelihood in nats, number of tokens, nats a token."""
    from ..commands import score
    from ..pipeline import encoder_folder

    folder, recipe = encoder_folder(call.run, model), call.resolved.recipe
    for row in score.run(folder, _lines(), recipe.evaluate.method, batch_size, recipe.runtime):
        if call.json:
            call.console.json({"schema_version": SCHEMA_VERSION, **row})
        else:
            values = (row["score"], row["num_tokens"], row["score_per_token"])
            call.console.cells("" if value is None else str(value) for value in values)


def _columns(values: Iterable[object]) -> Iterator[str]:
    """The plain columns of an answer: what is nested is for `--json`, and leaves at most an empty column."""
    for value in values:
        if isinstance(value, list):
            yield " ".join(str(item) for item in value if not isinstance(item, dict))
        elif not isinstance(value, dict):
            yield f"{value:.4f}" if isinstance(value, float) else str(value)


def _lines() -> Iterator[str]:
    sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    for number, line in enumerate(sys.stdin, 1):
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:  # at what stands for a byte that could not be decoded
            found = f"byte 0x{ord(line[error.start]) & 0xFF:02x} is not UTF-8"
            where, hint = f"standard input, line {number}", "save the text as UTF-8"
            raise DataError("data.encoding", found, where=where, hint=hint) from None
        yield (line.removeprefix("\ufeff") if number == 1 else line).rstrip("\r\n")
