"""From the predictions of an evaluation, one row an example, to its metrics as sums over the examples.

So what is resampled and compared is what stands on disk, under the names of the metrics, and an evaluation
of last month can be compared with one of today without its model. One function here is one way of answering:
it takes the rows of `predictions.jsonl` and the names of the parts that a mean is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import entities, pairs
from .entities import Counts
from .ratios import Floats, Ratio

Row = Mapping[str, Any]
Rows = Sequence[Row]
Ratios = dict[str, Ratio]


@dataclass(frozen=True)
class Kind:
    """One kind of predictions."""

    identity: tuple[str, ...]
    """The fields that say which example, and what is right: equal where two models were asked the same."""
    names: Callable[[Rows], set[str]]
    """What a mean over parts is over: the labels, types or sets that occur."""
    ratios: Callable[[Rows, Sequence[str]], Ratios]
    """The metrics by name, given the names of the parts."""


def ratios(task: str, rows: Rows) -> Ratios:
    """The metrics of an evaluation by name; none for no rows."""
    kind = OF_TASK[task]
    return kind.ratios(rows, sorted(kind.names(rows))) if rows else {}


def both(task: str, rows: Rows, others: Rows) -> tuple[Ratios, Ratios]:
    """The metrics of two models on the same examples, over the parts that occur with either."""
    kind = OF_TASK[task]
    names = sorted(kind.names(rows) | kind.names(others))
    return kind.ratios(rows, names), kind.ratios(others, names)


def _labels(rows: Rows) -> set[str]:
    return {row[field] for row in rows for field in ("label", "prediction")}


def _classification(rows: Rows, names: Sequence[str]) -> Ratios:
    number_of = {name: number for number, name in enumerate(names)}
    cells = np.array([number_of[row["label"]] * len(names) + number_of[row["prediction"]] for row in rows])
    found, group_of = np.unique(cells, return_inverse=True)
    label, prediction = (np.eye(len(names))[part] for part in np.divmod(found, len(names)))
    hits = label * prediction  # [num_groups, num_labels]
    return {
        "accuracy": Ratio(group_of, hits.sum(axis=1, keepdims=True), np.ones((len(found), 1))),
        "macro_f1": Ratio(group_of, 2 * hits, label + prediction),
    }


def _types(rows: Rows) -> set[str]:
    tags = (row[field] for row in rows for field in ("tags", "prediction"))
    return {span.type for some in tags for span in entities.spans(some)}


def _tags(rows: Rows, names: Sequence[str]) -> Ratios:
    """Examples are sentences: their entities and words are not drawn apart."""
    counts = np.zeros((3, len(rows), len(names)))
    for number, row in enumerate(rows):
        by_type = entities.count([entities.spans(row["tags"])], [entities.spans(row["prediction"])])
        for part, name in enumerate(names):
            of = by_type.get(name, Counts())
            counts[:, number, part] = of.num_entities, of.num_predicted, of.num_correct
    there, predicted, correct = counts  # [num_sentences, num_types] each
    of_all = counts.sum(axis=2)
    is_right = [np.equal(row["tags"], row["prediction"]) for row in rows]
    return {
        "f1": Ratio.of(2 * of_all[2], of_all[0] + of_all[1]),
        "precision": Ratio.of(of_all[2], of_all[1]),
        "recall": Ratio.of(of_all[2], of_all[0]),
        "macro_f1": Ratio.of(2 * correct, there + predicted),
        "token_accuracy": Ratio.of(
            np.array([each.sum() for each in is_right]), np.array([each.size for each in is_right])
        ),
    }


def _qa(rows: Rows, names: Sequence[str]) -> Ratios:
    """Examples are questions, 0 to 100 as SQuAD has it; those of one passage are taken as independent."""
    has_answer = np.array([bool(row["answers"]) for row in rows])
    parts = {"HasAns_": has_answer, "NoAns_": ~has_answer}
    found = {}
    for name, values in (("exact", _column(rows, "exact")), ("f1", _column(rows, "f1"))):
        found["exact_match" if name == "exact" else name] = Ratio.of(values, scale=100.0)
        if not has_answer.all():
            for prefix, part in parts.items():
                if part.any():
                    found[prefix + name] = Ratio.of(values * part, part.astype(np.float64), scale=100.0)
    return found


def _masked(rows: Rows, names: Sequence[str]) -> Ratios:
    """Examples are blocks of text."""
    nll, num_masked = _column(rows, "nll"), _column(rows, "num_masked")
    bits, num_bytes = nll / math.log(2), _column(rows, "num_bytes")
    return {
        "valid_loss": Ratio.of(nll, num_masked, lower_is_better=True),
        "valid_accuracy": Ratio.of(_column(rows, "num_correct"), num_masked),
        "bits_per_byte": Ratio.of(bits, num_bytes, lower_is_better=True),
    }


def _pairs(rows: Rows, names: Sequence[str]) -> Ratios:
    """Examples are pairs; the sets are fixed, each counts the same in `accuracy`."""
    results = pairs.outcomes(_column(rows, "score_good"), _column(rows, "score_bad"))
    number_of = {name: number for number, name in enumerate(names)}
    groups, group_of = np.unique(
        np.stack([results, [number_of[row["file"]] for row in rows]], axis=1), axis=0, return_inverse=True
    )
    of_file = np.eye(len(names))[groups[:, 1].astype(np.int64)]  # [num_groups, num_files]
    right = groups[:, :1]
    return {
        "accuracy": Ratio(group_of.reshape(-1), right * of_file, of_file),
        "micro_accuracy": Ratio.of(results),
    }


def _column(rows: Rows, name: str) -> Floats:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _none(rows: Rows) -> set[str]:
    return set()


_CLASSES = Kind(("row", "label"), _labels, _classification)

OF_TASK: dict[str, Kind] = {
    "sentiment": _CLASSES,
    "classify": _CLASSES,
    "tags": Kind(("row", "words", "tags"), _types, _tags),
    "qa": Kind(("id", "answers"), _none, _qa),
    "mlm": Kind(("block", "masks"), _none, _masked),
    "pairs": Kind(("file", "row"), lambda rows: {row["file"] for row in rows}, _pairs),
}
"""By the name of the task that `evaluate` was asked for."""
