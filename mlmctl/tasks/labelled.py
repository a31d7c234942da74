"""Texts with one label each: read from a file, labels brought to one spelling, oddities counted and told.

Label names come from the data and nothing about them is guessed: `1`, `"1"`, `1.0` are the label `1`,
and where all labels of a file are truth values or 0 and 1, `true` is `1` and `false` is `0`. Any other
name stays as it is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig, FinetuneConfig
from ..errors import DataError
from ..events import Emit, Note
from ..text.corpus import shown
from ..text.rows import way_out
from . import tables

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0*)?")
_TRUTH = {"true": "1", "false": "0"}
_LISTED = 12


@dataclass(frozen=True)
class Labelled:
    """Examples of text classification, in the order of the file."""

    texts: Sequence[str]
    labels: NDArray[np.int64]
    """Label numbers [num_examples], into `names`."""
    rows: NDArray[np.int64]
    """Row numbers [num_examples] in the file, from 1."""
    hashes: NDArray[np.uint64]
    """`text_hash` of each text [num_examples]."""
    names: tuple[str, ...]
    """The label names, in numeric order if all are integers, else sorted."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, numbers: NDArray[np.int64]) -> Labelled:
        """The examples of these numbers (from 0), in this order."""
        texts = [self.texts[n] for n in numbers]
        return Labelled(texts, self.labels[numbers], self.rows[numbers], self.hashes[numbers], self.names)

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """Which texts are blank [num_examples]."""
        return np.array([not text.strip() for text in self.texts], dtype=bool)


def text_hash(text: str) -> int:
    """64 bits that two texts share if they differ in white space and case at most.

    UnicodeEncodeError for half a surrogate pair, which is no text.
    """
    plain = " ".join(text.split()).casefold()
    return int.from_bytes(blake2b(plain.encode(), digest_size=8).digest(), "little")


