"""What is special to each kind of labelled data: its answers, their balance, and the faults it can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...tasks import squad
from ...tasks.labelled import Labelled, text_hash
from ...tasks.question import FAULTS
from ...tasks.squad import Questions
from ...tasks.tagged import Tagged
from ...text.corpus import shown
from .section import Finding

_NONE = frozenset(("",))
"""The answer of a question that has none."""


@dataclass(frozen=True)
class Answers:
    """Labelled data as the checks that are common to all tasks want it."""

    texts: list[str]
    """What a tokenizer is measured on."""
    keys: Sequence[Hashable]
    """What must differ between two examples that are not the same [num_examples]."""
    answers: Sequence[frozenset[Hashable]]
    """The answers that each example accepts [num_examples]: those of two of one text should share some."""
    empty: Sequence[int]
    """Numbers of the examples without a text."""
    balance: Mapping[str, int]
    """How many examples (or entities) each answer has."""
    balance_name: str
    place: Callable[[int], str]
    """Where an example of this number (from 0) stands in its file."""
    is_exclusive: bool = True
    """Whether an example has one of the answers, no more and no less."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()


def of(data: Labelled | Tagged | Questions, path: Path) -> Answers:
    """The view of the data that was read from `path`."""
    if isinstance(data, Labelled):
        return _labels(data)
    return _tags(data, path) if isinstance(data, Tagged) else _questions(data, path)


def _labels(data: Labelled) -> Answers:
    counts = np.bincount(data.labels, minlength=len(data.names)).tolist()
    balance = dict(zip(data.names, counts, strict=True))
    return Answers(
        texts=list(data.texts),
        keys=data.hashes.tolist(),
        answers=[frozenset((label,)) for label in data.labels.tolist()],
        empty=np.flatnonzero(data.is_empty).tolist(),
        balance=balance,
        balance_name="labels",
        place=lambda number: f"row {data.rows[number]}",
        facts={"num_labels": len(data.names), "labels": balance},
    )


def _tags(data: Tagged, path: Path) -> Answers:
    balance = Counter(span.type for spans in data.entities for span in spans)
    num_unbegun, findings = int(data.unbegun.sum()), []
    if num_unbegun:
        message = f"{num_unbegun:,} entities begin with a tag that should continue one (I- without B-)"
        where = f"{shown(str(path))}: sentence {data.rows[np.flatnonzero(data.unbegun)[0]]}"
        hint = "they are read as entities; see whether a B- is missing"
        findings.append(Finding("doctor.tags-unbegun", "warning", num_unbegun, message, where, hint))
    return Answers(
        texts=[" ".join(words) for words in data.words],
        keys=data.hashes.tolist(),
        answers=[frozenset((tuple(spans),)) for spans in data.entities],
        empty=np.flatnonzero(data.is_empty).tolist(),
        balance=dict(balance.most_common()),
        balance_name="entities",
        place=lambda number: f"sentence {data.rows[number]}",
        is_exclusive=False,
        facts={
            "num_words": sum(map(len, data.words)),
            "num_unbegun": num_unbegun,
            "entities": dict(balance.most_common()),
        },
        findings=findings,
    )


def _questions(data: Questions, path: Path) -> Answers:
    examined = squad.examine(path)
    reader, num_answerable = examined.reader, int(data.is_answerable.sum())
    texts = zip(data.questions, data.context_of.tolist(), strict=True)
    kinds = {"answerable": num_answerable, "unanswerable": len(data) - num_answerable}
    balance = {name: count for name, count in kinds.items() if count}
    counted = {name: data.facts[name] for name in ("num_offsets_repaired", "num_offsets_in_bytes")}
    return Answers(
        texts=list(data.contexts),
        keys=[(context, text_hash(question)) for question, context in texts],
        answers=[frozenset(a.text.casefold() for a in answers) or _NONE for answers in data.answers],
        empty=(),
        balance=balance,
        balance_name="questions",
        place=lambda number: f"question {shown(data.ids[number])}",
        facts={
            "num_passages": len(data.contexts),
            "num_answerable": num_answerable,
            "num_unanswerable": len(data) - num_answerable,
            **counted,
            "num_bad": reader.faults.total(),
            "bad": dict(reader.faults.most_common()),
        },
        findings=_faults(reader, examined.version, kinds["unanswerable"]),
    )


def _faults(reader: squad.Reader, version: object, num_unanswerable: int) -> list[Finding]:
    findings = []
    for kind, count in reader.faults.most_common():
        what, where = reader.first[kind]
        code = f"doctor.squad-{kind.replace('_', '-')}"
        message = f"{count:,} questions {FAULTS[kind]}, first: {what}"
        findings.append(Finding(code, "warning", count, message, where, "--on-bad skip leaves them out"))
    for kind, code, told in (
        ("repaired", "doctor.squad-offset", "answers do not start where it is said; found and repaired"),
        (
            "bytes",
            "doctor.squad-offset-in-bytes",
            "answers start where it is said in bytes; repaired",
        ),
    ):
        if count := reader.offsets[kind]:
            what, where = reader.first[kind]
            message, hint = f"{count:,} {told}, first: {what}", "answer_start counts characters, from 0"
            findings.append(Finding(code, "warning", count, message, where, hint))
    if num_unanswerable and isinstance(version, str) and version.lstrip("v").startswith("1"):
        message = f"{num_unanswerable:,} questions have no answer, which version {shown(version)} has not"
        findings.append(Finding("doctor.squad-version", "warning", num_unanswerable, message))
    return findings
