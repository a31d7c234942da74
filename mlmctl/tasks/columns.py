"""Files of columns as the CoNLL shared tasks have them: a word a line, a blank line after each sentence.

Columns are separated by tabs if the first line has one, else by blanks; all lines have the same number.
Lines that begin with `-DOCSTART-` separate documents and are no words. There is no header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError
from . import tables
from .tables import Row

SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".txt")
"""Suffixes of files of columns."""

_DOCUMENT = "-DOCSTART-"
_BLANKS = re.compile(r"[ \t]+")


def read(path: Path) -> Iterator[tuple[Row, list[list[str]]]]:
    """The sentences of a file: where each begins, its number from 1 as that of a row, and the cells of its
    lines, which follow one another. DataError with the line that has another number of columns, or one only.
    """
    text, name = tables.content(path, SUFFIXES)
    number, num_columns, is_tabbed = 0, 0, False
    sentence: list[list[str]] = []
    for line_number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.rstrip(" \t\r")
        if line and not line.startswith(_DOCUMENT):
            is_tabbed = is_tabbed or (not num_columns and "\t" in line)
            cells = (
                [cell.strip(" ") for cell in line.split("\t")] if is_tabbed else _BLANKS.split(line.lstrip())
            )
            num_columns = num_columns or len(cells)
            if len(cells) != num_columns or num_columns == 1:
                _refuse(f"{name}:{line_number}", len(cells), num_columns, is_tabbed)
            sentence.append(cells)
        elif sentence:
            number += 1
            yield Row(number, f"{name}:{line_number - len(sentence)}", {}), sentence
            sentence = []


def _refuse(where: str, num_found: int, num_columns: int, is_tabbed: bool) -> None:
    found = f"has {num_found} {'column' if num_found == 1 else 'columns'}"
    expected = "a word and its tag are needed" if num_columns == 1 else f"the lines before have {num_columns}"
    separator = "tabs" if is_tabbed else "blanks"
    hint = f"columns are separated by {separator} in this file, and a blank line ends a sentence"
    raise DataError("data.broken-row", f"{found}; {expected}", where=where, hint=hint)