def canonical_label(value: Any) -> str:
    """The one spelling of a label value; ValueError if it cannot be a label (empty, null, NaN, a list).

    UnicodeEncodeError for half a surrogate pair, which is no text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"the label is {value}")
        return str(int(value)) if value.is_integer() else repr(value)
    if not isinstance(value, str):
        kind = "null" if value is None else f"a {type(value).__name__}"
        raise ValueError(f"the label is {kind}, not a name or a number")
    label = value.strip()
    if not label:
        raise ValueError("the label is empty")
    label.encode()
    return str(int(label.split(".")[0])) if _INTEGER.fullmatch(label) else label


def unify(labels: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """Canonical labels with truth values read as 1 and 0 where the labels (or the known names) are such.

    A name that is already known is left as it is.
    """
    spoken = [_TRUTH.get(label.lower(), label) for label in labels]
    if set(known or spoken) <= {"0", "1"}:
        return [label if label in known else said for label, said in zip(labels, spoken, strict=True)]
    return list(labels)


def read(
    path: Path, config: FinetuneConfig | EvaluateConfig, emit: Emit, known: Sequence[str] = ()
) -> Labelled:
    """All labelled texts of a file. With `known` names (of a model) any other label is an error.

    DataError for an empty file, a missing column, a row that is no text with a label, one class only.
    Blank texts, repeated texts and texts with contradicting labels are kept and told.
    """
    table = "finetune" if isinstance(config, FinetuneConfig) else "evaluate"
    texts: list[str] = []
    labels: list[str] = []
    rows: list[tables.Row] = []
    hashes: list[int] = []
    for row in tables.read(path, columns=(config.text_column, config.label_column)):
        setting = f"{table}.text_column"
        text = row.value(config.text_column, setting)
        label = row.value(config.label_column, f"{table}.label_column")
        if not isinstance(text, str):
            found = f"the value of {config.text_column!r} is not a string"
            row.fail("data.bad-text", found, way_out(setting))
        try:
            labels.append(canonical_label(label))
            hashes.append(text_hash(text))
        except UnicodeEncodeError:
            row.fail("data.bad-text", "the text or its label holds half a surrogate pair")
        except ValueError as error:
            row.fail("data.bad-label", str(error))
        texts.append(text)
        rows.append(row)
    if not rows:
        raise DataError("data.empty", "holds no examples", where=shown(str(path)))
    labels = unify(labels, known)
    names = tuple(known) or _sorted_names(set(labels))
    if len(names) < 2:
        raise DataError(
            "data.one-class",
            f"all {len(rows):,} examples have the label {names[0]!r}; there is nothing to learn",
            where=shown(str(path)),
            hint=f"is {config.label_column!r} the right column? --set {table}.label_column=COLUMN",
        )
    number_of = {name: number for number, name in enumerate(names)}
    for row, label in zip(rows, labels, strict=True):
        if label not in number_of:
            row.fail(
                "data.unknown-label",
                f"the label {label!r} was not in the training data",
                "the model knows: " + ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else ""),
            )
    data = Labelled(
        texts=texts,
        labels=np.array([number_of[label] for label in labels], dtype=np.int64),
        rows=np.array([row.number for row in rows], dtype=np.int64),
        hashes=np.array(hashes, dtype=np.uint64),
        names=names,
    )
    _tell(facts(data), emit)
    return data


def facts(data: Labelled) -> dict[str, int]:
    """Counts of what is odd: blank texts, and among the others repetitions of a text and texts that have
    several labels.
    """
    is_text = ~data.is_empty  # blank ones are never learned from: they cannot contradict
    distinct, text_of = np.unique(data.hashes[is_text], return_inverse=True)
    pairs = np.unique(text_of * len(data.names) + data.labels[is_text])
    labels_of_text = np.bincount(pairs // len(data.names), minlength=len(distinct))
    return {
        "num_empty": int((~is_text).sum()),
        "num_repeated": len(text_of) - len(distinct),
        "num_contradicting": int((labels_of_text > 1).sum()),
    }


def too_few(message: str) -> DataError:
    """The error of a sample that is too small to represent its data."""
    return DataError("data.too-few", message, hint="raise --max-examples")


def sample(
    labels: NDArray[np.int64], num_examples: int, seed: int, called: str = "labels"
) -> NDArray[np.int64]:
    """Numbers (ascending) of a seeded sample that keeps the shares of the labels, at least one of each.

    Seats are given by largest remainder. DataError if there are more labels (`called` so in the message)
    than `num_examples`.
    """
    if num_examples >= len(labels):
        return np.arange(len(labels))
    present, counts = np.unique(labels, return_counts=True)
    if num_examples < len(present):
        raise too_few(f"{num_examples} examples cannot hold {len(present)} {called}")
    # One seat each first, then what is left by share of the rest: no class can lose its only seat.
    fair = counts * num_examples / len(labels)
    seats = np.maximum(1, np.floor(fair)).astype(np.int64)
    while seats.sum() > num_examples:
        crowded = np.where(seats > 1, seats - fair, -np.inf)
        seats[np.argmax(crowded)] -= 1
    order = np.argsort(-(fair - seats), kind="stable")
    seats[order[: num_examples - seats.sum()]] += 1
    chosen = []
    for label, num_seats in zip(present, seats, strict=True):
        members = np.flatnonzero(labels == label)
        # Its own generator for each label: a larger sample holds the smaller one.
        shuffled = np.random.Generator(np.random.PCG64([seed, int(label)])).permutation(members)
        chosen.append(shuffled[:num_seats])
    return np.sort(np.concatenate(chosen))


def _sorted_names(labels: set[str]) -> tuple[str, ...]:
    if all(_INTEGER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _tell(counts: dict[str, int], emit: Emit) -> None:
    if counts["num_empty"]:
        emit(Note(f"{counts['num_empty']:,} texts are empty", level="warning"))
    if counts["num_contradicting"]:
        message = f"{counts['num_contradicting']:,} texts occur with different labels"
        emit(Note(message, level="warning"))
    elif counts["num_repeated"]:
        emit(Note(f"{counts['num_repeated']:,} examples repeat an earlier text"))
