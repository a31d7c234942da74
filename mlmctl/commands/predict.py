"""Ask a fine-tuned model: one answer for each line of text, in order, as the lines come."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..artifact import open_artifact
from ..config import RuntimeConfig
from ..engine import runtime
from ..errors import DataError
from ..tasks.adapted import open_adapted


def run(
    model: Path, lines: Iterable[str], batch_size: int = 64, machine: RuntimeConfig | None = None
) -> Iterator[dict[str, Any]]:
    """The task's answer to each line, e.g. {label, score, probabilities}; an empty line gets one too.

    If the first line is a JSON object, every line must be one that holds the columns the task asks for, as
    strings; else lines are plain text, which only some tasks understand. At most `batch_size` lines are
    read before their answers are given. ArtifactError if `model` is not a whole fine-tuned model;
    DataError names the line that is not what it should be.
    """
    open_artifact(model)
    adapted = open_adapted(model, runtime.prepare(machine or RuntimeConfig()).device)
    rows = _rows(lines, adapted.task.asks)
    while batch := list(itertools.islice(rows, batch_size)):
        yield from adapted.answer(batch, batch_size)


def _rows(lines: Iterable[str], columns: Sequence[str]) -> Iterator[dict[str, str]]:
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
        try:
            "".join(row.values()).encode()
        except UnicodeEncodeError:
            raise DataError("data.bad-text", "is not valid Unicode", where=f"line {number}") from None
        yield row


def _json_row(line: str, columns: Sequence[str]) -> dict[str, str] | None:
    """The string values of a JSON object if the columns are among them, or None for anything else."""
    try:
        values = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    row = {name: value for name, value in values.items() if isinstance(value, str)}
    return row if set(columns) <= row.keys() else None
