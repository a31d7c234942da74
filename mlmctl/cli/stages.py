"""The five stages as commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import GateError, UsageError
from ..events import Note
from . import options
from .app import app
from .call import Call

if TYPE_CHECKING:
    from ..pipeline import StageReport

_PANEL = "Stages"
Corpus = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CORPUS]...", help="Files, folders, globs, remote ones (s3://...), or - for standard input."
    ),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option("--fail-under", metavar="METRIC=VALUE", help="Exit with 3 if a metric is lower."),
]


@options.command(app, "tokenizer", panel=_PANEL, flags=options.TOKENIZER, stage=True)
def tokenizer(call: Call, corpus: Corpus = None) -> None:
    """Train a vocabulary on a corpus."""
    show(call, from_corpus(call, corpus, "tokenizer"))


@options.command(app, "mask", panel=_PANEL, flags=options.MASK, stage=True)
def mask(
    call: Call,
    corpus: Corpus = None,
    preview: Annotated[int, typer.Option(min=0, metavar="N", help="Show N masked blocks.")] = 0,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write masked examples for other trainers.")
    ] = None,
) -> None:
    """Pack a corpus into blocks and decide what is hidden."""
    reports = from_corpus(call, corpus, "mask")
    if reports is None:
        return
    from ..text import showing

    if export is not None:
        count = showing.export(call.run / "mask", export)
        call.console.emit(Note(f"{count:,} masked examples written to {export}"))
    if preview and not call.json:
        for block in showing.preview(call.run / "tokenizer", call.run / "mask", preview):
            call.console.coloured(block)
        return
    show(call, reports)


@options.command(app, "pretrain", panel=_PANEL, flags=options.PRETRAIN, stage=True)
def pretrain(call: Call, corpus: Corpus = None) -> None:
    """Learn an encoder from unlabelled text: tokenizer, mask and pretrain."""
    show(call, from_corpus(call, corpus, "pretrain"))


@options.command(app, "finetune", panel=_PANEL, flags=options.FINETUNE, stage=True)
def finetune(call: Call) -> None:
    """Adapt an encoder to a task with labelled data."""
    from ..pipeline import finetune_node

    config = call.resolved.recipe.finetune
    show(
        call,
        call.execute(
            lambda cache: [finetune_node(call.run, config, cache, call.console.emit, not call.dry_run)]
        ),
    )


@options.command(app, "evaluate", panel=_PANEL, flags=options.EVALUATE, stage=True)
def evaluate(call: Call, fail_under: FailUnder = None) -> None:
    """Measure a model on test data."""
    from ..pipeline import evaluate_node

    config = call.resolved.recipe.evaluate
    reports = call.execute(
        lambda cache: [evaluate_node(call.run, config, cache, call.console.emit, not call.dry_run)]
    )
    show(call, reports, limits(call, fail_under))


def from_corpus(call: Call, corpus: list[str] | None, until: str) -> list[StageReport] | None:
    """Bring the stages up to `until` up to date; None after `--dry-run`."""
    from ..pipeline import pretrain_nodes

    recipe = call.adopted()
    return call.execute(
        lambda cache: pretrain_nodes(
            call.run, recipe, until, corpus or [], cache, call.console.emit, not call.dry_run
        )
    )


def limits(call: Call, fail_under: list[str] | None) -> dict[str, float]:
    """The gates of the recipe and of `--fail-under`, by metric name."""
    gates = dict(call.resolved.recipe.evaluate.fail_under)
    for gate in fail_under or []:
        name, _, value = gate.partition("=")
        try:
            gates[name.strip()] = float(value)
        except ValueError:
            hint = "for example --fail-under accuracy=0.80"
            raise UsageError("usage.fail-under", f"{gate!r} is not METRIC=VALUE", hint=hint) from None
    return gates


def show(call: Call, reports: list[StageReport] | None, gates: dict[str, float] | None = None) -> None:
    """Print the metrics of the last stage and check the gates."""
    if reports is None:
        return
    from ..measure.gates import check

    result = call.report(reports)
    metrics = result["metrics"]
    failures = check(metrics, gates or {})
    if not call.json:
        rows = [(name, shown(value)) for name, value in metrics.items() if _is_plain(value)]
        call.console.facts([*rows, ("artifact", str(reports[-1].path))])
        _show_tables(call, metrics)
    if failures:
        call.fail(GateError("gate.failed", "; ".join(failures)), **result)
    call.done(result)


def _show_tables(call: Call, metrics: Mapping[str, Any]) -> None:
    """What is measured of each label, each file, ...; of confusions the rows are true labels."""
    for name, parts in metrics.items():
        if isinstance(parts, dict) and parts and all(isinstance(part, dict) for part in parts.values()):
            columns = list(next(iter(parts.values())))
            rows = [(part, *(shown(of[column]) for column in columns)) for part, of in parts.items()]
            call.console.table((name, *columns), rows)
    if "confusion" in metrics:
        labels = list(metrics["labels"])
        counts = [(label, *map(str, row)) for label, row in zip(labels, metrics["confusion"], strict=True)]
        call.console.table(("label \\ predicted", *labels), counts)


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str | bool)


def shown(value: object) -> str:
    """A number as people read it (four digits, thousands apart); lists one item after the other."""
    if isinstance(value, list):
        return "; ".join(str(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
