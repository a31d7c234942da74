"""Questions about passages, read from SQuAD's JSON or from rows: every fault is found and counted.

`.json` is SQuAD version 1 or 2: an object whose `data` is the list of articles, or that list alone.
`.jsonl` and `.parquet` have a question a row: `question`, `context`, `answers`, and `id` if there is one.
Whether there are questions without an answer is seen from the questions, not from the version that a
file says it has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig, FinetuneConfig
from ..errors import DataError
from ..events import Emit, Note
from ..text.corpus import shown
from ..text.rows import no_constant
from . import tables
from .labelled import text_hash
from .question import FAULTS, Answer, Fault, answers_of, fields_of

_ROWS = (".jsonl", ".parquet")
_MOST_CHARACTERS = 2**29  # SQuAD 2.0 has 42 million


@dataclass(frozen=True)
class Questions:
    """Questions about passages, in the order of the file."""

    ids: Sequence[str]
    questions: Sequence[str]
    contexts: Sequence[str]
    """The passages, each once."""
    context_of: NDArray[np.int64]
    """Which passage each question is about [num_examples]."""
    answers: Sequence[tuple[Answer, ...]]
    """The gold answers of each question; none if it cannot be answered from its passage."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was found in the file: counts, as they stand in the metrics."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, numbers: NDArray[np.int64]) -> Questions:
        """The questions of these numbers (from 0), in this order, with the passages they are about."""
        used, context_of = np.unique(self.context_of[numbers], return_inverse=True)
        taken = replace(
            self,
            ids=[self.ids[n] for n in numbers],
            questions=[self.questions[n] for n in numbers],
            contexts=[self.contexts[n] for n in used],
            context_of=context_of.astype(np.int64),
            answers=[self.answers[n] for n in numbers],
        )
        return taken.counted(self.facts)

    def counted(self, facts: Mapping[str, Any]) -> Questions:
        """The same with `facts` of the file they were read from, and what is counted among themselves."""
        num_unanswerable = int((~self.is_answerable).sum())
        return replace(self, facts={**facts, "num_unanswerable": num_unanswerable, **_repetitions(self)})

    @property
    def is_answerable(self) -> NDArray[np.bool_]:
        """Which questions have an answer [num_examples]."""
        return np.array([bool(answers) for answers in self.answers], dtype=np.bool_)

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """A hash of each question's passage [num_examples]: who was trained on the passage has an advantage,
        whatever the question.
        """
        of_context = np.array([text_hash(context) for context in self.contexts], dtype=np.uint64)
        return of_context[self.context_of]


def read(path: Path, config: FinetuneConfig | EvaluateConfig, emit: Emit) -> Questions:
    """All questions of a file; those that cannot be used are refused or left out (`on_bad`), and told.

    An offset that is wrong is repaired if it can mean one place only: the answer occurs once, or the
    offset counts bytes. DataError for a file that is not of the stated form, for bad questions unless
    `on_bad` is `skip`, and if nothing is left.
    """
    found = examine(path)
    reader = found.reader
    if reader.faults and config.on_bad == "fail":
        kind = next(iter(reader.faults))
        message, place = reader.first[kind]
        raise DataError(
            "data.bad-questions",
            f"{reader.faults.total():,} of {len(reader.ids) + reader.faults.total():,} questions are bad, "
            f"first: {message}; in all {reader.told()}",
            where=place,
            hint="--on-bad skip leaves them out",
        )
    if not reader.ids:
        raise DataError("data.empty", "holds no question that can be used", where=shown(str(path)))
    data = reader.questions()
    _tell(reader, data, found.version, emit)
    return data


@dataclass(frozen=True)
class Examined:
    """A file that was read to its end, whatever is wrong with its questions."""

    reader: Reader
    version: object
    """What the file says it is, if it does."""


def examine(path: Path) -> Examined:
    """Read all questions, good and bad. DataError for a file that is not of the stated form."""
    name = shown(str(path))
    reader = Reader()
    version: object = None
    if tables.suffix(path) in _ROWS:
        for row in tables.read(path, _ROWS):
            reader.add({"id": str(row.number), **row.values}, row.values, row.where)
    else:
        version, articles = _articles(*tables.content(path, (".json", *_ROWS)))
        for where, found, paragraph in _questions(articles):
            reader.add(found, paragraph, f"{name}: {where}")
    return Examined(reader, version)


