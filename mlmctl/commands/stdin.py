"""What comes in on standard input, line by line: plain text, or JSON objects with named columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from ..errors import DataError


def rows(lines: Iterable[str], columns: Sequence[str] = ("text",)) -> Iterator[dict[str, str]]:
    """The columns of each line, as the lines come; an empty line is an empty text.

    If the first line is a JSON object with these columns as strings, every line must be one; else lines
    are plain text, which only `text` alone can be. DataError names the line that is not what it should be.
    """
    is_json = False
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\n").removesuffix("\r")
        row = _json_row(line, columns) if is_json or number == 1 else None
        if number == 1:
            is_json = row is not None or tuple(columns) != ("text",)
        if is_json and row is None:
            wanted = " and ".join(repr(column) for column in columns)
            found = f"is not a JSON object with strings under {wanted}"
            raise DataError("data.broken-row", found, where=f"line {number}")
        row = {"text": line} if row is None else row
        check_text("".join(row.values()), number)
        yield row


def texts(lines: Iterable[str]) -> Iterator[str]:
    """The text of each line; see `rows`."""
    return (row["text"] for row in rows(lines))


def check_text(text: str, number: int) -> None:
    """DataError, naming the line, for what stands for bytes that were no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("data.bad-text", "is not valid Unicode", where=f"line {number}") from None


def _json_row(line: str, columns: Sequence[str]) -> dict[str, str] | None:
    """The string values of a JSON object if the columns are among them, or None for anything else.

    An `id` may be a whole number, as in labelled questions.
    """
    try:
        values = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    row = {name: value for name, value in values.items() if isinstance(value, str)}
    if not set(columns) <= row.keys():
        return None
    number = values.get("id")
    return {**row, "id": str(number)} if type(number) is int else row
