"""Sentences whose words carry tags: read from columns or JSON Lines, whatever the scheme of the tags.

The tags are read as entities (see `measure.entities`), so IOB1, IOB2, IOBES and BILOU are one thing from
here on. Columns are those of CoNLL: a word a line with its tag, sentences between blank lines, the word
first and the tag last unless a column is named by its number. JSON Lines hold two lists a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig, FinetuneConfig
from ..errors import DataError, UsageError
from ..events import Emit, Note
from ..measure import entities
from ..measure.entities import Span
from ..text.corpus import shown
from ..text.rows import way_out
from . import columns, tables
from .labelled import text_hash, too_few

_LISTED = 12
_TABLES = (".jsonl", ".parquet")
"""Suffixes of the tables whose values may be lists."""
_FIELDS = {"tokens_column": 0, "tags_column": -1}
"""Setting -> which of the columns of a CoNLL file it is where nothing else is said."""


@dataclass(frozen=True)
class Tagged:
    """Sentences in the order of their file."""

    words: Sequence[tuple[str, ...]]
    entities: Sequence[Sequence[Span]]
    rows: NDArray[np.int64]
    """Numbers of the sentences in the file [num_sentences], from 1."""
    hashes: NDArray[np.uint64]
    """`text_hash` of the words of each with blanks between [num_sentences]."""
    unbegun: NDArray[np.int64]
    """Entities of each that open with a tag which should continue one [num_sentences]; 0 in IOB1."""
    types: tuple[str, ...]
    """The types of the entities of the file (or of the model), sorted."""

    def __len__(self) -> int:
        return len(self.words)

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """Which sentences have no words [num_sentences]."""
        return np.array([not words for words in self.words], dtype=bool)

    @property
    def tags(self) -> list[list[str]]:
        """The entities of each sentence as the tags of its words, in IOB2."""
        return [
            entities.iob2(spans, len(words)) for words, spans in zip(self.words, self.entities, strict=True)
        ]

    def take(self, numbers: NDArray[np.int64]) -> Tagged:
        """The sentences of these numbers (from 0), in this order."""
        return Tagged(
            [self.words[n] for n in numbers],
            [self.entities[n] for n in numbers],
            self.rows[numbers],
            self.hashes[numbers],
            self.unbegun[numbers],
            self.types,
        )


@dataclass(frozen=True)
class _Sentence:
    """A sentence as it stands in the file."""

    row: tables.Row
    words: Sequence[str]
    tags: Sequence[str]
    has_lines: bool
    """Whether each word has a line of its own."""

    def fail(self, position: int, code: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise the DataError that says what is wrong with the word at this position."""
        if not self.has_lines:
            self.row.fail(code, f"word {position + 1}: {message}", hint)
        name, _, line = self.row.where.rpartition(":")
        raise DataError(code, message, where=f"{name}:{int(line) + position}", hint=hint)


def read(
    path: Path, config: FinetuneConfig | EvaluateConfig, emit: Emit, known: Sequence[str] = ()
) -> Tagged:
    """All sentences of a file. With `known` types (of a model) any other type is an error.

    DataError for an empty file, a missing or odd column, what is no tag, no entity at all. Sentences
    without words, repeated ones, contradicting tags and entities that do not begin are kept and told.
    """
    is_columns = tables.suffix(path) in columns.SUFFIXES
    found = list((_from_columns if is_columns else _from_table)(path, config))
    if not found:
        raise DataError("data.empty", "holds no sentences", where=shown(str(path)))
    spans = [_entities(sentence, known) for sentence in found]
    types = tuple(known) or tuple(sorted({span.type for some in spans for span in some}))
    if not types:
        raise DataError(
            "data.one-class",
            f"all tags of its {len(found):,} sentences are {entities.OUTSIDE}; there is nothing to learn",
            where=shown(str(path)),
            hint=f"is the right column read? --set {_table(config)}.tags_column=COLUMN",
        )
    is_iob1 = entities.is_iob1(sentence.tags for sentence in found)
    data = Tagged(
        words=[tuple(sentence.words) for sentence in found],
        entities=spans,
        rows=np.array([sentence.row.number for sentence in found], dtype=np.int64),
        hashes=np.array([_hash(sentence) for sentence in found], dtype=np.uint64),
        unbegun=np.array(
            [0 if is_iob1 else entities.num_unbegun(sentence.tags) for sentence in found], dtype=np.int64
        ),
        types=types,
    )
    _tell(facts(data), emit)
    return data


def unlabelled(texts: Sequence[str], types: Sequence[str] = ()) -> Tagged:
    """Sentences without tags; their words are what white space separates."""
    zeros = np.zeros(len(texts), dtype=np.int64)
    rows = np.arange(1, len(texts) + 1)
    words = [tuple(text.split()) for text in texts]
    return Tagged(words, [()] * len(texts), rows, zeros.astype(np.uint64), zeros, tuple(types))


def facts(data: Tagged) -> dict[str, int]:
    """Counts of what is odd, by name: see `_tell`. Sentences without words repeat nothing."""
    tags_of: dict[int, set[tuple[Span, ...]]] = {}
    for text, words, spans in zip(data.hashes.tolist(), data.words, data.entities, strict=True):
        if words:
            tags_of.setdefault(text, set()).add(tuple(spans))
    num_empty = int(data.is_empty.sum())
    return {
        "num_empty": num_empty,
        "num_repeated": len(data) - num_empty - len(tags_of),
        "num_contradicting": sum(len(different) > 1 for different in tags_of.values()),
        "num_unbegun": int(data.unbegun.sum()),
    }


