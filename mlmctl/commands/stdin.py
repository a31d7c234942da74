"""What comes in on standard input, line by line: plain text, or JSON objects with named columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..errors import DataError
from ..json_files import json_object

_TEXT = ("text",)


def rows(lines: Iterable[str], columns: Sequence[str] = _TEXT) -> Iterator[dict[str, str]]:
    """The columns of each line, as the lines come.

    If the first line that is not blank is a JSON object, every line must be one with these columns as
    strings, and blank ones are passed over; else lines are plain text, which only `text` alone can be, and a
    blank one is a text too. DataError names the line that is not what it should be.
    """
    is_json = True if tuple(columns) != _TEXT else None
    blank: list[str] = []
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\n").removesuffix("\r")
        if is_json is None and line.strip():
            is_json = json_object(line) is not None
            if not is_json:
                yield from ({"text": each} for each in blank)
        if is_json is None:
            blank.append(line)
            continue
        if is_json and not line.strip():
            continue
        row = _json_row(line, columns, number) if is_json else {"text": line}
        check_text("".join(row.values()), number)
        yield row
    if is_json is None:
        yield from ({"text": each} for each in blank)


def texts(lines: Iterable[str]) -> Iterator[str]:
    """The text of each line; see `rows`."""
    return (row["text"] for row in rows(lines))


def check_text(text: str, number: int) -> None:
    """DataError, naming the line, for what stands for bytes that were no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("data.bad-text", "is not valid Unicode", where=f"line {number}") from None


def _json_row(line: str, columns: Sequence[str], number: int) -> dict[str, str]:
    """The string values of a JSON object, the columns among them; DataError for anything else.

    An `id` may be a whole number, as in labelled questions.
    """
    values = json_object(line) or {}
    row = {name: value for name, value in values.items() if isinstance(value, str)}
    if not set(columns) <= row.keys():
        wanted = " and ".join(repr(column) for column in columns)
        found = f"is not a JSON object with strings under {wanted}"
        hint = "jq -Rc '{text: .}' makes texts of lines that begin with a brace" if values else None
        raise DataError("data.broken-row", found, where=f"line {number}", hint=hint)
    named = values.get("id")
    return {**row, "id": str(named)} if type(named) is int else row
