"""The five stages as commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import GateError, UsageError
from ..events import Note
from ..quantities import number
from ..storage import check_writable
from . import options
from .app import app
from .call import Call
from .gate import FailUnder, Markdown, MaxDrop, gate, show_differences

if TYPE_CHECKING:
    from ..commands.gate import Gate
    from ..pipeline import Node, StageReport

_PANEL = "Stages"
Corpus = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CORPUS]...", help="Files, folders, globs, remote ones (s3://...), or - for standard input."
    ),
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
    if preview and call.json:
        hint = "--export FILE.jsonl"
        raise UsageError("usage.preview", "is for people; not with --json", where="--preview", hint=hint)
    if export is not None:
        check_writable(export)
    reports = from_corpus(call, corpus, "mask")
    if reports is None:
        return
    from ..artifact import open_artifact
    from ..text import showing

    for report in reports if export or preview else ():
        if report.status == "fresh":  # a remembered hash may have said so: not enough to compute from
            open_artifact(report.path)
    if export is not None:
        count = showing.export(call.run / "mask", export)
        call.console.emit(Note(f"{count:,} masked examples written to {export}"))
    if preview:
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
def evaluate(
    call: Call, fail_under: FailUnder = None, max_drop: MaxDrop = None, markdown: Markdown = None
) -> None:
    """Measure a model on test data."""
    from ..pipeline import evaluate_node

    config, asked = call.resolved.recipe.evaluate, gate(call, fail_under, max_drop, markdown)
    if config.task == "mlm":
        for name in ("data", "max_examples"):
            if call.resolved.origins.get(f"evaluate.{name}") == "flag":
                found = "the task mlm measures on the frozen masks of the run, on nothing else"
                hint = "`mlmctl score` says how likely other text is"
                raise UsageError("usage.masks", found, where=f"--{name.replace('_', '-')}", hint=hint)

    def nodes(cache: Any) -> list[Node]:
        node = evaluate_node(call.run, config, cache, call.console.emit, not call.dry_run)
        asked.check_target(call.run / node.name)
        return [node]

    show(call, call.execute(nodes), asked, markdown)


def from_corpus(call: Call, corpus: list[str] | None, until: str) -> list[StageReport] | None:
    """Bring the stages up to `until` up to date; None after `--dry-run`."""
    from ..pipeline import pretrain_nodes

    recipe = call.adopted()
    return call.execute(
        lambda cache: pretrain_nodes(
            call.run, recipe, until, corpus or [], cache, call.console.emit, not call.dry_run
        )
    )


def show(
    call: Call,
    reports: list[StageReport] | None,
    asked: Gate | None = None,
    markdown: Path | None = None,
) -> None:
    """Print the metrics of the last stage, check the gates and append the summary."""
    if reports is None:
        return
    result, last = call.report(reports), reports[-1]
    if last.status == "fresh":  # what was warned of when it was made holds as long as it stands
        for message in last.manifest.details.get("warnings", ()):
            call.console.emit(Note(message, level="warning"))
    metrics = result["metrics"]
    verdict = asked.judge(last.path, metrics) if asked else None
    if not call.json:
        rows = [(name, _with_interval(name, metrics)) for name in metrics if _is_plain(metrics[name])]
        call.console.facts([*rows, ("artifact", str(last.path))])
        _show_tables(call, metrics)
    if asked and verdict:
        for sentence in verdict.doubts:
            call.console.emit(Note(sentence, level="warning"))
        if asked.baseline:
            result["comparison"] = verdict.to_json(asked.baseline.path)
            if not call.json:
                show_differences(call, verdict)
        if markdown:
            with markdown.open("a", encoding="utf-8") as file:
                file.write(asked.markdown(last.name, metrics, verdict))
        if verdict.failures:
            call.fail(GateError("gate.failed", "; ".join(verdict.failures)), **result)
    call.done(result)


def _with_interval(name: str, metrics: Mapping[str, Any]) -> str:
    ends = metrics.get("intervals", {}).get(name)
    told = f"   ({number(ends['low'])} to {number(ends['high'])})" if ends else ""
    return number(metrics[name]) + told


def _show_tables(call: Call, metrics: Mapping[str, Any]) -> None:
    """What is measured of each label, each file, ...; of confusions the rows are true labels."""
    for name, parts in metrics.items():
        is_table = isinstance(parts, dict) and all(isinstance(part, dict) for part in parts.values())
        if is_table and parts and name != "intervals":
            columns = list(next(iter(parts.values())))
            rows = [(part, *(number(of[column]) for column in columns)) for part, of in parts.items()]
            call.console.table((name, *columns), rows)
    if "confusion" in metrics:
        labels = list(metrics["labels"])
        counts = [(label, *map(str, row)) for label, row in zip(labels, metrics["confusion"], strict=True)]
        call.console.table(("label \\ predicted", *labels), counts)


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str | bool)