class Reader:
    """Collects questions, and counts what is wrong with them."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.faults: Counter[str] = Counter()
        """By what is wrong, a name of `FAULTS`; in the order of their first."""
        self.offsets: Counter[str] = Counter()
        """Answers whose place was wrong and could be found: `bytes`, or `repaired` in another way."""
        self.first: dict[str, tuple[str, str]] = {}
        """Kind of fault or offset -> what exactly the first was, and where."""
        self._questions: list[str] = []
        self._answers: list[tuple[Answer, ...]] = []
        self._contexts: dict[str, int] = {}
        self._context_of: list[int] = []
        self._seen: set[str] = set()

    def add(self, found: object, paragraph: object, where: str) -> None:
        """Take a question (an object with `question`, `id`, `answers`) about the `context` of a paragraph."""
        try:
            self._add(found, paragraph, where)
        except Fault as fault:
            self.faults[fault.kind] += 1
            self.first.setdefault(fault.kind, (str(fault), where))

    def _add(self, found: object, paragraph: object, where: str) -> None:
        context, question, number = fields_of(found, paragraph)
        if number in self._seen:
            raise Fault("duplicate_id", f"the id {shown(number)!r} was there before")
        self._seen.add(number)
        located = answers_of(found, context)
        for answer, how in located:
            if how != "said":
                self.offsets[how] += 1
                self.first.setdefault(how, (f"the answer {shown(answer.text)[:60]!r}", where))
        self.ids.append(number)
        self._questions.append(question)
        self._answers.append(tuple(answer for answer, _ in located))
        self._context_of.append(self._contexts.setdefault(context, len(self._contexts)))

    def told(self) -> str:
        """The faults in words, the most frequent first."""
        return "; ".join(f"{count:,} {FAULTS[kind]}" for kind, count in self.faults.most_common())

    def questions(self) -> Questions:
        data = Questions(
            self.ids,
            self._questions,
            list(self._contexts),
            np.array(self._context_of, dtype=np.int64),
            self._answers,
        )
        return data.counted(
            {
                "num_skipped": self.faults.total(),
                "num_offsets_repaired": self.offsets["repaired"],
                "num_offsets_in_bytes": self.offsets["bytes"],
                "skipped": dict(sorted(self.faults.items())),
            }
        )


def _articles(text: str, name: str) -> tuple[object, list[Any]]:
    """The version and the articles of a SQuAD file. DataError if it is not one."""

    def refuse(found: str, hint: str | None = None) -> NoReturn:
        raise DataError("data.not-squad", found, where=name, hint=hint)

    if len(text) > _MOST_CHARACTERS:
        refuse(f"has more than {_MOST_CHARACTERS:,} characters", "questions a line (.jsonl) are read singly")
    try:
        content = json.loads(text, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        refuse(f"is not JSON: {error}")
    except (ValueError, RecursionError) as error:
        refuse(f"is not JSON that can be read: {error}")
    articles = content.get("data") if isinstance(content, dict) else content
    if not isinstance(articles, list):
        refuse("is not SQuAD's JSON: an object with the list data, or that list")
    if articles and all(isinstance(article, dict) and "question" in article for article in articles):
        refuse("is a list of questions, not of articles", "write them one a line into a .jsonl file")
    return (content.get("version") if isinstance(content, dict) else None), articles


def _questions(articles: Sequence[Any]) -> Iterator[tuple[str, object, object]]:
    """(place, question, paragraph) of all questions; what holds none where it should is one bad question."""
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(_list(article, "paragraphs")):
            for q, question in enumerate(_list(paragraph, "qas")):
                yield f"data[{a}].paragraphs[{p}].qas[{q}]", question, paragraph


def _list(holder: object, key: str) -> Sequence[Any]:
    """The list under a key; one None, which is no question, if there is none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else [None]


def _repetitions(data: Questions) -> dict[str, int]:
    """Questions that repeat one about the same passage, and those asked with no answer in common."""
    answers: dict[tuple[int, int], list[set[str]]] = {}
    for question, context, given in zip(data.questions, data.context_of.tolist(), data.answers, strict=True):
        texts = {answer.text.casefold() for answer in given} or {""}
        answers.setdefault((context, text_hash(question)), []).append(texts)
    return {
        "num_repeated": len(data) - len(answers),
        "num_contradicting": sum(not set.intersection(*texts) for texts in answers.values()),
    }


def _tell(reader: Reader, data: Questions, version: object, emit: Emit) -> None:
    facts = data.facts
    if facts["num_skipped"]:
        emit(Note(f"{facts['num_skipped']:,} bad questions are left out: {reader.told()}", "warning"))
    if count := facts["num_offsets_repaired"] + facts["num_offsets_in_bytes"]:
        in_bytes = facts["num_offsets_in_bytes"]
        emit(
            Note(
                f"{count:,} answer offsets were wrong and are repaired ({in_bytes:,} counted bytes)",
                "warning",
            )
        )
    if facts["num_contradicting"]:
        message = f"{facts['num_contradicting']:,} questions are asked again with no answer in common"
        emit(Note(message, "warning"))
    elif facts["num_repeated"]:
        emit(Note(f"{facts['num_repeated']:,} questions repeat an earlier one about the same passage"))
    if facts["num_unanswerable"] and isinstance(version, str) and version.lstrip("v").startswith("1"):
        message = (
            f"{facts['num_unanswerable']:,} questions have no answer, which version {shown(version)} has not"
        )
        emit(Note(message, "warning"))
