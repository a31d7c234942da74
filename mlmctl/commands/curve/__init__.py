"""`mlmctl curve`: is pretraining worth it on this data, and worth how many labels?

Fine-tunes the encoder, the same model from scratch and whatever it is compared with at growing numbers of
labels, each with several seeds, and measures all on one test set. What a bag of words gets is drawn beside.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ... import extras, hub
from ...config import EvaluateConfig, FinetuneConfig, RuntimeConfig
from ...errors import DataError, UsageError
from ...events import Emit, Progress
from ...json_files import indented
from ...manifest import MANIFEST, read_manifest
from ...measure import efficiency
from ...pipeline.team import Team
from ...storage import write_file
from ...tasks.adapted import TASKS
from ...tasks.task import Data, Task, num_trained_on
from . import plot, share
from .points import DATA, HEADLINES, Measurer, Start, all_points, label_counts, num_seeds

PRETRAINED, SCRATCH, WORDS = "pretrained", "from scratch", "TF-IDF"
_TOLD_AT = 1_000
"""Labels: at the measured number nearest to this one the verdict is given."""


def run(
    folder: Path,
    encoder: Path,
    config: FinetuneConfig,
    judged: EvaluateConfig,
    against: Sequence[Path],
    quick: bool,
    runtime: RuntimeConfig,
    emit: Emit,
    team: Team | None = None,
) -> dict[str, Any]:
    """Measure all points that are not there yet; write curve.json, curve.csv and curve.svg into `folder`.

    With a `team` the ranks divide them.

    Returns what curve.json holds: `table` (rows {labels, num_seeds, mean, deviation, low, high} of each
    start), `fingerprints` (of what it was measured with), `worth` (for each number of labels),
    `num_trained_on` (test texts that are in the training data) and `verdict`, one sentence.
    Raises what the stages raise; UsageError where the extra is missing.
    """
    for module in ("sklearn", "matplotlib"):
        extras.load(module, "curve", "curves")
    starts = _starts(encoder, against, config.task)
    task = TASKS[config.task]
    data = task.read(Path(config.data), config, emit)
    data = data.take(task.trainable(data))
    tested = task.read(Path(judged.data), judged, emit, task.settings(data, config))
    found_twice = num_trained_on(tested, data.hashes, emit)
    counts = [
        count
        for count in label_counts(len(data), quick)
        if _can_be_drawn(task, data, count, num_seeds(count, quick))
    ]
    measurer = Measurer.open(folder, starts, config, judged, runtime)
    todo, results = all_points(starts, counts, quick), []
    if team:
        share.measure(team, measurer, todo, emit)
    for number, point in enumerate(todo):
        emit(Progress("curve", number, len(todo), "points", point.shown))
        results.append(measurer.measure(point))
    table = {start.name: _rows([r for r in results if r["start"] == start.name]) for start in starts}
    worths = _worths(results, counts)
    found = {
        "task": config.task,
        "score": HEADLINES[config.task],
        "encoder": str(encoder),
        "corpus": _corpus(encoder),
        "fingerprints": measurer.fingerprints,
        "table": table,
        "worth": [_finite(asdict(each)) for each in worths],
        "verdict": verdict(worths, _corpus(encoder), counts[-1], is_all=counts[-1] == len(data)),
        "num_trained_on": found_twice,
        "seconds": round(sum(result["seconds"] for result in results), 1),
    }
    _write(folder, found, results)
    return found


def _can_be_drawn(task: Task, data: Data, count: int, seeds: int) -> bool:
    """Whether so few examples can hold every label, with each of the first `seeds` seeds."""
    try:
        for seed in range(seeds):
            task.sample(data, count, seed)
    except DataError:
        return False
    return True


def verdict(worths: Sequence[efficiency.Worth], corpus: str, most: int, is_all: bool) -> str:
    """One sentence: what pretraining is worth at the number of labels nearest to 1,000.

    Not at the `most` that were measured, all there are or not: what more would have given is not known there.
    """
    at = min(worths[:-1] or worths, key=lambda each: abs(math.log(each.labels / _TOLD_AT)))
    start, beyond = f"pretraining on {corpus}", f"more than {'all ' if is_all else ''}{most:,}"

    def shown(number: float) -> str:
        if number < worths[0].labels:
            return f"fewer than {worths[0].labels:,}"
        return beyond if math.isinf(number) else f"{_rounded(number):,}"

    interval = f"95 %: {shown(at.low)} to {shown(at.high)}"
    if at.equivalent <= at.labels:
        return (
            f"{start} is worth nothing at {at.labels:,} labels: from scratch the same takes "
            f"{shown(at.equivalent)} labels ({interval})"
        )
    gain = (
        "" if math.isinf(at.equivalent) else f": worth about {_rounded(at.equivalent - at.labels):,} labels"
    )
    doubt = "" if at.low > at.labels else "; that it is worth nothing cannot be ruled out"
    return (
        f"with {start}, {at.labels:,} labels do as well as {shown(at.equivalent)} from scratch ({interval})"
        f"{gain}{doubt}"
    )


def cell(row: Mapping[str, Any]) -> str:
    """Mean and deviation of a row of the table, as a table for people has them."""
    spread = f" ± {row['deviation']:.3f}" if row["deviation"] is not None else ""
    return f"{row['mean']:.3f}{spread}"


def _starts(encoder: Path, against: Sequence[Path], task: str) -> list[Start]:
    starts = [Start(PRETRAINED, encoder), Start(SCRATCH, encoder, from_scratch=True)]
    if HEADLINES[task] == "accuracy":
        starts.append(Start(WORDS, None))
    taken = {*DATA, *(start.name for start in starts)}
    for path in against:
        name = hub.called(path)
        if name in taken:
            hint = "the same folder under another name"
            raise UsageError("usage.against", f"something else is called {name}", where=str(path), hint=hint)
        taken.add(name)
        starts.append(Start(name, path))
    return starts


def _rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for count in sorted({result["labels"] for result in results}):
        scores = [result["score"] for result in results if result["labels"] == count]
        low, high = min(scores), max(scores)
        # Not outside of the two, as the mean of equal numbers may be in its last bit: that cannot be drawn.
        mean = float(np.clip(np.mean(scores), low, high))
        rows.append(
            {
                "labels": count,
                "num_seeds": len(scores),
                "mean": round(mean, 6),
                "deviation": round(float(np.std(scores, ddof=1)), 6) if len(scores) > 1 else None,
                "low": round(low, 6),
                "high": round(high, 6),
            }
        )
    return rows


def _worths(results: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> list[efficiency.Worth]:
    def scores(start: str) -> list[list[float]]:
        return [
            [r["score"] for r in results if (r["start"], r["labels"]) == (start, count)] for count in counts
        ]

    ours, others = scores(PRETRAINED), scores(SCRATCH)
    return [efficiency.worth(counts, ours, others, index) for index in range(len(counts))]


def _corpus(encoder: Path) -> str:
    """What the encoder learned from, by the names of its files; its own name where that is not known."""
    for name in ("mask/blocks", "tokenizer"):
        beside = encoder.parent / name
        if encoder.name == "pretrain" and (beside / MANIFEST).exists():
            paths = read_manifest(beside).details.get("corpus", [])
            names = [Path(path).name for path in paths[:3]]
            if names:
                return ", ".join(names) + (" and others" if len(paths) > len(names) else "")
    return hub.called(encoder)


def _rounded(number: float) -> int:
    """To two digits: more are never known."""
    digits = max(0, math.floor(math.log10(max(number, 1))) - 1)
    return int(round(number / 10**digits) * 10**digits)


def _finite(worth: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null is beyond all labels."""
    return {name: None if math.isinf(value) else round(value, 1) for name, value in worth.items()}


def _write(folder: Path, found: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["start", "labels", "seed", "score", "seconds"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    write_file(folder / "curve.csv", text.getvalue().encode())
    plot.draw(found["table"], found["score"], folder / "curve.svg")
    write_file(folder / "curve.json", indented(found))
