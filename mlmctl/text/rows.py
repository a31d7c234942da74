"""Files of rows with named columns (JSON Lines, CSV, TSV, Parquet), read strictly and in bounded memory.

Corpora and labelled data are read by the same code: a row that is not what its format says is named,
never skipped. `.jsonl` is one JSON object a line; `.csv` is RFC 4180 with a header, so a quoted value may
hold newlines; `.tsv` has a header and no quoting at all (a tab or a newline inside a value cannot be
written in it); `.parquet` is in `text/parquet.py`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..config import CorpusConfig
from ..errors import DataError
from .compression import AtByte
from .corpus import Source, shown
from .reading import Tally, lines

_MAX_ROW = 2**24
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1 (a header does not count), where it stands, its values by column."""

    number: int
    where: str
    values: Mapping[str, Any]

    def fail(self, code: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise the DataError that says what is wrong with this row."""
        raise DataError(code, f"row {self.number}: {message}", where=self.where, hint=hint)

    def value(self, column: str, setting: str | None = None) -> Any:
        """The value of a column; DataError that names those found, and the setting for another."""
        if column not in self.values:
            found = ", ".join(shown(name) for name in list(self.values)[:_LISTED]) or "none"
            self.fail(
                "data.columns",
                f"has no column {column!r}; the columns found are: {found}",
                way_out(setting) if setting else None,
            )
        return self.values[column]


def way_out(setting: str) -> str:
    """The hint of an error that another column may mend."""
    return f"name the right one: --set {setting}=COLUMN"


def rows(
    source: Source, config: CorpusConfig, tally: Tally, at_byte: AtByte, columns: Sequence[str] = ()
) -> Iterator[Row]:
    """The rows of a file in order; `columns` are those that will do, where leaving out others saves work.

    DataError `data.broken-row` with line and row for what is not a row of the format, and what
    `reading.lines` raises.
    """
    if source.format == "parquet":
        from . import parquet

        return parquet.rows(source, config, tally, at_byte, columns)
    whole = _WholeLines(lines(source, config, tally, at_byte), source.name)
    return _FORMATS[source.format](whole)


def texts(source: Source, config: CorpusConfig, tally: Tally, at_byte: AtByte) -> Iterator[str]:
    """The text column of every row; a null is an empty text.

    DataError as for `rows`, and `data.bad-text` for a value that is neither, `data.encoding` for half a
    surrogate pair, which is counted and replaced where replacing was asked for.
    """
    column, setting = config.text_column, "corpus.text_column"
    for row in rows(source, config, tally, at_byte, [column]):
        text = row.value(column, setting)
        if text is None:
            text = ""
        elif not isinstance(text, str):
            row.fail("data.bad-text", f"the value of {column!r} is not a string", way_out(setting))
        elif not _is_encodable(text):
            if config.encoding_errors == "strict":
                row.fail("data.encoding", "holds half of a surrogate pair", "--encoding-errors replace")
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            tally.num_replacements += text.count("\ufffd")
        yield text


class _WholeLines:
    """Lines put together from their pieces, each with its newline, as long as a row stays within bounds."""

    def __init__(self, pieces: Iterator[str], name: str) -> None:
        self._pieces = pieces
        self.name = name
        self.number = 0
        """Of the last line, from 1."""
        self.size = 0
        """Characters since the reader of rows last set it to 0."""

    def __iter__(self) -> _WholeLines:
        return self

    def __next__(self) -> str:
        parts: list[str] = []
        for piece in self._pieces:
            parts.append(piece)
            self.size += len(piece)
            if self.size > _MAX_ROW:
                found = f"a row has more than {_MAX_ROW:,} characters"
                where = f"{self.name}:{self.number + 1}"
                raise DataError("data.broken-row", found, where=where, hint="is a quote not closed?")
            if piece.endswith("\n"):
                break
        if not parts:
            raise StopIteration
        self.number += 1
        return "".join(parts)


def _json_lines(whole: _WholeLines) -> Iterator[Row]:
    number = 0
    for line in whole:
        whole.size = 0
        if line.isspace():
            continue
        number += 1
        row = Row(number, f"{whole.name}:{whole.number}", {})
        try:
            values = json.loads(line, parse_constant=no_constant)
        except (ValueError, RecursionError) as error:
            row.fail("data.broken-row", f"is not JSON ({error})")
        if not isinstance(values, dict):
            row.fail("data.broken-row", "is not a JSON object", 'each line is {"text": ...}')
        yield Row(number, row.where, values)


def no_constant(name: str) -> NoReturn:
    """For `json.loads`: NaN and Infinity are no JSON."""
    raise ValueError(f"{name} is not a JSON value")


def _comma_separated(whole: _WholeLines) -> Iterator[Row]:
    return _separated(csv.reader(whole, strict=True), whole)


def _tab_separated(whole: _WholeLines) -> Iterator[Row]:
    reader = csv.reader(whole, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    return _separated(reader, whole)


def _separated(reader: Any, whole: _WholeLines) -> Iterator[Row]:
    """`reader` is a csv.reader of `whole`: it has no public type."""
    csv.field_size_limit(_MAX_ROW)  # the module's default refuses a text of 131,072 characters
    header: list[str] | None = None
    number = 0
    while True:
        row = Row(number + 1, f"{whole.name}:{whole.number + 1}", {})
        try:
            fields = next(reader, None)
        except csv.Error as error:
            row.fail("data.broken-row", f"cannot be read ({error})", "a quote is not closed, or not doubled")
        whole.size = 0
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = [column.strip() for column in fields]
            if len(set(header)) < len(header):
                twice = ", ".join(shown(name) for name in sorted(set(header)) if header.count(name) > 1)
                found = f"the header names a column twice: {twice}"
                raise DataError("data.columns", found, where=row.where)
            continue
        if len(fields) != len(header):
            row.fail(
                "data.broken-row",
                f"has {len(fields)} values, the header has {len(header)}",
                "a value that holds the separator or a newline needs quotes, which only .csv has",
            )
        number += 1
        yield Row(number, row.where, dict(zip(header, fields, strict=True)))


_FORMATS: dict[str, Callable[[_WholeLines], Iterator[Row]]] = {
    "jsonl": _json_lines,
    "csv": _comma_separated,
    "tsv": _tab_separated,
}


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
