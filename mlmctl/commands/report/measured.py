"""What was measured: fine-tuned models; of each evaluation metrics, intervals, tables, pictures, errors."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...manifest import Manifest
from ...quantities import number
from ..curve.points import HEADLINES
from . import plots, wording
from .mistakes import mistakes
from .opened import Opened
from .parts import Facts, Group, Line, Matrix, Part, Section, Table

_HEADLINES = {**HEADLINES, "mlm": "valid_loss", "pairs": "accuracy"}
_MOST_LABELS = 20
"""Of a confusion matrix that can be read; of more labels only the pairs most often confused are shown."""
_TABLES = {
    "labels": ("By label", "label"),
    "types": ("By type", "type"),
    "kinds": ("By kind of question", "kind"),
    "lengths": ("By length of the text", "quarter of the examples"),
    "files": ("By set", "set"),
    "fields": ("By field", "field"),
    "phenomena": ("By phenomenon", "phenomenon"),
    "frequency_bands": ("By how often the hidden token occurs in training", "in a million"),
}
"""Metrics that are tables: title, and what a row is. Others are called by their names."""
_OF_DATA = ("labels", "types", "fields", "phenomena")
"""Tables whose rows are called by what stands in the data."""
_ROWS = {
    "over_1000": "more than 1,000 times",
    "100_to_1000": "100 to 1,000",
    "10_to_100": "10 to 100",
    "under_10": "at most 10",
    "quarter_1": "the shortest",
    "quarter_2": "second",
    "quarter_3": "third",
    "quarter_4": "the longest",
}
_NOT_METRICS = ("intervals", "confusion", "reliability")


def models(run: Opened) -> Section:
    """A row for each fine-tuned model, and those that nobody has evaluated."""
    section = Section("models", "Fine-tuned models")
    made = run.of_stage("finetune")
    if not made:
        command = run.command("finetune --task sentiment --data train.jsonl")
        return Section(section.id, section.title, missing=Line("No model has been fine-tuned yet:", command))
    columns = ("model", "task", "starts from", "examples", "epochs", "learning rate", "watched", "time")
    rows = [(name.removeprefix("finetune/"), *_model(manifest)) for name, manifest in made.items()]
    parts: list[Part] = [Table("", columns, rows, num_texts=3)]
    evaluated = {each.inputs.get("model") for each in run.of_stage("evaluate").values()}
    for name, manifest in made.items():
        model = name.removeprefix("finetune/")
        if misfit := run.misfit(name):
            parts.append(Line(f"{misfit}."))
        if manifest.fingerprint not in evaluated:
            task, quoted = (shlex.quote(str(each)) for each in (manifest.config.get("task"), model))
            command = run.command(f"evaluate --task {task} --model {quoted} --data test.jsonl")
            parts.append(Line(f"{model} has not been evaluated yet:", command))
    return Section(section.id, section.title, parts)


def _model(manifest: Manifest) -> Iterable[str]:
    metrics, config = manifest.metrics, manifest.config
    watched = [each for each in metrics if each.startswith(("held_out_", "train_")) and each != "train_loss"]
    yield str(config.get("task"))
    encoder = wording.folder(manifest.details.get("reads", {}).get("pretrain", ""))
    yield "random weights" if config.get("from_scratch") else encoder
    for field in ("num_examples", "num_epochs", "learning_rate"):
        yield wording.value(field, metrics[field]) if field in metrics else ""
    yield ", ".join(f"{wording.name(each)} {number(metrics[each])}" for each in watched)
    yield wording.value("seconds", metrics["seconds"]) if "seconds" in metrics else ""


def evaluations(run: Opened) -> Section:
    """The headline of each evaluation side by side, then each by itself; of stale ones that they are it."""
    section = Section("evaluations", "Evaluations")
    stale = list(filter(None, map(run.misfit, run.of_stage("evaluate"))))
    made = run.evaluations()
    if not made and not stale:
        command = run.command("evaluate --task sentiment --data test.jsonl")
        return Section(section.id, section.title, missing=Line("Nothing has been evaluated yet:", command))
    rows = []
    for name, manifest in made.items():
        task = str(manifest.config.get("task"))
        metric, value, interval = headline_of(manifest)
        told = (metric, "" if value is None else number(value), interval)
        rows.append((name.removeprefix("evaluate/"), task, *told, _measured_on(manifest.metrics)))
    columns = ("model / data", "task", "metric", "value", "95 % interval", "measured on")
    parts: list[Part] = [Table("", columns, rows, num_texts=3)] if rows else []
    parts += [Line(f"{misfit} and is not shown; the same command measures again.") for misfit in stale]
    for place, (name, manifest) in enumerate(made.items()):
        title = name.removeprefix("evaluate/")
        parts.append(Group(title, _evaluation(run, name, f"evaluation-{place}", manifest)))
    return Section(section.id, section.title, parts)


def _measured_on(metrics: Mapping[str, Any]) -> str:
    """How much, and of what: an encoder is measured on tokens (`mlm`), all else on examples."""
    units = {"num_examples": "examples", "num_masked": "masked tokens"}
    return next((f"{number(metrics[field])} {unit}" for field, unit in units.items() if field in metrics), "")


def headline_of(manifest: Manifest) -> tuple[str, float | None, str]:
    """The metric that sums an evaluation up: its name, its value, its interval."""
    name = _HEADLINES.get(str(manifest.config.get("task")), "accuracy")
    return wording.name(name), manifest.metrics.get(name), _interval(manifest.metrics, name)


def _interval(metrics: Mapping[str, Any], name: str) -> str:
    ends = metrics.get("intervals", {}).get(name)
    return f"{number(ends['low'])} to {number(ends['high'])}" if ends else ""


def _evaluation(run: Opened, name: str, picture: str, manifest: Manifest) -> list[Part]:
    metrics = manifest.metrics
    plain = {field: found for field, found in metrics.items() if isinstance(found, int | float)}
    with_interval = [field for field in plain if field in metrics.get("intervals", {})]
    rows = [(wording.name(each), number(plain[each]), _interval(metrics, each)) for each in with_interval]
    parts: list[Part] = [Table("Metrics", ("metric", "value", "95 % interval"), rows)] if rows else []
    others = wording.facts(plain, [field for field in plain if field not in with_interval])
    if others:
        parts.append(Facts(others))
    called = {field: _called(run, field, metrics.get(field, ())) for field in _OF_DATA}
    if "confusion" in metrics:
        labels = list(called["labels"].values())
        parts.append(_confusion(labels, metrics["confusion"]))
    if metrics.get("reliability"):
        parts.append(plots.reliability(picture, metrics["reliability"]))
        columns = ("sure from", "to", "mean", "right", "examples")
        fields = ("low", "high", "confidence", "accuracy", "num_examples")
        bins = [[number(each[field]) for field in fields] for each in metrics["reliability"]]
        parts.append(Table("Calibration in numbers", columns, bins, num_texts=0, is_folded=True))
    for field, found in metrics.items():
        if field not in _NOT_METRICS and _is_table(found):
            if field == "frequency_bands":
                found = {band: {**of, "uniform_loss": metrics["uniform_loss"]} for band, of in found.items()}
            title, first = _TABLES.get(field, (f"By {wording.name(field)}", wording.name(field)))
            parts.append(wording.table(title, first, found, called.get(field, _ROWS)))
    parts += mistakes(run, name, str(manifest.config.get("task")))
    return parts


def _is_table(found: object) -> bool:
    return isinstance(found, Mapping) and bool(found) and all(isinstance(v, Mapping) for v in found.values())


def _called(run: Opened, field: str, names: Iterable[str]) -> dict[str, str]:
    """What the rows that stand in the data are called: by numbers where no text may be shown."""
    hidden = field.removesuffix("s")
    return {name: name if run.has_text else f"{hidden} {place}" for place, name in enumerate(names, start=1)}


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Part:
    if len(labels) <= _MOST_LABELS:
        return Matrix("Confusion matrix", labels, counts)
    confused = [
        (count, true, predicted)
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    worst = sorted(confused, key=lambda each: -each[0])[:_MOST_LABELS]
    rows = [(labels[true], labels[predicted], number(count)) for count, true, predicted in worst]
    title = f"The {len(rows)} confusions that occur most, of {len(labels):,} labels"
    return Table(title, ("true", "predicted", "examples"), rows, num_texts=2)