def sample(data: Tagged, num_examples: int, seed: int) -> NDArray[np.int64]:
    """Numbers (ascending) of a seeded random sample that has every type; a larger one holds the smaller.

    For each type that is not in it yet, rarest first, a sentence with it is drawn, then any. DataError
    if that many sentences cannot hold all types.
    """
    if num_examples >= len(data):
        return np.arange(len(data))
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(len(data))
    types_of = [{span.type for span in data.entities[n]} for n in shuffled]
    frequency = {kind: sum(kind in types for types in types_of) for kind in set().union(*types_of)}
    chosen: list[int] = []  # places in `shuffled`
    missing = sorted(frequency, key=lambda kind: (frequency[kind], kind))
    while missing:
        chosen.append(next(place for place, types in enumerate(types_of) if missing[0] in types))
        missing = [kind for kind in missing if kind not in types_of[chosen[-1]]]
    if len(chosen) > num_examples:
        raise too_few(f"{num_examples} sentences cannot hold {len(frequency)} types of entities")
    others = np.delete(shuffled, chosen)
    return np.sort(np.concatenate([shuffled[chosen], others[: num_examples - len(chosen)]]))


def _entities(sentence: _Sentence, known: Sequence[str]) -> list[Span]:
    for position, (word, tag) in enumerate(zip(sentence.words, sentence.tags, strict=True)):
        if not word:
            sentence.fail(position, "data.broken-row", "the word is empty")
        try:
            prefix, kind = entities.parse(tag)
        except ValueError as error:
            sentence.fail(position, "data.bad-tag", str(error))
        if known and prefix != entities.OUTSIDE and kind not in known:
            sentence.fail(
                position,
                "data.unknown-tag",
                f"the type {kind!r} was not in the training data",
                "the model knows: " + ", ".join(known[:_LISTED]) + (", ..." if len(known) > _LISTED else ""),
            )
    return entities.spans(sentence.tags)


def _hash(sentence: _Sentence) -> int:
    try:
        return text_hash(" ".join(sentence.words))
    except UnicodeEncodeError:
        sentence.row.fail("data.bad-text", "a word holds half a surrogate pair")


def _table(config: FinetuneConfig | EvaluateConfig) -> str:
    return "finetune" if isinstance(config, FinetuneConfig) else "evaluate"


def _from_table(path: Path, config: FinetuneConfig | EvaluateConfig) -> Iterator[_Sentence]:
    for row in tables.read(path, (*_TABLES, *columns.SUFFIXES)):
        words, tags = (_strings(row, getattr(config, field), field, config) for field in _FIELDS)
        if len(words) != len(tags):
            row.fail("data.broken-row", f"has {len(words)} tokens and {len(tags)} tags")
        yield _Sentence(row, words, tags, has_lines=False)


def _strings(row: tables.Row, column: str, field: str, config: FinetuneConfig | EvaluateConfig) -> list[str]:
    value = row.value(column, f"{_table(config)}.{field}")
    if not isinstance(value, list):
        hint = f"words and tags in columns, a word a line, are read from {' '.join(columns.SUFFIXES)}"
        row.fail("data.broken-row", f"the value of {column!r} is not a list", hint)
    for item in value:
        if not isinstance(item, str):
            hint = "words and tags are strings, tags such as O, B-PER and I-PER"
            row.fail("data.broken-row", f"{column!r} holds {shown(str(item))}, which is not a string", hint)
    return value


def _from_columns(path: Path, config: FinetuneConfig | EvaluateConfig) -> Iterator[_Sentence]:
    chosen = {field: _column(field, config) for field in _FIELDS}
    last = max(chosen, key=chosen.__getitem__)
    for row, lines in columns.read(path):
        if chosen[last] >= len(lines[0]):
            found = f"has {len(lines[0])} columns and none of the number {chosen[last] + 1}"
            row.fail("data.columns", found, way_out(f"{_table(config)}.{last}"))
        words, tags = ([cells[number] for cells in lines] for number in chosen.values())
        yield _Sentence(row, words, tags, has_lines=True)


def _column(field: str, config: FinetuneConfig | EvaluateConfig) -> int:
    """Index of a column of a CoNLL file."""
    named = getattr(config, field)
    if named == FinetuneConfig.model_fields[field].default:
        return _FIELDS[field]
    if not named.isascii() or not named.isdigit() or int(named) == 0:
        where = f"{_table(config)}.{field}"
        raise UsageError("usage.column", f"{named!r} is not the number of a column, from 1", where=where)
    return int(named) - 1


def _tell(counts: dict[str, int], emit: Emit) -> None:
    messages = {
        "num_empty": "sentences have no words",
        "num_contradicting": "sentences occur with different tags",
        "num_unbegun": "entities begin with a tag that should continue one (I- without B-); they are kept",
    }
    for name, message in messages.items():
        if counts[name]:
            emit(Note(f"{counts[name]:,} {message}", level="warning"))
    if counts["num_repeated"] and not counts["num_contradicting"]:
        emit(Note(f"{counts['num_repeated']:,} sentences repeat an earlier one"))
