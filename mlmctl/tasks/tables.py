"""Files of rows with named columns (JSON Lines, CSV, TSV), read strictly: a bad row is named, never skipped.

Labelled data is small against a corpus and every row of it counts, so files are read whole and the
first thing that is not what the format says ends the reading, with its row. Formats are an explicit
table of suffixes: `.jsonl` one JSON object a line; `.csv` as in RFC 4180, with a header; `.tsv` with a
header and no quoting at all (a tab or a newline inside a value cannot be written in it).
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DataError
from ..text.compression import COMPRESSIONS, decompressed
from ..text.corpus import shown

_LISTED = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1 (the header does not count), where it stands, its values by column."""

    number: int
    where: str
    values: dict[str, Any]

    def fail(self, code: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise the DataError that says what is wrong with this row."""
        raise DataError(code, f"row {self.number}: {message}", where=self.where, hint=hint)

    def value(self, column: str, setting: str) -> Any:
        """The value of a column; DataError that names those found, and the setting for another."""
        if column not in self.values:
            found = ", ".join(shown(str(name)) for name in list(self.values)[:_LISTED]) or "none"
            self.fail(
                "data.columns",
                f"has no column {column!r}; the columns found are: {found}",
                f"name the right one: --set {setting}=COLUMN",
            )
        return self.values[column]


def read(path: Path, kinds: Iterable[str] = ()) -> Iterator[Row]:
    """The rows of a labelled file in order; DataError for anything that is not what its suffix says.

    `kinds` are the suffixes that will do; all tables unless it says otherwise.
    """
    text, name = content(path, kinds or FORMATS)
    return FORMATS[suffix(path)](text, name)


def suffix(path: Path) -> str:
    """The suffix that says what is in a file, in lower case: that before `.gz` of a compressed one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:-1] if suffixes and suffixes[-1] in COMPRESSIONS else suffixes[-1:])


def content(path: Path, kinds: Iterable[str]) -> tuple[str, str]:
    """The whole text of a file and its name for messages. DataError unless its suffix is one of `kinds`."""
    name = shown(str(path))
    if suffix(path) not in kinds:
        hint = f"{' '.join(kinds)}, plain or with {' '.join(COMPRESSIONS)}"
        raise DataError("data.format", "is not a labelled file of a known kind", where=name, hint=hint)
    compression = COMPRESSIONS.get(path.suffix.lower())
    with path.open("rb") as file:
        found = b"".join(decompressed(file, compression, name, _ignore)) if compression else file.read()
    return _decoded(found, name), name


def _ignore(num_bytes: int) -> None:
    """Labelled data is read in an instant: no progress is told."""


def _json_lines(text: str, name: str) -> Iterator[Row]:
    number = 0
    for line_number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        number += 1
        row = Row(number, f"{name}:{line_number}", {})
        try:
            values = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            row.fail("data.broken-row", f"is not JSON ({error})")
        if not isinstance(values, dict):
            row.fail("data.broken-row", "is not a JSON object", 'each line is {"text": ..., "label": ...}')
        row.values.update(values)
        yield row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _comma_separated(text: str, name: str) -> Iterator[Row]:
    return _separated(csv.reader(io.StringIO(text, newline=""), strict=True), name)


def _tab_separated(text: str, name: str) -> Iterator[Row]:
    lines = io.StringIO(text, newline="")
    return _separated(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True), name)


def _separated(reader: Any, name: str) -> Iterator[Row]:
    """`reader` is a csv.reader: it has no public type."""
    csv.field_size_limit(sys.maxsize)  # the module's default refuses a text of 131,072 characters
    header: list[str] | None = None
    number = 0
    while True:
        row = Row(number + 1, f"{name}:{reader.line_num + 1}", {})
        try:
            fields = next(reader, None)
        except csv.Error as error:
            row.fail("data.broken-row", f"cannot be read ({error})", "a quote is not closed, or not doubled")
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = [column.strip() for column in fields]
            if len(set(header)) < len(header):
                twice = sorted({column for column in header if header.count(column) > 1})
                raise DataError(
                    "data.columns", f"the header names a column twice: {', '.join(twice)}", where=row.where
                )
            continue
        if len(fields) != len(header):
            row.fail(
                "data.broken-row",
                f"has {len(fields)} values, the header has {len(header)}",
                "a value that holds the separator or a newline needs quotes, which only .csv has",
            )
        row.values.update(zip(header, fields, strict=True))
        number += 1
        yield row


FORMATS: dict[str, Callable[[str, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
}
"""Suffix to reader: (decoded text, name for messages) -> rows."""


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise DataError(
            "data.encoding",
            f"byte 0x{content[error.start]:02x} is not UTF-8",
            where=f"{name}:{line}:{error.start}",
            hint="the file looks like UTF-16: save it as UTF-8" if utf16 else "save the file as UTF-8",
        ) from None
