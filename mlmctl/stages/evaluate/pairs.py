"""An encoder on minimal pairs: how often the right sentence has the higher pseudo-log-likelihood.

Reads: `pretrain`, a file of pairs or a folder of such files
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...config import EvaluateConfig
from ...errors import UsageError
from ...events import Note, Progress
from ...measure import pairs as measures
from ...tasks import pairs
from ...tasks.pretrained import open_pretrained
from ...tasks.scoring import Scorer
from ...tasks.task import Report
from ..stage import Stage

_AT_ONCE = 100  # pairs between two signs of life
_NUM_ERRORS = 50
_SAMPLE_SEED = 0


def measure(config: EvaluateConfig, stage: Stage, device: torch.device) -> Report:
    """Accuracy by file and over all: `accuracy` is the mean over files, `micro_accuracy` over pairs.

    A sentence is scored by `config.method`; scores are rounded, and equal ones are a tie, which counts
    half. DataError for a row that is no pair.
    """
    if stage.data is None:
        raise UsageError("usage.no-data", "no minimal pairs are named", hint="--data FOLDER")
    sets = _read(stage.data, config.max_examples)
    num_identical = sum(pair.good == pair.bad for each in sets.values() for pair in each)
    if num_identical:  # BLiMP has some: they stay, as ties, so that results can be compared
        stage.emit(Note(f"{num_identical:,} pairs are the same sentence twice: ties", level="warning"))
    scorer = Scorer(open_pretrained(stage.inputs["pretrain"], device), config.method)
    rows, num_windowed = _rows(sets, scorer, stage)
    if num_windowed:
        message = f"{num_windowed:,} sentences are longer than the encoder reads and were scored in windows"
        stage.emit(Note(message, level="warning"))
    results = measures.outcomes(_column(rows, "score_good"), _column(rows, "score_bad"))
    of_files = _shares(results, [row["file"] for row in rows])
    accuracy, standard_error = measures.macro(list(of_files.values()))
    overall = measures.share(results)
    metrics: dict[str, Any] = {
        "accuracy": accuracy,
        "standard_error": standard_error,
        "micro_accuracy": overall.accuracy,
        "num_examples": overall.num_examples,
        "num_ties": overall.num_ties,
        "num_files": len(sets),
        "files": {name: each.to_json() for name, each in of_files.items()},
    }
    for group in pairs.GROUPS:
        named = [pair.groups.get(group, "") for each in sets.values() for pair in each]
        if any(named):
            found = _shares(results, named)
            metrics[group] = {name or "(none)": found[name].to_json() for name in sorted(found)}
    return Report(metrics, headline="accuracy", predictions=rows, errors=_errors(rows, results, sets))


def _read(data: Path, max_examples: int | None) -> dict[str, list[pairs.Pair]]:
    sets = {name: pairs.read(file) for name, file in pairs.files(data).items()}
    if max_examples is None:
        return sets
    return {name: pairs.sample(each, max_examples, _SAMPLE_SEED) for name, each in sets.items()}


def _rows(
    sets: Mapping[str, Sequence[pairs.Pair]], scorer: Scorer, stage: Stage
) -> tuple[list[dict[str, Any]], int]:
    """{file, row, score_good, score_bad} of each pair; how many sentences needed windows."""
    rows: list[dict[str, Any]] = []
    num_windowed, total = 0, sum(map(len, sets.values()))
    for name, each in sets.items():
        for first in range(0, len(each), _AT_ONCE):
            some = each[first : first + _AT_ONCE]
            scores = scorer.score([text for pair in some for text in (pair.good, pair.bad)])
            num_windowed += sum(score.num_windows > 1 for score in scores)
            for pair, good, bad in zip(some, scores[::2], scores[1::2], strict=True):
                rows.append({"file": name, "row": pair.row, "score_good": good.total, "score_bad": bad.total})
            stage.emit(Progress(stage.name, len(rows), total, "pairs", name))
    return rows, num_windowed


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows])


def _shares(results: NDArray[np.float64], names: Sequence[str]) -> dict[str, measures.Share]:
    """The share of right pairs under each name, in the order in which the names come up."""
    of_pair = np.array(names)
    return {name: measures.share(results[of_pair == name]) for name in dict.fromkeys(names)}


def _errors(
    rows: Sequence[dict[str, Any]],
    results: NDArray[np.float64],
    sets: Mapping[str, Sequence[pairs.Pair]],
) -> list[dict[str, Any]]:
    """The pairs in which the wrong sentence won by most, with their sentences."""
    all_pairs = [pair for each in sets.values() for pair in each]
    lead = _column(rows, "score_bad") - _column(rows, "score_good")
    wrong = [number for number in np.argsort(-lead, kind="stable") if results[number] == 0]
    return [
        {**rows[n], "sentence_good": all_pairs[n].good, "sentence_bad": all_pairs[n].bad}
        for n in wrong[:_NUM_ERRORS]
    ]
