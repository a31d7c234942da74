"""Files of rows with named columns (JSON Lines, CSV, TSV), read strictly: a bad row is named, never skipped.

Labelled data is small against a corpus and every row of it counts, so files are read whole and the
first thing that is not what the format says ends the reading, with its row. Formats are an explicit
table of suffixes: `.jsonl` one JSON object a line; `.csv` as in RFC 4180, with a header; `.tsv` with a
header and no quoting at all (a tab or a newline inside a value cannot be written in it).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DataError
from ..text.corpus import shown

_MOST_RATIO = 1000
_RATIO_FROM_BYTES = 100 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1 (the header does not count), where it stands, its values by column."""

    number: int
    where: str
    values: dict[str, Any]

    def fail(self, code: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise the DataError that says what is wrong with this row."""
        raise DataError(code, f"row {self.number}: {message}", where=self.where, hint=hint)


def read(path: Path) -> Iterator[Row]:
    """The rows of a labelled file in order; DataError for anything that is not what its suffix says."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    name = shown(str(path))
    kind = "".join(suffixes[-2:-1] if compressed else suffixes[-1:])
    if kind not in FORMATS:
        known = " ".join(FORMATS)
        raise DataError(
            "data.format", "is not a labelled file of a known kind", where=name, hint=f"{known}, plain or .gz"
        )
    content = _unzipped(path, name) if compressed else path.read_bytes()
    return FORMATS[kind](_decoded(content, name), name)


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


def _unzipped(path: Path, name: str) -> bytes:
    most = max(_RATIO_FROM_BYTES, _MOST_RATIO * path.stat().st_size)
    pieces, size = [], 0
    try:
        with gzip.open(path) as file:
            while piece := file.read(_CHUNK):
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    raise DataError(
                        "data.explodes", f"unpacks to over {_MOST_RATIO} times its size", where=name
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError("data.damaged", f"is not whole gzip data ({error})", where=name) from None
    return b"".join(pieces)


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
